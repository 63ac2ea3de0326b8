"""Wires: plugging a container in, five messages for each of its networks.

Its monitor does it when the container's first process is in its namespaces and has not begun to run: a **veth**
with one end on the bridge and the other in the container's network namespace, then, over there, the address, up,
and a route to everywhere else by the gateway. Netlink sockets belong to the namespace in which they are made, so a
moment in the container's is enough to get one, and the messages are then sent from where we are.

Nobody has to pull a plug. With the last process of a container its network namespace goes, and with that the veth,
both ends of it (network_namespaces(7)): however the container ended, and whoever was killed.
"""

from __future__ import annotations

import errno
import os

from minicontainer.engine.network.addresses import parse, show
from minicontainer.errors import Error, explain
from minicontainer.kernel import namespaces, netlink, nftables, rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.network.end import End
    from minicontainer.engine.network.network import Network
    from minicontainer.kernel.netlink import Socket


def is_up(network: Network) -> bool:
    """Whether a network's bridge and the table of rules are there, and so are its directories."""
    from minicontainer.engine.network import firewall

    if not os.path.isdir(network.ends_path):
        return False
    with netlink.Socket() as sock:
        link = rtnetlink.find_link(sock, network.bridge)
    if not link or not link.up or link.mac != network.bridge_mac:
        return False
    with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
        return nftables.has_table(sock, firewall.table(network.directories.root))


def plug_in(end: End, pid: int) -> None:
    """Connect the network namespace of a process to a network, as its ``end`` says."""
    with netlink.Socket() as here:
        bridge = rtnetlink.find_link(here, end.network.bridge)
        if not bridge:
            raise Error(
                f"the bridge {end.network.bridge} of network {end.network.name} is gone; start the container again"
            )
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _add_veth(here, end, bridge, namespace)
            if end.ports or end.is_way_out:
                rtnetlink.set_hairpin(here, end.host_interface)
            with _socket_in(namespace, end) as there:
                _configure(there, end)
        finally:
            os.close(namespace)


def _add_veth(here: Socket, end: End, bridge: rtnetlink.Link, namespace: int) -> None:
    for attempt in range(2):
        try:
            mac = bytes.fromhex(end.mac.replace(":", ""))
            rtnetlink.add_veth(
                here, end.host_interface, bridge.index, end.interface, namespace, mac=mac, mtu=bridge.mtu
            )
            return
        except OSError as error:
            if error.errno != errno.EEXIST or attempt:
                raise
            # The container was just stopped, and the kernel has not got round to removing its last namespace.
            rtnetlink.delete_link(here, end.host_interface)


def _socket_in(namespace: int, end: End) -> Socket:
    """A socket of another namespace, in which only this thread is for a moment."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.setns(namespace, namespaces.CLONE_NEWNET)
    try:
        if end.ipv6:
            _enable_ipv6(end.interface)
        return netlink.Socket()
    finally:
        namespaces.setns(own, namespaces.CLONE_NEWNET)
        os.close(own)


def _enable_ipv6(interface: str) -> None:
    """A device has no IPv6 in a namespace that began without (see minicontainer.engine.bundle)."""
    with open(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6", "w") as file:
        file.write("0")


def _configure(there: Socket, end: End) -> None:
    link = rtnetlink.find_link(there, end.interface)
    assert link, "it was made a moment ago"
    for address, pool in end.pools:
        rtnetlink.add_address(there, link.index, parse(address), pool.subnet.prefix)
    rtnetlink.set_up(there, link.index)
    if end.is_way_out:
        lead_out(there, end)


def lead_out(there: Socket, end: End) -> None:
    """Send what is for elsewhere by this network."""
    for address, pool in end.pools:
        try:
            rtnetlink.add_default_route(there, pool.gateway)
        except OSError as error:
            raise Error(f"cannot route from {address} by {show(pool.gateway)}: {explain(error)}") from error


def unplug(end: End) -> None:
    """Pull a plug of a container that runs on."""
    with netlink.Socket() as here:
        rtnetlink.delete_link(here, end.host_interface)


def reroute(end: End, pid: int) -> None:
    """Have a network be the way out, when the one that was is gone."""
    with netlink.Socket() as here:
        rtnetlink.set_hairpin(here, end.host_interface)
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _socket_in(namespace, end) as there:
            lead_out(there, end)
    finally:
        os.close(namespace)
