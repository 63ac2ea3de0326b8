"""An image of a store: a manifest, its configuration, and what it is called."""

from __future__ import annotations

import os

from minicontainer.errors import Error
from minicontainer.images import index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.images.reference import Reference
    from minicontainer.images.unpacked import Layers


class Image:
    """One image of the store: its configuration and its layers, under any number of names.

    Raises FileNotFoundError when a part is missing, Error when one is damaged or it is no image.
    """

    def __init__(self, store: Layers, manifest_digest: str, names: list[Reference]) -> None:
        self.store = store
        self.manifest_digest = manifest_digest
        self.names = names
        #: what the index names it by: its manifest, or the indexes that the manifest was chosen from
        self.entries: list[str] = [manifest_digest]
        self.manifest: dict[str, Any] = index.read_document(store.blob_path(manifest_digest))
        if not index.is_manifest(self.manifest):
            raise Error(f"{manifest_digest} is no manifest of an image")
        #: ``sha256:`` and the digest of the configuration: Docker's image id
        self.id: str = self.manifest["config"]["digest"]
        self.config: dict[str, Any] = index.read_document(store.blob_path(self.id))
        self.diff_ids: list[str] = index.diff_ids(self.config)
        if len(self.diff_ids) != len(self.manifest["layers"]):
            raise Error(
                f"{manifest_digest} has {len(self.manifest['layers'])} layers, "
                f"and its configuration has {len(self.diff_ids)} diff ids"
            )

    @property
    def digest(self) -> str:
        """The digest that it is known by to others: of what the index names."""
        return self.entries[0]

    @property
    def blobs(self) -> list[str]:
        """The digests of all that it is made of: manifest, configuration and layers."""
        return [self.manifest_digest, self.id, *(layer["digest"] for layer in self.manifest["layers"])]

    @property
    def layers(self) -> list[tuple[str, dict[str, Any]]]:
        """For each layer, lowest first, its diff id and the descriptor of its blob."""
        return list(zip(self.diff_ids, self.manifest["layers"], strict=True))

    @property
    def settings(self) -> dict[str, Any]:
        """What its containers are to be like: ``Cmd``, ``Env``, ``Labels``, … (image-spec, config.md)."""
        settings = self.config.get("config")
        return settings if isinstance(settings, dict) else {}

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        labels = self.settings.get("Labels")
        return labels if isinstance(labels, dict) else {}

    @property
    def created(self) -> str:
        """When it was made, "" when it does not say."""
        return str(self.config.get("created") or "")

    def moment(self) -> int | None:
        """When it was made, in nanoseconds since 1970; None when it does not say, or says no time."""
        return index.moment(self.created)

    @property
    def size(self) -> int:
        """Bytes of file content in all its layers."""
        return sum(self.layer_sizes())

    def layer_sizes(self) -> list[int]:
        """Bytes of file content in each layer, the lowest first.

        Of one that another tool brought, and that nobody has used yet, it is the size of its blob.
        """
        sizes = []
        for diff_id, blob in self.layers:
            noted = str((blob.get("annotations") or {}).get(index.LAYER_SIZE, ""))
            if os.path.exists(self.store.layer_path(diff_id)):
                sizes.append(self.store.layer_size(diff_id))
            elif noted.isdecimal() and len(noted) < 19:
                sizes.append(int(noted))
            else:
                sizes.append(int(blob.get("size", 0)))
        return sizes

    @property
    def name(self) -> str:
        """Its first name as people write it, or its short id."""
        return self.names[0].familiar if self.names else self.short_id

    @property
    def short_id(self) -> str:
        """The first twelve digits of the id."""
        return self.id.removeprefix("sha256:")[:12]

    def __repr__(self) -> str:
        return f"<Image {self.name} {self.short_id}>"
