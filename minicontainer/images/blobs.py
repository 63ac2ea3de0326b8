"""Blobs: bytes that are named by what they are, the ground that the image store stands on.

A blob's name is its digest, so it is written once and never changed, and whoever has the name can check the
bytes. What is large is written elsewhere first and then renamed to its place: a blob is there whole or not at
all. Where it is written, its writer holds a lock that the kernel takes away with the process; so what a killed
command leaves is known by having no owner, and the next command removes it.
"""

from __future__ import annotations

import fcntl
import os

from minicontainer.files import Lock, remove_tree, write_atomic, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

_CHUNK = 1 << 20


class Blobs:
    """The blobs below one directory, and places to work in beside them."""

    def __init__(self, root: str) -> None:
        self.images_path = os.path.join(root, "images")
        self.layers_path = os.path.join(root, "layers")
        self.index_path = os.path.join(self.images_path, "index.json")

    def blob_path(self, digest: str) -> str:
        """Where the blob of this digest lies."""
        return os.path.join(self.images_path, "blobs", *digest.split(":", 1))

    def add_blob(self, data: bytes) -> dict[str, Any]:
        """Keep a small blob; returns the digest and the size, as a descriptor has them."""
        import hashlib

        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if not os.path.exists(self.blob_path(digest)):
            self._prepare()
            write_atomic(self.blob_path(digest), data)
        return {"digest": digest, "size": len(data)}

    def add_blob_stream(self, stream: IO[bytes]) -> dict[str, Any]:
        """Keep a large blob, reading ``stream`` to its end; returns its digest and size."""
        import hashlib

        sha256, size = hashlib.sha256(), 0
        temporary, claim = self._claim(os.path.join(self.images_path, "blobs"))
        try:
            with open(os.path.join(temporary, "blob"), "wb") as file:
                while chunk := stream.read(_CHUNK):
                    sha256.update(chunk)
                    size += file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            digest = "sha256:" + sha256.hexdigest()
            os.rename(file.name, self.blob_path(digest))
        finally:
            remove_tree(temporary)
            os.close(claim)
        return {"digest": digest, "size": size}

    def _prepare(self) -> None:
        os.makedirs(os.path.join(self.images_path, "blobs", "sha256"), exist_ok=True)
        os.makedirs(self.layers_path, mode=0o700, exist_ok=True)
        layout = os.path.join(self.images_path, "oci-layout")
        if not os.path.exists(layout):
            write_json(layout, {"imageLayoutVersion": "1.0.0"})

    def _locked(self) -> Lock:
        self._prepare()
        return Lock(os.path.join(self.images_path, ".lock"))

    def _claim(self, directory: str) -> tuple[str, int]:
        """Make a directory to work in; returns its path and a descriptor, to be closed when it is gone.

        The descriptor has a lock that ends with this process: what nobody has locked is swept first.
        """
        with self._locked():
            self._sweep_leftovers(directory)
            path = os.path.join(directory, f".{os.urandom(8).hex()}")
            os.mkdir(path, mode=0o700)
            claim = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(claim, fcntl.LOCK_EX)
        return path, claim

    @staticmethod
    def _sweep_leftovers(directory: str) -> None:
        """Remove what killed commands have left of their work."""
        with os.scandir(directory) as entries:
            paths = [entry.path for entry in entries if entry.name.startswith(".") and entry.is_dir()]
        for path in paths:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
            except BlockingIOError:
                pass  # somebody is at work
            finally:
                os.close(fd)
