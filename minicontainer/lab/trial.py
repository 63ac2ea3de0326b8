"""Trying the solution of an exercise: called in a child, looked at from outside while it waits.

What counts is what the solution has done to the kernel's idea of its process, not how it is written. A trial
is apart from the machine: the child begins in namespaces of its own, which are the *host* as far as the
solution can tell, so that one that goes wrong renames that.
"""

from __future__ import annotations

import inspect
import os

from minicontainer.lab.children import Interpreter, function_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

_WITHIN = 30.0  # seconds


class Refused(Exception):
    """The solution is not one; the words say what was seen and what was expected."""


class Verdict:
    """What a checker thinks of a solution."""

    def __init__(self, passed: bool, text: str) -> None:
        self.passed = passed
        self.text = text

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"{'✓ passed' if self.passed else '✗ not yet'}: {self.text}"


def checker(judge: Callable[..., str]) -> Callable[..., Verdict]:
    """Make a checker of a function that returns what is good about a solution or raises Refused."""

    def check(*solution: Any) -> Verdict:
        try:
            return Verdict(True, judge(*solution))
        except Refused as refusal:
            return Verdict(False, str(refusal))

    check.__name__, check.__doc__ = judge.__name__, judge.__doc__
    return check


def expect(what: str, seen: object, expected: object) -> None:
    """Raise Refused unless what was seen is what was expected."""
    if seen != expected:
        raise Refused(f"{what}: seen {_shown(seen)}, expected {_shown(expected)}")


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value else repr(value)


class Trial:
    """A solution that has been called, in a child that waits. Use it by ``with``; the child ends with that.

    :param apart: begin in namespaces apart from the machine's
    :ivar value: what the solution returned
    :ivar pid: the process that called it
    :ivar host: the process that it was forked from, which knows nothing of it
    :raises Refused: when it raised an exception, died, or did not return within half a minute
    """

    def __init__(self, solution: Callable[..., Any], *arguments: Any, apart: bool = True) -> None:
        self._name = getattr(solution, "__name__", "")
        if not inspect.isfunction(solution) or self._name == "<lambda>":
            raise Refused(f"a function is expected, defined by def, and not {solution!r}")
        self._child = Interpreter(
            do="trial",
            source=function_source(solution),
            name=self._name,
            arguments=arguments,
            apart=apart,
        )
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        try:
            report = self._child.report(_WITHIN)
        except TimeoutError:
            raise Refused(f"{self._name} has not returned after {_WITHIN:.0f} s") from None
        if report is None or "died" in report:
            raise Refused(f"the process that called {self._name} died: {(report or {}).get('died')}")
        if "error" in report:
            raise Refused(self._words(report))
        if report["code"]:
            raise Refused(f"{self._name} left its process with exit code {report['code']}")
        self.host = self._child.process.pid
        self.pid: int = report["pid"]
        self.value: Any = report["value"]

    def _words(self, report: dict[str, Any]) -> str:
        error = report["error"]
        if error.startswith("NotImplementedError"):
            return f"{self._name} raises NotImplementedError; put your own lines in the place of that one"
        where = f" (line {report['where'][-1][1]} of it)" if report["where"] else ""
        text = f"{self._name} raised {error}{where}"
        if error.startswith("NameError"):
            text += (
                "; it runs in a process of its own, which knows the lines of %%every_child and no other cell"
            )
        return text

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child, and whatever it has started."""
        self._child.kill()
        self._child.close()

    def namespace(self, kind: str, pid: int | None = None) -> str:
        """Which namespace a process is in, by default the one of the solution: ``uts:[4026531838]``."""
        try:
            return os.readlink(f"/proc/{pid or self.pid}/ns/{kind}")
        except OSError as error:
            raise Refused(
                f"process {pid}: seen {error.strerror}, expected one that can be looked at"
            ) from None
