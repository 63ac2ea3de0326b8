"""Network devices, addresses and routes, as netlink messages (rtnetlink(7)).

Each function is one message. A **veth** is a cable: two devices, of which each gets what is sent into the other,
and which need not be in the same network namespace. It is made in one piece with its far end in a namespace
already, so there is never one that lies around in the wrong place; and the kernel removes it when either end's
namespace goes (veth(4)).
"""

from __future__ import annotations

import socket
import struct

from minicontainer.kernel import netlink
from minicontainer.kernel.netlink import Message, attribute, nested, number, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.kernel.netlink import Socket

# include/uapi/linux/rtnetlink.h
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19
RTM_NEWADDR = 20
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26
RT_TABLE_MAIN = 254
RTPROT_BOOT = 3
RTN_UNICAST = 1
RTA_DST = 1
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_TABLE = 15
# include/uapi/linux/if_link.h
IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_LINK = 5
IFLA_MASTER = 10
IFLA_LINKINFO = 18
IFLA_IFALIAS = 20
IFLA_NET_NS_FD = 28
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_INFO_SLAVE_KIND = 4
IFLA_INFO_SLAVE_DATA = 5
IFLA_BRPORT_MODE = 4
VETH_INFO_PEER = 1  # include/uapi/linux/veth.h
IFF_UP = 0x1  # include/uapi/linux/if.h
# include/uapi/linux/if_addr.h
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_F_NODAD = 0x02

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, which of them
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # struct rtmsg: family, dst, src, tos, table, protocol, scope, type, flags


class Link:
    """A network device as the kernel describes it; ``master`` and ``peer`` are indexes, 0 for none."""

    def __init__(self, body: bytes) -> None:
        _, _, self.index, flags, _ = _LINK.unpack_from(body)
        found = netlink.attributes(body[_LINK.size :])
        info = netlink.attributes(found.get(IFLA_LINKINFO, b""))
        self.up = bool(flags & IFF_UP)
        self.name = _string(found.get(IFLA_IFNAME))
        self.kind = _string(info.get(IFLA_INFO_KIND))
        self.alias = _string(found.get(IFLA_IFALIAS))
        self.mac = found.get(IFLA_ADDRESS, b"").hex(":")
        self.mtu = _number(found.get(IFLA_MTU))
        self.master = _number(found.get(IFLA_MASTER))
        self.peer = _number(found.get(IFLA_LINK))

    def __repr__(self) -> str:
        return f"<Link {self.index} {self.name}>"


def _string(data: bytes | None) -> str:
    return (data or b"").rstrip(b"\0").decode(errors="replace")


def _number(data: bytes | None) -> int:
    return int(struct.unpack("=I", data)[0]) if data else 0


# ------------------------------------------------------------------ devices


def add_veth(
    sock: Socket, name: str, master: int, peer: str, namespace: int, *, mac: bytes, mtu: int
) -> None:
    """Make a veth: ``name`` here, up and a port of the bridge ``master``, and ``peer`` over there, down.

    :param master: the index of the bridge
    :param namespace: a descriptor of the network namespace of the far end
    :param mac: the hardware address of the far end, six bytes
    """
    up = _LINK.pack(0, 0, 0, IFF_UP, IFF_UP)
    size = number(IFLA_MTU, mtu)
    far = text(IFLA_IFNAME, peer) + size + attribute(IFLA_ADDRESS, mac) + number(IFLA_NET_NS_FD, namespace)
    far = _LINK.pack(0, 0, 0, 0, 0) + far  # it cannot come up before it has a peer
    kind = nested(
        IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth"), nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, far))
    )
    body = up + text(IFLA_IFNAME, name) + size + number(IFLA_MASTER, master) + kind
    flags = netlink.NLM_F_CREATE | netlink.NLM_F_EXCL
    sock.request(f"make the network device {name}", Message(RTM_NEWLINK, body, flags))


def add_bridge(sock: Socket, name: str) -> None:
    """Make a bridge, down and without an address."""
    kind = nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge"))
    body = _LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + kind
    flags = netlink.NLM_F_CREATE | netlink.NLM_F_EXCL
    sock.request(f"make the bridge {name}", Message(RTM_NEWLINK, body, flags))


def set_hairpin(sock: Socket, name: str) -> None:
    """Let a port of a bridge send a frame out where it came in: a container may reach itself by way of NAT."""
    body = _LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name)
    mode = nested(IFLA_INFO_SLAVE_DATA, attribute(IFLA_BRPORT_MODE, b"\1"))
    body += nested(IFLA_LINKINFO, text(IFLA_INFO_SLAVE_KIND, "bridge"), mode)
    sock.request(f"set up the network device {name}", Message(RTM_NEWLINK, body))


def set_up(sock: Socket, index: int) -> None:
    """Bring a network device up."""
    body = _LINK.pack(0, 0, index, IFF_UP, IFF_UP)
    sock.request("bring a network device up", Message(RTM_SETLINK, body))


def delete_link(sock: Socket, name: str) -> None:
    """Remove a network device; nothing happens when it is not there."""
    body = _LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name)
    try:
        sock.request(f"remove the network device {name}", Message(RTM_DELLINK, body))
    except OSError as error:
        if not netlink.missing(error):
            raise


def find_link(sock: Socket, name: str) -> Link | None:
    """The network device of this name; None when there is none."""
    body = _LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name)
    try:
        return Link(sock.ask(f"find the network device {name}", Message(RTM_GETLINK, body)))
    except OSError as error:
        if netlink.missing(error):
            return None
        raise


def links(sock: Socket) -> list[Link]:
    """Every network device of the namespace."""
    found = sock.dump("list the network devices", Message(RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0)))
    return [Link(body) for body in found]


# ------------------------------------------------------------------ addresses and routes


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def add_address(sock: Socket, index: int, address: bytes, prefix: int) -> None:
    """Give a device an address of 4 or 16 bytes, in a subnet of ``prefix`` bits.

    One of IPv6 can be used at once: nobody is asked whether it is taken (IFA_F_NODAD), for whoever gives it knows.
    """
    v6 = len(address) == 16
    body = _ADDRESS.pack(_family(address), prefix, IFA_F_NODAD if v6 else 0, 0, index)
    body += attribute(IFA_LOCAL, address) + attribute(IFA_ADDRESS, address)
    if not v6 and prefix < 31:
        last = int.from_bytes(address) | (1 << 32 - prefix) - 1
        body += attribute(IFA_BROADCAST, last.to_bytes(4))
    text = f"give a network device the address {socket.inet_ntop(_family(address), address)}"
    sock.request(text, Message(RTM_NEWADDR, body, netlink.NLM_F_CREATE | netlink.NLM_F_EXCL))


def _default_route(gateway: bytes) -> bytes:
    kind = (RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST, 0)
    return _ROUTE.pack(_family(gateway), 0, 0, 0, *kind) + attribute(RTA_GATEWAY, gateway)


def add_default_route(sock: Socket, gateway: bytes) -> None:
    """Send what is for no other route to ``gateway``, an address of 4 or 16 bytes."""
    flags = netlink.NLM_F_CREATE | netlink.NLM_F_EXCL
    sock.request("add the default route", Message(RTM_NEWROUTE, _default_route(gateway), flags))


def routes(sock: Socket, family: int) -> list[tuple[bytes, int, int]]:
    """Destination, prefix and device index of each route of the main table; a default route has prefix 0."""
    found = []
    for body in sock.dump("list the routes", Message(RTM_GETROUTE, _ROUTE.pack(family, *[0] * 8))):
        fields, held = _ROUTE.unpack_from(body), netlink.attributes(body[_ROUTE.size :])
        table = _number(held.get(RTA_TABLE)) or fields[4]
        if table == RT_TABLE_MAIN and fields[7] == RTN_UNICAST:
            found.append((held.get(RTA_DST, b""), fields[1], _number(held.get(RTA_OIF))))
    return found
