"""Stopping everything in a cgroup: for a while, or for good.

Both are harder than they look when processes have children faster than they can be listed. The freezer stops
them all in the kernel; what is frozen cannot fork, so it can be listed and then killed. cgroup v2 has a file
that kills without a list, ``cgroup.kill``, since Linux 5.14.
"""

from __future__ import annotations

import os
import signal
import time

from minicontainer.errors import Conflict, Error, Unsupported
from minicontainer.runtime.cgroups import files, v1, v2
from minicontainer.runtime.cgroups.hierarchy import carrier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.runtime.cgroups.hierarchy import Hierarchy


def look(there: list[Hierarchy]) -> Hierarchy | None:
    """The hierarchy that can freeze: that of v1's freezer controller, or version 2."""
    return carrier(there, 1, "freezer.state") or carrier(there, 2, "cgroup.freeze")


def find(there: list[Hierarchy]) -> Hierarchy:
    """As :func:`look`; Unsupported when there is none."""
    freezer = look(there)
    if freezer is None:
        raise Unsupported("cannot freeze: v1's freezer controller is not mounted here, and cgroup v2 is not")
    return freezer


def set_frozen(freezer: Hierarchy, path: str, frozen: bool) -> None:
    """Ask the kernel to stop the processes, or let them go on; it does so in its own time."""
    write = v1.set_frozen if freezer.version == 1 else v2.set_frozen
    write(freezer.directory(path), frozen)


def is_frozen(freezer: Hierarchy, path: str) -> bool:
    """Whether all have stopped."""
    look = v1.is_frozen if freezer.version == 1 else v2.is_frozen
    return look(freezer.directory(path))


def freeze(freezer: Hierarchy, path: str, within: float) -> bool:
    """Stop the processes and wait until they have; False when some have not within so many seconds."""
    if os.getpid() in files.processes(freezer.directory(path)):
        raise Conflict(f"the cgroup {path} holds the very process that would freeze it")
    deadline = time.monotonic() + within
    pause = 0.0005
    while True:
        set_frozen(freezer, path, True)  # again each time: v1 may overlook what is forked meanwhile
        if is_frozen(freezer, path):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def processes(there: list[Hierarchy], path: str) -> list[int]:
    """The processes in the cgroup and below it, in any hierarchy."""
    return sorted({pid for hierarchy in there for pid in files.processes(hierarchy.directory(path))})


def kill(there: list[Hierarchy], path: str, within: float) -> None:
    """SIGKILL until none is left; Error when some are alive after so many seconds."""
    deadline = time.monotonic() + within
    at_once = any(v2.kill(hierarchy.directory(path)) for hierarchy in there if hierarchy.version == 2)
    _thaw_all(there, path)  # on v1 a frozen process dies only then
    pause = 0.001
    while pids := processes(there, path):
        if time.monotonic() > deadline:
            raise Error(f"cannot kill the processes {pids} of the cgroup {path}: alive after {within:.0f} s")
        # The list is still needed in a hybrid world: for those who left the v2 cgroup, but not the others.
        if not at_once or pause > 0.02:
            _kill_each(there, path)
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def _kill_each(there: list[Hierarchy], path: str) -> None:
    """One round by hand: stop, list, signal, let go."""
    freezer = look(there)
    if freezer and os.path.isdir(freezer.directory(path)):
        freeze(freezer, path, within=0.5)  # when some do not stop, the next round finds fewer
    for pid in processes(there, path):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    _thaw_all(there, path)


def _thaw_all(there: list[Hierarchy], path: str) -> None:
    """Thaw it and its sub-cgroups, which the container may have frozen by itself."""
    freezer = look(there)
    if freezer is None:
        return
    for group in files.tree(freezer.directory(path)):
        try:
            set_frozen(freezer, group.removeprefix(freezer.mountpoint), False)
        except OSError as error:
            if error.errno not in files.GONE:
                raise
