"""File trees with everything in them that a tree can have, and all that there is to say about one."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator

CAPABILITY = bytes.fromhex(
    "0100000200200000000000000000000000000000"
)  # cap_net_raw+ep, as setcap(8) writes it


def describe(top: str | pathlib.Path) -> dict[bytes, tuple]:
    """All that a tree consists of: names and kinds, owners, modes, times, contents, attributes, hard links."""
    found, first = {}, {}
    for directory, names, files in os.walk(os.fsencode(top)):
        names.sort()
        for name in sorted((b".", *names, *files)):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            where = os.path.relpath(path, os.fsencode(top))
            kind = stat.S_IFMT(status.st_mode)
            content: object = None
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    content = file.read()
            elif kind == stat.S_IFLNK:
                content = os.readlink(path)
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                content = status.st_rdev
            xattrs = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
            }
            twin = first.setdefault(status.st_ino, where) if kind != stat.S_IFDIR else where
            found[where] = (
                oct(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                content,
                xattrs,
                twin,
            )
    return found


def make_everything(top: pathlib.Path) -> None:
    """A tree with everything in it that an archive can hold, at a path where nothing is yet."""
    (top / "usr/bin").mkdir(parents=True)
    (top / "usr/bin/tool").write_bytes(os.urandom(100_000))
    os.link(top / "usr/bin/tool", top / "usr/bin/same-tool")
    (top / "absolute").symlink_to("/etc/passwd")
    (top / "usr/relative").symlink_to("../absolute")
    (top / "dangling").symlink_to("no/where")
    os.link(top / "dangling", top / "same-dangling", follow_symlinks=False)
    os.mkfifo(top / "fifo", 0o620)
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "disk", stat.S_IFBLK | 0o660, os.makedev(7, 300))
    (top / "empty").touch()
    (top / ("n" * 255)).write_text("long name")
    deep = top
    for number in range(12):
        deep = deep / f"{number:02}-{'d' * 40}"
    deep.mkdir(parents=True)
    (deep / "at the end").write_text("of a path of five hundred bytes")
    with open(os.path.join(os.fsencode(top), b"not \xff\xfe utf-8"), "wb") as file:
        file.write(b"content")
    os.symlink(b"to \xff", os.path.join(os.fsencode(top), b"link \xfe"))
    (top / "with space\nand newline").touch()
    with open(top / "sparse", "wb") as file:
        file.write(b"begin")
        file.truncate(3 << 20)
        file.seek(2 << 20)
        file.write(b"middle")
    _dress(top)


def _dress(top: pathlib.Path) -> None:
    """Owners, modes, attributes and times."""
    for name, mode, uid, gid in (
        ("usr/bin/tool", 0o4755, 0, 5),
        ("empty", 0o2600, 1000, 100),
        ("usr", 0o1777, 7, 8),
        ("fifo", 0o620, 3, 4),
        ("dangling", None, 123456, 9),
    ):
        os.lchown(top / name, uid, gid)
        if mode is not None:
            os.chmod(top / name, mode)
    os.setxattr(top / "usr/bin/tool", "security.capability", CAPABILITY)
    os.setxattr(top / "usr", "user.note", b"of a directory\x00\xff")
    os.setxattr(top / "dangling", "trusted.note", b"of a symlink", follow_symlinks=False)
    for name, when in (
        ("empty", 1_700_000_000_123_456_789),
        ("usr", 1_000_000_001),
        ("dangling", -5_250_000_000),
    ):
        os.utime(top / name, ns=(when, when), follow_symlinks=False)


def make_socket(path: pathlib.Path) -> None:
    """A socket's file, whose server has gone."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@contextlib.contextmanager
def deep_tree(levels: int) -> Iterator[pathlib.Path]:
    """A place with directories one in the other, and a file at the end; not pytest's, which could not remove it."""
    top = tempfile.mkdtemp(prefix="minicontainer-deep-")
    try:
        _make_deep(top, levels)
        yield pathlib.Path(top)
    finally:
        subprocess.run(["rm", "-rf", top], check=True)


def _make_deep(top: str, levels: int) -> None:
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("end", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(fd)
