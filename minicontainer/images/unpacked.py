"""Layers, unpacked: each once, by its diff id, read-only, for every image and container that has it.

::

    layers/<diff-id>/diff/              what overlayfs is given as a lower directory
    layers/<diff-id>/layer.json         its size

A layer is unpacked in a place of its own and renamed when it is whole and was found to be what its diff id
promises. It is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import io
import os

from minicontainer.errors import Error, IntegrityError, InvalidArgument, NotFound
from minicontainer.files import remove_tree, write_json
from minicontainer.images.blobs import Blobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

    from typing_extensions import Buffer

    from minicontainer.images.blobs import Incoming
    from minicontainer.images.compression import Reader
    from minicontainer.images.image import Image

_CHUNK = 1 << 18
PACKINGS = {"": "", "gzip": "+gzip", "zstd": "+zstd"}  # compression -> what it adds to a layer's media type


class Layers(Blobs):
    """The layers below one directory, unpacked from its blobs."""

    def layer_directories(self, image: Image) -> list[str]:
        """The directories of an image's layers for an overlay, the highest first; unpacked if they are not."""
        missing = [each for each in image.layers if not os.path.exists(self.layer_path(each[0]))]
        if missing:
            with self.lease():  # should the image be removed now, they go too
                for diff_id, descriptor in missing:
                    self.unpack(diff_id, descriptor)
        return self.layer_paths(image.diff_ids)

    def require(self, image: Image) -> None:
        """Raise NotFound when an image, or a layer of it, has been removed meanwhile."""
        paths = [self.blob_path(image.id), *map(self.layer_path, image.diff_ids)]
        with self.locked():
            if not all(map(os.path.exists, paths)):
                raise NotFound(f"no such image: {image.name} was removed meanwhile")

    def layer_paths(self, diff_ids: list[str]) -> list[str]:
        """The directories that these layers, lowest first, are unpacked in; for an overlay, the highest first."""
        return [os.path.join(self.layer_path(diff_id), "diff") for diff_id in reversed(diff_ids)]

    def unpack(self, diff_id: str, descriptor: dict[str, Any]) -> None:
        """Unpack a layer and check that it is what its diff id promises; two at once do no harm."""
        if self.hold_layer(diff_id):
            return
        from minicontainer.images import compression

        digest = descriptor["digest"]
        try:
            reader = compression.Reader(self.blob_path(digest))
        except FileNotFoundError:
            raise Error(f"layer {digest} is missing from the store") from None
        with reader, self._unpacking() as place:
            try:
                got, size = _apply(reader, place)
            except InvalidArgument as error:
                raise InvalidArgument(f"layer {digest}: {error}") from None
            if got != diff_id:
                raise IntegrityError(f"layer {digest} unpacks to {got}, not to {diff_id}")
            self._put_in_place(place, diff_id, size)

    def add_layer(self, stream: IO[bytes], digest: str = "", size: int = 0) -> tuple[dict[str, Any], str]:
        """Keep what comes as a blob, and if it is a layer, unpack it: both at once, and it is read only once.

        With a ``digest`` it must be this one, of ``size`` bytes; IntegrityError otherwise. Returns the blob's
        digest and size, and the layer's diff id, "" when it is none: :meth:`unpack` says why. The caller has a
        lease.
        """
        from minicontainer.images import compression

        with self.incoming(digest, size) as incoming, self._unpacking() as place:
            tee = _Tee(stream, incoming)
            packed = bool(compression.detect(tee.head))
            diff_id, content = "", 0
            with compression.Reader(tee, sums=packed) as reader, contextlib.suppress(InvalidArgument):
                diff_id, content = _apply(reader, place)
            tee.drain()
            blob = incoming.keep()
            if diff_id:
                diff_id = diff_id if packed else blob["digest"]
                self._put_in_place(place, diff_id, content)
        return blob, diff_id

    def adopt_layer(self, directory: str, diff_id: str, size: int) -> None:
        """Make an upper directory, which has been packed, the layer of this diff id: it is moved, not copied.

        The caller has a lease, and nobody writes to the directory any more.
        """
        with self._unpacking() as place:
            mine = os.path.join(place, "diff")
            os.rename(directory, mine)
            os.chmod(mine, 0o755)  # a layer says nothing of the root directory itself
            os.chown(mine, 0, 0)
            for name in os.listxattr(mine):
                os.removexattr(mine, name)
            self._put_in_place(place, diff_id, size)

    @contextlib.contextmanager
    def _unpacking(self) -> Iterator[str]:
        """A place to unpack a layer in; nothing is left of it that was not put in place."""
        place, claim = self.claim(self.layers_path)
        try:
            os.mkdir(os.path.join(place, "diff"))
            os.chmod(os.path.join(place, "diff"), 0o755)  # of a layer that does not say; no umask counts
            yield place
        finally:
            remove_tree(place)
            os.close(claim)

    def _put_in_place(self, place: str, diff_id: str, size: int) -> None:
        write_json(os.path.join(place, "layer.json"), {"diff_id": diff_id, "size": size})
        with self.locked():
            self.note(diff_id)
            if not os.path.exists(self.layer_path(diff_id)):  # another process may have been faster
                os.rename(place, self.layer_path(diff_id))


def _apply(reader: Reader, place: str) -> tuple[str, int]:
    """Unpack a layer; returns its diff id and the bytes of its files."""
    from minicontainer.images import layers

    applied = layers.apply(reader, os.path.join(place, "diff"))
    return reader.finish(), applied.size


class _Tee(io.RawIOBase):
    """Reads a stream, and writes what comes to a blob as well."""

    def __init__(self, stream: IO[bytes], incoming: Incoming) -> None:
        super().__init__()
        self._stream = stream
        self._incoming = incoming
        self._rest = memoryview(self._next())
        #: the first bytes, by which a packing is known
        self.head = bytes(self._rest[:8])

    def readable(self) -> bool:
        """True, as for every file open for reading."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill a buffer, or a part of it; 0 at the end."""
        room = memoryview(buffer)
        if not self._rest:
            self._rest = memoryview(self._next())
        size = min(len(room), len(self._rest))
        room[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def _next(self) -> bytes:
        data = self._stream.read(_CHUNK)
        self._incoming.write(data)
        return data

    def drain(self) -> None:
        """Read what is left, for the blob's sake."""
        while self._next():
            pass
