"""One repository of one registry, request by request.

    GET  /v2/                                  is there a registry, and does it want to know who we are
    GET  /v2/NAME/manifests/TAG or DIGEST      a manifest or an index; HEAD and PUT likewise
    GET  /v2/NAME/blobs/DIGEST                 a configuration or a layer, perhaps from byte N on
    HEAD /v2/NAME/blobs/DIGEST                 is it there already
    POST /v2/NAME/blobs/uploads/               begin to bring one; with mount and from, take it from a neighbour
    PATCH, then PUT ...?digest=DIGEST          its bytes, and what they should come to
    GET  /v2/NAME/tags/list                    the tags

Source: the OCI distribution specification, "Endpoints".
"""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode, urlsplit

from minicontainer.errors import Error, IntegrityError, NotFound
from minicontainer.images.registry import credentials, hosts
from minicontainer.images.registry.auth import Authorization, Denied
from minicontainer.images.registry.manifests import INDEXES, MANIFESTS, MOST_BYTES, Document
from minicontainer.images.registry.transport import Transport, Unreachable, absolute, origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    from urllib3 import BaseHTTPResponse

    from minicontainer.images.registry.credentials import Login
    from minicontainer.images.registry.hosts import Address
    from minicontainer.images.registry.transport import Body

    _T = TypeVar("_T")

_ACCEPT = ", ".join([*MANIFESTS, *INDEXES])
_MOST_PAGES = 1000  # of a list of tags


class Refused(Error):
    """A request that the registry will not carry out; ``status`` is what HTTP calls the reason."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def candidates(
    registry: str,
    path: str = "",
    actions: str = "pull",
    *,
    login: Login | None = None,
    also: Iterable[str] = (),
) -> list[Repository]:
    """The places where a repository may be, the best first; none has been asked yet.

    :param path: the repository below the registry, ``library/alpine``; "" to see only whether a login is good
    :param actions: what is to be done with it: ``pull`` or ``pull,push``
    :param login: who we are, instead of what ``minicontainer login`` has kept
    :param also: repositories that blobs are to be mounted from
    """
    scopes = [f"repository:{path}:{actions}"] if path else []
    scopes += [f"repository:{other}:pull" for other in also if other != path]
    return [
        Repository(address, path, login or credentials.find(address.registry), scopes)
        for address in hosts.addresses(registry, writes="push" in actions)
    ]


def first_that_answers(
    repositories: Iterable[Repository], ask: Callable[[Repository], _T], *, ping: bool = True
) -> _T:
    """Ask one after the other until one answers; an error of a mirror is no answer.

    Raises Unreachable, naming each address and what was wrong with it, or the last one's error.
    """
    reasons: list[str] = []
    for repository in repositories:
        try:
            if ping:
                repository.ping()
            return ask(repository)
        except Unreachable as error:
            reasons.append(str(error))
        except Error as error:
            if not repository.address.is_mirror:
                raise
            reasons.append(f"the mirror {repository.host}: {error}")
    raise Unreachable("; ".join(dict.fromkeys(reasons)))


def connect(registry: str, path: str = "", actions: str = "pull", **how: Any) -> Repository:
    """The first of :func:`candidates` where a registry answers."""
    return first_that_answers(candidates(registry, path, actions, **how), lambda repository: repository)


class Repository:
    """A repository at one address; any number of threads may use it."""

    def __init__(self, address: Address, path: str, login: Login | None, scopes: list[str]) -> None:
        self.address = address
        self.url = address.url
        self.path = path
        self.host = urlsplit(self.url).netloc
        self._transport = Transport()
        self._authorization = Authorization(self._transport, self.url, login, scopes)

    def ping(self) -> None:
        """See that a registry answers here, and get what it wants to know for its other answers.

        A host that is not there is not waited for: whoever has mistyped a name should hear of it at once.
        """
        with self.request("GET", "/v2/", may=(200, 400, 401, 403, 404), patient=False) as response:
            if response.status in (400, 404):
                raise Unreachable(
                    f"{self.url} answers, and is no registry: HTTP status {response.status} for /v2/"
                )
            if response.status in (401, 403) and not self.path:
                raise Denied(f"{self.host} refuses the login: {_complaint(response)}")

    # ------------------------------------------------------------ requests

    def request(
        self,
        method: str,
        where: str,
        *,
        headers: dict[str, str] | None = None,
        body: Body | None = None,
        may: tuple[int, ...] = (200,),
        patient: bool = True,
    ) -> BaseHTTPResponse:
        """Make a request, with proof of who we are; ``where`` is a path or a URL.

        :param may: the HTTP statuses that the caller understands; of others an error is made
        :param patient: whether to try again when nobody answers
        :raises NotFound, Denied, Refused: with the registry's own words
        :raises Unreachable: when there is no answer
        """
        url = absolute(self.url, where)
        ours = origin(url) == origin(self.url)
        for attempt in range(2):
            proof = self._authorization.headers() if ours else {}
            response = self._transport.send(method, url, {**(headers or {}), **proof}, body, patient=patient)
            challenge = response.headers.get("WWW-Authenticate", "")
            asked = response.status == 401 and ours and not attempt
            if not (asked and self._authorization.answer(proof, challenge)):
                break
            response.close()
        if response.status not in may:
            with response:
                raise self._error(response, f"{method} {urlsplit(url).path}")
        return response

    def _error(self, response: BaseHTTPResponse, request: str) -> Error:
        said = _complaint(response)
        if response.status in (401, 403):
            return Denied(
                f"access denied for {self.host}/{self.path}, which does not exist there or may require "
                f"'minicontainer login': {said}"
            )
        if response.status == 404:
            return NotFound(f"{self.host} does not have it: {said}")
        return Refused(f"{self.host} answers {request} with {said}", response.status)

    def _blob(self, digest: str) -> str:
        return f"/v2/{self.path}/blobs/{digest}"

    # ------------------------------------------------------------ reading

    def manifest(self, reference: str, source: str) -> Document:
        """The manifest or index of a tag or a digest; ``source`` is what messages call it.

        IntegrityError when it is not what its digest says, in the request or in the answer.
        """
        response = self.request(
            "GET", f"/v2/{self.path}/manifests/{quote(reference)}", headers={"Accept": _ACCEPT}
        )
        with response:
            data = self._read(response, f"the manifest of {source}")
            document = Document(data, response.headers.get("Content-Type", ""), source)
        promised = reference if ":" in reference else response.headers.get("Docker-Content-Digest", "")
        if promised.startswith("sha256:") and promised != document.digest:
            raise IntegrityError(f"the manifest of {source} should be {promised}, and is {document.digest}")
        return document

    def _read(self, response: BaseHTTPResponse, what: str) -> bytes:
        import urllib3

        from minicontainer.images.registry.transport import reason

        data = b""
        try:
            while len(data) <= MOST_BYTES and (chunk := response.read(MOST_BYTES + 1 - len(data))):
                data += chunk
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(f"{self.host} broke off in the middle of {what}: {reason(error)}") from error
        if len(data) > MOST_BYTES:
            raise IntegrityError(f"{what} is larger than {MOST_BYTES >> 20} MiB; refused")
        return data

    def blob(self, digest: str, start: int = 0) -> BaseHTTPResponse:
        """A blob's bytes from ``start`` on (status 206), or all of it when the registry knows no better (200)."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        return self.request("GET", self._blob(digest), headers=headers, may=(200, 206))

    def tags(self) -> list[str]:
        """All tags, page by page."""
        found: list[str] = []
        where = f"/v2/{self.path}/tags/list"
        for _ in range(_MOST_PAGES):
            with self.request("GET", where) as response:
                answer = _object(self._read(response, "the list of tags"))
                following = response.headers.get("Link", "")
            found += [tag for tag in answer.get("tags") or () if isinstance(tag, str)]
            if not following.startswith("<") or 'rel="next"' not in following:
                return found
            where = absolute(absolute(self.url, where), following[1:].partition(">")[0])
            if origin(where) != origin(self.url):
                break
        raise Unreachable(f"{self.host} has no end to its list of tags of {self.path}")

    def get_json(self, where: str) -> dict[str, Any]:
        """The JSON object that a GET answers with; an empty one when it is none."""
        with self.request("GET", where, patient=False) as response:
            return _object(self._read(response, "the answer"))

    # ------------------------------------------------------------ writing

    def has_blob(self, digest: str) -> bool:
        """Whether the blob is there already."""
        with self.request("HEAD", self._blob(digest), may=(200, 404)) as response:
            return response.status == 200

    def mount(self, digest: str, neighbour: str) -> bool:
        """Have a blob that another repository of the registry has; False when it must be brought after all."""
        query = urlencode({"mount": digest, "from": neighbour})
        where = f"/v2/{self.path}/blobs/uploads/?{query}"
        with self.request("POST", where, body=b"", may=(201, 202, 401, 403, 404, 405)) as response:
            if response.status == 202:  # it began an upload instead, which is taken back
                self._cancel(response)
            return response.status == 201

    def _cancel(self, response: BaseHTTPResponse) -> None:
        where = response.headers.get("Location")
        if where:
            self.request("DELETE", where, may=tuple(range(200, 600)), patient=False).close()

    def upload(self, digest: str, file: Body, size: int) -> None:
        """Bring a blob: begin, send the bytes in one piece, say what they should come to."""
        with self.request("POST", f"/v2/{self.path}/blobs/uploads/", body=b"", may=(202,)) as response:
            where = self._location(response)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with self.request("PATCH", where, headers=headers, body=file, may=(202,), patient=False) as response:
            where = self._location(response)
        where += ("&" if "?" in where else "?") + urlencode({"digest": digest})
        self.request("PUT", where, body=b"", may=(201,), patient=False).close()

    def _location(self, response: BaseHTTPResponse) -> str:
        where = response.headers.get("Location", "")
        if not where:
            raise Refused(f"{self.host} begins an upload and does not say where")
        return absolute(self.url, where)

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        """Let a tag stand for a manifest, whose blobs are all there."""
        where = f"/v2/{self.path}/manifests/{quote(reference)}"
        self.request("PUT", where, headers={"Content-Type": media_type}, body=data, may=(200, 201)).close()


def _object(data: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _complaint(response: BaseHTTPResponse) -> str:
    """The registry's own words for what is wrong (distribution-spec, "Error Codes"), kept to one printable line."""
    errors = _object(response.read(1 << 16) or b"").get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    text = str(first.get("message") or first.get("code") or "").strip()
    printable = "".join(character if character.isprintable() else " " for character in text)[:200]
    return f"{printable} (HTTP status {response.status})" if printable else f"HTTP status {response.status}"
