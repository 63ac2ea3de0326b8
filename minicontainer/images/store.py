"""The image store: an OCI image layout, and the layers unpacked beside it.

::

    images/oci-layout, index.json       which images there are, and by which names
    images/blobs/sha256/<digest>        manifests, configurations, packed layers: immutable, named by content
    layers/<diff-id>/diff/              a layer unpacked, once, for every container that uses it
    layers/<diff-id>/layer.json         its size

``index.json`` is the one file that changes. It is replaced whole, under a lock, after all that it points to
is in place; what a killed command leaves behind is in nobody's way and is swept up.
"""

from __future__ import annotations

import os

from minicontainer.errors import Conflict, Error, IntegrityError, NotFound
from minicontainer.files import read_json, remove_tree, write_json
from minicontainer.images.blobs import Blobs
from minicontainer.images.reference import Reference, is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any

REF_NAME = "org.opencontainers.image.ref.name"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


class Image:
    """One image of the store: its configuration and its layers, under any number of names."""

    def __init__(self, store: Store, manifest_digest: str, names: list[Reference]) -> None:
        self.store = store
        self.manifest_digest = manifest_digest
        self.names = names
        self.manifest: dict[str, Any] = read_json(store.blob_path(manifest_digest))
        #: ``sha256:`` and the digest of the configuration: Docker's image id
        self.id: str = self.manifest["config"]["digest"]
        self.config: dict[str, Any] = read_json(store.blob_path(self.id))

    @property
    def diff_ids(self) -> list[str]:
        """The digests of the uncompressed layers, lowest first."""
        return list(self.config["rootfs"]["diff_ids"])

    @property
    def size(self) -> int:
        """Bytes of file content in all its layers, unpacked."""
        return sum(self.store.layer_size(diff_id) for diff_id in self.diff_ids)

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


class Store(Blobs):
    """The images below one directory (``/var/lib/minicontainer``)."""

    # ------------------------------------------------------------ finding

    def images(self) -> list[Image]:
        """All images, the newest first; one that has several names is there once."""
        names: dict[str, list[Reference]] = {}
        for descriptor in self._index()["manifests"]:
            known = names.setdefault(descriptor["digest"], [])
            name = descriptor.get("annotations", {}).get(REF_NAME)
            if name:
                known.append(Reference.parse(name))
        found = [self._image(digest, known) for digest, known in names.items()]
        images = [image for image in found if image]
        return sorted(images, key=lambda image: str(image.config.get("created", "")), reverse=True)

    def _image(self, manifest_digest: str, names: list[Reference]) -> Image | None:
        """An image of the index just read; None when somebody has removed it meanwhile."""
        try:
            return Image(self, manifest_digest, names)
        except FileNotFoundError as error:
            if any(descriptor["digest"] == manifest_digest for descriptor in self._index()["manifests"]):
                raise Error(f"image {manifest_digest} is damaged: {error.filename} is missing") from None
            return None

    def find(self, name: str) -> Image:
        """The image of this reference, id or unambiguous beginning of an id; NotFound when there is none."""
        image = self._find_reference(name) or self._find_id(name)
        if image is None:
            raise NotFound(f"no such image: {name}")
        return image

    def _find_reference(self, name: str) -> Image | None:
        if is_digest(name):
            return None
        wanted = Reference.parse(name)
        matches = [
            descriptor for descriptor in self._index()["manifests"] if self._matches(descriptor, wanted)
        ]
        if not matches:
            return None
        digest = matches[0]["digest"]
        return self._image(digest, self._names_of(digest))

    @staticmethod
    def _matches(descriptor: dict[str, Any], wanted: Reference) -> bool:
        name = descriptor.get("annotations", {}).get(REF_NAME)
        if not name:
            return False
        have = Reference.parse(name)
        if wanted.digest and descriptor["digest"] != wanted.digest:
            return False
        return have.repository == wanted.repository and (not wanted.tag or have.tag == wanted.tag)

    def _find_id(self, name: str) -> Image | None:
        digits = name.removeprefix("sha256:")
        if not digits or not set(digits) <= set("0123456789abcdef"):
            return None
        matches = [image for image in self.images() if image.id.removeprefix("sha256:").startswith(digits)]
        if len(matches) > 1:
            raise Conflict(f"{name} is the beginning of several image ids; give more of it")
        return matches[0] if matches else None

    def _names_of(self, manifest_digest: str) -> list[Reference]:
        return [
            Reference.parse(descriptor["annotations"][REF_NAME])
            for descriptor in self._index()["manifests"]
            if descriptor["digest"] == manifest_digest and REF_NAME in descriptor.get("annotations", {})
        ]

    def _index(self) -> dict[str, Any]:
        try:
            index: dict[str, Any] = read_json(self.index_path)
        except FileNotFoundError:
            return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        return index

    def drop_blob(self, digest: str) -> None:
        """Delete a blob, unless it belongs to an image."""
        with self._locked():
            if digest not in self._blobs_of(self.images()) and os.path.exists(self.blob_path(digest)):
                os.unlink(self.blob_path(digest))

    @staticmethod
    def _blobs_of(images: list[Image]) -> set[str]:
        """The digests of all that images consist of."""
        digests = {digest for image in images for digest in (image.manifest_digest, image.id)}
        return digests | {layer["digest"] for image in images for layer in image.manifest["layers"]}

    # ------------------------------------------------------------ images

    def add_image(
        self, config: dict[str, Any], layers: list[dict[str, Any]], name: Reference | None
    ) -> Image:
        """Make an image of a configuration and of layer descriptors that are in the store; name it, if asked.

        An image that had the name before loses it, and stays without.
        """
        import json

        config_blob = self.add_blob(json.dumps(config, separators=(",", ":")).encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **config_blob},
            "layers": layers,
        }
        blob = self.add_blob(json.dumps(manifest, separators=(",", ":")).encode())
        self.name(blob["digest"], blob["size"], name)
        return Image(self, blob["digest"], self._names_of(blob["digest"]))

    def name(self, manifest_digest: str, size: int, name: Reference | None) -> None:
        """Enter a manifest in the index, under a name or under none."""
        with self._locked():
            index = self._index()
            if name:
                _take_name(index, str(name))
            if name or not any(d["digest"] == manifest_digest for d in index["manifests"]):
                descriptor: dict[str, Any] = {"mediaType": MANIFEST, "digest": manifest_digest, "size": size}
                if name:
                    descriptor["annotations"] = {REF_NAME: str(name)}
                    _drop_nameless(index, manifest_digest)
                index["manifests"].append(descriptor)
            write_json(self.index_path, index)

    def remove(self, image: Image, name: Reference | None = None, keep: Container[str] = ()) -> list[str]:
        """Take one name off an image, or remove it with all its names; returns what was untagged and deleted.

        Its blobs and layers go when no other image has them; layers also stay that are to be kept (diff ids).
        """
        with self._locked():
            index = self._index()
            gone = [str(name)] if name else [str(each) for each in image.names]
            left = [each for each in image.names if str(each) not in gone]
            index["manifests"] = [
                d
                for d in index["manifests"]
                if d["digest"] != image.manifest_digest
                or (left and d.get("annotations", {}).get(REF_NAME) not in gone)
            ]
            write_json(self.index_path, index)
            report = [f"Untagged: {Reference.parse(each).familiar}" for each in gone]
            return report if left else report + self._sweep(image, keep)

    def _sweep(self, image: Image, keep: Container[str]) -> list[str]:
        """Delete what only this image, just taken out of the index, had; under the lock."""
        images = self.images()
        report = []
        if not any(other.id == image.id for other in images):
            report.append(f"Deleted: {image.id}")
        kept = self._blobs_of(images)
        for digest in [image.manifest_digest, image.id, *(la["digest"] for la in image.manifest["layers"])]:
            if digest not in kept and os.path.exists(self.blob_path(digest)):
                os.unlink(self.blob_path(digest))
        layers_kept = {diff_id for other in images for diff_id in other.diff_ids}
        for diff_id in image.diff_ids:
            if (
                diff_id not in layers_kept
                and diff_id not in keep
                and os.path.exists(self._layer_path(diff_id))
            ):
                self._remove_layer(diff_id)
                report.append(f"Deleted: {diff_id}")
        return report

    # ------------------------------------------------------------ layers

    def _layer_path(self, diff_id: str) -> str:
        return os.path.join(self.layers_path, diff_id.removeprefix("sha256:"))

    def layer_directories(self, image: Image) -> list[str]:
        """The directories of an image's layers for an overlay, the highest first; unpacked if they are not."""
        for diff_id, descriptor in zip(image.diff_ids, image.manifest["layers"], strict=True):
            if not os.path.exists(self._layer_path(diff_id)):
                self._unpack(diff_id, descriptor)
        return self.layer_paths(image.diff_ids)

    def layer_paths(self, diff_ids: list[str]) -> list[str]:
        """The directories that these layers, lowest first, are unpacked in; for an overlay, the highest first."""
        return [os.path.join(self._layer_path(diff_id), "diff") for diff_id in reversed(diff_ids)]

    def layer_size(self, diff_id: str) -> int:
        """Bytes of file content in a layer; 0 when it was never unpacked."""
        try:
            return int(read_json(os.path.join(self._layer_path(diff_id), "layer.json"))["size"])
        except FileNotFoundError:
            return 0

    def _unpack(self, diff_id: str, descriptor: dict[str, Any]) -> None:
        """Unpack a layer and check that it is what its diff id promises; two at once do no harm."""
        from minicontainer.images import compression, layers

        temporary, claim = self._claim(self.layers_path)
        try:
            os.mkdir(os.path.join(temporary, "diff"))
            os.chmod(os.path.join(temporary, "diff"), 0o755)  # of a layer that does not say; no umask counts
            with compression.Reader(self.blob_path(descriptor["digest"])) as stream:
                applied = layers.apply(stream, os.path.join(temporary, "diff"))
                got = stream.finish()
            if got != diff_id:
                raise IntegrityError(f"layer {descriptor['digest']} unpacks to {got}, not to {diff_id}")
            write_json(os.path.join(temporary, "layer.json"), {"diff_id": diff_id, "size": applied.size})
            os.rename(temporary, self._layer_path(diff_id))
        except FileExistsError:
            pass  # another process was faster
        except OSError as error:
            if not os.path.exists(self._layer_path(diff_id)):
                raise error
        finally:
            remove_tree(temporary)
            os.close(claim)

    def _remove_layer(self, diff_id: str) -> None:
        """Move it out of sight first: a layer is there whole or not at all."""
        trash = os.path.join(self.layers_path, f".{os.urandom(8).hex()}")
        os.rename(self._layer_path(diff_id), trash)
        remove_tree(trash)


def _take_name(index: dict[str, Any], name: str) -> None:
    """Take a name off the image that has it; the image stays, without a name if it was its last."""
    for descriptor in index["manifests"]:
        if descriptor.get("annotations", {}).get(REF_NAME) == name:
            del descriptor["annotations"][REF_NAME]
    for descriptor in [d for d in index["manifests"] if not d.get("annotations", {}).get(REF_NAME)]:
        if sum(d["digest"] == descriptor["digest"] for d in index["manifests"]) > 1:
            index["manifests"].remove(descriptor)


def _drop_nameless(index: dict[str, Any], digest: str) -> None:
    """An image with a name needs no entry without one."""
    index["manifests"] = [
        d for d in index["manifests"] if d["digest"] != digest or d.get("annotations", {}).get(REF_NAME)
    ]
