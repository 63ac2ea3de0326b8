"""The proxy: for visitors whom NAT cannot lead to a published port.

NAT changes where a packet goes. But one that is sent to ::1 may not leave by another device, whatever its
destination is now; and one of IPv6 cannot be led to a container that has IPv4 alone. Such visitors arrive at the
listening socket on the host itself, where a process of our own, a child of the container's monitor, takes them on
and passes on what they say, both ways: for TCP with a connection of its own for each, for UDP with a socket of its
own for each, which is forgotten when nothing has been said for a while.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import sys
import time

from minicontainer.engine.network import ends
from minicontainer.kernel import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from minicontainer.engine.network.ports import Held
    from minicontainer.engine.record import Record

_CHUNK = 1 << 16  # bytes
_SILENCE = 90.0  # seconds after which a visitor by UDP is forgotten
_PATIENCE = 0.05  # seconds to wait when no more files can be open


def start(record: Record, held: Sequence[Held]) -> int:
    """Fork the process that serves these ports; returns its pid. It dies with the caller."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            process.close_all_but([each.socket.fileno() for each in held])
            signal.set_wakeup_fd(-1)
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a visitor takes two
            process.set_title(f"minicontainer-proxy {record.id}")
            _serve(record, held)
    except BaseException:  # it goes to the monitor's log
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def _serve(record: Record, held: Sequence[Held]) -> NoReturn:
    loop = _Loop()
    for each in held:
        each.socket.setblocking(False)
        port: int = each.document["ContainerPort"]
        if each.kind == "tcp":
            loop.watch(each.socket, lambda sock=each.socket, port=port: _accept(loop, sock, record, port))  # type: ignore[misc]
        else:
            _Datagrams(loop, each.socket, record, port)
    loop.run()


def _address(record: Record, v6: bool) -> str:
    """Where the container is now: it may have left the network that it was on at first."""
    way_out = next((end for end in ends.of(record) if end.is_way_out), None)
    if way_out is None:
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
    return way_out.ipv6 if way_out.ipv6 and (v6 or not way_out.ipv4) else way_out.ipv4


def _socket_to(address: str, kind: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


class _Loop:
    """Calls what is to be called when a socket has something to say, or room for more (poll(2))."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._writers: dict[int, Callable[[], None]] = {}
        self.idle: list[Callable[[], None]] = []  #: called now and then

    def watch(
        self, sock: socket.socket, read: Callable[[], None] | None, write: Callable[[], None] | None = None
    ) -> None:
        """Call these from now on, in place of what was called before."""
        fd = sock.fileno()
        for table, action in ((self._readers, read), (self._writers, write)):
            table.pop(fd, None)
            if action:
                table[fd] = action
        events = (select.POLLIN if read else 0) | (select.POLLOUT if write else 0)
        if events:
            self._poll.register(fd, events)
        else:
            self.forget(sock)

    def forget(self, sock: socket.socket) -> None:
        """Call nothing of this socket's any more."""
        fd = sock.fileno()
        self._readers.pop(fd, None)
        self._writers.pop(fd, None)
        with contextlib.suppress(KeyError):  # it may not be watched
            self._poll.unregister(fd)

    def run(self) -> NoReturn:
        """Serve for ever."""
        while True:
            for fd, events in self._poll.poll(_SILENCE * 1000 / 3):
                if events & ~select.POLLOUT and fd in self._readers:
                    self._readers[fd]()
                if events & ~select.POLLIN and fd in self._writers:
                    self._writers[fd]()
            for action in self.idle:
                action()


# ------------------------------------------------------------------ TCP


def _accept(loop: _Loop, listening: socket.socket, record: Record, port: int) -> None:
    try:
        visitor, _ = listening.accept()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            time.sleep(_PATIENCE)  # the visitor stays in the queue, and poll(2) would be back at once
        return  # or it is gone again
    try:
        address = _address(record, listening.family == socket.AF_INET6)
        inside = _socket_to(address, socket.SOCK_STREAM)
    except OSError:
        visitor.close()
        return
    visitor.setblocking(False)
    inside.connect_ex((address, port))  # how that went is heard of when it can be written to
    _Pipe(loop, visitor, inside)


class _Pipe:
    """Two connections, each of which gets what the other says; what could not be written yet waits here."""

    def __init__(self, loop: _Loop, visitor: socket.socket, inside: socket.socket) -> None:
        self._loop = loop
        self._sides = (visitor, inside)
        self._waiting = [b"", b""]  # for each side
        self._ended = [False, False]  # whether each side has said its last
        self._connected = False
        self._arrange()

    def _arrange(self) -> None:
        """Read from a side when the other one has taken all, and write to it when it has not."""
        for at, sock in enumerate(self._sides):
            wants = self._connected and not self._ended[at] and not self._waiting[1 - at]
            has = self._waiting[at] or (at == 1 and not self._connected)
            read = (lambda at=at: self._read(at)) if wants else None
            write = (lambda at=at: self._write(at)) if has else None
            self._loop.watch(sock, read, write)

    def _read(self, at: int) -> None:
        try:
            data = self._sides[at].recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._close()
            return
        self._ended[at] = not data
        self._waiting[1 - at] = data
        self._write(1 - at)

    def _write(self, at: int) -> None:
        sock = self._sides[at]
        try:
            if at == 1 and not self._connected:
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, os.strerror(error))
                self._connected = True
            if self._waiting[at]:
                self._waiting[at] = self._waiting[at][sock.send(self._waiting[at]) :]
            if self._ended[1 - at] and not self._waiting[at]:
                sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return
        if all(self._ended) and not any(self._waiting):
            self._close()
        else:
            self._arrange()

    def _close(self) -> None:
        for sock in self._sides:
            if sock.fileno() >= 0:
                self._loop.forget(sock)
                sock.close()


# ------------------------------------------------------------------ UDP


class _Datagrams:
    """A socket for each visitor, so that an answer can be told whose it is."""

    def __init__(self, loop: _Loop, outside: socket.socket, record: Record, port: int) -> None:
        self._loop = loop
        self._outside = outside
        self._record = record
        self._port = port
        self._visitors: dict[Any, tuple[socket.socket, float]] = {}
        loop.watch(outside, self._inward)
        loop.idle.append(self._forget_silent)

    def _inward(self) -> None:
        try:
            data, visitor = self._outside.recvfrom(_CHUNK)
        except OSError:
            return
        try:
            inside = self._visitors[visitor][0] if visitor in self._visitors else self._meet(visitor)
            self._visitors[visitor] = (inside, time.monotonic())
            inside.send(data)
        except OSError:
            return  # nobody listens there; a datagram may be lost

    def _meet(self, visitor: Any) -> socket.socket:
        """A socket for somebody new."""
        address = _address(self._record, self._outside.family == socket.AF_INET6)
        inside = _socket_to(address, socket.SOCK_DGRAM)
        inside.connect((address, self._port))
        self._loop.watch(inside, lambda: self._outward(inside, visitor))
        return inside

    def _outward(self, inside: socket.socket, visitor: Any) -> None:
        try:
            self._outside.sendto(inside.recv(_CHUNK), visitor)
        except OSError:
            return
        self._visitors[visitor] = (inside, time.monotonic())

    def _forget_silent(self) -> None:
        now = time.monotonic()
        for visitor, (inside, heard) in list(self._visitors.items()):
            if now - heard > _SILENCE:
                self._loop.forget(inside)
                inside.close()
                del self._visitors[visitor]
