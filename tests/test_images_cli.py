"""images, history, tag, rmi, image prune, save, load and system check, as a user types them."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import time
from collections.abc import Iterator

import pytest
from conftest import Cli
from test_store import packed

from minicontainer.engine.engine import Engine
from minicontainer.images import archive
from minicontainer.images.reference import Reference


@pytest.fixture
def state(tmp_path: pathlib.Path, rootfs_archive: str) -> Iterator[Cli]:
    """The command line with a state of its own: an image ``alpine`` and nothing else."""
    cli = Cli(str(tmp_path / "state"))
    cli("import", "-c", 'CMD ["/bin/sh"]', "-m", "a comment", rootfs_archive, "alpine")
    yield cli
    ids = cli.out("ps", "-aq").split()
    if ids:
        cli("rm", "-f", *ids)


def put(cli: Cli, content: str, name: str = "", **config: object) -> str:
    """A small image; returns its id."""
    import io

    engine = Engine(cli.argv[-1])
    reference = Reference.parse(name) if name else None
    return archive.import_tree(
        engine.images, io.BytesIO(packed(a=content)), reference, config=config or None
    ).id


def listed(cli: Cli, *words: str) -> list[str]:
    return cli.out("images", "--format", "{{.Repository}}:{{.Tag}}", *words).split()


# -- images --


def test_filters_of_images(state: Cli) -> None:
    put(state, "1", "quay.io/me/app:1", Labels={"stage": "test", "x": "y"})
    time.sleep(0.01)
    put(state, "2", "app:2", Labels={"stage": "live"})
    nameless = put(state, "3")
    assert listed(state, "-f", "label=stage") == ["app:2", "quay.io/me/app:1"]
    assert listed(state, "-f", "label=stage=test") == ["quay.io/me/app:1"]
    assert listed(state, "-f", "label=stage", "-f", "label=x=y") == ["quay.io/me/app:1"]
    assert listed(state, "-f", "before=app:2") == ["quay.io/me/app:1", "alpine:latest"]
    assert listed(state, "-f", "since=quay.io/me/app:1", "-f", "dangling=false") == ["app:2"]
    assert listed(state, "-f", "dangling=true") == ["<none>:<none>"]
    assert state.out("images", "-q", "--no-trunc", "-f", "dangling=true") == nameless
    assert listed(state, "-f", "reference=quay.io/*/*") == ["quay.io/me/app:1"]
    assert listed(state, "-f", "reference=*:2", "-f", "reference=alp*") == ["app:2", "alpine:latest"]
    assert "invalid filter 'size'" in state("images", "-f", "size=3", code=1).stderr
    assert "no such image: nonesuch" in state("images", "-f", "before=nonesuch", code=1).stderr
    assert "dangling=perhaps" in state("images", "-f", "dangling=perhaps", code=1).stderr
    assert "bad format of filter" in state("images", "-f", "dangling", code=1).stderr


def test_tagged_twice_is_listed_twice(state: Cli) -> None:
    state("tag", "alpine", "alpine:two")
    short = state.out("images", "-q").split()
    assert len(short) == 2 and len(set(short)) == 1
    assert sorted(listed(state)) == ["alpine:latest", "alpine:two"]


# -- tag --


def test_tag(state: Cli) -> None:
    new = put(state, "1", "app")
    alpine = state.out("images", "-q", "--no-trunc", "alpine")
    state("tag", "alpine", "localhost:5000/a/b:c")
    assert state.out("images", "-q", "--no-trunc", "localhost:5000/a/b:c") == alpine
    state("tag", new[7:19], "alpine")
    assert state.out("images", "-q", "--no-trunc", "alpine") == new
    assert state.out("run", "--rm", "localhost:5000/a/b:c", "echo", "same") == "same"
    for words, reason in (
        (("nonesuch", "x"), "no such image: nonesuch"),
        (("app", "Bad"), "must be lowercase"),
        (("app", f"x@{new}"), "refusing to create a tag with a digest reference"),
        (("app", "x:"), "is not a tag"),
    ):
        assert reason in state("tag", *words, code=1).stderr


# -- history --


def history_of(run, *words: str) -> str:
    """What history prints, without how long ago things were, and so without the width of columns."""
    shown = run("history", *words).stdout
    shown = re.sub(r"(About |Less than )?\w+ (second|minute|hour)s? ago", "ago", shown)
    return re.sub(" {2,}", "  ", shown)


def test_history_is_dockers(state: Cli, docker, tmp_path: pathlib.Path, rootfs_archive: str) -> None:
    name = f"minicontainer-history:{os.getpid()}"
    (tmp_path / "ctx").mkdir()
    (tmp_path / "ctx/file").write_text("x" * 5000)
    base = f"minicontainer-base-{os.getpid()}"
    docker("import", "-m", "from a tar", rootfs_archive, base)
    long = "y" * 100
    (tmp_path / "ctx/Dockerfile").write_text(
        f'FROM {base}\nENV A=b\nCOPY file /file\nRUN true # {long}\nLABEL a="b\\tc"\nCMD ["/bin/sh"]\n'
    )
    done = docker("build", "--network", "none", "-t", name, tmp_path / "ctx")
    assert done.returncode == 0, done.stderr
    docker("save", "-o", tmp_path / "i.tar", name)
    state("load", "-i", tmp_path / "i.tar")
    docker("rmi", "-f", name, base)
    docker(
        "load", "-i", tmp_path / "i.tar"
    )  # so that its parents are <missing>, as all but their maker has them
    try:
        for words in (
            (name,),
            ("--no-trunc", name),
            ("-q", name),
            ("-H=false", name),
            ("--format", "{{.ID}} {{.CreatedBy}} {{.Size}} {{.Comment}}", name),
            ("--format", "table {{.Size}}\t{{.CreatedAt}}", name),
        ):
            assert history_of(state, *words).splitlines() == history_of(docker, *words).splitlines(), words
    finally:
        docker("rmi", "-f", name)
    assert "no such image: nonesuch" in state("history", "nonesuch", code=1).stderr


def test_history_of_an_image_that_does_not_tell(state: Cli) -> None:
    engine = Engine(state.argv[-1])
    (layer,) = engine.images.find("alpine").manifest["layers"]
    (diff_id,) = engine.images.find("alpine").diff_ids
    config = {"os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id] * 2}}
    engine.images.add_image(config, [layer, layer], Reference.parse("silent"))
    rows = state.out("history", "--format", "{{.ID}} {{.CreatedSince}}", "silent").splitlines()
    assert rows == [f"{engine.images.find('silent').short_id} N/A", "<missing> N/A"]
    assert "N/A" in state.out("images", "silent")


# -- rmi --


def test_image_of_a_stopped_container_goes_only_by_force_and_leaves_it_its_layers(state: Cli) -> None:
    container = state.out("create", "alpine", "echo", "alive")
    image = state.out("images", "-q", "alpine")
    by_name = state("rmi", "alpine", code=1).stderr
    assert f"(must force) - container {container[:12]} is using its referenced image {image}" in by_name
    by_id = state("rmi", image, code=1).stderr
    assert f"unable to delete {image} (must be forced) - image is being used by stopped container" in by_id
    said = state.out("rmi", "-f", "alpine")
    assert "Untagged: alpine:latest" in said and f"Deleted: sha256:{image}" in said
    assert state.out("start", "-a", container) == "alive"
    assert "no problems" in state.out("system", "check")
    layers = os.path.join(state.argv[-1], "layers")
    assert len(os.listdir(layers)) == 1
    state("rm", container)
    assert os.listdir(layers) == [], "the last that needed it takes it along"
    assert "no problems" in state.out("system", "check")


def test_image_of_a_running_container_loses_its_name_at_most(state: Cli) -> None:
    container = state.out("run", "-d", "alpine", "sleep", "1000")
    image = state.out("images", "-q", "alpine")
    assert state.out("rmi", "-f", "alpine") == "Untagged: alpine:latest"
    assert listed(state) == ["<none>:<none>"]
    refused = state("rmi", "-f", image, code=1).stderr
    assert f"(cannot be forced) - image is being used by running container {container[:12]}" in refused
    assert state.out("image", "prune", "-af") == "Total reclaimed space: 0B"
    assert state.out("exec", container, "echo", "well") == "well"
    state("rm", "-f", container)
    assert "deleted: sha256:" in state.out("image", "prune", "-f")
    assert state.out("images", "-q") == ""


def test_image_with_several_names_goes_by_its_id_only_by_force(state: Cli) -> None:
    state("tag", "alpine", "other")
    image = state.out("images", "-q", "other")
    assert (
        "image is referenced by several names: alpine:latest, other:latest"
        in state("rmi", image, code=1).stderr
    )
    assert state.out("rmi", "-f", image).splitlines()[:2] == [
        "Untagged: alpine:latest",
        "Untagged: other:latest",
    ]
    assert state.out("images", "-q") == ""


def test_several_images_at_once_and_one_of_them_not_there(state: Cli) -> None:
    put(state, "1", "one")
    put(state, "2", "two")
    done = state("rmi", "one", "nonesuch", "two", code=1)
    assert "Untagged: one:latest" in done.stdout and "Untagged: two:latest" in done.stdout
    assert "no such image: nonesuch" in done.stderr
    state("image", "remove", "--no-prune", "alpine")


# -- prune --


def test_prune_asks_and_takes_what_has_no_name(state: Cli) -> None:
    old = put(state, "old", "app")
    put(state, "new", "app")
    asked = state("image", "prune", input="n\n").stdout
    assert (
        asked == "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] "
    )
    assert old in state.out("images", "-q", "--no-trunc")
    done = state("image", "prune", input="y\n").stdout.partition("[y/N] ")[2].splitlines()
    assert done[:2] == ["Deleted Images:", f"deleted: {old}"] and done[2].startswith("deleted: sha256:")
    assert done[3] == "" and re.fullmatch(r"Total reclaimed space: [\d.]+k?B", done[4])
    assert sorted(listed(state)) == ["alpine:latest", "app:latest"]
    assert state.out("image", "prune", "-f") == "Total reclaimed space: 0B"


def test_prune_all_takes_what_no_container_has(state: Cli) -> None:
    put(state, "1", "one")
    container = state.out("create", "alpine", "true")
    said = state.out("image", "prune", "-af")
    assert "untagged: one:latest" in said and listed(state) == ["alpine:latest"]
    state("start", "-a", container)
    state("rm", container)
    assert "7.8MB" in state.out("image", "prune", "-af").splitlines()[-1] or listed(state) == []


def test_filters_of_prune(state: Cli) -> None:
    put(state, "1", "keep", Labels={"keep": "yes"})
    put(state, "2", "go", Labels={"stage": "test"})
    state("image", "prune", "-af", "--filter", "until=1h")
    assert len(listed(state)) == 3
    state("image", "prune", "-af", "--filter", "label=stage=test")
    assert sorted(listed(state)) == ["alpine:latest", "keep:latest"]
    state("image", "prune", "-f", "--filter", "label!=keep", "--filter", "dangling=false")
    assert listed(state) == ["keep:latest"]
    assert "invalid filter 'x'" in state("image", "prune", "-f", "--filter", "x=y", code=1).stderr


def test_prune_takes_what_belongs_to_nothing_once_it_is_old(state: Cli) -> None:
    store = Engine(state.argv[-1]).images
    digest = store.add_blob(b"left of another tool")["digest"]
    assert f"blob {digest} belongs to no image" in state("system", "check", code=1).stdout
    state("image", "prune", "-f")
    assert os.path.exists(store.blob_path(digest)), "somebody may be about to name it"
    os.utime(store.blob_path(digest), (0, time.time() - 3700))
    assert state.out("image", "prune", "-f") == "Total reclaimed space: 20B"
    assert "no problems" in state.out("system", "check")


# -- save and load --


def test_save_writes_to_standard_output_but_not_to_a_terminal(state: Cli, tmp_path: pathlib.Path) -> None:
    state("save", "-o", tmp_path / "a.tar", "alpine")
    piped = subprocess.run([*state.argv, "save", "alpine"], env=state.env, capture_output=True, check=True)
    assert piped.stdout == (tmp_path / "a.tar").read_bytes() and piped.stderr == b""
    shown, code = state.tty("save", "alpine")
    assert code == 1 and "cowardly refusing to save to a terminal" in shown
    shown, code = state.tty("load")
    assert code == 1 and "requested load from stdin, but stdin is a terminal" in shown


def test_mistakes_of_save_and_load(state: Cli, tmp_path: pathlib.Path) -> None:
    for words, reason in (
        (("save",), "requires at least 1 argument"),
        (("save", "-o", tmp_path / "x", "nonesuch"), "no such image: nonesuch"),
        (("save", "-o", tmp_path / "no/x", "alpine"), "invalid output path"),
        (("save", "-o", tmp_path / "x", "--format", "rar", "alpine"), "invalid format 'rar'"),
        (("load", "-i", tmp_path / "gone"), "gone: no such file or directory"),
        (("load", "-i", tmp_path), "is a directory"),
        (("load",), "not a tar archive"),
    ):
        assert reason in state(*words, code=1).stderr.lower().replace(
            "requires at least 1", "requires at least 1"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_load_tells_what_it_did(state: Cli, tmp_path: pathlib.Path) -> None:
    image = state.out("images", "-q", "--no-trunc", "alpine")
    state("save", "-o", tmp_path / "named.tar", "alpine")
    state("save", "-o", tmp_path / "nameless.tar", image)
    state("rmi", "alpine")
    new = put(state, "another", "alpine")
    assert state.out("load", "-q", "-i", tmp_path / "named.tar").splitlines() == [
        f"The image alpine:latest already exists, renaming the old one with ID {new} to empty string",
        "Loaded image: alpine:latest",
    ]
    state("rmi", "alpine", new)
    assert state.out("load", "-i", tmp_path / "nameless.tar") == f"Loaded image ID: {image}"
    assert state.out("run", "--rm", image, "echo", "by id") == "by id"


# -- system check --


def test_check_names_each_thing_that_is_wrong(state: Cli) -> None:
    store = Engine(state.argv[-1]).images
    put(state, "1", "app")
    assert state.out("system", "check").endswith("2 images: no problems")
    app, alpine = store.find("app"), store.find("alpine")
    layer = app.manifest["layers"][0]["digest"]
    container = state.out("create", "alpine", "true")
    with open(store.blob_path(layer), "r+b") as file:
        file.write(b"rot")
    os.unlink(store.blob_path(alpine.manifest["layers"][0]["digest"]))
    os.rename(store.layer_path(alpine.diff_ids[0]), store.layer_path("sha256:" + "0" * 64))
    pathlib.Path(store.images_path, "oci-put-blob123").write_text("skopeo's")
    pathlib.Path(store.images_path, "oci-layout").write_text("{}")
    done = state("system", "check", code=1).stdout
    for problem in (
        f"blob {layer} has the digest sha256:",
        f"names blob {alpine.manifest['layers'][0]['digest']}, which is missing",
        f"needs layer {alpine.diff_ids[0]}, which is missing",
        "layer sha256:" + "0" * 64 + f" says that it is {alpine.diff_ids[0]}",
        "layer sha256:" + "0" * 64 + " belongs to no image",
        "oci-put-blob123 is unfinished work",
        "oci-layout is of version none",
    ):
        assert problem in done, done
    assert done.splitlines()[-1].endswith("7 problems")
    layout = pathlib.Path(store.images_path, "oci-layout")
    layout.unlink()
    layout.mkdir()
    assert f"{layout}: is a directory\n" in state("system", "check", code=1).stdout
    state("rm", container)


def test_damaged_image_is_in_nobodys_way_and_can_be_removed(state: Cli) -> None:
    store = Engine(state.argv[-1]).images
    put(state, "1", "app")
    os.unlink(store.blob_path(store.find("app").id))
    shown = state("images")
    assert "alpine" in shown.stdout and "image app:latest is damaged" in shown.stderr
    assert "remove it with rmi" in state("run", "--rm", "app", "true", code=125).stderr
    assert state.out("run", "--rm", "alpine", "echo", "well") == "well"
    assert "app:latest is damaged" in state("system", "check", code=1).stdout
    assert state.out("rmi", "app") == "Untagged: app:latest"
    assert "no problems" in state.out("system", "check")


def test_configuration_that_says_strange_things_is_listed(state: Cli) -> None:
    engine = Engine(state.argv[-1])
    (layer,) = engine.images.find("alpine").manifest["layers"]
    (diff_id,) = engine.images.find("alpine").diff_ids
    strange = {
        "created": "yesterday",
        "config": None,
        "history": [1, {"created": 7, "comment": None}],
        "author": 3,
    }
    strange["rootfs"] = {"type": "layers", "diff_ids": [diff_id]}
    engine.images.add_image(strange, [layer], Reference.parse("strange"))
    assert "strange" in state.out("images")
    assert json.loads(state.out("image", "inspect", "strange"))[0]["Created"] == "0001-01-01T00:00:00Z"
    state("history", "strange")
    assert state.out("run", "--rm", "strange", "echo", "it runs") == "it runs"
