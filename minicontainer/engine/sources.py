"""Before a start: that all that is to be mounted from the host is there, and can be mounted as was asked.

Propagation is about mounts that come later. The kernel passes a new mount on between mounts that are **peers**
(shared), or one way, from a master to its slaves. A container can only be a peer or a slave of a mount that is
shared on the host; otherwise nothing would ever come, and nobody would know why (mount_namespaces(7)).
"""

from __future__ import annotations

import os

from minicontainer.engine import filling, mounts
from minicontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.engine.container import Container


def make_ready(container: Container) -> None:
    """Make what ``-v`` promises to make, and check the rest.

    Raises NotFound when a volume or a path is gone, Error when a mount of the host is not shared that has to be.
    """
    for point in container.document["Mounts"]:
        if point["Type"] == "volume":
            filling.settle(container.engine.volumes.find(point["Name"]))
        elif point["Type"] == "bind":
            mounts.check_source(point)
            _make_source(point["Source"])
            _check_propagation(point)


def _make_source(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except FileExistsError:
        pass  # a file, or whatever it is, as well
    except OSError as error:
        raise Error(f"cannot make {path} to mount it: {error.strerror}") from error


def _check_propagation(point: dict[str, Any]) -> None:
    kind = point["Propagation"].removeprefix("r")
    if kind == "private":
        return
    path = os.path.realpath(point["Source"])
    mount_point, peers = _mount_of(path)
    wanted = ("shared",) if kind == "shared" else ("shared", "master")
    if not peers.intersection(wanted):
        name = "shared" if kind == "shared" else "shared or slave"
        raise Error(
            f"path {path} is mounted on {mount_point} but it is not a {name} mount; "
            f"on the host, `mount --make-shared {mount_point}` makes it one"
        )


def _mount_of(path: str) -> tuple[str, set[str]]:
    """The mount that a path is on: where it is mounted, and whether it is ``shared`` and has a ``master``.

    Source: proc_pid_mountinfo(5). Of two on one place the later one counts, which covers the other.
    """
    found: tuple[str, set[str]] = ("/", set())
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            mount_point = _unescaped(fields[4])
            below = mount_point.rstrip("/") + "/"
            if f"{path}/".startswith(below) and len(mount_point) >= len(found[0]):
                optional = fields[6 : fields.index("-")]
                found = mount_point, {field.partition(":")[0] for field in optional}
    return found


def _unescaped(text: str) -> str:
    for character in " \t\n\\":
        text = text.replace(f"\\{ord(character):03o}", character)
    return text
