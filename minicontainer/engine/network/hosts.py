"""Names: /etc/hosts and /etc/resolv.conf of a container, kept right while its neighbours come and go.

The C library of every distribution looks into /etc/hosts first. So no name server of our own has to run: the file
of each container on a network is written anew whenever another one starts, ends or is called otherwise. It is
written **in place**, for the container sees this very file, by a bind mount; a new one beside it would be another
file. What is ours in it is between two comments, and what a container wrote elsewhere in it stays.

On the default network there are no names but a container's own, as with Docker: it is for those who do not know
each other. For all other names /etc/resolv.conf names the host's name servers; one on the host's own loopback
device is nobody in there, so then those behind it are named, or public ones.
"""

from __future__ import annotations

import os

from minicontainer.errors import InvalidArgument
from minicontainer.files import naming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minicontainer.engine.network.end import End
    from minicontainer.engine.network.network import Network
    from minicontainer.engine.network.networks import Networks
    from minicontainer.engine.record import Record

_LOCAL = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
    "ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)
_BEGIN, _END = "# names on its networks, kept by minicontainer\n", "# end of names on its networks\n"
_LONGEST = 1 << 20  # bytes of a file that is read back; a container might make it endless
_PUBLIC = ("8.8.8.8", "8.8.4.4")  # Docker's choice, for hosts that have none to offer
_BEHIND_RESOLVED = (
    "/run/systemd/resolve/resolv.conf"  # systemd-resolved.service(8): the servers it asks itself
)


def write_files(record: Record) -> None:
    """Make the ``hostname``, ``hosts`` and ``resolv.conf`` that are bound into a container's /etc."""
    from minicontainer.engine.network import ends
    from minicontainer.engine.network.networks import Networks

    document = record.document
    _write(record, "hostname", f"{document['Config']['Hostname']}\n")
    _write(record, "resolv.conf", resolv_conf(document["HostConfig"]))
    if ends.wanted(document):
        with Networks(record.directories).locked():  # or a neighbour that comes now would be missed
            _write(record, "hosts", _hosts(record))
    else:
        _write(record, "hosts", _hosts(record))


def _write(record: Record, name: str, text: str) -> None:
    path = os.path.join(record.path, name)
    with naming(path), open(path, "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)  # for all its users, whatever the caller's umask is


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


# ------------------------------------------------------------------ /etc/hosts


def _hosts(record: Record) -> str:
    from minicontainer.engine.network import ends

    document = record.document
    host = document["HostConfig"]
    begin = _read("/etc/hosts") if host["NetworkMode"] == "host" else ""
    extra = [entry.partition(":")[::2] for entry in host.get("ExtraHosts") or ()]
    lines = []
    for name, address in extra:
        lines.append(f"{gateway(record) if address == 'host-gateway' else address}\t{name}\n")
    own = ends.of(record)
    neighbours = {end.network.name: _lines(end.network, end.network.ends()) for end in own}
    return (begin or _LOCAL) + "".join(lines) + _names(own, neighbours)


def gateway(record: Record) -> str:
    """The host's address on the first of a container's networks, which ``host-gateway`` stands for."""
    from minicontainer.engine.network import ends
    from minicontainer.engine.network.addresses import show

    for end in ends.of(record):
        if end.network.pools:
            return show(end.network.pools[0].gateway)
    raise InvalidArgument("--add-host …:host-gateway: the container is on no network with a gateway")


def _names(own: list[End], neighbours: dict[str, str]) -> str:
    """The part that is ours: the container's own addresses, and the names of its ``neighbours`` on each network."""
    lines = [f"{address}\t{' '.join(end.own_names)}\n" for end in own for address, _ in end.pools]
    lines += [neighbours[end.network.name] for end in own]
    return _BEGIN + "".join(lines) + _END if lines else ""


def _lines(network: Network, ends: list[End]) -> str:
    """The names of all containers on a network, which are the same for each of them."""
    if not network.has_names:
        return ""
    return "".join(f"{address}\t{' '.join(end.names)}\n" for end in ends for address, _ in end.pools)


def refresh(networks: Networks, changed: list[Network], but: Record | None = None) -> None:
    """Write the names anew in every container that is on one of these networks, all ``but`` one; under the lock."""
    if any(network.has_names for network in changed):
        names = [network.name for network in changed if network.has_names]
        _refresh(networks, lambda ends: not _names_of(ends).isdisjoint(names), but.id if but else "")


def rewrite(record: Record, networks: Networks) -> None:
    """Write the names anew in one container, whose own ends have changed; under the lock."""
    own = _refresh(networks, lambda ends: ends[0].container_id == record.id)
    if not own:  # it is on no network any more
        _rewrite(os.path.join(record.path, "hosts"), "")


def _names_of(ends: list[End]) -> set[str]:
    return {end.network.name for end in ends}


def _refresh(networks: Networks, wanted: Callable[[list[End]], bool], but: str = "") -> int:
    """Write the names anew in the containers whose ends are ``wanted``; returns how many that were."""
    neighbours: dict[str, str] = {}
    by_container: dict[str, list[End]] = {}
    for network in networks.made():
        if os.path.isdir(network.path):
            ends = network.ends()
            neighbours[network.name] = _lines(network, ends)
            for end in ends:
                by_container.setdefault(end.container_id, []).append(end)
    chosen = [own for own in by_container.values() if own[0].container_id != but and wanted(own)]
    for own in chosen:
        own.sort(key=lambda end: end.number)
        path = os.path.join(networks.directories.containers_path, own[0].container_id, "hosts")
        _rewrite(path, _names(own, neighbours))
    return len(chosen)


def _rewrite(path: str, names: str) -> None:
    """Replace our part of a file in place, where the container has it mounted."""
    try:
        file = open(path, "r+", encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return  # it is being made, or removed
    with file:
        old = file.read(_LONGEST)
        before, begin, rest = old.partition(_BEGIN)
        new = before + names + (rest.partition(_END)[2] if begin else "")
        if new != old:
            file.seek(0)
            file.write(new)
            file.truncate()


# ------------------------------------------------------------------ /etc/resolv.conf


def resolv_conf(host: dict[str, Any]) -> str:
    """What ``--dns`` and its like ask for, over what the host has."""
    text = _read("/etc/resolv.conf")
    if host["NetworkMode"] == "host" and not (
        host.get("Dns") or host.get("DnsSearch") or host.get("DnsOptions")
    ):
        return text
    servers = _servers(text) or _servers(_read(_BEHIND_RESOLVED)) or list(_PUBLIC)
    found = {"nameserver": servers, "search": _words(text, "search"), "options": _words(text, "options")}
    if host.get("Dns"):
        found["nameserver"] = host["Dns"]
    if host.get("DnsSearch"):
        found["search"] = [word for word in host["DnsSearch"] if word != "."]
    if host.get("DnsOptions"):
        found["options"] = host["DnsOptions"]
    lines = [f"nameserver {server}" for server in found["nameserver"]]
    lines += [f"{key} {' '.join(found[key])}" for key in ("search", "options") if found[key]]
    return "\n".join(lines) + "\n"


def _servers(text: str) -> list[str]:
    """The name servers that a container can reach: none of 127.0.0.0/8, nor ::1."""
    found = [
        line.split()[1]
        for line in text.splitlines()
        if line.split()[:1] == ["nameserver"] and len(line.split()) > 1
    ]
    return [server for server in found if not server.startswith("127.") and server != "::1"]


def _words(text: str, key: str) -> list[str]:
    """What the last line of this kind says (resolv.conf(5))."""
    lines = [line.split()[1:] for line in text.splitlines() if line.split()[:1] == [key]]
    return lines[-1] if lines else []
