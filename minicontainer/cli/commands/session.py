"""Being with a container: exec, attach, start -a, nsenter."""

from __future__ import annotations

import os
import sys

from minicontainer.cli import terminal
from minicontainer.cli.commands.lifecycle import each
from minicontainer.cli.flags import BOOL, LIST, STRING, Command, Flag, UsageError
from minicontainer.engine import options as reading
from minicontainer.engine.container import PAUSED, RUNNING
from minicontainer.engine.session import Session
from minicontainer.errors import Conflict
from minicontainer.runtime import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.container import Container
    from minicontainer.engine.engine import Engine


def execute(engine: Engine, values: Values, words: list[str]) -> int:
    """Run a command in a running container."""
    container = engine.find(words[0])
    if values.tty and values.interactive and not sys.stdin.isatty():
        raise UsageError("the input device is not a TTY", 1)
    container.pid  # noqa: B018  raises, by its name, when it is not running
    keys = terminal.detach_keys(values.detach_keys)
    rows, columns = terminal.size()
    session = Session.exec(
        container,
        terminal.write,
        tty=values.tty,
        wants_input=values.interactive and not values.detach,
        detach=values.detach,
        args=words[1:],
        env=reading.environment(reading.Options(env=values.env, env_file=values.env_file)),
        user=values.user or "",
        workdir=values.workdir or "",
        privileged=values.privileged,
        size={"height": rows, "width": columns},
    )
    if values.detach:
        session.close()
        return 0
    return terminal.converse(session, tty=values.tty, wants_input=values.interactive, keys=keys)


def attach(engine: Engine, values: Values, words: list[str]) -> int:
    """Attach to a running container."""
    container = engine.find(words[0])
    status = container.status
    if status != RUNNING:
        state = (
            "a paused container, unpause it first"
            if status == PAUSED
            else "a stopped container, start it first"
        )
        raise Conflict(f"you cannot attach to {state}")
    config = container.document["Config"]
    return terminal.stay(
        container,
        None,
        tty=config["Tty"],
        wants_input=config["OpenStdin"] and not values.no_stdin,
        keys=terminal.detach_keys(values.detach_keys),
        proxy=values.sig_proxy and not config["Tty"],
    )


def start(engine: Engine, values: Values, names: list[str]) -> int:
    """Start stopped containers, perhaps staying with one."""
    if not values.attach and not values.interactive:
        return each(engine, names, _start)
    if len(names) > 1:
        raise UsageError("you cannot start and attach multiple containers at once", 1)
    container = engine.find(names[0])
    if container.status in (RUNNING, PAUSED):
        return attach(engine, values, names)
    config = container.document["Config"]
    return terminal.stay(
        container,
        container.start,
        tty=config["Tty"],
        wants_input=values.interactive and config["OpenStdin"],
        keys=terminal.detach_keys(values.detach_keys),
        proxy=values.sig_proxy and not config["Tty"],
    )


def _start(container: Container) -> None:
    if container.status == PAUSED:
        raise Conflict("cannot start a paused container, try unpause instead")
    terminal.warn(container.start())


def nsenter(engine: Engine, values: Values, words: list[str]) -> int:
    """Run a program of the host in some of a container's namespaces, and in the host's for the rest."""
    from minicontainer.runtime import nsenter as runtime

    container = engine.find(words[0])
    names = [n.name for n in namespaces.NAMESPACES if values.all or getattr(values, n.file)]
    if not names:
        raise UsageError(
            "which namespaces? give --uts, --net, --mnt, --pid, --ipc, --user, --cgroup, --time or --all", 1
        )
    shell = "/bin/sh" if "mount" in names else os.environ.get("SHELL", "/bin/sh")
    return runtime.run(container.pid, names, words[1:] or [shell])


_KEYS = Flag("", "detach-keys", STRING, "Override the key sequence for detaching a container")
_PROXY = Flag("", "sig-proxy", BOOL, "Proxy all received signals to the process", default=True)
_LETTERS = {
    "mnt": "m",
    "uts": "u",
    "ipc": "i",
    "net": "n",
    "pid": "p",
    "cgroup": "C",
    "user": "U",
    "time": "T",
}
COMMANDS = {
    "exec": Command(
        "exec",
        "[OPTIONS] CONTAINER COMMAND [ARG...]",
        "Run a command in a running container",
        (
            Flag("d", "detach", BOOL, "Detached mode: run command in the background"),
            _KEYS,
            Flag("e", "env", LIST, "Set environment variables"),
            Flag("", "env-file", LIST, "Read in a file of environment variables"),
            Flag("i", "interactive", BOOL, "Keep STDIN open even if not attached"),
            Flag("", "privileged", BOOL, "Give extended privileges to the command"),
            Flag("t", "tty", BOOL, "Allocate a pseudo-TTY"),
            Flag("u", "user", STRING, "Username or UID (format: <name|uid>[:<group|gid>])"),
            Flag("w", "workdir", STRING, "Working directory inside the container"),
        ),
        execute,
        least=2,
        stops=True,
        completes="running",
    ),
    "attach": Command(
        "attach",
        "[OPTIONS] CONTAINER",
        "Attach local standard input, output, and error streams to a running container",
        (_KEYS, Flag("", "no-stdin", BOOL, "Do not attach STDIN"), _PROXY),
        attach,
        least=1,
        most=1,
        completes="running",
    ),
    "start": Command(
        "start",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Start one or more stopped containers",
        (
            Flag("a", "attach", BOOL, "Attach STDOUT/STDERR and forward signals"),
            _KEYS,
            Flag("i", "interactive", BOOL, "Attach container's STDIN"),
            _PROXY,
            Flag("", "no-stdin", BOOL, "Do not attach STDIN"),
        ),
        start,
        least=1,
        completes="containers",
    ),
    "nsenter": Command(
        "nsenter",
        "[OPTIONS] CONTAINER [COMMAND] [ARG...]",
        "Run a command in some namespaces of a running container, and in the host's for the rest",
        (
            Flag("a", "all", BOOL, "Enter all namespaces of the container"),
            *(
                Flag(_LETTERS[n.file], n.file, BOOL, f"Enter the {n.name} namespace: {n.isolates}")
                for n in namespaces.NAMESPACES
            ),
        ),
        nsenter,
        least=1,
        stops=True,
        completes="running",
    ),
}
