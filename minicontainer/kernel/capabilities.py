"""Capabilities: the powers of root in forty-one pieces (capabilities(7))."""

from __future__ import annotations

import ctypes

from minicontainer.kernel import process
from minicontainer.kernel.libc import check, libc

# include/uapi/linux/capability.h: the position in this list is the capability's number.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}
_LINUX_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def last() -> int:
    """The number of the last capability that this kernel knows (prctl(2), PR_CAPBSET_READ).

    /proc/sys/kernel/cap_last_cap says it too; but in a container /proc may be whatever its image says it is.
    """
    number = len(NAMES) - 1
    while not _known(number):
        number -= 1
    while _known(number + 1):
        number += 1
    return number


def _known(number: int) -> bool:
    try:
        process.prctl(process.PR_CAPBSET_READ, number)
    except OSError:  # EINVAL
        return False
    return True


def available() -> list[str]:
    """The names of the capabilities that this process has to give: those it is permitted itself."""
    _, permitted, _ = capget()
    return [name for name, number in NUMBERS.items() if permitted >> number & 1]


def drop_bounding(keep: int) -> None:
    """Take what is not in the mask ``keep`` out of the bounding set, for good (PR_CAPBSET_DROP)."""
    for number in range(last() + 1):
        if not keep >> number & 1:
            process.prctl(process.PR_CAPBSET_DROP, number)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the three sets of this thread, each a mask of 1 << number (capset(2))."""
    header = _Header(_LINUX_CAPABILITY_VERSION_3, 0)
    low = (effective & 0xFFFFFFFF, permitted & 0xFFFFFFFF, inheritable & 0xFFFFFFFF)
    data = (_Data * 2)(_Data(*low), _Data(effective >> 32, permitted >> 32, inheritable >> 32))
    check(libc.capset(ctypes.byref(header), ctypes.byref(data)), "capset")


def set_ambient(mask: int) -> None:
    """Set the ambient set, which survives an execve, to this mask (prctl(2), PR_CAP_AMBIENT)."""
    process.prctl(process.PR_CAP_AMBIENT, process.PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(mask.bit_length()):
        if mask >> number & 1:
            process.prctl(process.PR_CAP_AMBIENT, process.PR_CAP_AMBIENT_RAISE, number)


def capget() -> tuple[int, int, int]:
    """The effective, the permitted and the inheritable set of this thread, each a mask (capget(2))."""
    header = _Header(_LINUX_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)()
    check(libc.capget(ctypes.byref(header), ctypes.byref(data)), "capget")
    low, high = data
    return (
        low.effective | high.effective << 32,
        low.permitted | high.permitted << 32,
        low.inheritable | high.inheritable << 32,
    )


def has(name: str) -> bool:
    """Whether this process may use the capability ``name`` now."""
    effective, _, _ = capget()
    return bool(effective >> NUMBERS[name] & 1)
