"""Layers: a change to a file tree, packed as a tar archive.

A layer is a tar of what was added and changed; what was removed is an empty file ``.wh.NAME``, a whiteout,
and ``.wh..wh..opq`` says of a directory that nothing below shows through (image-spec, layer.md). Unpacked for
overlayfs, a whiteout is a character device 0/0 and an opaque directory an extended attribute.

An archive is hostile input. Its names are never joined to a path of the host: each entry's directory is
opened by the kernel, beneath the root and through no symlink, and the entry is made in that directory. A name
that would leave the root, by ``..``, an absolute path, a symlinked parent or a hard link, is refused.
"""

from __future__ import annotations

import errno
import os
import stat

from minicontainer.errors import InvalidArgument
from minicontainer.files import naming, remove_tree
from minicontainer.images import attributes, entries, whiteouts
from minicontainer.images.headers import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, HARD_LINK, REGULAR, SYMLINK
from minicontainer.kernel.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from minicontainer.images.compression import Reader
    from minicontainer.images.entries import Entry

MOST_ENTRIES = 2_000_000
_SAFE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_ELSEWHERE = (errno.ELOOP, errno.EXDEV, errno.ENOTDIR)  # a symlink or a file is in the way
_HOLE = bytes(1 << 16)  # zeros of this length, at least, are not written


class Applied:
    """What a layer came to: bytes of file content, and how many entries."""

    def __init__(self) -> None:
        self.size = 0
        self.entries = 0


def apply(
    stream: IO[bytes] | Reader,
    directory: str | int,
    *,
    whiteouts: bool = True,
    most_bytes: int = 1 << 40,
    rules: type[Unpacker] | None = None,
) -> Applied:
    """Unpack the uncompressed tar ``stream`` into ``directory``, as overlayfs wants to find a layer.

    ``directory`` is a path or a descriptor. Without ``whiteouts`` it is an archive like any other, in which a
    name that begins with ``.wh.`` means nothing special, and ``rules`` may treat it otherwise. Raises
    InvalidArgument naming the entry that is refused, or when it is no tar; what was unpacked until then stays
    for the caller to remove.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    if isinstance(directory, int):
        root = os.open(".", flags, dir_fd=directory)
    else:
        root = os.open(directory, flags)
    unpacker = (rules or Unpacker)(root, whiteouts, most_bytes)
    try:
        for entry in entries.read(stream):
            unpacker.add(entry)
        unpacker.finish()
    finally:
        unpacker.close()
        os.close(root)
    return unpacker.applied


class Unpacker:
    """Makes one entry after another; holds the last one's directory open, for it is often the next's."""

    def __init__(self, root: int, is_layer: bool, most_bytes: int) -> None:
        self.root = root
        self.is_layer = is_layer
        self.most_bytes = most_bytes
        self.applied = Applied()
        self.parent_name: str | None = None
        self.parent_path = ""  # the same without symlinks
        self.parent = -1
        self.directories: dict[str, Entry] = {}

    def components(self, name: str, what: str) -> list[str]:
        """The parts of a name; InvalidArgument, which says of ``what``, for one that could leave the root."""
        return _components(name, what)

    def real_path(self, path: str) -> str:
        """Where a directory is: at its path, for no symlink is followed."""
        return path

    def make_way(self, entry: Entry, parent: int, name: str) -> None:
        """What to do about a file that is there already, before an archive's entry is made."""
        _check_kinds(entry, parent, name)

    def add(self, entry: Entry) -> None:
        """Make one entry of the archive."""
        try:
            parts = self.components(entry.name, "entry")
            self._count(entry)
            if parts:
                self._add(entry, parts)
            elif entry.kind != DIRECTORY:
                raise InvalidArgument(f"entry {entry.name!r} has no name; refused")
            elif self.is_layer:  # it says what its root is like; a copy leaves its target as it is
                self.directories["."] = entry
        except (ValueError, OverflowError) as error:  # a number that no file can have
            raise InvalidArgument(f"entry {entry.name!r}: {error}; refused") from None
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.EEXIST):
                raise InvalidArgument(f"entry {entry.name!r}: {error.strerror}; refused") from None
            with naming(entry.name):
                raise

    def _count(self, entry: Entry) -> None:
        self.applied.entries += 1
        self.applied.size += len(os.fsencode(entry.target)) if entry.kind == SYMLINK else entry.size
        if self.applied.entries > MOST_ENTRIES or self.applied.size > self.most_bytes:
            raise InvalidArgument(
                f"the layer is too large: at {entry.name!r} it has {self.applied.size} bytes "
                f"in {self.applied.entries} entries; refused"
            )

    def _add(self, entry: Entry, parts: list[str]) -> None:
        name = parts.pop()
        if self.is_layer and any(part.startswith(whiteouts.PREFIX) for part in parts):
            raise InvalidArgument(f"entry {entry.name!r} is in a directory that is a whiteout; refused")
        parent = self._open_parent("/".join(parts), entry.name)
        if self.is_layer and name == whiteouts.OPAQUE:
            os.setxattr(f"/proc/self/fd/{parent}", whiteouts.OPAQUE_XATTR, b"y")
        elif self.is_layer and name.startswith(whiteouts.PREFIX):
            self._whiteout(parent, name.removeprefix(whiteouts.PREFIX), entry.name)
        else:
            self._make(entry, parent, name)

    def _open_parent(self, path: str, entry_name: str) -> int:
        if path != self.parent_name:
            self.close()
            try:
                self.parent_path = self.real_path(path)
                self.parent = _make_directories(self.root, self.parent_path)
            except OSError as error:
                if error.errno in _ELSEWHERE:
                    raise InvalidArgument(
                        f"entry {entry_name!r} leads through a symlink or a file; refused"
                    ) from None
                raise
            self.parent_name = path
        return self.parent

    def _whiteout(self, parent: int, name: str, entry_name: str) -> None:
        if name in ("", ".", ".."):
            raise InvalidArgument(f"entry {entry_name!r} is a whiteout of nothing; refused")
        _anew(parent, name, lambda: os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent))

    def _make(self, entry: Entry, parent: int, name: str) -> None:
        if not self.is_layer:
            self.make_way(entry, parent, name)
        mode = entry.mode & 0o7777
        if entry.kind == REGULAR:
            self._file(entry, parent, name)
        elif entry.kind == DIRECTORY:
            self._directory(entry, parent, name)
        elif entry.kind == HARD_LINK:
            self._hard_link(entry, parent, name)
        else:
            if entry.kind == SYMLINK:
                _anew(parent, name, lambda: os.symlink(entry.target, name, dir_fd=parent))
            elif entry.kind == FIFO:
                _anew(parent, name, lambda: os.mkfifo(name, mode, dir_fd=parent))
            else:
                if entry.device == 0 and entry.kind == CHARACTER:
                    raise InvalidArgument(
                        f"entry {entry.name!r} is a device 0/0, the kernel's whiteout; refused"
                    )
                kind = {CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK}[entry.kind]
                _anew(parent, name, lambda: os.mknod(name, kind | mode, entry.device, dir_fd=parent))
            attributes.set_at(parent, name, entry)

    def _directory(self, entry: Entry, parent: int, name: str) -> None:
        """Make a directory. It gets its attributes at the end: making files in it would change its times."""
        self.directories[f"{self.parent_path}/{name}"] = entry
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            there = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(there.st_mode):
                return
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o755, dir_fd=parent)
            if self.is_layer and stat.S_ISCHR(there.st_mode) and there.st_rdev == 0:
                # What lies below was removed, and is not to show through what has come in its place.
                path = f"/proc/self/fd/{parent}/{name}"
                os.setxattr(path, whiteouts.OPAQUE_XATTR, b"y", follow_symlinks=False)

    def _file(self, entry: Entry, parent: int, name: str) -> None:
        fd = _create(parent, name)
        try:
            end = 0
            for offset, piece in entry.content():
                end = max(end, _write(fd, piece, offset))
            if end < entry.size:
                os.ftruncate(fd, entry.size)
            attributes.set_on(fd, entry)
        finally:
            os.close(fd)

    def _hard_link(self, entry: Entry, parent: int, name: str) -> None:
        *above, last = self.components(entry.target, f"hard link {entry.name!r} to") or [""]
        try:
            directory = self.real_path("/".join(above))
            source = openat2(self.root, directory or ".", os.O_PATH | os.O_DIRECTORY, _SAFE)
            try:

                def link() -> None:
                    os.link(last, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

                _anew(parent, name, link)
            finally:
                os.close(source)
        except OSError as error:
            raise InvalidArgument(
                f"hard link {entry.name!r} to {entry.target!r}: {error.strerror}; refused"
            ) from None

    def finish(self) -> None:
        """Give directories their owner, mode and times, the lowest first."""
        for path, entry in reversed(self.directories.items()):
            try:
                fd = openat2(self.root, path.lstrip("/"), os.O_PATH | os.O_DIRECTORY, _SAFE)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue  # a later entry has replaced it, or a directory above it
                raise
            try:
                attributes.set_on(f"/proc/self/fd/{fd}", entry)
            finally:
                os.close(fd)

    def close(self) -> None:
        """Let go of the directory held open."""
        if self.parent >= 0:
            os.close(self.parent)
        self.parent, self.parent_name = -1, None


def _components(name: str, what: str) -> list[str]:
    if name.startswith("/"):
        raise InvalidArgument(f"{what} {name!r} is an absolute path; refused")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidArgument(f"{what} {name!r} has a '..' in it; refused")
    return parts


def _make_directories(root: int, path: str) -> int:
    """Open the directory ``path`` beneath ``root``, making what is missing."""
    try:
        return openat2(root, path or ".", os.O_PATH | os.O_DIRECTORY, _SAFE)
    except FileNotFoundError:
        pass
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    for name in path.split("/"):
        try:
            try:
                below = openat2(here, name, os.O_PATH | os.O_DIRECTORY, _SAFE)
            except FileNotFoundError:
                os.mkdir(name, 0o755, dir_fd=here)
                below = openat2(here, name, os.O_PATH | os.O_DIRECTORY, _SAFE)
        finally:
            os.close(here)
        here = below
    return here


def _anew(parent: int, name: str, make: Callable[[], object]) -> None:
    """Make a file; a later entry replaces an earlier one, and a layer's file what was there."""
    try:
        make()
    except FileExistsError:
        _remove(parent, name)
        make()


def _create(parent: int, name: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, 0o600, dir_fd=parent)
    except FileExistsError:
        _remove(parent, name)
        return os.open(name, flags, 0o600, dir_fd=parent)


def _remove(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except IsADirectoryError:  # that becomes a file within one layer
        remove_tree(f"/proc/self/fd/{parent}/{name}")


def _write(fd: int, data: bytes, offset: int) -> int:
    """Write data at its offset, but leave out long runs of zeros; returns where what is written ends."""
    end = 0
    for start in range(0, len(data), len(_HOLE)):
        piece = data[start : start + len(_HOLE)]
        done = len(piece) if piece == _HOLE else 0
        while done < len(piece):
            done += os.pwrite(fd, piece[done:], offset + start + done)
            end = offset + start + done
    return end


def _check_kinds(entry: Entry, parent: int, name: str) -> None:
    """A copy replaces a file by a file and adds to a directory, but turns neither into the other."""
    try:
        there = stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return
    if there != (entry.kind == DIRECTORY):
        kinds = ("directory", "file") if there else ("file", "directory")
        raise InvalidArgument(f"cannot overwrite the {kinds[0]} {entry.name.rstrip('/')} with a {kinds[1]}")
