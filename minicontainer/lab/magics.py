"""The cell magics, and short words for errors, taught to IPython when the lab is imported in one."""

from __future__ import annotations

import shlex
import sys

from minicontainer.errors import Error
from minicontainer.lab import children, peers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


def register() -> None:
    """Add the magics to the IPython that runs this; nothing happens outside of one."""
    if "IPython" not in sys.modules:
        return
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    if shell is None:
        return
    for magic in (child, every_child, shell_, peer):
        shell.register_magic_function(magic, "cell", magic.__name__.rstrip("_"))
    shell.set_custom_exc((Error,), _show_error)


def child(line: str, cell: str) -> None:
    """%%child [NAME=EXPRESSION...]: run the cell by a fresh Python, in a process of its own.

    Each NAME stands for what EXPRESSION is in the notebook.
    """
    # The empty line stands for the one with the magic, so that errors count lines as the reader does.
    children.child(f"\n{cell}", **_values(line))


def every_child(line: str, cell: str) -> None:
    """%%every_child: the lines that every %%child below begins with."""
    children.every_child(cell)


def shell_(line: str, cell: str) -> None:
    """%%shell [NAME=EXPRESSION...]: run the cell by sh, in a process of its own; NAMEs are variables."""
    children.shell(cell, **_values(line))


def peer(line: str, cell: str) -> None:
    """%%peer TOOL RECORDING: run the cell by sh if TOOL is here, or else show what it said elsewhere."""
    tool, recording = line.split()
    peers.peer(tool, recording, cell)


def _values(line: str) -> dict[str, Any]:
    from IPython.core.getipython import get_ipython

    running: Any = get_ipython()
    pairs = [word.partition("=") for word in shlex.split(line)]
    return {name: eval(expression or name, running.user_ns) for name, _, expression in pairs}


def _show_error(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
    tb_offset: int | None = None,
) -> list[str]:
    """Show one of our errors without a traceback: its words are meant for whoever sits there."""
    lines = [*getattr(error, "where", ()), f"\x1b[31m{kind.__name__}\x1b[0m: {error}"]
    shell._showtraceback(kind, error, lines)
    return lines
