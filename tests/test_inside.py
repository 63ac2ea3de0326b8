"""Paths of a container, resolved where it cannot lead us astray: nothing outside its root is seen or touched."""

from __future__ import annotations

import os
import signal
import stat
import time

import pytest

from minicontainer.errors import Error, InvalidArgument
from minicontainer.kernel.libc import libc
from minicontainer.kernel.mount import AT_FDCWD
from minicontainer.runtime.inside import open_inside, open_mount_point, real_path

RENAME_EXCHANGE = 2  # include/uapi/linux/fs.h


class Tree:
    """A root filesystem, and a directory of the host beside it with a file in it that must stay as it is."""

    def __init__(self, path) -> None:
        self.host = path / "host"
        self.path = path / "rootfs"
        self.host.mkdir()
        (self.host / "canary").write_text("sings")
        for directory in ("etc", "run", "var", "srv"):
            (self.path / directory).mkdir(parents=True)
        (self.path / "etc/passwd").write_text("root")
        self.fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY)

    def link(self, name: str, target: object) -> None:
        (self.path / name).symlink_to(str(target))

    def mount_point(self, path: str, directory: bool = True) -> str:
        """Where a mount on ``path`` would go, below the root."""
        fd = open_mount_point(self.fd, path, directory)
        try:
            place = os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        assert place == str(self.path) or place.startswith(f"{self.path}/"), f"{place} is outside"
        return place.removeprefix(str(self.path)) or "/"


@pytest.fixture
def tree(tmp_path):
    tree = Tree(tmp_path)
    yield tree
    os.close(tree.fd)
    assert sorted(os.listdir(tree.host)) == ["canary"], "the host was touched"
    assert (tree.host / "canary").read_text() == "sings"
    assert sorted(os.listdir(tmp_path)) == ["host", "rootfs"], "the host was touched"


# -- what a mount point may be --


def test_mount_point_that_is_there(tree):
    assert tree.mount_point("/etc") == "/etc"
    assert tree.mount_point("/etc/passwd", directory=False) == "/etc/passwd"
    assert tree.mount_point("/") == "/"
    assert tree.mount_point("//etc/./../var/") == "/var"


def test_missing_directories_are_made_with_mode_755(tree):
    assert tree.mount_point("/srv/a/b/c") == "/srv/a/b/c"
    modes = {stat.S_IMODE((tree.path / p).stat().st_mode) for p in ("srv/a", "srv/a/b", "srv/a/b/c")}
    assert modes == {0o755}


def test_missing_file_is_made_empty_with_its_directories(tree):
    assert tree.mount_point("/srv/conf.d/app.conf", directory=False) == "/srv/conf.d/app.conf"
    status = (tree.path / "srv/conf.d/app.conf").stat()
    assert (status.st_size, stat.S_IMODE(status.st_mode)) == (0, 0o644)


def test_symlinks_that_stay_inside_are_followed_as_docker_does(tree):
    tree.link("var/run", "/run")  # absolute: from the container's root, as Alpine and Debian have it
    tree.link("srv/up", "../etc")
    tree.link("srv/twice", "up")
    assert tree.mount_point("/var/run") == "/run"
    assert tree.mount_point("/var/run/app/sock.d") == "/run/app/sock.d"
    assert tree.mount_point("/srv/twice/passwd", directory=False) == "/etc/passwd"


@pytest.mark.parametrize(
    "target", ["../../host", "../../../../../../../../etc", "/../host", "../etc/../../host"]
)
def test_mount_point_that_leaves_the_root_through_a_symlink_is_refused_naming_both(tree, target):
    tree.link("srv/data", target)
    with pytest.raises(InvalidArgument) as refusal:
        tree.mount_point("/srv/data")
    assert "/srv/data leaves the root filesystem" in str(refusal.value)
    assert f"/srv/data -> {target}" in str(refusal.value)


def test_symlink_to_a_directory_that_only_the_host_has_is_refused_naming_both(tree):
    tree.link("srv/data", tree.host)
    for path in ("/srv/data", "/srv/data/below", "/srv/data/canary"):
        with pytest.raises(
            InvalidArgument, match=f"{path} leads through the symlink /srv/data -> {tree.host}"
        ):
            tree.mount_point(path)
    assert not (tree.path / "tmp").exists(), "a directory was made that nobody asked for"


def test_dangling_symlink_as_a_mount_point_is_refused(tree):
    tree.link("srv/file", "nothing")
    with pytest.raises(InvalidArgument, match="/srv/file -> nothing"):
        tree.mount_point("/srv/file", directory=False)
    assert not (tree.path / "srv/nothing").exists()


@pytest.mark.parametrize("path", ["/..", "/../host", "/etc/../../host", "/srv/new/../../../host"])
def test_dots_that_climb_above_the_root_are_refused(tree, path):
    with pytest.raises(InvalidArgument, match="leaves the root filesystem"):
        tree.mount_point(path)


def test_symlinks_that_run_in_a_circle_are_refused(tree):
    tree.link("srv/a", "b")
    tree.link("srv/b", "/srv/a")
    with pytest.raises(InvalidArgument, match="circle of symlinks"):
        tree.mount_point("/srv/a")


def test_file_in_the_way_of_a_directory_is_named(tree):
    for path in ("/etc/passwd", "/etc/passwd/below"):
        with pytest.raises(Error, match=f"no directory at {path}: a file is in the way"):
            tree.mount_point(path)
    with pytest.raises(Error, match="a file is in the way"):
        tree.mount_point("/etc/passwd/below", directory=False)


def test_directory_in_the_way_of_a_file_is_named(tree):
    for path in ("/etc", "/"):
        with pytest.raises(Error, match=f"cannot mount a file on {path}: it is a directory"):
            tree.mount_point(path, directory=False)


# -- opening what is inside --


def test_files_are_opened_as_a_process_inside_would_open_them(tree):
    tree.link("srv/absolute", "/etc/passwd")
    tree.link("srv/climbing", "../../../../etc/passwd")  # above the root is the root, to a process inside
    for path in ("etc/passwd", "srv/absolute", "srv/climbing", "/etc/passwd"):
        with open(open_inside(tree.fd, path)) as file:
            assert file.read() == "root"


def test_the_hosts_files_cannot_be_opened(tree):
    tree.link("srv/data", tree.host / "canary")
    for path in ("srv/data", "../host/canary", str(tree.host / "canary")):
        with pytest.raises(FileNotFoundError):
            open_inside(tree.fd, path)


def test_magic_links_of_proc_are_not_followed():
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(OSError, match="openat2"):
        open_inside(root, "proc/self/root/etc/passwd")
    os.close(root)


def test_real_path_need_not_exist_to_its_end(tree):
    tree.link("var/run", "/run")
    assert real_path(tree.fd, "/var/run/x/y") == "/run/x/y"
    assert real_path(tree.fd, "/") == "/"


# -- a container that swaps directories for symlinks while we look --


@pytest.fixture
def swapper(tree):
    """A process that exchanges the directory /srv/data and a symlink to the host, over and over."""
    (tree.path / "srv/data").mkdir()
    tree.link("srv/aside", tree.host)
    names = [bytes(tree.path / "srv" / name) for name in ("data", "aside")]
    pid = os.fork()
    if pid == 0:
        while True:
            libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)
    yield
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_swapping_a_directory_for_a_symlink_meanwhile_never_leads_out(tree, swapper):
    outcomes = set()
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        for path, directory in (("/srv/data/new", True), ("/srv/data/file", False)):
            try:
                outcomes.add(tree.mount_point(path, directory))
            except (Error, OSError) as refusal:
                outcomes.add(type(refusal))
        with pytest.raises(OSError):
            os.close(open_inside(tree.fd, "srv/data/canary"))
    assert outcomes >= {"/srv/data/new", "/srv/data/file", InvalidArgument}, "the race was never seen"
