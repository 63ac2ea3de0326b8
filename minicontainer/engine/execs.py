"""The further processes that a monitor starts in its container (``exec``)."""

from __future__ import annotations

import os

from minicontainer.errors import Conflict
from minicontainer.runtime import launch, spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from minicontainer.engine.record import Record
    from minicontainer.runtime.launch import Process


class Execs:
    """Starts them, and says in the events what becomes of each; there it has a name of its own."""

    def __init__(self, container: Record) -> None:
        self.container = container
        self._names: dict[int, str] = {}  # pid -> name

    def start(self, target: int, process: dict[str, Any], descriptors: Sequence[int]) -> Process:
        """Start an OCI ``process`` in the container whose first process is ``target``.

        ``descriptors`` are its three standard streams, or none when it has a terminal or nobody listens. Raises
        Conflict when the container is paused.
        """
        container = self.container
        if container.is_frozen():
            raise Conflict(f"container {container.name} is paused, unpause the container before exec")
        name, command = os.urandom(32).hex(), " ".join(process["args"])
        container.emit(f"exec_create: {command}", execID=name)
        started = launch.execute(
            target,
            spec.load(container.path),
            process,
            container.cgroup,
            tuple(descriptors) if len(descriptors) == 3 else (0, 0, 0),  # type: ignore[arg-type]
            seccomp_cache=container.directories.seccomp_cache,
        )
        self._names[started.pid] = name
        container.emit(f"exec_start: {command}", execID=name)
        return started

    def ended(self, pid: int, code: int) -> None:
        """A child has ended; perhaps it was one of these."""
        if pid in self._names:
            self.container.emit("exec_die", execID=self._names.pop(pid), exitCode=code)
