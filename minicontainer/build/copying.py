"""What COPY and ADD do: files of a context, a stage or an image are put into the image that is being built.

The rules are those of Docker's classic builder. A source that is a directory means what is in it, never itself; a
source that is a symlink means what it leads to, while symlinks below it are copied as they are. A destination is a
directory if there is one, or if its name ends with a slash; there the file keeps its name. What is missing on the
way is made. Symlinks on the way are followed (:mod:`minicontainer.build.places`), but what is at the very name of
a file that comes is replaced, be it a file, a symlink or a directory full of them; a directory adds to a directory,
which takes its mode, and replaces all else.

Files of the context belong to root afterwards, or to whom ``--chown`` says. With the owner a file loses its
set-user-ID bit and its capabilities, as the kernel has it for every change of owner (chown(2)). What ``--from``
takes from another stage keeps its owner, and all the rest too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time

from minicontainer.build import places
from minicontainer.build.copy_sources import Source
from minicontainer.build.writing import Writer
from minicontainer.engine import users
from minicontainer.errors import Error, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from minicontainer.build.copy_sources import Found
    from minicontainer.build.ignore import Ignore

_CHUNK = 1 << 20
_SMALL = 128 << 10  # bytes of a file that is read at once
_CLOCK = 10_000_000  # nanoseconds that a file's time may be behind the clock


class Copying:
    """What one COPY or ADD is about, all variables replaced."""

    def __init__(
        self,
        sources: Sequence[Source],
        destination: str,
        *,
        name: str = "COPY",
        workdir: str = "/",
        chown: str = "",
        keep_owners: bool = False,
        mode: int | None = None,
        link: bool = False,
        exclude: Ignore | None = None,
    ) -> None:
        """``destination`` begins at ``workdir`` unless it is absolute.

        ``chown`` is ``user``, ``user:group`` or "": then root, or with ``keep_owners`` whoever has the files where
        they come from. ``mode`` is for all that is copied (``--chmod``), ``link`` follows no symlink on the way,
        ``exclude`` has patterns of what is left out.
        """
        self.sources = sources
        self.destination = destination
        self.name = name
        self.workdir = workdir
        self.chown = chown
        self.keep_owners = keep_owners and not chown
        self.mode = mode
        self.link = link
        self.exclude = exclude
        self.owned: list[Callable[[], None]] = []  #: what else is to be called in the end
        self.read_at = 0  #: when :func:`digest` began to read, in nanoseconds since 1970
        #: whether :func:`run` has met a file that was changed since then: the digest is not of what it copied
        self.changed = False

    def files(self, source: Source) -> Iterator[Found]:
        """The walk of a source, without what ``--exclude`` leaves out."""
        if self.exclude is None:
            yield from source.walk()
            return
        if any(map(self.exclude.excludes, source.names)):
            return
        for below, status in source.walk():
            if not self.exclude.excludes(below):
                yield below, status

    def is_file(self) -> bool:
        """Whether there is one source only, and it is no directory."""
        found = next(self.files(self.sources[0]), None) if len(self.sources) == 1 else None
        return found is not None and not stat.S_ISDIR(found[1].st_mode)

    def error(self, source: Source, reason: str) -> str:
        """The message for a source that cannot be copied."""
        return f"{self.name} failed: {source.word} to {self.destination}: {reason}"

    def close(self) -> None:
        """Let go of all sources; safe to call twice."""
        for source in self.sources:
            source.close()
        while self.owned:
            self.owned.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ------------------------------------------------------------------ what is copied, in one number


def digest(copying: Copying) -> str:
    """What the sources are, as Docker's history has it: ``file:…``, ``dir:…`` or ``multi:…``, and a sha256.

    It is of names, modes, kinds and content, and of owners if they are kept; not of times.
    """
    copying.read_at = time.time_ns()
    digests = [_digest(copying, source) for source in copying.sources]
    if len(digests) == 1:
        return digests[0]
    return "multi:" + hashlib.sha256(",".join(digests).encode()).hexdigest()


def _digest(copying: Copying, source: Source) -> str:
    found = hashlib.sha256()
    prefix = source.kind
    first: dict[tuple[int, int], str] = {}
    for below, status in copying.files(source):
        if not below and stat.S_ISDIR(status.st_mode):
            prefix = "dir"  # only what is in it is copied
            continue
        about = f"{below or source.name}\0{status.st_mode:o}\0{status.st_rdev}\0"
        if copying.keep_owners:
            about += f"{status.st_uid}:{status.st_gid}\0"
        found.update(os.fsencode(about))
        twin = below
        if status.st_nlink > 1:
            twin = first.setdefault((status.st_dev, status.st_ino), below)
        if twin != below:
            found.update(b"link\0" + os.fsencode(twin))
        elif stat.S_ISREG(status.st_mode):
            _add_content(found, copying, source, below)
        elif stat.S_ISLNK(status.st_mode):
            found.update(source.readlink(below))
        found.update(b"\0")
    return f"{prefix}:{found.hexdigest()}" if prefix else found.hexdigest()


def _add_content(found: hashlib._Hash, copying: Copying, source: Source, below: str) -> None:
    fd = source.open(below)
    try:
        if copying.keep_owners:
            found.update((source.capability(fd) or b"") + b"\0")
        size = 0
        while data := os.read(fd, _SMALL if not size else _CHUNK):
            found.update(data)
            size += len(data)
            if size < _SMALL:
                break
        found.update(b"\0%d" % size)
    finally:
        os.close(fd)


# ------------------------------------------------------------------ copying


def run(copying: Copying, root: int) -> None:
    """Copy into the file tree whose root directory is the descriptor ``root``.

    Errors name the source, the destination and the reason; an OSError is turned into an Error that has it as its
    cause. What was copied until then stays for the caller to throw away.
    """
    owner = None if copying.keep_owners else find_owner(root, copying.chown) if copying.chown else (0, 0)
    for source in copying.sources:
        try:
            _copy(copying, source, root, owner)
        except Error as error:
            raise type(error)(copying.error(source, str(error))) from error
        except NotADirectoryError as error:
            reason = f"a file of the image is in the way at {error.filename}; there has to be a directory"
            raise Error(copying.error(source, reason)) from error
        except OSError as error:
            raise Error(copying.error(source, error.strerror or str(error))) from error


def find_owner(root: int, text: str) -> tuple[int, int]:
    """Who ``--chown`` means: ``user:group`` or ``user``, each a number or a name that the image knows.

    The descriptor ``root`` is of the image's root directory. Without a group it is the one that is called like the
    user (Dockerfile reference, "COPY --chown"). Raises Error for a name that the image does not have.
    """
    user, colon, group = text.partition(":")
    if not colon:
        group = user
    if not user or not group:
        raise InvalidArgument(f"--chown={text}: expected user, or user:group, each a name or a number")
    try:
        found = users.resolve(root, f"{user}:{group}")
    except Error as error:
        raise Error(f"--chown={text}: {error}; use a number, or add it to the image before") from None
    return found.uid, found.gid


def _copy(copying: Copying, source: Source, root: int, owner: tuple[int, int] | None) -> None:
    """Find out where a source goes, and carry it there."""
    files = copying.files(source)
    found = next(files, None)
    if found is None:
        return  # excluded, or gone meanwhile
    _, status = found
    writer = Writer(source, owner, copying.mode)
    place, slash = _destination(copying, root)
    if copying.link:
        places.clear(root, place)
    if stat.S_ISDIR(status.st_mode):
        with _opened(_make_target(root, place, writer)) as directory:
            writer.write_all(directory, files)
    elif not (source.may_unpack and stat.S_ISREG(status.st_mode) and _unpack(source, root, place)):
        name = source.name
        if not slash and not stat.S_ISDIR(places.kind(root, place)):
            place, name = os.path.split(place)
        with _opened(places.make_directories(root, place, writer.directory_owner)) as directory:
            writer.write(directory, name, "", status)
    copying.changed |= writer.latest > copying.read_at - _CLOCK


def _make_target(root: int, place: str, writer: Writer) -> int:
    """Open the directory that a directory is copied to; a new one is the owner's, those above it are root's."""
    if not place or places.kind(root, place):
        return places.make_directories(root, place)
    above, name = os.path.split(place)
    with _opened(places.make_directories(root, above)) as parent:
        return places.make_directories(parent, name, writer.directory_owner)


def _destination(copying: Copying, root: int) -> tuple[str, bool]:
    """The path in the image, symlinks followed, and whether it is said to be a directory."""
    path = os.path.join(copying.workdir, copying.destination)
    slash = path.endswith("/") or len(copying.sources) > 1
    if copying.link:
        return os.path.normpath("/" + path).strip("/"), slash
    return places.resolve(root, path), slash


def _unpack(source: Source, root: int, place: str) -> bool:
    """Unpack an archive; False when it is none."""
    from minicontainer.build import archives  # not needed for COPY

    with _opened(source.open("")) as fd:
        if not archives.is_archive(fd):
            return False
        with _opened(places.make_directories(root, place)) as directory:
            archives.unpack(fd, directory)
    return True


@contextlib.contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
