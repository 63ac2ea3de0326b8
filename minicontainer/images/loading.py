"""Images out of a file: what ``save`` wrote, here or with Docker, podman, skopeo or umoci.

Two lists say what an archive has (:mod:`minicontainer.images.saving`): Docker's ``manifest.json``, or an OCI
layout's ``index.json``, of which an index for many platforms gives us the image for ours.

Layers are unpacked and compared with their diff ids here, and not when a container is first made: an archive that
lies is refused while the person who has it is there, and the first container starts as quickly as the second.
When anything is wrong, nothing is left of any of it.
"""

from __future__ import annotations

import json
import os

from minicontainer.errors import Error, IntegrityError, InvalidArgument
from minicontainer.images import compression, index, unpacked
from minicontainer.images.image import Image
from minicontainer.images.parts import Parts, Plain
from minicontainer.images.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

    from minicontainer.images.store import Store

_MOST_NESTED = 4  # indexes within one another
_CONTAINERD_NAME = "io.containerd.image.name"


class Loaded:
    """One image that came out of an archive, the names it came with, and what had these names until now."""

    def __init__(self, image: Image, names: list[Reference]) -> None:
        self.image = image
        self.names = names
        #: pairs of a name and the id of the image that has lost it
        self.replaced: list[tuple[Reference, str]] = []


def load(store: Store, stream: IO[bytes]) -> list[Loaded]:
    """Bring the images of an archive into the store: docker-archive or oci-archive, packed or not.

    Raises InvalidArgument or IntegrityError that names what is wrong; nothing is left then.
    """
    with store.lease():  # at whose end goes what no image has come to need
        parts = Parts(store)
        parts.read(Plain(stream))
        if "manifest.json" in parts:
            found = list(_docker_images(parts))
        elif "index.json" in parts:
            found = list(_oci_images(parts))
        else:
            raise InvalidArgument(
                "the archive has neither a manifest.json nor an index.json, and so no image; "
                "a root filesystem is taken in with import"
            )
        for loaded in found:
            for diff_id, blob in loaded.image.layers:
                store.unpack(diff_id, blob)
        for loaded in found:
            _name(store, loaded)
    return found


def _name(store: Store, loaded: Loaded) -> None:
    known = {name: image.id for image in store.images() for name in image.names}
    image = loaded.image
    kind, size = (
        str(image.manifest.get("mediaType", index.MANIFEST)),
        os.path.getsize(store.blob_path(image.manifest_digest)),
    )
    for name in loaded.names:
        if known.get(name, image.id) != image.id:
            loaded.replaced.append((name, known[name]))
        store.name(image.manifest_digest, size, name, kind)
    if not loaded.names:
        store.name(image.manifest_digest, size, None, kind)


# ------------------------------------------------------------------ docker-archive


def _docker_images(parts: Parts) -> Iterator[Loaded]:
    listed = parts.document(parts.find("manifest.json", "the archive"))
    if not isinstance(listed, list) or not listed:
        raise InvalidArgument("manifest.json is no list of images")
    for item in listed:
        if not isinstance(item, dict) or not _are_strings(item.get("Layers")):
            raise InvalidArgument(f"manifest.json: {str(item)[:100]} is no image; it has no list of layers")
        tags = item.get("RepoTags") or []
        if not _are_strings(tags):
            raise InvalidArgument(f"manifest.json: {str(tags)[:100]} is no list of names")
        names = [Reference.parse(tag) for tag in tags]
        yield Loaded(_docker_image(parts, item), names)


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _docker_image(parts: Parts, item: dict[str, Any]) -> Image:
    config_name = parts.find(item.get("Config"), "manifest.json")
    try:
        diff_ids = index.diff_ids(_checked(parts.document(config_name), config_name))
    except Error as error:
        raise InvalidArgument(f"{config_name}: {error}") from None
    layers = [parts.find(name, "manifest.json") for name in item["Layers"]]
    if len(layers) != len(diff_ids):
        raise InvalidArgument(
            f"manifest.json lists {len(layers)} layers, and {config_name} has {len(diff_ids)} diff ids"
        )
    config = parts.keep(config_name)
    known = _known(parts.store, config["digest"])
    if known:
        return known
    manifest = {
        "schemaVersion": 2,
        "mediaType": index.MANIFEST,
        "config": {"mediaType": index.CONFIG, **config},
        "layers": [_layer(parts, name) for name in layers],
    }
    blob = parts.store.add_blob(json.dumps(manifest, separators=(",", ":")).encode())
    return Image(parts.store, blob["digest"], [])


def _known(store: Store, image_id: str) -> Image | None:
    """The image of this id that is in the store already, with its layers packed in whatever way; now held."""
    for image in store.images():
        if image.id == image_id:
            digests = [image.manifest_digest, image.id, *(blob["digest"] for _, blob in image.layers)]
            return image if all(map(store.hold, digests)) else None
    return None


def _layer(parts: Parts, name: str) -> dict[str, Any]:
    """The descriptor of a layer; one that is packed as no layer may be is kept unpacked."""
    blob = parts.keep(name)
    path = parts.store.blob_path(blob["digest"])
    with open(path, "rb") as file:
        packing = unpacked.PACKINGS.get(compression.detect(file.read(8)))
    if packing is not None:
        return {"mediaType": index.LAYER + packing, **blob}
    with compression.Reader(path) as reader:
        return {"mediaType": index.LAYER, **parts.store.add_blob_stream(reader)}  # type: ignore[arg-type]


# ------------------------------------------------------------------ oci-archive


def _oci_images(parts: Parts) -> Iterator[Loaded]:
    document = parts.document(parts.find("index.json", "the archive"))
    if not isinstance(document, dict) or not index.is_index(document) or not document["manifests"]:
        raise InvalidArgument("index.json is no list of images")
    found: dict[str, Loaded] = {}
    for descriptor in document["manifests"]:
        image = _oci_image(parts, descriptor)
        loaded = found.setdefault(image.id, Loaded(image, []))
        name = _oci_name(descriptor)
        if name and name not in loaded.names:
            loaded.names.append(name)
    yield from found.values()


def _oci_name(descriptor: dict[str, Any]) -> Reference | None:
    """The name of an entry: containerd and Docker write the tag alone where others write all of it."""
    annotations = descriptor.get("annotations") or {}
    name = annotations.get(_CONTAINERD_NAME) or annotations.get(index.REF_NAME)
    return Reference.parse(name) if name and isinstance(name, str) else None


def _oci_image(parts: Parts, descriptor: dict[str, Any]) -> Image:
    name, who = "", "index.json"
    for _ in range(_MOST_NESTED):
        name = _part_of(parts, descriptor, who)
        document = _checked(parts.document(name), name)
        if not index.is_index(document):
            break
        chosen = index.choose(document, lambda digest: _path(digest) in parts)
        if chosen is None:
            raise InvalidArgument(f"{name} lists no image for this host's platform that is in the archive")
        descriptor, who = chosen, name
    if not index.is_manifest(document):
        raise InvalidArgument(f"{name} is no manifest of an image")
    for each in (document["config"], *document["layers"]):
        parts.keep(_part_of(parts, each, name))
    blob = parts.keep(name)
    return Image(parts.store, blob["digest"], [])


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _part_of(parts: Parts, descriptor: dict[str, Any], who: str) -> str:
    """The part that a descriptor names; IntegrityError when it has another size."""
    name = parts.find(_path(descriptor["digest"]), who)
    size = len(parts.small[name]) if name in parts.small else parts.blobs[name]["size"]
    if size != descriptor.get("size", size):
        raise IntegrityError(f"{who} says that {name} has {descriptor['size']} bytes, and it has {size}")
    return name


def _checked(document: object, name: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InvalidArgument(f"{name} is no JSON object")
    return document
