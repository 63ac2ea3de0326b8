"""``build`` as it is typed: what it takes, what it shows, and how it ends.

What the images are is the matter of other tests; here Dockerfiles are as small as can be.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from at_terminal import Terminal
from conftest import DOCKER_IMAGE, PROJECT, Cli
from test_startup import HEAVY, imported
from waiting import until

LONG = f"sleep {600_000 + os.getpid()}"  # which no other run of the tests has
SLOW = f"""\
FROM alpine AS first
RUN echo one; {LONG}
FROM alpine AS second
RUN echo two; {LONG}
FROM first
RUN --mount=from=second,target=/second true
"""


@pytest.fixture
def build(cli: Cli, tmp_path: pathlib.Path):
    """``build(Dockerfile, options, …)``: build it in a directory of its own, where ``build.context`` is."""

    def run(dockerfile: str, *words: object, **how: object) -> subprocess.CompletedProcess[str]:
        (run.context / "Dockerfile").write_text(dockerfile)
        return cli("build", *words, run.context, **how)

    run.context = tmp_path / "context"
    run.context.mkdir()
    return run


def left(root: str) -> list[str]:
    """What a build that has ended could have left: containers, jobs, addresses, mounts, processes."""
    found = []
    for kind in ("containers", "jobs", "run", "run/.networks/bridge/ends", "run/.networks/bridge/addresses"):
        with contextlib.suppress(FileNotFoundError):
            names = set(os.listdir(os.path.join(root, kind))) - {".lock", ".networks", ".rollouts"}
            found += [f"{kind}/{name}" for name in names]
    found += [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if root in line]
    return found + sleepers()


def sleepers() -> list[str]:
    """The processes of containers that were to sleep."""
    argv = ["pgrep", "-f", LONG]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()


# ------------------------------------------------------------------ what it shows

LOGGED = """\
ARG BASE=alpine
FROM $BASE AS first
ARG WHO=world
ENV GREETING="hello $WHO"   OTHER=b
RUN echo $GREETING
RUN echo a && \\
    # in between
    echo b
LABEL   a=b
FROM scratch
COPY Dockerfile /
CMD ["/bin/sh"]
FROM first
WORKDIR /app
COPY --from=1   Dockerfile   /app/
RUN cat Dockerfile | head -1; printf 'no end'
"""


def log_lines(text: str) -> list[str]:
    """The lines of a log, without what differs from build to build, and without containers that only Docker has."""
    text = re.sub(r"^(Sending build context to Docker daemon +).*\n+", r"\1\n", text)
    text = text.replace("no endRemoving", "no end\nRemoving")  # where Docker leaves a line unfinished
    text = re.sub(r"\b[0-9a-f]{12}$", "ID", text, flags=re.M)
    text = re.sub(
        r"(Step .*: (?!RUN).*\n) ---> Running in ID\nRemoving intermediate container ID\n", r"\1", text
    )
    return text.splitlines()


@pytest.mark.parametrize("options", [(), ("--label", "x=y"), ("--target", "first"), ("--build-arg", "NO=1")])
def test_the_log_is_docker_s(build, docker, monkeypatch, options):
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    name = "mc-test-build-log"
    (build.context / "Dockerfile").write_text(LOGGED)
    words = ["build", "--build-arg", f"BASE={DOCKER_IMAGE}", "-t", name, *options, build.context]
    for again in (["--no-cache"], []):
        theirs = docker(words[0], *again, *words[1:])
        assert theirs.returncode == 0, theirs.stderr
        ours = build(LOGGED, *again, "-t", name, *options)
        assert log_lines(ours.stdout) == log_lines(theirs.stdout)
        assert ours.stderr == ""
    docker("rmi", "-f", name)


def test_quiet_prints_the_id_alone(build, cli):
    done = build("FROM alpine\nRUN echo noise; echo noise >&2\n", "-q", "-t", "quiet")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", done.stdout)
    assert done.stderr == ""
    assert cli.out("inspect", "--format", "{{.Id}}", "quiet") == done.stdout.strip()
    assert build("FROM alpine\nRUN echo noise; echo noise >&2\n", "--progress", "quiet").stdout == done.stdout


def test_quiet_shows_the_log_of_what_has_failed(build):
    failed = build("FROM alpine\nRUN echo the reason; exit 3\n", "-q", code=3)
    assert failed.stdout == ""
    assert "Step 2/2 : RUN echo the reason; exit 3\n" in failed.stderr
    assert "\nthe reason\n" in failed.stderr
    assert "returned a non-zero code: 3" in failed.stderr


def test_output_is_shown_while_the_step_runs(build, cli):
    (build.context / "Dockerfile").write_text(f"FROM alpine\nRUN echo begun; read x </dev/zero; {LONG}\n")
    process = subprocess.Popen(
        [*cli.argv, "build", build.context], stdout=subprocess.PIPE, env=cli.env, text=True
    )
    assert process.stdout
    assert any(line == "begun\n" for line in process.stdout)
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM


# ------------------------------------------------------------------ what it takes


def test_what_an_image_is_called_and_says_of_itself(build, cli):
    done = build("FROM alpine\nLABEL a=1 b=2\n", "-t", "one", "--tag=two:2", "--label", "b=3", "--label", "c")
    assert done.stdout.endswith("Successfully tagged one:latest\nSuccessfully tagged two:2\n")
    assert cli.out("images", "-q", "one") == cli.out("images", "-q", "two:2")
    labels = cli.out("inspect", "--format", "{{json .Config.Labels}}", "one")
    assert labels == '{"a":"1","b":"3","c":""}'


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ((), "default unset"),
        (("--build-arg", "A=x y"), "x y unset"),
        (("--build-arg", "A="), "unset"),
        (("--build-arg", "MC_TEST_ARGUMENT", "--build-arg", "A=1"), "1 from outside"),
        (("--build-arg", "MC_TEST_NOWHERE", "--build-arg", "A=$B"), "$B unset"),
    ],
)
def test_build_arguments(build, cli, options, printed):
    cli.env["MC_TEST_ARGUMENT"] = "from outside"
    text = "FROM alpine\nARG A=default\nARG MC_TEST_ARGUMENT=unset\nRUN echo $A $MC_TEST_ARGUMENT\n"
    done = build(text, "--no-cache", *options)
    assert re.search(r"Running in .*\n(.*)\n", done.stdout)[1] == printed
    assert "Warning" not in done.stdout


def test_the_id_is_written_to_a_file_of_a_build_that_went_well(build, cli, tmp_path):
    path = tmp_path / "id"
    path.write_text("of an earlier build")
    build("FROM alpine\nRUN false\n", "--iidfile", path, code=1)
    assert not path.exists()
    build("FROM alpine\nENV a=b\n", "--iidfile", path, "-t", "with-id")
    assert path.read_text() == cli.out("inspect", "--format", "{{.Id}}", "with-id")
    assert sorted(os.listdir(tmp_path)) == ["context", "id"]


def test_where_no_id_file_can_be_nothing_is_built(build, tmp_path):
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (tmp_path / "nowhere" / "id", tmp_path, tmp_path / "link"):
        failed = build("FROM alpine\nRUN true\n", "--iidfile", path, code=1)
        assert failed.stdout == ""
        assert f"--iidfile {path}" in failed.stderr
    assert (tmp_path / "link").is_symlink()


def test_the_dockerfile_has_any_name_and_the_context_may_be_standard_input(build, cli, tmp_path):
    (tmp_path / "other").write_text("FROM alpine\nENV from=other\n")
    assert "ENV from=other" in cli.out("build", "-f", tmp_path / "other", build.context)
    assert "ENV from=stdin" in cli.out("build", "-", input="FROM alpine\nENV from=stdin\n")
    assert "ENV from=stdin" in cli.out(
        "build", "-f", "-", build.context, input="FROM alpine\nENV from=stdin\n"
    )
    for words in (("image", "build"), ("builder", "build")):
        assert "Successfully built" in cli.out(*words, "-f", tmp_path / "other", build.context)


@pytest.mark.parametrize(
    ("secret", "content"),
    [
        ("id=key,src={path}", "in a file"),
        ("id=key,source={path},type=file", "in a file"),
        ("id=key,env=MC_TEST_SECRET", "in the environment"),
        ("type=env,id=key,src=MC_TEST_SECRET", "in the environment"),
        ("id=MC_TEST_SECRET", "in the environment"),
    ],
)
def test_secrets(build, cli, tmp_path, secret, content):
    path = tmp_path / "secret"
    path.write_text("in a file")
    cli.env["MC_TEST_SECRET"] = "in the environment"
    name = re.search(r"id=(\w+)", secret)[1]
    text = f"FROM alpine\nRUN --mount=type=secret,id={name} cat /run/secrets/{name}; echo\n"
    assert f"\n{content}\n" in build(text, "--no-cache", "--secret", secret.format(path=path)).stdout


def test_the_network_of_run_steps(build):
    text = "FROM alpine\nRUN readlink /proc/self/ns/net; tail -n +3 /proc/net/dev | cut -d: -f1\n"
    ours = os.readlink("/proc/self/ns/net")
    for words, devices in (((), r" +lo\n +eth0\n"), (("--network", "none"), r" +lo\n")):
        own = build(text, *words, "--no-cache").stdout
        assert f"\n{ours}\n" not in own
        assert re.search(rf"\nnet:\[\d+\]\n{devices}Removing", own)
    assert f"\n{ours}\n" in build(text, "--network", "host", "--no-cache").stdout


def test_limits_are_those_of_the_containers(build):
    text = "FROM alpine\nRUN tail /dev/zero\n"
    assert "code: 137" in build(text, "--memory", "16m", code=137).stderr
    text = (
        "FROM alpine\nRUN df -k /dev/shm | tail -1 && ulimit -n && grep Cpus_allowed_list /proc/self/status\n"
    )
    done = build(text, "--shm-size", "8m", "--ulimit", "nofile=77:88", "--cpuset-cpus", "0")
    assert re.search(r"shm +8192 ", done.stdout)
    assert "\n77\n" in done.stdout
    assert "Cpus_allowed_list:\t0\n" in done.stdout


REFUSED = [
    (("--nosuch",), "unknown flag: --nosuch", 125),
    (("-t", "BAD:x:y"), "-t, --tag", 125),
    (("-t", "Upper"), "must be lowercase", 125),
    (("-t", f"x@sha256:{'0' * 64}"), "a digest is found, not given", 125),
    (("--build-arg", "=x"), "--build-arg", 125),
    (("--label", "=x"), "--label", 125),
    (("--memory", "lots"), "lots", 125),
    (("--memory", "1k"), "--memory 1k", 125),
    (("--memory-swap", "1g"), "always set the memory limit", 125),
    (("--ulimit", "nosuch=1"), "nosuch", 125),
    (("--shm-size", "x"), "--shm-size", 125),
    (("--cpu-shares", "x"), "--cpu-shares", 125),
    (("--progress", "loud"), "there is auto, plain, tty, quiet", 125),
    (("--progress", "tty"), "no terminal", 1),
    (("--secret", "src=x"), "it has no id", 125),
    (("--secret", "id=x,src=/nonexistent"), "/nonexistent: no such file", 125),
    (("--secret", "id=x,env=MC_TEST_NOWHERE"), "no MC_TEST_NOWHERE", 125),
    (("--secret", "id=x,what=y"), "no key 'what'", 125),
    (("--isolation", "hyperv"), 'unsupported isolation: "hyperv"', 1),
    (("--squash",), "--squash is not supported; a last stage", 1),
    (("--output", "out"), "--output is not supported; build with -t", 1),
    (("--no-cache-filter", "x"), "--no-cache makes all stages anew", 1),
    (("--target", "nope"), "failed to reach build target nope", 1),
    (("-f", "/nonexistent"), "/nonexistent", 1),
]


@pytest.mark.parametrize(("options", "said", "code"), REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_done(build, root, options, said, code):
    failed = build("FROM alpine\nRUN true\n", *options, code=code)
    assert said in failed.stderr
    assert "Step" not in failed.stdout
    assert left(root) == []


def test_what_means_nothing_here_is_taken(build):
    done = build(
        "FROM alpine\n",
        *("--compress", "--disable-content-trust=false", "--force-rm", "--isolation", "default", "--rm"),
    )
    assert done.stderr == ""
    assert "--rm=false" in build("FROM alpine\n", "--rm=false").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "requires exactly 1 argument"),
        ((".", "."), "requires exactly 1 argument"),
        (("/nonexistent",), 'path "/nonexistent" not found'),
        (("/etc/hostname",), "context must be a directory"),
        (("-f", "-", "-"), "can't use stdin for both"),
    ],
)
def test_what_is_no_context(cli, words, said):
    assert said in cli("build", *words, code=1, input="").stderr


# ------------------------------------------------------------------ how it ends


@pytest.mark.parametrize("code", [1, 9, 125, 127])
def test_a_failed_command_gives_its_exit_code_and_place_and_a_look_inside(build, cli, root, code):
    text = f"FROM alpine\nRUN echo made > /here\n\nRUN echo lost > /there; \\\n  exit {code}\n"
    failed = build(text, code=code)
    assert "lost" not in failed.stderr.replace("echo lost", "")
    assert "Dockerfile:4: the command" in failed.stderr
    assert f"returned a non-zero code: {code}" in failed.stderr
    hint = re.search(r"to look into it: minicontainer (run --rm -it ([0-9a-f]{12}) .*)", failed.stderr)
    shown, status = cli.tty(*hint[1].split(), type=("cat /here\n", "ls /there\n", "exit 0\n"))
    assert status == 0
    assert "made" in shown
    assert "/there: No such file" in shown
    assert left(root) == []


@pytest.mark.parametrize(
    ("instruction", "said"),
    [
        ('RUN ["nosuch"]', "nosuch"),
        ("COPY nowhere /", "nowhere"),
        ("ADD http://127.0.0.1:1/x /", "http://127.0.0.1:1/x"),
    ],
)
def test_a_step_that_cannot_be_done_ends_with_1(build, instruction, said):
    failed = build(f"FROM alpine\n{instruction}\n", code=1)
    assert failed.stderr.startswith("minicontainer: Dockerfile:2: ")
    assert said in failed.stderr
    assert f"\n    {instruction}\n" in failed.stderr


def test_a_dockerfile_that_cannot_be_read_ends_with_1_before_anything_is_done(build):
    failed = build("FROM alpine\nRUN true\nRUM false\n", code=1)
    assert failed.stderr.startswith("minicontainer: Dockerfile:3: unknown instruction: RUM")
    assert failed.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_build_that_is_interrupted_leaves_nothing(build, cli, root, number):
    (build.context / "Dockerfile").write_text(SLOW)
    process = subprocess.Popen(
        [*cli.argv, "build", build.context], stdout=subprocess.PIPE, env=cli.env, text=True
    )
    assert process.stdout
    assert any(line == "one\n" for line in process.stdout)
    begun = time.monotonic()
    process.send_signal(number)
    assert process.wait(10) in (128 + number, -number)
    assert time.monotonic() - begun < 2
    if number == signal.SIGKILL:  # nobody could clean up; the monitors end the containers, and we the rest
        until(lambda: not sleepers(), seconds=10)
        cli("ps")
    assert left(root) == []


@pytest.fixture
def archive(tmp_path: pathlib.Path) -> pathlib.Path:
    """A context as a tar archive, whose build does not end by itself."""
    context = tmp_path / "packed"
    context.mkdir()
    (context / "file").write_text("in the context")
    (context / "Dockerfile").write_text(f"FROM alpine\nCOPY file /\nRUN echo one; {LONG}\n")
    subprocess.run(["tar", "-C", context, "-cf", tmp_path / "context.tar", "."], check=True)
    return tmp_path / "context.tar"


@pytest.fixture
def address(archive: pathlib.Path) -> Iterator[str]:
    """Where the archive can be fetched from."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=archive.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/{archive.name}"
        server.shutdown()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("what", ["-", "URL"])
def test_a_context_that_was_unpacked_goes_with_its_build(cli, root, tmp_path, archive, address, what, number):
    (tmp_path / "temporary").mkdir()
    with open(archive, "rb") as stdin:
        process = subprocess.Popen(
            [*cli.argv, "build", address if what == "URL" else what],
            stdin=stdin,
            stdout=subprocess.PIPE,
            env={**cli.env, "TMPDIR": str(tmp_path / "temporary")},
            text=True,
        )
    assert process.stdout
    assert any(line == "one\n" for line in process.stdout)
    process.send_signal(number)
    assert process.wait(10) in (128 + number, -number)
    if number == signal.SIGKILL:
        assert any(name.startswith("jobs/") for name in left(root)), "what the next command is to find"
        until(lambda: not sleepers(), seconds=10)
        cli("images")
    assert left(root) == []
    assert os.listdir(tmp_path / "temporary") == []


def test_nobody_reads_on(build, cli, root):
    (build.context / "Dockerfile").write_text(f"FROM alpine\nRUN seq 100000; {LONG}\n")
    process = subprocess.Popen([*cli.argv, "build", build.context], stdout=subprocess.PIPE, env=cli.env)
    assert process.stdout
    process.stdout.read(100)
    process.stdout.close()
    assert process.wait(10) == 141
    assert left(root) == []


# ------------------------------------------------------------------ at a terminal


def environment(cli: Cli, term: str = "xterm") -> dict[str, str]:
    kept = {name: value for name, value in cli.env.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    return {**kept, "TERM": term}


def test_a_terminal_shows_a_line_for_each_step(build, cli):
    (build.context / "Dockerfile").write_text("FROM alpine\nRUN echo hello; sleep 1\nENV a=b\n")
    argv = [*cli.argv, "build", "-t", "watched", str(build.context)]
    with Terminal(argv, environment(cli)) as terminal:
        terminal.expect(r"2/3 RUN echo hello; sleep 1")
        terminal.expect("hello")
        terminal.expect(r"Successfully built [0-9a-f]{12} in \d\.\ds")
        terminal.expect("Successfully tagged watched:latest")
        assert terminal.wait() == 0
        assert "Step" not in terminal.shown
        assert re.search(r"\x1b\[32m +\d\.\ds\x1b\[0m 1/3 FROM alpine", terminal.shown)
    with Terminal(argv, environment(cli) | {"NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 0
        assert "\r\n  CACHED 2/3 RUN echo hello; sleep 1\r\n  CACHED 3/3 ENV a=b\r\n" in terminal.shown
        assert "\x1b" not in terminal.shown


def test_a_terminal_shows_why_a_step_has_failed(build, cli):
    (build.context / "Dockerfile").write_text("FROM alpine\nRUN echo the reason; exit 3\n")
    with Terminal([*cli.argv, "build", str(build.context)], environment(cli), columns=200) as terminal:
        assert terminal.wait() == 3
        assert re.search(
            r"(?s)2/2 RUN echo.*\r\n +the reason\r\n.*Dockerfile:2: the command .* code: 3\r\n.*run --rm -it ",
            terminal.shown,
        )


def test_ctrl_c_ends_a_build_at_once(build, cli, root):
    (build.context / "Dockerfile").write_text(SLOW)
    with Terminal([*cli.argv, "build", str(build.context)], environment(cli)) as terminal:
        terminal.expect("one")
        terminal.expect("two")
        begun = time.monotonic()
        terminal.type("\x03")
        assert terminal.wait(10) == 130
        assert time.monotonic() - begun < 2
        assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") == 1
        terminal.shown = terminal.shown.rpartition("\x1b[2K")[2]
        assert re.search(r"STOPPED\x1b\[0m 2/6 RUN echo one", terminal.shown)
        assert re.search(r"STOPPED\x1b\[0m 4/6 RUN echo two", terminal.shown)
    assert left(root) == []


@pytest.mark.parametrize(
    ("options", "term", "columns"),
    [(["--progress", "plain"], "xterm", 80), ([], "dumb", 80), ([], "xterm", 20)],
)
def test_where_nothing_can_be_drawn_there_is_the_log(build, cli, options, term, columns):
    (build.context / "Dockerfile").write_text("FROM alpine\nRUN echo out; sleep 0.1; echo err >&2\n")
    argv = [*cli.argv, "build", "--no-cache", *options, str(build.context)]
    with Terminal(argv, environment(cli, term), columns=columns) as terminal:
        assert terminal.wait() == 0
        assert "Step 2/2 : RUN echo out" in terminal.shown
        red = "\x1b[91merr\r\n\x1b[0m" if term == "xterm" else "out\r\nerr\r\n"
        assert red in terminal.shown


# ------------------------------------------------------------------ and besides


def test_a_build_of_steps_that_are_known_imports_only_what_it_uses(build, cli):
    text = "FROM alpine\nENV a=b\nRUN true\nCOPY Dockerfile /\n"
    build(text)
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import minicontainer.cli.main as m; m.main()"
    argv = [sys.executable, "-I", "-X", "importtime", "-c", code, *cli.argv[3:], "build", str(build.context)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.count("Using cache") == 3
    argv[5:] = ["0"]
    site = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = imported(done.stderr) - imported(site.stderr)
    heavy = set(HEAVY) - {"hashlib"}  # it makes the digests that the cache goes by
    assert {name for name in found if name.split(".")[0] in heavy} == set()
    assert "minicontainer.cli.building" not in found


def test_prune_forgets_what_no_image_needs(build, cli):
    build("FROM alpine\nRUN echo kept > /kept\n", "-t", "kept")
    build("FROM alpine\nRUN echo lost > /lost\nRUN false\n", code=1)
    done = cli("builder", "prune", "-f")
    assert re.fullmatch(
        r"Deleted build cache objects:\n([0-9a-f]+\n)+\nTotal reclaimed space: \S+B\n", done.stdout
    )
    assert "Using cache" in build("FROM alpine\nRUN echo kept > /kept\n").stdout
    assert "Using cache" not in build("FROM alpine\nRUN echo lost > /lost\n").stdout
    cli("builder", "prune", "-af")
    assert "Using cache" not in build("FROM alpine\nRUN echo kept > /kept\n").stdout


def test_prune_asks_and_takes_filters(cli):
    asked = cli("builder", "prune", input="n\n")
    assert "This will remove all dangling build cache." in asked.stdout
    assert "This will remove all build cache." in cli("builder", "prune", "--all", input="n\n").stdout
    assert "Total reclaimed space: 0B" in cli("builder", "prune", "-f", "--filter", "until=24h").stdout
    assert "invalid filter 'size'" in cli("builder", "prune", "-f", "--filter", "size=1", code=1).stderr
    assert (
        "--keep-storage is not supported"
        in cli("builder", "prune", "-f", "--keep-storage", "1g", code=1).stderr
    )
