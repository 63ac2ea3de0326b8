"""Chapter 11: nobody is lost in a flip, nobody before a stop, and few to a canary."""

from __future__ import annotations

import itertools
import random
import time

from minicontainer.lab.stand import BLUE, GREEN, Stand
from minicontainer.lab.trial import Refused, Trial, checker, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SETTLES = 0.3  # seconds that visitors get before and after
_LATE = 0.8  # seconds after the last answer
_SHARES = [20, 60, 100]
_STEP = 1.0  # seconds of a step
_NEAR = 12  # percent that a share may be beside what was asked for
_AT_ONCE = 0.7  # seconds between the first error and the last


@checker
def flip(solution: Callable[[str], object]) -> str:
    """Green answers everybody, and all who asked meanwhile were answered."""
    with Stand((1, 0)) as stand:
        stand.blue.takes = [0.02, 0.3]  # somebody always asks, and somebody always waits
        with stand.visitors(12) as before:
            time.sleep(_SETTLES)
            with Trial(solution, stand.admin, apart=False):
                time.sleep(_SETTLES)
        expect("requests lost while it flipped", before.lost, {})
        with stand.visitors() as after:
            time.sleep(_SETTLES)
        expect("who answers afterwards", _who(after.answers), GREEN)
    return f"green answers everybody, and of {sum(before.answers.values())} requests none was lost"


@checker
def let_go(solution: Callable[[str, str], object]) -> str:
    """A server that is killed when the solution returns had nothing to answer any more; and it did so soon."""
    for takes in (random.uniform(0.6, 1.2), 0.02):
        with Stand((1, 1)) as stand:
            stand.blue.takes = [takes]
            with stand.visitors() as visitors:
                time.sleep(_SETTLES)
                with Trial(solution, stand.admin, BLUE, apart=False):
                    late = time.monotonic() - max(stand.blue.answered, default=0)
                    stand.blue.stop()
                    time.sleep(_SETTLES)
            expect("requests lost when blue was stopped", visitors.lost, {})
            if late > _LATE + takes:
                raise Refused(
                    f"the time from blue's last answer until it returned: seen {late:.1f} s, "
                    f"expected less than {_LATE + takes:.1f} s"
                )
    return "blue was stopped soon, and had answered all it was asked"


@checker
def canary(solution: Callable[[str, list[int], float], bool]) -> str:
    """A good version gets share after share; one that fails loses all, at once, and nobody is lost."""
    with Stand((100, 0)) as stand, stand.visitors() as visitors:
        with Trial(solution, stand.admin, _SHARES, _STEP, apart=False) as trial:
            expect("what it returns for a good version", trial.value, True)
        _judge_steps(stand, time.monotonic())
        expect("requests lost with a good version", visitors.lost, {})
    for share in _SHARES[1:]:
        _judge_return(solution, share)
    return "a good version came to have all traffic, and one that fails was taken back at once"


def _judge_steps(stand: Stand, end: float) -> None:
    """Each share was there for its time, in the traffic itself."""
    moments = [since for _, since in stand.shares] + [end]
    seen = [
        round(stand.seen_share(since, until))
        for since, until in itertools.pairwise(moments)
        if until - since > _STEP * 0.6
    ]
    near = len(seen) == len(_SHARES) and all(
        abs(one - other) <= _NEAR for one, other in zip(seen, _SHARES, strict=True)
    )
    if not near:
        raise Refused(f"green's shares of the traffic, step by step: seen {seen}, expected about {_SHARES}")


def _judge_return(solution: Callable[[str, list[int], float], bool], share: int) -> None:
    """A version that fails as soon as it has this share."""
    with Stand((100, 0), fails_from=share) as stand, stand.visitors() as visitors:
        with Trial(solution, stand.admin, _SHARES, _STEP, apart=False) as trial:
            what = f"for a version that fails from {share} % on"
            expect(f"what it returns {what}", trial.value, False)
        expect(f"green's share at the end {what}", stand.share(), 0.0)
        visitors.leave()
        expect(f"requests lost {what}", visitors.lost, {})
        began = next((since for reached, since in stand.shares if reached >= share), None)
        if began is None:
            raise Refused(f"green's share {what}: seen less than that, expected the steps until it fails")
        lasted = max(stand.green.answered, default=began) - began
        if lasted > _AT_ONCE:
            raise Refused(
                f"how long visitors got errors {what}: seen {lasted:.1f} s, expected less than {_AT_ONCE}"
            )


def _who(answers: dict[str, int]) -> str:
    """The names in the answers."""
    return ", ".join(sorted({answer.partition(" ")[2] or answer for answer in answers}))
