"""Chapter 07: which cable is whose, a switch made by hand, and a service of two containers behind one port."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

from minicontainer.engine import api
from minicontainer.errors import Conflict, Error, NotFound
from minicontainer.kernel import namespaces, netlink, rtnetlink
from minicontainer.lab.traffic import free_port
from minicontainer.lab.trial import Refused, Trial, checker, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minicontainer.engine.container import Container
    from minicontainer.engine.network.networks import Networks

_NETWORK = "lab-check"
_SHOP, _TILL, _STRANGER = "lab-shop", "lab-till", "lab-stranger"
_BOXES = ("lab-red", "lab-green", "lab-blue")
_OPENS_WITHIN = 5.0  # seconds, for a server to listen
_PATIENCE = 2.0  # seconds for one answer
_ROUTES = "/proc/net/route"  # proc_net_route(5): a line for each, with the destination in hexadecimal digits


@checker
def far_end(solution: Callable[[int], str]) -> str:
    """The name of the host's end of a container's eth0, where there are several containers."""
    with _network(), _boxes(_NETWORK) as boxes:
        for box in reversed(boxes):
            plug = next(link for link in _devices(box.pid) if link.name == "eth0").peer
            with Trial(solution, box.pid, apart=False) as trial:
                names = {link.index: link.name for link in _devices(os.getpid())}
                expect(f"the far end of eth0 of {box.name}", trial.value, names[plug])
    return f"it tells {len(_BOXES)} cables apart"


@checker
def join(solution: Callable[[list[int]], list[str]]) -> str:
    """Each of three processes reaches each by the addresses that are returned, through one bridge of the host's."""
    with _boxes("none") as boxes, Trial(solution, [box.pid for box in boxes]) as trial:
        addresses = trial.value
        if not isinstance(addresses, list) or len(set(map(str, addresses))) != len(boxes):
            raise Refused(f"what is returned: seen {addresses!r}, expected a list of {len(boxes)} addresses")
        here = _devices(trial.host)
        switches = [link.index for link in here if link.kind == "bridge"]
        ports = [link for link in here if link.master in switches]
        expect("bridges of the host", len(switches), 1)
        expect("plugs in the bridge", len(ports), len(boxes))
        for box in boxes:
            for other, address in zip(boxes, addresses, strict=True):
                where = f"what {box.name} hears of {other.name} at {address}"
                expect(where, "an answer" if _pings(box, str(address)) else "nothing", "an answer")
        for box, address in zip(boxes, addresses, strict=True):
            own = box.exec(["ip", "-4", "addr", "show", "eth0"], check=False)
            if f" {address}/" not in own:
                raise Refused(
                    f"the addresses of eth0 in {box.name}: seen {own.strip()!r}, expected {address}"
                )
    return "three containers, three cables, one switch, and everybody reaches everybody"


@checker
def open_shop(solution: Callable[[int], object]) -> str:
    """The shop is reached from the host and reaches the till; nobody else reaches the till, nor it anybody."""
    networks = api.default_engine().networks
    before = {network.name for network in networks.made()}
    port = free_port()
    try:
        with Trial(solution, port, apart=False):
            shop, till = _running(_SHOP), _running(_TILL)
            expect(f"what the shop says at 127.0.0.1:{port}", _visit(port), "open")
            expect("whether the shop finds the till by its name", _pings(shop, _TILL), True)
            expect("default routes of the till", _default_routes(till), 0)
            _expect_hidden(till, shop)
    finally:
        _remove(_SHOP, _TILL, _STRANGER)
        for network in networks.made():
            if network.name not in before and network.name != "bridge":
                networks.remove(network.name)
    return "the shop is open to the host, and the till to the shop alone"


def _expect_hidden(till: Container, shop: Container) -> None:
    """The till is reached by the shop, and not by a stranger who is on the shop's other network."""
    settings = till.inspect()["NetworkSettings"]["Networks"]
    outer = [name for name in shop.inspect()["NetworkSettings"]["Networks"] if name not in settings]
    if not outer:
        raise Refused("the networks of the shop: seen none that the till is not on, expected one")
    stranger = _start(_STRANGER, outer[0])
    for address in [end["IPAddress"] for end in settings.values()]:
        expect(f"whether the shop reaches {address}", _pings(shop, address), True)
        expect(f"whether a stranger on {outer[0]} reaches {address}", _pings(stranger, address), False)


# ------------------------------------------------------------------ looking


def _devices(pid: int) -> list[rtnetlink.Link]:
    """The network devices where a process is; a thread goes there, and never comes back."""
    found: list[rtnetlink.Link] = []

    def look() -> None:
        with open(f"/proc/{pid}/ns/net") as namespace:
            namespaces.setns(namespace.fileno(), namespaces.CLONE_NEWNET)
        with netlink.Socket() as sock:
            found.extend(rtnetlink.links(sock))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found


def _pings(box: Container, where: str) -> bool:
    try:
        return box.exec(["ping", "-c", "1", "-W", "1", where], check=False).exit_code == 0
    except Error as error:
        raise Refused(f"{box.name}: seen {error}, expected it to run ping") from None


def _default_routes(box: Container) -> int:
    lines = box.exec(["cat", _ROUTES]).splitlines()[1:]
    return sum(line.split()[1] == "00000000" for line in lines)


def _visit(port: int) -> str:
    """What a server on this host says; a reason when it says nothing."""
    deadline = time.monotonic() + _OPENS_WITHIN
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), _PATIENCE) as client:
                said = client.recv(100).decode(errors="replace").strip()
        except OSError as error:
            said = f"nothing ({error.strerror or error})"
        if said == "open" or time.monotonic() > deadline:
            return said or "nothing"
        time.sleep(0.05)


# ------------------------------------------------------------------ making


def _start(name: str, network: str) -> Container:
    started = api.run("alpine", ["sleep", "1000"], detach=True, name=name, network=network)
    assert not isinstance(started, str)
    return started


@contextlib.contextmanager
def _boxes(network: str) -> Iterator[list[Container]]:
    """Three containers to try things on, for a while."""
    _remove(*_BOXES)
    try:
        yield [_start(name, network) for name in _BOXES]
    finally:
        _remove(*_BOXES)


@contextlib.contextmanager
def _network() -> Iterator[None]:
    """A network to try things on, for a while."""
    networks: Networks = api.default_engine().networks
    with contextlib.suppress(Conflict):
        networks.create(_NETWORK)
    try:
        yield
    finally:
        networks.remove(_NETWORK)


def _running(name: str) -> Container:
    try:
        container = api.default_engine().find(name)
    except NotFound:
        raise Refused(f"the container {name}: seen none, expected one that runs") from None
    expect(f"the state of {name}", container.status, "running")
    return container


def _remove(*names: str) -> None:
    for name in names:
        with contextlib.suppress(NotFound):
            api.default_engine().find(name).remove(force=True)
