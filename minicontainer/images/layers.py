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
from minicontainer.images import attributes
from minicontainer.kernel.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tarfile
    from typing import IO

    from minicontainer.images.compression import Reader

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
MOST_ENTRIES = 2_000_000
_MOST_HEADER = 1 << 20  # bytes of one entry's names and attributes
_OPAQUE_XATTR = "trusted.overlay.opaque"
_OVERLAY_XATTRS = (
    "trusted.overlay.",
    "user.overlay.",
)  # the kernel's own notes, which no layer may write for it
_SAFE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_CHUNK = 1 << 20


class Applied:
    """What a layer came to: bytes of file content, and how many entries."""

    def __init__(self) -> None:
        self.size = 0
        self.entries = 0


def apply(
    stream: IO[bytes] | Reader, directory: str | int, *, whiteouts: bool = True, most_bytes: int = 1 << 40
) -> Applied:
    """Unpack the uncompressed tar ``stream`` into ``directory``, as overlayfs wants to find a layer.

    ``directory`` is a path or a descriptor. Without ``whiteouts`` it is an archive like any other, in which a
    name that begins with ``.wh.`` means nothing special. Raises InvalidArgument naming the entry that is
    refused, or when it is no tar; what was unpacked until then stays for the caller to remove.
    """
    import tarfile  # slow to import, and only images need it

    if isinstance(directory, int):
        root = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    else:
        root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    unpacker = _Unpacker(root, whiteouts, most_bytes)
    try:
        with tarfile.open(fileobj=stream, mode="r|", errorlevel=2, tarinfo=_strict_entry()) as tar:
            for entry in tar:
                unpacker.add(tar, entry)
        unpacker.finish()
    except tarfile.TarError as error:
        raise InvalidArgument(f"not a tar archive, or a damaged one: {error}") from None
    finally:
        unpacker.close()
        os.close(root)
    return unpacker.applied


def _strict_entry() -> type[tarfile.TarInfo]:
    """What the library makes of an entry's header, with an error where it would be lenient.

    A header that is damaged ends an archive, as if there had been nothing behind it; and one that is a name
    (GNU, pax) is read into memory whatever its size.
    """
    import tarfile

    headers = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)

    class Entry(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Entry:
            entry = super().frombuf(buf, encoding, errors)
            if entry.size < 0 or (entry.type in headers and entry.size > _MOST_HEADER):
                raise InvalidArgument(f"entry {entry.name!r} has a size of {entry.size}; refused")
            return entry

        @classmethod
        def fromtarfile(cls, tar: tarfile.TarFile) -> Entry:
            try:
                return super().fromtarfile(tar)
            except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
                raise tarfile.ReadError(str(error)) from None

    return Entry


class _Unpacker:
    """Makes one entry after another; holds the last one's directory open, for it is often the next's."""

    def __init__(self, root: int, whiteouts: bool, most_bytes: int) -> None:
        self.root = root
        self.whiteouts = whiteouts
        self.most_bytes = most_bytes
        self.applied = Applied()
        self.parent_name: str | None = None
        self.parent = -1
        self.directories: list[tuple[str, tarfile.TarInfo]] = []

    def add(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        """Make one entry of the archive."""
        try:
            self._add(tar, entry)
        except (ValueError, OverflowError) as error:  # a NUL in a name, a number that no file can have
            raise InvalidArgument(f"entry {entry.name!r}: {error}; refused") from None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise InvalidArgument(f"entry {entry.name!r}: {error.strerror}; refused") from None
            raise

    def _add(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        parts = _components(entry.name, "entry")
        self.applied.entries += 1
        self.applied.size += entry.size if entry.isreg() else 0
        if self.applied.entries > MOST_ENTRIES or self.applied.size > self.most_bytes:
            raise InvalidArgument(
                f"the layer is too large: at {entry.name!r} it has {self.applied.size} bytes"
            )
        if not parts:
            if self.whiteouts:  # a layer says what its root is like; a copy leaves its target as it is
                self.directories.append((".", entry))
            return
        name = parts[-1]
        parent = self._open_parent("/".join(parts[:-1]), entry.name)
        if not self.whiteouts:
            self._make(tar, entry, parent, name, "/".join(parts))
        elif name == OPAQUE:
            os.setxattr(f"/proc/self/fd/{parent}", _OPAQUE_XATTR, b"y")
        elif name.startswith(WHITEOUT):
            self._whiteout(parent, name.removeprefix(WHITEOUT), entry.name)
        else:
            self._make(tar, entry, parent, name, "/".join(parts))

    def _open_parent(self, path: str, entry_name: str) -> int:
        if path != self.parent_name:
            self.close()
            try:
                self.parent = _make_directories(self.root, path)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.EXDEV, errno.ENOTDIR):
                    raise InvalidArgument(
                        f"entry {entry_name!r} leads through a symlink or a file; refused"
                    ) from None
                raise
            self.parent_name = path
        return self.parent

    def _whiteout(self, parent: int, name: str, entry_name: str) -> None:
        if name in ("", ".", ".."):
            raise InvalidArgument(f"entry {entry_name!r} is a whiteout of nothing; refused")
        _remove(parent, name)
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)

    def _make(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, parent: int, name: str, path: str) -> None:
        if not self.whiteouts:
            _check_kinds(entry, parent, name)
        if entry.isdir():
            self._directory(parent, name)
            self.directories.append((path, entry))
            return
        _remove(parent, name)
        if entry.isreg():
            self._file(tar, entry, parent, name)
            return
        if entry.islnk():
            self._hard_link(entry, parent, name)
            return
        if entry.issym():
            os.symlink(entry.linkname, name, dir_fd=parent)
        elif entry.ischr() or entry.isblk():
            kind = stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
            os.mknod(
                name, kind | entry.mode & 0o7777, os.makedev(entry.devmajor, entry.devminor), dir_fd=parent
            )
        elif entry.isfifo():
            os.mkfifo(name, entry.mode & 0o7777, dir_fd=parent)
        else:
            raise InvalidArgument(f"entry {entry.name!r} is of the unknown kind {entry.type!r}")
        attributes.set_at(parent, name, entry)

    def _directory(self, parent: int, name: str) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            there = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(there.st_mode):
                os.unlink(name, dir_fd=parent)
                os.mkdir(name, 0o755, dir_fd=parent)
                if self.whiteouts and stat.S_ISCHR(there.st_mode) and there.st_rdev == 0:
                    # What lies below was removed, and is not to show through what has come in its place.
                    os.setxattr(f"/proc/self/fd/{parent}/{name}", _OPAQUE_XATTR, b"y", follow_symlinks=False)

    def _file(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, parent: int, name: str) -> None:
        fd = openat2(parent, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SAFE, 0o600)
        with open(fd, "wb", buffering=0) as file:
            source = tar.extractfile(entry)
            while source and (chunk := source.read(_CHUNK)):
                file.write(chunk)
            file.truncate(entry.size)
        attributes.set_at(parent, name, entry)

    def _hard_link(self, entry: tarfile.TarInfo, parent: int, name: str) -> None:
        target = _components(entry.linkname, f"hard link {entry.name!r} to")
        try:
            source = openat2(self.root, "/".join(target[:-1]) or ".", os.O_PATH | os.O_DIRECTORY, _SAFE)
            try:
                os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(source)
        except OSError as error:
            raise InvalidArgument(
                f"hard link {entry.name!r} to {entry.linkname!r}: {error.strerror}; refused"
            ) from None

    def finish(self) -> None:
        """Give directories their owner, mode and times last: making files in them changes their times."""
        for path, entry in reversed(self.directories):
            try:
                fd = openat2(self.root, path, os.O_PATH | os.O_DIRECTORY, _SAFE)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue  # a later entry has replaced it, or a directory above it
                raise
            try:
                attributes.set_on(fd, entry)
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
        above, name = os.path.split(path)
        parent = _make_directories(root, above)
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
            return openat2(parent, name, os.O_PATH | os.O_DIRECTORY, _SAFE)
        finally:
            os.close(parent)


def _remove(parent: int, name: str) -> None:
    """A later entry replaces an earlier one of the same name."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        import shutil  # seldom: a directory that becomes a file within one layer

        shutil.rmtree(name, dir_fd=parent)


def _check_kinds(entry: tarfile.TarInfo, parent: int, name: str) -> None:
    """A copy replaces a file by a file and adds to a directory, but turns neither into the other."""
    try:
        there = stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return
    if there != entry.isdir():
        kinds = ("directory", "file") if there else ("file", "directory")
        raise InvalidArgument(f"cannot overwrite the {kinds[0]} {entry.name} with a {kinds[1]}")
