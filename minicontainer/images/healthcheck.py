"""``HEALTHCHECK``: how to find out whether what runs in a container does its work.

A process that is there may still be of no use: a server that hangs answers nobody. An image may therefore name a
command that the engine runs inside the container from time to time; when it fails a few times in a row the
container counts as unhealthy. The image only holds the plan, as ``Healthcheck`` in its configuration: what to
run, and how often, how long and how many times, with durations in nanoseconds.
"""

from __future__ import annotations

import sys

from minicontainer import units, words
from minicontainer.errors import InvalidArgument
from minicontainer.images import forms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Healthcheck = dict[str, Any]

DURATIONS = {  # the flag, and its name in the configuration
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
FLAGS = (*DURATIONS, "retries")
_SHORTEST = 10**6  # nanoseconds


def parse(rest: str, argv: Sequence[str] | None, flags: Mapping[str, Sequence[str]]) -> Healthcheck:
    """Read ``HEALTHCHECK``: ``NONE``, or ``CMD`` and a command, with the flags before it.

    ``rest`` is the text after the flags, ``argv`` its JSON form's words or None for a shell's command line.
    Raises InvalidArgument. Source: the Dockerfile reference, HEALTHCHECK.
    """
    kind, line = forms.cut(rest)
    if not kind:
        raise InvalidArgument("HEALTHCHECK requires at least one argument: CMD and a command, or NONE")
    if kind.upper() == "NONE":
        if line:
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        return {"Test": ["NONE"]}
    if kind.upper() != "CMD":
        raise InvalidArgument(f"unknown type {words.quote(kind.upper())} in HEALTHCHECK (try CMD)")
    test = ["CMD-SHELL", line] if argv is None else ["CMD", *argv]
    if not any(test[1:]):
        raise InvalidArgument("missing command after HEALTHCHECK CMD")
    check: Healthcheck = {"Test": test}
    for flag, key in DURATIONS.items():
        if duration := _duration(flag, flags.get(flag, ("",))[-1]):
            check[key] = duration
    retries = _retries(flags.get("retries", ("",))[-1])
    return {**check, "Retries": retries} if retries else check


def command(rest: str) -> str:
    """What follows ``CMD``, which may be in the exec form."""
    return forms.cut(rest)[1]


def _duration(flag: str, text: str) -> int:
    """Nanoseconds; 0 stands for the engine's own choice."""
    try:
        duration = units.parse_duration(text) if text else 0
    except InvalidArgument as error:
        raise InvalidArgument(f"--{flag}: {error}") from None
    if duration and duration < _SHORTEST:
        raise InvalidArgument(f'interval "{flag}" cannot be less than 1ms')
    return duration


def _retries(text: str) -> int:
    if not text:
        return 0
    if not text.lstrip("+-").isdecimal() or len(text) > 9:
        raise InvalidArgument(f"--retries {words.quote(text)} is not a number")
    if int(text) < 1:
        raise InvalidArgument(f"--retries must be at least 1 (not {text})")
    return int(text)


def describe(check: Healthcheck) -> str:
    """The check as Docker's history has it: ``&{["CMD-SHELL" "true"] "5s" "0s" "0s" '\\x03'}``.

    That is a Go structure printed with ``%q``, which takes the number of retries for a character.
    """
    test = " ".join(words.quote(word) for word in check["Test"])
    durations = [
        f'"{_written(check.get(key, 0))}"'
        for key in DURATIONS.values()
        if key != "StartInterval" or check.get(key)  # younger than Docker 20.10
    ]
    retries = words.quote(_character(check.get("Retries", 0)), "'")
    return f"&{{[{test}] {' '.join(durations)} {retries}}}"


def _character(number: int) -> str:
    surrogate = 0xD800 <= number < 0xE000
    return chr(number) if number <= sys.maxunicode and not surrogate else "\ufffd"


def _written(nanoseconds: int) -> str:
    """A duration as Go prints it: ``0s``, ``1.5ms``, ``5s``, ``1m30s``, ``1h0m0s``."""
    if 0 < nanoseconds < units.SECOND:
        return _decimal(nanoseconds, 10**6) + "ms"
    minutes, rest = divmod(nanoseconds, 60 * units.SECOND)
    hours, minutes_left = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes_left}m" if minutes else ""
    return text + _decimal(rest, units.SECOND) + "s"


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{fraction:0{digits}d}".rstrip("0").rstrip(".") if fraction else str(whole)
