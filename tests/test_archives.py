"""ADD of archives: what is one, and what of a hostile one gets where; the table of COPY and ADD has the rest."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
import threading

import pytest
import zstandard
from copying_cases import PACKED, archive, archive_at
from copying_trees import listing, make
from trees import make_everything

from minicontainer.build import archives
from minicontainer.errors import InvalidArgument
from minicontainer.images import overlay

TAR = archive(PACKED)
PACKINGS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "two members": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
}


def opened(path, data: bytes) -> int:
    path.write_bytes(data)
    return os.open(path, os.O_RDONLY)


@pytest.fixture
def target(tmp_path):
    """The root of an overlay on an image with a few files; what is unpacked goes there."""
    make(
        str(tmp_path / "lower"),
        "d755 etc\nf644 etc/passwd = root\nd755 usr\nl bin -> usr/bin\nd755 usr/bin",
        0,
    )
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    root = overlay.detached([str(tmp_path / "lower")], str(tmp_path / "upper"), str(tmp_path / "work"))
    yield root
    os.close(root)


def path(root: int, name: str = "") -> str:
    return f"/proc/self/fd/{root}/{name}"


@pytest.mark.parametrize("packing", PACKINGS)
def test_archives_are_known_by_their_content_and_unpacked(packing, tmp_path, target):
    fd = opened(tmp_path / "file", PACKINGS[packing](TAR))
    assert archives.is_archive(fd)
    os.mkdir(path(target, "x"))
    directory = os.open(path(target, "x"), os.O_PATH)
    archives.unpack(fd, directory)
    os.close(directory)
    os.close(fd)
    found = [line for line in listing(path(target)) if " x/" in line]
    assert found == archive_at("x")


@pytest.mark.parametrize("packing", PACKINGS)
def test_what_is_no_archive_is_none_however_it_is_packed(packing, tmp_path):
    for content in (
        b"",
        b"text",
        b"text" * 10_000,
        bytes(512),
        bytes(20480),
        TAR[:511],
        TAR[1:],
        os.urandom(4096),
    ):
        fd = opened(tmp_path / "file", PACKINGS[packing](content))
        assert not archives.is_archive(fd), (packing, content[:20])
        os.close(fd)


@pytest.mark.parametrize("packing", PACKINGS)
def test_half_an_archive_is_an_error(packing, tmp_path, target):
    data = PACKINGS[packing](
        archive("\n".join(f"f644 {number} = {os.urandom(4000).hex()}" for number in range(300)))
    )
    fd = opened(tmp_path / "file", data[: len(data) // 2])
    if packing == "bzip2":  # of which a block of 900,000 bytes has to be there before any of it is
        data = PACKINGS[packing](archive(f"f644 x = {os.urandom(2_000_000).hex()}"))
        fd = opened(tmp_path / "file", data[: len(data) * 3 // 4])
    assert archives.is_archive(fd)
    with pytest.raises(InvalidArgument, match="damaged"):
        archives.unpack(fd, target)
    os.close(fd)


def test_detection_stops_after_the_first_header(tmp_path):
    """A bomb is not unpacked to learn that it is one."""
    with gzip.open(tmp_path / "file", "wb", compresslevel=1) as file:
        for _ in range(256):
            file.write(bytes(1 << 20))
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    before, threads = os.times().user, threading.active_count()
    assert not archives.is_archive(fd)
    assert os.times().user - before < 0.1
    assert threading.active_count() == threads
    os.close(fd)


def test_everything_that_gnu_tar_packs_comes_through(tmp_path, target):
    make_everything(tmp_path / "tree")
    tar = ["tar", "--xattrs", "-C", str(tmp_path / "tree"), "-czSf", str(tmp_path / "t.tgz"), "."]
    subprocess.run(tar, check=True)
    fd = os.open(tmp_path / "t.tgz", os.O_RDONLY)
    os.mkdir(path(target, "x"))
    directory = os.open(path(target, "x"), os.O_PATH)
    archives.unpack(fd, directory)
    os.close(directory)
    os.close(fd)
    compared = ["diff", "-r", "--no-dereference", tmp_path / "tree/usr", path(target, "x/usr")]
    subprocess.run(compared, check=True, pass_fds=[target])
    assert sorted(os.listdir(os.fsencode(path(target, "x")))) == sorted(
        os.listdir(os.fsencode(tmp_path / "tree"))
    )
    status = os.stat(path(target, "x/usr/bin/tool"))
    assert (oct(status.st_mode), status.st_gid, status.st_nlink) == ("0o104755", 5, 2)
    assert os.getxattr(path(target, "x/usr"), "user.note") == b"of a directory\x00\xff"


def hostile(*entries: tuple[str, bytes, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, link in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, link, 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(b"evil"))
    return out.getvalue()


@pytest.mark.parametrize(
    ("entries", "lands"),
    [
        ([("../../up", tarfile.REGTYPE, "")], "up"),
        ([("/tmp/hostile/x", tarfile.REGTYPE, "")], "tmp/hostile/x"),
        ([("l", tarfile.SYMTYPE, "/etc"), ("l/evil", tarfile.REGTYPE, "")], "etc/evil"),
        ([("l", tarfile.SYMTYPE, "../../../etc"), ("l/evil", tarfile.REGTYPE, "")], "etc/evil"),
        ([("l", tarfile.SYMTYPE, "../../new"), ("l/evil", tarfile.REGTYPE, "")], "new/evil"),
        ([("l", tarfile.SYMTYPE, "/etc/passwd"), ("l", tarfile.REGTYPE, "")], "l"),
        ([("bin/sh", tarfile.REGTYPE, "")], "usr/bin/sh"),
    ],
)
def test_nothing_lands_outside_of_the_image(entries, lands, tmp_path, target):
    before = sorted(os.listdir("/")), sorted(os.listdir("/etc")), sorted(os.listdir(tmp_path.parent))
    fd = opened(tmp_path / "file", hostile(*entries))
    archives.unpack(fd, target)
    os.close(fd)
    with open(path(target, lands)) as file:
        assert file.read() == "evil"
    assert before == (
        sorted(os.listdir("/")),
        sorted(os.listdir("/etc")),
        sorted(os.listdir(tmp_path.parent)),
    )
    with open(path(target, "etc/passwd")) as file:
        assert file.read() == "root"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("h", tarfile.LNKTYPE, "nowhere")], "hard link 'h' to 'nowhere': No such file"),
        ([("etc/passwd/x", tarfile.REGTYPE, "")], "'etc/passwd/x' leads through a symlink or a file"),
        ([("dev", tarfile.CHRTYPE, "")], "'dev' is a device 0/0"),
        ([("l", tarfile.SYMTYPE, "l"), ("l/x", tarfile.REGTYPE, "")], "l runs in a circle of symlinks"),
    ],
)
def test_what_cannot_be_made_is_named(entries, message, tmp_path, target):
    fd = opened(tmp_path / "file", hostile(*entries))
    with pytest.raises(InvalidArgument, match=message):
        archives.unpack(fd, target)
    os.close(fd)
