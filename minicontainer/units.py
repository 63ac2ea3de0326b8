"""Sizes, durations and moments as people write and read them.

Three spellings that Docker made common, each with its own rules: decimal sizes for what lies on a disk
(``7.8MB``) and binary ones for memory (``4MiB``); spans of time in one rounded word (``About an hour``);
and moments in RFC 3339 with nanoseconds, which is how container state is written down.

Inside the program a size is an int of bytes, a duration an int of nanoseconds, and a moment an int of
nanoseconds since 1970: whole numbers, because a float loses the nanoseconds. Every floor uses this module,
also on the way to starting a container, so it imports nothing that is slow to load.
"""

from __future__ import annotations

import time

from minicontainer.errors import InvalidArgument

SECOND = 10**9  # nanoseconds
ZERO_TIME = "0001-01-01T00:00:00Z"  # how Go writes a moment that has not been: a container that never ended

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_DURATION_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, micro sign
    "μs": 10**3,  # U+03BC, Greek mu
    "ms": 10**6,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_LARGEST = 2**63 - 1  # sizes and durations travel as signed 64-bit numbers


def human_size(size: float, precision: int = 3) -> str:
    """Write ``size`` bytes in powers of 1000: ``7.8MB``, ``1.2kB``, ``0B``.

    ``precision`` counts significant digits: 3 where Docker lists images and containers, 4 in ``system df``.
    Source: go-units HumanSizeWithPrecision.
    """
    return _scaled(size, 1000, _DECIMAL, precision)


def bytes_size(size: float) -> str:
    """Write ``size`` bytes in powers of 1024: ``4MiB``, ``1.944GiB`` (go-units BytesSize)."""
    return _scaled(size, 1024, _BINARY, 4)


def _scaled(size: float, base: int, units: tuple[str, ...], precision: int) -> str:
    step = 0
    while size >= base and step < len(units) - 1:
        size /= base
        step += 1
    return f"{size:.{precision}g}{units[step]}"


def parse_size(text: str) -> int:
    """Read a size in bytes: ``1024``, ``4m``, ``4M``, ``4mb``, ``4MiB``, ``1.5g``, with units of 1024.

    Raises InvalidArgument for anything else. Source: go-units RAMInBytes.
    """
    number = text.rstrip("bBiIkKmMgGtTpP")
    unit = text[len(number) :].lower()
    power = " kmgtp".find(unit[:1] or " ")
    if unit == "b":
        power = 0
    elif power < 0 or unit[1:] not in ("", "b", "ib"):
        raise InvalidArgument(f"invalid size: '{text}'")
    whole, _, fraction = number.removesuffix(" ").partition(".")
    if not _digits(whole) or (fraction and not _digits(fraction)) or number.endswith("."):
        raise InvalidArgument(f"invalid size: '{text}'")
    scale: int = 10 ** len(fraction)
    size = int(whole + fraction) * (1 << 10 * power) // scale
    if size > _LARGEST:
        raise InvalidArgument(f"invalid size: '{text}' is more than {_LARGEST} bytes")
    return size


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def human_duration(seconds: float) -> str:
    """Write a span of ``seconds`` as Docker does: ``Less than a second``, ``About an hour``, ``4 weeks``.

    Minutes are cut and hours rounded, so 59 minutes stay minutes and 90 minutes are 2 hours already.
    Source: go-units HumanDuration.
    """
    minutes, hours = int(seconds / 60), int(seconds / 3600 + 0.5)
    if seconds < 1:
        return "Less than a second"
    if seconds < 2:
        return "1 second"
    if seconds < 60:
        return f"{int(seconds)} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"


def parse_duration(text: str) -> int:
    """Read a duration in Go's spelling into nanoseconds: ``1h30m``, ``10s``, ``1.5h``, ``300ms``, ``-2m``, ``0``.

    Raises InvalidArgument for anything else; a bare number is refused because nobody can tell its unit.
    Source: Go's time.ParseDuration.
    """
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    if not rest:
        raise InvalidArgument(f'invalid duration "{text}"')
    total = 0
    while rest:
        nanoseconds, rest = _first_duration(rest, text)
        total += nanoseconds
    if total > _LARGEST:
        raise InvalidArgument(f'invalid duration "{text}": more than 292 years')
    return sign * total


def _first_duration(rest: str, text: str) -> tuple[int, str]:
    """Take the first ``number unit`` off ``rest``: its nanoseconds, and what follows."""
    after = rest.lstrip("0123456789.")
    whole, _, fraction = rest[: len(rest) - len(after)].partition(".")
    if not (whole or fraction) or "." in fraction:
        raise InvalidArgument(f'invalid duration "{text}"')
    end = 0
    while end < len(after) and after[end] not in "0123456789.":
        end += 1
    unit = after[:end]
    if not unit:
        raise InvalidArgument(f'missing unit in duration "{text}"; write {rest}s for seconds')
    if unit not in _DURATION_UNITS:
        raise InvalidArgument(
            f'unknown unit "{unit}" in duration "{text}"; the units are ns, us, ms, s, m and h'
        )
    scale = 10 ** len(fraction)
    return int(whole + fraction or "0") * _DURATION_UNITS[unit] // scale, after[end:]


def format_time(nanoseconds: int) -> str:
    """Write a moment in UTC as RFC 3339 with the nanoseconds it has: ``2026-11-22T05:41:15.123456789Z``.

    Zeros at the end of the fraction are left off, as Go's RFC3339Nano and so Docker's JSON leave them off.
    """
    seconds, fraction = divmod(nanoseconds, SECOND)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}{digits}Z"


def parse_rfc3339(text: str) -> int:
    """Read a moment such as :func:`format_time` writes into nanoseconds since 1970; the inverse of it.

    The time may be shorter (``2026-11-22``, ``2026-11-22T05``, ``2026-11-22T05:41``), and without ``Z`` or
    ``+01:00`` it is local time. Raises InvalidArgument when it is no such moment. Source: RFC 3339 section 5.6.
    """
    from datetime import UTC, datetime  # 2 ms to import, and only whoever reads a moment needs it

    before, point, after = text.partition(".")
    zone_at = len(after) - len(after.lstrip("0123456789"))
    fraction, zone = after[:zone_at], after[zone_at:]
    if "-" not in before or (point and not 1 <= len(fraction) <= 9):
        raise InvalidArgument(f'invalid time "{text}"; write it as 2026-11-22T05:41:15Z')
    day, zulu = before + zone, before.upper().endswith("Z") or zone.upper() == "Z"
    try:
        moment = datetime.fromisoformat(day.upper().removesuffix("Z"))
    except ValueError as error:
        raise InvalidArgument(f'invalid time "{text}": {error}') from error
    if zulu:
        moment = moment.replace(tzinfo=UTC)
    elif moment.tzinfo is None:
        moment = moment.astimezone()
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * SECOND + int(fraction.ljust(9, "0"))


def parse_time(text: str, now: int) -> int:
    """Read what ``--since`` and ``--until`` take into nanoseconds since 1970.

    A Go duration (``10m``) means that long before ``now`` (nanoseconds); a number is Unix seconds and may have
    a fraction (``1136073600.000000001``); all else is RFC 3339, whole or shortened to the minute, the hour or
    the day. Raises InvalidArgument. Source: docker-logs(1), --since.
    """
    whole, point, fraction = text.partition(".")
    if _digits(whole) and (not point or (_digits(fraction) and len(fraction) <= 9)):
        return int(whole) * SECOND + int(fraction.ljust(9, "0"))
    if "-" in text[1:]:
        return parse_rfc3339(text)
    try:
        return now - parse_duration(text)
    except InvalidArgument as error:
        raise InvalidArgument(
            f'invalid time "{text}"; give a time (2026-11-22T05:41:15Z), a date, Unix seconds, or a duration (10m)'
        ) from error
