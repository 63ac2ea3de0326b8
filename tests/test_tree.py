"""What COPY and ADD may take from a tree, however it is made to mislead."""

from __future__ import annotations

import os
import pathlib
import resource
import socket
import stat
import threading
import time
from collections.abc import Iterator

import pytest

from minicontainer.build.ignore import Ignore
from minicontainer.build.tree import Tree
from minicontainer.errors import InvalidArgument, NotFound
from minicontainer.files import remove_tree


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "dir/deep").mkdir(parents=True)
    (tmp_path / "d2").mkdir()
    (tmp_path / "dir/f").write_text("1")
    (tmp_path / "dir/deep/g").write_text("22")
    (tmp_path / "x.txt").write_text("333")
    (tmp_path / "br[a].t").touch()
    for name, target in (
        ("link", "dir"),
        ("flink", "dir/f"),
        ("absolute", "/dir"),
        ("outside", "../../../../dir"),
        ("self", "."),
    ):
        (tmp_path / name).symlink_to(target)
    return tmp_path


@pytest.fixture
def tree(directory: pathlib.Path) -> Iterator[Tree]:
    with Tree(str(directory)) as tree:
        yield tree


def below(tree: Tree, path: str) -> list[str]:
    return [name for name, _ in tree.walk(path)]


# ------------------------------------------------------------------ source words


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("x.txt", ["x.txt"]),
        ("/x.txt", ["x.txt"]),
        ("//x.txt", ["x.txt"]),
        ("./x.txt", ["x.txt"]),
        ("x.txt/", ["x.txt"]),
        ("dir/../x.txt", ["x.txt"]),
        ("dir//deep/./g", ["dir/deep/g"]),
        (".", [""]),
        ("/", [""]),
        ("", [""]),
        ("./", [""]),
        ("dir/..", [""]),
        ("link", ["link"]),
        ("link/f", ["link/f"]),
        ("outside/deep", ["outside/deep"]),
        ("*", ["absolute", "br[a].t", "d2", "dir", "flink", "link", "outside", "self", "x.txt"]),
        ("./d*", ["d2", "dir"]),
        ("/d*", ["d2", "dir"]),
        ("d*/f", ["dir/f"]),
        ("*/*", ["dir/deep", "dir/f"]),
        ("dir/d??p", ["dir/deep"]),
        ("dir/*/g", ["dir/deep/g"]),
        ("dir[/]f", ["dir/f"]),
        ("br[[]a].t", ["br[a].t"]),
        ("?2", ["d2"]),
    ],
)
def test_what_a_source_word_means(tree: Tree, word: str, found: list[str]) -> None:
    assert tree.match(word) == found


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nope", "nope: no such file or directory in the build context"),
        ("x.txt/y", "x.txt/y: no such file or directory in the build context"),
        ("no*", "no*: no file in the build context matches"),
        ("d*/", "d*/: no file in the build context matches"),
        ("link/*", "link/*: no file in the build context matches"),  # a * does not look through symlinks
        ("l*k/f", "l*k/f: no file in the build context matches"),
        ("dir//*", "dir//*: no file in the build context matches"),
        ("br[a].t", "br[a].t: no file in the build context matches"),
        (".././x*", ".././x*: no file in the build context matches"),
    ],
)
def test_what_is_not_there(tree: Tree, word: str, message: str) -> None:
    with pytest.raises(NotFound) as caught:
        tree.match(word)
    assert str(caught.value) == message


@pytest.mark.parametrize("word", ["../x.txt", "..", "../../etc", "dir/../../etc", "/../etc", "./../x"])
def test_a_word_that_leaves_is_refused(tree: Tree, word: str) -> None:
    with pytest.raises(InvalidArgument, match=r"forbidden path outside the build context: "):
        tree.match(word)


@pytest.mark.parametrize(
    ("word", "message"),
    [("[", "syntax error in pattern"), ("a\0b", "a NUL"), ("a" * 300, "too long"), ("a/" * 3000, "too long")],
)
def test_a_word_that_is_none_is_refused(tree: Tree, word: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        tree.match(word)


def test_what_dockerignore_excludes_cannot_be_taken(directory: pathlib.Path) -> None:
    with Tree(str(directory), Ignore(b"x.txt\ndir/deep\nlink\nd2")) as tree:
        for word in ("x.txt", "dir/deep", "dir/deep/g", "link", "d2"):
            with pytest.raises(
                NotFound, match=rf"^{word}: \.dockerignore excludes it from the build context"
            ):
                tree.match(word)
        with pytest.raises(NotFound, match=r"\*.txt: no file .* matches, or .dockerignore excludes it"):
            tree.match("*.txt")
        with pytest.raises(NotFound):
            tree.match("link/f")
        assert tree.match("d*") == ["dir"]
        assert below(tree, "dir") == ["", "f"]
        assert below(tree, "absolute") == ["", "f"]  # by whatever way


def test_what_is_taken_back_can_be_taken(tmp_path: pathlib.Path) -> None:
    (tmp_path / "dir/deep").mkdir(parents=True)
    (tmp_path / "dir/deep/keep").touch()
    (tmp_path / "dir/deep/other").touch()
    with Tree(str(tmp_path), Ignore(b"dir\n!dir/deep/keep")) as tree:
        assert tree.match("dir") == tree.match("d*") == ["dir"]
        assert tree.match("dir/deep") == tree.match("dir/*") == ["dir/deep"]
        assert tree.match("*/*/*") == ["dir/deep/keep"]
        assert below(tree, "dir") == ["", "deep", "deep/keep"]
        assert below(tree, "dir/deep/keep") == [""]
        assert below(tree, "dir/deep/other") == []
    with Tree(str(tmp_path), Ignore(b"dir\n!**/keep")) as tree:  # that does not say where to look
        for word in ("dir", "d*", "dir/deep", "dir/deep/keep"):
            with pytest.raises(NotFound, match="dockerignore excludes it"):
                tree.match(word)


def test_another_tree_has_another_name(directory: pathlib.Path) -> None:
    with (
        Tree(str(directory), what="stage builder") as tree,
        pytest.raises(NotFound, match=r"in stage builder$"),
    ):
        tree.match("nope")


# ------------------------------------------------------------------ walking


@pytest.mark.parametrize("path", ["dir", "link", "absolute", "outside", "self/link"])
def test_a_symlink_that_is_named_is_followed_within_the_tree(tree: Tree, path: str) -> None:
    assert below(tree, path) == ["", "deep", "deep/g", "f"]
    assert stat.S_ISDIR(next(tree.walk(path))[1].st_mode)


def test_a_symlink_below_is_not_followed(tree: Tree) -> None:
    found = dict(tree.walk(""))
    assert [name for name, status in found.items() if stat.S_ISLNK(status.st_mode)] == [
        "absolute",
        "flink",
        "link",
        "outside",
        "self",
    ]
    assert found["dir/deep/g"].st_size == 2
    assert tree.readlink("outside") == b"../../../../dir"


def test_a_file_is_itself_alone(tree: Tree) -> None:
    for path, size in (("x.txt", 3), ("flink", 1), ("link/deep/g", 2)):
        ((name, status),) = tree.walk(path)
        assert (name, status.st_size, stat.S_ISREG(status.st_mode)) == ("", size, True)


def test_the_order_is_that_of_bytes_within_each_directory(tmp_path: pathlib.Path) -> None:
    for name in (b"b", b"B", b"a", b"a.b", b"a-b", b"\xc3\xa4", b"\xff", b"\xf0\x9f\x90\xb3", b"new\nline"):
        pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).mkdir()
    (tmp_path / "a/z").touch()
    with Tree(str(tmp_path)) as tree:
        found = [os.fsencode(name) for name in below(tree, "")]
        expected = b"|B|a|a/z|a-b|a.b|b|new\nline|\xc3\xa4|\xf0\x9f\x90\xb3|\xff".split(b"|")
        directories = [name for name in expected if b"/" not in name]
        assert directories == sorted(directories)
        assert found == expected
        assert tree.match("\udcff") == ["\udcff"]
        assert tree.match("new?line") == ["new\nline"]


def test_loops_and_symlinks_to_nothing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "up").symlink_to(".")
    (tmp_path / "dangling").symlink_to("nowhere")
    with Tree(str(tmp_path)) as tree:
        assert below(tree, "") == ["", "a", "b", "dangling", "loop", "up"]
        for word in ("loop", "a", "l*", "a/x"):
            with pytest.raises(InvalidArgument, match="runs in a circle of symlinks in the build context"):
                tree.match(word)
        for word in ("dangling", "d*"):
            with pytest.raises(
                NotFound, match=r"^dangling: a symlink that leads to nothing in the build context"
            ):
                tree.match(word)
        assert tree.match("up/" * 30) == ["/".join(["up"] * 30)]


def test_everything_that_is_no_file_is_listed_and_not_opened(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    with socket.socket(socket.AF_UNIX) as listener, Tree(str(tmp_path)) as tree:
        listener.bind(str(tmp_path / "socket"))
        kinds = {name: stat.filemode(status.st_mode)[0] for name, status in tree.walk("")}
        assert kinds == {"": "d", "disk": "b", "fifo": "p", "null": "c", "socket": "s"}
        for name in ("fifo", "null", "socket", ""):
            with pytest.raises(InvalidArgument, match="is no regular file"):
                tree.open(name)
        with pytest.raises((InvalidArgument, OSError)):
            tree.open("disk")


def test_what_vanishes_is_left_out(directory: pathlib.Path) -> None:
    with Tree(str(directory)) as tree:
        walk = tree.walk("")
        assert [next(walk)[0], next(walk)[0]] == ["", "absolute"]
        os.unlink(directory / "dir/f")
        os.unlink(directory / "dir/deep/g")
        os.rmdir(directory / "dir/deep")
        os.rmdir(directory / "d2")
        (directory / "d2").symlink_to("/etc")  # in a directory's place
        os.rename(directory / "dir", directory / "other")
        rest = ["br[a].t", "d2", "dir", "flink", "link", "outside", "self", "x.txt"]
        assert [name for name, _ in walk] == rest
        assert below(tree, "dir") == []
        with pytest.raises(FileNotFoundError):
            tree.open("dir/f")


def test_a_tree_that_changes_all_the_time(tmp_path: pathlib.Path) -> None:
    """A directory and a symlink to /etc take turns: /etc is never seen."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/mine").touch()
    (tmp_path / "link").symlink_to("/etc")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for one, other in (("real", "x"), ("link", "real"), ("real", "link"), ("x", "real")):
                os.rename(tmp_path / one, tmp_path / other)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        with Tree(str(tmp_path)) as tree:
            for _ in range(300):
                seen.update(below(tree, ""))
                seen.update(f"real/{name}" for name in below(tree, "real") if name)
    finally:
        done.set()
        swapper.join()
    assert seen <= {"", "real", "x", "link", "real/mine", "x/mine", "link/mine"}
    assert any(name.endswith("/mine") for name in seen)


def test_what_may_not_be_read_is_named(directory: pathlib.Path) -> None:
    directory.chmod(0o755)
    (directory / "dir/deep").chmod(0o700)
    (directory / "x.txt").chmod(0o600)
    (directory / "d2").chmod(0o744)
    (directory / "d2/file").touch()
    with Tree(str(directory)) as tree:
        os.seteuid(65534)
        try:
            with pytest.raises(
                InvalidArgument, match=r"cannot read d2/file in .*: Permission denied; make it"
            ):
                below(tree, "")
            with pytest.raises(InvalidArgument, match=r"cannot read dir/deep in .*name it in .dockerignore$"):
                below(tree, "dir")
            with pytest.raises(InvalidArgument, match=r"cannot read x\.txt"):
                tree.open("x.txt")
            tree.ignore = Ignore(b"dir/deep\nd2")
            assert below(tree, "dir") == ["", "f"]
        finally:
            os.seteuid(0)


def test_a_deep_tree_needs_few_descriptors(tmp_path: pathlib.Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=fd)
        below_fd = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below_fd
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        with Tree(str(tmp_path)) as tree:
            assert len(below(tree, "")) == 2001
        for _ in range(200):
            os.mkdir("d", dir_fd=fd)
            below_fd = os.open("d", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below_fd
        with Tree(str(tmp_path)) as tree, pytest.raises(InvalidArgument, match="too long"):
            below(tree, "")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(fd)
        remove_tree(str(tmp_path / "d"))  # which is deeper than pytest can remove it


# ------------------------------------------------------------------ reading


def test_files_are_read_within_the_tree(directory: pathlib.Path, tree: Tree) -> None:
    (directory / "passwd").symlink_to("/etc/passwd")
    (directory / "door").symlink_to(f"/proc/{os.getpid()}/root/etc/passwd")
    for path, content in (
        ("x.txt", b"333"),
        ("link/f", b"1"),
        ("absolute/deep/g", b"22"),
        ("outside/f", b"1"),
    ):
        fd = tree.open(path)
        assert os.read(fd, 10) == content
        assert not os.get_inheritable(fd)
        os.close(fd)
    for path in ("passwd", "door", "../../etc/passwd"):
        with pytest.raises(FileNotFoundError):
            tree.open(path)
    with pytest.raises(NotFound):
        tree.match("passwd")
    with pytest.raises(OSError, match="Invalid argument"):
        tree.readlink("x.txt")


def test_extended_attributes(directory: pathlib.Path, tree: Tree) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(directory / "x.txt", "security.capability", capability)
    os.setxattr(directory / "x.txt", "user.colour", b"red")
    os.setxattr(directory / "x.txt", "trusted.mine", b"secret")
    wanted = {b"security.capability": capability, b"user.colour": b"red"}
    assert tree.xattrs("x.txt") == wanted
    fd = tree.open("x.txt")
    assert tree.xattrs(fd) == wanted
    os.close(fd)
    assert tree.xattrs("dir") == tree.xattrs("link") == tree.xattrs("") == {}


def test_a_tree_has_its_own_descriptor(directory: pathlib.Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    tree = Tree(fd)
    os.close(fd)
    assert tree.match("x.txt") == ["x.txt"]
    tree.close()
    tree.close()
    with pytest.raises(NotADirectoryError):
        Tree(str(directory / "x.txt"))


def test_six_thousand_files_take_no_time(tmp_path: pathlib.Path) -> None:
    for number in range(60):
        (tmp_path / f"package{number}/src/lib").mkdir(parents=True)
        for count in range(100):
            (tmp_path / f"package{number}/src/lib/f{count}.js").touch()
    rules = b"*.log\n**/*.o\n.git\nnode_modules\n**/node_modules\nsecret?\n!keep.log\na/**/b"
    for ignore in (None, Ignore(rules)):
        with Tree(str(tmp_path), ignore) as tree:
            started = time.process_time()
            assert len(below(tree, "")) == 6181
            assert time.process_time() - started < 0.2
