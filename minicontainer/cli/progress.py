"""What happens to each layer while an image travels: bars at a terminal, or else a line for each step.

The words are Docker's. At a terminal each layer has one line that changes; where the output goes to a file or a
pipe, every step is a line of its own, without the numbers that change all the time.
"""

from __future__ import annotations

import threading

from minicontainer import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from rich.live import Live
    from rich.text import Text

MOVING = ("Downloading", "Pushing", "Extracting")  # steps that last, and are worth a bar or nothing
_WIDTH = 50  # characters of a bar


class Progress:
    """For a ``with``: call :meth:`report` from any thread.

    :param out: where the lines go
    :param quiet: show warnings only
    """

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        self._out = out
        self._quiet = quiet
        self._live: Live | None = None
        self._rows: dict[str, tuple[str, int, int]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._settle()

    def report(self, layer: str, status: str, done: int = 0, total: int = 0) -> None:
        """Show what happens to a layer; or, when ``layer`` is empty, to the whole."""
        if self._quiet:
            return
        with self._lock:
            if not layer:
                self._settle()
                print(status, file=self._out, flush=True)
                return
            before = self._rows.get(layer, ("", 0, 0))[0]
            self._rows[layer] = (status, done, total)
            if self._out.isatty():
                self._draw()
            elif status not in (before, *MOVING):
                print(f"{layer}: {status}", file=self._out, flush=True)

    def _draw(self) -> None:
        """Begin to draw the rows; from then on they are drawn anew several times a second."""
        if self._live is None:
            from rich.console import Console  # 100 ms, and only when somebody looks
            from rich.live import Live

            console = Console(file=self._out, highlight=False)
            self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8)
            self._live.start()

    def _settle(self) -> None:
        """Leave the rows as they are now; what comes next begins below them."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._rows.clear()

    def _render(self) -> Text:
        from rich.text import Text

        rows = list(self._rows.items())
        return Text("\n".join(line(layer, *row) for layer, row in rows), no_wrap=True, overflow="ellipsis")


def line(layer: str, status: str, done: int, total: int) -> str:
    """A layer's line at a terminal: ``4abcf2066143: Downloading [====>    ]  1.2MB/3.4MB``."""
    if status not in MOVING or not total:
        return f"{layer}: {status}"
    filled = min(_WIDTH, _WIDTH * done // total)
    bar = ("=" * filled + ">").ljust(_WIDTH)[:_WIDTH]
    return f"{layer}: {status} [{bar}] {units.human_size(done):>8}/{units.human_size(total)}"
