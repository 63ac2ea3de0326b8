"""What there is on the disk, what happened, and getting rid of what nobody needs: df, events, prune."""

from __future__ import annotations

import json
import time

from minicontainer import units
from minicontainer.cli import confirm, table
from minicontainer.cli.commands.images import HEADERS as IMAGE_HEADERS
from minicontainer.cli.commands.listing import PS_HEADERS
from minicontainer.cli.commands.volumes import HEADERS as VOLUME_HEADERS
from minicontainer.cli.flags import BOOL, BYTES, LIST, STRING, Command, Flag, UsageError
from minicontainer.engine import disk, pruning
from minicontainer.engine import events as happened
from minicontainer.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine

DF_HEADERS: dict[str, object] = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_CACHE = ("CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED")


# ------------------------------------------------------------------ df


def df(engine: Engine, values: Values, _: list[str]) -> None:
    """Show what takes room on the disk."""
    found = disk.Disk(engine)
    if not values.verbose:
        rows = [usage.row() for usage in found.summary()]
        print(table.formatted(rows, values.format, DF_HEADERS, tuple(DF_HEADERS)), end="")
        return
    parts = {
        "Images": found.image_rows(),
        "Containers": found.container_rows(),
        "Volumes": found.volume_rows(),
        "BuildCache": [],
    }
    if values.format in ("json", "{{json .}}"):
        print(json.dumps({name: [_plain(row) for row in rows] for name, rows in parts.items()}))
    elif values.format:
        from minicontainer.cli.gotemplate import Template

        print(Template(values.format).render(parts))
    else:
        _print_details(parts)


def _plain(row: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if not callable(value)}


def _print_details(parts: dict[str, list[dict[str, Any]]]) -> None:
    columns = "Repository Tag ID CreatedSince Size SharedSize UniqueSize Containers".split()
    print("Images space usage:\n")
    print(table.formatted(parts["Images"], None, IMAGE_HEADERS, columns))
    columns = "ID Image Command LocalVolumes Size RunningFor Status Names".split()
    print("Containers space usage:\n")
    print(table.formatted(parts["Containers"], None, PS_HEADERS, columns))
    print("Local Volumes space usage:\n")
    print(table.formatted(parts["Volumes"], None, VOLUME_HEADERS, ("Name", "Links", "Size")))
    print("Build cache usage: 0B\n")
    print(table.render([], [(header, header) for header in _CACHE]), end="")


# ------------------------------------------------------------------ prune


def prune_containers(engine: Engine, values: Values, _: list[str]) -> None:
    """Remove all stopped containers."""
    pruning.check(_filters(values), with_volumes=False)
    sure = values.force or confirm.confirmed("This will remove all stopped containers.")
    _report([pruning.containers(engine, values.filter)] if sure else [])


def prune_volumes(engine: Engine, values: Values, _: list[str]) -> None:
    """Remove all volumes that no container has."""
    pruning.check(_filters(values), with_volumes=True)
    warning = "This will remove all local volumes not used by at least one container."
    sure = values.force or confirm.confirmed(warning)
    _report([pruning.volumes(engine, values.filter)] if sure else [])


def prune_networks(engine: Engine, values: Values, _: list[str]) -> None:
    """Remove all networks that no container is to be on."""
    pruning.check(_filters(values), with_volumes=False)
    warning = "This will remove all custom networks not used by at least one container."
    if values.force or confirm.confirmed(warning):
        pruned = pruning.networks(engine, values.filter)
        if pruned.lines:
            print(pruned)


def prune_builds(engine: Engine, values: Values, _: list[str]) -> None:
    """Remove what builds have kept for the next ones."""
    if values.given("keep_storage"):
        raise Unsupported("--keep-storage is not supported; --filter until=24h keeps what was used since")
    what = "all build cache" if values.all else "all dangling build cache"
    sure = values.force or confirm.confirmed(f"This will remove {what}.")
    _report([pruning.builds(engine, values.all, _filters(values))] if sure else [])


def prune_system(engine: Engine, values: Values, _: list[str]) -> None:
    """Remove all that is not used."""
    pruning.check(_filters(values), values.volumes)
    what = ["all stopped containers", "all networks not used by at least one container"]
    if values.volumes:
        what.append("all volumes not used by at least one container")
    if values.all:
        what += ["all images without at least one container associated to them", "all build cache"]
    else:
        what += ["all dangling images", "all dangling build cache"]
    warning = "This will remove:\n" + "".join(f"  - {each}\n" for each in what)
    if values.filter:
        warning += "\n  Items to be pruned will be filtered with:\n"
        warning += "".join(f"  - {each}\n" for each in sorted(values.filter))
    if values.force or confirm.confirmed(warning):
        _report(pruning.system(engine, values.all, values.volumes, values.filter))


def _filters(values: Values) -> list[str]:
    """The filters, which all have a name and a value."""
    for text in values.filter:
        if "=" not in text:
            raise UsageError(
                f'invalid argument "{text}" for "--filter" flag: bad format of filter (expected name=value)'
            )
    return list(values.filter)


def _report(done: Sequence[pruning.Pruned]) -> None:
    for pruned in done:
        if pruned.lines:
            print(pruned)
    print(f"Total reclaimed space: {units.human_size(sum(pruned.size for pruned in done), 4)}")


# ------------------------------------------------------------------ events


def events(engine: Engine, values: Values, _: list[str]) -> None:
    """Print what happens, or what has happened."""
    write, now = _writer(values.format), time.time_ns()
    since = units.parse_time(values.since, now) if values.since else None
    until = units.parse_time(values.until, now) if values.until else None
    for event in happened.read(engine.root, since, until, _filters(values)):
        print(write(event), flush=True)


def _writer(fmt: str | None) -> Callable[[dict[str, Any]], str]:
    if fmt in ("json", "{{json .}}"):
        return lambda event: json.dumps(event, separators=(",", ":"), ensure_ascii=False)
    if not fmt:
        return _line
    from minicontainer.cli.gotemplate import Template, TemplateSyntaxError

    try:
        template = Template(fmt)
    except TemplateSyntaxError as error:
        raise UsageError(str(error), 64) from None
    return lambda event: template.render(_fields(event))


def _fields(event: dict[str, Any]) -> dict[str, Any]:
    """An event by the names that Docker's templates know."""
    names = {"ID": "id", "Status": "status", "From": "from"}
    fields = {name: event.get(key, "") for name, key in names.items()}
    fields |= {"Scope": event["scope"], "Time": event["time"], "TimeNano": event["timeNano"]}
    return {**fields, **{name: event[name] for name in ("Type", "Action", "Actor")}}


def _line(event: dict[str, Any]) -> str:
    seconds, nanoseconds = divmod(event["timeNano"], units.SECOND)
    moment = time.localtime(seconds)
    zone = time.strftime("%z", moment)
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    actor = event["Actor"]
    attributes = ", ".join(f"{name}={value}" for name, value in actor["Attributes"].items())
    when = time.strftime("%Y-%m-%dT%H:%M:%S", moment)
    return f"{when}.{nanoseconds:09d}{zone} {event['Type']} {event['Action']} {actor['ID']} ({attributes})"


_FORCE = Flag("f", "force", BOOL, "Do not prompt for confirmation")
_FORMAT = Flag("", "format", STRING, "Pretty-print using a Go template, or table TEMPLATE, or json")


def _filter(example: str, short: str = "") -> Flag:
    return Flag(short, "filter", LIST, f'Provide filter values (e.g. "{example}")', metavar="filter")


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "system df",
            "[OPTIONS]",
            "Show disk usage",
            (_FORMAT, Flag("v", "verbose", BOOL, "Show detailed information on space usage")),
            df,
            most=0,
        ),
        Command(
            "system prune",
            "[OPTIONS]",
            "Remove unused data",
            (
                Flag("a", "all", BOOL, "Remove all unused images not just dangling ones"),
                _filter("label=<key>=<value>"),
                _FORCE,
                Flag("", "volumes", BOOL, "Prune volumes"),
            ),
            prune_system,
            most=0,
        ),
        Command(
            "container prune",
            "[OPTIONS]",
            "Remove all stopped containers",
            (_filter("until=<timestamp>"), _FORCE),
            prune_containers,
            most=0,
        ),
        Command(
            "network prune",
            "[OPTIONS]",
            "Remove all unused networks",
            (_filter("until=<timestamp>"), _FORCE),
            prune_networks,
            most=0,
        ),
        Command(
            "builder prune",
            "[OPTIONS]",
            "Remove build cache",
            (
                Flag("a", "all", BOOL, "Remove all unused build cache, not just dangling ones"),
                _filter("until=24h"),
                _FORCE,
                Flag("", "keep-storage", BYTES, "Amount of disk space to keep for cache (not supported)"),
            ),
            prune_builds,
            most=0,
        ),
        Command(
            "volume prune",
            "[OPTIONS]",
            "Remove unused local volumes",
            (
                Flag("a", "all", BOOL, "Remove all unused volumes, not just anonymous ones (always so here)"),
                _filter("label=<label>"),
                _FORCE,
            ),
            prune_volumes,
            most=0,
        ),
        Command(
            "events",
            "[OPTIONS]",
            "Get real time events",
            (
                Flag("f", "filter", LIST, "Filter output based on conditions provided", metavar="filter"),
                Flag("", "format", STRING, "Format the output using the given Go template, or json"),
                Flag("", "since", STRING, "Show all events created since timestamp"),
                Flag("", "until", STRING, "Stream events until this timestamp"),
            ),
            events,
            most=0,
        ),
    )
}
