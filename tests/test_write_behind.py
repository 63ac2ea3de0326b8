"""Writing behind: all of it arrives, in order, and no error is lost."""

from __future__ import annotations

import errno
import threading
import time

import pytest

from minicontainer.images.write_behind import WriteBehind


class Disk:
    """Takes pieces, ``seconds`` for each, until there is no room for more than ``most``."""

    def __init__(self, most: int = 1000, seconds: float = 0) -> None:
        self.pieces: list[bytes] = []
        self.most, self.seconds = most, seconds

    def write(self, data: bytes) -> None:
        if len(self.pieces) == self.most:
            raise OSError(errno.ENOSPC, "full")
        time.sleep(self.seconds)
        self.pieces.append(data)


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


PIECES = [b"%d" % number for number in range(100)]


def write(file: WriteBehind, pieces: list[bytes]) -> None:
    for piece in pieces:
        file.write(piece)


@pytest.mark.parametrize("seconds", [0, 0.005])
def test_all_is_there_in_order_when_the_block_ends(seconds: float) -> None:
    disk = Disk(seconds=seconds)
    with WriteBehind(disk) as file:
        write(file, PIECES)
    assert disk.pieces == PIECES


def test_writer_waits_for_a_slow_disk() -> None:
    disk, most = Disk(seconds=0.01), 0
    with WriteBehind(disk) as file:
        for number, piece in enumerate(PIECES):
            file.write(piece)
            most = max(most, number + 1 - len(disk.pieces))
    assert 1 < most < 8


@pytest.mark.parametrize("count", [3, 4, 5, 100])
def test_error_of_the_file_is_raised_in_the_block_or_at_its_end(count: int) -> None:
    disk = Disk(most=2)
    with pytest.raises(OSError, match="full"), WriteBehind(disk) as file:
        write(file, PIECES[:count])
    assert disk.pieces == PIECES[:2]


def test_what_waits_is_dropped_when_the_block_fails() -> None:
    disk = Disk(seconds=0.05)
    with pytest.raises(KeyboardInterrupt), WriteBehind(disk) as file:
        write(file, PIECES[:5])
        raise KeyboardInterrupt
    assert len(disk.pieces) < 5


def test_error_of_the_block_is_the_one_that_is_raised() -> None:
    with pytest.raises(KeyboardInterrupt), WriteBehind(Disk(most=0)) as file:
        write(file, PIECES[:1])
        raise KeyboardInterrupt
