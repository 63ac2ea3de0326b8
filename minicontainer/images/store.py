"""The image store: an OCI image layout, and the layers unpacked beside it.

::

    images/oci-layout, index.json       which images there are, and by which names
    images/blobs/sha256/<digest>        manifests, configurations, packed layers: immutable, named by content
    layers/<diff-id>/                   a layer unpacked, once, for every container that uses it

``index.json`` is the one file that changes. It is replaced whole, under a lock, after all that it points to
is in place; what a killed command leaves behind is in nobody's way and is swept up. Other tools write into the
layout as well (``skopeo copy docker://alpine oci:/var/lib/minicontainer/images:alpine``), and what they enter
is an image like any other.
"""

from __future__ import annotations

import os

from minicontainer.errors import Conflict, Error, IntegrityError, InvalidArgument, NotFound
from minicontainer.files import write_json
from minicontainer.images import index
from minicontainer.images.image import Image as Image
from minicontainer.images.index import CONFIG, MANIFEST, REF_NAME
from minicontainer.images.index import LAYER as LAYER
from minicontainer.images.reference import Reference, is_digest
from minicontainer.images.unpacked import Layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minicontainer.images.index import Descriptor


class Store(Layers):
    """The images below one directory (``/var/lib/minicontainer``)."""

    # ------------------------------------------------------------ finding

    def images(self) -> list[Image]:
        """All images that are whole, the newest first; one that has several names is there once."""
        found: dict[str, Image] = {}
        for descriptor in self.entries():
            try:
                image = self._image(descriptor)
            except IntegrityError:
                continue  # damaged() tells of it
            if image:
                known = found.setdefault(image.id, image)
                known.names += [name for name in image.names if name not in known.names]
                known.entries += [digest for digest in image.entries if digest not in known.entries]
        return sorted(found.values(), key=lambda image: image.created, reverse=True)

    def damaged(self) -> list[str]:
        """What is wrong with those entries of the index that cannot be read, a line each."""
        problems = {}
        for descriptor in self.entries():
            try:
                self._image(descriptor)
            except IntegrityError as error:
                problems[str(error)] = True
        return list(problems)

    def entries(self) -> list[Descriptor]:
        """What ``index.json`` lists: a descriptor for each name of an image, and for images without."""
        return list(index.read_index(self.index_path)["manifests"])

    def _image(self, descriptor: Descriptor) -> Image | None:
        """The image that an entry leads to; None when it is none, or somebody has removed it meanwhile."""
        digest = descriptor["digest"]
        name = name_of(descriptor)
        try:
            document = index.read_document(self.blob_path(digest))
            if index.is_index(document):
                chosen = index.choose(document, lambda digest: os.path.exists(self.blob_path(digest)))
                if chosen is None:
                    return None
                image = Image(self, chosen["digest"], [name] if name else [])
                image.entries = [digest]
                return image
            if not _is_image(document):
                return None
            return Image(self, digest, [name] if name else [])
        except FileNotFoundError as error:
            if all(each["digest"] != digest for each in self.entries()):
                return None
            problem = f"{error.filename} is missing"
        except Error as error:
            problem = str(error)
        what = name.familiar if name else digest
        raise IntegrityError(f"image {what} is damaged: {problem}; remove it with rmi, and get it anew")

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
        entries = self.entries()
        for descriptor in entries:
            if _answers_to(descriptor, wanted):
                image = self._image(descriptor)
                return self._with_names(image, entries) if image else None
        return None

    def _find_id(self, name: str) -> Image | None:
        digits = name.removeprefix("sha256:")
        if not digits or not set(digits) <= set("0123456789abcdef"):
            return None
        matches = [image for image in self.images() if image.id.removeprefix("sha256:").startswith(digits)]
        matches = matches or self.step_images(digits)
        if len(matches) > 1:
            raise Conflict(f"{name} is the beginning of several image ids; give more of it")
        return matches[0] if matches else None

    def step_images(self, digits: str = "") -> list[Image]:
        """The images of builds' steps, the last of each build too, each once; those whose ids begin so."""
        steps = [each for each in self.steps() if each.image_id[7:].startswith(digits)]
        found = {each.image_id: each.manifest["digest"] for each in steps}
        return [image for digest in found.values() if (image := self.hold_image(digest))]

    def hold_image(self, digest: str) -> Image | None:
        """The image of this manifest, if all of it is there; it stays for as long as the lease the caller has."""
        try:
            image = Image(self, digest, [])
            self.hold_blobs(image, *image.diff_ids)
        except (FileNotFoundError, Error):
            return None
        return image

    def hold_blobs(self, image: Image, *layers: str) -> None:
        """Have an image and unpacked layers stay as :meth:`hold` says; NotFound names a blob that is not there."""
        with self.locked():
            for each in image.blobs:
                if not os.path.exists(self.blob_path(each)):
                    raise NotFound(f"image {image.name}: its blob {each} is missing or was removed meanwhile")
            self.note(*image.blobs, *layers)

    def _with_names(self, image: Image, entries: list[Descriptor]) -> Image:
        """The image with all the names that its manifest has; one of the same id may have others."""
        for descriptor in entries:
            name = name_of(descriptor)
            if descriptor["digest"] == image.digest and name and name not in image.names:
                image.names.append(name)
        return image

    # ------------------------------------------------------------ adding

    def add_image(
        self, config: dict[str, Any], layers: list[dict[str, Any]], name: Reference | None
    ) -> Image:
        """Make an image of a configuration and of layer descriptors that are in the store; name it, if asked.

        An image that had the name before loses it, and stays without.
        """
        with self.lease():
            for layer in layers:
                self.hold(layer["digest"])
            blob = self.put_image(config, layers)
            self.name(blob["digest"], blob["size"], name)
            return Image(self, blob["digest"], [name] if name else [])

    def put_image(
        self, config: dict[str, Any], layers: list[dict[str, Any]], durable: bool = True
    ) -> dict[str, Any]:
        """Keep an image's documents, for whoever writes down that it is needed; its manifest's digest and size."""
        import json

        config_blob = self.add_blob(json.dumps(config, separators=(",", ":")).encode(), durable)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **config_blob},
            "layers": layers,
        }
        return self.add_blob(json.dumps(manifest, separators=(",", ":")).encode(), durable)

    def name(self, digest: str, size: int, name: Reference | None, media_type: str = MANIFEST) -> None:
        """Enter a manifest, or an index of several, under a name or under none; the blobs must be there."""
        self._enter({"mediaType": media_type, "digest": digest, "size": size}, name)

    def tag(self, image: Image, name: Reference) -> None:
        """Give an image one more name; an image that had it until now loses it."""
        self._enter({"digest": image.digest}, name)

    def _enter(self, descriptor: Descriptor, name: Reference | None) -> None:
        with self.locked():
            document = index.read_index(self.index_path)
            entries: list[Descriptor] = document["manifests"]
            digest = descriptor["digest"]
            same = [each for each in entries if each["digest"] == digest]
            if not same and "size" not in descriptor:
                raise NotFound(f"no such image: {digest} was removed meanwhile")
            if same and not name:
                return
            descriptor = _renamed(same[0] if same else descriptor, name)
            if name:
                _take_name(entries, name)
                entries[:] = [each for each in entries if each["digest"] != digest or name_of(each)]
            entries.append(descriptor)
            write_json(self.index_path, document)

    # ------------------------------------------------------------ removing

    def remove(
        self, image: Image, name: Reference | None = None, may_go: Callable[[], bool] = lambda: True
    ) -> Removed:
        """Take one name off an image, or remove it with all its names.

        When no name is left, ``may_go`` is asked whether the image is to go as well, or to stay without a name; it
        may raise to refuse all of it. Nobody else changes the store meanwhile. Of the image goes what no other
        needs, and no container.
        """
        with self.locked():
            document = index.read_index(self.index_path)
            its = [each for each in document["manifests"] if each["digest"] in image.entries]
            leaving = [each for each in its if not name or name_of(each) == name]
            if not leaving:
                raise NotFound(f"no such image: {name.familiar if name else image.id} was removed meanwhile")
            removed = Removed([f"Untagged: {known.familiar}" for known in map(name_of, leaving) if known])
            if len(leaving) < len(its):
                self._drop_entries(document, leaving)
            elif may_go():
                there = [each for each in reversed(image.diff_ids) if os.path.exists(self.layer_path(each))]
                removed.freed = sum(self._drop_entries(document, leaving).values())
                gone = [each for each in there if not os.path.exists(self.layer_path(each))]
                here = os.path.exists(self.blob_path(image.id))
                removed.lines += [f"Deleted: {digest}" for digest in ([] if here else [image.id]) + gone]
            elif name:
                _take_name(document["manifests"], name)
                write_json(self.index_path, document)
            return removed

    def remove_damaged(self, name: str) -> Removed:
        """Remove entries of this name, or digest, from the index, whatever they lead to; NotFound without any."""
        with self.locked():
            document = index.read_index(self.index_path)
            called = [each for each in document["manifests"] if _is_called(each, name)]
            leaving = [each for each in called if self._is_damaged(each)]
            if not leaving:
                raise NotFound(f"no such image: {name}")
            known = [each.familiar for each in map(name_of, leaving) if each]
            freed = sum(self._drop_entries(document, leaving).values())
            return Removed([f"Untagged: {each}" for each in known] or [f"Deleted: {name}"], freed)

    def _is_damaged(self, descriptor: Descriptor) -> bool:
        try:
            self._image(descriptor)
        except IntegrityError:
            return True
        return False

    def delete_orphans(self, before: int) -> int:
        """Delete what nobody needs and what came before a moment (nanoseconds); returns the bytes."""
        with self.locked():
            orphans = {d for d, path in self.contents() if os.stat(path).st_mtime_ns < before}
            return sum(self.delete_unneeded(orphans).values())

    def _drop_entries(self, document: dict[str, Any], leaving: list[Descriptor]) -> dict[str, int]:
        """Take entries out of the index, and delete what only they needed; under the lock."""
        self.doom(index.reachable(self.blob_path, leaving))
        document["manifests"] = [each for each in document["manifests"] if each not in leaving]
        write_json(self.index_path, document)
        return self.sweep_locked()


class Removed:
    """What a removal did: lines as Docker prints them, and the bytes of blobs and layers that are gone."""

    def __init__(self, lines: list[str], freed: int = 0) -> None:
        self.lines = lines
        self.freed = freed


def name_of(descriptor: Descriptor) -> Reference | None:
    """The name that an entry of the index gives; None without one, or when it is no reference."""
    text = (descriptor.get("annotations") or {}).get(REF_NAME)
    try:
        return Reference.parse(text) if text and isinstance(text, str) else None
    except InvalidArgument:  # another tool's own: a path with upper case letters
        return None


def _answers_to(descriptor: Descriptor, wanted: Reference) -> bool:
    """Whether somebody who asks for ``wanted`` means this entry."""
    have = name_of(descriptor)
    if have is None or have.repository != wanted.repository:
        return False
    if wanted.digest and descriptor["digest"] != wanted.digest:
        return False
    return not wanted.tag or have.tag == wanted.tag


def _is_called(descriptor: Descriptor, name: str) -> bool:
    if is_digest(name):
        return bool(descriptor["digest"] == name)
    return _answers_to(descriptor, Reference.parse(name))


def _is_image(document: dict[str, Any]) -> bool:
    """Whether a document is an image's manifest; others have signatures, charts and what not."""
    if not index.is_manifest(document):
        return False
    kind = document["config"].get("mediaType", CONFIG)
    return kind in (CONFIG, "application/vnd.docker.container.image.v1+json")


def _renamed(descriptor: Descriptor, name: Reference | None) -> Descriptor:
    """A copy of an entry under another name, or none, with all else that other tools have written about it."""
    annotations = {k: v for k, v in (descriptor.get("annotations") or {}).items() if k != REF_NAME}
    if name:
        annotations[REF_NAME] = str(name)
    copy = {key: value for key, value in descriptor.items() if key != "annotations"}
    return {**copy, "annotations": annotations} if annotations else copy


def _take_name(entries: list[Descriptor], name: Reference) -> None:
    """Take a name off the image that has it; the image stays, without a name if it was its last."""
    having = [each for each in entries if name_of(each) == name]
    entries[:] = [each for each in entries if each not in having]
    for descriptor in having:
        if all(each["digest"] != descriptor["digest"] for each in entries):
            entries.append(_renamed(descriptor, None))
