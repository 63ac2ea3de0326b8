"""What the container's process may do: limits, ids, capabilities, system calls.

Root in a container is the same root as on the host; what makes it harmless is what is taken away, and the
order in which it is taken. Limits first, while there is CAP_SYS_RESOURCE to raise them. The bounding set next:
what it lacks, no set-user-ID program can bring back. Then the ids, keeping the capabilities over the change
of user; then the capabilities themselves. The system call filter goes in before the capabilities are gone
(installing one needs CAP_SYS_ADMIN) unless no_new_privs makes that safe for anybody; then it can come last
and be stricter.
"""

from __future__ import annotations

import os
import resource
import signal

from minicontainer.errors import Error, InvalidArgument, explain
from minicontainer.kernel import capabilities, process, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def apply(spec: Mapping[str, Any], filter_program: tuple[bytes, int] | None) -> None:
    """Take from the calling process what an OCI ``process`` object does not grant it.

    ``filter_program`` is the compiled system call filter and its flags, None for no filter.
    """
    set_rlimits(spec.get("rlimits", ()))
    no_new_privileges = bool(spec.get("noNewPrivileges"))
    if filter_program and not no_new_privileges:
        seccomp.load(*filter_program)
    sets = {name: mask(spec.get("capabilities", {}).get(name) or ()) for name in SETS}
    if "capabilities" in spec:
        capabilities.drop_bounding(sets["bounding"])
    process.prctl(process.PR_SET_KEEPCAPS, 1)
    set_ids(spec["user"])
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of ids has taken it away (prctl(2))
    process.prctl(process.PR_SET_KEEPCAPS, 0)
    if "capabilities" in spec:
        _capset(sets)
        # The kernel lets a capability be ambient only while it is permitted and inheritable.
        capabilities.set_ambient(sets["ambient"] & sets["permitted"] & sets["inheritable"])
    if no_new_privileges:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        if filter_program:
            seccomp.load(*filter_program)


def _capset(sets: Mapping[str, int]) -> None:
    try:
        capabilities.capset(sets["effective"], sets["permitted"], sets["inheritable"])
    except PermissionError as error:
        available = capabilities.available()
        asked = sets["permitted"] | sets["effective"] | sets["inheritable"]
        lacking = [
            name for name, bit in capabilities.NUMBERS.items() if asked >> bit & 1 and name not in available
        ]
        if not lacking:
            raise
        raise Error(f"cannot grant {', '.join(lacking)}: this process itself does not have that") from error


def mask(names: Iterable[str]) -> int:
    """The bit mask of a list of names such as ``CAP_CHOWN``; those this kernel lacks are left out."""
    bits = 0
    for name in names:
        if name not in capabilities.NUMBERS:
            raise InvalidArgument(f"no capability is called {name}")
        bits |= 1 << capabilities.NUMBERS[name]
    return bits & ((2 << capabilities.last()) - 1) if bits else 0


def set_rlimits(rlimits: Iterable[Mapping[str, Any]]) -> None:
    """Set resource limits from an OCI list of ``{"type": "RLIMIT_NOFILE", "soft", "hard"}`` (setrlimit(2))."""
    for limit in rlimits:
        try:
            resource.setrlimit(rlimit(limit["type"]), (_value(limit["soft"]), _value(limit["hard"])))
        except (OSError, ValueError, OverflowError) as error:
            raise Error(
                f"cannot set {limit['type']} to {limit['soft']}:{limit['hard']}: {explain(error)}"
            ) from None


def rlimit(name: str) -> int:
    """The number of a resource limit such as ``RLIMIT_NOFILE``; InvalidArgument when there is none of this name."""
    number = getattr(resource, name, None) if name.startswith("RLIMIT_") else None
    if number is None:
        raise InvalidArgument(f"no resource limit is called {name}")
    return int(number)


def _value(value: int) -> int:
    """OCI writes limits as unsigned 64-bit numbers, with all bits set for no limit; Python writes that as -1."""
    return resource.RLIM_INFINITY if value < 0 or value >= 2**64 - 1 else value


def set_ids(user: Mapping[str, Any]) -> None:
    """Become the OCI ``user``: supplementary groups, then group, then user, for each needs what comes after."""
    try:
        os.setgroups(user.get("additionalGids", ()))
    except PermissionError:
        if user.get("additionalGids"):  # a user namespace without setgroups: nothing to set is no harm
            raise
    gid, uid = user.get("gid", 0), user.get("uid", 0)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.umask(user.get("umask", 0o022))


def set_oom_score_adj(value: int) -> None:
    """Say how gladly the kernel kills this process when memory is over, -1000 (never) to 1000 (first).

    To be called while /proc is the host's own: in a container it is what its image says it is, and in a user
    namespace the file belongs to nobody that one could be there (proc_pid_oom_score_adj(5)).
    """
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(value))
    except OSError as error:
        raise Error(f"cannot set oomScoreAdj to {value}: {error.strerror}") from error
