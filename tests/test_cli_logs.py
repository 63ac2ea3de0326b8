"""logs: what a container wrote, all of it and in the order of writing, while it runs and afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import subprocess
import time

import pytest
from conftest import Cli

from minicontainer import units
from minicontainer.engine import logs


def wrote(cli: Cli, script: str, *options: object) -> str:
    """A container that has run a shell script to its end."""
    container = cli.out("run", "-d", *options, "alpine", "sh", "-c", script)
    cli("wait", container)
    return container


def raw(cli: Cli, *words: str) -> bytes:
    """The bytes that a command prints."""
    return subprocess.run([*cli.argv, *words], env=cli.env, capture_output=True, check=True).stdout


# ------------------------------------------------------------------ what is in it


def test_both_streams_each_where_it_was_written(cli: Cli) -> None:
    container = wrote(cli, "echo out 1; echo err 1 >&2; sleep 0.1; echo out 2")
    said = cli("logs", container)
    assert (said.stdout, said.stderr) == ("out 1\nout 2\n", "err 1\n")


def test_a_terminal_has_one_stream(cli: Cli) -> None:
    said = cli("logs", wrote(cli, "echo out; echo err >&2", "-t"))
    assert (said.stdout, said.stderr) == ("out\nerr\n", ""), "universal newlines: \\r\\n is what it wrote"
    assert raw(cli, "logs", cli.out("ps", "-lq")) == b"out\r\nerr\r\n"


def test_without_a_newline_at_the_end(cli: Cli) -> None:
    assert cli("logs", wrote(cli, "printf 'no newline'")).stdout == "no newline"
    assert cli("logs", wrote(cli, "echo line; printf rest; printf rest2 >&2")).stdout == "line\nrest"


def test_nothing(cli: Cli) -> None:
    assert cli("logs", wrote(cli, "true")).stdout == ""
    assert cli("logs", cli.out("create", "alpine", "true")).stdout == ""


def test_all_starts_are_in_one_log(cli: Cli) -> None:
    container = wrote(cli, "echo again")
    cli("start", "-a", container)
    assert cli("logs", container).stdout == "again\nagain\n"


def test_long_lines_come_whole(cli: Cli) -> None:
    """Also where a piece would end within a character: ü has two bytes, so every other one does."""
    script = "yes ü | head -n 30000 | tr -d '\\n'; echo; yes x | head -n 40000 | tr -d '\\n'; echo y"
    container = wrote(cli, script)
    assert cli("logs", container).stdout == "ü" * 30000 + "\n" + "x" * 40000 + "y\n"
    entries = pathlib.Path(cli.out("inspect", "-f", "{{.LogPath}}", container)).read_text().splitlines()
    assert all(len(json.loads(entry)["log"].encode()) <= logs.LONGEST_LINE for entry in entries)
    odd = wrote(cli, "printf a; yes ü | head -n 30000 | tr -d '\\n'")
    assert cli("logs", odd).stdout == "a" + "ü" * 30000


def test_binary_bytes(cli: Cli) -> None:
    """A log is text, as Docker's is: what is not UTF-8 is replaced. Who is attached gets the bytes themselves."""
    script = r"printf '\000\001\377\n\033[31m\ttab\r\n'"
    attached = raw(cli, "run", "--name", "binary", "alpine", "sh", "-c", script)
    assert attached == b"\0\1\xff\n\x1b[31m\ttab\r\n"
    assert raw(cli, "logs", "binary") == "\0\1\ufffd\n\x1b[31m\ttab\r\n".encode()
    everything = wrote(cli, "head -c 300000 /dev/urandom")
    assert cli("logs", everything).returncode == 0


def test_where_stdout_is_not_utf_8(cli: Cli) -> None:
    container = wrote(cli, "echo ü")
    cli.env = {**cli.env, "PYTHONIOENCODING": "latin-1", "LC_ALL": "C", "PYTHONUTF8": "0"}
    assert raw(cli, "logs", container) == "ü\n".encode(), "the container's bytes, whatever our locale is"


def test_the_file_is_docker_s_format(cli: Cli) -> None:
    container = wrote(cli, "echo 'a \"quoted\" \\ <&> word'; echo err >&2")
    path = pathlib.Path(cli.out("inspect", "-f", "{{.LogPath}}", container))
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert {(entry["stream"], entry["log"]) for entry in entries} == {
        ("stdout", 'a "quoted" \\ <&> word\n'),
        ("stderr", "err\n"),
    }
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", entry["time"]) for entry in entries)


def test_a_damaged_log_is_shown_as_far_as_it_goes(cli: Cli) -> None:
    container = wrote(cli, "echo one; echo two")
    path = pathlib.Path(cli.out("inspect", "-f", "{{.LogPath}}", container))
    path.write_text(path.read_text() + '{"log":"cut sho\n')
    said = cli("logs", container)
    assert said.stdout == "one\ntwo\n"
    assert "damaged" in said.stderr


# ------------------------------------------------------------------ which part of it


def test_tail(cli: Cli) -> None:
    container = wrote(cli, "for i in 1 2 3 4 5; do echo $i; done; printf 6")
    for count, lines in (
        (0, ""),
        (1, "6"),
        (3, "4\n5\n6"),
        (6, "1\n2\n3\n4\n5\n6"),
        (99, "1\n2\n3\n4\n5\n6"),
    ):
        assert cli("logs", "--tail", count, container).stdout == lines
        assert cli("logs", "-n", count, container).stdout == lines
    assert cli("logs", "--tail", "all", container).stdout == cli("logs", "-n", "-1", container).stdout
    assert "few" in cli("logs", "--tail", "few", container, code=1).stderr


def test_tail_of_a_long_log_reads_from_its_end(cli: Cli) -> None:
    container = wrote(cli, "seq 1 60000")
    assert cli("logs", "--tail", 2, container).stdout == "59999\n60000\n"
    assert cli("logs", "--tail", 30000, container).stdout.split() == [str(n) for n in range(30001, 60001)]


def test_timestamps(cli: Cli) -> None:
    container = wrote(cli, "echo one; echo two >&2; sleep 0.2; echo three")
    before = time.time_ns()
    said = cli("logs", "-t", container)
    stamps = [line.split(" ", 1) for line in (said.stdout + said.stderr).splitlines()]
    assert sorted(text for _, text in stamps) == ["one", "three", "two"]
    times = [units.parse_rfc3339(stamp) for stamp, _ in stamps]
    assert all(0 < before - moment < 60 * units.SECOND for moment in times)


def test_since_and_until(cli: Cli) -> None:
    container = wrote(cli, "echo early; sleep 1.2; echo late")
    stamped = cli("logs", "--timestamps", container).stdout.splitlines()
    late = stamped[1].split()[0]
    assert cli("logs", "--since", late, container).stdout == "late\n"
    assert cli("logs", "--until", late, container).stdout == "early\n"
    assert cli("logs", "--since", "10m", container).stdout == "early\nlate\n"
    assert cli("logs", "--until", "10m", container).stdout == ""
    assert cli("logs", "--since", "10m", "--until", late, container).stdout == "early\n"
    seconds = units.parse_rfc3339(late) / 1e9 - 0.6
    assert cli("logs", "--since", f"{seconds:.3f}", container).stdout == "late\n"
    for option in ("--since", "--until"):
        assert "yesterday" in cli("logs", option, "yesterday", container, code=1).stderr


# ------------------------------------------------------------------ while it runs


def test_follow_ends_with_the_container(cli: Cli) -> None:
    container = cli.out("run", "-d", "alpine", "sh", "-c", "echo one; sleep 1; echo two; printf end")
    assert cli("logs", "-f", container, timeout=30).stdout == "one\ntwo\nend"
    assert cli("logs", "-f", container, timeout=30).stdout == "one\ntwo\nend", "and at once when it has ended"


def test_follow_shows_a_line_as_it_comes(cli: Cli) -> None:
    script = "echo ready; while read line; do echo got $line; done"
    container = cli.out("run", "-d", "-i", "alpine", "sh", "-c", script)
    argv = [*cli.argv, "logs", "-f", "--tail", "0", container]
    with subprocess.Popen(argv, env=cli.env, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout
        time.sleep(0.5)
        cli("attach", container, input="this\n")
        assert follower.stdout.readline() == "got this\n"
        cli("rm", "-f", container)
        assert follower.wait(20) == 0


def test_follow_of_one_that_is_removed_at_its_end(cli: Cli) -> None:
    container = cli.out("run", "-d", "--rm", "alpine", "sh", "-c", "sleep 1; echo last")
    assert cli("logs", "-f", container, timeout=30).stdout == "last\n"


# ------------------------------------------------------------------ a lot of it


def pss(pid: int) -> int:
    """What a process has in memory, its share of what it shares (proc_pid_smaps_rollup(5)), in bytes."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.M)
    assert found
    return int(found[1]) << 10


def monitor_of(cli: Cli, container: str) -> int:
    pid = cli.out("inspect", "-f", "{{.State.Pid}}", container)
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_fifty_megabytes_beside_a_slow_reader(cli: Cli) -> None:
    """The container waits for whoever is attached and reads slowly; nothing piles up in the monitor."""
    line = "x" * 99
    size = 50 << 20
    script = f"read go; yes {line} | head -c {size}; sleep 1000"
    container = cli.out("run", "-d", "-i", "alpine", "sh", "-c", script)
    monitor = monitor_of(cli, container)
    argv = [*cli.argv, "attach", container]
    with subprocess.Popen(argv, env=cli.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as slow:
        assert slow.stdin
        assert slow.stdout
        slow.stdin.write(b"go\n")
        slow.stdin.flush()
        most = 0
        for _ in range(10):  # so slow that all buffers on the way are full
            slow.stdout.read(100_000)
            time.sleep(0.1)
            most = max(most, pss(monitor))
        read = 1_000_000
        began = time.monotonic()
        while read < size:
            chunk = slow.stdout.read(1 << 20 if size - read > 1 << 20 else size - read)
            read += len(chunk)
            most = max(most, pss(monitor))
        speed = (size - 1_000_000) / (time.monotonic() - began)
        slow.kill()
    assert most < 12 << 20, f"the monitor grew to {most / 2**20:.1f} MiB"
    assert speed > 2 << 20, f"{speed / 2**20:.1f} MiB a second"
    log = cli.out("inspect", "-f", "{{.LogPath}}", container)
    assert os.path.getsize(log) > size
    assert cli("logs", "--tail", "1", container).stdout == f"{line}\n"[: size % 100 or 100]
    cli("rm", "-f", container)


def test_fifty_megabytes_that_nobody_watches(cli: Cli) -> None:
    container = cli.out("run", "-d", "alpine", "sh", "-c", f"yes {'x' * 99} | head -c {50 << 20}")
    monitor = monitor_of(cli, container)
    began, most = time.monotonic(), 0
    while os.path.exists(f"/proc/{monitor}"):
        with contextlib.suppress(OSError, AssertionError):  # it is ending
            most = max(most, pss(monitor))
        assert time.monotonic() - began < 120
        time.sleep(0.1)
    assert most < 12 << 20, f"the monitor grew to {most / 2**20:.1f} MiB"
    assert len(raw(cli, "logs", container)) == 50 << 20


# ------------------------------------------------------------------ the file, without a container


@pytest.fixture
def log(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "log")


@pytest.mark.parametrize("size", [1, 7, 4096, 65536])
def test_whatever_the_pieces_it_is_written_in_the_text_comes_out(log: str, size: int) -> None:
    text = "".join(f"{n} {'äöü€𝄞' * (n % 90)}\n" for n in range(300)) + "ends here" + "𝄞" * 9000
    data = text.encode()
    writer = logs.Writer(log)
    for start in range(0, len(data), size):
        writer.write("stdout", data[start : start + size])
    writer.finish("stdout")
    writer.finish("stdout")
    assert "".join(line.text for line in logs.read(log)) == text


def test_a_line_that_is_no_utf_8_is_cut_all_the_same(log: str) -> None:
    writer = logs.Writer(log)
    writer.write("stderr", b"\x80" * 40000 + b"\n")
    assert "".join(line.text for line in logs.read(log)) == "�" * 40000 + "\n"


def test_reading_ends_where_follow_says(log: str) -> None:
    writer = logs.Writer(log)
    writer.write("stdout", b"one\n")
    asked = iter([True, True, False])

    def running() -> bool:
        answer = next(asked)
        if not answer:
            writer.write("stdout", b"last\n")
        return answer

    assert [line.text for line in logs.read(log, follow=running)] == ["one\n", "last\n"]
