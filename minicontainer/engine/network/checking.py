"""What this host has for networks: a checklist, tried out in a network namespace of its own (``doctor``)."""

from __future__ import annotations

import os

from minicontainer.kernel import namespaces, netlink, nftables, rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.kernel.netlink import Socket

_TABLE = "minicontainer-doctor"


def try_devices() -> None:
    """Make a bridge and a veth in a new network namespace; in a process of its own, with which it ends."""
    namespaces.unshare(namespaces.CLONE_NEWNET)
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with netlink.Socket() as sock:
        rtnetlink.add_bridge(sock, "br0")
        bridge = rtnetlink.find_link(sock, "br0")
        assert bridge, "it was made a moment ago"
        rtnetlink.add_veth(sock, "veth0", bridge.index, "eth0", own, mac=b"\2\x42\0\0\0\1", mtu=1500)


def try_filter() -> None:
    """Write a table of the kind that networks need in a new network namespace; in a process of its own."""
    namespaces.unshare(namespaces.CLONE_NEWNET)
    with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
        messages = [nftables.new_table(_TABLE)]
        hook, priority = nftables.NF_INET_POST_ROUTING, nftables.NF_IP_PRI_NAT_SRC
        messages.append(nftables.new_chain(_TABLE, "nat", "nat", hook, priority))
        words = [*nftables.connection(nftables.NFT_CT_STATUS, nftables.IPS_DST_NAT), *nftables.masquerade()]
        messages.append(nftables.new_rule(_TABLE, "nat", words))
        words = [*nftables.to_host(nftables.NFPROTO_IPV4), *nftables.verdict(nftables.NF_ACCEPT)]
        messages.append(nftables.new_rule(_TABLE, "nat", words))
        nftables.commit(sock, "write a table of nftables", messages)


def forwards() -> bool:
    """Whether the host passes packets on between its devices."""
    with open("/proc/sys/net/ipv4/ip_forward") as file:
        return file.read().strip() == "1"


def refusing() -> tuple[list[str], bool]:
    """The chains of others that drop what they do not know, and whether our bridges have a way past all of them."""
    from minicontainer.engine.network import passage

    with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
        found = passage.refusing(sock)
        ways = {family for family in ("ip", "ip6") if _has_passage(sock, family)}
    return found, all(name.split()[0] in ways and name.split()[1] == passage.TABLE for name in found)


def leftovers() -> list[str]:
    """What is left of engines whose root somebody has deleted: bridges, and tables that no bridge belongs to."""
    from minicontainer.engine.network import bridges, firewall

    with netlink.Socket() as sock:
        links = rtnetlink.links(sock)
    found = [f"{link.name} of {bridges.root_of(link)}" for link in bridges.orphans(links)]
    owned = {firewall.table(bridges.root_of(link)) for link in links}
    with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
        for family, table, _, _ in nftables.chains(sock, nftables.NF_INET_FORWARD):
            ours = family == nftables.NFPROTO_INET and table.startswith("minicontainer-")
            if ours and table not in owned:
                found.append(f"the table inet {table} without any bridge")
    return found


def _has_passage(sock: Socket, family: str) -> bool:
    from minicontainer.engine.network import passage

    number = nftables.NFPROTO_IPV4 if family == "ip" else nftables.NFPROTO_IPV6
    return nftables.has_chain(sock, number, passage.TABLE, passage.CHAIN)
