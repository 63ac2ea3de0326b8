"""What can be asked of a container, and reading what people write for it.

The same options serve the command line (``--memory 4m``) and the library (``memory="4m"`` or ``4 << 20``).
A value that cannot be meant is refused here, by the name of its option, before anything is made.
"""

from __future__ import annotations

import os
import stat

from minicontainer import units
from minicontainer.errors import InvalidArgument
from minicontainer.kernel import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    Pairs = Mapping[str, str] | Sequence[str]

SMALLEST_MEMORY = 512 << 10  # bytes; below it no program gets as far as main()


class Options:
    """The options of one container; those not given have these values.

    Sizes are bytes, or text as ``"4m"``. Lists of pairs (``env``, ``labels``, ``sysctls``, …) may be given as a
    mapping or as ``["NAME=value"]``.
    """

    # who it is
    name: str = ""
    hostname: str = ""
    domainname: str = ""
    labels: Pairs = ()
    # what it runs
    entrypoint: str | Sequence[str] | None = None  #: replaces the image's; "" for none
    env: Pairs = ()
    env_file: Sequence[str] = ()
    workdir: str = ""
    user: str = ""  #: ``user[:group]``, by name or number
    group_add: Sequence[str] = ()
    tty: bool = False
    interactive: bool = False  #: keep its standard input open
    console_size: tuple[int, int] = (0, 0)  #: rows and columns of its terminal to begin with
    init: bool = False  #: run a reaper as PID 1
    stop_signal: str = ""
    stop_timeout: int | None = None  #: seconds
    remove: bool = False  #: remove it when it ends
    # what it may use
    memory: int | str = 0  #: bytes
    memory_swap: int | str = 0  #: bytes of memory and swap together; -1 for no limit
    memory_reservation: int | str = 0  #: bytes
    cpus: float | str = 0  #: how many, 0.5 is half of one
    cpu_shares: int = 0  #: relative weight, 1024 is the usual
    cpu_period: int = 0  #: microseconds
    cpu_quota: int = 0  #: microseconds per period
    cpuset_cpus: str = ""  #: which, ``0-2,4``
    cpuset_mems: str = ""
    pids_limit: int = 0  #: -1 for no limit
    blkio_weight: int = 0  #: 10 to 1000
    cgroup_conf: Pairs = ()  #: cgroup v2 files, ``memory.high=1048576``
    cgroup_parent: str = ""
    ulimits: Sequence[str] = ()  #: ``nofile=1024:2048``
    oom_score_adj: int = 0
    shm_size: int | str = 64 << 20  #: bytes
    # what it may do
    cap_add: Sequence[str] = ()
    cap_drop: Sequence[str] = ()
    privileged: bool = False
    security_opt: Sequence[str] = ()
    devices: Sequence[str] = ()  #: ``/dev/host[:/dev/inside[:rwm]]``
    device_cgroup_rules: Sequence[str] = ()  #: ``c 10:200 rwm``
    # what it sees
    read_only: bool = False
    tmpfs: Pairs = ()  #: ``/path[:options]``
    volumes: Sequence[str] = ()  #: ``/host:/path[:options]``, ``name:/path[:options]`` or ``/path``
    mounts: Sequence[str] = ()  #: ``type=bind|volume|tmpfs,src=…,dst=…``
    volumes_from: Sequence[str] = ()  #: other containers, whose mounts it gets: ``NAME[:ro]``
    sysctls: Pairs = ()
    pid: str = ""  #: "", ``host`` or ``container:NAME``
    ipc: str = ""  #: "", ``none``, ``host``, ``private``, ``shareable`` or ``container:NAME``
    uts: str = ""  #: "" or ``host``
    cgroupns: str = ""  #: "", ``private`` or ``host``
    # whom it can reach
    network: str = "bridge"  #: ``bridge``, ``none``, ``host``, ``container:NAME`` or a network's name
    ip: str = ""  #: its address there
    ip6: str = ""
    mac_address: str = ""
    network_alias: Sequence[str] = ()  #: further names there
    publish: Sequence[str] = ()  #: ``[ip:][host's port:]port[/udp]``, or ranges of ports
    publish_all: bool = False  #: all exposed ports, each on a free one of the host
    expose: Sequence[str] = ()  #: ``port[/udp]`` or ranges
    dns: Sequence[str] = ()  #: addresses of name servers
    dns_search: Sequence[str] = ()
    dns_option: Sequence[str] = ()
    add_host: Sequence[str] = ()  #: ``NAME:ADDRESS`` or ``NAME:host-gateway``

    def __init__(self, **given: object) -> None:
        for name, value in given.items():
            if name not in Options.__annotations__:
                raise TypeError(f"a container has no option {name!r}")
            setattr(self, name, value)


def size(option: str, value: int | str) -> int:
    """Bytes, from a number or from text as ``4m``; swap may be -1, without limit."""
    if isinstance(value, int):
        return value
    if value == "-1" and option == "memory-swap":
        return -1
    return _reading(option, value, units.parse_size)


def _reading(option: str, value: str, read: Callable[[str], int]) -> int:
    try:
        return read(value)
    except InvalidArgument as error:
        raise InvalidArgument(f'invalid argument "{value}" for --{option}: {error}') from None


def memory(options: Options) -> tuple[int, int]:
    """The limits in bytes on memory, and on memory and swap together: twice the first unless said otherwise."""
    limit = size("memory", options.memory)
    both = size("memory-swap", options.memory_swap)
    if limit and limit < SMALLEST_MEMORY:
        least = units.bytes_size(SMALLEST_MEMORY)
        raise InvalidArgument(f"--memory {options.memory}: the least a container can live in is {least}")
    if both > 0 and not limit:
        raise InvalidArgument("--memory-swap: you should always set the memory limit when using it")
    if 0 < both < limit:
        raise InvalidArgument("--memory-swap: it is memory and swap together, so not less than --memory")
    return limit, both or (2 * limit)


def nano_cpus(value: float | str) -> int:
    """Billionths of a CPU, from ``0.5``."""
    try:
        cpus = float(value)
    except ValueError:
        raise InvalidArgument(f'invalid argument "{value}" for --cpus: not a number') from None
    most = os.cpu_count() or 1
    if not (cpus == 0 or 0.01 <= cpus <= most):
        raise InvalidArgument(
            f"--cpus {cpus:g}: this host has {most}, so from 0.01 to {most}.00 are available"
        )
    return round(cpus * 1_000_000_000)


def pairs(option: str, given: Pairs) -> dict[str, str]:
    """``{"NAME": "value"}`` from a mapping or from ``["NAME=value", …]``; a name alone has the value ""."""
    if hasattr(given, "items"):
        return {str(key): str(value) for key, value in given.items()}
    result = {}
    for entry in given:
        name, _, value = entry.partition("=")
        if not name:
            raise InvalidArgument(f'invalid argument "{entry}" for --{option}: it has no name')
        result[name] = value
    return result


def environment(options: Options) -> list[str]:
    """The variables asked for, ``["NAME=value"]``: files first, then ``env``; a bare NAME is this process's own."""
    entries = [line for path in options.env_file for line in _env_file(path)]
    if hasattr(options.env, "items"):
        entries += [f"{name}={value}" for name, value in options.env.items()]
    else:
        entries += options.env
    result = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not name:
            raise InvalidArgument(f'invalid argument "{entry}" for --env: it has no name')
        if equals:
            result[name] = value
        elif name in os.environ:
            result[name] = os.environ[name]
        else:
            result.pop(name, None)
    return [f"{name}={value}" for name, value in result.items()]


def _env_file(path: str) -> Iterable[str]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = file.read().split("\n")
    except OSError as error:
        raise InvalidArgument(f"--env-file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"--env-file {path}: it is not UTF-8 text") from None
    for line in lines:
        line = line.lstrip().removesuffix("\r")
        name = line.partition("=")[0]
        if line and not line.startswith("#"):
            if " " in name or "\t" in name:
                raise InvalidArgument(f"--env-file {path}: the variable name {name!r} has white space in it")
            yield line


def ulimits(given: Sequence[str]) -> list[dict[str, Any]]:
    """``[{"Name", "Soft", "Hard"}]`` from ``nofile=1024:2048``; -1 is no limit."""
    import resource

    result = []
    for entry in given:
        name, equals, limits = entry.partition("=")
        soft, _, hard = limits.partition(":")
        if not equals or not hasattr(resource, f"RLIMIT_{name.upper()}"):
            raise InvalidArgument(f'invalid argument "{entry}" for --ulimit: no limit is called {name!r}')
        try:
            low, high = int(soft), int(hard or soft)
        except ValueError:
            raise InvalidArgument(
                f'invalid argument "{entry}" for --ulimit: {limits!r} is no number'
            ) from None
        if high != -1 and (low > high or low == -1):
            raise InvalidArgument(f'invalid argument "{entry}" for --ulimit: soft must not exceed hard')
        result.append({"Name": name, "Hard": high, "Soft": low})
    return result


def capability_names(option: str, given: Sequence[str]) -> list[str]:
    """Full names (``CAP_CHOWN``) from what people write (``chown``, ``ALL``)."""
    names = []
    for entry in given:
        name = entry.upper()
        if name != "ALL":
            name = name if name.startswith("CAP_") else f"CAP_{name}"
            if name not in capabilities.NUMBERS:
                raise InvalidArgument(f'invalid argument "{entry}" for --{option}: no such capability')
        names.append(name)
    return names


def device(entry: str) -> list[dict[str, Any]]:
    """OCI devices, each with its cgroup ``access``, from ``/dev/host[:/dev/inside[:rwm]]``.

    A directory stands for the devices in it. Raises InvalidArgument when it is neither.
    """
    host, _, rest = entry.partition(":")
    inside, _, access = rest.partition(":")
    if inside and not inside.startswith("/"):
        inside, access = "", inside
    if access.strip("rwm") or not host.startswith("/"):
        raise InvalidArgument(f'invalid argument "{entry}" for --device: it is PATH[:PATH[:rwm]]')
    try:
        kind = os.stat(host).st_mode
    except OSError as error:
        raise InvalidArgument(f"--device {host}: {error.strerror}") from None
    if not stat.S_ISDIR(kind):
        return [_device_node(host, inside or host, access or "rwm")]
    found = []
    for directory, _, names in os.walk(host):
        for name in sorted(names):
            path = os.path.join(directory, name)
            mode = os.stat(path).st_mode if os.path.exists(path) else 0
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                below = (inside or host) + path.removeprefix(host)
                found.append(_device_node(path, below, access or "rwm"))
    if not found:
        raise InvalidArgument(f"--device {host}: not a device, nor a directory with devices")
    return found


def _device_node(host: str, inside: str, access: str) -> dict[str, Any]:
    status = os.stat(host)
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise InvalidArgument(f"--device {host}: not a device node")
    return {
        "path": inside,
        "type": "c" if stat.S_ISCHR(status.st_mode) else "b",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "access": access,
    }


def device_cgroup_rule(entry: str) -> dict[str, Any]:
    """An OCI device rule from ``c 10:200 rwm``; ``*`` stands for any number."""
    words = entry.split()
    numbers = words[1].split(":") if len(words) == 3 else []
    known = len(numbers) == 2 and all(n == "*" or n.isdecimal() for n in numbers)
    if not known or words[0] not in ("a", "b", "c") or words[2].strip("rwm"):
        raise InvalidArgument(f'invalid argument "{entry}" for --device-cgroup-rule: as in "c 10:200 rwm"')
    rule: dict[str, Any] = {"allow": True, "type": words[0], "access": words[2]}
    for key, number in zip(("major", "minor"), numbers, strict=True):
        if number != "*":
            rule[key] = int(number)
    return rule
