"""Plain files that are never seen half written, and locks that end with their holder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from _thread import get_ident  # the threading module takes longer to import

from minicontainer.errors import Error, InvalidArgument

_CHUNK = 64 << 20  # bytes that the kernel is asked to copy at a time
FULL = (errno.ENOSPC, errno.EDQUOT)  # no room: on the disk, or for this user
_CANNOT = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # copy_file_range(2), between these two

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """For a ``with``: the error of a call that knew only a descriptor, as write(2), names the file it was about."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = path
        raise


def write_atomic(path: str, data: bytes, mode: int = 0o644, durable: bool = True) -> None:
    """Write a file so that a reader, or whoever comes after a crash, sees the old or the new, never a part.

    A temporary file beside it, fsync, rename (rename(2)). What means nothing after a power failure need not
    be ``durable``: then there is no fsync, and it takes a tenth of the time.
    """
    temporary = f"{path}.{get_ident()}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with naming(path), open(fd, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextlib.contextmanager
def new_file(path: str) -> Iterator[IO[bytes]]:
    """Open a file that the user has named, for writing: at the end of the ``with`` it is there whole or not at all.

    InvalidArgument for a path where no file can be.
    """
    directory = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(directory):
        raise InvalidArgument(f"invalid output path: directory {directory!r} does not exist")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise InvalidArgument(f"invalid output path: {path!r} is there and is no regular file")
    temporary = os.path.join(directory, f".{os.path.basename(path)}.{os.urandom(4).hex()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with naming(path), open(fd, "wb") as file:
            yield file
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(path: str, value: object, mode: int = 0o644, durable: bool = True) -> None:
    """Write a value as JSON that people can read, as :func:`write_atomic` does."""
    write_atomic(path, (_layout(value) + "\n").encode(), mode, durable)


def rewrite_json(path: str, value: object, durable: bool = True) -> None:
    """Write as :func:`write_json` does, but on a disk that is full into the file that is there, if it has room.

    It is for what must not be lost: so it may be, but only when the power fails in that very moment.
    """
    try:
        write_json(path, value, durable=durable)
    except OSError as error:
        if error.errno not in FULL or not _write_over(path, (_layout(value) + "\n").encode()):
            raise


def _write_over(path: str, data: bytes) -> bool:
    """Write into the blocks that a file has, in one call: who reads it meanwhile sees the one or the other."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        status = os.fstat(fd)
        if len(data) > status.st_blocks * 512:
            return False
        os.pwrite(fd, data.ljust(status.st_size), 0)
        os.fsync(fd)
        return True
    finally:
        os.close(fd)


def _layout(value: object, depth: int = 3, indent: str = "") -> str:
    """JSON with a line for each member of the outer objects and lists, and what is deeper on one line.

    It reads better than json's own ``indent``, which gives every word of a long list a line; and that is done
    in Python throughout, which takes ten times as long for a container's ``config.json``.
    """
    inner = indent + "  "
    if depth and isinstance(value, dict) and value:
        members = [f"{json.dumps(key)}: {_layout(each, depth - 1, inner)}" for key, each in value.items()]
        opening, closing = "{", "}"
    elif depth and isinstance(value, list) and value and isinstance(value[0], dict):
        members = [json.dumps(each) for each in value]
        opening, closing = "[", "]"
    else:
        return json.dumps(value)
    return f"{opening}\n{inner}" + f",\n{inner}".join(members) + f"\n{indent}{closing}"


def read_json(path: str) -> Any:
    """Read a JSON file of ours; Error when it is damaged, FileNotFoundError when it is not there."""
    with open(path, "rb") as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise Error(f"{path} is damaged: {error}") from None


def remove_tree(path: str) -> None:
    """Remove a directory with all in it, following no symlink; nothing happens when it is not there.

    shutil.rmtree does the same, and its import takes longer than starting a container's program.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        while _empty(fd):
            pass
    finally:
        os.close(fd)
    with contextlib.suppress(FileNotFoundError):  # somebody else may be removing it too
        os.rmdir(path)


def _empty(top: int) -> bool:
    """Remove what is in a directory; of a directory in it, what is in that comes up here, to be removed next.

    So no more than two are open at a time, however deep the tree is. Returns whether there was anything.
    """
    with os.scandir(top) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in names:
        with contextlib.suppress(FileNotFoundError):
            if not is_directory:
                os.unlink(name, dir_fd=top)
                continue
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(name, flags, dir_fd=top)
            try:
                _bring_up(below, top)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=top)
    return bool(names)


def _bring_up(directory: int, top: int) -> None:
    """Remove the files of a directory, and move the directories that are in it to ``top``."""
    with os.scandir(directory) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in names:
        with contextlib.suppress(FileNotFoundError):
            if is_directory:
                os.rename(name, f".{os.urandom(8).hex()}", src_dir_fd=directory, dst_dir_fd=top)
            else:
                os.unlink(name, dir_fd=directory)


def copy_content(source: int, target: int, size: int) -> None:
    """Copy the bytes of an open file to one that is empty, and leave its holes holes (lseek(2), SEEK_DATA).

    They are not brought here: a filesystem may share them, or else the kernel moves them (copy_file_range(2)).
    Error when the file becomes shorter meanwhile.
    """
    os.truncate(target, size)
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole from here to the end
                raise
            return
        end = min(os.lseek(source, offset, os.SEEK_HOLE), size)
        _copy_range(source, target, offset, end)
        offset = end


def _copy_range(source: int, target: int, offset: int, end: int) -> None:
    shared = True
    while offset < end:
        count = min(_CHUNK, end - offset)
        try:
            if shared:
                done = os.copy_file_range(source, target, count, offset, offset)
            else:
                done = os.sendfile(target, source, offset, count)
        except OSError as error:
            if not shared or error.errno not in _CANNOT:
                raise
            shared = False
            os.lseek(target, offset, os.SEEK_SET)
            continue
        if not done:
            raise Error("it became shorter while it was copied")
        offset += done


class Lock:
    """An exclusive lock on a file, for one thread of one process (flock(2)).

    The kernel lets go of it when the last descriptor is closed, so a holder that is killed leaves no lock.
    """

    def __init__(self, path: str, fd: int = -1) -> None:
        self.path = path
        self.fd = fd

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock; without ``blocking``, False when somebody has it.

        FileNotFoundError when the directory it is in is gone.
        """
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(fd)
            return False
        self.fd = fd
        return True

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def __enter__(self) -> Lock:
        if self.fd < 0:
            self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_locked(path: str) -> bool:
    """Whether somebody holds the lock on this file; False when there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
