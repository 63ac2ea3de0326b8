"""A build as it is watched at a terminal: a line for each step with its time, and what running steps write.

Lines of steps that are done are printed once and stay, in the order of the Dockerfile, under the name of their
stage. Only what goes on is drawn anew, several times a second, below them: the running steps of all stages, each
with the last lines of its output. So the picture never grows beyond the window, and a log of many steps can be
scrolled back to.

The times come first in a line. Lines then end with their text, far from the edge of the window for the most
part, and a narrower window does not tear them up.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque

from minicontainer import units
from minicontainer.build.report import Report, short
from minicontainer.cli.lines import fit, plain, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from rich.live import Live
    from rich.text import Text

    from minicontainer.build.report import Step
    from minicontainer.images.image import Image

_PATIENCE = 0.2  # seconds; what is built in less is not worth loading rich for
_INTERVAL = 0.125  # seconds between two pictures
_SHOWN, _KEPT = 5, 100  # lines of a step's output: while it runs, and when it has failed
_LONGEST_LINE = 4096  # bytes of a line of output that are kept
_GREEN, _RED, _YELLOW, _BLUE, _BOLD, _DIM = "32", "31", "33", "34", "1", "2"


class _Row:
    """What is known of one step."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.began = 0.0  # 0 before it has begun
        self.took = -1.0  # seconds; below 0 until it is over
        self.cached = False
        self.lines: deque[bytes] = deque(maxlen=_KEPT)
        self.count = 0  # of lines, those that are not kept any more too
        self.partial = {1: b"", 2: b""}  # of each stream, the line that has no end yet

    @property
    def runs(self) -> bool:
        return bool(self.began) and self.took < 0

    def take(self, stream: int, data: bytes) -> None:
        """Add to its output."""
        *whole, partial = (self.partial[stream] + data).split(b"\n")
        self.partial[stream] = partial[-_LONGEST_LINE:]
        self.lines.extend(line[-_LONGEST_LINE:] for line in whole[-_KEPT:])
        self.count += len(whole)

    def last(self, count: int) -> list[str]:
        """The last lines of its output, fit to be shown."""
        lines = [*self.lines, *filter(None, self.partial.values())]
        return [plain(line.decode(errors="replace")) for line in lines[-count:]] if count else []


class LiveReport(Report):
    """Shows a build at a terminal; for a ``with`` around the build.

    :param out: the terminal
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colours = not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._live: Live | None = None
        self._began = time.monotonic()
        self._rows: list[_Row] = []
        self._printed = 0  # rows that have been printed for good
        self._stage = -1  # the stage of the last of them
        self._ended = False  # well or not

    def __enter__(self) -> LiveReport:
        threading.Thread(target=self._watch, name="live view", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._lock:
            self._stop()
            if not self._ended:
                self._print(*(line for row in self._rows if row.runs for line in self._lines(row, _YELLOW)))

    # -------------------------------------------------------------- what the builder says

    def context(self, size: int) -> None:
        """Say how large it is: a large one may be a mistake."""
        with self._lock:
            self._print(f"Build context: {units.human_size(size, 4)}")

    def plan(self, steps: list[Step]) -> None:
        """Keep a row for each step."""
        with self._lock:
            self._rows = [_Row(step) for step in steps]

    def begin(self, step: Step) -> None:
        """Start its clock."""
        self._row(step).began = time.monotonic()

    def cached(self, step: Step) -> None:
        """Show it instead of the time."""
        self._row(step).cached = True

    def output(self, step: Step, stream: int, data: bytes) -> None:
        """Show the last lines."""
        with self._lock:
            self._row(step).take(stream, data)

    def warning(self, step: Step | None, text: str) -> None:
        """Print it above the steps that are running."""
        with self._lock:
            self._print(self._painted(_YELLOW, f"[Warning] {plain(text[:1].upper() + text[1:])}"))

    def done(self, step: Step, image_id: str) -> None:
        """Print its line, and those of later steps that have waited for it."""
        with self._lock:
            self._finish(step)
            lines = []
            while self._printed < len(self._rows) and self._rows[self._printed].took >= 0:
                lines += self._lines(self._rows[self._printed])
                self._printed += 1
            self._print(*lines)

    def failed(self, step: Step, error: BaseException) -> None:
        """Print all that has been done, then the line of this step and the end of its output."""
        with self._lock:
            self._stop()
            self._ended = True
            failed = self._finish(step)
            for row in self._rows[self._printed :]:
                if row.took >= 0 and row is not failed:
                    self._print(*self._lines(row))
            self._print(*self._lines(failed, _RED))
            output = failed.last(_KEPT)
            if failed.count > len(output):
                self._print(f"{'':9}(the last {len(output)} of {failed.count} lines)")
            self._print(*(f"{'':9}{line}" for line in output), cut=False)

    def built(self, image: Image) -> None:
        """Name it, and say how long it took."""
        with self._lock:
            self._stop()
            self._ended = True
            self._print(f"Successfully built {short(image.id)} in {duration(self._elapsed())}")

    def tagged(self, name: str) -> None:
        """Name it by this name."""
        with self._lock:
            self._print(f"Successfully tagged {name}")

    def _row(self, step: Step) -> _Row:
        return self._rows[step.number - 1]

    def _finish(self, step: Step) -> _Row:
        row = self._row(step)
        row.took = time.monotonic() - row.began
        return row

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    # -------------------------------------------------------------- lines that stay

    def _lines(self, row: _Row, colour: str = _GREEN) -> list[str]:
        """The line of a step that is over, below that of its stage if it is the first of it."""
        heading = self._heading(row, self._stage)
        self._stage = row.step.stage
        word = " CACHED" if row.cached else "STOPPED" if row.runs else _clock(row.took)
        clock = self._painted(_BLUE if row.cached else colour, word)
        return [*([heading] if heading else []), f" {clock} {_label(row.step)}"]

    def _print(self, *lines: str, cut: bool = True) -> None:
        """Print lines above the picture."""
        text = "\n".join(map(self._cut, lines) if cut else lines)
        if self._live and text:
            from rich.text import Text

            self._live.update(self._drawn())
            self._live.console.print(Text.from_ansi(text), soft_wrap=True)
        elif text:
            print(text, file=self._out, flush=True)

    def _heading(self, row: _Row, above: int) -> str:
        """The name of its stage, below a row of another one, where there are several to tell apart."""
        stages = {each.step.stage for each in self._rows if each.step.stage >= 0}
        step = row.step
        if step.stage in (above, -1) or (len(stages) == 1 and not step.stage_name):
            return ""
        return self._painted(_BOLD, f"[{plain(step.stage_name) or f'stage {step.stage}'}]")

    def _painted(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text

    def _cut(self, line: str) -> str:
        return fit(line, window(self._out)[0])

    # -------------------------------------------------------------- the picture

    def _watch(self) -> None:
        """Draw until it is over (runs in a thread)."""
        if self._over.wait(_PATIENCE):
            return
        from rich.console import Console
        from rich.live import Live

        with contextlib.suppress(OSError):  # the terminal is gone; what the builder says will meet the same
            while not self._over.wait(_INTERVAL):
                with self._lock:
                    if self._live is None and not self._over.is_set():
                        console = Console(file=self._out, highlight=False)
                        self._live = Live(console=console, auto_refresh=False, transient=True)
                        self._live.start()
                    if self._live:
                        self._live.update(self._drawn(), refresh=True)

    def _stop(self) -> None:
        """Take the picture away; nothing is drawn after it."""
        self._over.set()
        if self._live:
            self._live.stop()
            self._live = None

    def _drawn(self) -> Text:
        from rich.text import Text

        return Text.from_ansi("\n".join(self._picture()))

    def _picture(self) -> list[str]:
        """The lines that are drawn anew: the steps that run, with the last lines they wrote, and the sum of it."""
        height = window(self._out)[1] - 2  # without the line of the sum, and that of the cursor
        running = [row for row in self._rows if row.runs]
        room = max(0, height - 2 * len(running)) // max(1, len(running))
        lines, stage = [], self._stage
        for row in running:
            if heading := self._heading(row, stage):
                lines.append(heading)
            stage = row.step.stage
            clock = self._painted(_YELLOW, _clock(time.monotonic() - row.began))
            lines.append(f"{self._spinner()}{clock} {_label(row.step)}")
            lines += [self._painted(_DIM, f"{'':9}{text}") for text in row.last(min(_SHOWN, room))]
        over = sum(row.took >= 0 for row in self._rows)
        total = self._painted(_BOLD, f"{over}/{len(self._rows)} steps, {duration(self._elapsed())}")
        return [self._cut(line) for line in [*lines[-height:], f"{'':9}{total}"]]

    def _spinner(self) -> str:
        return "|/-\\"[int(self._elapsed() / _INTERVAL) % 4]


def _label(step: Step) -> str:
    width = len(str(step.total))
    return f"{step.number:{width}}/{step.total} {plain(step.text.partition(chr(10))[0])}"


def _clock(seconds: float) -> str:
    return f"{duration(seconds):>7}"


def duration(seconds: float) -> str:
    """A span of time in at most seven characters: ``0.1s``, ``2m05s``, ``1h02m``."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds + 0.05), 60)
    return f"{minutes}m{rest:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"
