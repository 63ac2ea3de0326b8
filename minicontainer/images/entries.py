"""Reading a tar archive, entry by entry, as a stream that nobody vouches for.

:mod:`minicontainer.images.headers` says what an archive is. There are more ways to write one than it has: the
number in base 256 and the long name as an entry of its own (GNU tar before pax), and the sparse file of which
only the data is there (:mod:`minicontainer.images.sparse`). All are read, and nothing is guessed: where one
program would stop and another would read on, the archive is refused. Whatever it claims, no more of it is held
than one header, of a megabyte at most, and one piece of content.
"""

from __future__ import annotations

import os
import struct

from minicontainer.errors import InvalidArgument
from minicontainer.images.headers import (
    BLOCK,
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    REGULAR,
    SYMLINK,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from minicontainer.images.compression import Reader
    from minicontainer.images.sparse import Segment

    Records = dict[str, bytes]

KINDS = (REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO)
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_TARGET, SPARSE = b"x", b"g", b"L", b"K", b"S"
_ABOUT_THE_NEXT = (_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_TARGET)
_MOST_HEADER = 1 << 20  # bytes of one entry's names and attributes
_MOST_HEADERS = 8  # about one entry
_MOST_ID = (1 << 32) - 2  # the next one means "leave it" to chown(2)
_CHUNK = 1 << 18
# name, mode, uid, gid, size, mtime, checksum, kind, link name, magic, major, minor, prefix (headers._USTAR)
_USTAR = struct.Struct("100s 8s 8s 8s 12s 12s 8s 1s 100s 8s 64x 8s 8s 155s 12x")
_NUMBERS = slice(1, 6)
_SPARSE_KEYS = {"GNU.sparse.map", "GNU.sparse.major"}
_END = bytes(BLOCK)


class Entry:
    """One file of an archive: what the header says, and the content while it is this entry's turn."""

    __slots__ = (
        "device",
        "gid",
        "kind",
        "mode",
        "mtime",
        "name",
        "segments",
        "size",
        "source",
        "target",
        "uid",
        "xattrs",
    )

    def __init__(self, name: str, kind: bytes, mode: int = 0o644, size: int = 0, target: str = "") -> None:
        self.name = name
        self.kind = kind
        self.mode = mode
        #: bytes of content, with holes
        self.size = size
        #: what a link leads to
        self.target = target
        self.uid = self.gid = self.device = 0
        #: nanoseconds since 1970
        self.mtime = 0
        self.xattrs: dict[str, bytes] = {}
        #: of a sparse file, where its data goes
        self.segments: list[Segment] | None = None
        self.source: Source | None = None

    def content(self) -> Iterator[tuple[int, bytes]]:
        """The content, in pieces, each with the offset that it belongs at; what is left out is a hole."""
        assert self.source
        for offset, length in self.segments if self.segments is not None else [(0, self.size)]:
            for piece in self.source.pieces(length):
                yield offset, piece
                offset += len(piece)


class Source:
    """The bytes of an archive, exactly as many as are asked for."""

    def __init__(self, stream: IO[bytes] | Reader) -> None:
        self.stream = stream
        self.buffer = b""
        self.position = 0  # in the buffer
        self.left = 0  # bytes of content, and of its padding, that nobody has asked for yet
        self.padding = 0

    def _fill(self) -> bool:
        self.buffer, self.position = self.stream.read(_CHUNK), 0
        return bool(self.buffer)

    def begin(self, size: int) -> None:
        """From here on, this many bytes are an entry's content."""
        self.left, self.padding = size, -size % BLOCK

    def skip_rest(self) -> None:
        """Go on to the next header."""
        for _ in self.pieces(self.left):
            pass
        self.exactly(self.padding)
        self.padding = 0

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next bytes of the content, as they come."""
        while size:
            if self.position == len(self.buffer) and not self._fill():
                raise damaged("it ends within a file")
            piece = self.buffer[self.position : self.position + size]
            self.position += len(piece)
            self.left -= len(piece)
            size -= len(piece)
            yield piece

    def exactly(self, size: int, may_end: bool = False) -> bytes:
        """The next ``size`` bytes; b"" when ``may_end`` and nothing at all is left."""
        if self.position + size <= len(self.buffer):
            self.position += size
            return self.buffer[self.position - size : self.position]
        data = self.buffer[self.position :]
        while len(data) < size and self._fill():
            data += self.buffer
        if len(data) < size and (data or not may_end):
            raise damaged("it ends too early")
        self.position = len(self.buffer) - max(len(data) - size, 0)
        return data[:size]


def damaged(problem: str) -> InvalidArgument:
    """The error for what cannot be read."""
    return InvalidArgument(f"not a tar archive, or a damaged one: {problem}")


def read(stream: IO[bytes] | Reader) -> Iterator[Entry]:
    """The entries of an uncompressed archive; what is not read of one's content is skipped.

    Raises InvalidArgument for what is no archive, is damaged, or has names or numbers that no file can have.
    """
    source = Source(stream)
    everywhere: Records = {}
    first = True
    while block := _block(source, first):
        first = False
        about: Records = {}
        for _ in range(_MOST_HEADERS):
            fields = _fields(block)
            kind = fields[7]
            if kind not in _ABOUT_THE_NEXT:
                break
            _collect(source, fields, about, everywhere)
            block = source.exactly(BLOCK)
        else:
            raise damaged(f"it has more than {_MOST_HEADERS} headers about one file")
        yield _entry(source, fields, {**everywhere, **about} if everywhere else about, block)
        source.skip_rest()


def _block(source: Source, first: bool) -> bytes:
    """The next header; b"" at the end, which is two blocks of zeros, or just the end after at least one entry."""
    block = source.exactly(BLOCK, may_end=not first)
    if block != _END:
        return block
    if source.exactly(BLOCK, may_end=True) not in (_END, b""):
        raise damaged("there is something behind its end")
    return b""


def _fields(block: bytes) -> tuple[bytes, ...]:
    fields: tuple[bytes, ...] = _USTAR.unpack(block)
    checksum = fields[6]
    found = sum(block) - sum(checksum) + 8 * ord(" ")  # its own eight bytes count as spaces
    if number(checksum) != found:
        raise damaged("a header has a wrong checksum")
    return fields


def number(field: bytes) -> int:
    """Octal digits, or base 256 when the first bit is set, as GNU tar writes what is too large for digits."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if field[0] & 0x40 else value
    digits = field.partition(b"\0")[0].strip()
    if digits and not digits.isdigit():
        raise damaged(f"{digits!r} is no number")
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise damaged(f"{digits!r} is no octal number") from None


def _text(field: bytes) -> str:
    return os.fsdecode(field.partition(b"\0")[0])


# ------------------------------------------------------------------ headers about the next entry


def _collect(source: Source, fields: tuple[bytes, ...], about: Records, everywhere: Records) -> None:
    """Read an entry that is about the next one, or about all that follow."""
    kind, size = fields[7], number(fields[4])
    if not 0 <= size <= _MOST_HEADER:
        raise InvalidArgument(f"entry {_text(fields[0])!r} has a size of {size}; refused")
    content = source.exactly(size)
    source.exactly(-size % BLOCK)
    if kind == _LONG_NAME:
        about["path"] = content.partition(b"\0")[0]
    elif kind == _LONG_TARGET:
        about["linkpath"] = content.partition(b"\0")[0]
    elif kind == _PAX:
        about.update(_records(content))
    else:
        records = _records(content)
        for key in records:
            if key in ("path", "linkpath", "size") or key.startswith("GNU.sparse."):
                raise InvalidArgument(f"entry {_text(fields[0])!r} gives all others the same {key}; refused")
        everywhere.update(records)


def _records(content: bytes) -> Records:
    """The records of a pax header: ``LENGTH KEY=VALUE\\n``, one after the other (pax(1))."""
    records: Records = {}
    position = 0
    while position < len(content):
        digits = content[position : position + 8].partition(b" ")[0]
        end = position + int(digits) if digits.isdigit() else 0
        key, equals, value = content[position + len(digits) + 1 : end].partition(b"=")
        if not (key and equals and value.endswith(b"\n") and end <= len(content)):
            raise damaged("a pax header has a record that is none")
        position = end
        name, value = os.fsdecode(key), value[:-1]
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):  # of which there are many, in pairs
            before = records.get("GNU.sparse.map")
            name, value = "GNU.sparse.map", value if before is None else b"%b,%b" % (before, value)
        records[name] = value
    return records


# ------------------------------------------------------------------ the entry itself


def _entry(source: Source, fields: tuple[bytes, ...], records: Records, block: bytes) -> Entry:
    name, kind = _text(fields[0]), fields[7]
    if fields[9].startswith(b"ustar\0") and fields[12][0]:
        name = f"{_text(fields[12])}/{name}"
    if kind in (b"\0", b"7"):  # regular files of 1979, and of nobody
        kind = DIRECTORY if kind == b"\0" and name.endswith("/") else REGULAR
    mode, uid, gid, size, mtime = map(number, fields[_NUMBERS])
    entry = Entry(name, kind, mode, size, _text(fields[8]))
    entry.uid, entry.gid, entry.mtime, entry.source = uid, gid, mtime * 1_000_000_000, source
    try:
        if kind in (CHARACTER, BLOCK_DEVICE):
            entry.device = os.makedev(number(fields[10]), number(fields[11]))
        if records:
            _apply(entry, records)
        _check(entry)
        source.begin(entry.size)
        if kind == SPARSE or not _SPARSE_KEYS.isdisjoint(records):
            from minicontainer.images import sparse

            sparse.read_map(entry, source, records, block)
    except (ValueError, OverflowError) as error:  # a number that is none, or that no device has
        raise InvalidArgument(f"entry {entry.name!r}: {error}; refused") from None
    return entry


def _apply(entry: Entry, records: Records) -> None:
    """Let the records say what the header had no room for."""
    for key, value in records.items():
        if key == "mtime":
            entry.mtime = nanoseconds(value.decode()) if value else entry.mtime
        elif key.startswith("SCHILY.xattr."):
            name = key.removeprefix("SCHILY.xattr.").replace("%3D", "=").replace("%25", "%")
            entry.xattrs[name] = value
        elif not value:
            continue  # what the header has counts
        elif key == "path":
            entry.name = os.fsdecode(value)
        elif key == "linkpath":
            entry.target = os.fsdecode(value)
        elif key in ("size", "uid", "gid"):
            setattr(entry, key, decimal(value))


def decimal(digits: bytes) -> int:
    """A number of a pax header; ValueError when it is none."""
    if not digits.isdigit() or len(digits) > 20:
        raise ValueError(f"{digits[:40]!r} is no number")
    return int(digits)


def nanoseconds(seconds: str) -> int:
    """A decimal number of seconds, exactly: a float has not enough digits for the time of day."""
    whole, _, fraction = seconds.partition(".")
    digits = whole.removeprefix("-")
    if not digits.isdecimal() or len(digits) > 18 or not (fraction or "0").isdecimal():
        raise ValueError(f"{seconds[:40]!r} is no time")
    sign = -1 if whole.startswith("-") else 1
    return sign * (int(digits) * 1_000_000_000 + int(fraction[:9].ljust(9, "0")))


def _check(entry: Entry) -> None:
    """Raise ValueError for what no file can have."""
    if entry.kind not in (*KINDS, SPARSE):
        raise ValueError(f"its kind {entry.kind!r} is unknown")
    if "\0" in entry.name or "\0" in entry.target:
        raise ValueError("it has a NUL in a name")
    if entry.size < 0:
        raise ValueError(f"it has a size of {entry.size}")
    if not 0 <= entry.uid <= _MOST_ID or not 0 <= entry.gid <= _MOST_ID:
        raise ValueError(f"its owner {entry.uid}:{entry.gid} cannot be")
    if entry.kind not in (REGULAR, SPARSE):
        entry.size = 0  # whatever it says: only they have content
