"""A container's file tree: the layers of its image, one below them all, and on top what it writes itself.

Starting a container takes places to mount on: ``/proc``, ``/etc/hosts`` and the like. Where an image has none,
the mount point would have to be made in the container's own upper directory, and would then look like something
that the container did, in ``diff`` and in what ``commit`` makes of it.

So every container has one more layer, the **init layer**, with these mount points and nothing else. It is the
lowest, so that whatever an image has at these places counts, with its owner and mode; and it is the same for
all containers. Only an image that hides it, by a whiteout or an opaque ``/etc``, or that has a symlink to
nowhere in the place of a file, gets what is missing in a layer of each container's own, above its image's.
"""

from __future__ import annotations

import contextlib
import errno
import os

from minicontainer.images import overlay
from minicontainer.runtime.inside import open_inside, open_mount_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.container import Container

_DIRECTORIES = ("dev", "etc", "proc", "sys")  # what bundle.py mounts on
_FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")


def init_layer(root: str) -> str:
    """The directory of the init layer below an engine's ``root``; it is made if it is not there.

    Every step may be done twice, and the last file says that all are done. So it does not matter who else is
    at it, or was killed at it.
    """
    path = os.path.join(root, "init-layer")
    if not os.path.exists(os.path.join(path, _FILES[-1])):
        for name in ("", *_DIRECTORIES):
            os.makedirs(os.path.join(path, name), exist_ok=True)
            os.chmod(os.path.join(path, name), 0o755)  # whatever the caller's umask is
        for name in _FILES:
            os.close(os.open(os.path.join(path, name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
            os.chmod(os.path.join(path, name), 0o644)
    return path


def lowerdirs(container: Container) -> list[str]:
    """The read-only directories of a container's file tree, the highest first."""
    engine, own = container.engine, os.path.join(container.path, "init")
    layers = [*engine.images.layer_paths(container.document["Layers"]), init_layer(engine.root)]
    return [own, *layers] if os.path.exists(own) else layers


def mount(container: Container) -> int:
    """Mount a container's file tree attached nowhere; returns a descriptor of its root directory."""
    below = lowerdirs(container)
    upper, work, own = (os.path.join(container.path, name) for name in ("upper", "work", "init"))
    root = overlay.detached(below, upper, work)
    if own in below or not (missing := _missing(root)):
        return root
    os.close(root)
    _make_own(below, own, work, missing)
    return overlay.detached([own, *below], upper, work)


def _missing(root: int) -> list[str]:
    """The mount points that are not there, or are symlinks to nowhere."""
    found = []
    for name in (*_DIRECTORIES, *_FILES):
        try:
            os.close(open_inside(root, name, os.O_PATH))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                raise
            found.append(name)
    return found


def _make_own(below: list[str], own: str, work: str, missing: list[str]) -> None:
    """Make a layer with the ``missing`` mount points, by way of an overlay whose upper directory it is.

    So the kernel copies up what they lie in, with all its attributes, and marks what is replaced.
    """
    making = f"{own}.new"
    os.makedirs(making, mode=0o755, exist_ok=True)
    root = overlay.detached(below, making, work)
    try:
        for name in missing:
            above, last = os.path.split(name)
            parent = open_mount_point(root, f"/{above}", directory=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(last, dir_fd=parent)  # a symlink to nowhere
            os.close(parent)
            directory = name in _DIRECTORIES
            made = open_mount_point(root, f"/{name}", directory)
            os.chmod(f"/proc/self/fd/{made}", 0o755 if directory else 0o644)  # whatever the caller's umask is
            os.close(made)
    finally:
        os.close(root)
    os.rename(making, own)
