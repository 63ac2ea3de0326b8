"""One mount of the bundle: its options, and how it is made.

OCI writes a mount as mount(8) users do, ``{"destination": "/tmp", "type": "tmpfs", "options": ["nosuid",
"size=64m"]}``. Among the options are attributes of the mount (``ro``, ``nosuid``), its propagation
(``rprivate``), and what only the filesystem understands (``size=64m``). They are sorted here and handed to
the kernel's descriptor calls: the mount is finished before it is hung into the container's tree, so there is
no moment in which a read-only bind mount is writable.
"""

from __future__ import annotations

import os
import stat

from minicontainer.errors import Error, InvalidArgument, NotFound
from minicontainer.kernel import mount as kernel
from minicontainer.runtime.inside import open_mount_point, real_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

# option -> (attributes to set, attributes to clear); an "r" in front makes them recursive, as in mount(8).
_ATIME = kernel.MOUNT_ATTR__ATIME
ATTRIBUTES = {
    "ro": (kernel.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, kernel.MOUNT_ATTR_RDONLY),
    "nosuid": (kernel.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, kernel.MOUNT_ATTR_NOSUID),
    "nodev": (kernel.MOUNT_ATTR_NODEV, 0),
    "dev": (0, kernel.MOUNT_ATTR_NODEV),
    "noexec": (kernel.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, kernel.MOUNT_ATTR_NOEXEC),
    "nosymfollow": (kernel.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, kernel.MOUNT_ATTR_NOSYMFOLLOW),
    "nodiratime": (kernel.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, kernel.MOUNT_ATTR_NODIRATIME),
    "noatime": (kernel.MOUNT_ATTR_NOATIME, _ATIME),
    "atime": (kernel.MOUNT_ATTR_RELATIME, _ATIME),  # not "no": what the kernel does if nothing is said
    "norelatime": (kernel.MOUNT_ATTR_STRICTATIME, _ATIME),
    "nostrictatime": (kernel.MOUNT_ATTR_RELATIME, _ATIME),
    "relatime": (kernel.MOUNT_ATTR_RELATIME, _ATIME),
    "strictatime": (kernel.MOUNT_ATTR_STRICTATIME, _ATIME),
}
PROPAGATION = {
    "private": kernel.MS_PRIVATE,
    "shared": kernel.MS_SHARED,
    "slave": kernel.MS_SLAVE,
    "unbindable": kernel.MS_UNBINDABLE,
}
_IGNORED = {"defaults", "silent", "loud", "bind", "rbind"}

# What may be mounted in the container's /proc: files that tell of the machine, for which there are better ones
# (lxcfs). Whatever else lies there is what this runtime itself, and every program, takes the kernel's word for
# (runc, libcontainer/rootfs_linux.go; CVE-2019-16884).
_IN_PROC = {
    f"/proc/{name}" for name in "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo".split()
} | {"/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled"}


class Options:
    """The options of one mount, sorted by who understands them."""

    def __init__(self, options: Iterable[str]) -> None:
        self.attributes: list[tuple[int, int, bool]] = []  # (set, clear, recursive)
        self.propagation: list[tuple[int, bool]] = []  # (MS_*, recursive)
        self.filesystem: list[str] = []
        self.recursive = False  # of a bind mount: with all that is mounted below
        for option in options:
            self._add(option)

    def _add(self, option: str) -> None:
        recursive, plain = option.startswith("r"), option.removeprefix("r")
        if option in ("bind", "rbind"):
            self.recursive = option == "rbind"
        elif option in ATTRIBUTES:
            self.attributes.append((*ATTRIBUTES[option], False))
        elif recursive and plain in ATTRIBUTES:
            self.attributes.append((*ATTRIBUTES[plain], True))
        elif option in PROPAGATION:
            self.propagation.append((PROPAGATION[option], False))
        elif recursive and plain in PROPAGATION:
            self.propagation.append((PROPAGATION[plain], True))
        elif option not in _IGNORED:
            self.filesystem.append(option)


def new_filesystem(fstype: str, source: str, options: Iterable[str] = ()) -> int:
    """Make a filesystem with its own options (``size=64m``); returns a mount that is attached nowhere."""
    fs = kernel.fsopen(fstype)
    try:
        kernel.fsconfig_string(fs, "source", source)
        for option in options:
            key, equals, value = option.partition("=")
            if equals:
                kernel.fsconfig_string(fs, key, value)
            else:
                kernel.fsconfig_flag(fs, key)
        kernel.fsconfig_create(fs)
        return kernel.fsmount(fs)
    except OSError as error:
        error.strerror = f"{error.strerror}{_complaint(fs)}"
        raise
    finally:
        os.close(fs)


def _complaint(fs: int) -> str:
    """What the filesystem itself says went wrong: messages wait in its descriptor (fsopen(2))."""
    try:
        return f" ({os.read(fs, 4096).decode(errors='replace').strip().removeprefix('e ')})"
    except OSError:
        return ""


def apply_attributes(mount_fd: int, options: Options) -> None:
    """Give a mount its attributes and its propagation, in the order in which they were written."""
    for recursive in (False, True):
        attr_set = attr_clr = propagation = 0
        for set_, clear, deep in options.attributes:
            if deep == recursive:
                attr_set, attr_clr = attr_set & ~clear | set_, attr_clr & ~set_ | clear
        for kind, deep in options.propagation:
            propagation = kind if deep == recursive else propagation
        if attr_set or attr_clr or propagation:
            kernel.mount_setattr(mount_fd, attr_set, attr_clr, propagation, recursive)


def is_bind(mount: Mapping[str, Any]) -> bool:
    """Whether a mount shows a piece of the host's tree, rather than a filesystem of its own."""
    return mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(mount.get("options", ()))


def check(mount: Mapping[str, Any]) -> None:
    """Raise InvalidArgument for a bind mount with options that it cannot have: nobody else would complain."""
    options = Options(mount.get("options", ()))
    if is_bind(mount) and options.filesystem:
        raise InvalidArgument(
            f"the bind mount on {mount['destination']} cannot have the option {options.filesystem[0]}"
        )


def clone_peers(config: Mapping[str, Any]) -> dict[int, int]:
    """Clone what is to be mounted ``shared``; returns descriptors by the mounts' places in the list.

    What is mounted below a peer shows below the other, on the host as in the container. A clone is a peer of
    what it was cloned from. So it must be made while the caller's own mounts are the host's peers still, and not
    its slaves already, to which mounts only come (mount_namespaces(7)).
    """
    return {
        number: _clone(mount["source"], Options(mount["options"]).recursive)[0]
        for number, mount in enumerate(config.get("mounts", ()))
        if is_bind(mount) and not {"shared", "rshared"}.isdisjoint(mount.get("options", ()))
    }


def make(root: int, mount: Mapping[str, Any], clone: int | None = None) -> None:
    """Make one mount of an OCI ``mounts`` list below the directory ``root``; a bind mount of ``clone``, if given.

    Raises InvalidArgument when the destination leaves the root, NotFound when the source of a bind mount is
    not there, Error with the kernel's reason for the rest.
    """
    destination, fstype = mount["destination"], mount.get("type") or "none"
    options = Options(mount.get("options", ()))
    if fstype in ("proc", "sysfs") and real_path(root, destination) != os.path.normpath(destination):
        raise InvalidArgument(f"cannot mount {fstype} on {destination}: the image has a symlink there")
    try:
        if clone is not None:
            mount_fd, directory = clone, stat.S_ISDIR(os.fstat(clone).st_mode)
        elif is_bind(mount):
            mount_fd, directory = _clone(mount["source"], options.recursive)
        else:
            mount_fd, directory = (
                new_filesystem(fstype, mount.get("source") or fstype, options.filesystem),
                True,
            )
        try:
            apply_attributes(mount_fd, options)
            attach(root, destination, mount_fd, directory)
        finally:
            os.close(mount_fd)
    except OSError as error:
        raise Error(f"cannot mount {mount.get('source', fstype)} on {destination}: {error}") from error


def _clone(source: str, recursive: bool) -> tuple[int, bool]:
    try:
        directory = stat.S_ISDIR(os.stat(source).st_mode)
        return kernel.open_tree(source, recursive), directory
    except FileNotFoundError:
        raise NotFound(f"cannot mount {source}: there is no such file or directory on the host") from None


def attach(root: int, destination: str, mount_fd: int, directory: bool = True) -> None:
    """Hang a finished mount at ``destination`` below the directory ``root``, making the mount point.

    Raises InvalidArgument when that is /proc, or in it, and the mount does not belong there.
    """
    target = open_mount_point(root, destination, directory)
    try:
        _keep_proc(target, mount_fd, destination)
        kernel.move_mount(mount_fd, target)
    finally:
        os.close(target)


def _keep_proc(target: int, mount_fd: int, destination: str) -> None:
    path = os.path.normpath(destination)
    if path == "/proc" or kernel.filesystem_type(target) == kernel.PROC_SUPER_MAGIC:
        is_proc = kernel.filesystem_type(mount_fd) == kernel.PROC_SUPER_MAGIC
        if path not in _IN_PROC and not (path == "/proc" and is_proc):
            raise InvalidArgument(f"cannot mount on {destination}: /proc is the kernel's")
