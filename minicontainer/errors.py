"""What can go wrong, in the user's words.

Every message names the thing, the operation and the cause, in lower case without a full stop; what the
user can do about it follows after a semicolon or on a line of its own. A failed system call stays an
``OSError`` with its errno; it is turned into one of these where the user's own words are known.

``exit_code`` is what ``minicontainer run`` answers with, Docker's own numbers: 125 when the engine could
not do it, 126 when the command is there and cannot be run, 127 when it is not there.
"""

from __future__ import annotations


def explain(error: BaseException) -> str:
    """The message of an error; of a failed system call, what it was about and the reason."""
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror.lower()
        return reason if error.filename is None else f"{error.filename}: {reason}"
    return str(error)


class Error(Exception):
    """Something the user can understand and act on. Never a bug of ours: a bug keeps its traceback."""

    exit_code = 125


class InvalidArgument(Error):
    """A value that cannot be meant: ``lots`` for a size, a mount point outside the root."""


class NotFound(Error):
    """No such container, image or file."""


class Conflict(Error):
    """The thing is there, and in a state that forbids this: a name in use, a container still running."""


class Unsupported(Error):
    """This host cannot do it; the message says what is missing and how to get it."""


class IntegrityError(Error):
    """Bytes that are not the bytes their digest promises."""


class CommandNotExecutable(Error):
    """The container's command is there, and the kernel will not run it."""

    exit_code = 126


class CommandNotFound(Error):
    """The container's command is not in the image."""

    exit_code = 127
