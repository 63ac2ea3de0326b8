"""A disk that is full: containers go on and end as they would, all can be looked at, and errors say where."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import time
from collections.abc import Iterator

import pytest
from conftest import Cli, remove_networks
from test_monitor import monitor_of

from minicontainer.engine import events, logs
from minicontainer.engine.engine import Engine
from minicontainer.errors import explain
from minicontainer.files import naming, rewrite_json, write_json
from minicontainer.images import packing
from minicontainer.images.store import Store
from minicontainer.kernel import mount


class Disk:
    """A small one, to be filled."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._filling = path / "filling"

    def fill(self) -> None:
        with self._filling.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(1 << 16))

    def empty(self) -> None:
        self._filling.unlink()


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    mount.mount("tmpfs", str(path), "tmpfs", data="size=40m")
    try:
        yield Disk(path)
    finally:
        (path / "filling").unlink(missing_ok=True)
        remove_networks(str(tmp_path))
        mount.umount2(str(path), mount.MNT_DETACH)


@pytest.fixture
def cli(disk: Disk, rootfs_archive: str) -> Iterator[Cli]:
    command = Cli(str(disk.path))
    command("import", rootfs_archive, "alpine")
    yield command
    ids = command.out("ps", "-aq").split()
    if ids:
        command("rm", "-f", *ids)


# ------------------------------------------------------------------ what runs


def test_container_goes_on_and_its_exit_code_is_kept(cli: Cli, disk: Disk) -> None:
    for name, script in (
        ("talks", "trap 'exit 7' TERM; while :; do echo some words; echo others >&2; sleep 0.01; done"),
        ("ends", "sleep 1; exit 5"),
    ):
        cli("run", "-d", "--name", name, "-p", "127.0.0.1::80", "alpine", "sh", "-c", script)
    disk.fill()
    assert cli.out("wait", "ends") == "5"
    assert cli.out("exec", "talks", "echo", "within") == "within"
    assert cli.out("ps", "--format", "{{.Names}}") == "talks"
    cli("stop", "talks")
    for name, code in (("talks", "7"), ("ends", "5")):
        assert cli.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name) == f"exited {code}"
    cli("rm", "ends")
    disk.empty()
    lines = {line for line in cli.out("logs", "talks").splitlines() if line != "others"}
    assert lines == {"some words"}
    cli("start", "talks")
    assert cli.out("inspect", "-f", "{{.State.Status}}", "talks") == "running"
    cli("kill", "talks")
    events = cli.out("events", "--since", "10m", "--until", "0s", "--format", "{{json .}}").splitlines()
    assert all(map(json.loads, events)) and len(events) > 4


def test_container_whose_monitor_was_killed_is_put_right(cli: Cli, disk: Disk) -> None:
    cli("run", "-d", "--name", "orphan", "alpine", "sleep", "1000")
    monitor = monitor_of(Engine(str(disk.path)).find("orphan"))
    disk.fill()
    os.kill(monitor, 9)
    assert "Exited (137)" in cli.out("ps", "-a")
    assert cli.out("inspect", "-f", "{{.State.ExitCode}}", "orphan") == "137"


@pytest.mark.parametrize(
    ("words", "code", "where"),
    [
        (["run", "alpine", "true"], 125, "containers/"),
        (["start", "made"], 1, "/disk/"),
        (["volume", "create", "some"], 1, "volumes/"),
        (["network", "create", "some"], 1, "networks/"),
        (["tag", "alpine", "other"], 1, "images/index.json"),
        (["commit", "made"], 1, "images/"),
        (["build", "-"], 1, "Dockerfile"),
        (["cp", "/etc/passwd", "made:/etc/copy"], 1, "copy"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_command_that_needs_room_says_where_there_is_none(
    cli: Cli, disk: Disk, words: list[str], code: int, where: str
) -> None:
    cli("create", "--name", "made", "alpine", "true")
    disk.fill()
    done = cli(*words, code=code, input="FROM alpine\nRUN true\n")
    last = done.stderr.splitlines()[-1]
    assert last.endswith(": no space left on device") and where in last
    assert "Errno" not in done.stderr
    disk.empty()
    cli("system", "check")
    assert cli.out("ps", "-a", "--format", "{{.Names}}") == "made"


# ------------------------------------------------------------------ the parts


def test_part_of_a_layer_is_not_left(disk: Disk, tmp_path: pathlib.Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top/big").write_bytes(os.urandom(60 << 20))
    store = Store(str(disk.path))
    with pytest.raises(OSError) as raised, store.lease():
        packing.add_layer(store, str(tmp_path / "top"))
    assert raised.value.errno == errno.ENOSPC
    assert [each for each in os.listdir(store.blobs_path) if each != "sha256"] == []
    assert os.listdir(os.path.join(store.blobs_path, "sha256")) == []


def test_log_has_whole_lines_alone(disk: Disk) -> None:
    path = str(disk.path / "log")
    log = logs.Writer(path)
    log.write("stdout", b"first\n")
    disk.fill()
    for number in range(200):
        log.write("stdout", b"%d %s\n" % (number, b"x" * 100))
    disk.empty()
    log.write("stdout", b"last\n")
    lines = [line.text for line in logs.read(path)]
    assert lines[0] == "first\n" and lines[-1] == "last\n"
    assert 2 < len(lines) < 102  # as many as the last page had room for
    assert not [line for line in lines if "damaged" in line]


def test_event_that_is_there_in_part_is_passed_over(disk: Disk) -> None:
    root = str(disk.path)
    events.emit(root, "container", "start", "one", {})
    disk.fill()
    for number in range(100):
        events.emit(root, "container", "start", f"full-{number}", {})
    disk.empty()
    for name in ("lost, for it is on the line of a part", "two"):
        events.emit(root, "container", "start", name, {})
    found = [event["id"] for event in events.read(root, 0, time.time_ns())]
    assert found[0] == "one" and found[-1] == "two" and len(found) > 3


def test_value_is_written_over_the_old_one_when_there_is_no_room_beside_it(disk: Disk) -> None:
    path = disk.path / "state.json"
    write_json(str(path), {"Status": "running", "much": "x" * 1000})
    disk.fill()
    for value in ({"Status": "exited"}, {"Status": "exited", "Error": "e" * 3000}):
        with pytest.raises(OSError, match="No space left"):
            write_json(str(path), value)
        rewrite_json(str(path), value)
        assert json.loads(path.read_text()) == value
    with pytest.raises(OSError, match="No space left") as raised:
        rewrite_json(str(path), {"Error": "e" * 5000})
    assert raised.value.filename == str(path)
    assert json.loads(path.read_text()) == {"Status": "exited", "Error": "e" * 3000}
    with pytest.raises(OSError, match="No space left"):
        rewrite_json(str(disk.path / "new.json"), {})
    assert sorted(os.listdir(disk.path)) == ["filling", "state.json"]


def test_errors_are_explained_by_what_they_were_about() -> None:
    with pytest.raises(OSError) as raised, naming("/some/file"):
        os.write(9999, b"")
    assert explain(raised.value) == "/some/file: bad file descriptor"
    with pytest.raises(OSError) as raised, naming("/some/file"):
        open("/no/such")
    assert explain(raised.value) == "/no/such: no such file or directory"
    assert explain(OSError(errno.ENOSPC, "No space left on device")) == "no space left on device"
    assert explain(OSError("of a library")) == "of a library"
