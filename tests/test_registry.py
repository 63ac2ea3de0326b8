"""pull, push and run at a real registry, as a user types them; and what Docker, podman and skopeo make of it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from at_terminal import Terminal
from conftest import DOCKER_IMAGE, PROJECT, Cli
from registries import Fake, archive, fake, real

import minicontainer
from minicontainer.engine.engine import Engine
from minicontainer.errors import NotFound
from minicontainer.images.reference import Reference, digest_of
from minicontainer.images.registry import search
from minicontainer.images.store import Store
from minicontainer.lab.shelf import Registry

SKOPEO = shutil.which("skopeo")
DIGEST = r"sha256:[0-9a-f]{64}"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """docker-registry, open to everybody on this host; its name."""
    with real(tmp_path_factory.mktemp("registry")) as name:
        yield name


@pytest.fixture
def server() -> Iterator[Fake]:
    with fake() as server:
        yield server


@pytest.fixture
def mine(tmp_path: pathlib.Path, rootfs_archive: str) -> Iterator[Cli]:
    """The command line with a store of its own, where the image ``alpine`` is, and without anybody's settings."""
    cli = Cli(str(tmp_path / "store"))
    cli.env |= {"HOME": str(tmp_path)}
    for name in ("MINICONTAINER_REGISTRY_MIRROR", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME"):
        cli.env.pop(name, None)
    cli("import", "-c", 'CMD ["/bin/sh"]', rootfs_archive, "alpine")
    yield cli
    for container in Engine(str(tmp_path / "store")).containers(all=True):
        container.remove(force=True)


def named(cli: Cli, archive_path: str, name: str) -> str:
    """Import the tests' root filesystem under a name."""
    cli("import", "-c", 'CMD ["/bin/sh"]', archive_path, name)
    return name


def lines(text: str) -> list[str]:
    """What was printed, without the digits that nobody knows beforehand."""
    text = re.sub(DIGEST, "DIGEST", text)
    return [re.sub(r"^[0-9a-f]{12}: ", "LAYER: ", line) for line in text.splitlines()]


# ------------------------------------------------------------------ what is printed, and what comes of it


def test_push_and_pull_say_what_docker_says(mine: Cli, registry: str, rootfs_archive: str) -> None:
    name = named(mine, rootfs_archive, f"{registry}/team/words:1")
    pushed = mine.out("push", name)
    assert lines(pushed)[:-1] == [
        f"The push refers to repository [{registry}/team/words]",
        "LAYER: Preparing",
        "LAYER: Pushed",
    ]
    digest, size = re.fullmatch(rf"1: digest: ({DIGEST}) size: (\d+)", pushed.splitlines()[-1]).groups()
    assert lines(mine.out("push", name))[2] == "LAYER: Layer already exists"
    assert mine.out("push", "-q", name) == name

    other = Cli(mine.argv[-1] + "-other")
    assert lines(other.out("pull", name)) == [
        "1: Pulling from team/words",
        "LAYER: Pulling fs layer",
        "LAYER: Download complete",
        "LAYER: Pull complete",
        "Digest: DIGEST",
        f"Status: Downloaded newer image for {name}",
        name,
    ]
    assert lines(other.out("pull", name)) == [
        "1: Pulling from team/words",
        "Digest: DIGEST",
        f"Status: Image is up to date for {name}",
        name,
    ]
    assert digest in other.out("pull", name)
    assert other.out("pull", "-q", name) == name
    assert other.out("images", "--digests", "--format", "{{.Digest}}") == digest
    assert json.loads(other.out("image", "inspect", name))[0]["RepoDigests"] == [
        f"{registry}/team/words@{digest}"
    ]
    assert int(size) == os.path.getsize(Store(other.argv[-1]).blob_path(digest))


def test_the_default_tag_is_told(mine: Cli, registry: str, rootfs_archive: str) -> None:
    name = named(mine, rootfs_archive, f"{registry}/default")
    assert mine.out("push", name).splitlines()[0] == "Using default tag: latest"
    said = mine.out("pull", name).splitlines()
    assert (said[0], said[-1]) == ("Using default tag: latest", f"{name}:latest")


def test_at_a_terminal_each_layer_has_one_line(mine: Cli, server: Fake) -> None:
    noise = os.urandom(4 << 20)
    layer = server.put_image(archive(a="1"), archive(noise=noise))["layers"][1]["digest"]

    def slowly(handler: object) -> None:
        data = server.blobs[layer]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for start in range(0, len(data), 1 << 20):
            handler.wfile.write(data[start : start + (1 << 20)])
            time.sleep(0.3)

    server.arrange(f"GET .*{layer}", slowly)
    with Terminal([*mine.argv, "pull", f"{server.name}/app"], mine.env, columns=120) as terminal:
        terminal.expect(r"Downloading \[=+> +\] +\d\.\d+MB/4\.\d+MB")
        terminal.expect("Pull complete")
        terminal.expect("Downloaded newer image")
        assert terminal.wait() == 0
        after = terminal.shown[terminal.shown.rindex("Digest") :]
        assert "Downloading" not in after


def test_all_tags(mine: Cli, registry: str, rootfs_archive: str) -> None:
    for tag in ("a", "b"):
        named(mine, rootfs_archive, f"{registry}/many:{tag}")
    mine("push", "-a", f"{registry}/many")
    other = Cli(mine.argv[-1] + "-other")
    said = other.out("pull", "-a", f"{registry}/many").splitlines()
    assert [line for line in said if "Pulling" in line and "layer" not in line] == [
        "a: Pulling from many",
        "b: Pulling from many",
    ]
    assert said[-2:] == [f"Status: Downloaded newer image for {registry}/many", f"{registry}/many"]
    assert sorted(other.out("images", "--format", "{{.Tag}}").split()) == ["a", "b"]
    assert "tag can't be used with --all-tags" in other("pull", "-a", f"{registry}/many:a", code=1).stderr
    assert "tag can't be used with --all-tags" in other("push", "-a", f"{registry}/many:a", code=1).stderr


def test_by_digest(mine: Cli, registry: str, rootfs_archive: str) -> None:
    name = named(mine, rootfs_archive, f"{registry}/pinned:1")
    digest = re.search(DIGEST, mine.out("push", name).splitlines()[-1])[0]
    pinned = f"{registry}/pinned@{digest}"
    other = Cli(mine.argv[-1] + "-other")
    said = other.out("pull", pinned).splitlines()
    assert said[0] == f"{digest}: Pulling from pinned"
    assert said[-1] == pinned
    assert other.out("images", "--format", "{{.Repository}} {{.Tag}}") == f"{registry}/pinned <none>"
    assert other.out("inspect", "-f", "{{.Id}}", pinned) == mine.out("inspect", "-f", "{{.Id}}", name)
    missing = f"{registry}/pinned@sha256:{'0' * 64}"
    assert missing in other("pull", missing, code=1).stderr


@pytest.mark.parametrize(
    ("name", "culprits"),
    [
        ("nope", ["manifest for", "/nope:latest not found"]),
        ("UPPER", ["lowercase"]),
        ("x@sha256:12", ["sha256:12"]),
    ],
)
def test_what_cannot_be_pulled(mine: Cli, registry: str, name: str, culprits: list[str]) -> None:
    said = mine("pull", f"{registry}/{name}", code=1)
    assert all(culprit in said.stderr for culprit in culprits), said.stderr
    assert mine.out("images", "-q").count("\n") == 0


def test_what_cannot_be_pushed(mine: Cli, registry: str, rootfs_archive: str) -> None:
    nothing = mine("push", f"{registry}/nothing", code=1).stderr
    assert f"an image does not exist locally with the tag: {registry}/nothing" in nothing
    named(mine, rootfs_archive, f"{registry}/some:1")
    assert f"tag does not exist: {registry}/some:2" in mine("push", f"{registry}/some:2", code=1).stderr
    named(mine, rootfs_archive, "127.0.0.1:1/some:1")
    assert (
        "127.0.0.1:1 cannot be reached: connection refused"
        in mine("push", "127.0.0.1:1/some:1", code=1).stderr
    )


# ------------------------------------------------------------------ push


def test_layers_that_are_not_packed_travel_packed_the_same_way_every_time(
    mine: Cli, registry: str, tmp_path: pathlib.Path
) -> None:
    tar = tmp_path / "plain.tar"
    tar.write_bytes(archive(zeros=bytes(1 << 20), text="hello"))
    mine("import", tar, f"{registry}/plain:1")
    before = Store(mine.argv[-1]).find(f"{registry}/plain:1")
    first = mine.out("push", f"{registry}/plain:1")
    again = mine.out("push", f"{registry}/plain:1")
    assert first.splitlines()[-1] == again.splitlines()[-1]
    assert lines(again)[2] == "LAYER: Layer already exists"
    other = Store(str(tmp_path / "other"))
    pulled = minicontainer.pull(f"{registry}/plain:1", engine=Engine(str(tmp_path / "other")))
    assert pulled.id == before.id
    assert pulled.diff_ids == before.diff_ids
    layer = other.find(f"{registry}/plain:1").manifest["layers"][0]
    assert layer["mediaType"].endswith("+gzip")
    assert layer["size"] < 10_000


def test_blobs_of_a_neighbour_are_mounted(mine: Cli, registry: str, tmp_path: pathlib.Path) -> None:
    tar = tmp_path / "mounted.tar.gz"
    tar.write_bytes(__import__("gzip").compress(archive(unique="mounted"), mtime=0))
    mine("import", tar, f"{registry}/first/home:1")
    mine("import", tar, f"{registry}/second/home:1")
    mine("push", f"{registry}/first/home:1")
    assert lines(mine.out("push", f"{registry}/second/home:1"))[2] == "LAYER: Mounted from first/home"
    mine("rmi", f"{registry}/first/home:1", f"{registry}/second/home:1")
    mine("pull", "-q", f"{registry}/second/home:1")


def test_what_was_pulled_is_pushed_byte_for_byte(mine: Cli, registry: str, server: Fake) -> None:
    manifest = server.put_image(archive(a="1"))
    odd = b"\n" + json.dumps(manifest, indent=5).encode() + b"\n"
    digest = server.put_manifest(odd, "latest")
    mine("pull", f"{server.name}/app")
    store = Store(mine.argv[-1])
    image = store.find(f"{server.name}/app")
    store.name(image.digest, len(odd), Reference.parse(f"{registry}/copy:1"))
    assert f"digest: {digest} size: {len(odd)}" in mine.out("push", f"{registry}/copy:1")


def test_push_begins_a_blob_anew_when_the_line_breaks(mine: Cli, server: Fake, rootfs_archive: str) -> None:
    """A server that takes uploads, but hangs up in the middle of the first two."""
    got: dict[str, bytes] = {}

    def begin(handler: object) -> None:
        handler.send(202, Location="/upload/1?state=x")

    def hang_up(handler: object) -> None:
        handler.rfile.read(100_000)
        handler.connection.close()
        handler.close_connection = True

    def take(handler: object) -> None:
        got["last"] = handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.send(202, Location="/upload/1?state=y")

    def finish(handler: object) -> None:
        assert "state=y" in handler.path
        handler.send(201)

    server.arrange("^POST ", *[begin] * 9)
    server.arrange("^PATCH ", hang_up, hang_up, take, take)
    server.arrange("^PUT /upload", finish, finish)
    server.arrange(
        "^PUT .*/manifests/", lambda h: (h.rfile.read(int(h.headers["Content-Length"])), h.send(201))
    )
    name = named(mine, rootfs_archive, f"{server.name}/app:1")
    assert lines(mine.out("push", name))[2] == "LAYER: Pushed"
    assert len(server.asked("^PATCH ")) == 4


def test_a_push_that_is_killed_leaves_nothing(mine: Cli, server: Fake, tmp_path: pathlib.Path) -> None:
    """Killed when its layer has been packed for the way, and the registry is asked to take it."""
    (tmp_path / "plain.tar").write_bytes(archive(a="1"))
    (tmp_path / "temporary").mkdir()
    name = named(mine, str(tmp_path / "plain.tar"), f"{server.name}/app:1")
    server.arrange("^POST ", lambda _: process.kill())
    env = {**mine.env, "TMPDIR": str(tmp_path / "temporary")}
    process = subprocess.Popen([*mine.argv, "push", name], env=env, stdout=subprocess.DEVNULL)
    assert process.wait(30) == -signal.SIGKILL
    mine("import", str(tmp_path / "plain.tar"), "other")
    assert os.listdir(tmp_path / "temporary") == []
    assert mine.out("system", "check").endswith("no problems")


def test_an_image_that_is_removed_while_it_is_pushed_arrives_whole(
    mine: Cli, server: Fake, rootfs_archive: str
) -> None:
    name = named(mine, rootfs_archive, f"{server.name}/app:1")
    got: list[bytes] = []

    def begin(handler: object) -> None:
        mine("rmi", name, "alpine", code=None)  # the second time it is gone
        handler.send(202, Location="/upload/1?state=x")

    def take(status: int) -> Callable[[object], None]:
        def answer(handler: object) -> None:
            got.append(handler.rfile.read(int(handler.headers.get("Content-Length", 0))))
            handler.send(status, Location="/upload/1?state=x")

        return answer

    server.arrange("^POST ", begin, begin)
    server.arrange("^PATCH ", take(202), take(202))
    server.arrange("^PUT /upload", take(201), take(201))
    server.arrange("^PUT .*/manifests/", take(201))
    assert "digest: sha256:" in mine.out("push", name)
    _, _, config, _, manifest = got
    assert json.loads(manifest)["config"]["digest"] == digest_of(config)
    assert mine.out("images", "-q") == "" and mine.out("system", "check").startswith("0 blobs")
    assert "does not exist locally" in mine("push", name, code=1).stderr


# ------------------------------------------------------------------ run and create


def test_run_pulls_what_is_missing(mine: Cli, registry: str, rootfs_archive: str) -> None:
    name = named(mine, rootfs_archive, f"{registry}/runs:1")
    mine("push", name)
    mine("rmi", "-f", name)
    done = mine("run", "--rm", name, "echo", "hi")
    assert done.stdout == "hi\n"
    said = lines(done.stderr)
    assert said[0] == f"Unable to find image '{name}' locally"
    assert said[1] == "1: Pulling from runs"
    assert said[-1] == f"Status: Downloaded newer image for {name}"
    assert mine("run", "--rm", name, "echo", "hi").stderr == ""
    mine("rmi", name)
    made = mine("create", "--name", "made", name)
    assert re.fullmatch("[0-9a-f]{64}\n", made.stdout)
    mine("rm", "made")


def test_pull_always_missing_never(mine: Cli, registry: str, rootfs_archive: str) -> None:
    name = named(mine, rootfs_archive, f"{registry}/moves:1")
    mine("push", name)
    assert "Image is up to date" in mine("run", "--rm", "--pull", "always", name, "true").stderr
    assert mine("run", "--rm", "--pull", "missing", name, "true").stderr == ""
    assert mine("run", "--rm", "--pull", "never", name, "true").stderr == ""
    mine("rmi", name)
    never = mine("run", "--rm", "--pull", "never", name, "true", code=125)
    assert f"no such image: {name}" in never.stderr
    assert "Pulling" not in never.stderr
    assert "sometimes" in mine("run", "--pull", "sometimes", name, "true", code=125).stderr
    gone = mine("run", "--pull", "always", f"{registry}/gone", "true", code=125)
    assert f"{registry}/gone" in gone.stderr


def test_run_says_why_an_image_cannot_be_had_and_soon(mine: Cli) -> None:
    start = time.monotonic()
    failed = mine("run", "127.0.0.1:1/nonesuch", "true", code=125)
    assert time.monotonic() - start < 5
    assert "Unable to find image '127.0.0.1:1/nonesuch:latest' locally" in failed.stderr
    assert "no such image: 127.0.0.1:1/nonesuch: it is not here, and cannot be pulled" in failed.stderr
    assert "connection refused" in failed.stderr
    unknown = mine("run", "sha256:" + "0" * 64, "true", code=125).stderr
    assert "no such image" in unknown
    assert "Unable" not in unknown


def test_an_option_that_names_nothing_is_no_reason_to_pull(mine: Cli) -> None:
    failed = mine("run", "--pid", "container:nonesuch", "alpine", "true", code=125)
    assert "no such container: nonesuch" in failed.stderr
    assert "Unable to find image" not in failed.stderr


def test_run_for_a_platform(mine: Cli, server: Fake) -> None:
    server.put_image(archive(a="1"), architecture="s390x")
    failed = mine("create", "--platform", "linux/arm64", f"{server.name}/app", "true", code=1)
    assert "linux/s390x, not for linux/arm64" in failed.stderr
    made = mine("create", "--platform", "linux/s390x", "--name", "other", f"{server.name}/app", "/a")
    assert made.stdout
    again = mine("create", "--platform", "linux/s390x", "--name", "other2", f"{server.name}/app", "/a")
    assert again.stderr == ""
    mine("rm", "other", "other2")
    assert "--platform a/b/c/d" in mine("pull", "--platform", "a/b/c/d", "alpine", code=1).stderr


def test_the_library_pulls_and_pushes(registry: str, rootfs_archive: str, tmp_path: pathlib.Path) -> None:
    engine = Engine(str(tmp_path / "library"))
    name = f"{registry}/library:1"
    minicontainer.import_image(rootfs_archive, name, engine=engine)
    digest = minicontainer.push(name, engine=engine)
    engine.remove_image(name)
    assert minicontainer.pull(name, engine=engine).digest == digest
    with pytest.raises(NotFound, match=f"{registry}/nope"):
        minicontainer.pull(f"{registry}/nope", engine=engine)


def test_who_asks_for_events_is_told(mine: Cli, registry: str, rootfs_archive: str) -> None:
    name = named(mine, rootfs_archive, f"{registry}/told:1")
    mine("push", name)
    mine("pull", name)
    row = "{{.Type}} {{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}"
    told = mine.out(
        "events", "--since", "0", "--until", str(int(time.time()) + 1), "--format", row
    ).splitlines()
    assert [line for line in told if "push" in line or "pull" in line] == [
        f"image push {name} {registry}/told",
        f"image pull {name} {registry}/told",
    ]


def test_the_registry_of_the_lab_is_one(mine: Cli, tmp_path: pathlib.Path) -> None:
    """skopeo writes into it and reads from it, and so do we."""
    if SKOPEO is None:
        pytest.skip("needs skopeo")
    shelf = Registry()
    try:
        name = f"{shelf.name}/lab/copy:1"
        mine("tag", "alpine", name)
        mine("push", "-q", name)
        back = f"docker://{shelf.name}/lab/back:1"
        words = ["copy", "--src-tls-verify=false", "--dest-tls-verify=false"]
        subprocess.run([SKOPEO, *words, f"docker://{name}", back], check=True, capture_output=True)
        assert mine.out("run", "--rm", f"{shelf.name}/lab/back:1", "echo", "hi") == "hi"
        assert shelf.manifests["lab/copy"]["1"] == shelf.manifests["lab/back"]["1"]
    finally:
        shelf.close()


# ------------------------------------------------------------------ killed at any moment


KILLED = """
import os, sys
from minicontainer.images.reference import Reference
from minicontainer.images.registry.pull import pull
from minicontainer.images.store import Store
from minicontainer.lab.shelf import Registry
print("begin", flush=True)
pull(Store(sys.argv[1]), Reference.parse(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_pull_leaves_a_whole_store(server: Fake, tmp_path: pathlib.Path) -> None:
    """Killed at 30 moments, from the first request to the last rename: the next pull finds nothing wrong."""
    server.put_image(*[archive(**{f"f{n}": os.urandom(300_000)}) for n in range(5)])
    name = f"{server.name}/app"
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    root = str(tmp_path / "root")

    def begin(root: str) -> subprocess.Popen:
        argv = [sys.executable, "-c", KILLED, root, name]
        puller = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE)
        assert puller.stdout.readline() == b"begin\n"
        return puller

    with begin(str(tmp_path / "trial")) as puller:
        start = time.monotonic()
        assert puller.wait() == 0
        whole = time.monotonic() - start
    killed = 0
    for number in range(30):
        puller = begin(root)
        time.sleep(whole * number / 30)
        puller.send_signal(signal.SIGKILL)
        killed += puller.wait() == -signal.SIGKILL
        puller.stdout.close()
        store = Store(root)
        for image in store.images():
            assert len(store.layer_directories(image)) == 5
        if store.images():
            store.remove(store.find(name))
    assert killed > 10, f"{killed} of 30, with {whole:.2f} s for a whole pull"
    store = Store(root)
    image = minicontainer.pull(name, engine=Engine(root))
    assert len(store.layer_directories(image)) == 5
    store.remove(store.find(name))
    store.sweep()
    assert os.listdir(os.path.join(store.blobs_path, "sha256")) == []
    assert [each for each in os.listdir(store.blobs_path) if each.startswith(".")] == []
    assert os.listdir(store.layers_path) == []


def test_two_pulls_at_once(server: Fake, tmp_path: pathlib.Path) -> None:
    server.put_image(*[archive(**{f"f{n}": os.urandom(300_000)}) for n in range(4)])
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    argv = [sys.executable, "-c", KILLED, str(tmp_path / "root"), f"{server.name}/app"]
    both = [
        subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(3)
    ]
    for each in both:
        _, stderr = each.communicate()
        assert each.returncode == 0, stderr.decode()
    store = Store(str(tmp_path / "root"))
    assert len(store.layer_directories(store.find(f"{server.name}/app"))) == 4
    assert len(store.images()) == 1


# ------------------------------------------------------------------ search


def test_search(server: Fake, monkeypatch: pytest.MonkeyPatch, mine: Cli) -> None:
    results = [
        {
            "name": "alpine",
            "description": "A minimal\nimage " + "x" * 80,
            "star_count": 9,
            "is_official": True,
        },
        {"name": "me/alpine", "description": None, "star_count": 1, "is_automated": True},
    ]
    answer = json.dumps({"num_results": 2, "results": results}).encode()
    server.arrange("^GET /v1/search", *[lambda h: h.send(200, answer)] * 9)
    word = f"{server.name}/alpine"
    said = mine.out("search", word).splitlines()
    assert said[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL", "AUTOMATED"]
    assert re.fullmatch(r"alpine +A minimal image x+… +9 +\[OK\] *", said[1])
    assert mine.out("search", "--filter", "stars=5", "--format", "{{.Name}}", word) == "alpine"
    assert mine.out("search", "--filter", "is-official=false", "--format", "{{.Name}}", word) == "me/alpine"
    assert "bogus" in mine("search", "--filter", "bogus=1", word, code=1).stderr
    assert "500" in mine("search", "--limit", "500", word, code=1).stderr
    monkeypatch.setattr(search, "_HUB", f"http://{server.name}")
    assert [entry["name"] for entry in search.search("alpine", limit=3)] == ["alpine", "me/alpine"]
    assert server.asked(r"^GET /v1/search\?q=alpine&n=3$")


def test_search_where_there_is_none(mine: Cli, registry: str, server: Fake) -> None:
    assert f"{registry} cannot be searched" in mine("search", f"{registry}/alpine", code=1).stderr
    server.arrange("^GET /v1/search", *[lambda h: h.send(200, b"<html>")] * 2)
    assert "something else than results" in mine("search", f"{server.name}/x", code=1).stderr


# ------------------------------------------------------------------ other tools


@pytest.fixture
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """podman with a storage of its own."""
    program = shutil.which("podman") or pytest.skip("needs podman")
    base = tmp_path_factory.mktemp("podman")
    (base / "containers.conf").write_text("[containers]\ndefault_ulimits = []\n")
    env = {**os.environ, "CONTAINERS_CONF": str(base / "containers.conf")}
    where = ["--root", str(base / "root"), "--runroot", str(base / "run"), "--storage-driver", "vfs"]

    def run(*words: str) -> str:
        done = subprocess.run([program, *where, *words], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    yield run
    subprocess.run([program, *where, "rmi", "-af"], env=env, capture_output=True, check=False)


def test_what_docker_pushes_we_pull(mine: Cli, docker: Callable, registry: str) -> None:
    name = f"{registry}/from-docker:1"
    docker("tag", DOCKER_IMAGE, name)
    try:
        pushed = docker("push", name)
        assert pushed.returncode == 0, pushed.stderr
        digest = re.search(DIGEST, pushed.stdout.splitlines()[-1])[0]
        assert f"Digest: {digest}" in mine.out("pull", name)
        assert mine.out("run", "--rm", name, "echo", "hi") == "hi"
        ours = mine.out("inspect", "-f", "{{.Id}}", name)
        assert ours == docker("inspect", "-f", "{{.Id}}", name).stdout.strip()
        assert f"digest: {digest}" in mine.out("push", name)
    finally:
        docker("rmi", name)


def test_what_we_push_docker_pulls(mine: Cli, docker: Callable, registry: str, rootfs_archive: str) -> None:
    name = named(mine, rootfs_archive, f"{registry}/to-docker:1")
    pushed = mine.out("push", name)
    try:
        pulled = docker("pull", name)
        assert pulled.returncode == 0, pulled.stderr
        digest = re.search(DIGEST, pushed.splitlines()[-1])[0]
        assert f"Digest: {digest}" in pulled.stdout
        ran = docker("run", "--rm", "--network", "none", name, "echo", "hi")
        assert (ran.stdout, ran.returncode) == ("hi\n", 0)
        assert docker("inspect", "-f", "{{.Id}}", name).stdout.strip() == mine.out(
            "inspect", "-f", "{{.Id}}", name
        )
    finally:
        docker("rmi", name)


def test_docker_says_the_same(mine: Cli, docker: Callable, registry: str, rootfs_archive: str) -> None:
    """Line by line; but for push, where Docker makes a manifest of its own."""
    name = named(mine, rootfs_archive, f"{registry}/same:1")
    mine("push", name)
    docker("pull", name)
    try:
        for words in (("pull", name), ("pull", "-q", name), ("push", "-q", name)):
            ours, theirs = mine.out(*words), docker(*words).stdout.strip()
            assert lines(ours) == lines(theirs), words
    finally:
        docker("rmi", name)


def test_podman_and_we(mine: Cli, podman: Callable[..., str], registry: str, rootfs_archive: str) -> None:
    name = named(mine, rootfs_archive, f"{registry}/to-podman:1")
    mine("push", name)
    podman("pull", "--tls-verify=false", name)
    assert (
        podman("inspect", "--format", "{{.Id}}", name)
        == mine.out("inspect", "-f", "{{.Id}}", name).partition(":")[2]
    )
    for kind in ("oci", "v2s2"):
        back = f"{registry}/from-podman:{kind}"
        podman("push", "--tls-verify=false", "--format", kind, name, back)
        assert mine.out("run", "--rm", "--pull", "always", back, "echo", "hi") == "hi"


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_skopeo_and_we(
    mine: Cli, registry: str, rootfs_archive: str, tmp_path: pathlib.Path, packing: str
) -> None:
    if SKOPEO is None:
        pytest.skip("needs skopeo")
    name = named(mine, rootfs_archive, f"{registry}/to-skopeo:1")
    mine("push", name)
    words = [
        SKOPEO,
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--dest-compress-format",
        packing,
    ]
    back = f"{registry}/from-skopeo:{packing}"
    subprocess.run(
        [*words, "--dest-compress", f"docker://{name}", f"dir:{tmp_path}/copy"],
        check=True,
        capture_output=True,
    )
    subprocess.run([*words, f"dir:{tmp_path}/copy", f"docker://{back}"], check=True, capture_output=True)
    assert mine.out("run", "--rm", back, "echo", "hi") == "hi"
    lies = f"oci:{mine.argv[-1]}/images:{back}"
    seen = subprocess.run([SKOPEO, "inspect", "--raw", lies], check=True, capture_output=True)
    theirs = subprocess.run(
        [SKOPEO, "inspect", "--raw", "--tls-verify=false", f"docker://{back}"],
        check=True,
        capture_output=True,
    )
    assert seen.stdout == theirs.stdout
