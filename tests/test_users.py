"""Users and groups by the image's own files, whatever is in them."""

from __future__ import annotations

import os
import pathlib
import subprocess
import tarfile
from collections.abc import Callable, Iterator

import pytest

from minicontainer.engine import users
from minicontainer.errors import Error

PASSWD = """root:x:0:0:root:/root:/bin/sh
app:x:100:101:App ü,,,:/srv/app:/bin/sh
123:x:200:201:a name of digits:/by/name:/bin/sh
nohome:x:300:300:::
broken line
short:x:1
letters:x:abc:0::/:/bin/sh
far:x:4294967299:0::/:/bin/sh
odd:x:500:501:form\x0cfeed\x85and\u2028more:/odd:/bin/sh
app:x:999:999:a second one:/second:/bin/sh
"""
GROUP = """root:x:0:root
app:x:101:
video:x:44:app,other
audio:x:45:other,app
wheel:x:10:root
applause:x:46:applause
777:x:5:
"""


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(PASSWD)
    (tmp_path / "etc" / "group").write_text(GROUP)
    return tmp_path


@pytest.fixture
def resolve(tree: pathlib.Path) -> Iterator[Callable[..., tuple[int, int, list[int], str]]]:
    def run(text: str, group_add: tuple[str, ...] = ()) -> tuple[int, int, list[int], str]:
        root = os.open(tree, os.O_PATH)
        try:
            user = users.resolve(root, text, group_add)
        finally:
            os.close(root)
        assert user.oci() == {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups}
        return user.uid, user.gid, user.groups, user.home

    yield run


Resolve = Callable[..., tuple[int, int, list[int], str]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", (0, 0, [0, 10], "/root")),
        ("0", (0, 0, [0, 10], "/root")),
        ("root", (0, 0, [0, 10], "/root")),
        ("app", (100, 101, [101, 44, 45], "/srv/app")),
        ("100", (100, 101, [101, 44, 45], "/srv/app")),
        ("app:wheel", (100, 10, [10], "/srv/app")),
        ("app:7777", (100, 7777, [7777], "/srv/app")),
        ("app:777", (100, 777, [777], "/srv/app")),
        (":wheel", (0, 10, [10], "/root")),
        ("app:", (100, 101, [101, 44, 45], "/srv/app")),
        ("4242", (4242, 0, [0], "/")),
        ("4242:4343", (4242, 4343, [4343], "/")),
        ("123", (123, 0, [0], "/")),
        ("nohome", (300, 300, [300], "/")),
        ("odd", (500, 501, [501], "/odd")),
    ],
)
def test_users(resolve: Resolve, text: str, found: tuple[int, int, list[int], str]) -> None:
    assert resolve(text) == found


def test_group_add(resolve: Resolve) -> None:
    assert resolve("app", ("wheel", "4242", "video")) == (100, 101, [101, 44, 45, 10, 4242], "/srv/app")
    assert resolve("0:0", ("app",)) == (0, 0, [0, 101], "/root")


@pytest.mark.parametrize(
    ("text", "group_add", "culprit"),
    [
        ("nonesuch", (), "nonesuch"),
        ("app:nonesuch", (), "nonesuch"),
        ("short", (), "short"),
        ("letters", (), "letters"),
        ("far", (), "far"),
        ("-1", (), "-1"),
        ("4294967295", (), "4294967295"),
        ("1:4294967295", (), "4294967295"),
        ("App", (), "App"),
        ("app", ("nonesuch",), "nonesuch"),
        ("app", ("4294967295",), "range"),
    ],
)
def test_who_is_nobody(resolve: Resolve, text: str, group_add: tuple[str, ...], culprit: str) -> None:
    with pytest.raises(Error, match=culprit):
        resolve(text, group_add)


def test_without_the_files_numbers_are_enough(tree: pathlib.Path, resolve: Resolve) -> None:
    (tree / "etc" / "passwd").unlink()
    (tree / "etc" / "group").unlink()
    assert resolve("") == (0, 0, [0], "/")
    assert resolve("5:6", ("7",)) == (5, 6, [6, 7], "/")
    with pytest.raises(Error, match="root"):
        resolve("root")


@pytest.mark.parametrize("what", ["/dev/zero", "fifo", "directory", "socket"])
def test_what_is_no_file_is_not_waited_for(tree: pathlib.Path, resolve: Resolve, what: str) -> None:
    path = tree / "etc" / "passwd"
    path.unlink()
    if what == "/dev/zero":
        os.mknod(path, 0o20666, os.makedev(1, 5))
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    else:
        import socket

        socket.socket(socket.AF_UNIX).bind(str(path))
    assert resolve("7") == (7, 0, [0], "/")


def test_the_files_are_those_of_the_image_and_not_the_host_s(tree: pathlib.Path, resolve: Resolve) -> None:
    """A symlink to /etc/passwd stays inside."""
    (tree / "etc" / "passwd").rename(tree / "elsewhere")
    (tree / "etc" / "passwd").symlink_to("/elsewhere")
    assert resolve("app")[0] == 100
    (tree / "etc" / "passwd").unlink()
    (tree / "etc" / "passwd").symlink_to("../../../../../../etc/passwd")
    with pytest.raises(Error, match="daemon"):
        resolve("daemon")


def test_a_file_without_end_is_read_so_far(tree: pathlib.Path, resolve: Resolve) -> None:
    with open(tree / "etc" / "passwd", "ab") as file:
        file.truncate(1 << 32)  # sparse: it reads as four gigabytes of zeros
    assert resolve("app")[0] == 100


def test_docker_says_the_same_of_this_image(
    docker: Callable[..., subprocess.CompletedProcess[str]],
    resolve: Resolve,
    rootfs_archive: str,
    tmp_path: pathlib.Path,
) -> None:
    with tarfile.open(rootfs_archive) as source, tarfile.open(tmp_path / "image.tar", "w") as target:
        for entry in source:
            if entry.name.removeprefix("./") not in ("etc/passwd", "etc/group"):
                target.addfile(entry, source.extractfile(entry) if entry.isreg() else None)
        target.add(tmp_path / "etc" / "passwd", "etc/passwd")
        target.add(tmp_path / "etc" / "group", "etc/group")
    image = f"minicontainer-tests-users-{os.getpid()}"
    docker("import", tmp_path / "image.tar", image)
    answers = {}
    # without nohome, for whom Docker sets HOME to nothing
    for text in "", "app", "app:wheel", "123", ":wheel", "4242:4343", "odd":
        script = "id -u; id -g; id -G; echo $HOME"
        answers[text] = docker("run", "--rm", "--network", "none", "-u", text, image, "sh", "-c", script)
    docker("rmi", image)
    for text, done in answers.items():
        uid, gid, groups, home = done.stdout.splitlines()
        ours = resolve(text)
        assert (int(uid), int(gid), home) == (ours[0], ours[1], ours[3]), text
        assert {int(each) for each in groups.split()} == set(ours[2]), text
