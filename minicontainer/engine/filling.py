"""Filling a volume with what the image has at its place.

A new volume hides whatever the image had where it is mounted. So the first container that mounts an empty volume
gives it those files first, as they are: owners, modes, times, extended attributes, hard links, holes. The
container that is being made does not run yet, so its file tree is nobody's but ours; where its symlinks lead is
still the image's to say, and they are followed inside it alone.

The files are copied into a directory of their own, which is then renamed: from that moment they are all there,
and what is left to do is to move them into place, in a directory that other containers may be looking at.
Whoever is killed while copying leaves something to be thrown away; whoever is killed while moving, something for
the next one to go on with. ::

    volumes/<name>/copying/tree    a copy, not finished
    volumes/<name>/copied/tree     the whole copy; what is in it has not been moved yet
    volumes/<name>/_data           what containers see
"""

from __future__ import annotations

import errno
import os
import stat

from minicontainer.engine import union
from minicontainer.engine.volumes import Volume
from minicontainer.errors import Error
from minicontainer.files import Lock, copy_content, remove_tree
from minicontainer.runtime.inside import open_inside, real_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.container import Container

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def fill(container: Container) -> None:
    """Fill the volumes of a new container that are empty, but for those that are not to be (``nocopy``).

    Raises Error when the image has a file where a volume is to be mounted.
    """
    points = [point for point in container.document["Mounts"] if point["Type"] == "volume"]
    wanted = [point for point in points if not point["NoCopy"]]
    if not wanted:
        return
    root = union.mount(container)
    try:
        for point in wanted:
            volume = container.engine.volumes.find(point["Name"])
            with Lock(os.path.join(volume.path, "lock")):
                _settle(volume)
                if not os.listdir(volume.data_path):
                    _copy_from(root, point["Destination"], volume)
                    _settle(volume)
    finally:
        os.close(root)


def settle(volume: Volume) -> None:
    """Go on with what somebody was killed at; every start of a container with this volume begins with it."""
    if os.path.exists(os.path.join(volume.path, "copied")):
        with Lock(os.path.join(volume.path, "lock")):
            _settle(volume)


def _settle(volume: Volume) -> None:
    """Move what was copied into place; what a container has put there meanwhile stays."""
    remove_tree(os.path.join(volume.path, "copying"))
    copied = os.path.join(volume.path, "copied")
    if not os.path.exists(copied):
        return
    tree, there = os.path.join(copied, "tree"), set(os.listdir(volume.data_path))
    for name in os.listdir(tree):
        if name not in there:
            os.rename(os.path.join(tree, name), os.path.join(volume.data_path, name))
    source, target = os.open(tree, _DIRECTORY), os.open(volume.data_path, _DIRECTORY)
    try:
        _copy_attributes(source, target)
    finally:
        os.close(source)
        os.close(target)
    _copy_times(os.stat(copied), volume.data_path)
    remove_tree(copied)


def _copy_from(root: int, path: str, volume: Volume) -> None:
    """Copy the directory ``path`` below the directory ``root``; nothing happens when it is not there."""
    try:
        source = open_inside(root, real_path(root, path), os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise Error(f"cannot mount volume over existing file, file exists {path}") from None
    copying = os.path.join(volume.path, "copying")
    try:
        os.makedirs(os.path.join(copying, "tree"), 0o700)
        _Copier(os.path.join(copying, "tree")).copy(source)
        _copy_times(os.fstat(source), copying)  # the tree's own will not stay when files are moved out of it
        os.rename(copying, os.path.join(volume.path, "copied"))
    finally:
        os.close(source)
        remove_tree(copying)


# ------------------------------------------------------------------ copying a tree


class _Copier:
    """Copies a tree into an empty directory."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.copies: dict[
            tuple[int, int], str
        ] = {}  # of files with several names: device and inode -> the first

    def copy(self, source: int, path: str = "") -> None:
        """Copy all that is in an open directory to ``path`` in the new one, then its own attributes."""
        target = os.open(os.path.join(self.directory, path), _DIRECTORY)
        try:
            for name in os.listdir(source):
                status = os.stat(name, dir_fd=source, follow_symlinks=False)
                below = os.path.join(path, name)
                if stat.S_ISDIR(status.st_mode):
                    os.mkdir(name, 0o700, dir_fd=target)
                    fd = os.open(name, _DIRECTORY, dir_fd=source)
                    try:
                        self.copy(fd, below)
                    finally:
                        os.close(fd)
                elif not stat.S_ISSOCK(status.st_mode):  # of which nobody is at the other end
                    self._copy_file(source, target, name, status, below)
            _copy_attributes(source, target)
        finally:
            os.close(target)

    def _copy_file(self, source: int, target: int, name: str, status: os.stat_result, path: str) -> None:
        first = self.copies.setdefault((status.st_dev, status.st_ino), path) if status.st_nlink > 1 else path
        if first != path:
            os.link(os.path.join(self.directory, first), name, dst_dir_fd=target, follow_symlinks=False)
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif not stat.S_ISREG(status.st_mode):
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        if stat.S_ISREG(status.st_mode):
            old = os.open(name, os.O_RDONLY | flags, dir_fd=source)
            new = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600, dir_fd=target)
        else:
            old = os.open(name, os.O_PATH | flags, dir_fd=source)
            new = os.open(name, os.O_PATH | flags, dir_fd=target)
        try:
            if stat.S_ISREG(status.st_mode):
                copy_content(old, new, status.st_size)
            _copy_attributes(old, new)
        finally:
            os.close(old)
            os.close(new)


def _copy_attributes(source: int, target: int) -> None:
    """Owner first, for chown clears set-user-ID bits and capabilities; then mode, extended attributes, times."""
    status = os.fstat(source)
    old, new = f"/proc/self/fd/{source}", f"/proc/self/fd/{target}"  # the very file, even of a symlink
    os.chown(new, status.st_uid, status.st_gid)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(new, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(old):
        try:
            os.setxattr(new, name, os.getxattr(old, name))
        except OSError as error:
            if error.errno != errno.ENOTSUP:  # where volumes lie, there may be none
                raise
    _copy_times(status, new)


def _copy_times(status: os.stat_result, path: str) -> None:
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
