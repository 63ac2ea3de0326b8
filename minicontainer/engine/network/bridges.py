"""Bridges: what is made once for a network and stays, until the network is removed or the host goes down.

A bridge is a switch in the kernel, and a network device of the host's at the same time: the host's plug in it, with
the gateway's address. It is made by **pyroute2**, the library that speaks all of netlink. Its import takes half a
second, which is why only this module uses it, and nothing imports this module until a bridge has to be made.
pyroute2 runs an event loop; where one runs already, as in a notebook, another is refused to that thread, so it
gets a thread of its own.

Every bridge has written on it whose it is (``ip -d link`` shows it as ``alias``): the root of its engine. When a
subnet is chosen, those are removed whose root is gone, or knows nothing of them: so a directory that somebody has
deleted leaves no subnet in use for ever. And a bridge comes up last of all: one that is down was never finished.

A host that is to pass packets on between its devices must be told to (``ip_forward``). For IPv6 that has a side to
it: a forwarding host no longer listens to routers, unless it is told that too (``accept_ra`` 2).
"""

from __future__ import annotations

import os
import socket
import threading

from minicontainer.engine.network import firewall, passage
from minicontainer.engine.network.addresses import show
from minicontainer.engine.network.network import MTU
from minicontainer.errors import Conflict, Error
from minicontainer.kernel import netlink, rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from minicontainer.engine.network.network import Network

ALIAS = "minicontainer:"  #: and the root of the engine, in a bridge's alias
_SYSCTL = "/proc/sys/net"
_ETHERNET_MTU = 1500
_LONGEST_ALIAS = 255  # bytes (include/uapi/linux/if.h, IFALIASZ)


def make(network: Network) -> None:
    """Make the bridge of a network, with its addresses, and have the host forward; one that is whole stays.

    Raises Conflict when a device of that name is there which is not the network's.
    """
    with netlink.Socket() as sock:
        there = rtnetlink.find_link(sock, network.bridge)
        if there and not _is_ours(there, network):
            raise Conflict(
                f"the host has a network device {network.bridge} already, which is not of network {network.name}"
            )
        whole = there and there.up and there.mac == network.bridge_mac  # another one has another gateway
        if there and not whole:
            rtnetlink.delete_link(sock, network.bridge)
        if not whole:
            mtu = int(network.options.get(MTU) or mtu_outside(sock))
            _in_thread(lambda: _make_device(network, mtu))
    _forward(network)
    passage.open_for(network.bridge)


def _is_ours(there: rtnetlink.Link, network: Network) -> bool:
    """Whether a device is the network's bridge, or what a maker who was killed has left of it."""
    unfinished = (
        not there.alias and not there.up and there.name in (f"mc-{network.id[:12]}", "minicontainer0")
    )
    return there.kind == "bridge" and (there.alias == _alias(network) or unfinished)


def _alias(network: Network) -> str:
    alias = ALIAS + network.directories.root
    if len(alias.encode()) > _LONGEST_ALIAS:
        raise Error(f"the path of the engine's root is too long to have networks: {network.directories.root}")
    return alias


def _in_thread(work: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _make_device(network: Network, mtu: int) -> None:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    name = network.bridge
    try:
        with IPRoute() as ip:
            ip.link("add", ifname=name, kind="bridge", address=network.bridge_mac, mtu=mtu)
            (index,) = ip.link_lookup(ifname=name)
            # The MTU is set again, or it follows the ports'.
            ip.link("set", index=index, ifalias=_alias(network), mtu=mtu)
            _set_up_protocols(network)
            for pool in network.pools:
                flags = {"flags": rtnetlink.IFA_F_NODAD} if pool.is_v6 else {}
                ip.addr("add", index=index, address=show(pool.gateway), prefixlen=pool.subnet.prefix, **flags)
            ip.link("set", index=index, state="up")
    except NetlinkError as error:
        raise OSError(error.code, f"make the bridge {name}: {os.strerror(error.code)}") from None


def _set_up_protocols(network: Network) -> None:
    if not network.internal:
        # What comes to a published port of 127.0.0.1 goes to the bridge with that address.
        set_sysctl(f"ipv4/conf/{network.bridge}/route_localnet", "1")
    if os.path.exists(f"{_SYSCTL}/ipv6/conf/{network.bridge}"):
        v6 = network.pool(v6=True)
        set_sysctl(f"ipv6/conf/{network.bridge}/disable_ipv6", "0" if v6 else "1")
        set_sysctl(f"ipv6/conf/{network.bridge}/accept_ra", "0")
    elif network.pool(v6=True):
        raise Error(f"network {network.name}: this kernel has no IPv6")


def _forward(network: Network) -> None:
    """Have the host pass packets on."""
    if network.internal:
        return
    if get_sysctl("ipv4/ip_forward") != "1":
        set_sysctl("ipv4/ip_forward", "1")
    if network.pool(v6=True) and get_sysctl("ipv6/conf/all/forwarding") != "1":
        for name in os.listdir(f"{_SYSCTL}/ipv6/conf"):
            if name not in ("all", "lo") and get_sysctl(f"ipv6/conf/{name}/accept_ra") == "1":
                set_sysctl(f"ipv6/conf/{name}/accept_ra", "2")
        set_sysctl("ipv6/conf/all/forwarding", "1")


def get_sysctl(name: str) -> str:
    """A kernel parameter of the network, as ``ipv4/ip_forward``."""
    with open(f"{_SYSCTL}/{name}") as file:
        return file.read().strip()


def set_sysctl(name: str, value: str) -> None:
    """Set a kernel parameter of the network; Error when this host does not allow it."""
    try:
        with open(f"{_SYSCTL}/{name}", "w") as file:
            file.write(value)
    except OSError as error:
        raise Error(
            f"cannot set the sysctl net.{name.replace('/', '.')} to {value}: {error.strerror}; set it on the host"
        ) from error


def mtu_outside(sock: netlink.Socket) -> int:
    """How much the host's way out takes in one packet, in bytes: what is larger might get lost there."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for _, prefix, index in rtnetlink.routes(sock, family):
            if not prefix:
                sizes = [link.mtu for link in rtnetlink.links(sock) if link.index == index]
                return min([_ETHERNET_MTU, *sizes])
    return _ETHERNET_MTU


def remove(network: Network) -> None:
    """Remove the bridge of a network, if it is there, and is the network's."""
    with netlink.Socket() as sock:
        there = rtnetlink.find_link(sock, network.bridge)
        if there and not _is_ours(there, network):
            return
        rtnetlink.delete_link(sock, network.bridge)
    passage.close_for(network.bridge)


def orphans(
    links: list[rtnetlink.Link], root: str = "", known: AbstractSet[str] = frozenset()
) -> list[rtnetlink.Link]:
    """Of these devices the bridges of engines whose root is gone, and of that at ``root`` those not ``known``."""
    found = []
    for link in links:
        whose = root_of(link)
        if whose and (not os.path.exists(whose) or (whose == root and link.name not in known)):
            found.append(link)
    return found


def root_of(link: rtnetlink.Link) -> str:
    """The root of the engine that a bridge is of; "" for what is none of ours."""
    return link.alias.removeprefix(ALIAS) if link.alias.startswith(ALIAS) else ""


def remove_orphans(sock: netlink.Socket, root: str = "", known: AbstractSet[str] = frozenset()) -> None:
    """Remove the :func:`orphans`, and the tables of engines that are gone; none that something is plugged into.

    The table goes first, for nothing else than the bridge tells whose it was.
    """
    links = rtnetlink.links(sock)
    found = orphans(links, root, known)
    ports = {link.master for link in links}
    needed = {root, *(root_of(link) for link in found if link.index in ports)}
    for link in found:
        if root_of(link) not in needed:
            firewall.remove(root_of(link))
        if link.index not in ports:
            rtnetlink.delete_link(sock, link.name)
            passage.close_for(link.name)
