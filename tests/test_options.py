"""What people write for an option is read as they mean it, or refused by the option's name."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Callable

import pytest
from conftest import DOCKER_IMAGE

from minicontainer import Options
from minicontainer.engine import names, signals
from minicontainer.engine import options as reading
from minicontainer.errors import InvalidArgument

MIB = 1 << 20


def test_an_unknown_option_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="'memroy'"):
        Options(memroy="4m")


def test_each_container_has_lists_of_its_own() -> None:
    one = Options(env=["A=b"])
    assert Options().env == ()
    assert one.env == ["A=b"]


# ------------------------------------------------------------------ sizes and numbers


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({}, (0, 0)),
        ({"memory": "4m"}, (4 * MIB, 8 * MIB)),
        ({"memory": 4 * MIB}, (4 * MIB, 8 * MIB)),
        ({"memory": "4m", "memory_swap": "6m"}, (4 * MIB, 6 * MIB)),
        ({"memory": "4m", "memory_swap": "4m"}, (4 * MIB, 4 * MIB)),
        ({"memory": "4m", "memory_swap": -1}, (4 * MIB, -1)),
        ({"memory": "4m", "memory_swap": "-1"}, (4 * MIB, -1)),
        ({"memory": "512k"}, (MIB // 2, MIB)),
    ],
)
def test_memory(options: dict[str, object], limits: tuple[int, int]) -> None:
    assert reading.memory(Options(**options)) == limits


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"memory": "lots"}, "lots"),
        ({"memory": "511k"}, "511k"),
        ({"memory": "-1"}, "-1"),
        ({"memory": -1}, "--memory -1"),
        ({"memory_swap": "4m"}, "--memory-swap"),
        ({"memory": "4m", "memory_swap": "3m"}, "--memory-swap"),
        ({"memory": "4m", "memory_swap": "x"}, "x"),
    ],
)
def test_memory_that_cannot_be(options: dict[str, object], culprit: str) -> None:
    with pytest.raises(InvalidArgument, match=culprit):
        reading.memory(Options(**options))


def test_cpus() -> None:
    assert reading.nano_cpus(0.5) == reading.nano_cpus("0.5") == reading.nano_cpus(".5") == 500_000_000
    assert reading.nano_cpus(os.cpu_count() or 1) == (os.cpu_count() or 1) * 10**9
    for bad in ("-1", -1, 0.001, 4711, "nan", "inf", "half", ""):
        with pytest.raises(InvalidArgument, match="--cpus"):
            reading.nano_cpus(bad)


def test_ulimits() -> None:
    assert reading.ulimits(["nofile=10:20", "core=0", "nproc=-1"]) == [
        {"Name": "nofile", "Soft": 10, "Hard": 20},
        {"Name": "core", "Soft": 0, "Hard": 0},
        {"Name": "nproc", "Soft": -1, "Hard": -1},
    ]
    assert reading.ulimits(["nofile=10:-1"]) == [{"Name": "nofile", "Soft": 10, "Hard": -1}]
    for bad in (
        "nofile",
        "nofile=",
        "nofile=x",
        "nofile=2:1",
        "nofile=-1:5",
        "nonesuch=1",
        "=1",
        "nofile=1:2:3",
    ):
        with pytest.raises(InvalidArgument, match=f'"{bad}" for --ulimit'):
            reading.ulimits([bad])


# ------------------------------------------------------------------ names and values


def test_pairs() -> None:
    assert reading.pairs("label", ["a=1", "b", "c=x=y", "a=2"]) == {"a": "2", "b": "", "c": "x=y"}
    assert reading.pairs("label", {"a": 1}) == {"a": "1"}
    with pytest.raises(InvalidArgument, match='"=x" for --label'):
        reading.pairs("label", ["=x"])


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "here")
    monkeypatch.delenv("NOT_OURS", raising=False)
    given = ["A=1", "OURS", "NOT_OURS", "B=", "C=x=y z", "A=2"]
    assert reading.environment(Options(env=given)) == ["A=2", "OURS=here", "B=", "C=x=y z"]
    assert reading.environment(Options(env={"A": "1"})) == ["A=1"]
    assert reading.environment(Options(env=["A=1", "NOT_OURS=x", "NOT_OURS"])) == ["A=1"]
    with pytest.raises(InvalidArgument, match='"=x"'):
        reading.environment(Options(env=["=x"]))


FILE = (
    "# comment\n"
    "A=1\n"
    "\n"
    "   \n"
    "  B=leading white space\n"
    "C=trailing  \n"
    "#D=no\n"
    "E='quotes stay'\n"
    "F=with # inside\n"
    "G=\n"
    "H=form\x0cfeed and \u2028 separator and \x85 next line\n"
    "I=carriage\r\n"
    "J=ü\n"
    "K=no newline at the end"
)


def test_env_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "vars"
    path.write_bytes(b"\xef\xbb\xbf" + FILE.encode())  # as Windows' editors begin a file
    assert reading.environment(Options(env_file=[str(path)], env=["A=2"])) == [
        "A=2",
        "B=leading white space",
        "C=trailing  ",
        "E='quotes stay'",
        "F=with # inside",
        "G=",
        "H=form\x0cfeed and \u2028 separator and \x85 next line",
        "I=carriage",
        "J=ü",
        "K=no newline at the end",
    ]


def test_env_file_that_cannot_be(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "vars"
    for content, culprit in ((b"A B=c\n", "'A B'"), (b"\xff\xfe", "UTF-8"), (b"=x\n", "=x")):
        path.write_bytes(content)
        with pytest.raises(InvalidArgument, match=culprit):
            reading.environment(Options(env_file=[str(path)]))
    with pytest.raises(InvalidArgument, match="/no/such/file"):
        reading.environment(Options(env_file=["/no/such/file"]))
    with pytest.raises(InvalidArgument, match=str(tmp_path)):
        reading.environment(Options(env_file=[str(tmp_path)]))


def test_docker_reads_the_same_env_file(
    docker: Callable[..., subprocess.CompletedProcess[str]], tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "vars"
    path.write_bytes(FILE.encode())
    made = docker("create", "--network", "none", "--env-file", path, DOCKER_IMAGE, "true").stdout.strip()
    said = docker("inspect", "-f", "{{json .Config.Env}}", made).stdout
    docker("rm", made)
    assert json.loads(said) == reading.environment(Options(env_file=[str(path)]))


def test_capability_names() -> None:
    assert reading.capability_names("cap-add", ["chown", "CAP_NET_RAW", "all", "Sys_Admin"]) == [
        *("CAP_CHOWN", "CAP_NET_RAW", "ALL", "CAP_SYS_ADMIN")
    ]
    with pytest.raises(InvalidArgument, match='"nonesuch" for --cap-drop'):
        reading.capability_names("cap-drop", ["nonesuch"])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigkill", 9),
        ("9", 9),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("64", 64),
        ("usr1", 10),
        ("RTMAX", 64),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert signals.parse(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "65",
        "-1",
        "NONESUCH",
        "SIG",
        "RTMIN+x",
        "RTMIN+99",
        "RTMAX+1",
        "TERM+1",
        "TERM+",
        "RTMIN3",
        "_IGN",
        "9.0",
    ],
)
def test_signals_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid signal: "):
        signals.parse(text)


def test_names() -> None:
    for good in ("ab", "a1", "A.b-c_d", "1a", "x" * 200):
        assert names.check(good) == good
    for bad in ("", "a", "-ab", ".ab", "_ab", "a b", "a/b", "ä1", "../x", "a\n"):
        with pytest.raises(InvalidArgument, match="invalid container name"):
            names.check(bad)
    made = {names.random_name() for _ in range(200)}
    assert len(made) > 150
    assert all(names.check(each) for each in made)


# ------------------------------------------------------------------ devices


def test_devices() -> None:
    null = {"type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}
    for entry, path, access in (
        ("/dev/null", "/dev/null", "rwm"),
        ("/dev/null:/dev/x", "/dev/x", "rwm"),
        ("/dev/null:/dev/x:r", "/dev/x", "r"),
        ("/dev/null:rw", "/dev/null", "rw"),
    ):
        assert reading.device(entry) == [{**null, "path": path, "access": access}]


def test_a_directory_of_devices(tmp_path: pathlib.Path) -> None:
    (tmp_path / "below").mkdir()
    os.mknod(tmp_path / "one", 0o20600, os.makedev(1, 5))
    os.mknod(tmp_path / "below" / "two", 0o60640, os.makedev(7, 200))
    (tmp_path / "file").write_text("")
    found = reading.device(f"{tmp_path}:/dev/mine:r")
    assert [(each["path"], each["type"], each["minor"], each["access"]) for each in found] == [
        ("/dev/mine/one", "c", 5, "r"),
        ("/dev/mine/below/two", "b", 200, "r"),
    ]


def test_devices_that_are_none(tmp_path: pathlib.Path) -> None:
    for bad in ("dev/null", "/dev/null:/dev/x:rx", "/dev/nonesuch", "/etc/passwd", str(tmp_path), ""):
        with pytest.raises(InvalidArgument, match="--device"):
            reading.device(bad)


def test_device_cgroup_rules() -> None:
    assert reading.device_cgroup_rule("c 10:200 rwm") == {
        "allow": True,
        "type": "c",
        "major": 10,
        "minor": 200,
        "access": "rwm",
    }
    assert reading.device_cgroup_rule("b *:* m") == {"allow": True, "type": "b", "access": "m"}
    for bad in ("", "c", "c 1:2", "x 1:2 r", "c 1 r", "c 1:2 rx", "c a:b r", "c 1:2:3 r", "c -1:2 r"):
        with pytest.raises(InvalidArgument, match="--device-cgroup-rule"):
            reading.device_cgroup_rule(bad)
