"""Subnets and addresses: what is free, what is not, and that nobody gets what another one has."""

from __future__ import annotations

import ipaddress
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicontainer.engine.network import addresses, subnets
from minicontainer.engine.network.addresses import Pool, Subnet
from minicontainer.errors import Conflict, Error, InvalidArgument


def subnet(kind: type, number: int, prefix: int) -> str:
    return str(ipaddress.ip_network((kind(number), prefix), strict=False))


networks = st.one_of(
    st.builds(subnet, st.just(ipaddress.IPv4Address), st.integers(0, 2**32 - 1), st.integers(8, 30)),
    st.builds(subnet, st.just(ipaddress.IPv6Address), st.integers(0, 2**128 - 1), st.integers(8, 126)),
)


@given(networks, networks)
def test_subnets_overlap_as_the_library_says(one: str, other: str) -> None:
    ours, theirs = Subnet.parse(one), ipaddress.ip_network(one)
    assert ipaddress.ip_network(str(ours)) == theirs
    assert ours.overlaps(Subnet.parse(other)) == (
        theirs.version == ipaddress.ip_network(other).version and theirs.overlaps(ipaddress.ip_network(other))
    )


@given(networks)
def test_the_first_and_last_address_for_a_host(text: str) -> None:
    usable, theirs = Subnet.parse(text).usable(), ipaddress.ip_network(text)
    last = theirs[-2] if theirs.version == 4 else theirs[-1]
    assert (usable[0], usable[-1]) == (int(theirs[1]), int(last))


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "x/8", "fd00::/129", "10.0.0.0/-1"]
)
def test_what_is_no_subnet(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Subnet.parse(text)


def pool(subnet: str = "10.9.0.0/29", **more: str) -> Pool:
    return Pool({"Subnet": subnet, "Gateway": "10.9.0.1", **more})


def test_each_gets_another_one_until_none_is_left(tmp_path):
    got = []
    for number in range(5):
        address = addresses.show(addresses.choose(str(tmp_path), pool(), "n", "", str))
        addresses.take(str(tmp_path), address, f"container{number}")
        got.append(address)
    assert got == [f"10.9.0.{last}" for last in (2, 3, 4, 5, 6)]
    with pytest.raises(Error, match="no address is left"):
        addresses.choose(str(tmp_path), pool(), "n", "", str)
    addresses.give_back(str(tmp_path), "10.9.0.4", "container0")  # which does not have it
    assert addresses.holder_of(str(tmp_path), "10.9.0.4") == "container2"
    addresses.give_back(str(tmp_path), "10.9.0.4", "container2")
    assert addresses.show(addresses.choose(str(tmp_path), pool(), "n", "", str)) == "10.9.0.4"


def test_one_address_is_taken_by_one(tmp_path):
    addresses.take(str(tmp_path), "10.9.0.2", "a")
    with pytest.raises(FileExistsError):
        addresses.take(str(tmp_path), "10.9.0.2", "b")
    assert os.listdir(tmp_path) == ["10.9.0.2"]


def test_an_address_that_is_asked_for(tmp_path):
    addresses.take(str(tmp_path), "10.9.0.2", "a")
    with pytest.raises(Conflict, match="already in use by container name-of-a"):
        addresses.choose(str(tmp_path), pool(), "n", "10.9.0.2", lambda holder: f"name-of-{holder}")
    with pytest.raises(Conflict, match="gateway"):
        addresses.choose(str(tmp_path), pool(), "n", "10.9.0.1", str)
    for outside in ("10.9.0.0", "10.9.0.7", "10.9.0.8", "fd00::1"):
        with pytest.raises(InvalidArgument, match="subnet"):
            addresses.choose(str(tmp_path), pool(), "n", outside, str)


def test_addresses_are_chosen_from_the_range(tmp_path):
    part = pool("10.9.0.0/24", IPRange="10.9.0.8/30")
    found = [addresses.show(address) for address in part.free(set())]
    assert found == ["10.9.0.8", "10.9.0.9", "10.9.0.10", "10.9.0.11"] or found == ["10.9.0.9", "10.9.0.10"]


def test_the_nameserver_and_the_routes_of_the_host_are_taken(engine):
    taken = [str(subnet) for subnet, _ in subnets.in_use(engine.networks)]
    with open("/proc/net/route") as file:
        rows = [line.split() for line in file.read().splitlines()[1:]]
    for destination, mask in ((row[1], row[7]) for row in rows):
        if mask != "00000000":
            address = int.from_bytes(bytes.fromhex(destination), "little")
            bits = bin(int(mask, 16)).count("1")
            assert f"{ipaddress.ip_address(address)}/{bits}" in taken
