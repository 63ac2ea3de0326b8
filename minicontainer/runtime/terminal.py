"""The container's terminal: a pty whose one end is inside, the other with whoever plays the terminal.

The pair comes from the container's own /dev/pts, so that ``tty`` inside names a device that is there. Handing
the user's own terminal in would be easier and wrong: a process with the descriptor of a terminal can type
into it (TIOCSTI), that is, give commands to the host's shell.
"""

from __future__ import annotations

import os
import stat

from minicontainer.errors import Error
from minicontainer.kernel import mount, terminal


def open_inside(rows: int = 0, columns: int = 0) -> tuple[int, int, str]:
    """Make a pty in the container that the caller is inside of.

    Returns (descriptor of the master, descriptor of the container's end, its path). Without a devpts at
    /dev/pts there is no terminal, which is an Error.
    """
    try:
        master, number = terminal.open_pty("/dev/pts/ptmx")
    except OSError as error:
        raise Error(
            f"no terminal: the container has no /dev/pts to make one in ({error.strerror})"
        ) from error
    path = f"/dev/pts/{number}"
    slave = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if rows and columns:
        terminal.set_size(slave, rows, columns)
    return master, slave, path


def bind_console(path: str) -> None:
    """Make /dev/console the container's terminal, as programs that look for one expect."""
    os.close(os.open("/dev/console", os.O_WRONLY | os.O_CREAT | os.O_NOCTTY | os.O_NOFOLLOW, 0o620))
    tree = mount.open_tree(path)
    target = os.open("/dev/console", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISCHR(os.fstat(tree).st_mode):
        raise Error(f"no terminal: {path} is not a device")
    mount.move_mount(tree, target)
    os.close(target)
    os.close(tree)
