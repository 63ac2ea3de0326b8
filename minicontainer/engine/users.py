"""Who ``--user app:staff`` is: names become numbers by the image's own /etc/passwd and /etc/group.

The kernel knows only numbers, and a name means what the container's files say, not the host's.
"""

from __future__ import annotations

import os
import stat

from minicontainer.errors import Error
from minicontainer.runtime.inside import open_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

_MOST_BYTES = 16 << 20
_MOST_ID = 2**31 - 1


class User:
    """Numbers for the kernel, and the home directory for the environment."""

    def __init__(self, uid: int, gid: int, groups: list[int], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home

    def oci(self) -> dict[str, Any]:
        """The OCI ``process.user`` object."""
        return {"uid": self.uid, "gid": self.gid, "additionalGids": self.groups}


def resolve(root: int, text: str, group_add: Sequence[str] = ()) -> User:
    """Find the user ``user[:group]`` in the root filesystem that the descriptor ``root`` refers to.

    A number is never a name and needs no entry; an unknown name is an Error. Without a group the user's own
    and all groups that list the user count, with one only that (as Docker does). The group is among the
    supplementary ones too: a set-group-ID program would shed it otherwise, and with it what is denied to that
    group (CVE-2022-36109).
    """
    name, colon, group = text.partition(":")
    users = list(_table(root, "/etc/passwd", 7))
    groups = list(_table(root, "/etc/group", 4))
    number = int(name or 0) if name.isdecimal() or not name else None
    entry = next((u for u in users if (u[0] == name if number is None else int(u[2]) == number)), None)
    if entry:
        uid, gid, home = int(entry[2]), int(entry[3]), entry[5] or "/"
    elif number is not None:
        uid, gid, home = number, 0, "/"
    else:
        raise Error(f"unable to find user {name}: no matching entries in the container's /etc/passwd")
    if colon and group:
        gid = _group(groups, group)
        extra = []
    else:
        extra = [int(g[2]) for g in groups if entry and entry[0] in g[3].split(",")]
    extra += [_group(groups, each) for each in group_add]
    if not (uid <= _MOST_ID and gid <= _MOST_ID and all(each <= _MOST_ID for each in extra)):
        raise Error(f"user {text}: uids and gids must be in the range 0 to {_MOST_ID}")
    return User(uid, gid, list(dict.fromkeys([gid, *extra])), home)


def _group(groups: Iterable[list[str]], text: str) -> int:
    if text.isdecimal():
        return int(text)
    entry = next((g for g in groups if g[0] == text), None)
    if entry:
        return int(entry[2])
    raise Error(f"unable to find group {text}: no matching entries in the container's /etc/group")


def _table(root: int, path: str, fields: int) -> Iterable[list[str]]:
    """The rows of a file like /etc/passwd, those that have all their fields; none if it is not there."""
    try:
        fd = open_inside(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return
    if not stat.S_ISREG(os.fstat(fd).st_mode):  # an image may have a device there that never ends
        os.close(fd)
        return
    with open(fd, encoding="utf-8", errors="replace") as file:
        for line in file.read(_MOST_BYTES).split("\n"):
            row = line.split(":")
            if len(row) >= fields and row[2].isdecimal() and (fields < 7 or row[3].isdecimal()):
                yield row
