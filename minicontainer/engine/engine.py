"""The engine: all containers and images below one directory."""

from __future__ import annotations

import contextlib
import os

from minicontainer.engine import document, events, names, record
from minicontainer.engine.container import PAUSED, RUNNING, Container
from minicontainer.engine.directories import Directories, listdir
from minicontainer.engine.options import Options
from minicontainer.errors import Conflict, Error, InvalidArgument, NotFound, Unsupported
from minicontainer.files import Lock, write_json
from minicontainer.images.reference import Reference
from minicontainer.images.store import Image, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minicontainer.engine.document import Document
    from minicontainer.engine.launcher import Handover
    from minicontainer.engine.network.networks import Networks
    from minicontainer.engine.record import Record
    from minicontainer.engine.rollout.rollouts import Rollouts
    from minicontainer.engine.volumes import Volumes
    from minicontainer.images.store import Removed

    Spawn = Callable[[Record, Handover], None]

_HEX = frozenset("0123456789abcdef")


class Engine(Directories):
    """Containers and images, with all their state below ``root`` (``$MINICONTAINER_ROOT``, /var/lib/minicontainer).

    ``spawn`` starts a container's monitor; the default asks a helper process, so that any thread of any
    program may use an engine (see minicontainer.engine.launcher).
    """

    def __init__(self, root: str | None = None, spawn: Spawn | None = None) -> None:
        super().__init__(root)
        self.images = Store(self.root)
        self.images.in_use = self._layers_in_use
        self._spawn = spawn

    def spawn(self, container: Record, handover: Handover) -> None:
        """Have the monitor of a container started."""
        if self._spawn is None:
            from minicontainer.engine import launcher

            self._spawn = launcher.spawn
        self._spawn(container, handover)

    @property
    def volumes(self) -> Volumes:
        """The volumes."""
        from minicontainer.engine.volumes import Volumes  # a plain run has none

        return Volumes(self)

    @property
    def rollouts(self) -> Rollouts:
        """The rollouts."""
        from minicontainer.engine.rollout.rollouts import Rollouts  # a plain run has none

        return Rollouts(self)

    @property
    def networks(self) -> Networks:
        """The networks."""
        from minicontainer.engine.network.networks import Networks

        return Networks(self)

    def require_root(self) -> None:
        """Raise Unsupported unless this process may do what making a container takes."""
        if os.geteuid() != 0:
            raise Unsupported("making a container takes root's privileges; try again with sudo")

    # ------------------------------------------------------------ finding

    def containers(self, all: bool = False) -> list[Container]:
        """The containers, the newest first: those that run, or all."""
        found = []
        for name in listdir(self.containers_path):
            container = Container(self, name)
            if name.startswith(".") or not container.is_whole():
                continue
            try:
                if all or container.status in (RUNNING, PAUSED):
                    found.append((container.document["Created"], container))
            except NotFound:
                continue  # removed while we look
        return [container for _, container in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def find(self, name: str) -> Container:
        """The container of this name, id, or unambiguous beginning of an id."""
        target = self.holder(name)
        if target and Container(self, target).is_whole():
            return Container(self, target)
        matches = []
        if name and _HEX.issuperset(name):
            matches = [each for each in listdir(self.containers_path) if each.startswith(name)]
        if len(matches) > 1:
            raise Conflict(f"{name} is the beginning of several container ids; give more of it")
        if not matches or not Container(self, matches[0]).is_whole():
            raise NotFound(f"no such container: {name}")
        return Container(self, matches[0])

    # ------------------------------------------------------------ names

    def _name(self, wanted: str, container_id: str) -> str:
        if wanted:
            self.take_name(names.check(wanted), container_id)
            return wanted
        for attempt in range(1000):
            name = names.random_name(attempt)
            try:
                self.take_name(name, container_id)
                return name
            except Conflict:
                continue
        raise Error("found no free name for the container; give one with --name")

    # ------------------------------------------------------------ making

    def create(
        self, image: str | Image, argv: Sequence[str] = (), options: Options | None = None
    ) -> Container:
        """Make a container of an image, given by name or id or itself; it does not run yet.

        It comes back locked and not yet written down as made: until :meth:`Container.start` or
        :meth:`Container.settle`, a killed caller leaves nothing that counts.
        """
        self.require_root()
        options = options or Options()
        found = self.images.find(image) if isinstance(image, str) else image
        name = image if isinstance(image, str) else image.name
        container, lock = self._new()
        try:
            self._write(container, found, name, argv, options)
        except BaseException:
            container.delete_files(volumes=True)
            self.free_name(options.name, container.id)
            lock.release()
            raise
        container.hold(lock)
        return container

    def _new(self) -> tuple[Container, Lock]:
        """A directory that nobody else has, locked before anyone could take it for a leftover."""
        os.makedirs(self.containers_path, mode=0o711, exist_ok=True)
        while True:
            container = Container(self, os.urandom(32).hex())
            lock = Lock(container.lock_path)
            os.mkdir(container.path, 0o710)
            try:
                lock.acquire()
                if os.path.exists(container.lock_path):
                    return container, lock
            except FileNotFoundError:
                pass  # swept away between the two calls
            lock.release()

    def _write(
        self, container: Container, image: Image, image_name: str, argv: Sequence[str], options: Options
    ) -> None:
        asked = document.make(
            container.id, "", image, image_name, argv, options, lambda name: self.find(name).id
        )
        self._ask_for_network(asked, options)
        self._ask_for_mounts(asked, image, options)
        self.images.layer_directories(image)
        asked["Layers"] = image.diff_ids
        asked["GraphDriver"] = {
            "Name": "overlay",
            "Data": {
                "UpperDir": os.path.join(container.path, "upper"),
                "WorkDir": os.path.join(container.path, "work"),
                "MergedDir": os.path.join(container.path, "merged"),
            },
        }
        for name in ("upper", "work", "merged"):
            os.mkdir(os.path.join(container.path, name))
            os.chmod(os.path.join(container.path, name), 0o755)  # for all its users, whatever the umask is
        asked["Name"] = "/" + self._name(options.name, container.id)
        container.document = asked
        self._write_down(container)
        self.images.require(image)  # from here on, whoever removes images sees that this one is used

    def _ask_for_network(self, asked: Document, options: Options) -> None:
        from minicontainer.engine.network import asking

        asking.ask(asked, options, self.networks)
        mode = asked["HostConfig"]["NetworkMode"]
        if mode.startswith("container:"):  # the two are one host to others, and so to themselves
            other = self.find(mode.removeprefix("container:")).document["Config"]
            asked["Config"].update({name: other[name] for name in ("Hostname", "Domainname")})

    def _ask_for_mounts(self, asked: Document, image: Image, options: Options) -> None:
        of_image = image.settings.get("Volumes") or {}
        if of_image or options.volumes or options.mounts or options.volumes_from:
            from minicontainer.engine import mounts  # a plain run has none

            mounts.ask(asked, options, of_image, self.volumes, lambda name: self.find(name).document)

    def _write_down(self, container: Container) -> None:
        """Write ``container.json``, which says that its volumes are in use, and make those that are not there.

        In this order, for what is written down can be removed again when we are killed; and under the lock, for
        nobody is to remove a volume between the two.
        """
        path = os.path.join(container.path, "container.json")
        durable = not container.document["HostConfig"]["AutoRemove"]
        with self.volumes.locked() if container.document["Mounts"] else contextlib.nullcontext():
            write_json(path, container.document, durable=durable)
            if container.document["Mounts"]:
                self.volumes.make_all(container.document["Mounts"])
        container.emit("create")
        if container.document["Mounts"]:
            from minicontainer.engine import filling

            filling.fill(container)

    # ------------------------------------------------------------ images

    def remove_image(self, name: str, force: bool = False) -> list[str]:
        """Remove an image by id or by name; a name only, when it has others. Returns what was done, a line each.

        Conflict when a container uses it: with ``force`` a stopped one does not count, and keeps its layers.
        """
        from minicontainer.engine import image_removal

        known = {image.id for image in self.images.images()}
        removed = image_removal.remove(self, name, force)
        events.images_removed(self.root, removed.lines, known)
        return removed.lines

    def tag_image(self, name: str, new: str) -> None:
        """Give an image one more name; whichever had that until now loses it."""
        reference = Reference.parse(new)
        if reference.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        image = self.images.find(name)
        self.images.tag(image, reference)
        events.of_image(self.root, "tag", image, reference.familiar)

    def prune_images(self, all: bool = False, filters: Sequence[str] = ()) -> Removed:
        """Remove images without a name, or ``all``, that no container has; what was done, and the bytes freed."""
        from minicontainer.engine import image_removal

        known = {image.id for image in self.images.images()}
        removed = image_removal.prune(self, all, filters)
        events.images_removed(self.root, removed.lines, known)
        return removed

    def _layers_in_use(self) -> set[str]:
        """The layers of all containers, those that are being made too."""
        found: set[str] = set()
        for name in listdir(self.containers_path):
            with contextlib.suppress(Error):  # without a document that can be read it cannot start
                found.update(Container(self, name).document["Layers"])
        return found

    def release_layers(self, document: Document) -> None:
        """Delete a removed container's layers, if nobody else needs them: its image may have gone before it."""
        try:
            self.images.find(document["Image"])
        except NotFound:
            with self.images.locked():
                self.images.doom(set(document["Layers"]))
            self.images.sweep()

    # ------------------------------------------------------------ putting right

    def sweep(self) -> None:
        """Put right what killed commands and monitors left behind; every command begins with it.

        It looks only where something can be: at run directories whose monitor is dead, at container
        directories that were never finished or not wholly deleted and that nobody holds, and at names of
        containers that are not there.
        """
        self.images.sweep()
        for name in listdir(self.run_path):
            if name.startswith("."):
                continue  # no container's: .networks, .rollouts
            container = Container(self, name)
            if not container.has_monitor():
                container.tidy()
            elif os.path.exists(container.pause_note):
                from minicontainer.engine import commit

                commit.let_go_on(container)
        for name in listdir(self.containers_path):
            if name.startswith("."):
                record.discard(self, os.path.join(self.containers_path, name))
            elif not Container(self, name).is_whole():
                Container(self, name).tidy()
        if any(
            name.startswith(".") and name != ".lock" for name in listdir(os.path.join(self.root, "volumes"))
        ):
            self.volumes.sweep()
        if any(name != ".lock" for name in listdir(os.path.join(self.root, "jobs"))):
            from minicontainer.engine import jobs

            jobs.sweep(self)
        for name in listdir(self.names_path):
            holder = self.holder(name)
            if holder and not os.path.exists(os.path.join(self.containers_path, holder)):
                self.free_name(name, holder)
