"""A small init: reap the orphans, pass the signals on.

PID 1 is special twice over (pid_namespaces(7)). Every orphan of the namespace becomes its child, and stays a
zombie until PID 1 waits for it; and a signal it has no handler for is not delivered to it, not even SIGTERM
from inside. A program that was not written to be init does neither job. With ``--init`` this process stays
PID 1, and the program becomes its child.

It is a fork of the host's interpreter that stays in the container, so it must have nothing that the program
does not have: it is forked off when all descriptors are closed and all privileges are given up.
"""

from __future__ import annotations

import contextlib
import os
import signal

from minicontainer.kernel import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minicontainer.runtime.channel import Channel

_NOT_PASSED_ON = {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP}


def fork_and_reap(channel: Channel, arguments: Sequence[str]) -> None:
    """Fork; the child returns, to become the program. The parent stays, reaps, and ends as the child ends.

    ``arguments`` are the program's, to be seen behind its own name in ps(1).
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _take_terminal()
        return
    channel.close()
    os.closerange(0, 3)  # the program's pipes must close when the program ends
    process.set_name("minicontainer-init")
    process.set_title("minicontainer-init -- " + " ".join(arguments))
    for _ in range(3):
        os.open("/dev/null", os.O_RDWR)
    passed_on = signal.valid_signals() - _NOT_PASSED_ON
    while True:
        number = signal.sigwait(passed_on | {signal.SIGCHLD})
        if number == signal.SIGCHLD:
            _reap(child)
        else:
            _pass_on(child, number)


def _take_terminal() -> None:
    """Make the program's process group the terminal's foreground job, if there is a terminal."""
    try:
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, os.getpgrp())
    except OSError:
        pass


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(PermissionError):  # a set-user-ID program is another user's, not ours to signal
        os.kill(child, number)


def _reap(child: int) -> None:
    """Wait for all that ended; when the program itself did, end the same way."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
