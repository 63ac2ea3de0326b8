"""Blobs: bytes that are named by what they are, the ground that the image store stands on.

A blob's name is its digest, so it is written once and never changed, and whoever has the name can check the
bytes. It is written elsewhere first and then renamed to its place: a blob is there whole or not at all. What keeps
it there until an image needs it is the lease of whoever brought it (:mod:`minicontainer.images.leases`).
"""

from __future__ import annotations

import contextlib
import os

from minicontainer.errors import IntegrityError
from minicontainer.files import naming
from minicontainer.images.leases import Leases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

_CHUNK = 1 << 20
_WINDOW = 8 << 20  # bytes that are given to the disk at a time


class Blobs(Leases):
    """The blobs below one directory."""

    def add_blob(self, data: bytes, durable: bool = True) -> dict[str, Any]:
        """Keep a small blob; returns the digest and the size, as a descriptor has them."""
        import hashlib

        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if not self.hold(digest):
            with self.incoming(digest, len(data)) as incoming:
                incoming.write(data)
                incoming.keep(durable)
        return {"digest": digest, "size": len(data)}

    def add_blob_stream(self, stream: IO[bytes]) -> dict[str, Any]:
        """Keep a large blob, reading ``stream`` to its end; returns its digest and size."""
        with self.incoming() as incoming:
            incoming.write_all(stream)
            return incoming.keep()

    def add_verified(self, stream: IO[bytes], digest: str, size: int) -> None:
        """Keep the blob that is promised to have this digest and this many bytes, if it is not there yet.

        ``stream`` is read to its end, or not at all when the blob is there. IntegrityError says what came instead;
        nothing is left of it.
        """
        if not self.hold(digest):
            with self.incoming(digest, size) as incoming:
                incoming.write_all(stream)
                incoming.keep()

    @contextlib.contextmanager
    def incoming(self, digest: str = "", size: int = 0) -> Iterator[Incoming]:
        """For a ``with``: a blob to write piece by piece; with a ``digest`` it must be this, of ``size`` bytes."""
        with self.lease(keeps=True) as lease:
            file = open(os.path.join(lease, os.urandom(8).hex()), "wb")
            try:
                yield Incoming(self, file, digest, size)
            finally:
                with contextlib.suppress(FileNotFoundError):  # it is in its place
                    os.unlink(file.name)
                with naming(self.blobs_path):
                    file.close()

    def make_durable(self, digest: str) -> None:
        """Have a blob that was kept otherwise survive a power failure."""
        with open(self.blob_path(digest), "rb") as file:
            os.fsync(file.fileno())

    def adopt(self, path: str, digest: str) -> None:
        """Make a file of the caller's lease, which is on disk whole and is known to have this digest, a blob."""
        with self.locked():
            self.note(digest)
            os.rename(path, self.blob_path(digest))

    def hold(self, digest: str) -> bool:
        """Whether a blob is there; if it is, it stays for as long as the lease that the caller has."""
        return self._hold(digest, self.blob_path(digest))

    def hold_layer(self, diff_id: str) -> bool:
        """Whether a layer is there, unpacked; if it is, it stays as :meth:`hold` says."""
        return self._hold(diff_id, self.layer_path(diff_id))

    def _hold(self, digest: str, path: str) -> bool:
        with self.locked():
            if not os.path.exists(path):
                return False
            self.note(digest)
        return True


class Incoming:
    """A blob that is being written, in a file that nobody sees before it is whole."""

    def __init__(self, blobs: Blobs, file: IO[bytes], digest: str, size: int) -> None:
        import hashlib

        self._blobs = blobs
        self._file = file
        self._promised = (digest, size)
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._written = 0  # bytes that the disk has been given

    def write(self, data: bytes) -> None:
        """Add a piece; IntegrityError when that is more than was promised."""
        digest, size = self._promised
        self._size += len(data)
        if digest and self._size > size:
            raise IntegrityError(f"blob {digest} is longer than the {size} bytes that were promised")
        self._sha256.update(data)
        with naming(self._blobs.blobs_path):
            self._file.write(data)
        if self._size - self._written >= _WINDOW:
            self._write_back()

    def _write_back(self) -> None:
        """Have the disk begin with what has come, and the page cache let go of what came before and is there.

        A blob is seldom read again soon, and for the fsync(2) at its end little is left then.
        """
        start = max(self._written - _WINDOW, 0)
        os.posix_fadvise(self._file.fileno(), start, self._size - start, os.POSIX_FADV_DONTNEED)
        self._written = self._size

    def write_all(self, stream: IO[bytes]) -> None:
        """Add all that a stream has."""
        while chunk := stream.read(_CHUNK):
            self.write(chunk)

    def keep(self, durable: bool = True) -> dict[str, Any]:
        """Put it in its place; returns its digest and size. IntegrityError when it is not what was promised.

        What can be made again need not be ``durable``, and survive a power failure: the disk takes long for that.
        """
        digest = "sha256:" + self._sha256.hexdigest()
        promised, size = self._promised
        if promised and (digest, self._size) != self._promised:
            raise IntegrityError(
                f"blob {promised} of {size} bytes was promised, and what came is {digest} of {self._size} bytes"
            )
        with naming(self._blobs.blobs_path):
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())
        self._blobs.adopt(self._file.name, digest)
        return {"digest": digest, "size": self._size}
