"""Registries for the tests: the real one of Debian, and one of our own that can be made to misbehave."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import json
import pathlib
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator

import pytest

PROGRAM = shutil.which("docker-registry")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def need_registry() -> str:
    """The program; skips the test when it is not installed."""
    if PROGRAM is None:
        pytest.skip("needs Debian's docker-registry")
    return PROGRAM


def free_port() -> int:
    """A port of the loopback interface that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def real(directory: pathlib.Path, **config: object) -> Iterator[str]:
    """Run docker-registry on loopback, with its files in ``directory``; yields its name, ``127.0.0.1:PORT``.

    What is in ``config`` is added to the configuration file; JSON is YAML too.
    """
    name = f"127.0.0.1:{free_port()}"
    document = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}},
        **config,
        "http": {"addr": name, "secret": "of the tests", **config.get("http", {})},
    }
    (directory / "config.yml").write_text(json.dumps(document))
    with (directory / "registry.log").open("wb") as log:
        server = subprocess.Popen(
            [need_registry(), "serve", directory / "config.yml"], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_for(name, server, directory / "registry.log")
        yield name
    finally:
        server.terminate()
        server.wait()


def wait_for(name: str, server: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    host, _, port = name.partition(":")
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"docker-registry does not listen: {log.read_text()}")


# ------------------------------------------------------------------ images


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def archive(**files: str | bytes) -> bytes:
    """A tar of these files; the same files always give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


# ------------------------------------------------------------------ a registry that does as it is told

Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers reads as the distribution specification says, unless something else was arranged."""

    protocol_version = "HTTP/1.1"
    server: Fake

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        for pattern, answers in self.server.arranged:
            if answers and re.search(pattern, f"{self.command} {self.path}"):
                answers.pop(0)(self)
                return
        self.usual()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def usual(self) -> None:
        """The answer that nobody could complain about."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        _, _, wanted = path.rpartition("/")
        if path == "/v2/":
            self.send(200, b"{}")
        elif "/manifests/" in path and wanted in self.server.manifests:
            data, media_type = self.server.manifests[wanted]
            self.send(200, data, **{"Content-Type": media_type, "Docker-Content-Digest": digest_of(data)})
        elif "/blobs/" in path and wanted in self.server.blobs:
            self.blob(self.server.blobs[wanted])
        else:
            self.send(404, b'{"errors": [{"code": "UNKNOWN", "message": "no such thing"}]}')

    def blob(self, data: bytes) -> None:
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start and self.server.knows_ranges:
            first = int(start[1])
            self.send(206, data[first:], **{"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"})
        else:
            self.send(200, data)

    def send(self, status: int, data: bytes = b"", **headers: str) -> None:
        """Answer, with the length that it has unless the headers say another."""
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def cut(self, count: int) -> None:
        """Promise what the usual answer has, send ``count`` bytes of it, and hang up."""
        digest = self.path.rpartition("/")[2]
        data = self.server.blobs[digest]
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(start[1]) if start and self.server.knows_ranges else 0
        headers = {"Content-Length": str(len(data) - first)}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self.send_response(206 if first else 200)
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data[first : first + count])
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Fake(http.server.ThreadingHTTPServer):
    """The registry of one image; ``name`` is where it is, ``seen`` what it was asked.

    ``arrange(pattern, answer, ...)``: the next requests whose "METHOD /path" has the pattern get these answers.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name = f"127.0.0.1:{self.server_address[1]}"
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.arranged: list[tuple[str, list[Answer]]] = []
        self.knows_ranges = True

    def handle_error(self, *_: object) -> None:
        pass  # a client that hangs up is what some tests are about

    def arrange(self, pattern: str, *answers: Answer) -> None:
        self.arranged.append((pattern, list(answers)))

    def asked(self, pattern: str) -> list[tuple[str, str, dict[str, str]]]:
        """The requests so far whose "METHOD /path" has the pattern."""
        return [request for request in self.seen if re.search(pattern, f"{request[0]} {request[1]}")]

    def put_blob(self, data: bytes) -> dict[str, object]:
        self.blobs[digest_of(data)] = data
        return {"digest": digest_of(data), "size": len(data)}

    def put_manifest(
        self, content: dict[str, object] | bytes, *names: str, media_type: str = MANIFEST
    ) -> str:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        for name in (*names, digest_of(data)):
            self.manifests[name] = (data, media_type)
        return digest_of(data)

    def put_image(self, *layers: bytes, tag: str = "latest", **config: object) -> dict[str, object]:
        """An image of these tars, packed; returns its manifest, which has been put under the tag."""
        packed = [gzip.compress(layer, mtime=0) for layer in layers]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
            **config,
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **self.put_blob(json.dumps(document).encode())},
            "layers": [{"mediaType": f"{LAYER}+gzip", **self.put_blob(data)} for data in packed],
        }
        self.put_manifest(manifest, tag)
        return manifest


@contextlib.contextmanager
def fake() -> Iterator[Fake]:
    """A registry that does as it is told, on loopback."""
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
