"""logs: what a container wrote."""

from __future__ import annotations

import sys
import time

from minicontainer import units
from minicontainer.cli.flags import BOOL, STRING, Command, Flag, UsageError
from minicontainer.engine import logs as engine_logs
from minicontainer.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.container import Container
    from minicontainer.engine.engine import Engine


def logs(engine: Engine, values: Values, names: list[str]) -> None:
    """Print a container's log: its standard output to ours, its standard error to ours."""
    container = engine.find(names[0])
    now = time.time_ns()
    lines = engine_logs.read(
        container.log_path,
        tail=_tail(values.tail),
        since=units.parse_time(values.since, now) if values.since else 0,
        until=units.parse_time(values.until, now) if values.until else 0,
        follow=(lambda: _is_running(container)) if values.follow else None,
    )
    for line in lines:
        stamp = f"{line.time_text} " if values.timestamps else ""
        out = sys.stderr if line.stream == "stderr" else sys.stdout
        out.write(stamp + line.text)
        if values.follow:
            out.flush()


def _tail(text: str) -> int | None:
    if text in ("all", ""):
        return None
    try:
        return max(int(text), 0) if int(text) >= 0 else None
    except ValueError:
        raise UsageError(f'invalid argument "{text}" for "-n, --tail" flag: not a number', 1) from None


def _is_running(container: Container) -> bool:
    try:
        return container.has_monitor()
    except NotFound:
        return False


COMMANDS = {
    "logs": Command(
        "logs",
        "[OPTIONS] CONTAINER",
        "Fetch the logs of a container",
        (
            Flag("f", "follow", BOOL, "Follow log output"),
            Flag("", "since", STRING, "Show logs since timestamp (2026-11-22T13:23:37Z) or relative (42m)"),
            Flag("n", "tail", STRING, "Number of lines to show from the end of the logs", default="all"),
            Flag("t", "timestamps", BOOL, "Show timestamps"),
            Flag(
                "", "until", STRING, "Show logs before a timestamp (2026-11-22T13:23:37Z) or relative (42m)"
            ),
        ),
        logs,
        least=1,
        most=1,
        completes="containers",
    )
}
