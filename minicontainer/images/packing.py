"""Packing: a file tree becomes a layer.

What a container has changed lies in its overlay's upper directory: whole files, each copied up when it was
first written to, with whiteouts and opaque directories for what was removed. So a layer is that directory in
a tar archive, with the kernel's marks translated (:mod:`minicontainer.images.whiteouts`). The other direction
is :mod:`minicontainer.images.layers`.

The same tree gives the same bytes, and so the same digest, whenever and by whomever it is packed: names are
in the order of their bytes, owners are numbers, and nothing goes in that a copy of the tree would not have.

The tree may change meanwhile. A directory is opened by the kernel beneath the root and through no symlink,
and a file's header is what its open descriptor says. What vanishes is left out; what shrinks is an error.
"""

from __future__ import annotations

import errno
import os
import stat

from minicontainer.errors import Conflict, InvalidArgument
from minicontainer.images import headers, whiteouts
from minicontainer.images.index import LAYER, LAYER_SIZE
from minicontainer.images.write_behind import WriteBehind
from minicontainer.kernel.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minicontainer.images.blobs import Blobs
    from minicontainer.images.compression import Writable
    from minicontainer.images.index import Descriptor
    from minicontainer.images.unpacked import Layers

#: the diff id of a layer with nothing in it, two blocks of zeros
EMPTY = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)
# removed just now, or replaced: by no directory, by a symlink, by a socket
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class Packed:
    """What was packed: how many entries, and bytes of file content, of which a symlink's is its target."""

    def __init__(self) -> None:
        self.entries = 0
        self.size = 0
        self.left_out = 0  #: sockets


def pack(directory: str | int, out: Writable, *, layer: bool = True) -> Packed:
    """Write the tree below ``directory``, a path or a descriptor, to ``out`` as a tar archive.

    With ``layer`` it is an upper directory, and the kernel's marks in it are translated; without, every file
    is what it is. Sockets are left out, and so is the directory itself. Raises InvalidArgument for a name
    that would mean something else in a layer, Conflict when a file shrinks meanwhile, Unsupported for a file
    that an overlay with redirect_dir or metacopy has left in pieces.
    """
    packer = _Packer(directory, out, layer)
    try:
        packer.run()
    finally:
        packer.close()
    return packer.packed


def add_layer(store: Blobs, directory: str | int, packing: str = "") -> tuple[Descriptor, str]:
    """Pack an upper directory into a store; returns the layer's descriptor, and its diff id.

    The caller has a lease of the store, and makes an image with the layer before it ends. ``packing`` is gzip,
    zstd or "" for the archive as it is: that takes half the time, and what stays here need not be smaller. A tree
    without a change has the diff id :data:`EMPTY`. Raises what :func:`pack` does.
    """
    with store.incoming() as blob:
        if packing:
            from minicontainer.images import compression

            with compression.Writer(blob, packing) as packer:
                packed = pack(directory, packer)
            descriptor = {"mediaType": f"{LAYER}+{packing}", **blob.keep()}
            diff_id = packer.diff_id
        else:
            with WriteBehind(blob) as tar:
                packed = pack(directory, tar)
            descriptor = {"mediaType": LAYER, **blob.keep()}
            diff_id = descriptor["digest"]
    return {**descriptor, "annotations": {LAYER_SIZE: str(packed.size)}}, diff_id


def move_layer(store: Layers, directory: str) -> tuple[Descriptor, str]:
    """Pack an upper directory into a store, and make it the unpacked layer as well.

    The directory is gone then, unless it was empty. The caller has a lease, and has unmounted the overlay. Neither
    waits for the disk: a build can make them again. Returns and raises what :func:`add_layer` does.
    """
    with store.incoming() as blob:
        with WriteBehind(blob) as tar:
            packed = pack(directory, tar)
        descriptor = {"mediaType": LAYER, **blob.keep(durable=False)}
    diff_id = descriptor["digest"]
    if packed.left_out:
        store.unpack(diff_id, descriptor)
    elif diff_id != EMPTY:
        store.adopt_layer(directory, diff_id, packed.size)
    return {**descriptor, "annotations": {LAYER_SIZE: str(packed.size)}}, diff_id


class _Packer:
    """Walks the tree with one directory open at a time, however deep it is."""

    def __init__(self, directory: str | int, out: Writable, layer: bool) -> None:
        self.out = out
        self.layer = layer
        self.packed = Packed()
        self.links: dict[tuple[int, int], bytes] = {}  # device and inode -> the entry that has the content
        self.pending: list[bytes] = []
        self.pending_bytes = 0
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if isinstance(directory, int):
            self.root = os.open(".", flags, dir_fd=directory)
        else:
            self.root = os.open(directory, flags)
        self.here, self.here_path = -1, ""

    def run(self) -> None:
        """Pack everything, each directory before what is in it."""
        walk = [("", self._enter(""))]
        while walk:
            path, names = walk[-1]
            name = next(names, None)
            if name is None:
                walk.pop()
            elif self._add(path, name):
                below = f"{path}{name}/"
                walk.append((below, self._enter(below)))
        self._write(headers.END)
        self._flush()

    def close(self) -> None:
        """Let go of the directories held open."""
        for fd in (self.here, self.root):
            if fd >= 0:
                os.close(fd)
        self.here = self.root = -1

    # ------------------------------------------------------------ directories

    def _enter(self, path: str) -> Iterator[str]:
        """The names in a directory, in the order of their bytes. That it is opaque, if it is, comes first."""
        if not self._open(path):
            return iter(())
        if self.layer and path and whiteouts.is_opaque(self.here):
            self._entry(headers.marker(os.fsencode(path + whiteouts.OPAQUE)))
        return iter(sorted(os.listdir(self.here), key=os.fsencode))

    def _open(self, path: str) -> bool:
        """Make ``path`` the directory that is open; False when it is there no more."""
        if self.here >= 0 and path == self.here_path:
            return True
        flags = os.O_RDONLY | os.O_DIRECTORY
        try:
            fd = openat2(self.root, path or ".", flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise InvalidArgument(
                    f"/{path[:60]}… is too deep to be packed: a path has 4095 bytes"
                ) from None
            if error.errno in _GONE:
                return False
            raise
        if self.here >= 0:
            os.close(self.here)
        self.here, self.here_path = fd, path
        return True

    # ------------------------------------------------------------ files

    def _add(self, directory: str, name: str) -> bool:
        """Pack one file of a directory; True when it is a directory itself, to be entered next."""
        if not self._open(directory):
            return False
        try:
            status = os.stat(name, dir_fd=self.here, follow_symlinks=False)
            if self.layer and self._is_whiteout(directory, name, status):
                self._entry(headers.marker(os.fsencode(directory + whiteouts.PREFIX + name)))
            elif stat.S_ISDIR(status.st_mode):
                self._special(directory + name, name, status)
                return True
            elif first := self.links.get((status.st_dev, status.st_ino)):
                xattrs = self._xattrs(directory + name, self._way(name))
                self._entry(headers.hard_link(os.fsencode(directory + name), status, first, xattrs))
            elif stat.S_ISREG(status.st_mode):
                self._regular(directory + name, name)
            elif stat.S_ISSOCK(status.st_mode):
                self.packed.left_out += 1
            else:
                self._special(directory + name, name, status)
        except OSError as error:
            if error.errno not in _GONE:
                raise
        return False

    def _is_whiteout(self, directory: str, name: str, status: os.stat_result) -> bool:
        if name.startswith(whiteouts.PREFIX):
            raise InvalidArgument(
                f"/{directory}{name}: in a layer, a name that begins with .wh. means a removal; rename the file"
            )
        if stat.S_ISREG(status.st_mode) and status.st_size:  # as most are; it is no use to look closer
            return False
        return whiteouts.is_whiteout(status, self._way(name))

    def _special(self, path: str, name: str, status: os.stat_result) -> None:
        """Whatever has no content in the archive: a directory, a symlink, a fifo, a device."""
        target = self._target(name) if stat.S_ISLNK(status.st_mode) else b""
        xattrs = self._xattrs(path, self._way(name))
        self._entry(headers.header(os.fsencode(path), status, target, xattrs))
        self.packed.size += len(target)
        self._remember(path, status)

    def _target(self, name: str) -> bytes:
        """What a symlink holds; FileNotFoundError when it is no symlink any more."""
        try:
            return os.fsencode(os.readlink(name, dir_fd=self.here))
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise FileNotFoundError(errno.ENOENT, "no symlink any more", name) from None
            raise

    def _regular(self, path: str, name: str) -> None:
        """A regular file, as it is once it is open: until then it may be replaced."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=self.here)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return
            self._entry(headers.header(os.fsencode(path), status, xattrs=self._xattrs(path, fd)))
            self._content(fd, status, path)
            self._write(headers.padding(status.st_size))
            self.packed.size += status.st_size
            self._remember(path, status)
        finally:
            os.close(fd)

    def _content(self, fd: int, status: os.stat_result, path: str) -> None:
        """As many bytes as the header says. Holes are not read: their zeros come from here."""
        done, size = 0, status.st_size
        has_holes = status.st_blocks * 512 < size
        while done < size:
            data = _next_data(fd, done, size) if has_holes else done
            while done < data:
                done += self._write(_ZEROS[: data - done])
            if done < size:
                chunk = os.read(fd, min(_CHUNK, size - done))
                done += self._write(chunk)
                if not chunk:
                    raise Conflict(
                        f"/{path} has become shorter while it was read; pause the container for this"
                    )

    def _xattrs(self, path: str, file: str | int) -> dict[bytes, bytes]:
        """The extended attributes that go along: not overlayfs's notes, nor the labels of this host's policy."""
        found = {}
        follow = isinstance(file, int)
        for name in os.listxattr(file, follow_symlinks=follow):
            policy = name.startswith("security.") and name != "security.capability"
            if not policy and not whiteouts.is_kernels(name, f"/{path}"):
                found[os.fsencode(name)] = os.getxattr(file, name, follow_symlinks=follow)
        return found

    def _way(self, name: str) -> str:
        """A path to a file of the open directory, for calls that know no directory descriptors."""
        return f"/proc/self/fd/{self.here}/{name}"

    def _remember(self, path: str, status: os.stat_result) -> None:
        """Of a file with several names, the next is a hard link to this one."""
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            self.links[status.st_dev, status.st_ino] = os.fsencode(path)

    # ------------------------------------------------------------ writing

    def _entry(self, header: bytes) -> None:
        self.packed.entries += 1
        self._write(header)

    def _write(self, data: bytes) -> int:
        """Gather small pieces: to write each by itself would take longer than all the rest."""
        self.pending.append(data)
        self.pending_bytes += len(data)
        if self.pending_bytes >= _CHUNK:
            self._flush()
        return len(data)

    def _flush(self) -> None:
        self.out.write(b"".join(self.pending))
        self.pending, self.pending_bytes = [], 0


def _next_data(fd: int, offset: int, size: int) -> int:
    """Where the next byte that is on disk is, ``size`` when only a hole is left (lseek(2), SEEK_DATA)."""
    try:
        return min(os.lseek(fd, offset, os.SEEK_DATA), size)
    except OSError as error:
        if error.errno != errno.ENXIO or os.fstat(fd).st_size < size:
            return offset  # to be read, and found to be missing
        return size
