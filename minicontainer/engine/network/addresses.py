"""Addresses: subnets, and handing out an address to one container at a time.

An address is taken by making a symlink of its name, which the kernel does for one and refuses to all others
(symlink(2), EEXIST), and which tells who has it. So there is no counter that a killed process could leave
wrong, and no address is ever given out twice. The hardware address is made from the other, as Docker makes it: a
container that comes back with the same address is known to its neighbours still.

An address here is bytes, 4 of IPv4 or 16 of IPv6: Python's ipaddress would do all this, and takes 5 ms to import.
"""

from __future__ import annotations

import os
import socket

from minicontainer.engine.directories import listdir
from minicontainer.errors import Conflict, Error, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


def parse(text: str) -> bytes:
    """The bytes of an address; InvalidArgument when it is none."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return socket.inet_pton(family, text)
    except (OSError, ValueError):
        raise InvalidArgument(f"invalid address: {text!r} is no IP address") from None


def show(address: bytes) -> str:
    """An address as people write it."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def mac_of(address: bytes) -> bytes:
    """A hardware address that belongs to an address: of those that anybody may use, with the address in it."""
    return b"\x02\x42" + address[-4:]


class Subnet:
    """A block of addresses: all with the same first ``prefix`` bits as ``address``."""

    def __init__(self, address: bytes, prefix: int) -> None:
        self.size = len(address) * 8
        host_bits = self.size - prefix
        self.first = int.from_bytes(address) >> host_bits << host_bits
        self.last = self.first | (1 << host_bits) - 1
        self.prefix = prefix
        self.address = self.at(self.first)

    @classmethod
    def parse(cls, text: str) -> Subnet:
        """From ``172.20.0.0/16``; InvalidArgument when it is none."""
        address, slash, prefix = text.partition("/")
        raw = parse(address)
        if not slash or not prefix.isdecimal() or int(prefix) > len(raw) * 8:
            raise InvalidArgument(f"invalid subnet {text!r}: it is an address and a prefix, as 172.20.0.0/16")
        return cls(raw, int(prefix))

    def at(self, number: int) -> bytes:
        """The address that is this number."""
        return number.to_bytes(self.size // 8)

    def __contains__(self, address: bytes) -> bool:
        return len(address) * 8 == self.size and self.first <= int.from_bytes(address) <= self.last

    def overlaps(self, other: Subnet) -> bool:
        """Whether there are addresses in both."""
        return self.size == other.size and self.first <= other.last and other.first <= self.last

    def usable(self) -> range:
        """The numbers of the addresses that a host can have: not the network's own, nor that for everybody."""
        if self.size - self.prefix < 2:
            return range(self.first, self.last + 1)
        return range(self.first + 1, self.last if self.size == 32 else self.last + 1)

    def __str__(self) -> str:
        return f"{show(self.address)}/{self.prefix}"


class Pool:
    """The addresses of one subnet of a network: an entry of Docker's ``IPAM.Config``."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.subnet = Subnet.parse(config["Subnet"])
        self.range = Subnet.parse(config["IPRange"]) if config.get("IPRange") else self.subnet
        self.gateway = parse(config["Gateway"])
        self.is_v6 = self.subnet.size == 128

    def check(self, address: bytes, network: str) -> None:
        """Raise InvalidArgument when no container can have this address."""
        if address not in self.subnet or int.from_bytes(address) not in self.subnet.usable():
            raise InvalidArgument(
                f"invalid address {show(address)}: it is not one for a container in the subnet {self.subnet} of "
                f"network {network}"
            )

    def free(self, taken: set[str]) -> Iterator[bytes]:
        """The addresses that nobody has, from the lowest."""
        for number in self.range.usable():
            if number in self.subnet.usable():
                address = self.subnet.at(number)
                if address != self.gateway and show(address) not in taken:
                    yield address


def choose(directory: str, pool: Pool, network: str, wanted: str, name_of: Callable[[str], str]) -> bytes:
    """The address that a container gets, the one it ``wanted`` or the lowest that is free; under the lock.

    ``name_of`` turns the id of a container into its name. Raises Conflict when another one has the address,
    InvalidArgument when it is outside, Error when all are taken.
    """
    if not wanted:
        address = next(pool.free(set(listdir(directory))), None)
        if address is None:
            raise Error(
                f"no address is left in {pool.range} of network {network}; remove containers that are on it"
            )
        return address
    address = parse(wanted)
    pool.check(address, network)
    if address == pool.gateway:
        raise Conflict(f"address {wanted} is already in use: it is the gateway of network {network}")
    holder = holder_of(directory, show(address))
    if holder:
        raise Conflict(
            f"address {wanted} of network {network} is already in use by container {name_of(holder)}"
        )
    return address


def holder_of(directory: str, address: str) -> str:
    """The id of the container that has an address, "" when it is free."""
    try:
        return os.path.basename(os.readlink(os.path.join(directory, address)))
    except FileNotFoundError:
        return ""


def take(directory: str, address: str, container_id: str) -> None:
    """Note that a container has an address; FileExistsError when another one has it."""
    os.symlink(f"../../../{container_id}", os.path.join(directory, address))


def give_back(directory: str, address: str, container_id: str) -> None:
    """Free an address, if this container has it."""
    if address and holder_of(directory, address) == container_id:
        os.unlink(os.path.join(directory, address))
