"""Directories on disk, drawn as they are: what overlayfs writes into its branches shows."""

from __future__ import annotations

import os
import stat

from minicontainer.lab.show import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OPAQUE = "trusted.overlay.opaque"
_LONGEST_TEXT = 40  # characters of a file's content that are worth showing


def tree(*directories: str) -> Shown:
    """Draw some directories with all that is in them: the text of small files, and overlayfs's marks.

    A whiteout, a character device 0/0, is called one; so is an opaque directory, which has an extended attribute.
    """
    lines = [line for directory in directories for line in _lines(directory, "")]
    width = max((len(name) for name, what in lines if what), default=0)
    plain = "\n".join(f"{name:<{width}}  {what}".rstrip() for name, what in lines)
    return Shown(plain, f"```text\n{plain}\n```")


def _lines(path: str, indent: str) -> Iterator[tuple[str, str]]:
    """A line for a path and for each below it: (name, what is to be said of it)."""
    status = os.lstat(path)
    name = f"{indent}{os.path.basename(path) if indent else path}"
    if not stat.S_ISDIR(status.st_mode):
        yield name, _describe(path, status)
        return
    yield f"{name}/", "opaque" if _is_opaque(path) else ""
    for each in sorted(os.listdir(path)):
        yield from _lines(os.path.join(path, each), f"{indent}    ")


def _describe(path: str, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return f"-> {os.readlink(path)}"
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(0, 0):
        return "whiteout"
    if not stat.S_ISREG(status.st_mode):
        return stat.filemode(status.st_mode)
    with open(path, "rb") as file:
        text = file.read(_LONGEST_TEXT + 1).decode(errors="replace").rstrip("\n")
    short = text.isprintable() and status.st_size <= _LONGEST_TEXT
    return repr(text) if short else f"{status.st_size} bytes"


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:  # it has none, or this process may not see those of the kernel's
        return False
