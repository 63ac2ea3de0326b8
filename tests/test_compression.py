"""Whatever packed a layer, what comes out is what went in, or it is refused; and little of it is held at a time."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import random
import shutil
import subprocess
import sys
import threading

import pytest
import zstandard
from conftest import PROJECT

from minicontainer.errors import InvalidArgument
from minicontainer.images import compression

TEXT = b"".join(b"line %d of a text\n" % (number * number) for number in range(60_000))
SKIPPABLE = b"\x5a\x2a\x4d\x18" + (10).to_bytes(4, "little") + b"0123456789"  # as zstd:chunked has at its end


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def streamed(data: bytes) -> bytes:
    """A frame that does not say how much is in it."""
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(data) + packer.flush()


def unpacked(tmp_path, content: bytes) -> bytes:
    (tmp_path / "blob").write_bytes(content)
    with compression.Reader(str(tmp_path / "blob")) as reader:
        data = b"".join(iter(lambda: reader.read(random.choice([1, 512, 10240, 1 << 20])), b""))
        assert reader.finish() == "sha256:" + hashlib.sha256(data).hexdigest()
    assert threading.active_count() == 1
    return data


WHOLE = {
    "nothing": (b"", b""),
    "plain": (TEXT, TEXT),
    "gzip": (gzip.compress(TEXT), TEXT),
    "gzip in members": (gzip.compress(TEXT) + gzip.compress(b"") + gzip.compress(b"more"), TEXT + b"more"),
    "gzip with padding": (gzip.compress(TEXT) + bytes(2000), TEXT),
    "bzip2": (bz2.compress(TEXT), TEXT),
    "xz": (lzma.compress(TEXT), TEXT),
    "zstd": (zstd(TEXT), TEXT),
    "zstd without a size": (streamed(TEXT), TEXT),
    "zstd in frames": (zstd(TEXT) + zstd(b"") + streamed(b"more"), TEXT + b"more"),
    "zstd with a note behind it": (zstd(TEXT) + SKIPPABLE, TEXT),
    "zstd with a note ahead": (SKIPPABLE + zstd(TEXT), TEXT),
    "zstd of very little": (zstd(b"x"), b"x"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_comes_out_is_what_went_in(tmp_path, name):
    content, expected = WHOLE[name]
    assert unpacked(tmp_path, content) == expected


PACKERS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
    "streamed": streamed,
}


@pytest.mark.parametrize("name", PACKERS)
def test_what_is_cut_off_is_refused(tmp_path, name):
    content = PACKERS[name](TEXT)
    for length in (len(content) - 1, len(content) - 4, len(content) // 2, 20):
        with pytest.raises(InvalidArgument, match="blob is damaged: "):
            unpacked(tmp_path, content[:length])


@pytest.mark.parametrize("name", PACKERS)
def test_second_part_that_is_cut_off_is_refused(tmp_path, name):
    content = PACKERS[name](TEXT)
    with pytest.raises(InvalidArgument, match="blob is damaged: "):
        unpacked(tmp_path, content + content[: len(content) // 2])


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_changed_byte_is_noticed(tmp_path, name):
    content = bytearray(PACKERS[name](TEXT))
    content[len(content) // 2] ^= 0x55
    with pytest.raises(InvalidArgument, match="blob is damaged: "):
        unpacked(tmp_path, bytes(content))


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_junk_behind_it_is_refused(tmp_path, name):
    with pytest.raises(InvalidArgument, match="blob is damaged: "):
        unpacked(tmp_path, PACKERS[name](TEXT) + b"junk that is nothing at all")


@pytest.mark.parametrize("how", ["gzip", "zstd", ""])
def test_writer_packs_what_others_read_and_the_same_every_time(tmp_path, how):
    made = []
    for _ in range(2):
        out = io.BytesIO()
        with compression.Writer(out, how) as writer:
            for start in range(0, len(TEXT), 99_999):
                writer.write(TEXT[start : start + 99_999])
        assert writer.diff_id == "sha256:" + hashlib.sha256(TEXT).hexdigest()
        made.append(out.getvalue())
    assert made[0] == made[1] and unpacked(tmp_path, made[0]) == TEXT
    if how and shutil.which(how):
        program = [how, "-dc"]
        done = subprocess.run(program, input=made[0], check=False, capture_output=True)
        assert done.stdout == TEXT
    with pytest.raises(InvalidArgument, match="layers are packed with gzip, zstd or nothing, not with xz"):
        compression.Writer(io.BytesIO(), "xz")


def test_reader_that_is_not_read_to_its_end_leaves_no_thread(tmp_path):
    (tmp_path / "blob").write_bytes(gzip.compress(os.urandom(20 << 20), 1))
    for wanted in (0, 1, 1 << 20):
        with compression.Reader(str(tmp_path / "blob")) as reader:
            reader.read(wanted)
        reader.close()
        assert threading.active_count() == 1


class Full(io.BytesIO):
    """A disk with room for a megabyte."""

    def write(self, data: bytes) -> int:
        if self.tell() + len(data) > 1 << 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.mark.parametrize("how", ["gzip", "zstd", ""])
def test_full_disk_is_an_error_of_the_writer(how):
    with pytest.raises(OSError, match="No space left"), compression.Writer(Full(), how) as writer:
        for _ in range(20):
            writer.write(os.urandom(1 << 20))
    assert threading.active_count() == 1


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_bomb_is_not_held_in_memory(tmp_path, how):
    """A gigabyte of zeros, in a megabyte or in a few kilobytes."""
    with open(tmp_path / "blob", "wb") as file, compression.Writer(file, how) as writer:
        for _ in range(1024):
            writer.write(bytes(1 << 20))
    code = f"""
from minicontainer.images import compression
with compression.Reader({str(tmp_path / "blob")!r}) as reader:
    print(reader.finish())
print(open("/proc/self/status").read())
"""
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    assert done.stdout.startswith(writer.diff_id)
    highest = next(line for line in done.stdout.splitlines() if line.startswith("VmHWM:"))
    assert int(highest.split()[1]) < 150_000
