"""A real terminal for the tests: a program runs at one end of a pty, the test types and looks at the other."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence

DETACH = "\x10\x11"  # ctrl-p ctrl-q


class Terminal:
    """``with Terminal(argv, env) as terminal: terminal.type("exit 3\\n"); terminal.wait() == 3``."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], rows: int = 24, columns: int = 80
    ) -> None:
        self.shown = ""  # all of it, from the beginning
        self._seen = 0  # how far expect() has come
        self.code: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execvpe(argv[0], list(argv), dict(env))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.fd, text.encode())

    def expect(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """Wait until something new on the screen matches; what was there before the match is done with."""
        deadline = time.monotonic() + timeout
        while True:
            found = re.compile(pattern, re.M).search(self.shown, self._seen)
            if found:
                self._seen = found.end()
                return found
            assert self._read(deadline), f"no {pattern!r} in {self.shown[self._seen :]!r} of {self.shown!r}"

    def _read(self, deadline: float) -> bool:
        """Read some more; False at the end of it all, or when time is over."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.fd], [], [], left)[0]:
            return False
        try:
            data = os.read(self.fd, 1 << 16)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def resize(self, rows: int, columns: int) -> None:
        """Make the window larger or smaller."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def is_raw(self) -> bool:
        """Whether what is typed goes through untouched."""
        return not termios.tcgetattr(self.fd)[3] & termios.ICANON

    def wait(self, timeout: float = 30) -> int:
        """Wait until the program ends, and return its exit code."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                return self.code
            time.sleep(0.02)
        raise AssertionError(f"it has not ended; it showed {self.shown!r}")
