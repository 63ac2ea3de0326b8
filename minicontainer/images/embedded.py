"""A root filesystem for when nothing can be reached: the host's busybox and the files around it.

What does a root filesystem need to be one? Less than one would think. The kernel asks for nothing but the
program it is told to execute. If that program is linked *statically* it needs no loader and no libraries
either, so a single file is enough; a dynamic one names its loader in the ELF header (``PT_INTERP``), and
execve(2) fails with ENOENT when that is not there, the error that puzzles everybody once. All else is manners:
directories where programs expect them, an /etc/passwd that gives numbers names, and for every tool a symbolic
link to busybox, which looks at the name it was called by to know which of its applets to be.

The same busybox always makes the same archive, byte for byte: entries are sorted, times and owners are 0.
"""

from __future__ import annotations

import io
import os
import struct

from minicontainer.errors import NotFound
from minicontainer.images.embedded_files import DIRECTORIES, FILES, MODES, PLACES, SCRIPTS, SYMLINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tarfile import TarInfo

ELFCLASS64, ELFDATA2LSB, PT_INTERP = 2, 1, 3  # elf.h
BUSYBOX = "bin/busybox"
NAMES = ("busybox", "busybox-static", "busybox.static")


def build(busybox: str | None = None) -> bytes:
    """Return the embedded default root filesystem, a .tar.gz.

    ``busybox`` is the path of a static busybox (None: the host's). Raises ``NotFound`` when there is none, and
    ``OSError`` when it cannot be read or run.
    """
    import gzip  # these two take 10 ms, and only when there is nothing better
    import tarfile

    tree = _tree(find_busybox([busybox] if busybox else None))
    packed = io.BytesIO()
    # The gzip header has room for a name and a time, which would make every archive another one.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted(tree):
            entry, content = tree[path]
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def find_busybox(candidates: list[str] | None = None) -> str:
    """Return the first of ``candidates`` (None: /bin/busybox and those on PATH) that is linked statically.

    Raises ``NotFound``, which names those that are not.
    """
    if candidates is None:
        places = ["/bin", *os.get_exec_path()]
        paths = [os.path.join(place, name) for place in places for name in NAMES]
        candidates = [path for path in dict.fromkeys(paths) if os.path.exists(path)]
    for path in candidates:
        if is_static(path):
            return path
    looked = f" ({', '.join(candidates)}: not a static executable)" if candidates else ""
    raise NotFound(f"no static busybox on this host{looked}; apt-get install busybox-static")


def is_static(path: str) -> bool:
    """Say whether ``path`` is an ELF file that the kernel can execute without a loader (elf(5))."""
    with open(path, "rb") as file:
        head = file.read(64)  # sizeof(Elf64_Ehdr)
        if len(head) < 64 or head[:4] != b"\x7fELF":
            return False
        order = "<" if head[5] == ELFDATA2LSB else ">"
        if head[4] == ELFCLASS64:
            (offset,) = struct.unpack_from(f"{order}Q", head, 32)  # e_phoff
            size, count = struct.unpack_from(f"{order}HH", head, 54)  # e_phentsize, e_phnum
        else:
            (offset,) = struct.unpack_from(f"{order}I", head, 28)
            size, count = struct.unpack_from(f"{order}HH", head, 42)
        file.seek(offset)
        table = file.read(size * count)
    types = [struct.unpack_from(f"{order}I", table, size * index)[0] for index in range(count)]
    return PT_INTERP not in types


def applets(busybox: str) -> list[str]:
    """Return the path, below the root, of each applet of ``busybox``: where Alpine has it, or where busybox says.

    Raises ``NotFound`` when the program does not list a shell, and so is no busybox of use here.
    """
    import subprocess  # 15 ms, and only when there is nothing better

    # A busybox built without its installer takes --list-full for --list, and names no directories.
    listed = subprocess.run([busybox, "--list-full"], stdout=subprocess.PIPE, text=True, check=False).stdout
    paths = []
    for place, name in (os.path.split(line) for line in listed.splitlines()):
        if name not in ("busybox", "linuxrc"):  # the program itself; the first program of an initrd
            paths.append(os.path.join(PLACES.get(name, place or "bin"), name))
    if "bin/sh" not in paths:
        raise NotFound(
            f"{busybox} has no shell, so it makes no root filesystem; apt-get install busybox-static"
        )
    return paths


def _tree(busybox: str) -> dict[str, tuple[TarInfo, bytes]]:
    """Return each path of the root filesystem with its tar entry and content."""
    with open(busybox, "rb") as file:
        program = file.read()
    tree = {path: _directory(path) for path in DIRECTORIES}
    tree |= {path: _symlink(path, target) for path, target in SYMLINKS.items()}
    tree |= {path: _file(path, text.encode(), 0o644) for path, text in FILES.items()}
    tree |= {path: _file(path, text.encode(), 0o755) for path, text in SCRIPTS.items()}
    # After the scripts: where busybox has the applet that a script stands in for, the applet is meant.
    tree |= {path: _symlink(path, f"/{BUSYBOX}") for path in applets(busybox)}
    return tree | {BUSYBOX: _file(BUSYBOX, program, 0o755)}


def _entry(path: str, mode: int) -> TarInfo:
    from tarfile import TarInfo

    entry = TarInfo("." if path == "." else f"./{path}")  # owner and time are 0
    entry.mode = MODES.get(path, mode)
    return entry


def _directory(path: str) -> tuple[TarInfo, bytes]:
    entry = _entry(path, 0o755)
    entry.type = b"5"  # DIRTYPE, tar(5)
    return entry, b""


def _symlink(path: str, target: str) -> tuple[TarInfo, bytes]:
    entry = _entry(path, 0o777)
    entry.type, entry.linkname = b"2", target  # SYMTYPE, tar(5)
    return entry, b""


def _file(path: str, content: bytes, mode: int) -> tuple[TarInfo, bytes]:
    entry = _entry(path, mode)
    entry.size = len(content)
    return entry, content
