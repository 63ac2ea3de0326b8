"""Push: an image goes to a registry.

Bottom up, for a registry takes a manifest only when it has all that the manifest names: first the blobs, several at
a time, then the manifest under its tag. Most blobs need not travel. Those that the repository has are found by
``HEAD``; those of a neighbour, as when an image is pushed that was made from another one of the same registry, are
*mounted* from there by name.

A manifest goes as its bytes are, so that its digest stays what it is. There is one exception: layers that are not
packed, as of an imported tar, travel packed by gzip, as they do from Docker. A registry would take them as they
are, but whoever pulls them would pay for it each time, and some clients expect nothing else. The packing is the
same each time, and so is the digest of the new manifest.
"""

from __future__ import annotations

import io
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from minicontainer.errors import Error, NotFound
from minicontainer.images.compression import Summed, Writer
from minicontainer.images.index import LAYER, MANIFEST
from minicontainer.images.reference import digest_of
from minicontainer.images.registry import client, transport
from minicontainer.images.registry.client import Refused
from minicontainer.images.registry.download import Stopped
from minicontainer.images.registry.manifests import DOCKER_LAYER
from minicontainer.images.registry.pull import AT_ONCE, quiet, short
from minicontainer.images.registry.transport import Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from minicontainer.images.image import Image
    from minicontainer.images.reference import Reference
    from minicontainer.images.registry.client import Repository
    from minicontainer.images.registry.pull import Report
    from minicontainer.images.store import Store

    Descriptor = dict[str, Any]

_PACKED = {LAYER: f"{LAYER}+gzip", DOCKER_LAYER: f"{DOCKER_LAYER}.gzip"}
_CHUNK = 1 << 18
_MOST_NEIGHBOURS = 3  # repositories that a blob is asked of before it is brought


class Pushed:
    """What came of it: the name at the registry, and the manifest's ``digest`` and ``size`` in bytes."""

    def __init__(self, reference: Reference, digest: str, size: int) -> None:
        self.reference = reference
        self.digest = digest
        self.size = size


def push(store: Store, reference: Reference, *, report: Report = quiet) -> Pushed:
    """Bring the image that has this name to the registry that is in the name.

    :raises NotFound: when no image has the name
    :raises Denied: when the registry does not let us
    :raises Unreachable, Refused: when it does not answer, or not as it should
    """
    if reference.digest:
        raise Error(f"cannot push {reference.familiar}: a digest is what comes of it; push a tag")
    image = _find(store, reference)
    with store.lease() as work:  # what is packed in it goes with it, whoever is killed
        store.hold_blobs(image)  # whoever removes it meanwhile takes the name, and we what it was
        neighbours = _neighbours(store, image, reference)
        also = sorted({path for paths in neighbours.values() for path in paths})
        report("", f"The push refers to repository [{reference.repository}]", 0, 0)
        repository = client.connect(reference.registry, reference.path, "pull,push", also=also)
        pushed = _Push(store, repository, neighbours, report, work).run(image, reference)
    report("", f"{reference.tag}: digest: {pushed.digest} size: {pushed.size}", 0, 0)
    return pushed


def push_all(store: Store, repository: Reference, *, report: Report = quiet) -> list[Pushed]:
    """Bring all tags that a repository has in the store."""
    names = {name for image in store.images() for name in image.names if name.tag and not name.digest}
    named = sorted((name for name in names if name.repository == repository.repository), key=str)
    if not named:
        raise NotFound(f"an image does not exist locally with the tag: {repository.familiar_repository}")
    return [push(store, name, report=report) for name in named]


def _find(store: Store, reference: Reference) -> Image:
    try:
        return store.find(str(reference))
    except NotFound:
        others = any(
            name.repository == reference.repository for image in store.images() for name in image.names
        )
        what = (
            f"tag does not exist: {reference.familiar}"
            if others
            else (f"an image does not exist locally with the tag: {reference.familiar_repository}")
        )
        raise NotFound(f"{what}; give it that name with 'minicontainer tag'") from None


def _neighbours(store: Store, image: Image, reference: Reference) -> dict[str, list[str]]:
    """For each layer, other repositories of the same registry that may have it: those of our images that do."""
    wanted = {layer["digest"] for _, layer in image.layers}
    found: dict[str, list[str]] = {digest: [] for digest in wanted}
    for other in store.images():
        paths = {name.path for name in other.names if name.registry == reference.registry} - {reference.path}
        for _, layer in other.layers:
            if layer["digest"] in wanted:
                known = found[layer["digest"]]
                known += [path for path in sorted(paths) if path not in known]
    return {digest: paths[:_MOST_NEIGHBOURS] for digest, paths in found.items()}


class _Push:
    """One image on its way."""

    def __init__(
        self,
        store: Store,
        repository: Repository,
        neighbours: dict[str, list[str]],
        report: Report,
        work: str,
    ) -> None:
        self.store = store
        self.repository = repository
        self.neighbours = neighbours
        self.report = report
        self.work = work
        self.stop = threading.Event()

    def run(self, image: Image, reference: Reference) -> Pushed:
        """Bring the layers, the configuration and the manifest, in this order."""
        for diff_id, _ in image.layers:
            self.report(short(diff_id), "Preparing", 0, 0)
        sent = self.send_layers(image)
        config = image.manifest["config"]
        self.send(config, self.store.blob_path(config["digest"]), lambda *_: None)
        with open(self.store.blob_path(image.manifest_digest), "rb") as file:
            data = file.read()
        if sent != image.manifest["layers"]:
            data = json.dumps({**image.manifest, "layers": sent}, separators=(",", ":")).encode()
        self.repository.put_manifest(reference.tag, data, image.manifest.get("mediaType") or MANIFEST)
        return Pushed(reference, digest_of(data), len(data))

    def send_layers(self, image: Image) -> list[Descriptor]:
        """Bring all layers, several at a time; returns their descriptors as they are at the registry."""
        executor = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="push")
        try:
            going: dict[str, Future[Descriptor]] = {}
            for diff_id, layer in image.layers:
                if layer["digest"] not in going:
                    going[layer["digest"]] = executor.submit(self.send_layer, diff_id, layer)
            return [going[layer["digest"]].result() for _, layer in image.layers]
        except BaseException:
            self.stop.set()
            raise
        finally:
            executor.shutdown(cancel_futures=True)

    def send_layer(self, diff_id: str, layer: Descriptor) -> Descriptor:
        """Bring one layer, packed if it is not yet."""
        digits = short(diff_id)
        path = self.store.blob_path(layer["digest"])
        if layer["mediaType"] in _PACKED:
            path, layer = self.pack(path, layer)
        self.send(layer, path, lambda status, done: self.report(digits, status, done, layer["size"]))
        return layer

    def pack(self, path: str, layer: Descriptor) -> tuple[str, Descriptor]:
        """Pack a layer for its way; returns the file and its descriptor. The same bytes come out every time."""
        packed = os.path.join(self.work, short(layer["digest"]))
        with open(path, "rb") as source, open(packed, "wb") as target:
            summed = Summed(target)
            with Writer(summed) as writer:
                while chunk := source.read(_CHUNK):
                    self.check_stop()
                    writer.write(chunk)
        media_type = _PACKED[layer["mediaType"]]
        return packed, {**layer, "mediaType": media_type, "digest": summed.digest, "size": summed.size}

    def send(self, blob: Descriptor, path: str, status: Callable[[str, int], None]) -> None:
        """Bring a blob, unless it is there or can be mounted; begins anew when the connection breaks."""
        digest, size = blob["digest"], blob["size"]
        if self.repository.has_blob(digest):
            return status("Layer already exists", size)
        for neighbour in self.neighbours.get(digest, ()):
            if self.repository.mount(digest, neighbour):
                return status(f"Mounted from {neighbour}", size)
        for pause in (*transport.PAUSES, None):
            try:
                with open(path, "rb", buffering=0) as file:
                    body = _Counted(file, lambda done: status("Pushing", done), self.check_stop)
                    self.repository.upload(digest, body, size)
                return status("Pushed", size)
            except (Unreachable, Refused) as error:
                if pause is None or self.stop.is_set() or getattr(error, "status", 503) not in transport.BUSY:
                    raise
                time.sleep(pause)
        raise AssertionError  # the last round returns or raises

    def check_stop(self) -> None:
        """Raise Stopped when nobody wants the rest."""
        if self.stop.is_set():
            raise Stopped("the push was stopped")


class _Counted(io.RawIOBase):
    """A file that says how far it was read."""

    def __init__(self, file: io.FileIO, read: Callable[[int], None], check: Callable[[], None]) -> None:
        super().__init__()
        self._file, self._read, self._check = file, read, check

    def readable(self) -> bool:
        """True, as for every file open for reading."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes; more than asked for are no use to the library that sends them."""
        self._check()
        data = self._file.read(size) or b""
        self._read(self._file.tell())
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go somewhere, as before an attempt to the beginning."""
        return self._file.seek(offset, whence)
