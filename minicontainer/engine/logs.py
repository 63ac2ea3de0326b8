"""The container's log: every line it wrote, when, and to which stream.

One JSON object a line, in Docker's own format, so that ``cat`` and ``jq`` read it::

    {"log":"hello\\n","stream":"stdout","time":"2026-11-22T05:41:15.123456789Z"}
"""

from __future__ import annotations

import json
import os
import time

from minicontainer import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST_LINE = 16 << 10  # bytes; a longer line is written in pieces, as Docker does
_CHUNK = 1 << 16


class Writer:
    """Appends to a log; holds back a line until it is whole.

    What cannot be written is left out, as Docker does it: a container does not end because a disk is full.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._partial = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        """Take some output of a stream, "stdout" or "stderr"."""
        lines = (self._partial[stream] + data).split(b"\n")
        self._partial[stream] = rest = lines.pop()
        whole = [piece for line in lines for piece in _pieces(line + b"\n")]
        if len(rest) > LONGEST_LINE:
            *pieces, self._partial[stream] = _pieces(rest)
            whole += pieces
        self._append(stream, whole)

    def finish(self, stream: str) -> None:
        """Write what is left of a stream that ended without a newline."""
        if self._partial[stream]:
            self._append(stream, [self._partial[stream]])
            self._partial[stream] = b""

    def _append(self, stream: str, lines: list[bytes]) -> None:
        moment = units.format_time(time.time_ns())
        tail = f',"stream":"{stream}","time":"{moment}"}}\n'
        text = "".join(f'{{"log":{json.dumps(line.decode(errors="replace"))}{tail}' for line in lines)
        data = text.encode()
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:  # the disk is full, say: lines are lost then, but no line is there in part
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - done)


def _pieces(line: bytes) -> Iterator[bytes]:
    """Cut a line where characters end, for half of one is none (utf-8(7): 10xxxxxx goes on with a character)."""
    start = 0
    while len(line) - start > LONGEST_LINE:
        end = start + LONGEST_LINE
        begins = [at for at in range(end, end - 4, -1) if line[at] & 0xC0 != 0x80]
        end = begins[0] if begins else end  # none begins here: it is not UTF-8
        yield line[start:end]
        start = end
    yield line[start:]


class Line:
    """One line of a log."""

    def __init__(self, stream: str, text: str, time_text: str) -> None:
        self.stream = stream
        self.text = text
        self.time_text = time_text

    @property
    def time(self) -> int:
        """When it was written, in nanoseconds since 1970."""
        return units.parse_rfc3339(self.time_text)


def read(
    path: str,
    *,
    tail: int | None = None,
    since: int = 0,
    until: int = 0,
    follow: Callable[[], bool] | None = None,
) -> Iterator[Line]:
    """The lines of a log, oldest first.

    :param tail: only so many of the last lines
    :param since: only lines written at this moment or later (nanoseconds since 1970)
    :param until: only lines written before this moment
    :param follow: go on with new lines as long as this says True
    """
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return
    with file:
        if tail is not None:
            file.seek(_tail_offset(path, tail))
        for line in _lines(file, follow):
            moment = line.time if since or until else 0
            if until and moment >= until:
                return
            if moment >= since:
                yield line


def _lines(file: object, follow: Callable[[], bool] | None) -> Iterator[Line]:
    rest = b""
    while True:
        going_on = follow is not None and follow()  # asked before reading: what it wrote last is read too
        while chunk := file.read(_CHUNK):  # type: ignore[attr-defined]
            *whole, rest = (rest + chunk).split(b"\n")
            for raw in whole:
                yield _parse(raw)
        if not going_on:
            return
        time.sleep(0.05)


def _parse(raw: bytes) -> Line:
    try:
        entry = json.loads(raw)
        return Line(entry["stream"], entry["log"], entry["time"])
    except (ValueError, KeyError, TypeError):  # a line cut short when its writer was killed
        return Line("stderr", f"[damaged log line: {raw[:80]!r}]\n", "1970-01-01T00:00:00Z")


def _tail_offset(path: str, count: int) -> int:
    """Where the last ``count`` lines begin, found from the end."""
    with open(path, "rb") as file:
        end = start = file.seek(0, os.SEEK_END)
        wanted = count + 1  # the newline that ends the last line begins nothing
        while start > 0:
            stop, start = start, max(0, start - _CHUNK)
            file.seek(start)
            block = file.read(stop - start)
            newlines = block.count(b"\n")
            if newlines >= wanted:
                at = len(block)
                for _ in range(wanted):
                    at = block.rindex(b"\n", 0, at)
                return start + at + 1
            wanted -= newlines
    return 0 if count else end
