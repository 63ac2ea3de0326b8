"""The layer below all layers: a container that does nothing has changed nothing, whatever its image lacks."""

from __future__ import annotations

import io
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import DOCKER_IMAGE, PROJECT, Cli

from minicontainer.engine import union
from minicontainer.engine.engine import Engine
from minicontainer.errors import Error
from minicontainer.images import archive, embedded
from minicontainer.images.reference import Reference

Entry = tuple[str, str, int, int]  # name (a directory's ends with a slash), target of a symlink, mode, owner
MOUNT_POINTS = ["dev", "etc", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "sys"]


def entry(name: str, link: str = "", mode: int = 0, owner: int = 0) -> Entry:
    return name, link, mode or (0o755 if name.endswith("/") else 0o644), owner


def packed(*entries: Entry) -> bytes:
    """A root filesystem with a static busybox and these entries."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        busybox = tarfile.TarInfo("busybox")
        busybox.mode = 0o755
        with open(embedded.find_busybox(), "rb") as program:
            busybox.size = os.fstat(program.fileno()).st_size
            tar.addfile(busybox, program)
        for name, link, mode, owner in entries:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mode, info.uid, info.gid, info.linkname = mode, owner, owner, link
            info.type = (
                tarfile.SYMTYPE if link else tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            )
            tar.addfile(info)
    return stream.getvalue()


@pytest.fixture
def image(engine: Engine) -> Iterator[Callable[..., str]]:
    """Make an image ``strange`` of these entries."""

    def make(*entries: Entry) -> str:
        archive.import_tree(engine.images, io.BytesIO(packed(*entries)), Reference.parse("strange"))
        return "strange"

    yield make
    for container in engine.containers(all=True):
        container.remove(force=True)
    engine.remove_image("strange")


def run(engine: Engine, image: str, *argv: str) -> tuple[str, list[str], str]:
    """Run a container to its end: what it wrote, what is in its upper directory, and its path."""
    container = engine.create(image, argv)
    container.start()
    container.wait()
    return container.logs(), changes(container.path), container.path


def changes(path: str) -> list[str]:
    """All that is in the upper directory of a container, as paths below it."""
    upper = os.path.join(path, "upper")
    found = [os.path.join(where, name) for where, names, files in os.walk(upper) for name in names + files]
    return sorted(os.path.relpath(each, upper) for each in found)


def test_container_that_does_nothing_has_changed_nothing(engine):
    assert run(engine, "alpine", "true")[:2] == ("", [])


STRANGE = {
    "from scratch": [],
    "no etc": [entry("usr/"), entry("tmp/")],
    "empty etc": [entry("etc/")],
    "files of its own": [entry("etc/"), entry("etc/hosts"), entry("etc/hostname"), entry("etc/resolv.conf")],
    "symlink to a file": [
        entry("etc/"),
        entry("run/"),
        entry("run/resolv.conf"),
        entry("etc/resolv.conf", "../run/resolv.conf"),
    ],
    "symlink to nowhere": [
        entry("etc/"),
        entry("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
    ],
    "symlink out of the root": [entry("etc/"), entry("etc/resolv.conf", "../../../../nowhere/at/all")],
    "symlink to itself": [entry("etc/"), entry("etc/hosts", "hosts")],
    "etc elsewhere": [entry("config/"), entry("etc", "config")],
    "etc leads to nowhere": [entry("etc", "/nowhere")],
    "dev leads to nowhere": [entry("dev", "/nowhere")],
    "whiteout of a file": [entry("etc/"), entry("etc/.wh.hosts")],
    "whiteouts of directories": [entry(".wh.proc"), entry(".wh.dev"), entry(".wh.etc")],
    "opaque etc": [entry("etc/"), entry("etc/.wh..wh..opq"), entry("etc/kept")],
    "opaque root": [entry(".wh..wh..opq"), entry("etc/"), entry("etc/kept")],
}


@pytest.mark.parametrize("what", STRANGE)
def test_whatever_an_image_lacks_a_container_of_it_has_changed_nothing(engine, image, what):
    """And it has all that was mounted: kernel's filesystems, its own name, its own hosts."""
    name = image(*STRANGE[what])
    script = "cat /etc/hostname; head -n 1 /etc/hosts; ls -d /dev/null /proc/self /sys/fs; wc -l < /etc/resolv.conf"
    container = engine.create(name, ["/busybox", "sh", "-c", script])
    for _ in range(2):  # and no other when it is started again
        container.start()
        container.wait()
    with open("/etc/resolv.conf") as file:
        lines = str(file.read().count("\n"))
    expected = [container.short_id, "127.0.0.1\tlocalhost", "/dev/null", "/proc/self", "/sys/fs", lines]
    assert container.logs().splitlines() == expected * 2
    assert changes(container.path) == []


def test_layer_has_mount_points_and_nothing_else(engine):
    path = union.init_layer(engine.root)
    found = {
        str(each.relative_to(path)): stat.filemode(each.stat().st_mode)
        for each in pathlib.Path(path).rglob("*")
    }
    assert sorted(found) == MOUNT_POINTS
    assert {mode for name, mode in found.items() if "/" in name} == {"-rw-r--r--"}
    assert {mode for name, mode in found.items() if "/" not in name} == {"drwxr-xr-x"}
    assert all(each.stat().st_size == 0 for each in pathlib.Path(path, "etc").iterdir())


def test_only_an_image_that_hides_it_takes_a_layer_for_each_container(engine, image):
    plain = run(engine, "alpine", "true")[2]
    assert not os.path.exists(f"{plain}/init")
    strange = run(engine, image(*STRANGE["symlink to nowhere"]), "/busybox", "true")[2]
    assert [name for name in MOUNT_POINTS if os.path.exists(f"{strange}/init/{name}")] == [
        "etc",
        "etc/resolv.conf",
    ]


@pytest.mark.parametrize("hosts", ["etc/kept", "etc/.wh.hosts"], ids=["shared layer", "own layer"])
def test_owner_and_mode_of_a_directory_are_those_of_the_image(engine, image, hosts):
    name = image(entry("etc/", mode=0o2751, owner=7), entry(hosts), entry("dev/", mode=0o700))
    said, left, _ = run(engine, name, "/busybox", "stat", "-c", "%a %u %g", "/etc")
    assert (said, left) == ("2751 7 7\n", [])


def test_what_is_done_in_it_is_a_change_like_any_other(engine, image):
    name = image()
    container = engine.create(name, ["/busybox", "sh", "-c", "echo new > /etc/new; /busybox mkdir /data"])
    container.start()
    container.wait()
    assert changes(container.path) == ["data", "etc", "etc/new"]


@pytest.mark.parametrize(
    "words",
    [[], ["-w", "/new/er"], ["-w", "/etc/new"], ["--tmpfs", "/a/b"], ["--tmpfs", "/tmp"]],
    ids=" ".join,
)
def test_docker_sees_the_same_changes(cli: Cli, engine: Engine, docker, words):
    """A working directory that is not there and a mount point of one's own are made for good, as Docker does."""
    name = cli.out("run", "-d", *words, "alpine", "true")
    cli("wait", name)
    ours = changes(engine.find(name).path)
    theirs = docker("run", "-d", "--network", "none", *words, DOCKER_IMAGE, "true").stdout.strip()
    try:
        docker("wait", theirs)
        lines = docker("diff", theirs).stdout.splitlines()
    finally:
        docker("rm", "-f", theirs)
    assert [f"/{path}" for path in ours] == sorted(line.partition(" ")[2] for line in lines)


def test_docker_calls_what_is_done_in_it_the_same(cli: Cli, image, docker, tmp_path):
    """In an image without an /etc the directory is there already, and so it is changed, not added."""
    argv = ["/busybox", "sh", "-c", "echo new > /etc/new; /busybox mkdir /data"]
    ours = cli.out("run", "-d", image(), *argv)
    cli("wait", ours)
    (tmp_path / "strange.tar").write_bytes(packed())
    docker("import", tmp_path / "strange.tar", "minicontainer-tests-strange")
    theirs = docker("run", "-d", "--network", "none", "minicontainer-tests-strange", *argv).stdout.strip()
    try:
        docker("wait", theirs)
        expected = docker("diff", theirs).stdout.splitlines()
    finally:
        docker("rm", "-f", theirs)
        docker("rmi", "minicontainer-tests-strange")
    assert (
        sorted(cli.out("diff", ours).splitlines()) == sorted(expected) == ["A /data", "A /etc/new", "C /etc"]
    )


def test_layer_that_was_begun_is_finished(tmp_path):
    root = str(tmp_path)
    whole = set(pathlib.Path(union.init_layer(root)).rglob("*"))
    for step in range(len(MOUNT_POINTS)):
        shutil.rmtree(f"{root}/init-layer")
        for name in (each for each in ("dev", "etc", "proc", "sys")[:step]):
            os.makedirs(f"{root}/init-layer/{name}", mode=0o700)
        assert set(pathlib.Path(union.init_layer(root)).rglob("*")) == whole
        assert {each.stat().st_mode & 0o777 for each in whole if each.is_dir()} == {0o755}


STARTER = """
import sys
from minicontainer.engine import union
for number in range(200):
    union.init_layer(f"{sys.argv[1]}/{number}")
    print(number, flush=True)
"""


def test_several_processes_make_it_at_once_and_may_be_killed(tmp_path):
    argv = [sys.executable, "-c", STARTER, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    children = [subprocess.Popen(argv, stdout=subprocess.PIPE, env=env) for _ in range(3)]
    children[0].stdout.readline()
    time.sleep(0.005)
    children[0].send_signal(signal.SIGKILL)
    ends = [child.wait() for child in children]
    for child in children:
        child.stdout.close()
    assert ends[1:] == [0, 0]
    for number in range(200):
        layer = tmp_path / str(number) / "init-layer"
        assert sorted(str(each.relative_to(layer)) for each in layer.rglob("*")) == MOUNT_POINTS


@pytest.mark.parametrize("strange", ["from scratch", "whiteouts of directories"])
def test_whoever_the_container_runs_as_can_read_it_whatever_the_umask(cli: Cli, image, tmp_path, strange):
    """The state is made with a umask that keeps others out, as careful administrators have it."""
    name = image(*STRANGE[strange])
    container = cli.out(
        *["run", "-d", "--user", "1000", name, "/busybox", "cat", "/etc/hostname", "/etc/hosts"],
        umask=0o077,
    )
    assert cli.out("wait", container) == "0"
    assert cli.out("logs", container).startswith(container[:12])


def test_docker_shows_where_it_is_and_so_do_we(cli: Cli, engine: Engine, image):
    name = cli.out("run", "-d", "alpine", "true")
    (shown,) = json.loads(cli.out("inspect", name))
    (alpine,) = json.loads(cli.out("inspect", "alpine"))
    layers = engine.images.layer_paths(engine.images.find("alpine").diff_ids)
    assert shown["GraphDriver"]["Data"]["LowerDir"].split(":") == [*layers, f"{engine.root}/init-layer"]
    assert alpine["GraphDriver"]["Data"]["LowerDir"].split(":") == layers
    assert len(alpine["RootFS"]["Layers"]) == len(layers)
    image(*STRANGE["symlink to nowhere"])
    name = cli.out("run", "-d", "strange", "/busybox", "true")
    cli("wait", name)
    lower = cli.out("inspect", "--format", "{{.GraphDriver.Data.LowerDir}}", name).split(":")
    assert (lower[0], lower[-1]) == (f"{engine.root}/containers/{name}/init", f"{engine.root}/init-layer")


def test_it_outlives_containers_and_images(cli: Cli, engine: Engine, image):
    name = cli.out("run", "-d", image(), "/busybox", "true")
    cli("rm", "-f", name)
    cli("rmi", "strange")
    assert sorted(os.listdir(f"{engine.root}/init-layer")) == ["dev", "etc", "proc", "sys"]
    image()


def test_stopped_container_is_looked_at_with_it(cli: Cli, engine: Engine, image, tmp_path):
    """cp mounts a container that does not run, and leaves no more behind than starting it does."""
    name = cli.out("create", image(*STRANGE["symlink to nowhere"]), "/busybox", "true")
    cli("cp", f"{name}:/etc", tmp_path / "etc")
    assert sorted(os.listdir(tmp_path / "etc")) == ["hostname", "hosts", "resolv.conf"]
    assert changes(engine.find(name).path) == []


def test_second_container_costs_next_to_nothing(engine):
    """No layer is copied; what a container takes are a few small files (two runs of one image)."""
    paths = [run(engine, "alpine", "true")[2] for _ in range(2)]
    found = [pathlib.Path(paths[1]), *pathlib.Path(paths[1]).rglob("*")]
    assert sum(each.lstat().st_blocks * 512 for each in found) <= 64 << 10


def test_file_where_a_directory_must_be_is_named(engine, image):
    container = engine.create(image(entry("etc")), ["/busybox", "true"])
    with pytest.raises(Error, match=r"there can be no directory at /etc.*: a file is in the way"):
        container.start()
