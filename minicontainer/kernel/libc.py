"""One handle on the C library, and one way to fail.

Everything below goes through here: :data:`libc` for calls that the C library wraps, :func:`syscall` for
those it does not, :func:`check` to turn the -1 of either into an ``OSError`` that names the system call and
the path.
"""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

# System calls without a wrapper in the C library. Calls added since Linux 5.1 have the same number on every
# architecture (include/uapi/asm-generic/unistd.h); older ones are in each architecture's own table.
_COMMON = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}
_X86_64 = {"rt_sigaction": 13, "pivot_root": 155, "keyctl": 250, "seccomp": 317, "bpf": 321}
_GENERIC = {  # aarch64, riscv64
    "rt_sigaction": 134,
    "pivot_root": 41,
    "keyctl": 219,
    "seccomp": 277,
    "bpf": 280,
}
_NUMBERS = _COMMON | (_X86_64 if os.uname().machine == "x86_64" else _GENERIC)


def check(result: int, call: str, path: str | bytes | None = None) -> int:
    """Return ``result``, or raise the ``OSError`` that errno stands for when it is -1 (errno(3))."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}", path)
    return result


def syscall(name: str, *arguments: object, path: str | bytes | None = None) -> int:
    """Make the system call ``name``; integers go as C longs, bytes as pointers (syscall(2))."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(libc.syscall(ctypes.c_long(_NUMBERS[name]), *words), name, path)
