"""File trees in one line a file, for tables of what COPY and ADD do.

d755 1:2 S etc              a directory: mode, owner and group, whether it has the time of a source
f644 0:0 S etc/a = text     a file and its content, which is left out when it is the name; +cap has capabilities
l 0:0 - b -> etc/a          a symlink
h c = etc/a                 one more name of a file
p600 0:0 - pipe             a fifo
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator

from trees import CAPABILITY

SOURCE_TIME = 1_600_000_000
BEFORE_TIME = 1_500_000_000
_KINDS = {stat.S_IFDIR: "d", stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFCHR: "c"}
_TAR_KINDS = {tarfile.DIRTYPE: "d", tarfile.REGTYPE: "f", tarfile.SYMTYPE: "l", tarfile.FIFOTYPE: "p"}


class Line:
    """A line that describes a file to be made; its owner and time may be left out."""

    def __init__(self, text: str) -> None:
        head, _, rest = text.partition(" ")
        self.kind, self.mode = head[0], int(head[1:] or "0", 8)
        self.owner = 0, 0
        first, _, more = rest.partition(" ")
        if first.replace(":", "").isdigit() and ":" in first:
            self.owner, rest = (int(first.split(":")[0]), int(first.split(":")[1])), more
        self.capable = rest.endswith(" +cap")
        arrow = " -> " if self.kind == "l" else " = "
        self.name, _, self.target = rest.removesuffix(" +cap").partition(arrow)


def make(top: str, lines: str, seconds: int, owner: tuple[int, int] | None = None) -> None:
    """Make the files; ``owner`` is for all of them, whatever the lines say."""
    wanted = [Line(text.strip()) for text in lines.strip().splitlines()]
    for line in wanted:
        path = os.path.join(top, line.name)
        if line.kind == "d":
            os.makedirs(path, exist_ok=True)
        elif line.kind == "f":
            with open(path, "w") as file:
                file.write(line.target or line.name)
        elif line.kind == "l":
            os.symlink(line.target, path)
        elif line.kind == "h":
            os.link(os.path.join(top, line.target), path)
        else:
            os.mkfifo(path)
    for line in reversed(wanted):
        path = os.path.join(top, line.name)
        if line.kind == "h":
            continue
        os.lchown(path, *(owner or line.owner))
        if line.kind != "l":
            os.chmod(path, line.mode)
        if line.capable:
            os.setxattr(path, "security.capability", CAPABILITY)
        os.utime(path, (seconds, seconds), follow_symlinks=False)


def _line(kind: str, mode: int, owner: tuple[int, int], seconds: float, name: str, about: str) -> str:
    if kind == "h":
        return f"h {name} = {about}"
    from_source = "S" if int(seconds) == SOURCE_TIME else "-"
    bits = "" if kind == "l" else f"{mode & 0o7777:o}"
    text = f"{kind}{bits} {owner[0]}:{owner[1]} {from_source} {name}"
    if kind == "l":
        text += f" -> {about}"
    elif kind == "f" and about != name:
        text += f" = {about}"
    return text


def _shown(content: bytes) -> str:
    text = content.decode(errors="replace")
    return text if text.isprintable() else "(bytes)"


def listing(top: str) -> list[str]:
    """The lines of a directory's content, in the order of the names."""
    found, first = [], {}
    for name in sorted(_names(top)):
        path = os.path.join(top, name)
        status = os.lstat(path)
        kind, about = _KINDS[stat.S_IFMT(status.st_mode)], ""
        if kind == "l":
            about = os.readlink(path)
        elif kind == "f":
            with open(path, "rb") as file:
                about = _shown(file.read(100))
        if kind != "d" and first.setdefault(status.st_ino, name) != name:
            kind, about = "h", first[status.st_ino]
        line = _line(kind, status.st_mode, (status.st_uid, status.st_gid), status.st_mtime, name, about)
        capable = "security.capability" in os.listxattr(path, follow_symlinks=False)
        found.append(line + " +cap" * (capable and kind != "h"))
    return found


def _names(top: str) -> Iterator[str]:
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            yield os.path.relpath(os.path.join(directory, name), top)


def listing_of_archive(tar: tarfile.TarFile, prefix: str) -> list[str]:
    """The same lines for what is below ``prefix`` in an archive."""
    found = {}
    for member in tar:
        if not member.name.startswith(prefix + "/"):
            continue
        name = member.name[len(prefix) + 1 :].rstrip("/")
        kind, about = _TAR_KINDS.get(member.type, "h"), member.linkname
        if kind == "h":
            about = about[len(prefix) + 1 :]
        elif kind == "f":
            about = _shown(tar.extractfile(member).read(100))
        line = _line(kind, member.mode, (member.uid, member.gid), member.mtime, name, about)
        found[name] = line + " +cap" * ("SCHILY.xattr.security.capability" in member.pax_headers)
    return [found[name] for name in sorted(found)]
