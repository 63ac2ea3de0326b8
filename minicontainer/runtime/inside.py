"""Paths inside a root filesystem that nobody vouches for.

An image may hold ``/data -> ../../../etc``, and a container may swap a directory for a symlink while we look.
So a path of the container is never joined to a path of the host as a string. Each step is opened by the
kernel, below the root and through no symlink (openat2(2)); symlinks are read and followed here, where it can
be seen where they lead.
"""

from __future__ import annotations

import errno
import os
import stat

from minicontainer.errors import Error, InvalidArgument
from minicontainer.kernel.openat2 import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)

_BENEATH = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_MAX_LINKS = 40  # as many as the kernel follows in one path (path_resolution(7))


def open_inside(root: int, path: str, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open ``path`` as a process whose root is the directory ``root`` would, symlinks and all (openat2(2))."""
    return openat2(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, mode)


def real_path(root: int, path: str) -> str:
    """``path`` with every symlink resolved below the directory ``root``; it need not exist to its end.

    Raises InvalidArgument when a ``..`` climbs above the root, or when a symlink leads to nothing: what would
    be made there was not asked for.
    """
    done: list[str] = []
    todo = [(name, "") for name in reversed(path.split("/"))]
    links = 0
    while todo:
        name, link = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            if not done:
                through = f" through the symlink {link}" if link else ""
                raise InvalidArgument(f"{path} leaves the root filesystem{through}")
            done.pop()
            continue
        kind, target = _look(root, done, name)
        if kind == "missing" and link:
            raise InvalidArgument(
                f"{path} leads through the symlink {link} to a path that is not in the image"
            )
        if kind != "link":
            done.append(name)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise InvalidArgument(f"{path} runs in a circle of symlinks")
        here = "/" + "/".join([*done, name])
        if target.startswith("/"):
            done.clear()
        todo.extend((part, f"{here} -> {target}") for part in reversed(target.split("/")))
    return "/" + "/".join(done)


def _look(root: int, parents: list[str], name: str) -> tuple[str, str]:
    """What ``name`` is in the directory of ``parents``: ("link", target), ("file", "") or ("missing", "")."""
    try:
        parent = openat2(root, "/".join(parents) or ".", os.O_PATH | os.O_DIRECTORY, _BENEATH)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return "missing", ""
        raise
    try:
        if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return "file", ""
        return "link", os.readlink(name, dir_fd=parent)
    except FileNotFoundError:
        return "missing", ""
    finally:
        os.close(parent)


def open_mount_point(root: int, path: str, directory: bool) -> int:
    """Open the place that something is to be mounted on, making it (and its parents) when it is missing.

    Returns an O_PATH descriptor of a directory or of a file, as ``directory`` wants. Raises InvalidArgument
    when the path leaves the root (see :func:`real_path`), Error when the other kind of thing is there.
    """
    plain = _open_plain(root, path, directory)
    if plain is not None:
        return plain
    above, name = os.path.split(path.rstrip("/"))
    parent = _open_plain(root, above, directory=True) if name not in ("", ".", "..") else None
    if parent is not None:
        try:
            if not _exists(parent, name):
                return _open_directories(parent, [name]) if directory else _open_file(parent, name)
        finally:
            os.close(parent)
    try:
        names = real_path(root, path).strip("/").split("/")
        if directory:
            return _open_directories(root, names)
        parent = _open_directories(root, names[:-1])
        try:
            return _open_file(parent, names[-1])
        finally:
            os.close(parent)
    except NotADirectoryError:
        raise Error(f"there can be no directory at {path}: a file is in the way") from None
    except IsADirectoryError:
        raise Error(f"cannot mount a file on {path}: it is a directory") from None


def _open_plain(root: int, path: str, directory: bool) -> int | None:
    """The usual case in one system call: it is there, of the right kind, and no symlink is on the way.

    When only the last name is missing, the same is true of the directory it is to be made in.
    """
    flags = os.O_PATH | (os.O_DIRECTORY if directory else 0)
    try:
        fd = openat2(root, path.lstrip("/") or ".", flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    except OSError:
        return None  # why not is found out step by step
    if not directory and stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _open_directories(root: int, names: list[str]) -> int:
    """Walk down ``names``, making what is missing (mode 755, as Docker does)."""
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    for name in names:
        if not name:
            continue
        try:
            try:
                below = openat2(here, name, os.O_PATH | os.O_DIRECTORY, _BENEATH)
            except FileNotFoundError:
                os.mkdir(name, 0o755, dir_fd=here)
                below = openat2(here, name, os.O_PATH | os.O_DIRECTORY, _BENEATH)
        finally:
            os.close(here)
        here = below
    return here


def _open_file(parent: int, name: str) -> int:
    if not name:
        raise IsADirectoryError
    try:
        fd = openat2(parent, name, os.O_PATH, _BENEATH)
    except FileNotFoundError:
        os.close(openat2(parent, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _BENEATH, 0o644))
        fd = openat2(parent, name, os.O_PATH, _BENEATH)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise IsADirectoryError
    return fd
