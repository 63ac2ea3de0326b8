"""What is said between a container's monitor and those who talk to it.

A Unix socket in the container's run directory, of the kind that keeps message boundaries (SOCK_SEQPACKET), so
a message needs no length: one byte for its kind, then its content. The first message is a request in JSON.
"""

from __future__ import annotations

import json
import os
import socket

from minicontainer.errors import Conflict
from minicontainer.kernel import packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Kinds of message. The first three carry bytes, the others JSON.
STDIN, STDOUT, STDERR = 0, 1, 2
STDIN_EOF = 3  #: nothing more will be typed
RESIZE = 4  #: [rows, columns] of the terminal
SIGNAL = 5  #: a signal number for the container's first process
REQUEST = 6  #: {"do": "attach" | "exec" | "wait", …}
REPLY = 7  #: {"ok": …}, or {"error": class name, "message": …}
EXIT = 8  #: {"code": exit status}
LONG_REQUEST = 9  #: a request that lies in a file, the first descriptor that comes with this

CHUNK = 32 << 10  # bytes in one message; a socket buffer holds several
SOCKET = "monitor.sock"


def message(kind: int, content: object = None) -> bytes:
    """One message, ready to be sent."""
    if isinstance(content, bytes):
        return bytes([kind]) + content
    return bytes([kind]) + (b"" if content is None else json.dumps(content).encode())


def parse(data: bytes) -> Any:
    """The JSON content of a message."""
    return json.loads(data[1:])


def listen(directory: str) -> socket.socket:
    """Listen in a container's run directory; root alone may connect."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path, fd = _short(directory)
    mask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(mask)
        os.close(fd)
    listener.listen(64)
    return listener


class Gone(Conflict):
    """The monitor has ended without an answer."""


def connect(directory: str) -> socket.socket:
    """Connect to the monitor; Conflict when none is there."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        path, fd = _short(directory)
        try:
            client.connect(path)
        finally:
            os.close(fd)
    except (FileNotFoundError, ConnectionRefusedError):
        client.close()
        raise Conflict("the container is not running") from None
    return client


def _short(directory: str) -> tuple[str, int]:
    """The socket's path by way of a descriptor: a socket address has 108 bytes, whatever --root is (unix(7))."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{fd}/{SOCKET}", fd


def request(client: socket.socket, descriptors: Sequence[int] = (), **content: object) -> None:
    """Send the first message of a conversation; one with a long command line goes as a file, by descriptor."""
    data = message(REQUEST, content)
    if len(data) <= CHUNK:
        socket.send_fds(client, [data], descriptors)
        return
    with open(os.memfd_create("request"), "wb") as file:
        file.write(data)
        file.flush()
        socket.send_fds(client, [message(LONG_REQUEST)], [file.fileno(), *descriptors])


def receive(client: socket.socket) -> tuple[bytes, list[int]]:
    """One message, b"" when the other side is gone, and the descriptors that came with it."""
    data, descriptors = packets.receive(client, 1 << 16, 5)
    if data[:1] == message(LONG_REQUEST):
        with open(descriptors.pop(0), "rb") as file:
            file.seek(0)
            data = file.read()
    return data, descriptors


def reply(client: socket.socket) -> tuple[Any, list[int]]:
    """Wait for the answer to a request, and the descriptors that came with it.

    Raises the error that it carries, Gone when the monitor is.
    """
    from minicontainer.runtime.channel import revive

    data, descriptors = receive(client)
    if not data:
        raise Gone("the container has stopped")
    content = parse(data)
    if "error" in content:
        raise revive(content)
    return content, descriptors
