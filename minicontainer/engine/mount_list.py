"""What is mounted in a container's root filesystem: the OCI ``mounts`` list of its bundle.

First what every container has: the kernel's own filesystems, ``/dev``, and the three files in ``/etc`` that say who
and where it is. Then what was asked for (:mod:`minicontainer.engine.mounts`), which may take the place of any of
these.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.engine.document import Document

_SECURE = ["nosuid", "noexec", "nodev"]


def make(document: Document, files: str) -> list[dict[str, Any]]:
    """The OCI ``mounts`` of a container; ``files`` is the directory with the ``hosts`` and so on made for it."""
    host = document["HostConfig"]
    asked = [
        _mount(point["Destination"], "tmpfs" if point["Type"] == "tmpfs" else "bind", *_given(point))
        for point in document.get("Mounts", ())
    ]
    for path, given in host["Tmpfs"].items():
        asked.append(_mount(path, "tmpfs", [*_SECURE, *(word for word in given.split(",") if word)]))
    taken = {os.path.normpath(mount["destination"]) for mount in asked}
    own = [mount for mount in _own_mounts(host, files) if not _gives_way(mount["destination"], taken)]
    # What lies in another mount comes after it. Sorting by depth does that, and keeps the order otherwise.
    return sorted(own + asked, key=lambda mount: os.path.normpath(mount["destination"]).count("/"))


def _given(point: dict[str, Any]) -> tuple[list[str], str]:
    return point["Options"], point["Source"]


def _gives_way(path: str, taken: set[str]) -> bool:
    """Whether one of our mounts is not made because of what is asked for: a whole /dev brings all that is in it."""
    return path in taken or ("/dev" in taken and path.startswith("/dev/"))


def _own_mounts(host: dict[str, Any], files: str) -> list[dict[str, Any]]:
    rw = "rw" if host["Privileged"] else "ro"
    mounts = [
        _mount("/proc", "proc", _SECURE),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/sys", "sysfs", [*_SECURE, rw]),
        _mount("/sys/fs/cgroup", "cgroup", [*_SECURE, rw]),
    ]
    mounts += _ipc_mounts(host)
    for name, path in (
        ("resolv.conf", "/etc/resolv.conf"),
        ("hostname", "/etc/hostname"),
        ("hosts", "/etc/hosts"),
    ):
        mounts.append(_mount(path, "bind", ["rbind", "rprivate"], os.path.join(files, name)))
    return mounts


def _mount(path: str, fstype: str, options: list[str], source: str = "") -> dict[str, Any]:
    return {"destination": path, "type": fstype, "source": source or fstype, "options": options}


def _ipc_mounts(host: dict[str, Any]) -> list[dict[str, Any]]:
    """/dev/shm and /dev/mqueue: POSIX shared memory and queues are files, and belong to the ipc namespace."""
    mode = host["IpcMode"]
    mqueue = _mount("/dev/mqueue", "mqueue", _SECURE)  # of whichever ipc namespace it is mounted in
    if mode == "none":
        return [mqueue]
    if mode == "host":
        return [mqueue, _mount("/dev/shm", "bind", ["rbind", "rprivate"], "/dev/shm")]
    return [mqueue, _mount("/dev/shm", "tmpfs", [*_SECURE, "mode=1777", f"size={host['ShmSize']}"], "shm")]
