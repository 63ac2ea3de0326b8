"""What ``.dockerignore`` leaves out: what Docker 20.10 was seen to leave out, and the same question to it again."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import tarfile
import time

import pytest

from minicontainer.build.ignore import Ignore
from minicontainer.build.tree import Tree
from minicontainer.errors import InvalidArgument

FILES = """
    Dockerfile .git/HEAD #hash [x].txt a.log a.txt b.log keep.log README.md secret1 secret12 build/app
    build/out/keep.o build/out/x.o docs/a.md docs/b/a.md docs/b/c/a.md node_modules/p/i.js
    src/lib/deep/x.log src/lib/util.c src/lib/util.o src/main.c
""".split()

# What each .dockerignore leaves out; of a directory, all that is in it.
LEFT_OUT = {
    b"": "",
    b"*.log": "a.log b.log keep.log",
    b"*.log\n!keep.log": "a.log b.log",
    b"!keep.log\n*.log": "a.log b.log keep.log",
    b"# *.log\n\n   \n*.md": "README.md",
    b" # x\n*.log": "a.log b.log keep.log",
    b"\xef\xbb\xbf*.log": "a.log b.log keep.log",
    b"\xef\xbb\xbf# c\n*.log": "a.log b.log keep.log",
    b"**/*.o": "build/out/keep.o build/out/x.o src/lib/util.o",
    b"*/*.o": "",
    b"*.o": "",
    b"src/**/util.o": "src/lib/util.o",
    b"src/**": "src/lib/ src/main.c",
    b"src/**\n!src/main.c": "src/lib/",
    b"src\n!src/main.c": "src/lib/",
    b"src\n!src/lib/util.c": "src/lib/deep/ src/lib/util.o src/main.c",
    b"src\n!**/main.c": "src/",
    b".": "",
    b"..": "",
    b"../src": "",
    b"/": "",
    b"./src": "src/",
    b"/src": "src/",
    b"//src": "src/",
    b"src/": "src/",
    b"src//lib": "src/lib/",
    b"src/lib/..": "src/",
    b"src/./lib/": "src/lib/",
    b"build/../src": "src/",
    b"! keep.log": "",
    b"*.log\n! keep.log": "a.log b.log",
    b"*.log\n!/keep.log": "a.log b.log",
    b"Dockerfile": "Dockerfile",
    b".dockerignore": ".dockerignore",
    b"Dockerfile\n.dockerignore": ".dockerignore Dockerfile",
    b".*": ".dockerignore .git/",
    b"[a]*": "a.log a.txt",
    b"[a-b].log": "a.log b.log",
    b"\\[x].txt": "[x].txt",
    b"[[]x].txt": "[x].txt",
    b"[x].txt": "",
    b"\\#hash": "#hash",
    b"#hash": "",
    b"?.log": "a.log b.log",
    b"secret?": "secret1",
    b"**/deep": "src/lib/deep/",
    b"**/a": "",
    b"a/**/b": "",
    b"docs/**/a.md": "docs/a.md docs/b/a.md docs/b/c/a.md",
    b"docs/**/b": "docs/b/",
    b"**/b/**": "docs/b/a.md docs/b/c/",
    b"docs/**/c/*.md": "docs/b/c/a.md",
    b"do**cs": "docs/",
    b"docs**": "docs/",
    b"**a.md": "docs/a.md docs/b/a.md docs/b/c/a.md",
    b"  a.log  \n\tb.log": "a.log b.log",
    b"*.txt\n!*.txt\na.txt": "a.txt",
    b"build\n!build/out/keep.o": "build/app build/out/x.o",
    b"build\n!build/out\nbuild/out/*\n!build/out/keep.o": "build/app build/out/x.o",
    b"**/.git": ".git/",
    b".git/": ".git/",
    b"*/*/*": (
        "build/out/keep.o build/out/x.o docs/b/a.md docs/b/c/ node_modules/p/i.js "
        "src/lib/deep/ src/lib/util.c src/lib/util.o"
    ),
    b"a.*\n!a.log\n!b.log": "a.txt",
    b"!a.txt": "",
    b"docs/b\n!docs/b/c": "docs/b/a.md",
    b"src/*\n!src/lib": "src/main.c",
    b"a.log b.log": "",
    b"**/**/a.md": "docs/a.md docs/b/a.md docs/b/c/a.md",
    b"src/[l]ib": "src/lib/",
    b"[!a]*": "a.log a.txt",
    b"[a/]*": "a.log a.txt",
    b"src[/]lib": "src/lib/",
    b"src?lib": "",
    b"node_modules\n!node_modules/p/i.js": "",
    b"**/out\n!build/out/keep.o": "build/out/x.o",
    b"*.md\n!README*.md\nREADME.md": "README.md",
    b"/a.log\n/docs": "a.log docs/",
    b"docs\n!docs/b/c\ndocs/b/c/a.md": "docs/a.md docs/b/a.md docs/b/c/a.md",
    b"**/*.md\n!docs/b/*.md": "README.md docs/a.md docs/b/c/a.md",
    b"**/x.*": "build/out/x.o src/lib/deep/x.log",
    b"build/*/*.o": "build/out/keep.o build/out/x.o",
    b"a.[!l]*": "a.log",
    b"**/lib/**/x.log": "src/lib/deep/x.log",
    b"src/lib\n!src/lib/deep\n**/*.log": "a.log b.log keep.log src/lib/deep/x.log src/lib/util.c src/lib/util.o",
}
# The same of those that leave out most: what they keep.
KEPT = {
    b"*\n!src/*.c": "src/ src/main.c",
    b"*\n!src": "src/ src/lib/ src/lib/deep/ src/lib/deep/x.log src/lib/util.c src/lib/util.o src/main.c",
    b"*\n!src/lib\nsrc/lib/*.o": "src/ src/lib/ src/lib/deep/ src/lib/deep/x.log src/lib/util.c",
    b"*": "",
    b"**": "",
    b"*\n!Dockerfile": "Dockerfile",
    b"[^a]*": "a.log a.txt",
    b"*\r\n!README.md\r\n": "README.md",
    b"*/*": (
        "#hash .dockerignore .git/ Dockerfile README.md [x].txt a.log a.txt b.log build/ docs/ keep.log "
        "node_modules/ secret1 secret12 src/"
    ),
    b"*\n!docs/b/c/a.md": "docs/ docs/b/ docs/b/c/ docs/b/c/a.md",
    b"*\n!**/a.md": "",
    b"*\n!d*/a.md": "",
    b"**/": "",
    b"/**": "",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A context with all the FILES, and an empty .dockerignore."""
    path = tmp_path_factory.mktemp("context")
    for name in [*FILES, ".dockerignore"]:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    (path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    return path


def names(directory: pathlib.Path, text: bytes | None) -> list[str]:
    """What is in the context, directories with a slash."""
    with Tree(str(directory), Ignore(text) if text is not None else None) as tree:
        found = [name + ("/" if stat.S_ISDIR(status.st_mode) else "") for name, status in tree.walk("")]
    return sorted(name for name in found if name != "/")


def expected(directory: pathlib.Path, text: bytes) -> list[str]:
    if text in KEPT:
        return sorted(KEPT[text].split())
    left_out = LEFT_OUT[text].split()
    below = tuple(name for name in left_out if name.endswith("/"))
    everything = names(directory, None)
    assert set(left_out) <= set(everything)
    return [name for name in everything if name not in left_out and not name.startswith(below)]


@pytest.mark.parametrize("text", [*LEFT_OUT, *KEPT])
def test_what_is_left_of_the_context(directory: pathlib.Path, text: bytes) -> None:
    assert names(directory, text) == expected(directory, text)


@pytest.mark.slow
def test_docker_says_the_same(directory: pathlib.Path, docker, monkeypatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    different = {}
    try:
        for text in [*LEFT_OUT, *KEPT]:
            (directory / ".dockerignore").write_bytes(text)
            theirs = names_in_docker(docker, directory, tmp_path)
            if theirs != expected(directory, text):
                different[text] = theirs
    finally:
        (directory / ".dockerignore").write_bytes(b"")
    assert different == {}


def names_in_docker(docker, directory: pathlib.Path, scratch: pathlib.Path) -> list[str]:
    """What ``COPY . /`` of Docker's classic builder takes of a context."""
    built = docker("build", "-q", "--no-cache", directory)
    assert built.returncode == 0, built.stderr
    image = built.stdout.strip()
    saved = docker("save", "-o", scratch / "image.tar", image)
    docker("rmi", image)
    if saved.returncode:  # nothing was copied, and Docker does not save an image without layers
        assert "empty export" in saved.stderr, saved.stderr
        return []
    with tarfile.open(scratch / "image.tar") as archive:
        (layer,) = json.load(archive.extractfile("manifest.json"))[0]["Layers"]
        with tarfile.open(fileobj=archive.extractfile(layer)) as files:
            return sorted(entry.name + ("/" if entry.isdir() else "") for entry in files)


# Docker 20.10 makes other regular expressions of these than Go's filepath.Match, which its reference promises.
@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        (b"\\a.txt", "a.txt"),  # there, \a is the bell
        (b"a+b", "a+b"),  # there, any number of a's
        (b"name.c++", "name.c++"),  # there, an error
        (b"(x)", "(x)"),
        (b"{y}", "{y}"),
        (b"x|y", "x|y"),
        # There, "**/secret" counts as two directories deep, and what is in a deeper one is copied after all. Later
        # versions agree with this.
        (b"**/secret\n!v/w/secret/open", "v/w/secret/closed"),
    ],
)
def test_what_docker_has_wrong(tmp_path: pathlib.Path, text: bytes, left_out: str) -> None:
    everything = [
        "a.txt",
        "a+b",
        "aab",
        "name.c++",
        "(x)",
        "x",
        "{y}",
        "x|y",
        "v/w/secret/open",
        "v/w/secret/closed",
    ]
    for name in everything:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    kept = [name for name in names(tmp_path, text) if not name.endswith("/")]
    assert kept == sorted(set(everything) - {left_out})


@pytest.mark.parametrize("name", ["sp ace", "new\nline", "bad\udcff", "ünï", "-x", "~"])
def test_odd_names(tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / name).touch()
    assert names(tmp_path, b"a") == [name]
    assert names(tmp_path, b"*") == []
    assert names(tmp_path, os.fsencode(name.replace("\n", "?"))) == []


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"a\n!\nb", 2, "illegal exclusion pattern '!'"),
        (b"\n# x\n!  \n", 3, "illegal exclusion pattern '!'"),
        (b"[", 1, "syntax error in pattern '['"),
        (b"a\n\na[b", 3, "syntax error in pattern 'a[b'"),
        (b"!a[]", 1, "syntax error in pattern 'a[]'"),
        (b"a\\", 1, "syntax error in pattern 'a\\\\'"),
        (b"[a-]", 1, "syntax error"),
        (b"[-a]", 1, "syntax error"),
    ],
)
def test_a_bad_line_is_named(text: bytes, line: int, reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Ignore(text, "web/.dockerignore")
    first, second = str(caught.value).split("\n")
    assert first.startswith(f"web/.dockerignore:{line}: {reason}")
    assert second == "    " + os.fsdecode(text).split("\n")[line - 1].strip()


def test_a_directory_is_as_if_made_when_only_something_in_it_is_wanted(tmp_path: pathlib.Path) -> None:
    (tmp_path / "top" / "wanted").mkdir(parents=True, mode=0o700)
    (tmp_path / "top" / "wanted").chmod(0o711)
    (tmp_path / "top").chmod(0o2700)
    os.chown(tmp_path / "top", 5, 6)
    (tmp_path / "top" / "wanted" / "file").touch()
    with Tree(str(tmp_path), Ignore(b"top\n!top/wanted")) as tree:
        found = dict(tree.walk(""))
    assert list(found) == ["", "top", "top/wanted", "top/wanted/file"]
    assert (oct(found["top"].st_mode), found["top"].st_uid, found["top"].st_gid) == ("0o40755", 0, 0)
    assert oct(found["top/wanted"].st_mode) == "0o40711"


def test_an_excluded_directory_is_not_looked_into(tmp_path: pathlib.Path) -> None:
    for count in range(200):
        (tmp_path / "node_modules" / f"m{count}" / "x" / "y").mkdir(parents=True)
    with Tree(str(tmp_path), Ignore(b"node_modules")) as tree:
        looked_into = []
        tree._list = lambda path, shown, list=tree._list: looked_into.append(path) or list(path, shown)
        assert [name for name, _ in tree.walk("")] == [""]
    assert looked_into == [""]


def test_no_pattern_takes_long() -> None:
    ignore = Ignore(b"*a" * 20 + b"*b\n" + b"**/a/" * 20 + b"b\n" + b"**/*a*/" * 20 + b"b")
    started = time.process_time()
    assert not ignore.excludes("a" * 250)
    assert not ignore.excludes("/".join(["a"] * 60) + "/c")
    assert time.process_time() - started < 1
