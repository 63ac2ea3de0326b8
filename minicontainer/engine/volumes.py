"""Volumes: directories with a name, which outlive the containers that use them.

A container's writable layer goes when the container goes, and only it can see it. What is to stay, or to be
shared, lies in a volume: a plain directory of the host, bound into any number of containers at once. ::

    volumes/<name>/volume.json      its name, labels, and when it was made
    volumes/<name>/_data/           its files
    volumes/<name>/lock             held by whoever fills it from an image (minicontainer.engine.filling)
    volumes/.lock                   held while volumes come and go, and while a container is written down

A volume that nobody named, of ``-v /path`` or of an image's ``VOLUME``, is **anonymous**: its name is 64 hex
digits, and it is removed with its container by ``--rm`` and ``rm -v``. Who uses a volume is not counted anywhere:
it is in the documents of the containers, which say what they mount. So nothing can be counted wrongly, whoever
was killed.
"""

from __future__ import annotations

import os
import time

from minicontainer.engine import events
from minicontainer.engine.directories import listdir
from minicontainer.errors import Conflict, Error, InvalidArgument, NotFound
from minicontainer.files import Lock, read_json, remove_tree, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from minicontainer.engine.directories import Directories

_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_LONGEST = 255  # bytes of one name in a directory (NAME_MAX, limits.h)


def check_name(name: str) -> str:
    """The name of a volume; InvalidArgument when none may be called so, least of all a path."""
    if not _CHARACTERS.issuperset(name) or name[:1] in ("_", ".", "-"):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if not 2 <= len(name) <= _LONGEST:
        size = "short" if len(name) < 2 else "long"
        raise InvalidArgument(
            f"create {name}: volume name is too {size}, it has from 2 to {_LONGEST} characters"
        )
    return name


class Volume:
    """A volume that is there."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = os.path.basename(path)
        #: what is known of it, in Docker's words
        self.document: dict[str, Any] = read_json(os.path.join(path, "volume.json"))

    @property
    def data_path(self) -> str:
        """The directory that containers see."""
        return os.path.join(self.path, "_data")

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.document["Labels"] or {}

    def inspect(self) -> dict[str, Any]:
        """All that is known of it, in the shape of Docker's API."""
        return dict(sorted({**self.document, "Mountpoint": self.data_path}.items()))

    def __repr__(self) -> str:
        return f"<Volume {self.name}>"


class Volumes:
    """The volumes below one root."""

    def __init__(self, directories: Directories) -> None:
        self.directories = directories
        self.path = os.path.join(directories.root, "volumes")

    def data_path(self, name: str) -> str:
        """Where the files of the volume of this name are, or will be."""
        return os.path.join(self.path, name, "_data")

    def locked(self) -> Lock:
        """The lock that keeps others from making and removing volumes, for a ``with``."""
        os.makedirs(self.path, mode=0o755, exist_ok=True)
        return Lock(os.path.join(self.path, ".lock"))

    # ------------------------------------------------------------ finding

    def all(self) -> list[Volume]:
        """Every volume, by name."""
        found = []
        for name in self.names():
            try:
                found.append(Volume(os.path.join(self.path, name)))
            except FileNotFoundError:
                continue  # removed while we look
        return found

    def names(self) -> list[str]:
        """The names of all volumes, sorted."""
        return sorted(name for name in listdir(self.path) if not name.startswith("."))

    def find(self, name: str) -> Volume:
        """The volume of this name; NotFound when there is none."""
        if name and name[0] != "." and _CHARACTERS.issuperset(name) and len(name) <= _LONGEST:
            try:
                return Volume(os.path.join(self.path, name))
            except FileNotFoundError:
                pass
        raise NotFound(f"no such volume: {name}")

    def users(self) -> dict[str, list[str]]:
        """The containers, running or not, that each volume is mounted in: name -> their ids.

        One that is just being made counts. An Error when a container's document is damaged, for nobody knows
        then what it needs.
        """
        users: dict[str, list[str]] = {}
        for container_id in listdir(self.directories.containers_path):
            if container_id.startswith("."):
                continue
            try:
                document = read_json(
                    os.path.join(self.directories.containers_path, container_id, "container.json")
                )
            except FileNotFoundError:
                continue  # not written down yet, or removed while we look
            for name in {point["Name"] for point in document.get("Mounts", ()) if point["Type"] == "volume"}:
                users.setdefault(name, []).append(container_id)
        return users

    # ------------------------------------------------------------ making

    def create(self, name: str = "", labels: Mapping[str, str] | None = None) -> Volume:
        """Make a volume; one of this name that is there already stays as it is. Without a name it gets one."""
        name = check_name(name) if name else os.urandom(32).hex()
        with self.locked():
            self._make(name, labels)
        return self.find(name)

    def make_all(self, points: Iterable[Mapping[str, Any]]) -> None:
        """Make the volumes of a container's mount points that are not there yet; under the lock."""
        for point in points:
            if point["Type"] == "volume":
                self._make(point["Name"], point.get("Labels"))

    def _make(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Make it whole beside its place, and move it there."""
        path = os.path.join(self.path, name)
        if os.path.exists(path):
            return
        temporary = os.path.join(self.path, f".{os.urandom(8).hex()}")
        # 0700, or the host's users could run a set-user-ID program that a container left.
        os.mkdir(temporary, 0o700)
        os.mkdir(os.path.join(temporary, "_data"))
        os.chmod(os.path.join(temporary, "_data"), 0o755)  # whatever the caller's umask is
        document = {
            "CreatedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "Driver": "local",
            "Labels": dict(labels) if labels else None,
            "Name": name,
            "Options": None,
            "Scope": "local",
        }
        write_json(os.path.join(temporary, "volume.json"), document)
        os.rename(temporary, path)
        events.emit(self.directories.root, "volume", "create", name, {"driver": "local"})

    # ------------------------------------------------------------ removing

    def remove(self, name: str, force: bool = False) -> None:
        """Remove a volume with all its files; Conflict when a container has it.

        With ``force`` it is no error that there is none.
        """
        with self.locked():
            try:
                volume = self.find(name)
            except NotFound:
                if force:
                    return
                raise
            users = self.users().get(name, [])
            if users:
                raise Conflict(
                    f"remove {name}: volume is in use - [{', '.join(users)}]; remove the containers first"
                )
            trash = self._take_away(volume.name)
        remove_tree(trash)

    def remove_anonymous(self, points: Iterable[Mapping[str, Any]]) -> None:
        """Remove the anonymous volumes among the mount points of a container that is gone, but not another's.

        All stay when it cannot be known what others need; ``volume prune`` says why.
        """
        with self.locked():
            try:
                users = self.users()
            except Error:
                return
            names = {point["Name"] for point in points if point.get("Anonymous")}
            gone = [
                name for name in names if name not in users and os.path.exists(os.path.join(self.path, name))
            ]
            trash = [self._take_away(name) for name in gone]
        for path in trash:
            remove_tree(path)

    def _take_away(self, name: str) -> str:
        """Move it out of sight, for it is there whole or not at all; returns where its files can be deleted."""
        trash = os.path.join(self.path, f".{os.urandom(8).hex()}")
        os.rename(os.path.join(self.path, name), trash)
        events.emit(self.directories.root, "volume", "destroy", name, {"driver": "local"})
        return trash

    def sweep(self) -> None:
        """Delete what killed commands have left of volumes that they made or removed."""
        left = [name for name in listdir(self.path) if name.startswith(".") and name != ".lock"]
        if left:
            with self.locked():
                for name in left:
                    remove_tree(os.path.join(self.path, name))
