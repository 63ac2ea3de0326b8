"""Images in a file: one tar archive that another host can load, in either of two forms.

**docker-archive**, what ``docker save`` writes and everybody reads: ``manifest.json`` lists the images, each with a
configuration, names, and its layers in order. A layer has a directory of its own with two files for Docker 1.9
and older, which knew images as chains of layers; ``repositories`` is theirs too.

**oci-archive**, an OCI image layout in a tar: blobs by their digests, and ``index.json`` as in our store. It keeps
manifests as they are, and so an image's digest.

Layers go in as they lie in the store, packed or not: whoever loads them looks. What is large is handed from file
to file by the kernel (sendfile(2)), and never is more than a piece of it in memory.
"""

from __future__ import annotations

import json
import os

from minicontainer.errors import Error, InvalidArgument
from minicontainer.files import new_file
from minicontainer.images import compression, index
from minicontainer.images.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from minicontainer.images.store import Image, Store

FORMS = ("docker-archive", "oci-archive")
_READABLE = ("", "gzip", "bzip2", "xz")  # what Docker before version 23 can unpack
_BLOCK = 512
_MOST_AT_ONCE = 1 << 30


def save_file(store: Store, names: Sequence[str], path: str, form: str = FORMS[0]) -> None:
    """Write images to a file, which is there whole or not at all. InvalidArgument for a path that cannot be one."""
    with new_file(path) as file:
        save(store, names, file.fileno(), form)


def save(store: Store, names: Sequence[str], fd: int, form: str = FORMS[0]) -> None:
    """Write images to a descriptor; NotFound names the one that is not here.

    ``names`` are references or ids; a repository without a tag means all its tags.
    """
    if form not in FORMS:
        raise InvalidArgument(f"invalid format {form!r}; it is one of {', '.join(FORMS)}")
    chosen = _choose(store, names)
    with store.lease():  # nobody removes them from under us
        for image, _ in chosen:
            store.hold_blobs(image)
        archive = _Archive(fd)
        (_write_docker if form == FORMS[0] else _write_oci)(archive, chosen)
        archive.finish()


def _choose(store: Store, names: Sequence[str]) -> list[tuple[Image, list[Reference]]]:
    """The images that are meant, each once, with the names that they are to have."""
    chosen: dict[str, tuple[Image, list[Reference]]] = {}
    for name in names:
        for image, reference in _meant(store, name):
            _, known = chosen.setdefault(image.id, (image, []))
            if reference and reference not in known:
                known.append(reference)
    return list(chosen.values())


def _meant(store: Store, name: str) -> list[tuple[Image, Reference | None]]:
    if "@" not in name and ":" not in name.rpartition("/")[2]:
        repository = Reference.parse(name).repository
        tagged: list[tuple[Image, Reference | None]] = [
            (image, each) for image in store.images() for each in image.names if each.repository == repository
        ]
        if tagged:
            return tagged
    image = store.find(name)
    if image.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:")):
        return [(image, None)]
    wanted = Reference.parse(name)
    return [(image, wanted if wanted in image.names else None)]


class _Archive:
    """A tar archive on a descriptor, written from its beginning to its end."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.written: set[str] = set()

    def add(self, name: str, content: bytes) -> None:
        """A small file."""
        self._header(name, len(content))
        self._write(content + bytes(-len(content) % _BLOCK))

    def add_file(self, name: str, path: str) -> None:
        """A file as it lies."""
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._header(name, size)
            self._copy(file.fileno(), size, path)
        self._write(bytes(-size % _BLOCK))

    def add_unpacked(self, name: str, path: str) -> None:
        """A file of which the archive is to have what is packed in it. Its size has to be known first."""
        with compression.Reader(path) as reader:
            size = 0
            while piece := reader.read(1 << 20):
                size += len(piece)
        self._header(name, size)
        with compression.Reader(path) as reader:
            while piece := reader.read(1 << 20):
                self._write(piece)
        self._write(bytes(-size % _BLOCK))

    def add_link(self, name: str, target: str) -> None:
        """A symlink."""
        self._header(name, 0, target)

    def finish(self) -> None:
        """The end, as tar has it: two blocks of zeros."""
        self._write(bytes(2 * _BLOCK))

    def _header(self, name: str, size: int, target: str = "") -> None:
        import tarfile  # slow to import; whoever has this module may only want to know the forms

        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o644
        if target:
            entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._write(entry.tobuf(tarfile.PAX_FORMAT))
        self.written.add(name)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]

    def _copy(self, source: int, size: int, path: str) -> None:
        while size:
            sent = os.sendfile(self.fd, source, None, min(size, _MOST_AT_ONCE))
            if not sent:
                raise Error(f"{path} has become shorter while it was read")
            size -= sent


# ------------------------------------------------------------------ docker-archive


def _write_docker(archive: _Archive, chosen: list[tuple[Image, list[Reference]]]) -> None:
    manifest = []
    repositories: dict[str, dict[str, str]] = {}
    layers: dict[str, str] = {}  # by digest, where each is in the archive
    for image, names in chosen:
        paths = _write_chain(archive, image, layers)
        config = f"{image.id.removeprefix('sha256:')}.json"
        archive.add_file(config, image.store.blob_path(image.id))
        tags = [name for name in names if name.tag]
        manifest.append(
            {"Config": config, "RepoTags": [tag.familiar for tag in tags] or None, "Layers": paths}
        )
        for tag in tags if paths else ():
            top = os.path.dirname(paths[-1])
            repositories.setdefault(tag.familiar_repository, {})[tag.tag] = top
    archive.add("manifest.json", _json(manifest))
    if repositories:
        archive.add("repositories", _json(repositories))


def _write_chain(archive: _Archive, image: Image, layers: dict[str, str]) -> list[str]:
    """Write the layers of an image, each in its directory; returns where they are, the lowest first."""
    import hashlib

    paths: list[str] = []
    parent = ""
    for number, (_, blob) in enumerate(image.layers, 1):
        about = _about(image, parent, top=number == len(image.layers))
        parent = hashlib.sha256(_json(about) + blob["digest"].encode()).hexdigest()
        path = f"{parent}/layer.tar"
        if path not in archive.written:
            archive.add(f"{parent}/VERSION", b"1.0")
            archive.add(f"{parent}/json", _json({"id": parent, **about}))
            _write_layer(archive, path, image.store.blob_path(blob["digest"]), layers.get(blob["digest"], ""))
        layers.setdefault(blob["digest"], path)
        paths.append(path)
    return paths


def _about(image: Image, parent: str, top: bool) -> dict[str, Any]:
    """What Docker 1.9 wants to know of a layer; the highest has the image's configuration."""
    about: dict[str, Any] = {"parent": parent} if parent else {}
    if top:
        known = ("architecture", "author", "config", "created", "docker_version", "os", "variant")
        return {**about, **{key: image.config[key] for key in known if key in image.config}}
    return {**about, "created": "1970-01-01T00:00:00Z", "os": image.config.get("os", "linux")}


def _write_layer(archive: _Archive, name: str, path: str, elsewhere: str) -> None:
    if elsewhere:
        archive.add_link(name, f"../{elsewhere}")
        return
    with open(path, "rb") as file:
        packed = compression.detect(file.read(8))
    if packed in _READABLE:
        archive.add_file(name, path)
    else:
        archive.add_unpacked(name, path)


# ------------------------------------------------------------------ oci-archive


def _write_oci(archive: _Archive, chosen: list[tuple[Image, list[Reference]]]) -> None:
    entries = []
    archive.add("oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
    for image, names in chosen:
        for digest in [*(blob["digest"] for _, blob in image.layers), image.id, image.manifest_digest]:
            name = f"blobs/sha256/{digest.removeprefix('sha256:')}"
            if name not in archive.written:
                archive.add_file(name, image.store.blob_path(digest))
        path = image.store.blob_path(image.manifest_digest)
        descriptor = {
            "mediaType": image.manifest.get("mediaType", index.MANIFEST),
            "digest": image.manifest_digest,
            "size": os.path.getsize(path),
        }
        named = [{**descriptor, "annotations": {index.REF_NAME: str(name)}} for name in names if name.tag]
        entries += named or [descriptor]
    archive.add("index.json", _json({"schemaVersion": 2, "mediaType": index.INDEX, "manifests": entries}))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
