"""The store is for other tools too: they read it as it lies and write into it, and archives go both ways."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest
from conftest import Cli, engine_with_alpine
from image_peers import Tool, podman, podman_run, skopeo, tool, umoci

from minicontainer.engine.engine import Engine

__all__ = ["podman", "skopeo", "umoci"]  # fixtures
FULL = "docker.io/library/alpine:latest"
FROM_DOCKER = (
    "--src-daemon-host",
    os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"),
)  # skopeo reads no DOCKER_HOST


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, rootfs_archive: str) -> str:
    """A store of this module's own, which other tools may write into."""
    return engine_with_alpine(str(tmp_path_factory.mktemp("interop")), rootfs_archive).root


@pytest.fixture(scope="module")
def layout(root: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The store of the tests, as other tools name it; podman wants a path that could be a repository's name."""
    path = tmp_path_factory.mktemp("layout") / "store"
    path.symlink_to(root)
    return f"oci:{path}/images"


@pytest.fixture(autouse=True)
def whole(engine: Engine) -> Iterator[None]:
    """After each test the store passes its check, and only ``alpine`` is in it."""
    yield
    command = Cli(engine.root)
    assert "no problems" in command.out("system", "check")
    for image in engine.images.images():
        for name in image.names or [None]:
            if name is None or str(name) != FULL:
                engine.remove_image(name.familiar if name else image.id, force=True)
    assert command.out("images", "--format", "{{.Repository}}") == "alpine"
    assert "1 images: no problems" in command.out("system", "check")


@pytest.fixture(scope="module")
def base(docker: Tool, rootfs_archive: str) -> Iterator[str]:
    """An image in Docker that nobody else removes."""
    name = f"minicontainer-base:{os.getpid()}"
    docker("import", "-c", 'CMD ["/bin/sh"]', rootfs_archive, name)
    yield name
    docker("rmi", "-f", name)


def two_layers(docker: Tool, base: str, name: str) -> None:
    """An image of two layers in Docker; the lower one is that of ``base``."""
    made = docker("run", "-d", "--network", "none", base, "sh", "-c", "echo new >/new; rm /etc/motd")
    container = made.stdout.strip()
    docker("wait", container)
    docker("commit", "-m", "second", "-c", "ENV A=b", container, name)
    docker("rm", container)


# -- reading it as it lies --


def test_skopeo_and_umoci_list_and_read_it(
    cli: Cli, layout: str, skopeo: Tool, umoci: Tool, tmp_path
) -> None:
    shown = json.loads(skopeo("inspect", f"{layout}:{FULL}").stdout)
    (ours,) = json.loads(cli.out("image", "inspect", "alpine"))
    assert f"alpine@{shown['Digest']}" in ours["RepoDigests"]
    assert umoci("ls", "--layout", layout.removeprefix("oci:")).stdout.split() == [FULL]
    place = layout.removeprefix("oci:")
    umoci("unpack", "--image", f"{place}:{FULL}", tmp_path / "bundle")
    release = (tmp_path / "bundle/rootfs/etc/os-release").read_text()
    assert cli.out("run", "--rm", "alpine", "cat", "/etc/os-release") == release.strip()


def test_podman_pulls_from_it_and_runs_it(layout: str, podman: Tool) -> None:
    image = podman("pull", "-q", f"{layout}:{FULL}").stdout.strip()
    assert podman_run(podman, image, "echo", "from our store") == "from our store"
    podman("rmi", image)


# -- writing into it --


def test_skopeo_writes_into_it(cli: Cli, layout: str, skopeo: Tool, base: str) -> None:
    for name in ("short", "docker.io/library/whole:1", "quay.io/some/where:2"):
        skopeo("copy", "-q", *FROM_DOCKER, f"docker-daemon:{base}", f"{layout}:{name}")
    assert set(cli.out("images", "--format", "{{.Repository}}:{{.Tag}}").split()) == {
        "alpine:latest",
        "short:latest",
        "whole:1",
        "quay.io/some/where:2",
    }
    for name in ("short", "whole:1", "quay.io/some/where:2"):
        assert cli.out("run", "--rm", name, "echo", "it runs") == "it runs"
    assert cli.out("rmi", "short") == "Untagged: short:latest"


def test_image_that_skopeo_gave_no_name_is_there_by_its_id(
    cli: Cli, layout: str, skopeo: Tool, base: str
) -> None:
    skopeo("copy", "-q", *FROM_DOCKER, f"docker-daemon:{base}", layout)
    (row,) = cli.out("images", "-f", "dangling=true", "--format", "{{.ID}} {{.Repository}}").splitlines()
    image, repository = row.split()
    assert repository == "<none>" and cli.out("run", "--rm", image, "echo", "by id") == "by id"
    assert f"deleted: sha256:{image}" in cli.out("image", "prune", "-f")


def test_podman_pushes_into_it(cli: Cli, layout: str, podman: Tool, engine: Engine) -> None:
    podman("pull", "-q", f"{layout}:{FULL}")
    image = podman("images", "-q").stdout.split()[0]
    podman("push", "-q", image, f"{layout}:by/podman:1")
    assert cli.out("run", "--rm", "by/podman:1", "echo", "podman's") == "podman's"
    podman("rmi", "-f", image)


def test_umoci_works_on_it(cli: Cli, layout: str, umoci: Tool, tmp_path: pathlib.Path) -> None:
    place = layout.removeprefix("oci:")
    umoci("tag", "--image", f"{place}:{FULL}", "again")
    umoci("unpack", "--image", f"{place}:again", tmp_path / "bundle")
    (tmp_path / "bundle/rootfs/made-by-umoci").write_text("hello")
    umoci("repack", "--image", f"{place}:again", tmp_path / "bundle")
    umoci("config", "--image", f"{place}:again", "--config.env", "X=y", "--config.label", "who=umoci")
    assert (
        cli.out("run", "--rm", "again", "sh", "-c", "cat /made-by-umoci; echo $X") == "hello\ny"
        or cli.out("run", "--rm", "again", "sh", "-c", "cat /made-by-umoci; echo; echo $X") == "hello\ny"
    )
    assert cli.out("images", "-f", "label=who=umoci", "--format", "{{.Repository}}") == "again"
    assert len(json.loads(cli.out("image", "inspect", "again"))[0]["RootFS"]["Layers"]) == 2
    umoci("gc", "--layout", place)
    assert cli.out("run", "--rm", "alpine", "echo", "still whole") == "still whole"
    cli("image", "prune", "-f")


def test_index_for_many_platforms_is_one_image(
    cli: Cli, layout: str, engine: Engine, tmp_path: pathlib.Path
) -> None:
    """As buildx and ``skopeo copy --all`` write it: an index in the index, of which we run our own."""
    ours = engine.images.find("alpine")
    size = os.path.getsize(engine.images.blob_path(ours.manifest_digest))
    config = {**ours.config, "architecture": "s390x"}
    with engine.images.lease():
        theirs = engine.images.add_image(config, ours.manifest["layers"], None)
        many = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {
                    "digest": theirs.manifest_digest,
                    "size": 1,
                    "platform": {"os": "linux", "architecture": "s390x"},
                },
                {
                    "digest": "sha256:" + "7" * 64,
                    "size": 7,
                    "platform": {"os": "windows", "architecture": "amd64"},
                },
                {
                    "digest": ours.manifest_digest,
                    "size": size,
                    "platform": {"os": "linux", "architecture": ours.config["architecture"]},
                },
            ],
        }
        many["manifests"][0]["size"] = os.path.getsize(engine.images.blob_path(theirs.manifest_digest))
        blob = engine.images.add_blob(json.dumps(many).encode())
        path = pathlib.Path(engine.images.index_path)
        document = json.loads(path.read_text())
        document["manifests"] = [
            each for each in document["manifests"] if each["digest"] != theirs.manifest_digest
        ]
        document["manifests"].append(
            {
                "mediaType": many["mediaType"],
                **blob,
                "annotations": {"org.opencontainers.image.ref.name": "many:1", "org.example.kept": "yes"},
            }
        )
        path.write_text(json.dumps(document))
    assert cli.out("run", "--rm", "many:1", "uname", "-m") == os.uname().machine
    cli("tag", "many:1", "many:2")
    kept = [e["annotations"].get("org.example.kept") for e in json.loads(path.read_text())["manifests"][-2:]]
    assert kept == ["yes", "yes"], "what others have written down about it stays"
    cli("rmi", "many:1")
    assert os.path.exists(engine.images.blob_path(theirs.id)), "another platform's image is part of it"
    assert cli.out("run", "--rm", "many:2", "true") == ""
    cli("rmi", "many:2")
    assert not os.path.exists(engine.images.blob_path(theirs.id))
    assert cli.out("run", "--rm", "alpine", "echo", "ours is another's too") == "ours is another's too"


def test_what_is_no_image_is_left_alone(cli: Cli, engine: Engine, rootfs_archive: str) -> None:
    """Signatures, charts, a name of another kind, a manifest of which nothing is here."""
    store = engine.images
    empty = store.add_blob(b"{}")
    chart = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", **empty},
        "layers": [{"mediaType": "application/tar+gzip", **store.add_blob(b"chart")}],
    }
    blob = store.add_blob(json.dumps(chart).encode())
    path = pathlib.Path(store.index_path)
    before = path.read_text()
    document = json.loads(before)
    manifest = "application/vnd.oci.image.manifest.v1+json"
    document["manifests"] += [
        {
            "mediaType": manifest,
            **blob,
            "annotations": {"org.opencontainers.image.ref.name": "a chart, no IMAGE"},
        },
    ]
    path.write_text(json.dumps(document))
    assert cli.out("images", "--format", "{{.Repository}}") == "alpine"
    cli("import", rootfs_archive, "passing")
    cli("rmi", "passing")
    cli("image", "prune", "-f")
    assert os.path.exists(store.blob_path(chart["layers"][0]["digest"]))
    assert blob["digest"] in path.read_text()
    assert "no problems" in cli.out("system", "check")
    with store.locked():
        store.doom({blob["digest"], empty["digest"], chart["layers"][0]["digest"]})
        path.write_text(before)
    store.sweep()


# -- archives, to others --


@pytest.fixture
def changed(cli: Cli, docker: Tool, base: str, tmp_path: pathlib.Path) -> Iterator[str]:
    """An image of two layers, ours and Docker's by the same id; the upper layer adds a file and removes one."""
    two_layers(docker, base, "two-layers:1")
    docker("save", "-o", tmp_path / "two.tar", "two-layers:1")
    assert cli.out("load", "-i", tmp_path / "two.tar") == "Loaded image: two-layers:1"
    yield "two-layers:1"
    docker("rmi", "-f", "two-layers:1")


LOOK = ("sh", "-c", "cat /new; ls /etc/motd 2>/dev/null; echo $A")


def test_what_docker_saves_we_load_and_run(cli: Cli, docker: Tool, changed: str) -> None:
    assert cli.out("run", "--rm", changed, *LOOK) == "new\nb"
    theirs = json.loads(docker("image", "inspect", changed).stdout)[0]
    (ours,) = json.loads(cli.out("image", "inspect", changed))
    for key in (
        "Id",
        "RepoTags",
        "Comment",
        "Created",
        "DockerVersion",
        "Author",
        "Architecture",
        "Os",
        "RootFS",
    ):
        assert ours[key] == theirs[key], key
    for key, value in theirs["Config"].items():
        assert ours["Config"][key] == value, key
    assert ours["Size"] == theirs["Size"]


def test_what_we_save_docker_loads_and_runs(
    cli: Cli, docker: Tool, changed: str, tmp_path: pathlib.Path
) -> None:
    theirs = docker("image", "inspect", "-f", "{{.Id}}", changed).stdout
    cli("tag", changed, "two-layers:2")
    cli("save", "-o", tmp_path / "two.tar", "two-layers", "alpine")
    docker("rmi", "-f", changed)
    said = docker("load", "-i", tmp_path / "two.tar").stdout
    assert {"Loaded image: two-layers:1", "Loaded image: two-layers:2"} <= set(said.splitlines())
    assert docker("image", "inspect", "-f", "{{.Id}}", "two-layers:2").stdout == theirs
    assert docker("run", "--rm", "--network", "none", "two-layers:2", *LOOK).stdout.strip() == "new\nb"
    docker("rmi", "two-layers:2")


def test_what_docker_saves_of_several_images_has_links_for_what_they_share(
    cli: Cli, docker: Tool, changed: str, base: str, tmp_path: pathlib.Path
) -> None:
    docker("save", "-o", tmp_path / "both.tar", changed, base)
    assert set(cli.out("load", "-i", tmp_path / "both.tar").splitlines()) == {
        f"Loaded image: {changed}",
        f"Loaded image: {base}",
    }
    assert cli.out("run", "--rm", base, "ls", "/etc/motd") == "/etc/motd"


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_what_we_save_podman_loads_and_runs(
    cli: Cli, podman: Tool, changed: str, tmp_path: pathlib.Path, form: str
) -> None:
    cli("save", "--format", form, "-o", tmp_path / "two.tar", changed)
    said = podman("load", "-q", "-i", tmp_path / "two.tar").stdout
    name = said.strip().rpartition(" ")[2]
    assert name.endswith("two-layers:1")
    assert podman_run(podman, name, *LOOK) == "new\nb"
    podman("rmi", "-f", name)


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_what_podman_saves_we_load_and_run(
    cli: Cli, podman: Tool, changed: str, tmp_path: pathlib.Path, form: str
) -> None:
    cli("save", "-o", tmp_path / "ours.tar", changed)
    podman("load", "-q", "-i", tmp_path / "ours.tar")
    podman("save", "-q", "--format", form, "-o", tmp_path / "theirs.tar", "localhost/two-layers:1")
    ours = cli.out("images", "-q", changed)
    cli("rmi", changed)
    assert cli.out("load", "-i", tmp_path / "theirs.tar") == "Loaded image: localhost/two-layers:1"
    assert cli.out("run", "--rm", "localhost/two-layers:1", *LOOK) == "new\nb"
    if form == "docker-archive":  # for the other, podman writes the configuration anew
        assert cli.out("images", "-q", "localhost/two-layers") == ours
    podman("rmi", "-f", "localhost/two-layers:1")


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_what_skopeo_saves_we_load_and_run(
    cli: Cli, skopeo: Tool, changed: str, tmp_path: pathlib.Path, form: str
) -> None:
    skopeo(
        "copy", "-q", *FROM_DOCKER, f"docker-daemon:{changed}", f"{form}:{tmp_path}/theirs.tar:by/skopeo:1"
    )
    assert cli.out("load", "-i", tmp_path / "theirs.tar") == "Loaded image: by/skopeo:1"
    assert cli.out("run", "--rm", "by/skopeo:1", *LOOK) == "new\nb"


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_what_we_save_skopeo_reads(
    cli: Cli, skopeo: Tool, changed: str, tmp_path: pathlib.Path, form: str
) -> None:
    cli("save", "--format", form, "-o", tmp_path / "two.tar", changed)
    shown = json.loads(skopeo("inspect", "--config", f"{form}:{tmp_path}/two.tar").stdout)
    (ours,) = json.loads(cli.out("image", "inspect", changed))
    assert shown["rootfs"]["diff_ids"] == ours["RootFS"]["Layers"]
    skopeo("copy", "-q", f"{form}:{tmp_path}/two.tar", f"dir:{tmp_path}/copy")


@pytest.mark.parametrize("packer", ["gzip", "zstd", "xz", "bzip2"])
def test_archive_packed_by_the_tool_itself_through_a_pipe(
    cli: Cli, tmp_path: pathlib.Path, packer: str
) -> None:
    tool(packer)
    cli("save", "-o", tmp_path / "a.tar", "alpine")
    subprocess.run([packer, "-q", "-k", str(tmp_path / "a.tar")], check=True)
    (packed,) = [path for path in tmp_path.iterdir() if path.name.startswith("a.tar.")]
    with open(packed, "rb") as file:
        done = subprocess.run(
            [*cli.argv, "load"], stdin=file, env=cli.env, capture_output=True, text=True, check=True
        )
    assert done.stdout == "Loaded image: alpine:latest\n"


def test_layout_of_umoci_in_a_tar(cli: Cli, umoci: Tool, engine: Engine, tmp_path: pathlib.Path) -> None:
    """An image made from nothing, as umoci makes it, and packed by tar."""
    layout = tmp_path / "layout"
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:fresh")
    umoci("unpack", "--image", f"{layout}:fresh", tmp_path / "bundle")
    (tmp_path / "bundle/rootfs/hello").write_text("from umoci")
    umoci("repack", "--image", f"{layout}:fresh", tmp_path / "bundle")
    subprocess.run(["tar", "-cf", tmp_path / "layout.tar", "-C", layout, "."], check=True)
    assert cli.out("load", "-i", tmp_path / "layout.tar") == "Loaded image: fresh:latest"
    container = cli.out("create", "fresh", "/hello")
    cli("cp", f"{container}:/hello", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "from umoci"
    cli("rm", container)
