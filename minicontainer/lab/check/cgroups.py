"""Chapter 02: limits that hold."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time

from minicontainer.lab.children import environment
from minicontainer.lab.tidy import cgroup_path
from minicontainer.lab.trial import Refused, Trial, checker, expect
from minicontainer.runtime.cgroups import Cgroup, files
from minicontainer.runtime.cgroups.hierarchy import carrier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minicontainer.runtime.cgroups.hierarchy import Hierarchy

_MIB = 1 << 20
_GLUTTON = "exec tail /dev/zero"  # looks for the last line of something that has no lines, and keeps it all
_BOMBS_WITHIN = 5.0  # seconds
_BUSY = "while :; do :; done"


@checker
def limit_memory(solution: Callable[[str, int, int], object]) -> str:
    """The limit is in the cgroup's file, and who wants more dies."""
    with _group() as group:
        group.create({})
        home = _home(group, "memory.limit_in_bytes", "memory.max")
        directory = home.directory(group.path)
        with Trial(solution, directory, home.version, 8 * _MIB, apart=False):
            expect("the memory that the cgroup may have", group.stats().memory_limit, 8 * _MIB)
        _forbid_swap(directory, home.version, 8 * _MIB)
        with _member(group, _GLUTTON) as glutton:
            expect("the end of a process that wants all memory", _wait(glutton), -9)
        expect("whether the kernel says it was for want of memory", group.oom_kills() > 0, True)
    return "8388608 bytes are the limit, and a process that wanted more was killed"


@checker
def at_most(solution: Callable[[str, int], object]) -> str:
    """The cgroup takes so many processes, and a shell in it cannot start more."""
    with _group() as group:
        with Trial(solution, group.path, 5, apart=False):
            expect(f"whether there is a cgroup {_shown(group)}", group.exists(), True)
            expect("the number of processes that it may have", group.stats().pids_limit, 5)
        with _member(group, "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; wait") as shell:
            expect("a shell in it that wants nine children", _bombing(group, shell), "cannot fork")
    return "5 processes may live there, and a shell that wants nine children cannot fork"


@checker
def half_a_processor(solution: Callable[[str], object]) -> str:
    """A busy process in the cgroup has half of each period, and waits for the rest."""
    with _group() as group:
        group.create({})
        with _member(group, _BUSY), Trial(solution, group.path, apart=False):
            expect("processors that the cgroup may use", _quota(group), 0.5)
            before, began = group.stats().cpu, time.monotonic()
            time.sleep(1)
            used = (group.stats().cpu - before) / 1e9 / (time.monotonic() - began)
            if used > 0.65:
                raise Refused(f"processors that a busy process used: seen {used:.2f}, expected about 0.50")
    return "a busy process got half a processor"


@contextlib.contextmanager
def _group() -> Iterator[Cgroup]:
    """A cgroup to be made, and certainly to be removed."""
    group = Cgroup(cgroup_path("check"))
    try:
        group.kill()
        group.remove()
        yield group
    finally:
        group.kill()
        group.remove()


@contextlib.contextmanager
def _member(group: Cgroup, script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A shell that is in the cgroup before it does anything."""
    process = subprocess.Popen(
        ["sh", "-c", f"read go; {script}"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        group.join(process.pid)
        assert process.stdin
        process.stdin.close()
        yield process
    finally:
        group.kill()
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes]) -> int | str:
    try:
        return process.wait(20)
    except subprocess.TimeoutExpired:
        return "alive after 20 s"


def _bombing(group: Cgroup, shell: subprocess.Popen[bytes]) -> str:
    """What a shell says that wants nine children; it ends when it cannot fork."""
    deadline = time.monotonic() + _BOMBS_WITHIN
    while shell.poll() is None and len(group.pids()) < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    return "cannot fork" if shell.poll() else f"has {len(group.pids()) - 1}"


def _home(group: Cgroup, *names: str) -> Hierarchy:
    """The hierarchy that has one of two files: that of version 1, or that of version 2."""
    for version, name in enumerate(names, start=1):
        if home := carrier(group.hierarchies, version, name):
            return home
    raise Refused(f"this host has no {names[0].partition('.')[0]} controller")


def _quota(group: Cgroup) -> float | str:
    """The processors that a cgroup may use, of its quota and period; ``no limit`` without."""
    home = _home(group, "cpu.cfs_quota_us", "cpu.max")
    directory = home.directory(group.path)
    if home.version == 1:
        quota = files.read(f"{directory}/cpu.cfs_quota_us")
        period = files.read(f"{directory}/cpu.cfs_period_us")
    else:
        quota, period = files.read(f"{directory}/cpu.max").split()
    return "no limit" if quota in ("-1", "max") else int(quota) / int(period)


def _forbid_swap(directory: str, version: int, limit: int) -> None:
    """On a host with swap, memory alone would not be over for a long while."""
    file, line = ("memory.memsw.limit_in_bytes", str(limit)) if version == 1 else ("memory.swap.max", "0")
    path = os.path.join(directory, file)
    if os.path.exists(path):
        files.write(path, line)


def _shown(group: Cgroup) -> str:
    return group.path.rpartition("/")[2]
