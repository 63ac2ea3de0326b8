"""What a file has besides its content: owner, mode, extended attributes, times; taken from an archive's entry.

Each is set by way of a descriptor of the file itself. By name it would be another file if somebody put one in
its place, and chmod(2), which has no way of not following a symlink, would change what that leads to.
"""

from __future__ import annotations

import os
import stat

from minicontainer.errors import InvalidArgument
from minicontainer.images.headers import SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.images.entries import Entry

_OVERLAY = ("trusted.overlay.", "user.overlay.")  # the kernel's own notes, which no archive may write for it


def set_at(parent: int, name: str, entry: Entry) -> None:
    """Set the attributes of what was just made.

    There is no chmod(2) that follows no symlink, and when an archive is unpacked into a running container, a
    process there may have put one in the file's place: so the file is opened first, and then it stays the same.
    """
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode) != (entry.kind == SYMLINK):
            raise InvalidArgument(f"entry {entry.name!r} was replaced while it was made; refused")
        # This leads to the very file, even to a symlink itself (proc_pid_fd(5)).
        set_on(f"/proc/self/fd/{fd}", entry)
    finally:
        os.close(fd)


def set_on(file: int | str, entry: Entry) -> None:
    """Set the attributes of a file that is open, or that a path leads to which nobody can change."""
    set_owner(file, entry)
    set_xattrs(file, entry)
    os.utime(file, ns=(entry.mtime, entry.mtime))


def set_owner(file: int | str, entry: Entry) -> None:
    """Set owner and mode, in this order: chown(2) clears the set-user-ID bits."""
    os.chown(file, entry.uid, entry.gid)
    if entry.kind != SYMLINK:
        os.chmod(file, entry.mode & 0o7777)


def set_xattrs(file: int | str, entry: Entry) -> None:
    """Set the extended attributes, but not those that are the kernel's or this host's policy to give.

    InvalidArgument names the one that the kernel refuses: a damaged value, or an attribute that this filesystem
    does not have.
    """
    for name, value in entry.xattrs.items():
        policy = name.startswith("security.") and name != "security.capability"
        if policy or name.startswith(_OVERLAY):
            continue
        try:
            os.setxattr(file, name, value)
        except OSError as error:
            raise InvalidArgument(
                f"entry {entry.name!r}: its attribute {name} cannot be set: {error.strerror}; refused"
            ) from None
