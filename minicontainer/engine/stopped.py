"""The file tree of a container that does not run, with its volumes and bind mounts in it.

``cp`` should find the same files whether a container runs or not. A container that runs has a tree with all its
mounts; of one that does not, the tree is put together anew. Mounts can only be hung into one another in a mount
namespace, and in the host's everybody would see them. So a thread does it that has left for a namespace of its
own, and keeps a clone of the whole, which is attached nowhere and ends with its descriptor (open_tree(2)).
"""

from __future__ import annotations

import os
import threading

from minicontainer.engine import sources, union
from minicontainer.errors import Error
from minicontainer.kernel import mount as kernel
from minicontainer.kernel import namespaces
from minicontainer.runtime import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.container import Container


def mount(container: Container) -> int:
    """Mount a container's file tree attached nowhere; returns a descriptor of its root directory.

    Raises NotFound when what is to be mounted in it is gone, Error when it cannot be mounted.
    """
    if not container.document.get("Mounts"):
        return union.mount(container)
    sources.make_ready(container)
    rootfs = union.mount(container)
    outcome: list[int | OSError | Error] = []

    def make() -> None:
        try:
            outcome.append(_put_together(container, rootfs))
        except (OSError, Error) as error:
            outcome.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    os.close(rootfs)
    if isinstance(outcome[0], int):
        return outcome[0]
    raise outcome[0]


def _put_together(container: Container, rootfs: int) -> int:
    """Hang everything into one another, in a mount namespace that only this thread is in."""
    namespaces.unshare(namespaces.CLONE_NEWNS)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    path = os.path.join(container.path, "merged")
    place = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    kernel.move_mount(rootfs, place)
    os.close(place)
    root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for point in sorted(
            container.document["Mounts"], key=lambda each: str(each["Destination"]).count("/")
        ):
            if point["Type"] != "tmpfs":  # it has nothing in it before a start
                bind = {"destination": point["Destination"], "source": point["Source"], "type": "bind"}
                mounts.make(root, {**bind, "options": point["Options"]})
    finally:
        os.close(root)
    return kernel.open_tree(path, recursive=True)
