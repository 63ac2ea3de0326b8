"""``network`` on the command line: making and removing networks, what is refused, and by whose words."""

from __future__ import annotations

import concurrent.futures
import html
import json
import re
import shutil
import subprocess
import threading
import time

import pytest
from conftest import DOCKER_IMAGE, Cli
from network_fixtures import host_ends, ip

from minicontainer.engine.network import firewall
from minicontainer.files import write_json

pytest_plugins = ["network_fixtures"]
pytestmark = pytest.mark.usefixtures("turn")  # their ports and subnets are written here


def bridges(root: str) -> list[str]:
    """The bridges of the engine at ``root``."""
    shown = subprocess.run(["ip", "-json", "-details", "link"], capture_output=True, text=True, check=True)
    return [
        link["ifname"] for link in json.loads(shown.stdout) if link.get("ifalias") == f"minicontainer:{root}"
    ]


def test_a_network_and_what_is_told_of_it(cli, net, root):
    before = bridges(root)
    name = net("--label", "a=b", "--label", "c")
    (document,) = json.loads(cli.out("network", "inspect", name))
    (subnet,) = document["IPAM"]["Config"]
    assert document["Labels"] == {"a": "b", "c": ""} and document["Driver"] == "bridge"
    assert re.fullmatch(r"(172\.\d+|192\.168)\.\d+\.0/\d+", subnet["Subnet"]) and subnet["Gateway"].endswith(
        ".1"
    )
    (bridge,) = set(bridges(root)) - set(before)
    assert bridge == f"mc-{document['Id'][:12]}"
    shown = subprocess.run(
        ["ip", "-json", "addr", "show", bridge], capture_output=True, text=True, check=True
    )
    (device,) = json.loads(shown.stdout)
    prefix = int(subnet["Subnet"].rpartition("/")[2])
    assert [(a["local"], a["prefixlen"]) for a in device["addr_info"]] == [(subnet["Gateway"], prefix)]
    assert cli.out("network", "inspect", "-f", "{{.Name}}", document["Id"][:6]) == name
    assert cli.out("inspect", "--type", "network", "-f", "{{.Name}}", name) == name
    assert cli.out("network", "rm", name) == name
    assert bridges(root) == before


def test_the_document_has_the_fields_of_dockers(cli, docker, net):
    theirs = json.loads(docker("network", "inspect", "bridge").stdout)[0]
    ours = json.loads(cli.out("network", "inspect", net()))[0]
    assert ours.keys() == theirs.keys()
    for name in ("none", "host"):
        one, other = (json.loads(run("network", "inspect", name).stdout)[0] for run in (cli, docker))
        assert {**one, "Id": "", "Created": ""} == {**other, "Id": "", "Created": ""}


def test_the_list(cli, docker, net):
    name = net("--internal", "--label", "mine=yes")
    lines = cli.out("network", "ls").splitlines()
    theirs = docker("network", "ls").stdout.splitlines()
    assert lines[0].split() == theirs[0].split()
    assert {"bridge", "host", "none", name} <= {line.split()[1] for line in lines[1:]}
    assert {line.split()[2] for line in lines[1:]} == {"bridge", "host", "null"}
    for words, wanted in (
        (["-f", f"name={name[:5]}"], [name]),
        (["-f", "label=mine=yes"], [name]),
        (["-f", "type=builtin"], ["bridge", "host", "none"]),
        (["-f", "driver=null"], ["none"]),
        (["-f", f"name={name}", "-f", "driver=host"], []),
        (["-f", "dangling=true", "-f", f"name={name}"], [name]),
    ):
        assert cli.out("network", "ls", "--format", "{{.Name}}", *words).split() == wanted, words
    assert len(cli.out("network", "ls", "-q", "--no-trunc", "-f", f"name={name}")) == 64
    assert "invalid filter 'foo" in cli("network", "ls", "-f", "foo=bar", code=1).stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["--subnet", "10.123.60.0/24", "--gateway", "10.123.61.1"],
            "gateway 10.123.61.1 is not within the subnet",
        ),
        (
            ["--subnet", "10.123.60.0/24", "--gateway", "10.123.60.255"],
            "not an address for a host in the subnet",
        ),
        (["--subnet", "10.123.60.0/24", "--ip-range", "10.123.60.0/23"], "not within the subnet"),
        (["--subnet", "10.123.60.0/24", "--ip-range", "10.9.0.0/24"], "not within the subnet 10.123.60.0/24"),
        (["--subnet", "10.123.60.0"], "invalid subnet '10.123.60.0'"),
        (["--subnet", "10.123.60.0/31"], "no room"),
        (["--subnet", "fd00:9::/64"], "enable that with --ipv6"),
        (["--subnet", "127.0.0.0/8"], "of the loopback device"),
        (["--subnet", "239.1.0.0/16"], "of groups, or reserved"),
        (["--subnet", "::/64", "--ipv6"], "of the loopback device"),
        (["--subnet", "::ffff:10.123.60.0/120", "--ipv6"], "are of IPv4"),
        (["--gateway", "10.123.60.1"], "in no subnet that was asked for"),
        (["--ipv6", "-o", "com.docker.network.driver.mtu=1000"], "an MTU with IPv6 is from 1280"),
        (["--subnet", "10.123.60.0/24", "--subnet", "10.123.61.0/24"], "one of IPv4 and one of IPv6 at most"),
        (["--driver", "overlay"], 'driver "overlay" is not supported'),
        (["-o", "nonsense=1"], "--opt nonsense"),
        (["-o", "com.docker.network.driver.mtu=x"], "from 68 to 65535"),
    ],
)
def test_what_is_refused_leaves_nothing(cli, root, words, reason):
    before = cli.out("network", "ls", "-q"), bridges(root)
    assert reason in cli("network", "create", *words, "refused", code=1).stderr
    assert (cli.out("network", "ls", "-q"), bridges(root)) == before


@pytest.mark.parametrize("name", ["", "a/b", "-a", "..", "a b", "x" * 300, "é"])
def test_what_is_no_name(cli, name):
    done = cli("network", "create", "--", name, code=1)
    assert "is no name for a network" in done.stderr


def test_a_name_that_is_taken(cli, docker, net):
    name = net()
    assert f"network with name {name} already exists" in cli("network", "create", name, code=1).stderr
    for predefined in ("bridge", "host", "none"):
        theirs = docker("network", "create", predefined)
        ours = cli("network", "create", predefined, code=1)
        assert theirs.returncode == 1 and predefined in ours.stderr


def test_a_subnet_that_overlaps_names_the_other(cli, net, root):
    ip("link", "add", "mctroute", "type", "bridge")
    try:
        ip("addr", "add", "10.123.70.1/24", "dev", "mctroute")
        ip("link", "set", "mctroute", "up")
        before = bridges(root)
        done = cli("network", "create", "--subnet", "10.123.70.128/25", "clash", code=1)
        assert "overlaps 10.123.70.0/24, the host's route by mctroute" in done.stderr
        assert bridges(root) == before
    finally:
        ip("link", "delete", "mctroute")
    name = net("--subnet", "10.123.71.0/24")
    done = cli("network", "create", "--subnet", "10.123.0.0/16", "clash", code=1)
    assert f"overlaps 10.123.71.0/24, network {name}" in done.stderr


def test_where_no_subnet_is_free(tmp_path, rootfs_archive):
    """A host that finds every private address elsewhere, as behind a VPN; shown in a network namespace."""
    ways = "ip link add way type bridge; ip link set way up; ip route add 172.16.0.0/12 dev way"
    cli = Cli(str(tmp_path / "root"))
    cli.argv = [
        *("unshare", "--net", "sh", "-ec", f'{ways}; ip route add 192.168.0.0/16 dev way; exec "$@"', "sh"),
        *cli.argv,
    ]
    cli("import", rootfs_archive, "alpine")
    assert cli.out("network", "ls", "--format", "{{.Name}}").split() == ["host", "none"]
    assert cli.out("run", "--rm", "--network", "none", "alpine", "echo", "alone") == "alone"
    assert "no subnet is free" in cli("run", "--rm", "alpine", "true", code=125).stderr
    assert "no subnet is free" in cli("network", "create", "some", code=1).stderr
    cli("network", "prune", "-f")
    cli("network", "create", "--subnet", "10.123.75.0/24", "some")
    assert cli.out("network", "ls", "-q", "-f", "type=custom")


def test_a_device_of_that_name_is_not_ours(cli, root):
    ip("link", "add", "mctother", "type", "bridge")
    try:
        done = cli("network", "create", "-o", "com.docker.network.bridge.name=mctother", "clash", code=1)
        assert "already, which is not of network clash" in done.stderr
        assert "clash" not in cli.out("network", "ls")
    finally:
        ip("link", "delete", "mctother")


def test_two_networks_have_not_one_bridge(cli, net, root):
    name = net("-o", "com.docker.network.bridge.name=mctshared")
    before = bridges(root)
    done = cli("network", "create", "-o", "com.docker.network.bridge.name=mctshared", "second", code=1)
    assert f"the bridge mctshared is that of network {name}" in done.stderr
    assert bridges(root) == before


def test_a_predefined_name_where_no_network_was_ever_made(tmp_path):
    """The default network is written down when it is first needed, which takes the lock."""
    from minicontainer.engine.engine import Engine
    from minicontainer.errors import Conflict

    engine = Engine(str(tmp_path / "fresh"))
    for name in ("bridge", "host", "none"):
        with pytest.raises(Conflict, match=f"network with name {name} already exists"):
            engine.networks.create(name)


def test_what_cannot_be_removed(cli, docker, net):
    name = net()
    box = cli.out("run", "-d", "--name", "inhabitant", "--network", name, "alpine", "sleep", "1000")
    done = cli("network", "rm", name, code=1)
    assert "has active endpoints: inhabitant" in done.stderr
    for predefined in ("bridge", "host", "none"):
        said = f"{predefined} is a pre-defined network and cannot be removed"
        assert said in cli("network", "rm", predefined, code=1).stderr
        assert said in docker("network", "rm", predefined).stderr
    assert "network nonesuch not found" in cli("network", "rm", "nonesuch", code=1).stderr
    cli("network", "rm", "-f", "nonesuch")
    cli("stop", "-t", "0", box)
    cli("network", "rm", name)
    assert f"network {name} not found" in cli("start", box, code=1).stderr


def test_prune_takes_only_what_no_container_has(cli, net):
    unused, used, stopped = net(), net(), net()
    cli("run", "-d", "--network", used, "alpine", "sleep", "1000")
    cli("create", "--network", stopped, "alpine", "true")
    shown = cli.out("network", "prune", "-f")
    assert shown.splitlines() == ["Deleted Networks:", unused]
    names = cli.out("network", "ls", "--format", "{{.Name}}").split()
    assert used in names and stopped in names and unused not in names
    labelled = net("--label", "keep")
    assert cli.out("network", "prune", "-f", "--filter", "label!=keep") == ""
    assert labelled in cli.out("network", "ls")


def test_a_bridge_that_is_gone_comes_back(cli, net, root):
    """As after a boot: networks are written down, and their bridges and rules are not there."""
    name = net()
    for bridge in bridges(root):
        ip("link", "delete", bridge)
    one = cli.out("run", "-d", "--network", name, "--name", "back", "alpine", "sleep", "1000")
    assert "1 packets received" in cli.out("run", "--rm", "--network", name, "alpine", "ping", "-c1", "back")
    assert "eth0" in cli.out("run", "--rm", "alpine", "ip", "addr")
    assert len(host_ends(root)) >= 1 and one


def test_bridges_of_a_deleted_engine_go(tmp_path, rootfs_archive, cli, net):
    from conftest import engine_with_alpine

    gone = engine_with_alpine(str(tmp_path / "gone"), rootfs_archive)
    gone.networks.create("lost")
    assert len(bridges(gone.root)) == 1
    shutil.rmtree(gone.root)
    net()  # whenever a subnet is chosen
    assert bridges(gone.root) == []


def test_bridges_that_a_new_engine_at_the_same_place_knows_nothing_of(tmp_path):
    """Its directory was deleted, and made again by the next command."""
    from minicontainer.engine.engine import Engine

    bridge = {"com.docker.network.bridge.name": "mctanew"}
    root = str(tmp_path / "anew")
    Engine(root).networks.create("first", subnets=["10.123.80.0/24"], options=bridge)
    Engine(root).networks.create("lost", subnets=["10.123.81.0/24"])
    shutil.rmtree(root)
    engine = Engine(root)
    engine.networks.create("second", subnets=["10.123.82.0/24"], options=bridge)
    try:
        assert bridges(root) == ["mctanew"]
        shown = subprocess.run(
            ["ip", "-4", "-o", "addr", "show", "mctanew"], capture_output=True, text=True, check=True
        )
        assert re.findall(r"inet (\S+)", shown.stdout) == ["10.123.82.1/24"]
    finally:
        engine.networks.remove("second")


def test_engines_of_one_host_have_subnets_of_their_own(tmp_path):
    """Each has written down the same, when none had a bridge; and then all begin at once."""
    from minicontainer.engine.engine import Engine

    known = [Engine(str(tmp_path / str(number))).networks for number in range(6)]
    config = known[0].get("bridge").document["IPAM"]["Config"]
    for networks in known:  # other engines of this host may come between; so it is told to them
        document = networks.get("bridge").document
        document["IPAM"]["Config"] = config
        write_json(f"{networks.path}/bridge.json", document)
    assert len({str(networks.get("bridge").pools[0].subnet) for networks in known}) == 1

    def ready(networks):
        with networks.locked():
            return str(networks.ready("bridge").pools[0].subnet)

    try:
        with concurrent.futures.ThreadPoolExecutor(len(known)) as pool:
            subnets = list(pool.map(ready, known))
        assert len(set(subnets)) == len(known), subnets
        assert subnets == [str(networks.get("bridge").pools[0].subnet) for networks in known]
        assert subnets == [ready(networks) for networks in known], "a bridge that is there keeps its subnet"
    finally:
        for networks in known:
            networks.forget_default()


def test_doctor_names_what_a_deleted_engine_has_left(cli, tmp_path, net):
    from minicontainer.engine.engine import Engine

    engine = Engine(str(tmp_path / "gone"))
    bridge = engine.networks.create("lost").bridge
    table = firewall.table(engine.root)
    assert bridge not in cli("doctor", code=None).stdout
    shutil.rmtree(engine.root)
    assert f"{bridge} of {engine.root}" in cli("doctor", code=None).stdout
    ip("link", "delete", bridge)
    assert f"the table inet {table} without any bridge" in cli("doctor", code=None).stdout
    firewall.remove(engine.root)
    assert table not in cli("doctor", code=None).stdout


def test_networks_from_a_thread_with_an_event_loop(engine):
    """As in a notebook, whose kernel runs one; the library that makes bridges has its own."""
    import asyncio

    async def make() -> str:
        return engine.networks.create("looped").name

    got: list[str] = []
    thread = threading.Thread(target=lambda: got.append(asyncio.run(make())))
    thread.start()
    thread.join()
    assert got == ["looped"]
    engine.networks.remove("looped")


def test_events(cli, net):
    name = net()
    cli("run", "--rm", "--network", name, "alpine", "true")
    cli("network", "rm", name)
    fmt = "{{.Action}} {{.Actor.Attributes.name}}"
    shown = cli.out(
        "events", "--until", "0s", "--since", "5m", "-f", "type=network", "--format", fmt
    ).splitlines()
    actions = [line.split()[0] for line in shown if line.endswith(name)]
    assert actions == ["create", "connect", "disconnect", "destroy"]


def test_the_events_of_dockers(cli, docker):
    def lived(run, image: str, name: str) -> list[str]:
        began = time.time()
        run("network", "create", name)
        done = run("run", "--rm", "--name", f"{name}-box", "--network", name, image, "true")
        run("network", "rm", name)
        fmt = "{{.Type}} {{.Action}} {{.Actor.Attributes.type}}"
        span = ["--since", f"{began:.9f}", "--until", f"{time.time() + 0.1:.9f}"]
        shown = run("events", *span, "--filter", "type=network", "--format", fmt).stdout
        return [line for line in shown.splitlines() if done.returncode == 0]

    theirs = lived(docker, DOCKER_IMAGE, "mct-events")
    if not theirs:
        pytest.skip("docker cannot start a container on a network here")
    assert lived(cli, "alpine", "mct-events") == theirs


# ------------------------------------------------------------------ the picture


def test_the_picture_has_all_that_is_there(cli, net, tmp_path):
    name = net()
    box = cli.out(
        "run", "-d", "--network", name, "--name", "drawn", "-p", "18411:80", "alpine", "sleep", "1000"
    )
    cli("network", "connect", "bridge", box)
    text = cli.out("network", "graph")
    (document,) = json.loads(cli.out("inspect", box))
    for network, end in document["NetworkSettings"]["Networks"].items():
        assert f'"bridge {network}" -- "{box[:12]} eth' in text
        assert f"{end['IPAddress']}/{end['IPPrefixLen']}" in text
    assert "0.0.0.0:18411 → 80/tcp" in text and "dashed" not in text
    if not shutil.which("dot"):
        pytest.skip("dot is not installed; apt-get install graphviz")
    for ending, magic in (("svg", b"<svg"), ("png", b"\x89PNG")):
        cli("network", "graph", "-o", tmp_path / f"picture.{ending}")
        assert magic in (tmp_path / f"picture.{ending}").read_bytes()
    svg = html.unescape((tmp_path / "picture.svg").read_text())
    assert "drawn" in svg and f"veth{box[:8]}-0" in svg
    assert "ends with" in cli("network", "graph", "-o", tmp_path / "picture.txt", code=1).stderr
