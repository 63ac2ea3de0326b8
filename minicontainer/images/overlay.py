"""The union mount: many directories seen as one (overlayfs).

The kernel is given a stack of read-only directories, the **lowerdir** list, highest first, and one writable
directory on top, the **upperdir**. What is seen is the union: a name found in several branches comes from the
highest. What is written goes to the upper directory alone; a file of a lower branch is copied up first, and
what is removed is covered by a whiteout. **workdir** is an empty directory beside the upper one in which the
kernel prepares what it then renames into place. (Documentation/filesystems/overlayfs.rst)

There are three ways to hand it the list, because each has a limit of its own. mount(2) takes one page of
options. fsconfig(2), which mounts without attaching, takes 255 bytes for a value; since Linux 6.7 it takes the
layers one by one. An image may have 127, and they are named by descriptors: ``/proc/self/fd/7`` is short
whatever the length of the path.
"""

from __future__ import annotations

import errno
import os

from minicontainer.errors import Error, Unsupported
from minicontainer.kernel import mount as kernel
from minicontainer.kernel import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PAGE = 4096  # mount(2) passes its options in one page
_LONGEST_VALUE = 255  # bytes of one option's value that fsconfig(2) takes

# Whoever packs an upper directory reads it as it is. So it must hold whole files and directories, and
# no notes of the kernel's that say "its content is in a lower layer" (metacopy), "it had another name
# there" (redirect_dir) or "it is the same file as that one" (index), which a host may have switched on.
# A layer's own redirects are not followed either.
_PLAIN = {"redirect_dir": "nofollow", "metacopy": "off", "index": "off"}


def supported() -> bool:
    """Whether this kernel has overlayfs at hand (filesystems(5))."""
    with open("/proc/filesystems") as file:
        return any(line.split()[-1] == "overlay" for line in file)


def options(lowerdirs: Sequence[str], upperdir: str = "", workdir: str = "") -> str:
    """The option string of an overlay mount; ``lowerdirs`` are ordered from the highest to the lowest."""
    parts = ["lowerdir=" + ":".join(_escape(path, "\\:,") for path in lowerdirs)]
    if upperdir:
        parts += ["upperdir=" + _escape(upperdir, "\\,"), "workdir=" + _escape(workdir, "\\,")]
        parts += [f"{key}={value}" for key, value in _PLAIN.items()]
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

    The mount is there for whoever has the descriptor and gone when it is closed (fsmount(2)). Any thread of any
    program may ask for it. Raises as :func:`mount` does.
    """
    try:
        return _configured(lowerdirs, upperdir, workdir)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise _explain(error, "a descriptor", upperdir) from error
    return _cloned(lowerdirs, upperdir, workdir)  # perhaps this kernel does not take layers one by one


def _configured(lowerdirs: Sequence[str], upperdir: str, workdir: str) -> int:
    """Make the mount by fsconfig(2): layers in one string if they fit, or one by one (Linux 6.7)."""
    held: list[int] = []
    fs = kernel.fsopen("overlay")
    try:
        held = _hold((*lowerdirs, upperdir, workdir))
        *lower, upper, work = [_name(fd) for fd in held]
        kernel.fsconfig_string(fs, "source", "overlay")
        if len(":".join(lower)) <= _LONGEST_VALUE:
            kernel.fsconfig_string(fs, "lowerdir", ":".join(lower))
        else:
            for name in lower:
                kernel.fsconfig_string(fs, "lowerdir+", name)
        kernel.fsconfig_string(fs, "upperdir", upper)
        kernel.fsconfig_string(fs, "workdir", work)
        for key, value in _PLAIN.items():
            kernel.fsconfig_string(fs, key, value)
        kernel.fsconfig_create(fs)
        return kernel.fsmount(fs)
    finally:
        _release((*held, fs))


def _cloned(lowerdirs: Sequence[str], upperdir: str, workdir: str) -> int:
    """Make the mount by mount(2), and keep a clone of it that is attached nowhere.

    mount(2) needs a directory to attach to, where others would see it. So a thread does it, which leaves for a
    mount namespace of its own; unshare(2) takes the one thread that calls it. The namespace ends with the
    thread, while the descriptor belongs to all threads and stays.
    """
    import threading  # a millisecond, for those who have an old kernel and a tall image

    outcome: list[int | OSError | Error] = []

    def make() -> None:
        try:
            namespaces.unshare(namespaces.CLONE_NEWNS)
            kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
            mount(lowerdirs, workdir, upperdir, workdir)
            outcome.append(kernel.open_tree(workdir))
        except (OSError, Error) as error:
            outcome.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(outcome[0], int):
        return outcome[0]
    raise outcome[0]


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
