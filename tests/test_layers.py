"""A layer unpacked is the tree that was packed, whoever packed it; and one that is hostile touches nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import stat
import subprocess
import tarfile
import time

import pytest
from trees import describe, make_everything

from minicontainer.errors import InvalidArgument
from minicontainer.images import attributes, layers
from minicontainer.images.entries import Entry
from minicontainer.images.headers import REGULAR

FILE, LINK, SYMLINK, DIRECTORY = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


def entry(name: str, kind: bytes = FILE, data: bytes = b"", pax: dict[str, str] | None = None, **fields):
    """One entry of an archive."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.pax_headers = kind, len(data), pax or {}
    info.mode = 0o755 if kind == DIRECTORY else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def archive(*entries, format: int = tarfile.PAX_FORMAT) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=format) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    packed.seek(0)
    return packed


@pytest.fixture
def root(tmp_path):
    """Where layers are unpacked, with a canary beside it that must stay as it is."""
    (tmp_path / "root").mkdir()
    canary = tmp_path / "canary"
    canary.write_text("sings")
    canary.chmod(0o600)
    before = canary.stat()
    yield tmp_path / "root"
    after = canary.stat()
    assert canary.read_text() == "sings", "a file outside was changed"
    for name in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_nlink", "st_ino"):
        assert getattr(after, name) == getattr(before, name), f"{name} of a file outside was changed"
    assert sorted(os.listdir(tmp_path)) == ["canary", "root"], "a file was made outside"


def unpack(root, *entries, **how):
    return layers.apply(archive(*entries), str(root), **how)


# -- what comes through --


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree with everything in it that a tree can have."""
    top = tmp_path_factory.mktemp("layer") / "tree"
    make_everything(top)
    return str(top)


@pytest.mark.parametrize(
    "kind", ["gnu", "gnu-sparse", "posix", "posix-sparse", "posix-sparse-0.0", "posix-sparse-0.1"]
)
def test_tree_that_gnu_tar_packed_comes_out_whole(root, tree, kind):
    if not shutil.which("tar"):
        pytest.skip("needs GNU tar")
    form, _, sparse = kind.partition("-")
    words = [f"--format={form}"]
    if sparse:
        words += ["--sparse", *([f"--sparse-version={sparse[7:]}"] if form == "posix" and sparse[7:] else [])]
    if form != "gnu":
        words += ["--xattrs", "--xattrs-include=*"]
    packed = root.parent / "root" / "packed.tar"
    subprocess.run(["tar", *words, "--numeric-owner", "-cf", packed, "-C", tree, "."], check=True)
    target = root / "out"
    target.mkdir()
    with open(packed, "rb") as stream:
        applied = layers.apply(stream, str(target))
    expected, got = describe(tree), describe(str(target))
    if form == "gnu":  # has whole seconds, and neither attributes nor times before 1970
        for found in (expected, got):
            for name, each in found.items():
                found[name] = (
                    *each[:3],
                    None if b"dangling" in name else each[3] // 10**9,
                    each[4],
                    {},
                    each[6],
                )
    assert got.keys() == expected.keys()
    for name in expected:
        assert got[name] == expected[name], name
    assert applied.entries == len(expected)
    assert (target / "sparse").stat().st_blocks * 512 < 1 << 20, "its holes were written"
    packed.unlink()


def test_sizes_and_entries_are_counted(root):
    applied = unpack(root, entry("a", data=b"12345"), entry("d", DIRECTORY), entry("d/b", data=b"678"))
    assert (applied.size, applied.entries) == (8, 3)


def test_time_is_exact_to_the_nanosecond(root):
    unpack(
        root,
        entry("f", pax={"mtime": "1700000000.123456789"}),
        entry("g", pax={"mtime": "-1.5"}),
        entry("h", mtime=7),
    )
    assert [(root / name).stat().st_mtime_ns for name in "fgh"] == [
        1_700_000_000_123_456_789,
        -1_500_000_000,
        7 * 10**9,
    ]


def test_directory_keeps_its_time_although_files_are_made_in_it(root):
    unpack(
        root,
        entry("d", DIRECTORY, mtime=1000),
        entry("d/e", DIRECTORY, mtime=2000),
        entry("d/e/f", mtime=3000),
    )
    assert [(root / name).stat().st_mtime for name in ("d", "d/e", "d/e/f")] == [1000, 2000, 3000]


def test_set_user_id_bit_survives_the_change_of_owner(root):
    unpack(root, entry("su", mode=0o4755, uid=1000), entry("dir", DIRECTORY, mode=0o2775, gid=50))
    assert stat.S_IMODE((root / "su").stat().st_mode) == 0o4755
    assert stat.S_IMODE((root / "dir").stat().st_mode) == 0o2775


def test_missing_parents_are_made(root):
    unpack(root, entry("a/b/c", data=b"x"))
    assert (root / "a/b/c").read_bytes() == b"x"
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755


def test_root_of_the_layer_is_as_the_archive_says(root):
    unpack(root, entry("./", DIRECTORY, mode=0o711, uid=5), entry("./f"))
    assert (stat.S_IMODE(root.stat().st_mode), root.stat().st_uid) == (0o711, 5)
    os.chown(root, 0, 0)


def test_later_entry_replaces_an_earlier_one_of_whatever_kind(root):
    unpack(
        root,
        entry("a", data=b"first"),
        entry("a", data=b"second"),
        entry("b", DIRECTORY),
        entry("b/c/d"),
        entry("b", data=b"a file now"),
        entry("c", data=b"a file"),
        entry("c", DIRECTORY),
        entry("c/d"),
        entry("e", SYMLINK, linkname="/etc"),
        entry("e", DIRECTORY),
        entry("e/f"),
    )
    assert (root / "a").read_text() == "second"
    assert (root / "b").read_text() == "a file now"
    assert (root / "c/d").exists() and (root / "e/f").exists() and not (root / "e").is_symlink()


def test_overlay_attributes_of_whoever_packed_it_mean_nothing(root):
    """They are notes of the kernel to itself: a redirect would make it show other directories."""
    pax = {"SCHILY.xattr.trusted.overlay.redirect": "/elsewhere", "SCHILY.xattr.user.kept": "yes"}
    unpack(root, entry("d", DIRECTORY, pax=pax))
    assert os.listxattr(root / "d") == ["user.kept"]


# -- whiteouts --


def is_whiteout(path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path) -> bool:
    return (
        "trusted.overlay.opaque" in os.listxattr(path) and os.getxattr(path, "trusted.overlay.opaque") == b"y"
    )


def test_whiteouts_become_what_overlayfs_takes_for_one(root):
    unpack(root, entry("etc/.wh.removed"), entry("etc/kept"), entry(".wh.dir"))
    assert is_whiteout(root / "etc/removed") and is_whiteout(root / "dir")
    assert sorted(os.listdir(root / "etc")) == ["kept", "removed"]


def test_opaque_directory_is_marked_and_its_new_content_stays(root):
    unpack(root, entry("d", DIRECTORY), entry("d/before"), entry("d/.wh..wh..opq"), entry("d/after"))
    assert is_opaque(root / "d")
    assert sorted(os.listdir(root / "d")) == ["after", "before"]


def test_directory_in_place_of_a_removed_one_hides_what_was_in_that(root):
    unpack(root, entry(".wh.d"), entry("d", DIRECTORY), entry("d/new"))
    assert is_opaque(root / "d") and os.listdir(root / "d") == ["new"]


def test_file_in_place_of_a_removed_one_is_a_file(root):
    unpack(root, entry(".wh.f"), entry("f", data=b"new"))
    assert (root / "f").read_bytes() == b"new"


def test_archive_that_is_no_layer_may_have_names_that_look_like_whiteouts(root):
    unpack(root, entry(".wh.f", data=b"x"), entry(".wh..wh..opq", data=b"y"), whiteouts=False)
    assert sorted(os.listdir(root)) == [".wh..wh..opq", ".wh.f"]
    assert not is_opaque(root)


def test_archive_that_is_no_layer_turns_no_file_into_a_directory(root):
    (root / "f").touch()
    (root / "d").mkdir()
    with pytest.raises(InvalidArgument, match="cannot overwrite the file f with a directory"):
        unpack(root, entry("f", DIRECTORY), whiteouts=False)
    with pytest.raises(InvalidArgument, match="cannot overwrite the directory d with a file"):
        unpack(root, entry("d"), whiteouts=False)


# -- hostile archives: refused, and nothing outside is touched (see the fixture ``root``) --

CANARY = "../canary"


def sparse(numbers: str, size: int, data: bytes, name: str = "f"):
    """A file with a map of where its data goes, which may be a lie."""
    pax = {"GNU.sparse.map": numbers, "GNU.sparse.size": str(size), "GNU.sparse.name": name}
    return entry("f", data=data, pax=pax)


HOSTILE = {
    "a parent": lambda outside: [entry(CANARY, data=b"x")],
    "a parent further down": lambda outside: [entry("a/b/../../../canary", data=b"x")],
    "an absolute path": lambda outside: [entry("/canary", data=b"x")],
    "a directory outside": lambda outside: [entry("../made", DIRECTORY)],
    "through a symlink": lambda outside: [
        entry("out", SYMLINK, linkname=".."),
        entry("out/canary", data=b"x"),
    ],
    "through an absolute symlink": lambda outside: [
        entry("out", SYMLINK, linkname=outside),
        entry("out/canary", data=b"x"),
    ],
    "through two symlinks": lambda outside: [
        entry("a", SYMLINK, linkname="."),
        entry("b", SYMLINK, linkname="a/.."),
        entry("b/canary", data=b"x"),
    ],
    "a directory through a symlink": lambda outside: [
        entry("out", SYMLINK, linkname=".."),
        entry("out/made", DIRECTORY),
    ],
    "a whiteout through a symlink": lambda outside: [
        entry("out", SYMLINK, linkname=".."),
        entry("out/.wh.canary"),
    ],
    "an opaque mark through a symlink": lambda outside: [
        entry("out", SYMLINK, linkname=".."),
        entry("out/.wh..wh..opq"),
    ],
    "a whiteout of the parent": lambda outside: [entry("a/.wh...")],
    "a whiteout of itself": lambda outside: [entry("a/.wh..")],
    "a whiteout of nothing": lambda outside: [entry("a/.wh.")],
    "a hard link outside": lambda outside: [entry("stolen", LINK, linkname=CANARY)],
    "an absolute hard link": lambda outside: [entry("stolen", LINK, linkname=f"{outside}/canary")],
    "a hard link through a symlink": lambda outside: [
        entry("out", SYMLINK, linkname=".."),
        entry("stolen", LINK, linkname="out/canary"),
    ],
    "a hard link to nothing": lambda outside: [entry("link", LINK, linkname="no/such/file")],
    "a hard link to a directory": lambda outside: [entry("d", DIRECTORY), entry("link", LINK, linkname="d")],
    "a path through a file": lambda outside: [entry("f", data=b"x"), entry("f/canary", data=b"x")],
    "a NUL in a name": lambda outside: [entry("f", pax={"path": "a\0b"})],
    "a NUL in a link": lambda outside: [entry("l", SYMLINK, linkname="x", pax={"linkpath": "a\0b"})],
    "a name that is too long": lambda outside: [entry("n" * 256)],
    "a time that is no number": lambda outside: [entry("f", pax={"mtime": "nan"})],
    "a time without end": lambda outside: [entry("f", pax={"mtime": "9" * 40})],
    "an owner that cannot be": lambda outside: [entry("f", pax={"uid": "9" * 20})],
    "a negative owner": lambda outside: [entry("f", pax={"gid": "-7"})],
    "an unknown kind": lambda outside: [entry("f", b"Z")],
    "a root that is a file": lambda outside: [entry("./", data=b"x")],
    "a device that is the kernel's whiteout": lambda outside: [entry("f", tarfile.CHRTYPE)],
    "a file capability that is none": lambda outside: [
        entry("f", pax={"SCHILY.xattr.security.capability": "x"})
    ],
    "an attribute of no kind": lambda outside: [entry("f", pax={"SCHILY.xattr.nonsense": "x"})],
    "an attribute that is too large": lambda outside: [entry("f", pax={"SCHILY.xattr.user.x": "x" * 70_000})],
    "a path that is too long": lambda outside: [entry("/".join(["d" * 200] * 30))],
    "a hard link to itself": lambda outside: [entry("f", LINK, linkname="f")],
    "a size that is no number": lambda outside: [entry("f", pax={"size": "1e3"})],
    "a negative size": lambda outside: [entry("f", pax={"size": "-1"})],
    "the owner nobody changes": lambda outside: [entry("f", pax={"uid": str((1 << 32) - 1)})],
    "a sparse map without a size": lambda outside: [entry("f", data=b"x", pax={"GNU.sparse.map": "0,1"})],
    "a sparse map that overlaps": lambda outside: [sparse("0,2,1,2", 10, b"1234")],
    "a sparse map that goes backwards": lambda outside: [sparse("4,2,0,2", 10, b"1234")],
    "a sparse map beyond the end": lambda outside: [sparse("0,2,9,2", 10, b"1234")],
    "a sparse map of more than there is": lambda outside: [sparse("0,600", 1000, b"1234")],
    "a sparse map of less than there is": lambda outside: [sparse("0,2", 10, b"1234")],
    "half a sparse map": lambda outside: [sparse("0,2,4", 10, b"12")],
    "a sparse map of a negative size": lambda outside: [sparse("0,-2", 10, b"")],
    "a sparse map without an end": lambda outside: [
        entry("f", data=b"9\n" * 256, pax={"GNU.sparse.major": "1", "GNU.sparse.realsize": "9"})
    ],
    "a sparse file that leaves": lambda outside: [
        sparse("0,2", 10, b"12", name=f"{outside}/canary"),
    ],
    "a path for all": lambda outside: [entry("pax", tarfile.XGLTYPE, data=b"16 path=canary\n\n"[:16])],
}
LAYERS_ONLY = {"a whiteout as a directory": lambda outside: [entry("a/.wh.b/c")]}


HOW = [(name, True) for name in HOSTILE | LAYERS_ONLY]
HOW += [(name, False) for name in HOSTILE if "whiteout" not in name or "device" in name]


@pytest.mark.parametrize(
    ("name", "whiteouts"), HOW, ids=[f"{name}-{'layer' if w else 'copy'}" for name, w in HOW]
)
def test_hostile_entry_is_refused_naming_it(root, name, whiteouts):
    entries = (HOSTILE | LAYERS_ONLY)[name](str(root.parent))
    with pytest.raises(InvalidArgument) as refusal:
        unpack(root, *entries, whiteouts=whiteouts)
    assert "entry '" in str(refusal.value) or "hard link '" in str(refusal.value), refusal.value


@pytest.mark.parametrize("whiteouts", [True, False], ids=["layer", "copy"])
@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_mode_of_a_directory_is_not_given_to_what_has_replaced_it(root, kind, whiteouts):
    """Directories get their modes last: by then a symlink to a file of the host may have the name."""
    if kind == "symlink":
        trap = entry("d", SYMLINK, linkname=str(root.parent / "canary"))
    else:
        trap = entry("d", LINK, linkname="own")
    entries = [entry("own", mode=0o600), entry("d", DIRECTORY, mode=0o4777, uid=1000), trap]
    if whiteouts:
        unpack(root, *entries)
    else:
        with pytest.raises(InvalidArgument, match="cannot overwrite the directory"):
            unpack(root, *entries, whiteouts=False)
    assert stat.S_IMODE((root / "own").stat().st_mode) == 0o600


def test_directory_below_a_replaced_one_is_left_alone_too(root):
    unpack(
        root,
        entry("d", DIRECTORY),
        entry("d/canary", DIRECTORY, mode=0o4777),
        entry("d", SYMLINK, linkname=str(root.parent)),
    )
    assert (root / "d").is_symlink()


def test_symlink_that_is_there_already_is_replaced_and_not_followed(root):
    (root / "f").symlink_to(root.parent / "canary")
    unpack(root, entry("f", data=b"new", mode=0o777))
    assert (root / "f").read_bytes() == b"new" and not (root / "f").is_symlink()


@pytest.mark.parametrize("kind", [FILE, tarfile.FIFOTYPE], ids=["file", "fifo"])
def test_file_that_a_container_swaps_for_a_symlink_meanwhile_takes_no_mode_outside(root, kind):
    """While an archive is copied into a running container, its processes go on."""
    canary, place = bytes(root.parent / "canary"), bytes(root / "f")
    (root / "f").touch()
    pid = os.fork()
    if pid == 0:
        while True:
            try:
                os.unlink(place)
                os.symlink(canary, place)
            except OSError:
                pass
    swapped = 0
    try:
        while not os.path.islink(place):
            time.sleep(0.001)
        deadline = time.monotonic() + 5
        while swapped < 20 and time.monotonic() < deadline:
            swapped += os.path.islink(place)
            with contextlib.suppress(InvalidArgument, OSError):
                unpack(root, entry("f", kind, mode=0o4777, uid=1000), whiteouts=False)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert swapped > 2, "the race was never seen"


def test_attributes_are_not_set_through_a_symlink_that_has_taken_a_files_place(root):
    (root / "f").symlink_to(root.parent / "canary")
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(InvalidArgument, match="entry 'f' was replaced while it was made; refused"):
        attributes.set_at(fd, "f", Entry("f", REGULAR, 0o4777))
    os.close(fd)


def test_path_through_a_symlink_is_refused_even_when_it_stays_inside(root):
    with pytest.raises(InvalidArgument, match="entry 'in/f' leads through a symlink"):
        unpack(root, entry("d", DIRECTORY), entry("in", SYMLINK, linkname="d"), entry("in/f"))


def test_layer_that_is_too_large_is_refused_before_it_is_written(root):
    header = tarfile.TarInfo("big")
    header.size = 1 << 42
    with pytest.raises(InvalidArgument, match="the layer is too large: at 'big' it has 4398046511104 bytes"):
        layers.apply(io.BytesIO(header.tobuf(tarfile.GNU_FORMAT)), str(root))
    with pytest.raises(InvalidArgument, match="the layer is too large: at 'b'"):
        unpack(root, entry("a", data=b"12"), entry("b", data=b"34"), most_bytes=3)
    assert os.listdir(root) == ["a"]


class Endless(io.RawIOBase):
    """A header, and then letters without end: what a small gzip file can be."""

    def __init__(self, header: bytes) -> None:
        super().__init__()
        self.header, self.given = header, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.given += size
        assert self.given < 1 << 26, "it is read into memory"
        header, self.header = self.header, b""
        return header.ljust(size, b"a")


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]
)
def test_name_that_is_gigabytes_long_is_not_read_into_memory(root, kind):
    header = tarfile.TarInfo("bomb")
    header.type, header.size = kind, 1 << 33
    with pytest.raises(InvalidArgument, match="has a size of 8589934592; refused"):
        layers.apply(Endless(header.tobuf(tarfile.GNU_FORMAT)), str(root))


def test_entry_of_a_negative_size_is_refused(root):
    header = bytearray(tarfile.TarInfo("backwards").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = ((1 << 96) - 512).to_bytes(12, "big")
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    with pytest.raises(InvalidArgument, match="size of -512; refused"):
        layers.apply(io.BytesIO(bytes(header) + bytes(10240)), str(root))


def block(name: bytes, kind: bytes, size: int = 0, **raw: bytes) -> bytearray:
    """A header as it is on tape, with some bytes of it as they should not be: ``at_124=b"zz"``."""
    header = tarfile.TarInfo(name.decode())
    header.type, header.size = kind, size
    raw_block = bytearray(header.tobuf(tarfile.USTAR_FORMAT))
    for where, what in raw.items():
        start = int(where.removeprefix("at_"))
        raw_block[start : start + len(what)] = what
    raw_block[148:156] = b"%06o\0 " % (sum(raw_block[:148]) + sum(raw_block[156:]) + 8 * 32)
    return raw_block


def filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


END = bytes(1024)
RAW = {
    "a record without an equals sign": block(b"x", b"x", 7) + filled(b"7 path\n") + block(b"f", b"0") + END,
    "a record longer than its header": block(b"x", b"x", 9) + filled(b"99 path=\n") + block(b"f", b"0") + END,
    "a record of no length": block(b"x", b"x", 9) + filled(b"0 path=a\n") + block(b"f", b"0") + END,
    "a record that does not end": block(b"x", b"x", 9) + filled(b"9 path=ab") + block(b"f", b"0") + END,
    "a length that is none": block(b"x", b"x", 9) + filled(b"-9 path=a") + block(b"f", b"0") + END,
    "headers without an end": (block(b"x", b"x", 10) + filled(b"10 path=a\n")) * 100
    + block(b"f", b"0")
    + END,
    "a header about nothing": block(b"x", b"x", 10) + filled(b"10 path=a\n") + END,
    "something behind the end": block(b"f", b"0") + bytes(512) + block(b"hidden", b"0") + END,
    "a size in letters": block(b"f", b"0", at_124=b"zz") + END,
    "a size with a nine": block(b"f", b"0", at_124=b"00000000009\0") + END,
    "a device that cannot be": block(b"f", b"3", at_329=b"\x80\xff\xff\xff\xff\xff\xff\xff") + END,
    "an owner of ninety bits": block(b"f", b"0", at_108=b"\x80\xff\xff\xff\xff\xff\xff\xff") + END,
    "a sparse file of a million maps": block(b"f", b"S", at_482=b"\1") + b"\1" * 512 * 20_000 + END,
    "a sparse file of sizes below zero": block(b"f", b"S", at_386=b"\xff" * 12) + END,
    "a sparse file without its map": block(b"f", b"S", at_482=b"\1") + END[:100],
}


@pytest.mark.parametrize("name", RAW)
def test_hostile_bytes_are_refused(root, name):
    with pytest.raises(InvalidArgument, match=r"refused|not a tar archive, or a damaged one"):
        layers.apply(io.BytesIO(bytes(RAW[name])), str(root))
    assert os.listdir(root) in ([], ["f"])


def test_sparse_file_may_not_be_larger_than_a_layer(root):
    with pytest.raises(
        InvalidArgument, match="the layer is too large: at 'f' it has 1152921504606846976 bytes"
    ):
        unpack(root, sparse("0,2", 1 << 60, b"12"))
    assert os.listdir(root) == []


def test_layer_may_not_have_more_entries_than_the_limit(root, monkeypatch):
    monkeypatch.setattr(layers, "MOST_ENTRIES", 3)
    with pytest.raises(InvalidArgument, match="the layer is too large: at 'd' it has 0 bytes in 4 entries"):
        unpack(root, entry("a"), entry("b"), entry("c"), entry("d"))


def test_directory_that_is_deeper_than_the_stack_may_become_a_file(root):
    """Twelve hundred directories: neither a descriptor nor a call on the stack for each."""
    unpack(root, entry("/".join("d" * 1200), data=b"deep"), entry("d", data=b"a file now"))
    assert (root / "d").read_text() == "a file now"


def test_attribute_with_an_equals_sign_in_its_name_is_the_one_that_gnu_tar_wrote(root):
    (root / "f").touch()
    os.setxattr(root / "f", "user.a=b%3D", b"value")
    words = [
        "tar",
        "--format=posix",
        "--xattrs",
        "--xattrs-include=*",
        "-cf",
        root / "packed",
        "-C",
        root,
        "f",
    ]
    subprocess.run(words, check=True)
    (root / "f").unlink()
    with open(root / "packed", "rb") as stream:
        layers.apply(stream, str(root))
    assert os.getxattr(root / "f", "user.a=b%3D") == b"value"


def test_labels_of_a_hosts_policy_are_left_out(root):
    unpack(root, entry("f", pax={"SCHILY.xattr.security.selinux": "label", "SCHILY.xattr.user.a": "b"}))
    assert "security.selinux" not in os.listxattr(root / "f") and os.getxattr(root / "f", "user.a") == b"b"


def test_comment_for_all_entries_is_no_harm(root):
    """git archive begins with one."""
    content = b"19 comment=abcdefg\n"
    packed = block(b"pax_global_header", b"g", len(content)) + filled(content) + block(b"f", b"0") + END
    layers.apply(io.BytesIO(bytes(packed)), str(root))
    assert os.listdir(root) == ["f"]


# -- damaged archives --

PLAIN = archive(
    entry("one", data=b"1" * 600), entry("two", data=b"2"), entry("three"), format=tarfile.USTAR_FORMAT
)


@pytest.mark.parametrize("where", [2, 512 * 3 + 2, 512 * 5 + 150])
def test_damaged_header_is_an_error_and_not_the_end_of_the_archive(root, where):
    damaged = bytearray(PLAIN.getvalue())
    damaged[where] ^= 0x40
    with pytest.raises(InvalidArgument, match="not a tar archive, or a damaged one"):
        layers.apply(io.BytesIO(bytes(damaged)), str(root))


@pytest.mark.parametrize("length", [0, 100, 512, 700, 1024 + 100, 512 * 3 + 100])
def test_archive_that_is_cut_off_is_refused(root, length):
    with pytest.raises(InvalidArgument, match="not a tar archive, or a damaged one"):
        layers.apply(io.BytesIO(PLAIN.getvalue()[:length]), str(root))


@pytest.mark.parametrize("junk", [b"hello, world\n" * 100, os.urandom(4096), b"\x7fELF" + bytes(2000)])
def test_what_is_no_archive_is_refused(root, junk):
    with pytest.raises(InvalidArgument, match="not a tar archive, or a damaged one"):
        layers.apply(io.BytesIO(junk), str(root))


def test_archive_without_entries_is_an_empty_layer(root):
    assert unpack(root).entries == 0


def test_descriptor_of_a_directory_will_do(root):
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    layers.apply(archive(entry("f")), fd)
    os.fstat(fd)
    os.close(fd)
    assert os.listdir(root) == ["f"]


def test_nothing_stays_open(root):
    before = sorted(os.listdir("/proc/self/fd"))
    unpack(root, entry("a/b/c"), entry("d", DIRECTORY))
    with pytest.raises(InvalidArgument):
        unpack(root, entry("a/x"), entry("../y"))
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_socket_in_the_way_is_replaced_as_any_file(root):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "s"))
        unpack(root, entry("s", data=b"file"))
    assert (root / "s").read_bytes() == b"file"
