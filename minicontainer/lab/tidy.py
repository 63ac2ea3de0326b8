"""Leaving no trace: what a chapter makes can be told from everything else by its name.

Containers of a chapter are called ``lab-…``; its cgroups are below the one of :func:`cgroup_path`; its
processes have :data:`~minicontainer.lab.children.MARK` in their environment. So what is left of a run that was
broken off is found by the next one, also by another kernel.
"""

from __future__ import annotations

import os
import signal
import time

from minicontainer.engine import api
from minicontainer.errors import Error
from minicontainer.lab.children import MARK, mark
from minicontainer.runtime.cgroups import Cgroup, hierarchies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.container import Container

PREFIX = "lab-"
_DIES_WITHIN = 5.0  # seconds


class LeftBehind(Error):
    """Something of the chapter's is still there after cleaning up."""


def cgroup_path(name: str = "") -> str:
    """Where a chapter's own cgroup ``name`` is, below each hierarchy: ``/minicontainer-lab/name``."""
    return f"/{mark()}/{name}".rstrip("/")


def clean_up() -> None:
    """Remove what the chapter has made, and show that nothing of it is left; may be called again.

    :raises LeftBehind: when something is
    """
    for line in remove_all():
        print(f"removed {line}")
    left = remains()
    for kind, names in left.items():
        print(f"{kind + ':':<12}{', '.join(names) or 'none left'}")
    if any(left.values()):
        raise LeftBehind(
            "the chapter has left something behind, named above; a restart of the kernel may help"
        )


def remove_all() -> list[str]:
    """Remove what there is; says what it was."""
    removed = []
    for container in _containers():
        removed.append(f"container {container.name}")
        container.remove(force=True)
    for pid, name in _processes():
        removed.append(f"process {name}")
        os.kill(pid, signal.SIGKILL)
    top = Cgroup(cgroup_path())
    if top.exists():
        removed.append(f"cgroup {top.path}")
        top.kill()
        top.remove()
    deadline = time.monotonic() + _DIES_WITHIN
    while _processes() and time.monotonic() < deadline:
        time.sleep(0.01)
    return removed


def remains() -> dict[str, list[str]]:
    """What there is of a chapter's: containers, processes, cgroups, mounts."""
    return {
        "containers": [container.name for container in _containers()],
        "processes": [f"{name} (pid {pid})" for pid, name in _processes()],
        "cgroups": _cgroups(),
        "mounts": _mounts(),
    }


def _containers() -> list[Container]:
    return [each for each in api.list_containers(all=True) if each.name.startswith(PREFIX)]


def _processes() -> list[tuple[int, str]]:
    """The children of notebooks: (pid, name)."""
    wanted = f"{MARK}={mark()}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                ours = wanted in file.read().split(b"\0")
            with open(f"/proc/{entry}/comm") as file:
                name = file.read().strip()
        except OSError:
            continue  # it has ended, or is a thread of the system's
        if ours:
            found.append((int(entry), name))
    return found


def _cgroups() -> list[str]:
    directories = [hierarchy.directory(cgroup_path()) for hierarchy in hierarchies()]
    return [directory for directory in directories if os.path.isdir(directory)]


def _mounts() -> list[str]:
    """Mounts of containers that this process can see; there should never be any (proc_pid_mountinfo(5))."""
    root = api.default_engine().root
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    return [
        point
        for point in points
        if point.startswith(f"{root}/containers/") or os.path.basename(point).startswith(PREFIX)
    ]
