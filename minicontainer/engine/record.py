"""A container on disk: its files, the state it is in, and putting right what was left half done.

::

    containers/<id>/container.json      what was asked (minicontainer.engine.document)
                    state.json          how far it got; the container exists once this is there
                    config.json         the bundle of its last start
                    log                 what it wrote
                    upper/ work/        its writable layer
                    merged/             where the whole is mounted when it starts, for nobody else to see
                    lock                held by whoever changes it
    names/<name>                        a symlink to it
    run/<id>/                           while it runs: the monitor's lock, socket and messages

Nothing here trusts what is written when it can look: a container is running if its monitor holds its lock,
and paused if its cgroup is frozen. What a killed command or monitor has left half done is recognised by that,
and put right by whoever comes by next (:meth:`Record.tidy`).
"""

from __future__ import annotations

import errno
import os
import time

from minicontainer import units
from minicontainer.engine import events
from minicontainer.errors import Conflict, Error, NotFound, explain
from minicontainer.files import Lock, is_locked, read_json, remove_tree, rewrite_json
from minicontainer.runtime.cgroups import Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.engine.directories import Directories
    from minicontainer.engine.document import Document

CREATED, RUNNING, EXITED = "created", "running", "exited"
PAUSED = "paused"  # never written down: the cgroup says it
POWER_FAILED = 255  # what Docker says of a container that was running when the host went down
_WITH_VOLUMES = ".volumes"  # what the name of a deleted container's directory ends with if they go too
KILLED = 137  # 128 + SIGKILL, what the shell says of a process that was killed


def _state(**fields: Any) -> dict[str, Any]:
    """A state of nothing done yet, but for some fields."""
    never = units.ZERO_TIME
    state = {"Status": CREATED, "Pid": 0, "ExitCode": 0, "Error": "", "OOMKilled": False}
    return {**state, "StartedAt": never, "FinishedAt": never, **fields}


def cgroup_path(document: Document) -> str:
    """Where a container is counted, below each cgroup hierarchy."""
    parent = document["HostConfig"]["CgroupParent"] or "minicontainer"
    return f"/{parent.strip('/')}/{document['Id']}"


class Record:
    """A container of an engine, by its full id. The object is a handle: all state is on disk."""

    def __init__(self, directories: Directories, container_id: str) -> None:
        self.directories = directories
        self.id = container_id
        self.path = os.path.join(directories.containers_path, container_id)
        self.run_path = os.path.join(directories.run_path, container_id)
        self.lock_path = os.path.join(self.path, "lock")
        #: there while it is paused for a commit (minicontainer.engine.commit)
        self.pause_note = os.path.join(self.run_path, "paused-for-commit")
        self._lock_of_creation: Lock | None = None
        self._document: dict[str, Any] | None = None

    # ------------------------------------------------------------ what it is

    @property
    def document(self) -> dict[str, Any]:
        """What was asked of it (``container.json``)."""
        if self._document is None:
            try:
                self._document = read_json(os.path.join(self.path, "container.json"))
            except FileNotFoundError:
                raise NotFound(f"no such container: {self.id[:12]}") from None
        assert self._document is not None
        return self._document

    @document.setter
    def document(self, value: dict[str, Any]) -> None:
        self._document = value

    def forget(self) -> None:
        """Read what was asked of it again, the next time that it is needed: with the lock it can be changed."""
        self._document = None

    @property
    def name(self) -> str:
        """Its name, without the slash that Docker's API puts in front."""
        return str(self.document["Name"])[1:]

    @property
    def short_id(self) -> str:
        """The first twelve digits of its id."""
        return self.id[:12]

    @property
    def cgroup(self) -> Cgroup:
        """Where it is counted and limited."""
        return Cgroup(cgroup_path(self.document))

    @property
    def log_path(self) -> str:
        """The file with all it wrote (see minicontainer.engine.logs)."""
        return os.path.join(self.path, "log")

    def __repr__(self) -> str:
        return f"<Container {self.name} {self.short_id}>"

    # ------------------------------------------------------------ the state it is in

    def state(self) -> dict[str, Any]:
        """Docker's ``State`` object, as of now; ``Status`` is created, running, paused or exited."""
        state = self.written_state()
        if state["Status"] == RUNNING and not self.has_monitor():
            self.tidy()
            state = self.written_state()
        if state["Status"] == RUNNING and self.is_frozen():
            state["Status"] = PAUSED
        return state

    def is_frozen(self) -> bool:
        """Whether its processes are stopped; False when its cgroup is gone, as it is in its last moments."""
        try:
            return self.cgroup.frozen
        except NotFound:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            return False

    def written_state(self) -> dict[str, Any]:
        """What ``state.json`` says, without looking; NotFound when it was never completely made."""
        try:
            state: dict[str, Any] = read_json(os.path.join(self.path, "state.json"))
        except FileNotFoundError:
            raise NotFound(f"no such container: {self.id[:12]}") from None
        except Error as damaged:  # while it runs the file is not synced to disk, and the power may fail
            return _state(Status=EXITED, ExitCode=POWER_FAILED, Error=str(damaged))
        return state

    def write_state(self, status: str, **fields: Any) -> None:
        """Write down a new state; fields not given stay as they were."""
        try:
            state = self.written_state()
        except NotFound:
            state = _state()
        durable = not self.document["HostConfig"]["AutoRemove"]
        state.update(Status=status, **fields)
        rewrite_json(os.path.join(self.path, "state.json"), state, durable=durable and status != RUNNING)

    @property
    def status(self) -> str:
        """``created``, ``running``, ``paused`` or ``exited``."""
        return str(self.state()["Status"])

    @property
    def pid(self) -> int:
        """Its first process as the host sees it; Conflict when it is not running."""
        state = self.state()
        if state["Status"] not in (RUNNING, PAUSED):
            raise Conflict(f"container {self.name} is not running")
        return int(state["Pid"])

    def has_monitor(self) -> bool:
        """Whether its monitor is alive."""
        return is_locked(os.path.join(self.run_path, "monitor.lock"))

    def is_whole(self) -> bool:
        """Whether it was ever completely made."""
        return os.path.exists(os.path.join(self.path, "state.json"))

    def tidy(self) -> None:
        """Put right what a killed monitor left: no process, no cgroup, and the truth in the state.

        Nothing happens when the monitor is alive, or when somebody else has the container's lock.
        """
        lock = Lock(self.lock_path)
        try:
            if not lock.acquire(blocking=False):
                return
        except FileNotFoundError:
            self._leave_run()
            return
        try:
            if not self.has_monitor():
                self._clean_up_dead()
        finally:
            lock.release()

    def _clean_up_dead(self) -> None:
        try:
            self.document  # noqa: B018  it may be damaged, or not there yet
        except Error:
            if self.is_whole():  # it was in use: what can still be saved of it is not ours to delete
                self._leave_run()
            else:
                self.delete_files()
            return
        self.cgroup.kill()
        self.cgroup.remove()
        was_running = self.is_whole() and self.written_state()["Status"] == RUNNING
        if was_running:
            self.emit("die", exitCode=KILLED)
        if not self.is_whole() or self.document["HostConfig"]["AutoRemove"]:
            self.delete_files(volumes=True)
            return
        if was_running:
            now = units.format_time(time.time_ns())
            error = "its monitor was killed"
            self.write_state(EXITED, Pid=0, ExitCode=KILLED, FinishedAt=now, Error=error)
        self._leave_run()

    def give_up(self, error: BaseException) -> None:
        """Leave nothing of a start that failed but the reason, in a container that is to stay."""
        if not os.path.exists(self.path):
            return  # whoever came first has done it
        self.cgroup.kill()
        self.cgroup.remove()
        if self.document["HostConfig"]["AutoRemove"]:
            self.delete_files(volumes=True)
            return
        code = error.exit_code if isinstance(error, Error) else 125
        before = self.written_state()["Status"] if self.is_whole() else CREATED
        self.write_state(before, ExitCode=code, Error=explain(error), Pid=0)
        self._leave_run()

    def leave_networks(self) -> None:
        """Give back its addresses, ports and names, if it has any (see minicontainer.engine.network.ends)."""
        if os.path.isdir(self.directories.networks_run_path):
            from minicontainer.engine.network import ends

            ends.leave(self)

    def _leave_run(self) -> None:
        """Delete what means nothing when it does not run: last of all, for by this others know that it ran."""
        self.leave_networks()
        remove_tree(self.run_path)

    # ------------------------------------------------------------ locking and deleting it

    def lock_of_creation(self) -> Lock | None:
        """The lock that it was created under; the caller takes it over."""
        lock, self._lock_of_creation = self._lock_of_creation, None
        return lock

    def hold(self, lock: Lock) -> None:
        """Keep the lock that it was created under, until it is started or :meth:`Record.settle` is called."""
        self._lock_of_creation = lock

    def settle(self) -> None:
        """Write a new container down as made, without starting it, and let go of its lock."""
        self.write_state(CREATED)
        lock = self.lock_of_creation()
        if lock:
            lock.release()

    def emit(self, action: str, **attributes: object) -> None:
        """Say that something happened to it (see minicontainer.engine.events)."""
        own = self.document["Config"]
        known = {**own["Labels"], "image": own["Image"], "name": self.name, **attributes}
        events.emit(self.directories.root, "container", action, self.id, known)

    def locked(self) -> Lock:
        """Take its lock; NotFound when it is gone."""
        lock = Lock(self.lock_path)
        try:
            lock.acquire()
        except FileNotFoundError:
            raise NotFound(f"no such container: {self.id[:12]}") from None
        return lock

    def delete_files(self, volumes: bool = False) -> None:
        """Delete its files, and perhaps its anonymous volumes.

        It is gone at the first step, the rest can be done by anybody later.
        """
        trash = os.path.join(
            self.directories.containers_path, f".{self.id}{_WITH_VOLUMES if volumes else ''}"
        )
        written = os.path.exists(os.path.join(self.path, "container.json"))
        try:
            name = self.name
        except Error:  # it never got one, or it cannot be read; the next command frees what nobody has
            name = ""
        try:
            os.rename(self.path, trash)
        except FileNotFoundError:
            return
        if name:
            self.directories.free_name(name, self.id)
        if name and written:
            self.emit("destroy")
        self._leave_run()
        discard(self.directories, trash)


def discard(directories: Directories, trash: str) -> None:
    """Delete a container's directory that was moved out of sight, and the volumes that are to go with it."""
    if trash.endswith(_WITH_VOLUMES):
        try:
            points = read_json(os.path.join(trash, "container.json")).get("Mounts", ())
        except (FileNotFoundError, Error):
            points = ()
        if any(point.get("Anonymous") for point in points):
            from minicontainer.engine.volumes import Volumes  # seldom

            Volumes(directories).remove_anonymous(points)
    remove_tree(trash)
