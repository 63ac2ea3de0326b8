"""A rollout on disk: what is written down, and who may change it.

::

    rollouts/<name>/rollout.json    all of it, in one document
                    lock            held while the document is changed
                    driver.lock     held by the command that carries out a change, from beginning to end
    run/.rollouts/<name>/           while it runs: HAProxy's files (minicontainer.engine.rollout.haproxy)

A deployment takes minutes, and somebody may want to end it meanwhile. So there are two locks. ``driver.lock`` keeps
two commands from working on one rollout; it ends with its holder, so a deployment whose command was killed is known
by its lock being free. And the document says, under its own lock, what others **wish**: the command that drives
looks there at every turn, and lets go for whoever wishes something else.
"""

from __future__ import annotations

import os
import time

from minicontainer import units
from minicontainer.engine.directories import listdir
from minicontainer.errors import Conflict, NotFound
from minicontainer.files import Lock, is_locked, read_json, remove_tree, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.engine.directories import Directories

    Document = dict[str, Any]

# How far a rollout is
CREATING, READY, REMOVING = "creating", "ready", "removing"
# How far a deployment is
STARTING, TESTING, SHIFTING, WAITING, FAILED = "starting", "testing", "shifting", "waiting", "failed"
PROMOTING, ABORTING = "promoting", "aborting"


def directory(directories: Directories) -> str:
    """Where all rollouts are written down."""
    return os.path.join(directories.root, "rollouts")


class Record:
    """A rollout, by its name. The object is a handle: all state is on disk."""

    def __init__(self, directories: Directories, name: str) -> None:
        self.name = name
        self.path = os.path.join(directory(directories), name)
        self.run_path = os.path.join(directories.run_path, ".rollouts", name)
        self._document: Document | None = None

    # ------------------------------------------------------------ the document

    @property
    def document(self) -> Document:
        """What was written down when it was read last; NotFound when there is no such rollout."""
        return self._document if self._document is not None else self.read()

    def read(self) -> Document:
        """Read what is written down now."""
        try:
            self._document = read_json(os.path.join(self.path, "rollout.json"))
        except FileNotFoundError:
            raise NotFound(f"no such rollout: {self.name}") from None
        assert self._document is not None
        return self._document

    def update(self, **fields: object) -> None:
        """Change fields of the document, as it is on disk by now."""
        with self._locked():
            self.read().update(fields)
            self._write()

    def update_deployment(self, **fields: object) -> None:
        """The same for what is written down of the deployment that is under way."""
        with self._locked():
            document = self.read()
            if document["Deployment"] is None:
                raise Conflict(f"rollout {self.name} has no deployment under way")
            document["Deployment"].update(fields)
            self._write()

    def create(self, document: Document) -> Lock:
        """Write a new rollout down; Conflict when there is one of its name. The caller drives it from here on."""
        os.makedirs(self.path, mode=0o755, exist_ok=True)  # perhaps left by a command killed between the two
        lock = self.try_driving()
        if os.path.exists(os.path.join(self.path, "rollout.json")):
            lock.release()
            raise Conflict(
                f'the rollout name "{self.name}" is already in use; remove that rollout to reuse its name'
            )
        self._document = document
        self._write()
        return lock

    def _write(self) -> None:
        write_json(os.path.join(self.path, "rollout.json"), self._document, mode=0o600)

    def remove(self) -> None:
        """Delete what is written down."""
        remove_tree(self.path)

    # ------------------------------------------------------------ locks

    def _locked(self) -> Lock:
        return self._lock("lock")

    def driving(self) -> Lock:
        """The lock of whoever carries out a change, for a ``with``; waits for the one who does."""
        return self._lock("driver.lock")

    def try_driving(self) -> Lock:
        """The same, taken already; Conflict when somebody has it."""
        lock = Lock(os.path.join(self.path, "driver.lock"))
        try:
            taken = lock.acquire(blocking=False)
        except FileNotFoundError:
            raise NotFound(f"no such rollout: {self.name}") from None
        if not taken:
            raise Conflict(f"rollout {self.name}: another command is at work on it; see rollout status")
        return lock

    def is_driven(self) -> bool:
        """Whether a command is at work on it."""
        return is_locked(os.path.join(self.path, "driver.lock"))

    def _lock(self, name: str) -> Lock:
        lock = Lock(os.path.join(self.path, name))
        try:
            lock.acquire()
        except FileNotFoundError:
            raise NotFound(f"no such rollout: {self.name}") from None
        return lock

    # ------------------------------------------------------------ what it says

    @property
    def live(self) -> str:
        """The colour that has the traffic."""
        return str(self.document["Live"])

    @property
    def deployment(self) -> Document | None:
        """What is written down of the deployment that is under way; None without one."""
        found: Document | None = self.document["Deployment"]
        return found

    def __repr__(self) -> str:
        return f"<Rollout {self.name}>"


def all_names(directories: Directories) -> list[str]:
    """The names of all rollouts, sorted."""
    top = directory(directories)
    return sorted(name for name in listdir(top) if os.path.exists(os.path.join(top, name, "rollout.json")))


def now() -> str:
    """This moment, as it is written down."""
    return units.format_time(time.time_ns())
