"""run and create: a new container from an image."""

from __future__ import annotations

import os
import sys

from minicontainer.cli import terminal
from minicontainer.cli.flags import BOOL, BYTES, FLOAT, INT, LIST, STRING, Command, Flag, UsageError
from minicontainer.engine.options import Options
from minicontainer.errors import Error, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.container import Container
    from minicontainer.engine.engine import Engine

# Options whose name in minicontainer.engine.options is another than on the command line.
_RENAMED = {"label": "labels", "ulimit": "ulimits", "sysctl": "sysctls", "device": "devices", "rm": "remove"}
_RENAMED |= {"device_cgroup_rule": "device_cgroup_rules", "volume": "volumes", "mount": "mounts"}

CONTAINER_FLAGS = (
    Flag("", "blkio-weight", INT, "Block IO (relative weight), between 10 and 1000", metavar="uint16"),
    Flag("", "cap-add", LIST, "Add Linux capabilities"),
    Flag("", "cap-drop", LIST, "Drop Linux capabilities"),
    Flag("", "cgroup-conf", LIST, "Write a cgroup v2 file, as memory.high=64000000"),
    Flag("", "cgroup-parent", STRING, "Parent cgroup for the container"),
    Flag("", "cgroupns", STRING, "Cgroup namespace to use (host|private)", values=("host", "private")),
    Flag("", "cidfile", STRING, "Write the container ID to the file"),
    Flag("", "cpu-period", INT, "Limit CPU CFS period, microseconds"),
    Flag("", "cpu-quota", INT, "Limit CPU CFS quota, microseconds per period"),
    Flag("c", "cpu-shares", INT, "CPU shares (relative weight)"),
    Flag("", "cpus", FLOAT, "Number of CPUs"),
    Flag("", "cpuset-cpus", STRING, "CPUs in which to allow execution (0-3, 0,1)"),
    Flag("", "cpuset-mems", STRING, "MEMs in which to allow execution (0-3, 0,1)"),
    Flag("", "device", LIST, "Add a host device to the container"),
    Flag("", "device-cgroup-rule", LIST, "Add a rule to the cgroup allowed devices list"),
    Flag("", "domainname", STRING, "Container NIS domain name"),
    Flag("", "entrypoint", STRING, "Overwrite the default ENTRYPOINT of the image"),
    Flag("e", "env", LIST, "Set environment variables"),
    Flag("", "env-file", LIST, "Read in a file of environment variables"),
    Flag("", "group-add", LIST, "Add additional groups to join"),
    Flag("h", "hostname", STRING, "Container host name"),
    Flag("", "init", BOOL, "Run an init inside the container that forwards signals and reaps processes"),
    Flag("i", "interactive", BOOL, "Keep STDIN open even if not attached"),
    Flag("", "ipc", STRING, "IPC mode to use", values=("private", "host", "none", "shareable")),
    Flag("l", "label", LIST, "Set meta data on a container"),
    Flag("m", "memory", BYTES, "Memory limit"),
    Flag("", "memory-reservation", BYTES, "Memory soft limit"),
    Flag("", "memory-swap", BYTES, "Swap limit equal to memory plus swap: '-1' for unlimited"),
    Flag("", "mount", LIST, "Attach a filesystem mount to the container", metavar="mount"),
    Flag("", "name", STRING, "Assign a name to the container"),
    Flag(
        "",
        "network",
        STRING,
        "Connect a container to a network (NAME|bridge|none|host|container:NAME)",
        values=("bridge", "none", "host"),
    ),
    Flag("", "net", STRING, "The same as --network", values=("bridge", "none", "host")),
    Flag("", "network-alias", LIST, "Add network-scoped alias for the container"),
    Flag("", "ip", STRING, "IPv4 address (e.g., 172.30.100.104)"),
    Flag("", "ip6", STRING, "IPv6 address (e.g., 2001:db8::33)"),
    Flag("", "mac-address", STRING, "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Flag("", "dns", LIST, "Set custom DNS servers"),
    Flag("", "dns-option", LIST, "Set DNS options"),
    Flag("", "dns-search", LIST, "Set custom DNS search domains"),
    Flag("", "add-host", LIST, "Add a custom host-to-IP mapping (host:ip)"),
    Flag("p", "publish", LIST, "Publish a container's port(s) to the host"),
    Flag("P", "publish-all", BOOL, "Publish all exposed ports to random ports"),
    Flag("", "expose", LIST, "Expose a port or a range of ports"),
    Flag("", "oom-score-adj", INT, "Tune host's OOM preferences (-1000 to 1000)"),
    Flag("", "pid", STRING, "PID namespace to use", values=("host",)),
    Flag("", "pids-limit", INT, "Tune container pids limit (-1 for unlimited)"),
    Flag("", "platform", STRING, "Set platform if server is multi-platform capable"),
    Flag("", "privileged", BOOL, "Give extended privileges to this container"),
    Flag(
        "",
        "pull",
        STRING,
        "Pull image before running (always|missing|never)",
        default="missing",
        values=("always", "missing", "never"),
    ),
    Flag("", "read-only", BOOL, "Mount the container's root filesystem as read only"),
    Flag("", "rm", BOOL, "Automatically remove the container when it exits"),
    Flag("", "security-opt", LIST, "Security options: no-new-privileges, seccomp=FILE|unconfined, …"),
    Flag("", "shm-size", BYTES, "Size of /dev/shm"),
    Flag("", "stop-signal", STRING, "Signal to stop the container"),
    Flag("", "stop-timeout", INT, "Timeout (in seconds) to stop a container"),
    Flag("", "sysctl", LIST, "Sysctl options", metavar="map"),
    Flag("", "tmpfs", LIST, "Mount a tmpfs directory"),
    Flag("t", "tty", BOOL, "Allocate a pseudo-TTY"),
    Flag("", "ulimit", LIST, "Ulimit options", metavar="ulimit"),
    Flag("u", "user", STRING, "Username or UID (format: <name|uid>[:<group|gid>])"),
    Flag("", "uts", STRING, "UTS namespace to use", values=("host",)),
    Flag("v", "volume", LIST, "Bind mount a volume"),
    Flag("", "volumes-from", LIST, "Mount volumes from the specified container(s)"),
    Flag("w", "workdir", STRING, "Working directory inside the container"),
)
RUN_FLAGS = (
    *CONTAINER_FLAGS,
    Flag("a", "attach", LIST, "Attach to STDIN, STDOUT or STDERR"),
    Flag("d", "detach", BOOL, "Run container in background and print container ID"),
    Flag("", "detach-keys", STRING, "Override the key sequence for detaching a container"),
    Flag("", "sig-proxy", BOOL, "Proxy received signals to the process", default=True),
)


def options_of(values: Values, flags: tuple[Flag, ...]) -> Options:
    """The engine's options from those on the command line."""
    asked = {}
    for flag in flags:
        if values.given(flag.name):
            name = _RENAMED.get(flag.name, "network" if flag.name == "net" else flag.name)
            if name in Options.__annotations__:
                asked[name] = getattr(values, flag.name)
    return Options(**asked)


def _make(engine: Engine, values: Values, words: list[str], options: Options) -> Container:
    """Make the container; its image is pulled before when it is not here, or as ``--pull`` says."""
    if values.pull not in ("always", "missing", "never"):
        raise UsageError(f"invalid pull option: {values.pull!r}: must be one of always, missing or never")
    if values.pull != "missing" or values.platform:
        _pull_first(engine, words[0], values)
    try:
        return engine.create(words[0], words[1:], options)
    except NotFound as error:
        missing = error
    from minicontainer.cli import pulling

    if values.pull == "never" or pulling.is_here(engine, words[0]):  # what is missing is named by an option
        raise missing
    pulling.missing(engine, words[0], values.platform or "")
    return engine.create(words[0], words[1:], options)


def _pull_first(engine: Engine, name: str, values: Values) -> None:
    """Pull an image that is asked for in another way than by its name alone."""
    from minicontainer.cli import pulling

    platform = values.platform or ""
    if values.pull == "always":
        pulling.always(engine, name, platform)
    elif not pulling.is_here(engine, name, platform):
        if values.pull == "never":
            raise NotFound(f"no such image: {name}" + (f" for {platform}" if platform else ""))
        pulling.missing(engine, name, platform)


def _create(engine: Engine, values: Values, words: list[str], options: Options) -> Container:
    if not values.cidfile:
        return _make(engine, values, words, options)
    try:
        file = open(values.cidfile, "x")
    except FileExistsError:
        raise Error(
            f"container ID file found, make sure the other container isn't running or delete {values.cidfile}"
        ) from None
    with file:
        try:
            container = _make(engine, values, words, options)
        except BaseException:
            os.unlink(values.cidfile)
            raise
        file.write(container.id)
    return container


def run(engine: Engine, values: Values, words: list[str]) -> int:
    """Make a container, start it, and stay with it unless it is to be detached."""
    options = options_of(values, RUN_FLAGS)
    if values.detach and values.attach:
        raise UsageError("conflicting options: -a and -d", 1)
    if values.detach:
        container = _create(engine, values, words, options)
        terminal.warn(container.start())
        print(container.id)
        return 0
    if options.tty and options.interactive and not sys.stdin.isatty():
        raise UsageError("the input device is not a TTY", 1)
    keys = terminal.detach_keys(values.detach_keys)
    options.console_size = terminal.size() if options.tty else (0, 0)
    container = _create(engine, values, words, options)
    streams = [name.lower() for name in values.attach] or ["stdin", "stdout", "stderr"]
    return terminal.stay(
        container,
        container.start,
        tty=options.tty,
        wants_input=options.interactive and "stdin" in streams,
        streams=streams,
        keys=keys,
        proxy=values.sig_proxy,
        once=True,
    )


def create(engine: Engine, values: Values, words: list[str]) -> None:
    """Make a container and print its id."""
    container = _create(engine, values, words, options_of(values, CONTAINER_FLAGS))
    container.settle()
    print(container.id)


_USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
COMMANDS = {
    "run": Command(
        "run",
        _USAGE,
        "Run a command in a new container",
        RUN_FLAGS,
        run,
        least=1,
        stops=True,
        completes="images",
    ),
    "create": Command(
        "create",
        _USAGE,
        "Create a new container",
        CONTAINER_FLAGS,
        create,
        least=1,
        stops=True,
        completes="images",
    ),
}
