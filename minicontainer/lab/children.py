"""Child processes of a notebook: where everything happens that would change the process that does it.

A process that unshares a namespace is in another one from then on, and so would be every later cell of the
notebook if its kernel did it. And a kernel has threads, which makes the system refuse it a user namespace at
all. So what a chapter does by hand is done by a child: for Python a fresh interpreter (see
:mod:`minicontainer.lab.driver`), for a script a shell.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

from minicontainer.errors import Error
from minicontainer.lab import driver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MARK = "MINICONTAINER_LAB_CHILD"  #: the environment variable that all children of notebooks have
TIMEOUT = 45.0  # seconds
_DIES_WITHIN = 5.0
PACKAGE = os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
)  #: where it is imported from
_prelude = [""]


class ChildFailed(Error):
    """A child ended with an exception, an exit code or a signal; ``where`` has the lines that led to it."""

    def __init__(self, message: str, where: list[str]) -> None:
        super().__init__(message)
        self.where = where


def mark() -> str:
    """What a notebook's cgroups and processes are marked with; runs beside each other need one each."""
    return os.environ.get("MINICONTAINER_LAB") or "minicontainer-lab"


def environment() -> dict[str, str]:
    """The environment of children: they find this very package, and are known by a mark."""
    path = [PACKAGE, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, MARK: mark(), "PYTHONPATH": os.pathsep.join(path), "PYTHON": sys.executable}


class Child:
    """A process with its output in a file, so that nothing waits for the children that it leaves behind."""

    def __init__(self, argv: list[str], channel: socket.socket | None = None) -> None:
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            pass_fds=[channel.fileno()] if channel else (),
            env=environment(),
            start_new_session=True,
        )

    def text(self) -> str:
        """What it has written so far."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def wait(self, timeout: float) -> int:
        """Wait for its end; when that takes too long it is killed, with its children. Returns its exit code."""
        try:
            return self.process.wait(timeout)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self.kill()
            raise

    def kill(self) -> None:
        """Kill it and what it has started, unless that has left its session; wait until they are gone."""
        deadline = time.monotonic() + _DIES_WITHIN
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        while _alive(self.process.pid) and time.monotonic() < deadline:
            time.sleep(0.002)

    def close(self) -> None:
        """Forget its output."""
        self.output.close()


class Interpreter(Child):
    """A fresh Python with a job, and the line to it."""

    def __init__(self, **job: Any) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: the directory of this file has modules of its own, which must not stand in for others.
            super().__init__([sys.executable, "-P", "-u", driver.__file__, str(theirs.fileno())], theirs)
        self._socket = ours
        self._answers = ours.makefile(encoding="utf-8")
        text = json.dumps({"prelude": _prelude[0], "values": {}, **job})
        ours.sendall(f"{text}\n".encode())

    def report(self, timeout: float | None = None) -> dict[str, Any] | None:
        """How the job went; None when the process died before it could say. Raises TimeoutError."""
        self._socket.settimeout(timeout)
        text = self._answers.readline()
        report: dict[str, Any] | None = json.loads(text) if text else None
        return report

    def close(self) -> None:
        """Let it go, and forget its output."""
        self._answers.close()
        self._socket.close()
        super().close()


def every_child(source: str) -> None:
    """Let all children that follow begin with these lines; imports, above all (``%%every_child``)."""
    compile(source, driver.PRELUDE, "exec", dont_inherit=True)
    _prelude[0] = source


def child(what: str | Callable[..., Any], timeout: float = TIMEOUT, **values: Any) -> None:
    """Run Python in a process of its own and print what it prints (``%%child name=expression``).

    :param what: source text, or a function without arguments, of which the source is taken
    :param timeout: seconds, after which it is killed
    :param values: what the names in it are to stand for; anything that JSON can carry
    :raises ChildFailed: when it ends with an exception, an exit code or a signal
    """
    text = what if isinstance(what, str) else f"{function_source(what)}\n{what.__name__}()\n"
    interpreter = Interpreter(do="cell", source=text, values=values)
    try:
        code = _finish(interpreter, timeout)
        report = interpreter.report() or {}
    finally:
        interpreter.close()
    if "error" in report:
        raise ChildFailed(
            report["error"], [_line_of(origin, number, text) for origin, number in report["where"]]
        )
    _judge(code)


def shell(script: str, timeout: float = TIMEOUT, **values: Any) -> None:
    """Run a script by sh(1) and print what it prints (``%%shell name=expression``).

    ``minicontainer`` is the command line of this very package there, and each of ``values`` a variable.

    :raises ChildFailed: when it ends with an exit code or a signal
    """
    variables = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    function = 'minicontainer() { "$PYTHON" -m minicontainer "$@"; }\n'
    process = Child(["sh", "-c", f"{function}{variables}{script}"])
    try:
        code = _finish(process, timeout)
    finally:
        process.close()
    _judge(code)


def function_source(function: Callable[..., Any]) -> str:
    """The source text of a function, as of a notebook's cell."""
    return textwrap.dedent(inspect.getsource(function))


def _finish(process: Child, timeout: float) -> int:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise ChildFailed(f"still not done after {timeout:.0f} s, and killed", []) from None
    finally:
        sys.stdout.write(process.text())


def _alive(group: int) -> bool:
    """Whether a process of this group is alive; a zombie, which its parent has yet to wait for, is not."""
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as file:
            state, _, pgrp = file.read().rpartition(")")[2].split()[:3]  # proc_pid_stat(5)
            if int(pgrp) == group and state not in "ZX":
                return True
    return False


def _judge(code: int) -> None:
    if code < 0:
        name = signal.Signals(-code).name
        raise ChildFailed(f"killed by {name}; a shell calls that exit code {128 - code}", [])
    if code:
        raise ChildFailed(f"ended with exit code {code}", [])


def _line_of(origin: str, number: int, text: str) -> str:
    """A place in a traceback, with what stands there."""
    lines = (text if origin == driver.CELL else _prelude[0]).splitlines()
    what = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    return f"{'line' if origin == driver.CELL else 'every child, line'} {number}: {what}"
