"""A blob on its way in, read like a file; where the connection breaks it is taken up again.

HTTP can ask for the rest of a thing (``Range: bytes=4096-``, RFC 9110, 14). A server that does not know how sends
all of it once more, and what is here already is read past. The size that the manifest promises is the most that is
ever read.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time

import urllib3

from minicontainer.errors import Error, IntegrityError
from minicontainer.images.registry import transport
from minicontainer.images.registry.transport import Unreachable, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import BaseHTTPResponse

    from minicontainer.images.registry.client import Repository

CHUNK = 1 << 18  # bytes that are waited for at a time
PROGRESS = (
    1 << 20
)  # bytes after which a connection was worth its while, and as many attempts are allowed as before


class Stopped(Error):
    """Another blob of the image has failed, so that nobody needs this one."""


class Download(io.RawIOBase):
    """One blob of a repository.

    :param arrived: called with the number of bytes that are here, each time there are more
    :param stop: set from outside when nobody wants the rest
    """

    def __init__(
        self,
        repository: Repository,
        digest: str,
        size: int,
        arrived: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        super().__init__()
        self._repository = repository
        self._digest = digest
        self._size = size
        self._arrived = arrived
        self._stop = stop
        self._response: BaseHTTPResponse | None = None
        self._pauses = list(transport.PAUSES)
        self._offset = self._progress = 0

    def readable(self) -> bool:
        """True, as for every file open for reading."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size`` and at most CHUNK; none at the end.

        IntegrityError when there are more than was promised, Unreachable when the rest is not to be had.
        """
        while True:
            self._check_stop()
            try:
                response = self._response or self._open()
                data = response.read(min(size, CHUNK) if size > 0 else CHUNK)
            except urllib3.exceptions.HTTPError as error:
                self._wait(reason(error), error)
                continue
            if not data and self._offset < self._size:
                self._wait("it ended too early")
                continue
            return self._count(data)

    def _count(self, data: bytes) -> bytes:
        self._offset += len(data)
        if self._offset > self._size:
            raise IntegrityError(f"blob {self._digest} should be {self._size} bytes, and is longer")
        if self._offset - self._progress >= PROGRESS:
            self._progress, self._pauses = self._offset, list(transport.PAUSES)
        self._arrived(self._offset)
        return data

    def _open(self) -> BaseHTTPResponse:
        response = self._response = self._repository.blob(self._digest, self._offset)
        length = response.headers.get("Content-Length", "")
        if response.status == 200:
            if length.isdecimal() and int(length) != self._size:
                raise IntegrityError(
                    f"blob {self._digest} should be {self._size} bytes, and {self._repository.host} has {length}"
                )
            self._pass_over(response, self._offset)
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {self._offset}-"):
            raise Unreachable(
                f"{self._repository.host} sends another part of {self._digest} than it was asked for"
            )
        return response

    def _pass_over(self, response: BaseHTTPResponse, count: int) -> None:
        while count and (data := response.read(min(count, CHUNK))):
            self._check_stop()
            count -= len(data)

    def _wait(self, why: str, cause: BaseException | None = None) -> None:
        """Let go of a broken connection, and give it time; Unreachable when that was done often enough."""
        self._let_go()
        if not self._pauses:
            at = f"after {self._offset} of {self._size} bytes"
            raise Unreachable(f"{self._repository.host} broke off {at} of {self._digest}: {why}") from cause
        if not self._stop.is_set():
            time.sleep(self._pauses.pop(0))

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped(f"the download of {self._digest} was stopped")

    def abort(self) -> None:
        """End a read that waits in another thread."""
        response = self._response
        if response is not None:
            with contextlib.suppress(RuntimeError, ValueError, OSError):  # it has come to its end just now
                response.shutdown()

    def _let_go(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._let_go()
        super().close()
