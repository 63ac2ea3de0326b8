"""Pull: a name becomes an image in the store.

The name leads to a manifest, perhaps by way of an index of platforms; the manifest leads to a configuration and
to layers. What the store has is not fetched; the rest comes several at a time, each checked against its digest on
its way. Each layer is unpacked at once, so that one that is refused is refused now, and not at some ``run``. The
name is entered last: before that nothing has changed for anybody, and after that all is here.
"""

from __future__ import annotations

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from minicontainer.errors import IntegrityError, InvalidArgument, NotFound
from minicontainer.images import index
from minicontainer.images.reference import Reference
from minicontainer.images.registry import client, manifests
from minicontainer.images.registry.download import Download
from minicontainer.images.registry.manifests import Document, Platform
from minicontainer.images.store import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from minicontainer.images.registry.client import Repository
    from minicontainer.images.store import Store

    #: what happens to a layer, by its short digest, or to the whole (""): status, bytes so far, bytes in all
    Report = Callable[[str, str, int, int], None]
    Descriptor = dict[str, Any]

AT_ONCE = 3  # blobs, as Docker has it
_MOST_DEPTH = 3  # indexes within indexes


class Pulled:
    """What came of it: the image, the ``digest`` that the registry knows it by, and whether it is ``fresh``."""

    def __init__(self, reference: Reference, image: Image, digest: str, fresh: bool) -> None:
        self.reference = reference
        self.image = image
        self.digest = digest
        self.fresh = fresh


def short(digest: str) -> str:
    """The first twelve digits of a digest, as people see it."""
    return digest.removeprefix("sha256:")[:12]


def last_word(name: str, fresh: bool) -> str:
    """What Docker says when a pull is done."""
    return f"Status: {'Downloaded newer image for' if fresh else 'Image is up to date for'} {name}"


def quiet(layer: str, status: str, done: int = 0, total: int = 0) -> None:
    """A Report that nobody reads."""


def pull(store: Store, reference: Reference, *, platform: str = "", report: Report = quiet) -> Pulled:
    """Bring an image into the store, under the name that it has at its registry.

    :param platform: ``os/architecture[/variant]``; this host's when it is not given
    :raises NotFound: when the registry has no such image, or none for the platform
    :raises Denied: when it has none for us
    :raises Unreachable: when it does not answer
    :raises IntegrityError, InvalidArgument, Unsupported: for what it sends; nothing is kept of that
    """
    wanted = Platform.parse(platform) if platform else None
    wanted_by = reference.digest or reference.tag

    def find(repository: Repository) -> tuple[Repository, Document]:
        return repository, _manifest(repository, wanted_by, reference.familiar)

    repository, top = client.first_that_answers(client.candidates(reference.registry, reference.path), find)
    report("", f"{wanted_by}: Pulling from {reference.path}", 0, 0)
    name = (
        Reference(reference.registry, reference.path, "", reference.digest) if reference.digest else reference
    )
    with store.lease():
        return _Pull(store, repository, report).run(top, name, wanted)


def pull_all(
    store: Store, reference: Reference, *, platform: str = "", report: Report = quiet
) -> list[Pulled]:
    """Bring all tags of a repository."""

    def find(repository: Repository) -> list[str]:
        return repository.tags()

    tags = client.first_that_answers(client.candidates(reference.registry, reference.path), find)
    if not tags:
        raise NotFound(f"{reference.familiar_repository} has no tags")
    named = [Reference(reference.registry, reference.path, tag) for tag in sorted(tags)]
    return [pull(store, each, platform=platform, report=report) for each in named]


def _manifest(repository: Repository, wanted_by: str, source: str) -> Document:
    try:
        return repository.manifest(wanted_by, source)
    except NotFound as error:
        raise NotFound(f"manifest for {source} not found: {error}") from None


class _Pull:
    """One image on its way."""

    def __init__(self, store: Store, repository: Repository, report: Report) -> None:
        self.store = store
        self.repository = repository
        self.report = report
        self.stop = threading.Event()
        self.downloads: list[Download] = []

    def run(self, top: Document, name: Reference, wanted: Platform | None) -> Pulled:
        manifest = self.for_platform(top, wanted or Platform.host())
        config, layers = manifests.contents(manifest)
        document = self.config(manifest, config, wanted)
        before = self.known_as(name)
        self.fetch(layers, document["rootfs"]["diff_ids"])
        for each in (manifest, top):
            self.store.add_verified(io.BytesIO(each.data), each.digest, len(each.data))
        entered = top if self.leads_to(top, manifest) else manifest
        self.store.name(entered.digest, len(entered.data), name, entered.media_type)
        self.report("", f"Digest: {top.digest}", 0, 0)
        return Pulled(name, self.store.find(str(name)), top.digest, before != config["digest"])

    def for_platform(self, top: Document, platform: Platform) -> Document:
        """The manifest itself, or that which an index has for a platform."""
        document = top
        for _ in range(_MOST_DEPTH):
            if not document.is_index:
                return document
            chosen = manifests.choose(document, platform)
            document = _manifest(self.repository, chosen["digest"], top.source)
            if len(document.data) != chosen["size"]:
                raise IntegrityError(
                    f"manifest {chosen['digest']} should be {chosen['size']} bytes, and is {len(document.data)}"
                )
        raise InvalidArgument(f"{top.source} is an index of indexes, more than {_MOST_DEPTH} deep")

    def config(self, manifest: Document, config: Descriptor, wanted: Platform | None) -> dict[str, Any]:
        """Bring the configuration, and see that it fits; a machine that is not ours is worth a warning."""
        self.bring(config, lambda done: None)
        with open(self.store.blob_path(config["digest"]), "rb") as file:
            document = manifests.check_config(manifest, file.read(), wanted)
        if not wanted and not Platform.host().matches(document):
            have, ours = Platform.of(document), Platform.host()
            self.report("", f"WARNING: the image is for {have}, and this host is {ours}", 0, 0)
        return document

    def known_as(self, name: Reference) -> str:
        """The id of the image that has the name now."""
        try:
            return self.store.find(str(name)).id
        except NotFound:
            return ""

    def leads_to(self, top: Document, manifest: Document) -> bool:
        """Whether the store, too, comes from the one to the other: not if it is for another machine than ours."""
        if not top.is_index:
            return True
        chosen = index.choose(top.content, lambda digest: os.path.exists(self.store.blob_path(digest)))
        return chosen is not None and chosen["digest"] == manifest.digest

    # ------------------------------------------------------------ blobs

    def fetch(self, layers: list[Descriptor], diff_ids: list[str]) -> None:
        """Bring all layers, several at a time, and unpack each, the lowest first, as soon as it is here."""
        here = [self.store.hold(layer["digest"]) for layer in layers]
        if all([*here, *(self.store.hold_layer(diff_id) for diff_id in diff_ids)]):
            return
        executor = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pull")
        try:
            coming: dict[str, Future[bool]] = {}
            for layer in layers:
                if layer["digest"] not in coming:
                    coming[layer["digest"]] = executor.submit(self.fetch_layer, layer)
            for layer, diff_id in zip(layers, diff_ids, strict=True):
                fetched = coming[layer["digest"]].result()
                self.report(short(layer["digest"]), "Extracting", 0, 0)
                self.store.unpack(diff_id, layer)
                self.report(short(layer["digest"]), "Pull complete" if fetched else "Already exists", 0, 0)
        except BaseException:
            self.stop.set()
            for download in self.downloads:
                download.abort()
            raise
        finally:
            executor.shutdown(cancel_futures=True)

    def fetch_layer(self, layer: Descriptor) -> bool:
        """Bring one layer; False when it was here already."""
        if self.store.hold(layer["digest"]):
            return False
        digits, size = short(layer["digest"]), layer["size"]
        self.report(digits, "Pulling fs layer", 0, size)
        self.bring(layer, lambda done: self.report(digits, "Downloading", done, size))
        self.report(digits, "Download complete", size, size)
        return True

    def bring(self, descriptor: Descriptor, arrived: Callable[[int], None]) -> None:
        """Bring one blob into the store, checked on its way."""
        digest, size = descriptor["digest"], descriptor["size"]
        with Download(self.repository, digest, size, arrived, self.stop) as download:
            self.downloads.append(download)
            self.store.add_verified(download, digest, size)  # type: ignore[arg-type]
