"""A way past Docker: what goes between our networks' devices is ours to judge.

Packets that a host passes on meet the chains of **all** tables, and one that drops them is enough. Docker has its
chain FORWARD drop whatever it does not know; and with the module br_netfilter even what only crosses a bridge, from
one container to its neighbour, comes by there. For this case Docker keeps a chain empty, ``DOCKER-USER``, in which
others may say what they answer for (https://docs.docker.com/engine/network/packet-filtering-firewalls/). There our
bridges get a rule each way, and nothing else of anybody's tables is touched. What our own table refuses stays
refused.

The rules are in the form of iptables-nft, which has to be able to read what is in its table.
"""

from __future__ import annotations

from minicontainer.kernel import netlink, nftables
from minicontainer.kernel.nftables import NFT_META_IIFNAME, NFT_META_OIFNAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.kernel.netlink import Message, Socket

TABLE, CHAIN = "filter", "DOCKER-USER"
_FAMILIES = (nftables.NFPROTO_IPV4, nftables.NFPROTO_IPV6)


def open_for(bridge: str) -> None:
    """Let pass in DOCKER-USER, where it is, what comes from a bridge and what goes to it."""
    with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
        for family in _FAMILIES:
            if nftables.has_chain(sock, family, TABLE, CHAIN):
                messages = _removal(sock, family, bridge)
                for key in (NFT_META_IIFNAME, NFT_META_OIFNAME):
                    words = [*nftables.interface(key, bridge), nftables.counter()]
                    words += nftables.verdict(nftables.NF_ACCEPT)
                    messages.append(nftables.new_rule(TABLE, CHAIN, words, family, first=True))
                nftables.commit(sock, f"let {bridge} pass {CHAIN}", messages)


def close_for(bridge: str) -> None:
    """Take those rules out again, if they are there."""
    with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
        for family in _FAMILIES:
            messages = _removal(sock, family, bridge)
            if messages:
                nftables.commit(sock, f"remove the rules of {bridge} from {CHAIN}", messages)


def _removal(sock: Socket, family: int, bridge: str) -> list[Message]:
    """What removes the rules that name a bridge."""
    if not nftables.has_chain(sock, family, TABLE, CHAIN):
        return []
    name = bridge.encode() + b"\0"
    return [
        nftables.delete_rule(TABLE, CHAIN, handle, family)
        for handle, expressions in nftables.rules(sock, TABLE, CHAIN, family)
        if name in expressions
    ]


def refusing(sock: Socket) -> list[str]:
    """The tables of others that drop what they do not know of what the host passes on: ``ip filter FORWARD``."""
    families = {
        nftables.NFPROTO_INET: "inet",
        nftables.NFPROTO_IPV4: "ip",
        nftables.NFPROTO_IPV6: "ip6",
    }
    return [
        f"{families[family]} {table} {name}"
        for family, table, name, drops in nftables.chains(sock, nftables.NF_INET_FORWARD)
        if drops and family in families
    ]
