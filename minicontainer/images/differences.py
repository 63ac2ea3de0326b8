"""What a container has changed, read off its upper directory: ``docker diff``.

Copy-on-write leaves a plain record. A name that is only in the upper directory was **added**; a whiteout says
that a name of the layers below was **deleted**; what is in both was **changed**, or only copied up, for a file that
is opened for writing is copied whether anything is written or not. So the two are compared: kind, mode and owner,
and of what is no directory size and time. Contents are not read, as with Docker: whoever writes sets the time. A
directory in which something has changed counts as changed itself.

To know what was there before, the layers below are searched as the kernel does it (:func:`_look`): the highest that
has the name decides, a whiteout ends the search, and only a directory goes on in the next layer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from minicontainer.images import whiteouts
from minicontainer.kernel.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ADDED, CHANGED, DELETED = "A", "C", "D"
_CAPABILITY = "security.capability"


class Change:
    """One line of ``diff``: what happened (A, C or D), and to which path."""

    def __init__(self, kind: str, path: str) -> None:
        self.kind = kind
        self.path = path

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"

    def __repr__(self) -> str:
        return f"<Change {self}>"


class _File:
    """A file as a layer has it: its lstat(2) and file capabilities, and the paths of a directory in all layers."""

    def __init__(self, status: os.stat_result, path: str, directories: Sequence[str] = ()) -> None:
        self.status = status
        self.is_directory = stat.S_ISDIR(status.st_mode)
        self.is_whiteout = whiteouts.is_whiteout(status, path)
        self.is_opaque = self.is_directory and whiteouts.is_opaque(path)
        self.capability = whiteouts.get_xattr(path, _CAPABILITY) if stat.S_ISREG(status.st_mode) else None
        self.directories = directories

    def differs(self, before: _File) -> bool:
        """Whether something besides the content of a directory is not as it was before."""
        ours, theirs = self.status, before.status
        for name in ("st_mode", "st_uid", "st_gid", "st_rdev"):
            if getattr(ours, name) != getattr(theirs, name):
                return True
        if self.is_directory:
            return False
        same = (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
        return not same or self.capability != before.capability


def changes(upper: str, lowers: Sequence[str]) -> list[Change]:
    """What the directory ``upper`` changes in the union of ``lowers``, which begin with the highest.

    A directory comes before what is in it, and names are in the order of their bytes. The container may go on
    meanwhile: what vanishes is left out.
    """
    root = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _Comparison(root).run(lowers)
    finally:
        os.close(root)


class _Comparison:
    """Walks the upper directory ``root``; nothing else of it is open between two steps."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.found: list[Change] = []
        self.noted = {""}  # the directories that need no line any more

    def run(self, lowers: Sequence[str]) -> list[Change]:
        """All changes."""
        walk = [("", lowers, self._names("", lowers, False))]
        while walk:
            path, below, names = walk[-1]
            name = next(names, None)
            if name is None:
                walk.pop()
                continue
            ours, before = self._file(path, name), _look(below, name)
            full = f"{path}/{name}"
            self._compare(full, ours, before)
            if ours and ours.is_directory:
                directories = before.directories if before else ()
                walk.append((full, directories, self._names(full, directories, ours.is_opaque)))
        return self.found

    def _compare(self, path: str, ours: _File | None, before: _File | None) -> None:
        if ours is None or ours.is_whiteout:
            if before:
                self._note(DELETED, path)
        elif before is None:
            self._note(ADDED, path)
        elif ours.differs(before):
            self._note(CHANGED, path)

    def _note(self, kind: str, path: str) -> None:
        """Add a line, and one for each directory above that has none yet."""
        above = os.path.dirname(path)
        missing = []
        while above.rstrip("/") not in self.noted:
            missing.append(above)
            above = os.path.dirname(above)
        for directory in reversed(missing):
            self.found.append(Change(CHANGED, directory))
        self.noted.update([*missing, path])
        self.found.append(Change(kind, path))

    def _names(self, path: str, below: Sequence[str], opaque: bool) -> Iterator[str]:
        """The names in a directory; of an opaque one also those below, which it hides."""
        names: set[str] = set()
        with self._opened(path) as fd:
            if fd is not None:
                names.update(os.listdir(fd))
        if opaque:
            names.update(name for directory in below for name in os.listdir(directory))
        return iter(sorted(names, key=os.fsencode))

    def _file(self, directory: str, name: str) -> _File | None:
        """A file of the upper directory; None when it is not there, or not any more."""
        with self._opened(directory) as fd:
            path = f"/proc/self/fd/{fd}/{name}"
            try:
                return _File(os.lstat(path), path)
            except FileNotFoundError:
                return None

    @contextlib.contextmanager
    def _opened(self, directory: str) -> Iterator[int | None]:
        """A directory, opened beneath the root and through no symlink; None when it is there no more."""
        flags, resolve = os.O_RDONLY | os.O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
        try:
            fd = openat2(self.root, directory.lstrip("/") or ".", flags, resolve)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            yield None
            return
        try:
            yield fd
        finally:
            os.close(fd)


def _look(directories: Sequence[str], name: str) -> _File | None:
    """What a name stands for in a union of directories, which begins with the highest."""
    found: _File | None = None
    parts: list[str] = []
    for directory in directories:
        path = os.path.join(directory, name)
        try:
            file = _File(os.lstat(path), path, parts)
        except FileNotFoundError:
            continue
        if file.is_whiteout or (found and not file.is_directory):
            break
        found = found or file
        if not file.is_directory:
            break
        parts.append(path)
        if file.is_opaque:
            break
    return found
