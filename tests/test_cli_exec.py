"""Being with a container: exec, attach, a terminal with all that belongs to it, and input through a pipe."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from at_terminal import DETACH, Terminal
from conftest import Cli
from waiting import until

MEGABYTES = 8


@pytest.fixture
def box(cli: Cli) -> str:
    """A running container."""
    return cli.out("run", "-d", "--name", "box", "-e", "OWN=1", "-w", "/srv", "alpine", "sleep", "1000")


def at(cli: Cli, *words: object, rows: int = 24, columns: int = 80) -> Terminal:
    """Type a command at a terminal."""
    return Terminal([*cli.argv, *map(str, words)], cli.env, rows, columns)


# ------------------------------------------------------------------ exec


def test_exec_has_output_exit_code_and_the_container_s_surroundings(cli: Cli, box: str) -> None:
    done = cli("exec", box, "sh", "-c", "echo out; echo err >&2; exit 9", code=9)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert cli.out("exec", "box", "sh", "-c", "echo $OWN; pwd; hostname").split() == ["1", "/srv", box[:12]]
    assert "sleep 1000" in cli.out("exec", "box", "ps"), "it sees the container's processes"


def test_exec_that_a_signal_ends(cli: Cli, box: str) -> None:
    cli("exec", box, "sh", "-c", "kill -TERM $$", code=143)


def test_exec_options(cli: Cli, box: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "vars").write_text("F=file\n")
    given = ("-e", "A=b", "--env-file", tmp_path / "vars", "-e", "OWN=2", "-w", "/tmp", "-u", "nobody")
    said = cli.out("exec", *given, "box", "sh", "-c", "echo $A $F $OWN; pwd; id -un; echo $HOME")
    assert said.split() == ["b", "file", "2", "/tmp", "nobody", "/"]


def test_exec_privileged_and_not(cli: Cli, box: str) -> None:
    def capabilities(*options: str) -> str:
        return cli.out("exec", *options, "box", "grep", "^CapEff:", "/proc/self/status").split()[1]

    assert capabilities() == "00000000a80425fb"
    assert int(capabilities("--privileged"), 16) > 0xA80425FB
    assert capabilities("-u", "nobody") == "0" * 16


def test_exec_d_returns_at_once(cli: Cli, box: str) -> None:
    done = cli("exec", "-d", "box", "sh", "-c", "sleep 0.3; touch /done; sleep 100")
    assert done.stdout == ""
    until(lambda: cli.is_there("box", "/done"))


def test_exec_d_with_a_terminal(cli: Cli, box: str) -> None:
    """``-dt`` is often typed; the terminal must not hang up when we go."""
    cli("exec", "-d", "-t", "box", "sh", "-c", "tty > /tty; sleep 0.5; echo still > /alive; sleep 100")
    until(lambda: cli("exec", "box", "cat", "/alive", code=None).stdout)
    assert cli.out("exec", "box", "cat", "/tty", "/alive") == "/dev/pts/0\nstill"


def test_exec_without_i_reads_nothing(cli: Cli, box: str) -> None:
    assert cli("exec", box, "cat", input="typed").stdout == ""
    assert cli("exec", "-i", box, "cat", input="typed").stdout == "typed"


def test_exec_with_a_long_command_line(cli: Cli, box: str) -> None:
    """One word may be 128 KiB (execve(2), MAX_ARG_STRLEN), as with run."""
    word = "x" * 120_000
    for how in (
        ("run", "--rm", "alpine", "echo", word),
        ("exec", box, "echo", word),
        ("exec", "-e", f"LONG={word}", box, "sh", "-c", "echo $LONG"),
    ):
        done = subprocess.run([*cli.argv, *how], env=cli.env, capture_output=True, text=True, check=False)
        assert (done.returncode, len(done.stdout), done.stderr) == (0, len(word) + 1, ""), how[0]


def test_bytes_that_are_no_text_are_passed_on(cli: Cli, box: str) -> None:
    for how in (("run", "--rm", "alpine"), ("exec", box)):
        argv = [os.fsencode(word) for word in (*cli.argv, *how, "echo")]
        done = subprocess.run([*argv, b"\xff \xc3\xbc"], env=cli.env, capture_output=True, check=True)
        assert done.stdout == b"\xff \xc3\xbc\n"


def test_a_user_may_open_its_standard_streams_by_name(cli: Cli, box: str) -> None:
    script = "echo out > /dev/stdout; echo err > /dev/stderr; cat < /dev/stdin"
    for how in (("run", "--rm", "-i", "-u", "nobody", "alpine"), ("exec", "-i", "-u", "nobody", box)):
        done = cli(*how, "sh", "-c", script, input="in\n")
        assert (done.stdout, done.stderr) == ("out\nin\n", "err\n")


def test_exec_is_limited_as_the_container_is(cli: Cli) -> None:
    limited = cli.out("run", "-d", "--ulimit", "nofile=77", "--cap-drop", "chown", "alpine", "sleep", "100")
    assert cli.out("exec", limited, "sh", "-c", "ulimit -n") == "77"
    cli("exec", limited, "chown", "1", "/tmp", code=1)
    status = cli.out("exec", limited, "cat", "/proc/self/status")
    assert re.search(r"^Seccomp:\s+2$", status, re.M)


def test_exec_of_what_cannot_be_run(cli: Cli, box: str) -> None:
    """127 and 126 as with run; Docker 20.10 ends with 126 for both and says so on standard output."""
    for words, culprit, code in (
        (("box", "nonesuch"), "nonesuch", 127),
        (("box", "/etc"), "/etc", 126),
        (("box", "/etc/passwd"), "/etc/passwd", 126),
        (("-d", "box", "nonesuch"), "nonesuch", 127),
        (("-u", "nonesuch", "box", "true"), "nonesuch", 1),
        (("-w", "relative", "box", "true"), "relative", 1),
        (("-w", "/none/such", "box", "true"), "/none/such", 1),
        (("--env-file", "/none/such", "box", "true"), "/none/such", 1),
        (("-it", "box", "sh"), "not a TTY", 1),
    ):
        failed = cli("exec", *words, code=code)
        assert culprit in failed.stderr
        assert failed.stdout == ""


def test_exec_in_one_that_does_not_run_names_it(cli: Cli) -> None:
    cli("create", "--name", "still", "alpine", "true")
    assert "still is not running" in cli("exec", "still", "true", code=1).stderr


def test_exec_processes_end_with_the_container(cli: Cli, box: str) -> None:
    cli("exec", "-d", "box", "sleep", "1234")
    with subprocess.Popen([*cli.argv, "exec", "box", "sleep", "1235"], env=cli.env) as waiting:
        until(lambda: "sleep 1235" in cli.out("top", "box"))
        cli("kill", "box")
        assert waiting.wait(20) == 137
    assert not [
        pid
        for pid in os.listdir("/proc")
        if pid.isdecimal() and re.fullmatch(rb"sleep\x00123[45]\x00", _cmdline(pid))
    ]


def _cmdline(pid: str) -> bytes:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# ------------------------------------------------------------------ input and output through pipes


@pytest.fixture(scope="module")
def data() -> bytes:
    return os.urandom(MEGABYTES << 20)


def piped(cli: Cli, *words: str, input: bytes) -> subprocess.CompletedProcess[bytes]:
    argv = [*cli.argv, *words]
    return subprocess.run(argv, input=input, capture_output=True, env=cli.env, timeout=60, check=False)


def test_megabytes_both_ways_at_once(cli: Cli, data: bytes) -> None:
    done = piped(cli, "run", "--rm", "-i", "alpine", "cat", input=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_megabytes_through_exec(cli: Cli, box: str, data: bytes) -> None:
    done = piped(cli, "exec", "-i", box, "sh", "-c", "cat; echo end >&2; exit 3", input=data)
    assert (done.returncode, done.stderr) == (3, b"end\n")
    assert done.stdout == data


@pytest.mark.parametrize("how", [("run", "--rm", "-i", "alpine"), ("exec", "-i", "box")])
def test_input_that_nobody_reads_does_not_hold_anything_up(
    cli: Cli, box: str, data: bytes, how: tuple[str, ...]
) -> None:
    assert piped(cli, *how, "true", input=data).returncode == 0
    assert piped(cli, *how, "head", "-c", "5", input=data).stdout == data[:5]


def test_output_that_nobody_reads_ends_us_quietly(cli: Cli) -> None:
    """As ``run … | head -1``: whoever writes into a closed pipe ends, and says nothing about it."""
    words = ("run", "--rm", "--name", "noisy", "alpine", "sh", "-c", "while echo line; do :; done")
    with subprocess.Popen(
        [*cli.argv, *words], env=cli.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout
        assert run.stderr
        assert run.stdout.readline() == b"line\n"
        run.stdout.close()
        assert run.wait(20) in (141, 1)
        assert b"Traceback" not in run.stderr.read()
    cli("rm", "-f", "noisy")


def test_input_ends_when_the_client_is_gone(cli: Cli) -> None:
    words = ("run", "-i", "--name", "reader", "alpine", "sh", "-c", "cat; echo end of input")
    with subprocess.Popen([*cli.argv, *words], env=cli.env, stdin=subprocess.PIPE) as run:
        while "reader" not in cli.out("ps", "--format", "{{.Names}}"):
            time.sleep(0.05)
        run.kill()
    assert cli.out("wait", "reader") == "0"
    assert cli.out("logs", "reader") == "end of input"


# ------------------------------------------------------------------ at a terminal


def test_a_shell_at_a_terminal(cli: Cli) -> None:
    with at(cli, "run", "--rm", "-it", "alpine", "sh", rows=33, columns=101) as terminal:
        terminal.expect("# ")
        assert terminal.is_raw()
        terminal.type("tty; stty size\n")
        terminal.expect(r"^/dev/(pts/0|console)\r$")
        terminal.expect(r"^33 101\r$")
        terminal.type("exit 7\n")
        assert terminal.wait() == 7
        assert not terminal.is_raw(), "the terminal is left raw"


@pytest.mark.parametrize("how", [("run", "--rm", "-it", "alpine"), ("exec", "-it", "box")])
def test_the_window_s_size_follows(cli: Cli, box: str, how: tuple[str, ...]) -> None:
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    with at(cli, *how, "sh", "-c", script, rows=20, columns=70) as terminal:
        terminal.expect("ready")
        terminal.resize(41, 123)
        terminal.expect(r"^41 123\r$")
        terminal.resize(20, 70)
        terminal.expect(r"^20 70\r$")


@pytest.mark.parametrize(
    "how",
    [("run", "--rm", "-it", "alpine"), ("run", "--rm", "-it", "--init", "alpine"), ("exec", "-it", "box")],
)
def test_job_control(cli: Cli, box: str, how: tuple[str, ...]) -> None:
    with at(cli, *how, "sh") as terminal:
        terminal.expect("# ")
        terminal.type("sleep 1000\n")
        time.sleep(0.4)
        terminal.type("\x03")
        terminal.expect("# ")
        terminal.type("echo code $?\n")
        terminal.expect(r"^code 130\r$")
        terminal.type("sleep 1001\n")
        time.sleep(0.4)
        terminal.type("\x1a")
        terminal.expect(r"\[1\]\+ +Stopped")
        terminal.type("fg\n")
        terminal.expect("sleep 1001")
        time.sleep(0.4)
        terminal.type("\x03")
        terminal.type("exit 4\n")
        assert terminal.wait() == 4


def test_end_of_file_at_a_terminal_ends_the_shell(cli: Cli) -> None:
    with at(cli, "run", "--rm", "-it", "alpine", "sh") as terminal:
        terminal.expect("# ")
        terminal.type("\x04")
        assert terminal.wait() == 0


def test_what_was_typed_ahead_is_not_lost(cli: Cli) -> None:
    with at(cli, "run", "--rm", "-it", "alpine", "sh") as terminal:
        terminal.type("echo ahead-$((40+2)); exit 5\n")
        terminal.expect("^ahead-42")
        assert terminal.wait() == 5


def test_t_without_i_shows_a_terminal_and_passes_ctrl_c_on(cli: Cli) -> None:
    script = "trap 'echo got; exit 5' INT; echo ready; while :; do sleep 0.05; done"
    with at(cli, "run", "--rm", "-t", "alpine", "sh", "-c", script) as terminal:
        terminal.expect("ready")
        time.sleep(0.3)
        terminal.type("\x03")
        terminal.expect("got")
        assert terminal.wait() == 5


def test_without_t_ctrl_c_goes_to_the_program_as_a_signal(cli: Cli) -> None:
    script = "trap 'echo got; exit 5' INT; echo ready; while :; do sleep 0.05; done"
    with at(cli, "run", "--rm", "-i", "alpine", "sh", "-c", script) as terminal:
        terminal.expect("ready")
        terminal.type("\x03")
        terminal.expect("got")
        assert terminal.wait() == 5


def test_sigterm_at_a_terminal_goes_to_the_program(cli: Cli) -> None:
    with at(cli, "run", "--rm", "-it", "alpine", "sh") as terminal:
        terminal.expect("# ")
        os.kill(terminal.pid, signal.SIGTERM)
        terminal.type("echo still-$((40+2))\n")
        terminal.expect("^still-42"), "an interactive shell ignores SIGTERM"
        terminal.type("exit\n")
        assert terminal.wait() == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_client_that_is_ended_leaves_the_terminal_as_it_was(cli: Cli, box: str, name: str) -> None:
    with at(cli, "exec", "-it", "box", "sh") as terminal:
        terminal.expect("# ")
        assert terminal.is_raw()
        os.kill(terminal.pid, getattr(signal, name))
        assert terminal.wait() == 128 + getattr(signal, name)
        assert not terminal.is_raw()


# ------------------------------------------------------------------ detach and attach


def test_detach_and_attach_again(cli: Cli) -> None:
    with at(cli, "run", "-it", "--name", "shell", "alpine", "sh") as terminal:
        terminal.expect("# ")
        terminal.type("x=kept\n")
        terminal.expect("# ")
        terminal.type(DETACH)
        assert terminal.wait() == 0
        assert not terminal.is_raw()
    assert cli.out("inspect", "--format", "{{.State.Running}}", "shell") == "true"
    with at(cli, "attach", "shell") as terminal:
        terminal.expect("# "), "the prompt is drawn again"
        terminal.type("echo x is $x\n")
        terminal.expect("^x is kept")
        terminal.type("exit 9\n")
        assert terminal.wait() == 9


def test_attach_to_a_shell_that_was_started_in_the_background(cli: Cli) -> None:
    """``run -dit``, as people type it."""
    cli("run", "-dit", "--name", "shell", "alpine", "sh")
    for time_round in (1, 2):
        with at(cli, "attach", "shell") as terminal:
            terminal.expect("# ")
            terminal.type("tty; echo round-$((0+$round))\n".replace("$round", str(time_round)))
            terminal.expect(r"^/dev/pts/0\r$")
            terminal.expect(f"^round-{time_round}")
            terminal.type(DETACH)
            assert terminal.wait() == 0


def test_start_ai_of_a_shell(cli: Cli) -> None:
    cli("create", "-it", "--name", "shell", "alpine", "sh")
    for code in (3, 4):
        with at(cli, "start", "-ai", "shell", rows=30, columns=90) as terminal:
            terminal.expect("# ")
            terminal.type(f"stty size; exit {code}\n")
            terminal.expect(r"^30 90\r$")
            assert terminal.wait() == code


def test_a_beginning_of_the_detach_keys_goes_through(cli: Cli) -> None:
    with at(
        cli, "run", "--rm", "-it", "alpine", "sh", "-c", "stty raw; echo ready; head -c 2 | hexdump -C"
    ) as terminal:
        terminal.expect("ready")
        terminal.type("\x10x")
        terminal.expect("10 78")
        assert terminal.wait() == 0


def test_other_detach_keys(cli: Cli, box: str) -> None:
    with at(cli, "exec", "-it", "--detach-keys", "ctrl-a,d", "box", "sh") as terminal:
        terminal.expect("# ")
        terminal.type("\x01d")
        assert terminal.wait() == 0
    for words in (("run", "-it", "alpine", "sh"), ("exec", "-it", "box", "sh"), ("attach", "box")):
        with at(cli, words[0], "--detach-keys", "ctrl-nonesuch", *words[1:]) as terminal:
            terminal.expect("nonesuch")
            assert terminal.wait() in (125, 1)
    assert cli.out("ps", "-aq").split() == [box[:12]], "a container was made for nothing"


@pytest.fixture
def counting(cli: Cli) -> Iterator[str]:
    script = "trap 'echo got; exit 5' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done"
    yield cli.out("run", "-d", "alpine", "sh", "-c", script)


def test_attach_shows_what_comes_and_ends_as_it_ends(cli: Cli, counting: str) -> None:
    with subprocess.Popen(
        [*cli.argv, "attach", counting], env=cli.env, stdout=subprocess.PIPE, text=True
    ) as attached:
        assert attached.stdout
        assert attached.stdout.readline().startswith("line ")
        attached.terminate()
        assert attached.wait(20) == 5, "signals go through to the program"
        assert attached.stdout.read().endswith("got\n")


def test_several_are_attached_and_one_that_goes_takes_nothing_with_it(cli: Cli, counting: str) -> None:
    argv = [*cli.argv, "attach", "--sig-proxy=false", counting]
    with (
        subprocess.Popen(argv, env=cli.env, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(argv, env=cli.env, stdout=subprocess.PIPE, text=True) as two,
    ):
        assert one.stdout
        assert two.stdout
        assert one.stdout.readline().startswith("line ")
        one.terminate()
        assert one.wait(20) == -15
        for _ in range(5):
            assert two.stdout.readline().startswith("line ")
        two.terminate()
    assert cli.out("inspect", "--format", "{{.State.Running}}", counting) == "true"


def test_attach_gives_input_to_a_container_that_was_started_with_i(cli: Cli) -> None:
    container = cli.out("run", "-d", "-i", "alpine", "sh", "-c", "read a; echo got $a; cat")
    done = cli("attach", container, input="one\ntwo\n", timeout=20)
    assert done.stdout == "got one\ntwo\n"


def test_attach_no_stdin(cli: Cli) -> None:
    container = cli.out("run", "-d", "-i", "alpine", "sh", "-c", "sleep 1; read -t 1 a; echo got $a")
    assert cli("attach", "--no-stdin", container, input="one\n").stdout == "got\n"


def test_attach_to_what_does_not_run(cli: Cli) -> None:
    cli("create", "--name", "still", "alpine", "true")
    assert "stopped" in cli("attach", "still", code=1).stderr
    running = cli.out("run", "-d", "alpine", "sleep", "100")
    cli("pause", running)
    assert "paused" in cli("attach", running, code=1).stderr


# ------------------------------------------------------------------ nsenter


def test_nsenter_enters_what_is_asked(cli: Cli, box: str) -> None:
    assert cli.out("nsenter", "-u", "box", "hostname") == box[:12]
    assert cli.out("nsenter", "--mnt", "box", "cat", "/etc/hostname") == box[:12]
    assert "sleep 1000" in cli.out("nsenter", "--all", "box", "ps")
    assert "--uts" in cli("nsenter", "box", "true", code=1).stderr
    cli("nsenter", "--net", "box", "sh", "-c", "exit 6", code=6)
    assert "nonesuch" in cli("nsenter", "--net", "box", "nonesuch", code=127).stderr
