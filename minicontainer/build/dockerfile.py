"""The grammar of a Dockerfile: instructions, and the stages they form.

A Dockerfile is a list of instructions, a name and what it is about. ``FROM`` begins a *stage*: it names the image
to start with, and each instruction after it adds to that. A file may have several stages, and a later one may take
files from an earlier one, ``COPY --from=build``, or start where it ended, ``FROM build``; only the last, or the one
that is asked for, becomes the image. Before the first FROM there may only be ARGs, for use in FROM itself.

Reading is all that happens here, and all of the file is read before the first step runs: whoever has made a
mistake in line 90 should not learn of it after an hour's compilation. What cannot be known yet, the values of
variables above all, is left as it is written.

Source: the Dockerfile reference.
"""

from __future__ import annotations

from minicontainer import words
from minicontainer.build.source import DockerfileError, Heredoc, Logical, Source, heredoc, printable
from minicontainer.errors import InvalidArgument
from minicontainer.images import forms, healthcheck
from minicontainer.images.statement import Statement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Dockerfile", "DockerfileError", "Heredoc", "Instruction", "Stage", "parse", "parse_instruction"]

# A flag may be given once, or often, or it is on or off.
_ONE, _MANY, _SWITCH = "one", "many", "switch"
_COPYING = {"chown": _ONE, "chmod": _ONE, "link": _SWITCH, "exclude": _MANY}
_FLAGS: dict[str, dict[str, str]] = {  # every instruction there is
    "ADD": {**_COPYING, "checksum": _ONE, "keep-git-dir": _SWITCH, "unpack": _SWITCH},
    "ARG": {},
    "CMD": {},
    "COPY": {**_COPYING, "from": _ONE, "parents": _SWITCH},
    "ENTRYPOINT": {},
    "ENV": {},
    "EXPOSE": {},
    "FROM": {"platform": _ONE},
    "HEALTHCHECK": dict.fromkeys(healthcheck.FLAGS, _ONE),
    "LABEL": {},
    "MAINTAINER": {},
    "ONBUILD": {},
    "RUN": {"mount": _MANY, "network": _ONE, "security": _ONE},
    "SHELL": {},
    "STOPSIGNAL": {},
    "USER": {},
    "VOLUME": {},
    "WORKDIR": {},
}
_EXEC_FORM = ("ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME")
_CHOICES = {"network": ("default", "none", "host"), "security": ("sandbox", "insecure")}
_NEVER_TRIGGERS = ("FROM", "MAINTAINER")


class Instruction:
    """One instruction as it is written; nothing in it is expanded but the flags have lost their quotes."""

    def __init__(self, logical: Logical, source: Source) -> None:
        self.filename = source.filename
        self.first = logical.first  #: the number of its first line, from 1
        self.last = logical.last
        self.lines = source.lines[logical.first - 1 : logical.last]
        self.name = logical.name.upper()
        self.text = logical.text.strip()  #: all of it on one line, as the steps of a build are shown
        self.rest = logical.rest  #: what follows the flags; of ONBUILD with the heredocs of what it triggers
        self.heredocs = logical.heredocs
        self.flags = self._read_flags(logical.flags)
        self.words: list[str] | None = None  #: of the exec form, ``["a", "b"]``; None in the shell form
        self.arguments: list[str] = []  #: of FROM, COPY, ADD, EXPOSE, VOLUME and ARG: the words of ``rest``

    def __repr__(self) -> str:
        return f"<{self.filename}:{self.first}: {self.text}>"

    def error(self, message: str) -> DockerfileError:
        """An error that names the place of this instruction and shows its first line."""
        return DockerfileError(self.filename, self.first, message, self.lines[0])

    def _read_flags(self, texts: list[str]) -> dict[str, list[str]]:
        if not self.name:
            raise self.error("a continuation of nothing; an instruction has to come first")
        known = _FLAGS.get(self.name)
        if known is None:
            raise self.error(f"unknown instruction: {self.name[:40]}{_suggestion(self.name, list(_FLAGS))}")
        flags: dict[str, list[str]] = {}
        for text in texts:
            name, equals, value = text[2:].partition("=")
            if name not in known:
                hint = _suggestion(name, list(known)) or f"; {self.name} has {_listed(known)}"
                raise self.error(f"unknown flag: {name[:40]}{hint}")
            if name in flags and known[name] != _MANY:
                raise self.error(f"duplicate flag specified: {name}")
            flags.setdefault(name, []).append(self._flag_value(name, known[name], equals, value))
        return flags

    def _flag_value(self, name: str, kind: str, equals: str, value: str) -> str:
        if kind == _SWITCH and not equals:
            return "true"
        if not equals or (kind == _SWITCH and not value):
            raise self.error(f"missing a value on flag: {name}; write --{name}=VALUE")
        if kind == _SWITCH and value.lower() not in ("true", "false"):
            raise self.error(f"expecting boolean value for flag {name}, not: {value}")
        if name in _CHOICES and "$" not in value and value not in _CHOICES[name]:
            raise self.error(f"--{name}={value} is not one of {', '.join(_CHOICES[name])}")
        return value.lower() if kind == _SWITCH else value

    @property
    def script(self) -> str | None:
        """The program of a RUN that is one heredoc and nothing else; None for any other."""
        if self.name != "RUN" or not self.heredocs or forms.quoted(self.rest) != [self.rest]:
            return None
        return self.heredocs[0].content

    @property
    def shell_line(self) -> str:
        """What the shell form gives to the shell: the heredoc's content, or the line with its heredocs."""
        script = self.script
        if script is None:
            script = self.rest + "".join(f"\n{each.content}{each.name}" for each in self.heredocs)
        return printable(script)


class Stage:
    """FROM, and what is done with that image."""

    def __init__(self, index: int, instruction: Instruction) -> None:
        self.index = index  #: from 0; also a name that ``--from`` and ``--target`` know
        self.instruction = instruction
        self.instructions: list[Instruction] = []  #: those that follow
        self.platform = instruction.flags.get("platform", [""])[0]
        self.base, self.name = _base_and_name(instruction)

    def __repr__(self) -> str:
        return f"<stage {self.index}: {self.instruction.text}>"


class Dockerfile:
    """A Dockerfile that has been read."""

    def __init__(self, source: Source) -> None:
        self.filename = source.filename
        self.instructions: list[Instruction] = []  #: all of them
        self.arguments: list[Instruction] = []  #: the ARGs before the first FROM
        self.stages: list[Stage] = []
        self._names: set[str] = set()
        for logical in source:
            self._add(_instruction(logical, source))
        self.escape = source.escape
        self.directives = source.directives
        self.warnings = source.warnings
        if not self.instructions:
            raise source.error(len(source.lines), "file with no instructions; it has to begin with FROM")
        if not self.stages:
            raise self.instructions[-1].error("no build stage in current context; FROM has to follow")

    def _add(self, instruction: Instruction) -> None:
        self.instructions.append(instruction)
        if instruction.name == "FROM":
            stage = Stage(len(self.stages), instruction)
            if stage.name and stage.name in self._names:
                raise instruction.error(f"{stage.name} stage name already used; choose another")
            self._names.add(stage.name)
            self.stages.append(stage)
        elif self.stages:
            self.stages[-1].instructions.append(instruction)
        elif instruction.name == "ARG":
            self.arguments.append(instruction)
        else:
            raise instruction.error(
                f"no build stage in current context; {instruction.name} has to come after FROM, only ARG may not"
            )


def parse(text: bytes, filename: str = "Dockerfile") -> Dockerfile:
    """Read a Dockerfile. Raises DockerfileError, which names file and line, for what cannot be meant."""
    return Dockerfile(Source(text, filename))


def parse_instruction(text: str, filename: str = "ONBUILD") -> Instruction:
    """Read what an image's ONBUILD has left for the build that starts from it. Raises DockerfileError."""
    source = Source(text.encode("utf-8", "replace"), filename)
    found = [_instruction(logical, source) for logical in source]
    if len(found) != 1:
        raise source.error(1, "an ONBUILD trigger is a single instruction")
    _check_trigger(found[0].name, found[0])
    return found[0]


def _instruction(logical: Logical, source: Source) -> Instruction:
    instruction = Instruction(logical, source)
    try:
        instruction.words = _exec_form(instruction)
        _READERS.get(instruction.name, _read_change)(instruction, source)
    except DockerfileError:
        raise
    except InvalidArgument as error:  # from a floor that knows of no lines
        raise instruction.error(str(error)) from None
    return instruction


def _exec_form(instruction: Instruction) -> list[str] | None:
    if instruction.name == "HEALTHCHECK":
        return forms.json_form(healthcheck.command(instruction.rest))
    return forms.json_form(instruction.rest) if instruction.name in _EXEC_FORM else None


def _read_from(instruction: Instruction, source: Source) -> None:
    instruction.arguments = forms.fields(instruction.rest)
    _base_and_name(instruction)


def _base_and_name(instruction: Instruction) -> tuple[str, str]:
    """What FROM starts with, and the name of the stage or ""."""
    match instruction.arguments:
        case [base]:
            return base, ""
        case [base, word, name] if word.upper() == "AS":
            if not _is_stage_name(name.lower()):
                raise instruction.error(
                    f"invalid name for build stage: {words.quote(name)}, "
                    "name can't start with a number or contain symbols"
                )
            return base, name.lower()
    raise instruction.error("FROM requires either one or three arguments: FROM image, or FROM image AS name")


def _is_stage_name(name: str) -> bool:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return name[0] in letters and not name.strip(letters + "0123456789-_.")


def _read_copying(instruction: Instruction, source: Source) -> None:
    name = instruction.name
    found = forms.fields(instruction.rest) if instruction.words is None else instruction.words
    if instruction.heredocs:  # <<"a name" is one word
        found = forms.quoted(instruction.rest, source.escape)
    instruction.arguments = found
    if len(found) < 2:
        raise instruction.error(
            f"{name} requires at least two arguments, but {'only one was' if found else 'none were'} provided; "
            "destination could not be determined"
        )
    if instruction.heredocs and heredoc(found[-1]):
        raise instruction.error(f"{name} cannot accept a heredoc as a destination")


def _read_arg(instruction: Instruction, source: Source) -> None:
    instruction.arguments = forms.quoted(instruction.rest, source.escape)
    if not instruction.arguments:
        raise instruction.error("ARG requires at least one argument: NAME or NAME=default")
    for word in instruction.arguments:
        if word.startswith("="):
            raise instruction.error(f"ARG names can not be blank: {word} is not NAME=default")


def _read_run(instruction: Instruction, source: Source) -> None:
    if not instruction.rest or instruction.words == []:
        raise instruction.error("RUN requires at least one argument: a command")
    if "\0" in instruction.shell_line:
        raise instruction.error("a NUL byte in a command; no program can be given one")


def _read_onbuild(instruction: Instruction, source: Source) -> None:
    if not instruction.rest:
        raise instruction.error("ONBUILD requires at least one argument: an instruction")
    logical = Logical(instruction.rest, instruction.first, source.escape)
    logical.last, logical.heredocs = instruction.last, instruction.heredocs
    _check_trigger(logical.name.upper(), instruction)
    _instruction(logical, source)
    instruction.rest = instruction.shell_line


def _check_trigger(name: str, instruction: Instruction) -> None:
    if name == "ONBUILD":
        raise instruction.error("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if name in _NEVER_TRIGGERS:
        raise instruction.error(f"{name} isn't allowed as an ONBUILD trigger")


def _read_change(instruction: Instruction, source: Source) -> None:
    if instruction.name in ("EXPOSE", "VOLUME"):
        found = instruction.words
        instruction.arguments = forms.fields(instruction.rest) if found is None else found
    Statement(instruction.name, instruction.rest, instruction.words, instruction.flags, source.escape).check()


_READERS: dict[str, Callable[[Instruction, Source], None]] = {
    "ADD": _read_copying,
    "ARG": _read_arg,
    "COPY": _read_copying,
    "FROM": _read_from,
    "ONBUILD": _read_onbuild,
    "RUN": _read_run,
}


def _suggestion(word: str, known: list[str]) -> str:
    """``; did you mean …?`` if a known word is like this one."""
    import difflib  # only who has made a mistake pays for it

    close = difflib.get_close_matches(word[:40], known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _listed(flags: dict[str, str]) -> str:
    return ", ".join(f"--{flag}" for flag in flags) or "no flags"
