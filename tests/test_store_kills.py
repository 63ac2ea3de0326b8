"""Sudden ends, and many at once: whatever happens to a command, the store is whole after the next one."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import threading
import time

import pytest
from conftest import Cli
from test_store import leftovers, packed

from minicontainer.engine.engine import Engine
from minicontainer.images import checking, loading, saving
from minicontainer.images.index import LAYER
from minicontainer.images.reference import Reference

KILLS = 100
LAYERS = 4


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """Two images that share their lowest layer, in an archive each, of a size that takes a moment."""
    place = tmp_path_factory.mktemp("archives")
    engine = Engine(str(place / "maker"))
    store, random_bytes = engine.images, random.Random(7)
    with store.lease():
        contents = [
            packed(**{f"f{layer}-{number}": random_bytes.randbytes(20_000) for number in range(60)})
            for layer in range(2 * LAYERS - 1)
        ]
        blobs = [store.add_blob(content) for content in contents]
        for name, mine in (("one", blobs[:LAYERS]), ("two", blobs[:1] + blobs[LAYERS:])):
            diff_ids = [blob["digest"] for blob in mine]
            config = {
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
                "config": {"Cmd": [name]},
            }
            store.add_image(config, [{"mediaType": LAYER, **blob} for blob in mine], Reference.parse(name))
    for name, form in (("one", "docker-archive"), ("two", "oci-archive")):
        saving.save_file(store, [name], str(place / name), form)
    return {"one": place / "one", "two": place / "two"}


@pytest.fixture
def state(tmp_path: pathlib.Path, rootfs_archive: str) -> Cli:
    cli = Cli(str(tmp_path / "state"))
    cli("import", rootfs_archive, "alpine")
    return cli


def begin(cli: Cli, *words: object) -> subprocess.Popen[str]:
    argv = [*cli.argv, *map(str, words)]
    return subprocess.Popen(
        argv, env=cli.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def killed(cli: Cli, seconds: float, *words: object) -> bool:
    """Run a command and kill it after so many seconds; whether it was still running."""
    process = begin(cli, *words)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def is_well(cli: Cli) -> None:
    """The store passes its check after one ordinary command, and that has left nothing of the work of the dead."""
    cli("ps")
    engine = Engine(cli.argv[-1])
    layers = {container.name: container.document["Layers"] for container in engine.containers(all=True)}
    assert list(checking.problems(engine.images, layers, checking.Checked())) == []
    assert leftovers(engine.images) == []


def whole(cli: Cli, name: str) -> bool:
    """Whether the image whose command this is is there, under whatever name; if it is, all of its files are."""
    store = Engine(cli.argv[-1]).images
    for image in store.images():
        if image.settings.get("Cmd") == [name]:
            names = [file for path in store.layer_directories(image) for file in os.listdir(path)]
            assert len(names) == len(set(names)) == 60 * LAYERS
            return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_kills(state: Cli, archives: dict[str, pathlib.Path]) -> None:
    """Of load, rmi and prune, at moments all over the time that they take."""
    chance = random.Random(os.environ.get("MINICONTAINER_TEST_SEED", "kills"))

    store = Engine(state.argv[-1]).images

    def load(name: str) -> None:
        with open(archives[name], "rb") as file:
            loading.load(store, file)

    def prepare(what: str) -> None:
        """Have ``one``; and ``two`` not, when it is about to be loaded, and without its name to be pruned."""
        if not whole(state, "one"):
            load("one")
        if what == "load" and whole(state, "two"):
            store.remove(store.find("two"))
        if what == "prune":
            load("two")
            store.tag(store.find("alpine"), Reference.parse("two"))

    commands = {
        "load": ("load", "-i", archives["two"]),
        "rmi": ("rmi", "-f", "one"),
        "prune": ("image", "prune", "-f"),
    }
    counts = dict.fromkeys(commands, 0)
    for what, words in commands.items():
        prepare(what)
        begun = time.monotonic()
        state(*words)
        usual = time.monotonic() - begun
        is_well(state)
        attempts = 0
        while counts[what] < KILLS // len(commands) + (what == "load"):
            attempts += 1
            assert attempts < KILLS, f"{what} is always done before it is killed"
            prepare(what)
            hit = killed(state, chance.uniform(0.3, 1) * usual, *words)
            counts[what] += hit
            usual *= 1 if hit else 0.95  # the first time may have been a slow one
            is_well(state)
            assert whole(state, "one") or what == "rmi"
            whole(state, "two")
    assert sum(counts.values()) == KILLS
    assert state.out("run", "--rm", "alpine", "echo", "well") == "well"
    state("rmi", "-f", "one", "two")
    state("image", "prune", "-f")
    assert state.out("system", "check") == "3 blobs, 1 layers, 1 images: no problems"


def test_load_that_is_killed_leaves_nothing_to_see(state: Cli, archives: dict[str, pathlib.Path]) -> None:
    before = state.out("images")
    hits = 0
    for hundredths in range(4, 40, 2):
        hits += killed(state, hundredths / 100, "load", "-i", archives["one"])
        if "one" in state.out("images"):
            break
        assert state.out("images").split()[-2:] == before.split()[-2:]
        assert "no problems" in state.out("system", "check")
    assert hits


EXPECTED = ("no such image", "was removed meanwhile", "is using", "is being used", "must be forced")


def test_commands_at_the_same_time_do_each_other_no_harm(
    state: Cli, archives: dict[str, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    """load, tag, rmi, prune, save and run of the same images, all at once; each succeeds or says why it did not."""
    ends = time.monotonic() + 12
    wrong: list[str] = []
    done: dict[str, int] = {}

    def again(*words: object) -> None:
        while time.monotonic() < ends and not wrong:
            process = begin(state, *words)
            out, err = process.communicate()
            done[str(words[0])] = done.get(str(words[0]), 0) + (process.returncode == 0)
            if process.returncode and not any(each in err for each in EXPECTED):
                wrong.append(f"{words} ended with {process.returncode}: {out}{err}")

    jobs = [
        ("load", "-i", archives["one"]),
        ("load", "-i", archives["two"]),
        ("rmi", "-f", "one"),
        ("image", "prune", "-af"),
        ("save", "-o", tmp_path / "saved", "two"),
        ("run", "--rm", "alpine", "true"),
    ]
    holder = state.out("create", "alpine", "echo", "kept")
    threads = [threading.Thread(target=again, args=words) for words in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert min(done[word] for word in ("load", "image", "run")) > 2, done
    is_well(state)
    for name, path in archives.items():
        state("load", "-i", path)
        assert whole(state, name)
    assert state.out("start", "-a", holder) == "kept", "prune takes nothing that a stopped container needs"
    state("rm", holder)


def test_container_that_is_made_while_its_image_is_removed_is_whole_or_not_made(
    state: Cli, rootfs_archive: str, tmp_path: pathlib.Path
) -> None:
    for turn in range(8):
        state("import", rootfs_archive, "brief")
        making, removing = begin(state, "create", "brief", "echo", "made"), begin(state, "rmi", "brief")
        out, err = making.communicate()
        _, refused = removing.communicate()
        if making.returncode == 0:
            container = out.strip()
            assert state.out("start", "-a", container) == "made", refused
            state("rm", container)
        else:
            assert "brief" in err and ("no such image" in err or "pull" in err), err
        state("rmi", "brief", code=None)
        is_well(state)
        assert turn < 8


def test_blob_that_is_being_brought_in_stays_until_it_is_named(state: Cli) -> None:
    """The window between a blob that is there and the index that names it, held open."""
    store = Engine(state.argv[-1]).images
    with store.lease():
        digest = store.add_blob(b"{}")["digest"]
        os.utime(store.blob_path(digest), (0, 0))
        state("image", "prune", "-af")
        state("import", "-", "x", input="", code=1)
        assert os.path.exists(store.blob_path(digest))
    assert not os.path.exists(store.blob_path(digest)), "nobody has come to need it"


def test_removal_that_was_written_down_is_finished_by_the_next_command(state: Cli) -> None:
    """Killed between letting go of an image in the index and deleting its files."""
    store = Engine(state.argv[-1]).images
    image = store.find("alpine")
    path = pathlib.Path(store.index_path)
    with store.locked():
        store.doom({image.manifest_digest, image.id, *image.diff_ids})
        document = json.loads(path.read_text())
        document["manifests"] = []
        path.write_text(json.dumps(document))
    state("ps")
    assert not os.path.exists(store.blob_path(image.id)) and not os.path.exists(
        store.layer_path(image.diff_ids[0])
    )
    (orphan,) = os.listdir(
        os.path.join(store.blobs_path, "sha256")
    )  # the packed layer, which was not in the list
    assert f"sha256:{orphan}" == image.manifest["layers"][0]["digest"]


def test_removal_that_never_got_to_the_index_removes_nothing(state: Cli) -> None:
    store = Engine(state.argv[-1]).images
    image = store.find("alpine")
    with store.locked():
        store.doom({image.manifest_digest, image.id, *image.diff_ids})
    state("ps")
    assert state.out("run", "--rm", "alpine", "echo", "well") == "well"
    assert "no problems" in state.out("system", "check")


def test_index_that_was_being_written_is_as_it_was(state: Cli) -> None:
    store = Engine(state.argv[-1]).images
    dead = subprocess.Popen(["true"])
    dead.wait()
    pathlib.Path(f"{store.index_path}.{dead.pid}.tmp").write_text('{"manif')
    alive = pathlib.Path(f"{store.index_path}.{os.getpid()}.tmp")
    alive.write_text('{"manif')
    state("ps")
    assert [name for name in os.listdir(store.images_path) if name.endswith(".tmp")] == [alive.name]
    alive.unlink()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{store.index_path}.{dead.pid}.tmp")
    assert "no problems" in state.out("system", "check")
