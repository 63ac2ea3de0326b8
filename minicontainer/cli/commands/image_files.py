"""Images in files, and whether all is well with them: save, load, system check."""

from __future__ import annotations

import os
import sys

from minicontainer.cli.flags import BOOL, STRING, Command, Flag
from minicontainer.engine import events
from minicontainer.errors import InvalidArgument, NotFound, explain
from minicontainer.images import loading, saving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine

_SHORT = {"docker": "docker-archive", "oci": "oci-archive"}


def save(engine: Engine, values: Values, names: list[str]) -> None:
    """Write images to a file, or to standard output."""
    form = _SHORT.get(values.format, values.format)
    if values.output:
        saving.save_file(engine.images, names, values.output, form)
        return
    if sys.stdout.isatty():
        raise InvalidArgument("cowardly refusing to save to a terminal; use the -o flag or redirect")
    sys.stdout.flush()
    saving.save(engine.images, names, sys.stdout.fileno(), form)


def load(engine: Engine, values: Values, _: list[str]) -> None:
    """Bring images in from a file, or from standard input."""
    if values.input:
        try:
            file = open(values.input, "rb")
        except OSError as error:
            raise NotFound(f"open {explain(error)}") from None
        with file:
            found = loading.load(engine.images, file)
    elif os.isatty(0):
        raise InvalidArgument(
            "requested load from stdin, but stdin is a terminal; use the -i flag or redirect"
        )
    else:
        found = loading.load(engine.images, sys.stdin.buffer)
    for loaded in found:
        events.of_image(engine.root, "load", loaded.image)
        for name, old in loaded.replaced:
            print(
                f"The image {name.familiar} already exists, "
                f"renaming the old one with ID {old} to empty string"
            )
        for name in loaded.names:
            print(f"Loaded image: {name.familiar}")
        if not loaded.names:
            print(f"Loaded image ID: {loaded.image.id}")


def check(engine: Engine, values: Values, _: list[str]) -> int:
    """Read all of the store and say what is wrong with it; 1 when something is."""
    from minicontainer.images import checking

    layers = {container.name: container.document["Layers"] for container in engine.containers(all=True)}
    checked, found = checking.Checked(), 0
    for problem in checking.problems(engine.images, layers, checked):
        print(problem, flush=True)
        found += 1
    print(f"{checked}: {f'{found} problems' if found else 'no problems'}")
    return 1 if found else 0


COMMANDS = {
    "save": Command(
        "save",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
        (
            Flag(
                "", "format", STRING, "What other tools call it", default=saving.FORMS[0], values=saving.FORMS
            ),
            Flag("o", "output", STRING, "Write to a file, instead of STDOUT"),
        ),
        save,
        least=1,
        completes="images",
    ),
    "load": Command(
        "load",
        "[OPTIONS]",
        "Load an image from a tar archive or STDIN",
        (
            Flag("i", "input", STRING, "Read from tar archive file, instead of STDIN"),
            Flag("q", "quiet", BOOL, "Suppress the load output"),
        ),
        load,
        most=0,
    ),
    "system check": Command(
        "system check",
        "",
        "Verify every digest and every reference of the image store",
        (),
        check,
        most=0,
    ),
}
