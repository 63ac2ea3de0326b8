"""Containers on networks, as their programs see it: who is reached, by which name, and who is not."""

from __future__ import annotations

import json
import os
import re
import threading
import time

import pytest
from conftest import DOCKER_IMAGE
from network_fixtures import TCP_SERVER, TCP_VISITOR, host_ends, taken
from waiting import until

from minicontainer.engine.network import ends, hosts, members
from minicontainer.engine.options import Options
from minicontainer.errors import NotFound
from minicontainer.kernel import netlink, rtnetlink

pytest_plugins = ["network_fixtures"]
pytestmark = pytest.mark.usefixtures("turn")  # their ports and subnets are written here


def pings(cli, container: str, target: str, *more: str) -> bool:
    done = cli("exec", container, "ping", "-c", "1", "-W", "1", *more, target, code=None)
    return "1 packets received" in done.stdout


def sleeper(cli, network: str, *words: str) -> str:
    return cli.out("run", "-d", "--network", network, *words, "alpine", "sleep", "1000")


def address(cli, container: str, network: str, key: str = "IPAddress") -> str:
    return cli.out("inspect", "-f", f'{{{{(index .NetworkSettings.Networks "{network}").{key}}}}}', container)


# ------------------------------------------------------------------ the default network


def test_a_container_has_an_address_and_a_way_out(cli):
    shown = cli.out("run", "--rm", "alpine", "sh", "-c", "ip addr; ip route; cat /sys/class/net/eth0/address")
    assert re.search(r"eth0@if\d+: <BROADCAST,MULTICAST,UP", shown)
    found = re.search(r"inet (172|192)\.([\d.]+)/\d+ .*scope global eth0", shown)
    assert found and re.search(r"default via [\d.]+ dev eth0", shown)
    last = f"{found[1]}.{found[2]}".split(".")
    assert shown.splitlines()[-1] == "02:42:" + ":".join(f"{int(part):02x}" for part in last)


def test_it_looks_as_in_docker(cli, docker):
    def links(text: str) -> list[str]:
        return re.findall(r"^\d+: (\S+?)(?:@if\d+)?: <([A-Z_,]+)>", text, re.M)

    words = ["--rm", "sh", "-c", "ip addr show eth0; ip addr show lo"]
    theirs = docker("run", words[0], DOCKER_IMAGE, *words[1:])
    if theirs.returncode:
        pytest.skip("docker cannot start a container on its bridge here")
    ours = cli.out("run", words[0], "alpine", *words[1:])
    assert links(ours) == links(theirs.stdout)


def test_two_reach_each_other_and_the_host(cli, places):
    one, other = sleeper(cli, "bridge"), sleeper(cli, "bridge")
    assert pings(cli, one, address(cli, other, "bridge"))
    assert pings(cli, one, address(cli, one, "bridge", "Gateway"))
    pid = int(cli.out("inspect", "-f", "{{.State.Pid}}", other))
    places(pid).serve(TCP_SERVER, "0.0.0.0", 7000, "other")
    target = address(cli, other, "bridge")
    mine = places(int(cli.out("inspect", "-f", "{{.State.Pid}}", one)))
    assert mine.visit(TCP_VISITOR, target, 7000) == f"other heard hello from {address(cli, one, 'bridge')}"
    assert places().visit(TCP_VISITOR, target, 7000).startswith("other heard hello")


def test_no_names_on_the_default_network(cli):
    sleeper(cli, "bridge", "--name", "nameless")
    other = sleeper(cli, "bridge")
    assert not pings(cli, other, "nameless")
    assert pings(cli, other, cli.out("exec", other, "hostname"))  # its own


# ------------------------------------------------------------------ networks that somebody made


def test_names_and_aliases(cli, net):
    name = net()
    one = sleeper(cli, name, "--name", "alpha", "--network-alias", "first", "--network-alias", "uno")
    other = sleeper(cli, name, "--name", "beta")
    for known in ("alpha", "first", "uno", one[:12]):
        assert pings(cli, other, known), known
    assert pings(cli, one, "beta")


def test_none_reaches_another_network(cli, net, places):
    names = net(), net(), net("--internal"), "bridge"
    containers = [sleeper(cli, name) for name in names]
    for one, own in zip(containers, names, strict=True):
        for other, theirs in zip(containers, names, strict=True):
            if one != other:
                assert not pings(cli, one, address(cli, other, theirs)), f"{own} reaches {theirs}"
    pid = int(cli.out("inspect", "-f", "{{.State.Pid}}", containers[0]))
    places(pid).serve(TCP_SERVER, "0.0.0.0", 7001)
    target = address(cli, containers[0], names[0])
    there = places(int(cli.out("inspect", "-f", "{{.State.Pid}}", containers[1])))
    assert there.visit(TCP_VISITOR, target, 7001) == ""


def test_the_outside_is_reached_with_the_hosts_address(cli, net, outside):
    outside.serve(TCP_SERVER, "198.51.100.2", 7002, "outside")
    container = sleeper(cli, net())
    pid = int(cli.out("inspect", "-f", "{{.State.Pid}}", container))
    from network_fixtures import Place

    heard = Place.of(pid).visit(TCP_VISITOR, "198.51.100.2", 7002)
    assert heard == "outside heard hello from 198.51.100.1"


def test_the_outside_does_not_reach_in(cli, net, outside, places):
    name = net()
    container = sleeper(cli, name)
    places(int(cli.out("inspect", "-f", "{{.State.Pid}}", container))).serve(TCP_SERVER, "0.0.0.0", 7003)
    target = address(cli, container, name)
    assert places().visit(TCP_VISITOR, target, 7003)
    assert outside.visit(TCP_VISITOR, target, 7003) == ""


def test_an_internal_network_has_no_way_out(cli, net, outside, places):
    name = net("--internal")
    one, other = sleeper(cli, name), sleeper(cli, name, "--name", "inner")
    outside.serve(TCP_SERVER, "198.51.100.2", 7004)
    assert pings(cli, one, "inner")
    assert "default" not in cli.out("exec", one, "ip", "route")
    there = places(int(cli.out("inspect", "-f", "{{.State.Pid}}", one)))
    assert there.visit(TCP_VISITOR, "198.51.100.2", 7004) == ""
    # Even with a route that somebody powerful in it has made.
    gateway = cli.out("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", name)
    cli("exec", "--privileged", one, "ip", "route", "add", "default", "via", gateway)
    assert there.visit(TCP_VISITOR, "198.51.100.2", 7004) == ""
    assert cli.out("exec", other, "hostname")


def test_no_container_talks_to_the_hosts_loopback(cli, places):
    places().serve(TCP_SERVER, "127.0.0.1", 7005)
    container = sleeper(cli, "bridge")
    gateway = address(cli, container, "bridge", "Gateway")
    cli("exec", "--privileged", container, "ip", "route", "add", "127.0.0.1", "via", gateway)
    cli(
        "exec",
        "--privileged",
        container,
        "ip",
        "route",
        "del",
        "table",
        "local",
        "local",
        "127.0.0.1",
        code=None,
    )
    cli(
        "exec",
        "--privileged",
        container,
        "ip",
        "route",
        "del",
        "table",
        "local",
        "local",
        "127.0.0.0/8",
        code=None,
    )
    there = places(int(cli.out("inspect", "-f", "{{.State.Pid}}", container)))
    assert there.visit(TCP_VISITOR, "127.0.0.1", 7005) == ""


# ------------------------------------------------------------------ coming, going, coming back


def test_a_restart_keeps_the_names(cli, net):
    name = net()
    one, other = sleeper(cli, name, "--name", "stays"), sleeper(cli, name)
    for _ in range(3):
        cli("restart", "-t", "0", one)
        assert pings(cli, other, "stays")
    cli("stop", "-t", "0", one)
    assert "stays" not in cli.out("exec", other, "cat", "/etc/hosts")
    blocker = sleeper(cli, name)  # it gets the address that was free
    cli("start", one)
    assert address(cli, one, name) != address(cli, blocker, name)
    assert pings(cli, other, "stays")
    cli("rename", one, "renamed")
    assert pings(cli, other, "renamed") and not pings(cli, other, "stays")


def test_what_a_container_writes_into_its_hosts_stays(cli, net):
    name = net()
    one = sleeper(cli, name)
    cli(
        "exec",
        one,
        "sh",
        "-c",
        "echo 192.0.2.77 mine >> /etc/hosts; sed '1i# top' /etc/hosts > /t; cat /t > /etc/hosts",
    )
    other = sleeper(cli, name, "--name", "newcomer")
    text = cli.out("exec", one, "cat", "/etc/hosts")
    assert text.startswith("# top\n127.0.0.1\tlocalhost") and text.endswith("192.0.2.77 mine")
    assert text.count("newcomer") == 1
    cli("rm", "-f", other)
    assert "newcomer" not in cli.out("exec", one, "cat", "/etc/hosts")


def test_connect_and_disconnect_while_it_runs(cli, net):
    first, second = net(), net()
    mover, there = sleeper(cli, first, "--name", "mover"), sleeper(cli, second, "--name", "there")
    assert not pings(cli, mover, "there")
    cli("network", "connect", "--alias", "guest", second, mover)
    assert pings(cli, mover, "there") and pings(cli, there, "guest") and pings(cli, there, "mover")
    assert "eth1" in cli.out("exec", mover, "ip", "addr")
    assert sorted(cli.out("ps", "--filter", "name=mover", "--format", "{{.Networks}}").split(",")) == sorted(
        [first, second]
    )
    done = cli("network", "connect", second, mover, code=1)
    assert f"endpoint with name mover already exists in network {second}" in done.stderr
    cli("network", "disconnect", first, mover)
    assert "default via" in cli.out("exec", mover, "ip", "route")  # the other one is the way out now
    assert pings(cli, there, "mover")
    cli("network", "disconnect", second, mover)
    assert "eth" not in cli.out("exec", mover, "ip", "addr")
    assert not pings(cli, there, "mover")
    done = cli("network", "disconnect", second, mover, code=1)
    assert f"is not connected to network {second}" in done.stderr
    cli("restart", "-t", "0", mover)
    assert "eth" not in cli.out("exec", mover, "ip", "addr")


def test_a_connect_that_was_killed_is_done_over(engine):
    """Its end and address were written down, and not yet that the container is on the network."""
    networks = engine.networks
    networks.create("home")
    network = networks.create("halfway")
    container = engine.create("alpine", ["sleep", "1000"], Options(network="home"))
    container.start()
    try:
        with networks.locked():
            ends.add(container, network, {}, 1, way_out=False)
        members.connect(networks, "halfway", container)
        assert len(os.listdir(network.addresses_path)) == 1
        assert "eth1" in container.exec(["ip", "addr"])
    finally:
        container.remove(force=True)
        assert os.listdir(network.addresses_path) == []
        for name in ("home", "halfway"):
            networks.remove(name)


def test_connected_while_it_did_not_run(cli, net):
    first, second = net(), net("--subnet", "10.123.45.0/24")
    made = cli.out("create", "--network", first, "alpine", "sleep", "1000")
    done = cli("network", "connect", "--ip", "10.123.46.77", second, made, code=1)
    assert "not one for a container in the subnet 10.123.45.0/24" in done.stderr
    cli("network", "connect", "--ip", "10.123.45.77", second, made)
    cli("start", made)
    assert address(cli, made, second) == "10.123.45.77"
    assert "10.123.45.77/24" in cli.out("exec", made, "ip", "addr", "show", "eth1")


def test_nothing_is_left_of_a_container(cli, net, root):
    before = host_ends(root), taken(root)
    name = net()
    one = sleeper(cli, name, "-p", "18301:80")
    cli("network", "connect", "bridge", one)
    assert len(host_ends(root)) == len(before[0]) + 2
    cli("rm", "-f", one)
    assert taken(root) == before[1]
    until(lambda: host_ends(root) == before[0], seconds=10)
    cli("network", "rm", name)
    assert not os.path.exists(os.path.join(root, "run", ".networks", name))


def test_a_network_that_is_removed_while_a_container_starts(engine):
    """Found before the lock, and gone after it: no bridge is made that nobody knows of."""
    network = engine.networks.create("fleeting")
    container = engine.create("alpine", ["true"], Options(network="fleeting"))
    failed: list[BaseException] = []

    def start() -> None:
        try:
            container.start()
        except NotFound as error:
            failed.append(error)

    with engine.networks.locked():
        starter = threading.Thread(target=start)
        starter.start()
        time.sleep(0.3)
        engine.networks._take_down(network)
    starter.join()
    container.remove()
    assert "network fleeting not found" in str(failed[0])
    with netlink.Socket() as sock:
        assert rtnetlink.find_link(sock, network.bridge) is None


def test_the_names_are_written_while_no_neighbour_can_come(engine):
    """One that came between the reading and the writing of the names would be missed."""
    engine.networks.create("calm")
    container = engine.create("alpine", ["sleep", "1000"], Options(network="calm"))
    container.start()
    try:
        writer = threading.Thread(target=hosts.write_files, args=[container])
        with engine.networks.locked():
            writer.start()
            time.sleep(0.3)
            assert writer.is_alive()
        writer.join()
    finally:
        container.remove(force=True)
        engine.networks.remove("calm")


# ------------------------------------------------------------------ other modes


def test_none_has_only_a_loopback_device(cli):
    assert cli.out("run", "--rm", "--network", "none", "alpine", "ls", "/sys/class/net") == "lo"


def test_host_is_the_hosts(cli):
    ours = os.readlink("/proc/self/ns/net")
    assert cli.out("run", "--rm", "--network", "host", "alpine", "readlink", "/proc/self/ns/net") == ours


def test_in_the_network_of_another_container(cli, net):
    name = net()
    one = sleeper(cli, name, "--name", "landlord")
    cli("run", "-d", "--network", "container:landlord", "--name", "tenant", "alpine", "sleep", "1000")
    for command in ("hostname", "cat /etc/hosts", "ip -o addr", "readlink /proc/1/ns/net"):
        assert cli.out("exec", "tenant", "sh", "-c", command) == cli.out("exec", one, "sh", "-c", command), (
            command
        )
    other = sleeper(cli, name, "--name", "late")
    assert pings(cli, "tenant", "late")
    assert cli.out("inspect", "-f", "{{json .NetworkSettings.Networks}}", "tenant") == "{}"
    assert other


def test_a_namespace_that_outlives_its_container_has_no_address_any_more(cli, net):
    """Or the next container would get the same address while it is still in use."""
    name = net()
    landlord = sleeper(cli, name, "--name", "leaves")
    cli("run", "-d", "--network", "container:leaves", "--name", "stays", "alpine", "sleep", "1000")
    cli("run", "-d", "--network", "container:stays", "--name", "guest", "alpine", "sleep", "1000")
    free = address(cli, landlord, name)
    cli("rm", "-f", "stays")
    assert free in cli.out("exec", "guest", "ip", "addr")
    cli("stop", "-t", "0", landlord)
    assert "eth0" not in cli.out("exec", "guest", "ip", "addr")
    assert address(cli, sleeper(cli, name), name) == free


def test_ports_on_the_hosts_own_network_are_discarded_with_a_warning(cli):
    done = cli("run", "--rm", "--network", "host", "-p", "18412:80", "alpine", "true")
    assert done.stderr == "WARNING: Published ports are discarded when using host network mode\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-p", "80:80"], "conflicting options: port publishing and the container type network mode"),
        (["--dns", "1.1.1.1"], "conflicting options: dns and the network mode"),
        (["--add-host", "a:1.1.1.1"], "conflicting options: custom host-to-IP mapping and the network mode"),
        (["--hostname", "x"], "conflicting options: hostname and the network mode"),
        (["--mac-address", "02:42:ac:11:00:09"], "conflicting options: mac-address and the network mode"),
    ],
)
def test_what_contradicts_anothers_network(cli, docker, words, reason):
    one = sleeper(cli, "none")
    done = cli("run", "--rm", "--network", f"container:{one}", *words, "alpine", "true", code=125)
    assert reason in done.stderr
    theirs = docker("run", "--rm", "--network", f"container:{one}", *words, DOCKER_IMAGE, "true")
    assert reason in theirs.stderr


# ------------------------------------------------------------------ addresses, names, sizes


def test_an_address_of_ones_choice(cli, net):
    name = net("--subnet", "10.123.46.0/24", "--gateway", "10.123.46.254", "--ip-range", "10.123.46.128/25")
    one = sleeper(cli, name, "--ip", "10.123.46.9", "--mac-address", "02:42:ac:11:00:09", "--name", "nine")
    assert "10.123.46.9/24" in cli.out("exec", one, "ip", "addr")
    assert cli.out("exec", one, "cat", "/sys/class/net/eth0/address") == "02:42:ac:11:00:09"
    assert "default via 10.123.46.254" in cli.out("exec", one, "ip", "route")
    assert address(cli, sleeper(cli, name), name) == "10.123.46.129"
    for wanted, reason in (
        ("10.123.46.9", "already in use by container nine"),
        ("10.123.46.254", "it is the gateway"),
        ("10.123.47.9", "not one for a container in the subnet 10.123.46.0/24"),
        ("nonsense", "is no IPv4 address"),
    ):
        done = cli("run", "--rm", "--network", name, "--ip", wanted, "alpine", "true", code=125)
        assert reason in done.stderr
    assert len(json.loads(cli.out("network", "inspect", name))[0]["Containers"]) == 2


def test_addresses_and_aliases_are_for_networks_that_somebody_made(cli):
    """Docker 20.10's command line leaves them out without a word; its engine, and later ones, say this."""
    for words, said in (
        (["--network", "none", "--ip", "10.1.2.3"], "user specified IP address is supported on user defined"),
        (["--ip", "10.1.2.3"], "user specified IP address is supported on user defined networks only"),
        (["--network-alias", "x"], "network-scoped alias is supported only for containers in user defined"),
    ):
        assert said in cli("run", "--rm", *words, "alpine", "true", code=125).stderr


def test_ipv6(cli, net, outside):
    name = net("--ipv6", "--subnet", "fd00:77::/64", "--subnet", "10.123.48.0/24")
    one = sleeper(cli, name, "--ip6", "fd00:77::42", "--name", "six")
    other = sleeper(cli, name)
    assert "fd00:77::42/64" in cli.out("exec", one, "ip", "-6", "addr")
    assert pings(cli, other, "fd00:77::42", "-6") and pings(cli, other, "six", "-6")
    assert pings(cli, one, "fd00:77::1", "-6")
    assert address(cli, one, name, "GlobalIPv6Address") == "fd00:77::42"
    assert "default via fd00:77::1" in cli.out("exec", one, "ip", "-6", "route")
    assert "10.123.48." in cli.out("exec", one, "ip", "-4", "addr")
    apart = sleeper(cli, net("--ipv6"))
    assert not pings(cli, apart, "fd00:77::42", "-6")


def test_without_ipv6_there_is_none(cli, net):
    assert "inet6" not in cli.out("run", "--rm", "--network", net(), "alpine", "ip", "addr", "show", "eth0")


def test_the_mtu(cli, net):
    name = net("-o", "com.docker.network.driver.mtu=1300")
    one, other = sleeper(cli, name), sleeper(cli, name, "--name", "small")
    assert "mtu 1300" in cli.out("exec", one, "ip", "link", "show", "eth0")
    assert pings(cli, one, "small", "-s", "1272")
    assert other


def test_name_servers_and_hosts(cli, net):
    shown = cli.out(
        "run", "--rm", "--network", net(), "--dns", "192.0.2.53", "--dns", "192.0.2.54", "--dns-search", "a.test",
        "--dns-option", "ndots:3", "--add-host", "db:192.0.2.9", "--add-host", "six=fd00::9",
        "--add-host", "host:host-gateway", "alpine", "sh", "-c", "cat /etc/resolv.conf /etc/hosts; ip route",
    )  # fmt: skip
    lines = shown.splitlines()
    assert lines[:4] == ["nameserver 192.0.2.53", "nameserver 192.0.2.54", "search a.test", "options ndots:3"]
    gateway = re.search(r"default via (\S+)", shown)[1]
    assert {"192.0.2.9\tdb", "fd00::9\tsix", f"{gateway}\thost"} <= set(lines)


@pytest.mark.parametrize(
    "text",
    [
        "--dns x",
        "--add-host nothing",
        "--add-host a:b",
        "--mac-address zz",
        "--mac-address ff:ff:ff:ff:ff:ff",
    ],
)
def test_what_cannot_be_meant(cli, text):
    words = text.split()
    before = cli.out("ps", "-aq")
    done = cli("run", "--rm", *words, "alpine", "true", code=125)
    assert "invalid argument" in done.stderr and words[1] in done.stderr
    assert cli.out("ps", "-aq") == before


def test_a_network_that_is_not_there(cli, docker):
    done = cli("run", "--rm", "--network", "nowhere", "alpine", "true", code=125)
    theirs = docker("run", "--rm", "--network", "nowhere", DOCKER_IMAGE, "true")
    assert "network nowhere not found" in done.stderr and "network nowhere not found" in theirs.stderr
