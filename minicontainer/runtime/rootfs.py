"""The container's mount tree: from a directory to the only world its processes can see.

Four steps, run by the container's first process in a mount namespace of its own. **detach** the copy of the
host's mount tree, so that nothing mounted here shows there. **build** the new tree: the root filesystem, then
each mount of the bundle, then ``/dev``. **pivot** into it with pivot_root(2), which, unlike chroot(2),
takes the old root out of reach for good: there is nothing left above to escape to. **seal** what procfs and
sysfs would give away of the host, or let the container change.
"""

from __future__ import annotations

import os

from minicontainer.errors import Error
from minicontainer.kernel import mount as kernel
from minicontainer.runtime import devices, mounts
from minicontainer.runtime.spec import has_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    CgroupMounts = Iterable[tuple[str, str]]


def detach() -> None:
    """Stop mounts made here from spreading to the host; the host's still come in (mount_namespaces(7))."""
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_SLAVE)


def build(config: dict[str, Any], cgroup_mounts: CgroupMounts, clones: Mapping[int, int] = {}) -> int:
    """Assemble the tree of an OCI ``config``; returns a descriptor of its root directory.

    :param cgroup_mounts: the container's own cgroup directories: (path on the host, name below /sys/fs/cgroup)
    :param clones: of some mounts, what :func:`minicontainer.runtime.mounts.clone_peers` has cloned
    """
    path, linux = config["root"]["path"], config["linux"]
    # pivot_root wants a mount point that is not the current root: bind the directory onto itself.
    tree = kernel.open_tree(path, recursive=True)
    below = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    kernel.move_mount(tree, below)
    os.close(below)
    os.close(tree)
    root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for number, mount in enumerate(config.get("mounts", ())):
        if mount.get("type") in ("cgroup", "cgroup2"):
            _mount_cgroups(root, mount, cgroup_mounts)
        else:
            mounts.make(root, mount, clones.get(number))
    if not _brings_dev(config):
        devices.populate(root, linux.get("devices", ()), has_namespace(config, "user"))
    return root


def _brings_dev(config: Mapping[str, Any]) -> bool:
    """Whether its /dev is somebody's directory on the host, in which no node must be made or replaced."""
    return any(
        os.path.normpath(mount["destination"]) == "/dev" and mounts.is_bind(mount)
        for mount in config.get("mounts", ())
    )


def _mount_cgroups(root: int, mount: Mapping[str, Any], cgroup_mounts: CgroupMounts) -> None:
    """Show the container its own cgroups, and none above them.

    They are bound from the host's mounts rather than mounted anew: the container joins them late, and a
    cgroup namespace would show the cgroup that its creator was in.
    """
    destination, options = mount["destination"], mounts.Options(mount.get("options", ()))
    cgroups = list(cgroup_mounts)
    if [name for _, name in cgroups] != [""]:  # v1: a tmpfs with a directory for each hierarchy
        tmpfs = mounts.new_filesystem("tmpfs", "tmpfs", ("mode=755",))
        for _, name in cgroups:
            os.mkdir(name, 0o755, dir_fd=tmpfs)
        mounts.attach(root, destination, tmpfs)
    for source, name in cgroups:
        tree = kernel.open_tree(source)
        mounts.apply_attributes(tree, options)
        mounts.attach(root, f"{destination}/{name}", tree)
        os.close(tree)
    if [name for _, name in cgroups] != [""]:
        mounts.apply_attributes(tmpfs, options)
        os.close(tmpfs)


def pivot(root: int) -> None:
    """Make the directory ``root`` this process's root and drop all that was above it (pivot_root(2)).

    ``pivot_root(".", ".")`` stacks the old root onto the new one, so no directory is needed to put it in; the
    next umount2 takes it off again.
    """
    os.fchdir(root)
    kernel.pivot_root(".", ".")
    kernel.umount2(".", kernel.MNT_DETACH)
    os.chdir("/")
    os.close(root)


def write_sysctls(sysctls: Mapping[str, str]) -> None:
    """Set kernel parameters of the container's own namespaces, as ``net.ipv4.ip_forward: "1"`` (sysctl(8))."""
    for key, value in sysctls.items():
        path = "/proc/sys/" + (key if "/" in key else key.replace(".", "/"))
        try:
            with open(path, "w") as file:
                file.write(str(value))
        except OSError as error:
            raise Error(f"cannot set the sysctl {key} to {value!r}: {error.strerror}") from error


def seal(config: Mapping[str, Any]) -> None:
    """Hide the masked paths, make others and perhaps the root read-only; run inside, after :func:`pivot`."""
    linux = config["linux"]
    for path in linux.get("readonlyPaths", ()):
        _remount_readonly(path)
    for path in linux.get("maskedPaths", ()):
        _mask(path)
    if config["root"].get("readonly"):
        fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        kernel.mount_setattr(fd, kernel.MOUNT_ATTR_RDONLY)
        os.close(fd)
    propagation = linux.get("rootfsPropagation", "")
    if propagation:
        flag = mounts.PROPAGATION[propagation.removeprefix("r")]
        kernel.mount(None, "/", None, flag | (kernel.MS_REC if propagation.startswith("r") else 0))


def _remount_readonly(path: str) -> None:
    try:
        tree = kernel.open_tree(path, recursive=True)
    except FileNotFoundError:
        return  # not every kernel has every file of /proc
    kernel.mount_setattr(tree, kernel.MOUNT_ATTR_RDONLY, recursive=True)
    _cover(path, tree)


def _mask(path: str) -> None:
    """Cover a file with /dev/null and a directory with an empty read-only tmpfs."""
    if os.path.isdir(path):
        tree = mounts.new_filesystem("tmpfs", "tmpfs", ("nr_blocks=1", "nr_inodes=1"))
        kernel.mount_setattr(tree, kernel.MOUNT_ATTR_RDONLY)
    elif os.path.exists(path):
        tree = kernel.open_tree("/dev/null")
        if os.fstat(tree).st_rdev != os.makedev(1, 3):  # a volume at /dev might say otherwise: CVE-2025-31133
            raise Error(f"cannot mask {path}: the container's /dev/null is not the null device")
    else:
        return
    _cover(path, tree)


def _cover(path: str, tree: int) -> None:
    target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    kernel.move_mount(tree, target)
    os.close(target)
    os.close(tree)
