"""Writing copies: one file after another into a directory of the image, with all that a file has besides content.

Thousands of small files are the usual case, and a copy is a dozen system calls for each: so the directory that was
written to last stays open, and nothing is asked twice.
"""

from __future__ import annotations

import errno
import os
import stat

from minicontainer.build import places
from minicontainer.files import copy_content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from minicontainer.build.copy_sources import Found, Source

_SMALL = 128 << 10  # bytes of a file that is copied at once


class Writer:
    """Writes what one source has.

    :param owner: who the copies belong to; None keeps the source's
    :param mode: the permission bits of all copies; None keeps the source's
    """

    def __init__(self, source: Source, owner: tuple[int, int] | None, mode: int | None) -> None:
        self.source = source
        self.owner = owner
        self.mode = mode
        self.directory_owner = owner or (0, 0)  #: of directories that have to be made
        self.latest = 0  #: when the last of the source's files was changed, in nanoseconds since 1970
        self.top = -1
        self.parent, self.parent_path = -1, ""
        self.directories: list[Found] = []
        self.first: dict[tuple[int, int], str] = {}  # of files with several names, the one that was copied

    def write_all(self, top: int, files: Iterable[Found]) -> None:
        """Write what is in a directory, as its walk goes on, into the directory ``top``."""
        self.top = top
        try:
            for below, status in files:
                above, _, name = below.rpartition("/")
                self._open(above)
                self.write(self.parent, name, below, status)
            self._finish_directories()
        finally:
            self._close()

    def _open(self, path: str) -> None:
        """Have the directory at ``path`` open."""
        if self.parent < 0 or path != self.parent_path:
            self._close()
            self.parent = places.make_directories(self.top, path, self.directory_owner)
            self.parent_path = path

    def _close(self) -> None:
        if self.parent >= 0:
            os.close(self.parent)
        self.parent = -1

    def write(self, parent: int, name: str, below: str, status: os.stat_result) -> None:
        """Write one file of the source, or make a directory, as ``name`` in the directory ``parent``."""
        self.latest = max(self.latest, status.st_ctime_ns)
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            _make_directory(parent, name)
            self.directories.append((below, status))
        elif stat.S_ISSOCK(mode):
            return  # nobody will ever be at the other end
        elif status.st_nlink > 1 and self._is_twin(parent, name, below, status):
            return
        elif stat.S_ISREG(mode):
            self._write_regular(parent, name, below, status)
        else:
            if stat.S_ISLNK(mode):
                target = os.fsdecode(self.source.readlink(below))
                _anew(parent, name, lambda: os.symlink(target, name, dir_fd=parent))
            else:
                _anew(parent, name, lambda: os.mknod(name, mode, status.st_rdev, dir_fd=parent))
            self._dress(parent, name, status)

    def _is_twin(self, parent: int, name: str, below: str, status: os.stat_result) -> bool:
        """Whether it is another name of a file that was copied, and now is one of the copy."""
        first = self.first.setdefault((status.st_dev, status.st_ino), below)
        if first == below:
            return False
        _anew(
            parent,
            name,
            lambda: os.link(first, name, src_dir_fd=self.top, dst_dir_fd=parent, follow_symlinks=False),
        )
        return True

    # ------------------------------------------------------------ regular files

    def _write_regular(self, parent: int, name: str, below: str, status: os.stat_result) -> None:
        source = self.source.open(below)
        try:
            target = _create(parent, name)
            try:
                _copy_content(source, target, status)
                self._dress_regular(source, target, status)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _dress_regular(self, source: int, target: int, status: os.stat_result) -> None:
        """Owner and mode, in the order that says what is lost: chown(2) clears set-user-ID bits."""
        if self.owner is None:
            os.fchown(target, status.st_uid, status.st_gid)
            os.fchmod(target, self._mode(status))
            capability = self.source.capability(source)
            if capability is not None:
                os.setxattr(target, "security.capability", capability)
        elif self.mode is None:
            os.fchmod(target, self._mode(status))
            os.fchown(target, *self.owner)
        else:
            os.fchown(target, *self.owner)
            os.fchmod(target, self.mode)
        os.utime(target, ns=_times(status))

    def _mode(self, status: os.stat_result) -> int:
        return stat.S_IMODE(status.st_mode) if self.mode is None else self.mode

    # ------------------------------------------------------------ all else

    def _dress(self, parent: int, name: str, status: os.stat_result) -> None:
        """Owner, mode and times of what is no regular file; nobody is in this tree who could replace it."""
        uid, gid = self.owner or (status.st_uid, status.st_gid)
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, self._mode(status), dir_fd=parent)
        os.utime(name, ns=_times(status), dir_fd=parent, follow_symlinks=False)

    def _finish_directories(self) -> None:
        """Give directories their attributes, the lowest first: making files in them would change their times."""
        for below, status in reversed(self.directories):
            above, _, name = below.rpartition("/")
            self._open(above)
            self._dress(self.parent, name, status)


def _times(status: os.stat_result) -> tuple[int, int]:
    """Time of access and of change in whole seconds: a layer has no more, nor has Docker."""
    seconds = status.st_mtime_ns // 10**9 * 10**9
    return seconds, seconds


def _make_directory(parent: int, name: str) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(places.kind(parent, name)):
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o755, dir_fd=parent)


def _create(parent: int, name: str) -> int:
    """Open a new file for writing; what has its name is removed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, 0o600, dir_fd=parent)
    except FileExistsError:
        places.remove(parent, name)
        return os.open(name, flags, 0o600, dir_fd=parent)


def _anew(parent: int, name: str, make: Callable[[], None]) -> None:
    try:
        make()
    except FileExistsError:
        places.remove(parent, name)
        make()


def _copy_content(source: int, target: int, status: os.stat_result) -> None:
    """Copy the bytes of a file, of a large one only those that are no hole (lseek(2), SEEK_DATA)."""
    size = status.st_size
    if size <= _SMALL:
        data = os.read(source, _SMALL)
        if os.write(target, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return
    copy_content(source, target, size)
