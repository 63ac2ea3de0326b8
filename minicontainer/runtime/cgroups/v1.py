"""cgroup version 1: a hierarchy for each controller, a file for each number.

Read it beside :mod:`~minicontainer.runtime.cgroups.v2`: the same names, in the other language. The reference
is Documentation/admin-guide/cgroup-v1/ of the kernel, and cgroups(7).

What is peculiar here. The container's cgroup is a directory in every hierarchy, so everything is done some
ten times. A new cpuset is empty and takes no process until it was given processors and memory nodes. Memory
is limited alone and together with swap, in two files that bound each other. And a SIGKILL reaches a frozen
process only when it thaws.
"""

from __future__ import annotations

from minicontainer.runtime.cgroups import files
from minicontainer.runtime.cgroups.forms import or_max, part_of, per_device, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.runtime.cgroups.forms import Row
    from minicontainer.runtime.cgroups.hierarchy import Hierarchy
    from minicontainer.runtime.cgroups.stats import Stats

_EACH = "{device} {value}"  # "8:0 1048576"
_NO_LIMIT = 1 << 62  # without one memory.limit_in_bytes says 2^63, less a page

# Several rows for one resource are alternatives: the first file that is there is used.
# fmt: off
TABLE: tuple[Row, ...] = (
    # OCI resource                       file                                form
    ("memory.limit",                     "memory.limit_in_bytes",            plain),  # bytes; -1: no limit
    ("memory.reservation",               "memory.soft_limit_in_bytes",       plain),
    ("memory.swap",                      "memory.memsw.limit_in_bytes",      plain),  # memory and swap, as OCI
    ("memory.kernelTCP",                 "memory.kmem.tcp.limit_in_bytes",   plain),
    ("memory.swappiness",                "memory.swappiness",                plain),
    ("memory.disableOOMKiller",          "memory.oom_control",               lambda *_: ["1"]),
    ("cpu.shares",                       "cpu.shares",                       plain),  # 2 to 262144, 1024 usual
    ("cpu.period",                       "cpu.cfs_period_us",                plain),
    ("cpu.quota",                        "cpu.cfs_quota_us",                 plain),  # -1: no limit
    ("cpu.burst",                        "cpu.cfs_burst_us",                 plain),
    ("cpu.idle",                         "cpu.idle",                         plain),
    ("cpu.cpus",                         "cpuset.cpus",                      part_of("cpuset.cpus")),
    ("cpu.mems",                         "cpuset.mems",                      part_of("cpuset.mems")),
    ("pids.limit",                       "pids.max",                         or_max),
    ("blockIO.weight",                   "blkio.weight",                     plain),  # 10 to 1000
    ("blockIO.weight",                   "blkio.bfq.weight",                 plain),
    ("blockIO.weightDevice",             "blkio.weight_device",              per_device("weight", _EACH)),
    ("blockIO.weightDevice",             "blkio.bfq.weight_device",          per_device("weight", _EACH)),
    ("blockIO.throttleReadBpsDevice",    "blkio.throttle.read_bps_device",   per_device("rate", _EACH)),
    ("blockIO.throttleWriteBpsDevice",   "blkio.throttle.write_bps_device",  per_device("rate", _EACH)),
    ("blockIO.throttleReadIOPSDevice",   "blkio.throttle.read_iops_device",  per_device("rate", _EACH)),
    ("blockIO.throttleWriteIOPSDevice",  "blkio.throttle.write_iops_device", per_device("rate", _EACH)),
    ("hugepageLimits.*",                 "hugetlb.*.limit_in_bytes",         plain),
)
# fmt: on


def make(hierarchy: Hierarchy, path: str) -> None:
    """Make the cgroup ``path`` and those above it that are missing."""
    directory = hierarchy.mountpoint
    for name in path[1:].split("/"):
        above, directory = directory, f"{directory}/{name}"
        files.make_directory(directory)
        if "cpuset" in hierarchy.controllers:
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not files.read(f"{directory}/{file}"):
                    files.write(f"{directory}/{file}", files.read(f"{above}/{file}"))


def set_frozen(directory: str, frozen: bool) -> None:
    """Ask the freezer to stop every process in the cgroup and below, or to let them go on."""
    files.write(f"{directory}/freezer.state", "FROZEN" if frozen else "THAWED")


def is_frozen(directory: str) -> bool:
    """Whether all have stopped; on the way there the state is FREEZING."""
    return files.read(f"{directory}/freezer.state") == "FROZEN"


def measure(hierarchy: Hierarchy, directory: str, stats: Stats) -> None:
    """Add what this hierarchy's controllers have counted."""
    if "memory" in hierarchy.controllers:
        pages = files.keyed(f"{directory}/memory.stat")
        used = files.number(f"{directory}/memory.usage_in_bytes") or 0
        stats.memory = max(0, used - pages.get("total_inactive_file", 0))
        limit = files.number(f"{directory}/memory.limit_in_bytes")
        stats.memory_limit = limit if limit and limit < _NO_LIMIT else None
    if "cpuacct" in hierarchy.controllers:
        stats.cpu = files.number(f"{directory}/cpuacct.usage") or 0
    if "cpu" in hierarchy.controllers:
        cpu = files.keyed(f"{directory}/cpu.stat")
        stats.periods = cpu.get("nr_periods", 0)
        stats.throttled_periods = cpu.get("nr_throttled", 0)
        stats.throttled = cpu.get("throttled_time", 0)
    if "pids" in hierarchy.controllers:
        stats.pids = files.number(f"{directory}/pids.current") or 0
        stats.pids_limit = files.number(f"{directory}/pids.max")
    if "blkio" in hierarchy.controllers:
        done = files.keyed(f"{directory}/blkio.throttle.io_service_bytes_recursive")
        stats.read = sum(amount for key, amount in done.items() if key.endswith(" Read"))
        stats.written = sum(amount for key, amount in done.items() if key.endswith(" Write"))


def oom_kills(directory: str) -> int:
    """How many processes the kernel has killed for want of memory; v1 counts each cgroup apart."""
    return sum(
        files.keyed(f"{group}/memory.oom_control").get("oom_kill", 0) for group in files.tree(directory)
    )
