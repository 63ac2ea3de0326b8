"""From the bytes of a Dockerfile to its instructions, each on one long line.

A Dockerfile is read line by line, and before anything has a meaning the lines are put together:

* *Directives* may stand at the very top: comments such as ``# escape=``` that are meant for the reader of the
  file, not for people. The first line that is none ends them.
* A line that begins with ``#`` is a *comment*, also in the middle of an instruction that goes on over lines.
* A line that ends in the escape character, ``\\`` unless a directive says otherwise, *goes on* in the next one.
* ``<<EOF`` in RUN, COPY and ADD begins a *heredoc*: the lines that follow, up to one that is just ``EOF``, are
  not instructions but the content of a file. ``<<-EOF`` takes the tabs off the beginning of each line, and with
  quotes, ``<<"EOF"``, no variable in it is replaced. An instruction may have several, one after the other.

What comes out still knows on which lines it stood, since every error names its line.

Source: the Dockerfile reference, "Format", "Parser directives", "Here-Documents".
"""

from __future__ import annotations

from minicontainer import words
from minicontainer.errors import InvalidArgument
from minicontainer.images import forms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTIVES = ("check", "escape", "syntax")
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")
_SHOWN = 200  # characters of a line in an error
_BOM = "\ufeff"


class DockerfileError(InvalidArgument):
    """A Dockerfile, or a trigger of ONBUILD, that cannot be meant; says in which line of which file."""

    def __init__(self, filename: str, line: int, reason: str, source: str = "") -> None:
        self.filename = filename
        self.line = line  #: from 1
        self.reason = reason
        shown = printable(source).strip()[:_SHOWN]
        super().__init__(f"{filename}:{line}: {reason}" + (f"\n    {shown}" if shown else ""))


class Heredoc:
    """A file that is written in the Dockerfile itself."""

    def __init__(self, name: str, expand: bool, chomp: bool) -> None:
        self.name = name  #: the word it ends with, and the file's name when it is copied into a directory
        self.expand = expand  #: whether COPY and ADD replace variables in it: its name is not quoted
        self.chomp = chomp  #: ``<<-``: without the tabs at the beginning of lines
        self.content = ""  #: bytes that are no UTF-8 are in it as surrogates (PEP 383)


class Logical:
    """An instruction with its continuations joined, cut into its three parts: ``NAME --flag=value rest``."""

    def __init__(self, text: str, first: int, escape: str) -> None:
        self.text = text
        self.name, rest = forms.cut(text)
        self.flags, self.rest = forms.cut_flags(rest)  #: as ``--chown=app``, without quotes
        self.first = first  #: the number of its first line, from 1
        self.last = first  #: and of its last, heredocs included
        self.heredocs = self._heredocs(escape)  #: still without content

    def _heredocs(self, escape: str) -> list[Heredoc]:
        name, rest = self.name.upper(), self.rest
        if name == "ONBUILD":
            name, rest = forms.cut(rest)
            name, rest = name.upper(), forms.cut_flags(rest)[1]
        if name not in _WITH_HEREDOCS or "<<" not in rest or _is_exec_form(rest):
            return []
        found = [heredoc(word) for word in forms.quoted(rest, escape)]
        return [each for each in found if each is not None]


class Source:
    """A Dockerfile as lines; iterating gives each :class:`Logical` line in turn."""

    def __init__(self, text: bytes, filename: str = "Dockerfile") -> None:
        self.filename = filename
        #: The lines with their ends; what is no UTF-8 stays in them as surrogates.
        self.lines = text.decode("utf-8", "surrogateescape").removeprefix(_BOM).split("\n")
        self.directives: dict[str, str] = {}
        self.escape = "\\"  #: what continues a line and takes the meaning from a character
        self.warnings: list[str] = []
        self._at = 0  # how many lines are read
        self._last: dict[str, int] = {}  # where each line stands for the last time; made when it is asked for
        self._read_directives()

    def error(self, line: int, reason: str) -> DockerfileError:
        """An error about the line with this number."""
        source = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        return DockerfileError(self.filename, line, reason, source)

    def _read_directives(self) -> None:
        for number, line in enumerate(self.lines, 1):
            key, equals, value = line.strip().removeprefix("#").partition("=")
            key, value = key.strip().lower(), value.strip()
            if not line.lstrip().startswith("#") or not equals or key not in DIRECTIVES or not value:
                return
            if key in self.directives:
                raise self.error(number, f"only one {key} parser directive can be used")
            if key == "escape" and value not in ("\\", "`"):
                raise self.error(number, f"invalid escape token {value!r} does not match ` or \\")
            self.directives[key] = value
            if key == "escape":
                self.escape = value

    def __iter__(self) -> Iterator[Logical]:
        while self._at < len(self.lines):
            self._at += 1
            first = self._at
            text, goes_on = self._without_continuation(self._line().lstrip())
            if _is_comment(text) or not (text.strip() or goes_on):
                continue
            text = printable(text + self._continuations() if goes_on else text)
            if "\0" in text:
                raise self.error(first, "a NUL byte in an instruction; a Dockerfile is text")
            logical = Logical(self._tightened(text), first, self.escape)
            for each in logical.heredocs:
                each.content = self._content(each, first)
            logical.last = self._at
            yield logical

    def _line(self) -> str:
        return self.lines[self._at - 1].removesuffix("\r")

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        """The line without an escape character at its end, and whether there was one; a doubled one is none."""
        text = line.rstrip(" \t")
        if not text.endswith(self.escape) or text.endswith(self.escape * 2):
            return line, False
        return text[:-1], True

    def _continuations(self) -> str:
        text, goes_on, empty = "", True, 0
        while goes_on and self._at < len(self.lines):
            self._at += 1
            line = self._line()
            if _is_comment(line):
                continue
            if not line.strip():
                empty = empty or self._at
                continue
            line, goes_on = self._without_continuation(line)
            text += line
        if empty and empty < len(self.lines):  # after the last newline there is no line
            self.warnings.append(f"{self.filename}:{empty}: empty continuation line")
        return text

    def _tightened(self, text: str) -> str:
        """The text with ``<<EOF`` for ``<< EOF``, where a line ``EOF`` follows: else it is ``$((1 << N))``."""
        if "<< " not in text and "<<- " not in text:
            return text
        import re  # 8 ms, for the few who write it so

        if not self._last:
            self._last = {line.strip(): number for number, line in enumerate(self.lines)}
        return re.sub(
            r"(?<!\S)(\d*<<-?) +((['\"]?)([A-Za-z_]\w*)\3)(?!\S)",
            lambda match: f"{match[1]}{match[2]}" if self._last.get(match[4], -1) >= self._at else match[0],
            text,
        )

    def _content(self, heredoc: Heredoc, first: int) -> str:
        content = ""
        while self._at < len(self.lines):
            line = self.lines[self._at]
            self._at += 1
            line = line.lstrip("\t") if heredoc.chomp else line
            if line.removesuffix("\r") == heredoc.name:
                return content
            content += line + "\n"
        raise self.error(first, f"unterminated heredoc; a line that is only {heredoc.name} has to follow")


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def printable(text: str) -> str:
    """The text with U+FFFD for bytes that are no UTF-8, as Docker has it in image and history."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _is_exec_form(rest: str) -> bool:
    try:
        return forms.json_form(rest) is not None
    except InvalidArgument:
        return True  # an array, if a wrong one


def heredoc(word: str) -> Heredoc | None:
    """Read ``<<EOF``, ``<<-EOF``, ``<<"EOF"`` or ``3<<EOF``; None for any other word."""
    start, arrow, rest = word.partition("<<")
    chomp = rest.startswith("-")
    name = rest[chomp:]
    if not arrow or start.strip("0123456789") or not name or "<" in name:
        return None
    try:
        bare = words.unquote(name)
    except InvalidArgument:
        return None  # a quote that is never closed: no heredoc, as in Docker
    return Heredoc(bare, expand=bare == name, chomp=chomp) if bare else None
