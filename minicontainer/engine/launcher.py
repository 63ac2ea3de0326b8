"""Who forks the monitors.

A monitor is made by fork, and a fork copies only the calling thread: the locks that others hold stay locked
in the copy for ever. A Jupyter kernel has threads, and so has any program that uses this package from several
of its own. So they ask a **helper** that has none: a Python process of ours, started once per program by exec
(which is safe), that does nothing but fork monitors. After the first container it also saves the start of an
interpreter for each of the others.

The command line has one thread and may fork by itself. It does so first thing, **ahead** of knowing what to
start: while it reads the command line and makes the bundle, its child loads the code of the low half.
"""

from __future__ import annotations

import _thread
import contextlib
import gc
import json
import os
import signal
import socket
import sys

from minicontainer.errors import Error
from minicontainer.files import Lock
from minicontainer.kernel import packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from minicontainer.engine.record import Record

_one_at_a_time = _thread.allocate_lock()
_helper: tuple[socket.socket, int] | None = None  # our end of its socket, and its pid
_owner = 0


class Handover:
    """What a caller hands to a new monitor.

    :param lock: the container's lock, shared by both until the container runs: whichever is killed, nobody
        takes a container that is being started for a leftover
    :param rootfs: the descriptor of its root filesystem, mounted and attached nowhere
    :param report: where the monitor says how the start went
    :param client: one who is attached from the first byte, if there is one
    """

    def __init__(self, lock: Lock, rootfs: int, report: socket.socket, client: socket.socket | None) -> None:
        self.lock = lock
        self.rootfs = rootfs
        self.report = report
        self.client = client

    def descriptors(self) -> list[int]:
        """All of it, as descriptors in this order."""
        client = [self.client.fileno()] if self.client else []
        return [self.lock.fd, self.rootfs, self.report.fileno(), *client]


def _request(container: Record) -> bytes:
    return json.dumps({"root": container.directories.root, "id": container.id}).encode()


# ------------------------------------------------------------------ for one thread


class Forker:
    """Starts monitors for a program that has one thread, each in a fork; one of them may be forked ahead."""

    def __init__(self) -> None:
        self._waiting: socket.socket | None = None

    def fork_ahead(self) -> None:
        """Fork the next monitor now; it makes ready and waits. It ends when this process does."""
        self._waiting = self._fork()

    def __call__(self, container: Record, handover: Handover) -> None:
        """Have the monitor of this container started."""
        self.send(_request(container), handover.descriptors())

    def send(self, request: bytes, descriptors: Sequence[int]) -> None:
        """The same for a request that was made elsewhere."""
        waiting, self._waiting = self._waiting or self._fork(), None
        with waiting:
            socket.send_fds(waiting, [request], descriptors)

    @staticmethod
    def _fork() -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            _wait_for_work(theirs)
        theirs.close()
        return ours


def _wait_for_work(requests: socket.socket) -> NoReturn:
    """Be a monitor from now on, and learn of which container."""
    try:
        from minicontainer.engine import monitor

        failed = None
        try:
            monitor.prepare([requests.fileno()])
        except OSError as error:
            failed = error  # whoever asks will hear of it
        data, descriptors = packets.receive(requests, 1 << 16, 4)
        if data:
            requests.close()
            lock, rootfs, report, *client = descriptors
            attached = socket.socket(fileno=client[0]) if client else None
            container = _record(data)
            monitor.run(
                container,
                Handover(Lock(container.lock_path, lock), rootfs, socket.socket(fileno=report), attached),
                failed,
            )
    finally:
        os._exit(0)


def _record(request: bytes) -> Record:
    from minicontainer.engine.directories import Directories
    from minicontainer.engine.record import Record

    content = json.loads(request)
    return Record(Directories(content["root"]), content["id"])


# ------------------------------------------------------------------ for any thread


def spawn(container: Record, handover: Handover) -> None:
    """Have the helper fork a monitor for this container; the helper is started when there is none yet."""
    with _one_at_a_time:
        for attempt in range(2):
            helper = _connected(anew=attempt > 0)
            try:
                socket.send_fds(helper, [_request(container)], handover.descriptors())
                if helper.recv(1):
                    return
            except OSError:
                pass  # it was killed; another one does as well
    raise Error("the helper process that starts containers cannot be reached")


def _connected(anew: bool) -> socket.socket:
    """Our end of the helper's socket. A child of a fork gets a helper of its own."""
    global _helper, _owner
    if _helper and _owner == os.getpid() and not anew:
        return _helper[0]
    if _helper and _owner == os.getpid():
        _helper[0].close()  # which ends it, if it lives
        with contextlib.suppress(ChildProcessError):  # of a program that has the kernel reap its children
            os.waitpid(_helper[1], 0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = (
        f"import sys; sys.path.insert(0, {package!r}); import minicontainer.engine.launcher as l; l.serve()"
    )
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-c", code],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
        setsigmask=(),
        setsigdef=[signal.SIGINT, signal.SIGCHLD],
        setsid=True,
    )
    theirs.close()
    _helper, _owner = (ours, pid), os.getpid()
    return ours


def serve() -> None:
    """Be the helper: have a monitor started for each request, until the program that asks is gone."""
    while (null := os.open("/dev/null", os.O_RDWR)) < 3:
        pass  # the program may have closed its standard streams, and what is opened then gets their numbers
    requests = socket.socket(fileno=os.dup(0))
    os.dup2(null, 0)  # or a monitor would keep the socket open when we are gone
    os.close(null)
    import minicontainer.engine.directories
    import minicontainer.engine.monitor  # noqa: F401  once, for all

    gc.disable()  # a monitor switches it on when its container has started
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the monitors
    forker = Forker()
    while True:
        forker.fork_ahead()
        data, descriptors = packets.receive(requests, 1 << 16, 4)
        if not data:
            return
        forker.send(data, descriptors)
        requests.send(b"\1")  # or the caller would take a helper that was killed for one that is at work
        for fd in descriptors:
            os.close(fd)
