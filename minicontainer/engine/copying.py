"""``cp``: files between a container and the host.

The container's file tree is hostile here too: while a directory is copied, a process inside may swap it for a
symlink to /etc of the host. So paths inside are opened by the kernel below the container's root, and from
there everything goes by descriptors (CVE-2018-15664). What is copied travels as a tar archive, as with Docker;
with ``-`` it is the archive itself that goes out or comes in.
"""

from __future__ import annotations

import io
import os
import stat
import threading

from minicontainer.engine import stopped
from minicontainer.engine.container import PAUSED, RUNNING
from minicontainer.errors import Conflict, Error, InvalidArgument, NotFound
from minicontainer.images import layers
from minicontainer.runtime.inside import open_inside, real_path

_MOST_LINKS = 40  # as many as the kernel follows in one path (path_resolution(7))

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable
    from typing import IO

    from minicontainer.engine.container import Container


def open_root(container: Container, *, writing: bool = False) -> int:
    """A descriptor of the container's root directory; of a stopped one, mounted for as long as it is open.

    Raises Conflict when it is for ``writing`` and the container is not running and may not write there itself.
    """
    if container.status in (RUNNING, PAUSED):
        return os.open(f"/proc/{container.pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if writing and container.document["HostConfig"]["ReadonlyRootfs"]:
        raise Conflict(f"cannot copy into container {container.name}: its root filesystem is read-only")
    return stopped.mount(container)


def export(container: Container, path: str, archive: IO[bytes], *, follow: bool = False) -> None:
    """Write what is at ``path`` in the container as a tar archive whose one top entry is its last name."""
    root = open_root(container)
    try:
        _pack_from(root, path, archive, os.path.basename(os.path.normpath(path)) or ".", follow)
    finally:
        os.close(root)


def unpack(container: Container, path: str, archive: IO[bytes]) -> None:
    """Unpack a tar archive into the directory ``path`` of the container."""
    root = open_root(container, writing=True)
    try:
        directory = _open_directory(root, path)
        try:
            layers.apply(archive, directory, whiteouts=False)
        finally:
            os.close(directory)
    finally:
        os.close(root)


def copy_out(
    container: Container, path: str, destination: str, *, archive: bool = False, follow: bool = False
) -> None:
    """Copy a file or directory of the container to the host, by the rules of cp(1) and Docker."""
    root = open_root(container)
    host = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        owner = None if archive else (os.getuid(), os.getgid())
        _copy(root, path, host, os.path.abspath(destination) + _slash(destination), owner, follow)
    finally:
        os.close(host)
        os.close(root)


def copy_in(
    container: Container, source: str, path: str, *, archive: bool = False, follow: bool = False
) -> None:
    """Copy a file or directory of the host into the container."""
    root = open_root(container, writing=True)
    host = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    dotted = source.endswith("/.") or source == "."
    try:
        owner = None if archive else (0, 0)
        whole = os.path.abspath(source) + ("/." if dotted else _slash(source))
        _copy(host, whole, root, path, owner, follow)
    finally:
        os.close(host)
        os.close(root)


def _slash(path: str) -> str:
    return "/" if path.endswith("/") else ""


def _copy(
    source_root: int, source: str, target_root: int, target: str, owner: tuple[int, int] | None, follow: bool
) -> None:
    """Decide what the copy will be called and where, and carry it there (docker cp, "Description")."""
    kind = _kind(source_root, source, follow)
    if kind is None:
        raise NotFound(f"could not find the file {source}")
    target = _destination(target_root, target)
    base = os.path.basename(os.path.normpath(source)) or "."
    contents_only = source.endswith("/.") and stat.S_ISDIR(kind)
    there = _kind(target_root, target, True)
    if there is not None and stat.S_ISDIR(there):
        directory, name = target, "." if contents_only else base
    elif there is not None and stat.S_ISDIR(kind):
        raise InvalidArgument(f"cannot copy a directory to {target}: it is a file")
    elif target.endswith("/") and not stat.S_ISDIR(kind):
        raise NotFound(f"cannot copy to {target}: there is no such directory")
    else:
        directory, name = os.path.split(target.rstrip("/"))
    try:
        into = _open_directory(target_root, directory or "/")
    except FileNotFoundError:
        raise NotFound(f"cannot copy to {target}: there is no directory {directory}") from None
    try:
        _carry(lambda out: _pack_from(source_root, source, out, name, follow, owner), into)
    finally:
        os.close(into)


def _destination(root: int, path: str) -> str:
    """Where a write to ``path`` ends: through the symlinks it is, even to where nothing is yet, as with cp(1)."""
    for _ in range(_MOST_LINKS):
        try:
            parent = _open_directory(root, os.path.dirname(path))
        except FileNotFoundError:
            return path
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(os.path.basename(path), dir_fd=parent))
        except OSError:  # EINVAL: it is no symlink; ENOENT: nothing is there, or its name ends with a slash
            return path
        finally:
            os.close(parent)
    raise InvalidArgument(f"cannot copy to {path}: it runs in a circle of symlinks")


def _kind(root: int, path: str, follow: bool) -> int | None:
    """The mode of what is at ``path``, None when nothing is."""
    try:
        fd = _open(root, path, follow)
    except (FileNotFoundError, NotADirectoryError):
        return None
    mode = os.fstat(fd).st_mode
    os.close(fd)
    return mode


def _open(root: int, path: str, follow: bool) -> int:
    """An O_PATH descriptor of what is at ``path``: of the symlink itself unless it is to be followed."""
    follow = follow or path.endswith("/")
    return open_inside(root, path.lstrip("/") or ".", os.O_PATH | (0 if follow else os.O_NOFOLLOW))


def _open_directory(root: int, path: str) -> int:
    try:
        return open_inside(root, path.lstrip("/") or ".", os.O_PATH | os.O_DIRECTORY)
    except NotADirectoryError:
        raise InvalidArgument(f"cannot copy into {path}: it is not a directory") from None


def _carry(pack: Callable[[IO[bytes]], None], directory: int) -> None:
    """Pack on one side and unpack on the other at the same time, through a pipe."""
    read, write = os.pipe()
    failure: list[BaseException] = []

    def produce() -> None:
        try:
            with open(write, "wb") as out:
                pack(out)
        except BaseException as error:
            failure.append(error)

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        with open(read, "rb") as archive:
            layers.apply(archive, directory, whiteouts=False)
    except InvalidArgument:
        producer.join()
        if not failure:
            raise
    producer.join()
    if failure and not isinstance(failure[0], BrokenPipeError):
        raise failure[0]


# ------------------------------------------------------------------ packing


def _pack_from(
    root: int, path: str, out: IO[bytes], name: str, follow: bool, owner: tuple[int, int] | None = None
) -> None:
    import tarfile

    try:
        wanted = real_path(root, path) if follow or path.endswith("/") else path.rstrip("/") or "/"
        parent = _open_directory(root, os.path.dirname(wanted) or "/")
    except FileNotFoundError:
        raise NotFound(f"could not find the file {path}") from None
    try:
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            on_host = os.path.samestat(os.fstat(root), os.stat("/"))
            _pack(tar, parent, os.path.basename(wanted.rstrip("/")) or ".", name, owner, on_host)
    finally:
        os.close(parent)


def _pack(
    tar: tarfile.TarFile, parent: int, name: str, arcname: str, owner: tuple[int, int] | None, on_host: bool
) -> None:
    """Pack one entry of the directory ``parent``, and all below it; of a container not its /proc, /sys, tmpfs."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        if arcname.count("/"):
            return  # removed while we copied the directory it was in
        raise NotFound(f"could not find the file {name}") from None
    entry = _header(status, arcname, owner)
    if stat.S_ISLNK(status.st_mode):
        entry.linkname = os.readlink(name, dir_fd=parent)
    if stat.S_ISREG(status.st_mode):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=parent)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Error(f"{arcname} changed while it was copied")
            entry.size = os.fstat(fd).st_size
            tar.addfile(entry, _Padded(file, entry.size))
    elif not stat.S_ISSOCK(status.st_mode):
        tar.addfile(entry)
    mounted = not on_host and arcname.count("/") and _is_kernels(status, parent)
    if stat.S_ISDIR(status.st_mode) and not mounted:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            for below in sorted(os.listdir(fd)):
                _pack(tar, fd, below, f"{arcname}/{below}", owner, on_host)
        finally:
            os.close(fd)


def _header(status: os.stat_result, arcname: str, owner: tuple[int, int] | None) -> tarfile.TarInfo:
    import tarfile

    kinds = {
        stat.S_IFDIR: tarfile.DIRTYPE,
        stat.S_IFLNK: tarfile.SYMTYPE,
        stat.S_IFIFO: tarfile.FIFOTYPE,
        stat.S_IFCHR: tarfile.CHRTYPE,
        stat.S_IFBLK: tarfile.BLKTYPE,
    }
    entry = tarfile.TarInfo(arcname)
    entry.type = kinds.get(stat.S_IFMT(status.st_mode), tarfile.REGTYPE)
    entry.mode = stat.S_IMODE(status.st_mode)
    entry.uid, entry.gid = owner or (status.st_uid, status.st_gid)
    entry.mtime = status.st_mtime
    entry.devmajor, entry.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    return entry


def _is_kernels(status: os.stat_result, parent: int) -> bool:
    """Whether a directory begins another filesystem than ``parent``'s, and one without a disk (major number 0)."""
    device = os.fstat(parent).st_dev
    return status.st_dev != device and os.major(status.st_dev) == 0


class _Padded(io.RawIOBase):
    """A file that is as long as it was when its header was written, though it may shrink meanwhile."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file = file
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """Read from the file, and zeros where it has ended early."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        data += b"\0" * (wanted - len(data))
        self._left -= wanted
        return data
