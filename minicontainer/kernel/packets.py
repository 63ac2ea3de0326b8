"""Messages on a Unix socket that keeps their boundaries (unix(7), SOCK_SEQPACKET)."""

from __future__ import annotations

import socket


def receive(end: socket.socket, most_bytes: int, most_descriptors: int) -> tuple[bytes, list[int]]:
    """One message and the descriptors, closed on exec, that came with it; b"" when the other side is gone.

    When it went with a message of ours unread, the kernel says so first, and once (ECONNRESET); what it had sent
    us before is still there to be read (net/unix/af_unix.c, unix_release_sock). Raises OSError.
    """
    try:
        return _receive(end, most_bytes, most_descriptors)
    except ConnectionResetError:
        return _receive(end, most_bytes, most_descriptors)


def _receive(end: socket.socket, most_bytes: int, most_descriptors: int) -> tuple[bytes, list[int]]:
    data, descriptors, _, _ = socket.recv_fds(end, most_bytes, most_descriptors, socket.MSG_CMSG_CLOEXEC)
    return data, list(descriptors)
