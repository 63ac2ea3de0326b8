"""Networks to look at: who is on which, drawn as they are now; and what of them must be gone in the end.

What is left of a network would be in the kernel, not on disk: a bridge that belongs to no network, a plug in one of
our bridges that belongs to no container, a rule that names either. So these are looked for there.
"""

from __future__ import annotations

import re

from minicontainer.engine import api
from minicontainer.engine.network import bridges, firewall, graph, ports
from minicontainer.engine.network.addresses import show
from minicontainer.kernel import netlink, nftables, rtnetlink
from minicontainer.lab.pictures import Drawing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minicontainer.engine.network.network import Network

PREFIX = "lab-"
_CHAINS = ("raw", "prerouting", "output", "forward", "postrouting")
_BRIDGE = re.compile(rb"mc-[0-9a-f]{12}(?=\0)")


def network_graph() -> Drawing:
    """The live networks with the containers on them, as ``minicontainer network graph`` draws them.

    The plain face has the networks that somebody is on.
    """
    engine = api.default_engine()
    lines = [line for network in engine.networks.made() for line in _lines(network)]
    return Drawing("\n".join(lines) or "nobody is on a network", graph.dot(engine))


def _lines(network: Network) -> Iterator[str]:
    ends = network.ends()
    if ends:
        gateways = ", ".join(f"{show(pool.gateway)}/{pool.subnet.prefix}" for pool in network.pools)
        inside = ", internal" if network.internal else ""
        yield f"{network.name}: bridge {network.bridge}, {gateways}{inside}"
    for end in sorted(ends, key=lambda each: each.name):
        yield f"    {end.host_interface} -- {end.interface} of {end.name}, {end.ipv4 or end.ipv6}"
        for port in end.ports:
            outside = ports.join(port["HostIp"], str(port["HostPort"]))
            yield f"        {outside} -> {port['ContainerPort']}/{port['Type']}"


# ------------------------------------------------------------------ in the end


def made() -> list[str]:
    """The networks of a chapter, by name."""
    return [each.name for each in api.default_engine().networks.made() if each.name.startswith(PREFIX)]


def strays() -> list[str]:
    """Bridges, plugs and rules of this engine that belong to nothing any more."""
    engine = api.default_engine()
    networks = {network.bridge: network for network in engine.networks.made()}
    plugs = {end.host_interface for network in networks.values() for end in network.ends()}
    with netlink.Socket() as sock:
        links = rtnetlink.links(sock)
    ours = {link.index: link.name for link in links if link.alias == bridges.ALIAS + engine.root}
    found = [f"bridge {name}" for name in ours.values() if name not in networks]
    found += [f"veth {link.name}" for link in links if link.master in ours and link.name not in plugs]
    return found + [f"rules of {name}" for name in sorted(_ruled(engine.root) - set(networks))]


def _ruled(root: str) -> set[str]:
    """The bridges that the rules of an engine speak of."""
    table = firewall.table(root)
    with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
        rules = [
            expressions
            for chain in _CHAINS
            for _, expressions in nftables.rules(sock, table, chain, nftables.NFPROTO_INET)
        ]
    return {name.decode() for each in rules for name in _BRIDGE.findall(each)}
