"""Layers travel packed: gzip mostly, zstd of late. What counts is what is inside.

A layer has two names: the digest of the packed blob, by which it travels, and the digest of the tar inside,
its **diff id**, by which it is the same layer however it was packed. :class:`Reader` and :class:`Writer`
compute the second while the bytes go by, for nobody wants to read a layer twice.

Packing and unpacking take longer than reading and writing files, and no Python: so both are done by a thread
of their own, on another core, a few megabytes ahead or behind.
"""

from __future__ import annotations

import hashlib
import io
import queue
import threading

from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any, Protocol

    from typing_extensions import Buffer

    class Writable(Protocol):
        """What can be written to."""

        def write(self, data: bytes, /) -> object:
            """Write all of it."""


_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_SKIPPABLE = b"\x2a\x4d\x18"  # behind 0x50 to 0x5f: a zstd frame with a note, such as a table of contents
_CHUNK = 1 << 18
_AHEAD = 16  # chunks
_ZSTD_INPUT = 512  # bytes, of which four may unpack to 128 KiB


def detect(head: bytes) -> str:
    """The compression that a file beginning with ``head`` has, "" for none."""
    if head[1:4] == _SKIPPABLE and head[0] & 0xF0 == 0x50:
        return "zstd"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def decompressor(name: str, file: IO[bytes]) -> IO[bytes]:
    """A file object that reads ``file`` unpacked, however many members it has one behind the other."""
    if name == "gzip":
        from isal import igzip

        return igzip.IGzipFile(fileobj=file)  # type: ignore[no-untyped-call, return-value]
    if name == "zstd":
        return _Zstd(file)  # type: ignore[return-value]
    if name == "bzip2":
        import bz2

        return bz2.BZ2File(file)
    if name == "xz":
        import lzma

        return lzma.LZMAFile(file)
    return file


class _Zstd(io.RawIOBase):
    """Reads zstd, frame after frame, and takes note when the last one is not complete, which the library does not.

    The library gives all that a piece of input unpacks to at once, so it gets a small piece at a time.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        import zstandard

        self._file = file
        self._frames = zstandard.ZstdDecompressor()
        self._frame = self._frames.decompressobj()
        self._within = False
        self._ready, self._position = b"", 0

    def readable(self) -> bool:
        """True, as for every file open for reading."""
        return True

    def read(self, size: int = _CHUNK) -> bytes:
        """Read up to ``size`` bytes; EOFError when the file ends within a frame."""
        while self._position == len(self._ready):
            packed = self._frame.unused_data or self._file.read(_ZSTD_INPUT)
            if not packed:
                if self._within:
                    raise EOFError("it ends within a frame")
                return b""
            if self._frame.eof:
                self._frame = self._frames.decompressobj()
            self._ready, self._position = b"", 0  # lets go of the last piece before there is another
            self._ready = self._frame.decompress(packed)
            self._within = not self._frame.eof
        data = self._ready[self._position : self._position + size]
        self._position += len(data)
        return data


class Reader(io.RawIOBase):
    """Reads a file unpacked, whatever packed it, and knows the sha256 of what came out."""

    def __init__(self, source: str | io.RawIOBase, sums: bool = True) -> None:
        """``source`` is a path, or an open file; without ``sums`` there is no diff id, which somebody else has."""
        super().__init__()
        self.path = source if isinstance(source, str) else "the archive"
        self._file = open(source, "rb") if isinstance(source, str) else io.BufferedReader(source)
        self.compression = detect(self._file.peek(8)[:8])
        self._inner = decompressor(self.compression, self._file)
        self._sha256 = hashlib.sha256()
        self._sums = sums
        self._chunk, self._position = b"", 0
        self._ended = self._closing = False
        self._chunks: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        self._thread = threading.Thread(target=self._read_ahead, daemon=True)
        self._thread.start()

    def _read_ahead(self) -> None:
        """The other thread: unpack, sum up, and wait when nobody takes it."""
        while True:
            self._room.acquire()
            if self._closing:
                return
            chunk: bytes | Exception
            try:
                chunk = self._inner.read(_CHUNK)
                if self._sums:
                    self._sha256.update(chunk)
            except Exception as error:  # raised where it is read
                chunk = error
            self._chunks.put(chunk)
            if not chunk or isinstance(chunk, Exception):
                return

    def readable(self) -> bool:
        """True, as for every file open for reading."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` unpacked bytes; InvalidArgument when the file is damaged."""
        if self._position == len(self._chunk) and not self._ended:
            chunk = self._chunks.get()
            self._room.release()
            self._ended = not chunk or isinstance(chunk, Exception)
            if isinstance(chunk, OSError) and chunk.errno:
                raise chunk
            if isinstance(chunk, Exception):
                raise InvalidArgument(f"{self.path} is damaged: {chunk}")
            self._chunk, self._position = chunk, 0
        end = len(self._chunk) if size < 0 else self._position + size
        data = self._chunk[self._position : end]
        self._position += len(data)
        return data

    def finish(self) -> str:
        """Read what is left and return the diff id, ``sha256:…``: padding behind the archive counts too."""
        while self.read(_CHUNK):
            pass
        return "sha256:" + self._sha256.hexdigest()

    def close(self) -> None:
        """Close the file, and end the thread."""
        if not self.closed:
            self._closing = True
            self._room.release()
            self._thread.join()
            self._file.close()
        super().close()


class Writer(io.RawIOBase):
    """Packs what is written to it, and knows the sha256 of what went in.

    It comes out into ``file``, of which ``write`` is all that is needed, and is complete once this is closed.
    ``compression`` is gzip, zstd or "" for none.
    """

    def __init__(self, file: Writable, compression: str = "gzip") -> None:
        super().__init__()
        self._sha256 = hashlib.sha256()
        self._inner: Any = _Output(file)
        if compression == "gzip":
            from isal import igzip_threaded

            self._inner = igzip_threaded.open(self._inner, "wb", threads=1)  # type: ignore[no-untyped-call]
        elif compression == "zstd":
            import zstandard

            self._inner = zstandard.ZstdCompressor(threads=1).stream_writer(self._inner)  # type: ignore[arg-type]
        elif compression:
            raise InvalidArgument(f"layers are packed with gzip, zstd or nothing, not with {compression}")

    def writable(self) -> bool:
        """True, as for every file open for writing."""
        return True

    def write(self, data: Buffer) -> int:
        """Pack some bytes; all of them are taken."""
        self._sha256.update(data)
        self._inner.write(data)
        return len(memoryview(data))

    @property
    def diff_id(self) -> str:
        """The digest of all that was written, ``sha256:…``."""
        return "sha256:" + self._sha256.hexdigest()

    def close(self) -> None:
        """Pack what is still to be packed."""
        if not self.closed:
            self._inner.close()
        super().close()


class _Output(io.RawIOBase):
    """What the libraries write to."""

    def __init__(self, file: Writable) -> None:
        super().__init__()
        self._file = file

    def writable(self) -> bool:
        """True, as for every file open for writing."""
        return True

    def write(self, data: Buffer) -> int:
        """Pass it on, all of it."""
        self._file.write(bytes(data))
        return len(memoryview(data))


class Summed:
    """Passes on what is written to it, and knows the sha256 of that, and the size."""

    def __init__(self, file: Writable) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        #: bytes written
        self.size = 0

    def write(self, data: bytes) -> None:
        """Pass it on, all of it."""
        self._sha256.update(data)
        self._file.write(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """The digest of all that was written, ``sha256:…``."""
        return "sha256:" + self._sha256.hexdigest()
