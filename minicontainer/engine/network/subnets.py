"""Choosing subnets: those that were asked for, checked, or some that are free.

A subnet must not overlap a route of the host: either its containers or the host would not find whatever is there.
So every route is looked at, whoever made it, and the subnets of our other networks too, which may have no bridge
since the last boot. A bridge brings a route with it, so what one engine has chosen is seen by all others as soon as
its bridge is there; until then it has the :func:`claim`, which only one engine of the host has at a time.
"""

from __future__ import annotations

import os
import socket

from minicontainer.engine.directories import DEFAULT_RUN
from minicontainer.engine.network import bridges
from minicontainer.engine.network.addresses import Subnet, parse, show
from minicontainer.engine.network.network import NoSubnet
from minicontainer.errors import Conflict, InvalidArgument
from minicontainer.files import Lock
from minicontainer.kernel import netlink, rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minicontainer.engine.network.network import Network
    from minicontainer.engine.network.networks import Networks

_SMALLEST = {32: 30, 128: 126}  # the longest prefix that leaves room for the gateway and a container
_NOT_FOR_HOSTS = {  # RFC 6890; the host's own, and all of multicast
    "0.0.0.0/8": "of no host",
    "127.0.0.0/8": "of the loopback device",
    "224.0.0.0/3": "of groups, or reserved",
    "::/96": "of the loopback device, or of no host",
    "::ffff:0:0/96": "of IPv4",
    "fe80::/10": "of one link each",
    "ff00::/8": "of groups",
}


def claim() -> Lock:
    """The lock of whoever chooses a subnet and makes its bridge, among all engines of this host, for a ``with``."""
    os.makedirs(DEFAULT_RUN, mode=0o700, exist_ok=True)
    return Lock(os.path.join(DEFAULT_RUN, ".subnets"))


def choose(
    networks: Networks, subnets: list[str], gateways: list[str], ranges: list[str], ipv6: bool
) -> list[dict[str, str]]:
    """Docker's ``IPAM.Config`` of a new network; under the lock."""
    wanted = [Subnet.parse(text) for text in subnets]
    with netlink.Socket() as sock:
        bridges.remove_orphans(sock, networks.directories.root, {each.bridge for each in networks.made()})
    taken = list(in_use(networks))
    if gateways and not subnets:
        raise InvalidArgument(
            f"gateway {gateways[0]} is in no subnet that was asked for; give that with --subnet"
        )
    for at, subnet in enumerate(wanted):
        if subnet.size == 128 and not ipv6:
            raise InvalidArgument(f"subnet {subnet} is one of IPv6; enable that with --ipv6")
        if subnet.size in [other.size for other in wanted[:at]]:
            raise InvalidArgument(f"subnet {subnet}: a network has one of IPv4 and one of IPv6 at most")
        if subnet.prefix > _SMALLEST[subnet.size]:
            raise InvalidArgument(f"subnet {subnet} has no room for a gateway and a container")
        for special, whose in _NOT_FOR_HOSTS.items():
            if subnet.overlaps(Subnet.parse(special)):
                raise InvalidArgument(
                    f"subnet {subnet} is none for containers: addresses in {special} are {whose}"
                )
        _refuse_overlap(subnet, taken)
    for size, candidates in ((32, _private()), (128, _unique_local())):
        if size not in [subnet.size for subnet in wanted] and (size == 32 or ipv6):
            wanted.append(_first_free(candidates, taken))
    return _with_details(sorted(wanted, key=lambda subnet: subnet.size), gateways, ranges)


def _with_details(subnets: list[Subnet], gateways: list[str], ranges: list[str]) -> list[dict[str, str]]:
    config = []
    gateway_of, range_of = {}, {}
    for text in gateways:
        gateway_of[_home(subnets, parse(text), f"gateway {text}")] = text
    for text in ranges:
        part = Subnet.parse(text)
        home = _home(subnets, part.address, f"range {text}")
        if part.last > home.last:
            raise InvalidArgument(f"range {text} is not within the subnet {home}")
        range_of[home] = str(part)
    for subnet in subnets:
        gateway = gateway_of.get(subnet) or show(subnet.at(subnet.usable()[0]))
        if int.from_bytes(parse(gateway)) not in subnet.usable():
            raise InvalidArgument(f"gateway {gateway} is not an address for a host in the subnet {subnet}")
        entry = {"Subnet": str(subnet), "Gateway": gateway}
        config.append(entry | ({"IPRange": range_of[subnet]} if subnet in range_of else {}))
    return config


def _home(subnets: list[Subnet], address: bytes, what: str) -> Subnet:
    for subnet in subnets:
        if address in subnet:
            return subnet
    raise InvalidArgument(f"{what} is not within the subnet {' or '.join(map(str, subnets))}")


def is_taken(networks: Networks, network: Network) -> bool:
    """Whether others have a subnet of this network by now, which did not have a bridge meanwhile."""
    taken = list(in_use(networks, but=network))
    return any(pool.subnet.overlaps(other) for pool in network.pools for other, _ in taken)


def in_use(networks: Networks, but: Network | None = None) -> Iterator[tuple[Subnet, str]]:
    """Every subnet that is taken, and by what; ``but`` not those of this network."""
    own = but.bridge if but else ""
    for network in networks.made():
        if network.bridge != own:
            for pool in network.pools:
                yield pool.subnet, f"network {network.name}"
    with netlink.Socket() as sock:
        names = {link.index: link.name for link in rtnetlink.links(sock)}
        for family in (socket.AF_INET, socket.AF_INET6):
            for destination, prefix, index in rtnetlink.routes(sock, family):
                device = names.get(index, "?")
                if prefix and device != own:
                    yield Subnet(destination, prefix), f"the host's route by {device}"
    for address in _nameservers():
        yield Subnet(address, len(address) * 8), "a name server of the host's"


def _nameservers() -> Iterator[bytes]:
    try:
        with open("/etc/resolv.conf", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        words = line.split()
        if words[:1] == ["nameserver"] and len(words) > 1:
            try:
                yield parse(words[1])
            except InvalidArgument:
                continue  # with a zone, of a link-local one


def _refuse_overlap(subnet: Subnet, taken: list[tuple[Subnet, str]]) -> None:
    for other, holder in taken:
        if subnet.overlaps(other):
            raise Conflict(f"subnet {subnet} overlaps {other}, {holder}; choose another one")


def _first_free(candidates: Iterator[Subnet], taken: list[tuple[Subnet, str]]) -> Subnet:
    for subnet in candidates:
        if not any(subnet.overlaps(other) for other, _ in taken):
            return subnet
    raise NoSubnet(
        "no subnet is free: networks and the host's routes have them all; give one with --subnet, or remove "
        "networks (minicontainer network prune)"
    )


def _private() -> Iterator[Subnet]:
    """Docker's choice of private blocks (RFC 1918): 172.17 to 172.31 with 16 bits, then parts of 192.168."""
    for second in range(17, 32):
        yield Subnet(bytes((172, second, 0, 0)), 16)
    for third in range(0, 256, 16):
        yield Subnet(bytes((192, 168, third, 0)), 20)


def _unique_local() -> Iterator[Subnet]:
    """Blocks that are for nobody outside, made up at random so that no two sites have the same (RFC 4193)."""
    while True:
        yield Subnet(b"\xfd" + os.urandom(7) + bytes(8), 64)
