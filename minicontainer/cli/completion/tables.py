"""The tables of the command line, in the forms that the scripts need."""

from __future__ import annotations

import shlex

from minicontainer.cli import main
from minicontainer.cli.flags import BOOL, Command, Flag

_ARGUMENTS = {"cp": "paths", "completion": "shells"}  # for the others, what the command says itself
_FILES = (
    "cidfile",
    "device",
    "env-file",
    "file",
    "iidfile",
    "input",
    "output",
)  # options whose value is a path of the host


def commands() -> list[Command]:
    """Every command, once."""
    grouped = {name for group in main.GROUPS.values() for name in group.values()}
    return [main.load(name) for name in sorted({*main.COMMANDS, *grouped})]


def words_of(group: str = "") -> dict[str, str]:
    """The words that name a command of a group, or those that can come first, and what each does."""
    if group:
        return {word: main.about(name)[1] for word, name in main.GROUPS[group].items()}
    words = {name: text for name, (_, text) in main.COMMANDS.items()}
    words |= {name: f"Manage {main.MANAGED.get(name, name + 's')}" for name in main.GROUPS}
    return words | {"help": "Help on a command"}


def full_names() -> dict[str, str]:
    """The command that two words mean: "container ls" is "ps"."""
    return {f"{group} {word}": name for group, words in main.GROUPS.items() for word, name in words.items()}


def flags() -> dict[str, tuple[Flag, ...]]:
    """The options of each command, and those before it under ""."""
    return {"": main.GLOBAL_FLAGS, **{command.name: tuple(command.flags) for command in commands()}}


def spellings(flag: Flag) -> list[str]:
    """The ways to write an option: --memory and -m."""
    return [f"--{flag.long}", *([f"-{flag.short}"] if flag.short else [])]


def valued(every: tuple[Flag, ...]) -> list[str]:
    """Those of the options that take a value."""
    return [spelling for flag in every if flag.kind != BOOL for spelling in spellings(flag)]


def kind_of(command: Command) -> str:
    """What its arguments are: containers, running, images, volumes, …, files, paths, shells or nothing."""
    return _ARGUMENTS.get(command.name, command.completes)


def offers(flag: Flag) -> str:
    """What its value can be: words, @files, or nothing that could be known."""
    return "@files" if flag.long in _FILES else " ".join(flag.values)


def branches(answers: dict[str, str], form: str) -> str:
    """The branches of a shell's case or switch: one for all questions that have the same answer."""
    questions: dict[str, list[str]] = {}
    for question, answer in answers.items():
        if answer:
            questions.setdefault(answer, []).append(shlex.quote(question))
    between = " | " if ")" in form else " "
    return "\n".join(form.format(between.join(asked), answer) for answer, asked in questions.items())


def filled(template: str, parts: dict[str, str]) -> str:
    """A script with its parts in their places: ``@NAMES@`` is where the part "names" goes."""
    for name, text in parts.items():
        template = template.replace(f"@{name.upper()}@", text)
    return template
