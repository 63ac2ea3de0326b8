"""What the founding documents show of Dockerfiles, typed at minicontainer, and the numbers that they promise.

An image from nothing, each instruction, stages, the cache, .dockerignore, and why fewer and smaller layers.
"""

from __future__ import annotations

import functools
import http.server
import json
import pathlib
import re
import tarfile
import textwrap
import threading
import uuid
from collections.abc import Iterator

import pytest
from conftest import Cli, engine_with_alpine

OS_RELEASE = (
    'NAME="My cool-and-small image"\nID=alpine\nVERSION_ID=1.0\nPRETTY_NAME="Based on Alpine Linux"\n'
)
SCRATCH = """
    FROM scratch
    ADD alpine-minirootfs.tar.gz /
    COPY os-release /etc/
    CMD ["/bin/sh"]
"""


class Kitchen:
    """A store of its own, a directory to build in, and a command line."""

    def __init__(self, cli: Cli, place: pathlib.Path) -> None:
        self.cli, self.place = cli, place
        self.log = ""  #: what the last build said

    def build(self, files: dict[str, str | bytes], *options: str, code: int = 0, name: str = "") -> str:
        """Build in a directory with these files; returns the image's name."""
        context = self.place / uuid.uuid4().hex[:8]
        for path, content in files.items():
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            data = content if isinstance(content, bytes) else textwrap.dedent(content).lstrip("\n").encode()
            (context / path).write_bytes(data)
        name = name or f"example/{context.name}"
        done = self.cli("build", "-t", name, *options, context, code=code)
        self.log = done.stdout + done.stderr
        return name

    def run(self, image: str, script: str) -> list[str]:
        """The words that a shell's line prints in a container of the image."""
        return self.cli.out("run", "--rm", image, "sh", "-c", script).split()

    def inspect(self, image: str, template: str) -> object:
        return json.loads(self.cli.out("image", "inspect", "--format", f"{{{{json {template}}}}}", image))

    def layers(self, image: str) -> int:
        layers = self.inspect(image, ".RootFS.Layers")
        assert isinstance(layers, list)
        return len(layers)

    def size(self, image: str) -> int:
        size = self.inspect(image, ".Size")
        assert isinstance(size, int)
        return size


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory, rootfs_archive: str) -> Iterator[Kitchen]:
    """A store with the image alpine."""
    engine = engine_with_alpine(str(tmp_path_factory.mktemp("kitchen")), rootfs_archive)
    kitchen = Kitchen(Cli(engine.root), tmp_path_factory.mktemp("contexts"))
    yield kitchen
    assert kitchen.cli.out("ps", "-aq") == "", "containers of builds are left"


# ------------------------------------------------------------------ an image from nothing


@pytest.fixture(scope="module")
def scratch(kitchen: Kitchen, rootfs_archive: str) -> str:
    """FROM scratch, a root filesystem, a file of one's own. An image is asked for in the documents' own words."""
    archive = pathlib.Path(rootfs_archive).read_bytes()
    files = {"Dockerfile": SCRATCH, "alpine-minirootfs.tar.gz": archive, "os-release": OS_RELEASE}
    return kitchen.build(files, name="example/scratch:1.0")


def test_scratch_says_what_it_does_step_by_step(kitchen: Kitchen, rootfs_archive: str) -> None:
    archive = pathlib.Path(rootfs_archive).read_bytes()
    files = {"Dockerfile": SCRATCH, "alpine-minirootfs.tar.gz": archive, "os-release": OS_RELEASE}
    kitchen.build(files, "--no-cache", name="example/scratch:2.0")
    steps = [line for line in kitchen.log.splitlines() if line.startswith("Step ")]
    assert steps == [
        "Step 1/4 : FROM scratch",
        "Step 2/4 : ADD alpine-minirootfs.tar.gz /",
        "Step 3/4 : COPY os-release /etc/",
        'Step 4/4 : CMD ["/bin/sh"]',
    ]
    assert len(re.findall("^ ---> [0-9a-f]{12}$", kitchen.log, re.M)) == 3
    short = kitchen.cli.out("images", "-q", "example/scratch:2.0")
    assert f"Successfully built {short}\nSuccessfully tagged example/scratch:2.0\n" in kitchen.log


def test_scratch_is_a_whole_system(kitchen: Kitchen, scratch: str) -> None:
    cli = kitchen.cli
    assert cli("run", "--rm", scratch, "cat", "/etc/os-release").stdout == OS_RELEASE
    shown, code = cli.tty("run", "--rm", "-it", scratch, "sh", type=("cat /etc/os-release\n", "exit 7\n"))
    assert "My cool-and-small image" in shown and code == 7
    row = next(row for row in cli.out("image", "ls").splitlines() if row.startswith("example/scratch "))
    assert re.fullmatch(r"example/scratch +[12]\.0 +[0-9a-f]{12} .*[0-9.]+MB", row)
    assert kitchen.layers(scratch) == 2
    assert kitchen.inspect(scratch, ".Config.Cmd") == ["/bin/sh"]


def test_scratch_remembers_how_it_was_made(kitchen: Kitchen, scratch: str) -> None:
    rows = kitchen.cli.out("history", scratch).splitlines()
    assert len(rows) == 4
    assert 'CMD ["/bin/sh"]' in rows[1] and rows[1].split()[-1] == "0B"
    assert "COPY file:" in rows[2] and rows[2].split()[-1] == f"{len(OS_RELEASE)}B"
    assert "ADD file:" in rows[3] and rows[3].split()[-1].endswith("MB")


# ------------------------------------------------------------------ each instruction


@pytest.fixture
def website(tmp_path: pathlib.Path) -> Iterator[str]:
    """The address of a server that has one file."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    (tmp_path / "remote.txt").write_text("from afar\n")
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)
    ) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_copy_and_add(kitchen: Kitchen, website: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "inner").write_text("inner\n")
    with tarfile.open(tmp_path / "sample.tar", "w") as tar:
        tar.add(tmp_path / "inner", "unpacked/inner")
    dockerfile = f"""
        FROM alpine
        COPY . /app
        COPY ./web /app/web
        COPY sample.txt /data/my-sample.txt
        ADD sample.tar /app/bin/
        ADD {website}/remote.txt /data/
        COPY ./sample* /mydir/
        ADD --chown=11:22 ./data/files* /app/data/
        COPY --chown=guest:users sample.txt /owned
    """
    image = kitchen.build(
        {
            "Dockerfile": dockerfile,
            "sample.txt": "s",
            "sample.tar": (tmp_path / "sample.tar").read_bytes(),
            "web/index.html": "<p>",
            "data/files1": "1",
            "data/files2": "2",
            "data/other": "o",
        }
    )
    show = "cat /app/bin/unpacked/inner /data/remote.txt /data/my-sample.txt"
    assert kitchen.run(image, show) == ["inner", "from", "afar", "s"]
    assert kitchen.run(image, "ls /app /app/web /mydir; ls /app/data") == [
        *("/app:", "Dockerfile", "bin", "data", "sample.tar", "sample.txt", "web"),
        *("/app/web:", "index.html", "/mydir:", "sample.tar", "sample.txt", "files1", "files2", "other"),
    ]
    assert kitchen.run(image, "cd /app; stat -c %u:%g sample.txt data/*") == ["0:0", "11:22", "11:22", "0:0"]
    assert kitchen.run(image, "stat -c %a /data/remote.txt; stat -c %U:%G /owned") == ["600", "guest:users"]


def test_an_owner_that_the_image_does_not_know_is_named(kitchen: Kitchen) -> None:
    kitchen.build({"Dockerfile": "FROM alpine\nCOPY --chown=nobodyhere:users f /f\n", "f": ""}, code=1)
    assert "nobodyhere" in kitchen.log


def test_workdir_is_remembered_and_cd_is_not(kitchen: Kitchen) -> None:
    by_cd = kitchen.build(
        {"Dockerfile": "FROM alpine\nRUN mkdir -p /app/bin; cd /app/bin\nRUN touch sample.txt\n"}
    )
    by_workdir = kitchen.build(
        {"Dockerfile": "FROM alpine\nWORKDIR /app/bin\nRUN touch sample.txt\nWORKDIR ..\n"}
    )
    assert kitchen.run(by_cd, "ls /sample.txt; ls /app/bin") == ["/sample.txt"]
    assert kitchen.run(by_workdir, "ls /app/bin; pwd") == ["sample.txt", "/app"]
    kitchen.cli("run", "--rm", by_workdir, "ls", "/sample.txt", code=1)


def test_entrypoint_is_the_program_and_cmd_its_words(kitchen: Kitchen) -> None:
    cli = kitchen.cli
    pinger = kitchen.build({"Dockerfile": 'FROM alpine\nENTRYPOINT ["ping"]\nCMD ["127.0.0.1", "-c", "3"]\n'})
    assert "3 packets transmitted, 3 packets received" in cli.out("run", "--rm", pinger)
    assert "1 packets transmitted" in cli.out("run", "--rm", pinger, "-c", "1", "127.0.0.1")
    shown, code = cli.tty(
        "run", "--rm", "-it", "--entrypoint", "/bin/sh", pinger, type=("echo $((40+2))\n", "exit\n")
    )
    assert "42" in shown and code == 0
    shell = kitchen.build({"Dockerfile": "FROM alpine\nCMD echo $HOME $((1+1))\n"})
    assert kitchen.inspect(shell, ".Config.Cmd") == ["/bin/sh", "-c", "echo $HOME $((1+1))"]
    assert cli.out("run", "--rm", shell) == "/root 2"
    entry = kitchen.build({"Dockerfile": 'FROM alpine\nENTRYPOINT exec echo entered\nCMD ["not said"]\n'})
    assert cli.out("run", "--rm", entry) == "entered"


def test_variables_arguments_labels_user(kitchen: Kitchen) -> None:
    dockerfile = """
        FROM alpine
        ARG WHO=world
        ENV GREETING="hello ${WHO}" EMPTY=${NONE:-fallback}
        LABEL org.example.who=$WHO
        EXPOSE 8080/tcp 53/udp
        VOLUME /data
        RUN adduser -D app
        USER app
        CMD echo "$GREETING $EMPTY $(id -un)"
    """
    image = kitchen.build({"Dockerfile": dockerfile}, "--build-arg", "WHO=learner")
    assert kitchen.cli.out("run", "--rm", image) == "hello learner fallback app"
    config = kitchen.inspect(image, ".Config")
    assert isinstance(config, dict)
    assert (config["User"], config["Labels"]) == ("app", {"org.example.who": "learner"})
    assert (config["ExposedPorts"], config["Volumes"]) == ({"8080/tcp": {}, "53/udp": {}}, {"/data": {}})


@pytest.mark.parametrize(
    ("dockerfile", "culprit"),
    [
        ("FRM scratch\n", "FRM"),
        ("RUN true\n", "no build stage"),
        ("FROM alpine\nCOPY nowhere /x\n", "nowhere"),
        ("FROM alpine\nRUN exit 9\n", "9"),
        ("", "empty"),
    ],
)
def test_errors_name_the_culprit(kitchen: Kitchen, dockerfile: str, culprit: str) -> None:
    name = kitchen.build({"Dockerfile": dockerfile}, code=None)
    assert culprit in kitchen.log and "Successfully" not in kitchen.log
    kitchen.cli("image", "inspect", name, code=1)


# ------------------------------------------------------------------ what makes a build fast


def steps_from_cache(kitchen: Kitchen) -> int:
    return kitchen.log.count(" ---> Using cache")


PACKAGES_LAST = """
    FROM alpine
    COPY . /app
    RUN cat /proc/sys/kernel/random/uuid > /installed
    CMD ["true"]
"""
PACKAGES_FIRST = """
    FROM alpine
    COPY package.json /app/
    RUN cat /proc/sys/kernel/random/uuid > /installed
    COPY . /app
    CMD ["true"]
"""


@pytest.mark.parametrize(("dockerfile", "again"), [(PACKAGES_LAST, True), (PACKAGES_FIRST, False)])
def test_order_of_copy_decides_whether_the_slow_step_runs_again(
    kitchen: Kitchen, dockerfile: str, again: bool
) -> None:
    """The step leaves another word each time that it runs."""
    files = {"Dockerfile": dockerfile, "package.json": "{}", "src": "1"}
    installed = [kitchen.run(kitchen.build({**files, "src": src}), "cat /installed") for src in ("1", "2")]
    assert (installed[0] != installed[1]) is again
    assert kitchen.run(kitchen.build({**files, "package.json": "{ }"}), "cat /installed") not in installed


def test_cache_goes_as_far_as_nothing_has_changed(kitchen: Kitchen) -> None:
    files = {"Dockerfile": PACKAGES_FIRST + "# a comment", "package.json": "{ 1 }", "src": "1"}
    first = kitchen.build(files)
    same = kitchen.build(files)
    assert steps_from_cache(kitchen) == 4
    assert kitchen.cli.out("images", "-q", same) == kitchen.cli.out("images", "-q", first)
    kitchen.build({**files, "src": "2"})
    assert steps_from_cache(kitchen) == 2
    kitchen.build({**files, "package.json": "{ 2 }"})
    assert steps_from_cache(kitchen) == 0, "once one step is made anew, all that follow are"
    kitchen.build(files, "--no-cache")
    assert steps_from_cache(kitchen) == 0


def test_dockerignore_keeps_a_file_from_the_context(kitchen: Kitchen) -> None:
    rules = "# a comment\n*.log\n!keep.log\nnode_modules\n**/*.tmp\nsecret?\n"
    files = ("a.log", "keep.log", "node_modules/x/y", "d/e/f.tmp", "d/e/f.txt", "secret1", "secret12")
    dockerfile = "FROM alpine\nCOPY . /context\n"
    image = kitchen.build({"Dockerfile": dockerfile, ".dockerignore": rules, **dict.fromkeys(files, "")})
    assert kitchen.run(image, "cd /context; find . -type f | sort") == [
        *("./.dockerignore", "./Dockerfile", "./d/e/f.txt", "./keep.log", "./secret12")
    ]


# ------------------------------------------------------------------ what makes an image small


def test_three_runs_are_three_layers_and_one_joined_run_is_one(kitchen: Kitchen) -> None:
    three = "FROM alpine\nRUN echo a > /a\nRUN echo b > /b\nRUN rm /a\n"
    one = "FROM alpine\nRUN echo a > /a \\\n && echo b > /b \\\n # a comment within\n && rm /a\n"
    images = [kitchen.build({"Dockerfile": dockerfile}) for dockerfile in (three, one)]
    assert [kitchen.layers(image) - kitchen.layers("alpine") for image in images] == [3, 1]
    for image in images:
        assert kitchen.run(image, "ls -d /a /b 2>/dev/null; true") == ["/b"]


def test_what_a_later_step_removes_is_still_carried_along(kitchen: Kitchen) -> None:
    make = "dd if=/dev/urandom of=/big bs=1M count=5 2>/dev/null"
    apart = kitchen.build({"Dockerfile": f"FROM alpine\nRUN {make}\nRUN rm /big\n"})
    joined = kitchen.build({"Dockerfile": f"FROM alpine\nRUN {make} && rm /big\n"})
    assert kitchen.size(apart) - kitchen.size("alpine") >= 5 << 20
    assert kitchen.size(joined) - kitchen.size("alpine") < 1 << 20


MULTISTAGE = """
    FROM alpine AS build
    ARG MEGABYTES
    COPY install-sdk /tmp/
    RUN sh /tmp/install-sdk && rm /tmp/install-sdk
    RUN mkdir /app
    WORKDIR /app
    COPY . /app
    RUN mkdir bin
    RUN /opt/sdk/bin/compile hello.src -o bin/hello

    FROM alpine
    COPY --from=build /app/bin/hello /app/hello
    CMD /app/hello
"""
INSTALL_SDK = r"""
    set -e
    mkdir -p /opt/sdk/bin /opt/sdk/lib /opt/sdk/include
    for n in $(seq 10); do dd if=/dev/zero of=/opt/sdk/lib/lib$n.a bs=100k count=$MEGABYTES 2>/dev/null; done
    for n in $(seq 100); do ls -lR /etc > /opt/sdk/include/h$n.h; done
    printf '#!/bin/sh\n{ echo "#!/bin/sh"; sed "s/^say /echo /" "$1"; } > "$3"; chmod 755 "$3"\n' \
        > /opt/sdk/bin/compile
    chmod 755 /opt/sdk/bin/compile
"""


def test_an_image_without_its_sdk_is_more_than_forty_times_smaller(kitchen: Kitchen) -> None:
    """The documents' SDK weighs 41 times what the base image does; so does this one."""
    megabytes = kitchen.size("alpine") * 41 // 1_000_000
    files = {"Dockerfile": MULTISTAGE, "install-sdk": INSTALL_SDK, "hello.src": "say Hello, World\n"}
    options = ("--build-arg", f"MEGABYTES={megabytes}")
    small = kitchen.build(files, *options, name="example/hello-world-small")
    large = kitchen.build(files, *options, "--target", "build", name="example/hello-world")
    assert kitchen.cli.out("run", "--rm", small) == "Hello, World"
    assert kitchen.cli.out("run", "--rm", large, "bin/hello") == "Hello, World"
    assert kitchen.size(large) > 40 * kitchen.size(small)
    assert kitchen.size(small) - kitchen.size("alpine") < 100, "all that it adds is the program"


def test_a_built_image_is_saved_and_loaded_as_any_other(kitchen: Kitchen, tmp_path: pathlib.Path) -> None:
    cli = kitchen.cli
    image = kitchen.build(
        {"Dockerfile": "FROM alpine\nRUN echo saved > /f; ln -s f /l; mkfifo /p; chmod 4755 /f\n"}
    )
    before = [kitchen.inspect(image, field) for field in (".Id", ".RootFS")]
    cli("image", "save", "-o", tmp_path / "saved.tar", image)
    cli("image", "rm", "-f", image)
    cli("image", "inspect", image, code=1)
    cli("image", "load", "-i", tmp_path / "saved.tar")
    assert [kitchen.inspect(image, field) for field in (".Id", ".RootFS")] == before
    assert kitchen.run(image, "cat /l; stat -c %a /f; stat -c %F /p") == ["saved", "4755", "fifo"]
