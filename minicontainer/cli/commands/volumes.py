"""Volumes: volume create, ls, inspect, rm."""

from __future__ import annotations

import sys

from minicontainer.cli import table
from minicontainer.cli.commands.inspect import print_documents
from minicontainer.cli.flags import BOOL, LIST, STRING, Command, Flag, UsageError
from minicontainer.engine import options, volume_listing
from minicontainer.errors import Error, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine

HEADERS: dict[str, object] = {
    "Availability": "AVAILABILITY",
    "Driver": "DRIVER",
    "Group": "GROUP",
    "Label": table.label_header,
    "Labels": "LABELS",
    "Links": "LINKS",
    "Mountpoint": "MOUNTPOINT",
    "Name": "VOLUME NAME",
    "Scope": "SCOPE",
    "Size": "SIZE",
    "Status": "STATUS",
}


def create(engine: Engine, values: Values, names: list[str]) -> None:
    """Make a volume and print its name."""
    if values.name and names:
        raise UsageError(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg", 1
        )
    if values.driver != "local":
        raise Unsupported(f'the volume driver "{values.driver}" is not supported; there is local')
    if values.opt:
        raise Unsupported(
            "options of the volume driver are not supported; for a tmpfs, use --mount or --tmpfs"
        )
    name = values.name or (names[0] if names else "")
    print(engine.volumes.create(name, options.pairs("label", values.label)).name)


def ls(engine: Engine, values: Values, _: list[str]) -> None:
    """List volumes."""
    for text in values.filter:
        if "=" not in text:
            raise UsageError(f'invalid argument "{text}" for "-f, --filter" flag: expected name=value')
    rows = volume_listing.rows(engine, values.filter)
    quiet = "Name" if values.quiet else None
    print(table.formatted(rows, values.format, HEADERS, ("Driver", "Name"), quiet), end="")


def inspect(engine: Engine, values: Values, names: list[str]) -> int:
    """Inspect volumes."""
    return print_documents(names, lambda name: engine.volumes.find(name).inspect(), values.format)


def remove(engine: Engine, values: Values, names: list[str]) -> int:
    """Remove volumes, going on after one that cannot be removed."""
    status = 0
    for name in names:
        try:
            engine.volumes.remove(name, force=values.force)
            print(name, flush=True)
        except Error as error:
            print(f"minicontainer: {error}", file=sys.stderr)
            status = 1
    return status


_FILTER = Flag("f", "filter", LIST, 'Provide filter values (e.g. "dangling=true")', metavar="filter")
COMMANDS = {
    "volume create": Command(
        "volume create",
        "[OPTIONS] [VOLUME]",
        "Create a volume",
        (
            Flag("d", "driver", STRING, "Specify volume driver name", default="local"),
            Flag("", "label", LIST, "Set metadata for a volume"),
            Flag("", "name", STRING, "Specify volume name"),
            Flag("o", "opt", LIST, "Set driver specific options; local has none", metavar="map"),
        ),
        create,
        most=1,
    ),
    "volume inspect": Command(
        "volume inspect",
        "[OPTIONS] VOLUME [VOLUME...]",
        "Display detailed information on one or more volumes",
        (Flag("f", "format", STRING, "Format the output using the given Go template, or json"),),
        inspect,
        least=1,
        completes="volumes",
    ),
    "volume ls": Command(
        "volume ls",
        "[OPTIONS]",
        "List volumes",
        (
            _FILTER,
            Flag("", "format", STRING, "Pretty-print using a Go template, or table TEMPLATE, or json"),
            Flag("q", "quiet", BOOL, "Only display volume names"),
        ),
        ls,
        most=0,
    ),
    "volume rm": Command(
        "volume rm",
        "[OPTIONS] VOLUME [VOLUME...]",
        "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
        (Flag("f", "force", BOOL, "Do not complain about volumes that are not there"),),
        remove,
        least=1,
        completes="volumes",
    ),
}
