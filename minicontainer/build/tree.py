"""A file tree that COPY and ADD take from: the build context, another stage, an image.

All three are hostile: a context comes from anywhere, and a stage may hold ``/data -> /etc``. So paths are resolved
by the kernel below the tree's root directory, where ``/`` is that directory and ``..`` ends there; nothing of
the host can be reached, whatever the symlinks say.

A source that is named is followed when it is a symlink, and what lies below it is taken as it is: so does Docker.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from minicontainer.build import patterns, places
from minicontainer.errors import InvalidArgument, NotFound
from minicontainer.kernel.openat2 import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from minicontainer.build.ignore import Ignore

    Found = tuple[str, os.stat_result]

_EXACTLY = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_GONE = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
)  # it was there a moment ago, and has been another thing since


class Tree:
    """A directory, and what of it may be taken."""

    def __init__(
        self, root: int | str, ignore: Ignore | None = None, *, what: str = "the build context"
    ) -> None:
        """``root`` is a path, or a descriptor that stays the caller's; ``what`` names the tree in messages."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        if isinstance(root, int):
            self.root = os.open(".", flags, dir_fd=root)
        else:
            self.root = os.open(root, flags)
        self.ignore = ignore
        self.what = what

    def close(self) -> None:
        """Let go of the directory; safe to call twice."""
        if self.root >= 0:
            os.close(self.root)
        self.root = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ finding

    def match(self, pattern: str) -> list[str]:
        """The paths below the root that a source word means, sorted; "" is the root itself.

        A word with wildcards (:mod:`minicontainer.build.patterns`) means all files that match, one without means
        itself. Raises NotFound when there is nothing, or .dockerignore excludes it, and InvalidArgument for a path
        that begins above the root and for a bad pattern.
        """
        if not patterns.has_wildcards(pattern):
            path = self._clean(pattern)
            self._check(path, pattern)
            return [path]
        wanted = pattern.removeprefix("/").removeprefix("./")
        expression = patterns.compile_pattern(wanted)
        # A * does not match a /, so what lies deeper than the pattern need not be looked at; a class may.
        depth = None if "[" in wanted else wanted.count("/") + 1
        found = [each for each in self._walk("", depth) if each[0] and expression.fullmatch(each[0])]
        if not found:
            excluded = ", or .dockerignore excludes it" if self.ignore else ""
            raise NotFound(f"{pattern}: no file in {self.what} matches{excluded}")
        for path, status in found:
            if stat.S_ISLNK(status.st_mode):
                self._check(path, path)
        return [path for path, _ in found]

    def walk(self, path: str) -> Iterator[Found]:
        """What is at ``path`` first, as "" (of a symlink, what it leads to), then all below it, as "sub/x".

        Each directory comes before its content, and names in the order of their bytes, each with its lstat(2).
        What .dockerignore excludes is left out; a directory of which only the content is not excluded has mode
        0755. What vanishes meanwhile is left out too; InvalidArgument names what may not be read.
        """
        try:
            real = self._resolve(path)
        except FileNotFoundError:
            return
        if not self.ignore or self.ignore.reaches(real):
            yield from self._walk(real)

    def _walk(self, real: str, depth: int | None = None) -> Iterator[Found]:
        """The walk itself, from a path that has no symlinks, and so many directories deep."""
        prefix = f"{real}/" if real else ""
        waiting: list[
            tuple[int, Found]
        ] = []  # excluded directories, and how deep: in them may be what is not
        levels = [iter(self._look(real))]
        while levels:
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
                if waiting and waiting[-1][0] >= len(levels):
                    waiting.pop()
                continue
            name, status = found
            here = prefix + name if name else real
            is_directory = stat.S_ISDIR(status.st_mode)
            if self.ignore and self.ignore.excludes(here):
                if not is_directory or not self.ignore.may_want_below(here):
                    continue
                waiting.append((len(levels), (name, _as_if_made(status))))
            else:
                for _, directory in waiting:
                    yield directory
                waiting.clear()
                yield found
            if is_directory and (depth is None or len(levels) <= depth or waiting):
                levels.append(iter(self._list(here, name)))

    def _look(self, path: str) -> list[Found]:
        """The file at ``path``, if there is one."""
        try:
            fd = self._open(path, os.O_PATH | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in _GONE:
                return []
            raise self._unreadable(path, error) from None
        try:
            return [("", os.fstat(fd))]
        finally:
            os.close(fd)

    def _list(self, path: str, shown: str) -> list[Found]:
        """The files of a directory, under the name that the walk has for it."""
        try:
            fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno in _GONE:
                return []
            raise self._unreadable(path, error) from None
        try:
            files = []
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        files.append((entry.name, entry.stat(follow_symlinks=False)))
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        raise self._unreadable(f"{path}/{entry.name}", error) from None
        finally:
            os.close(fd)
        files.sort(key=lambda file: os.fsencode(file[0]))
        prefix = f"{shown}/" if shown else ""
        return [(prefix + name, status) for name, status in files]

    # ------------------------------------------------------------ reading

    def open(self, path: str) -> int:
        """Open a regular file for reading, following symlinks inside; InvalidArgument when it is something else.

        The descriptor is the caller's to close. Whatever is there, to open it does not wait (fifo(7)).
        """
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        try:
            fd = openat2(self.root, path or ".", flags, _INSIDE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a socket
                raise self._not_regular(path) from None
            raise self._unreadable(path, error) from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise self._not_regular(path)
        return fd

    def readlink(self, path: str) -> bytes:
        """What the symlink at ``path`` says; OSError (EINVAL) when it is none."""
        fd = openat2(self.root, path, os.O_PATH | os.O_NOFOLLOW, _INSIDE)
        try:
            return _target(fd, path)
        finally:
            os.close(fd)

    def xattrs(self, file: str | int) -> dict[bytes, bytes]:
        """The extended attributes that a copy keeps, of a path or of a file that :meth:`open` gave.

        These are ``security.capability`` and ``user.*``: all others are this host's policy or the kernel's notes.
        """
        if isinstance(file, str):
            fd = openat2(self.root, file or ".", os.O_PATH | os.O_NOFOLLOW, _INSIDE)
            try:
                return _xattrs(f"/proc/self/fd/{fd}")
            finally:
                os.close(fd)
        return _xattrs(file)

    # ------------------------------------------------------------ paths

    def _open(self, path: str, flags: int) -> int:
        return openat2(self.root, path or ".", flags, _EXACTLY)

    def _clean(self, path: str) -> str:
        """A path below the root, without ``.``, ``..`` and needless slashes."""
        if "\0" in path:
            raise InvalidArgument(f"{path!r} is no path: it has a NUL in it")
        cleaned = os.path.normpath(path.lstrip("/") or ".")
        if cleaned == ".." or cleaned.startswith("../"):
            raise InvalidArgument(
                f"forbidden path outside {self.what}: {path}; put the file into it, "
                "or give a directory further up as the context"
            )
        return "" if cleaned == "." else cleaned

    def _resolve(self, path: str) -> str:
        """``path`` without symlinks, those that .dockerignore excludes being none; FileNotFoundError for them."""
        return places.follow(path, self._followed, f"{path} runs in a circle of symlinks in {self.what}")

    def _followed(self, path: str) -> str | None:
        """What a symlink says that may be followed."""
        target = self._link(path)
        if target is not None and self.ignore and self.ignore.excludes(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return target

    def _link(self, path: str) -> str | None:
        """What a symlink says, None for all else."""
        try:
            fd = self._open(path, os.O_PATH | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise self._unreadable(path, error) from None
        try:
            return os.fsdecode(_target(fd, path)) if stat.S_ISLNK(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)

    # ------------------------------------------------------------ messages

    def _check(self, path: str, asked: str) -> None:
        """Raise NotFound, and why, when nothing is at ``path``."""
        if next(self.walk(path), None):
            return
        with Tree(self.root, what=self.what) as everything:
            if self.ignore and next(everything.walk(path), None):
                raise NotFound(f"{asked}: .dockerignore excludes it from {self.what}")
        if self._link(path) is not None:
            raise NotFound(f"{asked}: a symlink that leads to nothing in {self.what}")
        raise NotFound(f"{asked}: no such file or directory in {self.what}")

    def _unreadable(self, path: str, error: OSError) -> InvalidArgument | OSError:
        if error.errno in (errno.EACCES, errno.EPERM):
            return InvalidArgument(
                f"cannot read {path or '.'} in {self.what}: {os.strerror(error.errno)}; "
                "make it readable, or name it in .dockerignore"
            )
        if error.errno == errno.ENAMETOOLONG:
            return InvalidArgument(
                f"{path[:60]}… in {self.what} is too long: a name has 255 bytes at most, a path 4095"
            )
        return error

    def _not_regular(self, path: str) -> InvalidArgument:
        return InvalidArgument(f"cannot read {path} in {self.what}: it is no regular file")


def _as_if_made(status: os.stat_result) -> os.stat_result:
    """A directory that is needed for what is in it: as if it had just been made."""
    values = list(status)
    values[stat.ST_MODE] = stat.S_IFDIR | 0o755
    values[stat.ST_UID] = values[stat.ST_GID] = 0
    now = time.time_ns()
    return os.stat_result(values, {"st_atime_ns": now, "st_mtime_ns": now, "st_ctime_ns": status.st_ctime_ns})


def _target(fd: int, path: str) -> bytes:
    try:
        return os.fsencode(os.readlink("", dir_fd=fd))
    except FileNotFoundError:  # what the kernel says of an open file that is no symlink
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path) from None


def _xattrs(file: str | int) -> dict[bytes, bytes]:
    try:
        names = os.listxattr(file)
        wanted = [name for name in names if name == "security.capability" or name.startswith("user.")]
        return {os.fsencode(name): os.getxattr(file, name) for name in wanted}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
