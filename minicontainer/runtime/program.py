"""The last step: finding the program and becoming it (execve(2))."""

from __future__ import annotations

import errno
import os
import signal
import stat

from minicontainer.errors import CommandNotExecutable, CommandNotFound, Error
from minicontainer.kernel import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_MOST_INTERPRETERS = 5  # a script's interpreter may be a script (execve(2)); one more is ELOOP
_FIRST_LINE = 256  # bytes that the kernel looks at, include/uapi/linux/binfmts.h: BINPRM_BUF_SIZE


def environment(entries: Sequence[str]) -> dict[str, str]:
    """An OCI ``process.env`` list of ``NAME=value`` as a mapping; the last of a name wins."""
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def find(name: str, path: str) -> str:
    """Where the program ``name`` is, by the container's own ``path`` (PATH's value), as execvp(3) looks.

    Raises CommandNotFound, or CommandNotExecutable when all that was found may not be run.
    """
    denied = ""
    for candidate in _candidates(name, path):
        if "/" in name or os.access(candidate, os.X_OK):
            return candidate
        denied = candidate
    if denied:
        raise CommandNotExecutable(f'exec "{name}": {denied}: permission denied')
    raise CommandNotFound(f'exec "{name}": executable file not found in $PATH')


def _candidates(name: str, path: str) -> Iterator[str]:
    """The files that ``name`` may mean, the first one first; without a PATH there are none."""
    if "/" in name:
        yield name
        return
    for directory in path.split(":") if path else ():
        candidate = os.path.join(directory or ".", name)
        if os.path.isfile(candidate):
            yield candidate


def refuse_own_executable(name: str, path: str, own: os.stat_result) -> None:
    """Raise CommandNotExecutable when ``name`` leads to ``own``, the file that this process itself is running.

    That is the host's Python interpreter, and ``/proc/self/exe`` names it at this moment: as the program, as a
    symlink to it, or behind the ``#!`` of a script. It would be run, and its file on the host be within the
    container's reach (CVE-2019-5736). To be called while there is still the power to read every file.
    """
    for candidate in _candidates(name, path):
        program = candidate
        for _ in range(_MOST_INTERPRETERS):
            status, head = _peek(program)
            if status and os.path.samestat(status, own):
                raise CommandNotExecutable(f'exec "{name}": {program} is the runtime\'s own executable')
            program = _interpreter(head)
            if not program:
                break


def _peek(path: str) -> tuple[os.stat_result | None, bytes]:
    """Which file this is and how it begins; (None, b"") when it cannot be opened, and execve will say why."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None, b""
    try:
        status = os.fstat(fd)
        return status, os.read(fd, _FIRST_LINE) if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(fd)


def _interpreter(head: bytes) -> str:
    """The interpreter that a script beginning with ``head`` names, "" when it is no script (execve(2))."""
    words = head.partition(b"\n")[0].removeprefix(b"#!").replace(b"\t", b" ").split(b" ")
    named = [word for word in words if word] if head.startswith(b"#!") else []
    return os.fsdecode(named[0].partition(b"\0")[0]) if named else ""


def execute(arguments: Sequence[str], variables: Mapping[str, str]) -> None:
    """Become the program ``arguments[0]``; returns only by raising (execve(2)).

    Raises CommandNotFound or CommandNotExecutable with the reason.
    """
    reset_signals()
    program = find(arguments[0], variables.get("PATH", ""))
    try:
        os.execve(program, list(arguments), variables)
    except OSError as error:
        raise _explain(arguments[0], program, error) from None


def _explain(name: str, program: str, error: OSError) -> Error:
    if error.errno == errno.ENOENT and os.path.exists(program):
        return CommandNotFound(f'exec "{name}": its interpreter or loader is not in the image')
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return CommandNotFound(f'exec "{name}": no such file or directory')
    if error.errno == errno.EACCES and os.path.isdir(program):
        return CommandNotExecutable(f'exec "{name}": is a directory: permission denied')
    if error.errno == errno.ENOEXEC:
        return CommandNotExecutable(f'exec "{name}": exec format error: made for another machine, or no "#!"')
    return CommandNotExecutable(f'exec "{name}": {(error.strerror or "").lower()}')


def reset_signals() -> None:
    """Give every signal its default action: the Python interpreter ignores SIGPIPE, and execve keeps that."""
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP) and signal.getsignal(number) != signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    process.reset_internal_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
