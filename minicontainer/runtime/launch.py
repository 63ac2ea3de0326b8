"""Starting a process in a container: the part of the one who stays outside.

::

    launcher ──fork──────────────────────────────> first process, PID 1 inside
        │                                             │ other namespaces, mounts, pivot_root, terminal
        │   <──────────────────── "ready" ─────────── │
        │  puts it into its v2 cgroup                 │
        │   ───────────────────── "go" ─────────────> │ v1 cgroups, cgroup namespace, privileges
        │   <──────────────── end of file ─────────── │ execve

    with a user namespace:
    launcher ──fork──> stage ──unshare, fork──> first process
        │   <─ "map" ─── │                            │
        │   ── id maps ─>│                            │ and so on
        │   <─ pid ───── │ ends                       │

The cgroups come last, because a memory limit of 4 MiB is less than the Python interpreter weighs: the process
may count against it only when nothing is left to do. Into those of version 2 the launcher puts it; into those
of version 1 it walks by itself, which is faster (see :meth:`minicontainer.runtime.cgroups.Cgroup.entrances`).

Whoever calls this must be single-threaded: the kernel refuses unshare(CLONE_NEWUSER) to others, and a fork
copies one thread and the locks of all.
"""

from __future__ import annotations

import os
import signal

from minicontainer.errors import Error
from minicontainer.kernel import namespaces as kernel
from minicontainer.kernel import process
from minicontainer.runtime import init, mounts, namespaces, oci, seccomp, spec
from minicontainer.runtime.channel import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from minicontainer.runtime.cgroups import Cgroup
    from minicontainer.runtime.init import Plan


class Process:
    """A process that was started: its pid as the host sees it, and the master of its terminal if it has one.

    It is a child of the process that started it, to be waited for as any child.
    """

    def __init__(self, pid: int, master: int | None) -> None:
        self.pid = pid
        self.master = master


def launch(
    config: dict[str, Any],
    cgroup: Cgroup,
    stdio: tuple[int, int, int],
    *,
    seccomp_cache: str,
    clones: Mapping[int, int] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    prepared: Callable[[int], None] = lambda pid: None,
) -> Process:
    """Start the container that an OCI ``config`` describes (see :func:`minicontainer.runtime.spec.load`).

    :param cgroup: where it is to be counted; made already
    :param stdio: descriptors for its standard input, output and error, unused with a terminal
    :param seccomp_cache: a directory for compiled system call filters
    :param clones: of some of its mounts (see :func:`minicontainer.runtime.mounts.clone_peers`), when the caller's
        own mounts are not the host's peers any more; they are closed
    :param meanwhile: called while the container builds its world: for what else there is to do
    :param prepared: called with its pid when it is in its namespaces and not yet running
    :raises CommandNotFound, CommandNotExecutable: when the program cannot be run
    :raises Error: with the reason, when anything else fails; nothing is left running
    """
    clones = mounts.clone_peers(config) if clones is None else clones
    kinds = {entry["type"] for entry in config["linux"].get("namespaces", ())}
    staged = not kinds.isdisjoint(("user", "time"))  # new ones or another container's
    plan = init.Plan(
        config["process"],
        staged,
        lambda: _choose_pid_namespace(config),
        lambda channel: init.enter_new_namespaces(config, channel, but="" if staged else "pid"),
        lambda: init.build_world(config, cgroup.mounts(), clones),
        stdio,
        cgroup.entrances(),
        _filter(config, seccomp_cache),
        clones=list(clones.values()),
        cgroup_namespace="cgroup" in spec.new_namespaces(config),
        console=True,
        reaper=config.get("annotations", {}).get(oci.INIT) == "true",
    )
    return _start(plan, cgroup, config, meanwhile, prepared)


def execute(
    target: int,
    config: dict[str, Any],
    spec_process: dict[str, Any],
    cgroup: Cgroup,
    stdio: tuple[int, int, int],
    *,
    seccomp_cache: str,
) -> Process:
    """Start one more process in a running container, whose first process is ``target``.

    ``config`` is the container's own, ``spec_process`` an OCI ``process`` object for the new one.
    """
    kinds = [namespace.name for namespace in namespaces.NAMESPACES if namespaces.supported(namespace)]
    plan = init.Plan(
        spec_process,
        False,
        lambda: namespaces.enter(target, ["pid"]),
        lambda channel: namespaces.enter(target, (kind for kind in kinds if kind != "pid")),
        lambda: None,
        stdio,
        cgroup.entrances(),
        _filter(config, seccomp_cache),
    )
    return _start(plan, cgroup, config, lambda: None, lambda pid: None)


def _filter(config: dict[str, Any], cache: str) -> tuple[bytes, int] | None:
    profile = config["linux"].get("seccomp")
    return (seccomp.filter_for(profile, cache), seccomp.flags(profile)) if profile else None


def _start(
    plan: Plan,
    cgroup: Cgroup,
    config: dict[str, Any],
    meanwhile: Callable[[], None],
    prepared: Callable[[int], None],
) -> Process:
    # A stage ends before its child does; as a subreaper this process inherits the child. And nobody in the
    # container is to look into a fork of ours: its memory, descriptors and executable are the host's
    # (ptrace(2), PTRACE_MODE_READ; CVE-2016-9962).
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    process.prctl(process.PR_SET_DUMPABLE, 0)
    ours, theirs = Channel.pair()
    started = Process(0, None)
    stage = 0
    try:
        if plan.staged:
            stage = _fork(lambda: init.stage(plan, theirs), ours)
        else:
            started.pid = _fork_into_pid_namespace(plan, ours, theirs)
        theirs.close()
        meanwhile()
        _await_readiness(ours, started, stage, config)
        cgroup.join(started.pid, version=2)
        prepared(started.pid)
        ours.send(go=True)
        ours.receive()  # the end of file that execve makes, or an error
        return started
    except BaseException:
        _abandon(started)
        raise
    finally:
        for fd in (*plan.entrances, *plan.clones):
            os.close(fd)
        ours.close()


def _fork(child: Callable[[], NoReturn], ours: Channel) -> int:
    pid = os.fork()
    if pid == 0:
        ours.close()  # its end of file is to mean that the launcher is gone
        child()
    return pid


def _fork_into_pid_namespace(plan: Plan, ours: Channel, theirs: Channel) -> int:
    """Fork the first process as a child of its pid namespace, and have further children in our own again."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        plan.choose_pid_namespace()
        return _fork(lambda: init.first(plan, theirs), ours)
    finally:
        kernel.setns(own, kernel.CLONE_NEWPID)
        os.close(own)


def _choose_pid_namespace(config: dict[str, Any]) -> None:
    """Make the pid namespace of a new container, or join the one that its bundle names by path."""
    wanted = config["linux"].get("namespaces", ())
    namespaces.join_paths(entry for entry in wanted if entry["type"] == "pid")
    if "pid" in spec.new_namespaces(config):
        namespaces.unshare(["pid"])


def _await_readiness(channel: Channel, started: Process, stage: int, config: dict[str, Any]) -> None:
    """Play the launcher's part until the first process waits for its cgroups (see the picture above)."""
    ready = False
    try:
        while not (ready and started.pid):  # either may come first
            message, descriptors = channel.receive()
            if "map" in message:
                write_id_maps(stage, config["linux"])
                channel.send(go=True)
            elif "pid" in message:
                started.pid = message["pid"]
            elif "ready" in message:
                ready = True
                started.master = descriptors[0] if descriptors else None
            else:
                raise Error("the container's first process ended before it was set up")
    except BaseException:
        if stage:
            os.kill(stage, signal.SIGKILL)  # not waited for yet, so the number is still its own
        raise
    finally:
        if stage:
            os.waitpid(stage, 0)


def write_id_maps(pid: int, linux: dict[str, Any]) -> None:
    """Write the user and group id maps of a process that is in a new user namespace (user_namespaces(7))."""
    for kind in ("uid", "gid"):
        lines = [f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in linux.get(f"{kind}Mappings", ())]
        try:
            with open(f"/proc/{pid}/{kind}_map", "w") as file:
                file.write("".join(lines))
        except OSError as error:
            raise Error(f"cannot write the {kind} map {lines}: {error.strerror}") from error


def _abandon(started: Process) -> None:
    """Leave nothing running of a start that failed."""
    if started.master is not None:
        os.close(started.master)
    if started.pid:
        os.kill(started.pid, signal.SIGKILL)
        os.waitpid(started.pid, 0)
