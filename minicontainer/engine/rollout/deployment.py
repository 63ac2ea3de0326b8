"""The two strategies: how a new version comes to have the traffic.

Both begin in the same way, while the old version serves everybody: start the new one, wait until each of its
replicas is ready, and test it. Both end in the same way, too: the new version serves, the old one stays beside it
until ``promote`` removes it, or ``abort`` gives everything back to it. Between the two, blue-green takes one step,
and canary as many as it is told, each watched.

::

    starting -> testing -> shifting -> waiting        and then promoting, or aborting
        \\__________\\___________\\_____-> failed        no traffic on the new version; its containers are stopped

The phase is written down before it begins. When this process is killed, it says what was under way.
"""

from __future__ import annotations

import time

from minicontainer.engine.rollout import probes, weights
from minicontainer.engine.rollout import record as phases
from minicontainer.engine.rollout.balancer import other
from minicontainer.engine.rollout.bounds import Bounds, Unanswered, totals
from minicontainer.engine.rollout.replicas import NotReady
from minicontainer.engine.rollout.runtime_api import NotRunning
from minicontainer.errors import Conflict, Error, InvalidArgument, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minicontainer.engine.rollout.rollout import Rollout

BLUE_GREEN, CANARY = "blue-green", "canary"
STRATEGIES = (BLUE_GREEN, CANARY)
STEP_TIME = 30.0  #: seconds that a canary is watched with each share
_TICK = 0.1  # seconds between two looks


class DeploymentFailed(Error):
    """The new version did not do well; all traffic is on the old one."""

    exit_code = 1


class Plan:
    """What is asked of a deployment.

    :param strategy: ``blue-green`` or ``canary``
    :param weights: the shares that a canary gets, one after the other, in percent
    :param step_time: how long the new version is watched with each of them, in seconds; a version that got all
        traffic in one step is not, unless this says so
    :param smoke: a shell command that tests a replica, run in a container of the new image
    :param smoke_path: a path that a replica must answer well
    :param bounds: what takes it back while it is watched
    :param patience: seconds that the new version has until it is ready, and each test until it has ended
    :param drain_time: seconds that requests get to end before their replica is stopped
    """

    def __init__(
        self,
        strategy: str = BLUE_GREEN,
        *,
        weights: Sequence[float] = (1, 5, 25, 50, 100),
        step_time: float | None = None,
        smoke: str = "",
        smoke_path: str = "",
        bounds: Bounds | None = None,
        patience: float = 60,
        drain_time: float = 30,
    ) -> None:
        if strategy not in STRATEGIES:
            raise InvalidArgument(f"no strategy is called {strategy!r}; there are {' and '.join(STRATEGIES)}")
        self.strategy = strategy
        self.weights = _checked(weights) if strategy == CANARY else [100.0]
        self.step_time = step_time if step_time is not None else STEP_TIME if strategy == CANARY else 0
        self.smoke = smoke
        self.smoke_path = smoke_path
        self.bounds = bounds or Bounds()
        self.patience = patience
        self.drain_time = drain_time


def _checked(shares: Sequence[float]) -> list[float]:
    for share in shares:
        weights.of_share(share)
    if not shares or list(shares) != sorted(set(shares)) or shares[0] <= 0:
        text = ",".join(f"{share:g}" for share in shares)
        raise InvalidArgument(f"invalid weights '{text}': they are percentages that grow, as 1,5,25,50,100")
    return list(shares)


class Driver:
    """Carries out one deployment, from its start to ``waiting`` or ``failed``; the caller has the driver's lock.

    ``say`` is called with each line that somebody who looks on may want to read.
    """

    def __init__(self, rollout: Rollout, plan: Plan, say: Callable[[str], object]) -> None:
        self.rollout = rollout
        self.record = rollout.record
        self.balancer = rollout.balancer
        self.plan = plan
        self.say = say
        self.old = self.record.live
        self.new = other(self.old)

    def run(self) -> None:
        """Bring the new version up to ``waiting``.

        :raises DeploymentFailed: when it does not do well; all traffic is on the old version again
        :raises Conflict: when another command has asked for something else meanwhile; it goes on from here
        """
        try:
            self._bring_up()
            self._test()
            for share in self.plan.weights:
                self._step(share)
        except _Released:
            raise Conflict(
                f"the deployment was told to {self._wish()} by another command, which goes on from here"
            ) from None
        except (Error, OSError) as error:
            self._take_back(explain(error))
            container = error.container if isinstance(error, NotReady) else f"{self.record.name}-{self.new}-1"
            raise DeploymentFailed(
                f"{explain(error)}; all traffic is on {self.old} ({self._image(self.old)}). "
                f"For a look at {self.new}, there is: minicontainer logs {container}"
            ) from None
        except KeyboardInterrupt:
            self._take_back("it was interrupted")
            self.say(f"interrupted; all traffic is on {self.old} ({self._image(self.old)})")
            raise
        self.record.update_deployment(Phase=phases.WAITING)
        self.say(
            f"{self.new} ({self._image(self.new)}) has {self.plan.weights[-1]:g} % of the traffic; "
            f"{self.old} ({self._image(self.old)}) is kept until: "
            f"minicontainer rollout promote|abort {self.record.name}"
        )

    # ------------------------------------------------------------ the steps

    def _bring_up(self) -> None:
        self.say(f"starting {self.new} ({self._image(self.new)})")
        self._check_wish()
        # One that has ended may leave its address to a new one, which is to get nothing yet.
        serving = self.rollout.replicas.addresses(self.old)
        self._told(lambda: self.balancer.forget_ended(self.old, serving))
        self.rollout.replicas.start(self.new)
        self.rollout.await_ready(self.new, self.plan.patience, self._check_wish)
        addresses = self.rollout.replicas.addresses(self.new)
        self._told(lambda: self.balancer.place(self.new, addresses))

    def _test(self) -> None:
        self.record.update_deployment(Phase=phases.TESTING)
        port = self.record.document["Port"]
        for number, address in self.rollout.replicas.addresses(self.new).items():
            name = f"{self.new}-{number}"
            for test, wrong in self._tests(address, port):
                self._check_wish()
                if found := wrong():
                    raise Error(f"smoke test of {name} failed: {found}")
                self.say(f"smoke test of {name} passed: {test}")

    def _tests(self, address: str, port: int) -> list[tuple[str, Callable[[], str]]]:
        """The tests of a replica, each with what carries it out."""
        plan, target, tests = self.plan, f"{address}:{port}", []
        if plan.smoke_path:
            tests.append((f"GET {plan.smoke_path}", lambda: probes.get(address, port, plan.smoke_path)))
        if plan.smoke:
            smoke = self.rollout.replicas.smoke
            tests.append(
                (plan.smoke, lambda: smoke(self.new, plan.smoke, target, plan.patience, self._check_wish))
            )
        return tests

    def _step(self, share: float) -> None:
        """Give the new version a share of the traffic, and watch it."""
        self._check_wish()
        self.record.update_deployment(Phase=phases.SHIFTING)
        self.record.update(Share=share)
        self._told(self.balancer.count_anew)
        self._told(self.balancer.shift)
        if self.plan.step_time:
            self._watch(share)
        else:
            self.say(f"{self.new} has {share:g} % of the traffic")

    def _watch(self, share: float) -> None:
        """Look at the new version for the time of a step. Error when it exceeds a bound."""
        deadline, unanswered = time.monotonic() + self.plan.step_time, Unanswered()
        while True:
            is_over = time.monotonic() >= deadline
            try:
                servers = self.balancer.of_colour(self.new)
            except NotRunning:
                self._told(self.balancer.shift)
                continue
            unanswered.count(servers, time.monotonic())
            if wrong := self.plan.bounds.judge(servers):
                ended = self.rollout.replicas.why_ended(self.new)
                raise Error(f"with {share:g} % of the traffic, {wrong}" + (f"; {ended}" if ended else ""))
            if is_over:
                break
            self._check_wish()
            time.sleep(_TICK)
        requests, errors = totals(servers)
        latency = max((server.latency for server in servers), default=0)
        self.say(
            f"{self.new} had {share:g} % of the traffic: {requests} requests, {errors} errors, {latency} ms"
        )

    def _told(self, order: Callable[[], object]) -> None:
        """Tell the load balancer something; when it was killed, start it again before."""
        try:
            order()
        except NotRunning:
            self.say("the load balancer was killed; starting it again")
            self.rollout.start_balancer()
            order()

    # ------------------------------------------------------------ the ways out

    def _take_back(self, reason: str) -> None:
        """Give everything to the old version, at once; then write down why, and stop the new one."""
        try:
            self._told(lambda: self.balancer.shift(0))
        finally:  # a load balancer that cannot be told, as it does not start, must not come back with this share
            failed = {**self.record.read()["Deployment"], "Phase": phases.FAILED, "Reason": reason}
            self.record.update(Share=0, Deployment=failed)
        self._told(lambda: self.balancer.drain(self.new, self.plan.drain_time))
        self._told(lambda: self.balancer.free(self.new))
        self.rollout.replicas.stop(self.new)

    def _check_wish(self) -> None:
        if self._wish():
            raise _Released

    def _wish(self) -> str:
        deployment = self.record.read()["Deployment"]
        return str(deployment["Wish"]) if deployment else ""

    def _image(self, colour: str) -> str:
        return str(self.record.document["Versions"][colour]["Image"])


class _Released(Exception):
    """Another command wishes to go on with this deployment."""
