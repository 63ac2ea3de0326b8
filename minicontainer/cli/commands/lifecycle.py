"""What is done to containers that exist: stop, kill, restart, remove, pause, rename, update, wait."""

from __future__ import annotations

import sys

from minicontainer.cli import terminal
from minicontainer.cli.flags import BOOL, BYTES, FLOAT, INT, STRING, Command, Flag, UsageError
from minicontainer.errors import Error, NotFound, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minicontainer.cli.flags import Values
    from minicontainer.engine.container import Container
    from minicontainer.engine.engine import Engine


def each(
    engine: Engine, names: list[str], do: Callable[[Container], object], *, ignore_missing: bool = False
) -> int:
    """Do something to each of these containers, printing its name; go on after a failure, and end with 1."""
    status = 0
    for name in names:
        try:
            result = do(engine.find(name))
            print(name if result is None else result, flush=True)
        except NotFound as error:
            if not ignore_missing:
                status = _complain(error)
        except (Error, OSError) as error:
            status = _complain(error)
    return status


def _complain(error: Exception) -> int:
    print(f"minicontainer: {explain(error)}", file=sys.stderr)
    return 1


def stop(engine: Engine, values: Values, names: list[str]) -> int:
    """Stop containers."""
    return each(engine, names, lambda container: container.stop(values.time))


def kill(engine: Engine, values: Values, names: list[str]) -> int:
    """Send containers a signal."""
    return each(engine, names, lambda container: container.signal(values.signal or "KILL"))


def restart(engine: Engine, values: Values, names: list[str]) -> int:
    """Stop containers and start them again."""

    def again(container: Container) -> None:
        container.stop(values.time)
        terminal.warn(container.start())

    return each(engine, names, again)


def remove(engine: Engine, values: Values, names: list[str]) -> int:
    """Remove containers; with --force, running ones and those that are not there are no error."""
    return each(
        engine,
        names,
        lambda container: container.remove(values.force, values.volumes),
        ignore_missing=values.force,
    )


def pause(engine: Engine, values: Values, names: list[str]) -> int:
    """Freeze containers."""
    return each(engine, names, lambda container: container.pause())


def unpause(engine: Engine, values: Values, names: list[str]) -> int:
    """Let containers go on."""
    return each(engine, names, lambda container: container.unpause())


def wait(engine: Engine, values: Values, names: list[str]) -> int:
    """Wait for the end of containers and print their exit codes."""
    return each(engine, names, lambda container: container.wait())


def rename(engine: Engine, values: Values, names: list[str]) -> None:
    """Rename a container."""
    engine.find(names[0]).rename(names[1])


LIMITS = (
    Flag("", "blkio-weight", INT, "Block IO (relative weight), between 10 and 1000", metavar="uint16"),
    Flag("", "cpu-period", INT, "Limit CPU CFS period, microseconds"),
    Flag("", "cpu-quota", INT, "Limit CPU CFS quota, microseconds per period"),
    Flag("c", "cpu-shares", INT, "CPU shares (relative weight)"),
    Flag("", "cpus", FLOAT, "Number of CPUs"),
    Flag("", "cpuset-cpus", STRING, "CPUs in which to allow execution (0-3, 0,1)"),
    Flag("", "cpuset-mems", STRING, "MEMs in which to allow execution (0-3, 0,1)"),
    Flag("m", "memory", BYTES, "Memory limit"),
    Flag("", "memory-reservation", BYTES, "Memory soft limit"),
    Flag("", "memory-swap", BYTES, "Swap limit equal to memory plus swap: '-1' for unlimited"),
    Flag("", "pids-limit", INT, "Tune container pids limit (-1 for unlimited)"),
)


def update(engine: Engine, values: Values, names: list[str]) -> int:
    """Change the limits of containers."""
    limits = {flag.name: getattr(values, flag.name) for flag in LIMITS if values.given(flag.name)}
    if not limits:
        raise UsageError("you must provide one or more flags when using this command", 1)

    def change(container: Container) -> None:
        terminal.warn(container.update(**limits))

    return each(engine, names, change)


_MANY = "[OPTIONS] CONTAINER [CONTAINER...]"
_TIME = Flag("t", "time", INT, "Seconds to wait for stop before killing it (default 10)")
_KILL = "Kill one or more running containers"
COMMANDS = {
    command.name: command
    for command in (
        Command(
            "stop", _MANY, "Stop one or more running containers", (_TIME,), stop, least=1, completes="running"
        ),
        Command(
            "restart",
            _MANY,
            "Restart one or more containers",
            (_TIME,),
            restart,
            least=1,
            completes="containers",
        ),
        Command(
            "kill",
            _MANY,
            _KILL,
            (Flag("s", "signal", STRING, "Signal to send to the container", default="KILL"),),
            kill,
            least=1,
            completes="running",
        ),
        Command(
            "rm",
            _MANY,
            "Remove one or more containers",
            (
                Flag("f", "force", BOOL, "Force the removal of a running container (uses SIGKILL)"),
                Flag("v", "volumes", BOOL, "Remove anonymous volumes associated with the container"),
            ),
            remove,
            least=1,
            completes="containers",
        ),
        Command(
            "pause",
            "CONTAINER [CONTAINER...]",
            "Pause all processes within one or more containers",
            (),
            pause,
            least=1,
            completes="running",
        ),
        Command(
            "unpause",
            "CONTAINER [CONTAINER...]",
            "Unpause all processes within one or more containers",
            (),
            unpause,
            least=1,
            completes="running",
        ),
        Command(
            "wait",
            "CONTAINER [CONTAINER...]",
            "Block until one or more containers stop, then print their exit codes",
            (),
            wait,
            least=1,
            completes="running",
        ),
        Command(
            "rename",
            "CONTAINER NEW_NAME",
            "Rename a container",
            (),
            rename,
            least=2,
            most=2,
            completes="containers",
        ),
        Command(
            "update",
            _MANY,
            "Update configuration of one or more containers",
            LIMITS,
            update,
            least=1,
            completes="containers",
        ),
    )
}
