"""The near end of an attach or an exec: bytes between a caller's descriptors and the container.

The caller may be a person at a terminal, a shell pipeline or a program collecting output. Input is only read
while there is room for it on the other side, so that a container which answers before it has read everything
(``cat`` does) never waits for a caller that waits for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket

from minicontainer.engine import bundle, stream
from minicontainer.errors import Error, InvalidArgument
from minicontainer.kernel import terminal
from minicontainer.runtime.channel import revive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minicontainer.engine.container import Container

    Output = Callable[[int, bytes], None]  # (stream.STDOUT or STDERR, data)

DETACH_KEYS = "ctrl-p,ctrl-q"


class Input:
    """A caller's input on its way in: read from ``source`` while ``write`` takes it.

    :param sink: the descriptor to watch for room
    :param write: writes without blocking and returns how many bytes went; BlockingIOError when there is no room
    :param end: called once at the end of input
    :param keys: the key sequence that ends the session; b"" for none
    """

    def __init__(
        self,
        source: int,
        sink: int,
        write: Callable[[bytes], int],
        end: Callable[[], None],
        keys: bytes = b"",
    ) -> None:
        self.source = source
        self.sink = sink
        self.write = write
        self.end = end
        self.keys = keys
        self.pending = b""
        self.matched = b""
        self.at_end = False  #: the source has no more
        self.ended = False  #: and all of it has been passed on
        self.detached = False

    def move(self, ready: dict[int, int]) -> None:
        """Read from the source or write to the sink, whichever is ready."""
        if self.pending and self.sink in ready:
            self._flush()
        elif not self.pending and self.source in ready:
            self._fill()

    def _fill(self) -> None:
        try:
            data = os.read(self.source, stream.CHUNK)
        except OSError:  # EIO: the terminal was hung up
            data = b""
        if not data:
            self.at_end = True
        else:
            self.pending = self._without_keys(data)
        self._flush()

    def _flush(self) -> None:
        try:
            while self.pending:
                self.pending = self.pending[self.write(self.pending) :]
        except BlockingIOError:
            return
        except OSError:  # EPIPE: nobody reads it any more
            self.pending, self.at_end = b"", True
        if self.at_end:
            self.ended = True
            self.end()

    def _without_keys(self, data: bytes) -> bytes:
        """Watch for the detach keys; a beginning of them is held back until it is clear what follows."""
        passed = b""
        for byte in data if self.keys else ():
            self.matched += bytes([byte])
            if self.matched == self.keys:
                self.detached = True
                return passed
            if not self.keys.startswith(self.matched):
                passed, self.matched = passed + self.matched, b""
        return passed if self.keys else data


def parse_keys(text: str) -> bytes:
    """The bytes of ``--detach-keys``: letters and ``ctrl-<key>``, separated by commas."""
    keys = b""
    for name in text.split(","):
        key = name.removeprefix("ctrl-")
        if name.startswith("ctrl-") and len(key) == 1 and "@" <= key.upper() <= "_":
            keys += bytes([ord(key.upper()) - 64])
        elif len(name) == 1 and name.isascii():
            keys += name.encode()
        else:
            raise InvalidArgument(f"invalid detach keys ({text}) provided: unknown character {name!r}")
    return keys


class Session:
    """A running conversation with one process in a container, the first one or one more (exec)."""

    def __init__(self, client: socket.socket, output: Output) -> None:
        self.client = client
        self.output = output
        self.master = -1  #: our end of an exec's terminal
        self._outputs: dict[int, int] = {}  # descriptor -> STDOUT or STDERR
        self._input_fd = -1

    # ------------------------------------------------------------ beginning one

    @classmethod
    def attach(
        cls,
        client: socket.socket,
        output: Output,
        *,
        wants_input: bool,
        once: bool = False,
        hold: bool = False,
    ) -> Session:
        """Attach over a connection to the monitor; its answer is awaited in :meth:`run`.

        With ``once`` the container's input ends with the connection, and with ``hold`` the container itself.
        """
        stream.request(client, do="attach", stdin=wants_input, once=once, hold=hold)
        return cls(client, output)

    @classmethod
    def start(cls, container: Container, output: Output, *, wants_input: bool, hold: bool = False) -> Session:
        """Start a container, attached to it from its first byte; raises what kept it from starting.

        Its input ends with the connection, and with ``hold`` the container itself.
        """
        client, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        session = cls.attach(client, output, wants_input=wants_input, once=True, hold=hold)
        try:
            container.start(theirs)
        except BaseException:
            session.close()
            raise
        finally:
            theirs.close()
        return session

    @classmethod
    def exec(
        cls,
        container: Container,
        output: Output,
        *,
        tty: bool = False,
        wants_input: bool = False,
        detach: bool = False,
        **what: Any,
    ) -> Session:
        """Start one more process in a running container; raises what kept it from starting.

        ``what`` is as for :func:`minicontainer.engine.bundle.exec_process`; with ``detach`` its output is dropped.
        """
        process = bundle.exec_process(container, tty=tty, **what)
        client = stream.connect(container.run_path)
        session = cls(client, output)
        theirs = [] if tty or detach else session._make_pipes(wants_input)
        try:
            try:
                stream.request(client, theirs, do="exec", process=process, detach=detach)
            finally:
                for fd in theirs:
                    os.close(fd)
            _, descriptors = stream.reply(client)
        except BaseException:
            session.close()
            raise
        if descriptors:
            session.master = descriptors[0]
            session._outputs = {session.master: stream.STDOUT}
            session._input_fd = os.dup(session.master)
        return session

    def _make_pipes(self, wants_input: bool) -> list[int]:
        if wants_input:
            theirs, self._input_fd = os.pipe()
        else:
            theirs = os.open("/dev/null", os.O_RDONLY)
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        self._outputs = {out_read: stream.STDOUT, err_read: stream.STDERR}
        return [theirs, out_write, err_write]

    # ------------------------------------------------------------ talking

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal inside how large the one outside is."""
        if self.master >= 0:
            terminal.set_size(self.master, rows, columns)
        else:
            self.client.send(stream.message(stream.RESIZE, [rows, columns]))

    def signal(self, number: int) -> None:
        """Pass a signal on to the container's first process."""
        self.client.send(stream.message(stream.SIGNAL, number))

    def run(self, source: int = -1, keys: bytes = b"") -> int | None:
        """Carry bytes until the process ends, and return its exit code; None when the keys were typed.

        ``source`` is the descriptor that input is read from, -1 for no input.
        """
        flow = self._open_input(source, keys) if source >= 0 else None
        code = None
        try:
            while code is None:
                ready = self._wait(flow)
                if flow and not flow.ended:
                    flow.move(ready)
                    if flow.detached:
                        return None
                for fd in [fd for fd in self._outputs if fd in ready]:
                    self._pass_output(fd)
                if ready.get(self.client.fileno(), 0) & ~select.POLLOUT:
                    code = self._receive()
            self._drain()
            return code
        finally:
            self.close()

    def _open_input(self, source: int, keys: bytes) -> Input:
        if self._input_fd < 0:
            return Input(source, self.client.fileno(), self._send_input, self._end_messages, keys)
        os.set_blocking(self._input_fd, False)
        return Input(
            source, self._input_fd, lambda data: os.write(self._input_fd, data), self._end_pipe, keys
        )

    def _send_input(self, data: bytes) -> int:
        chunk = data[: stream.CHUNK]
        self.client.send(stream.message(stream.STDIN, chunk), socket.MSG_DONTWAIT)
        return len(chunk)

    def _end_messages(self) -> None:
        with contextlib.suppress(OSError):  # it may have ended meanwhile; that is read next
            self.client.send(stream.message(stream.STDIN_EOF))

    def _end_pipe(self) -> None:
        if self.master < 0:
            os.close(self._input_fd)
            self._input_fd = -1

    def _wait(self, flow: Input | None) -> dict[int, int]:
        """Wait until something can be moved; poll(2) takes plain files too, which epoll refuses."""
        wanted = dict.fromkeys([*self._outputs, self.client.fileno()], select.POLLIN)
        if flow and not flow.ended:
            fd, event = (flow.sink, select.POLLOUT) if flow.pending else (flow.source, select.POLLIN)
            wanted[fd] = wanted.get(fd, 0) | event
        poll = select.poll()
        for fd, events in wanted.items():
            poll.register(fd, events)
        return dict(poll.poll())

    def _receive(self) -> int | None:
        data, _ = stream.receive(self.client)
        if not data:
            raise Error("the container's monitor is gone")
        if data[0] == stream.EXIT:
            return int(stream.parse(data)["code"])
        if data[0] == stream.REPLY and "error" in stream.parse(data):
            raise revive(stream.parse(data))
        if data[0] in (stream.STDOUT, stream.STDERR):
            self.output(data[0], data[1:])
        return None

    def _pass_output(self, fd: int) -> bool:
        try:
            data = os.read(fd, stream.CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the terminal's last user has closed it
            data = b""
        if data:
            self.output(self._outputs[fd], data)
        else:
            del self._outputs[fd]
            if fd != self.master:
                os.close(fd)
        return bool(data)

    def _drain(self) -> None:
        """Pass on what it wrote before it ended; whoever still holds its output is not waited for."""
        for fd in list(self._outputs):
            os.set_blocking(fd, False)
            while self._pass_output(fd):
                pass

    def close(self) -> None:
        """Let go of everything."""
        self.client.close()
        for fd in {*self._outputs, self.master, self._input_fd}:
            if fd >= 0:
                os.close(fd)
        self._outputs, self.master, self._input_fd = {}, -1, -1
