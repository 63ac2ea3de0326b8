"""Namespaces: a process's own view of one kind of global resource (namespaces(7))."""

from __future__ import annotations

from minicontainer.kernel.libc import check, libc

# include/uapi/linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_FS = 0x00000200  # no namespace, but in the way of one: root and working directory, shared by threads
CLONE_NEWNS = 0x00020000  # the mount namespace came first, hence the name without a word for it
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000


def unshare(flags: int) -> None:
    """Leave the namespaces named by the CLONE_NEW* ``flags`` for new ones (unshare(2)).

    The pid and time namespaces are not entered by the caller but by its next child.
    """
    check(libc.unshare(flags), "unshare")


def setns(fd: int, flag: int = 0) -> None:
    """Enter the namespace that ``fd`` (an open /proc/PID/ns/NAME) refers to (setns(2)).

    ``flag`` is the CLONE_NEW* kind that it must be, 0 for any.
    """
    check(libc.setns(fd, flag), "setns")


def sethostname(name: str) -> None:
    """Set the host name of the caller's UTS namespace (sethostname(2))."""
    encoded = name.encode()
    check(libc.sethostname(encoded, len(encoded)), "sethostname", name)


def setdomainname(name: str) -> None:
    """Set the NIS domain name of the caller's UTS namespace (setdomainname(2))."""
    encoded = name.encode()
    check(libc.setdomainname(encoded, len(encoded)), "setdomainname", name)
