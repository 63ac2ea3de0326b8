"""Lists of containers and of what runs in them: ps, top, stats."""

from __future__ import annotations

import sys

from minicontainer.cli import table
from minicontainer.cli.flags import BOOL, INT, LIST, STRING, Command, Flag, UsageError
from minicontainer.engine import listing, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine

PS_HEADERS: dict[str, object] = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Size": "SIZE",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Label": table.label_header,
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
}
STATS_HEADERS: dict[str, object] = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}


def ps(engine: Engine, values: Values, _: list[str]) -> None:
    """List containers."""
    for text in values.filter:
        if "=" not in text:
            raise UsageError(f'invalid argument "{text}" for "-f, --filter" flag: expected name=value')
    rows = listing.containers(
        engine,
        all=values.all,
        filters=values.filter,
        last=1 if values.latest else values.last if values.given("last") else -1,
        trunc=not values.no_trunc,
        size=values.size or ".Size" in (values.format or ""),
    )
    columns = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"]
    columns += ["Size"] if values.size else []
    quiet = "ID" if values.quiet else None
    print(table.formatted(rows, values.format, PS_HEADERS, columns, quiet), end="")


def top(engine: Engine, values: Values, words: list[str]) -> None:
    """List the processes of a container."""
    titles, rows = processes.top(engine.find(words[0]), words[1:])
    columns = [(title, title) for title in titles]
    cells = [dict(zip(titles, row, strict=True)) for row in rows]
    print(table.render(cells, columns, least_width=20), end="")


def stats(engine: Engine, values: Values, names: list[str]) -> None:
    """Show what containers use, once or again and again."""
    containers = [engine.find(name) for name in names] or engine.containers(all=values.all)
    typed = dict(zip((container.id for container in containers), names, strict=False))
    columns = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
    for usages in processes.usages(containers):
        if not values.no_stream and sys.stdout.isatty():
            print("\033[2J\033[H", end="")
        rows = [usage.row(typed.get(usage.container.id, "")) for usage in usages]
        print(table.formatted(rows, values.format, STATS_HEADERS, columns), end="", flush=True)
        if values.no_stream:
            return
        if not names:
            containers[:] = engine.containers(all=values.all)


_FORMAT = Flag("", "format", STRING, "Pretty-print using a Go template, or table TEMPLATE, or json")
COMMANDS = {
    "ps": Command(
        "ps",
        "[OPTIONS]",
        "List containers",
        (
            Flag("a", "all", BOOL, "Show all containers (default shows just running)"),
            Flag("f", "filter", LIST, "Filter output based on conditions provided", metavar="filter"),
            _FORMAT,
            Flag("n", "last", INT, "Show n last created containers (includes all states)"),
            Flag("l", "latest", BOOL, "Show the latest created container (includes all states)"),
            Flag("", "no-trunc", BOOL, "Don't truncate output"),
            Flag("q", "quiet", BOOL, "Only display container IDs"),
            Flag("s", "size", BOOL, "Display total file sizes"),
        ),
        ps,
        most=0,
    ),
    "top": Command(
        "top",
        "CONTAINER [ps OPTIONS]",
        "Display the running processes of a container",
        (),
        top,
        least=1,
        stops=True,
        completes="running",
    ),
    "stats": Command(
        "stats",
        "[OPTIONS] [CONTAINER...]",
        "Display a live stream of container(s) resource usage statistics",
        (
            Flag("a", "all", BOOL, "Show all containers (default shows just running)"),
            _FORMAT,
            Flag("", "no-stream", BOOL, "Disable streaming stats and only pull the first result"),
            Flag("", "no-trunc", BOOL, "Do not truncate output"),
        ),
        stats,
        completes="running",
    ),
}
