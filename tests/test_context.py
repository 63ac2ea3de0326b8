"""The build context: a directory, a stream, a URL; with a Dockerfile in it, beside it, or alone."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import http.server
import io
import json
import lzma
import os
import pathlib
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator

import pytest
import zstandard
from conftest import PROJECT

from minicontainer.build.context import Context, open_context
from minicontainer.errors import Error, InvalidArgument, NotFound

FROM = b"FROM scratch\nCOPY . /\n"


def names(context: Context) -> list[str]:
    return [name for name, _ in context.tree.walk("") if name]


def tar(files: dict[str, bytes], **how: object) -> bytes:
    """An archive; of content that is a TarInfo, that entry."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **how) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def directory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A context in ``web``; the working directory is the one above it, and has room for temporary files."""
    (tmp_path / "web" / "sub").mkdir(parents=True)
    (tmp_path / "web/Dockerfile").write_bytes(FROM)
    (tmp_path / "web/a").write_text("12345")
    (tmp_path / "web/sub/b").write_text("67")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(*words: object, kind: type[Error] = InvalidArgument) -> str:
    """What is said of a context that is none; and that nothing is left of it."""
    with pytest.raises(kind) as caught:
        open_context(*words)
    assert os.listdir(os.environ["TMPDIR"]) == []
    return str(caught.value)


# ------------------------------------------------------------------ a directory


@pytest.mark.parametrize("what", ["web", "./web/", "link", "web/sub/.."])
def test_a_directory(directory: pathlib.Path, what: str) -> None:
    (directory / "link").symlink_to("web")
    with open_context(what) as context:
        assert context.dockerfile == FROM
        assert context.dockerfile_name == "Dockerfile"
        assert names(context) == ["Dockerfile", "a", "sub", "sub/b"]
        assert context.size == len(FROM) + 5 + 2
    assert os.listdir(directory / "temporary") == []
    context.close()


def test_the_working_directory(directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("web")
    with open_context(".") as context:
        os.chdir("/")
        assert context.tree.match("a") == ["a"]


def test_an_empty_directory_with_a_dockerfile_elsewhere(directory: pathlib.Path) -> None:
    (directory / "empty").mkdir()
    with open_context("empty", "web/Dockerfile") as context:
        assert (names(context), context.size, context.dockerfile) == ([], 0, FROM)
        assert context.dockerfile_name == "web/Dockerfile"


def test_lower_case(directory: pathlib.Path) -> None:
    os.rename("web/Dockerfile", "web/dockerfile")
    with open_context("web") as context:
        assert context.dockerfile == FROM
    pathlib.Path("web/Dockerfile").write_bytes(FROM * 2)
    with open_context("web") as context:
        assert context.dockerfile == FROM * 2


@pytest.mark.parametrize("file", ["web/other", "other", "/{}/other", "web/sub/../other", "link"])
def test_a_dockerfile_of_another_name(directory: pathlib.Path, file: str) -> None:
    """It is relative to the working directory, not to the context."""
    path = file.format(str(directory)[1:])
    (directory / "link").symlink_to("web/a")
    pathlib.Path(path).write_bytes(b"FROM x\n")
    with open_context("web", path) as context:
        assert (context.dockerfile, context.dockerfile_name) == (b"FROM x\n", path)


def test_a_dockerfile_from_standard_input(directory: pathlib.Path) -> None:
    with open_context("web", "-", io.BytesIO(b"FROM y\n")) as context:
        assert (context.dockerfile, context.dockerfile_name) == (b"FROM y\n", "<stdin>")
        assert "a" in names(context)
    assert "standard input) cannot be empty" in refusal("web", "-", io.BytesIO())
    assert "standard input is closed" in refusal("web", "-")


def test_a_dockerfile_that_a_shell_writes(directory: pathlib.Path) -> None:
    """``-f <(generate)``"""
    reading, writing = os.pipe()
    os.write(writing, b"FROM z\n")
    os.close(writing)
    with open_context("web", f"/dev/fd/{reading}") as context:
        assert context.dockerfile == b"FROM z\n"
    os.close(reading)


def test_a_symlinked_dockerfile_may_lead_anywhere(directory: pathlib.Path) -> None:
    """It is the user's own; only what COPY takes stays in the context."""
    (directory / "common.dockerfile").write_bytes(b"FROM shared\n")
    os.unlink("web/Dockerfile")
    os.symlink("../common.dockerfile", "web/Dockerfile")
    with open_context("web") as context:
        assert context.dockerfile == b"FROM shared\n"
        with pytest.raises(NotFound, match="a symlink that leads to nothing"):
            context.tree.match("Dockerfile")


def test_what_is_no_context(directory: pathlib.Path) -> None:
    assert refusal("nope", kind=NotFound).startswith(
        'unable to prepare context: path "nope" not found; a context is a directory'
    )
    assert 'path "" not found' in refusal("", kind=NotFound)
    assert f"context must be a directory: {directory}/web/a; " in refusal("web/a")
    for url in ("git://host/x.git", "git@host:x", "https://host/x.git#main", "github.com/x/y"):
        assert "is a git repository; clone it" in refusal(url)
    assert 'path "ftp://host/x" not found' in refusal("ftp://host/x", kind=NotFound)


def test_what_is_no_dockerfile(directory: pathlib.Path) -> None:
    os.unlink("web/Dockerfile")
    assert refusal("web", kind=NotFound).endswith(
        "no such Dockerfile: web/Dockerfile; -f names one that is elsewhere"
    )
    assert "no such Dockerfile: nope" in refusal("web", "nope", kind=NotFound)
    assert "relative to the current directory: web/a is there" in refusal("web", "a", kind=NotFound)
    os.symlink("gone", "web/Dockerfile")
    assert "it is a symlink, to gone" in refusal("web", kind=NotFound)
    os.unlink("web/Dockerfile")
    os.symlink("Dockerfile", "web/Dockerfile")
    assert "cannot read the Dockerfile web/Dockerfile: Too many levels of symbolic links" in refusal("web")
    os.unlink("web/Dockerfile")
    os.mkdir("web/Dockerfile")
    assert "the Dockerfile web/Dockerfile is a directory" in refusal("web")
    assert "the Dockerfile web/sub is a directory" in refusal("web", "web/sub")
    os.rmdir("web/Dockerfile")
    pathlib.Path("web/Dockerfile").touch()
    assert "the Dockerfile (web/Dockerfile) cannot be empty" in refusal("web")
    assert "/dev/zero has more than 16 MiB" in refusal("web", "/dev/zero")
    assert "cannot read the Dockerfile web/a/Dockerfile: Not a directory" in refusal(
        "web", "web/a/Dockerfile"
    )


# ------------------------------------------------------------------ .dockerignore


def test_the_dockerfile_and_the_ignore_file_can_be_excluded(directory: pathlib.Path) -> None:
    pathlib.Path("web/.dockerignore").write_text("*\n!sub")
    with open_context("web") as context:
        assert (context.dockerfile, names(context), context.size) == (FROM, ["sub", "sub/b"], 2)
        with pytest.raises(NotFound, match=r"Dockerfile: \.dockerignore excludes it"):
            context.tree.match("Dockerfile")


def test_the_ignore_file_of_a_dockerfile_comes_first(directory: pathlib.Path) -> None:
    pathlib.Path("web/.dockerignore").write_text("a")
    pathlib.Path("web/other").write_bytes(FROM)
    pathlib.Path("web/other.dockerignore").write_text("sub")
    pathlib.Path("elsewhere").write_bytes(FROM)
    with open_context("web", "web/other") as context:
        assert names(context) == [".dockerignore", "Dockerfile", "a", "other", "other.dockerignore"]
    for file in ("", "elsewhere"):
        with open_context("web", file) as context:
            assert "a" not in names(context)
            assert "sub/b" in names(context)
    with open_context("web", "-", io.BytesIO(FROM)) as context:
        assert "a" not in names(context)
    pathlib.Path("elsewhere.dockerignore").write_text("[")
    assert refusal("web", "elsewhere").startswith("elsewhere.dockerignore:1: syntax error in pattern '['")


def test_ignore_files_that_are_none(directory: pathlib.Path) -> None:
    os.symlink("/nowhere", "web/.dockerignore")
    with open_context("web") as context:
        assert names(context) == [".dockerignore", "Dockerfile", "a", "sub", "sub/b"]
    os.unlink("web/.dockerignore")
    os.mkdir("web/.dockerignore")
    assert "cannot read web/.dockerignore: Is a directory" in refusal("web")
    os.rmdir("web/.dockerignore")
    pathlib.Path("rules").write_text("a")
    os.symlink("../rules", "web/.dockerignore")
    with open_context("web") as context:
        assert names(context) == [".dockerignore", "Dockerfile", "sub", "sub/b"]


# ------------------------------------------------------------------ standard input


def test_a_dockerfile_alone(directory: pathlib.Path) -> None:
    for file in ("", "ignored"):
        with open_context("-", file, io.BytesIO(FROM)) as context:
            assert (context.dockerfile, context.dockerfile_name) == (FROM, "<stdin>")
            assert names(context) == ["Dockerfile"]
        assert os.listdir("temporary") == []
    long = b"FROM scratch\n" + b"# a comment\n" * 5000
    with open_context("-", "", io.BytesIO(long)) as context:
        assert context.dockerfile == long


PACK = {
    "as it is": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("packing", PACK)
def test_an_archive(directory: pathlib.Path, packing: str) -> None:
    data = PACK[packing](tar({"./Dockerfile": FROM, "./x/y": b"1", "z": b"22"}))
    with open_context("-", "", io.BytesIO(data)) as context:
        assert (context.dockerfile, context.dockerfile_name) == (FROM, "Dockerfile")
        assert names(context) == ["Dockerfile", "x", "x/y", "z"]
        assert context.size == len(FROM) + 3
        assert oct(next(context.tree.walk(""))[1].st_mode) == "0o40755"
        (made,) = (directory / "temporary").iterdir()
        assert oct(made.stat().st_mode) == "0o40700"
    assert os.listdir("temporary") == []


def test_archives_of_all_kinds_are_seen_to_be_some(directory: pathlib.Path) -> None:
    long = "n" * 150
    for how in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        name = long if how != tarfile.USTAR_FORMAT else "x"
        with open_context("-", "", io.BytesIO(tar({name: b"1", "Dockerfile": FROM}, format=how))) as context:
            assert names(context) == ["Dockerfile", name]
    v7 = subprocess.run(
        ["tar", "--format=v7", "-C", "web", "-c", "."], capture_output=True, check=True
    ).stdout
    with open_context("-", "", io.BytesIO(v7)) as context:
        assert names(context) == ["Dockerfile", "a", "sub", "sub/b"]


def test_a_dockerfile_in_an_archive(directory: pathlib.Path) -> None:
    def opened(files: dict[str, bytes], file: str = "") -> tuple[bytes, str]:
        with open_context("-", file, io.BytesIO(tar(files))) as context:
            return context.dockerfile, context.dockerfile_name

    assert opened({"dockerfile": FROM}) == (FROM, "dockerfile")
    assert opened({"dockerfile": b"1", "Dockerfile": FROM}) == (FROM, "Dockerfile")
    assert opened({"x/D": FROM}, "x/D") == (FROM, "x/D")
    assert opened({"x/D": FROM}, "./x/D") == (FROM, "./x/D")
    assert opened({"x/D": FROM}, "/x/D") == (FROM, "/x/D")
    stream = io.BytesIO(tar({"a": b"1"}))
    assert "cannot locate the Dockerfile Dockerfile in the archive" in refusal("-", "", stream, kind=NotFound)
    stream = io.BytesIO(tar({"Dockerfile": b"1"}))
    assert "cannot locate the Dockerfile no in the archive" in refusal("-", "no", stream, kind=NotFound)
    assert "the Dockerfile (Dockerfile) cannot be empty" in refusal(
        "-", "", io.BytesIO(tar({"Dockerfile": b""}))
    )
    assert "is no regular file" in refusal("-", "x", io.BytesIO(tar({"x/Dockerfile": b""})))
    assert "cannot locate" in refusal("-", "", io.BytesIO(bytes(10240)), kind=NotFound)


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        (b"a\n*.log", [".dockerignore", "Dockerfile", "a", "x.log"]),
        (b"*", ["a", "x.log"]),
        (b"Dockerfile", [".dockerignore", "a", "x.log"]),
        (b"", [".dockerignore", "Dockerfile", "a", "x.log"]),
    ],
)
def test_the_ignore_file_of_an_archive(
    directory: pathlib.Path, rules: bytes, left: list[str], docker, monkeypatch
) -> None:
    """Docker heeds it for two files alone, as it is the client who packs a directory that leaves out the rest."""
    data = tar({"Dockerfile": FROM, "a": b"1", "x.log": b"2", ".dockerignore": rules})
    with open_context("-", "", io.BytesIO(data)) as context:
        assert names(context) == left
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    pathlib.Path("archive.tar").write_bytes(data)
    with open("archive.tar", "rb") as stream:
        argv = ["docker", "build", "-q", "-"]
        built = subprocess.run(argv, stdin=stream, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert docker("save", "-o", "image.tar", built.stdout.strip()).returncode == 0
    docker("rmi", built.stdout.strip())
    with tarfile.open("image.tar") as image:
        (layer,) = json.load(image.extractfile("manifest.json"))[0]["Layers"]
        with tarfile.open(fileobj=image.extractfile(layer)) as files:
            assert sorted(files.getnames()) == left


def test_an_archive_and_a_dockerfile_cannot_both_come_from_standard_input(directory: pathlib.Path) -> None:
    assert refusal("-", "-", io.BytesIO(FROM)) == (
        "invalid argument: can't use stdin for both build context and dockerfile"
    )
    assert "standard input is closed" in refusal("-")
    assert "(standard input) cannot be empty" in refusal("-", "", io.BytesIO())


def hostile() -> Iterator[tuple[str, bytes, str]]:
    good = tar({"Dockerfile": FROM, "x": b"1" * 5000})
    yield "cut off", good[:2500], "it ends within a file"
    yield "cut off in a header", good[:1200], "it ends"
    yield "cut off when packed", gzip.compress(good, mtime=0)[:-20], "damaged"
    for name in ("bzip2", "xz", "zstd"):
        yield f"cut off {name}", PACK[name](os.urandom(3000))[:2000], "damaged"
    yield "something else packed", gzip.compress(b"FROM scratch\n" * 100), "not a tar archive"
    yield "magic and no more", b"\x1f\x8b", "damaged"
    yield "damaged", bytes(a ^ (5 * (i == 600)) for i, a in enumerate(gzip.compress(os.urandom(2000)))), ""
    yield "a header changed", good[:1024] + b"Y" + good[1025:], "wrong checksum"
    yield "above", tar({"Dockerfile": FROM, "../x": b"1"}), "'../x' has a '..' in it"
    yield "absolute", tar({"Dockerfile": FROM, "/tmp/x": b"1"}), "'/tmp/x' is an absolute path"
    for kind, word in ((tarfile.SYMTYPE, "leads through a symlink"), (tarfile.LNKTYPE, "refused")):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            link = tarfile.TarInfo("etc")
            link.type, link.linkname = kind, "/etc"
            archive.addfile(link)
            archive.addfile(tarfile.TarInfo("etc/minicontainer-was-here"))
        yield f"through a link {kind!r}", buffer.getvalue(), word


@pytest.mark.parametrize(("data", "message"), [pytest.param(*rest, id=name) for name, *rest in hostile()])
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    directory: pathlib.Path, data: bytes, message: str
) -> None:
    said = refusal("-", "", io.BytesIO(data))
    assert said.startswith("unable to prepare context: standard input: ")
    assert message in said
    assert not os.path.exists("/etc/minicontainer-was-here")


def test_a_dockerfile_of_an_archive_that_leads_out(directory: pathlib.Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, target in (("Dockerfile", "/etc/passwd"), (".dockerignore", "../../../../etc/passwd")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    assert "cannot locate the Dockerfile" in refusal("-", "", io.BytesIO(buffer.getvalue()), kind=NotFound)


def test_fifos_and_devices_of_an_archive_are_no_dockerfile(directory: pathlib.Path) -> None:
    for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo("Dockerfile")
            entry.type, entry.devmajor, entry.devminor = kind, 1, 5
            archive.addfile(entry)
        assert "is no regular file" in refusal("-", "", io.BytesIO(buffer.getvalue()))


SMALL_MEMORY = """
import sys
from minicontainer.build.context import open_context
with open_context("-", "", sys.stdin.buffer) as context:
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(context.size, peak.split()[1])
"""


@pytest.mark.parametrize("packing", ["", "gzip"])
def test_a_large_archive_takes_little_memory(directory: pathlib.Path, packing: str) -> None:
    """50 MiB come through a pipe; the process stays below 40."""
    os.truncate("web/a", 0)
    with open("web/a", "wb") as file:
        block = os.urandom(1 << 20)
        for _ in range(50):
            file.write(block)
    flags = ["-z"] if packing else []
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(["tar", *flags, "-C", "web", "-c", "."], stdout=subprocess.PIPE) as packer:
        done = subprocess.run(
            [sys.executable, "-c", SMALL_MEMORY],
            stdin=packer.stdout,
            env=environment,
            capture_output=True,
            check=True,
        )
    assert packer.returncode == 0
    size, peak = map(int, done.stdout.split())
    assert size == (50 << 20) + len(FROM) + 2
    assert peak < 40 << 10
    assert os.listdir("temporary") == []


def test_a_pipe_that_gives_little_at_a_time(directory: pathlib.Path) -> None:
    class Slow(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.inner = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return self.inner.read(min(size, 7) if size > 0 else 7)

    for data in (tar({"Dockerfile": FROM}), gzip.compress(tar({"Dockerfile": FROM})), FROM):
        with open_context("-", "", Slow(data)) as context:
            assert context.dockerfile == FROM


def test_a_full_disk_is_named_and_nothing_is_left(directory: pathlib.Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", "temporary"], check=True)
    try:
        with pytest.raises(OSError, match="No space left on device"):
            open_context("-", "", io.BytesIO(tar({"Dockerfile": FROM, "big": bytes([1]) * (3 << 20)})))
        assert os.listdir("temporary") == []
    finally:
        subprocess.run(["umount", "temporary"], check=True)


def test_where_an_archive_is_unpacked_can_be_said(directory: pathlib.Path) -> None:
    (directory / "elsewhere").mkdir()
    with open_context("-", "", io.BytesIO(tar({"Dockerfile": FROM})), directory="elsewhere"):
        assert len(os.listdir("elsewhere")) == 1
        assert os.listdir("temporary") == []
    assert os.listdir("elsewhere") == []


# ------------------------------------------------------------------ a URL


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[str]:
    """A web server with these files; ``cut`` promises more than it sends, ``moved`` sends elsewhere."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path[1:]
            if name == "moved":
                self.send_response(302)
                self.send_header("Location", "/Dockerfile")
                self.end_headers()
                return
            data = files.get(name.removeprefix("cut-"))
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Length", str(len(data or b"") + 1000 * name.startswith("cut-")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_urls(directory: pathlib.Path) -> None:
    archive = tar({"Dockerfile": FROM, "a": b"1", "x/D": b"FROM x\n"})
    files = {"Dockerfile": FROM, "c.tar": archive, "c.tar.gz": gzip.compress(archive)}
    with serving(files) as url:
        for name in ("Dockerfile", "moved"):
            with open_context(f"{url}/{name}") as context:
                assert (context.dockerfile, context.dockerfile_name) == (FROM, f"{url}/{name}")
                assert names(context) == ["Dockerfile"]
        for name in ("c.tar", "c.tar.gz"):
            with open_context(f"{url}/{name}") as context:
                assert (context.dockerfile, names(context)) == (FROM, ["Dockerfile", "a", "x", "x/D"])
            with open_context(f"{url}/{name}", "x/D") as context:
                assert context.dockerfile == b"FROM x\n"
            with open_context(f"{url}/{name}", "-", io.BytesIO(b"FROM me\n")) as context:
                assert (context.dockerfile, context.dockerfile_name) == (b"FROM me\n", "<stdin>")
        assert "is no archive" in refusal(f"{url}/Dockerfile", "-", io.BytesIO(FROM))
        said = refusal(f"{url}/nope", kind=NotFound)
        assert f"unable to download remote context {url}/nope: the server answers 404 Not Found" in said
        assert "breaks off" in refusal(f"{url}/cut-Dockerfile")
        files["half.tar"] = archive[:1500]
        assert "breaks off" in refusal(f"{url}/cut-half.tar")
    said = refusal(f"{url}/gone", kind=Error)
    assert said.startswith(f"unable to prepare context: unable to download remote context {url}/gone: ")
    assert said.endswith("connection refused")


def test_a_process_keeps_no_descriptors(directory: pathlib.Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        open_context("web").close()
        open_context("-", "", io.BytesIO(tar({"Dockerfile": FROM}))).close()
        refusal("-", "", io.BytesIO(tar({"a": b""})), kind=NotFound)
        refusal("-", "", io.BytesIO(tar({"Dockerfile": FROM, ".dockerignore": b"["})))
    assert len(os.listdir("/proc/self/fd")) == before
