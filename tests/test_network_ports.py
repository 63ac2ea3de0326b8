"""Published ports: who reaches them, from where, and what happens when somebody has them already."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time

import pytest
from conftest import DOCKER_IMAGE
from network_fixtures import TCP_SERVER, TCP_VISITOR, UDP_SERVER, UDP_VISITOR, taken
from waiting import until

from minicontainer.engine.network import ports
from minicontainer.errors import InvalidArgument

pytest_plugins = ["network_fixtures"]
pytestmark = pytest.mark.usefixtures("turn")  # their ports and subnets are written here
SLEEP = ("alpine", "sleep", "1000")


def pid_of(cli, container: str) -> int:
    return int(cli.out("inspect", "-f", "{{.State.Pid}}", container))


def host_port(cli, container: str, port: str) -> int:
    return int(cli.out("port", container, port).splitlines()[0].rpartition(":")[2])


@pytest.fixture
def served(cli, places):
    """A container that serves TCP at 80 and UDP at 90, both published on free ports; its id and the two."""
    container = cli.out("run", "-d", "-p", "80", "-p", "90/udp", *SLEEP)
    place = places(pid_of(cli, container))
    place.serve(TCP_SERVER, "0.0.0.0", 80, "tcp")
    place.serve(UDP_SERVER, "0.0.0.0", 90, "udp")
    return container, host_port(cli, container, "80"), host_port(cli, container, "90/udp")


def host_addresses() -> list[str]:
    """Addresses of the host's that nobody takes away while we look: of loopback, and of its way out."""
    route = subprocess.run(
        ["ip", "route", "show", "default"], capture_output=True, text=True, check=True
    ).stdout
    found = ["127.0.0.1", "127.0.0.77", "::1"]
    for device in re.findall(r" dev (\S+)", route):
        shown = subprocess.run(
            ["ip", "-o", "addr", "show", device], capture_output=True, text=True, check=True
        )
        found += re.findall(r"inet6? (\S+)/\d+ .*scope global", shown.stdout)
    return found


def test_from_every_address_of_the_host(cli, served, places):
    container, tcp, udp = served
    gateway = cli.out("inspect", "-f", "{{.NetworkSettings.Gateway}}", container)
    for address in (gateway, *host_addresses()):
        assert places().visit(TCP_VISITOR, address, tcp).startswith("tcp heard hello"), address
        assert places().visit(UDP_VISITOR, address, udp).startswith("udp heard hello"), address


def test_from_outside(served, outside):
    _, tcp, udp = served
    assert outside.visit(TCP_VISITOR, "198.51.100.1", tcp) == "tcp heard hello from 198.51.100.2"
    assert outside.visit(UDP_VISITOR, "198.51.100.1", udp) == "udp heard hello"
    assert outside.visit(TCP_VISITOR, "2001:db8:100::1", tcp).startswith("tcp heard hello")


def test_from_other_containers_and_from_itself(cli, served, places, net):
    container, tcp, _ = served
    gateway = cli.out("inspect", "-f", "{{.NetworkSettings.Gateway}}", container)
    neighbour, stranger = cli.out("run", "-d", *SLEEP), cli.out("run", "-d", "--network", net(), *SLEEP)
    for who in (neighbour, stranger, container):
        for address in (gateway, *[a for a in host_addresses() if "." in a and not a.startswith("127.")]):
            place = places(pid_of(cli, who))
            assert place.visit(TCP_VISITOR, address, tcp).startswith("tcp heard hello"), (who, address)


def test_an_ipv6_network_hears_who_it_is(cli, net, outside, places):
    name = net("--ipv6")
    container = cli.out("run", "-d", "--network", name, "-p", "80", *SLEEP)
    place = places(pid_of(cli, container))
    place.serve(TCP_SERVER, "::", 80, "six")
    port = host_port(cli, container, "80")
    assert outside.visit(TCP_VISITOR, "2001:db8:100::1", port) == "six heard hello from 2001:db8:100::2"
    assert places().visit(TCP_VISITOR, "::1", port).startswith("six heard hello")


def test_only_at_the_address_that_was_asked_for(cli, places, outside):
    container = cli.out("run", "-d", "-p", "127.0.0.1::80", *SLEEP)
    places(pid_of(cli, container)).serve(TCP_SERVER, "0.0.0.0", 80)
    port = host_port(cli, container, "80")
    assert places().visit(TCP_VISITOR, "127.0.0.1", port)
    assert outside.visit(TCP_VISITOR, "198.51.100.1", port) == ""
    assert places().visit(TCP_VISITOR, "::1", port) == ""


def test_much_data_goes_through_the_proxy_both_ways(cli, served, places):
    container = cli.out("run", "-d", "-p", "80", *SLEEP)
    echo = (
        "import socket\nserver = socket.create_server(('0.0.0.0', 80))\nprint('ready', flush=True)\n"
        "while True:\n client, _ = server.accept()\n data = b''\n"
        " while part := client.recv(65536): data += part\n client.sendall(data[::-1]); client.close()\n"
    )
    places(pid_of(cli, container)).serve(echo, "", 0)
    data = os.urandom(3_000_000)
    for address in ("127.0.0.1", "::1"):
        with socket.create_connection((address, host_port(cli, container, "80")), 10) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            got = b""
            while part := client.recv(65536):
                got += part
        assert got == data[::-1], address


def test_a_port_in_use_names_who_has_it(cli, root):
    first = cli.out("run", "-d", "--name", "holder", "-p", "80", *SLEEP)
    port = host_port(cli, first, "80")
    before = taken(root)
    done = cli("run", "--name", "second", "-p", f"{port}:81", "alpine", "true", code=125)
    assert (
        f"cannot publish port 81/tcp on 0.0.0.0:{port}: port is already allocated by container holder"
        in done.stderr
    )
    assert "port is already allocated" in cli.out("inspect", "-f", "{{.State.Error}}", "second")
    with socket.create_server(("0.0.0.0", 0)) as other:
        done = cli("run", "--rm", "-p", f"{other.getsockname()[1]}:80", "alpine", "true", code=125)
        assert re.search(rf"already allocated by \S+ \(pid {os.getpid()}\)", done.stderr), done.stderr
    assert taken(root) == before
    cli("rm", "-f", first)
    cli("start", "-a", "second")  # the port is free now


def test_nobody_else_gets_a_published_port(cli, served):
    for kind, port in ((socket.SOCK_STREAM, served[1]), (socket.SOCK_DGRAM, served[2])):
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            with socket.socket(family, kind) as other, pytest.raises(OSError, match="in use"):
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
                other.bind((address, port))
                other.listen()
    cli("rm", "-f", served[0])
    with socket.create_server(("0.0.0.0", served[1])):
        pass


def test_a_restart_has_its_ports_again(cli, places):
    container = cli.out("run", "-d", "-p", "18391:80", *SLEEP)
    for _ in range(3):
        cli("restart", "-t", "0", container)
        place = places(pid_of(cli, container))
        place.serve(TCP_SERVER, "0.0.0.0", 80, "again")
        assert place.visit(TCP_VISITOR, "127.0.0.1", 80)
        for address in ("127.0.0.1", "::1"):
            assert places().visit(TCP_VISITOR, address, 18391).startswith("again heard")


def pids(title: str) -> list[int]:
    done = subprocess.run(["pgrep", "-f", title], capture_output=True, text=True, check=False)
    return [int(word) for word in done.stdout.split()]


def test_a_killed_monitor_leaves_no_port_behind(cli, root, served):
    container, tcp, _ = served
    (monitor,) = pids(f"minicontainer-monitor {container}")
    os.kill(monitor, 9)
    until(lambda: "Exited (137)" in cli.out("ps", "-a", "--filter", f"id={container}"), seconds=10)
    assert not [name for name in taken(root) if container in name]
    until(lambda: not pids(f"minicontainer-proxy {container}"), seconds=10)
    with socket.create_server(("0.0.0.0", tcp)):
        pass


def test_switching_networks_takes_the_ports_along(cli, net, places):
    first, second = net(), net()
    container = cli.out("run", "-d", "--network", first, "-p", "80", *SLEEP)
    places(pid_of(cli, container)).serve(TCP_SERVER, "0.0.0.0", 80, "moved")
    cli("network", "connect", second, container)
    cli("network", "disconnect", first, container)
    port = host_port(cli, container, "80")
    for address in ("127.0.0.1", "::1"):
        assert places().visit(TCP_VISITOR, address, port).startswith("moved heard")


def test_ports_come_back_with_a_network(cli, net, places):
    """The monitor holds them all the while, when the container is on no network for a moment."""
    first, second = net(), net()
    container = cli.out("run", "-d", "--network", first, "-p", "80", *SLEEP)
    port = host_port(cli, container, "80")
    cli("network", "disconnect", first, container)
    assert cli.out("port", container) == ""
    cli("network", "connect", second, container)
    assert host_port(cli, container, "80") == port
    place = places(pid_of(cli, container))
    place.serve(TCP_SERVER, "0.0.0.0", 80, "back")
    for address in ("127.0.0.1", "::1"):
        assert places().visit(TCP_VISITOR, address, port).startswith("back heard")
    gateway = cli.out(
        "inspect", "-f", f'{{{{(index .NetworkSettings.Networks "{second}").Gateway}}}}', container
    )
    assert place.visit(TCP_VISITOR, gateway, port).startswith("back heard")


def cpu_time(pid: int) -> float:
    """Seconds that a process has run (proc_pid_stat(5), utime and stime)."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_more_visitors_than_the_proxy_can_have_files_open(cli, places):
    """Those who come too late wait, it does not wait for them by running in circles, and it serves on."""
    argv = ["prlimit", "--nofile=64:64", *cli.argv, "run", "-d", "-p", "[::1]::80", *SLEEP]
    container = subprocess.run(argv, env=cli.env, capture_output=True, text=True, check=True).stdout.strip()
    places(pid_of(cli, container)).serve(TCP_SERVER, "0.0.0.0", 80, "patient")
    port = host_port(cli, container, "80")
    (proxy,) = pids(f"minicontainer-proxy {container}")
    visitors = [socket.create_connection(("::1", port), 5) for _ in range(80)]
    until(lambda: len(os.listdir(f"/proc/{proxy}/fd")) == 64, seconds=10)
    before = cpu_time(proxy)
    time.sleep(1)
    assert cpu_time(proxy) - before < 0.3
    for visitor in visitors:
        visitor.close()
    assert places().visit(TCP_VISITOR, "::1", port).startswith("patient heard")


# ------------------------------------------------------------------ reading and showing


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ("80", {"80/tcp": [("", "")]}),
        ("8080:80", {"80/tcp": [("", "8080")]}),
        ("8080:80/udp", {"80/udp": [("", "8080")]}),
        ("127.0.0.1:8080:80", {"80/tcp": [("127.0.0.1", "8080")]}),
        ("127.0.0.1::80", {"80/tcp": [("127.0.0.1", "")]}),
        ("0:80", {"80/tcp": [("", "")]}),
        ("[::1]:8080:80", {"80/tcp": [("::1", "8080")]}),
        ("::1:8080:80", {"80/tcp": [("::1", "8080")]}),
        ("90-91:70-71", {"70/tcp": [("", "90")], "71/tcp": [("", "91")]}),
        ("70-71", {"70/tcp": [("", "")], "71/tcp": [("", "")]}),
        ("90-99:70", {"70/tcp": [("", "90-99")]}),
    ],
)
def test_what_publish_means(entry, wanted):
    got = ports.bindings([entry])
    assert {port: [(one["HostIp"], one["HostPort"]) for one in all_] for port, all_ in got.items()} == wanted


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "x",
        "0",
        "65536",
        "80/sctp",
        "80/",
        "1:2:3:4",
        "1.2.3:80:80",
        "9-8",
        "1-3:1-2",
        "-1",
        "80:",
        "a:1:80",
        "٨٠",
    ],
)
def test_what_publish_cannot_mean(entry):
    with pytest.raises(InvalidArgument, match=re.escape(f'invalid argument "{entry}" for --publish')):
        ports.bindings([entry])


@pytest.mark.parametrize(
    "words",
    [
        ["-p", "18395:80", "-p", "18396:80/udp", "-p", "127.0.0.1:18397:81"],
        ["-p", "18395-18397:18395-18397", "-p", "18399:18399/udp"],
        ["--expose", "70-72", "--expose", "90/udp", "-p", "18395:71"],
    ],
)
def test_ports_are_shown_as_docker_shows_them(cli, docker, words):
    def shown(run, image: str) -> tuple[str, str]:
        container = run("run", "-d", *words, image, "sleep", "1000").stdout.strip()
        try:
            column = run("ps", "--no-trunc", "--format", "{{.Ports}}", "--filter", f"id={container}").stdout
            return column, run("port", container).stdout
        finally:
            run("rm", "-f", container)

    theirs = shown(docker, DOCKER_IMAGE)
    if not theirs[1] and "-p" in words:
        pytest.skip("docker cannot publish a port here")
    ours = shown(cli, "alpine")
    theirs = tuple(text.replace(":::", "[::]:") for text in theirs)  # Docker before 25 has no brackets
    assert sorted(ours[0].strip().split(", ")) == sorted(theirs[0].strip().split(", "))
    assert sorted(ours[1].splitlines()) == sorted(theirs[1].splitlines())


def test_publish_all(cli):
    container = cli.out("run", "-d", "-P", "--expose", "80", "--expose", "90/udp", *SLEEP)
    found = cli.out("port", container)
    assert re.search(r"^80/tcp -> 0\.0\.0\.0:\d+$", found, re.M) and re.search(
        r"^90/udp -> \[::\]:\d+$", found, re.M
    )
    done = cli("port", container, "81", code=1)
    assert "no public port '81' published" in done.stderr


def test_the_first_free_one_of_a_range(cli):
    with socket.create_server(("0.0.0.0", 18401)):
        container = cli.out("run", "-d", "-p", "18401-18403:80", *SLEEP)
        assert host_port(cli, container, "80") == 18402
        fmt = '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}'
        assert cli.out("inspect", "-f", fmt, container) == "18402"


def test_a_visitor_of_each_place_stays_apart(served, places):
    """Two who talk to the UDP port of ::1 at once get each their own answers."""
    _, _, udp = served
    clients = []
    for number in range(3):
        client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        client.settimeout(4)
        client.connect(("::1", udp))
        client.send(f"from {number}".encode())
        clients.append(client)
    assert [client.recv(100) for client in clients] == [f"udp heard from {n}".encode() for n in range(3)]
    for client in clients:
        client.close()
