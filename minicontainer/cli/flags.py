"""Options as Docker's users type them.

The rules are those of Go's pflag, which Docker uses, and they differ from argparse's where it shows: ``run
alpine ls -l`` stops reading options at the image; ``-it`` is two; ``--rm=false`` says no; an option that takes
a value takes the next word whatever it looks like. The same tables make the help texts and the shell
completions.
"""

from __future__ import annotations

from minicontainer import units
from minicontainer.errors import Error, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

BOOL, STRING, INT, FLOAT, LIST, BYTES = "", "string", "int", "decimal", "list", "bytes"
_TRUE, _FALSE = ("1", "t", "T", "true", "True", "TRUE"), ("0", "f", "F", "false", "False", "FALSE")


class UsageError(Error):
    """The words on the command line are not what the command takes."""

    def __init__(self, message: str, exit_code: int = 125) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class HelpRequested(Exception):
    """``--help`` was among the words."""


class Flag:
    """One option: ``Flag("m", "memory", STRING, "Memory limit", metavar="bytes")``.

    ``metavar`` names its value in the help text; ``values`` are offered by shell completion.
    """

    def __init__(
        self,
        short: str,
        long: str,
        kind: str,
        help: str,
        *,
        metavar: str = "",
        default: Any = None,
        values: Sequence[str] = (),
    ) -> None:
        self.short = short
        self.long = long
        self.kind = kind
        self.help = help
        self.metavar = metavar or kind
        self.default = default
        self.values = values  # for shell completion
        self.name = long.replace("-", "_")

    def initial(self) -> Any:
        """The value without the option on the command line."""
        if self.kind == LIST:
            return []
        return self.default if self.default is not None else (False if self.kind == BOOL else None)

    def read(self, text: str) -> Any:
        """The value that ``text`` stands for; UsageError when it is none."""
        try:
            if self.kind == BOOL:
                return {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}[text]
            if self.kind == INT:
                return int(text, 0)
            if self.kind == FLOAT:
                return float(text)
            if self.kind == BYTES and text != "-1":  # of which options it is a value, the engine knows
                units.parse_size(text)
            return text
        except InvalidArgument as error:
            raise UsageError(f'invalid argument "{text}" for "{self}" flag: {error}') from None
        except (KeyError, ValueError):
            kind = {BOOL: "true or false", INT: "a whole number"}.get(self.kind, "a number")
            raise UsageError(f'invalid argument "{text}" for "{self}" flag: not {kind}') from None

    def __str__(self) -> str:
        return f"-{self.short}, --{self.long}" if self.short else f"--{self.long}"


class Values:
    """The options of one command line, each by its name: ``values.memory``."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self._given: set[str] = set()
        for flag in flags:
            setattr(self, flag.name, flag.initial())

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def given(self, name: str) -> bool:
        """Whether the option was on the command line."""
        return name in self._given

    def set(self, flag: Flag, text: str) -> None:
        """Take one value; a list collects them."""
        value = flag.read(text)
        if flag.kind == LIST:
            value = [*getattr(self, flag.name), value]
        self._given.add(flag.name)
        setattr(self, flag.name, value)


class Command:
    """One command: its words, its options, and the function that does it.

    :param usage: what comes after the command's name, ``[OPTIONS] IMAGE [COMMAND] [ARG...]``
    :param most: how many arguments it takes at most, None for any number
    :param stops: whether options end at the first argument
    :param completes: what its arguments are, for shell completion: "containers", "images", …
    """

    def __init__(
        self,
        name: str,
        usage: str,
        help: str,
        flags: Sequence[Flag],
        run: Callable[..., int | None],
        *,
        least: int = 0,
        most: int | None = None,
        stops: bool = False,
        completes: str = "",
    ) -> None:
        self.name = name
        self.usage = usage
        self.help = help
        self.flags = flags
        self.run = run
        self.least = least
        self.most = most
        self.stops = stops
        self.completes = completes

    def parse(self, words: Sequence[str]) -> tuple[Values, list[str]]:
        """Sort the words into options and arguments; UsageError names the one that does not fit."""
        values, arguments = Values(self.flags), []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                arguments += rest
                break
            if not word.startswith("-") or word == "-":
                arguments.append(word)
                if self.stops:
                    arguments += rest
                    break
            elif word.startswith("--"):
                self._long(word, rest, values)
            else:
                self._short(word, rest, values)
        self._check_count(len(arguments))
        return values, arguments

    def _long(self, word: str, rest: list[str], values: Values) -> None:
        name, equals, text = word[2:].partition("=")
        flag = next((flag for flag in self.flags if flag.long == name), None)
        if flag is None:
            if name == "help":
                raise HelpRequested
            raise UsageError(f"unknown flag: --{name}")
        if not equals:
            if flag.kind != BOOL and not rest:
                raise UsageError(f"flag needs an argument: --{name}")
            text = "true" if flag.kind == BOOL else rest.pop(0)
        values.set(flag, text)

    def _short(self, word: str, rest: list[str], values: Values) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = next((flag for flag in self.flags if flag.short == letter), None)
            if flag is None:
                if letter == "h":
                    raise HelpRequested
                raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
            if flag.kind == BOOL and not letters.startswith("="):
                values.set(flag, "true")
                continue
            if not letters and not rest:
                raise UsageError(f"flag needs an argument: '{letter}' in {word}")
            values.set(flag, letters.removeprefix("=") if letters else rest.pop(0))
            letters = ""

    def _check_count(self, count: int) -> None:
        if count < self.least or (self.most is not None and count > self.most):
            if self.least == self.most:
                wanted = f"exactly {self.least}" if self.least else "no"
            elif count < self.least:
                wanted = f"at least {self.least}"
            else:
                wanted = f"at most {self.most}"
            ending = "" if (self.most if count > self.least else self.least) == 1 else "s"
            if wanted == "no":
                raise UsageError(f'"minicontainer {self.name}" accepts no arguments', 1)
            raise UsageError(f'"minicontainer {self.name}" requires {wanted} argument{ending}', 1)

    def help_text(self) -> str:
        """What ``--help`` prints."""
        text = f"\nUsage:  minicontainer {self.name} {self.usage}\n\n{self.help}\n"
        if not self.flags:
            return text
        rows = []
        for flag in sorted(self.flags, key=lambda flag: flag.long):
            lead = f"-{flag.short}, " if flag.short else "    "
            rows.append((f"  {lead}--{flag.long} {flag.metavar}".rstrip(), flag))
        width = max(len(lead) for lead, _ in rows) + 3
        lines = [f"{lead:<{width}}{flag.help}{_default(flag)}" for lead, flag in rows]
        return text + "\nOptions:\n" + "\n".join(lines) + "\n"


def _default(flag: Flag) -> str:
    if flag.default in (None, "", 0, False):
        return ""
    return (
        f' (default "{flag.default}")' if flag.kind == STRING else f" (default {str(flag.default).lower()})"
    )
