"""A build context that comes as a stream: an archive, packed or not, or a Dockerfile alone.

Which of them it is, the first block tells: a compression has its magic bytes, and the header of a tar archive has
a checksum that no text has by accident. What arrives goes to the disk at once, so memory stays small.
"""

from __future__ import annotations

import io
import os

from minicontainer.errors import InvalidArgument
from minicontainer.images import compression, entries, layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from typing_extensions import Buffer

    class Readable(Protocol):
        """What can be read from."""

        def read(self, size: int = -1, /) -> bytes:
            """Up to so many bytes, b"" at the end."""


_BLOCK = 512  # bytes of a tar's header
_CHECKSUM = slice(148, 156)
_CHUNK = 1 << 18


class Stream(io.RawIOBase):
    """A stream from its beginning, of which the first block has been read to see what it is."""

    def __init__(self, file: Readable, name: str) -> None:
        """``name`` is what messages call it."""
        super().__init__()
        self.file = file
        self.name = name
        self.head = b""
        while len(self.head) < _BLOCK and (piece := self._read(_BLOCK - len(self.head))):
            self.head += piece
        self._again = self.head

    def _read(self, size: int) -> bytes:
        try:
            return self.file.read(size)
        except Exception as error:  # a download has its own
            if isinstance(error, OSError) and error.errno:
                raise
            raise InvalidArgument(f"unable to prepare context: {self.name} breaks off: {error}") from None

    def readable(self) -> bool:
        """True, as for every file open for reading."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read as many bytes as there is room for, or fewer; 0 at the end."""
        room = memoryview(buffer)
        data = self._again[: len(room)] or self._read(len(room))
        self._again = self._again[len(data) :]
        room[: len(data)] = data
        return len(data)

    def is_archive(self) -> bool:
        """Whether it begins like a tar archive, or like anything that is packed."""
        if compression.detect(self.head) or self.head == bytes(_BLOCK):
            return True
        if len(self.head) < _BLOCK:
            return False
        digits = self.head[_CHECKSUM]
        try:
            return entries.number(digits) == sum(self.head) - sum(digits) + 8 * ord(" ")
        except InvalidArgument:
            return False

    def unpack(self, directory: str) -> None:
        """Unpack the archive; InvalidArgument when it is damaged, or has what would leave the directory."""
        try:
            layers.apply(_Plain(self), directory, whiteouts=False)  # type: ignore[arg-type]
        except InvalidArgument as error:
            prefix = f"unable to prepare context: {self.name}"
            raise InvalidArgument(
                str(error) if str(error).startswith(prefix) else f"{prefix}: {error}"
            ) from None


class _Plain:
    """A stream without its compression.

    :class:`compression.Reader` would unpack it in a thread of its own; that thread could not be stopped while it
    waits for a standard input on which nothing comes.
    """

    def __init__(self, stream: Stream) -> None:
        packing = compression.detect(stream.head)
        self.file = compression.decompressor(packing, io.BufferedReader(stream, _CHUNK))

    def read(self, size: int) -> bytes:
        """Up to so many bytes."""
        try:
            return self.file.read(size)
        except InvalidArgument:
            raise
        except Exception as error:  # each library has its own
            if isinstance(error, OSError) and error.errno:
                raise
            raise InvalidArgument(f"the archive is damaged: {error}") from None


def make_directory(above: str) -> tuple[str, str]:
    """A new directory below ``above`` that is nobody else's, and one in it that looks like any other."""
    outer = os.path.join(above, f"minicontainer-context-{os.urandom(8).hex()}")
    inner = os.path.join(outer, "context")
    os.mkdir(outer, 0o700)
    os.mkdir(inner)
    os.chmod(inner, 0o755)  # whatever the umask is
    return outer, inner
