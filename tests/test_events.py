"""events: what is said of what happens, in Docker's words, by whoever does it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
from typing import Any

import pytest
from conftest import DOCKER_IMAGE, Cli
from waiting import until

from minicontainer.engine import events
from minicontainer.engine.engine import Engine
from minicontainer.errors import InvalidArgument


def seen(cli: Cli, since: float, *words: str) -> list[dict[str, Any]]:
    said = cli.out("events", "--since", f"{since:.9f}", "--until", "0s", "--format", "json", *words)
    return [json.loads(line) for line in said.split("\n") if line]


def short(found: list[dict[str, Any]]) -> list[str]:
    return [f"{event['Type']} {event['Action']}" for event in found]


# ------------------------------------------------------------------ what is said


def test_the_life_of_a_container(cli: Cli) -> None:
    began = time.time()
    container = cli.out(
        "create", "--name", "one", "--label", "tier=web", "-v", "data:/d", "alpine", "sleep", "1000"
    )
    cli("start", "one")
    cli("exec", "one", "false", code=1)
    for words in (
        "pause one",
        "unpause one",
        "rename one two",
        "kill -s WINCH two",
        "stop -t 0 two",
        "rm two",
    ):
        cli(*words.split())
    cli("volume", "rm", "data")
    found = seen(cli, began)
    assert short(found) == [
        "volume create",
        "container create",
        "network connect",
        "volume mount",
        "container start",
        "container exec_create: false",
        "container exec_start: false",
        "container exec_die",
        "container pause",
        "container unpause",
        "container rename",
        "container kill",
        "container kill",
        "container kill",
        "container die",
        "volume unmount",
        "network disconnect",
        "container stop",
        "container destroy",
        "volume destroy",
    ]
    of_container = [event for event in found if event["Type"] == "container"]
    for event in of_container:
        assert event["id"] == event["Actor"]["ID"] == container and event["from"] == "alpine"
        assert event["status"] == event["Action"] and event["scope"] == "local"
        assert event["time"] == event["timeNano"] // 10**9 and began <= event["timeNano"] / 1e9 <= time.time()
        assert event["Actor"]["Attributes"].items() >= {"image": "alpine", "tier": "web"}.items()
    by_action = {event["Action"]: event["Actor"]["Attributes"] for event in found}
    assert by_action["rename"]["oldName"] == "/one" and by_action["rename"]["name"] == "two"
    assert by_action["die"]["exitCode"] == "137" and by_action["exec_die"]["exitCode"] == "1"
    assert by_action["exec_create: false"]["execID"] == by_action["exec_die"]["execID"]
    assert by_action["mount"] == {
        "container": container,
        "destination": "/d",
        "driver": "local",
        "propagation": "",
        "read/write": "true",
    }
    assert sorted(found, key=lambda event: event["timeNano"]) == found


def test_dockers_own_events_are_the_same(cli: Cli, docker: Any) -> None:
    """What docker says of the same life, without what only it has: networks, attach, and exec's stray spaces."""

    def lived(run: Any, image: str) -> None:
        options = "--name mc-events --network none -v mc-volume:/d".split()
        run("create", *options, image, "sh", "-c", "exit 3")
        run("start", "-a", "mc-events")
        run("rm", "mc-events")
        run("volume", "rm", "mc-volume")

    def lines(text: str) -> list[str]:
        """Without moments, ids, the network, and the attach."""
        kept = [line.partition(" ")[2] for line in text.split("\n") if " network " not in line]
        return sorted(
            re.sub(r"[0-9a-f]{64}", "ID", line).replace(DOCKER_IMAGE, "alpine")
            for line in kept
            if line and " attach " not in line
        )

    began = time.time()
    lived(docker, DOCKER_IMAGE)
    filters = ["--filter", "container=mc-events", "--filter", "type=container"]
    span = ["--since", f"{began:.9f}", "--until", f"{time.time():.9f}"]
    theirs = lines(docker("events", *span, *filters).stdout)
    theirs += lines(docker("events", *span, "--filter", "volume=mc-volume").stdout)
    began = time.time()
    lived(lambda *words: cli(*words, code=None), "alpine")
    ours = lines(cli.out("events", "--since", f"{began:.9f}", "--until", "0s"))
    assert ours == sorted(theirs)


def test_out_of_memory_and_killed_monitors(cli: Cli, engine: Engine) -> None:
    began = time.time()
    cli("run", "--rm", "--memory", "8m", "alpine", "tail", "/dev/zero", code=137)
    assert short(seen(cli, began)) == [
        "container create",
        "network connect",
        *(f"container {action}" for action in ("start", "oom", "die")),
        "network disconnect",
        "container destroy",
    ]
    began = time.time()
    container = cli.out("run", "-d", "alpine", "sleep", "1000")
    found = pathlib.Path("/proc").glob("[0-9]*/cmdline")
    title = f"minicontainer-monitor {container}"
    pids = [int(path.parent.name) for path in found if path.read_bytes().startswith(title.encode())]
    os.kill(pids[0], signal.SIGKILL)
    time.sleep(0.2)
    cli("ps")
    last = seen(cli, began, "--filter", "type=container")[-1]
    assert last["Action"] == "die" and last["Actor"]["Attributes"]["exitCode"] == "137"


def test_the_life_of_an_image(cli: Cli, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("x")
    subprocess.run(["tar", "cf", tmp_path / "image.tar", "-C", tmp_path, "file"], check=True)
    began = time.time()
    image = cli.out("import", "--change", "LABEL a=b", tmp_path / "image.tar", "one")
    cli("tag", "one", "two:3")
    cli("save", "-o", tmp_path / "saved.tar", "two:3")
    cli("load", "-i", tmp_path / "saved.tar")
    cli("rmi", "one")
    cli("rmi", "two:3")
    found = seen(cli, began)
    assert short(found) == [
        f"image {action}" for action in ("import", "tag", "load", "untag", "untag", "delete")
    ]
    assert [found[index]["id"] for index in (0, 1, 2, 5)] == [image] * 4
    assert found[1]["Actor"]["Attributes"] == {"a": "b", "name": "two:3"}
    assert short(seen(cli, began, "--filter", "image=two")) == ["image tag", "image untag"]


def test_prune_says_how_much(cli: Cli) -> None:
    cli("create", "--name", "one", "alpine")
    began = time.time()
    cli("container", "prune", "-f")
    destroyed, pruned = seen(cli, began)
    assert destroyed["Action"] == "destroy"
    assert (pruned["Action"], pruned["Actor"]) == ("prune", {"ID": "", "Attributes": {"reclaimed": "0"}})


def test_a_start_that_fails_is_no_start(cli: Cli) -> None:
    began = time.time()
    cli("run", "--rm", "alpine", "/no/such/program", code=127)
    cli("run", "--rm", "-v", "/a:/b:bad", "alpine", code=125)
    actions = "container create, network connect, network disconnect, container destroy"
    assert short(seen(cli, began)) == actions.split(", ")


# ------------------------------------------------------------------ reading them


def test_lines_and_templates(cli: Cli) -> None:
    began = time.time()
    container = cli.out("create", "--name", "one", "--label", "b=1", "--label", "a=2", "alpine")
    span = ["--since", f"{began:.9f}", "--until", "0s"]
    line = cli.out("events", *span)
    zone = r"(?:Z|[+-]\d\d:\d\d)"
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{9}}{zone} container create {container} "
        r"\(a=2, b=1, image=alpine, name=one\)",
        line,
    )
    text = (
        "{{.Status}} {{.ID}} {{.From}} {{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.Scope}} {{.Time}}"
    )
    shown = cli.out("system", "events", *span, "--format", text).split()
    assert shown[:-1] == ["create", container, "alpine", "container", "create", "one", "local"]
    assert int(began) <= int(shown[-1]) <= time.time()
    assert "unclosed" in cli("events", "--format", "{{.Status", code=64).stderr
    assert "invalid time" in cli("events", "--since", "foo", code=1).stderr


def test_filters(cli: Cli) -> None:
    began = time.time()
    cli("create", "--name", "one", "--label", "tier=web", "-v", "data:/d", "alpine")
    two = cli.out("create", "--name", "two", "alpine")
    cli("rm", "two")
    for texts, wanted in {
        "container=one": ["container create"],
        f"container={two[:12]}": ["container create", "container destroy"],
        "container=one container=two": ["container create"] * 2 + ["container destroy"],
        "type=volume": ["volume create"],
        "volume=data": ["volume create"],
        "volume=other": [],
        "event=destroy event=start": ["container destroy"],
        "type=container event=create": ["container create"] * 2,
        "label=tier": ["container create"],
        "label=tier=web label=other": [],
        "image=alpine event=destroy": ["container destroy"],
        "scope=local type=volume": ["volume create"],
        "network=bridge": [],
    }.items():
        words = [word for text in texts.split() for word in ("--filter", text)]
        assert short(seen(cli, began, *words)) == wanted, texts
    assert "invalid filter 'foo'" in cli("events", "--filter", "foo=x", code=1).stderr
    assert "bad format" in cli("events", "--filter", "foo", code=125).stderr


def test_following(cli: Cli) -> None:
    """Without --since, what happens from now on, at once; until the time has come, or somebody ends it."""
    cli("volume", "create", "before")
    follower = subprocess.Popen([*cli.argv, "events"], env=cli.env, stdout=subprocess.PIPE, text=True)
    assert follower.stdout
    opened = pathlib.Path(f"/proc/{follower.pid}/fd")
    until(lambda: any(each.resolve().name.startswith("events") for each in opened.iterdir()))
    cli("volume", "create", "after")
    began = time.monotonic()
    assert " volume create after (driver=local)\n" in follower.stdout.readline()
    assert time.monotonic() - began < 2
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    began = time.monotonic()
    assert cli.out("events", "--until", "-1s") == ""
    assert 0.9 < time.monotonic() - began < 10


# ------------------------------------------------------------------ the file


def test_a_file_that_is_long_is_put_aside_and_nothing_is_lost(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_BYTES", 80_000)
    root, read = str(tmp_path), []

    def follow() -> None:
        for event in events.read(root, since=0, until=time.time_ns() + 3 * 10**9):
            read.append(int(event["Actor"]["ID"]))

    reader = threading.Thread(target=follow)
    reader.start()
    for number in range(2000):
        events.emit(root, "volume", "create", str(number), {"driver": "local"})
        time.sleep(0.0005)
    reader.join()
    assert read == list(range(2000))
    sizes = [os.path.getsize(events.path_of(root) + end) for end in ("", ".1")]
    assert 0 < sizes[0] <= sizes[1] < 81_000
    assert sum(1 for _ in events.read(root, since=0, until=time.time_ns())) < 2000


def test_lines_of_many_writers_stay_whole(tmp_path: pathlib.Path) -> None:
    def write(writer: int) -> None:
        for number in range(100):
            events.emit(str(tmp_path), "container", "start", f"{writer}-{number}", {"x": "y" * 5000})

    children = []
    for writer in range(4):
        pid = os.fork()
        if pid == 0:
            write(writer)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    found = {event["Actor"]["ID"] for event in events.read(str(tmp_path), 0, time.time_ns())}
    wanted = {f"{writer}-{number}" for writer in range(4) for number in range(100)}
    assert found <= wanted and len(found) >= 200, "the oldest may be gone with a file put aside twice"


def test_nothing_fails_because_it_cannot_be_written(cli: Cli, engine: Engine) -> None:
    path = pathlib.Path(events.path_of(engine.root))
    path.rename(f"{path}.away")
    path.mkdir()
    try:
        assert cli.out("run", "--rm", "alpine", "echo", "fine") == "fine"
    finally:
        path.rmdir()
        pathlib.Path(f"{path}.away").rename(path)


def test_saying_it_is_cheap(tmp_path: pathlib.Path) -> None:
    labels = {f"com.example.label-{number}": "value" for number in range(10)}
    took = []
    for _ in range(200):
        began = time.perf_counter()
        events.emit(str(tmp_path), "container", "start", "0" * 64, labels)
        took.append(time.perf_counter() - began)
    assert sorted(took)[100] < 0.0002, "the median of a start's one event, in seconds"


def test_a_filter_that_there_is_not(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter 'foo'"):
        events.read(str(tmp_path), filters=["foo=bar"])
    with pytest.raises(InvalidArgument, match="expected name=value"):
        events.read(str(tmp_path), filters=["foo"])
    assert list(events.read(str(tmp_path), 0, time.time_ns())) == []
