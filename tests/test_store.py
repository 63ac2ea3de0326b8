"""The image store: what is in it is whole, whatever happens, and other programs can read it as it lies."""

from __future__ import annotations

import bz2
import gzip
import http.server
import io
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import traceback

import pytest
from conftest import PROJECT
from waiting import until

from minicontainer.errors import Conflict, Error, IntegrityError, InvalidArgument, NotFound
from minicontainer.images import archive
from minicontainer.images.reference import Reference
from minicontainer.images.store import Image, Store

SKOPEO = shutil.which("skopeo")


def packed(**files: str | bytes) -> bytes:
    """An archive of these files; the same files always give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            data = content.encode() if isinstance(content, str) else content
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "root"))


def put(store: Store, content: bytes, name: str = "", **config: object) -> Image:
    return archive.import_tree(
        store, io.BytesIO(content), Reference.parse(name) if name else None, config=config or None
    )


def files(path: str) -> list[str]:
    """All files below a directory that are not locks, relative to it."""
    found = [os.path.join(place, name) for place, _, names in os.walk(path) for name in names]
    return sorted(os.path.relpath(each, path) for each in found if not each.endswith(".lock"))


def leftovers(store: Store) -> list[str]:
    """Work in progress that nobody is at any more."""
    places = (store.layers_path, os.path.join(store.images_path, "blobs"))
    return [name for place in places for name in os.listdir(place) if name.startswith(".")]


# -- importing, and finding again --


def test_imported_tree_is_an_image_with_one_layer(store):
    image = put(store, packed(a="hello", b="!"), "app:1", Cmd=["/a"], Env=["X=1"])
    assert (image.name, image.size, len(image.diff_ids)) == ("app:1", 6, 1)
    assert image.config["config"] == {"Cmd": ["/a"], "Env": ["X=1"]}
    assert (image.config["os"], image.config["rootfs"]["diff_ids"]) == ("linux", image.diff_ids)
    (directory,) = store.layer_directories(image)
    assert sorted(os.listdir(directory)) == ["a", "b"]
    assert image.id.startswith("sha256:") and image.short_id == image.id[7:19]


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["plain", "gzip", "bzip2", "xz"]
)
def test_layer_is_the_same_however_it_was_packed(store, pack):
    content = packed(a="hello")
    image = put(store, pack(content), "app")
    assert image.diff_ids == put(store, content, "plain").diff_ids
    with open(os.path.join(store.layer_directories(image)[0], "a")) as file:
        assert file.read() == "hello"
    kept = image.manifest["layers"][0]
    assert kept["mediaType"].endswith("+gzip") == (pack is gzip.compress)
    assert os.path.getsize(store.blob_path(kept["digest"])) == kept["size"]
    assert len(os.listdir(os.path.join(store.images_path, "blobs/sha256"))) == (
        6 if pack is gzip.compress else 5
    )


def test_image_is_found_by_its_names_and_by_the_beginning_of_its_id(store):
    image = put(store, packed(a="1"), "quay.io/me/app:1")
    for name in ("quay.io/me/app:1", image.id, image.id[7:], image.short_id, image.id[:17]):
        assert store.find(name).id == image.id
    assert store.find(f"quay.io/me/app:1@{image.manifest_digest}").id == image.id
    for name in (
        "quay.io/me/app:2",
        "me/app:1",
        "ffffffffffff" if image.short_id[0] != "f" else "0000",
        "sha256:" + "0" * 64,
    ):
        with pytest.raises(NotFound, match=f"no such image: {name}"):
            store.find(name)


def test_beginning_of_several_ids_is_not_enough(store):
    images = [
        put(store, packed(a=str(number))) for number in range(17)
    ]  # of which two begin with the same digit
    digits = [image.id[7] for image in images]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    with pytest.raises(Conflict, match="beginning of several image ids"):
        store.find(twice)


def test_images_are_listed_newest_first(store):
    for number in range(3):
        put(store, packed(a=str(number)), f"app:{number}")
        time.sleep(0.001)
    assert [image.name for image in store.images()] == ["app:2", "app:1", "app:0"]


def test_layers_come_highest_first_as_overlayfs_wants_them(store):
    descriptors, diff_ids = [], []
    for number in range(3):
        image = put(store, packed(name=str(number)))
        descriptors += image.manifest["layers"]
        diff_ids += image.diff_ids
    whole = store.add_image(
        {"rootfs": {"type": "layers", "diff_ids": diff_ids}}, descriptors, Reference.parse("all")
    )
    contents = []
    for directory in store.layer_directories(whole):
        with open(os.path.join(directory, "name")) as file:
            contents.append(file.read())
    assert contents == ["2", "1", "0"]
    assert whole.size == 3


def test_layer_whose_archive_does_not_say_can_be_entered_by_everybody(store):
    mask = os.umask(0o077)
    try:
        image = put(store, packed(a="1"))
    finally:
        os.umask(mask)
    assert os.stat(store.layer_directories(image)[0]).st_mode & 0o777 == 0o755


# -- names --


def test_name_moves_to_the_new_image_and_the_old_one_stays_without(store):
    old = put(store, packed(a="old"), "app")
    new = put(store, packed(a="new"), "app")
    assert store.find("app").id == new.id
    assert [(image.id, image.names) for image in store.images() if image.id == old.id] == [(old.id, [])]


def test_image_may_have_several_names_and_loses_one_at_a_time(store):
    image = put(store, packed(a="1"), "app:1")
    store.name(
        image.manifest_digest,
        os.path.getsize(store.blob_path(image.manifest_digest)),
        Reference.parse("app:2"),
    )
    image = store.find("app:1")
    assert sorted(name.tag for name in image.names) == ["1", "2"] and len(store.images()) == 1
    assert store.remove(image, Reference.parse("app:1")).lines == ["Untagged: app:1"]
    assert store.find("app:2").id == image.id
    report = store.remove(store.find("app:2"), Reference.parse("app:2")).lines
    assert report == ["Untagged: app:2", f"Deleted: {image.id}", f"Deleted: {image.diff_ids[0]}"]
    assert store.images() == []


# -- removing --


def test_removed_image_leaves_nothing(store):
    image = put(store, packed(a="1"), "app")
    store.layer_directories(image)
    store.remove(image)
    assert files(store.layers_path) == []
    assert files(store.images_path) == ["index.json", "oci-layout"]


def test_layer_that_another_image_has_stays(store):
    first, second = (
        put(store, packed(a="1"), "first", Cmd=["x"]),
        put(store, packed(a="1"), "second", Cmd=["y"]),
    )
    assert first.diff_ids == second.diff_ids and first.id != second.id
    report = store.remove(first).lines
    assert report == ["Untagged: first:latest", f"Deleted: {first.id}"]
    assert os.listdir(store.layer_directories(store.find("second"))[0]) == ["a"]
    assert os.path.exists(store.blob_path(second.manifest["layers"][0]["digest"]))


def test_layer_that_a_container_uses_stays_until_it_is_told_otherwise(store):
    image = put(store, packed(a="1"), "app")
    store.in_use = lambda: set(image.diff_ids)
    store.remove(image)
    assert os.listdir(store.layer_paths(image.diff_ids)[0]) == ["a"]


# -- damage --


def damage(path: str, where: int = -30) -> None:
    with open(path, "r+b") as file:
        file.seek(where, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_layer_that_has_rotted_is_refused_and_leaves_nothing(store, pack):
    image = put(store, pack(packed(a=os.urandom(10_000))), "app")
    shutil.rmtree(store.layers_path)
    blob = store.blob_path(image.manifest["layers"][0]["digest"])
    damage(blob, -3000)
    with pytest.raises((IntegrityError, InvalidArgument)) as refusal:
        store.layer_directories(image)
    assert os.path.basename(blob) in str(refusal.value)
    assert os.listdir(store.layers_path) == []
    damage(blob, -3000)
    assert os.listdir(store.layer_directories(image)[0]) == ["a"], "once mended it is as good as before"


def test_layer_that_is_another_than_promised_is_refused(store):
    image = put(store, packed(a="1"))
    config = {**image.config, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}
    liar = store.add_image(config, image.manifest["layers"], Reference.parse("liar"))
    with pytest.raises(IntegrityError, match=f"unpacks to {image.diff_ids[0]}, not to sha256:000"):
        store.layer_directories(liar)
    assert len(os.listdir(store.layers_path)) == 1


WHOLE = gzip.compress(packed(a=os.urandom(50_000), b="2"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no archive at all" * 100, "not a tar archive"),
        (b"", "not a tar archive"),
        (WHOLE[:-5000], "is damaged"),
        (WHOLE[:-1000] + b"x" * 1000, "is damaged"),
        (gzip.compress(b"junk" * 1000), "not a tar archive"),
        (gzip.compress(packed(**{"../escape": "x"})), "has a '..' in it"),
        (packed(a="x" * 2000)[:1500], "not a tar archive"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "is damaged"),
        (lzma.compress(b"junk" * 1000), "not a tar archive"),
        (b"\xfd7zXZ\x00" + bytes(100), "is damaged"),
        (b"BZh9" + bytes(100), "is damaged"),
    ],
    ids="text empty cut torn packed-text hostile cut-tar zstd xz-text xz-torn bzip2-torn".split(),
)
def test_archive_that_cannot_be_an_image_is_refused_and_leaves_nothing(store, content, reason):
    with pytest.raises(InvalidArgument, match=reason):
        put(store, content, "app")
    assert files(store.layers_path) == []
    assert files(store.images_path) in (["index.json", "oci-layout"], ["oci-layout"])
    assert store.images() == [] and leftovers(store) == []


def test_refused_archive_takes_no_image_with_it_that_has_the_same_bytes(store):
    content = gzip.compress(packed(a="1"))
    image = put(store, content, "good")
    with pytest.raises(KeyError), store.lease():
        assert store.add_blob_stream(io.BytesIO(content))["digest"] == image.manifest["layers"][0]["digest"]
        raise KeyError
    assert os.path.exists(store.blob_path(image.manifest["layers"][0]["digest"]))


def test_part_of_an_image_that_is_missing_is_named(store):
    image = put(store, packed(a="1"), "app")
    os.unlink(store.blob_path(image.id))
    with pytest.raises(
        IntegrityError, match=f"app:latest is damaged: {store.blob_path(image.id)} is missing"
    ):
        store.find("app")
    (problem,) = store.damaged()
    assert problem.startswith("image app:latest is damaged") and problem.endswith("get it anew")
    assert store.images() == [], "the others are to be seen all the same"
    with pytest.raises(NotFound):
        store.find(image.id)
    store.remove_damaged("app")
    assert store.damaged() == [] and files(store.images_path) == ["index.json", "oci-layout"]


def test_index_that_is_damaged_is_named(store):
    put(store, packed(a="1"), "app")
    with open(os.path.join(store.images_path, "index.json"), "w") as file:
        file.write("{")
    with pytest.raises(Error, match=f"{store.images_path}/index.json is damaged"):
        store.images()


# -- several at once, and sudden ends --


def test_several_processes_unpack_the_same_layer_at_once(store):
    image = put(store, packed(**{f"f{number}": os.urandom(500) for number in range(300)}), "app")
    shutil.rmtree(store.layers_path)
    ready, go = os.pipe()
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(go)
                os.read(ready, 1)
                own = Store(os.path.dirname(store.images_path))
                code = 0 if len(os.listdir(own.layer_directories(own.find("app"))[0])) == 300 else 2
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(ready)
    os.close(go)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0, 0]
    assert os.listdir(store.layers_path) == [image.diff_ids[0].removeprefix("sha256:")]


def test_several_processes_import_and_remove_at_once(store):
    pids = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                own = Store(os.path.dirname(store.images_path))
                for turn in range(5):
                    image = put(own, packed(a=f"{number} {turn}"), f"app{number}")
                    if turn % 2:
                        own.remove(image)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0, 0]
    assert sorted(str(name) for image in store.images() for name in image.names) == [
        f"docker.io/library/app{number}:latest" for number in range(4)
    ]
    assert all(len(store.layer_directories(image)) == 1 for image in store.images())


IMPORTER = """
import sys
from minicontainer.images import archive
from minicontainer.images.reference import Reference
from minicontainer.images.store import Store
print("begun", flush=True)
archive.import_tree(Store(sys.argv[1]), open(sys.argv[2], "rb"), Reference.parse("app"))
"""


def test_import_that_is_killed_leaves_a_whole_store_and_the_next_one_sweeps_up(store, tmp_path):
    put(store, packed(a="1"), "before")
    source = tmp_path / "big.tar.gz"
    content = packed(**{f"f{number}": os.urandom(20_000) for number in range(400)})
    source.write_bytes(gzip.compress(content, compresslevel=1))
    root = os.path.dirname(store.images_path)
    swept = 0
    for delay in (0.005, 0.02, 0.04, 0.08, 0.12, 0.2):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(IMPORTER), root, source],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )
        child.stdout.readline()
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        for image in store.images():
            for directory in store.layer_directories(image):
                assert os.listdir(directory) == ["a"] or len(os.listdir(directory)) == 400
        assert store.find("before").size == 1
        swept += len(leftovers(store))
    assert put(store, source.read_bytes(), "app").size == 8_000_000
    assert leftovers(store) == []
    assert swept, "no import was killed while it had something unfinished"


def test_work_of_others_is_not_swept(store):
    """An import that takes its time is at work for as long as its process lives."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        with open(reader, "rb") as stream:
            archive.import_tree(store, stream, Reference.parse("slow"))
        os._exit(0)
    os.close(reader)
    content = packed(a="slow")
    os.write(writer, content[:700])
    until(lambda: os.path.isdir(store.layers_path) and leftovers(store), seconds=5)
    put(store, packed(a="quick"), "quick")
    os.write(writer, content[700:])
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert {image.name for image in store.images()} == {"slow:latest", "quick:latest"}


# -- other programs --


@pytest.mark.skipif(not SKOPEO, reason="needs skopeo (package skopeo) to read the store with")
def test_skopeo_reads_the_store_as_it_lies(store, tmp_path):
    image = put(store, gzip.compress(packed(a="hello")), "alpine", Cmd=["/bin/sh"], Env=["A=b"])
    put(store, packed(a="other"), "quay.io/me/other:1")
    source = f"oci:{store.images_path}:docker.io/library/alpine:latest"
    shown = json.loads(subprocess.run([SKOPEO, "inspect", source], check=True, capture_output=True).stdout)
    assert shown["Digest"] == image.manifest_digest
    assert shown["Layers"] == [layer["digest"] for layer in image.manifest["layers"]]
    assert (
        shown["Env"] == ["A=b"]
        and shown["Os"] == "linux"
        and shown["Architecture"] in archive.ARCHITECTURES.values()
    )
    config = subprocess.run([SKOPEO, "inspect", "--config", source], check=True, capture_output=True)
    assert json.loads(config.stdout)["config"]["Cmd"] == ["/bin/sh"]
    subprocess.run([SKOPEO, "copy", source, f"dir:{tmp_path}/copy"], check=True, capture_output=True)


def test_store_is_an_oci_image_layout(store):
    image = put(store, packed(a="1"), "app:1")
    with open(os.path.join(store.images_path, "oci-layout")) as file:
        assert json.load(file) == {"imageLayoutVersion": "1.0.0"}
    with open(os.path.join(store.images_path, "index.json")) as file:
        (descriptor,) = json.load(file)["manifests"]
    assert descriptor == {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image.manifest_digest,
        "size": os.path.getsize(store.blob_path(image.manifest_digest)),
        "annotations": {"org.opencontainers.image.ref.name": "docker.io/library/app:1"},
    }


# -- where an archive comes from --


@pytest.fixture
def web(tmp_path):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words: object) -> None:
            super().__init__(*words, directory=str(tmp_path))

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_archive_may_be_a_file_or_an_address(store, tmp_path, web):
    (tmp_path / "app.tar").write_bytes(packed(a="hello"))
    for source in (str(tmp_path / "app.tar"), f"{web}/app.tar"):
        with archive.open_source(source) as stream:
            assert put(store, stream.read()).size == 5


def test_archive_that_is_not_there_is_named(tmp_path, web):
    with pytest.raises(NotFound, match=f"{tmp_path}/app.tar: No such file or directory"):
        archive.open_source(str(tmp_path / "app.tar"))
    with pytest.raises(NotFound, match=f"{web}/app.tar: the server answers 404"):
        archive.open_source(f"{web}/app.tar")
