"""Who we are, proven in the way the registry asks for.

A registry that wants to know answers 401 and says how in ``WWW-Authenticate``. ``Basic``: the password itself
goes with each request. ``Bearer``: the password goes to another server, the *realm*, once; that one answers
with a token, good for some minutes and for what was asked for (``repository:library/alpine:pull``), and the token
goes with each request. Docker Hub gives such tokens to everybody, for what is public.

Source: RFC 7235, https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import json
import re
import threading
from urllib.parse import urlencode, urlsplit

from minicontainer.errors import Error
from minicontainer.images.registry import hosts
from minicontainer.images.registry.credentials import Login
from minicontainer.images.registry.transport import Transport, Unreachable, absolute

_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Bearer)\b", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_MOST = 1 << 20  # bytes of an answer with a token


class Denied(Error):
    """The registry knows who we are, or that it does not, and says no."""


def challenges(header: str) -> dict[str, dict[str, str]]:
    """What a ``WWW-Authenticate`` header asks for: ``{"bearer": {"realm": "https://…", …}}`` (RFC 7235, 4.1)."""
    found = {}
    marks = list(_SCHEME.finditer(header))
    for mark, following in zip(marks, [*marks[1:], None], strict=False):
        text = header[mark.end() : following.start() if following else None]
        found[mark[1].lower()] = {
            name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(text)
        }
    return found


class Authorization:
    """The proof that goes with each request to one registry, renewed when it has expired."""

    def __init__(self, transport: Transport, url: str, login: Login | None, scopes: list[str]) -> None:
        self._transport = transport
        self._url = url
        self._login = login
        self._scopes = scopes
        self._lock = threading.Lock()
        self._header = ""

    def headers(self) -> dict[str, str]:
        """What to send along."""
        return {"Authorization": self._header} if self._header else {}

    def answer(self, refused: dict[str, str], challenge: str) -> bool:
        """Find an answer to a 401 that a request with the headers ``refused`` got; False when there is none.

        Of several threads whose token has expired, one fetches another.
        """
        with self._lock:
            if self._header and refused.get("Authorization") != self._header:
                return True
            wanted = challenges(challenge)
            if "bearer" in wanted:
                header = self._bearer(wanted["bearer"])
            elif "basic" in wanted and self._login:
                header = self._login.header()
            else:
                return False
            fresh, self._header = header != self._header, header
            return fresh

    def _bearer(self, wanted: dict[str, str]) -> str:
        """Ask the realm for a token; with the password, if there is one."""
        realm = absolute(self._url, wanted.get("realm", ""))
        query = [("service", wanted["service"])] if wanted.get("service") else []
        query += [("scope", scope) for scope in self._scopes or wanted.get("scope", "").split()]
        headers = {}
        if self._login:
            self._check_realm(realm)
            query.append(("account", self._login.user))
            headers["Authorization"] = self._login.header()
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        response = self._transport.send("GET", url, headers)
        with response:
            if response.status in (400, 401, 403):
                raise Denied(
                    f"{urlsplit(realm).netloc} refuses {_who(self._login)} (HTTP status {response.status})"
                )
            if response.status != 200:
                raise Unreachable(f"{urlsplit(realm).netloc} gives no token: HTTP status {response.status}")
            return f"Bearer {_token(response.read(_MOST), realm)}"

    def _check_realm(self, realm: str) -> None:
        """A password that went to the registry protected does not go on unprotected."""
        plain = urlsplit(realm).scheme == "http" and not hosts.is_insecure(urlsplit(realm).netloc)
        if plain and urlsplit(self._url).scheme == "https":
            raise Denied(f"{self._url} wants the password sent to {realm}, without protection; refused")


def _who(login: Login | None) -> str:
    return f"the user name or the password of {login.user!r}" if login else "to give a token without a login"


def _token(data: bytes, realm: str) -> str:
    try:
        answer = json.loads(data)
        token = answer.get("token") or answer.get("access_token")
    except (ValueError, AttributeError):
        token = None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise Unreachable(f"{realm} answers with something that is not a token")
    return token
