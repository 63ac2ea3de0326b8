"""save and load: what one writes the other reads, and what is wrong is refused and leaves nothing."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import textwrap

import pytest
from conftest import PROJECT
from test_store import files, leftovers, packed, put

from minicontainer.errors import Error, IntegrityError, InvalidArgument, NotFound
from minicontainer.images import checking, index, loading, saving
from minicontainer.images.reference import Reference
from minicontainer.images.store import Image, Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "root"))


@pytest.fixture
def other(tmp_path):
    """Another host's store."""
    return Store(str(tmp_path / "other"))


def layered(store: Store, *contents: bytes, name: str = "app", **config: object) -> Image:
    """An image with a layer for each content."""
    with store.lease():
        blobs = [store.add_blob(content) for content in contents]
        descriptors = [{"mediaType": index.LAYER, **blob} for blob in blobs]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [blob["digest"] for blob in blobs]},
        }
        return store.add_image(document, descriptors, Reference.parse(name) if name else None)


def saved(store: Store, *names: str, form: str = "docker-archive") -> bytes:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.close(reader)
            saving.save(store, names, writer, form)
            code = 0
        os._exit(code)
    os.close(writer)
    with open(reader, "rb") as pipe:
        content = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return content


def load(store: Store, content: bytes) -> list[loading.Loaded]:
    return loading.load(store, io.BytesIO(content))


def is_well(store: Store) -> bool:
    return list(checking.problems(store, {}, checking.Checked())) == []


def tree(store: Store, image: Image) -> dict[str, bytes]:
    """The files of an image by name, higher layers over lower ones."""
    found: dict[str, bytes] = {}
    for directory in reversed(store.layer_directories(image)):
        for name in os.listdir(directory):
            found[name] = pathlib.Path(directory, name).read_bytes()
    return found


# -- there and back --


@pytest.mark.parametrize("form", saving.FORMS)
def test_image_is_the_same_on_the_other_side(store, other, form):
    image = layered(store, packed(a="1", b="1"), packed(b="2"), Cmd=["/a"], Labels={"x": "y"})
    (loaded,) = load(other, saved(store, "app", form=form))
    assert (loaded.image.id, [name.familiar for name in loaded.names]) == (image.id, ["app:latest"])
    assert other.find("app").config == image.config
    assert tree(other, other.find("app")) == {"a": b"1", "b": b"2"}
    if form == "oci-archive":
        assert loaded.image.manifest_digest == image.manifest_digest
    assert is_well(store) and is_well(other)


@pytest.mark.parametrize("form", saving.FORMS)
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_archive_may_be_packed(store, other, pack, form):
    image = layered(store, packed(a="1"))
    assert load(other, pack(saved(store, "app", form=form)))[0].image.id == image.id


@pytest.mark.parametrize("form", saving.FORMS)
def test_layers_travel_packed_as_they_are(store, other, form):
    image = put(store, gzip.compress(packed(a="x" * 100_000)), "app")
    content = saved(store, "app", form=form)
    assert len(content) < 50_000
    assert load(other, content)[0].image.id == image.id
    assert other.find("app").size == 100_000


def test_same_image_gives_the_same_archive(store):
    layered(store, packed(a="1"), packed(b="2"))
    assert saved(store, "app") == saved(store, "app")


@pytest.mark.parametrize("form", saving.FORMS)
def test_several_images_share_what_they_have_in_common(store, other, form):
    common = packed(a=os.urandom(200_000))
    layered(store, common, packed(b="1"), name="one")
    layered(store, common, packed(b="2"), name="two")
    layered(store, packed(c="3"), common, name="three")
    content = saved(store, "one", "two", "three", form=form)
    assert len(content) < 300_000
    assert [each.names[0].path for each in load(other, content)] == [
        "library/one",
        "library/two",
        "library/three",
    ]
    assert tree(other, other.find("two"))["b"] == b"2" and tree(other, other.find("three"))["c"] == b"3"
    assert is_well(other)


def test_repository_without_a_tag_means_all_its_tags(store, other):
    first, second = layered(store, packed(a="1"), name="app:1"), layered(store, packed(a="2"), name="app:2")
    store.tag(first, Reference.parse("app:one"))
    found = load(other, saved(store, "app"))
    assert {(each.image.id, tuple(sorted(name.tag for name in each.names))) for each in found} == {
        (first.id, ("1", "one")),
        (second.id, ("2",)),
    }


@pytest.mark.parametrize("form", saving.FORMS)
def test_image_saved_by_its_id_has_no_name(store, other, form):
    image = layered(store, packed(a="1"))
    (loaded,) = load(other, saved(store, image.short_id, form=form))
    assert loaded.names == [] and other.find(image.id).names == []


def test_name_that_another_image_has_moves_and_it_is_said(store, other):
    layered(store, packed(a="new"))
    old = layered(other, packed(a="old"))
    (loaded,) = load(other, saved(store, "app"))
    assert [(name.familiar, lost) for name, lost in loaded.replaced] == [("app:latest", old.id)]
    assert other.find("app").id == loaded.image.id and other.find(old.id).names == []


def test_image_that_is_here_already_is_not_kept_twice(store):
    image = put(store, gzip.compress(packed(a="1")), "app")
    content = saved(store, "app", form="docker-archive")
    before = files(store.images_path)
    (loaded,) = load(store, content)
    assert (loaded.image.id, loaded.replaced) == (image.id, [])
    assert files(store.images_path) == before


def test_layer_that_is_here_is_not_unpacked_again(tmp_path, store):
    """The disk has room for it once, and for nothing else of its size."""
    common = packed(a=os.urandom(3_000_000))
    layered(store, common, name="one")
    layered(store, common, packed(b="2"), name="two")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], check=True)
    try:
        full = Store(str(disk / "root"))
        load(full, saved(store, "one"))
        (loaded,) = load(full, saved(store, "two"))
        assert sorted(tree(full, loaded.image)) == ["a", "b"] and is_well(full)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_image_with_no_layers_at_all(store, other):
    image = layered(store, name="empty")
    for form in saving.FORMS:
        assert load(other, saved(store, "empty", form=form))[0].image.id == image.id
        other.remove(other.find("empty"))
    assert files(other.images_path) == ["index.json", "oci-layout"]


# -- writing the file --


def test_file_is_there_whole_or_not_at_all(store, tmp_path):
    layered(store, packed(a="1"))
    place = tmp_path / "out"
    place.mkdir()
    saving.save_file(store, ["app"], str(place / "app.tar"))
    saving.save_file(store, ["app"], str(place / "app.tar"))  # again, over it
    assert os.listdir(place) == ["app.tar"] and (place / "app.tar").stat().st_mode & 0o777 == 0o600
    os.unlink(store.blob_path(store.find("app").manifest["layers"][0]["digest"]))
    with pytest.raises(NotFound, match=r"its blob sha256:.* is missing"):
        saving.save_file(store, ["app"], str(place / "second.tar"))
    assert os.listdir(place) == ["app.tar"]


def test_disk_that_is_full_leaves_no_file(store, tmp_path):
    """RLIMIT_FSIZE ends a write as a full disk does."""
    import resource

    layered(store, packed(a=os.urandom(500_000)))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            saving.save_file(store, ["app"], str(tmp_path / "app.tar"))
        except OSError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not [name for name in os.listdir(tmp_path) if "tar" in name]


@pytest.mark.parametrize("path", ["nowhere/app.tar", "/dev/null", "."])
def test_path_that_cannot_be_an_archive_is_named(store, tmp_path, path):
    layered(store, packed(a="1"))
    with pytest.raises(InvalidArgument, match="invalid output path"):
        saving.save_file(store, ["app"], os.path.join(tmp_path, path))


def test_image_that_is_not_here_is_named(store, tmp_path):
    with pytest.raises(NotFound, match="no such image: nonesuch"):
        saving.save_file(store, ["nonesuch"], str(tmp_path / "x.tar"))
    assert not [name for name in os.listdir(tmp_path) if "tar" in name]


# -- what other tools make of an archive --


def archive(**entries: object) -> bytes:
    """A tar of files; a tuple is a link to its first member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                entry.type, entry.linkname = content[1] if len(content) > 1 else tarfile.SYMTYPE, content[0]
                tar.addfile(entry)
                continue
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


LAYER = packed(a="1")
CONFIG = {
    "os": "linux",
    "architecture": "amd64",
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha256(LAYER)]},
}
ITEM = {"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l/layer.tar"]}


def docker_archive(**changed: object) -> bytes:
    """What docker save would have written, but for some changes."""
    return archive(**{"l/layer.tar": LAYER, "c.json": CONFIG, "manifest.json": [ITEM], **changed})


def test_layer_may_be_a_link_to_another_as_docker_has_it(store):
    item = {**ITEM, "Layers": ["l/layer.tar", "m/layer.tar", "n.tar"]}
    diff_ids = ["sha256:" + sha256(LAYER)] * 3
    config = {**CONFIG, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    links = {"m/layer.tar": ("../l/layer.tar",), "n.tar": ("m/layer.tar", tarfile.LNKTYPE)}
    for order in (links, dict(reversed(links.items()))):
        content = archive(**order, **{"l/layer.tar": LAYER, "c.json": config, "manifest.json": [item]})
        assert load(store, content)[0].image.diff_ids == diff_ids


def test_names_may_begin_with_a_dot_as_tar_writes_them(store):
    content = archive(**{"./l/layer.tar": LAYER, "./c.json": CONFIG, "./manifest.json": [ITEM]})
    assert load(store, content)[0].names[0].tag == "1"


def oci_parts(
    config: object = CONFIG, layer: bytes = LAYER, **more: object
) -> tuple[dict[str, object], dict[str, object]]:
    """The blobs of an image by their names in a layout, and the descriptor of its manifest."""
    blob = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": index.CONFIG, "digest": "sha256:" + sha256(blob), "size": len(blob)},
        "layers": [{"mediaType": index.LAYER, "digest": "sha256:" + sha256(layer), "size": len(layer)}],
        **more,
    }
    data = json.dumps(manifest).encode()
    parts = {f"blobs/sha256/{sha256(each)}": each for each in (blob, layer, data)}
    return parts, {"mediaType": index.MANIFEST, "digest": "sha256:" + sha256(data), "size": len(data)}


def oci_archive(*descriptors: dict[str, object], **parts: object) -> bytes:
    document = {"schemaVersion": 2, "manifests": list(descriptors)}
    return archive(**{**parts, "index.json": document, "oci-layout": {"imageLayoutVersion": "1.0.0"}})


def test_image_for_this_platform_is_chosen_and_the_others_are_not_kept(store):
    ours, ours_descriptor = oci_parts()
    machine = index.ARCHITECTURES[os.uname().machine]
    theirs, theirs_descriptor = oci_parts({**CONFIG, "architecture": "s390x"})
    unknown, unknown_descriptor = oci_parts({**CONFIG, "architecture": "unknown"})
    many = {
        "schemaVersion": 2,
        "mediaType": index.INDEX,
        "manifests": [
            {**theirs_descriptor, "platform": {"os": "linux", "architecture": "s390x"}},
            {**unknown_descriptor, "platform": {"os": "unknown", "architecture": "unknown"}},
            {**ours_descriptor, "platform": {"os": "linux", "architecture": machine}},
        ],
    }
    data = json.dumps(many).encode()
    top = {"mediaType": index.INDEX, "digest": "sha256:" + sha256(data), "size": len(data)}
    top["annotations"] = {index.REF_NAME: "many:1"}
    content = oci_archive(top, **{**ours, **theirs, **unknown, f"blobs/sha256/{sha256(data)}": data})
    (loaded,) = load(store, content)
    assert loaded.image.manifest_digest == ours_descriptor["digest"]
    assert len(os.listdir(os.path.join(store.blobs_path, "sha256"))) == 3
    assert store.find("many:1").id == loaded.image.id


def test_archive_of_todays_docker_is_both_kinds_and_its_names_are_whole(store):
    """Docker 25 and newer: an OCI layout with a manifest.json, and the name in containerd's annotation."""
    parts, descriptor = oci_parts()
    name = {"io.containerd.image.name": "docker.io/library/app:1", index.REF_NAME: "1"}
    config = next(name for name in parts if b"diff_ids" in parts[name])
    item = {**ITEM, "Config": config, "Layers": [f"blobs/sha256/{sha256(LAYER)}"]}
    both = oci_archive({**descriptor, "annotations": name}, **parts, **{"manifest.json": [item]})
    only = oci_archive({**descriptor, "annotations": name}, **parts)
    for content in (both, only):
        assert [name.familiar for name in load(store, content)[0].names] == ["app:1"]
    assert len(store.images()) == 1


# -- what is refused --

DEEP = b"[" * 200_000 + b"]" * 200_000
LIAR = {**CONFIG, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}
ESCAPE = packed(**{"../escape": "x"})
ESCAPING = {**CONFIG, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha256(ESCAPE)]}}
TEXT = b"no archive at all" * 100
TEXTUAL = {**CONFIG, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha256(TEXT)]}}
PARTS, DESCRIPTOR = oci_parts()
LAYER_PART = f"blobs/sha256/{sha256(LAYER)}"
MISSING = {name: data for name, data in PARTS.items() if name != LAYER_PART}
LISTLESS, LISTLESS_DESCRIPTOR = oci_parts({"rootfs": "none"})
MORE, MORE_DESCRIPTOR = oci_parts(layers=[])
HUGE = {**DESCRIPTOR, "size": 5}
LIST_DESCRIPTOR = {"digest": f"sha256:{sha256(b'[]')}", "size": 2}

HOSTILE = {
    "nothing": (b"", "not a tar archive"),
    "text": (TEXT, "not a tar archive"),
    "a root filesystem": (LAYER, "neither a manifest.json nor an index.json"),
    "cut": (docker_archive()[:3000], "not a tar archive"),
    "packed and cut": (gzip.compress(docker_archive())[:-30], "damaged|ended before"),
    "packed and torn": (gzip.compress(docker_archive())[:-8] + bytes(8), "damaged|CRC"),
    "name above": (docker_archive(**{"../up": b"x"}), "'../up' leads out of the archive"),
    "name within that leads above": (docker_archive(**{"a/../../up": b"x"}), "leads out of the archive"),
    "absolute name": (docker_archive(**{"/etc/cron.d/x": b"x"}), "'/etc/cron.d/x' leads out of the archive"),
    "absolute symlink": (docker_archive(**{"l/layer.tar": ("/etc/shadow",)}), "'/etc/shadow' leads out"),
    "symlink above": (docker_archive(**{"l/layer.tar": ("../../x",)}), "leads out of the archive"),
    "hard link above": (
        docker_archive(**{"l/layer.tar": ("../x", tarfile.LNKTYPE)}),
        "leads out of the archive",
    ),
    "link to itself": (
        docker_archive(**{"l/layer.tar": ("layer.tar",)}),
        "'l/layer.tar', which is not in the archive",
    ),
    "device": (
        docker_archive(dev=("", tarfile.CHRTYPE)),
        "'dev' is of a kind that no image archive has",
    ),
    "fifo": (docker_archive(fifo=("", tarfile.FIFOTYPE)), "'fifo' is of a kind"),
    "manifest that is no JSON": (docker_archive(**{"manifest.json": b"{"}), "manifest.json is no JSON"),
    "manifest that is too deep": (docker_archive(**{"manifest.json": DEEP}), "manifest.json is no JSON"),
    "manifest that is no list": (docker_archive(**{"manifest.json": {}}), "manifest.json is no list"),
    "manifest without images": (docker_archive(**{"manifest.json": []}), "manifest.json is no list"),
    "manifest of numbers": (docker_archive(**{"manifest.json": [1]}), "1 is no image"),
    "layers that are no list": (
        docker_archive(**{"manifest.json": [{**ITEM, "Layers": "l"}]}),
        "no list of layers",
    ),
    "layers that are no names": (
        docker_archive(**{"manifest.json": [{**ITEM, "Layers": [1]}]}),
        "no list of layers",
    ),
    "names that are no list": (
        docker_archive(**{"manifest.json": [{**ITEM, "RepoTags": "x"}]}),
        "no list of names",
    ),
    "name that is none": (
        docker_archive(**{"manifest.json": [{**ITEM, "RepoTags": ["Bad Name"]}]}),
        "Bad Name",
    ),
    "huge manifest": (docker_archive(**{"manifest.json": b" " * (2 << 20)}), "manifest.json is larger than"),
    "missing layer": (
        docker_archive(**{"manifest.json": [{**ITEM, "Layers": ["gone"]}]}),
        "'gone', which is not",
    ),
    "layer of the host": (
        docker_archive(**{"manifest.json": [{**ITEM, "Layers": ["../../etc/passwd"]}]}),
        "'../../etc/passwd', which is not in the archive",
    ),
    "missing configuration": (
        docker_archive(**{"manifest.json": [{**ITEM, "Config": "x"}]}),
        "'x', which is not",
    ),
    "configuration without a name": (
        docker_archive(**{"manifest.json": [{**ITEM, "Config": 1}]}),
        "names 1, which",
    ),
    "configuration that is a list": (docker_archive(**{"c.json": []}), "c.json is no JSON object"),
    "configuration without layers": (docker_archive(**{"c.json": {}}), "c.json: .* no list of diff ids"),
    "diff ids that are none": (
        docker_archive(**{"c.json": {"rootfs": {"diff_ids": ["sha256:../../etc"]}}}),
        "no list of diff ids",
    ),
    "too many layers": (
        docker_archive(**{"manifest.json": [{**ITEM, "Layers": ["l/layer.tar"] * 2}]}),
        "lists 2 layers, and c.json has 1 diff ids",
    ),
    "layer of another diff id": (
        docker_archive(**{"c.json": LIAR}),
        f"sha256:{sha256(LAYER)} unpacks to .*, not to sha256:000",
    ),
    "layer that escapes": (
        docker_archive(**{"l/layer.tar": ESCAPE, "c.json": ESCAPING}),
        f"layer sha256:{sha256(ESCAPE)}: .*escape",
    ),
    "layer that is no archive": (
        docker_archive(**{"l/layer.tar": TEXT, "c.json": TEXTUAL}),
        f"layer sha256:{sha256(TEXT)}: not a tar",
    ),
    "second image that is bad": (
        docker_archive(**{"manifest.json": [ITEM, {**ITEM, "Layers": ["gone"]}]}),
        "'gone', which is not",
    ),
    "configuration that is not what it is called": (
        docker_archive(
            **{"0" * 64 + ".json": CONFIG, "manifest.json": [{**ITEM, "Config": "0" * 64 + ".json"}]}
        ),
        "0.json has the digest sha256:.*, and was promised to have sha256:000",
    ),
    "blob that is not what it is called": (
        oci_archive(DESCRIPTOR, **{**PARTS, LAYER_PART: b"x"}),
        f"{sha256(LAYER)}",
    ),
    "large blob that is not what it is called": (
        oci_archive(DESCRIPTOR, **{**PARTS, LAYER_PART: bytes(2 << 20)}),
        f"blob sha256:{sha256(LAYER)} of {2 << 20} bytes was promised, and what came is "
        f"sha256:{sha256(bytes(2 << 20))}",
    ),
    "missing blob": (oci_archive(DESCRIPTOR, **MISSING), f"{sha256(LAYER)}', which is not in the archive"),
    "missing manifest": (oci_archive(DESCRIPTOR), "index.json names .* which is not in the archive"),
    "size that is another": (oci_archive(HUGE, **PARTS), "has 5 bytes, and it has"),
    "index without images": (oci_archive(), "index.json is no list"),
    "index of strings": (archive(**{"index.json": {"manifests": ["x"]}}), "index.json is no list"),
    "digest that is a path": (
        oci_archive({**DESCRIPTOR, "digest": "sha256:../../../etc/passwd"}, **PARTS),
        "index.json is no list",
    ),
    "index of a list": (
        archive(**{f"blobs/sha256/{sha256(b'[]')}": b"[]", "index.json": {"manifests": [LIST_DESCRIPTOR]}}),
        "is no JSON object",
    ),
    "other configuration": (oci_archive(LISTLESS_DESCRIPTOR, **LISTLESS), "no list of diff ids"),
    "fewer layers than promised": (
        oci_archive(MORE_DESCRIPTOR, **MORE),
        "has 0 layers, and its configuration has 1",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archive_is_refused_and_leaves_nothing(store, tmp_path, kind):
    content, reason = HOSTILE[kind]
    before = layered(store, packed(before="1"), name="before")
    store.layer_directories(before)
    had = files(str(tmp_path))
    had_names = [str(name) for image in store.images() for name in image.names]
    with pytest.raises((InvalidArgument, IntegrityError, Error), match=reason):
        load(store, content)
    assert files(str(tmp_path)) == had
    assert [str(name) for image in store.images() for name in image.names] == had_names
    assert leftovers(store) == [] and is_well(store)


def test_endless_archive_of_small_files_is_refused(store):
    header = bytearray(archive(x=b"")[:512])

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            size = len(buffer) // 512 * 512 or len(buffer)
            buffer[:size] = (bytes(header) * (size // 512 + 1))[:size]
            return size

    with pytest.raises(InvalidArgument, match="more than 100000 files"):
        loading.load(store, io.BufferedReader(Endless(), 1 << 20))


# -- memory --

MEASURED = """
import sys
from minicontainer.images import loading, saving
from minicontainer.images.store import Store
store = Store(sys.argv[1])
with open(sys.argv[2], "rb") as file:
    loading.load(store, file)
saving.save_file(store, ["app"], sys.argv[3])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize(("sizes", "most"), [([300_000_000], 80_000), ([33_000_000] * 4, 110_000)])
def test_memory_does_not_grow_with_the_image(store, tmp_path, sizes, most):
    """Layers of up to 32 MiB are held whole, one at a time."""
    layered(store, *(packed(a=bytes([number]) * size) for number, size in enumerate(sizes)))
    saving.save_file(store, ["app"], str(tmp_path / "app.tar"))
    store.remove(store.find("app"))
    argv = [sys.executable, "-c", textwrap.dedent(MEASURED), str(tmp_path / "other"), tmp_path / "app.tar"]
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [*argv, tmp_path / "again.tar"], env=env, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < most, "kilobytes"
