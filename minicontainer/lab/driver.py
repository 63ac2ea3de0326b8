"""What a child of a notebook runs: this file, as a program, with a descriptor as its argument.

It is a fresh interpreter with one thread, so it may do what a Jupyter kernel may not: unshare(2), setns(2),
fork(2). The descriptor is a socket: over it comes a line of JSON that says what to run, and back goes another
that says how it ended.
"""

from __future__ import annotations

import json
import os
import socket
import sys

from minicontainer.kernel import mount, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TextIO

CELL, PRELUDE = "<child>", "<every child>"  # where a line of a traceback is from


def main() -> None:
    """Do the one job and exit."""
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        channel.set_inheritable(False)
        questions = channel.makefile(encoding="utf-8")
        job = json.loads(questions.readline())
        if job["do"] == "cell":
            run_cell(job, channel)
        else:
            run_trial(job, channel, questions)


def run_cell(job: dict[str, Any], channel: socket.socket) -> None:
    """Run the source of a cell, and report."""
    me = os.getpid()
    report = attempt(lambda: execute(job["source"], CELL, prepared(job)))
    if os.getpid() != me:  # a fork of the cell's that ran on to its end
        leave(report)
    send(channel, report)
    sys.exit(report["code"])


def run_trial(job: dict[str, Any], channel: socket.socket, questions: TextIO) -> None:
    """Call the function of an exercise in a child, which then waits to be looked at.

    What stays outside is the *host* of the trial: in namespaces of its own, so that a solution that goes wrong
    renames that, and not the machine.
    """
    if job["apart"]:
        stand_apart()
    pid = os.fork()
    if pid == 0:
        me = os.getpid()
        report = attempt(lambda: call(job))
        if os.getpid() != me:
            leave(report)
        send(channel, {**report, "pid": me})
        questions.readline()  # the end of file says that everything has been seen
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    send(channel, {"died": os.waitstatus_to_exitcode(status)})


def stand_apart() -> None:
    """Go to other namespaces than the machine's, with mounts that are shared, as most hosts have them."""
    namespaces.unshare(
        namespaces.CLONE_NEWUTS
        | namespaces.CLONE_NEWIPC
        | namespaces.CLONE_NEWNET
        | namespaces.CLONE_NEWNS
        | namespaces.CLONE_NEWCGROUP
    )
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_SHARED)


def prepared(job: dict[str, Any]) -> dict[str, Any]:
    """The global names that the job begins with."""
    names = {"__name__": "__main__", **job["values"]}
    execute(job["prelude"], PRELUDE, names)
    return names


def execute(source: str, origin: str, names: dict[str, Any]) -> None:
    """Run source text among these global names."""
    exec(compile(source, origin, "exec", dont_inherit=True), names)


def call(job: dict[str, Any]) -> Any:
    """Define the function and call it; returns what it returns."""
    names = prepared(job)
    execute(job["source"], CELL, names)
    return names[job["name"]](*job["arguments"])


def attempt(action: Any) -> dict[str, Any]:
    """Run an action; how it went, as a report: ``code``, ``value``, and of an exception what and where."""
    try:
        return {"code": 0, "value": action()}
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        return {"code": code, "value": None}
    except BaseException as error:  # whatever it is, the notebook shows it
        return {"code": 1, "value": None, "error": describe(error), "where": places(error)}


def describe(error: BaseException) -> str:
    """The last line of a traceback, the same with every Python."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def places(error: BaseException) -> list[list[Any]]:
    """The lines of the cell that an exception came through, the innermost last: [origin, number]."""
    frames: list[list[Any]] = []
    trace = error.__traceback__
    while trace:  # not the module traceback: it reads source files, which the cell may have lost the right to
        frames.append([trace.tb_frame.f_code.co_filename, trace.tb_lineno])
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        frames.append([error.filename, error.lineno])
    return [frame for frame in frames if frame[0] in (CELL, PRELUDE)]


def send(channel: socket.socket, report: dict[str, Any]) -> None:
    """One line of JSON; a value that has no such form goes as its repr."""
    channel.sendall(f"{json.dumps(report, default=repr)}\n".encode())


def leave(report: dict[str, Any]) -> NoReturn:
    """End a fork that was not ended by the one who made it."""
    if "error" in report:
        print(report["error"], file=sys.stderr)
    os._exit(report["code"])


if __name__ == "__main__":
    main()
