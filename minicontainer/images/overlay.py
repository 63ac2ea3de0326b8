"""The union mount: many directories seen as one (overlayfs).

The kernel is given a stack of read-only directories, the **lowerdir** list, highest first, and one writable
directory on top, the **upperdir**. What is seen is the union: a name found in several branches comes from the
highest. What is written goes to the upper directory alone; a file of a lower branch is copied up first, and
what is removed is covered by a whiteout. **workdir** is an empty directory beside the upper one in which the
kernel prepares what it then renames into place. (Documentation/filesystems/overlayfs.rst)
"""

from __future__ import annotations

import errno
import os

from minicontainer.errors import Error, Unsupported
from minicontainer.kernel import mount as kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PAGE = 4096  # mount(2) passes its options in one page
_LONGEST_VALUE = 255  # bytes of one option's value that fsconfig(2) takes


def supported() -> bool:
    """Whether this kernel has overlayfs at hand (filesystems(5))."""
    with open("/proc/filesystems") as file:
        return any(line.split()[-1] == "overlay" for line in file)


def options(lowerdirs: Sequence[str], upperdir: str = "", workdir: str = "") -> str:
    """The option string of an overlay mount; ``lowerdirs`` are ordered from the highest to the lowest."""
    parts = ["lowerdir=" + ":".join(_escape(path, "\\:,") for path in lowerdirs)]
    if upperdir:
        parts += ["upperdir=" + _escape(upperdir, "\\,"), "workdir=" + _escape(workdir, "\\,")]
    return ",".join(parts)


def _escape(path: str, special: str) -> str:
    return "".join("\\" + character if character in special else character for character in path)


def mount(lowerdirs: Sequence[str], target: str, upperdir: str = "", workdir: str = "") -> None:
    """Mount the union of ``lowerdirs`` (highest first), writable if there is an ``upperdir``, at ``target``.

    Without an upper directory the mount is read-only. More layers than a page has room for the paths of are named
    by way of descriptors, which is shorter. Raises Unsupported when the kernel has no overlayfs or cannot use these
    directories, Error for anything else that it refuses.
    """
    held: list[int] = []
    data = options(lowerdirs, upperdir, workdir)
    try:
        if len(os.fsencode(data)) >= _PAGE:
            held = _hold(lowerdirs)
            data = options([_name(fd) for fd in held], upperdir, workdir)
        if len(os.fsencode(data)) >= _PAGE:
            raise Error(f"cannot mount an overlay of {len(lowerdirs)} layers: that is more than fit a page")
        kernel.mount("overlay", target, "overlay", 0, data)
    except OSError as error:
        raise _explain(error, target, upperdir) from error
    finally:
        _release(held)


def detached(lowerdirs: Sequence[str], upperdir: str, workdir: str) -> int:
    """Mount the union attached nowhere; returns a descriptor of its root directory.

    The mount is there for whoever has the descriptor and gone when it is closed (fsmount(2)). The
    directories are named by way of descriptors, because fsconfig(2) takes 255 bytes for a value.
    """
    held: list[int] = []
    try:
        held = _hold((*lowerdirs, upperdir, workdir))
        names = [_name(fd) for fd in held]
        fs = kernel.fsopen("overlay")
        try:
            kernel.fsconfig_string(fs, "source", "overlay")
            _set_lowerdirs(fs, names[:-2])
            kernel.fsconfig_string(fs, "upperdir", names[-2])
            kernel.fsconfig_string(fs, "workdir", names[-1])
            kernel.fsconfig_create(fs)
            return kernel.fsmount(fs)
        finally:
            os.close(fs)
    except OSError as error:
        raise _explain(error, "a descriptor", upperdir) from error
    finally:
        _release(held)


def _set_lowerdirs(fs: int, names: Sequence[str]) -> None:
    """Give a filesystem its layers one by one, or, before Linux 6.7, in one string."""
    try:
        for name in names:
            kernel.fsconfig_string(fs, "lowerdir+", name)
    except OSError as error:
        joined = ":".join(names)
        if error.errno != errno.EINVAL or len(joined) > _LONGEST_VALUE:
            raise
        kernel.fsconfig_string(fs, "lowerdir", joined)


def _hold(paths: Sequence[str]) -> list[int]:
    held: list[int] = []
    try:
        for path in paths:
            held.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        _release(held)
        raise
    return held


def _name(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _release(held: Sequence[int]) -> None:
    for fd in held:
        os.close(fd)


def _explain(error: OSError, target: str, upperdir: str) -> Error:
    if error.errno == errno.ENODEV:
        return Unsupported(
            "this kernel has no overlay filesystem; load it with `modprobe overlay`, "
            "or use a kernel built with CONFIG_OVERLAY_FS"
        )
    if error.errno == errno.EINVAL and upperdir:
        return Unsupported(
            f"cannot mount an overlay at {target}: the filesystem of {upperdir} cannot hold an upper directory "
            "(another overlay, NFS and FAT cannot); use --root with a directory on ext4, xfs, btrfs or tmpfs"
        )
    return Error(f"cannot mount an overlay at {target}: {error}")
