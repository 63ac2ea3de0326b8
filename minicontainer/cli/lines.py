"""Lines for a terminal: without what would move its cursor, and no wider than its window."""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

# ECMA-48: control sequences, operating system commands, other escape sequences; then single control characters.
_CONTROLS = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\|$)|[ -/]*[0-~]?)|[\x00-\x1f\x7f-\x9f]"
)
_COLOUR = re.compile(r"(\x1b\[\d*m)")


def window(out: TextIO) -> tuple[int, int]:
    """Columns and lines of a terminal; one that does not know is taken for 80 by 24."""
    try:
        columns, lines = os.get_terminal_size(out.fileno())
    except OSError:
        columns = lines = 0
    return columns or 80, lines or 24


def plain(text: str) -> str:
    """A line without what would move the cursor or paint: what a carriage return has hidden, and control codes."""
    return _CONTROLS.sub("", text.rstrip("\r").rpartition("\r")[2].expandtabs())


def fit(line: str, width: int) -> str:
    """The beginning of a line that is not wider than ``width`` columns; colours in it do not count, and end."""
    import unicodedata

    fitting, column = [], 0
    for piece in _COLOUR.split(line):
        if piece.startswith("\x1b"):
            fitting.append(piece)
            continue
        for character in piece:
            if not unicodedata.combining(character):
                column += 2 if unicodedata.east_asian_width(character) in "WF" else 1
            if column <= width:
                fitting.append(character)
    return "".join(fitting)
