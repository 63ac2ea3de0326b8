"""Waiting for what is to happen soon, for as long as a busy machine may need."""

from __future__ import annotations

import pathlib
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def until(condition: Callable[[], object], what: str = "it did not happen", seconds: float = 20) -> None:
    """Return as soon as something comes true; AssertionError with ``what`` when it has not come true in time.

    It is many times what an idle machine needs, and costs nothing where all is well: what is to happen, happens.
    """
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"{what} within {seconds:g} s"
        time.sleep(0.02)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie that its parent has not reaped."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
