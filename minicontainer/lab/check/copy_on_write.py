"""Chapter 04: what a container has changed, as a list and as a layer."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import tempfile

from minicontainer.engine import api
from minicontainer.errors import NotFound
from minicontainer.files import remove_tree
from minicontainer.images import overlay
from minicontainer.images.index import LAYER
from minicontainer.images.reference import Reference
from minicontainer.lab.check.union import branches
from minicontainer.lab.trial import Refused, Trial, checker, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOWER = {"kept": "low", "changed": "low", "removed": "low"}
_SHARED_MEMORY = "/dev/shm"  # a tmpfs, which lists a directory in the order in which it was filled
_SECRET = "correct horse battery staple"
_IMAGE = "lab-password"


@checker
def changes(solution: Callable[[str, str], object]) -> str:
    """What was added, changed and removed in an upper directory is told apart."""
    with branches(lower=_LOWER) as path:
        os.makedirs(f"{path}/lower/etc/deep")
        _make_changes(path)
        with Trial(solution, f"{path}/upper", f"{path}/lower", apart=False) as trial:
            if not isinstance(trial.value, list):
                raise Refused(f"what is returned: seen {trial.value!r}, expected a list of strings")
            expected = "A /etc/deep/new", "A /made", "A /made/new", "C /changed", "C /etc", "C /etc/deep"
            expect("the changes", sorted(trial.value), [*expected, "D /removed"])
    return "seven changes, and each is called what it is"


def _make_changes(path: str) -> None:
    """Change a union of a lower directory, so that the kernel writes into the upper one."""
    fd = overlay.detached([f"{path}/lower"], f"{path}/upper", f"{path}/work")
    try:
        merged = f"/proc/self/fd/{fd}"
        os.mkdir(f"{merged}/made")
        os.unlink(f"{merged}/removed")
        for name in ("changed", "made/new", "etc/deep/new"):
            with open(f"{merged}/{name}", "a") as file:
                file.write("new")
    finally:
        os.close(fd)


@checker
def pack(solution: Callable[[str, str], object]) -> str:
    """The archive has the names and whiteouts of a layer, and the same tree gives the same digest."""
    names = ["b", "a", "d", "c"]
    digests = []
    with _directory(_SHARED_MEMORY) as path:
        for number, order in enumerate((names, names[::-1])):
            tree, archive = f"{path}/tree{number}", f"{path}/archive{number}"
            _make_tree(tree, order)
            with Trial(solution, tree, archive, apart=False):
                listed = _listed(archive)
            expect("what is in the archive", sorted(listed), sorted(_expected(names)))
            digests.append(_digest(archive))
        expect("the digest of the same tree, made in another order", digests[1], digests[0])
    return "whiteouts are in an archive's words, and the same tree gives the same digest"


def _make_tree(path: str, order: list[str]) -> None:
    """An upper directory: two files and two whiteouts in a directory, filled in this order."""
    os.makedirs(f"{path}/etc")
    for name in order:
        if name in ("a", "d"):
            os.mknod(f"{path}/etc/{name}", 0o020000, os.makedev(0, 0))
        else:
            with open(f"{path}/etc/{name}", "w") as file:
                file.write(f"this is {name}")
    for name in (*(f"etc/{name}" for name in order), "etc", "."):
        os.utime(f"{path}/{name}", (1, 1))


def _expected(names: list[str]) -> list[str]:
    return [
        "etc/",
        *(f"etc/.wh.{name}" if name in ("a", "d") else f"etc/{name}: this is {name}" for name in names),
    ]


def _listed(archive: str) -> list[str]:
    """The entries of an archive, files with what is in them."""
    listed = []
    try:
        with tarfile.open(archive) as tar:
            for entry in tar:
                name = os.path.normpath(entry.name)
                content = tar.extractfile(entry) if entry.isreg() else None
                text = content.read().decode(errors="replace") if content else ""
                kind = "/" if entry.isdir() else "" if entry.isreg() else " (a device)"
                if name != ".":
                    listed.append(f"{name}{kind}{': ' + text if text else ''}")
    except (OSError, tarfile.TarError) as error:
        raise Refused(f"the archive: seen {error}, expected a tar archive") from None
    return listed


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()[:12] + "…"


@contextlib.contextmanager
def _directory(where: str) -> Iterator[str]:
    """A directory for a while, below ``where`` if that is there."""
    place = where if os.path.isdir(where) else api.default_engine().root
    path = tempfile.mkdtemp(prefix="lab-", dir=place)
    try:
        yield path
    finally:
        remove_tree(path)


@checker
def recover(solution: Callable[[str, str], object]) -> str:
    """The text of a file that a higher layer has removed is found."""
    engine = api.default_engine()
    _remove_image()
    try:
        layers = [{"etc/password": _SECRET, "etc/motd": "hello"}, {"etc/.wh.password": "", "etc/motd": "hi"}]
        blobs = [engine.images.add_blob(_archive(files)) for files in layers]
        diff_ids = [blob["digest"] for blob in blobs]
        config = {"os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        descriptors = [{"mediaType": LAYER, **blob} for blob in blobs]
        engine.images.add_image(config, descriptors, Reference.parse(_IMAGE))
        with Trial(solution, _IMAGE, "/etc/password", apart=False) as trial:
            expect("what was in /etc/password", trial.value, _SECRET)
    finally:
        _remove_image()
    return "the password is still in the image, in a layer that nothing shows"


def _archive(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def _remove_image() -> None:
    with contextlib.suppress(NotFound):
        api.default_engine().remove_image(_IMAGE, force=True)
