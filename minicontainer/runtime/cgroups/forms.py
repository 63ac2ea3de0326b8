"""Forms of values that both versions of cgroup know; the two tables name them.

A form is a function of (the value as asked, the OCI section it stands in, the path of the file) and gives the
lines to write to that file, one write(2) each.
"""

from __future__ import annotations

import os

from minicontainer.errors import InvalidArgument
from minicontainer.runtime.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Form = Callable[[Any, dict[str, Any], str], list[str]]
    Row = tuple[str, str, Form]  # OCI's name of a resource, the kernel's name of a file, the form


_MOST = 65535  # processors or memory nodes; far more than any kernel is built for


def plain(value: Any, section: dict[str, Any], path: str) -> list[str]:
    """As it is: 4194304, ``0-1``."""
    return [str(value)]


def or_max(value: int, section: dict[str, Any], path: str) -> list[str]:
    """A number, or the word that stands for no limit: OCI says -1, the kernel ``max``."""
    return ["max" if value < 0 else str(value)]


def per_device(key: str, form: str) -> Form:
    """For a list of ``{"major": 8, "minor": 0, key: number}``: a line each, as ``form`` has it."""

    def lines(value: list[dict[str, Any]], section: dict[str, Any], path: str) -> list[str]:
        return [form.format(device=f"{d['major']}:{d['minor']}", value=d[key]) for d in value]

    return lines


def part_of(file: str) -> Form:
    """For a list as ``0-2,5`` that must lie within the one in the ``file`` of the cgroup above.

    v2 would accept processors that are not there, and quietly use others.
    """

    def lines(value: str, section: dict[str, Any], path: str) -> list[str]:
        above = os.path.dirname(os.path.dirname(path))
        available = files.read(f"{above}/{file}")
        if missing := numbers(value) - numbers(available):
            raise InvalidArgument(
                f"cannot set {os.path.basename(path)} to {value}: {', '.join(map(str, sorted(missing)))} "
                f"not available here; available: {available}"
            )
        return [value]

    return lines


def numbers(text: str) -> set[int]:
    """The numbers in a list as ``0-2,5`` ("List format" of cpuset(7)); InvalidArgument when it is none."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdigit() and last.isdigit()) or int(last) > _MOST:
            raise InvalidArgument(f"{text!r} is not a list of numbers and ranges, such as 0-2,5")
        found.update(range(int(first), int(last) + 1))
    return found
