"""What runs in a container and what it uses, seen from the host: ``top`` and ``stats``."""

from __future__ import annotations

import os
import time

from minicontainer import units
from minicontainer.errors import Error, Unsupported
from minicontainer.runtime.cgroups.stats import Stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from minicontainer.engine.container import Container

TITLES = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
_TICKS = os.sysconf("SC_CLK_TCK")  # how many of the units that /proc/PID/stat counts in make a second


# ------------------------------------------------------------------ top


def top(container: Container, ps_options: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """The container's processes as the host sees them: titles and rows.

    As ``ps -ef`` shows them, or, with options, what the host's own ps(1) says, as Docker does it.
    """
    container.pid  # noqa: B018  raises when it is not running
    pids = sorted(container.cgroup.pids())
    if ps_options:
        return _host_ps(pids, ps_options)
    return list(TITLES), [row for row in map(_process, pids) if row]


def _process(pid: int) -> list[str] | None:
    """One row from /proc (proc_pid_stat(5)); None when the process has ended meanwhile."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
        with open(f"/proc/{pid}/cmdline", "rb") as raw:
            command = raw.read().replace(b"\0", b" ").decode(errors="replace").strip()
        uid = os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = rest.split()
    ppid, tty = fields[1], int(fields[4])
    cpu = (int(fields[11]) + int(fields[12])) // _TICKS
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    age = max(uptime - int(fields[19]) / _TICKS, 0.01)
    begun = time.localtime(time.time() - age)
    stime = time.strftime("%H:%M" if age < 86400 else "%b%d", begun)
    clock = f"{cpu // 3600:02d}:{cpu // 60 % 60:02d}:{cpu % 60:02d}"
    return [
        _user(uid),
        str(pid),
        ppid,
        str(int(100 * cpu / age)),
        stime,
        _tty(tty),
        clock,
        command or f"[{name}]",
    ]


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _tty(number: int) -> str:
    major = os.major(number)
    return (
        f"pts/{os.minor(number)}"
        if 136 <= major <= 143
        else "?"
        if number == 0
        else f"{major}:{os.minor(number)}"
    )


def _host_ps(pids: list[int], options: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    import subprocess

    try:
        done = subprocess.run(["ps", *options], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unsupported(
            "top with options asks the host's ps; install it (apt-get install procps)"
        ) from None
    if done.returncode:
        raise Error(f"ps {' '.join(options)}: {done.stderr.strip()}")
    lines = done.stdout.splitlines()
    titles = lines[0].split()
    if "PID" not in titles:
        raise Error(
            f"ps {' '.join(options)}: its output has no column PID to find the container's processes by"
        )
    column = titles.index("PID")
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return titles, [row for row in rows if row[column].isdecimal() and int(row[column]) in pids]


# ------------------------------------------------------------------ stats


class Usage:
    """What a container used between two looks; the rates need two. All is 0 of one that is not running."""

    def __init__(
        self, container: Container, before: tuple[int, Stats] | None, now: tuple[int, Stats] | None
    ) -> None:
        self.container = container
        self.stats = now[1] if now else Stats()
        #: per cent of one processor
        self.cpu_percent = 0.0
        if before and now:
            self.cpu_percent = 100 * (now[1].cpu - before[1].cpu) / max(now[0] - before[0], 1)
        #: bytes that it may use: its limit, or all the host has
        self.memory_limit = min(self.stats.memory_limit or 1 << 62, _host_memory()) if now else 0
        self.memory_percent = 100 * self.stats.memory / max(self.memory_limit, 1)
        self.received, self.sent = _network(container)

    def row(self, asked_for: str = "") -> dict[str, Any]:
        """The row of ``stats``; ``asked_for`` is what the user called the container."""
        stats = self.stats
        used, limit = units.bytes_size(stats.memory), units.bytes_size(self.memory_limit)
        return {
            "Container": asked_for or self.container.short_id,
            "ID": self.container.short_id,
            "Name": self.container.name,
            "CPUPerc": f"{self.cpu_percent:.2f}%",
            "MemUsage": f"{used} / {limit}",
            "MemPerc": f"{self.memory_percent:.2f}%",
            "NetIO": f"{units.human_size(self.received)} / {units.human_size(self.sent)}",
            "BlockIO": f"{units.human_size(stats.read)} / {units.human_size(stats.written)}",
            "PIDs": str(stats.pids),
        }


def usages(containers: Sequence[Container], interval: float = 1.0) -> Iterator[list[Usage]]:
    """What each container used in the last ``interval`` seconds, again and again."""
    before = _look(containers)
    while True:
        time.sleep(interval)
        now = _look(containers)
        yield [Usage(each, before.get(each.id), now.get(each.id)) for each in containers]
        before = now


def _look(containers: Sequence[Container]) -> dict[str, tuple[int, Stats]]:
    found = {}
    for container in containers:
        try:
            found[container.id] = (time.monotonic_ns(), container.cgroup.stats())
        except (OSError, Error):
            continue  # it is not running
    return found


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _network(container: Container) -> tuple[int, int]:
    """Bytes received and sent by the container's network devices, but for loopback (proc_net(5))."""
    try:
        with open(f"/proc/{container.pid}/net/dev") as file:
            lines = file.readlines()[2:]
    except (OSError, Error):
        return 0, 0
    devices = [line.replace(":", " ").split() for line in lines]
    received = sum(int(fields[1]) for fields in devices if fields[0] != "lo")
    return received, sum(int(fields[9]) for fields in devices if fields[0] != "lo")
