"""The founding documents' middle, typed at minicontainer: copy-on-write, commit, volumes, tarballs, housekeeping.

What they make with a Dockerfile is made here with run and commit; builds have tests of their own.
"""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import tarfile
from collections.abc import Iterator

import pytest
from conftest import Cli, engine_with_alpine

CHANGE = """
echo hi > /root/new; echo x >> /etc/motd; rm /etc/hostname /etc/issue
mkdir -p /opt/a/b; touch /opt/a/b/c; rm -r /var/empty
"""


@pytest.fixture(scope="module")
def own_root(tmp_path_factory: pytest.TempPathFactory, rootfs_archive: str) -> Iterator[str]:
    """A store of this module's own, which its tests may empty."""
    engine = engine_with_alpine(str(tmp_path_factory.mktemp("documents")), rootfs_archive)
    yield engine.root
    for container in engine.containers(all=True):
        container.remove(force=True)


@pytest.fixture
def own(own_root: str) -> Cli:
    """The command line on that store."""
    return Cli(own_root)


def layers(cli: Cli, image: str) -> list[str]:
    return json.loads(cli.out("inspect", "--format", "{{json .RootFS.Layers}}", image))


@pytest.fixture
def changed(own: Cli) -> Iterator[str]:
    """A stopped container that has added, changed and removed files. /etc/hostname is a mount: it stays."""
    own("run", "--name", "sample", "alpine", "/bin/sh", "-c", CHANGE)
    yield "sample"
    own("rm", "-f", "sample")


def test_a_diff_lists_what_the_container_has_changed_and_nothing_else(own: Cli, changed: str) -> None:
    assert changed in own.out("container", "ls", "-a")
    assert set(own.out("container", "diff", changed).split("\n")) == {
        *("C /etc", "C /etc/motd", "D /etc/issue", "C /root", "A /root/new", "C /var", "D /var/empty"),
        *("C /opt", "A /opt/a", "A /opt/a/b", "A /opt/a/b/c"),
    }


def test_a_commit_adds_one_layer_to_those_that_never_change(own: Cli, changed: str) -> None:
    before = layers(own, "alpine")
    assert re.fullmatch("sha256:[0-9a-f]{64}", own.out("container", "commit", changed, "example/my-alpine"))
    assert layers(own, "example/my-alpine")[:-1] == before == layers(own, "alpine")
    assert len(layers(own, "example/my-alpine")) == len(before) + 1
    run = ("run", "--rm", "example/my-alpine")
    assert own.out(*run, "cat", "/root/new") == "hi"
    own(*run, "ls", "/etc/issue", code=1)
    rows = own.out("image", "history", "example/my-alpine").split("\n")
    assert len(rows) == 1 + 2 and "/bin/sh -c" in rows[1] and rows[2].startswith("<missing>")


def test_what_one_container_writes_no_other_sees(own: Cli) -> None:
    one, other = (own.out("run", "-d", "alpine", "sleep", "1000") for _ in range(2))
    own("exec", one, "sh", "-c", "echo mine > /etc/motd; rm /etc/os-release")
    own("exec", one, "cat", "/etc/os-release", code=1)
    for look in (("exec", other), ("run", "--rm", "alpine")):
        assert "ID=" in own.out(*look, "cat", "/etc/os-release")
        assert "mine" not in own.out(*look, "cat", "/etc/motd")
    own("rm", "-f", one, other)


def test_a_second_container_costs_no_copy(own: Cli, own_root: str) -> None:
    def on_disk() -> int:
        """Bytes in blocks; ``run`` is in memory where the root is not a test's, and the events are nobody's own."""
        du = ["du", "-s", "-B1", "--exclude", "./run", "--exclude", "./events*", "."]
        return int(subprocess.run(du, cwd=own_root, check=True, capture_output=True).stdout.split()[0])

    one = own.out("run", "-d", "alpine", "sleep", "1000")
    before = on_disk()
    other = own.out("run", "-d", "alpine", "sleep", "1000")
    assert 0 < on_disk() - before < 64_000 < before
    own("rm", "-f", one, other)


def test_a_volume_outlives_its_containers(own: Cli) -> None:
    own("volume", "create", "--label", "demo", "kept")
    own("run", "--rm", "-v", "kept:/data", "alpine", "sh", "-c", "echo data > /data/f")
    read_only = ("run", "--rm", "-v", "kept:/data:ro", "alpine")
    assert own.out(*read_only, "cat", "/data/f") == "data"
    assert "Read-only file system" in own(*read_only, "touch", "/data/g", code=1).stderr
    assert own.out("volume", "ls", "-q") == "kept"
    own("volume", "prune", "-f", "--filter", "label=other")
    assert own.out("volume", "ls", "-q") == "kept"
    own("volume", "prune", "-f", "--filter", "label=demo")
    assert own.out("volume", "ls", "-q") == ""


def test_an_image_is_a_tarball_and_comes_back_from_it(own: Cli, tmp_path: pathlib.Path) -> None:
    script = "echo saved > /f; chmod 4755 /f; ln -s f /l; mkfifo /p"
    own("run", "--name", "maker", "alpine", "sh", "-c", script)
    own("commit", "maker", "example/saved")
    own("rm", "maker")
    before = json.loads(own.out("image", "inspect", "example/saved"))[0]
    path = tmp_path / "saved.tar"
    own("image", "save", "-o", path, "example/saved")
    with tarfile.open(path) as tar:
        assert "manifest.json" in tar.getnames()
    own("image", "rm", "-f", "example/saved")
    own("image", "inspect", "example/saved", code=1)
    own("image", "load", "-i", path)
    after = json.loads(own.out("image", "inspect", "example/saved"))[0]
    assert (after["Id"], after["RootFS"]) == (before["Id"], before["RootFS"])
    show = "cat /l; stat -c %a /f; stat -c %F /p"
    assert own.out("run", "--rm", "example/saved", "sh", "-c", show).split("\n") == ["saved", "4755", "fifo"]


def test_df_counts_and_prune_takes_what_nobody_needs(own: Cli) -> None:
    table = own.out("system", "df").split("\n")
    assert table[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [row.split("  ")[0] for row in table[1:4]] == ["Images", "Containers", "Local Volumes"]
    assert "SHARED SIZE" in own.out("system", "df", "-v")
    ended, running = own.out("run", "-d", "alpine", "true"), own.out("run", "-d", "alpine", "sleep", "1000")
    own("wait", ended)
    said = own.out("container", "prune", "-f")
    assert ended in said and "Total reclaimed space: " in said
    assert own.out("ps", "-aq") == running[:12]
    for what in ("image", "system"):
        assert "Total reclaimed space: " in own.out(what, "prune", "-f")
    own("image", "inspect", "alpine")
    assert own.out("exec", running, "echo", "well") == "well"
    own("rm", "-f", running)
    assert own.out("system", "check").endswith("no problems")
