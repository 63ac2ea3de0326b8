"""Leases: what keeps what has just come from being swept away, and what a killed command leaves from staying.

Between the moment that a blob is there and the moment that an image has it, nothing would keep another command
from sweeping it away. So whoever brings blobs in holds a **lease** (the word is containerd's)::

    images/blobs/.<random>/             held by a lock that the kernel takes away with the process
    images/blobs/.<random>/digests      what its holder needs, or has brought in: one digest a line

What a lease names stays. When it ends, what no image has come to need is deleted; and what a killed command
leaves is known by having no owner: the next command reads the list, and does the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from _thread import allocate_lock  # the threading module takes longer to import than a blob to find

from minicontainer.errors import InvalidArgument
from minicontainer.files import Lock, is_locked, naming, read_json, remove_tree, write_json
from minicontainer.images import index
from minicontainer.images.reference import is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from minicontainer.images.builds import Builds, Record

_LIST = "digests"


class Leases:
    """The blobs and layers below one directory: what is needed of them, and places to work in beside them."""

    def __init__(self, root: str) -> None:
        self.steps_path = os.path.join(root, "build-cache")
        self.images_path = os.path.join(root, "images")
        self.blobs_path = os.path.join(self.images_path, "blobs")
        self.layers_path = os.path.join(root, "layers")
        self.index_path = os.path.join(self.images_path, "index.json")
        #: digests of the layers that containers have, whatever images there are
        self.in_use: Callable[[], set[str]] = set
        self._guard = allocate_lock()  # of what is below, among the threads of this process
        self._holders = 0
        self._lease = ""
        self._claimed = -1
        self._keeps = False

    def blob_path(self, digest: str) -> str:
        """Where the blob of this digest lies; InvalidArgument for what is no sha256 digest."""
        if not is_digest(digest):
            raise InvalidArgument(f"{digest!r} is not a sha256 digest")
        return os.path.join(self.blobs_path, "sha256", digest.removeprefix("sha256:"))

    def layer_path(self, diff_id: str) -> str:
        """Where the layer of this diff id lies unpacked; InvalidArgument for what is no sha256 digest."""
        if not is_digest(diff_id):
            raise InvalidArgument(f"{diff_id!r} is not a sha256 digest")
        return os.path.join(self.layers_path, diff_id.removeprefix("sha256:"))

    # ------------------------------------------------------------ leases

    @contextlib.contextmanager
    def lease(self, keeps: bool = False) -> Iterator[str]:
        """For a ``with``: what is brought in or held until its end stays; what no image needs then is deleted.

        Leases within one another, and those of several threads, are one that ends with the last. One that
        ``keeps`` leaves to others what is not needed: the way of a single blob that is added without a lease.
        """
        with self._guard:
            if not self._holders:
                self._lease, self._claimed = self.claim(self.blobs_path)
                self._keeps = True
            self._holders += 1
            self._keeps = self._keeps and keeps
        try:
            yield self._lease
        finally:
            with self._guard:
                self._holders -= 1
                if not self._holders:
                    self._end_lease()

    def _end_lease(self) -> None:
        path, claimed = self._lease, self._claimed
        self._lease, self._claimed = "", -1
        try:
            with self.locked():
                if not self._keeps:
                    self.delete_unneeded(_listed(path), but=path)
                remove_tree(path)
        finally:
            os.close(claimed)

    def note(self, *digests: str) -> None:
        """Write digests down in the lease, if there is one; under the lock."""
        if self._lease:
            _write_list(self._lease, digests)

    def delete_unneeded(self, digests: set[str], but: str = "") -> dict[str, int]:
        """Delete those of the blobs and layers that no image, container or lease needs; under the lock.

        ``but`` is the lease that does not count. Returns the digests of what is gone, with the bytes that it took.
        """
        if not digests:
            return {}
        unneeded = digests - self.needed(but)
        return {digest: size for digest in unneeded if (size := self._delete(digest)) is not None}

    def needed(self, but: str = "") -> set[str]:
        """The digests of blobs and of layers that an image, a container or a lease needs; under the lock."""
        entries = index.read_index(self.index_path)["manifests"] + [each.manifest for each in self.steps()]
        digests = index.reachable(self.blob_path, entries) | self.in_use()
        for path in _work(self.blobs_path):
            if path != but:
                digests |= _listed(path)
        return digests

    @property
    def builds(self) -> Builds:
        """What builds have made."""
        from minicontainer.images.builds import Builds  # a plain run has nothing to do with them

        return Builds(self.steps_path)

    def steps(self) -> list[Record]:
        """The steps of builds that are kept."""
        return self.builds.all() if os.path.exists(self.steps_path) else []

    def _delete(self, digest: str) -> int | None:
        """Delete a blob, and a layer, of this digest; returns the bytes it took, None when there was neither."""
        freed: int | None = None
        with contextlib.suppress(FileNotFoundError):
            size = os.path.getsize(self.blob_path(digest))
            os.unlink(self.blob_path(digest))
            freed = size
        with contextlib.suppress(FileNotFoundError):
            trash = os.path.join(self.layers_path, f".{os.urandom(8).hex()}")
            size = self.layer_size(digest)
            os.rename(self.layer_path(digest), trash)  # a layer is there whole or not at all
            freed = (freed or 0) + size
            remove_tree(trash)
        return freed

    def layer_size(self, diff_id: str) -> int:
        """Bytes of file content in a layer; 0 when it was never unpacked."""
        try:
            return int(read_json(os.path.join(self.layer_path(diff_id), "layer.json"))["size"])
        except FileNotFoundError:
            return 0

    def contents(self) -> list[tuple[str, str]]:
        """The digest and the path of every blob and of every layer that is there."""
        found = []
        for directory in (os.path.join(self.blobs_path, "sha256"), self.layers_path):
            with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
                found += [(f"sha256:{entry.name}", entry.path) for entry in entries]
        return [(digest, path) for digest, path in found if is_digest(digest)]

    # ------------------------------------------------------------ places to work in

    def prepare(self) -> None:
        """Make the directories, and the file that says what kind of layout this is."""
        os.makedirs(os.path.join(self.blobs_path, "sha256"), exist_ok=True)
        os.makedirs(self.layers_path, mode=0o700, exist_ok=True)
        layout = os.path.join(self.images_path, "oci-layout")
        if not os.path.exists(layout):
            write_json(layout, {"imageLayoutVersion": "1.0.0"})

    def locked(self) -> Lock:
        """The lock of ``index.json``, and of deleting: held for moments only."""
        self.prepare()
        return Lock(os.path.join(self.images_path, ".lock"))

    def claim(self, directory: str) -> tuple[str, int]:
        """Make a directory to work in; returns its path and a descriptor, to be closed when it is gone.

        The descriptor has a lock that ends with this process.
        """
        with self.locked():
            self.sweep_locked()
            path = os.path.join(directory, f".{os.urandom(8).hex()}")
            os.mkdir(path, mode=0o700)
            claim = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(claim, fcntl.LOCK_EX)
        return path, claim

    def sweep(self) -> None:
        """Remove what killed commands have left; takes no time when there is nothing."""
        if _work(self.blobs_path) or _work(self.layers_path) or _unfinished(self.images_path):
            with self.locked():
                self.sweep_locked()

    def sweep_locked(self) -> dict[str, int]:
        """What :meth:`sweep` does, under the lock; returns what is gone as :meth:`delete_unneeded` does.

        The list of what was to be deleted goes last, for a sweep may be killed as well.
        """
        gone = {}
        for path in self.leftovers():
            gone.update(self.delete_unneeded(_listed(path), but=path))
            remove_tree(path)
        for path in _unfinished(self.images_path) + _unfinished(self.steps_path):
            os.unlink(path)
        return gone

    def leftovers(self) -> list[str]:
        """The places of work that nobody is at any more."""
        return [path for path in _work(self.blobs_path) + _work(self.layers_path) if not is_locked(path)]

    def doom(self, digests: set[str]) -> None:
        """Write down what is to be deleted, before the index lets go of it; under the lock.

        It looks like the lease of a killed command, and the next sweep deletes what is not needed then.
        """
        path = os.path.join(self.blobs_path, f".{os.urandom(8).hex()}")
        os.mkdir(path, mode=0o700)
        _write_list(path, digests)


def _work(directory: str) -> list[str]:
    """The places that somebody works in, or has left."""
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.name.startswith(".") and entry.is_dir()]
    except FileNotFoundError:
        return []


def _unfinished(directory: str) -> list[str]:
    """Files that a process which is no more was about to rename (minicontainer.files.write_atomic)."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            words = name.split(".")
            if words[-1] == "tmp" and not os.path.exists(f"/proc/{words[-2]}"):
                found.append(os.path.join(directory, name))
    return found


def _write_list(path: str, digests: Iterable[str]) -> None:
    path = os.path.join(path, _LIST)
    with naming(path), open(path, "a") as file:
        file.write("".join(f"{digest}\n" for digest in digests))


def _listed(path: str) -> set[str]:
    """The digests that a lease names; a last line that was not finished does not count."""
    try:
        with open(os.path.join(path, _LIST)) as file:
            return {digest for digest in file.read().split("\n") if is_digest(digest)}
    except FileNotFoundError:
        return set()
