"""``doctor``: what this host can do for containers, and how to mend what it cannot.

Nothing is concluded from a version number. Each check tries the thing itself, in a child process where it
would change something, and says in one line what it saw.
"""

from __future__ import annotations

import os

from minicontainer.errors import Error
from minicontainer.kernel import capabilities, mount
from minicontainer.kernel import namespaces as kernel
from minicontainer.runtime import cgroups, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK, MISSING, ABSENT = "ok", "missing", "absent"


class Check:
    """One line of the doctor's report.

    ``result`` is "ok", "missing" for what containers cannot do without, "absent" for what they can;
    ``remedy`` says how to get it.
    """

    def __init__(self, name: str, result: str, detail: str, remedy: str = "") -> None:
        self.name = name
        self.result = result
        self.detail = detail
        self.remedy = remedy

    def __str__(self) -> str:
        remedy = f"\n{'':9}→ {self.remedy}" if self.remedy else ""
        return f"{self.result:<8} {self.name}: {self.detail}{remedy}"


def examine() -> Iterator[Check]:
    """All checks, one after the other."""
    yield _privileges()
    yield _kernel()
    if not os.path.exists("/proc/self"):
        yield Check("proc filesystem", MISSING, "/proc is empty", "mount -t proc proc /proc")
        return  # all else is learnt from there
    yield from _namespaces()
    yield from _cgroups()
    yield _overlay()
    yield _seccomp()
    yield _busybox()
    yield _memory_swap()
    yield from _networks()
    yield _haproxy()


def _privileges() -> Check:
    if os.geteuid() != 0:
        return Check("privileges", MISSING, f"running as user {os.geteuid()}", "run it with sudo")
    if not capabilities.has("CAP_SYS_ADMIN"):
        return Check(
            "privileges",
            MISSING,
            "root without CAP_SYS_ADMIN",
            "inside a container, start that one with --privileged",
        )
    return Check("privileges", OK, "root, with CAP_SYS_ADMIN")


def _kernel() -> Check:
    """The newest system call that everything here builds on: mount_setattr, Linux 5.12."""
    release = os.uname().release
    try:
        fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
        try:
            mount.mount_setattr(fd)  # of nothing, to nothing
        finally:
            os.close(fd)
    except PermissionError:
        pass  # it is there, and says who may use it
    except OSError as error:
        return Check("kernel", MISSING, f"{release}: {error.strerror}", "use Linux 5.12 or newer")
    return Check("kernel", OK, release)


def _namespaces() -> Iterator[Check]:
    for namespace in namespaces.NAMESPACES:
        name = f"{namespace.name} namespaces"
        wanted = namespace.name not in ("user", "time")
        if not namespaces.supported(namespace):
            yield Check(
                name, MISSING if wanted else ABSENT, "this kernel has none", "use a kernel built with them"
            )
            continue
        error = _in_child(lambda flag=namespace.flag: kernel.unshare(flag))  # type: ignore[misc]
        if error is None:
            yield Check(name, OK, namespace.isolates)
        else:
            yield Check(name, MISSING if wanted else ABSENT, error, _remedy(error))


def _remedy(error: str) -> str:
    """What helps when a namespace cannot be made (unshare(2), ERRORS)."""
    if "space left" in error:
        return "raise /proc/sys/user/max_*_namespaces"
    return (
        "run it as root"
        if os.geteuid() != 0
        else "run it outside of a chroot, and of an unprivileged container"
    )


def _in_child(attempt: Callable[[], object]) -> str | None:
    """Try something in a child process; None when it worked, the error's text when not."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            attempt()
            os._exit(0)
        except (OSError, Error) as error:
            os.write(write, str(error).encode()[:1000])
        finally:
            os._exit(1)
    os.close(write)
    with open(read, errors="replace") as file:
        text = file.read()
    status = os.waitpid(child, 0)[1]
    return None if status == 0 else text or f"ended with status {status}"


def _cgroups() -> Iterator[Check]:
    hierarchies = cgroups.hierarchies()
    if not hierarchies:
        yield Check("cgroups", MISSING, "none is mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
        return
    where = ", ".join(sorted({hierarchy.mountpoint for hierarchy in hierarchies}))
    yield Check("cgroups", OK, f"{cgroups.mode()} at {where if len(where) < 60 else where[:57] + '...'}")
    have = {controller for hierarchy in hierarchies for controller in hierarchy.controllers}
    uses = {"memory": "--memory", "cpu": "--cpus", "pids": "--pids-limit", "cpuset": "--cpuset-cpus"}
    for controller, option in uses.items():
        if controller in have:
            yield Check(f"{controller} controller", OK, option)
        else:
            yield Check(
                f"{controller} controller",
                ABSENT,
                f"{option} cannot limit anything",
                f"boot without cgroup_disable={controller}",
            )


def _overlay() -> Check:
    from minicontainer.images import overlay

    if overlay.supported():
        return Check("overlay filesystem", OK, "layers can be mounted as one")
    return Check("overlay filesystem", MISSING, "this kernel does not have it loaded", "modprobe overlay")


def _seccomp() -> Check:
    try:
        with open("/proc/sys/kernel/seccomp/actions_avail") as file:
            actions = file.read().split()
    except FileNotFoundError:
        return Check(
            "seccomp",
            MISSING,
            "this kernel filters no system calls",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        )
    if "errno" not in actions:
        return Check("seccomp", MISSING, f"the kernel offers only {' '.join(actions)}", "use a newer kernel")
    error = _in_child(_import_libseccomp)
    if error:
        return Check("seccomp", MISSING, error, "apt-get install libseccomp2")
    return Check("seccomp", OK, "the kernel filters system calls, libseccomp compiles filters")


def _import_libseccomp() -> None:
    try:
        import pyseccomp  # noqa: F401
    except (ImportError, RuntimeError) as error:
        raise Error(str(error)) from None


def _busybox() -> Check:
    from minicontainer.images import embedded

    try:
        path = embedded.find_busybox()
    except Error as error:
        return Check("static busybox", ABSENT, str(error), "apt-get install busybox-static")
    return Check("static busybox", OK, f"{path}, for a root filesystem without any network")


def _networks() -> Iterator[Check]:
    from minicontainer.engine.network import checking

    tries = {
        "bridges and veths": (checking.try_devices, "modprobe bridge veth"),
        "nftables": (checking.try_filter, "modprobe nf_tables nft_chain_nat nft_masq nft_fib_inet"),
    }
    for name, (attempt, remedy) in tries.items():
        error = _in_child(attempt)
        status, detail = (OK, "for networks") if error is None else (ABSENT, error)
        yield Check(name, status, detail, "" if error is None else remedy)
    if checking.forwards():
        yield Check("packet forwarding", OK, "the host passes on what containers send")
    else:
        yield Check("packet forwarding", OK, "off; the first network that has a way out turns it on")
    yield from _other_filters()
    yield from _leftover_networks()


def _other_filters() -> Iterator[Check]:
    """Whether the firewalls of others let our packets pass: one chain that drops them is enough."""
    from minicontainer.engine.network import checking

    try:
        found, passage = checking.refusing()
    except OSError as error:
        yield Check("other firewalls", ABSENT, f"cannot be looked at: {error.strerror}", _remedy(str(error)))
        return
    if not found:
        yield Check("other firewalls", OK, "none that drops what containers send")
    elif passage:
        yield Check(
            "other firewalls", OK, f"{', '.join(found)} drops; our bridges are let pass in DOCKER-USER"
        )
    else:
        yield Check(
            "other firewalls",
            ABSENT,
            f"{', '.join(found)} drops what containers send to one another and outside",
            "have it accept what comes from and goes to the bridges mc-*",
        )


def _leftover_networks() -> Iterator[Check]:
    """What somebody has left who deleted an engine's directory with its networks in it."""
    from minicontainer.engine.network import checking

    try:
        found = checking.leftovers()
    except OSError:
        return  # the same as for the check of other firewalls, which has said so
    if found:
        detail = f"{', '.join(found)}: whose engine's directory was deleted"
        remedy = "bridges go when the next one is made; a table by nft delete table inet NAME"
        yield Check("leftover networks", ABSENT, detail, remedy)


def _memory_swap() -> Check:
    for hierarchy in cgroups.hierarchies():
        if "memory" in hierarchy.controllers and hierarchy.version == 1:
            there = os.path.exists(os.path.join(hierarchy.mountpoint, "memory.memsw.limit_in_bytes"))
            detail = (
                "memory and swap can be limited together" if there else "--memory limits memory without swap"
            )
            remedy = "" if there else "boot with swapaccount=1"
            return Check("swap accounting", OK if there else ABSENT, detail, remedy)
    swap = os.path.exists("/proc/swaps")
    return Check("swap accounting", OK if swap else ABSENT, "swap is limited with memory")


def _haproxy() -> Check:
    from minicontainer.engine.rollout import haproxy

    try:
        path = haproxy.find()
    except Error as error:
        return Check("load balancer", ABSENT, str(error).partition(";")[0], haproxy.HOW_TO_GET)
    return Check("load balancer", OK, f"{path}, for rollouts")
