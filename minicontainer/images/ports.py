"""``EXPOSE``: the ports that a program in the image listens on, as ``80/tcp`` in its configuration.

It opens nothing: it is what ``--publish-all`` goes by, and a note to whoever runs the image. A port may be
written as it is for ``--publish``, ``8080:80``; what counts is the one in the container, after the last colon.
"""

from __future__ import annotations

from minicontainer.errors import InvalidArgument

_PROTOCOLS = ("tcp", "udp", "sctp")


def exposed(text: str) -> list[str]:
    """The ports that ``80``, ``53/udp``, ``8000-8002`` or ``127.0.0.1:8080:80`` means, as ``80/tcp`` each.

    Raises InvalidArgument. Source: the Dockerfile reference, EXPOSE; go-connections, nat.ParsePortSpec.
    """
    numbers, _, protocol = text.partition("/")
    protocol = protocol.lower() if protocol else "tcp"
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(f"{text!r} is not a port: invalid proto: {protocol}; use tcp, udp or sctp")
    *published, inside = numbers.rsplit(":", 2)
    if not inside:
        raise InvalidArgument(f"{text!r} is not a port: no port specified")
    ports = _range(inside, "containerPort", text)
    if published and published[-1]:
        outside = _range(published[-1], "hostPort", text)
        if len(outside) != len(ports) and len(ports) != 1:
            raise InvalidArgument(f"{text!r} is not a port: the two ranges differ in length")
    if len(published) == 2 and not _is_address(published[0]):
        raise InvalidArgument(f"{text!r} is not a port: invalid ip address: {published[0]}")
    return [f"{number}/{protocol}" for number in ports]


def _range(numbers: str, which: str, text: str) -> range:
    first, dash, last = numbers.partition("-")
    last = last if dash else first
    if not (_is_port(first) and _is_port(last) and int(first) <= int(last)):
        raise InvalidArgument(f"{text!r} is not a port: invalid {which}: {numbers}; ports are 0 to 65535")
    return range(int(first), int(last) + 1)


def _is_port(number: str) -> bool:
    return number.isascii() and number.isdecimal() and len(number) < 9 and int(number) < 1 << 16


def _is_address(text: str) -> bool:
    """Whether it is an IP address; none at all stands for every one."""
    import socket  # nearly no EXPOSE names an address

    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        socket.inet_pton(family, text.removeprefix("[").removesuffix("]") or "0.0.0.0")
    except OSError:
        return False
    return True
