"""The whole interface of cgroups: directories to make and remove, small files to read and write.

mkdir(2) makes a cgroup, rmdir(2) removes it, and the files in it are the kernel's own from the first moment.
They have three shapes: one value (``memory.max``), a value a line (``cgroup.procs``), and a key and a value a
line (``memory.events``). A write is an instruction: it goes out as one write(2), and the error it comes back
with is the kernel's answer.
"""

from __future__ import annotations

import errno
import os
import time

from minicontainer.errors import Conflict, Unsupported

GONE = (errno.ENOENT, errno.ENODEV)  # a cgroup removed before it was opened, and after


def read(path: str) -> str:
    """The contents of a file, with nothing translated but the last newline taken off."""
    with open(path, errors="surrogateescape", newline="\n") as file:
        return file.read().rstrip("\n")


def write(path: str, value: str) -> None:
    """Write ``value`` in one write(2); the OSError has the kernel's errno and the path."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def read_if_there(path: str) -> str:
    """As :func:`read`; empty when there is no such file, or no such cgroup any more."""
    try:
        return read(path)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return ""


def keyed(path: str) -> dict[str, int]:
    """A file of ``key number`` lines ("flat keyed" in cgroup-v2.rst); empty when there is no such file."""
    lines = read_if_there(path).splitlines()
    return {key: int(number) for key, number in (line.rsplit(" ", 1) for line in lines)}


def number(path: str) -> int | None:
    """The number in a file; None when it says ``max`` or there is no such file."""
    text = read_if_there(path)
    return int(text) if text not in ("", "max") else None


def make_directory(path: str) -> None:
    """Make a cgroup; one that is there is fine. Raises Unsupported where this user may not."""
    try:
        os.mkdir(path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise Unsupported(
            f"cannot make the cgroup {path}: {error.strerror}; it takes root and a writable cgroup mount, "
            "or a cgroup that was delegated to this user"
        ) from error


def tree(directory: str) -> list[str]:
    """The cgroup and those below it, each after those below it; empty when it is not there.

    A container with a writable cgroup mount may make sub-cgroups of its own, as deep as it likes.
    """
    found: list[str] = []
    pending = [directory]
    while pending:
        group = pending.pop()
        try:
            with os.scandir(group) as entries:
                pending += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            if error.errno not in GONE:
                raise
        else:
            found.append(group)
    return found[::-1]


def join(directory: str, pid: int) -> None:
    """Put a process into the cgroup; 0 is the caller."""
    write(f"{directory}/cgroup.procs", str(pid))


def members(directory: str) -> set[int]:
    """The ids of the processes in the cgroup itself (a zombie is in none).

    A process of another pid namespace has no id here and is read as 0; kill(2) means another thing by 0.
    """
    try:
        return set(map(int, read(f"{directory}/cgroup.procs").split())) - {0}
    except OSError as error:
        # Removed meanwhile; or a threaded cgroup, whose processes stand in the file of the one above.
        if error.errno in (*GONE, errno.EOPNOTSUPP):
            return set()
        raise


def processes(directory: str) -> set[int]:
    """The ids of the processes in the cgroup and below it; empty when it is not there."""
    return {pid for group in tree(directory) for pid in members(group)}


def remove_tree(directory: str, deadline: float) -> None:
    """Remove a cgroup and those below it; nothing to do is fine.

    EBUSY may mean a process that has died but is not taken down yet, so it is tried again until ``deadline``
    (as of time.monotonic()); then it is a Conflict that names the processes.
    """
    pause = 0.001
    while True:
        try:
            os.rmdir(directory)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if not os.path.isdir(directory):
                return  # a read-only mount says so before it says that there is nothing
            if error.errno != errno.EBUSY:
                raise
        if time.monotonic() > deadline:
            left = " ".join(map(str, sorted(processes(directory)))) or "dying ones"
            raise Conflict(f"cannot remove cgroup {directory}: it holds processes ({left}); kill them first")
        if not _remove_below(directory):
            time.sleep(pause)
            pause = min(2 * pause, 0.05)


def _remove_below(directory: str) -> bool:
    """Remove the sub-cgroups that can be; whether there were any and all are gone."""
    groups = tree(directory)[:-1]
    busy = 0
    for group in groups:
        try:
            os.rmdir(group)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            busy += 1
    return bool(groups) and not busy
