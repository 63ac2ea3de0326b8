"""Visitors: clients of a service who never rest, and count what they were answered.

Whether a service can be replaced while it is used, only those can tell who use it. A visitor keeps one connection,
as a browser does, and sends a request after the other. What was no answer at all is **lost**, and counted as well.
"""

from __future__ import annotations

import collections
import http.client
import socket
import threading

from minicontainer.lab.show import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_PATIENCE = 10  # seconds for one answer
_PAUSE = 0.01  # seconds between two requests of a visitor: enough for a picture, and the machine has a rest
_WIDTH = 40  # characters of a bar
_MARKS = "░█▒▓"  # one for each kind of answer
_LONGEST = 44  # characters of a line that are worth showing
_LONGEST_BODY = 20  # characters: beyond that it is no version's name
_open: list[Visitors] = []


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Visitors:
    """Some clients of the service at a port of 127.0.0.1, from now on until :meth:`leave`; also for a ``with``.

    :ivar parts: what was answered until each :meth:`mark`: (line, how often each answer came)
    """

    def __init__(self, port: int, count: int = 2, pause: float = _PAUSE) -> None:
        self.parts: list[tuple[str, collections.Counter[str]]] = []
        self._port = port
        self._pause = pause
        self._now: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._gone = threading.Event()
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def note(self, line: str) -> None:
        """Print a line, and :meth:`mark` it."""
        print(line)
        self.mark(line)

    def mark(self, line: str) -> None:
        """Count anew from here; both can be what a deployment takes as ``say``."""
        with self._lock:
            self.parts.append((line, self._now))
            self._now = collections.Counter()

    def leave(self) -> Visitors:
        """Let the last answers come, and ask no more."""
        self._gone.set()
        for thread in self._threads:
            thread.join()
        if self._now:
            self.mark("the end")
        return self

    def __enter__(self) -> Visitors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    # ------------------------------------------------------------ what they saw

    @property
    def answers(self) -> dict[str, int]:
        """How often each answer came: ``200 v1``, as status and body; ``lost: …`` for none."""
        with self._lock:
            counted = sum((part for _, part in self.parts), collections.Counter[str]()) + self._now
        return dict(sorted(counted.items()))

    @property
    def lost(self) -> dict[str, int]:
        """What no version has answered: nothing at all came, or an error of the load balancer's own."""
        answers = self.answers.items()
        return {answer: count for answer, count in answers if answer.startswith("lost") or " " not in answer}

    def shares(self) -> Shown:
        """A bar for each part: who answered how much of it."""
        answers = dict.fromkeys(answer for _, part in self.parts for answer in part)  # as they came first
        marks = {answer: _MARKS[number % len(_MARKS)] for number, answer in enumerate(answers)}
        lines = ["   ".join(f"{mark} {answer}" for answer, mark in marks.items()), ""]
        for line, part in self.parts:
            text = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
            if part:
                lines.append(f"{_bar(part, marks)}  {part.total():5}  until: {text}")
        plain = "\n".join(lines)
        return Shown(plain, f"```text\n{plain}\n```")

    def __repr__(self) -> str:
        counted = ", ".join(f"{answer!r}: {count}" for answer, count in self.answers.items())
        return f"<visitors: {counted or 'no answer so far'}>"

    # ------------------------------------------------------------ one visitor

    def _visit(self) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        while not self._gone.is_set():
            try:
                answer = _ask(line)
            except (OSError, http.client.HTTPException) as error:
                line.close()
                answer = f"lost: {type(error).__name__}"
                self._gone.wait(0.05)  # whoever refuses does so very often in a second
            with self._lock:
                self._now[answer] += 1
            self._gone.wait(self._pause)
        line.close()


def _ask(line: http.client.HTTPConnection) -> str:
    line.request("GET", "/")
    answer = line.getresponse()
    body = answer.read().decode(errors="replace").strip()
    return f"{answer.status} {body}" if body and len(body) <= _LONGEST_BODY else str(answer.status)


def _bar(part: collections.Counter[str], marks: dict[str, str]) -> str:
    """As wide as _WIDTH; what came at all is seen."""
    wide = {answer: max(1, round(_WIDTH * part[answer] / part.total())) for answer in marks if part[answer]}
    widest = max(wide, key=lambda answer: wide[answer])
    wide[widest] += _WIDTH - sum(wide.values())
    return "".join(mark * wide.get(answer, 0) for answer, mark in marks.items())


def visitors(port: int, count: int = 2) -> Visitors:
    """Have visitors at a port of this host, from now on; ``lab.clean_up()`` sends them away."""
    opened = Visitors(port, count)
    _open.append(opened)
    return opened


def close_all() -> None:
    """Send away whom :func:`visitors` has brought."""
    while _open:
        _open.pop().leave()
