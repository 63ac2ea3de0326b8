"""One file from one address, over networks as they are.

An address is a path, or a file, http or https URL. For the last two a library (urllib3) speaks the protocol;
what is left to say is how patient to be. A server that is busy or a line that breaks is tried again after a
pause, from the start: the files are small. A server that answers "not found" has answered, and is not asked
twice. Behind a company's wall the way out is a proxy, and the environment says so: ``https_proxy``,
``http_proxy``, ``no_proxy``, as curl and wget read them.

Whether the bytes are the right ones is not decided here: that takes a sum from another place.
"""

from __future__ import annotations

import contextlib
import time

from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from urllib3 import BaseHTTPResponse, PoolManager

CHUNK = 64 << 10  # bytes read at a time
LARGEST = 64 << 20  # bytes; a server that sends more would fill the disk before any sum is looked at
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0  # without a single byte
PAUSES = (0.0, 0.5, 2.0)  # seconds before each attempt
BUSY = (429, 500, 502, 503, 504)  # HTTP statuses that may be another at the next attempt (RFC 9110, 15)


class Unanswered(Exception):
    """The file was not to be had from there; the text says why in a few words."""


def save(url: str, file: BinaryIO, *, bar: bool = False) -> None:
    """Write what is at ``url`` to ``file``, which is new and empty.

    ``bar`` shows a progress bar on standard error. Raises ``Unanswered`` when ``url`` cannot be read, for http
    after the last attempt, ``InvalidArgument`` for another kind of URL, and what writing ``file`` raises.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        _save_file(url, file)
    elif scheme == "file":
        from urllib.parse import unquote, urlsplit  # not at the top: it takes `re` along

        _save_file(unquote(urlsplit(url).path), file)
    elif scheme in ("http", "https"):
        _save_http(url, file, bar)
    else:
        raise InvalidArgument(f"cannot read {url}: give a path, or a file, http or https URL")


def _save_file(path: str, file: BinaryIO) -> None:
    try:
        source = open(path, "rb")
    except OSError as error:
        raise Unanswered(error.strerror) from error
    with source:
        while chunk := source.read(CHUNK):
            file.write(chunk)


def _save_http(url: str, file: BinaryIO, bar: bool) -> None:
    import urllib3  # 60 ms, and only when something is downloaded

    reason = ""
    for pause in PAUSES:
        time.sleep(pause)
        file.seek(0)
        file.truncate()
        try:
            with contextlib.closing(_request(url)) as response:
                if response.status == 200:
                    return _receive(response, file, url, bar)
                reason = f"HTTP status {response.status}"
                if response.status not in BUSY:
                    break
        except urllib3.exceptions.HTTPError as error:
            reason = _innermost(error)
    raise Unanswered(reason)


def _request(url: str) -> BaseHTTPResponse:
    """Ask for ``url`` and return once the headers are here; redirects are followed, nothing is decoded."""
    import urllib3

    return _manager(url).request(
        "GET",
        url,
        headers={"Accept-Encoding": "identity", "User-Agent": "minicontainer"},
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5),
        preload_content=False,
        decode_content=False,  # some servers call a .tar.gz a gzip-encoded tar; the sum is of the .tar.gz
    )


def _manager(url: str) -> PoolManager:
    """Return what makes connections for ``url``: through the environment's proxy, if there is one for it."""
    import urllib.request

    import urllib3

    address = urllib3.util.parse_url(url)
    proxy = urllib.request.getproxies().get(address.scheme or "")
    if not proxy or urllib.request.proxy_bypass(address.netloc or ""):
        return urllib3.PoolManager()
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    login = urllib3.util.parse_url(proxy).auth
    return urllib3.ProxyManager(proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=login))


def _receive(response: BaseHTTPResponse, file: BinaryIO, url: str, bar: bool) -> None:
    done = 0
    with _progress(url.rpartition("/")[2], response.length_remaining, bar) as advance:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            advance(len(chunk))
            done += len(chunk)
            if done > LARGEST:
                raise Unanswered(f"it sends more than {LARGEST >> 20} MiB")


@contextlib.contextmanager
def _progress(title: str, size: int | None, bar: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs; call what it yields with each number of bytes that came."""
    if not bar:
        yield lambda count: None
        return
    from rich.console import Console  # 100 ms for both, and only when somebody looks
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=size)
        yield lambda count: progress.advance(task, count)


def _innermost(error: BaseException) -> str:
    """Return the text of the first cause: urllib3 wraps it in the names of its own objects."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
