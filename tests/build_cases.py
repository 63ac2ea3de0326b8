"""The corpus of builds: each file of tests/dockerfiles tells a Dockerfile and its context in plain text.

A case begins with what it shows, and with what it needs, a line each::

    # A symlink that COPY is given is followed; one within a directory is kept.
    options: --build-arg WHO=me
    == Dockerfile
    FROM base-image
    COPY tool /bin/
    == tool 0755
    #!/bin/sh
    == link -> tool

``base-image`` stands for the image that both builders have, ``web-server`` for a server's address. What a case
may need: ``options`` of the build; ``stdin: tar`` or ``stdin: Dockerfile`` when the context comes so;
``reference: buildah``; ``fails: WORD`` when both must fail and say that, ``says: WORD`` when they must not.
What Docker's classic builder does not know, a file ``Dockerfile.classic`` says in its language; it is given
that, and any other ``NAME.classic``, in place of the file without that ending.

Files: ``NAME [MODE] [UID:GID] [what it is]``: nothing for a file, whose content follows; ``-> TARGET``,
``hardlink of NAME``, ``fifo``, ``device 1:3``, ``archive``, whose files follow, a line each, with ``= CONTENT``
at its end. A directory's name ends in a slash. ``../NAME`` lies beside the context, ``web:NAME`` on the server.
``crlf``, ``bom``, ``no-newline`` and ``capability`` say what is particular to a file.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import os
import pathlib
import shlex
import tarfile
from collections.abc import Callable

import zstandard
from trees import CAPABILITY

DIRECTORY = pathlib.Path(__file__).resolve().parent / "dockerfiles"
TIME = 981_173_106  #: of all files: the third of February 2001, so that who keeps it can be told
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": functools.partial(gzip.compress, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
KINDS = {
    "->": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "device": tarfile.CHRTYPE,
}


class Entry:
    """A file of a case, or of an archive in it."""

    def __init__(self, line: str) -> None:
        line, given, content = line.partition(" = ")
        self.name, *words = shlex.split(line)
        self.content = content + "\n" if given else ""
        self.mode: int | None = None
        self.owner, self.target, self.marks = (0, 0), "", set[str]()
        self.type = tarfile.DIRTYPE if self.name.endswith("/") else tarfile.REGTYPE
        while words:
            self._take(words.pop(0), words)

    def _take(self, word: str, rest: list[str]) -> None:
        if word in KINDS:
            self.type = KINDS[word]
            self.target = "" if word == "fifo" else rest.pop(0)
            if self.target == "of":
                self.target = rest.pop(0)
        elif ":" in word:
            uid, gid = word.split(":")
            self.owner = int(uid), int(gid)
        elif word.isdigit():
            self.mode = int(word, 8)
        else:
            self.marks.add(word)

    @property
    def data(self) -> bytes:
        """The content, as its marks and its name want it."""
        if "archive" in self.marks:
            return self._archive()
        text = self.content.removesuffix("\n") if "no-newline" in self.marks else self.content
        text = text.replace("\n", "\r\n") if "crlf" in self.marks else text
        return (b"\xef\xbb\xbf" if "bom" in self.marks else b"") + text.encode()

    def _archive(self) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for line in self.content.splitlines():
                entry = Entry(line)
                tar.addfile(entry.header(), io.BytesIO(entry.data))
        return COMPRESS.get(pathlib.Path(self.name).suffix, bytes)(packed.getvalue())

    def header(self) -> tarfile.TarInfo:
        """This entry in an archive."""
        header = tarfile.TarInfo(self.name.rstrip("/"))
        header.type, header.mtime = self.type, TIME
        header.mode = self.mode if self.mode is not None else 0o755 if header.isdir() else 0o644
        header.uid, header.gid = self.owner
        if "capability" in self.marks:
            header.pax_headers["SCHILY.xattr.security.capability"] = CAPABILITY.decode()
        if self.type == tarfile.CHRTYPE:
            header.devmajor, header.devminor = map(int, self.target.split(":"))
        elif self.type == tarfile.REGTYPE:
            header.size = len(self.data)
        else:
            header.linkname = self.target
        return header

    def make(self, path: pathlib.Path, words: dict[str, str]) -> None:
        """This entry as a file, with words in its content replaced."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.type == tarfile.DIRTYPE:
            path.mkdir(exist_ok=True)
        elif self.type == tarfile.SYMTYPE:
            path.symlink_to(self.target)
        elif self.type == tarfile.LNKTYPE:
            os.link(path.parent / self.target, path)
        elif self.type == tarfile.FIFOTYPE:
            os.mkfifo(path)
        else:
            data = self.data
            for word, value in words.items():
                data = data.replace(word.encode(), value.encode())
            path.write_bytes(data)
        if "capability" in self.marks:
            os.setxattr(path, "security.capability", CAPABILITY)
        if self.type not in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            os.chown(path, *self.owner)
            path.chmod(self.mode if self.mode is not None else 0o755 if path.is_dir() else 0o644)


class Case:
    """One build: a Dockerfile, its context, and what is special about it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        head, *sections = ("\n" + text).split("\n== ")
        self.head = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line and line[0] != "#")
        self.entries = []
        for section in sections:
            line, _, body = section.partition("\n")
            entry = Entry(line)
            if not entry.content:
                entry.content = body.removesuffix("\n") + "\n" if body.strip("\n") else ""
            self.entries.append(entry)

    @property
    def options(self) -> list[str]:
        return shlex.split(self.head.get("options", ""))

    @property
    def fails(self) -> str:
        """The word that both builders must say when they fail; "" when they must not."""
        return self.head.get("fails", "")

    @property
    def classic(self) -> set[str]:
        """The files that are otherwise for Docker's classic builder."""
        return {
            name.removesuffix(".classic")
            for entry in self.entries
            if (name := entry.name).endswith(".classic")
        }

    def unpack(self, place: pathlib.Path, words: dict[str, str], classic: bool = False) -> pathlib.Path:
        """Make ``place``/context, with these words replaced, as our builder or as Docker's is to see it."""
        context = place / "context"
        context.mkdir(parents=True)
        for entry in self.entries:
            name = entry.name.removesuffix(".classic")
            if name in self.classic and classic != entry.name.endswith(".classic"):
                continue
            where = place / "web" / name.removeprefix("web:") if name.startswith("web:") else context / name
            entry.make(pathlib.Path(os.path.normpath(where)), {} if "archive" in entry.marks else words)
        for path in (*place.rglob("*"), context):
            os.utime(path, (TIME, TIME), follow_symlinks=False)
        return context


def cases() -> list[Case]:
    """All of the corpus, in the order of their names."""
    return [Case(path.stem, path.read_text()) for path in sorted(DIRECTORY.glob("*.txt"))]


def archive_of(context: pathlib.Path) -> bytes:
    """A context as it comes on standard input. Docker knows an archive by its first header's being plain."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(context.rglob("*")):
            tar.add(path, path.relative_to(context), recursive=False)
    return packed.getvalue()
