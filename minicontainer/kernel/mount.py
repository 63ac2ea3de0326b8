"""Mounts: the classic call, and the file-descriptor calls that took it apart (Linux 5.2, mount_setattr 5.12).

mount(2) does six things by flags. The newer calls do one thing each, on descriptors: :func:`fsopen`,
:func:`fsconfig_string` and :func:`fsmount` make a filesystem, :func:`open_tree` clones a piece of the mount
tree, :func:`mount_setattr` changes its attributes, :func:`move_mount` hangs it where it belongs. Until then
the mount is nowhere: nobody sees it half made, and it vanishes when its descriptor is closed.
"""

from __future__ import annotations

import ctypes
import os

from minicontainer.kernel.libc import check, libc, syscall

# include/uapi/linux/mount.h
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_SILENT = 0x8000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000

MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

OPEN_TREE_CLONE = 0x1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
FSOPEN_CLOEXEC = 0x1
FSMOUNT_CLOEXEC = 0x1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

# include/uapi/linux/fcntl.h
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)

# include/uapi/linux/magic.h
PROC_SUPER_MAGIC = 0x9FA0
_STATFS_BYTES = 256  # more than struct statfs has anywhere; its first word is f_type


class MountAttr(ctypes.Structure):
    """struct mount_attr of include/uapi/linux/mount.h."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount(
    source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None
) -> None:
    """Attach a filesystem, or change how one is attached, as ``flags`` (MS_*) say (mount(2))."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, fstype, data)]
    check(libc.mount(words[0], words[1], words[2], flags, words[3]), "mount", target)


def umount2(target: str, flags: int = 0) -> None:
    """Detach the filesystem at ``target`` (umount2(2))."""
    check(libc.umount2(os.fsencode(target), flags), "umount2", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make ``new_root`` the root mount here and hang the old one at ``put_old`` (pivot_root(2))."""
    syscall("pivot_root", os.fsencode(new_root), os.fsencode(put_old), path=new_root)


def fsopen(fstype: str) -> int:
    """Begin to configure a filesystem of this type; returns a descriptor (fsopen(2))."""
    return syscall("fsopen", fstype.encode(), FSOPEN_CLOEXEC, path=fstype)


def fsconfig_string(fs: int, key: str, value: str) -> None:
    """Set the option ``key=value``; a value may have 255 bytes (fsconfig(2))."""
    syscall("fsconfig", fs, FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0, path=f"{key}={value}")


def fsconfig_flag(fs: int, key: str) -> None:
    """Set the option ``key``, which takes no value (fsconfig(2))."""
    syscall("fsconfig", fs, FSCONFIG_SET_FLAG, key.encode(), None, 0, path=key)


def fsconfig_create(fs: int) -> None:
    """Create the filesystem as configured so far (fsconfig(2))."""
    syscall("fsconfig", fs, FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(fs: int, attributes: int = 0) -> int:
    """Make a mount of the created filesystem, attached nowhere yet, with MOUNT_ATTR_* (fsmount(2))."""
    return syscall("fsmount", fs, FSMOUNT_CLOEXEC, attributes)


def open_tree(path: str, recursive: bool = False, directory: int = AT_FDCWD) -> int:
    """Clone the mount at ``path`` (and those below it), attached nowhere yet: the first half of a bind mount.

    ``path`` may be "" for the descriptor ``directory`` itself (open_tree(2)).
    """
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return syscall("open_tree", directory, os.fsencode(path), flags, path=path)


def move_mount(mount_fd: int, target: int) -> None:
    """Attach the mount ``mount_fd`` on the file or directory ``target``, a descriptor (move_mount(2))."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    syscall("move_mount", mount_fd, b"", target, b"", flags, path=fd_path(target))


def mount_setattr(
    mount_fd: int, attr_set: int = 0, attr_clr: int = 0, propagation: int = 0, recursive: bool = False
) -> None:
    """Change the attributes (MOUNT_ATTR_*) and propagation (MS_*) of a mount (mount_setattr(2))."""
    attr = MountAttr(attr_set, attr_clr, propagation, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall(
        "mount_setattr", mount_fd, b"", flags, ctypes.byref(attr), ctypes.sizeof(attr), path=fd_path(mount_fd)
    )


def filesystem_type(fd: int) -> int:
    """The magic number of the filesystem that the file ``fd`` is on, as PROC_SUPER_MAGIC (fstatfs(2))."""
    status = ctypes.create_string_buffer(_STATFS_BYTES)
    check(libc.fstatfs(fd, status), "fstatfs", fd_path(fd))
    return ctypes.c_long.from_buffer(status).value


def fd_path(fd: int) -> str:
    """The path behind a descriptor, as /proc knows it: for messages."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return f"descriptor {fd}"
