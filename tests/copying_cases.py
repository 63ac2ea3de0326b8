"""What COPY and ADD do, as a table: what was there, the instruction, and what Docker's classic builder made of it.

``HERE`` in an instruction is a directory of the case's own, which holds what was there ``before``; ``after`` is all
that is in it then (see copying_trees). The context is the same for all cases, and so is ``BASE``, an image.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile

import zstandard
from copying_trees import SOURCE_TIME, Line, make
from trees import CAPABILITY

CONTEXT = """
d750 dir
f644 dir/a
f600 dir/b
d700 dir/sub
f755 dir/sub/c
d711 dir/empty
l dir/link -> a
l dir/dangling -> nowhere
l dir/abs -> /etc/hostname
f640 file
f644 other
f4755 setuid
f2755 setgid
f755 caps +cap
d755 modes
d1777 modes/sticky
f4755 modes/setuid
f2755 modes/setgid
d2775 modes/gdir
f755 modes/caps +cap
f755 modes/both +cap
l link -> file
l linkdir -> dir
l linklink -> link
l abslink -> /file
l absdir -> /dir/sub
l dangling -> nowhere
l outlink -> ../../../../../../etc/hostname
d755 through
l through/up -> ../dir
d755 hard
f644 hard/1
h hard/2 = hard/1
f644 twins1
h twins2 = twins1
d755 pipes
p620 pipes/fifo
f644 pipes/z
d755 glob
f644 glob/1.txt
f644 glob/2.txt
f644 glob/[x]
f644 glob/.hidden
d755 glob/d.txt
f644 glob/d.txt/in
l glob/l.txt -> 1.txt
d755 one
f644 one/1.txt
d755 onedir
d755 onedir/d
f644 onedir/d/x
f644 with space
f444 readonly
d755 tree
d700 tree/etc
f600 tree/etc/conf
d755 tree/lib
f644 tree/lib/so
d755 replace
f644 replace/x
d755 swap
d755 swap/x
f644 swap/x/in
d755 empty
f644 .dot
d755 dotted
f644 dotted/.hidden
"""

# In the image, below /from. Its passwd and group have a user app, 100:101, and a group staff, 50.
FROM = """
d750 7:8 dir
f640 7:8 dir/a
d700 9:9 dir/sub
f4755 5:5 dir/suid
f755 5:5 dir/caps +cap
f755 5:5 caps +cap
f4755 5:6 suid
l 3:3 link -> dir/a
l 3:3 ldir -> dir
l 3:3 abs -> /from/dir/a
d755 hard
f644 3:3 hard/1
h hard/2 = hard/1
d755 pipes
p620 3:3 pipes/fifo
"""

PACKED = """
d750 7:8 d
f640 5:6 d/f
f4755 5:6 suid
l 3:3 l -> d/f
h4755 5:6 hard = suid
p600 pipe
f755 caps +cap
"""


def archive(lines: str, root: bool = False, seconds: int = SOURCE_TIME) -> bytes:
    """A tar archive of these files, and of a directory ``.`` before them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        if root:
            entry = tarfile.TarInfo(".")
            entry.type, entry.mode, entry.uid = tarfile.DIRTYPE, 0o700, 77
            tar.addfile(entry)
        for line in (Line(text.strip()) for text in lines.strip().splitlines()):
            entry = tarfile.TarInfo(line.name)
            kinds = {"d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE, "p": tarfile.FIFOTYPE}
            entry.type = kinds.get(line.kind, tarfile.REGTYPE)
            entry.mode, entry.mtime = line.mode, seconds
            entry.uid, entry.gid = line.owner
            data = b""
            if line.kind == "f":
                data = (line.target or line.name).encode()
                entry.size = len(data)
            else:
                entry.linkname = line.target
            if line.capable:
                value = CAPABILITY.decode("utf-8", "surrogateescape")
                entry.pax_headers = {"SCHILY.xattr.security.capability": value}
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def make_context(top: str) -> None:
    """The context of all cases."""
    make(top, CONTEXT, SOURCE_TIME, owner=(1000, 1000))
    packed = archive(PACKED)
    files = {
        "plain.tar": packed,
        "no-extension": packed,
        "a.tgz": gzip.compress(packed),
        "a.tbz": bz2.compress(packed),
        "a.txz": lzma.compress(packed),
        "a.lzma": lzma.compress(packed, format=lzma.FORMAT_ALONE),
        "a.zst": zstandard.compress(packed),
        "dot.tar": archive("d700 5:5 x\nf644 x/y", root=True),
        "lib.tar": archive("d700 lib\nf644 lib/so"),
        "only-so.tar": archive("f644 lib/so"),
        "only-dir.tar": archive("d700 5:5 lib/sub"),
        "over.tar": archive("f644 there"),
        "overdir.tar": archive("d700 1:1 there/old\nf644 there/old/in"),
        "merge.tar": archive("d711 8:8 there\nf644 there/old = new"),
        "inside.tar": archive("f644 there/x = hi"),
        "absolute.tar": archive("f644 /abs/x"),
        "dots.tar": archive("f644 a/../b = hi\nf644 ../up = hi"),
        "hard.tar": archive("h600 3:4 h = there/old\nh600 3:4 i = /there/old", seconds=0),
        "text.gz": gzip.compress(b"no archive, only text" * 50),
        "zeros.tar": bytes(10240),
        "empty.tar.gz": gzip.compress(bytes(10240)),
        "trailing.tar": packed + b"garbage" * 1000,
        "cut.tgz": gzip.compress(packed + archive(f"f644 x = {random.Random(1).randbytes(9000).hex()}"))[
            :5000
        ],
        "cut.tar": packed[:3000],
    }
    for name, data in files.items():
        with open(os.path.join(top, name), "wb") as file:
            file.write(data)
        os.utime(file.name, (SOURCE_TIME, SOURCE_TIME))
    os.symlink("plain.tar", os.path.join(top, "tarlink"))
    make(top, "d755 with\nf644 with/p.tar = text", SOURCE_TIME)


class Case:
    """One line of the table, or several instructions that belong together.

    ``ours`` is what we make of it where we do not follow Docker, and ``why`` says why not.
    """

    def __init__(
        self,
        name: str,
        line: str,
        *,
        after: list[str],
        before: str = "",
        ours: list[str] | None = None,
        why: str = "",
    ) -> None:
        assert (ours is None) == (not why), name
        self.name = name
        self.line = line
        self.before = before
        self.after = sorted(after, key=_name)
        self.ours = sorted(ours, key=_name) if ours is not None else self.after
        self.why = why

    def __repr__(self) -> str:
        return self.name


def _name(line: str) -> str:
    return Line(line.replace(" S ", " ", 1).replace(" - ", " ", 1)).name


def directory_at(path: str, owner: str = "0:0") -> list[str]:
    """What is in ``dir`` of the context, copied to ``path``."""
    return [
        f"f644 {owner} S {path}/a = dir/a",
        f"l {owner} S {path}/abs -> /etc/hostname",
        f"f600 {owner} S {path}/b = dir/b",
        f"l {owner} S {path}/dangling -> nowhere",
        f"d711 {owner} S {path}/empty",
        f"l {owner} S {path}/link -> a",
        f"d700 {owner} S {path}/sub",
        f"f755 {owner} S {path}/sub/c = dir/sub/c",
    ]


def archive_at(path: str) -> list[str]:
    """What is in the archive of PACKED, unpacked at ``path``."""
    return [
        f"f755 0:0 S {path}/caps = caps +cap",
        f"d750 7:8 S {path}/d",
        f"f640 5:6 S {path}/d/f = d/f",
        f"f4755 5:6 S {path}/hard = suid",
        f"l 3:3 S {path}/l -> d/f",
        f"p600 0:0 S {path}/pipe",
        f"h {path}/suid = {path}/hard",
    ]


COPIES = [
    Case(
        "file-to-missing",
        "COPY file HERE/new",
        after=["f640 0:0 S new = file"],
    ),
    Case(
        "file-to-missing-parents",
        "COPY file HERE/x/y/new",
        after=["d755 0:0 - x", "d755 0:0 - x/y", "f640 0:0 S x/y/new = file"],
    ),
    Case(
        "file-to-missing-dir",
        "COPY file HERE/x/y/",
        after=["d755 0:0 - x", "d755 0:0 - x/y", "f640 0:0 S x/y/file = file"],
    ),
    Case(
        "file-to-dir",
        "COPY file HERE/there",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=["d755 3:4 - there", "f640 0:0 S there/file = file", "f600 3:4 - there/old"],
    ),
    Case(
        "file-over-file",
        "COPY file HERE/there/old",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=["d755 3:4 - there", "f640 0:0 S there/old = file"],
    ),
    Case(
        "file-over-file-in-dir",
        "COPY file HERE/there",
        before="d755 3:4 there\nf600 3:4 there/old\nf777 9:9 there/file",
        after=["d755 3:4 - there", "f640 0:0 S there/file = file", "f600 3:4 - there/old"],
    ),
    Case(
        "file-over-dir",
        "COPY file HERE/there/",
        before="d755 3:4 there\nd700 there/file\nf600 there/file/in",
        after=["d755 3:4 - there", "f640 0:0 S there/file = file"],
    ),
    Case(
        "dir-to-missing",
        "COPY dir HERE/new",
        after=["d755 0:0 - new", *directory_at("new")],
    ),
    Case(
        "dir-to-dir",
        "COPY dir HERE/there",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=["d755 3:4 - there", "f600 3:4 - there/old", *directory_at("there")],
    ),
    Case(
        "dir-merges",
        "COPY dir HERE/there",
        before="d755 3:4 there\nf600 3:4 there/old\nd777 9:9 there/sub\nf600 9:9 there/sub/c\n"
        "f600 9:9 there/sub/kept\nf600 9:9 there/a",
        after=[
            "d755 3:4 - there",
            "f600 3:4 - there/old",
            "f600 9:9 - there/sub/kept",
            *directory_at("there"),
        ],
    ),
    Case(
        "dir-over-file-inside",
        "COPY swap HERE/there",
        before="d755 3:4 there\nf600 3:4 there/old\nf600 there/x",
        after=[
            "d755 3:4 - there",
            "f600 3:4 - there/old",
            "d755 0:0 S there/x",
            "f644 0:0 S there/x/in = swap/x/in",
        ],
    ),
    Case(
        "file-over-dir-inside",
        "COPY replace HERE/there",
        before="d755 3:4 there\nf600 3:4 there/old\nd700 there/x\nf600 there/x/in",
        after=["d755 3:4 - there", "f600 3:4 - there/old", "f644 0:0 S there/x = replace/x"],
    ),
    Case(
        "dir-over-symlink-inside",
        "COPY tree HERE",
        before="d755 usr\nd755 usr/lib\nf644 usr/lib/libc\nl lib -> usr/lib",
        after=[
            "d700 0:0 S etc",
            "f600 0:0 S etc/conf = tree/etc/conf",
            "d755 0:0 S lib",
            "f644 0:0 S lib/so = tree/lib/so",
            "d755 0:0 - usr",
            "d755 0:0 - usr/lib",
            "f644 0:0 - usr/lib/libc",
        ],
    ),
    Case(
        "file-over-symlink-inside",
        "COPY replace HERE/there",
        before="d755 3:4 there\nf600 3:4 there/old\nl there/x -> old",
        after=["d755 3:4 - there", "f600 3:4 - there/old", "f644 0:0 S there/x = replace/x"],
    ),
    Case(
        "dest-is-symlink-to-file",
        "COPY file HERE/l",
        before="f600 1:1 target\nl l -> target",
        after=["l 0:0 - l -> target", "f640 0:0 S target = file"],
    ),
    Case(
        "dest-is-symlink-to-dir",
        "COPY file HERE/l",
        before="d700 1:1 target\nl l -> target",
        after=["l 0:0 - l -> target", "d700 1:1 - target", "f640 0:0 S target/file = file"],
    ),
    Case(
        "dest-is-symlink-to-dir-dir",
        "COPY dir HERE/l",
        before="d700 1:1 target\nl l -> target",
        after=["l 0:0 - l -> target", "d700 1:1 - target", *directory_at("target")],
    ),
    Case(
        "dest-in-dir-is-symlink",
        "COPY file HERE/there/",
        before="d755 3:4 there\nf600 3:4 there/old\nl there/file -> old",
        after=["d755 3:4 - there", "f640 0:0 S there/file = file", "f600 3:4 - there/old"],
    ),
    Case(
        "dest-abs-symlink",
        "COPY file HERE/l/x",
        before="d755 deep\nl l -> /c/dest-abs-symlink/deep",
        after=["d755 0:0 - deep", "f640 0:0 S deep/x = file", "l 0:0 - l -> /c/dest-abs-symlink/deep"],
    ),
    Case(
        "dest-rel-up-symlink",
        "COPY file HERE/l/x",
        before="l l -> ../../../../../../c/dest-rel-up-symlink/made",
        after=[
            "l 0:0 - l -> ../../../../../../c/dest-rel-up-symlink/made",
            "d755 0:0 - made",
            "f640 0:0 S made/x = file",
        ],
    ),
    Case(
        "dest-dangling-symlink",
        "COPY file HERE/l",
        before="l l -> nowhere",
        after=["l 0:0 - l -> nowhere", "f640 0:0 S nowhere = file"],
    ),
    Case(
        "dest-dangling-symlink-dir",
        "COPY dir HERE/l",
        before="l l -> no/where",
        after=["l 0:0 - l -> no/where", "d755 0:0 - no", "d755 0:0 - no/where", *directory_at("no/where")],
    ),
    Case(
        "dest-dangling-slash",
        "COPY file HERE/l/",
        before="l l -> nowhere",
        after=["l 0:0 - l -> nowhere", "d755 0:0 - nowhere", "f640 0:0 S nowhere/file = file"],
    ),
    Case(
        "several",
        "COPY file other HERE/x/",
        after=["d755 0:0 - x", "f640 0:0 S x/file = file", "f644 0:0 S x/other = other"],
    ),
    Case(
        "several-with-dir",
        "COPY file dir HERE/x/",
        after=["d755 0:0 - x", "f640 0:0 S x/file = file", *directory_at("x")],
    ),
    Case(
        "glob",
        "COPY glob/*.txt HERE/x/",
        after=[
            "d755 0:0 - x",
            "f644 0:0 S x/1.txt = glob/1.txt",
            "f644 0:0 S x/2.txt = glob/2.txt",
            "f644 0:0 S x/in = glob/d.txt/in",
            "f644 0:0 S x/l.txt = glob/1.txt",
        ],
    ),
    Case(
        "glob-one",
        "COPY one/*.txt HERE/x",
        after=["f644 0:0 S x = one/1.txt"],
    ),
    Case(
        "glob-one-dir",
        "COPY onedi[r] HERE/x",
        after=["d755 0:0 - x", "d755 0:0 S x/d", "f644 0:0 S x/d/x = onedir/d/x"],
    ),
    Case(
        "glob-escaped",
        "COPY glob/[[]x] HERE/x",
        after=["f644 0:0 S x = glob/[x]"],
    ),
    Case(
        "glob-all",
        "COPY glob/* HERE/x/",
        after=[
            "d755 0:0 - x",
            "f644 0:0 S x/.hidden = glob/.hidden",
            "f644 0:0 S x/1.txt = glob/1.txt",
            "f644 0:0 S x/2.txt = glob/2.txt",
            "f644 0:0 S x/[x] = glob/[x]",
            "f644 0:0 S x/in = glob/d.txt/in",
            "f644 0:0 S x/l.txt = glob/1.txt",
        ],
    ),
    Case(
        "dotdir",
        "COPY dir/. HERE/x",
        after=["d755 0:0 - x", *directory_at("x")],
    ),
    Case(
        "source-symlink",
        "COPY link HERE/x/",
        after=["d755 0:0 - x", "f640 0:0 S x/link = file"],
    ),
    Case(
        "source-symlink-name",
        "COPY link HERE/x",
        after=["f640 0:0 S x = file"],
    ),
    Case(
        "source-abslink",
        "COPY abslink HERE/x/",
        after=["d755 0:0 - x", "f640 0:0 S x/abslink = file"],
    ),
    Case(
        "source-symlink-dir",
        "COPY linkdir HERE/x",
        after=["d755 0:0 - x", *directory_at("x")],
    ),
    Case(
        "source-absdir",
        "COPY absdir HERE/x",
        after=["d755 0:0 - x", "f755 0:0 S x/c = dir/sub/c"],
    ),
    Case(
        "source-through",
        "COPY through/up/sub HERE/x",
        after=["d755 0:0 - x", "f755 0:0 S x/c = dir/sub/c"],
    ),
    Case(
        "modes",
        "COPY modes HERE/x",
        after=[
            "d755 0:0 - x",
            "f755 0:0 S x/both = modes/both",
            "f755 0:0 S x/caps = modes/caps",
            "d2775 0:0 S x/gdir",
            "f755 0:0 S x/setgid = modes/setgid",
            "f755 0:0 S x/setuid = modes/setuid",
            "d1777 0:0 S x/sticky",
        ],
    ),
    Case(
        "setuid",
        "COPY setuid setgid caps readonly HERE/x/",
        after=[
            "d755 0:0 - x",
            "f755 0:0 S x/caps = caps",
            "f444 0:0 S x/readonly = readonly",
            "f755 0:0 S x/setgid = setgid",
            "f755 0:0 S x/setuid = setuid",
        ],
    ),
    Case(
        "hardlinks",
        "COPY hard HERE/x",
        after=["d755 0:0 - x", "f644 0:0 S x/1 = hard/1", "h x/2 = x/1"],
    ),
    Case(
        "twins",
        "COPY twins1 twins2 HERE/x/",
        after=["d755 0:0 - x", "f644 0:0 S x/twins1 = twins1", "f644 0:0 S x/twins2 = twins1"],
    ),
    Case(
        "pipes",
        "COPY pipes HERE/x",
        after=["d755 0:0 - x", "p620 0:0 S x/fifo", "f644 0:0 S x/z = pipes/z"],
    ),
    Case(
        "empty",
        "COPY empty HERE/x",
        after=["d755 0:0 - x"],
    ),
    Case(
        "json-spaces",
        'COPY ["with space", "HERE/a b"]',
        after=["f644 0:0 S a b = with space"],
    ),
    Case(
        "chown",
        "COPY --chown=1:2 dir HERE/x/y",
        after=["d755 0:0 - x", "d755 1:2 - x/y", *directory_at("x/y", "1:2")],
    ),
    Case(
        "chown-file",
        "COPY --chown=1:2 file HERE/x/y",
        after=["d755 1:2 - x", "f640 1:2 S x/y = file"],
    ),
    Case(
        "chown-there",
        "COPY --chown=1:2 dir HERE/there",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=["d755 3:4 - there", "f600 3:4 - there/old", *directory_at("there", "1:2")],
    ),
    Case(
        "chown-user",
        "COPY --chown=app file HERE/x",
        after=["f640 100:101 S x = file"],
    ),
    Case(
        "chown-user-group",
        "COPY --chown=app:staff file HERE/x",
        after=["f640 100:50 S x = file"],
    ),
    Case(
        "chown-uid-only",
        "COPY --chown=100 file HERE/x",
        after=["f640 100:100 S x = file"],
    ),
    Case(
        "chown-modes",
        "COPY --chown=1:2 modes HERE/x",
        after=[
            "d755 1:2 - x",
            "f755 1:2 S x/both = modes/both",
            "f755 1:2 S x/caps = modes/caps",
            "d2775 1:2 S x/gdir",
            "f755 1:2 S x/setgid = modes/setgid",
            "f755 1:2 S x/setuid = modes/setuid",
            "d1777 1:2 S x/sticky",
        ],
    ),
    Case(
        "from-file",
        "COPY --from=BASE /from/dir/a HERE/x/y",
        after=["d755 0:0 - x", "f640 7:8 - x/y = dir/a"],
    ),
    Case(
        "from-dir",
        "COPY --from=BASE /from/dir HERE/x/y",
        after=[
            "d755 0:0 - x",
            "d755 0:0 - x/y",
            "f640 7:8 - x/y/a = dir/a",
            "f755 5:5 - x/y/caps = dir/caps +cap",
            "d700 9:9 - x/y/sub",
            "f4755 5:5 - x/y/suid = dir/suid",
        ],
    ),
    Case(
        "from-dir-slash",
        "COPY --from=BASE from/dir/ HERE/there/",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=[
            "d755 3:4 - there",
            "f640 7:8 - there/a = dir/a",
            "f755 5:5 - there/caps = dir/caps +cap",
            "f600 3:4 - there/old",
            "d700 9:9 - there/sub",
            "f4755 5:5 - there/suid = dir/suid",
        ],
    ),
    Case(
        "from-chown",
        "COPY --chown=1:2 --from=BASE /from/dir HERE/x",
        after=[
            "d755 1:2 - x",
            "f640 1:2 - x/a = dir/a",
            "f755 1:2 - x/caps = dir/caps",
            "d700 1:2 - x/sub",
            "f755 1:2 - x/suid = dir/suid",
        ],
    ),
    Case(
        "from-link",
        "COPY --from=BASE /from/link /from/abs /from/ldir HERE/x/",
        after=[
            "d755 0:0 - x",
            "f640 7:8 - x/a = dir/a",
            "f640 7:8 - x/abs = dir/a",
            "f755 5:5 - x/caps = dir/caps +cap",
            "f640 7:8 - x/link = dir/a",
            "d700 9:9 - x/sub",
            "f4755 5:5 - x/suid = dir/suid",
        ],
    ),
    Case(
        "from-suid",
        "COPY --from=BASE /from/suid /from/caps HERE/x/",
        after=["d755 0:0 - x", "f755 5:5 - x/caps = caps", "f4755 5:6 - x/suid = suid"],
        ours=["d755 0:0 - x", "f755 5:5 - x/caps = caps +cap", "f4755 5:6 - x/suid = suid"],
        why="it keeps the capabilities of a file in a directory, and loses those of a file that is named",
    ),
    Case(
        "from-glob",
        "COPY --from=BASE /from/ha* HERE/x/",
        after=["d755 0:0 - x", "f644 3:3 - x/1 = hard/1", "h x/2 = x/1"],
    ),
    Case(
        "from-pipes",
        "COPY --from=BASE /from/pipes HERE/x/",
        after=["d755 0:0 - x", "p620 3:3 - x/fifo"],
    ),
    Case(
        "relative",
        "WORKDIR HERE/w\nCOPY file sub/\nCOPY dir .\nCOPY other ./o\nCOPY file ../up",
        after=[
            "f640 0:0 S up = file",
            "d755 0:0 - w",
            "f644 0:0 S w/o = other",
            "f640 0:0 S w/sub/file = file",
            *directory_at("w"),
        ],
    ),
    Case(
        "relative2",
        "WORKDIR HERE/there\nCOPY file .\nCOPY replace ./\nWORKDIR /",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=[
            "d755 3:4 - there",
            "f640 0:0 S there/file = file",
            "f600 3:4 - there/old",
            "f644 0:0 S there/x = replace/x",
        ],
    ),
    Case(
        "dest-dots",
        "COPY file HERE/x/../y/./z",
        after=["d755 0:0 - y", "f640 0:0 S y/z = file"],
    ),
    Case(
        "dest-dot-end",
        "COPY file HERE/x/.",
        after=["f640 0:0 S x = file"],
    ),
    Case(
        "add-file",
        "ADD file HERE/x",
        after=["f640 0:0 S x = file"],
    ),
    Case(
        "slash-source2",
        "COPY ./dir/../file HERE/x",
        after=["f640 0:0 S x = file"],
    ),
    Case(
        "setgid-parent",
        "COPY file HERE/g/n/x",
        before="d2775 3:50 g",
        after=["d2775 3:50 - g", "d2755 0:0 - g/n", "f640 0:0 S g/n/x = file"],
    ),
    Case(
        "setgid-parent-dir",
        "COPY onedir HERE/g/n",
        before="d2775 3:50 g",
        after=["d2775 3:50 - g", "d2755 0:0 - g/n", "d755 0:0 S g/n/d", "f644 0:0 S g/n/d/x = onedir/d/x"],
    ),
    Case(
        "setgid-existing",
        "COPY onedir HERE/g",
        before="d2775 3:50 g",
        after=["d2775 3:50 - g", "d755 0:0 S g/d", "f644 0:0 S g/d/x = onedir/d/x"],
    ),
    Case(
        "sticky-over",
        "COPY modes HERE/m",
        before="d755 m\nd700 5:5 m/sticky\nf600 5:5 m/setuid",
        after=[
            "d755 0:0 - m",
            "f755 0:0 S m/both = modes/both",
            "f755 0:0 S m/caps = modes/caps",
            "d2775 0:0 S m/gdir",
            "f755 0:0 S m/setgid = modes/setgid",
            "f755 0:0 S m/setuid = modes/setuid",
            "d1777 0:0 S m/sticky",
        ],
    ),
    Case(
        "glob-in-dir",
        "COPY di?/a glob/d.tx?/* HERE/x/",
        after=["d755 0:0 - x", "f644 0:0 S x/a = dir/a", "f644 0:0 S x/in = glob/d.txt/in"],
    ),
    Case(
        "source-slash",
        "COPY file/ linkdir/ HERE/x/",
        after=["d755 0:0 - x", "f640 0:0 S x/file = file", *directory_at("x")],
    ),
    Case(
        "chown-parents",
        "COPY --chown=1:2 dir HERE/x/y/z",
        after=[
            "d755 0:0 - x",
            "d755 0:0 - x/y",
            "d755 1:2 - x/y/z",
            "f644 1:2 S x/y/z/a = dir/a",
            "l 1:2 S x/y/z/abs -> /etc/hostname",
            "f600 1:2 S x/y/z/b = dir/b",
            "l 1:2 S x/y/z/dangling -> nowhere",
            "d711 1:2 S x/y/z/empty",
            "l 1:2 S x/y/z/link -> a",
            "d700 1:2 S x/y/z/sub",
            "f755 1:2 S x/y/z/sub/c = dir/sub/c",
        ],
    ),
    Case(
        "hidden",
        "COPY dotted HERE/x",
        after=["d755 0:0 - x", "f644 0:0 S x/.hidden = dotted/.hidden"],
    ),
]

ADDS = [
    Case(
        "add-plain",
        "ADD plain.tar HERE/x",
        after=["d755 0:0 - x", *archive_at("x")],
    ),
    Case(
        "add-no-extension",
        "ADD no-extension HERE/x/y/",
        after=["d755 0:0 - x", "d755 0:0 - x/y", *archive_at("x/y")],
    ),
    Case(
        "add-gzip",
        "ADD a.tgz HERE/x",
        after=["d755 0:0 - x", *archive_at("x")],
    ),
    Case(
        "add-bzip2",
        "ADD a.tbz HERE/x",
        after=["d755 0:0 - x", *archive_at("x")],
    ),
    Case(
        "add-xz",
        "ADD a.txz HERE/x",
        after=["d755 0:0 - x", *archive_at("x")],
    ),
    Case(
        "add-lzma",
        "ADD a.lzma HERE/x",
        after=["f644 0:0 S x = (bytes)"],
    ),
    Case(
        "add-zstd",
        "ADD a.zst HERE/x",
        after=["f644 0:0 S x = (bytes)"],
        ours=["d755 0:0 - x", *archive_at("x")],
        why="Docker 20.10 does not know zstd; the Dockerfile reference has it since",
    ),
    Case(
        "copy-archive",
        "COPY plain.tar HERE/x",
        after=["f644 0:0 S x = (bytes)"],
    ),
    Case(
        "add-into",
        "ADD plain.tar HERE/there",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=["d755 3:4 - there", "f600 3:4 - there/old", *archive_at("there")],
    ),
    Case(
        "add-chown",
        "ADD --chown=1:2 plain.tar file HERE/x/",
        after=["d755 0:0 - x", "f640 1:2 S x/file = file", *archive_at("x")],
    ),
    Case(
        "add-root-entry",
        "ADD dot.tar HERE/x",
        after=["d755 0:0 - x", "d700 5:5 S x/x", "f644 0:0 S x/x/y = x/y"],
    ),
    Case(
        "add-root-entry-there",
        "ADD dot.tar HERE/there",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=[
            "d755 3:4 - there",
            "f600 3:4 - there/old",
            "d700 5:5 S there/x",
            "f644 0:0 S there/x/y = x/y",
        ],
    ),
    Case(
        "add-dir-over-symlink",
        "ADD lib.tar HERE",
        before="d755 usr\nd755 usr/lib\nf644 usr/lib/libc\nl lib -> usr/lib",
        after=[
            "d700 0:0 S lib",
            "f644 0:0 S lib/so",
            "d755 0:0 - usr",
            "d755 0:0 - usr/lib",
            "f644 0:0 - usr/lib/libc",
        ],
    ),
    Case(
        "add-through-symlink",
        "ADD only-so.tar HERE",
        before="d755 usr\nd755 usr/lib\nf644 usr/lib/libc\nl lib -> usr/lib",
        after=[
            "l 0:0 - lib -> usr/lib",
            "d755 0:0 - usr",
            "d755 0:0 - usr/lib",
            "f644 0:0 - usr/lib/libc",
            "f644 0:0 S usr/lib/so = lib/so",
        ],
    ),
    Case(
        "add-dir-through-symlink",
        "ADD only-dir.tar HERE",
        before="d755 usr\nd755 usr/lib\nf644 usr/lib/libc\nl lib -> usr/lib",
        after=[
            "l 0:0 - lib -> usr/lib",
            "d755 0:0 - usr",
            "d755 0:0 - usr/lib",
            "f644 0:0 - usr/lib/libc",
            "d700 5:5 S usr/lib/sub",
        ],
    ),
    Case(
        "add-through-absolute-symlink",
        "ADD inside.tar HERE",
        before="d755 usr\nl there -> /usr",
        after=["l 0:0 - there -> /usr", "d755 0:0 - usr", "f644 0:0 S usr/x = hi"],
    ),
    Case(
        "add-through-rising-symlink",
        "ADD inside.tar HERE",
        before="d755 usr\nl there -> ../../../usr",
        after=["l 0:0 - there -> ../../../usr", "d755 0:0 - usr", "f644 0:0 S usr/x = hi"],
    ),
    Case(
        "add-file-over-dir",
        "ADD over.tar HERE",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=["f644 0:0 S there"],
    ),
    Case(
        "add-dir-over-file",
        "ADD overdir.tar HERE",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=["d755 3:4 - there", "d700 1:1 S there/old", "f644 0:0 S there/old/in"],
    ),
    Case(
        "add-dir-over-dir",
        "ADD merge.tar HERE",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=["d711 8:8 S there", "f644 0:0 S there/old = new"],
    ),
    Case(
        "add-file-over-symlink",
        "ADD over.tar HERE",
        before="f600 old\nl there -> old",
        after=["f600 0:0 - old", "f644 0:0 S there"],
    ),
    Case(
        "add-packed-text",
        "ADD text.gz HERE/x/",
        after=["d755 0:0 - x", "f644 0:0 S x/text.gz = (bytes)"],
    ),
    Case(
        "add-zeros",
        "ADD zeros.tar HERE/x",
        after=["f644 0:0 S x = (bytes)"],
    ),
    Case(
        "add-empty-archive",
        "ADD empty.tar.gz HERE/x/",
        after=["d755 0:0 - x", "f644 0:0 S x/empty.tar.gz = (bytes)"],
    ),
    Case(
        "add-trailing",
        "ADD trailing.tar HERE/x",
        after=["d755 0:0 - x", *archive_at("x")],
    ),
    Case(
        "add-symlink",
        "ADD tarlink HERE/x",
        after=["d755 0:0 - x", *archive_at("x")],
    ),
    Case(
        "add-several",
        "ADD plain.tar file lib.tar HERE/x/",
        after=[
            "d755 0:0 - x",
            "f640 0:0 S x/file = file",
            "d700 0:0 S x/lib",
            "f644 0:0 S x/lib/so = lib/so",
            *archive_at("x"),
        ],
    ),
    Case(
        "add-wildcard",
        "ADD a.t?z HERE/x/",
        after=["d755 0:0 - x", *archive_at("x")],
    ),
    Case(
        "add-directory-with-archive", "ADD with HERE/x", after=["d755 0:0 - x", "f644 0:0 S x/p.tar = text"]
    ),
    Case(
        "add-dots",
        "ADD dots.tar HERE/x",
        after=["d755 0:0 - x", "f644 0:0 S x/b = hi", "f644 0:0 S x/up = hi"],
    ),
    Case(
        "add-absolute",
        "ADD absolute.tar HERE/x",
        after=["d755 0:0 - x", "d755 0:0 - x/abs", "f644 0:0 S x/abs/x = /abs/x"],
    ),
    Case(
        "add-hard-link-to-image",
        "ADD hard.tar HERE",
        before="d755 3:4 there\nf600 3:4 there/old",
        after=["f600 3:4 - h = there/old", "h i = h", "d755 3:4 - there", "h there/old = h"],
    ),
    Case(
        "add-to-symlink",
        "ADD plain.tar HERE/l",
        before="d700 5:5 t\nl l -> t",
        after=["l 0:0 - l -> t", "d700 5:5 - t", *archive_at("t")],
    ),
    Case(
        "add-to-dangling",
        "ADD plain.tar HERE/l",
        before="l l -> t/u",
        after=["l 0:0 - l -> t/u", "d755 0:0 - t", "d755 0:0 - t/u", *archive_at("t/u")],
    ),
    Case(
        "add-relative",
        "WORKDIR HERE/w\nADD lib.tar .",
        after=["d755 0:0 - w", "d700 0:0 S w/lib", "f644 0:0 S w/lib/so = lib/so"],
    ),
]

CASES = [*COPIES, *ADDS]
