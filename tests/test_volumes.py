"""Volumes: they outlive containers, are shared, filled from the image, and never lost to whoever cleans up."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import DOCKER_IMAGE, Cli

from minicontainer.engine import filling
from minicontainer.engine.engine import Engine
from minicontainer.engine.options import Options
from minicontainer.errors import Conflict, Error, InvalidArgument, NotFound

# What lies at /data in the image "filled": of every kind, with attributes of its own.
SCRIPT = r"""
mkdir -p /data/sub/deep /data/empty; chmod 1777 /data/empty; chown 12:34 /data; chmod 750 /data
echo hello > /data/sub/file; chmod 640 /data/sub/file; chown 56:78 /data/sub/file
ln /data/sub/file /data/linked; ln -s sub/file /data/link; ln -s /nowhere /data/broken; mkfifo /data/fifo
cp /bin/busybox /data/suid; chmod 4755 /data/suid; mknod /data/null c 1 3
truncate -s 8M /data/hole; echo end >> /data/hole; touch -d '2001-02-03 04:05:06' /data/sub/file /data/sub
ln -s /data /symlinked; ln -s ../../../../../etc /out
"""


@pytest.fixture
def filled(cli: Cli, tmp_path: pathlib.Path) -> Iterator[str]:
    """An image with files in /data."""
    cli("run", "--name", "maker", "alpine", "sh", "-ec", SCRIPT)
    subprocess.run(
        f"{' '.join(cli.argv)} cp -a maker:/ - > {tmp_path}/tree.tar", shell=True, check=True, env=cli.env
    )
    cli("rm", "maker")
    listed = subprocess.run(["tar", "tf", tmp_path / "tree.tar"], capture_output=True, text=True, check=True)
    top = listed.stdout.splitlines()[0].rstrip("/")
    subprocess.run(["mkdir", tmp_path / "tree"], check=True)
    subprocess.run(["tar", "xpf", tmp_path / "tree.tar", "-C", tmp_path / "tree", "--xattrs"], check=True)
    tree = tmp_path / "tree" / top
    (tree / "data/linked").unlink()
    os.link(tree / "data/sub/file", tree / "data/linked")
    os.setxattr(tree / "data/sub/file", "user.note", b"kept")
    os.setxattr(
        tree / "data/suid", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")
    )
    pack = ["tar", "cf", tmp_path / "image.tar", "--xattrs", "--xattrs-include=*", "-C", tree, "."]
    subprocess.run(pack, check=True)
    cli("import", "--change", "VOLUME /declared", tmp_path / "image.tar", "filled")
    yield "filled"
    for container in cli.out("ps", "-aq").split():
        cli("rm", "-fv", container)
    cli("rmi", "-f", "filled")


# ------------------------------------------------------------------ the commands


def test_create_list_inspect_remove(cli: Cli) -> None:
    assert cli.out("volume", "create", "--label", "tier=db", "--label", "bare", "data") == "data"
    assert cli.out("volume", "create", "data") == "data", "making it again changes nothing"
    assert cli.out("volume", "ls") == "DRIVER    VOLUME NAME\nlocal     data"
    (document,) = json.loads(cli.out("volume", "inspect", "data"))
    assert document["Labels"] == {"tier": "db", "bare": ""}
    assert document["Mountpoint"].endswith("/volumes/data/_data") and os.path.isdir(document["Mountpoint"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["CreatedAt"])
    assert cli.out("inspect", "data", "--format", "{{.Name}} {{.Scope}}") == "data local"
    assert cli.out("volume", "rm", "data") == "data"
    assert not cli.out("volume", "ls", "-q")


def test_documents_have_dockers_shape(cli: Cli, docker: Any) -> None:
    docker("volume", "create", "--label", "a=b", "mc-shape")
    try:
        theirs = docker("volume", "inspect", "mc-shape").stdout
        row = docker("volume", "ls", "--filter", "name=mc-shape", "--format", "{{json .}}").stdout
    finally:
        docker("volume", "rm", "mc-shape")
    cli("volume", "create", "--label", "a=b", "mc-shape")
    ours = cli("volume", "inspect", "mc-shape").stdout
    own = re.compile(r'"(CreatedAt|Mountpoint)": "[^"]*"|"Options": (null|{})')
    assert own.sub("", ours) == own.sub("", theirs)
    ours = cli("volume", "ls", "--format", "{{json .}}").stdout
    assert (
        json.loads(ours).items() >= {**json.loads(row), "Mountpoint": json.loads(ours)["Mountpoint"]}.items()
    )


def test_filters(cli: Cli) -> None:
    for name, label in (("data-one", "tier=db"), ("data-two", "tier=web"), ("other", "")):
        cli("volume", "create", *(["--label", label] if label else []), name)
    cli("create", "-v", "other:/x", "alpine")
    for text, wanted in {
        "name=data": "data-one data-two",
        "name=^other$": "other",
        "label=tier": "data-one data-two",
        "label=tier=db": "data-one",
        "dangling=true": "data-one data-two",
        "dangling=false": "other",
        "driver=local": "data-one data-two other",
        "driver=nfs": "",
    }.items():
        assert cli.out("volume", "ls", "-q", "--filter", text).split() == wanted.split(), text
    both = cli.out("volume", "ls", "-q", "-f", "label=tier", "-f", "label=tier=web")
    assert both == "data-two"
    assert "invalid filter 'foo'" in cli("volume", "ls", "-f", "foo=x", code=1).stderr
    assert "dangling=x" in cli("volume", "ls", "-f", "dangling=x", code=1).stderr
    assert "expected name=value" in cli("volume", "ls", "-f", "foo", code=125).stderr


@pytest.mark.parametrize("name", ["a/b", "..", "../../etc", ".hidden", "-x", "a b", "x\n", "ä", "a"])
def test_names_that_are_none(engine: Engine, name: str) -> None:
    with pytest.raises(InvalidArgument, match="create"):
        engine.volumes.create(name)
    with pytest.raises(NotFound):
        engine.volumes.find(name)
    with pytest.raises(NotFound):
        engine.volumes.remove(name)
    assert engine.volumes.all() == []


def test_a_name_that_no_directory_can_have(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match="too long"):
        engine.volumes.create("x" * 256)
    with pytest.raises(NotFound):
        engine.volumes.find("x" * 5000)
    assert engine.volumes.create("x" * 255).name == "x" * 255


def test_what_is_in_use_stays(cli: Cli) -> None:
    stopped = cli.out("create", "-v", "data:/d", "alpine")
    running = cli.out("run", "-d", "-v", "data:/d", "alpine", "sleep", "1000")
    for words in (["data"], ["-f", "data"]):
        refused = cli("volume", "rm", *words, code=1).stderr
        assert "remove data: volume is in use" in refused and stopped in refused and running in refused
    cli("rm", "-f", running)
    assert running not in cli("volume", "rm", "data", code=1).stderr
    cli("rm", stopped)
    assert cli.out("volume", "rm", "data") == "data"
    assert "no such volume: data" in cli("volume", "rm", "data", code=1).stderr
    assert cli.out("volume", "rm", "-f", "data") == "data"
    assert "no such volume" in cli("volume", "inspect", "data", code=1).stderr


# ------------------------------------------------------------------ their life


def test_data_outlives_containers_and_is_shared(cli: Cli) -> None:
    cli("run", "--rm", "-v", "data:/d", "alpine", "sh", "-c", "echo kept > /d/f")
    assert cli.out("run", "--rm", "-v", "data:/elsewhere:ro", "alpine", "cat", "/elsewhere/f") == "kept"
    one = cli.out("run", "-d", "-v", "data:/d", "alpine", "sleep", "1000")
    two = cli.out("run", "-d", "-v", "data:/d", "alpine", "sleep", "1000")
    cli("exec", one, "sh", "-c", "echo now > /d/f")
    assert cli.out("exec", two, "cat", "/d/f") == "now"
    assert "d/f" not in cli.out(
        "run", "--rm", "alpine", "find", "/", "-name", "f", "-path", "/d/*", code=None
    )


@pytest.mark.parametrize("how", ["-v data:/d:ro", "--mount src=data,dst=/d,readonly"])
def test_read_only_is_read_only(cli: Cli, how: str) -> None:
    cli("run", "--rm", "-v", "data:/d", "alpine", "touch", "/d/f")
    script = "touch /d/g || rm /d/f || mount -o remount,rw /d && touch /d/h"
    done = cli("run", "--rm", *how.split(), "alpine", "sh", "-c", script, code=1)
    assert "Read-only file system" in done.stderr
    assert cli.out("run", "--rm", "-v", "data:/d", "alpine", "ls", "/d") == "f"


def test_a_read_only_tree_has_no_writable_mount_in_it(cli: Cli, tmp_path: pathlib.Path) -> None:
    (tmp_path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "test", tmp_path / "below"], check=True)
    try:
        done = cli("run", "--rm", "-v", f"{tmp_path}:/x:ro", "alpine", "touch", "/x/below/f", code=1)
    finally:
        subprocess.run(["umount", tmp_path / "below"], check=True)
    assert "Read-only file system" in done.stderr


def test_anonymous_volumes_go_with_their_container_when_asked(cli: Cli, filled: str) -> None:
    def volumes() -> list[str]:
        return cli.out("volume", "ls", "-q").split()

    cli("run", "--rm", "-v", "/a", "-v", "named:/b", filled, "/bin/busybox", "true")
    assert volumes() == ["named"], "--rm takes /a and the image's /declared, and no volume with a name"
    kept = cli.out("create", "-v", "/a", filled, "true")
    assert len(volumes()) == 3 and all(re.fullmatch("[0-9a-f]{64}|named", name) for name in volumes())
    cli("rm", kept)
    assert len(volumes()) == 3
    gone = cli.out("run", "-d", "-v", "/a", filled, "/bin/busybox", "sleep", "1000")
    cli("rm", "-f", "-v", gone)
    assert len(volumes()) == 3
    cli("run", "--rm", "-v", "/a", "alpine", "/no/such/program", code=127)
    cli("create", "-v", "/a", "-v", "named:/a/..", "alpine", code=1)
    assert len(volumes()) == 3, "a start that failed leaves its volumes"


def test_mounts_lie_in_one_another(cli: Cli, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    mounts = f"-v {tmp_path}/file:/a/b/c/file -v inner:/a/b --tmpfs /a/b/t -v outer:/a".split()
    script = "cat /a/b/c/file; for d in /a /a/b /a/b/t; do touch $d/x; done; grep -c ' /a' /proc/mounts"
    assert cli.out("run", "--rm", *mounts, "alpine", "sh", "-c", script).split("\n") == ["of the host", "4"]
    listed = cli.out("run", "--rm", "-v", "outer:/o", "-v", "inner:/i", "alpine", "ls", "/o", "/i").split()
    assert listed == ["/i:", "c", "t", "x", "/o:", "b", "x"]


def test_what_is_asked_for_takes_the_place_of_our_own(cli: Cli, tmp_path: pathlib.Path) -> None:
    (tmp_path / "hosts").write_text("mine\n")
    binds = ["-v", f"{tmp_path}/hosts:/etc/hosts", "-v", "memory:/dev/shm"]
    script = "cat /etc/hosts; touch /dev/shm/f; grep -c -e ' /etc/hosts' -e ' /dev/shm' /proc/mounts"
    assert cli.out("run", "--rm", *binds, "alpine", "sh", "-c", script).split() == ["mine", "2"]
    assert cli.out("run", "--rm", "-v", "memory:/m", "alpine", "ls", "/m") == "f"
    refused = cli("run", "--rm", "-v", f"{tmp_path}:/proc", "alpine", "true", code=125)
    assert "/proc is the kernel's" in refused.stderr


def test_tmpfs(cli: Cli) -> None:
    mount = "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700"
    shown = cli.out("run", "--rm", "--mount", mount, "alpine", "grep", " /t ", "/proc/mounts")
    for option in ("rw", "nosuid", "nodev", "noexec", "size=1024k", "mode=700"):
        assert option in re.split("[ ,]", shown)
    full = cli(
        "run", "--rm", "--mount", mount, "alpine", "dd", "if=/dev/zero", "of=/t/f", "bs=1M", "count=2", code=1
    )
    assert "No space left" in full.stderr
    cli("run", "--rm", "--mount", "type=tmpfs,dst=/t,readonly", "alpine", "touch", "/t/f", code=1)


def test_a_missing_path_is_made_by_v_and_missed_by_mount(cli: Cli, tmp_path: pathlib.Path) -> None:
    made = cli.out("create", "-v", f"{tmp_path}/new/deep:/x", "alpine", "touch", "/x/f")
    assert not (tmp_path / "new").exists(), "docker makes it when the container starts"
    cli("start", "-a", made)
    assert (tmp_path / "new/deep/f").exists()
    (tmp_path / "there").mkdir()
    mount = f"type=bind,src={tmp_path}/there,dst=/x"
    other = cli.out("create", "--mount", mount, "alpine", "true")
    (tmp_path / "there").rmdir()
    assert f"does not exist: {tmp_path}/there" in cli("start", other, code=1).stderr
    assert not (tmp_path / "there").exists()


def test_a_source_that_is_a_symlink_is_followed_on_the_host(cli: Cli, tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/f").write_text("x")
    (tmp_path / "link").symlink_to("real")
    assert cli.out("run", "--rm", "-v", f"{tmp_path}/link:/x", "alpine", "cat", "/x/f") == "x"
    (tmp_path / "dangling").symlink_to("nowhere")
    refused = cli("run", "--rm", "-v", f"{tmp_path}/dangling:/x", "alpine", "true", code=125)
    assert "dangling" in refused.stderr and not (tmp_path / "nowhere").exists()


def test_a_destination_that_leads_out_of_the_image(cli: Cli, filled: str) -> None:
    before = sorted(os.listdir("/etc"))
    refused = cli("run", "--rm", "-v", "data:/out", filled, "/bin/busybox", "true", code=125)
    assert "leaves the root filesystem through the symlink /out" in refused.stderr
    assert sorted(os.listdir("/etc")) == before
    assert not list(pathlib.Path(cli.argv[-1], "volumes/data/_data").iterdir())
    assert not cli.out("ps", "-aq")


def test_cp_finds_volumes_whether_or_not_a_container_runs(cli: Cli, tmp_path: pathlib.Path) -> None:
    (tmp_path / "bound").mkdir()
    (tmp_path / "f").write_text("copied\n")
    mounts = ["-v", "data:/d", "-v", "inner:/d/in", "-v", f"{tmp_path}/bound:/b", "-v", "data:/ro:ro"]
    cli("create", "--name", "it", *mounts, "alpine", "sleep", "1000")
    cli("cp", tmp_path / "f", "it:/d/f")
    cli("cp", tmp_path / "f", "it:/d/in/g")
    cli("cp", tmp_path / "f", "it:/b/")
    assert (tmp_path / "bound/f").read_text() == "copied\n"
    assert "ead-only" in cli("cp", tmp_path / "f", "it:/ro/x", code=1).stderr
    assert cli.out(
        "run", "--rm", "-v", "data:/v:ro", "-v", "inner:/w", "alpine", "ls", "/v", "/w"
    ).split() == [
        "/v:",
        "f",
        "in",
        "/w:",
        "g",
    ]
    for _ in range(2):  # stopped, and then running
        cli("cp", "it:/d", tmp_path / "out")
        assert (tmp_path / "out/f").read_text() == (tmp_path / "out/in/g").read_text() == "copied\n"
        subprocess.run(["rm", "-r", tmp_path / "out"], check=True)
        cli("start", "it")
    assert cli.argv[-1] not in pathlib.Path("/proc/self/mountinfo").read_text()


# ------------------------------------------------------------------ propagation


@pytest.fixture
def shared(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A mount of the host that is shared."""
    place = tmp_path / "shared"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "test", place], check=True)
    subprocess.run(["mount", "--make-shared", place], check=True)
    (place / "by-host").mkdir()
    (place / "by-container").mkdir()
    yield place
    subprocess.run(["umount", "-R", place], check=True)


def mounted(table: str, *places: object) -> list[bool]:
    return [f" {place} " in table for place in places]


def test_propagation(cli: Cli, shared: pathlib.Path) -> None:
    binds = [f"-v{shared}:/{kind}:{kind}" for kind in ("rshared", "rslave", "rprivate")]
    power = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"]
    container = cli.out("run", "-d", *power, *binds, "alpine", "sleep", "1000")
    subprocess.run(["mount", "-t", "tmpfs", "test", shared / "by-host"], check=True)
    inside = cli.out("exec", container, "cat", "/proc/self/mountinfo")
    places = ("/rshared/by-host", "/rslave/by-host", "/rprivate/by-host")
    assert mounted(inside, *places) == [True, True, False]
    cli("exec", container, "mount", "-t", "tmpfs", "test", "/rshared/by-container")
    cli("exec", container, "mount", "-t", "tmpfs", "test", "/rslave/by-host")
    outside = pathlib.Path("/proc/self/mountinfo").read_text()
    assert mounted(outside, shared / "by-container") == [True]
    assert outside.count(f" {shared}/by-host ") == 1
    cli("rm", "-f", container)


def test_nothing_shows_on_a_host_that_shares_all_its_mounts(cli: Cli) -> None:
    run = f"{' '.join(cli.argv)} run -d -v data:/d alpine sleep 1000"
    script = f"set -e; cat /proc/self/mountinfo >/dev/null; {run}; cat /proc/self/mountinfo"
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "shared", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=cli.env,
    )
    container, _, table = done.stdout.partition("\n")
    assert " shared:" in table, "this host was to share its mounts"
    assert cli.argv[-1] not in table and container not in table
    assert cli.out("exec", container, "ls", "/d") == ""


# ------------------------------------------------------------------ filling


def tree(path: pathlib.Path) -> dict[str, tuple[Any, ...]]:
    """Everything below a directory: mode, owner, time, content, attributes, and which names are one file."""
    found: dict[str, tuple[Any, ...]] = {}
    first: dict[int, str] = {}
    for place in [path, *sorted(path.rglob("*"))]:
        status, name = place.lstat(), str(place.relative_to(path))
        content: object = os.readlink(place) if place.is_symlink() else status.st_rdev
        if stat.S_ISREG(status.st_mode):
            content = place.read_bytes()
        xattrs = {
            key: os.getxattr(place, key, follow_symlinks=False)
            for key in os.listxattr(place, follow_symlinks=False)
        }
        one = first.setdefault(status.st_ino, name)
        found[name] = (
            oct(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            content,
            xattrs,
            one,
        )
    return found


def layer_of(engine: Engine, image: str) -> pathlib.Path:
    (directory,) = engine.images.layer_directories(engine.images.find(image))
    return pathlib.Path(directory)


def test_filled_from_the_image_as_it_is(engine: Engine, cli: Cli, filled: str) -> None:
    cli("create", "-v", "data:/data", "-v", "again:/symlinked", filled, "true")
    original = tree(layer_of(engine, filled) / "data")
    for name in ("data", "again"):
        assert tree(pathlib.Path(engine.volumes.find(name).data_path)) == original
    assert (
        original["sub/file"][5].items() >= {"user.note": b"kept"}.items()
        and original["sub/file"][6] == "linked"
    )
    hole = pathlib.Path(engine.volumes.find("data").data_path, "hole").stat()
    assert hole.st_size > 8 << 20 > 100 * hole.st_blocks * 512


def test_filled_like_docker_does(engine: Engine, cli: Cli, docker: Any) -> None:
    cli("create", "-v", "data:/etc", "alpine")
    created = docker("create", "-v", "mc-fill:/etc", DOCKER_IMAGE)
    assert created.returncode == 0, created.stderr
    made = created.stdout.strip()
    theirs = docker("volume", "inspect", "-f", "{{.Mountpoint}}", "mc-fill").stdout.strip()
    try:
        own = ("hosts", "hostname", "resolv.conf", "mtab")
        ours, docks = tree(pathlib.Path(engine.volumes.find("data").data_path)), tree(pathlib.Path(theirs))
        assert ours["."][:3] == docks["."][:3]
        for name in own:
            ours.pop(name, None)
            docks.pop(name, None)
        assert {name: (*each[:3], each[4]) for name, each in ours.items()} == {
            name: (*each[:3], each[4]) for name, each in docks.items()
        }
        files = [name for name, each in ours.items() if each[0].startswith("0o100")]
        assert len(files) > 20 and [ours[name][3] for name in files] == [docks[name][3] for name in files]
    finally:
        docker("rm", made)
        docker("volume", "rm", "mc-fill")


def test_only_an_empty_volume_is_filled(cli: Cli, filled: str) -> None:
    cli("run", "--rm", "-v", "data:/d", "alpine", "touch", "/d/mine")
    assert cli.out("run", "--rm", "-v", "data:/data", filled, "/bin/busybox", "ls", "/data") == "mine"
    cli("run", "--rm", "-v", "bare:/data:nocopy", filled, "/bin/busybox", "true")
    assert cli.out("run", "--rm", "-v", "bare:/d", "alpine", "ls", "/d") == ""
    cli("run", "--rm", "-v", "data:/etc/passwd", "alpine", "true", code=125)


def test_a_data_container_that_never_ran_has_its_images_files(cli: Cli, filled: str) -> None:
    cli("create", "--name", "data", "-v", "/data", filled, "true")
    assert cli.out("run", "--rm", "--volumes-from", "data", "alpine", "cat", "/data/sub/file") == "hello"


def test_filling_goes_on_where_somebody_was_killed(engine: Engine, filled: str, monkeypatch: Any) -> None:
    whole = tree(layer_of(engine, filled) / "data")
    options = Options(volumes=["data:/data"])
    moved = []
    rename = os.rename

    def killed(source: str, target: str, **how: int) -> None:
        if "/copied/" in source:
            moved.append(source)
            if len(moved) == 4:
                raise SystemExit("killed")
        rename(source, target, **how)

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(SystemExit):
        engine.create(filled, ["true"], options)
    monkeypatch.undo()
    volume = engine.volumes.find("data")
    assert 0 < len(os.listdir(volume.data_path)) < len(whole)
    filling.settle(volume)
    assert tree(pathlib.Path(volume.data_path)) == whole
    assert sorted(os.listdir(volume.path)) == ["_data", "lock", "volume.json"]


def test_killed_at_any_moment_of_a_start(engine: Engine, cli: Cli, filled: str) -> None:
    whole = tree(layer_of(engine, filled) / "data").keys()
    for attempt in range(25):
        argv = [*cli.argv, "run", "--rm", "-v", "data:/data", "-v", "/more", filled, "/bin/busybox", "true"]
        process = subprocess.Popen(argv, env=cli.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.02 + attempt * 0.012)
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 10
        while cli.out("ps", "-aq") and time.monotonic() < deadline:
            time.sleep(0.1)  # it had been handed over to its monitor
        listed = cli.out("run", "--rm", "-v", "data:/data", filled, "/bin/busybox", "find", "/data").split()
        assert {os.path.relpath(path, "/data") for path in listed} == set(whole), attempt
        assert cli.out("volume", "ls", "-q") == "data", "an anonymous volume was left"
        place = pathlib.Path(cli.argv[-1], "volumes")
        assert sorted(os.listdir(place)) == [".lock", "data"], "half a volume was left"
        assert sorted(os.listdir(place / "data")) == ["_data", "lock", "volume.json"]
        if attempt % 3:
            cli("volume", "rm", "data")


def test_two_that_fill_at_once(engine: Engine, cli: Cli, filled: str) -> None:
    argv = [*cli.argv, "run", "--rm", "-v", "data:/data", filled, "/bin/busybox", "find", "/data"]
    both = [subprocess.Popen(argv, env=cli.env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    shown = {tuple(sorted(process.communicate()[0].split())) for process in both}
    assert len(shown) == 1 and len(shown.pop()) == len(tree(layer_of(engine, filled) / "data"))


# ------------------------------------------------------------------ at odds with one another


def test_a_volume_is_not_removed_from_under_a_container_that_is_being_made(engine: Engine) -> None:
    container = engine.create("alpine", ["true"], Options(volumes=["data:/d", "/a"]))
    with pytest.raises(Conflict, match=container.id):
        engine.volumes.remove("data")
    container.settle()
    container.remove(volumes=True)
    engine.volumes.remove("data")


def test_a_container_whose_volume_was_deleted_by_hand_says_so(engine: Engine, cli: Cli) -> None:
    container = cli.out("create", "-v", "data:/d", "alpine", "true")
    volume = engine.volumes.find("data")
    subprocess.run(["rm", "-r", volume.path], check=True)
    assert "no such volume: data" in cli("start", container, code=1).stderr


def test_nobody_prunes_while_it_is_unknown_what_is_needed(engine: Engine, cli: Cli) -> None:
    container = cli.out("create", "-v", "data:/d", "-v", "/a", "alpine", "true")
    document = pathlib.Path(engine.containers_path, container, "container.json")
    content = document.read_text()
    document.write_text(content[:100])
    try:
        with pytest.raises(Error, match="damaged"):
            engine.volumes.remove("data")
        assert "damaged" in cli("volume", "prune", "-f", code=1).stderr
        cli("run", "--rm", "-v", "/b", "alpine", "true")
    finally:
        document.write_text(content)
    assert len(engine.volumes.all()) == 3, "what could not be judged stays"
    cli("volume", "prune", "-f")
    assert len(engine.volumes.all()) == 2
