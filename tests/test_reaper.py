"""What is special about the first process of a container, and what an init in its place does about it."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest
from waiting import until

from minicontainer.runtime import seccomp

pytest_plugins = ["bundle_fixtures"]

ORPHANS = "for i in 1 2 3; do (sleep 0.2 &); done; echo ready; exec sleep 60"


@pytest.fixture
def with_init(bundle):
    bundle.config["annotations"] = {"org.minicontainer.init": "true"}
    return bundle


def states(container) -> list[str]:
    """The states (R, S, Z, ...) of the first process of a container and of its children."""
    with open(f"/proc/{container.pid}/task/{container.pid}/children") as file:
        pids = [container.pid, *map(int, file.read().split())]
    found = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended, and waited for
            found.append(status_line(pid, "State")[0])
    return found


def status_line(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/status") as file:
        return next(line.split(":")[1].strip() for line in file if line.startswith(f"{name}:"))


# -- the first process without an init --


def test_orphans_stay_zombies_when_the_first_process_does_not_wait_for_them(bundle):
    container = bundle.start("sh", "-c", ORPHANS)
    container.read_until("ready")
    until(lambda: states(container).count("Z") == 3, seconds=5)
    time.sleep(0.1)
    assert states(container)[1:] == ["Z", "Z", "Z"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signal_that_the_first_process_has_no_handler_for_is_not_delivered(bundle, number):
    container = bundle.start("sleep", "60")
    container.signal(number)
    assert container.exec("kill", f"-{number}", "1").code == 0
    assert container.exec("kill", "-9", "1").code == 0, "not even this one, from inside"
    assert states(container) == ["S"]
    container.signal(signal.SIGKILL)
    assert container.wait() == -signal.SIGKILL


def test_signal_that_the_first_process_has_a_handler_for_is_delivered(bundle):
    container = bundle.start(
        "sh", "-c", "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    )
    container.read_until("ready")
    container.signal(signal.SIGTERM)
    assert container.finish() == (3, "caught\n", "")


def test_all_processes_end_with_the_first(bundle):
    container = bundle.start("sh", "-c", "sleep 60 & sleep 60 & echo ready; read line")
    container.read_until("ready")
    assert len(states(container)) == 3
    container.end_input()
    assert container.wait() == 1
    until(lambda: container.bundle.cgroup.pids() == [], seconds=5)


# -- with an init --


def test_init_waits_for_orphans(with_init):
    container = with_init.start("sh", "-c", ORPHANS)
    container.read_until("ready")
    until(lambda: len(states(container)) == 2, seconds=5)
    assert states(container) == ["S", "S"]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN]
)
def test_init_passes_signals_on_and_ends_as_its_child_does(with_init, number):
    container = with_init.start("sleep", "60")
    container.signal(number)
    assert container.wait() == 128 + number


def test_init_passes_signals_from_inside_on_too(with_init):
    container = with_init.start(
        "sh", "-c", "trap 'sleep 0.5; exit 5' USR2; echo ready; while :; do sleep 0.01; done"
    )
    container.read_until("ready")  # and when it ends, whoever is still in it is killed, as kill itself
    assert container.exec("kill", "-USR2", "1").code == 0
    assert container.wait() == 5


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 42", 42), ("kill -SEGV $$", 128 + 11)])
def test_exit_code_of_the_program_comes_through_the_init(with_init, script, code):
    assert with_init.run("sh", "-c", script).code == code


def test_command_that_cannot_be_run_is_named_with_an_init_too(with_init):
    from minicontainer.errors import CommandNotFound

    with pytest.raises(CommandNotFound, match='exec "nothing"'):
        with_init.start("nothing")


def test_init_ends_with_its_program_and_takes_along_what_is_left(with_init):
    container = with_init.start("sh", "-c", "sleep 60 >/dev/null 2>&1 & exit 4")
    assert container.finish().code == 4
    until(lambda: with_init.cgroup.pids() == [], seconds=5)


def test_output_ends_when_the_program_closes_it_and_not_when_the_init_ends(with_init):
    container = with_init.start("sh", "-c", "echo last words; exec >&- 2>&-; sleep 60")
    assert os.read(container.stdout, 100) == b"last words\n"
    started = time.monotonic()
    assert os.read(container.stdout, 100) == b""
    assert time.monotonic() - started < 5


def test_init_in_a_session_of_its_own_hands_the_terminal_to_the_program(with_init):
    container = with_init.start("sh", terminal=True)
    container.read_until("# ")
    container.write("trap 'echo caught' INT; echo job $(cat /proc/$$/stat | cut -d' ' -f5,8)\n")
    shown = container.read_until("\n/ #")
    assert "job 2 2" in shown, "its process group is not the terminal's foreground one"
    container.write("sleep 60\n")
    container.read_until("sleep 60")
    time.sleep(0.2)
    container.write(b"\x03")
    container.read_until("# ")
    container.write("echo code $?; exit 9\n")
    container.read_until("code 130")
    assert container.wait() == 9


def test_shell_at_a_terminal_has_job_control_with_an_init(with_init):
    container = with_init.start("sh", "-c", "exec sh -i", terminal=True)
    container.write("sleep 60 &\nfg\n")
    container.read_until("fg\r\nsleep 60")
    time.sleep(0.2)
    container.write(b"\x1a")
    container.read_until("Stopped")
    container.write("kill -9 %1\nexit 0\nexit 0\n")  # the first time it may say that there are stopped jobs
    assert container.wait() == 0


# -- what it is to those inside: a fork of the host's process, and no way to it --


def test_ps_shows_the_init_and_its_program(with_init):
    container = with_init.start("sleep", "60")
    shown = container.exec("ps", "-o", "pid,comm,args").out.splitlines()
    assert shown[1].split() == "1 minicontainer-i minicontainer-init -- sleep 60".split()
    assert shown[2].split() == "2 sleep sleep 60".split()


def test_nothing_of_the_hosts_command_line_and_environment_can_be_read(with_init):
    with_init.capable("CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE")
    container = with_init.start("sleep", "60", before=lambda: os.environ.update(SECRET="of the host"))
    with open(f"/proc/{container.pid}/environ", "rb") as file:
        assert set(file.read()) <= {0}
    assert container.exec("cat", "/proc/1/cmdline").out == "minicontainer-init -- sleep 60\0"


def test_init_has_the_privileges_of_the_program_and_no_more(with_init):
    with_init.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }
    pytest.importorskip("pyseccomp", reason="needs libseccomp", exc_type=(ImportError, RuntimeError))
    assert seccomp.flags(with_init.linux["seccomp"]) is not None
    container = with_init.start("sleep", "60", user={"uid": 1000, "gid": 7, "additionalGids": [8]})
    child = next(pid for pid in sorted(with_init.cgroup.pids()) if pid != container.pid)
    for name in ("Uid", "Gid", "Groups", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters"):
        init, program = status_line(container.pid, name), status_line(child, name)
        if name != "CapPrm":  # execve(2) takes from the program what is not ambient
            assert init == program, name
    assert status_line(container.pid, "Seccomp") == "2"
    assert int(status_line(container.pid, "CapPrm"), 16) & ~int(status_line(child, "CapBnd"), 16) == 0


def test_init_starts_within_a_memory_limit_that_the_interpreter_exceeds(with_init):
    with_init.linux["resources"]["memory"] = {"limit": 6 << 20}
    assert with_init.run("echo", "hello") == (0, "hello\n", "")
