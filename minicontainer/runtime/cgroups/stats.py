"""What a cgroup has counted: the numbers behind ``stats``, from either version's files."""

from __future__ import annotations


class Stats:
    """Counters of one cgroup and all below it, at one moment; 0 where this host does not count.

    :ivar memory: bytes in use, less the page cache that could be dropped at once (as ``docker stats`` has it)
    :ivar memory_limit: bytes, None without a limit
    :ivar cpu: processor time so far, nanoseconds
    :ivar periods: periods of the processor quota so far (see ``cpu.period``)
    :ivar throttled_periods: those of them in which the quota ran out
    :ivar throttled: time that processes had to wait for that, nanoseconds
    :ivar pids: tasks (processes and their threads)
    :ivar pids_limit: how many there may be, None without a limit
    :ivar read: bytes read from block devices
    :ivar written: bytes written to block devices
    """

    def __init__(self) -> None:
        self.memory = 0
        self.memory_limit: int | None = None
        self.cpu = 0
        self.periods = 0
        self.throttled_periods = 0
        self.throttled = 0
        self.pids = 0
        self.pids_limit: int | None = None
        self.read = 0
        self.written = 0

    def __repr__(self) -> str:
        return f"Stats({', '.join(f'{name}={value}' for name, value in vars(self).items())})"
