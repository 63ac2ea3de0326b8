"""How an image came to be: one row for each step, the newest first, as ``docker history`` has it."""

from __future__ import annotations

from minicontainer.images import index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.images.image import Image

MISSING = "<missing>"  # the steps of an image made elsewhere have no ids here


class Step:
    """One step: what was done, when, and how many bytes of file content it has added."""

    def __init__(self, entry: dict[str, object], size: int) -> None:
        self.id = MISSING
        self.created = str(entry.get("created") or "")
        self.created_by = str(entry.get("created_by") or "")
        self.comment = str(entry.get("comment") or "")
        self.size = size

    def moment(self) -> int | None:
        """When it was done, in nanoseconds since 1970; None when the image does not say."""
        return index.moment(self.created)


def steps(image: Image) -> list[Step]:
    """The steps of an image, the newest first; a layer that the history does not tell of has a step without words.

    Steps that are marked ``empty_layer`` changed the configuration alone (image-spec, config.md).
    """
    sizes = image.layer_sizes()
    told = image.config.get("history")
    found = []
    for entry in told if isinstance(told, list) else []:
        if isinstance(entry, dict):
            found.append(Step(entry, 0 if entry.get("empty_layer") or not sizes else sizes.pop(0)))
    found += [Step({"created": image.created}, size) for size in sizes]
    found = found or [Step({"created": image.created}, 0)]
    found[-1].id = image.id
    return found[::-1]
