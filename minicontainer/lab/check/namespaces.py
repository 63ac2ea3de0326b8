"""Chapter 01: new namespaces, other processes' namespaces, PID 1."""

from __future__ import annotations

import os
import tempfile
import time

from minicontainer.lab.check.welcome import running_container
from minicontainer.lab.trial import Refused, Trial, checker, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BECOMES_WITHIN = 3.0  # seconds, for a fork to become its program


@checker
def private_directory(solution: Callable[[str], object]) -> str:
    """The caller has a tmpfs on the directory, and its host has none."""
    with tempfile.TemporaryDirectory(prefix="lab-") as directory, Trial(solution, directory) as trial:
        _expect_left(trial, "mnt")
        expect("what the process has mounted there", mounted(trial.pid, directory), "tmpfs")
        expect("what the host has mounted there", mounted(trial.host, directory), "nothing")
    return "the process has a tmpfs there, and its host has none"


@checker
def start_as_pid_1(solution: Callable[[list[str]], object]) -> str:
    """The pid that is returned is that of the program, and it has the number 1 in a pid namespace of its own."""
    program = ["sleep", "1000"]
    with Trial(solution, program) as trial:
        pid = trial.value
        if not isinstance(pid, int) or isinstance(pid, bool) or not os.path.exists(f"/proc/{pid}"):
            raise Refused(f"what is returned: seen {pid!r}, expected the pid of a running process")
        if trial.namespace("pid", pid) == trial.namespace("pid", trial.host):
            raise Refused("the pid namespace of the program: seen the host's, expected one of its own")
        expect("its number in its own pid namespace", _own_number(pid), 1)
        expect("the program that it runs", _program(pid, program), program)
    return "the program is process 1 where it lives"


@checker
def borrow_network(solution: Callable[[int], object]) -> str:
    """The caller is in the network namespace of a container, and in its own for the rest."""
    with running_container() as container, Trial(solution, container.pid) as trial:
        if trial.namespace("net") != trial.namespace("net", container.pid):
            same = trial.namespace("net") == trial.namespace("net", trial.host)
            seen = "the one that it had" if same else "a new one"
            raise Refused(
                f"the network namespace of the process: seen {seen}, expected that of the process {container.pid}"
            )
        for kind in ("uts", "mnt", "ipc"):
            _expect_stayed(trial, kind)
    return "the process has the container's devices, and everything else as before"


def _expect_left(trial: Trial, kind: str) -> None:
    if trial.namespace(kind) == trial.namespace(kind, trial.host):
        raise Refused(
            f"the {kind} namespace of the process: seen the host's, expected another (see /proc/self/ns/{kind})"
        )


def _expect_stayed(trial: Trial, kind: str) -> None:
    if trial.namespace(kind) != trial.namespace(kind, trial.host):
        raise Refused(
            f"the {kind} namespace of the process: seen another, expected the one that it had before"
        )


def mounted(pid: int, directory: str) -> str:
    """The type of the filesystem mounted at a directory, as a process sees it (proc_pid_mountinfo(5))."""
    with open(f"/proc/{pid}/mountinfo") as file:
        found = [line.partition(" - ")[2].split()[0] for line in file if line.split()[4] == directory]
    return found[-1] if found else "nothing"


def _own_number(pid: int) -> int:
    """The last of a process's numbers, one for each pid namespace that it is in (proc_pid_status(5), NSpid)."""
    with open(f"/proc/{pid}/status") as file:
        line = next(line for line in file if line.startswith("NSpid:"))
    return int(line.split()[-1])


def _program(pid: int, expected: list[str]) -> list[str]:
    """The command line of a process; a fork is given time to become its program."""
    deadline = time.monotonic() + _BECOMES_WITHIN
    while True:
        with open(f"/proc/{pid}/cmdline") as file:
            words = file.read().split("\0")[:-1]
        if words == expected or time.monotonic() > deadline:
            return words
        time.sleep(0.01)
