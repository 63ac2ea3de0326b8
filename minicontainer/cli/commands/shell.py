"""completion: the script for a shell, and the names of containers, images, volumes and so on for it."""

from __future__ import annotations

import os

from minicontainer.cli.flags import STRING, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine

SHELLS = ("bash", "zsh", "fish")
KINDS = ("containers", "running", "images", "volumes", "networks", "rollouts")


def completion(engine: Engine, values: Values, words: list[str]) -> None:
    """Print the completion script of a shell, or names for a script to offer."""
    if values.list in KINDS:
        print("".join(f"{name}\n" for name in names(engine, values.list)), end="")
    elif values.list:
        raise UsageError(f'"{values.list}" is not a valid value for --list, but {", ".join(KINDS)} are', 1)
    elif len(words) == 1 and words[0] in SHELLS:
        script = __import__(f"minicontainer.cli.completion.{words[0]}", fromlist=["script"]).script
        print(script(), end="")
    else:
        raise UsageError(f"for which shell? There are scripts for {', '.join(SHELLS)}", 1)


def names(engine: Engine, kind: str) -> list[str]:
    """The names of all containers, of those that run, or of images or volumes; without root's privileges, too."""
    if kind == "images":
        found = {name.familiar for image in engine.images.images() for name in image.names}
        return sorted(found | {name.removesuffix(":latest") for name in found})
    if kind == "volumes":
        return engine.volumes.names()
    if kind == "networks":
        return engine.networks.names()
    if kind == "rollouts":
        return engine.rollouts.names()
    try:
        links = [entry for entry in os.scandir(engine.names_path) if entry.is_symlink()]
    except FileNotFoundError:  # nobody has made a container yet
        return []
    if kind == "running":
        running = os.listdir(engine.run_path) if os.path.isdir(engine.run_path) else []
        links = [link for link in links if os.path.basename(os.readlink(link)) in running]
    return sorted(link.name for link in links)


COMMANDS = {
    "completion": Command(
        "completion",
        "[OPTIONS] bash|zsh|fish",
        "Print the completion script for bash, zsh or fish",
        (
            Flag(
                "",
                "list",
                STRING,
                f"Print names for a script to offer instead ({'|'.join(KINDS)})",
                metavar="kind",
                values=KINDS,
            ),
        ),
        completion,
        most=1,
    )
}
