"""What a manifest says, and whether it can be meant.

A **manifest** is a small JSON document that names, by digest and size, a configuration and the layers; an **index**
(Docker: manifest list) names one manifest for each platform. Both come from the network and are believed only as
far as needed: sizes and counts have limits, and each thing must be of the kind it is said to be.

Source: image-spec manifest.md and image-index.md; https://distribution.github.io/distribution/spec/manifest-v2-2/.
"""

from __future__ import annotations

import json
import os

from minicontainer.errors import IntegrityError, InvalidArgument, NotFound, Unsupported
from minicontainer.images.index import ARCHITECTURES, CONFIG, INDEX, LAYER, MANIFEST
from minicontainer.images.reference import digest_of, is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
INDEXES = (INDEX, DOCKER_INDEX)
LAYERS = (
    LAYER,
    f"{LAYER}+gzip",
    f"{LAYER}+zstd",
    DOCKER_LAYER,
    f"{DOCKER_LAYER}.gzip",
    f"{DOCKER_LAYER}.zstd",
)
MOST_BYTES = (
    4 << 20
)  # of a manifest, an index or a configuration; the distribution specification asks for no more
MOST_LAYERS = 127  # Docker's own limit
MOST_LAYER_BYTES = 1 << 40


class Document:
    """A manifest or an index as its bytes are, for those are what its digest is of."""

    def __init__(self, data: bytes, media_type: str, source: str) -> None:
        self.data = data
        self.digest = digest_of(data)
        self.source = source
        self.content = parse(data, f"the manifest of {source}")
        self.media_type: str = self.content.get("mediaType") or media_type.partition(";")[0].strip()
        if self.content.get("schemaVersion") != 2 or self.media_type not in MANIFESTS + INDEXES:
            kind = (
                f"schema version {self.content.get('schemaVersion')}, {self.media_type or 'of no media type'}"
            )
            raise Unsupported(
                f"{source} has a manifest that is not supported: {kind}; its publisher must push it anew"
            )
        both = "manifests" in self.content and "layers" in self.content
        if both or ("manifests" if self.is_index else "layers") not in self.content:
            raise InvalidArgument(f"the manifest of {source} is not what it says it is, {self.media_type}")

    @property
    def is_index(self) -> bool:
        """Whether it names manifests, and not layers."""
        return self.media_type in INDEXES


def parse(data: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object; InvalidArgument says of ``what`` that it is none."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidArgument(f"{what} is no JSON object")
    return content


def check_descriptor(descriptor: Any, what: str, most: int) -> dict[str, Any]:
    """Return a descriptor that has a digest and a size that can be meant (image-spec, descriptor.md)."""
    if not isinstance(descriptor, dict) or not is_digest(str(descriptor.get("digest"))):
        raise InvalidArgument(f"{what} has no sha256 digest")
    size = descriptor.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= most:
        raise InvalidArgument(f"{what} says that it is {size!r} bytes; from 0 to {most} are supported")
    return descriptor


def contents(document: Document) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The descriptors of a manifest's configuration and of its layers, each checked."""
    source = document.source
    config = check_descriptor(document.content.get("config"), f"the configuration of {source}", MOST_BYTES)
    if config.get("mediaType") not in (CONFIG, DOCKER_CONFIG):
        raise Unsupported(f"{source} is no image to run: its configuration is {config.get('mediaType')!r}")
    layers = document.content["layers"]
    if not isinstance(layers, list) or not 1 <= len(layers) <= MOST_LAYERS:
        count = len(layers) if isinstance(layers, list) else "no list of"
        raise InvalidArgument(f"{source} has {count} layers; from 1 to {MOST_LAYERS} are supported")
    for layer in layers:
        check_descriptor(layer, f"a layer of {source}", MOST_LAYER_BYTES)
        if layer.get("mediaType") not in LAYERS:
            raise Unsupported(
                f"{source} has a layer {layer['digest']} of the kind {layer.get('mediaType')!r}"
            )
    return config, layers


def check_config(document: Document, data: bytes, platform: Platform | None) -> dict[str, Any]:
    """Return the image's configuration, if it fits the manifest and the platform that was asked for."""
    source = document.source
    config = parse(data, f"the configuration of {source}")
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or not all(is_digest(str(each)) for each in diff_ids):
        raise InvalidArgument(f"the configuration of {source} names no layers by sha256 digests")
    if len(diff_ids) != len(document.content["layers"]):
        raise IntegrityError(
            f"the manifest of {source} has {len(document.content['layers'])} layers, and its configuration"
            f" {document.content['config']['digest']} has {len(diff_ids)}"
        )
    if not isinstance(config.get("config") or {}, dict):
        raise InvalidArgument(f"the configuration of {source} is damaged: 'config' is no object")
    if platform and not platform.matches(config):
        raise NotFound(f"{source} is for {Platform.of(config)}, not for {platform}")
    return config


class Platform:
    """``linux/arm64/v8``: what kind of machine an image is for, in Go's words."""

    def __init__(self, os: str, architecture: str, variant: str = "") -> None:
        self.os = os
        self.architecture = architecture
        self.variant = variant

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``os/arch[/variant]``; a single word is an architecture, as uname(2) or Go calls it."""
        parts = text.lower().split("/")
        if not 1 <= len(parts) <= 3 or not all(part.isascii() and part.isalnum() for part in _plain(parts)):
            raise InvalidArgument(f"--platform {text}: it must be OS/ARCHITECTURE[/VARIANT], as linux/arm64")
        if len(parts) == 1:
            parts = ["linux", *parts] if parts != ["linux"] else ["linux", cls.host().architecture]
        system, architecture, *variant = parts
        return cls(system, ARCHITECTURES.get(architecture, architecture), variant[0] if variant else "")

    @classmethod
    def host(cls) -> Platform:
        """This machine's."""
        machine = os.uname().machine
        variant = {"armv7l": "v7", "armv6l": "v6"}.get(machine, "")
        return cls("linux", "arm" if variant else ARCHITECTURES.get(machine, machine), variant)

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Platform:
        """As an index or a configuration has it."""
        return cls(*(str(entry.get(key) or "") for key in ("os", "architecture", "variant")))

    def matches(self, entry: dict[str, Any]) -> bool:
        """Whether what an index or a configuration says is this platform; no variant stands for any."""
        other = Platform.of(entry)
        return (
            other.os == self.os
            and other.architecture == self.architecture
            and (not self.variant or not other.variant or other.variant == self.variant)
        )

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def _plain(parts: list[str]) -> list[str]:
    return [part.replace("_", "").replace("-", "") for part in parts]


def choose(document: Document, platform: Platform) -> dict[str, Any]:
    """The descriptor in an index of the manifest for a platform; NotFound says which there are.

    The first that fits, but one with the very variant comes before one without: the order is the publisher's.
    """
    entries = document.content["manifests"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidArgument(
            f"the index of {document.source} is damaged: its manifests are no list of objects"
        )
    known = [entry for entry in entries if isinstance(entry.get("platform"), dict)]
    fitting = [entry for entry in known if platform.matches(entry["platform"])]
    exact = [entry for entry in fitting if str(entry["platform"].get("variant") or "") == platform.variant]
    for entry in [*exact, *fitting]:
        if entry.get("mediaType") in MANIFESTS + INDEXES:
            return check_descriptor(entry, f"the manifest for {platform} of {document.source}", MOST_BYTES)
    offered = ", ".join(
        sorted({str(Platform.of(entry["platform"])) for entry in known} - {"unknown/unknown"})
    )
    raise NotFound(
        f"no matching manifest for {platform} in the manifest list entries of {document.source};"
        f" there is {offered or 'none'}"
    )
