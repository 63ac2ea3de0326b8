"""Images from archives: a file tree in a tar becomes an image with one layer."""

from __future__ import annotations

import os
import time

from minicontainer import units
from minicontainer.errors import NotFound
from minicontainer.images import compression
from minicontainer.images.reference import Reference
from minicontainer.images.store import LAYER, Image, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # uname(2) -> Go's, which images use


def import_tree(
    store: Store,
    stream: IO[bytes],
    name: Reference | None = None,
    *,
    config: dict[str, Any] | None = None,
    message: str = "",
) -> Image:
    """Make an image of a root filesystem in a tar archive, packed or not: what ``docker import`` does.

    ``config`` is the image's own configuration (``Cmd``, ``Env``, …, image-spec config.md). A damaged or
    hostile archive is refused and leaves nothing.
    """
    layer, diff_id = _add_layer(store, stream)
    created = units.format_time(time.time_ns())
    document = {
        "architecture": ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "created": created,
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "comment": message}],
    }
    image = store.add_image(document, [layer], None)
    try:
        store.layer_directories(image)
    except BaseException:
        store.remove(image)
        raise
    if name:
        store.name(image.manifest_digest, os.path.getsize(store.blob_path(image.manifest_digest)), name)
    return store.find(image.id)


def _add_layer(store: Store, stream: IO[bytes]) -> tuple[dict[str, Any], str]:
    """Keep an archive as a layer; returns its descriptor and its diff id. Leaves nothing of a damaged one."""
    blob = store.add_blob_stream(stream)
    path = store.blob_path(blob["digest"])
    try:
        with compression.Reader(path) as reader:
            packed, diff_id = reader.compression, reader.finish()
        if packed in ("", "gzip"):
            return {"mediaType": LAYER + ("+gzip" if packed else ""), **blob}, diff_id
        with compression.Reader(path) as reader:  # a packing that layers may not have: keep the tar itself
            unpacked = store.add_blob_stream(reader)  # type: ignore[arg-type]
    except BaseException:
        store.drop_blob(blob["digest"])
        raise
    store.drop_blob(blob["digest"])
    return {"mediaType": LAYER, **unpacked}, diff_id


def open_source(source: str) -> IO[bytes]:
    """Open what ``import`` is given: a file, an http(s) URL, or ``-`` for standard input."""
    if source == "-":
        import sys

        return sys.stdin.buffer
    if source.startswith(("http://", "https://")):
        import urllib3

        response = urllib3.request("GET", source, preload_content=False, timeout=60)
        if response.status != 200:
            raise NotFound(f"{source}: the server answers {response.status} {response.reason}")
        return response  # type: ignore[return-value]
    try:
        return open(source, "rb")
    except OSError as error:
        raise NotFound(f"{source}: {error.strerror}") from None
