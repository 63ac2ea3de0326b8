"""``system check``: whether the store is what it says it is.

Every blob is read and compared with its digest; all that the index, the manifests and the containers name is
looked for; and what nobody names is found. It only looks. The store is locked for the moments in which lists are
made, and not while gigabytes are read: what another command removes meanwhile is no problem.
"""

from __future__ import annotations

import hashlib
import os

from minicontainer.errors import Error, explain
from minicontainer.files import read_json
from minicontainer.images import index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from minicontainer.images.index import Descriptor
    from minicontainer.images.store import Store

_CHUNK = 1 << 20
_FOREIGN_WORK = ("oci-put-blob", ".umoci-")  # what skopeo, podman and umoci write to before they rename it


class Checked:
    """What there was to look at."""

    def __init__(self) -> None:
        self.blobs = self.layers = self.images = 0

    def __str__(self) -> str:
        return f"{self.blobs} blobs, {self.layers} layers, {self.images} images"


def problems(store: Store, containers: Mapping[str, list[str]], checked: Checked) -> Iterator[str]:
    """What is wrong, a line each. ``containers`` gives each container's layers (diff ids) by its name."""
    if not os.path.exists(store.images_path):
        return
    try:
        with store.locked():
            entries, contents, needed = store.entries(), store.contents(), store.needed()
    except Error as error:
        yield str(error)
        return
    checked.images = len(store.images())
    yield from _layout(store)
    yield from store.damaged()
    yield from _entries(store, entries)
    for digest, path in contents:
        is_layer = os.path.dirname(path) == store.layers_path
        kind = "layer" if is_layer else "blob"
        checked.layers += is_layer
        checked.blobs += not is_layer
        yield from (_layer if is_layer else _blob)(digest, path)
        if digest not in needed and os.path.exists(path):
            yield f"{kind} {digest} belongs to no image; image prune removes it when it is an hour old"
    for name, layers in containers.items():
        for diff_id in layers:
            if not os.path.isdir(os.path.join(store.layer_path(diff_id), "diff")):
                yield f"container {name} needs layer {diff_id}, which is missing"
    yield from _leftovers(store)


def _layout(store: Store) -> Iterator[str]:
    path = os.path.join(store.images_path, "oci-layout")
    try:
        layout = read_json(path)
    except (Error, OSError) as error:
        yield explain(error)
        return
    version = layout.get("imageLayoutVersion", "none") if isinstance(layout, dict) else "none"
    if version != "1.0.0":
        yield f"{path} is of version {version}, and this program knows 1.0.0"


def _entries(store: Store, entries: list[Descriptor]) -> Iterator[str]:
    """Whether all that an entry leads to is there, of the right size; other platforms' images need not be."""
    todo = [(entry, "index.json", True) for entry in entries]
    seen = set()
    while todo:
        descriptor, who, required = todo.pop()
        digest, path = descriptor["digest"], store.blob_path(descriptor["digest"])
        if (digest, required) in seen:
            continue
        seen.add((digest, required))
        try:
            size = os.path.getsize(path)
        except FileNotFoundError:
            if required and any(each in store.entries() for each in entries):
                yield f"{who} names blob {digest}, which is missing"
            continue
        if size != descriptor.get("size", size):
            yield f"{who} says that blob {digest} has {descriptor['size']} bytes, and it has {size}"
        if "json" not in descriptor.get("mediaType", "json"):
            continue
        try:
            document = index.read_document(path)
        except (Error, FileNotFoundError):
            continue  # its digest will be wrong, too
        if index.is_index(document):
            todo += [(each, digest, False) for each in document["manifests"]]
        elif index.is_manifest(document):
            todo += [(each, digest, True) for each in (document["config"], *document["layers"])]


def _blob(digest: str, path: str) -> Iterator[str]:
    sha256 = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(_CHUNK):
                sha256.update(piece)
    except FileNotFoundError:
        return  # removed meanwhile
    except OSError as error:
        yield f"blob {digest} cannot be read: {error.strerror}"
        return
    got = "sha256:" + sha256.hexdigest()
    if got != digest:
        yield f"blob {digest} has the digest {got}"


def _layer(diff_id: str, path: str) -> Iterator[str]:
    try:
        known = read_json(os.path.join(path, "layer.json"))["diff_id"]
        os.stat(os.path.join(path, "diff"))
    except (Error, OSError, KeyError, TypeError) as error:
        if os.path.exists(path):
            yield f"layer {diff_id} is not whole: {explain(error)}"
        return
    if known != diff_id:
        yield f"layer {diff_id} says that it is {known}"


def _leftovers(store: Store) -> Iterator[str]:
    """Work that nobody is at: our next command removes its own, other tools' is for them or for people."""
    with store.locked():
        leftovers = store.leftovers()
    for path in leftovers:
        yield f"{path} is left of a command that was killed; the next one removes it"
    for directory in (store.images_path, os.path.join(store.blobs_path, "sha256")):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if name.startswith(_FOREIGN_WORK) or name.endswith(".tmp"):
                yield f"{path} is unfinished work; unless a program is at it just now, it can be removed"
