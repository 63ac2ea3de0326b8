"""The doors to the network, compared with what ip(8) and nft(8) see; all in network namespaces of the tests."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable

import pytest

from minicontainer.kernel import namespaces, netlink, nftables, rtnetlink

TABLE = "minicontainer-tests"


def in_namespace(work: Callable[[], object]) -> object:
    """Do something in a process with a network namespace of its own, and return what it returned, by JSON."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            namespaces.unshare(namespaces.CLONE_NEWNET)
            os.write(write, json.dumps({"ok": work()}).encode())
        except BaseException as error:
            os.write(write, json.dumps({"error": repr(error)}).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as file:
        said = json.loads(file.read())
    os.waitpid(child, 0)
    assert "error" not in said, said["error"]
    return said["ok"]


def ip(*words: str) -> list[dict[str, object]]:
    """What ip(8) shows of the namespace that the caller is in."""
    done = subprocess.run(["ip", "-json", "-details", *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout or "[]")


def test_a_veth_with_its_far_end_elsewhere():
    def work() -> object:
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        namespaces.unshare(namespaces.CLONE_NEWNET)
        there = os.open("/proc/self/ns/net", os.O_RDONLY)
        far = netlink.Socket()
        namespaces.setns(here)
        with netlink.Socket() as near:
            rtnetlink.add_bridge(near, "br0")
            bridge = rtnetlink.find_link(near, "br0")
            assert bridge and bridge.kind == "bridge" and not bridge.up
            rtnetlink.add_veth(near, "v0", bridge.index, "eth0", there, mac=b"\2\x42\1\2\3\4", mtu=1300)
            rtnetlink.set_hairpin(near, "v0")
            link = rtnetlink.find_link(far, "eth0")
            assert link
            rtnetlink.add_address(far, link.index, bytes((10, 0, 0, 9)), 24)
            rtnetlink.add_address(far, link.index, socket.inet_pton(socket.AF_INET6, "fd00::9"), 64)
            rtnetlink.set_up(far, link.index)
            rtnetlink.add_default_route(far, bytes((10, 0, 0, 1)))
            assert rtnetlink.routes(far, socket.AF_INET)[0][1] == 0
            ours = ip("link", "show", "v0")
            namespaces.setns(there)
            return [ours, ip("addr", "show", "eth0"), ip("route"), [link.mac, link.mtu]]

    ours, theirs, routes, seen = in_namespace(work)
    (near,), (far,) = ours, theirs
    assert near["master"] == "br0" and near["mtu"] == 1300 and "UP" in near["flags"]
    assert near["linkinfo"]["info_slave_data"]["hairpin"] is True
    assert far["address"] == "02:42:01:02:03:04" and seen == [far["address"], 1300]
    found = {(a["local"], a["prefixlen"], a.get("broadcast")) for a in far["addr_info"]}
    assert {("10.0.0.9", 24, "10.0.0.255"), ("fd00::9", 64, None)} <= found
    assert not any(address.get("tentative") for address in far["addr_info"] if address["local"] == "fd00::9")
    assert {route["dst"]: route.get("gateway") for route in routes}["default"] == "10.0.0.1"


def test_all_links_as_ip_lists_them():
    def work() -> object:
        with netlink.Socket() as sock:
            for number in range(300):  # more than one answer holds
                rtnetlink.add_bridge(sock, f"br{number}")
            return [[[link.index, link.name] for link in rtnetlink.links(sock)], ip("link")]

    ours, theirs = in_namespace(work)
    assert ours == [[link["ifindex"], link["ifname"]] for link in theirs]


def test_a_refusal_says_what_and_why():
    def work() -> object:
        with netlink.Socket() as sock:
            said = []
            rtnetlink.add_bridge(sock, "br0")
            for attempt in (
                lambda: rtnetlink.add_bridge(sock, "br0"),
                lambda: rtnetlink.add_address(sock, 1, bytes((10, 0, 0, 1)), 77),
                lambda: rtnetlink.add_default_route(sock, bytes((10, 9, 9, 9))),
            ):
                try:
                    attempt()
                except OSError as error:
                    said.append([error.errno, str(error)])
            assert rtnetlink.find_link(sock, "nonesuch") is None
            rtnetlink.delete_link(sock, "nonesuch")
            return said

    taken, prefix, route = in_namespace(work)
    assert taken[0] == errno.EEXIST and "make the bridge br0" in taken[1]
    assert prefix[0] == errno.EINVAL and "10.0.0.1" in prefix[1]
    assert route[0] == errno.ENETUNREACH and "default route" in route[1]


def test_a_batch_is_done_whole_or_not_at_all():
    def work() -> object:
        with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
            chain = nftables.new_chain(TABLE, "c", "filter", nftables.NF_INET_FORWARD, 0)
            rule = nftables.new_rule(TABLE, "c", nftables.verdict(nftables.NF_DROP))
            wrong = nftables.new_rule(TABLE, "nonesuch", nftables.verdict(nftables.NF_DROP))
            try:
                nftables.commit(sock, "try", [nftables.new_table(TABLE), chain, rule, wrong])
            except OSError as error:
                assert error.errno == errno.ENOENT and "try" in str(error)
            else:
                raise AssertionError("it was done")
            assert not nftables.has_table(sock, TABLE)
            many = [rule] * 3000
            nftables.commit(sock, "do", [nftables.new_table(TABLE), chain, *many])
            count = len(nftables.rules(sock, TABLE, "c", nftables.NFPROTO_INET))
            found = nftables.chains(sock, nftables.NF_INET_FORWARD)
            nftables.commit(sock, "do", [nftables.new_table(TABLE), chain, nftables.flush_table(TABLE), rule])
            again = len(nftables.rules(sock, TABLE, "c", nftables.NFPROTO_INET))
            nftables.commit(sock, "undo", [nftables.delete_table(TABLE)])
            return [count, again, found, nftables.has_table(sock, TABLE)]

    assert in_namespace(work) == [3000, 1, [[nftables.NFPROTO_INET, TABLE, "c", False]], False]


def test_the_rules_are_what_nft_reads():
    if not shutil.which("nft"):
        pytest.skip("nft is not installed; apt-get install nftables")

    def work() -> object:
        rules = [
            [*nftables.interface(nftables.NFT_META_IIFNAME, "br0"), *nftables.verdict(nftables.NF_DROP)],
            [*nftables.source(bytes((10, 1, 0, 0)), 16), *nftables.destination(bytes((10, 2, 0, 1)), 32)],
            [*nftables.destination(bytes(15) + b"\1", 128, other=True), nftables.counter()],
            [*nftables.protocol(6), *nftables.destination_port(8080), *nftables.verdict(nftables.NF_ACCEPT)],
            nftables.connection(nftables.NFT_CT_STATE, nftables.ESTABLISHED | nftables.RELATED),
        ]
        nat = [
            [
                *nftables.to_host(nftables.NFPROTO_IPV4),
                *nftables.protocol(17),
                *nftables.destination_port(53),
            ],
            [*nftables.interface(nftables.NFT_META_OIFNAME, "br0", other=True), *nftables.masquerade()],
        ]
        nat[0] += nftables.redirect_to(bytes((10, 1, 0, 2)), 5353)
        with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
            messages = [nftables.new_table(TABLE)]
            messages.append(nftables.new_chain(TABLE, "f", "filter", nftables.NF_INET_FORWARD, 0))
            messages.append(nftables.new_chain(TABLE, "p", "nat", nftables.NF_INET_PRE_ROUTING, -100))
            messages.append(nftables.new_chain(TABLE, "o", "nat", nftables.NF_INET_POST_ROUTING, 100))
            messages += [nftables.new_rule(TABLE, "f", words) for words in rules]
            messages += [nftables.new_rule(TABLE, "p", nat[0]), nftables.new_rule(TABLE, "o", nat[1])]
            nftables.commit(sock, "write", messages)
        done = subprocess.run(
            ["nft", "list", "table", "inet", TABLE], capture_output=True, text=True, check=True
        )
        return [line.strip() for line in done.stdout.splitlines()]

    shown = in_namespace(work)
    for line in (
        'iifname "br0" drop',
        "ip saddr 10.1.0.0/16 ip daddr 10.2.0.1",
        "ip6 daddr != ::1 counter packets 0 bytes 0",
        "tcp dport 8080 accept",
        "ct state established,related",
        "meta nfproto ipv4 fib daddr type local udp dport 53 dnat ip to 10.1.0.2:5353",
        'oifname != "br0" masquerade',
    ):
        assert line in shown, line
