"""cp: files between a container and the host."""

from __future__ import annotations

import sys

from minicontainer.cli.flags import BOOL, Command, Flag, UsageError
from minicontainer.engine import copying

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine


def cp(engine: Engine, values: Values, words: list[str]) -> None:
    """Copy files out of a container or into one."""
    (source_name, source), (target_name, target) = _split(words[0]), _split(words[1])
    how = {"archive": values.archive, "follow": values.follow_link}
    if source_name and target_name:
        raise UsageError("copying between containers is not supported", 1)
    if source_name:
        container = engine.find(source_name)
        if target == "-":
            copying.export(container, source, sys.stdout.buffer, follow=values.follow_link)
        else:
            copying.copy_out(container, source, target, **how)
    elif target_name:
        container = engine.find(target_name)
        if source == "-":
            copying.unpack(container, target, sys.stdin.buffer)
        else:
            copying.copy_in(container, source, target, **how)
    else:
        raise UsageError("must specify at least one container source", 1)


def _split(word: str) -> tuple[str, str]:
    """``CONTAINER:PATH`` or a path of the host, which begins with / or . when it has a colon."""
    if word == "-" or word.startswith(("/", ".")):
        return "", word
    name, colon, path = word.partition(":")
    if not colon:
        return "", word
    if name and not path:
        raise UsageError(f"{word} names no path in the container", 1)
    return name, path if path.startswith("/") else f"/{path}"


COMMANDS = {
    "cp": Command(
        "cp",
        "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-   or   SRC_PATH|- CONTAINER:DEST_PATH",
        "Copy files/folders between a container and the local filesystem",
        (
            Flag("a", "archive", BOOL, "Archive mode (copy all uid/gid information)"),
            Flag("L", "follow-link", BOOL, "Always follow symbol link in SRC_PATH"),
            Flag("q", "quiet", BOOL, "Suppress progress output during copy"),
        ),
        cp,
        least=2,
        most=2,
        completes="containers",
    )
}
