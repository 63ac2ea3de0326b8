"""What is in an image archive: files by name, read once, from a stream that nobody vouches for.

The archive comes through a pipe, perhaps, and its parts in any order: layers before anybody says whose they are.
What is large becomes a blob of the store at once, under the lease that the caller holds, and what is small stays
in memory. Names lead to what is in the archive and never to a file of this host, whatever they look like; and
what is named by a digest must have it.
"""

from __future__ import annotations

import json
import posixpath

from minicontainer.errors import IntegrityError, InvalidArgument
from minicontainer.images import compression, entries
from minicontainer.images.headers import DIRECTORY, HARD_LINK, REGULAR, SYMLINK
from minicontainer.images.reference import digest_of, is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from minicontainer.images.store import Store

_SMALL = 1 << 20  # bytes of a file that may be a list or a configuration
_MOST_SMALL = 32 << 20  # of all of them
_LOOKED_UP = 32 << 20  # bytes of a layer that is read whole, to see whether it is here
_MOST_FILES = 100_000
_MOST_LINKS = 8  # that lead to one another


class Plain:
    """The archive itself, whatever packed it."""

    def __init__(self, stream: IO[bytes]) -> None:
        import io

        file = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
        self._inner = compression.decompressor(compression.detect(file.peek(8)[:8]), file)

    def read(self, size: int) -> bytes:
        """The next bytes, ``size`` at most; InvalidArgument when they cannot be unpacked."""
        try:
            return self._inner.read(size)
        except Exception as error:  # each library has its own, and an OSError without a number is one of them
            if isinstance(error, OSError) and error.errno:
                raise
            raise InvalidArgument(f"the archive is damaged: {error}") from None


class _Content:
    """The content of an entry as a file to read."""

    def __init__(self, entry: entries.Entry) -> None:
        self.pieces = entry.content()
        self.left = entry.size

    def read(self, _size: int = -1) -> bytes:
        """The next piece, however large; b"" at the end."""
        _, piece = next(self.pieces, (0, b""))
        if not piece and self.left:  # whoever was told before may have thought it his own fault
            raise InvalidArgument("the archive is damaged: it ends within a file")
        self.left -= len(piece)
        return piece


class Parts:
    """What is in an archive, by name: small files, blobs that are in the store now, and links to these."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.small: dict[str, bytes] = {}
        self.blobs: dict[str, dict[str, Any]] = {}
        self.links: dict[str, str] = {}
        self.held = 0

    def __contains__(self, name: str) -> bool:
        return self._follow(name) is not None

    def read(self, stream: Plain) -> None:
        """Read the archive to its end, and what comes after it: somebody may be waiting to write that."""
        for number, entry in enumerate(entries.read(stream)):  # type: ignore[arg-type]
            if number == _MOST_FILES:
                raise InvalidArgument(f"the archive has more than {_MOST_FILES} files")
            self._add(entry)
        while stream.read(_SMALL):
            pass

    def _add(self, entry: entries.Entry) -> None:
        name = _inside(entry.name, "entry")
        if entry.kind == SYMLINK:
            self.links[name] = _inside(
                posixpath.join(posixpath.dirname(name), entry.target), f"link {name!r} to"
            )
        elif entry.kind == HARD_LINK:
            self.links[name] = _inside(entry.target, f"link {name!r} to")
        elif entry.kind == REGULAR and entry.segments is None:
            self._add_file(name, entry)
        elif entry.kind != DIRECTORY:
            raise InvalidArgument(f"entry {name!r} is of a kind that no image archive has; refused")

    def _add_file(self, name: str, entry: entries.Entry) -> None:
        promised = _promised(name)
        if entry.size > _SMALL or self.held + entry.size > _MOST_SMALL:
            content: IO[bytes] = _Content(entry)  # type: ignore[assignment]
            if not promised and entry.size <= _LOOKED_UP:
                content, promised = _named(content)
            if promised and self.store.hold(promised):
                self.blobs[name] = {"digest": promised, "size": entry.size}
            else:
                self.blobs[name], _ = self.store.add_layer(content, promised, entry.size)
            return
        data = b"".join(piece for _, piece in entry.content())
        self.held += len(data)
        if promised:
            _verify(name, data, promised)
        self.small[name] = data

    def _follow(self, name: str) -> str | None:
        """The name that a name leads to; None when that is not in the archive."""
        for _ in range(_MOST_LINKS):
            if name in self.small or name in self.blobs:
                return name
            if name not in self.links:
                return None
            name = self.links[name]
        return None

    def find(self, name: object, who: str) -> str:
        """The name of a part that ``who`` names; InvalidArgument when it is not in the archive."""
        found = self._follow(posixpath.normpath(name)) if isinstance(name, str) else None
        if found is None:
            raise InvalidArgument(f"{who} names {name!r}, which is not in the archive")
        return found

    def document(self, name: str) -> Any:
        """A part as JSON."""
        if name not in self.small:
            raise InvalidArgument(f"{name} is larger than the {_SMALL} bytes that it may have")
        try:
            return json.loads(self.small[name])
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(f"{name} is no JSON: {error}") from None

    def keep(self, name: str) -> dict[str, Any]:
        """Have a part as a blob; returns its digest and size."""
        return self.blobs.get(name) or self.store.add_blob(self.small[name])


def _inside(name: str, what: str) -> str:
    """A name in its plainest form; InvalidArgument when it leads out of the archive."""
    plain = posixpath.normpath(name)
    if plain.startswith(("/", "../")) or plain == "..":
        raise InvalidArgument(f"{what} {name!r} leads out of the archive; refused")
    return plain


def _promised(name: str) -> str:
    """The digest that a name promises: ``blobs/sha256/<digits>`` or ``<digits>.json``; "" for others."""
    directory, last = posixpath.split(name)
    digits = last.removesuffix(".json") if not directory else last if directory == "blobs/sha256" else ""
    return f"sha256:{digits}" if is_digest(f"sha256:{digits}") else ""


def _named(content: IO[bytes]) -> tuple[IO[bytes], str]:
    """A layer, and the digest that its name in the archive does not tell: most images share one with others."""
    import io

    data = b"".join(iter(content.read, b""))
    return io.BytesIO(data), digest_of(data)


def _verify(name: str, data: bytes, digest: str) -> None:
    got = digest_of(data)
    if got != digest:
        raise IntegrityError(f"{name} has the digest {got}, and was promised to have {digest}")
