"""Connecting a container to a network and disconnecting it, while it runs or not; and who wants to be on which."""

from __future__ import annotations

import os

from minicontainer.engine.directories import listdir
from minicontainer.engine.network import asking, ends, hosts, wires
from minicontainer.engine.network.network import PREDEFINED
from minicontainer.errors import Conflict, Error
from minicontainer.files import read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minicontainer.engine.container import Container
    from minicontainer.engine.network.end import End
    from minicontainer.engine.network.network import Network
    from minicontainer.engine.network.networks import Networks

_RUNNING = ("running", "paused")


def connect(
    networks: Networks,
    name: str,
    container: Container,
    *,
    ip: str = "",
    ip6: str = "",
    aliases: Sequence[str] = (),
) -> None:
    """Have a container on one more network: at once when it runs, and whenever it starts.

    Raises Conflict when it is on it, or shares another one's networks, NotFound without such a network.
    """
    network = networks.find(name)
    if network.name in ("host", "none"):
        raise Conflict(f"container cannot be connected to network {network.name}: that is none to plug into")
    wish = asking.endpoint(network, ip, ip6, aliases)
    with container.locked():
        container.forget()
        mode: str = container.document["HostConfig"]["NetworkMode"]
        if mode == "host" or mode.startswith("container:"):
            raise Conflict(
                f"container {container.name} shares the network of {mode.removeprefix('container:')[:12]}; "
                "it cannot be connected to others"
            )
        wanted = ends.wanted(container.document)
        if network.name in wanted:
            raise Conflict(f"endpoint with name {container.name} already exists in network {network.name}")
        if container.state()["Status"] in _RUNNING:
            _plug_in(networks, network, container, wish)
        if mode == "none":
            container.document["HostConfig"]["NetworkMode"] = network.name
        wanted[network.name] = wish
        _write(container)


def _plug_in(networks: Networks, network: Network, container: Container, wish: dict[str, object]) -> None:
    """Give a container that runs an end, and plug it in; nothing is left when that fails."""
    with networks.locked():
        network = networks.ready(network.name)
        for end in ends.of(container):
            if end.network.name == network.name:  # of a command that was killed
                wires.unplug(end)
                ends.remove(networks, end)
        others = ends.of(container)
        taken = {end.interface for end in others}
        number = next(number for number in range(len(taken) + 1) if f"eth{number}" not in taken)
        way_out = not network.internal and not any(end.is_way_out for end in others)
        end = ends.add(container, network, wish, number, way_out)
        try:
            wires.plug_in(end, container.pid)
            if way_out:
                ends.lead_ports_to(networks, end, container)
            hosts.refresh(networks, [network])
        except BaseException:
            ends.remove(networks, end)
            wires.unplug(end)
            raise


def disconnect(networks: Networks, name: str, container: Container, force: bool = False) -> None:
    """Take a container off a network, at once when it runs; Conflict when it is not on it."""
    network = networks.find(name)
    with container.locked():
        container.forget()
        wanted = ends.wanted(container.document)
        if network.name == "host":
            raise Conflict("container cannot be disconnected from host network or connected to host network")
        if network.name not in wanted:
            if force:
                return
            raise Conflict(f"container {container.id} is not connected to network {network.name}")
        del wanted[network.name]
        host = container.document["HostConfig"]
        if host["NetworkMode"] == network.name:
            host["NetworkMode"] = next(iter(wanted), "none")
        _write(container)
        if container.state()["Status"] in _RUNNING:
            with networks.locked():
                _unplug(networks, network, container)


def _unplug(networks: Networks, network: Network, container: Container) -> None:
    all_ends = ends.of(container)
    for end in all_ends:
        if end.network.name == network.name:
            wires.unplug(end)
            ends.remove(networks, end)
            hosts.refresh(networks, [network])
            hosts.rewrite(container, networks)
            rest = [other for other in all_ends if other is not end and not other.network.internal]
            if end.is_way_out and rest:
                _make_way_out(networks, rest[0], container)


def _make_way_out(networks: Networks, end: End, container: Container) -> None:
    """Have another network be the way out, and the way in to the published ports."""
    end.is_way_out = end.document["WayOut"] = True
    end.write()
    wires.reroute(end, container.pid)
    ends.lead_ports_to(networks, end, container)


def _write(container: Container) -> None:
    write_json(os.path.join(container.path, "container.json"), container.document)


# ------------------------------------------------------------------ who wants what


def users(networks: Networks) -> dict[str, list[str]]:
    """The containers, running or not, that are to be on each network: name -> their ids."""
    directories = networks.directories
    found: dict[str, list[str]] = {}
    for container_id in listdir(directories.containers_path):
        if not container_id.startswith("."):
            try:
                document = read_json(
                    os.path.join(directories.containers_path, container_id, "container.json")
                )
            except FileNotFoundError:
                continue  # not written down yet, or removed while we look
            for name in ends.wanted(document):
                found.setdefault(name, []).append(container_id)
    return found


def prune(
    networks: Networks, passes: Callable[[str, dict[str, str]], bool] = lambda created, labels: True
) -> list[str]:
    """Remove the networks that no container is to be on; returns their names.

    One of a container that does not run stays, for it could not start again without. The bridge of the default
    network goes too, when nobody is on it, and comes back with the next container. ``passes`` is asked about each,
    with the moment it was made and its labels.
    """
    removed = []
    used = users(networks)
    for network in networks.made():
        if network.name in used or network.name in PREDEFINED:
            continue
        if passes(network.document["Created"], network.labels):
            try:
                networks.remove(network.name)
            except Error:
                continue  # it is in use, or gone, since we looked
            removed.append(network.name)
    networks.forget_default()
    return removed
