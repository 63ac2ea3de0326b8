"""Builds: stages, the cache, RUN and what it sees, and what is left when a build ends in another way than well."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import threading
import time

import pytest
from conftest import Cli
from waiting import until

from minicontainer.build.api import build_image
from minicontainer.build.builder import StepFailed
from minicontainer.build.report import Report, Step
from minicontainer.engine import build_cache
from minicontainer.engine.container import Container
from minicontainer.engine.engine import Engine
from minicontainer.errors import Conflict, Error, NotFound
from minicontainer.images import checking
from minicontainer.images.image import Image


class Listener(Report):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.hits: list[str] = []
        self.text = b""
        self.warnings: list[str] = []

    def begin(self, step: Step) -> None:
        self.begun.append(step.text)

    def cached(self, step: Step) -> None:
        self.hits.append(step.text)

    def output(self, step: Step, stream: int, data: bytes) -> None:
        self.text += data

    def warning(self, step: Step | None, text: str) -> None:
        self.warnings.append(text)


class Builder:
    """Builds Dockerfiles of a context of one's own."""

    def __init__(self, engine: Engine, directory: pathlib.Path) -> None:
        self.engine = engine
        self.directory = directory

    def __call__(self, dockerfile: str, *tags: str, **options: object) -> tuple[Image, Listener]:
        (self.directory / "Dockerfile").write_text(dockerfile)
        heard = Listener()
        return build_image(str(self.directory), *tags, report=heard, engine=self.engine, **options), heard

    def run(self, image: Image, script: str) -> str:
        """What a script prints in a container of an image."""
        from minicontainer import run

        return str(run(image.id, ["sh", "-c", script], engine=self.engine, entrypoint="", check=False))


@pytest.fixture
def build(engine: Engine, tmp_path: pathlib.Path):
    yield Builder(engine, tmp_path)
    is_clean(engine)
    build_cache.prune(engine, all=True)


def is_clean(engine: Engine) -> None:
    """No container, job or mount is left, and the store is whole."""
    assert engine.containers(all=True) == []
    assert [name for name in os.listdir(os.path.join(engine.root, "jobs")) if name != ".lock"] == []
    assert engine.root not in pathlib.Path("/proc/self/mounts").read_text()
    assert engine.images.leftovers() == []
    assert list(checking.problems(engine.images, {}, checking.Checked())) == []


# ------------------------------------------------------------------ stages


def test_a_step_is_a_layer_and_a_row_of_history(build: Builder) -> None:
    image, heard = build("FROM alpine\nRUN echo a > /a\nENV X=y\nRUN true\nRUN rm /a\n", "made:1", "made:2")
    assert heard.begun == ["FROM alpine", "RUN echo a > /a", "ENV X=y", "RUN true", "RUN rm /a"]
    assert len(image.diff_ids) == 3, "RUN true has changed nothing"
    assert [row.get("empty_layer", False) for row in image.config["history"][1:]] == [
        False,
        True,
        True,
        False,
    ]
    assert build.run(image, "echo $X; ls /a 2>&1") == "y\nls: /a: No such file or directory\n"
    assert {name.familiar for name in build.engine.images.find("made:1").names} == {"made:1", "made:2"}


def test_stages_that_are_not_needed_are_not_built(build: Builder) -> None:
    text = "FROM alpine AS a\nRUN echo a > /a\nFROM alpine AS b\nRUN false\nFROM a\nRUN cat /a\n"
    _, heard = build(text)
    assert heard.text == b"a\n" and "RUN false" not in heard.begun
    _, heard = build(text, target="A")
    assert heard.begun == ["FROM alpine AS a", "RUN echo a > /a"] and heard.hits == ["RUN echo a > /a"]
    with pytest.raises(NotFound, match="target c in Dockerfile; its stages are a, b, 2"):
        build(text, target="c")


def test_independent_stages_are_built_side_by_side(build: Builder) -> None:
    text = "".join(f"FROM alpine AS s{n}\nRUN sleep 2; echo {n} > /{n}\n" for n in range(3))
    text += "FROM alpine\n" + "".join(f"COPY --from=s{n} /{n} /\n" for n in range(3))
    begun = time.monotonic()
    image, _ = build(text)
    assert time.monotonic() - begun < 5.5, "one after the other takes six seconds and more"
    assert build.run(image, "cat /0 /1 /2") == "0\n1\n2\n"


def test_stage_that_fails_ends_those_beside_it(build: Builder) -> None:
    begun = time.monotonic()
    with pytest.raises(StepFailed, match=r"Dockerfile:4: the command .*exit 3.* returned a non-zero code: 3"):
        build(
            "FROM alpine AS slow\nRUN sleep 100\n"
            "FROM alpine AS bad\nRUN sleep 0.5; exit 3\n"
            "FROM slow\nCOPY --from=bad /etc/hostname /\n"
        )
    assert time.monotonic() - begun < 20


# ------------------------------------------------------------------ the cache


def test_what_was_made_is_not_made_again(build: Builder) -> None:
    text = "FROM alpine\nARG WHO=nobody\nRUN echo $WHO > /who; cat /proc/sys/kernel/random/uuid > /stamp\nCMD x\n"
    first, _ = build(text)
    again, heard = build(text)
    assert again.id == first.id and len(heard.hits) == 3
    other, heard = build(text, build_args={"WHO": "me"})
    assert heard.hits == ["ARG WHO=nobody"] and build.run(other, "cat /who") == "me\n"
    anew, heard = build(text, no_cache=True)
    assert heard.hits == [] and build.run(anew, "cat /stamp") != build.run(first, "cat /stamp")
    assert build(text)[0].id == anew.id, "what was made last counts"


def test_a_step_made_again_has_all_that_follow_made_again(build: Builder) -> None:
    build("FROM alpine\nRUN echo 1\nRUN echo 2\nRUN echo 3\n")
    _, heard = build("FROM alpine\nRUN echo 1\nRUN echo two\nRUN echo 3\n")
    assert heard.hits == ["RUN echo 1"]


def test_image_of_elsewhere_can_be_the_cache(build: Builder) -> None:
    text = "FROM alpine\nRUN cat /proc/sys/kernel/random/uuid > /stamp\nENV A=b\n"
    first, _ = build(text, "seen:1")
    build_cache.prune(build.engine, all=True)
    second, heard = build(text, cache_from=["seen:1", "not/here:1"])
    assert len(heard.hits) == 2 and second.diff_ids == first.diff_ids
    assert heard.warnings == ["--cache-from not/here:1: no such image here"]
    _, heard = build(text.replace("stamp", "other"), cache_from=["seen:1"])
    assert heard.hits == []


def test_pruning_the_cache(build: Builder, cli: Cli) -> None:
    build("FROM alpine\nRUN head -c 100000 /dev/zero > /z\nRUN true\n", "kept:1")
    with pytest.raises(StepFailed):
        build("FROM alpine\nRUN head -c 200000 /dev/zero > /z\nRUN false\n")
    usage = build_cache.usage(build.engine)
    assert (usage.total, usage.active, usage.size) == (3, 2, 200_000)
    keys, freed = build_cache.prune(build.engine)
    assert len(keys) == 1 and 400_000 < freed < 420_000, "as blob and as files"
    assert build_cache.usage(build.engine).size == 0
    assert len(build("FROM alpine\nRUN head -c 100000 /dev/zero > /z\nRUN true\n")[1].hits) == 2
    assert len(build_cache.prune(build.engine, all=True)[0]) == 2
    assert build.run(build.engine.images.find("kept:1"), "wc -c < /z") == "100000\n"


def test_layers_of_a_removed_image_stay_for_the_cache(build: Builder) -> None:
    text = "FROM alpine\nRUN echo x > /x\nRUN cat /x\n"
    build(text, "gone:1")
    build.engine.remove_image("gone:1")
    image, heard = build(text)
    assert len(heard.hits) == 2 and build.run(image, "cat /x") == "x\n"


def test_the_image_of_a_step_can_be_looked_into(build: Builder, cli: Cli) -> None:
    with pytest.raises(StepFailed) as failure:
        build("FROM alpine\nRUN echo so far > /f\nRUN false\n")
    image = failure.value.image
    assert f"run --rm -it {image.short_id} /bin/sh" in str(failure.value)
    assert cli.out("run", "--rm", image.short_id, "cat", "/f") == "so far"
    assert image.short_id not in cli.out("images") and image.short_id in cli.out("images", "-a")


# ------------------------------------------------------------------ RUN


def test_run_has_the_image_s_environment_user_and_directory(build: Builder) -> None:
    _, heard = build(
        "FROM alpine\nENV A=1\nARG B=2\nWORKDIR /some/where\nUSER guest\nRUN echo $A $B $(pwd) $(id -un)\n"
    )
    assert heard.text == b"1 2 /some/where guest\n"


def test_exec_form_has_no_shell_and_shell_may_be_another(build: Builder) -> None:
    _, heard = build(
        'FROM alpine\nRUN ["printf", "%s|", "$HOME", ""]\nSHELL ["/bin/sh", "-xc"]\nRUN echo hi\n'
    )
    assert heard.text == b"$HOME||+ echo hi\nhi\n"


def test_commands_that_only_look_the_same_are_others(build: Builder) -> None:
    build('FROM alpine\nRUN ["printf", "%s|", "a", "b"]\n')
    _, heard = build('FROM alpine\nRUN ["printf", "%s|", "a b"]\n')
    assert heard.hits == [] and heard.text == b"a b|"


def test_words_of_one_arg_do_not_see_each_other(build: Builder) -> None:
    text = "ARG A=1\nARG A=2 B=$A\nFROM alpine\nARG B\nARG C=3\nARG C=4 D=$C\nRUN echo $B $D\n"
    assert build(text)[1].text == b"1 3\n"


def test_argument_is_gone_when_the_build_is(build: Builder) -> None:
    text = "FROM alpine\nARG TOKEN\nRUN echo -n $TOKEN | wc -c\n"
    image, heard = build(text, build_args={"TOKEN": "12345", "http_proxy": "http://proxy:1", "OTHER": "x"})
    assert heard.text == b"5\n" and build.run(image, "echo -$TOKEN-$http_proxy-") == "---\n"
    assert heard.warnings == ["one or more build-args [OTHER] were not consumed"]
    assert "proxy" not in str(image.config) and "|1 TOKEN=12345 /bin/sh" in str(image.config)


def test_failed_step_says_where_and_what(build: Builder) -> None:
    with pytest.raises(StepFailed) as failure:
        build("FROM alpine\n\nRUN echo before; \\\n    exit 9\n")
    assert failure.value.exit_code == 9
    assert "Dockerfile:3: the command" in str(failure.value) and "non-zero code: 9" in str(failure.value)
    with pytest.raises(StepFailed, match=r"Dockerfile:2: .*nonesuch"):
        build('FROM alpine\nRUN ["nonesuch"]\n')
    with pytest.raises(StepFailed, match=r"Dockerfile:2: .*sh"):
        build("FROM scratch\nRUN true\n")


def test_changes_below_a_volume_are_dropped(build: Builder) -> None:
    image, _ = build("FROM alpine\nRUN mkdir /v && echo 1 > /v/1\nVOLUME /v\nRUN echo 2 > /v/2; ls /v\n")
    assert build.run(image, "ls /v") == "1\n"
    assert build.engine.volumes.all() == []


def test_limits_hold_for_the_steps(build: Builder) -> None:
    with pytest.raises(StepFailed, match="137"):
        build("FROM alpine\nRUN tail /dev/zero\n", memory="16m")


# ------------------------------------------------------------------ RUN --mount


def test_cache_mount_stays_and_is_not_in_the_image(build: Builder) -> None:
    text = "FROM alpine\nRUN --mount=type=cache,target=/c/d echo {0} >> /c/d/list; cat /c/d/list\n"
    image, heard = build(text.format("one"))
    assert heard.text == b"one\n"
    image, heard = build(text.format("two"))
    assert (
        heard.text == b"one\ntwo\n"
        and build.run(image, "ls /c 2>&1") == "ls: /c: No such file or directory\n"
    )


def test_locked_cache_is_for_one_at_a_time(build: Builder) -> None:
    line = "RUN --mount=type=cache,id=x,sharing=locked,target=/c "
    line += "[ ! -e /c/in ] && touch /c/in && sleep 0.3 && rm /c/in\n"
    text = "".join(f"FROM alpine AS s{n}\n{line}" for n in range(3)) + "FROM alpine\n"
    text += "".join(f"COPY --from=s{n} /etc/hostname /{n}\n" for n in range(3))
    build(text)


def test_secret_is_seen_by_its_step_alone(build: Builder) -> None:
    image, heard = build(
        "FROM alpine\nRUN --mount=type=secret,id=key,mode=0440 stat -c %a /run/secrets/key; cat /run/secrets/key\n"
        "RUN --mount=type=secret,id=key,env=KEY echo $KEY\nRUN ls /run/secrets 2>&1 | wc -l; echo -$KEY-\n",
        secrets={"key": b"hush\n"},
    )
    assert heard.text == b"440\nhush\nhush\n1\n--\n"
    assert build.run(image, "find / -xdev -name key | wc -l") == "0\n" and "hush" not in str(image.config)
    with pytest.raises(StepFailed, match="secret other was not given"):
        build("FROM alpine\nRUN --mount=type=secret,id=other,required true\n")


def test_tmpfs_and_bind_mounts(build: Builder) -> None:
    (build.directory / "file").write_text("of the context\n")
    text = (
        "FROM alpine AS a\nRUN mkdir /x; echo of the stage > /x/y\nFROM alpine\n"
        "RUN --mount=type=tmpfs,target=/t grep -c ' /t tmpfs' /proc/mounts; touch /t/1\n"
        "RUN --mount=target=/ctx cat /ctx/file; touch /ctx/new 2>&1 || true\n"
    )
    image, heard = build(text + "RUN --mount=from=a,source=/x/y,target=/in/y cat /in/y\n", no_cache=True)
    assert heard.text == b"1\nof the context\ntouch: /ctx/new: Read-only file system\nof the stage\n" or (
        pytest.fail(heard.text.decode())
    )
    assert build.run(image, "ls -d /t /ctx /in 2>/dev/null") == ""


@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        ("type=nothing,target=/x", "no type 'nothing'; there is bind, cache, tmpfs, secret"),
        ("type=tmpfs", "it needs a target"),
        ("type=cache,target=/x,sharing=some", "sharing is one of shared, private, locked"),
        ("type=tmpfs,target=/x,uid=0", "a tmpfs has no 'uid'"),
        ("type=ssh", "no ssh agent"),
        ("type=bind,from=nonesuch/image,target=/x", "nonesuch/image"),
    ],
)
def test_mounts_that_cannot_be(build: Builder, mount: str, reason: str) -> None:
    with pytest.raises(StepFailed, match=reason):
        build(f"FROM alpine\nRUN --mount={mount} true\n")


def test_heredocs_are_scripts(build: Builder) -> None:
    _, heard = build(
        "FROM alpine\nRUN <<EOF\necho one\necho two\nEOF\n"
        'RUN <<EOF\n#!/usr/bin/awk BEGIN{print "awk"}\nEOF\n'
        "RUN cat <<A && cat <<-B\na $HOME\nA\n\t\tb\nB\n"
    )
    assert heard.text == b"one\ntwo\nawk\na /root\nb\n"


# ------------------------------------------------------------------ ONBUILD and labels


def test_triggers_run_in_the_next_build_and_not_after(build: Builder) -> None:
    build("FROM alpine\nONBUILD RUN echo triggered > /t\nONBUILD ENV T=1\n", "base:1")
    image, _ = build("FROM base:1\nRUN cat /t\n")
    assert build.run(image, "cat /t; echo $T") == "triggered\n1\n" and not image.settings.get("OnBuild")


def test_stage_that_is_known_too_late_is_named(build: Builder) -> None:
    build("FROM alpine\nONBUILD COPY --from=tools /etc/motd /\n", "late:1")
    with pytest.raises(StepFailed, match=r"Dockerfile:2|ONBUILD") as failure:
        build("FROM alpine AS tools\nFROM late:1\n")
    assert "stage tools is not built before this one" in str(failure.value)
    image, _ = build("FROM alpine AS tools\nFROM late:1\nCOPY --from=tools /etc/motd /again\n")
    assert build.run(image, "cmp /motd /again && echo same") == "same\n"
    _, heard = build(
        "FROM alpine AS a\nRUN echo x > /x\nFROM alpine\nRUN --mount=target=/m,From=a cat /m/x\n"
    )
    assert heard.text == b"x\n", "keys are in any case"


def test_labels_that_are_asked_for_come_last(build: Builder) -> None:
    image, _ = build("FROM alpine\nLABEL a=1 b=2\n", labels={"a": 'x "y" $z', "c": ""})
    assert image.settings["Labels"] == {"a": 'x "y" $z', "b": "2", "c": ""}


def test_entrypoint_drops_an_inherited_command_only(build: Builder) -> None:
    assert "Cmd" not in build('FROM alpine\nENTRYPOINT ["x"]\n')[0].settings
    assert build('FROM alpine\nCMD ["y"]\nENTRYPOINT ["x"]\n')[0].settings["Cmd"] == ["y"]


def test_nothing_made_is_an_error(build: Builder) -> None:
    with pytest.raises(Error, match="no image was generated"):
        build("FROM scratch\n")


# ------------------------------------------------------------------ sudden ends


def begin(cli: Cli, directory: pathlib.Path, *words: str) -> subprocess.Popen[str]:
    argv = [*cli.argv, "build", *words, str(directory)]
    return subprocess.Popen(argv, env=cli.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_sleep(engine: Engine, how_many: int) -> None:
    """Until so many steps have started their programs, which each of them does in a container of its own."""
    until(lambda: [program(each) for each in engine.containers()].count("sleep") == how_many)


def program(container: Container) -> str:
    """The name of what a container runs; of one that has ended meanwhile, nothing."""
    try:
        return pathlib.Path(f"/proc/{container.pid}/comm").read_text().strip()
    except (OSError, Conflict):
        return ""


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_ended_leaves_nothing_running(
    engine: Engine, cli: Cli, tmp_path: pathlib.Path, how: signal.Signals, stages: int
) -> None:
    text = "".join(f"FROM alpine AS s{n}\nRUN echo {n} > /f\nRUN sleep 100\n" for n in range(stages))
    text += "FROM alpine\n" + "".join(f"COPY --from=s{n} /etc/hostname /{n}\n" for n in range(stages))
    (tmp_path / "Dockerfile").write_text(text)
    process = begin(cli, tmp_path)
    wait_for_sleep(engine, stages)
    pids = [container.pid for container in engine.containers()]
    process.send_signal(how)
    process.communicate(timeout=20)
    assert process.returncode == {signal.SIGKILL: -signal.SIGKILL}.get(how, 128 + how)
    until(
        lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids),
        "what ran for the build has not ended",
        seconds=5,
    )
    cli("ps")
    is_clean(engine)
    build_cache.prune(engine, all=True)


@pytest.mark.slow
def test_builds_killed_at_any_moment(engine: Engine, cli: Cli, tmp_path: pathlib.Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM alpine\nRUN echo 1 > /1\nCOPY . /c\nRUN echo 2 > /2\nWORKDIR /w\n"
    )
    for hundredths in range(4, 64, 3):
        process = begin(cli, tmp_path, "--no-cache")
        time.sleep(hundredths / 100)
        process.kill()
        process.communicate()
        cli("ps")
        is_clean(engine)
    assert process.returncode in (0, -signal.SIGKILL)
    build_cache.prune(engine, all=True)


def test_many_builds_at_once(engine: Engine, tmp_path: pathlib.Path) -> None:
    """The same and other steps, in threads of one program; each image has what its own Dockerfile says."""
    failures: list[BaseException] = []

    def one(number: int) -> None:
        directory = tmp_path / str(number)
        directory.mkdir()
        try:
            text = f"FROM alpine\nRUN echo same > /same\nRUN echo {number % 3} > /n\n"
            image, _ = Builder(engine, directory)(text, f"many:{number}")
            assert Builder(engine, directory).run(image, "cat /same /n") == f"same\n{number % 3}\n"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    is_clean(engine)
    build_cache.prune(engine, all=True)
