"""Layers travel packed: gzip mostly, zstd of late. What counts is what is inside.

A layer has two names: the digest of the packed blob, by which it travels, and the digest of the tar inside,
its **diff id**, by which it is the same layer however it was packed. :class:`Reader` unpacks and computes the
second while it is read.
"""

from __future__ import annotations

import hashlib
import io

from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_CHUNK = 1 << 18


def detect(head: bytes) -> str:
    """The compression that a file beginning with ``head`` has, "" for none."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def decompressor(name: str, file: IO[bytes]) -> IO[bytes]:
    """A file object that reads ``file`` unpacked; InvalidArgument for a compression that is not supported."""
    if name == "":
        return file
    if name == "gzip":
        import gzip

        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if name == "bzip2":
        import bz2

        return bz2.BZ2File(file)
    if name == "xz":
        import lzma

        return lzma.LZMAFile(file)
    raise InvalidArgument(f"the archive is compressed with {name}, which is not supported")


class Reader(io.RawIOBase):
    """Reads a file unpacked, whatever packed it, and knows the sha256 of what came out."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self._file = open(path, "rb")
        self.compression = detect(self._file.peek(8)[:8])
        self._inner = decompressor(self.compression, self._file)
        self._sha256 = hashlib.sha256()

    def readable(self) -> bool:
        """True, as for every file open for reading."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` unpacked bytes; InvalidArgument when the file is damaged."""
        try:
            data = self._inner.read(size if size >= 0 else -1)
        except (EOFError, OSError, ValueError) as error:
            raise InvalidArgument(f"{self.path} is damaged: {error}") from None
        except Exception as error:
            if type(error).__module__ in ("zlib", "_lzma"):
                raise InvalidArgument(f"{self.path} is damaged: {error}") from None
            raise
        self._sha256.update(data)
        return data

    def finish(self) -> str:
        """Read what is left and return the diff id, ``sha256:…``: padding behind the archive counts too."""
        while self.read(_CHUNK):
            pass
        return "sha256:" + self._sha256.hexdigest()

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()
