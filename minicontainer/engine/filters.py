"""``--filter NAME=VALUE``: which of what there is a command is to show, or to remove.

Filters of one name are alternatives, for something can have one name or status only; but every label that is
asked for is required, since it can have them all. All kinds of things are chosen in this way (docker ps, docker
network ls, docker events: "Filtering"), and each kind says which names it knows.
"""

from __future__ import annotations

import time

from minicontainer import units
from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Test = Callable[..., bool]
    # of when something was made, as its document says it (units.format_time), and its labels
    PruneTest = Callable[[str, dict[str, str]], bool]


def split(text: str) -> tuple[str, str]:
    """The name and the value of a filter; InvalidArgument when it has no ``=``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidArgument(f"bad format of filter {text!r} (expected name=value)")
    return name, value


def combined(filters: Sequence[str], test_of: Callable[[str, str], Test]) -> Test:
    """One test of all filters: ``test_of(name, value)`` makes that of each, or raises InvalidArgument."""
    groups: dict[str, list[Test]] = {}
    for text in filters:
        name, value = split(text)
        groups.setdefault(text if name == "label" else name, []).append(test_of(name, value))
    return lambda *what: all(any(test(*what) for test in group) for group in groups.values())


def prune_test(filters: Sequence[str], known: Sequence[str] = ("until", "label", "label!")) -> PruneTest:
    """One test of what is to be removed: it passes all filters, ``until=TIME``, ``label=…`` and ``label!=…``.

    Raises InvalidArgument for a filter that is not ``known``.
    """
    tests: list[PruneTest] = []
    for text in filters:
        name, value = split(text)
        if name not in known:
            raise InvalidArgument(f"invalid filter '{name}'; there is {', '.join(known)}")
        tests.append(_older(value) if name == "until" else _labelled(value, name == "label"))
    return lambda created, labels: all(test(created, labels) for test in tests)


def _older(text: str) -> PruneTest:
    limit = units.parse_time(text, time.time_ns())
    return lambda created, _: units.parse_rfc3339(created) < limit


def _labelled(wanted: str, has: bool) -> PruneTest:
    return lambda _, labels: has_label(labels, wanted) == has


def boolean(name: str, value: str) -> bool:
    """The value of a filter that is true or false."""
    if value not in ("true", "false", "1", "0"):
        raise InvalidArgument(f"invalid filter '{name}={value}'; it is true or false")
    return value in ("true", "1")


def matches(pattern: str, name: str) -> bool:
    """Whether a name, with or without the slash in front, fits a regular expression."""
    import re  # not on the way of other commands

    try:
        return re.search(pattern, name) is not None or re.search(pattern, f"/{name}") is not None
    except re.error as error:
        raise InvalidArgument(f"invalid filter 'name={pattern}': {error}") from None


def has_label(labels: dict[str, str], wanted: str) -> bool:
    """Whether labels have ``NAME`` or ``NAME=value``."""
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)
