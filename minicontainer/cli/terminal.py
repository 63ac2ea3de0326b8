"""Being at a terminal: raw mode, its size, and passing signals on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

from minicontainer.engine import stream
from minicontainer.engine.session import DETACH_KEYS, Session, parse_keys
from minicontainer.errors import Error
from minicontainer.kernel import terminal as kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from minicontainer.engine.container import Container

_NOT_PASSED_ON = {
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGURG,
    signal.SIGWINCH,
    signal.SIGKILL,
    signal.SIGSTOP,
}
_NOT_PASSED_ON |= {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT}
_NOT_PASSED_ON |= {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}  # these are our own faults


def size() -> tuple[int, int]:
    """Rows and columns of the terminal we are at, (0, 0) when there is none."""
    for fd in (0, 1):
        with contextlib.suppress(OSError):
            return kernel.get_size(fd)
    return 0, 0


class Raw:
    """While in this context, what is typed goes through untouched: ^C is a byte for the container.

    A signal that ends us puts the terminal back first; so does everything else.
    """

    def __enter__(self) -> Raw:
        self._saved: list[Any] | None = None
        if os.isatty(0):
            import termios
            import tty

            self._saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)  # keeps what was typed ahead
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) == signal.SIG_DFL:
                    signal.signal(number, _end)
        return self

    def __exit__(self, *_: object) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)


def detach_keys(given: str | None) -> bytes:
    """The bytes of ``--detach-keys``, or the usual ones; InvalidArgument names a key that is none."""
    return parse_keys(given or DETACH_KEYS)


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def write(kind: int, data: bytes) -> None:
    """Put output of a container where ours goes."""
    fd = 2 if kind == stream.STDERR else 1
    while data:
        data = data[os.write(fd, data) :]


def warn(warnings: Iterable[str]) -> None:
    """Say what was asked for and this kernel cannot do."""
    for warning in warnings:
        print(f"WARNING: {warning}", file=sys.stderr)


def stay(
    container: Container,
    begin: Callable[[socket.socket], Iterable[str]] | None,
    *,
    tty: bool,
    wants_input: bool,
    streams: Iterable[str] = ("stdin", "stdout", "stderr"),
    keys: bytes,
    proxy: bool = True,
    once: bool = False,
) -> int:
    """Be attached to a container until it ends, and return its exit code; 0 after the detach keys.

    ``begin`` starts it, once this end is ready to hear, and returns warnings; without it, it is running
    already. ``keys`` are the detach keys; they count where there is a terminal on both sides.
    """
    wanted = {stream.STDOUT: "stdout" in streams, stream.STDERR: "stderr" in streams}

    def output(kind: int, data: bytes) -> None:
        if wanted[kind]:
            write(kind, data)

    if begin:
        client, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    else:
        client = stream.connect(container.run_path)
    session = Session.attach(client, output, wants_input=wants_input, once=once)
    with _SignalsPassedOn(container) if proxy else contextlib.nullcontext():
        if begin:
            warn(begin(theirs))
            theirs.close()
        elif tty:
            _redraw(session)
    return converse(session, tty=tty, wants_input=wants_input, keys=keys)


def converse(session: Session, *, tty: bool, wants_input: bool, keys: bytes) -> int:
    """Sit at a session until it ends, and return its exit code; 0 after the detach keys."""
    typed = wants_input and os.isatty(0)
    if tty:
        _follow_size(session)
        with Raw() if typed else contextlib.nullcontext():
            code = session.run(0 if wants_input else -1, keys if typed else b"")
    else:
        code = session.run(0 if wants_input else -1)
    if code is None:
        print("read escape sequence", file=sys.stderr)
    return code or 0


class _SignalsPassedOn:
    """From the end of this context on, signals that come here go to the container's first process.

    They wait while it is entered: a ^C during the start belongs to what is being started. Each goes by a
    connection of its own, for on the session's it would queue behind input that the container does not read.
    """

    def __init__(self, container: Container) -> None:
        self.container = container
        self.numbers = [
            number
            for number in signal.valid_signals() - _NOT_PASSED_ON
            if number < signal.SIGRTMIN and signal.getsignal(number) != signal.SIG_IGN
        ]

    def __enter__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, self.numbers)

    def __exit__(self, *_: object) -> None:
        for number in self.numbers:
            signal.signal(number, self._pass_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.numbers)

    def _pass_on(self, number: int, _: object) -> None:
        with contextlib.suppress(Error, OSError), stream.connect(self.container.run_path) as client:
            client.send(stream.message(stream.SIGNAL, number))  # unless it has ended meanwhile


def _follow_size(session: Session) -> None:
    def resize(*_: object) -> None:
        rows, columns = size()
        if rows and columns:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                session.resize(rows, columns)

    signal.signal(signal.SIGWINCH, resize)
    resize()


def _redraw(session: Session) -> None:
    """Make a program draw its screen for someone who was not there: it does so when the window changes."""
    rows, columns = size()
    if rows and columns:
        session.resize(rows + 1, columns + 1)
