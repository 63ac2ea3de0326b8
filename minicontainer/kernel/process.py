"""What a process can say about itself: prctl(2), close_range(2), keyctl(2)."""

from __future__ import annotations

import ctypes
import errno

from minicontainer.kernel.libc import check, libc, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# include/uapi/linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

# the largest number that a descriptor can have
_LAST_FD = 0x7FFFFFFF

_INTERNAL_SIGNALS = (32, 33)
_SIGACTION_BYTES = 32  # struct sigaction of include/linux/signal_types.h; all 0 is SIG_DFL
_SIGSET_BYTES = 8

# include/uapi/linux/keyctl.h
KEYCTL_JOIN_SESSION_KEYRING = 1

libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """Change or ask one attribute (PR_*) of the calling thread or process (prctl(2))."""
    return check(libc.prctl(option, arg2, arg3, 0, 0), "prctl")


def set_name(name: str) -> None:
    """Set the name that ps(1) shows for this thread, cut to 15 bytes (prctl(2), PR_SET_NAME)."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor from 3 up that is not to be kept (close_range(2))."""
    first = 3
    for fd in sorted(fd for fd in keep if fd >= first):
        if fd > first:
            syscall("close_range", first, fd - 1, 0)
        first = fd + 1
    syscall("close_range", first, _LAST_FD, 0)


def new_session_keyring() -> None:
    """Leave the session keyring that was inherited for a new, empty one (keyctl(2))."""
    try:
        syscall("keyctl", KEYCTL_JOIN_SESSION_KEYRING, None)
    except OSError as error:
        if error.errno != errno.ENOSYS:  # a kernel without keys has none to inherit
            raise


def reset_internal_signals() -> None:
    """Give the two signals that the C library keeps for itself their default action (nptl(7)).

    sigaction(3) refuses them; but a child of posix_spawn(3) ignores them, and execve(2) passes that on.
    """
    for number in _INTERNAL_SIGNALS:
        syscall("rt_sigaction", number, bytes(_SIGACTION_BYTES), None, _SIGSET_BYTES)


def set_title(title: str) -> None:
    """Show ``title`` as this process's command line in ps(1), and nothing of its environment.

    Both lie in one piece of the stack, which the kernel reads anew for each reader of /proc/PID/cmdline and
    /proc/PID/environ (proc_pid_stat(5): arg_start, env_end). What it shows ends at the title's NUL, even beyond
    where the arguments ended, when their last byte is not NUL any more (fs/proc/base.c, get_mm_proctitle).
    """
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    start, arg_end, env_end = int(fields[45]), int(fields[46]), int(fields[48])
    data = title.encode()[: env_end - start - 2] + b"\0"
    data = data.ljust(arg_end - start, b".")
    ctypes.memset(start, 0, env_end - start)
    ctypes.memmove(start, data, len(data))


def trim_memory() -> None:
    """Give memory that was freed back to the system, where the C library can (malloc_trim(3), glibc)."""
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
