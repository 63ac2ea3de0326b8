"""One entry of a tar archive, as bytes.

A tar archive is a row of 512-byte blocks. An entry is a block that says what the file is, its **header**, and
then the content, filled up to whole blocks; two blocks of zeros end the archive. The header is from 1988: a
name has 100 bytes, a number eight or twelve octal digits, a time whole seconds, and there is no room for
extended attributes. What does not fit goes ahead of it as an entry of its own kind, a list of ``key=value``
records: the **pax** format (pax(1), "pax Extended Header"; tar(5) of libarchive).

Nothing in it depends on who writes it, or when: the same file always gives the same bytes.
"""

from __future__ import annotations

import functools
import os
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK = 512
REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = (b"%d" % n for n in range(7))
_PAX = b"x"
END = bytes(2 * BLOCK)
XATTR = b"SCHILY.xattr."  # the key that an extended attribute has in a pax header, with star, GNU tar and Go

# struct posix_header (tar(5)): name; mode, uid, gid, size and mtime, each ended by a NUL; checksum; kind; link
# name; magic and version; names of owner and group, empty; device numbers; prefix of the name, empty
_USTAR = struct.Struct("100s 48s 8s 1s 100s 8s 64x 16s 167x")
_MOST_NAME = 100
_MOST_ID = 0o7777777
_MOST_SIZE = 0o77777777777

_NO_DEVICE = b"%07o\0%07o\0" % (0, 0)

_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFIFO: FIFO,
}


def header(
    name: bytes, status: os.stat_result, target: bytes = b"", xattrs: Mapping[bytes, bytes] | None = None
) -> bytes:
    """The header of a file with this stat(2); ``target`` is what a symlink holds.

    KeyError for a socket, which no archive can hold.
    """
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    records = {_xattr_key(key): value for key, value in (xattrs or {}).items()}
    return _header(name + b"/" if kind == DIRECTORY else name, kind, status, target, records)


def hard_link(name: bytes, status: os.stat_result, target: bytes, xattrs: Mapping[bytes, bytes]) -> bytes:
    """The header of one more name for the entry ``target``.

    It says all that the first one's says: programs that set the owner once more lose what is not said again.
    """
    return _header(name, HARD_LINK, status, target, {_xattr_key(key): value for key, value in xattrs.items()})


def marker(name: bytes) -> bytes:
    """The header of an empty file of which only the name counts: root's, mode 600, of 1970."""
    records = _names(name, b"")
    return _pax(records) + _block(name, REGULAR, 0o600)


def padding(size: int) -> bytes:
    """What fills content of this many bytes up to whole blocks."""
    return bytes(-size % BLOCK)


def _header(
    name: bytes, kind: bytes, status: os.stat_result, target: bytes, records: dict[bytes, bytes]
) -> bytes:
    """The block, after a pax header with all that it has no room for."""
    records |= _names(name, target)
    size = status.st_size if kind == REGULAR else 0
    uid, gid, device = status.st_uid, status.st_gid, 0
    seconds, fraction = divmod(status.st_mtime_ns, 1_000_000_000)
    if size > _MOST_SIZE:
        records[b"size"], size = b"%d" % size, 0
    if uid > _MOST_ID:
        records[b"uid"], uid = b"%d" % uid, 0
    if gid > _MOST_ID:
        records[b"gid"], gid = b"%d" % gid, 0
    if fraction or not 0 <= seconds <= _MOST_SIZE:
        records[b"mtime"], seconds = _decimal(status.st_mtime_ns), min(max(seconds, 0), _MOST_SIZE)
    if kind in (CHARACTER, BLOCK_DEVICE):
        device = status.st_rdev
    mode = stat.S_IMODE(status.st_mode)
    return _pax(records) + _block(name, kind, mode, uid, gid, size, seconds, target, device)


def _names(name: bytes, target: bytes) -> dict[bytes, bytes]:
    """The records of names that a block has no room for. They are UTF-8, or whatever bytes the file has."""
    records = {}
    if len(name) > _MOST_NAME or not name.isascii():
        records[b"path"] = name
    if len(target) > _MOST_NAME or not target.isascii():
        records[b"linkpath"] = target
    return records


def _block(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    target: bytes = b"",
    device: int = 0,
) -> bytes:
    """One block; its checksum is the sum of its bytes, those of the checksum itself counted as spaces."""
    before = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime)
    after = b"ustar\x0000"
    devices = b"%07o\0%07o\0" % (os.major(device), os.minor(device)) if device else _NO_DEVICE
    name, target = name[:_MOST_NAME], target[:_MOST_NAME]
    checksum = b"%06o\0 " % sum(b"".join((name, before, b" " * 8, kind, target, after, devices)))
    return _USTAR.pack(name, before, checksum, kind, target, after, devices)


def _pax(records: Mapping[bytes, bytes]) -> bytes:
    """An entry that is about the next one; nothing when there is nothing to say."""
    if not records:
        return b""
    content = b"".join([_record(key, records[key]) for key in sorted(records)])
    return _pax_block(len(content)) + content + padding(len(content))


@functools.lru_cache(64)  # most files have the same one, about the nanoseconds of a time
def _pax_block(size: int) -> bytes:
    return _block(b"PaxHeaders.0", _PAX, 0o644, size=size)


def _record(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE\\n``, where the length counts its own digits too."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _xattr_key(name: bytes) -> bytes:
    """A key ends at the first ``=``, so one in the attribute's name is written as GNU tar does it."""
    return XATTR + name.replace(b"%", b"%25").replace(b"=", b"%3D")


def _decimal(nanoseconds: int) -> bytes:
    """Seconds as a decimal number, exactly."""
    sign, (seconds, rest) = "-" * (nanoseconds < 0), divmod(abs(nanoseconds), 1_000_000_000)
    return f"{sign}{seconds}.{rest:09}".rstrip("0").rstrip(".").encode()
