"""Finding the command, running it, and saying what went wrong.

The table names each command's module; only the one that is typed is imported, for the start of a container
should not wait for the code of the others.
"""

from __future__ import annotations

import gc
import io
import os
import sys

from minicontainer.cli.flags import BOOL, STRING, Command, Flag, HelpRequested, UsageError
from minicontainer.errors import Error, Unsupported, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.engine import Engine
    from minicontainer.engine.launcher import Forker

# command -> (module of minicontainer.cli.commands, what it does, in a line)
COMMANDS = {
    "attach": ("session", "Attach local standard input, output, and error streams to a running container"),
    "build": ("build", "Build an image from a Dockerfile"),
    "commit": ("layers", "Create a new image from a container's changes"),
    "completion": ("shell", "Print the completion script for bash, zsh or fish"),
    "cp": ("files", "Copy files/folders between a container and the local filesystem"),
    "create": ("run", "Create a new container"),
    "diff": ("layers", "Inspect changes to files or directories on a container's filesystem"),
    "doctor": ("system", "Say what this host can and cannot do, and how to mend it"),
    "events": ("housekeeping", "Get real time events"),
    "exec": ("session", "Run a command in a running container"),
    "export": ("layers", "Export a container's filesystem as a tar archive"),
    "history": ("images", "Show the history of an image"),
    "images": ("images", "List images"),
    "import": ("images", "Import the contents from a tarball to create a filesystem image"),
    "info": ("system", "Display system-wide information"),
    "inspect": ("inspect", "Return low-level information on containers and images"),
    "kill": ("lifecycle", "Kill one or more running containers"),
    "login": ("registry", "Log in to a registry"),
    "logout": ("registry", "Log out from a registry"),
    "load": ("image_files", "Load an image from a tar archive or STDIN"),
    "logs": ("logs", "Fetch the logs of a container"),
    "nsenter": ("session", "Run a command in some namespaces of a running container"),
    "pause": ("lifecycle", "Pause all processes within one or more containers"),
    "port": ("network", "List port mappings or a specific mapping for the container"),
    "ps": ("listing", "List containers"),
    "pull": ("registry", "Pull an image or a repository from a registry"),
    "push": ("registry", "Push an image or a repository to a registry"),
    "rename": ("lifecycle", "Rename a container"),
    "restart": ("lifecycle", "Restart one or more containers"),
    "rm": ("lifecycle", "Remove one or more containers"),
    "rmi": ("images", "Remove one or more images"),
    "run": ("run", "Run a command in a new container"),
    "search": ("registry", "Search Docker Hub for images"),
    "save": ("image_files", "Save one or more images to a tar archive (streamed to STDOUT by default)"),
    "start": ("session", "Start one or more stopped containers"),
    "stats": ("listing", "Display a live stream of container(s) resource usage statistics"),
    "stop": ("lifecycle", "Stop one or more running containers"),
    "tag": ("images", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "top": ("listing", "Display the running processes of a container"),
    "unpause": ("lifecycle", "Unpause all processes within one or more containers"),
    "update": ("lifecycle", "Update configuration of one or more containers"),
    "version": ("system", "Show the version information"),
    "wait": ("lifecycle", "Block until one or more containers stop, then print their exit codes"),
}
# Those that are only there in a group, by both words: "volume create".
GROUPED = {
    "builder prune": ("housekeeping", "Remove build cache"),
    "container prune": ("housekeeping", "Remove all stopped containers"),
    "image prune": ("images", "Remove unused images"),
    "network connect": ("network", "Connect a container to a network"),
    "network create": ("network", "Create a network"),
    "network disconnect": ("network", "Disconnect a container from a network"),
    "network graph": ("network", "Draw the networks that there are, with the containers on them"),
    "network inspect": ("network", "Display detailed information on one or more networks"),
    "network ls": ("network", "List networks"),
    "network prune": ("housekeeping", "Remove all unused networks"),
    "network rm": ("network", "Remove one or more networks"),
    "rollout abort": ("rollout", "Give the old version all traffic, and remove the new one"),
    "rollout create": ("rollout", "Create a service of one or more replicas behind a load balancer"),
    "rollout deploy": ("rollout", "Bring up a new version and move the traffic to it"),
    "rollout ls": ("rollout_status", "List rollouts"),
    "rollout promote": ("rollout", "Give the new version all traffic, and remove the old one"),
    "rollout rm": ("rollout", "Remove one or more rollouts with their containers"),
    "rollout start": ("rollout", "Start what does not run of a rollout"),
    "rollout status": ("rollout_status", "Show how a rollout is, and what can be done next"),
    "system check": ("image_files", "Verify every digest and every reference of the image store"),
    "system df": ("housekeeping", "Show disk usage"),
    "system prune": ("housekeeping", "Remove unused data"),
    "volume create": ("volumes", "Create a volume"),
    "volume inspect": ("volumes", "Display detailed information on one or more volumes"),
    "volume ls": ("volumes", "List volumes"),
    "volume prune": ("housekeeping", "Remove unused local volumes"),
    "volume rm": ("volumes", "Remove one or more volumes"),
}
# Docker's longer way to say the same: "container ls" is "ps".
GROUPS = {
    "builder": {"build": "build", "prune": "builder prune"},
    "container": {
        name: name
        for name in (
            "attach commit cp create diff exec export kill logs pause port rename restart rm run start stats stop "
            "top unpause update wait"
        ).split()
    }
    | {"inspect": "container inspect", "ls": "ps", "list": "ps", "prune": "container prune", "ps": "ps"},
    "image": {
        "build": "build",
        "ls": "images",
        "list": "images",
        "history": "history",
        "import": "import",
        "inspect": "image inspect",
        "load": "load",
        "prune": "image prune",
        "pull": "pull",
        "push": "push",
        "rm": "rmi",
        "remove": "rmi",
        "save": "save",
        "tag": "tag",
    },
    "network": {
        name: f"network {name}" for name in "connect create disconnect graph inspect ls prune rm".split()
    }
    | {"list": "network ls", "remove": "network rm"},
    "rollout": {name: f"rollout {name}" for name in "abort create deploy ls promote rm start status".split()}
    | {"list": "rollout ls", "remove": "rollout rm"},
    "system": {
        "check": "system check",
        "df": "system df",
        "events": "events",
        "info": "info",
        "prune": "system prune",
    },
    "volume": {name: f"volume {name}" for name in "create inspect ls prune rm".split()}
    | {"list": "volume ls", "remove": "volume rm"},
}
MANAGED = {
    "builder": "builds",
    "system": "the engine",
}  # what a group manages, if not what it is called after
GLOBAL_FLAGS = (
    Flag("", "root", STRING, "Where all state is kept", metavar="dir"),
    Flag("D", "debug", BOOL, "Show the traceback of every error"),
    Flag("v", "version", BOOL, "Print version information and quit"),
)
STARTING = ("restart", "run", "start")  # commands that a container comes to run by
WITHOUT_ROOT = ("completion", "doctor", "version")  # all else reads what only root may


def main(words: list[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    gc.disable()  # a command makes little garbage, and looking for it takes a tenth of the start-up time
    _open_standard_streams()
    words = sys.argv[1:] if words is None else words
    debug = bool(os.environ.get("MINICONTAINER_DEBUG"))
    command = None
    try:
        options, rest = Command("", "", "", GLOBAL_FLAGS, lambda: None, stops=True).parse(words)
        debug = debug or options.debug
        if options.version:
            rest = ["version", "--format", "{{.Client.Version}}"]
        if not rest:
            raise HelpRequested
        name, rest = find(rest)
        forker = _fork_ahead(name)
        command = load(name)
        status = _run(command, rest, options.root, forker)
    except HelpRequested:
        print(command.help_text() if command else overview(), end="")
        status = 0
    except UsageError as error:
        name = f" {command.name}" if command else ""
        status = _fail(f"{error}\nSee 'minicontainer{name} --help'.", error.exit_code, debug)
    except BrokenPipeError:
        status = 141  # 128 + SIGPIPE: nobody reads on
    except KeyboardInterrupt:
        status = 130
    except (Error, OSError) as error:
        status = _fail(explain(error), _status(command, error), debug)
    _leave(status)


def _open_standard_streams() -> None:
    """Have standard input, output and error, and write UTF-8 whatever the locale is, as Docker does.

    Somebody may have started us with descriptor 1 closed; the next one opened would be 1 otherwise, and what
    is printed would go there.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)
    for out in (sys.stdout, sys.stderr):
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(encoding="utf-8", errors="surrogateescape")


def _fork_ahead(name: str) -> Forker | None:
    """Begin what starts a container before the rest is even read: the two go on side by side."""
    if name not in STARTING or os.geteuid() != 0:
        return None
    from minicontainer.engine.launcher import Forker

    forker = Forker()
    forker.fork_ahead()
    return forker


def _run(command: Command, words: list[str], root: str | None, forker: Forker | None) -> int:
    values, arguments = command.parse(words)
    from minicontainer.engine.engine import Engine

    engine: Engine = Engine(root, forker)
    if command.name not in WITHOUT_ROOT:
        if os.geteuid() != 0:
            raise Unsupported("containers take root's privileges; try again with sudo")
        engine.sweep()
    return command.run(engine, values, arguments) or 0


def find(words: list[str]) -> tuple[str, list[str]]:
    """The name of the command that the words begin with, and the words after it."""
    name, rest = words[0], words[1:]
    if name == "help":
        if not rest:
            raise HelpRequested
        print(load(find(rest)[0]).help_text(), end="")
        _leave(0)
    if name in GROUPS:
        group = GROUPS[name]
        if not rest or rest[0] in ("--help", "-h"):
            print(group_overview(name), end="")
            _leave(0)
        if rest[0] not in group:
            raise UsageError(f"'{rest[0]}' is not a minicontainer {name} command", 1)
        name, rest = group[rest[0]], rest[1:]
    elif name not in COMMANDS:
        raise UsageError(f"'{name}' is not a minicontainer command", 1)
    return name, rest


def about(name: str) -> tuple[str, str]:
    """The module of a command, and what it does in a line; "container inspect" is a kind of "inspect"."""
    return GROUPED.get(name) or COMMANDS[name.split()[-1]]


def load(name: str) -> Command:
    """Import the module of a command and return it."""
    module = about(name)[0]
    imported = __import__(f"minicontainer.cli.commands.{module}", fromlist=["COMMANDS"])
    command: Command = imported.COMMANDS[name]
    return command


def overview() -> str:
    """What ``minicontainer --help`` prints."""
    lines = [
        "\nUsage:  minicontainer [OPTIONS] COMMAND\n",
        "A container runtime to read and to use\n",
        "Options:",
    ]
    for flag in GLOBAL_FLAGS:
        lead = f"-{flag.short}, " if flag.short else "    "
        lines.append(f"  {lead}--{flag.long + ' ' + flag.metavar:<14}{flag.help}")
    lines.append("\nManagement Commands:")
    lines += [f"  {name:<12}Manage {MANAGED.get(name, name + 's')}" for name in GROUPS]
    lines.append("\nCommands:")
    lines += [f"  {name:<12}{text}" for name, (_, text) in COMMANDS.items()]
    lines.append("\nRun 'minicontainer COMMAND --help' for more information on a command.\n")
    return "\n".join(lines)


def group_overview(group: str) -> str:
    """What ``minicontainer container --help`` prints."""
    lines = [f"\nUsage:  minicontainer {group} COMMAND\n", "Commands:"]
    for name, command in GROUPS[group].items():
        lines.append(f"  {name:<12}{about(command)[1]}")
    return "\n".join(lines) + "\n"


def _status(command: Command | None, error: Exception) -> int:
    """Docker's exit codes: run has the engine's errors apart from the container's; elsewhere 1 is an error."""
    code = error.exit_code if isinstance(error, Error) else 125
    if command and command.name == "run":
        return code
    if command and command.name == "build":
        from minicontainer.build.builder import StepFailed  # which is loaded by now

        return code if isinstance(error, StepFailed) else 1
    return code if command and command.name == "exec" and code in (126, 127) else 1


def _fail(message: str, status: int, debug: bool) -> int:
    sys.stdout.flush()
    print(f"minicontainer: {message}", file=sys.stderr)
    if debug:
        import traceback

        traceback.print_exc()
    return status


def _leave(status: int) -> None:
    """Exit without tearing the interpreter down, which takes longer than it sounds."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        status = status or 141
    os._exit(status)
