"""The cache: a step that was made before need not be made again.

Two steps have the same outcome when they begin with the same image and do the same. The image before says all that
happened until then, for its id is the digest of its whole history; what is done is the instruction, with the values
of build arguments that it can see, and for files that are copied the digest of their content. So a file that was
only touched changes nothing, and a step that had to be made again has a new image, which no step after it was ever
made from: all that follow are made again too.

What RUN does with the network, the clock or chance is not looked at. ``--no-cache`` is for that.
"""

from __future__ import annotations

import hashlib
import json
import time

from minicontainer import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minicontainer.build.draft import Draft
    from minicontainer.images.image import Image
    from minicontainer.images.store import Store


class Cache:
    """The steps of earlier builds, as one build may use them.

    :param known: whether to look at all (``--no-cache`` does not); what is made is written down anyway
    :param sources: images whose steps may be taken as well (``--cache-from``)
    """

    def __init__(self, store: Store, known: bool = True, sources: Sequence[Image] = ()) -> None:
        self.store = store
        self.known = known
        self.sources = sources

    def find(self, draft: Draft, step: str, more: str = "") -> Image | None:
        """The image that this step has led to from this draft; ``more`` is what the words do not say."""
        if not self.known:
            return None
        record = self.store.builds.get(_key(draft, step, more))
        image = self.store.hold_image(record.manifest["digest"]) if record else None
        if image:
            return image
        for source in self.sources:
            if not more and matching(draft, source, step):  # another's history has no more than the words
                return draft.adopt(self.store, source, step)
        return None

    def add(self, parent: str, draft: Draft, step: str, more: str = "") -> None:
        """Write down that the step has led from the image ``parent`` to what the draft is now."""
        assert draft.image
        key = _digest(parent, draft, step, more)
        before = self.store.builds.get(key)
        if before:
            self.store.hold_image(before.manifest["digest"])  # until our lease ends, and then nobody needs it
        self.store.builds.put(
            key,
            draft.image.id,
            draft.descriptor(),
            parent=parent,
            step=step,
            created=units.format_time(time.time_ns()),
        )


def _key(draft: Draft, step: str, more: str) -> str:
    return _digest(draft.id, draft, step, more)


def _digest(parent: str, draft: Draft, step: str, more: str) -> str:
    """The key: 64 hexadecimal digits that say all that the outcome depends on."""
    platform = sorted((key, str(value)) for key, value in draft.platform.items())
    return hashlib.sha256(json.dumps([parent, platform, step, more]).encode()).hexdigest()


def matching(draft: Draft, image: Image, step: str) -> bool:
    """Whether an image that was made elsewhere goes on from a draft with just this step."""
    rows = image.config.get("history")
    done = len(draft.history)
    if not isinstance(rows, list) or len(rows) <= done or not all(isinstance(row, dict) for row in rows):
        return False
    steps = [row.get("created_by") for row in draft.history]
    return (
        [row.get("created_by") for row in rows[: done + 1]] == [*steps, step]
        and image.diff_ids[: len(draft.diff_ids)] == draft.diff_ids
        and len(image.diff_ids) == sum(not row.get("empty_layer") for row in rows)
    )
