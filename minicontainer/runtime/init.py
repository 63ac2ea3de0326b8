"""The container's side of a start: from a fork of ours to the container's program.

The container's **first** process, PID 1 of its pid namespace, enters its other namespaces, builds its own
world while it still has the power to, says that it is ready, waits until it may be counted in its cgroups,
gives its powers away and becomes the program.

The pid namespace itself is chosen by the launcher, for it takes in only children. But with a user namespace
everything else must come after it, to belong to it; and the clocks of a time namespace are set before anybody
is in it. Then there is a **stage** in between: a process that enters the namespaces, forks the first one and
is gone.
"""

from __future__ import annotations

import errno
import os
import signal

from minicontainer.errors import Error
from minicontainer.kernel import namespaces as kernel_namespaces
from minicontainer.kernel import netdevice, process, terminal
from minicontainer.runtime import inside, namespaces, privileges, program, reaper, rootfs, spec
from minicontainer.runtime import terminal as ptys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NoReturn

    from minicontainer.runtime.channel import Channel
    from minicontainer.runtime.rootfs import CgroupMounts

    Config = dict[str, Any]


class Plan:
    """What a start is made of; the two kinds, a new container and one more process in it, differ only here.

    :param process: the OCI ``process`` object
    :param staged: whether there is a stage, which then enters all namespaces
    :param choose_pid_namespace: run by the launcher before it forks the first process, if there is no stage
    :param enter_namespaces: run by the stage, or else by the first process, for those that are left
    :param build_world: run by the first process when it is in its namespaces
    :param stdio: descriptors for standard input, output and error; without effect with a terminal
    :param entrances: descriptors by which the first process enters its cgroups (Cgroup.entrances)
    :param filter_program: the compiled system call filter and its flags, None for none
    :param clones: descriptors of what is to be mounted, which ``build_world`` uses
    :param cgroup_namespace: whether to unshare one, after the cgroups were joined
    :param console: whether its terminal is the container's /dev/console
    :param reaper: whether to stay, as init, and run the program as a child
    """

    def __init__(
        self,
        process: dict[str, Any],
        staged: bool,
        choose_pid_namespace: Callable[[], None],
        enter_namespaces: Callable[[Channel], None],
        build_world: Callable[[], None],
        stdio: tuple[int, int, int],
        entrances: list[int],
        filter_program: tuple[bytes, int] | None,
        *,
        clones: Sequence[int] = (),
        cgroup_namespace: bool = False,
        console: bool = False,
        reaper: bool = False,
    ) -> None:
        self.process = process
        self.staged = staged
        self.choose_pid_namespace = choose_pid_namespace
        self.enter_namespaces = enter_namespaces
        self.build_world = build_world
        self.stdio = stdio
        self.entrances = entrances
        self.filter_program = filter_program
        self.clones = clones
        self.cgroup_namespace = cgroup_namespace
        self.console = console
        self.reaper = reaper
        #: the file that this process is running, asked of the host's /proc
        self.executable = os.stat("/proc/self/exe")


def stage(plan: Plan, channel: Channel) -> NoReturn:
    """Enter the namespaces and fork the first process; report its pid, as seen from outside, and end."""
    try:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        _leave_launcher(plan, channel)
        _enter_namespaces(plan, channel)
        pid = os.fork()
        if pid == 0:
            first(plan, channel)
        channel.send(pid=pid)
        os._exit(0)
    except BaseException as error:  # whatever it is, the other side must hear of it
        channel.send_error(error)
    finally:
        os._exit(1)


def first(plan: Plan, channel: Channel) -> NoReturn:
    """Build the world, wait for the cgroups, give up privileges, become the program."""
    try:
        os.setsid()
        if not plan.staged:
            _leave_launcher(plan, channel)
            _enter_namespaces(plan, channel)
        plan.build_world()
        master = _take_stdio(plan)
        channel.send([master] if master is not None else [], ready=True)
        channel.expect("go")
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        for entrance in plan.entrances:
            os.write(entrance, b"0")
        if plan.cgroup_namespace:
            namespaces.unshare(["cgroup"])
        _become(plan, channel)
    except BaseException as error:
        channel.send_error(error)
    finally:
        os._exit(1)


def _leave_launcher(plan: Plan, channel: Channel) -> None:
    """Take over from the launcher only what was passed on: no other descriptor, no file mode mask."""
    process.close_all_but([channel.fileno(), *plan.stdio, *plan.entrances, *plan.clones])
    os.umask(0o022)
    if plan.process.get("oomScoreAdj") is not None:
        privileges.set_oom_score_adj(plan.process["oomScoreAdj"])


def _enter_namespaces(plan: Plan, channel: Channel) -> None:
    plan.enter_namespaces(channel)
    _become_root()


def _become_root() -> None:
    """Be the root of the user namespace: whoever enters one is nobody there until it says who it is."""
    if os.getuid() != 0:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def _become(plan: Plan, channel: Channel) -> None:
    # Before any path of the container's is followed: /proc/self/fd/7 must not lead out (CVE-2024-21626).
    process.close_all_but([channel.fileno()])
    process.new_session_keyring()
    arguments, directory = plan.process["args"], plan.process["cwd"]
    variables = program.environment(plan.process.get("env", ()))
    entered = _enter_directory(directory)
    program.refuse_own_executable(arguments[0], variables.get("PATH", ""), plan.executable)
    privileges.apply(plan.process, plan.filter_program)
    if not entered and not _enter_directory(directory):
        raise Error(f"cannot change to the working directory {directory}: permission denied")
    if plan.reaper:
        reaper.fork_and_reap(channel, arguments)
    program.execute(arguments, variables)


def _enter_directory(path: str) -> bool:
    """chdir, and make sure that it led somewhere inside; False when it is not permitted."""
    try:
        os.chdir(path)
    except PermissionError:  # of a directory that only its user may enter; perhaps we will be that user
        return False
    except OSError as error:
        raise Error(f"cannot change to the working directory {path}: {error.strerror}") from None
    try:
        inside = os.getcwd().startswith("/")
    except FileNotFoundError:  # what the C library makes of the kernel's "(unreachable)/etc", getcwd(3)
        inside = False
    if not inside:
        raise Error(f"the working directory {path} is outside the container")
    return True


def _take_stdio(plan: Plan) -> int | None:
    """Put descriptors 0, 1 and 2 in place; with a terminal, returns the descriptor of its other end."""
    master = None
    stdio = plan.stdio
    if plan.process.get("terminal"):
        size = plan.process.get("consoleSize") or {}
        master, slave, path = ptys.open_inside(size.get("height", 0), size.get("width", 0))
        terminal.set_controlling(slave)
        if plan.console:
            ptys.bind_console(path)
        stdio = (slave, slave, slave)
    for number, fd in enumerate(stdio):
        os.dup2(fd, number, inheritable=True)
        _give(number, plan.process["user"].get("uid", 0))
    return master


def _give(fd: int, uid: int) -> None:
    """Let the user own a pipe or terminal, so that it can be opened again by name, as /dev/stdout."""
    status = os.fstat(fd)
    if status.st_uid == uid or status.st_rdev == os.makedev(1, 3):  # /dev/null here is the host's
        return
    try:
        os.fchown(fd, uid, -1)
    except OSError as error:
        # It works as it is, unless it is opened again: of an owner that the user namespace does not know, or on a
        # file system that is read-only or has no owners.
        if error.errno not in (errno.EPERM, errno.EINVAL, errno.EROFS, errno.ENOTSUP):
            raise


# ------------------------------------------------------------------ a new container


def enter_new_namespaces(config: Config, channel: Channel, but: str = "") -> None:
    """Join the namespaces that the bundle names by path and make the others, all ``but`` one kind."""
    wanted = config["linux"].get("namespaces", ())
    namespaces.join_paths(entry for entry in wanted if entry["type"] != but)
    new = [name for name in spec.new_namespaces(config) if name not in (but, "cgroup")]
    if "user" in new:
        namespaces.unshare(["user"])
        channel.send(map=True)  # the id maps are written from outside (user_namespaces(7))
        channel.expect("go")
    if "time" in new:
        namespaces.unshare(["time"])
        _set_clocks(config["linux"].get("timeOffsets") or {})  # as the host's root, who owns the file
    _become_root()  # who owns the others
    namespaces.unshare(name for name in new if name not in ("user", "time"))


def _set_clocks(offsets: dict[str, Any]) -> None:
    """Shift the clocks of the time namespace that the next child will be in (time_namespaces(7))."""
    with open("/proc/self/timens_offsets", "w") as file:
        for clock, offset in offsets.items():
            file.write(f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n")


def build_world(config: Config, cgroup_mounts: CgroupMounts, clones: Mapping[int, int]) -> None:
    """Host name, mounts, root, kernel parameters: what the bundle says the container sees."""
    if config.get("hostname"):
        kernel_namespaces.sethostname(config["hostname"])
    if config.get("domainname"):
        kernel_namespaces.setdomainname(config["domainname"])
    rootfs.detach()
    rootfs.pivot(rootfs.build(config, cgroup_mounts, clones))
    if "network" in spec.new_namespaces(config):
        netdevice.set_up("lo")
    rootfs.write_sysctls(config["linux"].get("sysctl") or {})
    _make_directory(config["process"]["cwd"])
    rootfs.seal(config)


def _make_directory(path: str) -> None:
    """Make the working directory when the image lacks it, as Docker does.

    Through no magic link: with the host's processes in sight, /proc/1/root is the host's root.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(inside.open_mount_point(root, path, directory=True))
    except OSError as error:
        raise Error(f"cannot make the working directory {path}: {error.strerror}") from None
    finally:
        os.close(root)
