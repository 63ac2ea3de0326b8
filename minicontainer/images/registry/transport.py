"""HTTP as the client of a registry needs it: patient, wary of where it is led, and through a proxy if there is one.

The library (urllib3) speaks the protocol. What is decided here: a busy server and a broken line are tried again,
after a pause that doubles, or that the server names; a redirect is followed, for registries keep their blobs
elsewhere, but a password or token goes nowhere but to the host that it is for, and never from https to http.
"""

from __future__ import annotations

import random
import ssl
import time
import urllib.request
from http.client import HTTPException
from urllib.parse import urljoin, urlsplit

import urllib3

from minicontainer.errors import Error
from minicontainer.images.registry import hosts
from minicontainer.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    from typing import IO

    from urllib3 import BaseHTTPResponse, PoolManager

    Body = bytes | IO[bytes] | io.RawIOBase

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0  # without a single byte
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each further attempt
LONGEST_PAUSE = 15.0  # seconds; a server that wants us to wait longer has said no
BUSY = (429, 500, 502, 503, 504)  # HTTP statuses that may be another at the next attempt (RFC 9110, 15)
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 8


class Unreachable(Error):
    """A registry that does not answer, or not in a way that could be understood."""


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: two addresses with the same are of the same server (RFC 6454)."""
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default


class Transport:
    """Connections to any number of hosts, for any number of threads."""

    def __init__(self) -> None:
        self._pools: dict[tuple[str, str, int], PoolManager] = {}

    def send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: Body | None = None,
        *,
        patient: bool = True,
    ) -> BaseHTTPResponse:
        """Make a request and return its response when the headers are here; the caller reads and closes it.

        ``patient`` tries again when nobody answers, with the body from its beginning. Only what reads follows
        redirects. Raises Unreachable when there is no answer.
        """
        headers = {"User-Agent": f"minicontainer/{VERSION}", "Accept-Encoding": "identity", **headers}
        for _ in range(_MOST_REDIRECTS):
            response = self._patiently(method, url, headers, body, patient)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or method not in ("GET", "HEAD") or not location:
                return response
            response.close()
            target = _target(url, location)
            if origin(target) != origin(url):
                headers = {name: text for name, text in headers.items() if name != "Authorization"}
            url = target
        raise Unreachable(f"{urlsplit(url).netloc} redirects without end; the last place was {url}")

    def _patiently(
        self, method: str, url: str, headers: dict[str, str], body: Body | None, patient: bool
    ) -> BaseHTTPResponse:
        for pause in (*PAUSES, None):
            try:
                response = self._once(method, url, headers, body)
            except urllib3.exceptions.HTTPError as error:
                if pause is None or not patient or not is_passing(error):
                    raise Unreachable(f"{urlsplit(url).netloc} cannot be reached: {reason(error)}") from error
                time.sleep(pause * random.uniform(0.8, 1.2))
                continue
            wait = _wanted_pause(response, pause)
            if response.status not in BUSY or body is not None or wait is None:
                return response
            response.close()
            time.sleep(wait)
        raise AssertionError  # the last round returns or raises

    def _once(self, method: str, url: str, headers: dict[str, str], body: Body | None) -> BaseHTTPResponse:
        if body is not None and not isinstance(body, bytes):
            body.seek(0)
        return self._pool(url).request(
            method,
            url,
            headers=headers,
            body=body,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )

    def _pool(self, url: str) -> PoolManager:
        """What makes connections to a host: with its authorities, and by the environment's proxy for it."""
        key = origin(url)
        if key not in self._pools:
            host = urlsplit(url).netloc.rpartition("@")[2]
            context = hosts.tls(host) if key[0] == "https" else None
            if context and context.verify_mode == ssl.CERT_NONE:  # allowed, so not worth a warning each time
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            proxy = urllib.request.getproxies().get(key[0], "")
            if proxy and not urllib.request.proxy_bypass(host):
                proxy = proxy if "://" in proxy else f"http://{proxy}"
                login = urllib3.util.parse_url(proxy).auth
                headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
                made: PoolManager = urllib3.ProxyManager(proxy, proxy_headers=headers, ssl_context=context)
            else:
                made = urllib3.PoolManager(ssl_context=context, maxsize=4)
            self._pools.setdefault(key, made)
        return self._pools[key]


def absolute(url: str, location: str) -> str:
    """The address that ``location`` means in an answer from ``url``; Unreachable when it is none on the web."""
    try:
        target = urljoin(url, location)
        scheme, host, _ = origin(target)
    except ValueError:  # no address at all, as http://[
        scheme = host = ""
    if scheme not in ("http", "https") or not host:
        raise Unreachable(f"{urlsplit(url).netloc} names {location[:200]!r}, which is no place on the web")
    return target


def _target(url: str, location: str) -> str:
    """Where a redirect leads; not from a protected place to an unprotected one."""
    target = absolute(url, location)
    if (
        origin(target)[0] == "http"
        and origin(url)[0] == "https"
        and not hosts.is_insecure(urlsplit(target).netloc)
    ):
        raise Unreachable(f"{urlsplit(url).netloc} redirects to {target}, which is not protected; refused")
    return target


def _wanted_pause(response: BaseHTTPResponse, pause: float | None) -> float | None:
    """Seconds to wait before the next attempt; None when there should be none."""
    asked = response.headers.get("Retry-After", "")
    if pause is None or not asked.isascii() or not asked.isdecimal():
        return pause
    return int(asked) if int(asked) <= LONGEST_PAUSE else None


def is_passing(error: BaseException) -> bool:
    """Whether the next attempt may end otherwise: a name that does not exist, or a wrong certificate, will not."""
    if isinstance(error, urllib3.exceptions.NameResolutionError | urllib3.exceptions.SSLError):
        return False
    return not isinstance(innermost(error), ssl.SSLError)


def innermost(error: BaseException) -> BaseException:
    """The first cause: the library wraps it in errors of its own. What else was going on then is no cause."""
    while isinstance(
        found := error.__cause__ or error.__context__, urllib3.exceptions.HTTPError | OSError | HTTPException
    ):
        error = found
    return error


def reason(error: BaseException) -> str:
    """What went wrong, in a few words."""
    cause = innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {cause.verify_message}"
    if isinstance(cause, TimeoutError):
        return "it does not answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return str(cause) or type(cause).__name__
