"""Who has a port: the kernel's list of sockets, and whose descriptors they are (proc(5), /proc/net/tcp)."""

from __future__ import annotations

import os

from minicontainer.engine.directories import listdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def holder(kind: str, port: int, name_of: Callable[[str], str]) -> str:
    """Who has a TCP or UDP port of the host, as the end of a sentence: `` by haproxy (pid 71)``; "" if unknown.

    ``name_of`` turns the id of a container into its name.
    """
    inodes = _inodes(kind, port)
    for pid in filter(str.isdecimal, os.listdir("/proc")) if inodes else ():
        if inodes & _sockets(pid):
            name, container = _describe(pid)
            return f" by container {name_of(container)}" if container else f" by {name} (pid {pid})"
    return ""


def _inodes(kind: str, port: int) -> set[str]:
    """The sockets that are bound to a port; of TCP only those that listen."""
    found = set()
    for file in (f"/proc/net/{kind}", f"/proc/net/{kind}6"):
        try:
            with open(file) as table:
                lines = table.read().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and (kind == "udp" or fields[3] == "0A"):
                found.add(f"socket:[{fields[9]}]")
    return found


def _sockets(pid: str) -> set[str]:
    found = set()
    for fd in _descriptors(pid):
        try:
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            continue  # closed meanwhile
    return found


def _descriptors(pid: str) -> list[str]:
    try:
        return listdir(f"/proc/{pid}/fd")
    except OSError:  # it has ended
        return []


def _describe(pid: str) -> tuple[str, str]:
    """A process's name, and the container whose ports it holds when it is a monitor of ours."""
    try:
        with open(f"/proc/{pid}/cmdline", errors="replace") as file:
            words = file.read().split("\0")
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            name = file.read().strip()
    except OSError:
        return "a process", ""
    title = words[0].split()
    ours = len(title) == 2 and title[0] in ("minicontainer-monitor", "minicontainer-proxy")
    return name, title[1] if ours else ""
