"""Moving bytes between a container and whoever is attached to it.

The monitor owns the container's ends of the pipes (or of the terminal); people come and go. Everything is
done by one loop over ready descriptors. When an attached reader is slower than the container writes, the
container has to wait, as it would on any pipe: nothing is dropped, and nothing piles up in memory.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys

from minicontainer.engine import stream
from minicontainer.kernel import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minicontainer.engine.logs import Writer

_MOST_WAITING = 1 << 20  # bytes that may wait for a slow reader before the container waits too


class Client:
    """One who is connected: first a request, then perhaps a stream of bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.waiting: list[bytes] = []
        self.waiting_bytes = 0
        self.wants_output = False
        self.gives_input = False
        self.closes_input = False  #: when it goes, the container's input ends
        self.holds = False  #: when it goes, the container is killed
        self.waits_for = 0  #: the pid of the process whose end it wants to hear of


class Relay:
    """The loop, and what it moves bytes between.

    :param listener: where clients connect
    :param outputs: descriptors that the container's output is read from, and the stream each one is
    :param stdin: the descriptor that its input is written to, -1 for none
    :param is_terminal: whether that is a terminal's master
    :param on_request: called with a client, its request and the descriptors it sent
    :param on_signal: called with the number of a signal that a client wants sent
    """

    def __init__(
        self,
        listener: socket.socket,
        outputs: dict[int, str],
        stdin: int,
        is_terminal: bool,
        log: Writer,
        on_request: Callable[[Client, dict[str, Any], list[int]], None],
        on_signal: Callable[[int], None],
    ) -> None:
        self.selector = selectors.DefaultSelector()
        self.outputs = outputs
        self.stdin = stdin
        self.is_terminal = is_terminal
        self.master = -1  # of the terminal
        self.log = log
        self.on_request = on_request
        self.on_signal = on_signal
        self.clients: list[Client] = []
        self.typed = b""  # input that the container has not taken yet
        self.input_ended = False
        self.held_back = False
        self.last_words = False  # the container has ended, and what is left in its pipes is little
        self.listener = listener
        self.selector.register(listener, selectors.EVENT_READ, self._accept)
        for fd in outputs:
            os.set_blocking(fd, False)
            self.selector.register(fd, selectors.EVENT_READ, self._read_output)
        if stdin >= 0:
            os.set_blocking(stdin, False)

    def add_terminal(self, master: int, keep_stdin: bool) -> None:
        """Take the container's terminal: it is read from, and written to if the container has an input."""
        os.set_blocking(master, False)
        self.master = master
        self.outputs[master] = "stdout"
        self.selector.register(master, selectors.EVENT_READ, self._read_output)
        if keep_stdin:
            self.stdin = os.dup(master)

    def discard(self, master: int) -> None:
        """Keep a terminal that nobody looks at: what is written to it is read and forgotten."""
        os.set_blocking(master, False)
        self.watch(master, self._forget)

    def _forget(self, master: int, _: int) -> None:
        try:
            data = os.read(master, stream.CHUNK)
        except OSError:  # EIO: its last user has closed it
            data = b""
        if not data:
            self.selector.unregister(master)
            os.close(master)

    def watch(self, fd: int, callback: Callable[[Any, int], None]) -> None:
        """Call back when ``fd`` can be read."""
        self.selector.register(fd, selectors.EVENT_READ, callback)

    def step(self, timeout: float | None = None) -> bool:
        """Wait for something to do and do it; False when ``timeout`` seconds passed without anything."""
        events = self.selector.select(timeout)
        for key, mask in events:
            if key.fd in self.selector.get_map():  # an earlier event of this round may have closed it
                key.data(key.fileobj, mask)
        return bool(events)

    # ------------------------------------------------------------ the container's side

    def _read_output(self, fd: int, _: int) -> None:
        try:
            data = os.read(fd, stream.CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal's last user has closed it
            data = b""
        name = self.outputs[fd]
        if not data:
            self.log.finish(name)
            self._drop_output(fd)
            return
        self.log.write(name, data)
        kind = stream.STDOUT if name == "stdout" else stream.STDERR
        for client in list(self.clients):
            if client.wants_output:
                self.send(client, stream.message(kind, data))

    def _drop_output(self, fd: int) -> None:
        if not self.held_back:
            self.selector.unregister(fd)
        del self.outputs[fd]
        os.close(fd)

    def drain(self, timeout: float) -> None:
        """Read what the container wrote before it ended, until end of file or until nothing comes."""
        self.last_words = True
        self._hold_back(False)
        while self.outputs and self.step(timeout):
            pass
        for name in ("stdout", "stderr"):
            self.log.finish(name)

    def _write_input(self, *_: object) -> None:
        """Give the container what was typed, as far as it takes it."""
        try:
            while self.typed:
                self.typed = self.typed[os.write(self.stdin, self.typed) :]
        except BlockingIOError:
            pass
        except OSError:  # EPIPE, EIO: it does not read any more
            self.typed = b""
        self._set_interest(self.stdin, selectors.EVENT_WRITE if self.typed else 0, self._write_input)
        if not self.typed and self.input_ended:
            os.close(self.stdin)
            self.stdin = -1
        for client in self.clients:
            if client.gives_input:
                self._watch_client(client)

    def _end_input(self) -> None:
        """Let the container read end of file after what was typed; a terminal has no end, and takes more."""
        if not self.is_terminal:
            self.input_ended = True
            if self.stdin >= 0:
                self._write_input()

    def _set_interest(
        self, fd: int | socket.socket, events: int, callback: Callable[[Any, int], None]
    ) -> None:
        registered = fd in self.selector.get_map()
        if events and registered:
            self.selector.modify(fd, events, callback)
        elif events:
            self.selector.register(fd, events, callback)
        elif registered:
            self.selector.unregister(fd)

    # ------------------------------------------------------------ the clients' side

    def _accept(self, listener: socket.socket, _: int) -> None:
        with contextlib.suppress(OSError):
            self.add(listener.accept()[0])

    def add(self, connection: socket.socket) -> Client:
        """Take a connection; its request comes next."""
        client = Client(connection)
        connection.setblocking(False)
        self.clients.append(client)
        self._watch_client(client)
        return client

    def _watch_client(self, client: Client) -> None:
        """Listen to a client unless too much of its input waits; look for room if something waits for it."""
        full = client.gives_input and len(self.typed) > _MOST_WAITING
        events = (0 if full else selectors.EVENT_READ) | (selectors.EVENT_WRITE if client.waiting else 0)
        self._set_interest(client.socket, events, lambda _, mask: self._ready(client, mask))

    def _ready(self, client: Client, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush(client)
        if mask & selectors.EVENT_READ and client in self.clients:
            self.receive(client)

    def receive(self, client: Client) -> None:
        """Take one message of a client."""
        try:
            data, descriptors = stream.receive(client.socket)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        try:
            self._take(client, data, descriptors)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            print(f"a client said what cannot be understood: {data[:100]!r}: {error!r}", file=sys.stderr)
            self.drop(client)

    def _take(self, client: Client, data: bytes, descriptors: list[int]) -> None:
        if not data:
            self.drop(client)
        elif data[0] == stream.REQUEST:
            self.on_request(client, stream.parse(data), descriptors)
        elif data[0] == stream.SIGNAL:
            self.on_signal(stream.parse(data))
        elif data[0] == stream.RESIZE and self.master in self.outputs:
            terminal.set_size(self.master, *stream.parse(data))
        elif client.gives_input and self.stdin >= 0 and not self.input_ended:
            if data[0] == stream.STDIN:
                self.typed += data[1:]
                self._write_input()
            elif data[0] == stream.STDIN_EOF:
                self._end_input()

    def send(self, client: Client, data: bytes) -> None:
        """Send a message, now or when there is room for it."""
        client.waiting.append(data)
        client.waiting_bytes += len(data)
        self._flush(client)

    def _flush(self, client: Client) -> None:
        try:
            while client.waiting:
                client.socket.send(client.waiting[0])
                client.waiting_bytes -= len(client.waiting.pop(0))
        except BlockingIOError:
            pass
        except OSError:
            self.drop(client)
            return
        self._watch_client(client)
        self._hold_back(any(each.waiting_bytes > _MOST_WAITING for each in self.clients))

    def _hold_back(self, hold: bool) -> None:
        """Stop reading the container's output, or go on with it."""
        hold = hold and not self.last_words
        if hold == self.held_back:
            return
        self.held_back = hold
        for fd in self.outputs:
            if hold:
                self.selector.unregister(fd)
            else:
                self.selector.register(fd, selectors.EVENT_READ, self._read_output)

    def drop(self, client: Client) -> None:
        """Let a client go."""
        if client in self.clients:
            self.clients.remove(client)
            self._set_interest(client.socket, 0, self._accept)
            client.socket.close()
            if client.closes_input:
                self._end_input()
            if client.holds:
                self.on_signal(signal.SIGKILL)
            self._hold_back(any(each.waiting_bytes > _MOST_WAITING for each in self.clients))

    def flush_all(self) -> None:
        """Bring what still waits to everyone who is still there, however slowly they read."""
        while any(client.waiting for client in self.clients):
            self.step()
