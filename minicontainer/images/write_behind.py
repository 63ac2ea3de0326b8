"""Writing behind: what is made goes to its place in a thread, and who makes it goes on meanwhile.

To pack a tree is Python's work, file by file; to sum up what comes of it and write it to the disk takes nearly as
long, and no Python (:mod:`minicontainer.images.compression` reads ahead in the same way).
"""

from __future__ import annotations

import queue
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from minicontainer.images.compression import Writable

_BEHIND = 4  # pieces that may wait, so that memory does not grow when the disk is the slower one


class WriteBehind:
    """Passes on to ``file`` what is written to it, in order; with the end of the ``with`` block it is all there.

    An error of the file's is raised by one of the next writes, or at the end. When the block itself fails, what
    still waits is dropped.
    """

    def __init__(self, file: Writable) -> None:
        self._file = file
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_BEHIND)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write_all, daemon=True)

    def __enter__(self) -> WriteBehind:
        self._thread.start()
        return self

    def write(self, data: bytes) -> None:
        """Have a piece written; waits when the file is far behind."""
        if self._error:
            raise self._error
        self._pieces.put(data)

    def _write_all(self) -> None:
        """The thread: write, and after an error take what comes, so that nobody waits for room for ever."""
        while (data := self._pieces.get()) is not None:
            if not self._error:
                try:
                    self._file.write(data)
                except Exception as error:  # raised where it is written
                    self._error = error

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._error = self._error or error
        self._pieces.put(None)
        self._thread.join()
        if self._error and not error:
            raise self._error
