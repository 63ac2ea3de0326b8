"""How the launcher and the container's first process talk while one makes the other.

A socket pair that keeps message boundaries carries small JSON objects, with descriptors beside them. It is
close-on-exec: when the container's program begins, the launcher reads end of file, and that is the news. An
error is sent whole, and raised again on the other side as what it was.
"""

from __future__ import annotations

import json
import os
import socket

from minicontainer import errors
from minicontainer.kernel import packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Message = dict[str, Any]

_MOST_BYTES = 1 << 16
_MOST_TEXT = 5000  # characters of an error; each may take twelve bytes of JSON


class Channel:
    """One end of the conversation."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    @staticmethod
    def pair() -> tuple[Channel, Channel]:
        """Two ends, joined (socketpair(2), SOCK_SEQPACKET)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Channel(ours), Channel(theirs)

    def fileno(self) -> int:
        """The descriptor of this end."""
        return self._socket.fileno()

    def send(self, descriptors: Sequence[int] = (), **message: object) -> None:
        """Say something, passing descriptors along (unix(7), SCM_RIGHTS)."""
        socket.send_fds(self._socket, [json.dumps(message).encode()], descriptors)

    def receive(self) -> tuple[Message, list[int]]:
        """The next message and its descriptors; an empty message at end of file.

        Raises what the other side failed with: one of minicontainer.errors, or RuntimeError with the
        traceback of a bug.
        """
        data, descriptors = packets.receive(self._socket, _MOST_BYTES, 4)
        message: Message = json.loads(data) if data else {}
        if "error" in message:
            raise revive(message)
        return message, descriptors

    def expect(self, word: str) -> Message:
        """The next message, which must have the key ``word``; without one, the other side is gone: exit."""
        message, _ = self.receive()
        if word not in message:
            os._exit(1)
        return message

    def send_error(self, error: BaseException) -> None:
        """Tell the other side what went wrong here."""
        self.send(**describe(error))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def describe(error: BaseException) -> Message:
    """An error as a message: its class and its text, and of a bug the traceback."""
    if isinstance(error, (errors.Error, OSError)):
        text = errors.explain(error)
        if len(text) > _MOST_TEXT:  # it names a path or an argument, and those may be long
            text = f"{text[: _MOST_TEXT // 2]} ... {text[-_MOST_TEXT // 2 :]}"
        return {"error": type(error).__name__, "message": text}
    import traceback  # seldom, and worth the time

    return {"error": "bug", "message": "".join(traceback.format_exception(error))[-_MOST_TEXT:]}


def revive(message: Message) -> Exception:
    """The error that a message describes, to be raised again."""
    kind = getattr(errors, message["error"], None)
    if isinstance(kind, type) and issubclass(kind, errors.Error):
        return kind(message["message"])
    if message["error"] == "bug":
        return RuntimeError("in another process:\n" + message["message"])
    return errors.Error(message["message"])
