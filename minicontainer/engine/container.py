"""A container: what can be done with it.

Where it lies on disk and how its state is known is :mod:`minicontainer.engine.record`'s business; how it comes
to run is :mod:`minicontainer.engine.starting`'s and :mod:`minicontainer.engine.monitor`'s.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time

from minicontainer.engine import document, names, signals, starting, stream
from minicontainer.engine.record import CREATED, EXITED, PAUSED, RUNNING, Record
from minicontainer.errors import Conflict, Error, NotFound
from minicontainer.files import write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any

    from minicontainer.engine.api import Output
    from minicontainer.engine.engine import Engine
    from minicontainer.engine.processes import Usage
    from minicontainer.images.differences import Change
    from minicontainer.images.image import Image
    from minicontainer.images.reference import Reference

__all__ = ["CREATED", "EXITED", "PAUSED", "RUNNING", "Container"]

DEFAULT_STOP_TIMEOUT = 10  # seconds


class Container(Record):
    """A container of an engine; every method may be called from any thread."""

    def __init__(self, engine: Engine, container_id: str) -> None:
        super().__init__(engine, container_id)
        self.engine = engine

    # ------------------------------------------------------------ its life

    def start(self, client: socket.socket | None = None) -> list[str]:
        """Start it; returns warnings of what this kernel cannot limit.

        ``client``, one end of a socket pair, is attached to it before it writes anything. Nothing happens when
        it is running. Raises what kept it from starting; the state then has the exit code that ``docker start``
        shows (125, 126, 127).
        """
        if self.is_whole():
            self.state()  # a monitor that was killed is noticed now: with the lock held nobody could tidy up
        with self.lock_of_creation() or self.locked() as lock:
            if self.is_whole() and self.state()["Status"] in (RUNNING, PAUSED):
                return []
            return starting.start(self, lock, client)

    def signal(self, name: str = "KILL") -> None:
        """Send its first process a signal, by name or number; a paused one goes on, to receive it.

        KILL, which nothing withstands, is waited for.
        """
        number = signals.parse(name)
        status = self.status
        if status not in (RUNNING, PAUSED):
            raise Conflict(f"container {self.name} is not running")
        try:
            with stream.connect(self.run_path) as client:
                self.emit("kill", signal=int(number))
                client.send(stream.message(stream.SIGNAL, number))
            if status == PAUSED:
                self.cgroup.thaw()
        except (NotFound, OSError):
            raise Conflict(f"container {self.name} is not running") from None
        if number == signal.SIGKILL:
            self.wait(DEFAULT_STOP_TIMEOUT)

    def stop(self, timeout: float | None = None) -> None:
        """Ask it to end (its stop signal), and kill it when it has not after ``timeout`` seconds.

        Nothing happens when it is not running.
        """
        if self.status not in (RUNNING, PAUSED):
            return
        config = self.document["Config"]
        if timeout is None:
            timeout = config["StopTimeout"] if config["StopTimeout"] is not None else DEFAULT_STOP_TIMEOUT
        try:
            self.signal(config["StopSignal"])
            if timeout >= 0 and self.wait(timeout) is None:
                self.signal("KILL")
        except Conflict:
            if self.status in (RUNNING, PAUSED):
                raise
        self.wait()
        self.emit("stop")

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until it is not running and return its exit code; None when ``timeout`` seconds have passed."""
        try:
            with stream.connect(self.run_path) as client:
                stream.request(client, do="wait")
                return self._await_exit(client, timeout)
        except (Conflict, OSError):  # it has ended meanwhile
            pass
        try:
            return int(self.state()["ExitCode"])
        except NotFound:
            return 0

    def _await_exit(self, client: socket.socket, timeout: float | None) -> int | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([client], [], [], left)[0]:
                return None
            data, _ = stream.receive(client)
            if not data:
                raise Conflict("the monitor is gone")
            if data[0] == stream.EXIT:
                return int(stream.parse(data)["code"])

    def pause(self) -> None:
        """Stop all its processes where they are (the freezer)."""
        status = self.status
        if status == PAUSED:
            raise Conflict(f"container {self.name} is already paused")
        if status != RUNNING:
            raise Conflict(f"container {self.name} is not running")
        self.cgroup.freeze()
        self.emit("pause")

    def unpause(self) -> None:
        """Let its processes go on."""
        if self.status != PAUSED:
            raise Conflict(f"container {self.name} is not paused")
        self.cgroup.thaw()
        self.emit("unpause")

    # ------------------------------------------------------------ looking into it

    def exec(self, argv: Sequence[str] | str, **options: Any) -> Output:
        """Run one more program in it and return its output (see :func:`minicontainer.engine.api.execute`)."""
        from minicontainer.engine import api

        return api.execute(self, argv, **options)

    def nsenter(self, names: Sequence[str], argv: Sequence[str]) -> str:
        """Run a program of the host in some of its namespaces (``["uts", "net"]``); returns its output.

        Raises Error with what it wrote to standard error when it fails.
        """
        import subprocess
        import sys

        module = [sys.executable, "-m", "minicontainer.runtime.nsenter"]
        done = subprocess.run(
            [*module, str(self.pid), ",".join(names), *argv], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Error(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def logs(self, **options: Any) -> str:
        """What it wrote, both streams in the order of writing; ``tail``, ``since``, ``until`` as in engine.logs."""
        from minicontainer.engine import logs

        return "".join(line.text for line in logs.read(self.log_path, **options))

    def inspect(self) -> dict[str, Any]:
        """All that is known of it, in the shape of Docker's API."""
        from minicontainer.engine import inspection

        return inspection.container(self)

    def top(self) -> list[dict[str, str]]:
        """Its processes as the host sees them."""
        from minicontainer.engine import processes

        titles, rows = processes.top(self)
        return [dict(zip(titles, row, strict=True)) for row in rows]

    def stats(self, interval: float = 0.2) -> Usage:
        """What it uses; rates are those of the next ``interval`` seconds."""
        from minicontainer.engine import processes

        return next(processes.usages([self], interval))[0]

    def copy_to(self, source: str, path: str) -> None:
        """Copy a file or directory of the host to ``path`` in it, by the rules of ``cp``."""
        from minicontainer.engine import copying

        copying.copy_in(self, source, path)

    def copy_from(self, path: str, destination: str) -> None:
        """Copy a file or directory of it to the host, by the rules of ``cp``."""
        from minicontainer.engine import copying

        copying.copy_out(self, path, destination)

    # ------------------------------------------------------------ what it has changed

    def diff(self) -> list[Change]:
        """What it has changed in its file tree, as ``str(change)`` a line of ``docker diff`` each."""
        from minicontainer.engine import commit

        return commit.diff(self)

    def commit(self, name: Reference | str | None = None, **how: Any) -> Image:
        """Make an image of it: ``author``, ``message``, ``changes``, ``pause`` as in engine.commit."""
        from minicontainer.engine import commit
        from minicontainer.images.reference import Reference

        return commit.commit(self, Reference.parse(name) if isinstance(name, str) else name, **how)

    def export(self, out: IO[bytes]) -> None:
        """Write its whole file tree as a tar archive."""
        from minicontainer.engine import commit

        commit.export(self, out)

    # ------------------------------------------------------------ changing and removing it

    def rename(self, name: str) -> None:
        """Give it another name."""
        with self.locked():
            self._document = None
            old = self.name
            if old == name:
                raise Conflict(f"container {old} has this name already")
            self.engine.take_name(names.check(name), self.id)
            self.document["Name"] = f"/{name}"
            write_json(os.path.join(self.path, "container.json"), self.document)
            self.engine.free_name(old, self.id)
            self.emit("rename", oldName=f"/{old}")
            from minicontainer.engine.network import ends

            ends.rename(self)

    def update(self, **limits: Any) -> list[str]:
        """Change limits (``memory``, ``cpus``, ``pids_limit``, …), of a running container at once.

        Returns warnings about what this kernel cannot do. Nothing is written down that the kernel refused.
        """
        from minicontainer.engine.limits import resources

        with self.locked():
            self._document = None
            try:
                document.update(self.document, **limits)
                warnings: list[str] = []
                if self.status in (RUNNING, PAUSED):
                    changed = {k: v for k, v in resources(self.document).items() if k != "devices"}
                    warnings = self.cgroup.update(changed)
                write_json(os.path.join(self.path, "container.json"), self.document)
                self.emit("update")
                return warnings
            finally:
                self._document = None

    def remove(self, force: bool = False, volumes: bool = False) -> None:
        """Remove it and all its files, and perhaps the ``volumes`` that nobody named.

        A running one only with ``force``, which kills it; otherwise Conflict.
        """
        while True:
            if force:
                self._kill()
                if not os.path.exists(self.path):
                    return  # its monitor has removed it (--rm)
            with self.locked():
                status = self.state()["Status"] if self.is_whole() else CREATED
                if status not in (RUNNING, PAUSED):
                    document = self._readable_document()
                    self.delete_files(volumes)
                    if document:
                        self.engine.release_layers(document)
                    return
                if not force:
                    raise Conflict(
                        f"cannot remove container {self.name}: it is {status}. "
                        "Stop the container before attempting removal or force remove"
                    )
                # somebody has started it again: once more

    def _readable_document(self) -> dict[str, Any] | None:
        """What was asked of it; None when that was never written, or is damaged: it can be removed all the same."""
        try:
            return self.document
        except Error:
            return None

    def _kill(self) -> None:
        """End it at once, paused or not, and wait for its monitor to have done its part."""
        if self.state()["Status"] in (RUNNING, PAUSED):
            try:
                with stream.connect(self.run_path) as client:
                    stream.request(client, do="wait")
                    self.emit("kill", signal=int(signal.SIGKILL))
                    client.send(stream.message(stream.SIGNAL, int(signal.SIGKILL)))
                    if self.is_frozen():
                        self.cgroup.thaw()
                    self._await_exit(client, None)
            except (Conflict, OSError):  # it has ended meanwhile
                pass
