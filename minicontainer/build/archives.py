"""ADD of a local archive: it is unpacked, whatever it is called and however it is packed.

What counts is the content: a file that begins with the header of a tar archive is one, also when it has to be
unpacked first to see that. Anything else is copied as it is.

An archive comes with owners, modes and times of its own, and keeps them. Otherwise it adds to the image as COPY
does: directories are merged, what else is in the way is replaced, and symlinks of the image are followed as long as
they are only on the way. ``lib/libc.so`` ends up below ``/usr/lib`` where ``/lib`` leads there, and an entry
``lib/`` of its own would replace that symlink. Whatever it says, the destination is its root directory: a name that
begins with ``/`` or has ``..`` in it means a place below that, never one above it.
"""

from __future__ import annotations

import io
import os
import stat

from minicontainer.build import places
from minicontainer.errors import InvalidArgument
from minicontainer.images import compression, entries, layers
from minicontainer.images.headers import BLOCK, DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.images.entries import Entry

_CHECKSUM = slice(148, 156)  # where a tar header has the sum of its bytes


def is_archive(fd: int) -> bool:
    """Whether an open file is a tar archive that has something in it, packed or not.

    No more of it is unpacked than its first header: of a damaged archive it is found out later that it is damaged.
    """
    os.lseek(fd, 0, os.SEEK_SET)
    block = b""
    with io.BufferedReader(io.FileIO(fd, closefd=False)) as file:
        try:
            stream = compression.decompressor(compression.detect(file.peek(8)[:8]), file)
            while len(block) < BLOCK and (more := stream.read(BLOCK - len(block))):
                block += more
        except Exception as error:  # it is not packed after all; each library says so in its own way
            if isinstance(error, OSError) and error.errno:
                raise
            return False
    return len(block) == BLOCK and any(block) and _is_header(block)


def _is_header(block: bytes) -> bool:
    field = block[_CHECKSUM]
    try:
        return entries.number(field) == sum(block) - sum(field) + len(field) * ord(" ")
    except InvalidArgument:  # no number
        return False


def unpack(fd: int, directory: int) -> None:
    """Unpack the archive into the directory that the descriptor ``directory`` refers to.

    Raises InvalidArgument when it is damaged, or has an entry that cannot be made.
    """
    os.lseek(fd, 0, os.SEEK_SET)
    with compression.Reader(io.FileIO(fd, closefd=False), sums=False) as reader:
        layers.apply(reader, directory, whiteouts=False, rules=_Rules)


class _Rules(layers.Unpacker):
    """What ADD does otherwise than unpacking a layer, or copying into a container."""

    def components(self, name: str, what: str) -> list[str]:
        """The parts of a name, as it means a place below the root."""
        return [part for part in os.path.normpath("/" + name).split("/") if part]

    def real_path(self, path: str) -> str:
        """Where a directory is: symlinks on the way are followed."""
        return places.resolve(self.root, path)

    def make_way(self, entry: Entry, parent: int, name: str) -> None:
        """Remove what an entry is to replace: all that is there, but not a directory for a directory."""
        there = places.kind(parent, name)
        if there and not (entry.kind == DIRECTORY and stat.S_ISDIR(there)):
            places.remove(parent, name)
