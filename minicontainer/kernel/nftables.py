"""nftables: the kernel's packet filter, as tables of chains of rules (nft(8), Data types and expressions).

A **chain** is hooked into the way of packets through the kernel; a **rule** is a row of expressions on one packet.
An expression loads something into a register, compares what is there, or acts; one that does not match ends the
rule. So ``tcp dport 80 accept`` is: load the protocol, is it 6, load two bytes from offset 2 of the transport
header, are they 80, accept.

All that belongs together is sent as one **batch**, which takes effect whole or not at all: no packet ever meets
half of it. Messages go to the subsystem nfnetlink; their numbers are in network byte order.
"""

from __future__ import annotations

import socket
import struct

from minicontainer.kernel import netlink
from minicontainer.kernel.netlink import NLM_F_APPEND, NLM_F_CREATE, Message, attribute, nested, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minicontainer.kernel.netlink import Socket

# include/uapi/linux/netfilter/nfnetlink.h
NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN = 16
NFNL_MSG_BATCH_END = 17
# include/uapi/linux/netfilter.h
NFPROTO_INET = 1
NFPROTO_IPV4 = 2
NFPROTO_IPV6 = 10
NF_INET_PRE_ROUTING, NF_INET_FORWARD, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING = 0, 2, 3, 4
NF_DROP, NF_ACCEPT = 0, 1
# include/uapi/linux/netfilter_ipv4.h: the order of the chains of one hook
NF_IP_PRI_RAW = -300
NF_IP_PRI_NAT_DST = -100
NF_IP_PRI_FILTER = 0
NF_IP_PRI_NAT_SRC = 100
# include/uapi/linux/netfilter/nf_tables.h
NFT_MSG_NEWTABLE, NFT_MSG_GETTABLE, NFT_MSG_DELTABLE = 0, 1, 2
NFT_MSG_NEWCHAIN, NFT_MSG_GETCHAIN = 3, 4
NFT_MSG_NEWRULE, NFT_MSG_GETRULE, NFT_MSG_DELRULE = 6, 7, 8
NFTA_TABLE_NAME = 1
NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE = 1, 3, 4, 5, 7
NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY = 1, 2
NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE, NFTA_RULE_EXPRESSIONS = 1, 2, 3, 4
NFTA_LIST_ELEM = 1
NFTA_EXPR_NAME, NFTA_EXPR_DATA = 1, 2
NFTA_DATA_VALUE, NFTA_DATA_VERDICT, NFTA_VERDICT_CODE = 1, 2, 1
NFT_REG_VERDICT, NFT_REG_1, NFT_REG_2 = 0, 1, 2
NFT_META_IIFNAME, NFT_META_OIFNAME, NFT_META_NFPROTO, NFT_META_L4PROTO = 6, 7, 15, 16
NFT_CMP_EQ, NFT_CMP_NEQ = 0, 1
NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER = 1, 2
NFT_CT_STATE, NFT_CT_STATUS = 0, 2
NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR = 3, 2
NFT_NAT_DNAT = 1
RTN_LOCAL = 2  # include/uapi/linux/rtnetlink.h
# include/uapi/linux/netfilter/nf_conntrack_common.h
ESTABLISHED, RELATED = 1 << 1, 1 << 2  # NF_CT_STATE_BIT of IP_CT_ESTABLISHED and IP_CT_RELATED
IPS_DST_NAT = 1 << 5
_IFNAMSIZ = 16  # include/uapi/linux/if.h

_nfgenmsg = struct.Struct(">BBH")  # family, version, resource


def message(kind: int, family: int, body: bytes, flags: int = 0) -> Message:
    """One message to nftables about a table of ``family`` (NFPROTO_*)."""
    return Message(NFNL_SUBSYS_NFTABLES << 8 | kind, _nfgenmsg.pack(family, 0, 0) + body, flags)


def commit(sock: Socket, what: str, messages: Sequence[Message]) -> None:
    """Have all of it done, or nothing; the ``OSError`` of a refusal names ``what``."""
    ends = [
        Message(kind, _nfgenmsg.pack(0, 0, NFNL_SUBSYS_NFTABLES))
        for kind in (NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END)
    ]
    sock.transaction(what, ends[0], messages, ends[1])


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">i", value))


# ------------------------------------------------------------------ tables, chains, rules


def new_table(name: str) -> Message:
    """Make a table for IPv4 and IPv6; one that is there stays."""
    return message(NFT_MSG_NEWTABLE, NFPROTO_INET, text(NFTA_TABLE_NAME, name), NLM_F_CREATE)


def delete_table(name: str) -> Message:
    """Remove a table with all in it; ENOENT when it is not there."""
    return message(NFT_MSG_DELTABLE, NFPROTO_INET, text(NFTA_TABLE_NAME, name))


def new_chain(table: str, name: str, kind: str, hook: int, priority: int) -> Message:
    """Make a chain of ``kind`` (``filter``, ``nat``) at a hook (NF_INET_*), which accepts what no rule decides."""
    where = nested(NFTA_CHAIN_HOOK, _number(NFTA_HOOK_HOOKNUM, hook), _number(NFTA_HOOK_PRIORITY, priority))
    body = text(NFTA_CHAIN_TABLE, table) + text(NFTA_CHAIN_NAME, name) + where
    body += _number(NFTA_CHAIN_POLICY, NF_ACCEPT) + text(NFTA_CHAIN_TYPE, kind)
    return message(NFT_MSG_NEWCHAIN, NFPROTO_INET, body, NLM_F_CREATE)


def flush_table(name: str) -> Message:
    """Remove all rules of a table; its chains stay where they are hooked in, which would take longer."""
    return message(NFT_MSG_DELRULE, NFPROTO_INET, text(NFTA_RULE_TABLE, name))


def new_rule(
    table: str, chain: str, expressions: Sequence[bytes], family: int = NFPROTO_INET, first: bool = False
) -> Message:
    """Put a rule at the end of a chain, or as its ``first``."""
    held = nested(NFTA_RULE_EXPRESSIONS, *expressions)
    body = text(NFTA_RULE_TABLE, table) + text(NFTA_RULE_CHAIN, chain) + held
    return message(NFT_MSG_NEWRULE, family, body, NLM_F_CREATE | (0 if first else NLM_F_APPEND))


def delete_rule(table: str, chain: str, handle: bytes, family: int) -> Message:
    """Remove the rule with a handle that :func:`rules` told."""
    body = text(NFTA_RULE_TABLE, table) + text(NFTA_RULE_CHAIN, chain)
    return message(NFT_MSG_DELRULE, family, body + attribute(NFTA_RULE_HANDLE, handle))


def has_table(sock: Socket, name: str) -> bool:
    """Whether there is such a table."""
    try:
        sock.ask(
            f"find the table {name}", message(NFT_MSG_GETTABLE, NFPROTO_INET, text(NFTA_TABLE_NAME, name))
        )
    except OSError as error:
        if netlink.missing(error):
            return False
        raise
    return True


def rules(sock: Socket, table: str, chain: str, family: int) -> list[tuple[bytes, bytes]]:
    """Handle and expressions of each rule of a chain, both as the kernel writes them; none without the chain."""
    body = text(NFTA_RULE_TABLE, table) + text(NFTA_RULE_CHAIN, chain)
    found = []
    for answer in sock.dump("list the rules", message(NFT_MSG_GETRULE, family, body)):
        held = netlink.attributes(answer[_nfgenmsg.size :])
        if held.get(NFTA_RULE_CHAIN) == chain.encode() + b"\0":
            found.append((held[NFTA_RULE_HANDLE], held.get(NFTA_RULE_EXPRESSIONS, b"")))
    return found


def chains(sock: Socket, hook: int) -> list[tuple[int, str, str, bool]]:
    """Family, table and name of each chain at a hook, and whether it drops what none of its rules decides."""
    found = []
    for answer in sock.dump("list the chains", message(NFT_MSG_GETCHAIN, 0, b"")):
        held = netlink.attributes(answer[_nfgenmsg.size :])
        where = netlink.attributes(held.get(NFTA_CHAIN_HOOK, b""))
        if where and struct.unpack(">I", where[NFTA_HOOK_HOOKNUM])[0] == hook:
            table, name = (held[kind].rstrip(b"\0").decode() for kind in (NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME))
            drops = held.get(NFTA_CHAIN_POLICY) == struct.pack(">I", NF_DROP)
            found.append((answer[0], table, name, drops))
    return found


def has_chain(sock: Socket, family: int, table: str, name: str) -> bool:
    """Whether there is such a chain."""
    body = text(NFTA_CHAIN_TABLE, table) + text(NFTA_CHAIN_NAME, name)
    try:
        sock.ask(f"find the chain {name}", message(NFT_MSG_GETCHAIN, family, body))
    except OSError as error:
        if netlink.missing(error):
            return False
        raise
    return True


# ------------------------------------------------------------------ expressions


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(NFTA_LIST_ELEM, text(NFTA_EXPR_NAME, name), nested(NFTA_EXPR_DATA, *attributes))


def _compare(data: bytes, operation: int = NFT_CMP_EQ) -> bytes:
    value = nested(3, attribute(NFTA_DATA_VALUE, data))  # NFTA_CMP_DATA
    return _expression("cmp", _number(1, NFT_REG_1), _number(2, operation), value)  # NFTA_CMP_SREG, _OP


def _meta(key: int) -> bytes:
    return _expression("meta", _number(2, key), _number(1, NFT_REG_1))  # NFTA_META_KEY, _DREG


def interface(key: int, name: str, other: bool = False) -> list[bytes]:
    """The packet came in (NFT_META_IIFNAME) or goes out (NFT_META_OIFNAME) by this device, or by any ``other``."""
    return [_meta(key), _compare(name.encode().ljust(_IFNAMSIZ, b"\0"), NFT_CMP_NEQ if other else NFT_CMP_EQ)]


def protocol(number: int) -> list[bytes]:
    """Its transport protocol is this (IPPROTO_*)."""
    return [_meta(NFT_META_L4PROTO), _compare(bytes([number]))]


def _family(address: bytes) -> int:
    return NFPROTO_IPV4 if len(address) == 4 else NFPROTO_IPV6


def _load(base: int, offset: int, length: int) -> bytes:
    # NFTA_PAYLOAD_DREG, _BASE, _OFFSET, _LEN
    fields = ((1, NFT_REG_1), (2, base), (3, offset), (4, length))
    return _expression("payload", *(_number(kind, value) for kind, value in fields))


def _in_subnet(address: bytes, prefix: int, offset: int, operation: int = NFT_CMP_EQ) -> list[bytes]:
    size = len(address)
    mask = ((1 << prefix) - 1 << size * 8 - prefix).to_bytes(size)
    net = (int.from_bytes(address) & int.from_bytes(mask)).to_bytes(size)
    loaded = [_meta(NFT_META_NFPROTO), _compare(bytes([_family(address)]))]
    loaded.append(_load(NFT_PAYLOAD_NETWORK_HEADER, offset, size))
    if prefix < size * 8:
        loaded.append(_bitwise(mask))
    return [*loaded, _compare(net, operation)]


def _bitwise(mask: bytes) -> bytes:
    # NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR
    fields = [_number(1, NFT_REG_1), _number(2, NFT_REG_1), _number(3, len(mask))]
    words = [
        nested(4, attribute(NFTA_DATA_VALUE, mask)),
        nested(5, attribute(NFTA_DATA_VALUE, bytes(len(mask)))),
    ]
    return _expression("bitwise", *fields, *words)


def source(address: bytes, prefix: int) -> list[bytes]:
    """It comes from this subnet."""
    return _in_subnet(address, prefix, 12 if len(address) == 4 else 8)


def destination(address: bytes, prefix: int, other: bool = False) -> list[bytes]:
    """It goes to this subnet, or to any ``other`` address of the same family."""
    offset = 16 if len(address) == 4 else 24
    return _in_subnet(address, prefix, offset, NFT_CMP_NEQ if other else NFT_CMP_EQ)


def destination_port(number: int) -> list[bytes]:
    """It goes to this port; of TCP and UDP alike, so after :func:`protocol`."""
    return [_load(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2), _compare(struct.pack(">H", number))]


def to_host(family: int) -> list[bytes]:
    """It is of this family (NFPROTO_*), and for an address of the host's own."""
    # NFTA_FIB_DREG, _RESULT, _FLAGS
    fields = ((1, NFT_REG_1), (2, NFT_FIB_RESULT_ADDRTYPE), (3, NFTA_FIB_F_DADDR))
    fib = _expression("fib", *(_number(kind, value) for kind, value in fields))
    same = [_meta(NFT_META_NFPROTO), _compare(bytes([family]))]
    return [*same, fib, _compare(struct.pack("=I", RTN_LOCAL))]


def connection(key: int, bits: int) -> list[bytes]:
    """Its connection has one of these bits: of its state (NFT_CT_STATE) or status (NFT_CT_STATUS)."""
    load = _expression("ct", _number(2, key), _number(1, NFT_REG_1))  # NFTA_CT_KEY, _DREG
    return [load, _bitwise(struct.pack("=I", bits)), _compare(bytes(4), NFT_CMP_NEQ)]


def counter() -> bytes:
    """Count the packets that come so far."""
    return _expression("counter")


def verdict(code: int) -> list[bytes]:
    """NF_ACCEPT or NF_DROP."""
    data = nested(2, nested(NFTA_DATA_VERDICT, _number(NFTA_VERDICT_CODE, code)))  # NFTA_IMMEDIATE_DATA
    return [_expression("immediate", _number(1, NFT_REG_VERDICT), data)]  # NFTA_IMMEDIATE_DREG


def masquerade() -> list[bytes]:
    """Give it the source address of the device that it goes out by; answers find back."""
    return [_expression("masq")]


def redirect_to(address: bytes, port: int) -> list[bytes]:
    """Send it to this address and port instead; answers seem to come from where it was sent (DNAT)."""

    def load(register: int, data: bytes) -> bytes:
        value = nested(2, attribute(NFTA_DATA_VALUE, data))
        return _expression("immediate", _number(1, register), value)

    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    # NFTA_NAT_TYPE, _FAMILY, _REG_ADDR_MIN, _REG_PROTO_MIN
    fields = ((1, NFT_NAT_DNAT), (2, family), (3, NFT_REG_1), (5, NFT_REG_2))
    nat = _expression("nat", *(_number(kind, value) for kind, value in fields))
    return [load(NFT_REG_1, address), load(NFT_REG_2, struct.pack(">H", port)), nat]
