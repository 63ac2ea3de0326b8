"""What the engine's things take on the disk, and how much of it could be had back (``system df``).

Images share layers, and containers share the layers of their images, so sizes do not simply add up. A layer is
counted once, whoever has it; and what could be had back is what would be gone if everything that is not in use
were removed: layers that no container needs, containers that do not run, volumes that no container mounts.

A size is the sum of the sizes of files; a file that has several names is counted once.
"""

from __future__ import annotations

import contextlib
import os
import stat

from minicontainer import units
from minicontainer.engine import image_listing, listing, volume_listing
from minicontainer.engine.container import PAUSED, RUNNING
from minicontainer.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.engine.container import Container
    from minicontainer.engine.engine import Engine
    from minicontainer.images.store import Image


class Usage:
    """One kind of things: how many there are and are in use, and their bytes."""

    def __init__(
        self, kind: str, total: int = 0, active: int = 0, size: int = 0, reclaimable: int = 0
    ) -> None:
        self.kind = kind
        self.total = total
        self.active = active
        self.size = size
        self.reclaimable = reclaimable

    def row(self) -> dict[str, str]:
        """Its line in ``system df``."""
        share = f" ({100 * self.reclaimable // self.size}%)" if self.size else ""
        return {
            "Type": self.kind,
            "TotalCount": str(self.total),
            "Active": str(self.active),
            "Size": units.human_size(self.size, 4),
            "Reclaimable": units.human_size(self.reclaimable, 4) + share,
        }


def tree_size(path: str) -> int:
    """The bytes of all files below a directory; 0 when it is gone."""
    total, seen = 0, set()
    for directory, below, names in os.walk(path):
        for name in (*names, *below):  # a symlink to a directory is among those below
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                status = os.lstat(os.path.join(directory, name))
                key = (status.st_dev, status.st_ino)
                if not stat.S_ISDIR(status.st_mode) and key not in seen:
                    total += status.st_size
                    if status.st_nlink > 1:
                        seen.add(key)
    return total


class Disk:
    """The images, containers and volumes of an engine as they are now, with what each takes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.images = engine.images.images()
        self.containers = engine.containers(all=True)
        self.volumes = engine.volumes.all()
        self.users = engine.volumes.users()

    def summary(self) -> list[Usage]:
        """A line for each kind."""
        from minicontainer.engine import build_cache  # which counts as it is done here

        return [self._images(), self._containers(), self._volumes(), build_cache.usage(self.engine)]

    # ------------------------------------------------------------ images

    def _images(self) -> Usage:
        used = {container.document["Image"] for container in self.containers}
        needed = {layer for container in self.containers for layer in container.document["Layers"]}
        layers = {layer for image in self.images for layer in image.diff_ids}
        size = sum(map(self.engine.images.layer_size, layers))
        free = sum(map(self.engine.images.layer_size, layers - needed))
        active = sum(image.id in used for image in self.images)
        return Usage("Images", len(self.images), active, size, free)

    def _shared_size(self, image: Image) -> int:
        """The bytes of an image's layers that other images have too."""
        others = {layer for other in self.images if other.id != image.id for layer in other.diff_ids}
        return sum(map(self.engine.images.layer_size, others.intersection(image.diff_ids)))

    def image_rows(self) -> list[dict[str, Any]]:
        """The lines about images of ``system df -v``."""
        by_id = {image.short_id: image for image in self.images}
        rows = []
        for row in image_listing.images(self.engine):
            image = by_id.get(row["ID"])
            if image is not None:
                shared = self._shared_size(image)
                containers = sum(each.document["Image"] == image.id for each in self.containers)
                rows.append(
                    {
                        **row,
                        "SharedSize": units.human_size(shared, 4),
                        "UniqueSize": units.human_size(image.size - shared, 4),
                        "Containers": str(containers),
                    }
                )
        return rows

    # ------------------------------------------------------------ containers

    def _containers(self) -> Usage:
        usage = Usage("Containers", len(self.containers))
        for container in self.containers:
            try:
                running = container.status in (RUNNING, PAUSED)
            except NotFound:  # removed meanwhile
                continue
            size = own_size(container)
            usage.size += size
            usage.active += running
            usage.reclaimable += 0 if running else size
        return usage

    def container_rows(self) -> list[dict[str, Any]]:
        """The lines about containers of ``system df -v``."""
        rows = listing.containers(self.engine, all=True, size=True)
        return [{**row, "Size": row["Size"].partition(" (")[0]} for row in rows]

    # ------------------------------------------------------------ volumes

    def _volumes(self) -> Usage:
        sizes = {volume.name: tree_size(volume.data_path) for volume in self.volumes}
        free = sum(size for name, size in sizes.items() if name not in self.users)
        active = sum(name in self.users for name in sizes)
        return Usage("Local Volumes", len(sizes), active, sum(sizes.values()), free)

    def volume_rows(self) -> list[dict[str, Any]]:
        """The lines about volumes of ``system df -v``."""
        return [
            {
                **volume_listing.row(volume),
                "Links": str(len(self.users.get(volume.name, ()))),
                "Size": units.human_size(tree_size(volume.data_path)),
            }
            for volume in self.volumes
        ]


def own_size(container: Container) -> int:
    """The bytes that a container has written in its own layer."""
    return tree_size(os.path.join(container.path, "upper"))
