"""Looking: which cgroup hierarchies this host has, and which controllers live where.

A cgroup hierarchy is a tree of directories, mounted somewhere; each process is in exactly one directory of
each hierarchy. A controller (memory, cpu, pids, ...) is the part of the kernel that counts and limits, and it
lives in one hierarchy at a time.

Version 1 may have many hierarchies, each with some of the controllers: one, or several mounted together
(``cpu,cpuacct``), or none (``name=systemd``, which only groups processes). Version 2 is a single hierarchy for
all. Three worlds follow: **v1**, **v2**, and **hybrid**, where the controllers live in v1 and a bare v2
hierarchy stands beside it. Nothing depends on which it is: the host is a list of :class:`Hierarchy`, and
a controller is used where it lives.

Where they are mounted is custom, not law; the type of the filesystem tells: ``cgroup`` is version 1,
``cgroup2`` version 2. See for yourself::

    grep cgroup /proc/self/mountinfo
    cat /proc/self/cgroup
"""

from __future__ import annotations

import os

from minicontainer.errors import Unsupported
from minicontainer.runtime.cgroups import files

_VERSIONS = {"cgroup": 1, "cgroup2": 2}


class Hierarchy:
    """One mounted tree of cgroups.

    :ivar mountpoint: where its root is, an absolute path
    :ivar version: 1 or 2
    :ivar name: as the second column of /proc/self/cgroup has it: ``memory``, ``cpu,cpuacct``,
        ``name=systemd``, and the empty string for version 2
    :ivar controllers: what lives in it; may be empty
    """

    def __init__(self, mountpoint: str, version: int, name: str, controllers: tuple[str, ...]) -> None:
        self.mountpoint = mountpoint
        self.version = version
        self.name = name
        self.controllers = controllers

    def directory(self, path: str) -> str:
        """Where the cgroup ``path``, such as ``/minicontainer/42``, is in the file tree."""
        return self.mountpoint + path

    def __repr__(self) -> str:
        return f"<cgroup v{self.version} at {self.mountpoint}: {' '.join(self.controllers) or 'bare'}>"


USUAL = {
    "cpu",
    "cpuset",
    "io",
    "memory",
    "pids",
}  # version 2's, whose counters or limits a container is to have


def hierarchies() -> list[Hierarchy]:
    """The hierarchies mounted on this host, each once, in the order of /proc/self/mountinfo (proc(5)).

    The list is empty where no cgroup filesystem is mounted.
    """
    found: dict[str, Hierarchy] = {}
    names = _names()
    # A hierarchy may be mounted twice, as a whole and in part (a container's view of its own): the whole first.
    for _, mountpoint, version, options in sorted(_mounts(), key=lambda mount: mount[0] != "/"):
        if version == 2:
            controllers = tuple(files.read(f"{mountpoint}/cgroup.controllers").split())
            found.setdefault("", Hierarchy(mountpoint, 2, "", controllers))
            continue
        for name in names:
            words = name.split(",")
            if options.issuperset(words):
                controllers = tuple(word for word in words if not word.startswith("name="))
                found.setdefault(name, Hierarchy(mountpoint, 1, name, controllers))
    return list(found.values())


def in_use(there: list[Hierarchy]) -> list[Hierarchy]:
    """The hierarchies in which a container is counted: all, but for a bare version 2 beside version 1.

    In a hybrid world version 2 is there for systemd's own bookkeeping. Nothing can be limited in it, and a
    process cannot join it without a long wait (see :meth:`minicontainer.runtime.cgroups.Cgroup.join`).
    """
    if not any(hierarchy.version == 1 and hierarchy.controllers for hierarchy in there):
        return there
    return [each for each in there if each.version == 1 or USUAL.intersection(each.controllers)]


def own_path(hierarchy: Hierarchy) -> str:
    """The path of the cgroup that this process is in, in one hierarchy (cgroups(7), /proc/PID/cgroup)."""
    words = [line.split(":", 2) for line in files.read("/proc/self/cgroup").splitlines()]
    return next(path for _, name, path in words if name == hierarchy.name)


def mode() -> str:
    """``v1``, ``v2`` or ``hybrid``: the world that the controllers of this host live in.

    A named hierarchy without controllers (``name=systemd``) does not make a v2 host a hybrid one. Raises
    Unsupported where no cgroup filesystem is mounted.
    """
    there = hierarchies()
    require(there)
    versions = {hierarchy.version for hierarchy in there if hierarchy.version == 2 or hierarchy.controllers}
    return "hybrid" if versions == {1, 2} else "v2" if versions == {2} else "v1"


def carrier(there: list[Hierarchy], version: int, file: str) -> Hierarchy | None:
    """The hierarchy of that version which has a cgroup file, as ``memory.max``; None when there is none.

    A file is named after the controller it belongs to. Those that start with ``cgroup.`` belong to version 2
    itself.
    """
    controller = file.partition(".")[0]
    for hierarchy in there:
        core = hierarchy.version == 2 and controller == "cgroup"
        if hierarchy.version == version and (core or controller in hierarchy.controllers):
            return hierarchy
    return None


def require(there: list[Hierarchy]) -> None:
    """Raise Unsupported when the host has no hierarchy at all."""
    if not there:
        raise Unsupported(
            "no cgroup filesystem is mounted here, so nothing can be limited; "
            "mount one: mount -t cgroup2 none /sys/fs/cgroup"
        )


def _names() -> list[str]:
    """The version 1 hierarchies of the kernel by name, mounted or not: ``4:memory:/path`` is one's line."""
    lines = files.read("/proc/self/cgroup").split("\n")
    return [name for name in (line.split(":", 2)[1] for line in lines) if name]


def _mounts() -> list[tuple[str, str, int, set[str]]]:
    """The cgroup mounts that can be reached: (root within the hierarchy, mount point, version, options).

    A line of /proc/self/mountinfo has two halves around a dash; the columns are those of proc(5)::

        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
              device root mount point                    type          options
    """
    found = []
    # split and not splitlines: a mount point's name may have any other character that ends a line somewhere.
    for line in files.read("/proc/self/mountinfo").split("\n"):
        left, _, right = line.partition(" - ")
        device, root, mountpoint = left.split(" ")[2:5]
        kind, _, options = right.split(" ", 2)
        if kind in _VERSIONS and _is_on_top(mountpoint := _unescape(mountpoint), device):
            found.append((root, mountpoint, _VERSIONS[kind], set(options.split(" ")[-1].split(","))))
    return found


def _is_on_top(mountpoint: str, device: str) -> bool:
    """Whether the mount point shows this mount: another one may have been mounted over it since."""
    try:
        number = os.stat(mountpoint).st_dev
    except OSError:
        return False  # out of reach, as below a directory that is hidden itself
    return device == f"{os.major(number)}:{os.minor(number)}"


def _unescape(word: str) -> str:
    r"""Undo proc(5)'s octal: ``\040`` is a space."""
    first, *rest = word.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
