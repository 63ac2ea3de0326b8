"""Namespaces: what makes a process believe it has the machine to itself.

A namespace holds one kind of resource that used to be global: the process numbers, the mounts, the network
devices, the host name. Every process is in exactly one namespace of each kind; ``ls -l /proc/self/ns`` shows
which. Three system calls are all there is: **unshare** leaves a namespace for a new one, **setns** enters one
that exists, **clone** makes a child in new ones. A namespace lives as long as a process is in it (or a file
descriptor or a bind mount refers to it), so a container needs no registry: its namespaces go when it goes.

:data:`NAMESPACES` is the whole subject as a table, in the order in which a container enters them.
"""

from __future__ import annotations

import errno
import os

from minicontainer.errors import Error, InvalidArgument, NotFound, Unsupported
from minicontainer.kernel import namespaces as kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


class Namespace:
    """One kind: its OCI name, its file in /proc/PID/ns, its CLONE_NEW* flag and what it isolates."""

    def __init__(self, name: str, file: str, flag: int, isolates: str) -> None:
        self.name = name
        self.file = file
        self.flag = flag
        self.isolates = isolates

    def __repr__(self) -> str:
        return f"<{self.name} namespace: {self.isolates}>"

    def of(self, pid: int | str = "self") -> str:
        """Which namespace of this kind a process is in, as the kernel names it: ``uts:[4026531838]``."""
        return os.readlink(f"/proc/{pid}/ns/{self.file}")


# The order matters. The user namespace comes first: whoever is root in it owns all that follow. The pid and
# time namespaces are entered by the next child, not by the caller. The cgroup namespace comes last, and is
# not unshared with the others: its root is the cgroup that the process is in at that moment, so the process
# must have joined its cgroup before (see minicontainer.runtime.launch).
NAMESPACES = (
    Namespace("user", "user", kernel.CLONE_NEWUSER, "user and group ids, and what root may do"),
    Namespace("ipc", "ipc", kernel.CLONE_NEWIPC, "System V IPC and POSIX message queues"),
    Namespace("uts", "uts", kernel.CLONE_NEWUTS, "host name and domain name"),
    Namespace("network", "net", kernel.CLONE_NEWNET, "network devices, addresses, routes, ports, firewall"),
    Namespace("pid", "pid", kernel.CLONE_NEWPID, "process numbers"),
    Namespace("mount", "mnt", kernel.CLONE_NEWNS, "the mount tree"),
    Namespace("time", "time", kernel.CLONE_NEWTIME, "the monotonic and boot-time clocks"),
    Namespace("cgroup", "cgroup", kernel.CLONE_NEWCGROUP, "the cgroup that counts as the root"),
)
BY_NAME = {namespace.name: namespace for namespace in NAMESPACES}


def find(name: str) -> Namespace:
    """The table's row for an OCI name (``network``) or a file name of /proc/PID/ns (``net``)."""
    for namespace in NAMESPACES:
        if name in (namespace.name, namespace.file):
            return namespace
    names = ", ".join(namespace.file for namespace in NAMESPACES)
    raise InvalidArgument(f"no namespace is called {name!r}; there are {names}")


def supported(namespace: Namespace) -> bool:
    """Whether this kernel has namespaces of this kind."""
    return os.path.exists(f"/proc/self/ns/{namespace.file}")


def unshare(names: Iterable[str]) -> None:
    """Leave the caller's namespaces of these kinds for new ones (unshare(2)).

    The pid and time namespaces take effect with the caller's next child. Raises Unsupported when this kernel has
    no such namespaces, or will not make a user namespace for a process with threads.
    """
    wanted = [find(name) for name in names]
    flags = 0
    for namespace in wanted:
        flags |= namespace.flag
    try:
        kernel.unshare(flags)
    except OSError as error:
        lacking = [namespace.name for namespace in wanted if not supported(namespace)]
        if error.errno == errno.EINVAL and lacking:
            raise Unsupported(f"this kernel has no {lacking[0]} namespaces") from None
        names = ", ".join(namespace.name for namespace in wanted)
        raise _explain(error, f"make a new namespace ({names})") or error from error


def open_namespaces(pid: int, names: Iterable[str]) -> list[tuple[Namespace, int]]:
    """Open the namespaces of a process, in the table's order; entering one may take the others out of sight."""
    wanted = {find(name).name for name in names}
    return _open_all({name: f"/proc/{pid}/ns/{BY_NAME[name].file}" for name in wanted})


def _open_all(paths: Mapping[str, str]) -> list[tuple[Namespace, int]]:
    opened: list[tuple[Namespace, int]] = []
    try:
        for namespace in NAMESPACES:
            if namespace.name in paths:
                fd = os.open(paths[namespace.name], os.O_RDONLY | os.O_CLOEXEC)
                opened.append((namespace, fd))
    except (FileNotFoundError, ProcessLookupError) as error:
        _close_all(opened)
        raise NotFound(f"cannot enter a namespace: {error.filename} is not there") from None
    return opened


def _close_all(opened: Iterable[tuple[Namespace, int]]) -> None:
    for _, fd in opened:
        os.close(fd)


def enter(pid: int, names: Iterable[str]) -> None:
    """Enter some namespaces of a running process, one by one: what nsenter(1) does (setns(2)).

    As with unshare, a pid namespace takes effect with the caller's next child. Raises NotFound when there is no
    such process, Unsupported when the caller has threads and the kernel minds.
    """
    _enter(open_namespaces(pid, names))


def join_paths(wanted: Iterable[Mapping[str, Any]]) -> None:
    """Enter the namespaces of an OCI ``linux.namespaces`` list that give a path: ``{"type", "path"}``."""
    _enter(_open_all({find(entry["type"]).name: entry["path"] for entry in wanted if entry.get("path")}))


def _enter(opened: list[tuple[Namespace, int]]) -> None:
    """Enter and close them; one that the caller is in is passed over, for the own user namespace is EINVAL."""
    try:
        # Compared before any is entered: with another mount namespace comes another /proc, which may not know us.
        elsewhere = [
            (namespace, fd)
            for namespace, fd in opened
            if not os.path.samestat(os.fstat(fd), os.stat(f"/proc/self/ns/{namespace.file}"))
        ]
        for namespace, fd in elsewhere:
            try:
                kernel.setns(fd, namespace.flag)
            except OSError as error:
                raise _explain(error, f"enter a {namespace.name} namespace") or error from error
    finally:
        _close_all(opened)


def _explain(error: OSError, what: str) -> Error | None:
    """What errno means here, where it means something that its text does not say."""
    if error.errno in (errno.EINVAL, errno.EUSERS) and len(os.listdir("/proc/self/task")) > 1:
        return Unsupported(f"cannot {what}: this process has threads; do it in a child process")
    if error.errno == errno.EINVAL:
        return InvalidArgument(f"cannot {what}: that is not one, or not one that can be entered from here")
    if error.errno == errno.EPERM:
        return Error(f"cannot {what}: operation not permitted; it takes root")
    if error.errno == errno.ENOSPC:
        return Error(f"cannot {what}: there are as many as sysctl user.max_*_namespaces allows")
    return None
