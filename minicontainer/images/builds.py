"""What builds have made: the image that each of their steps has led to.

::

    build-cache/<key>.json      the step, in words, and the image it has led to

A build makes an image at every step. Only the last is for the user and gets into ``index.json``; the others are
here, each under a key that says all that the step depended on (:mod:`minicontainer.build.cache`). What is listed
here is kept, blobs and layers, until it is pruned: the next build finds it, and so does whoever wants to look into
the last good layer of a step that failed.
"""

from __future__ import annotations

import contextlib
import os

from minicontainer.errors import Error
from minicontainer.files import read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.images.index import Descriptor


class Record:
    """One step that was made."""

    def __init__(self, key: str, document: dict[str, Any], used: int) -> None:
        self.key = key
        self.image_id: str = document["Image"]
        self.manifest: Descriptor = document["Manifest"]
        self.parent: str = document["Parent"]  #: the image before, "" for none
        self.step: str = document["Step"]  #: as it is in the history
        self.created: str = document["Created"]
        self.used = used  #: nanoseconds since 1970


class Builds:
    """The steps that are known, in a directory."""

    def __init__(self, path: str) -> None:
        self.path = path

    def get(self, key: str) -> Record | None:
        """The step of this key, None when it is not known; it counts as used now."""
        record = self._read(key)
        if record:
            with contextlib.suppress(FileNotFoundError):  # pruned just now
                os.utime(self._path(key))
        return record

    def put(
        self, key: str, image_id: str, manifest: Descriptor, *, parent: str, step: str, created: str
    ) -> None:
        """Write down what a step has led to. The caller's lease has it until then."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        document = {
            "Image": image_id,
            "Manifest": manifest,
            "Parent": parent,
            "Step": step,
            "Created": created,
        }
        write_json(self._path(key), document, durable=False)

    def all(self) -> list[Record]:
        """Every step that is known, the one used last at the end."""
        try:
            keys = [name.removesuffix(".json") for name in os.listdir(self.path) if name.endswith(".json")]
        except FileNotFoundError:
            return []
        found = [record for record in map(self._read, keys) if record]
        return sorted(found, key=lambda record: record.used)

    def remove(self, record: Record) -> None:
        """Forget a step; what only it needed can be deleted then."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(record.key))

    def _path(self, key: str) -> str:
        return os.path.join(self.path, f"{key}.json")

    def _read(self, key: str) -> Record | None:
        try:
            used = os.stat(self._path(key)).st_mtime_ns
            return Record(key, read_json(self._path(key)), used)
        except (FileNotFoundError, Error, KeyError, TypeError):
            return None  # not there, or damaged: then the step is made anew
