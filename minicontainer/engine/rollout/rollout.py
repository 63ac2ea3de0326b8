"""A rollout as an object, and all of them below one root.

What is done here can be done twice: a command that was killed is finished by giving it again. Each step looks at
what is there, and does what is missing.
"""

from __future__ import annotations

import time

from minicontainer.engine.rollout import haproxy, probes
from minicontainer.engine.rollout import record as phases
from minicontainer.engine.rollout.balancer import BLUE, GREEN, Balancer, other
from minicontainer.engine.rollout.deployment import Driver, Plan
from minicontainer.engine.rollout.record import Record, now
from minicontainer.engine.rollout.replicas import NotReady, Replicas
from minicontainer.errors import Conflict, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from minicontainer.engine.engine import Engine

_TICK = 0.1  # seconds between two looks
_PROMPTLY = 3.0  # seconds in which a replica that serves already is ready
DRAIN_TIME = 30.0  #: seconds that requests get to end before their replica is stopped
PATIENCE = 60.0  #: seconds that new replicas have until they are ready


def _quiet(_: str) -> None:
    pass


class Rollout:
    """A rollout of an engine. Where each method says nothing else, NotFound when it is gone."""

    def __init__(self, engine: Engine, name: str, replicas: Replicas | None = None) -> None:
        self.engine = engine
        self.name = name
        self.record = Record(engine, name)
        self.balancer = Balancer(self.record)
        self.replicas = replicas or Replicas(engine, self.record)

    # ------------------------------------------------------------ starting

    def start(self, patience: float = PATIENCE) -> None:
        """Have everything running that is to run: after a boot, or when something was killed.

        Replicas that are missing are made, those that have ended are started, and so is the load balancer.
        """
        with self.record.try_driving():
            if self.record.read()["Status"] == phases.REMOVING:
                raise Conflict(f"rollout {self.name} is half removed; {self.advice()}")
            try:
                self._start(patience)
            except NotReady as error:
                raise Error(f"{error}; see: minicontainer logs {error.container}") from None

    def begin(self, patience: float = PATIENCE) -> None:
        """Start a rollout that its driver has just written down; it is gone again when that fails."""
        try:
            self._start(patience)
        except BaseException:
            self._remove(0)
            raise

    def _start(self, patience: float) -> None:
        haproxy.find()
        live, new = self.record.live, other(self.record.live)
        self.replicas.start(live)
        self.await_ready(live, patience)
        if not self.start_balancer():
            self.balancer.place_back(live, self.replicas.addresses(live))
            if not self.replicas.addresses(new):
                self.balancer.shift(0)
        self.record.update(Status=phases.READY)
        # Only now: a new version that does not start must not keep the live one from serving.
        if self._phase() in (phases.SHIFTING, phases.WAITING, phases.PROMOTING):
            self.replicas.start(new)
            self.await_ready(new, patience)
            self.balancer.place_back(new, self.replicas.addresses(new))
        self.balancer.shift()

    def _phase(self) -> str:
        deployment = self.record.deployment
        return str(deployment["Phase"]) if deployment else ""

    def start_balancer(self) -> bool:
        """Start the load balancer as it is written down, unless it runs; returns whether it did not."""
        addresses = {colour: self.replicas.addresses(colour) for colour in (BLUE, GREEN)}
        if self._phase() in (phases.FAILED, phases.ABORTING):
            addresses[other(self.record.live)] = {}
        return self.balancer.start(addresses)

    def await_ready(self, colour: str, patience: float, look: Callable[[], None] = lambda: None) -> None:
        """Wait until each replica of a colour is ready to serve; ``look`` is called while we wait.

        NotReady when one ends, or is not ready after ``patience`` seconds.
        """
        document, deadline = self.record.document, time.monotonic() + patience
        waiting = set(range(1, document["Replicas"] + 1))
        while True:
            look()
            if ended := self.replicas.why_ended(colour):
                raise ended
            addresses = self.replicas.addresses(colour)
            for number in sorted(waiting):
                if number not in addresses:
                    wrong = "it has no address"
                else:
                    wrong = probes.is_ready(addresses[number], document["Port"], document["HealthPath"])
                if wrong:
                    break
                waiting.remove(number)
            if not waiting:
                return
            if time.monotonic() > deadline:
                last = self.replicas.last_line(colour, number)
                raise NotReady(
                    f"{self.name}-{colour}-{number}", f"is not ready after {patience:g} s: {wrong}{last}"
                )
            time.sleep(_TICK)

    # ------------------------------------------------------------ a new version

    def deploy(
        self,
        image: str,
        plan: Plan | None = None,
        *,
        command: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        say: Callable[[str], object] = _quiet,
    ) -> None:
        """Bring a new version up beside the live one, and the traffic to it as the plan says.

        :param command: what its containers run; None for the same as those of the live version
        :param options: of its containers, as :class:`minicontainer.Options`, beside those of the live version
        :raises DeploymentFailed: when it does not do well; all traffic is on the old version again
        :raises Conflict: when another deployment is under way
        """
        plan = plan or Plan()
        haproxy.find()
        found = self.engine.images.find(image)
        with self.record.try_driving():
            self._expect_ready()
            live = self.record.document["Versions"][self.record.live]
            version = {
                "Image": image,
                "ImageId": found.id,
                "Command": live["Command"] if command is None else list(command),
                "Options": {**live["Options"], **(options or {})},
            }
            self._begin(version, plan)
            Driver(self, plan, say).run()

    def _expect_ready(self) -> None:
        document = self.record.read()
        deployment = document["Deployment"]
        if document["Status"] != phases.READY:
            raise Conflict(f"rollout {self.name} is not whole: {self.advice()}")
        if deployment and deployment["Phase"] != phases.FAILED:
            raise Conflict(
                f"rollout {self.name} has a deployment of {deployment['Image']} under way, "
                f"{deployment['Phase']}; {self.advice()}"
            )
        self.start_balancer()
        if deployment:
            self._give_up()

    def _begin(self, version: dict[str, Any], plan: Plan) -> None:
        deployment = {
            "Strategy": plan.strategy,
            "Image": version["Image"],
            "Phase": phases.STARTING,
            "StartedAt": now(),
            "Reason": "",
            "Wish": "",
        }
        versions = {**self.record.document["Versions"], other(self.record.live): version}
        self.record.update(Versions=versions, Share=0, Deployment=deployment)

    # ------------------------------------------------------------ the end of a deployment

    def promote(self, drain_time: float = DRAIN_TIME, say: Callable[[str], object] = _quiet) -> None:
        """Give the new version all traffic for good, and remove the old one.

        Conflict when no new version is far enough, or when it is not well.
        """
        possible = (phases.SHIFTING, phases.WAITING, phases.PROMOTING)
        with self._taking_over("promote", possible):
            if self._phase() != phases.PROMOTING:
                self._expect_well()
            self.record.update_deployment(Phase=phases.PROMOTING)
            self.record.update(Share=100)
            self._let_go(self.record.live, drain_time, say)
            new = other(self.record.live)
            versions = {**self.record.document["Versions"], self.record.live: None}
            self.record.update(Live=new, Share=0, Versions=versions, Deployment=None)

    def _expect_well(self) -> None:
        """Raise Conflict unless every replica of the new version is ready."""
        try:
            self.await_ready(other(self.record.live), _PROMPTLY)
        except Error as error:
            raise Conflict(
                f"cannot promote: {error}; there are: minicontainer rollout start|abort {self.name}"
            ) from None

    def abort(self, drain_time: float = DRAIN_TIME, say: Callable[[str], object] = _quiet) -> None:
        """Give all traffic back to the old version, and remove the new one. Conflict without a deployment."""
        possible = (
            phases.STARTING, phases.TESTING, phases.SHIFTING, phases.WAITING, phases.FAILED, phases.ABORTING
        )  # fmt: skip
        with self._taking_over("abort", possible):
            self._give_up(drain_time, say)

    def _give_up(self, drain_time: float = DRAIN_TIME, say: Callable[[str], object] = _quiet) -> None:
        self.record.update_deployment(Phase=phases.ABORTING)
        self.record.update(Share=0)
        new = other(self.record.live)
        self._let_go(new, drain_time, say)
        self.record.update(Versions={**self.record.document["Versions"], new: None}, Deployment=None)

    def _taking_over(self, wish: str, possible: Sequence[str]) -> Any:
        """The driver's lock, once whoever has it has let go of the deployment; for a ``with``."""
        self._expect_phase(wish, possible)
        self.record.update_deployment(Wish=wish)
        lock = self.record.driving()
        try:
            self._expect_phase(wish, possible)
        except BaseException:
            lock.release()
            raise
        return lock

    def _expect_phase(self, wish: str, possible: Sequence[str]) -> None:
        deployment = self.record.read()["Deployment"]
        if deployment is None:
            version = self.record.document["Versions"][self.record.live]
            raise Conflict(
                f"rollout {self.name} has no deployment to {wish}: {version['Image']} has all traffic"
            )
        if deployment["Phase"] not in possible:
            raise Conflict(
                f"cannot {wish} the deployment of {deployment['Image']}: "
                f"it is {deployment['Phase']}; {self.advice()}"
            )

    def _let_go(self, colour: str, drain_time: float, say: Callable[[str], object]) -> None:
        """Take a colour out of the traffic as it is written down, and remove its replicas when they are idle."""
        if not self.start_balancer():
            stays = other(colour)
            self.balancer.place_back(stays, self.replicas.addresses(stays))
            self.balancer.shift()
        if left := self.balancer.drain(colour, drain_time):
            say(f"{left} requests to {colour} had not ended after {drain_time:g} s")
        self.balancer.free(colour)
        self.replicas.remove(colour)
        self.replicas.remove("smoke")

    # ------------------------------------------------------------ looking, removing

    def advice(self) -> str:
        """What can be done next, as commands; "" when nothing has to be."""
        document, command = self.record.document, "minicontainer rollout"
        if document["Status"] != phases.READY:
            word = "rm" if document["Status"] == phases.REMOVING else "start|rm"
            return f"{command} {word} {self.name}"
        deployment = document["Deployment"]
        if deployment is None:
            return ""
        word = {
            phases.SHIFTING: "promote|abort",
            phases.WAITING: "promote|abort",
            phases.PROMOTING: "promote",
        }.get(deployment["Phase"], "abort")
        return f"{command} {word} {self.name}"

    def status(self) -> dict[str, Any]:
        """All that is known of it, as of now: what is written down, and what the load balancer says."""
        from minicontainer.engine.rollout import listing

        return listing.document(self)

    def remove(self, force: bool = False, drain_time: float = DRAIN_TIME) -> None:
        """Remove it with all its containers. Conflict while a deployment is under way, unless ``force``."""
        document = self.record.read()
        if document["Deployment"] and document["Status"] != phases.REMOVING:
            if not force:
                raise Conflict(
                    f"rollout {self.name} has a deployment; finish it ({self.advice()}), or use --force"
                )
            self.record.update_deployment(Wish="remove")
        with self.record.driving() if force else self.record.try_driving():
            self.record.read()
            self._remove(drain_time)

    def _remove(self, drain_time: float) -> None:
        self.record.update(Status=phases.REMOVING)
        self.balancer.remove(drain_time)
        self.replicas.remove()
        self.replicas.remove_network()
        self.record.remove()
