"""A share of the traffic, in the numbers that HAProxy takes.

HAProxy gives each server a weight, a whole number up to 256, and takes turns (``balance roundrobin``): in every
round a server is chosen as often as its weight says. Both colours have equally many replicas, so the share of the
new version is ``new / (new + old)`` whatever their number is. Many a percentage is met exactly: 5 % is 1 to 19.

The smaller the two numbers, the better the turns are mixed: with 1 to 3 every fourth request goes to the new
version, with 64 to 192 it is 64 in every 256.

Source: HAProxy configuration manual, section 4.2, ``balance``, and 5.2, ``weight``.
"""

from __future__ import annotations

from minicontainer.errors import InvalidArgument

LARGEST = 256  #: the most that HAProxy takes
SMALLEST_SHARE = 100 / (LARGEST + 1)  #: in percent: 1 to 256


def of_share(percent: float) -> tuple[int, int]:
    """The weights of an old and of a new server, so that the new ones get ``percent`` of the requests.

    InvalidArgument for what is no percentage, and for a share that is too small, or too near to all.
    """
    if not 0 <= percent <= 100:
        raise InvalidArgument(f"a share of {percent:g} % is not possible: it is from 0 to 100")
    if percent == 0:
        return 1, 0
    if percent == 100:
        return 0, 1
    if not SMALLEST_SHARE <= percent <= 100 - SMALLEST_SHARE:
        raise InvalidArgument(
            f"a share of {percent:g} % is not possible: HAProxy's weights reach from {SMALLEST_SHARE:.2f} % "
            f"to {100 - SMALLEST_SHARE:.2f} %, or 0 or 100"
        )
    pairs = ((old, _partner(old, percent)) for old in range(1, LARGEST + 1))
    possible = [(old, new) for old, new in pairs if 1 <= new <= LARGEST]
    return min(possible, key=lambda pair: (abs(share(*pair) - percent), pair))


def share(old: int, new: int) -> float:
    """The share in percent that these weights give the new version."""
    return 100 * new / (old + new)


def _partner(old: int, percent: float) -> int:
    return round(old * percent / (100 - percent))
