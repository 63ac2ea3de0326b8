"""Signals by name or number, as ``docker kill -s`` takes them."""

from __future__ import annotations

import signal

from minicontainer.errors import InvalidArgument


def parse(text: str) -> int:
    """The number of ``KILL``, ``SIGKILL``, ``sigkill``, ``9`` or ``RTMIN+3``."""
    if text.isdecimal():
        number = int(text)
    else:
        name = text.upper().removeprefix("SIG")
        base, offset = (name[:5], name[5:]) if name.startswith(("RTMIN", "RTMAX")) else (name, "")
        known = {each.name.removeprefix("SIG"): int(each) for each in signal.Signals}
        number = known.get(base, 0)
        if offset:
            number = number + int(offset) if offset[0] in "+-" and offset[1:].isdecimal() else 0
    if number not in signal.valid_signals():
        raise InvalidArgument(f"invalid signal: {text}")
    return number
