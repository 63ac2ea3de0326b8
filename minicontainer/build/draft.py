"""A draft: the image that a stage has come to so far.

Every step takes the image before it and makes the next: one more layer, or another configuration, and always one
more row of history. Nothing of what is below is ever changed, so a draft costs two small documents, and any of them
can be run to look at what the step has left.
"""

from __future__ import annotations

import os
import time

from minicontainer import units
from minicontainer.images.index import ARCHITECTURES, MANIFEST
from minicontainer.images.packing import EMPTY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.images.image import Image
    from minicontainer.images.index import Descriptor
    from minicontainer.images.store import Store

_PLATFORM = ("architecture", "variant", "os", "os.version", "os.features")
_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Draft:
    """An image in the making; without one below it, it begins with nothing (``FROM scratch``)."""

    def __init__(self, image: Image | None = None) -> None:
        self.image = image
        self.author = ""
        self.config: dict[str, Any] = {}
        self.history: list[Any] = []
        self.diff_ids: list[str] = []
        self.layers: list[dict[str, Any]] = []
        self.platform: dict[str, Any] = {
            "architecture": ARCHITECTURES.get(os.uname().machine, os.uname().machine),
            "os": "linux",
        }
        if image:
            self._take(image)
        if not any(each.startswith("PATH=") for each in self.config.get("Env") or ()):
            self.config["Env"] = [*(self.config.get("Env") or ()), _DEFAULT_PATH]

    def _take(self, image: Image) -> None:
        self.author = str(image.config.get("author") or "")
        self.config = dict(image.settings)
        self.history = list(image.config.get("history") or ())
        self.diff_ids = list(image.diff_ids)
        self.layers = list(image.manifest["layers"])
        self.platform = {key: image.config[key] for key in _PLATFORM if key in image.config} or self.platform

    @property
    def id(self) -> str:
        """The id of the image so far, "" when there is none yet."""
        return self.image.id if self.image else ""

    @property
    def env(self) -> dict[str, str]:
        """The environment that it gives its containers."""
        return dict(each.partition("=")[::2] for each in self.config.get("Env") or ())

    @property
    def shell(self) -> list[str]:
        """What runs a command in shell form."""
        return list(self.config.get("Shell") or ("/bin/sh", "-c"))

    def commit(self, store: Store, step: str, layer: tuple[Descriptor, str] | None = None) -> Image:
        """Make the next image: ``step`` in its history, and a layer with its diff id unless that is empty.

        The caller has a lease of the store.
        """
        empty = layer is None or layer[1] == EMPTY
        row = {"created": units.format_time(time.time_ns()), "created_by": step}
        if self.author:
            row["author"] = self.author
        self.history.append({**row, "empty_layer": True} if empty else row)
        if layer and not empty:
            self.layers.append(layer[0])
            self.diff_ids.append(layer[1])
        return self.put(store)

    def adopt(self, store: Store, image: Image, step: str) -> Image:
        """Make the next image as another one has made it: with the layer that its history has at this place.

        ``image`` has this draft's own history and layers below (see minicontainer.build.cache.matching).
        """
        row = image.config["history"][len(self.history)]
        self.history.append(row)
        if not row.get("empty_layer"):
            self.layers.append(image.manifest["layers"][len(self.layers)])
            self.diff_ids.append(image.diff_ids[len(self.diff_ids)])
        return self.put(store)

    def put(self, store: Store) -> Image:
        """Make the image, also when no step has made anything yet."""
        row = self.history[-1] if self.history else {}
        document = {
            "created": row.get("created") or units.format_time(time.time_ns()),
            **({"author": self.author} if self.author else {}),
            **self.platform,
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
            "history": self.history,
        }
        manifest = store.put_image(document, self.layers, durable=False)
        image = store.hold_image(manifest["digest"])
        assert image, "it was put there just now, under a lease"
        self.image = image
        return image

    def descriptor(self) -> Descriptor:
        """What names the image's manifest."""
        assert self.image
        digest = self.image.manifest_digest
        return {
            "mediaType": MANIFEST,
            "digest": digest,
            "size": os.path.getsize(self.image.store.blob_path(digest)),
        }
