"""Pseudo-terminals: a pair of devices, one end for the program, one for who plays the terminal (pty(7))."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

# include/uapi/asm-generic/ioctls.h
TIOCSPTLCK = 0x40045431
TIOCGPTN = 0x80045430


def open_pty(ptmx: str = "/dev/ptmx") -> tuple[int, str]:
    """Make a pair; returns the master's descriptor and the other end's number in /dev/pts.

    os.openpty would do the same in the host's /dev/pts; a container has an instance of its own (pts(4)).
    """
    master = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    number = struct.unpack("i", fcntl.ioctl(master, TIOCGPTN, struct.pack("i", 0)))[0]
    return master, str(number)


def set_controlling(fd: int) -> None:
    """Make ``fd`` the controlling terminal of this session leader: job control, ^C (ioctl_tty(2))."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set the window size; the foreground job gets SIGWINCH when it changes (ioctl_tty(2), TIOCSWINSZ)."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def get_size(fd: int) -> tuple[int, int]:
    """The window size in (rows, columns) (ioctl_tty(2), TIOCGWINSZ)."""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))
    return rows, columns
