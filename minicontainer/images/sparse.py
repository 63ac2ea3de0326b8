"""Sparse files in GNU tar's archives: a map of where the data goes, and the data without the holes.

There are four ways to write the map (GNU tar manual, "Storing Sparse Files"): in the header itself, with more
blocks behind it; in pax records one by one, or in a single one; and ahead of the data. Layers are packed with
none of them: their holes are zeros, which any program reads. But archives come from everywhere.
"""

from __future__ import annotations

import os

from minicontainer.images.entries import Entry, Source, decimal, number
from minicontainer.images.headers import BLOCK, REGULAR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.images.entries import Records

    Segment = tuple[int, int]  # where data goes, and how many bytes of it there are

_MOST_SEGMENTS = 1 << 16
_FIELD = 12  # bytes of a number in a header
_IN_HEADER, _MORE_IN_HEADER, _REAL_SIZE = slice(386, 482), 482, slice(483, 495)
_IN_BLOCK, _MORE_IN_BLOCK = slice(0, 504), 504


def read_map(entry: Entry, source: Source, records: Records, block: bytes) -> None:
    """Have an entry know its name, its whole size and its segments; ValueError for a map that cannot be.

    ``block`` is its header; what of the map comes behind that is read.
    """
    if "GNU.sparse.major" in records:
        numbers = _ahead(source)
        entry.size = decimal(records.get("GNU.sparse.realsize", b""))
    elif "GNU.sparse.map" in records:
        numbers = [decimal(digits) for digits in records["GNU.sparse.map"].split(b",") if digits]
        entry.size = decimal(records.get("GNU.sparse.size", b""))
    else:
        numbers = _in_headers(source, block)
        entry.size = number(block[_REAL_SIZE])
    if "GNU.sparse.name" in records:
        entry.name = os.fsdecode(records["GNU.sparse.name"])
    entry.kind = REGULAR
    entry.segments = _segments(numbers, entry.size, source.left)


def _segments(numbers: list[int], size: int, stored: int) -> list[Segment]:
    """Pairs of numbers as segments, one behind the other within ``size``, of ``stored`` bytes altogether."""
    segments = list(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for offset, length in segments:
        if offset < end or length < 0 or len(segments) > _MOST_SEGMENTS:
            raise ValueError("its map of a sparse file cannot be")
        end = offset + length
    if end > size or sum(length for _, length in segments) != stored:
        raise ValueError("its map of a sparse file does not fit its size")
    return segments


def _in_headers(source: Source, block: bytes) -> list[int]:
    """Four segments are in the header, and more in the blocks behind it, as long as each says so."""
    fields, more = block[_IN_HEADER], block[_MORE_IN_HEADER]
    while more and len(fields) < _MOST_SEGMENTS * 2 * _FIELD:
        block = source.exactly(BLOCK)
        fields, more = fields + block[_IN_BLOCK], block[_MORE_IN_BLOCK]
    used = [fields[at : at + _FIELD] for at in range(0, len(fields), _FIELD)]
    while used and not any(used[-1]):
        used.pop()
    return [number(field) for field in used]


def _ahead(source: Source) -> list[int]:
    """The map ahead of the data: how many segments, then two numbers for each, a line each, in whole blocks."""
    lines: list[bytes] = []
    rest = b""
    while not lines or len(lines) < 1 + 2 * decimal(lines[0]):
        if source.left < BLOCK or len(lines) > 2 * _MOST_SEGMENTS:
            raise ValueError("its map of a sparse file has no end")
        *whole, rest = (rest + b"".join(source.pieces(BLOCK))).split(b"\n")
        lines += whole
    return [decimal(line) for line in lines[1 : 1 + 2 * decimal(lines[0])]]
