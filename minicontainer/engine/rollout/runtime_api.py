"""Talking to HAProxy while it runs: its runtime API.

HAProxy listens on a socket file for commands, a line each: who gets how much, who gets nothing any more, and what
has happened so far. They take effect at the next request, without a restart, and no connection notices.

The socket is also how we know whether HAProxy runs: nobody but the process itself can answer there. A file with its
process id says less, for the process may be gone, and the kernel may have given its number to another.

Source: HAProxy management guide, section 9.3, "Unix Socket commands", and 9.1, "CSV format".
"""

from __future__ import annotations

import csv
import os
import socket

from minicontainer.errors import Conflict, Error

SOCKET = "admin.sock"
_PATIENCE = 10  # seconds; it answers in one thousandth of a second
_ANSWERS = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")  # by their status
# What `set server addr` says when it has done so. All other commands that change something say nothing.
_DONE = ("no need to change the addr", "IP changed from", "port changed from")


class NotRunning(Conflict):
    """HAProxy does not run: it was killed, or the host was started anew."""


class Server:
    """A server as HAProxy sees it: one line of ``show stat``.

    :ivar status: ``UP``, ``DOWN``, ``DRAIN`` (it gets nothing new), ``MAINT`` (it is not in use)
    :ivar sessions: requests that are under way
    :ivar requests: requests given to it since the counters were cleared
    :ivar answers: those of them whose answer has at least begun
    :ivar waiting: those of them that are under way without an answer
    :ivar errors: those of them that failed (see :func:`_errors`)
    :ivar latency: milliseconds until it answered, the average of the last 1024
    """

    def __init__(self, row: dict[str, str]) -> None:
        self.name = row["svname"]
        self.address = row["addr"]
        self.status = row["status"].partition(" ")[0]  # "UP 1/2": one failed check of two that make it DOWN
        self.weight = int(row["weight"] or 0)
        self.sessions = int(row["scur"] or 0) + int(row["qcur"] or 0)
        self.requests = int(row["stot"] or 0)
        self.answers = sum(int(row[column] or 0) for column in _ANSWERS)
        self.waiting = min(self.sessions, max(0, self.requests - self.answers))
        self.errors = _errors(row)
        self.latency = int(row["rtime"] or 0)
        self.check = row["check_status"].removeprefix("* ")  # a star: one is under way
        self.check_text = row["last_chk"]


def _errors(row: dict[str, str]) -> int:
    """The requests that a server failed: answers of its own that say so, and those that never came.

    ``wredis`` counts requests that were given to another server because this one took no connection. The client
    got its answer, but this server did not give it.
    """
    return sum(int(row[column] or 0) for column in ("hrsp_5xx", "eresp", "econ", "wredis"))


def ask(directory: str, *commands: str) -> str:
    """Send commands to the HAProxy whose socket is in ``directory``; returns its answer to all of them.

    :raises NotRunning: when none runs there
    :raises Error: when it does not answer
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_PATIENCE)
        try:
            _connect(client, directory)
            client.sendall(";".join(commands).encode() + b"\n")
            answer = b""
            while chunk := client.recv(1 << 16):
                answer += chunk
        except (FileNotFoundError, ConnectionError):
            raise NotRunning("the load balancer does not run; see minicontainer rollout start") from None
        except TimeoutError:
            raise Error(f"the load balancer has not answered for {_PATIENCE} seconds") from None
    if not answer.endswith(b"\n"):  # even to what it has nothing to say about it answers with an empty line
        raise NotRunning("the load balancer was killed while it answered")
    return answer.decode(errors="replace")


def _connect(client: socket.socket, directory: str) -> None:
    """By way of a descriptor: a socket address has 108 bytes, however long the path is (unix(7))."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        client.connect(f"/proc/self/fd/{fd}/{SOCKET}")
    finally:
        os.close(fd)


def tell(directory: str, *commands: str) -> None:
    """Send commands that change something, one right after the other; Error when one is refused.

    Raises NotRunning and Error as :func:`ask` does.
    """
    for line in ask(directory, *commands).splitlines():
        if line and not line.startswith(_DONE):
            raise Error(f"the load balancer refused: {line}")


def servers(directory: str, backend: str) -> dict[str, Server]:
    """The servers of a backend, by name. Raises as :func:`ask` does."""
    answer = ask(directory, f"show stat {backend} 4 -1")
    if not answer.endswith("\n\n"):  # the empty line after the last one
        raise NotRunning("the load balancer was killed while it answered")
    rows = [row for row in csv.DictReader(answer.removeprefix("# ").splitlines()) if row["svname"]]
    return {row["svname"]: Server(row) for row in rows}


def pid(directory: str) -> int:
    """The process that answers. Raises as :func:`ask` does."""
    for line in ask(directory, "show info").splitlines():
        name, _, value = line.partition(": ")
        if name == "Pid":
            return int(value)
    raise Error("the load balancer does not say which process it is")
