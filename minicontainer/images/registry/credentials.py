"""User names and passwords for registries, in the file and the form that Docker keeps them.

    {"auths": {"registry.example:5000": {"auth": base64("name:password")}}}

in ``~/.config/minicontainer/auth.json``, or where ``REGISTRY_AUTH_FILE`` says, as for podman and skopeo; read
also from Docker's ``~/.docker/config.json``. Base64 hides nothing: what protects the file is its mode, 0600.
"""

from __future__ import annotations

import base64
import os

from minicontainer.errors import Error, InvalidArgument
from minicontainer.files import Lock, read_json, write_json
from minicontainer.images.reference import DEFAULT_REGISTRY
from minicontainer.images.registry.hosts import config_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AUTH_FILE = "REGISTRY_AUTH_FILE"
HUB_KEY = "https://index.docker.io/v1/"  # what Docker Hub is called in these files, for historical reasons


class Login:
    """A user name and a password."""

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self.password = password

    def header(self) -> str:
        """As HTTP carries them (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return f"<Login {self.user}>"  # a password has no business in a traceback


def key_of(registry: str) -> str:
    """What a registry is called in the file."""
    return HUB_KEY if registry == DEFAULT_REGISTRY else registry


def registry_of(server: str) -> str:
    """The registry that people mean by ``localhost:5000``, ``https://quay.io/`` or nothing at all."""
    if not server or server.rstrip("/") in (HUB_KEY.rstrip("/"), "index.docker.io", DEFAULT_REGISTRY):
        return DEFAULT_REGISTRY
    host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if not host:
        raise InvalidArgument(f"{server!r} is not the address of a registry")
    return host


def path() -> str:
    """The file that is written."""
    return os.environ.get(AUTH_FILE) or os.path.join(config_directory(), "auth.json")


def find(registry: str) -> Login | None:
    """The login for a registry, of the first file that has one."""
    for place in (path(), os.path.expanduser("~/.docker/config.json")):
        entry = _read(place).get("auths", {}).get(key_of(registry), {})
        if entry.get("auth"):
            return _decode(entry["auth"], registry, place)
    return None


def _decode(text: str, registry: str, place: str) -> Login:
    try:
        user, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        colon = ""
    if not colon:
        raise Error(f"{place}: the entry for {registry} is damaged; log in again")
    return Login(user, password.rstrip("\0"))


def save(registry: str, login: Login) -> None:
    """Keep a login; nobody but the user may read the file."""
    with _locked() as place:
        document = _read(place)
        document.setdefault("auths", {})[key_of(registry)] = {"auth": login.header().removeprefix("Basic ")}
        write_json(place, document, mode=0o600)


def forget(registry: str) -> bool:
    """Forget a login; False when there was none."""
    with _locked() as place:
        document = _read(place)
        if document.get("auths", {}).pop(key_of(registry), None) is None:
            return False
        write_json(place, document, mode=0o600)
        return True


class _locked:  # noqa: N801  a context manager that is used as a word
    """The file's path, for its only writer."""

    def __enter__(self) -> str:
        place = path()
        os.makedirs(os.path.dirname(os.path.abspath(place)), mode=0o700, exist_ok=True)
        self._lock = Lock(f"{place}.lock")
        self._lock.acquire()
        return place

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _read(place: str) -> dict[str, Any]:
    try:
        document = read_json(place)
    except FileNotFoundError:
        return {}
    auths = document.get("auths", {}) if isinstance(document, dict) else None
    if not isinstance(auths, dict) or not all(isinstance(entry, dict) for entry in auths.values()):
        raise Error(f"{place} is damaged: it is not what logins are kept in")
    found: dict[str, Any] = document
    return found
