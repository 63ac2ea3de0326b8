"""The build context: the files that COPY and ADD may take, and the Dockerfile.

Mostly it is a directory, and it is read where it is. Docker's client packs it and sends it to an engine that may be
on another machine; here there is none, so that a context of gigabytes costs nothing, as long as nobody copies it.
From standard input (``-``) or a URL comes a tar archive, which is unpacked for as long as the build takes, or a
Dockerfile alone; which of the two it is, its first block tells.

The Dockerfile may be excluded by ``.dockerignore``, or lie elsewhere (``-f``): it is read all the same.
"""

from __future__ import annotations

import os
import stat

from minicontainer.build import patterns
from minicontainer.build.ignore import Ignore
from minicontainer.build.tree import Tree
from minicontainer.errors import InvalidArgument, NotFound
from minicontainer.files import naming, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from minicontainer.build.streams import Readable

_NAME = "Dockerfile"
_IGNORE = ".dockerignore"
_STANDARD_INPUT = "standard input"
_STDIN = "<stdin>"  # the Dockerfile's name in messages when it comes from there
_MOST = 16 << 20  # bytes of a Dockerfile


class Context:
    """What a build works on; to be closed when it is done."""

    def __init__(self, tree: Tree, dockerfile: bytes, dockerfile_name: str, temporary: str = "") -> None:
        self.tree = tree
        self.dockerfile = dockerfile
        self.dockerfile_name = dockerfile_name  #: for messages
        self._temporary = temporary
        self._size = -1

    @property
    def size(self) -> int:
        """Bytes of content of all files."""
        if self._size < 0:
            self._size = sum(
                status.st_size for _, status in self.tree.walk("") if stat.S_ISREG(status.st_mode)
            )
        return self._size

    def close(self) -> None:
        """Let go of the tree, and remove what was unpacked; safe to call twice."""
        self.tree.close()
        if self._temporary:
            remove_tree(self._temporary)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_context(
    what: str, dockerfile: str = "", stdin: Readable | None = None, *, directory: str = ""
) -> Context:
    """The context that ``minicontainer build`` is given: a directory, ``-`` for standard input, or an http(s) URL.

    ``dockerfile`` is what -f says: a path, in an archive one within it, ``-`` for ``stdin``. Without it, it is the
    ``Dockerfile`` of the context. An archive is unpacked below ``directory``, by default one for temporary files; a
    place of a job (:mod:`minicontainer.engine.jobs`) is removed even when this process is killed.
    Raises NotFound or InvalidArgument for what is not there or cannot be read.
    """
    if what == "-":
        if dockerfile == "-":
            raise InvalidArgument("invalid argument: can't use stdin for both build context and dockerfile")
        return _from_stream(_stdin(stdin), _STANDARD_INPUT, dockerfile, None, directory)
    if os.path.exists(what):
        return _from_directory(what, dockerfile, stdin)
    if what.startswith(("http://", "https://")) and not what.partition("#")[0].endswith(".git"):
        return _from_url(what, dockerfile, stdin, directory)
    if what.startswith(("git://", "git@", "github.com/", "http://", "https://")):
        raise InvalidArgument(
            f"unable to prepare context: {what} is a git repository; clone it, and give its directory"
        )
    raise NotFound(
        f'unable to prepare context: path "{what}" not found; '
        "a context is a directory, a URL, or - for standard input"
    )


def _stdin(stdin: Readable | None) -> Readable:
    if stdin is None:
        raise InvalidArgument("unable to prepare context: standard input is closed")
    return stdin


# ------------------------------------------------------------------ a directory


def _from_directory(path: str, dockerfile: str, stdin: Readable | None) -> Context:
    if not os.path.isdir(path):
        raise InvalidArgument(
            f"unable to prepare context: context must be a directory: {os.path.abspath(path)}; "
            "a Dockerfile is named with -f"
        )
    if dockerfile == "-":
        text, name, special = _read_dockerfile(_stdin(stdin), _STANDARD_INPUT), _STDIN, ""
    else:
        where = dockerfile or _default(path)
        text, name, special = _read_path(where, path), dockerfile or _NAME, f"{where}{_IGNORE}"
    try:
        return Context(Tree(path, _ignore(path, special)), text, name)
    except OSError as error:
        raise InvalidArgument(f"unable to prepare context: {path}: {error.strerror}") from None


def _default(directory: str) -> str:
    """The Dockerfile of a directory, which may be in lower case."""
    path = os.path.join(directory, _NAME)
    lower = os.path.join(directory, _NAME.lower())
    return lower if not os.path.lexists(path) and os.path.lexists(lower) else path


def _read_path(path: str, directory: str) -> bytes:
    """Read a Dockerfile of the user's own, wherever a symlink leads."""
    try:
        with open(path, "rb") as file:
            return _read_dockerfile(file, path)
    except IsADirectoryError:
        raise InvalidArgument(f"the Dockerfile {path} is a directory; -f names the file in it") from None
    except FileNotFoundError:
        message = f"unable to prepare context: no such Dockerfile: {path}"
        if os.path.lexists(path):
            message += f"; it is a symlink, to {os.readlink(path)}"
        elif os.path.exists(os.path.join(directory, path)):
            message += f"; -f is relative to the current directory: {os.path.join(directory, path)} is there"
        else:
            message += "; -f names one that is elsewhere"
        raise NotFound(message) from None
    except OSError as error:
        raise InvalidArgument(f"cannot read the Dockerfile {path}: {error.strerror}") from None


def _read_dockerfile(file: Readable, where: str) -> bytes:
    text = _read(file, where)
    if not text:
        raise InvalidArgument(f"the Dockerfile ({where}) cannot be empty; it begins with FROM")
    return text


def _read(file: Readable, where: str) -> bytes:
    pieces, size = [], 0
    while size <= _MOST and (piece := file.read(_MOST + 1 - size)):
        pieces.append(piece)
        size += len(piece)
    if size > _MOST:
        raise InvalidArgument(f"{where} has more than {_MOST >> 20} MiB; refused")
    return b"".join(pieces)


def _ignore(directory: str, special: str) -> Ignore | None:
    """The rules for a context: those of its Dockerfile alone when there are any, else those of the directory."""
    for path in (special, os.path.join(directory, _IGNORE)):
        try:
            with open(path, "rb") as file:
                return Ignore(_read(file, path), path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise InvalidArgument(f"cannot read {path}: {error.strerror}") from None
    return None


# ------------------------------------------------------------------ a stream


def _from_url(url: str, dockerfile: str, stdin: Readable | None, directory: str) -> Context:
    # 60 ms, and only when something is downloaded
    from minicontainer.images.registry.transport import Transport, Unreachable

    text = _read_dockerfile(_stdin(stdin), _STANDARD_INPUT) if dockerfile == "-" else None
    problem = f"unable to prepare context: unable to download remote context {url}"
    try:
        response = Transport().send("GET", url, {}, patient=False)
    except Unreachable as error:
        raise Unreachable(f"{problem}: {error}") from None
    with response:
        if response.status != 200:
            raise NotFound(f"{problem}: the server answers {response.status} {response.reason}")
        return _from_stream(response, url, dockerfile, text, directory)


def _from_stream(file: Readable, where: str, dockerfile: str, text: bytes | None, directory: str) -> Context:
    """A context from an archive, or from a Dockerfile; ``text`` is the latter when it comes from elsewhere."""
    from minicontainer.build import streams

    stream = streams.Stream(file, where)
    temporary, root = streams.make_directory(directory or os.environ.get("TMPDIR") or "/var/tmp")
    try:
        if stream.is_archive():
            stream.unpack(root)
            return _of_archive(temporary, root, dockerfile or _NAME, text)
        if text is not None:
            raise InvalidArgument(
                f"unable to prepare context: {where} is no archive, and -f is the Dockerfile"
            )
        text = _read_dockerfile(stream, where)
        copied = os.path.join(root, _NAME)  # a build may take it from there, with Docker too
        with naming(copied), open(copied, "wb") as copy:
            copy.write(text)
        return Context(Tree(root), text, _STDIN if where == _STANDARD_INPUT else where, temporary)
    except BaseException:
        remove_tree(temporary)
        raise


def _of_archive(temporary: str, root: str, name: str, text: bytes | None) -> Context:
    """The context in a directory that an archive was unpacked to; what it says may lead anywhere.

    As with Docker, its .dockerignore excludes nothing but the Dockerfile and itself: whoever packed the archive has
    chosen what is in it.
    """
    tree = Tree(root)
    try:
        if text is None:
            name, text = _read_inside(tree, name)
        else:
            name = _STDIN
        rules = Ignore(_read_if_there(tree, _IGNORE) or b"")
        hidden = [each for each in (os.path.normpath(name), _IGNORE) if rules.excludes(each)]
        if hidden:
            tree.ignore = Ignore(os.fsencode("\n".join(f"/{patterns.quote(each)}" for each in hidden)))
    except BaseException:
        tree.close()
        raise
    return Context(tree, text, name, temporary)


def _read_inside(tree: Tree, name: str) -> tuple[str, bytes]:
    """The Dockerfile of an archive, which may be in lower case."""
    for each in (name, name.lower()) if name == _NAME else (name,):
        text = _read_if_there(tree, each)
        if text == b"":
            raise InvalidArgument(f"the Dockerfile ({each}) cannot be empty; it begins with FROM")
        if text:
            return each, text
    raise NotFound(
        f"cannot locate the Dockerfile {name} in the archive; -f names one that is elsewhere in it"
    )


def _read_if_there(tree: Tree, path: str) -> bytes | None:
    try:
        fd = tree.open(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with open(fd, "rb") as file:
        return _read(file, path)
