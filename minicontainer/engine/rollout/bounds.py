"""Does a version do well enough?

Two things can be seen from outside of a service: whether it answers, and how soon. HAProxy counts both for every
replica. A **bound** says how bad a new version may be before it is taken back.

Errors are bounded as a share of the requests. A share means little as long as there are few requests: of two, one
that fails is half. So the share is taken of a hundred requests at least; with a bound of 1 % a single error is
forgiven, and the second one is too much, until there are two hundred requests.

Latency is bounded as an average. HAProxy measures an answer when it is there, so of a replica that hangs it knows
nothing at all: what has not been answered yet is counted by us (:class:`Unanswered`).
"""

from __future__ import annotations

from minicontainer import units
from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minicontainer.engine.rollout.runtime_api import Server

_FEWEST = 100  # requests that a share of errors is taken of
_AVERAGED = 1024  # answers that HAProxy's average is of
_MILLISECOND = units.SECOND // 1000  # nanoseconds


class Bounds:
    """What a new version has to keep to.

    :param errors: the share of requests that may fail, in percent
    :param latency: milliseconds that it may take to answer, as each replica's average; 0 for no bound
    """

    def __init__(self, errors: float = 1.0, latency: float = 0) -> None:
        self.errors = errors
        self.latency = latency

    @classmethod
    def parse(cls, errors: str, latency: str) -> Bounds:
        """Bounds as people write them: ``1%`` and ``200ms``; no text is no bound on latency."""
        try:
            share = float(errors.removesuffix("%"))
        except ValueError:
            share = -1
        if not 0 <= share <= 100:
            raise InvalidArgument(f"invalid bound on errors: '{errors}' is no percentage, as 1% is")
        return cls(share, units.parse_duration(latency) / _MILLISECOND if latency else 0)

    def judge(self, servers: Sequence[Server]) -> str:
        """What is wrong with the replicas of a version; "" when nothing is."""
        for server in servers:
            if server.status == "DOWN":
                told = f": {server.check_text}" if server.check_text else ""
                return f"replica {server.name} failed its health check ({server.check}{told})"
        requests, errors = totals(servers)
        if errors > self.errors / 100 * max(requests, _FEWEST):
            return f"{errors} of {requests} requests failed, and at most {self.errors:g} % may"
        for server in servers:
            if self.latency and server.latency > self.latency:
                took = f"took {server.latency} ms to answer"
                return f"replica {server.name} {took}, and at most {self.latency:g} may be"
        return ""


def totals(servers: Sequence[Server]) -> tuple[int, int]:
    """Requests and errors of some servers together."""
    return sum(server.requests for server in servers), sum(server.errors for server in servers)


class Unanswered:
    """Counts in the latency of replicas what they have been asked and not answered.

    While requests wait and none is answered, the average is taken as if they were answered now.
    """

    def __init__(self) -> None:
        # replica -> its answers so far, and when they grew last
        self._last: dict[str, tuple[int, float]] = {}

    def count(self, servers: Sequence[Server], now: float) -> None:
        """Set ``latency`` of servers that let requests wait; ``now`` is in seconds (time.monotonic)."""
        for server in servers:
            answers, since = self._last.get(server.name, (-1, now))
            if not server.waiting or server.answers != answers:
                self._last[server.name] = server.answers, now
                continue
            measured = min(server.answers, _AVERAGED)
            total = server.latency * measured + 1000 * (now - since) * server.waiting
            server.latency = max(server.latency, int(total / (measured + server.waiting)))
