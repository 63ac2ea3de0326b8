"""Networks when much happens at once, and when those who do it are killed at any moment."""

from __future__ import annotations

import glob
import os
import random
import signal
import subprocess
import time

import pytest
from conftest import Cli, engine_with_alpine
from network_fixtures import host_ends, taken
from waiting import until

from minicontainer.engine.network import firewall, members
from minicontainer.kernel import netlink, nftables

pytest_plugins = ["network_fixtures"]


@pytest.fixture
def own(tmp_path, rootfs_archive):
    """An engine of the test's own, with a network that has names."""
    engine = engine_with_alpine(str(tmp_path / "root"), rootfs_archive)
    engine.networks.create("busy")
    yield engine
    for container in engine.containers(all=True):
        container.remove(force=True)
    members.prune(engine.networks)
    assert host_ends(engine.root) == []
    with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
        assert not nftables.has_table(sock, firewall.table(engine.root))


def rules(root: str) -> int:
    """How many rules there are in the table of the engine at ``root``."""
    with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
        chains = ("raw", "prerouting", "output", "forward", "postrouting")
        found = [nftables.rules(sock, firewall.table(root), chain, nftables.NFPROTO_INET) for chain in chains]
    return sum(map(len, found))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_containers_started_by_eight_processes(own):
    cli = Cli(own.root)
    script = (
        "import sys\n"
        "from minicontainer.engine.engine import Engine\n"
        "from minicontainer.engine.options import Options\n"
        "engine = Engine(sys.argv[1])\n"
        "for number in range(int(sys.argv[2]), 50, 8):\n"
        "    options = Options(network='busy', name=f'c{number:02d}')\n"
        "    engine.create('alpine', ['sleep', '1000'], options).start()\n"
    )
    argv = [cli.argv[0], "-c", script, own.root]
    starters = [
        subprocess.Popen([*argv, str(number)], env=cli.env, stderr=subprocess.PIPE) for number in range(8)
    ]
    for starter in starters:
        _, errors = starter.communicate(timeout=300)
        assert starter.returncode == 0, errors.decode()
    containers = own.containers()
    assert len(containers) == 50
    documents = [container.inspect()["NetworkSettings"]["Networks"]["busy"] for container in containers]
    assert len({document["IPAddress"] for document in documents}) == 50
    for container, document in zip(containers, documents, strict=True):
        assert document["IPAddress"] in container.nsenter(["net"], ["ip", "-4", "addr", "show", "eth0"])
    assert len(host_ends(own.root)) == 50
    for container in random.sample(containers, 5):
        hosts = container.exec(["cat", "/etc/hosts"]).splitlines()
        assert {f"c{number:02d}" for number in range(50)} <= {
            word for line in hosts for word in line.split()[1:2]
        }
        container.exec(["ping", "-c", "1", "-W", "3", f"c{random.randrange(50):02d}"])
    for container in containers:
        container.remove(force=True)
    assert taken(own.root) == []
    until(lambda: host_ends(own.root) == [], seconds=30)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_starts_killed_at_random_moments_leave_nothing(own):
    cli = Cli(own.root)
    namespaces = set(os.listdir("/proc/self/ns")) and count_namespaces()
    before = rules(own.root)
    begun = time.monotonic()
    cli("run", "--rm", "--network", "busy", "-p", "80", "alpine", "true")
    usual = time.monotonic() - begun
    for number in range(200):
        words = ["run", "--rm", "--network", "busy", "-p", "80", "alpine", "true"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        starter = subprocess.Popen([*cli.argv, *words], env=cli.env, **quiet)
        time.sleep(random.uniform(0, usual * 1.2))
        if number % 2:  # the monitor too, at the same moment
            for pid in monitors(own.root):
                os.kill(pid, signal.SIGKILL)
        starter.kill()
        starter.wait()
    until(lambda: monitors(own.root) == [], seconds=30)
    cli("ps")  # any command puts right what is left
    assert taken(own.root) == []
    assert rules(own.root) == before
    until(lambda: host_ends(own.root) == [], seconds=30)
    until(lambda: count_namespaces() <= namespaces, seconds=30)
    assert cli.out("ps", "-aq") == ""
    assert "1 packets received" in cli.out(
        "run", "--rm", "--network", "busy", "alpine", "sh", "-c", "ping -c1 $(hostname)"
    )


def monitors(root: str) -> list[int]:
    """The processes that watch, or proxy for, the containers of the engine at ``root``."""
    ids = set(os.listdir(os.path.join(root, "run"))) | set(os.listdir(os.path.join(root, "containers")))
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline") as file:
                words = file.read().split("\0")[0].split()
        except OSError:
            continue
        if len(words) == 2 and words[0].startswith("minicontainer-") and words[1] in ids:
            found.append(int(name))
    return found


def count_namespaces() -> int:
    """How many network namespaces have a process in them."""
    found = set()
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            found.add(os.readlink(f"/proc/{name}/ns/net"))
        except OSError:
            continue
    return len(found)


def test_what_a_power_failure_has_damaged_is_in_nobodys_way(own):
    cli = Cli(own.root)
    container = own.create("alpine", ["sleep", "1000"], _options())
    container.start()
    for pid in monitors(own.root):
        os.kill(pid, signal.SIGKILL)
    until(lambda: monitors(own.root) == [], seconds=10)
    (path,) = glob.glob(os.path.join(own.root, "run", ".networks", "busy", "ends", "*"))
    open(path, "w").close()
    open(f"{path}.1.2.tmp", "w").close()  # as write_json leaves it when it is killed
    assert "Exited" in cli.out("ps", "-a")
    assert taken(own.root) == []
    cli("start", container.id)


def test_the_table_is_as_big_as_the_networks(own):
    before = rules(own.root)
    container = own.create("alpine", ["sleep", "1000"], _options(publish=["80", "90/udp"]))
    container.start()
    assert rules(own.root) == before + 4  # two ports, from outside and from the host itself
    container.stop(0)
    assert rules(own.root) == before


def _options(**given: object):
    from minicontainer.engine.options import Options

    return Options(network="busy", **given)


def test_a_container_that_cannot_be_plugged_in_does_not_start(own):
    """Whatever fails between the first step and the last: nothing is left of the others."""
    from minicontainer.errors import Error

    first = own.create("alpine", ["sleep", "1000"], _options(ip=""))
    first.start()
    subnet = own.networks.get("busy").pools[0].subnet
    free = ".".join([*str(subnet).split(".")[:2], "200", "1"])
    for given in ({"publish": ["1.2.3.4:80:80"]}, {"ip": free, "volumes": ["/nonesuch-here:/x:ro,nocopy"]}):
        before = taken(own.root), len(host_ends(own.root))
        with pytest.raises(Error):
            own.create("alpine", ["true"], _options(remove=True, **given)).start()
        assert (taken(own.root), len(host_ends(own.root))) == before
    with pytest.raises(Error):
        own.create("alpine", ["/nonesuch"], _options(remove=True)).start()
    until(lambda: len(host_ends(own.root)) == 1, seconds=10)
    assert len(own.containers(all=True)) == 1
