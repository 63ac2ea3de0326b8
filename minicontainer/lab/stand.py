"""A load balancer on a stand: a real HAProxy, two servers behind it that do as they are told, visitors before it.

The exercises of chapter 11 are tried on it. What a solution tells the load balancer goes over a line of the
stand's own, which is slow: after each change it rests, and the visitors use the service as it is by then. So two
changes in the wrong order are seen, which are a thousandth of a second apart otherwise.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import socketserver
import subprocess
import tempfile
import threading
import time

from minicontainer.engine.rollout import haproxy
from minicontainer.files import remove_tree
from minicontainer.lab.children import environment
from minicontainer.lab.traffic import Visitors, free_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

BLUE, GREEN = "blue", "green"
_REST = 0.15  # seconds after each change
_STARTS_WITHIN = 10.0  # seconds
_CONFIGURATION = """\
global
    stats socket unix@real.sock mode 600 level admin
defaults
    mode http
    option http-server-close
    retries 0
    timeout connect 2s
    timeout client 30s
    timeout server 30s
frontend visitors
    bind 127.0.0.1:{port}
    default_backend shop
backend shop
    balance roundrobin
    server blue 127.0.0.1:{blue} weight {blue_weight}
    server green 127.0.0.1:{green} weight {green_weight}
"""


class Server(socketserver.ThreadingTCPServer):
    """A version of a service: it answers with its name.

    :ivar takes: seconds that it takes to answer, one request after the other, and again from the first
    :ivar fails: whether it answers with an error
    :ivar answered: when each of its answers was given
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.name = name
        self.port: int = self.server_address[1]
        self.takes = [0.0]
        self._asked = itertools.count()
        self.fails = False
        self.answered: list[float] = []
        self.stopped = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def next_takes(self) -> float:
        """How long it takes to answer the next request."""
        return self.takes[next(self._asked) % len(self.takes)]

    def stop(self) -> None:
        """Stop as a process does that is killed: what is under way gets no answer. May be done twice."""
        if self.stopped.is_set():
            return
        self.stopped.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class _Request(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        server = self.server
        if server.stopped.wait(server.next_takes()) or server.stopped.is_set():
            return
        status, body = b"500 Broken" if server.fails else b"200 OK", server.name.encode()
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body))
        self.wfile.write(head + body)
        server.answered.append(time.monotonic())


class _Line(socketserver.ThreadingUnixStreamServer):
    """The slow line: passes commands on one by one, and keeps when the weights became what."""

    daemon_threads = True
    stand: Stand

    def handle_error(self, *_: object) -> None:
        """A solution that hangs up is no news."""


class _Commands(socketserver.StreamRequestHandler):
    server: _Line

    def handle(self) -> None:
        commands = self.rfile.readline().decode(errors="replace").strip().split(";")
        for command in filter(None, map(str.strip, commands)):
            answer = self.server.stand.ask(command)
            if not command.startswith("show"):
                self.server.stand.changed()
                time.sleep(_REST)
            self.wfile.write(answer.encode())


class Stand:
    """HAProxy with its backend ``shop``, and in it ``blue`` and ``green``; for a ``with``.

    :param weights: of blue and of green
    :param fails_from: green answers with errors as soon as its share is so many percent
    :ivar admin: the path of the line
    :ivar shares: green's share in percent, and since when: one for each change
    """

    def __init__(self, weights: tuple[int, int], fails_from: float = 101) -> None:
        self.weights = weights
        self.fails_from = fails_from
        self.shares: list[tuple[float, float]] = []
        self.directory = tempfile.mkdtemp(prefix="lab-")  # short: a socket's path has 108 bytes (unix(7))
        self.admin = os.path.join(self.directory, "admin.sock")
        self.port = free_port()
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Stand:
        try:
            self._open()
        except BaseException:
            self._closing.close()
            raise
        return self

    def _open(self) -> None:
        self._closing.callback(remove_tree, self.directory)
        self.blue, self.green = Server(BLUE), Server(GREEN)
        for server in (self.blue, self.green):
            self._closing.callback(server.stop)
        text = _CONFIGURATION.format(
            port=self.port,
            blue=self.blue.port,
            green=self.green.port,
            blue_weight=self.weights[0],
            green_weight=self.weights[1],
        )
        with open(os.path.join(self.directory, "haproxy.cfg"), "w") as file:
            file.write(text)
        self._start()
        line = _Line(self.admin, _Commands)
        line.stand = self
        threading.Thread(target=line.serve_forever, args=(0.02,), daemon=True).start()
        self._closing.callback(line.server_close)
        self._closing.callback(line.shutdown)

    def _start(self) -> None:
        process = subprocess.Popen(
            [haproxy.find(), "-db", "-q", "-f", "haproxy.cfg"],
            cwd=self.directory,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._closing.callback(process.wait)
        self._closing.callback(process.kill)
        self._await_start()

    def _await_start(self) -> None:
        deadline = time.monotonic() + _STARTS_WITHIN
        while True:
            try:
                self.ask("show info")
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def visitors(self, count: int = 4) -> Visitors:
        """Clients of the service, for a ``with``."""
        return Visitors(self.port, count, pause=0.005)

    def ask(self, command: str) -> str:
        """What HAProxy itself says to a command."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_STARTS_WITHIN)
            line.connect(os.path.join(self.directory, "real.sock"))
            line.sendall(f"{command}\n".encode())
            with line.makefile() as answer:
                return answer.read()

    def changed(self) -> None:
        """Note green's share as it is now, when it has changed."""
        share = self.share()
        if not self.shares or self.shares[-1][0] != share:
            self.shares.append((share, time.monotonic()))
        if share >= self.fails_from:
            self.green.fails = True

    def share(self) -> float:
        """Green's share in percent, by the weights; 0 when nobody has any."""
        lines = [line.split(",") for line in self.ask("show stat shop 4 -1").splitlines()]
        titles = lines[0]
        at = titles.index("weight")
        weights = {line[1]: int(line[at] or 0) for line in lines[1:] if len(line) == len(titles)}
        return 100 * weights[GREEN] / (sum(weights.values()) or 1)

    def seen_share(self, since: float, until: float) -> float:
        """Green's share of what was answered in a time, in percent."""
        blue, green = (
            sum(since <= moment < until for moment in server.answered) for server in (self.blue, self.green)
        )
        return 100 * green / ((blue + green) or 1)
