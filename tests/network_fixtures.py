"""What the tests of networks share: a place outside, programs in a container's network namespace, what is left."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import pytest

# A server for each protocol that says who asked, and one visitor of it; they are run in network namespaces.
TCP_SERVER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("ready", flush=True)
while True:
    client, (address, *_) = server.accept()
    client.sendall(f"{sys.argv[3]} heard {client.recv(100).decode()} from {address}".encode())
    client.close()
"""
UDP_SERVER = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    data, visitor = server.recvfrom(100)
    server.sendto(f"{sys.argv[3]} heard {data.decode()}".encode(), visitor)
"""
TCP_VISITOR = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 4) as client:
    client.sendall(b"hello")
    print(client.recv(200).decode())
"""
UDP_VISITOR = """
import socket, sys
client = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(4)
client.connect((sys.argv[1], int(sys.argv[2])))
client.send(b"hello")
print(client.recv(200).decode())
"""


def ip(*words: object) -> None:
    """Run ip(8), which must succeed."""
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True)


class Place:
    """A network namespace: a container's, by its pid, the host's, or one that ip(8) has made."""

    def __init__(self, enter: list[str]) -> None:
        self._enter = enter
        self._servers: list[subprocess.Popen[str]] = []

    @classmethod
    def of(cls, pid: int) -> Place:
        return cls(["nsenter", "--net", "--target", str(pid)])

    def serve(self, code: str, address: str, port: int, name: str = "server") -> None:
        """Have a server run here until the test ends."""
        argv = [*self._enter, sys.executable, "-c", code, address, str(port), name]
        server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self._servers.append(server)
        assert server.stdout and server.stdout.readline() == "ready\n"

    def visit(self, code: str, address: str, port: int) -> str:
        """What a server answers to somebody here; "" when nothing is heard."""
        argv = [*self._enter, sys.executable, "-c", code, address, str(port)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        sys.stderr.write(done.stderr)  # which pytest shows when the test fails
        return done.stdout.strip()

    def close(self) -> None:
        for server in self._servers:
            server.kill()
            server.wait()
            assert server.stdout
            server.stdout.close()


@pytest.fixture
def places() -> Iterator[Callable[..., Place]]:
    """Make a :class:`Place` of a pid, or of the host."""
    made: list[Place] = []

    def make(pid: int | None = None) -> Place:
        made.append(Place.of(pid) if pid else Place([]))
        return made[-1]

    yield make
    for place in made:
        place.close()


@pytest.fixture
def outside(turn) -> Iterator[Place]:
    """A namespace that stands for another machine: it reaches the host at 198.51.100.1, its only such address."""
    name, near = f"mct{os.getpid()}", f"mcto{os.getpid()}"[:15]
    ip("netns", "add", name)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", "198.51.100.1/24", "dev", near)
        ip("addr", "add", "2001:db8:100::1/64", "dev", near, "nodad")
        ip("link", "set", near, "up")
        ip("-n", name, "addr", "add", "198.51.100.2/24", "dev", "eth0")
        ip("-n", name, "addr", "add", "2001:db8:100::2/64", "dev", "eth0", "nodad")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "route", "add", "default", "via", "198.51.100.1")
        place = Place(["ip", "netns", "exec", name])
        yield place
        place.close()
    finally:
        ip("netns", "delete", name)
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "delete", near)


@pytest.fixture
def net(cli) -> Iterator[Callable[..., str]]:
    """Make networks; each call makes one and returns its name."""
    made: list[str] = []

    def make(*words: str) -> str:
        name = f"n{uuid.uuid4().hex[:8]}"
        cli("network", "create", *words, name)
        made.append(name)
        return name

    yield make
    for container in cli.out("ps", "-aq").split():
        cli("rm", "-f", container, code=None)
    for name in made:
        cli("network", "rm", name, code=None)


def host_ends(root: str) -> list[str]:
    """The plugs in the bridges of the engine at ``root``, and the bridges themselves."""
    import json

    shown = subprocess.run(["ip", "-json", "-details", "link"], capture_output=True, text=True, check=True)
    links = json.loads(shown.stdout)
    bridges = {link["ifname"] for link in links if link.get("ifalias") == f"minicontainer:{root}"}
    return sorted(link["ifname"] for link in links if link.get("master") in bridges)


def taken(root: str) -> list[str]:
    """What is written down as in use: addresses and ends."""
    top = pathlib.Path(root, "run", ".networks")
    return sorted(str(path.relative_to(top)) for path in top.glob("*/*/*"))
