"""The rules of the road: which packets pass between networks, and whose addresses they bear outside.

All of it is one table of nftables, ``inet minicontainer``. Nothing in it is ever changed a little: it is written
whole from what is on disk, in one transaction, whenever a network or a published port comes or goes, and it is
removed whole with the last network. So it cannot drift away from the truth, whoever was killed. For a network with
the bridge mc-1 and a container at 172.18.0.2, whose port 80 is published as 8080, it says::

    chain raw          iifname mc-1 ip daddr 127.0.0.0/8 drop           nobody talks to the host itself
    chain prerouting   fib daddr type local tcp dport 8080 dnat to 172.18.0.2:80     what comes to the port
    chain output       the same                                         and what the host itself sends there
    chain forward      iifname mc-1 oifname mc-1 accept                 neighbours
                       ct state established,related accept              answers
                       ct status dnat accept                            published ports, also of other networks
                       oifname mc-1 drop                                nobody else, and no other network
    chain postrouting  ip saddr 172.18.0.0/16 oifname != mc-1 masquerade             with the host's address outside
                       oifname mc-1 ip saddr 127.0.0.0/8 masquerade     the way back from a port of 127.0.0.1
                       oifname mc-1 ip saddr 172.18.0.0/16 ct status dnat masquerade   and from a neighbour's

An **internal** network has ``iifname mc-1 drop`` and ``oifname mc-1 drop`` instead: nothing comes in or goes out.
"""

from __future__ import annotations

import binascii
import os

from minicontainer.engine.directories import DEFAULT_ROOT
from minicontainer.engine.network.addresses import parse
from minicontainer.kernel import netlink, nftables
from minicontainer.kernel.nftables import NF_ACCEPT, NF_DROP, NFT_META_IIFNAME, NFT_META_OIFNAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minicontainer.engine.network.end import End
    from minicontainer.engine.network.network import Network
    from minicontainer.engine.network.networks import Networks
    from minicontainer.kernel.netlink import Message

PROTOCOLS = {"tcp": 6, "udp": 17}  # include/uapi/linux/in.h, IPPROTO_*
_LOOPBACK = (bytes((127, 0, 0, 0)), 8)
_ANYWHERE = ("0.0.0.0", "::")
_CHAINS = (
    ("raw", "filter", nftables.NF_INET_PRE_ROUTING, nftables.NF_IP_PRI_RAW),
    ("prerouting", "nat", nftables.NF_INET_PRE_ROUTING, nftables.NF_IP_PRI_NAT_DST),
    ("output", "nat", nftables.NF_INET_LOCAL_OUT, nftables.NF_IP_PRI_NAT_DST),
    ("forward", "filter", nftables.NF_INET_FORWARD, nftables.NF_IP_PRI_FILTER),
    ("postrouting", "nat", nftables.NF_INET_POST_ROUTING, nftables.NF_IP_PRI_NAT_SRC),
)

Rule = tuple[str, list[bytes]]  # a chain, and the expressions


def table(root: str) -> str:
    """The name of the table of the engine at ``root``; each has its own."""
    return "minicontainer" if root == DEFAULT_ROOT else f"minicontainer-{binascii.crc32(root.encode()):08x}"


def write(networks: Networks) -> None:
    """Write the table anew from what is on disk, or remove it when there is no network; under the lock."""
    name = table(networks.directories.root)
    up = [network for network in networks.made() if os.path.isdir(network.path)]
    if not up:
        remove(networks.directories.root)
        return
    with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
        nftables.commit(sock, f"write the table {name}", _messages(name, up))


def remove(root: str) -> None:
    """Remove the table of the engine at ``root``, if it is there."""
    name = table(root)
    with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
        try:
            nftables.commit(sock, f"remove the table {name}", [nftables.delete_table(name)])
        except OSError as error:
            if not netlink.missing(error):
                raise


def _messages(name: str, networks: list[Network]) -> list[Message]:
    messages = [nftables.new_table(name)]
    messages += [nftables.new_chain(name, *chain) for chain in _CHAINS]
    messages.append(nftables.flush_table(name))
    messages += [nftables.new_rule(name, chain, words) for chain, words in _rules(networks)]
    return messages


def _rules(networks: list[Network]) -> Iterator[Rule]:
    drop, accept = nftables.verdict(NF_DROP), nftables.verdict(NF_ACCEPT)
    into = {network.name: nftables.interface(NFT_META_OIFNAME, network.bridge) for network in networks}
    out_of = {network.name: nftables.interface(NFT_META_IIFNAME, network.bridge) for network in networks}
    for network in networks:
        yield "raw", [*out_of[network.name], *nftables.destination(*_LOOPBACK), *drop]
        yield "forward", [*out_of[network.name], *into[network.name], *accept]
    for network in networks:
        if network.internal:
            yield "forward", [*out_of[network.name], *drop]
            yield "forward", [*into[network.name], *drop]
    answers = nftables.connection(nftables.NFT_CT_STATE, nftables.ESTABLISHED | nftables.RELATED)
    yield "forward", [*answers, *accept]
    published = nftables.connection(nftables.NFT_CT_STATUS, nftables.IPS_DST_NAT)
    yield "forward", [*published, *accept]
    for network in networks:
        if not network.internal:
            yield "forward", [*into[network.name], *drop]
            yield from _nat(network, into[network.name], published)
            for end in network.ends():
                yield from _ports(end)


def _nat(network: Network, into: list[bytes], published: list[bytes]) -> Iterator[Rule]:
    elsewhere = nftables.interface(NFT_META_OIFNAME, network.bridge, other=True)
    for pool in network.pools:
        own = nftables.source(pool.subnet.address, pool.subnet.prefix)
        if network.masquerades:
            yield "postrouting", [*own, *elsewhere, *nftables.masquerade()]
        yield "postrouting", [*into, *own, *published, *nftables.masquerade()]
    yield "postrouting", [*into, *nftables.source(*_LOOPBACK), *nftables.masquerade()]


def _ports(end: End) -> Iterator[Rule]:
    """What sends the published ports of a container there, those of IPv4 and of IPv6."""
    for port in end.ports:
        v6 = ":" in port["HostIp"]
        target = end.ipv6 if v6 else end.ipv4
        if not target:
            continue  # the proxy stands in (minicontainer.engine.network.proxy)
        where = _destination(port["HostIp"], v6)
        which = [
            *nftables.protocol(PROTOCOLS[port["Type"]]),
            *nftables.destination_port(port["HostPort"]),
        ]
        action = nftables.redirect_to(parse(target), port["ContainerPort"])
        yield "prerouting", [*where, *which, *action]
        if port["HostIp"] != "::1":
            outgoing = [*_not_loopback6(), *where] if v6 else where
            yield "output", [*outgoing, *which, *action]


def _destination(host_ip: str, v6: bool) -> list[bytes]:
    if host_ip in _ANYWHERE:
        return nftables.to_host(nftables.NFPROTO_IPV6 if v6 else nftables.NFPROTO_IPV4)
    return nftables.destination(parse(host_ip), 128 if v6 else 32)


def _not_loopback6() -> list[bytes]:
    """It does not go to ::1: what is sent there cannot leave by another device, and the proxy takes it."""
    return nftables.destination(parse("::1"), 128, other=True)
