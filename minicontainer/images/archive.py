"""Images from archives: a file tree in a tar becomes an image with one layer."""

from __future__ import annotations

import os
import time

from minicontainer import units
from minicontainer.errors import NotFound
from minicontainer.images import compression
from minicontainer.images.index import ARCHITECTURES as ARCHITECTURES
from minicontainer.images.index import LAYER
from minicontainer.images.reference import Reference
from minicontainer.images.store import Image, Store
from minicontainer.images.unpacked import PACKINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any


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
    with store.lease():  # at whose end goes what no image has come to need
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
        store.unpack(diff_id, layer)
        return store.add_image(document, [layer], name)


def _add_layer(store: Store, stream: IO[bytes]) -> tuple[dict[str, Any], str]:
    """Keep an archive as a layer; returns its descriptor and its diff id."""
    blob, diff_id = store.add_layer(stream)
    with compression.Reader(store.blob_path(blob["digest"])) as reader:
        diff_id = diff_id or reader.finish()  # it cannot be unpacked, and to unpack it will say why
        if reader.compression in PACKINGS:
            return {"mediaType": LAYER + PACKINGS[reader.compression], **blob}, diff_id
    with compression.Reader(
        store.blob_path(blob["digest"])
    ) as reader:  # layers may not be packed so: keep the tar
        return {"mediaType": LAYER, **store.add_blob_stream(reader)}, diff_id  # type: ignore[arg-type]


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
