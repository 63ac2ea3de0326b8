"""The two colours in the load balancer: who gets how much, and letting go of one.

**Nothing is lost** because of the order of things. A colour that gains traffic is raised before the other one is
lowered: at no moment is there nobody to serve. A colour that is to go is first drained, which means that it gets
nothing new; its replicas are stopped only when the last request to them is answered.
"""

from __future__ import annotations

import time

from minicontainer.engine.rollout import haproxy, runtime_api, weights
from minicontainer.engine.rollout.haproxy import BACKEND, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from minicontainer.engine.rollout.record import Record
    from minicontainer.engine.rollout.runtime_api import Server

    # number of a replica, from 1 -> its IP address; none for one that does not run
    Addresses = Mapping[int, str]

BLUE, GREEN = "blue", "green"
_TICK = 0.05  # seconds
_NOTICING = 2.0  # seconds; HAProxy checks every half (inter)
_CONNECTING = 3.0  # seconds; HAProxy tries for two to connect (timeout connect)


def other(colour: str) -> str:
    """The colour beside this one."""
    return GREEN if colour == BLUE else BLUE


class Balancer:
    """The load balancer of one rollout."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.path = record.run_path

    # ------------------------------------------------------------ the process

    @property
    def is_running(self) -> bool:
        """Whether it answers."""
        return haproxy.is_running(self.path)

    def start(self, addresses: Mapping[str, Addresses]) -> bool:
        """Start it, with the shares that are written down; returns whether it did not run until now.

        The live colour has all as long as there is nobody of the other one.

        :param addresses: those of each colour's replicas
        """
        if self.is_running:
            return False
        wanted = self._weights(None if addresses[other(self.record.live)] else 0)
        slots = [
            Slot(f"{colour}-{number}", self._address(found.get(number)), wanted[colour])
            for colour, found in addresses.items()
            for number in self._numbers()
        ]
        document = self.record.document
        binds = haproxy.binds(document["HostIp"], document["HostPort"])
        haproxy.start(self.path, haproxy.configuration(binds, slots, document["HealthPath"]))
        return True

    @property
    def pid(self) -> int:
        """Its process; NotRunning when there is none."""
        return runtime_api.pid(self.path)

    def remove(self, patience: float) -> None:
        """End it, with its last request or after ``patience`` seconds, and delete its files."""
        haproxy.remove(self.path, patience)

    # ------------------------------------------------------------ who gets how much

    def place(self, colour: str, addresses: Addresses) -> None:
        """Tell it where the replicas of a colour are; they get nothing as long as their weight is 0."""
        commands = []
        for number in self._numbers():
            server = f"set server {BACKEND}/{colour}-{number}"
            if number in addresses:
                port = self.record.document["Port"]
                commands.append(f"{server} addr {addresses[number]} port {port}")
                commands.append(f"{server} state ready")
            else:
                commands.append(f"{server} state maint")
        runtime_api.tell(self.path, *commands)

    def place_back(self, colour: str, addresses: Addresses) -> None:
        """The same for replicas that may have been restarted; returns when it has noticed that they are back."""
        self.place(colour, addresses)
        deadline = time.monotonic() + _NOTICING
        while any(server.status == "DOWN" for server in self.of_colour(colour)):
            if time.monotonic() > deadline:
                return  # one that is really not well
            time.sleep(_TICK)

    def shift(self, share: float | None = None) -> None:
        """Give each colour its share: as written down, or ``share`` percent for the one that is not live.

        Who gains comes first, or nobody would serve between.
        """
        wanted = self._weights(share)
        told = {name: server.weight for name, server in self.servers().items()}
        changes = [
            (wanted[colour] - told.get(f"{colour}-{number}", 0), f"{colour}-{number}", wanted[colour])
            for colour in (BLUE, GREEN)
            for number in self._numbers()
        ]
        changes.sort(key=lambda change: change[0], reverse=True)
        runtime_api.tell(
            self.path, *(f"set server {BACKEND}/{name} weight {weight}" for _, name, weight in changes)
        )

    def drain(self, colour: str, patience: float) -> int:
        """Give a colour nothing new, and wait until it has answered all it has.

        Returns how many requests were still under way after ``patience`` seconds.
        """
        runtime_api.tell(
            self.path, *(f"set server {BACKEND}/{colour}-{n} state drain" for n in self._numbers())
        )
        return self._await_idle(lambda: self.of_colour(colour), patience)

    def forget_ended(self, colour: str, addresses: Addresses) -> None:
        """Tell it which replicas of a colour do not run any more; their addresses are then free for others.

        A request on its way to such a one may still arrive at whoever has the address next, for the kernel tries
        again and again to connect. So this returns when there is none: it goes to another replica instead.
        """
        self.place(colour, addresses)
        gone = {f"{colour}-{number}" for number in self._numbers() if number not in addresses}
        self._await_idle(
            lambda: [server for name, server in self.servers().items() if name in gone], _CONNECTING
        )

    def _await_idle(self, look: Callable[[], Sequence[Server]], patience: float) -> int:
        """Wait until servers have no request under way; how many they had after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while True:
            left = sum(server.sessions for server in look())
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(_TICK)

    def free(self, colour: str) -> None:
        """Let go of a colour's replicas: no request and no health check goes there any more."""
        off = [
            f"set server {BACKEND}/{colour}-{n} {what}"
            for n in self._numbers()
            for what in ("state maint", "weight 0")
        ]
        runtime_api.tell(self.path, *off)

    # ------------------------------------------------------------ what it sees

    def servers(self) -> dict[str, Server]:
        """All its servers, by name: ``blue-1`` …"""
        return runtime_api.servers(self.path, BACKEND)

    def of_colour(self, colour: str) -> list[Server]:
        """The servers of a colour that are in use."""
        found = self.servers()
        mine = [found[name] for number in self._numbers() if (name := f"{colour}-{number}") in found]
        return [server for server in mine if server.status != "MAINT"]

    def count_anew(self) -> None:
        """Set its counters of requests and errors to 0, and begin its averages anew."""
        runtime_api.tell(self.path, "clear counters all")

    # ------------------------------------------------------------

    def _numbers(self) -> Iterator[int]:
        yield from range(1, self.record.document["Replicas"] + 1)

    def _address(self, address: str | None) -> str:
        return f"{address}:{self.record.document['Port']}" if address else ""

    def _weights(self, share: float | None = None) -> dict[str, int]:
        """The weight of every server of each colour."""
        document = self.record.document
        live = document["Live"]
        old, new = weights.of_share(document["Share"] if share is None else share)
        return {live: old, other(live): new}
