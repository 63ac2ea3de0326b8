"""df and prune: the sizes are true, and what anybody needs is never taken."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from at_terminal import Terminal
from conftest import Cli, engine_with_alpine

from minicontainer.engine import disk, pruning
from minicontainer.engine.engine import Engine
from minicontainer.errors import InvalidArgument

WRITES = "head -c 10240 /dev/zero > /f"


@pytest.fixture
def own_root(tmp_path: pathlib.Path, rootfs_archive: str) -> Iterator[str]:
    """A root of our own with the image ``alpine`` alone, for what counts or removes images."""
    engine = engine_with_alpine(str(tmp_path / "root"), rootfs_archive)
    yield engine.root
    for container in engine.containers(all=True):
        container.remove(force=True)


@pytest.fixture
def own(own_root: str) -> Cli:
    """The command line on that root."""
    return Cli(own_root)


def rows(cli: Cli) -> dict[str, dict[str, str]]:
    return {
        row["Type"]: row for row in map(json.loads, cli.out("system", "df", "--format", "json").split("\n"))
    }


def tarball(path: pathlib.Path, size: int) -> pathlib.Path:
    """An archive with one file of this many bytes that no other has."""
    (path / "content").write_bytes(os.urandom(size))
    subprocess.run(["tar", "cf", path / "image.tar", "-C", path, "content"], check=True)
    return path / "image.tar"


# ------------------------------------------------------------------ df


def test_df_counts_what_there_is(own: Cli, tmp_path: pathlib.Path) -> None:
    before = rows(own)
    assert before["Images"]["Active"] == "0" and before["Images"]["Reclaimable"].endswith("(100%)")
    assert before["Build Cache"]["Size"] == before["Containers"]["Size"] == "0B"
    own("import", tarball(tmp_path, 1_000_000), "unused")
    own("run", "--name", "stopped", "-v", "used:/v", "alpine", "sh", "-c", WRITES + "; cp /f /v")
    own("run", "-d", "--name", "running", "alpine", "sh", "-c", WRITES + "; exec sleep 1000")
    own("volume", "create", "free")
    (pathlib.Path(own.argv[-1], "volumes/free/_data/x")).write_bytes(b"x" * 2000)
    after = rows(own)
    assert after["Images"]["TotalCount"] == "2" and after["Images"]["Active"] == "1"
    assert after["Images"]["Reclaimable"].startswith("1MB (")
    assert after["Containers"] == {
        "Type": "Containers",
        "TotalCount": "2",
        "Active": "1",
        "Size": "20.48kB",
        "Reclaimable": "10.24kB (50%)",
    }
    volumes = after["Local Volumes"]
    assert (volumes["TotalCount"], volumes["Active"]) == ("2", "1")
    assert (volumes["Size"], volumes["Reclaimable"]) == ("12.24kB", "2kB (16%)")


def test_df_looks_like_dockers(cli: Cli, docker: Any) -> None:
    ours, theirs = cli.out("system", "df").split("\n"), docker("system", "df").stdout.split("\n")
    assert [re.split(r"\s{2,}", line)[0] for line in ours] == [
        re.split(r"\s{2,}", line)[0] for line in theirs if line
    ]
    assert ours[0] == theirs[0]
    headers = re.compile(r"^(?:[A-Z][A-Z ]+|[A-Z].* usage:.*)$", re.M)
    details = headers.findall(cli.out("system", "df", "-v"))
    wanted = headers.findall(docker("system", "df", "-v").stdout)
    assert [line.split() for line in details] == [line.split() for line in wanted]
    ours = json.loads(cli.out("system", "df", "-v", "--format", "json"))
    theirs = json.loads(docker("system", "df", "-v", "--format", "{{json .}}").stdout)
    assert ours.keys() == theirs.keys()
    assert theirs["Images"][0].keys() <= ours["Images"][0].keys()
    theirs = docker("system", "df", "--format", "{{json .}}").stdout.split("\n")[0]
    assert json.loads(theirs).keys() == rows(cli)["Images"].keys()


def test_df_details(own: Cli) -> None:
    own("run", "--name", "it", "-v", "data:/v", "-v", "/a", "alpine", "sh", "-c", WRITES + "; cp /f /v")
    shown = own.out("system", "df", "-v")
    assert re.search(r"^alpine +latest +\w{12} +.* ago +\S+ +0B +\S+ +1$", shown, re.M)
    assert re.search(r'^\w{12} +alpine +"sh -c .* +2 +10.2kB +.* ago +Exited .* +it$', shown, re.M)
    assert re.search(r"^data +1 +10.2kB$", shown, re.M)
    assert own.out("system", "df", "--format", "{{.Type}}={{.TotalCount}}").split("\n")[1] == "Containers=1"
    assert own.out("ps", "-as", "--format", "{{.Size}}").startswith("10.2kB (virtual ")


def test_a_file_with_two_names_is_counted_once(tmp_path: pathlib.Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "one").write_bytes(b"x" * 1000)
    os.link(tmp_path / "one", tmp_path / "below/two")
    (tmp_path / "link").symlink_to("/etc")
    assert disk.tree_size(str(tmp_path)) == 1000 + len("/etc")
    assert disk.tree_size(str(tmp_path / "gone")) == 0


# ------------------------------------------------------------------ prune


def test_containers_that_stopped_go_and_their_volumes_stay(cli: Cli) -> None:
    stopped = cli.out("create", "-v", "/a", "alpine")
    cli("run", "--name", "ended", "alpine", "sh", "-c", WRITES)
    ended = cli.out("inspect", "-f", "{{.Id}}", "ended")
    running = cli.out("run", "-d", "alpine", "sleep", "1000")
    paused = cli.out("run", "-d", "alpine", "sleep", "1000")
    cli("pause", paused)
    said = cli("container", "prune", "-f").stdout
    title, *ids, empty, total = said.strip().split("\n")
    assert (title, sorted(ids), empty) == ("Deleted Containers:", sorted([stopped, ended]), "")
    assert total == "Total reclaimed space: 10.24kB"
    assert set(cli.out("ps", "-aq", "--no-trunc").split()) == {running, paused}
    assert len(cli.out("volume", "ls", "-q").split()) == 1
    assert cli("container", "prune", "-f").stdout == "Total reclaimed space: 0B\n"


def test_prune_asks_first(cli: Cli) -> None:
    cli("create", "alpine")
    for answer in ("n\n", "", "yes\n", "\n"):
        said = cli("container", "prune", input=answer).stdout
        assert said.startswith("WARNING! This will remove all stopped containers.\nAre you sure")
        assert said.endswith("[y/N] Total reclaimed space: 0B\n")
    assert len(cli.out("ps", "-aq").split()) == 1
    with Terminal([*cli.argv, "container", "prune"], cli.env) as terminal:
        terminal.expect(r"\[y/N\] ")
        terminal.type("y\n")
        terminal.expect("Deleted Containers:")
        assert terminal.wait() == 0
    assert not cli.out("ps", "-aq")


def test_the_warnings_are_dockers(cli: Cli, docker: Any) -> None:
    for words in (
        ["container", "prune"],
        ["volume", "prune"],
        ["system", "prune"],
        ["system", "prune", "-a"],
        ["system", "prune", "--volumes"],
        ["system", "prune", "--filter", "label=b", "--filter", "label=a"],
    ):
        assert cli(*words, input="n\n").stdout == docker(*words, input="n\n").stdout, words


def test_filters_of_prune(cli: Cli) -> None:
    for label in ("keep=yes", "keep=no", "other"):
        cli("create", "--name", label.replace("=", "-"), "--label", label, "alpine")
        cli("volume", "create", "--label", label, label.replace("=", "-"))

    def left() -> tuple[set[str], set[str]]:
        containers = cli.out("ps", "-a", "--format", "{{.Names}}").split()
        return set(containers), set(cli.out("volume", "ls", "-q").split())

    everything = {"keep-yes", "keep-no", "other"}
    for words in (["--filter", "label=none"], ["--filter", "label=keep=perhaps"], ["--filter", "until=1h"]):
        cli("container", "prune", "-f", *words)
    assert left()[0] == everything
    cli("container", "prune", "-f", "--filter", "label!=keep", "--filter", "until=0s")
    assert left() == (everything - {"other"}, everything)
    cli("volume", "prune", "-f", "--filter", "label=keep", "--filter", "label!=keep=yes")
    assert left() == (everything - {"other"}, everything - {"keep-no"})
    cli("system", "prune", "-f", "--volumes", "--filter", "label=keep=yes")
    assert left() == ({"keep-no"}, {"other"})


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("container prune --filter foo=x", 1, "invalid filter 'foo'"),
        ("volume prune --filter until=1h", 1, "until"),
        ("system prune --filter foo=x", 1, "invalid filter 'foo'"),
        ("system prune --volumes --filter until=24h", 1, '"until" filter is not supported with "--volumes"'),
        ("container prune --filter until=bad", 1, "bad"),
        ("container prune --filter foo", 125, "bad format of filter"),
        ("system prune more", 1, "accepts no arguments"),
    ],
)
def test_a_wrong_filter_is_said_before_anybody_is_asked(cli: Cli, words: str, code: int, said: str) -> None:
    cli("create", "alpine")
    refused = cli(*words.split(), code=code, input="y\n")
    assert said in refused.stderr and not refused.stdout
    assert len(cli.out("ps", "-aq").split()) == 1


def test_system_prune_takes_only_what_nobody_needs(own: Cli, tmp_path: pathlib.Path) -> None:
    own("import", tarball(tmp_path, 1_000_000), "tagged")
    own("import", tarball(tmp_path, 2_000_000), "renamed")
    own("import", tarball(tmp_path, 3_000_000), "renamed")  # and the one before has no name any more
    for name in ("used", "free"):
        own("volume", "create", name)
    running = own.out("run", "-d", "-v", "used:/v", "alpine", "sleep", "1000")
    own("create", "alpine")
    said = own("system", "prune", "-f").stdout
    assert "Deleted Containers:" in said and "Deleted Images:" in said and "Deleted Volumes" not in said
    names = own.out("images", "--format", "{{.Repository}}").split()
    assert sorted(names) == ["alpine", "renamed", "tagged"]
    assert own.out("volume", "ls", "-q").split() == ["free", "used"]
    said = own("system", "prune", "-f", "-a", "--volumes").stdout
    assert "Deleted Volumes:\nfree\n" in said
    assert own.out("images", "--format", "{{.Repository}}") == "alpine", "a container has it"
    assert own.out("volume", "ls", "-q") == "used"
    assert own.out("ps", "-q", "--no-trunc") == running
    own("rm", "-f", running)
    own("system", "prune", "-f", "-a", "--volumes")
    assert {row["TotalCount"] for row in rows(own).values()} == {"0"}
    left = subprocess.run(["du", "-sb", own.argv[-1]], capture_output=True, text=True, check=True).stdout
    assert int(left.split()[0]) < 500_000, "prune said that all of it is gone"


def test_the_bytes_that_are_said_to_be_free_are(own: Cli, tmp_path: pathlib.Path) -> None:
    own("run", "-v", "data:/d", "alpine", "sh", "-c", "head -c 3000000 /dev/urandom | tee /d/f > /f")

    def used() -> int:
        return sum(disk.tree_size(os.path.join(own.argv[-1], name)) for name in ("containers", "volumes"))

    before = used()
    said = own("container", "prune", "-f").stdout.split()[-1]
    assert said == "3MB" and 2_900_000 < before - used() < 3_100_000
    before = used()
    said = own("volume", "prune", "-f").stdout.split()[-1]
    assert said == "3MB" and 2_900_000 < before - used() < 3_100_000


def test_what_begins_to_run_meanwhile_stays(engine: Engine, cli: Cli) -> None:
    """Containers that are made and started all the time, and somebody who prunes all the time."""
    argv = [
        *cli.argv,
        "run",
        "--rm",
        "-v",
        "data:/d",
        "-v",
        "/a",
        "alpine",
        "sh",
        "-c",
        "echo x >> /d/f; cat /d/f",
    ]
    deadline, lines = time.monotonic() + 6, 0
    while time.monotonic() < deadline:
        runs = [subprocess.Popen(argv, env=cli.env, stdout=subprocess.PIPE) for _ in range(2)]
        while any(run.poll() is None for run in runs):
            pruning.containers(engine)
            pruning.volumes(engine)
        assert all(run.returncode == 0 for run in runs)
        lines = max(lines, *(len(run.communicate()[0].split()) for run in runs))
    assert lines >= 1


def test_prune_of_the_library(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match="expected name=value"):
        pruning.containers(engine, ["foo"])
    engine.volumes.create("data", {"a": "b"})
    pruned = pruning.volumes(engine, ["label=a=b"])
    assert str(pruned) == "Deleted Volumes:\ndata\n" and pruned.size == 0


def test_prune_killed_at_any_moment_leaves_nothing_half(own: Cli, tmp_path: pathlib.Path) -> None:
    needed = own.out("create", "-v", "needed:/v", "-v", "/a", "alpine", "cat", "/v/file")
    root = pathlib.Path(own.argv[-1])
    (root / "volumes/needed/_data/file").write_text("still here\n")
    own("start", needed)
    argv = [*own.argv, "system", "prune", "-f", "--volumes", "--filter", "label!=keep"]
    own("run", "-d", "--name", "holder", "--volumes-from", needed, "alpine", "sleep", "1000")
    for attempt in range(20):
        for name in ("one", "two"):
            own("volume", "create", name)
            for number in range(200):
                (root / f"volumes/{name}/_data/{number}").touch()
        stopped = own.out("create", "-v", "one:/v", "-v", "/b", "alpine")
        own("rm", stopped)
        process = subprocess.Popen(argv, env=own.env, stdout=subprocess.DEVNULL)
        time.sleep(0.15 + attempt * 0.01)
        process.kill()
        process.wait()
        left = own.out("volume", "ls", "-q").split()
        for name in {"one", "two"}.intersection(left):
            assert len(os.listdir(root / f"volumes/{name}/_data")) == 200, "half of a volume is gone"
        hidden = [name for name in os.listdir(root / "volumes") if name.startswith(".")]
        assert hidden == [".lock"], "nobody has swept up what was left"
        assert (root / "volumes/needed/_data/file").read_text() == "still here\n"
    assert own.out("ps", "--format", "{{.Names}}") == "holder"
    own("rm", "-f", "holder")
