"""``/dev``: a tmpfs with the handful of devices that every program expects.

The host's ``/dev`` has the disks. A container gets a fresh tmpfs and a node for each device it is meant to
have; the device cgroup decides what may be opened, whatever nodes are there.
"""

from __future__ import annotations

import os
import stat

from minicontainer.errors import InvalidArgument
from minicontainer.kernel import mount
from minicontainer.runtime.inside import open_mount_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

# OCI runtime specification, config-linux.md, "Default Devices".
DEFAULT_DEVICES = (
    {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666},
    {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666},
    {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o666},
    {"path": "/dev/random", "type": "c", "major": 1, "minor": 8, "fileMode": 0o666},
    {"path": "/dev/urandom", "type": "c", "major": 1, "minor": 9, "fileMode": 0o666},
    {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o666},
)
SYMLINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
    "/dev/ptmx": "pts/ptmx",
}
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def populate(root: int, devices: Iterable[Mapping[str, Any]], user_namespace: bool) -> None:
    """Make the default devices, the extra ``devices`` (OCI ``linux.devices``) and the usual symlinks."""
    for device in (*DEFAULT_DEVICES, *devices):
        if user_namespace:
            _bind(root, device["path"])
        else:
            _make_node(root, device)
    for path, target in SYMLINKS.items():
        _symlink(root, path, target)


def _make_node(root: int, device: Mapping[str, Any]) -> None:
    """mknod(2), beneath the root; an existing node is replaced, another existing file is not."""
    path, kind = device["path"], device["type"]
    if kind not in _TYPES:
        raise InvalidArgument(f"device {path}: {kind!r} is no device type; c, b, u and p are")
    mode = _TYPES[kind] | (device.get("fileMode", 0o666) & 0o7777)
    number = os.makedev(device.get("major", 0), device.get("minor", 0))
    parent = open_mount_point(root, os.path.dirname(path), directory=True)
    name = os.path.basename(path)
    mask = os.umask(0)
    try:
        try:
            os.mknod(name, mode, number, dir_fd=parent)
        except FileExistsError:
            _remove_node(parent, name, path)
            os.mknod(name, mode, number, dir_fd=parent)
        if device.get("uid") or device.get("gid"):
            os.chown(name, device.get("uid", 0), device.get("gid", 0), dir_fd=parent, follow_symlinks=False)
    finally:
        os.umask(mask)
        os.close(parent)


def _remove_node(parent: int, name: str, path: str) -> None:
    there = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if not (stat.S_ISCHR(there) or stat.S_ISBLK(there) or stat.S_ISFIFO(there)):
        raise InvalidArgument(f"device {path}: the image has a file there that is no device")
    os.unlink(name, dir_fd=parent)


def _bind(root: int, path: str) -> None:
    """Bind the host's own node: in a user namespace mknod is forbidden (user_namespaces(7))."""
    tree = mount.open_tree(path)
    target = open_mount_point(root, path, directory=False)
    try:
        mount.move_mount(tree, target)
    finally:
        os.close(target)
        os.close(tree)


def _symlink(root: int, path: str, target: str) -> None:
    parent = open_mount_point(root, os.path.dirname(path), directory=True)
    try:
        os.symlink(target, os.path.basename(path), dir_fd=parent)
    except FileExistsError:
        pass  # the bundle mounts a /dev of its own
    finally:
        os.close(parent)
