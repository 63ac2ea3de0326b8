"""What COPY and ADD take from: a file or directory of a tree, or a file that is in none.

A source is looked at twice. Its digest decides whether the step has been made before; only if not, it is copied.
Both go through it in the same way, file by file, and neither needs to know where the files are.
"""

from __future__ import annotations

import os
import stat
from itertools import islice

from minicontainer.kernel.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minicontainer.build.tree import Tree

    Found = tuple[str, os.stat_result]

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_REGULAR = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
)  # a fifo is not waited for


class Source:
    """A file that is to be copied, or a directory of which the content is."""

    kind = "file"  #: what its digest says before the colon; "" for what was downloaded, as with Docker

    def __init__(self, tree: Tree, path: str, word: str, *, may_unpack: bool = False) -> None:
        """``path`` is one that ``tree.match(word)`` gave; ``may_unpack``: ADD unpacks it, if it is an archive."""
        self.tree = tree
        self.path = path
        self.word = word
        self.may_unpack = may_unpack
        self.name = os.path.basename(path)  #: what the file is called in a directory that it is copied to
        self.names = [path, self.name]  #: what ``--exclude`` knows it by
        self._directory, self._directory_path = -1, ""  # the last one that something was opened in

    def walk(self) -> Iterator[Found]:
        """The source first, as "", then all below it: each with its lstat(2), a directory before its content."""
        return self.tree.walk(self.path)

    def open(self, below: str) -> int:
        """Open a regular file of the walk; InvalidArgument when it is something else by now.

        Mostly the last file's directory is this one's too. It is still open then, and no path has to be resolved.
        """
        fd = self._open_beside(below) if below else -1
        return fd if fd >= 0 else self.tree.open(self._path(below))

    def _open_beside(self, below: str) -> int:
        """Open a file in the directory of the last one; -1 when that is not so easy."""
        above, _, name = below.rpartition("/")
        try:
            if self._directory < 0 or above != self._directory_path:
                self.close()
                self._directory = openat2(self.tree.root, self._path(above) or ".", _DIRECTORY, _INSIDE)
                self._directory_path = above
            fd = os.open(name, _REGULAR, dir_fd=self._directory)
        except OSError:
            return -1  # whoever opens it by its path says what is wrong
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return -1

    def readlink(self, below: str) -> bytes:
        """What a symlink of the walk says."""
        return self.tree.readlink(self._path(below))

    def capability(self, fd: int) -> bytes | None:
        """The capabilities of a file that :meth:`open` gave (capabilities(7), "File capabilities")."""
        return self.tree.xattrs(fd).get(b"security.capability")

    def _path(self, below: str) -> str:
        return f"{self.path}/{below}" if self.path and below else self.path or below

    def close(self) -> None:
        """Let go of what this source alone has; the tree is not its own. Safe to call twice."""
        if self._directory >= 0:
            os.close(self._directory)
        self._directory = -1


class WithParents(Source):
    """What ``--parents`` copies: a directory with the way to a source and the source, and with nothing else.

    ``path`` is ``pivot`` and the way from there, which is kept: of ``src/./app/main.py``, ``app/main.py``.
    """

    def __init__(self, tree: Tree, path: str, word: str, pivot: str = "") -> None:
        super().__init__(tree, pivot, word)
        self.names = []  # its files are known by their way
        self.way = path[len(pivot) :].strip("/")

    def walk(self) -> Iterator[Found]:
        """The directory, the directories on the way, the source, and all below it."""
        names = self.way.split("/") if self.way else []
        for count in range(len(names)):
            above = "/".join(names[:count])
            for _, status in islice(self.tree.walk(self._path(above)), 1):
                yield above, status
        for below, status in self.tree.walk(self._path(self.way)):
            yield f"{self.way}/{below}".strip("/"), status


class Content(Source):
    """A source that is in no tree: what was downloaded, or written in the Dockerfile itself.

    The open file ``fd`` has the mode and the times that the copy is to have; it becomes this object's to close.
    """

    def __init__(self, fd: int, name: str, word: str, *, may_unpack: bool = False) -> None:
        self.fd = fd
        self.path = ""
        self.name = name
        self.names = [name]
        self.word = word
        self.may_unpack = may_unpack

    def walk(self) -> Iterator[Found]:
        """The file alone."""
        yield "", os.fstat(self.fd)

    def open(self, below: str) -> int:
        """Open the file anew, at its beginning."""
        return os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)

    def capability(self, fd: int) -> bytes | None:
        """It has none."""
        return None

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
