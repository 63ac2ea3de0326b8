"""``STOPSIGNAL``: what ``stop`` sends to the container's first process, so that it may end in good order."""

from __future__ import annotations

from minicontainer.errors import InvalidArgument

_REAL_TIME = {"RTMIN+": 15, "RTMAX-": 14}  # how far Docker's names go; the kernel has no names for these


def check_signal(text: str) -> None:
    """Raise InvalidArgument unless it is a signal's name or number: ``SIGTERM``, ``term``, ``9``, ``RTMIN+3``.

    Any number will do, as it does for Docker: whether the kernel has it shows when it is sent.
    """
    import signal  # its enumerations are slow to load, and few images have a STOPSIGNAL

    name = text.upper().removeprefix("SIG")
    offset = name[len("RTMIN+") :]
    if text.isascii() and (
        (text.isdecimal() and text.strip("0"))
        or f"SIG{name}" in signal.Signals.__members__
        or (offset.isdecimal() and 1 <= int(offset[:9]) <= _REAL_TIME.get(name[: len("RTMIN+")], 0))
    ):
        return
    raise InvalidArgument(f"invalid signal: {text}; write a name such as SIGTERM, or a number")
