"""Places in an image: where the destination of a copy leads, and the directories on the way.

``COPY app /srv/www`` is obeyed outside of any container, in a file tree that belongs to somebody else: there
``/srv`` may be a symlink to ``/var/srv``, or to ``../../..``. So the way is walked name by name, as a process whose
root is that tree would see it: an absolute symlink begins at the tree's root, and ``..`` ends there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from minicontainer.errors import InvalidArgument
from minicontainer.kernel.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_EXACTLY = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_MOST_LINKS = 40  # as many as the kernel follows in one path (path_resolution(7))


def resolve(root: int, path: str) -> str:
    """``path`` below the directory ``root`` with every symlink followed, the last one too; "" is the root itself.

    It need not exist, and what a symlink leads to need not either. InvalidArgument for a circle of symlinks.
    """
    return follow(
        os.path.normpath("/" + path), lambda here: _link(root, here), f"{path} runs in a circle of symlinks"
    )


def follow(path: str, link: Callable[[str], str | None], circle: str) -> str:
    """Walk a path name by name; ``link`` gives the target of what is a symlink, None for all else.

    Nothing leads out: an absolute symlink begins anew, and ``..`` ends at the root. InvalidArgument, which says
    ``circle``, after as many symlinks as the kernel follows.
    """
    done: list[str] = []
    todo = path.split("/")[::-1]
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            del done[-1:]
        elif name not in ("", "."):
            done.append(name)
            target = link("/".join(done))
            if target is None:
                continue
            links += 1
            if links > _MOST_LINKS:
                raise InvalidArgument(circle)
            done = [] if target.startswith("/") else done[:-1]
            todo += target.split("/")[::-1]
    return "/".join(done)


def _link(root: int, path: str) -> str | None:
    """What the symlink at ``path`` says; None when there is none."""
    try:
        fd = openat2(root, path, os.O_PATH | os.O_NOFOLLOW, _EXACTLY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    try:
        return os.readlink("", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def kind(root: int, path: str) -> int:
    """The mode of what is at a path without symlinks, 0 when nothing is."""
    try:
        return os.stat(path or ".", dir_fd=root, follow_symlinks=False).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def make_directories(root: int, path: str, owner: tuple[int, int] = (0, 0)) -> int:
    """Open a directory at a path without symlinks; those that are missing are made, mode 0755, for ``owner``.

    Returns an O_PATH descriptor. NotADirectoryError when a file is in the way.
    """
    with contextlib.suppress(FileNotFoundError):
        return openat2(root, path or ".", _DIRECTORY, _EXACTLY)
    here = os.open(".", _DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    for name in path.split("/"):
        try:
            try:
                below = openat2(here, name, _DIRECTORY, _EXACTLY)
            except FileNotFoundError:
                os.mkdir(name, 0o755, dir_fd=here)
                below = openat2(here, name, _DIRECTORY, _EXACTLY)
                _hand_over(below, owner)
        finally:
            os.close(here)
        here = below
    return here


def _hand_over(directory: int, owner: tuple[int, int]) -> None:
    """Give a new directory its owner and mode: whatever the umask is, or the group of the one it is in."""
    path, status = f"/proc/self/fd/{directory}", os.fstat(directory)
    if (status.st_uid, status.st_gid) != owner:
        os.chown(path, *owner)
    if status.st_mode & 0o777 != 0o755:
        os.chmod(path, stat.S_IMODE(status.st_mode) | 0o755)


def clear(root: int, path: str) -> None:
    """Remove what is on the way to ``path`` and is no directory, so that there can be one."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        above = "/".join(parts[:count])
        mode = kind(root, above)
        if not mode:
            return
        if not stat.S_ISDIR(mode):
            os.unlink(above, dir_fd=root)
            return


def remove(parent: int, name: str) -> None:
    """Remove a file, or a directory with all that is in it, however deep; nothing happens when it is not there.

    In an overlay a directory of the image cannot be renamed (EXDEV), so all is removed where it lies.
    """
    try:
        os.unlink(name, dir_fd=parent)
        return
    except FileNotFoundError:
        return
    except IsADirectoryError:
        pass
    way = [name]
    here = _enter(parent, name)
    try:
        while way:
            below = _remove_files(here)
            if below is not None:
                step = _enter(here, below)
                way.append(below)
            else:
                step = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = step
            if below is None:
                os.rmdir(way.pop(), dir_fd=here)
    finally:
        os.close(here)


def _enter(parent: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=parent)


def _remove_files(directory: int) -> str | None:
    """Remove the files of a directory; returns the name of a directory that is in it, None when it is empty."""
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
    return next((name for name, is_directory in found if is_directory), None)
