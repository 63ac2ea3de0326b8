"""Coming to a network, and leaving it.

A container has an end of each of its networks while it runs, and none when it does not: so it may come back with
another address, and names, not addresses, are what others should know it by. :func:`join` writes the ends of a
container down, takes its addresses and makes its names known; then its monitor makes the cables (.wires) and opens
its ports (.ports). :func:`leave` takes all of it back; it is safe to call twice, and whoever finds a container
whose monitor was killed calls it.
"""

from __future__ import annotations

import contextlib
import os

from minicontainer.engine import events
from minicontainer.engine.directories import listdir
from minicontainer.engine.network import addresses, hosts
from minicontainer.engine.network.end import End
from minicontainer.engine.network.networks import Networks
from minicontainer.errors import Conflict, Error, NotFound
from minicontainer.files import read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minicontainer.engine.container import Container
    from minicontainer.engine.network.network import Network
    from minicontainer.engine.record import Record

_SHARED = "network-shared"  #: in the run directory of a container in whose network namespace are others too
_PORTS = "ports.json"  #: there, the ports that its monitor holds


def of(record: Record) -> list[End]:
    """The ends that a container has now, eth0 first."""
    networks = Networks(record.directories)
    found = []
    for name in listdir(record.directories.networks_run_path):
        path = os.path.join(record.directories.networks_run_path, name, "ends", f"{record.id}.json")
        if os.path.exists(path):
            # It may leave while we look, or be damaged (.end).
            with contextlib.suppress(FileNotFoundError, Error):
                found.append(End(networks.written(name), read_json(path)))
    return sorted(found, key=lambda end: end.number)


def wanted(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The networks that a container is to be on, and what it wants to be there; none without a bridge."""
    asked: dict[str, dict[str, Any]] = document.get("NetworkSettings", {}).get("Networks", {})
    return asked


# ------------------------------------------------------------------ coming and going


def join(record: Record) -> list[End]:
    """Give a container that is about to start its ends; nothing is left when it cannot have one of them.

    Raises NotFound when a network is gone, Conflict when an address is taken.
    """
    networks = Networks(record.directories)
    made: list[End] = []
    with networks.locked():
        try:
            for name, wish in wanted(record.document).items():
                network = networks.ready(name)
                way_out = not network.internal and not any(end.is_way_out for end in made)
                made.append(add(record, network, wish, len(made), way_out))
            hosts.refresh(networks, [end.network for end in made], record)
        except BaseException:
            _remove(networks, made)
            raise
    return made


def add(record: Record, network: Network, wish: dict[str, Any], number: int, way_out: bool) -> End:
    """Write one end down and take its addresses; under the lock."""
    asked = wish.get("IPAMConfig") or {}
    given = {}
    for v6, key in ((False, "IPv4Address"), (True, "IPv6Address")):
        pool = network.pool(v6)
        if pool:
            name_of = namer(record)
            chosen = addresses.choose(network.addresses_path, pool, network.name, asked.get(key, ""), name_of)
            given[v6] = addresses.show(chosen)
    address = given.get(False) or given[True]
    mac = wish.get("MacAddress") or addresses.mac_of(addresses.parse(address)).hex(":")
    end = End(
        network,
        {
            "Container": record.id,
            "Name": record.name,
            "EndpointID": os.urandom(32).hex(),
            "HostNames": _host_names(record.document["Config"]),
            "Aliases": wish.get("Aliases") or [],
            "Interface": f"eth{number}",
            "HostInterface": f"veth{record.id[:8]}-{number}",
            "MacAddress": mac,
            "IPAddress": given.get(False, ""),
            "GlobalIPv6Address": given.get(True, ""),
            "WayOut": way_out,
            "Ports": [],
        },
    )
    end.write()
    for address, _ in end.pools:
        addresses.take(network.addresses_path, address, record.id)
    _emit(end, "connect")
    return end


def _host_names(config: dict[str, Any]) -> list[str]:
    full = ".".join(filter(None, (config["Hostname"], config["Domainname"])))
    return list(dict.fromkeys([full, config["Hostname"]]))


def namer(record: Record) -> Callable[[str], str]:
    """A function from the id of a container to its name, for messages."""

    def name_of(container_id: str) -> str:
        from minicontainer.engine.record import Record

        try:
            return Record(record.directories, container_id).name
        except NotFound:
            return container_id[:12]

    return name_of


def leave(record: Record) -> None:
    """Take all ends of a container back, with its addresses, ports and names.

    The kernel removes its plugs with its network namespace. But when others share that, it stays: then they are
    pulled here, or two would have one address.
    """
    networks = Networks(record.directories)
    if _files(record):
        with networks.locked():
            own = of(record)
            if os.path.exists(os.path.join(record.run_path, _SHARED)):
                from minicontainer.engine.network import wires  # seldom, and it takes 20 ms for each

                for end in own:
                    wires.unplug(end)
            _remove(networks, own)
            for path in _files(record):  # damaged, unfinished, or of a network whose document was deleted
                _give_up(record, path)


def _give_up(record: Record, path: str) -> None:
    """Delete an end that cannot be read, and free whatever addresses the container has on that network."""
    directory = os.path.join(os.path.dirname(os.path.dirname(path)), "addresses")
    for address in listdir(directory):
        addresses.give_back(directory, address, record.id)
    os.unlink(path)


def share(container: Container) -> None:
    """Note that others are about to be in a container's network namespace, whoever has made that.

    Raises Conflict when the container does not run.
    """
    container.pid  # noqa: B018  it raises the Conflict
    mode: str = container.document["HostConfig"]["NetworkMode"]
    while mode.startswith("container:"):  # it shares that of another one itself
        container = container.engine.find(mode.removeprefix("container:"))
        mode = container.document["HostConfig"]["NetworkMode"]
    with contextlib.suppress(FileNotFoundError):  # that one has ended, and pulled its plugs
        os.close(os.open(os.path.join(container.run_path, _SHARED), os.O_CREAT | os.O_WRONLY, 0o600))


def _files(record: Record) -> list[str]:
    """The files of its ends, and what is left of one whose writer was killed."""
    top = record.directories.networks_run_path
    directories = [os.path.join(top, network, "ends") for network in listdir(top) if network != "lock"]
    return [
        os.path.join(directory, name)
        for directory in directories
        for name in listdir(directory)
        if name.startswith(record.id)
    ]


def remove(networks: Networks, end: End) -> None:
    """Take one end back; under the lock."""
    _remove(networks, [end])


def _remove(networks: Networks, ends: list[End]) -> None:
    for end in ends:
        for address, _ in end.pools:
            addresses.give_back(end.network.addresses_path, address, end.container_id)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(end.path)
        _emit(end, "disconnect")
    hosts.refresh(networks, [end.network for end in ends])
    if any(end.ports for end in ends):
        from minicontainer.engine.network import firewall  # most have none

        firewall.write(networks)


def publish(record: Record, ports: list[dict[str, Any]]) -> None:
    """Write down that these ports of a container are open on the host, and let packets in; by its monitor."""
    networks = Networks(record.directories)
    write_json(os.path.join(record.run_path, _PORTS), ports, durable=False)
    with networks.locked():
        target = next((end for end in of(record) if end.is_way_out), None)
        if target is None:
            raise Conflict(f"container {record.name} has left the network that its ports are reached by")
        lead_ports_to(networks, target, record)


def lead_ports_to(networks: Networks, end: End, record: Record) -> None:
    """Have the ports that a container's monitor holds lead to this end of it; under the lock."""
    try:
        end.ports = read_json(os.path.join(record.run_path, _PORTS))
    except FileNotFoundError:
        return  # it publishes none
    from minicontainer.engine.network import firewall

    end.document["Ports"] = end.ports
    end.write()
    firewall.write(networks)


def rename(record: Record) -> None:
    """Have the others know a container by its new name."""
    networks = Networks(record.directories)
    if _files(record):
        with networks.locked():
            ends = of(record)
            for end in ends:
                end.document["Name"] = record.name
                end.write()
            hosts.refresh(networks, [end.network for end in ends])


def _emit(end: End, action: str) -> None:
    attributes = {"container": end.container_id, "name": end.network.name, "type": "bridge"}
    events.emit(end.network.directories.root, "network", action, end.network.id, attributes)
