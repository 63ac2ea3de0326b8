"""The containers of a colour.

A replica is a container like any other: ``ps`` lists it, ``logs`` and ``exec`` work. Its name says where it
belongs, as ``web-blue-1``, and so do its labels, by which every container of a rollout is found, whoever was
killed while it was made. The replicas are on a network; the load balancer reaches them at their addresses there,
and nobody else has to, so none of their ports is published.
"""

from __future__ import annotations

import contextlib
import time

from minicontainer.engine import options as reading
from minicontainer.engine.container import PAUSED, RUNNING
from minicontainer.engine.network.networks import Networks
from minicontainer.engine.options import Options
from minicontainer.errors import Error, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minicontainer.engine.container import Container
    from minicontainer.engine.engine import Engine
    from minicontainer.engine.network.network import Network
    from minicontainer.engine.rollout.record import Record

ROLLOUT_LABEL = "minicontainer.rollout"
COLOUR_LABEL = "minicontainer.rollout.colour"
NUMBER_LABEL = "minicontainer.rollout.replica"
_SMOKE = "smoke"  # the colour of a test's container
_TICK = 0.2  # seconds between two looks while a test runs


class NotReady(Error):
    """A replica has ended, or is not ready in time; ``container`` is its name."""

    def __init__(self, container: str, reason: str) -> None:
        super().__init__(f"{container} {reason}")
        self.container = container


class Replicas:
    """The containers of one rollout, those of both colours."""

    def __init__(self, engine: Engine, record: Record) -> None:
        self.engine = engine
        self.record = record
        self._networks = Networks(engine)

    # ------------------------------------------------------------ making and starting

    def start(self, colour: str) -> None:
        """Have all replicas of a colour's version running: make those that are missing, start those that are not.

        Raises Conflict when somebody else's container has the name of one, and what keeps one from starting.
        """
        self._make_network()
        version = self.record.document["Versions"][colour]
        there = {_number(container): container for container in self.containers(colour)}
        for number in range(1, self.record.document["Replicas"] + 1):
            container = there.get(number) or self._make(colour, number, version)
            container.start()

    def _make(self, colour: str, number: int, version: dict[str, Any]) -> Container:
        name = f"{self.record.name}-{colour}-{number}"
        options = {**version["Options"], "name": name, **self._belonging(colour, version, number)}
        return self.engine.create(self._image(version), version["Command"], Options(**options))

    def _belonging(self, colour: str, version: dict[str, Any], number: int = 0) -> dict[str, Any]:
        """The options that say where a container belongs."""
        labels = reading.pairs("label", version["Options"].get("labels", ()))
        labels |= {ROLLOUT_LABEL: self.record.name, COLOUR_LABEL: colour, NUMBER_LABEL: str(number)}
        return {"labels": labels, "network": self.record.document["Network"]}

    def _image(self, version: dict[str, Any]) -> str:
        """The version's image by its name, or by its id when the name has come to mean another image."""
        with contextlib.suppress(NotFound):
            if self.engine.images.find(version["Image"]).id == version["ImageId"]:
                return str(version["Image"])
        return str(version["ImageId"])

    # ------------------------------------------------------------ finding

    def containers(self, colour: str = "") -> list[Container]:
        """The containers of a colour, or all of the rollout, in the order of their names."""
        wanted = {ROLLOUT_LABEL: self.record.name} | ({COLOUR_LABEL: colour} if colour else {})
        found = []
        for container in self.engine.containers(all=True):
            with contextlib.suppress(NotFound):  # removed while we look
                if wanted.items() <= container.document["Config"]["Labels"].items():
                    found.append(container)
        return sorted(found, key=lambda container: (len(container.name), container.name))

    def states(self) -> dict[str, str]:
        """How all containers of the rollout are: name -> ``running``, ``exited`` …"""
        states = {}
        for container in self.containers():
            with contextlib.suppress(NotFound):  # removed while we look
                states[container.name] = container.status
        return states

    def addresses(self, colour: str) -> dict[int, str]:
        """Where the replicas of a colour are that run: number, from 1 -> IP address."""
        found = {_number(container): self._address(container) for container in self.containers(colour)}
        return {number: address for number, address in found.items() if address}

    def _address(self, container: Container) -> str:
        with contextlib.suppress(NotFound):
            if container.status in (RUNNING, PAUSED):
                networks = container.inspect()["NetworkSettings"]["Networks"]
                return str(networks.get(self.record.document["Network"], {}).get("IPAddress", ""))
        return ""

    def why_ended(self, colour: str) -> NotReady | None:
        """What the first replica of a colour that does not run ended with, and said last; None when all run."""
        for container in self.containers(colour):
            state = container.state()
            if state["Status"] not in (RUNNING, PAUSED):
                return NotReady(container.name, f"ended with {state['ExitCode']}{_last_line(container)}")
        return None

    def last_line(self, colour: str, number: int) -> str:
        """What a replica has said last, after a colon; "" when it has said nothing."""
        mine = [container for container in self.containers(colour) if _number(container) == number]
        return _last_line(mine[0]) if mine else ""

    # ------------------------------------------------------------ testing

    def smoke(
        self, colour: str, command: str, address: str, seconds: float, look: Callable[[], object]
    ) -> str:
        """Run a shell command in a container of the version's image, with ``TARGET`` in its environment.

        :param address: ``ADDRESS:PORT`` of the replica to test, which is what TARGET says
        :param look: called while it runs; what it raises ends the test
        :returns: what is wrong when it did not end with 0 within ``seconds``; "" when all is well
        """
        version = self.record.document["Versions"][colour]
        self.remove(_SMOKE)  # of a command that was killed
        asked = Options(
            name=f"{self.record.name}-{_SMOKE}", entrypoint="/bin/sh", **self._belonging(_SMOKE, version)
        )
        asked.env = [*self._environment(version), f"TARGET={address}"]
        container = self.engine.create(self._image(version), ["-c", command], asked)
        try:
            container.start()
            deadline = time.monotonic() + seconds
            while (code := container.wait(_TICK)) is None and time.monotonic() < deadline:
                look()
            if code == 0:
                return ""
            ended = f"has not ended within {seconds:g} s" if code is None else f"ended with {code}"
            return f"{command!r} {ended}{_last_line(container)}"
        finally:
            container.remove(force=True, volumes=True)

    @staticmethod
    def _environment(version: dict[str, Any]) -> list[str]:
        given = {key: version["Options"][key] for key in ("env", "env_file") if key in version["Options"]}
        return reading.environment(Options(**given))

    # ------------------------------------------------------------ stopping

    def stop(self, colour: str) -> None:
        """Stop the replicas of a colour, all at once; they can still be looked at."""
        from concurrent.futures import ThreadPoolExecutor  # each may take its ten seconds

        containers = self.containers(colour)
        with ThreadPoolExecutor(len(containers) or 1) as threads:
            list(threads.map(_stop, containers))

    def remove(self, colour: str = "") -> None:
        """Stop and remove the replicas of a colour, or all containers of the rollout."""
        self.stop(colour)
        for container in self.containers(colour):
            with contextlib.suppress(NotFound):  # somebody else was quicker
                container.remove(force=True, volumes=True)

    # ------------------------------------------------------------ their network

    def _make_network(self) -> None:
        """Make their own network, unless it is there, or they are on one that somebody else has made."""
        document = self.record.document
        if document["OwnNetwork"] and not self._own_network():
            self._networks.create(document["Network"], labels={ROLLOUT_LABEL: self.record.name})

    def remove_network(self) -> None:
        """Remove their own network, when all of them are gone."""
        if self.record.document["OwnNetwork"] and (network := self._own_network()):
            self._networks.remove(network.name)

    def _own_network(self) -> Network | None:
        with contextlib.suppress(NotFound):
            network = self._networks.get(self.record.document["Network"])
            if network.labels.get(ROLLOUT_LABEL) == self.record.name:
                return network
        return None


def _stop(container: Container) -> None:
    with contextlib.suppress(NotFound):  # removed meanwhile
        container.stop()


def _last_line(container: Container) -> str:
    last = container.logs(tail=1).strip()
    return f": {last}" if last else ""


def _number(container: Container) -> int:
    return int(container.document["Config"]["Labels"].get(NUMBER_LABEL, 0))
