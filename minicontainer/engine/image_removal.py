"""Removing images: by name, by id, and those that nobody needs.

A name is taken off first; with its last name an image goes, unless a container has it. Whether one has is looked
at under the store's lock, and whoever makes a container writes down its image first and then looks whether that
is still there: so one of the two finds out.
"""

from __future__ import annotations

import contextlib
import time

from minicontainer import units
from minicontainer.engine.container import PAUSED, RUNNING, Container
from minicontainer.engine.directories import listdir
from minicontainer.errors import Conflict, Error, IntegrityError, NotFound
from minicontainer.images.reference import Reference, is_digest
from minicontainer.images.store import Removed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minicontainer.engine.engine import Engine
    from minicontainer.images.store import Image

_FRESH = 3600 * units.SECOND  # what another tool writes is named within that time


def remove(engine: Engine, name: str, force: bool = False) -> Removed:
    """Remove an image by id or by name; a name only, when it has others.

    Conflict when a container uses it. With ``force`` one that is stopped does not count, and keeps its layers; and
    with one that runs, the image loses its name and stays.
    """
    try:
        image = engine.images.find(name)
    except IntegrityError:
        return engine.images.remove_damaged(name)
    except NotFound:
        if not is_digest(name):
            raise
        return engine.images.remove_damaged(name)
    if image.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:")):
        return _remove_by_id(engine, image, force)
    wanted = Reference.parse(name)
    known = [each for each in image.names if each == wanted]
    return engine.images.remove(
        image, known[0] if known else image.names[0], _may_go_with(engine, image, name, force)
    )


def _may_go_with(engine: Engine, image: Image, name: str, force: bool) -> Callable[[], bool]:
    """Whether an image may go with its last name."""

    def may_go() -> bool:
        using = users(engine, image.id)
        if using and not force:
            raise Conflict(
                f"conflict: unable to remove repository reference {name!r} (must force) - container "
                f"{using[0].short_id} is using its referenced image {image.short_id}"
            )
        return not any(map(_runs, using))

    return may_go


def _remove_by_id(engine: Engine, image: Image, force: bool) -> Removed:
    def may_go() -> bool:
        if len(image.names) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {image.short_id} (must be forced) - image is referenced by "
                f"several names: {', '.join(name.familiar for name in image.names)}"
            )
        for container in users(engine, image.id):
            running = _runs(container)
            if running or not force:
                raise Conflict(
                    f"conflict: unable to delete {image.short_id} ({'cannot' if running else 'must'} be forced) - "
                    f"image is being used by {'running' if running else 'stopped'} container {container.short_id}"
                )
        return True

    return engine.images.remove(image, None, may_go)


def users(engine: Engine, image_id: str) -> list[Container]:
    """The containers of an image, those that are being made too."""
    found = []
    for name in listdir(engine.containers_path):
        with contextlib.suppress(Error):  # one that never got a document
            container = Container(engine, name)
            if container.document["Image"] == image_id:
                found.append(container)
    return found


def _runs(container: Container) -> bool:
    """Whether a container runs, or is just being made."""
    try:
        return container.status in (RUNNING, PAUSED)
    except NotFound:
        return True


def prune(engine: Engine, all: bool = False, filters: Sequence[str] = ()) -> Removed:
    """Remove images without a name, or ``all`` that no container has, and what no image has.

    ``filters`` are ``until=TIME``, ``label=…``, ``label!=…`` and ``dangling=BOOL``. What a container has, running
    or stopped, stays; so does what other tools have brought within the last hour and not named yet.
    """
    from minicontainer.engine.filters import boolean, prune_test, split

    dangling = [text for text in filters if text.startswith("dangling=")]
    passes = prune_test([text for text in filters if text not in dangling])
    all = all or (bool(dangling) and not boolean(*split(dangling[-1])))
    total = Removed([])
    for image in engine.images.images():
        if passes(units.format_time(image.moment() or 0), image.labels) and (all or not image.names):
            with contextlib.suppress(Conflict, NotFound):  # it is in use; somebody was faster
                removed = engine.images.remove(image, None, lambda: _unused(engine, image))  # noqa: B023
                total.lines += removed.lines
                total.freed += removed.freed
    if not filters:
        total.freed += engine.images.delete_orphans(time.time_ns() - _FRESH)
    return total


def _unused(engine: Engine, image: Image) -> bool:
    if users(engine, image.id):
        raise Conflict(f"image {image.name} is used by a container")
    return True
