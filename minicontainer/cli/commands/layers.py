"""What a container has changed: diff, commit, export."""

from __future__ import annotations

import sys

from minicontainer.cli.flags import BOOL, LIST, STRING, Command, Flag
from minicontainer.errors import InvalidArgument
from minicontainer.files import new_file
from minicontainer.images.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine


def diff(engine: Engine, values: Values, words: list[str]) -> None:
    """Print what a container has changed, a line each."""
    for change in engine.find(words[0]).diff():
        print(change)


def commit(engine: Engine, values: Values, words: list[str]) -> None:
    """Make an image of a container and print its id."""
    name = Reference.parse(words[1]) if len(words) > 1 else None
    container = engine.find(words[0])
    how = {"author": values.author or "", "message": values.message or "", "changes": values.change}
    print(container.commit(name, pause=values.pause, **how).id)


def export(engine: Engine, values: Values, words: list[str]) -> None:
    """Write a container's file tree to a file, or to standard output."""
    container = engine.find(words[0])
    if values.output:
        with new_file(values.output) as file:
            container.export(file)
        return
    if sys.stdout.isatty():
        raise InvalidArgument("cowardly refusing to save to a terminal; use the -o flag or redirect")
    container.export(sys.stdout.buffer)


COMMANDS = {
    "diff": Command(
        "diff",
        "CONTAINER",
        "Inspect changes to files or directories on a container's filesystem",
        (),
        diff,
        least=1,
        most=1,
        completes="containers",
    ),
    "commit": Command(
        "commit",
        "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
        "Create a new image from a container's changes",
        (
            Flag("a", "author", STRING, 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")'),
            Flag("c", "change", LIST, "Apply Dockerfile instruction to the created image"),
            Flag("m", "message", STRING, "Commit message"),
            Flag("p", "pause", BOOL, "Pause container during commit", default=True),
        ),
        commit,
        least=1,
        most=2,
        completes="containers",
    ),
    "export": Command(
        "export",
        "[OPTIONS] CONTAINER",
        "Export a container's filesystem as a tar archive",
        (Flag("o", "output", STRING, "Write to a file, instead of STDOUT"),),
        export,
        least=1,
        most=1,
        completes="containers",
    ),
}
