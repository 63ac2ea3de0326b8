"""What ``index.json`` leads to: descriptors, and the documents that name one another by digest.

::

    index.json -> manifest -> configuration (with the diff ids of the layers)
                           -> layers, packed
               -> index, one manifest for each platform -> ...

A **descriptor** names a blob by media type, digest and size (image-spec, descriptor.md). Other tools write here
too: entries without a name, with names of their own kind, indexes for many platforms of which some are not here,
Docker's media types, and things that are no images. So a document is known by what is in it, and what cannot be
read leads nowhere, but is still there.
"""

from __future__ import annotations

import os

from minicontainer import units
from minicontainer.errors import Error, InvalidArgument
from minicontainer.files import read_json
from minicontainer.images.reference import is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Descriptor = dict[str, Any]

REF_NAME = "org.opencontainers.image.ref.name"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_SIZE = "io.minicontainer.layer.size"  # annotation of a layer: bytes of file content, decimal
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # uname(2) -> Go's, which images use
_MOST_BYTES = 4 << 20  # of a manifest, as registries have it


def read_index(path: str) -> dict[str, Any]:
    """The index of a layout; an empty one when there is none. Error when it is damaged."""
    try:
        index = read_json(path)
    except FileNotFoundError:
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    if not isinstance(index, dict) or not is_list_of_descriptors(index.get("manifests")):
        raise Error(f"{path} is damaged: it has no list of manifests")
    return index


def is_descriptor(value: object) -> bool:
    """Whether this names a blob by digest and size."""
    if not isinstance(value, dict) or not isinstance(value.get("annotations", {}), dict | None):
        return False
    digest, size = value.get("digest"), value.get("size", 0)
    return isinstance(digest, str) and is_digest(digest) and isinstance(size, int) and size >= 0


def is_list_of_descriptors(value: object) -> bool:
    """Whether this is a list of what names blobs."""
    return isinstance(value, list) and all(map(is_descriptor, value))


def read_document(path: str) -> dict[str, Any]:
    """Read a manifest, an index or a configuration from a blob; Error when it is none, or is too large to be."""
    if os.path.getsize(path) > _MOST_BYTES:
        raise Error(
            f"{path} is larger than the {_MOST_BYTES} bytes that a manifest or a configuration may have"
        )
    try:
        document = read_json(path)
    except RecursionError:
        raise Error(f"{path} is damaged: it is nested too deeply") from None
    if not isinstance(document, dict):
        raise Error(f"{path} is damaged: it is no JSON object")
    return document


def is_index(document: dict[str, Any]) -> bool:
    """Whether a document lists manifests, as OCI's index and Docker's manifest list do."""
    return is_list_of_descriptors(document.get("manifests"))


def is_manifest(document: dict[str, Any]) -> bool:
    """Whether a document is the manifest of something with a configuration and layers."""
    return is_descriptor(document.get("config")) and is_list_of_descriptors(document.get("layers"))


def diff_ids(config: dict[str, Any]) -> list[str]:
    """The digests of an image's layers unpacked, lowest first; Error when the configuration has no such list."""
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    found = [] if found is None and isinstance(rootfs, dict) else found
    if not isinstance(found, list) or not all(isinstance(each, str) and is_digest(each) for each in found):
        raise Error("the configuration has no list of diff ids")
    return found


def moment(text: str) -> int | None:
    """A time of a configuration in nanoseconds since 1970; None when it is none, or the one that Go calls zero."""
    try:
        return units.parse_rfc3339(text) if text != units.ZERO_TIME else None
    except InvalidArgument:
        return None


def choose(document: dict[str, Any], here: Callable[[str], bool] | None = None) -> Descriptor | None:
    """The manifest of an index that is for this host: Linux, and its architecture; None when there is none.

    ``here`` tells which digests there are; of several the first that is here is taken. An entry that does not say
    its platform will do when no other does.
    """
    candidates: list[Descriptor] = [
        each for each in document["manifests"] if not here or here(each["digest"])
    ]
    machine = ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    for each in candidates:
        platform = each.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", machine):
            return each
    return next((each for each in candidates if not each.get("platform")), None)


def reachable(blob_path: Callable[[str], str], descriptors: list[Descriptor]) -> set[str]:
    """The digests of all that descriptors lead to: blobs, and the layers' diff ids."""
    found: set[str] = set()
    todo = list(descriptors)
    while todo:
        descriptor = todo.pop()
        if descriptor["digest"] in found:
            continue
        found.add(descriptor["digest"])
        if descriptor.get("size", 0) > _MOST_BYTES or "json" not in descriptor.get("mediaType", "json"):
            continue
        try:
            document = read_document(blob_path(descriptor["digest"]))
        except (Error, FileNotFoundError):
            continue
        if is_index(document):
            todo += document["manifests"]
        if is_manifest(document):
            todo += [document["config"], *document["layers"]]
        if isinstance(document.get("rootfs"), dict):
            found.update(each for each in document["rootfs"].get("diff_ids") or () if isinstance(each, str))
    return found
