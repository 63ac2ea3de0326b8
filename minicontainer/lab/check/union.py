"""Chapter 03: many directories seen as one, and a process that lives in them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile

from minicontainer.engine import api
from minicontainer.files import remove_tree
from minicontainer.images import overlay
from minicontainer.lab.check.namespaces import mounted
from minicontainer.lab.children import environment
from minicontainer.lab.trial import Trial, checker, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Enters a mount namespace, which makes the namespace's own root the process's, and says what is there.
_LOOK = """
import os, sys
from minicontainer.kernel import namespaces
namespaces.setns(int(sys.argv[1]))
print(*sorted(os.listdir("/")))
"""


@checker
def stack(solution: Callable[[list[str], str, str, str], object]) -> str:
    """An overlay is mounted there, its branches count in their order, and what is written goes to the upper one."""
    with branches(high={"b": "high", "c": "high"}, low={"a": "low", "b": "low"}) as path:
        lower = [f"{path}/high", f"{path}/low"]
        with Trial(solution, lower, f"{path}/upper", f"{path}/work", f"{path}/merged") as trial:
            expect("what is mounted at merged", mounted(trial.pid, f"{path}/merged"), "overlay")
            merged = f"/proc/{trial.pid}/root{path}/merged"
            expect("what is seen there", contents(merged), {"a": "low", "b": "high", "c": "high"})
            expect("whether a file can be written there", _write(f"{merged}/new"), "yes")
        expect("what is in the upper directory after that", contents(f"{path}/upper"), {"new": "here"})
    return "the higher branch wins, and a new file went to the upper directory"


@checker
def hide(solution: Callable[[str, str], object]) -> str:
    """The name of a lower branch does not show any more, and the lower branch is as it was."""
    with branches(high={"other": "high"}, low={"kept": "low", "secret": "low"}) as path:
        with Trial(solution, f"{path}/high", "secret", apart=False):
            fd = overlay.detached([f"{path}/high", f"{path}/low"], f"{path}/upper", f"{path}/work")
            try:
                expect("what the union shows", sorted(os.listdir(f"/proc/self/fd/{fd}")), ["kept", "other"])
            finally:
                os.close(fd)
        expect("the lower branch", contents(f"{path}/low"), {"kept": "low", "secret": "low"})
    return "secret is in the lower branch, and the union does not show it"


@checker
def move_in(solution: Callable[[str, str, str, str], object]) -> str:
    """The union is the root of the process, and its mount namespace has nothing of the host's tree any more."""
    with branches(layer={"house": "low"}) as path:
        with Trial(solution, *(f"{path}/{name}" for name in ("layer", "upper", "work", "merged"))) as trial:
            root = f"/proc/{trial.pid}/root"
            expect("what is in the root directory", sorted(os.listdir(root)), ["house"])
            expect("whether a file can be written there", _write(f"{root}/new"), "yes")
            expect("what is in the root of its mount namespace", _root_of(trial.pid), "house new")
            expect("mounts of the host that are left in it", _mounts_besides_root(trial.pid), 0)
        expect("what is in the upper directory after that", contents(f"{path}/upper"), {"new": "here"})
    return "the process lives in the union, and the host's files are out of its reach"


@contextlib.contextmanager
def branches(**files: dict[str, str]) -> Iterator[str]:
    """A directory with some branches in it, each with files, and with an empty upper, work and merged."""
    path = tempfile.mkdtemp(prefix="lab-", dir=api.default_engine().root)
    try:
        for branch in (*files, "upper", "work", "merged"):
            os.mkdir(f"{path}/{branch}")
            for name, text in files.get(branch, {}).items():
                with open(f"{path}/{branch}/{name}", "w") as file:
                    file.write(text)
        yield path
    finally:
        remove_tree(path)


def contents(directory: str) -> dict[str, str]:
    """The files of a directory, and what is in each."""
    found = {}
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), errors="replace") as file:
            found[name] = file.read()
    return found


def _write(path: str) -> str:
    try:
        with open(path, "w") as file:
            file.write("here")
    except OSError as error:
        return f"no: {error.strerror}"
    return "yes"


def _root_of(pid: int) -> str:
    """What is in the root directory of a process's mount namespace, wherever its own root is (setns(2))."""
    fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOOK, str(fd)],
            pass_fds=[fd],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(fd)
    return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]


def _mounts_besides_root(pid: int) -> int:
    with open(f"/proc/{pid}/mountinfo") as file:
        return len([line for line in file if line.split()[4] != "/"])
