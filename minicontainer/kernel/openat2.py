"""openat2(2): open a path that the kernel promises to resolve below a directory.

A container's file tree is hostile input: ``/etc`` may be a symlink to ``../../../etc``. Checking names before
opening them loses the race against whoever swaps a directory for a symlink in between. The kernel can do it
in one step: with RESOLVE_IN_ROOT the directory is the root, for absolute symlinks and ``..`` alike.
"""

from __future__ import annotations

import ctypes
import os

from minicontainer.kernel.libc import syscall

# include/uapi/linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

O_PATH = os.O_PATH


class OpenHow(ctypes.Structure):
    """struct open_how of include/uapi/linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(directory: int, path: str | bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open ``path`` relative to the descriptor ``directory``; ``resolve`` is made of RESOLVE_* (openat2(2)).

    The descriptor is close-on-exec. EXDEV means that the path would have left the directory, ELOOP that it
    has a symlink where none is allowed, EAGAIN that the tree changed underneath: the call is repeated then.
    """
    how = OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    for attempt in range(100):
        try:
            return syscall("openat2", directory, name, ctypes.byref(how), ctypes.sizeof(how), path=path)
        except BlockingIOError:
            if attempt == 99:
                raise
    raise AssertionError("not reached")
