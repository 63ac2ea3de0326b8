"""The words of a COPY or ADD, and what they mean: files of the context, of a stage, from the network.

``COPY --chown=app src/*.py <<EOF /srv/`` has three kinds of words: flags, sources and, last, the destination. A
source may have wildcards, be an address (ADD), or be a file that is written in the Dockerfile itself, a heredoc.
What each means is found out here, before anything is copied; whatever is not there is an error now.
"""

from __future__ import annotations

import os

from minicontainer import words
from minicontainer.build.copy_sources import Content, Source, WithParents
from minicontainer.build.copying import Copying
from minicontainer.errors import Error, InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from minicontainer.build.dockerfile import Instruction
    from minicontainer.build.ignore import Ignore
    from minicontainer.build.tree import Tree

_MOST_MODE = 0o7777


def resolve(
    instruction: Instruction,
    expand: Callable[[str], str],
    tree: Callable[[str], Tree],
    workdir: str,
    variables: Mapping[str, str],
) -> Copying:
    """What a COPY or ADD is about; the outcome is to be closed.

    ``expand`` replaces the variables in a word, ``variables`` are those for heredocs. ``tree`` gives the files of
    the stage or image that ``--from`` names, which are then this copying's to close, or for "" the context's.
    Raises NotFound when a source is not there, InvalidArgument when something cannot be meant.
    """
    return _Resolver(instruction, expand, tree, variables).resolve(workdir)


class _Resolver:
    """Goes through the words of one instruction."""

    def __init__(
        self,
        instruction: Instruction,
        expand: Callable[[str], str],
        tree: Callable[[str], Tree],
        variables: Mapping[str, str],
    ) -> None:
        self.instruction = instruction
        self.name = instruction.name
        self.expand = expand
        self.variables = variables
        self.origin = instruction.flags.get("from", [""])[0]
        self.tree = tree
        self.given: Tree | None = None  # once it was needed
        self.heredocs = list(instruction.heredocs)
        self.found: list[Source] = []

    def resolve(self, workdir: str) -> Copying:
        """Find all sources; nothing is left open when one is not to be found."""
        *sources, destination = self.instruction.arguments
        destination = self.expand(destination)
        copying = Copying(
            self.found,
            destination,
            name=self.name,
            workdir=workdir,
            chown=self._flag("chown"),
            keep_owners=bool(self.origin),
            mode=_mode(self._flag("chmod")),
            link=self._switch("link"),
            exclude=self._exclude(),
        )
        try:
            for word in sources:
                self._add(word, destination)
            if self.given and self.origin:
                copying.owned.append(self.given.close)
            self._check_several(destination)
        except BaseException:
            copying.close()
            if self.given and self.origin:
                self.given.close()
            raise
        return copying

    # ------------------------------------------------------------ flags

    def _flag(self, name: str) -> str:
        return self.expand(self.instruction.flags.get(name, [""])[0])

    def _switch(self, name: str, default: bool = False) -> bool:
        return self.instruction.flags.get(name, [str(default).lower()])[0] == "true"

    def _exclude(self) -> Ignore | None:
        patterns = [self.expand(word) for word in self.instruction.flags.get("exclude", ())]
        if not patterns:
            return None
        from minicontainer.build.ignore import Ignore

        return Ignore(os.fsencode("\n".join(patterns)), "--exclude")

    # ------------------------------------------------------------ sources

    def _add(self, word: str, destination: str) -> None:
        """Find what one word means."""
        if self.heredocs and _is_heredoc(word):
            self._add_heredoc(word)
            return
        word = self.expand(word)
        try:
            if is_url(word):
                self._add_url(word, destination)
            elif self.instruction.flags.get("checksum"):
                raise InvalidArgument("--checksum is for a source with http:// or https://")
            else:
                self.found += self._in_tree(word)
        except Error as error:
            reason = str(error).removeprefix(f"{word}: ")
            raise type(error)(f"{self.name} failed: {word} to {destination}: {reason}") from error

    def _in_tree(self, word: str) -> Iterator[Source]:
        if self.given is None:
            self.given = self.tree(self.origin)
        unpack = self.name == "ADD" and self._switch("unpack", True)
        if not self._switch("parents"):
            for path in self.given.match(word):
                yield Source(self.given, path, word, may_unpack=unpack)
            return
        pivot, dot, pattern = word.partition("/./")
        if not dot:
            pivot, pattern = "", word
        pivot = os.path.normpath(pivot.lstrip("/")).removeprefix(".")
        for path in _match(self.given, f"{pivot}/{pattern}" if pivot else pattern):
            if pivot and not f"{path}/".startswith(f"{pivot}/"):
                raise InvalidArgument(f"{path} is not in {pivot}, which is before the /./")
            yield WithParents(self.given, path, word, pivot)

    def _add_url(self, url: str, destination: str) -> None:
        if self.name != "ADD":
            raise InvalidArgument("source can't be a URL for COPY; ADD takes one")
        from minicontainer.build import remote  # the network is for those who name it

        unnamed = "" if destination.endswith("/") else "download"
        source = remote.fetch(url, self._flag("checksum"), name=unnamed)
        source.may_unpack = self._switch("unpack")
        source.kind = ""
        self.found.append(source)

    def _add_heredoc(self, word: str) -> None:
        heredoc = self.heredocs.pop(0)
        text = words.substitute(heredoc.content, self.variables) if heredoc.expand else heredoc.content
        fd = os.memfd_create("heredoc")
        self.found.append(Content(fd, heredoc.name, word))
        os.fchmod(fd, 0o644)
        with open(fd, "wb", closefd=False) as file:
            file.write(text.encode("utf-8", "surrogateescape"))

    def _check_several(self, destination: str) -> None:
        if not self.found:
            raise InvalidArgument(f"{self.name} failed: no source files were specified")
        if len(self.found) > 1 and destination not in ("", ".") and not destination.endswith(("/", "/.")):
            raise InvalidArgument(
                f"when using {self.name} with more than one source file, the destination must be a directory "
                f"and end with a /: {destination}/"
            )


def is_url(word: str) -> bool:
    """Whether a source is to be downloaded."""
    return word.startswith(("http://", "https://"))


def _is_heredoc(word: str) -> bool:
    from minicontainer.build.source import heredoc

    return heredoc(word) is not None


def _match(tree: Tree, pattern: str) -> list[str]:
    """The paths that a source word means where ``**`` is any number of directories (``--parents``)."""
    if "**" not in pattern:
        return tree.match(pattern)
    from minicontainer.build.patterns import compile_ignore

    wanted = compile_ignore(os.path.normpath(pattern).lstrip("/"))
    found = [path for path, _ in tree.walk("") if path and wanted.fullmatch(path)]
    if not found:
        raise NotFound(f"{pattern}: no file in {tree.what} matches")
    return found


def _mode(text: str) -> int | None:
    """The permission bits that ``--chmod`` says in octal digits; None for ""."""
    if not text:
        return None
    if text.strip("01234567") or int(text, 8) > _MOST_MODE:
        raise InvalidArgument(f"--chmod={text}: expected octal digits from 0 to 7777, as 755")
    return int(text, 8)
