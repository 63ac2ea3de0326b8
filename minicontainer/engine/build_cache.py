"""The build cache as a thing that takes room: what is in it, and removing it.

A step is **active** while an image has come of it, and is then needed anyway; the others are left from builds that
failed, or whose images were built again since. Layers that images have are counted there and not here.
"""

from __future__ import annotations

import os

from minicontainer import units
from minicontainer.engine import disk
from minicontainer.engine.filters import prune_test
from minicontainer.files import remove_tree
from minicontainer.images import index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minicontainer.engine.engine import Engine
    from minicontainer.images.builds import Record
    from minicontainer.images.image import Image


class Entry:
    """One step of the cache."""

    def __init__(self, record: Record, image: Image, active: bool) -> None:
        self.record = record
        self.image = image
        self.active = active


def entries(engine: Engine) -> list[Entry]:
    """The steps that are known and whole, the one used last at the end."""
    store = engine.images
    lines = {line for image in store.images() for line in _lines(image)}
    found = []
    for record in store.steps():
        image = store.hold_image(record.manifest["digest"])
        if image:
            found.append(Entry(record, image, _line(image) in lines))
    return found


def _lines(image: Image) -> list[tuple[str, ...]]:
    """All that an image was while it was made: its rows of history, from the first to each of the others."""
    line = _line(image)
    return [line[:end] for end in range(len(line) + 1)]


def _line(image: Image) -> tuple[str, ...]:
    rows = image.config.get("history")
    rows = rows if isinstance(rows, list) else []
    return tuple(f"{row.get('created')} {row.get('created_by')}" for row in rows if isinstance(row, dict))


def usage(engine: Engine) -> disk.Usage:
    """The cache's line in ``system df``."""
    known = entries(engine)
    of_images = {layer for image in engine.images.images() for layer in image.diff_ids}
    in_use = engine.images.in_use()
    layers = {layer for entry in known for layer in entry.image.diff_ids} - of_images
    mounts = disk.tree_size(_mounts(engine))
    size = sum(map(engine.images.layer_size, layers)) + mounts
    free = sum(map(engine.images.layer_size, layers - in_use)) + mounts
    return disk.Usage("Build Cache", len(known), sum(entry.active for entry in known), size, free)


def prune(engine: Engine, all: bool = False, filters: Sequence[str] = ()) -> tuple[list[str], int]:
    """Forget the steps that no image has come of, or ``all``, and what ``RUN --mount=type=cache`` has kept.

    ``filters`` may be ``until=TIME``: only what was not used since. Returns the keys of the steps, and the bytes
    that are free again. Raises InvalidArgument for other filters.
    """
    passes = prune_test([text.replace("unused-for=", "until=", 1) for text in filters], ("until",))
    going = [
        entry
        for entry in entries(engine)
        if (all or not entry.active) and passes(units.format_time(entry.record.used), {})
    ]
    freed = forget(engine, [entry.record for entry in going])
    if all and not filters:
        freed += disk.tree_size(_mounts(engine))
        remove_tree(_mounts(engine))
    return [entry.record.key for entry in going], freed


def forget(engine: Engine, records: Sequence[Record]) -> int:
    """Forget these steps, and delete what only they needed; returns the bytes that are free again."""
    store = engine.images
    with store.locked():
        store.doom(index.reachable(store.blob_path, [record.manifest for record in records]))
        for record in records:
            store.builds.remove(record)
        return sum(store.sweep_locked().values())


def _mounts(engine: Engine) -> str:
    return os.path.join(engine.images.builds.path, "mounts")
