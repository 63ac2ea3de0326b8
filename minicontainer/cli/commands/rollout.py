"""Rollouts: rollout create, deploy, promote, abort, start, rm."""

from __future__ import annotations

import signal
import sys

from minicontainer import units
from minicontainer.cli.commands.run import CONTAINER_FLAGS, options_of
from minicontainer.cli.flags import BOOL, INT, STRING, Command, Flag, UsageError
from minicontainer.engine.rollout.bounds import Bounds
from minicontainer.engine.rollout.deployment import BLUE_GREEN, STRATEGIES, Plan
from minicontainer.errors import Error, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine


def create(engine: Engine, values: Values, words: list[str]) -> None:
    """Make a rollout, start it and print its name."""
    if not values.image or not values.publish:
        raise UsageError("rollout create needs --image and --publish", 1)
    _be_interrupted()
    _have(engine, values.image)
    engine.rollouts.create(
        words[0],
        values.image,
        publish=values.publish,
        replicas=values.replicas,
        command=words[1:],
        health_path=values.health_path or "",
        network=values.network or "",
        options=vars(options_of(values, REPLICA_FLAGS)),
        patience=_seconds("timeout", values.timeout),
    )
    print(words[0])


def deploy(engine: Engine, values: Values, words: list[str]) -> None:
    """Bring up a new version and its traffic, telling each step."""
    if not values.image:
        raise UsageError("rollout deploy needs --image", 1)
    _be_interrupted()
    plan = Plan(
        values.strategy,
        weights=_weights(values.weights),
        step_time=_seconds("step-time", values.step_time) if values.step_time else None,
        smoke=values.smoke or "",
        smoke_path=values.smoke_path or "",
        bounds=Bounds.parse(values.max_errors, values.max_latency or ""),
        patience=_seconds("timeout", values.timeout),
        drain_time=_seconds("drain-time", values.drain_time),
    )
    rollout = engine.rollouts.find(words[0])
    _have(engine, values.image)
    rollout.deploy(
        values.image,
        plan,
        command=words[1:] or None,
        options=vars(options_of(values, REPLICA_FLAGS)),
        say=_say,
    )
    if values.promote:
        rollout.promote(plan.drain_time, _say)


def promote(engine: Engine, values: Values, words: list[str]) -> None:
    """Make the new version the only one and print the rollout's name."""
    engine.rollouts.find(words[0]).promote(_seconds("drain-time", values.drain_time), _say)
    print(words[0])


def abort(engine: Engine, values: Values, words: list[str]) -> None:
    """Go back to the old version and print the rollout's name."""
    engine.rollouts.find(words[0]).abort(_seconds("drain-time", values.drain_time), _say)
    print(words[0])


def start(engine: Engine, values: Values, names: list[str]) -> None:
    """Start all of a rollout that does not run and print its name."""
    for name in names:
        engine.rollouts.find(name).start(_seconds("timeout", values.timeout))
        print(name, flush=True)


def remove(engine: Engine, values: Values, names: list[str]) -> int:
    """Remove rollouts, going on after one that cannot be removed."""
    status = 0
    for name in names:
        try:
            engine.rollouts.find(name).remove(values.force, _seconds("drain-time", values.drain_time))
            print(name, flush=True)
        except Error as error:
            print(f"minicontainer: {error}", file=sys.stderr)
            status = 1
    return status


def _have(engine: Engine, image: str) -> None:
    """Pull an image that is not here, as ``run`` does."""
    from minicontainer.cli import pulling

    if not pulling.is_here(engine, image):
        pulling.missing(engine, image)


def _be_interrupted() -> None:
    """Take a closed terminal and a polite kill as Ctrl-C: nobody watches the new version any more."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_DFL:  # and not ignored, as by nohup
            signal.signal(number, signal.default_int_handler)


def _say(line: str) -> None:
    print(line, flush=True)


def _seconds(option: str, text: str) -> float:
    try:
        nanoseconds = units.parse_duration(text)
    except InvalidArgument as error:
        raise UsageError(f'invalid argument "{text}" for "--{option}" flag: {error}', 1) from None
    if nanoseconds < 0:
        raise UsageError(f'invalid argument "{text}" for "--{option}" flag: less than nothing', 1)
    return nanoseconds / units.SECOND


def _weights(text: str) -> list[float]:
    try:
        return [float(word.strip().removesuffix("%")) for word in text.split(",")]
    except ValueError:
        raise UsageError(
            f'invalid argument "{text}" for "--weights" flag: it is percentages, as 1,5,25,50,100', 1
        ) from None


# What a rollout says itself of its containers, or what several of them cannot share.
_NOT_FOR_REPLICAS = (
    "attach cidfile expose interactive ip ip6 mac-address name net network network-alias platform publish "
    "publish-all pull rm tty"
).split()
REPLICA_FLAGS = tuple(flag for flag in CONTAINER_FLAGS if flag.long not in _NOT_FOR_REPLICAS)
_IMAGE = Flag("", "image", STRING, "Image of the version", metavar="image")
_TIMEOUT = Flag(
    "", "timeout", STRING, "How long replicas may take to be ready", metavar="duration", default="60s"
)
_DRAIN_TIME = Flag(
    "",
    "drain-time",
    STRING,
    "How long requests get to end before their replica is stopped",
    metavar="duration",
    default="30s",
)
COMMANDS = {
    "rollout create": Command(
        "rollout create",
        "[OPTIONS] ROLLOUT [-- COMMAND [ARG...]]",
        "Create a service of one or more replicas behind a load balancer",
        (
            *REPLICA_FLAGS,
            _IMAGE,
            Flag(
                "p",
                "publish",
                STRING,
                "Where clients find it, and its port ([IP:]PORT:PORT)",
                metavar="ports",
            ),
            Flag("", "replicas", INT, "Number of containers", default=1),
            Flag(
                "",
                "health-path",
                STRING,
                "What a replica must answer well to be ready, as /health",
                metavar="path",
            ),
            Flag(
                "",
                "network",
                STRING,
                "Network of the replicas; one of their own unless given",
                metavar="network",
            ),
            _TIMEOUT,
        ),
        create,
        least=1,
    ),
    "rollout deploy": Command(
        "rollout deploy",
        "[OPTIONS] ROLLOUT [-- COMMAND [ARG...]]",
        "Bring up a new version and move the traffic to it",
        (
            *REPLICA_FLAGS,
            _IMAGE,
            Flag("", "strategy", STRING, f"{'|'.join(STRATEGIES)}", default=BLUE_GREEN, values=STRATEGIES),
            Flag(
                "",
                "weights",
                STRING,
                "Shares of a canary, in percent",
                metavar="list",
                default="1,5,25,50,100",
            ),
            Flag(
                "",
                "step-time",
                STRING,
                "How long the new version is watched with each share (30s for a canary)",
                metavar="duration",
            ),
            Flag(
                "",
                "max-errors",
                STRING,
                "Take it back when more of its requests fail",
                metavar="percent",
                default="1%",
            ),
            Flag("", "max-latency", STRING, "Take it back when it answers later", metavar="duration"),
            Flag(
                "",
                "smoke",
                STRING,
                "Test each replica by a shell command in a container; $TARGET is its address",
                metavar="command",
            ),
            Flag("", "smoke-path", STRING, "Test each replica by an HTTP request", metavar="path"),
            Flag("", "promote", BOOL, "Remove the old version when the new one has all traffic"),
            _TIMEOUT,
            _DRAIN_TIME,
        ),
        deploy,
        least=1,
        completes="rollouts",
    ),
    "rollout promote": Command(
        "rollout promote",
        "[OPTIONS] ROLLOUT",
        "Give the new version all traffic, and remove the old one",
        (_DRAIN_TIME,),
        promote,
        least=1,
        most=1,
        completes="rollouts",
    ),
    "rollout abort": Command(
        "rollout abort",
        "[OPTIONS] ROLLOUT",
        "Give the old version all traffic, and remove the new one",
        (_DRAIN_TIME,),
        abort,
        least=1,
        most=1,
        completes="rollouts",
    ),
    "rollout start": Command(
        "rollout start",
        "[OPTIONS] ROLLOUT [ROLLOUT...]",
        "Start what does not run of a rollout: after a boot, or when something was killed",
        (_TIMEOUT,),
        start,
        least=1,
        completes="rollouts",
    ),
    "rollout rm": Command(
        "rollout rm",
        "[OPTIONS] ROLLOUT [ROLLOUT...]",
        "Remove one or more rollouts with their containers",
        (_DRAIN_TIME, Flag("f", "force", BOOL, "Remove one that has a deployment under way as well")),
        remove,
        least=1,
        completes="rollouts",
    ),
}
