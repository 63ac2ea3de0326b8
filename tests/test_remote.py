"""ADD of URLs, from a real server."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading

import pytest

from minicontainer.build import copying, remote
from minicontainer.build.copying import Copying
from minicontainer.errors import Error, IntegrityError, InvalidArgument, NotFound

CONTENT = b"of the server" * 100
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what a path is called."""

    asked: list[tuple[str, str | None]] = []

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Authorization")))
        path = self.path.partition("?")[0]
        if path == "/moved":
            self.answer(302, b"", Location="/file.txt")
        elif path == "/missing":
            self.answer(404, b"no such thing here", **{"Content-Type": "text/plain"})
        elif path == "/secret":
            self.answer(401, b"<html>", **{"Content-Type": "text/html"})
        elif path == "/cut":
            self.answer(200, CONTENT, **{"Content-Length": "100000"})
        elif path == "/named/":
            self.answer(200, CONTENT, **{"Content-Disposition": 'attachment; filename="../of server.txt"'})
        elif path == "/dated":
            self.answer(200, CONTENT, **{"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"})
        elif path == "/misdated":
            self.answer(200, CONTENT, **{"Last-Modified": "yesterday"})
        else:
            self.answer(200, CONTENT)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    """The address of the server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def copied(source, root, destination: str) -> str:
    """The path of the file that ADD makes of a download."""
    fd = os.open(root, os.O_PATH)
    with Copying([source], destination, name="ADD") as asked:
        copying.digest(asked)
        copying.run(asked, fd)
    os.close(fd)
    (found,) = [os.path.join(place, name) for place, _, names in os.walk(root) for name in names]
    return found


def test_a_download_is_for_its_owner_alone_and_has_the_servers_time(server, tmp_path):
    path = copied(remote.fetch(f"{server}/dated"), tmp_path, "/x/")
    status = os.stat(path)
    assert path == f"{tmp_path}/x/dated"
    assert (oct(status.st_mode), status.st_uid, status.st_mtime) == ("0o100600", 0, 1445412480)
    with open(path, "rb") as file:
        assert file.read() == CONTENT


@pytest.mark.parametrize("path", ["/file.txt", "/misdated"])
def test_without_a_time_it_is_the_beginning_of_time(server, path, tmp_path):
    assert os.stat(copied(remote.fetch(server + path), tmp_path, "/x")).st_mtime == 0


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/file.txt", "file.txt"),
        ("/a%20b", "a b"),
        ("/file.txt?x=/y#z", "file.txt"),
        ("/moved", "moved"),
        ("/named/", "of server.txt"),
        ("/a/%2e%2e%2fb", "b"),
    ],
)
def test_the_name_is_the_last_of_the_address_or_the_servers(server, path, name):
    source = remote.fetch(server + path)
    assert source.name == name
    source.close()


def test_a_name_is_needed_for_a_directory_only(server):
    with pytest.raises(InvalidArgument, match="cannot determine filename for source http"):
        remote.fetch(f"{server}/")
    source = remote.fetch(f"{server}/", name="download")
    assert source.name == "download"
    source.close()


def test_the_checksum_is_looked_at(server):
    remote.fetch(f"{server}/file.txt", DIGEST).close()
    wrong = "sha256:" + "0" * 64
    with pytest.raises(
        IntegrityError, match=f"file.txt is not the file that was meant: its digest is {DIGEST}"
    ):
        remote.fetch(f"{server}/file.txt", wrong)
    for text in ("md5:00", "sha256:00", "sha256:" + "g" * 64, "0" * 64):
        with pytest.raises(
            InvalidArgument, match=f"--checksum={text}: expected sha256: and 64 hexadecimal digits"
        ):
            remote.fetch(f"{server}/file.txt", text)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (
            "/missing",
            NotFound,
            r"failed to GET http://127.*/missing with status 404 Not Found: no such thing here$",
        ),
        ("/secret", NotFound, r"/secret with status 401 Unauthorized$"),
        ("/cut", Error, r"/cut broke off: .*; try again$"),
    ],
)
def test_an_error_names_the_address_and_what_the_server_says(server, path, error, message):
    with pytest.raises(error, match=message):
        remote.fetch(server + path)


def test_who_does_not_answer_is_named():
    with pytest.raises(Error, match=r"no-such-host\.invalid cannot be reached"):
        remote.fetch("http://no-such-host.invalid/x")
    with pytest.raises(InvalidArgument, match="is no address"):
        remote.fetch("http://")


def test_a_login_is_used_and_not_told(server):
    address = server.replace("//", "//user:pass@")
    remote.fetch(f"{address}/file.txt").close()
    assert Handler.asked[-1] == ("/file.txt", "Basic dXNlcjpwYXNz")
    with pytest.raises(NotFound) as raised:
        remote.fetch(f"{address}/missing")
    assert "pass" not in str(raised.value)


def test_nothing_stays_open_when_it_goes_wrong(server):
    remote.fetch(f"{server}/file.txt").close()  # whatever the library keeps
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/missing", "/cut"):
        with pytest.raises(Error):
            remote.fetch(server + path)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_digest_is_of_the_content(server):
    digests = []
    for path in ("/dated", "/dated", "/file.txt"):
        with Copying([remote.fetch(server + path)], "/x") as asked:
            digests.append(copying.digest(asked))
    assert digests[0] == digests[1] != digests[2]
    assert digests[0].startswith("file:")
