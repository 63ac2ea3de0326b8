"""What a file has besides its content: owner, mode, extended attributes, times; taken from an archive's entry.

Each is set by way of a descriptor of the file itself. By name it would be another file if somebody put one in
its place, and chmod(2), which has no way of not following a symlink, would change what that leads to.
"""

from __future__ import annotations

import os
import stat

from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tarfile

_OVERLAY = ("trusted.overlay.", "user.overlay.")  # the kernel's own notes, which no archive may write for it


def set_at(parent: int, name: str, entry: tarfile.TarInfo) -> None:
    """Set the attributes of what was just made.

    There is no chmod(2) that follows no symlink, and when an archive is unpacked into a running container, a
    process there may have put one in the file's place: so the file is opened first, and then it stays the same.
    """
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode) != entry.issym():
            raise InvalidArgument(f"entry {entry.name!r} was replaced while it was made; refused")
        set_on(fd, entry)
    finally:
        os.close(fd)


def set_on(fd: int, entry: tarfile.TarInfo) -> None:
    """Owner first, for chown clears the set-user-ID bits; then mode, extended attributes, times."""
    path = f"/proc/self/fd/{fd}"  # leads to the very file, even to a symlink itself (proc_pid_fd(5))
    os.chown(path, entry.uid, entry.gid)
    if not entry.issym():
        os.chmod(path, entry.mode & 0o7777)
    for key, value in entry.pax_headers.items():
        name = key.removeprefix("SCHILY.xattr.")
        if name != key and not name.startswith(_OVERLAY):
            os.setxattr(path, name, value.encode("utf-8", "surrogateescape"))
    mtime = _nanoseconds(str(entry.pax_headers.get("mtime", entry.mtime)))
    os.utime(path, ns=(mtime, mtime))


def _nanoseconds(seconds: str) -> int:
    """A decimal number of seconds, exactly: a float has not enough digits for the time of day."""
    whole, _, fraction = seconds.partition(".")
    sign = -1 if whole.startswith("-") else 1
    return int(whole) * 1_000_000_000 + sign * int(fraction[:9].ljust(9, "0"))
