"""The containers of a colour.

A replica is a container like any other: ``ps`` lists it, ``logs`` and ``exec`` work. Its name says where it
belongs, as ``web-blue-1``, and so do its labels, by which every container of a rollout is found, whoever was
killed while it was made. The replicas are on a network; the load balancer reaches them at their addresses there,
and nobody else has to, so none of their ports is published.
"""

from __future__ import annotations

import contextlib

from minicontainer.engine import options as reading
from minicontainer.engine.container import PAUSED, RUNNING
from minicontainer.engine.network.networks import Networks
from minicontainer.engine.options import Options
from minicontainer.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.engine.container import Container
    from minicontainer.engine.engine import Engine
    from minicontainer.engine.network.network import Network
    from minicontainer.engine.rollout.record import Record

ROLLOUT_LABEL = "minicontainer.rollout"
COLOUR_LABEL = "minicontainer.rollout.colour"
NUMBER_LABEL = "minicontainer.rollout.replica"
_SMOKE = "smoke"  # the colour of a test's container


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

    def why_ended(self, colour: str) -> str:
        """What the first replica of a colour that does not run ended with; "" when all run."""
        for container in self.containers(colour):
            state = container.state()
            if state["Status"] not in (RUNNING, PAUSED):
                last = container.logs(tail=1).strip()
                return f"{container.name} ended with {state['ExitCode']}" + (f": {last}" if last else "")
        return ""

    # ------------------------------------------------------------ testing

    def smoke(self, colour: str, command: str, address: str, seconds: float) -> str:
        """Run a shell command in a container of the version's image, with ``TARGET`` in its environment.

        :param address: ``ADDRESS:PORT`` of the replica to test, which is what TARGET says
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
            code = container.wait(seconds)
            if code == 0:
                return ""
            ended = f"has not ended within {seconds:g} s" if code is None else f"ended with {code}"
            last = container.logs(tail=1).strip()
            return f"{command!r} {ended}" + (f": {last}" if last else "")
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
            list(threads.map(lambda container: container.stop(), containers))

    def remove(self, colour: str = "") -> None:
        """Stop and remove the replicas of a colour, or all containers of the rollout."""
        self.stop(colour)
        for container in self.containers(colour):
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


def _number(container: Container) -> int:
    return int(container.document["Config"]["Labels"].get(NUMBER_LABEL, 0))
