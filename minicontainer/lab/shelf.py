"""A registry to look into: it speaks the distribution protocol, keeps all in memory, and tells what it was asked.

It listens on this host alone, and trusts everybody, as nobody else should. Real ones (Docker Hub, GitHub's, the
program docker-registry) have disks, accounts and much more to say about errors, and no other protocol.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import socketserver
import threading
from urllib.parse import parse_qsl, unquote, urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_open: list[Registry] = []


def registry() -> Registry:
    """Open a registry for this chapter; ``lab.clean_up()`` closes it."""
    opened = Registry()
    _open.append(opened)
    return opened


def close_all() -> list[str]:
    """Close what :func:`registry` has opened; says what it was."""
    closed = [f"registry {each.name}" for each in _open]
    while _open:
        _open.pop().close()
    return closed


class Registry:
    """A registry on a port of this host; ``name`` is what stands before the repository in an image's name.

    :ivar blobs: the bytes of each blob, by its digest
    :ivar repositories: for each repository, the digests of the blobs that it has
    :ivar manifests: for each repository, (media type, bytes) by tag and by digest
    :ivar log: what it was asked, and what it answered: (method, path, HTTP status)
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.repositories: dict[str, set[str]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.uploads: list[bytes] = []
        self.log: list[tuple[str, str, int]] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.registry = self
        self.port: int = self._server.server_address[1]
        self.name = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def requests(self) -> list[tuple[str, str, int]]:
        """What it was asked since this was called last; digests are shortened to be read."""
        found = [
            (method, re.sub(r"(sha256:\w{12})\w+", r"\1", unquote(path)), status)
            for method, path, status in self.log
        ]
        self.log.clear()
        return found

    def keep(self, repository: str, data: bytes) -> dict[str, Any]:
        """Put a blob on the shelf; returns the digest and the size, as a descriptor has them."""
        self.blobs[digest_of(data)] = data
        self.repositories.setdefault(repository, set()).add(digest_of(data))
        return {"digest": digest_of(data), "size": len(data)}

    def has(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob; that another one has it does not count."""
        return digest in self.repositories.get(repository, ())

    def tamper(self, digest: str) -> None:
        """Change a byte of a blob, and keep its name: what a broken disk does, or a thief."""
        data = bytearray(self.blobs[digest])
        data[len(data) // 2] ^= 1
        self.blobs[digest] = bytes(data)

    def close(self) -> None:
        """Stop to listen."""
        self._server.shutdown()
        self._server.server_close()

    def __repr__(self) -> str:
        return f"<a registry at {self.name}: {len(self.manifests)} repositories, {len(self.blobs)} blobs>"


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    registry: Registry

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection. Each path is matched with the table at the end, as the specification has it."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Nothing goes to standard error."""

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        """Send an answer, and write it down."""
        self.server.registry.log.append((self.command, self.path, status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        """Send an error, in the form that clients read."""
        self.answer(
            status,
            json.dumps({"errors": [{"code": code, "message": code.replace("_", " ").lower()}]}).encode(),
        )

    def handle_any(self) -> None:
        """Find what the path means, and do it."""
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query))
        for methods, pattern, action in _ROUTES:
            if self.command in methods and (found := re.fullmatch(pattern, parts.path)):
                action(self, *found.groups())
                return
        self.refuse(404, "UNSUPPORTED")

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815

    # ------------------------------------------------------------ reading

    def base(self) -> None:
        """Yes, this is a registry."""
        self.answer(200, b"{}")

    def tags(self, name: str) -> None:
        """Which tags a repository has."""
        known = self.server.registry.manifests.get(name, {})
        tags = sorted(tag for tag in known if ":" not in tag)
        self.answer(200, json.dumps({"name": name, "tags": tags}).encode())

    def manifest(self, name: str, reference: str) -> None:
        """A manifest, as its bytes are."""
        known = self.server.registry.manifests.get(name, {})
        if reference not in known:
            self.refuse(404, "MANIFEST_UNKNOWN")
            return
        media_type, data = known[reference]
        self.answer(200, data, Content_Type=media_type, Docker_Content_Digest=digest_of(data))

    def blob(self, name: str, digest: str) -> None:
        """A blob, or its end."""
        if not self.server.registry.has(name, digest):
            self.refuse(404, "BLOB_UNKNOWN")
            return
        data = self.server.registry.blobs[digest]
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start is None:
            self.answer(200, data)
        else:
            first = int(start[1])
            self.answer(206, data[first:], Content_Range=f"bytes {first}-{len(data) - 1}/{len(data)}")

    # ------------------------------------------------------------ writing

    def begin(self, name: str) -> None:
        """Say where a blob may be sent; or that it need not be, for another repository has it."""
        registry, digest = self.server.registry, self.query.get("mount", "")
        if registry.has(self.query.get("from", ""), digest):
            registry.keep(name, registry.blobs[digest])
            self.answer(201, Location=f"/v2/{name}/blobs/{digest}")
            return
        registry.uploads.append(b"")
        self.answer(202, Location=f"/v2/{name}/blobs/uploads/{len(registry.uploads)}")

    def send_part(self, name: str, number: str) -> None:
        """Take some of a blob."""
        self.server.registry.uploads[int(number) - 1] += self.body
        self.answer(202, Location=f"/v2/{name}/blobs/uploads/{number}")

    def complete(self, name: str, number: str) -> None:
        """Take the last of a blob; it must have come to what its digest says."""
        data = self.server.registry.uploads[int(number) - 1] + self.body
        if digest_of(data) != self.query.get("digest"):
            self.refuse(400, "DIGEST_INVALID")
            return
        self.server.registry.keep(name, data)
        self.answer(201, Location=f"/v2/{name}/blobs/{digest_of(data)}")

    def put_manifest(self, name: str, reference: str) -> None:
        """Let a tag stand for a manifest, if all is here that it names."""
        registry = self.server.registry
        known = registry.manifests.setdefault(name, {})
        content = json.loads(self.body)
        needed = [each["digest"] for each in [content.get("config"), *content.get("layers", ())] if each]
        if not all(registry.has(name, digest) for digest in needed):
            self.refuse(400, "MANIFEST_BLOB_UNKNOWN")
            return
        media_type = self.headers.get("Content-Type", "")
        known[reference] = known[digest_of(self.body)] = (media_type, self.body)
        self.answer(
            201, Location=f"/v2/{name}/manifests/{reference}", Docker_Content_Digest=digest_of(self.body)
        )


def digest_of(data: bytes) -> str:
    """What a registry calls these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


_NAME = "([a-z0-9/_.-]+)"
_ROUTES: tuple[tuple[tuple[str, ...], str, Callable[..., None]], ...] = (
    (("GET",), "/v2/", _Handler.base),
    (("GET",), f"/v2/{_NAME}/tags/list", _Handler.tags),
    (("GET", "HEAD"), f"/v2/{_NAME}/manifests/([^/]+)", _Handler.manifest),
    (("GET", "HEAD"), f"/v2/{_NAME}/blobs/(sha256:[0-9a-f]+)", _Handler.blob),
    (("POST",), f"/v2/{_NAME}/blobs/uploads/", _Handler.begin),
    (("PATCH",), f"/v2/{_NAME}/blobs/uploads/([0-9]+)", _Handler.send_part),
    (("PUT",), f"/v2/{_NAME}/blobs/uploads/([0-9]+)", _Handler.complete),
    (("PUT",), f"/v2/{_NAME}/manifests/([^/]+)", _Handler.put_manifest),
)
