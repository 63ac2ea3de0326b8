"""Chapter 10: what came, what is named, what is still to come."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import tempfile

from minicontainer.images.index import CONFIG, LAYER, MANIFEST
from minicontainer.lab.shelf import Registry, digest_of
from minicontainer.lab.trial import Refused, Trial, checker, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_NAME = "lab-check"


@checker
def fetch_blob(solution: Callable[[str, str, str, str], bool]) -> str:
    """A good blob is in the file, byte for byte; of a bad one there is nothing."""
    with _shelf() as registry, tempfile.TemporaryDirectory(prefix="minicontainer-lab-") as directory:
        good, bad = (registry.keep(_NAME, os.urandom(100_000)) for _ in range(2))
        path = os.path.join(directory, "blob")
        with Trial(solution, registry.name, _NAME, good["digest"], path, apart=False) as trial:
            expect("what it returned for a good blob", trial.value, True)
            expect(
                "whether the file has the blob's bytes",
                _content(path) == registry.blobs[good["digest"]],
                True,
            )
            os.unlink(path)
        registry.tamper(bad["digest"])
        with Trial(solution, registry.name, _NAME, bad["digest"], path, apart=False) as trial:
            expect("what it returned for a blob that is not what its digest says", trial.value, False)
            expect("whether there is a file with the bad blob", os.path.exists(path), False)
    return "a good blob was kept, and of a bad one there is nothing"


@checker
def tag_again(solution: Callable[[str, str, str, str], object]) -> str:
    """Both tags stand for the same bytes, of the same kind, and no blob was moved."""
    with _shelf() as registry:
        _image(registry, "old", layers=2)
        before = registry.manifests[_NAME]["old"]
        registry.log.clear()
        with Trial(solution, registry.name, _NAME, "old", "new", apart=False):
            after = registry.manifests[_NAME].get("new")
            if after is None:
                raise Refused("the tags of the repository: seen old, expected new and old")
            expect("the digest behind the tag new", digest_of(after[1]), digest_of(before[1]))
            expect("its media type", after[0], before[0])
            expect(
                "whether the tag old stands for what it did", registry.manifests[_NAME]["old"] == before, True
            )
            moved = [path for _, path, _ in registry.log if "/blobs/" in path]
            expect("requests for blobs", len(moved), 0)
    return "the image has a second tag, and nothing but its manifest travelled"


@checker
def still_to_fetch(solution: Callable[[str, str, str, list[str]], list[str]]) -> str:
    """Every blob that is not here, once; nothing that is; and none was fetched to find out."""
    with _shelf() as registry:
        manifest = _image(registry, "1", layers=4)
        digests = [each["digest"] for each in (manifest["config"], *manifest["layers"])]
        for have in ([], digests[1:3], digests):
            wanted = sorted(set(digests) - set(have))
            registry.log.clear()
            with Trial(solution, registry.name, _NAME, "1", have, apart=False) as trial:
                what = f"what is still to fetch where {len(have)} of {len(set(digests))} blobs are"
                expect(what, _sorted(trial.value), wanted)
            if any("/blobs/" in path for _, path, _ in registry.log):
                raise Refused("requests for blobs: seen some, expected none, for the manifest names them all")
    return "each blob that is missing is named once, and none that is here"


@contextlib.contextmanager
def _shelf() -> Iterator[Registry]:
    registry = Registry()
    try:
        yield registry
    finally:
        registry.close()


def _image(registry: Registry, tag: str, layers: int) -> dict[str, Any]:
    """An image with some layers, the first of them twice; its manifest is laid out as no library would."""
    packed = [gzip.compress(os.urandom(1000)) for _ in range(layers)]
    manifest = {
        "mediaType": MANIFEST,
        "schemaVersion": 2,
        "layers": [
            {"mediaType": f"{LAYER}+gzip", **registry.keep(_NAME, data)} for data in [*packed, packed[0]]
        ],
        "config": {"mediaType": CONFIG, **registry.keep(_NAME, os.urandom(100).hex().encode())},
    }
    data = json.dumps(manifest, indent=5).encode() + b"\n"
    registry.manifests[_NAME] = dict.fromkeys((tag, digest_of(data)), (MANIFEST, data))
    return manifest


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Refused(
            f"the file {os.path.basename(path)}: seen {error.strerror}, expected the blob"
        ) from None


def _sorted(value: object) -> object:
    return (
        sorted(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else value
    )
