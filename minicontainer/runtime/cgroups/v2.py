"""cgroup version 2: one hierarchy for all controllers, and one grammar for all files.

Read it beside :mod:`~minicontainer.runtime.cgroups.v1`: the same names, in the other language. The reference
is Documentation/admin-guide/cgroup-v2.rst of the kernel, and cgroups(7).

What is peculiar here. A cgroup has a controller's files only if the cgroup above hands the controller down
(``cgroup.subtree_control``), and one that does may hold no processes itself, the root excepted. Freezing and
killing are no controllers but part of every cgroup. Swap is limited by itself. And the OCI specification
was written in the days of v1, so weights are converted.
"""

from __future__ import annotations

import errno
import os

from minicontainer.errors import InvalidArgument, Unsupported
from minicontainer.runtime.cgroups import files
from minicontainer.runtime.cgroups.forms import or_max, part_of, per_device, plain
from minicontainer.runtime.cgroups.hierarchy import USUAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.runtime.cgroups.forms import Form, Row
    from minicontainer.runtime.cgroups.hierarchy import Hierarchy
    from minicontainer.runtime.cgroups.stats import Stats


def swap_alone(value: int, section: dict[str, Any], path: str) -> list[str]:
    """OCI counts memory and swap together, v2 counts swap by itself."""
    limit = section.get("limit") or 0
    if value < 0:
        return ["max"]
    if not 0 < limit <= value:
        raise InvalidArgument(
            f"memory.swap is memory and swap together: {value} needs a memory.limit of no more than that, "
            f"and it is {limit or 'not given'}"
        )
    return [str(value - limit)]


def quota_and_period(value: int, section: dict[str, Any], path: str) -> list[str]:
    """Both in one file, in microseconds: ``50000 100000``. A quota alone leaves the period as it is."""
    quota = str(section.get("quota") or files.read(path).split()[0])
    period = section.get("period") or ""
    return [f"{'max' if quota.startswith('-') else quota} {period}".rstrip()]


def weight_of_shares(value: int, section: dict[str, Any], path: str) -> list[str]:
    """From 2 to 262144, usually 1024, to 1 to 10000, usually 100.

    This is runc's formula since 1.3.2: a parabola through the logarithms of these three points. The straight
    line of before made 39 of 1024, so whoever asked for the usual share got less than who did not ask.
    """
    import math  # for this one resource, on v2 alone

    if value <= 2 or value >= 262144:
        return ["1" if value <= 2 else "10000"]
    log = math.log2(value)
    return [str(math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34)))]


def io_weight(value: int, section: dict[str, Any], path: str) -> list[str]:
    """From 10 to 1000 to 1 to 10000, on runc's straight line."""
    return [str(1 + (value - 10) * 9999 // 990)]


def io_weights(value: list[dict[str, Any]], section: dict[str, Any], path: str) -> list[str]:
    """The same for single devices."""
    return [f"{d['major']}:{d['minor']} {io_weight(d['weight'], section, path)[0]}" for d in value]


def io_max(key: str) -> Form:
    """The four rates of a device share a file: ``8:0 rbps=1048576``; a rate of 0 lifts the limit."""

    def lines(value: list[dict[str, Any]], section: dict[str, Any], path: str) -> list[str]:
        return [f"{d['major']}:{d['minor']} {key}={d['rate'] or 'max'}" for d in value]

    return lines


# Several rows for one resource are alternatives: the first file that is there is used.
# fmt: off
TABLE: tuple[Row, ...] = (
    # OCI resource                       file                form
    ("memory.limit",                     "memory.max",       or_max),  # bytes
    ("memory.reservation",               "memory.low",       or_max),
    ("memory.swap",                      "memory.swap.max",  swap_alone),
    ("cpu.shares",                       "cpu.weight",       weight_of_shares),
    ("cpu.period",                       "cpu.max",          quota_and_period),
    ("cpu.quota",                        "cpu.max",          quota_and_period),
    ("cpu.burst",                        "cpu.max.burst",    plain),
    ("cpu.idle",                         "cpu.idle",         plain),
    ("cpu.cpus",                         "cpuset.cpus",      part_of("cpuset.cpus.effective")),
    ("cpu.mems",                         "cpuset.mems",      part_of("cpuset.mems.effective")),
    ("pids.limit",                       "pids.max",         or_max),
    ("blockIO.weight",                   "io.bfq.weight",    plain),  # 1 to 1000
    ("blockIO.weight",                   "io.weight",        io_weight),
    ("blockIO.weightDevice",             "io.bfq.weight",    per_device("weight", "{device} {value}")),
    ("blockIO.weightDevice",             "io.weight",        io_weights),
    ("blockIO.throttleReadBpsDevice",    "io.max",           io_max("rbps")),
    ("blockIO.throttleWriteBpsDevice",   "io.max",           io_max("wbps")),
    ("blockIO.throttleReadIOPSDevice",   "io.max",           io_max("riops")),
    ("blockIO.throttleWriteIOPSDevice",  "io.max",           io_max("wiops")),
    ("hugepageLimits.*",                 "hugetlb.*.max",    plain),
)
# fmt: on


def make(hierarchy: Hierarchy, path: str, needed: set[str]) -> None:
    """Make the cgroup ``path`` and those above it, and hand down to it the controllers that there are.

    One that cannot be handed down is an error only if it is ``needed``.
    """
    directory = hierarchy.mountpoint
    for name in path[1:].split("/"):
        hand_down(directory, needed)
        directory = f"{directory}/{name}"
        files.make_directory(directory)


def hand_down(directory: str, needed: set[str]) -> None:
    """Let the cgroups below ``directory`` have its controllers ("Enabling and Disabling" in cgroup-v2.rst)."""
    control = f"{directory}/cgroup.subtree_control"
    handed_down = files.read(control).split()
    for controller in files.read(f"{directory}/cgroup.controllers").split():
        if controller in handed_down or controller not in USUAL | needed:
            continue
        try:
            _require_no_processes(directory)
            files.write(control, f"+{controller}")
        except OSError as error:
            if controller in needed:
                raise _cannot_hand_down(directory, controller, error) from error


def _require_no_processes(directory: str) -> None:
    """Be stricter than the kernel, which lets a cgroup with processes hand down cpu, cpuset and pids.

    That would make it a threaded one ("Threads"), and the cgroups below it would take no process any more.
    """
    is_root = not os.path.exists(f"{directory}/cgroup.type")
    if not is_root and files.read(f"{directory}/cgroup.procs"):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), directory)


def _cannot_hand_down(directory: str, controller: str, error: OSError) -> Unsupported:
    message = f"cannot limit by the {controller} controller below {directory}: {error.strerror}"
    if error.errno != errno.EBUSY:
        return Unsupported(message)
    return Unsupported(
        f"{message}. It holds processes itself, and a cgroup v2 with processes cannot hand controllers down; "
        f"move them into one of their own: mkdir {directory}/init && "
        f"for p in $(cat {directory}/cgroup.procs); do echo $p > {directory}/init/cgroup.procs; done"
    )


def join(directory: str, pid: int) -> None:
    """Put a process into the cgroup; 0 is the caller.

    A container whose init makes sub-cgroups, as systemd does, may hold no processes itself any more (EBUSY). The
    newcomer goes to where its eldest process is, then.
    """
    try:
        files.join(directory, pid)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        inhabited = [(min(pids), group) for group in files.tree(directory) if (pids := files.members(group))]
        if not inhabited:
            raise
        files.join(min(inhabited)[1], pid)


def set_frozen(directory: str, frozen: bool) -> None:
    """Ask every process in the cgroup and below to stop, or let them go on."""
    files.write(f"{directory}/cgroup.freeze", "1" if frozen else "0")


def is_frozen(directory: str) -> bool:
    """Whether all have stopped."""
    return files.keyed(f"{directory}/cgroup.events").get("frozen") == 1


def kill(directory: str) -> bool:
    """SIGKILL every process in the cgroup and below in one go, also those being forked (Linux 5.14).

    False when the kernel cannot, or the cgroup is not there.
    """
    try:
        files.write(f"{directory}/cgroup.kill", "1")
    except OSError as error:
        if error.errno not in (*files.GONE, errno.EOPNOTSUPP):
            raise
        return False
    return True


def make_room(directory: str, limit: int) -> None:
    """Bring the memory in use below ``limit`` bytes without killing anyone; OSError EBUSY when it cannot be.

    Writing a lower memory.max kills until the rest fits; v1 refuses. memory.high only makes the kernel reclaim
    what it can, and hence is used to try before.
    """
    high = f"{directory}/memory.high"
    current = f"{directory}/memory.current"
    if int(files.read(current)) <= limit:
        return
    before = files.read(high)
    files.write(high, str(limit))
    try:
        if int(files.read(current)) > limit:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), current)
    finally:
        files.write(high, before)


def measure(hierarchy: Hierarchy, directory: str, stats: Stats) -> None:
    """Add what this hierarchy's controllers have counted."""
    if "memory" in hierarchy.controllers:
        pages = files.keyed(f"{directory}/memory.stat")
        used = files.number(f"{directory}/memory.current") or 0
        stats.memory = max(0, used - pages.get("inactive_file", 0))
        stats.memory_limit = files.number(f"{directory}/memory.max")
    if "cpu" in hierarchy.controllers:
        cpu = files.keyed(f"{directory}/cpu.stat")
        stats.cpu = 1000 * cpu.get("usage_usec", 0)
        stats.periods = cpu.get("nr_periods", 0)
        stats.throttled_periods = cpu.get("nr_throttled", 0)
        stats.throttled = 1000 * cpu.get("throttled_usec", 0)
    if "pids" in hierarchy.controllers:
        stats.pids = files.number(f"{directory}/pids.current") or 0
        stats.pids_limit = files.number(f"{directory}/pids.max")
    if "io" in hierarchy.controllers:
        # "254:0 rbytes=4096 wbytes=0 rios=1 ...", a line a device
        pairs = [
            pair.split("=") for pair in files.read_if_there(f"{directory}/io.stat").split() if "=" in pair
        ]
        stats.read = sum(int(number) for key, number in pairs if key == "rbytes")
        stats.written = sum(int(number) for key, number in pairs if key == "wbytes")


def oom_kills(directory: str) -> int:
    """How many processes the kernel has killed for want of memory, in the cgroup and below."""
    return files.keyed(f"{directory}/memory.events").get("oom_kill", 0)
