"""Published ports: what ``-p`` asks for, and keeping the host's port for the container.

The packets are sent on by the rules of nftables (.firewall), and those rules would do it whether another program
has the port or not: that one would just never hear of its visitors again. So the monitor opens a listening socket
for each port, as any server would, and holds it for as long as the container runs. The kernel refuses it if
somebody is there already, and refuses all others from then on. What arrives at the socket all the same, because NAT
cannot help it, goes through a small proxy (.proxy).
"""

from __future__ import annotations

import errno
import os
import socket

from minicontainer.engine.network.addresses import parse
from minicontainer.errors import Conflict, Error, InvalidArgument, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Bindings = dict[str, list[dict[str, str]]]

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_BACKLOG = 128
_LAST_PORT = 65535


# ------------------------------------------------------------------ reading


def exposed(option: str, entry: str) -> list[str]:
    """``["80/tcp", …]`` from ``80``, ``80-82/udp``; InvalidArgument when there is no such port."""
    try:
        return _inside(entry)
    except ValueError as error:
        raise InvalidArgument(f'invalid argument "{entry}" for {option}: {error}') from None


def _inside(text: str) -> list[str]:
    numbers, slash, kind = text.partition("/")
    kind = kind.lower() if slash else "tcp"
    if kind not in _KINDS:
        raise ValueError("the protocol is tcp or udp")
    first, last = _range(numbers)
    return [f"{number}/{kind}" for number in range(first, last + 1)]


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not text.isascii() or not first.isdecimal() or (dash and not last.isdecimal()):
        raise ValueError(f"{text!r} is no port")
    low, high = int(first), int(last or first)
    if not 0 < low <= high <= _LAST_PORT:
        raise ValueError(f"ports are from 1 to {_LAST_PORT}")
    return low, high


def bindings(entries: Sequence[str]) -> Bindings:
    """Docker's ``PortBindings`` from ``[ip:][host:]container[/protocol]``, each with ranges or none."""
    found: Bindings = {}
    for entry in entries:
        try:
            address, host, container = _split(entry)
            inside = _inside(container)
            outside = _outside(host, len(inside))
        except (ValueError, InvalidArgument) as error:
            raise InvalidArgument(f'invalid argument "{entry}" for --publish: {error}') from None
        for port, number in zip(inside, outside, strict=True):
            found.setdefault(port, []).append({"HostIp": address, "HostPort": number})
    return found


def _outside(text: str, count: int) -> list[str]:
    """The host's port for each of ``count`` of a container's: "" for any, ``90-99`` for any of these."""
    if text in ("", "0"):
        return [""] * count
    first, last = _range(text)
    if count == 1 and last > first:
        return [f"{first}-{last}"]
    if last - first + 1 != count:
        raise ValueError("the ranges of ports are not of one length")
    return [str(number) for number in range(first, last + 1)]


def _split(entry: str) -> tuple[str, str, str]:
    """Address, host's ports and container's ports with the protocol; ValueError when it is not of this form."""
    rest, _, container = entry.rpartition(":")
    address, host = "", rest
    if rest.startswith("["):
        address, _, host = rest[1:].partition("]")
        if not host.startswith(":"):
            raise ValueError("it is [ip:][host:]container")
        host = host[1:]
    elif ":" in rest:
        address, _, host = rest.rpartition(":")
    if address:
        parse(address)
    return address, host, container


# ------------------------------------------------------------------ holding


class Held:
    """A port of the host that is held for a container: its socket, and what is written down of it."""

    def __init__(self, sock: socket.socket, port: str, host_ip: str) -> None:
        number, _, kind = port.partition("/")
        self.socket = sock
        self.kind = kind
        self.document: dict[str, Any] = {
            "ContainerPort": int(number),
            "Type": kind,
            "HostIp": host_ip,
            "HostPort": sock.getsockname()[1],
        }


def hold(document: dict[str, Any], name_of: Callable[[str], str]) -> list[Held]:
    """Open the ports that a container publishes; Conflict when one is in use, and then none is held.

    ``name_of`` turns the id of a container into its name.
    """
    host = document["HostConfig"]
    wanted: Bindings = {port: list(asked) for port, asked in host.get("PortBindings", {}).items()}
    if host.get("PublishAllPorts"):
        for port in document["Config"]["ExposedPorts"]:
            wanted.setdefault(port, [{"HostIp": "", "HostPort": ""}])
    held: list[Held] = []
    try:
        for port, asked in wanted.items():
            for each in asked:
                held += _hold(port, each["HostIp"], each["HostPort"], name_of)
    except BaseException:
        for one in held:
            one.socket.close()
        raise
    return held


def _hold(port: str, address: str, number: str, name_of: Callable[[str], str]) -> list[Held]:
    """Hold one port, of both families unless an address is given; of a range the first that is free."""
    first, _, last = number.partition("-")
    candidates = range(int(first), int(last or first) + 1) if first else [0] * 20
    for candidate in candidates:
        try:
            return _hold_both(port, address, candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise _explain(error, port, address, candidate, name_of) from error
            busy = error
    raise _explain(busy, port, address, candidates[-1], name_of) from busy


def _hold_both(port: str, address: str, number: int) -> list[Held]:
    if address:
        return [Held(_open(port, address, number), port, address)]
    first = Held(_open(port, "0.0.0.0", number), port, "0.0.0.0")
    if not os.path.exists("/proc/net/if_inet6"):
        return [first]
    try:
        same = first.document["HostPort"]
        return [first, Held(_open(port, "::", same), port, "::")]
    except BaseException:
        first.socket.close()
        raise


def _open(port: str, address: str, number: int) -> socket.socket:
    kind = port.partition("/")[2]
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, _KINDS[kind])
    try:
        if ":" in address:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == "tcp":
            # Connections that have just ended do not count; two listeners are refused all the same.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, number))
        if kind == "tcp":
            sock.listen(_BACKLOG)
        return sock
    except BaseException:
        sock.close()
        raise


def _explain(error: OSError, port: str, address: str, number: int, name_of: Callable[[str], str]) -> Error:
    where = f"[{address}]" if ":" in address else address or "0.0.0.0"
    what = f"cannot publish port {port} on {where}:{number}"
    if error.errno == errno.EADDRINUSE:
        from minicontainer.engine.network import listeners  # seldom

        holder = listeners.holder(port.partition("/")[2], number, name_of)
        return Conflict(f"{what}: port is already allocated{holder}; choose another one or stop that first")
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidArgument(f"{what}: the host does not have this address")
    return Error(f"{what}: {explain(error)}")


# ------------------------------------------------------------------ showing


def by_port(
    document: dict[str, Any], held: Sequence[dict[str, Any]]
) -> dict[str, list[dict[str, str]] | None]:
    """Docker's ``NetworkSettings.Ports``: what is published, and None for what is only exposed."""
    shown: dict[str, list[dict[str, str]] | None] = dict.fromkeys(document["Config"]["ExposedPorts"])
    for port in held:
        key = f"{port['ContainerPort']}/{port['Type']}"
        bound = shown.get(key) or []
        shown[key] = [*bound, {"HostIp": port["HostIp"], "HostPort": str(port["HostPort"])}]
    return dict(sorted(shown.items(), key=lambda item: (int(item[0].partition("/")[0]), item[0])))


def join(address: str, numbers: str) -> str:
    """An address and a port as people write them; one of IPv6 in brackets."""
    return f"[{address}]:{numbers}" if ":" in address else f"{address}:{numbers}"


def column(ports: dict[str, list[dict[str, str]] | None]) -> str:
    """The PORTS column of ``ps``: ``0.0.0.0:8080->80/tcp, 443/tcp``, neighbours with one number as a range."""
    groups: dict[tuple[str, str], list[list[int]]] = {}
    mapped = []
    for key, bound in ports.items():
        number, _, kind = key.partition("/")
        inside = int(number)
        for each in sorted(bound or [{"HostIp": "", "HostPort": number}], key=lambda one: one["HostIp"]):
            if each["HostPort"] != number:
                mapped.append(f"{join(each['HostIp'], each['HostPort'])}->{key}")
                continue
            runs = groups.setdefault((each["HostIp"], kind), [])
            if runs and runs[-1][1] == inside - 1:
                runs[-1][1] = inside
            else:
                runs.append([inside, inside])
    grouped = []
    for (address, kind), runs in groups.items():
        for first, last in runs:
            span = str(first) if first == last else f"{first}-{last}"
            grouped.append(f"{join(address, span)}->{span}/{kind}" if address else f"{span}/{kind}")
    return ", ".join([*grouped, *mapped])
