"""A container becomes an image, an archive, or a list of what it has changed.

All three look at the same thing, the container's upper directory, and change nothing in it. For ``diff`` it is
compared with the layers below. For ``commit`` it is packed as one more layer on top of them, and the container's
configuration becomes the image's: the next container begins where this one stands. For ``export`` the whole union
is packed, as a file tree without a history.

A container that runs is paused while its layer is packed, or else half of a change could be in it. What a pause is
for is written down, next to what else does not survive the container: when ``commit`` is killed, the next command
finds that nobody holds the container, and lets it go on.
"""

from __future__ import annotations

import contextlib
import os
import time

from minicontainer import units
from minicontainer.engine import union
from minicontainer.engine.record import PAUSED, RUNNING
from minicontainer.errors import Conflict, NotFound
from minicontainer.files import Lock
from minicontainer.images import changes as instructions
from minicontainer.images import differences, packing
from minicontainer.kernel import mount, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO, Any

    from minicontainer.engine.container import Container
    from minicontainer.images.differences import Change
    from minicontainer.images.image import Image
    from minicontainer.images.reference import Reference

_KEPT = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal")
_FROM_IMAGE = ("Healthcheck", "Shell")  # what a container's own configuration says nothing of
_PLATFORM = ("architecture", "variant", "os", "os.version", "os.features")
_DEFAULT_SIGNAL = "SIGTERM"


def diff(container: Container) -> list[Change]:
    """What a container has changed in its file tree."""
    return differences.changes(os.path.join(container.path, "upper"), union.lowerdirs(container))


# ------------------------------------------------------------------ commit


def commit(
    container: Container,
    name: Reference | None = None,
    *,
    author: str = "",
    message: str = "",
    changes: Sequence[str] = (),
    pause: bool = True,
) -> Image:
    """Make an image of a container, with ``changes`` to its configuration as a Dockerfile has them.

    InvalidArgument names a change that is none, Conflict says that the container's own image is gone.
    """
    store = container.engine.images
    parent = _image(container)
    config = instructions.apply(_config(container, parent), changes)
    with container.locked(), store.lease():
        with _paused(container) if pause else contextlib.nullcontext():
            layer, diff_id = packing.add_layer(store, os.path.join(container.path, "upper"))
        empty = diff_id == packing.EMPTY
        step = _step(container, author, message, empty)
        document = {key: parent.config[key] for key in _PLATFORM if key in parent.config}
        document |= {"created": step["created"], "author": author, "config": config}
        document["rootfs"] = {"type": "layers", "diff_ids": parent.diff_ids + ([] if empty else [diff_id])}
        document["history"] = [*(parent.config.get("history") or ()), step]
        layers = parent.manifest["layers"] + ([] if empty else [layer])
        image = store.add_image(document, layers, name)
    container.emit("commit", comment=message, imageID=image.id, imageRef=str(name or ""))
    return image


def _image(container: Container) -> Image:
    try:
        return container.engine.images.find(container.document["Image"])
    except NotFound:
        raise Conflict(
            f"cannot commit container {container.name}: its image was removed, and a layer is nothing without "
            "those below; `export` writes the whole file tree"
        ) from None


def _config(container: Container, parent: Image) -> dict[str, Any]:
    """An image's configuration from a container's, which has the image's own in it since it was created."""
    own = container.document["Config"]
    config = {key: own[key] for key in _KEPT if own.get(key)}
    if config.get("StopSignal") == _DEFAULT_SIGNAL and "StopSignal" not in parent.settings:
        del config["StopSignal"]
    return config | {key: parent.settings[key] for key in _FROM_IMAGE if key in parent.settings}


def _step(container: Container, author: str, message: str, empty: bool) -> dict[str, Any]:
    """The row of ``history`` for this."""
    command = " ".join(container.document["Config"]["Cmd"] or ())
    step = {"created": units.format_time(time.time_ns()), "created_by": command}
    step |= {key: text for key, text in (("author", author), ("comment", message)) if text}
    return {**step, "empty_layer": True} if empty else step


# ------------------------------------------------------------------ the pause


@contextlib.contextmanager
def _paused(container: Container) -> Iterator[None]:
    """Have the container's processes stand still, if they do not anyway; its lock is held."""
    if container.status != RUNNING:
        yield
        return
    with open(container.pause_note, "w"):
        pass
    try:
        container.pause()
        yield
    finally:
        _go_on(container)


def _go_on(container: Container) -> None:
    if container.status == PAUSED:
        with contextlib.suppress(Conflict):  # somebody else was faster, or it was killed
            container.unpause()
    with contextlib.suppress(FileNotFoundError):  # it has ended, and the directory is gone
        os.unlink(container.pause_note)


def let_go_on(container: Container) -> None:
    """End the pause of a ``commit`` that was killed; nothing happens when one is at work."""
    lock = Lock(container.lock_path)
    with contextlib.suppress(FileNotFoundError):  # the container is removed just now
        if lock.acquire(blocking=False):
            try:
                _go_on(container)
            finally:
                lock.release()


# ------------------------------------------------------------------ export


def export(container: Container, out: IO[bytes]) -> None:
    """Write the container's whole file tree as a tar archive, without what is mounted in it."""
    root = _root(container)
    try:
        packing.pack(root, out, layer=False)
    finally:
        os.close(root)
    container.emit("export")


def _root(container: Container) -> int:
    """A descriptor of the root directory of its union, with nothing mounted on it."""
    if container.status not in (RUNNING, PAUSED):
        return union.mount(container)
    import threading

    outcome: list[int | OSError] = []

    def clone() -> None:
        """A thread may leave its program's mount namespace for another one, once it shares no root with it."""
        try:
            namespaces.unshare(namespaces.CLONE_FS)
            with open(f"/proc/{container.pid}/ns/mnt") as namespace:
                namespaces.setns(namespace.fileno(), namespaces.CLONE_NEWNS)
            outcome.append(mount.open_tree("/"))
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=clone)
    thread.start()
    thread.join()
    if isinstance(outcome[0], int):
        return outcome[0]
    raise outcome[0]
