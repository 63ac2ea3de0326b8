"""Build a case by minicontainer and by its reference, and say in what the two images differ.

Both images are saved as Docker's archives, and their layers are put on each other here, by no code of ours: the
same reader judges both.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import pathlib
import re
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from build_cases import TIME, Case, archive_of
from conftest import DOCKER, Cli

CONFIG = (
    *("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "ExposedPorts", "Volumes", "Labels", "StopSignal"),
    *("Healthcheck", "Shell", "OnBuild"),
)
KINDS = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symlink", tarfile.FIFOTYPE: "fifo"}


class Node:
    """A file of a tree: all that is compared of it. Names that are hard links share one."""

    def __init__(self, header: tarfile.TarInfo, data: bytes) -> None:
        self.kind = KINDS.get(header.type, "file" if header.isreg() else "device")
        self.mode, self.owner = f"{header.mode & 0o7777:o}", f"{header.uid}:{header.gid}"
        self.content = (
            header.linkname or hashlib.sha256(data).hexdigest()[:16] if self.kind != "directory" else ""
        )
        if self.kind == "device":
            self.content = f"{header.type!r} {header.devmajor}:{header.devminor}"
        self.time = "kept" if abs(int(header.mtime) - TIME) < 1_000_000 else "new"
        prefix = "SCHILY.xattr."
        pax = header.pax_headers.items()
        self.xattrs = {key.removeprefix(prefix): value for key, value in pax if key.startswith(prefix)}

    def said(self, names: list[str]) -> str:
        """All of it in a line; ``names`` are those that it has."""
        words = [self.kind, self.mode, self.owner, self.content, self.time]
        words += [f"{key}={value!r}" for key, value in sorted(self.xattrs.items())]
        return " ".join(words) + (f" links {sorted(names)}" if len(names) > 1 else "")


Tree = dict[str, Node]
LOWEST: dict[str, tuple[Tree, list[str]]] = {}  # lowest layers that have been read: nearly always the same


def put_layer(tree: Tree, layer: tarfile.TarFile) -> list[str]:
    """Put a layer on a tree; returns the names in it. Removals come first: they concern what lies below."""
    headers = [(header, header.name.strip("/").removeprefix("./")) for header in layer]
    for _, name in headers:
        directory, _, base = name.rpartition("/")
        gone = f"{directory}/{base[4:]}".lstrip("/") if base.startswith(".wh.") else None
        if base == ".wh..wh..opq":
            _remove_below(tree, directory)
        elif gone is not None:
            tree.pop(gone, None)
            _remove_below(tree, gone)
    for header, name in headers:
        if name in ("", ".") or name.rpartition("/")[2].startswith(".wh."):
            continue
        if not header.isdir():
            _remove_below(tree, name)
        if header.islnk():
            tree[name] = tree[header.linkname.strip("/").removeprefix("./")]
        else:
            file = layer.extractfile(header) if header.isreg() else None
            tree[name] = Node(header, file.read() if file else b"")
    return sorted(name for _, name in headers if name not in ("", "."))


def _remove_below(tree: Tree, directory: str) -> None:
    for name in [name for name in tree if name.startswith(directory + "/")]:
        del tree[name]


class Image:
    """What an archive of ``save`` holds: the tree as lines of text, the configuration, the history."""

    def __init__(self, path: pathlib.Path) -> None:
        with tarfile.open(path) as tar:

            def read(name: str) -> bytes:
                file = tar.extractfile(name)
                assert file
                return file.read()

            [manifest] = json.loads(read("manifest.json"))
            document = json.loads(read(manifest["Config"]))
            diff_ids = document["rootfs"]["diff_ids"] or []
            tree: Tree = {}
            self.names: list[list[str]] = []  #: in each layer
            for number, name in enumerate(manifest["Layers"] or []):
                if number == 0 and diff_ids[0] in LOWEST:
                    tree = dict(LOWEST[diff_ids[0]][0])
                    self.names.append(LOWEST[diff_ids[0]][1])
                    continue
                with tarfile.open(fileobj=tar.extractfile(name)) as layer:
                    self.names.append(put_layer(tree, layer))
                if number == 0:
                    LOWEST[diff_ids[0]] = dict(tree), self.names[0]
        self.tree = _lines(tree)
        self.config = {key: document["config"].get(key) for key in CONFIG}
        self.history = [
            (entry.get("created_by", ""), entry.get("empty_layer", False)) for entry in document["history"]
        ]
        self.layers = len(diff_ids)


def _lines(tree: Tree) -> dict[str, str]:
    names: dict[int, list[str]] = {}
    for name, node in tree.items():
        names.setdefault(id(node), []).append(name)
    return {name: node.said(names[id(node)]) for name, node in tree.items()}


class Built:
    """What came of a build: how it ended, what was said, and the image if there is one."""

    def __init__(self, done: subprocess.CompletedProcess[str], image: Image | None) -> None:
        self.ok = done.returncode == 0
        self.said = done.stdout + done.stderr
        self.image = image


def stdin_of(case: Case, context: pathlib.Path) -> bytes | None:
    """What the case wants on the build's standard input."""
    how = case.head.get("stdin")
    if how == "tar":
        return archive_of(context)
    return (context / "Dockerfile").read_bytes() if how else None


class Builder:
    """A command that builds, with ``-t NAME`` and a context, and one that saves."""

    def __init__(self, argv: list[str], base: str, environment: dict[str, str] | None = None) -> None:
        self.argv, self.base = argv, base
        self.env = {**os.environ, "DOCKER_BUILDKIT": "0", **(environment or {})}
        self.words = ["build"]
        self.made: list[str] = []  #: images, to be removed

    def run(self, *words: str, **how: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self.argv, *words], capture_output=True, env=self.env, timeout=120, check=False, **how
        )

    def build(self, case: Case, context: pathlib.Path) -> Built:
        """Build a case, and read the image."""
        name = f"{self.base}-of-{case.name}"
        given = stdin_of(case, context)
        place = "." if given is None else "-"
        how = {"input": given} if given is not None else {"stdin": subprocess.DEVNULL}
        done = self.run(*self.words, *case.options, "-t", name, place, cwd=context, **how)
        said = [stream.decode(errors="replace") for stream in (done.stdout, done.stderr)]
        self.made += [*re.findall("^ ---> ([0-9a-f]{12})$", said[0], re.M), name]
        image = None
        if done.returncode == 0:
            path = context.parent / "saved.tar"
            self.save(name, path)
            image = Image(path)
            path.unlink()
        return Built(subprocess.CompletedProcess(done.args, done.returncode, *said), image)

    def save(self, name: str, path: pathlib.Path) -> None:
        done = self.run("save", "-o", str(path), name)
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        """Remove what was built; what is nobody's but the cache's goes with it."""
        self.run("rmi", "-f", *dict.fromkeys(reversed(self.made)))


class Buildah(Builder):
    """buildah, with a storage of its own."""

    def __init__(self, place: pathlib.Path, base: str, archive: pathlib.Path) -> None:
        where = ["--root", str(place / "root"), "--runroot", str(place / "run"), "--storage-driver", "vfs"]
        super().__init__(["buildah", *where], base)
        self.words = ["build", "--isolation", "chroot", "--layers", "--pull-never", "--identity-label=false"]
        done = self.run("pull", "-q", f"docker-archive:{archive}")
        assert done.returncode == 0, done.stderr
        self.run("tag", done.stdout.decode().strip(), base)

    def save(self, name: str, path: pathlib.Path) -> None:
        done = self.run("push", "-q", name, f"docker-archive:{path}")
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        self.run("rmi", "-af")


def ours(cli: Cli, base: str) -> Builder:
    """minicontainer."""
    return Builder(cli.argv, base, {"PYTHONPATH": cli.env["PYTHONPATH"]})


def docker(base: str) -> Builder:
    """Docker's classic builder, which keeps the container of a step that fails unless told not to."""
    builder = Builder([DOCKER], base)
    builder.words += ["--force-rm"]
    return builder


@contextmanager
def served(directory: pathlib.Path) -> Iterator[str]:
    """The address of a server of these files."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    handler = functools.partial(Handler, directory=directory)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def masked(history: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Without digests of what was copied, which each builder computes in its own way.

    And with a blank between an owner and the digest, which Docker forgets: ``COPY --chown=1:2file:… in /``.
    """
    digest = re.compile("(--chown=[^ ]*?)? ?((?:file:|dir:|multi:)?)[0-9a-f]{64}")
    return [(digest.sub(r"\1 \2DIGEST", text), empty) for text, empty in history]


def differences(mine: Image, theirs: Image, case: Case) -> list[str]:
    """Each difference as a line; the history is compared when both were given the same Dockerfile."""
    found = [
        f"/{name}: {mine.tree.get(name)}, theirs is {theirs.tree.get(name)}"
        for name in sorted({*mine.tree, *theirs.tree})
        if mine.tree.get(name) != theirs.tree.get(name)
    ]
    for key in CONFIG:
        if (mine.config[key] or None) != (theirs.config[key] or None):
            found.append(f"{key}: {mine.config[key]}, theirs is {theirs.config[key]}")
    same = not case.classic and case.head.get("reference") != "buildah"
    if same and masked(mine.history) != masked(theirs.history):
        found.append(f"history: {masked(mine.history)},\n   theirs is {masked(theirs.history)}")
    elif not same and (len(mine.history), mine.layers) != (len(theirs.history), theirs.layers):
        found.append(f"history: {mine.history},\n   theirs is {theirs.history}")
    if same and mine.names != theirs.names:
        found.append(f"layers: {mine.names[1:]},\n   theirs are {theirs.names[1:]}")
    return found
