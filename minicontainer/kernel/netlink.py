"""Netlink: how a program talks with the kernel about the network (netlink(7)).

A request and its answer are messages on a socket: a header, a fixed part that the kind of message prescribes, and
**attributes**, each with its length and kind in front, which may hold further ones. :class:`Socket` sends requests
and turns a refusal into an ``OSError``, with the kernel's own words for it where it has some (extended
acknowledgements, Linux 4.12).

A library, pyroute2, knows every message there is; its import takes longer than the start of a container. What is
here is the small part of it that each start needs.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# include/uapi/linux/netlink.h
NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_DUMP = 0x300
NLM_F_CAPPED = 0x100  # in an answer: the request is not repeated in it
NLM_F_ACK_TLVS = 0x200  # in an answer: attributes follow
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF
SOL_NETLINK = 270  # include/linux/socket.h
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
SO_SNDBUFFORCE = 32  # include/uapi/asm-generic/socket.h

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_MOST_ANSWER = 1 << 18  # bytes; the kernel fills at most 32 KiB of it at a time


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + bytes(-len(data) % 4)


def text(kind: int, value: str) -> bytes:
    """An attribute with a string that ends with a NUL."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute with a number of four bytes, as this machine writes it."""
    return attribute(kind, struct.pack("=I", value))


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by their kind, of several of one kind the last."""
    return dict(each_attribute(data))


def each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each attribute in ``data``."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        yield kind & NLA_TYPE_MASK, data[at + 4 : at + length]
        at += max(length + 3 & ~3, 4)


class Message:
    """One message to the kernel: its type, its content, and NLM_F_* flags besides that it is a request."""

    def __init__(self, kind: int, body: bytes, flags: int = 0) -> None:
        self.kind = kind
        self.body = body
        self.flags = flags

    def encode(self, sequence: int, flags: int = 0) -> bytes:
        """It as bytes, with its header."""
        length = _HEADER.size + len(self.body)
        header = _HEADER.pack(length, self.kind, NLM_F_REQUEST | self.flags | flags, sequence, 0)
        return header + self.body + bytes(-length % 4)


class Socket:
    """A netlink socket of the network namespace that its maker is in, for a ``with``.

    ``protocol`` is NETLINK_ROUTE or NETLINK_NETFILTER.
    """

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._sequence = 0
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; safe to call twice."""
        self._socket.close()

    def request(self, what: str, message: Message) -> None:
        """Have the kernel do something; the ``OSError`` of a refusal names ``what``."""
        self._sequence += 1
        self._socket.send(message.encode(self._sequence, NLM_F_ACK))
        for _ in self._answers(what, self._sequence):
            pass

    def ask(self, what: str, message: Message) -> bytes:
        """The content of the one answer to a question."""
        self._sequence += 1
        self._socket.send(message.encode(self._sequence, NLM_F_ACK))
        return next(iter([body for _, body in self._answers(what, self._sequence)]), b"")

    def dump(self, what: str, message: Message) -> list[bytes]:
        """The content of all answers to a question about everything of a kind."""
        self._sequence += 1
        self._socket.send(message.encode(self._sequence, NLM_F_DUMP))
        return [body for _, body in self._answers(what, self._sequence)]

    def transaction(self, what: str, begin: Message, messages: Sequence[Message], end: Message) -> None:
        """Have the kernel do all of ``messages`` or nothing (nfnetlink's batches); they need one at least."""
        first = self._sequence + 1
        self._sequence += len(messages) + 2
        batch = [begin, *messages, end]
        last = len(messages)  # the one that is acknowledged when all went well
        data = b"".join(
            message.encode(first + at, NLM_F_ACK if at == last else 0) for at, message in enumerate(batch)
        )
        if len(data) > 1 << 16:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * len(data))
        self._socket.send(data)
        for _ in self._answers(what, first + last):
            pass

    def _answers(self, what: str, last: int) -> Iterator[tuple[int, bytes]]:
        """What comes back, until the acknowledgement of the message ``last``; the first refusal is raised."""
        refusal: OSError | None = None
        while True:
            data = self._socket.recv(_MOST_ANSWER)
            at = 0
            while at < len(data):
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
                body = data[at + _HEADER.size : at + length]
                at += length + 3 & ~3
                if kind == NLMSG_ERROR:
                    refusal = refusal or _refusal(what, body, flags)
                elif kind != NLMSG_DONE:
                    yield kind, body
                if kind in (NLMSG_ERROR, NLMSG_DONE) and sequence >= last:
                    if refusal:
                        raise refusal
                    return


def _refusal(what: str, body: bytes, flags: int) -> OSError | None:
    """The error in an acknowledgement, if there is one, in the kernel's words (struct nlmsgerr)."""
    number = -struct.unpack_from("=i", body)[0]
    if not number:
        return None
    words = ""
    if flags & NLM_F_ACK_TLVS and flags & NLM_F_CAPPED:
        found = attributes(body[4 + _HEADER.size :])
        words = found.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode()
    reason = os.strerror(number) + (f" ({words})" if words else "")
    return OSError(number, f"{what}: {reason}")


def missing(error: OSError) -> bool:
    """Whether an error says that a thing is not there."""
    return error.errno in (errno.ENOENT, errno.ENODEV, errno.ESRCH)
