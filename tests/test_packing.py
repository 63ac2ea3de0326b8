"""A tree packed is the same bytes whoever packs it, and every program that reads archives gets the tree back."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import itertools
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading

import pytest
import zstandard
from conftest import DOCKER, PROJECT, has_docker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import deep_tree, describe, make_everything, make_socket

from minicontainer.errors import Conflict, InvalidArgument, Unsupported
from minicontainer.files import remove_tree
from minicontainer.images import headers, layers, overlay, packing, whiteouts
from minicontainer.images.store import Store


def packed(directory: object, **how: bool) -> bytes:
    out = io.BytesIO()
    packing.pack(str(directory), out, **how)
    return out.getvalue()


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> pathlib.Path:
    top = tmp_path_factory.mktemp("packing") / "tree"
    make_everything(top)
    return top


def without_root(described: dict[bytes, tuple]) -> dict[bytes, tuple]:
    return {name: what for name, what in described.items() if name != b"."}


# -- there and back --


def test_tree_comes_back_whole_and_packs_to_the_same_bytes(tree, tmp_path):
    archive = packed(tree)
    (tmp_path / "copy").mkdir()
    layers.apply(io.BytesIO(archive), str(tmp_path / "copy"))
    assert without_root(describe(tmp_path / "copy")) == without_root(describe(tree))
    assert packed(tmp_path / "copy") == archive
    assert packed(tmp_path / "copy", layer=False) == archive


def test_descriptor_of_a_directory_will_do(tree):
    fd = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    out = io.BytesIO()
    packing.pack(fd, out)
    os.close(fd)
    assert out.getvalue() == packed(tree)


def test_order_is_that_of_the_names_bytes_with_directories_before_what_is_in_them(tmp_path):
    for name in (b"b", b"a", b"a-", "\uffff".encode(), b"\xf0", "\U00010000".encode(), b"B"):
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
        open(os.path.join(os.fsencode(tmp_path), name, b"x"), "w").close()
    found = [os.fsencode(name) for name in names(packed(tmp_path))]
    tops = sorted([b"b", b"a", b"a-", "\uffff".encode(), b"\xf0", "\U00010000".encode(), b"B"])
    assert found == [each for top in tops for each in (top, top + b"/x")]


def test_gnu_tar_makes_the_same_tree_of_it(tree, tmp_path):
    if not shutil.which("tar"):
        pytest.skip("needs GNU tar")
    (tmp_path / "out").mkdir()
    words = ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", "-", "-C", tmp_path / "out"]
    done = subprocess.run(words, input=packed(tree), check=True, capture_output=True)
    assert [line for line in done.stderr.splitlines() if b"implausibly old time stamp" not in line] == []
    assert without_root(describe(tmp_path / "out")) == without_root(describe(tree))


def simple(described: dict[bytes, tuple]) -> dict[bytes, tuple]:
    """What Docker keeps of a tree: whole seconds, and of the attributes file capabilities alone."""
    return {
        name: (
            *what[:3],
            None if b"dangling" in name else what[3] // 10**9,
            what[4],
            {k: v for k, v in what[5].items() if k == "security.capability"},
            what[6],
        )
        for name, what in without_root(described).items()
    }


def test_docker_makes_the_same_tree_of_it(tree, tmp_path):
    if not has_docker():
        pytest.skip("docker is not installed, or its engine does not run")
    done = subprocess.run([DOCKER, "import", "-"], input=packed(tree), check=True, capture_output=True)
    image = done.stdout.decode().strip()
    try:
        where = subprocess.run(
            [DOCKER, "image", "inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", image],
            check=True,
            capture_output=True,
            text=True,
        )
        assert simple(describe(where.stdout.strip())) == simple(describe(tree))
    finally:
        subprocess.run([DOCKER, "rmi", image], check=True, capture_output=True)


def test_podman_makes_the_same_tree_of_it(tree, tmp_path):
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    (tmp_path / "containers.conf").write_text("[containers]\ndefault_ulimits = []\n")
    environment = {**os.environ, "CONTAINERS_CONF": str(tmp_path / "containers.conf")}
    short = tempfile.mkdtemp(prefix="mc-")  # podman refuses long paths
    podman = ["podman", "--root", f"{short}/root", "--runroot", f"{short}/run", "--storage-driver", "overlay"]

    def run(*words: object, **how: object) -> str:
        done = subprocess.run([*podman, *words], env=environment, capture_output=True, check=False, **how)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

    try:
        run("import", "-", input=packed(tree))
        image = run("images", "-q")
        assert simple(describe(run("image", "mount", image))) == simple(describe(tree))
        run("image", "unmount", "--force", image)
        run("rmi", image)
    finally:
        subprocess.run(["umount", f"{short}/root/overlay"], capture_output=True, check=False)
        shutil.rmtree(short)


def test_sizes_and_entries_are_counted(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_bytes(b"12345")
    os.link(tmp_path / "d/a", tmp_path / "d/b")
    (tmp_path / "l").symlink_to("abc")
    out = io.BytesIO()
    counted = packing.pack(str(tmp_path / "d" / ".."), out)
    assert (counted.entries, counted.size) == (4, 8)
    out.seek(0)
    (tmp_path / "copy").mkdir()
    applied = layers.apply(out, str(tmp_path / "copy"))
    assert (applied.entries, applied.size) == (4, 8)


def test_tree_without_files_is_the_empty_layer_that_docker_knows(tmp_path):
    assert "sha256:" + hashlib.sha256(packed(tmp_path)).hexdigest() == packing.EMPTY


def test_sockets_are_left_out(tmp_path):
    make_socket(tmp_path / "s")
    assert names(packed(tmp_path)) == []


def test_hole_is_zeros_in_the_archive_and_a_hole_again(tmp_path):
    with open(tmp_path / "f", "wb") as file:
        file.truncate(20 << 20)
        file.seek(10 << 20)
        file.write(b"middle")
    archive = packed(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.extractfile("f").read() == (tmp_path / "f").read_bytes()
    (tmp_path / "out").mkdir()
    layers.apply(io.BytesIO(archive), str(tmp_path / "out"))
    assert (tmp_path / "out/f").stat().st_blocks * 512 <= 256 << 10


def status(**fields: int) -> os.stat_result:
    plain = {"st_mode": stat.S_IFREG | 0o644, "st_uid": 0, "st_gid": 0, "st_size": 0}
    values = {**plain, **fields}
    order = "st_mode st_ino st_dev st_nlink st_uid st_gid st_size st_atime st_mtime st_ctime".split()
    return os.stat_result([values.get(name, 0) for name in order], {"st_mtime_ns": 0, "st_rdev": 0})


@pytest.mark.parametrize(
    "fields",
    [
        {"st_size": (8 << 30) - 1},
        {"st_size": 8 << 30},
        {"st_uid": 2097151, "st_gid": 2097152},
        {"st_uid": 4294967294},
    ],
)
def test_number_that_is_too_large_for_a_header_is_read_by_others(fields):
    header = headers.header(b"big", status(**fields))
    read = tarfile.open(fileobj=io.BytesIO(header)).next()
    assert (read.size, read.uid, read.gid) == tuple(fields.get(f"st_{n}", 0) for n in ("size", "uid", "gid"))
    if shutil.which("tar"):
        done = subprocess.run(
            ["tar", "tv", "--numeric-owner"], input=header, capture_output=True, check=False
        )
        shown = done.stdout.split()[1:3]
        assert shown == [f"{read.uid}/{read.gid}".encode(), str(read.size).encode()]


def test_labels_of_this_hosts_policy_and_notes_of_the_kernel_stay_here(tmp_path):
    (tmp_path / "f").touch()
    for name in ("security.selinux", "user.overlay.opaque", "user.kept", "trusted.overlay.origin"):
        os.setxattr(tmp_path / "f", name, b"x")
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as tar:
        headers_of_f = tar.getmember("f").pax_headers
    assert [key for key in headers_of_f if "xattr" in key] == ["SCHILY.xattr.user.kept"]


# -- what only a layer has --


def test_upper_directory_comes_back_as_the_same_union(tmp_path):
    """The kernel makes the marks, they go through an archive, and the kernel reads them."""
    for name in ("lower/etc/deep/er", "lower/var/log", "lower/opt", "upper", "work", "merged", "copy"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("etc/passwd", "etc/deep/er/f", "var/log/x", "var/log/y", "opt/tool", "gone"):
        (tmp_path / "lower" / name).write_text(name)
    merged = tmp_path / "merged"
    overlay.mount([str(tmp_path / "lower")], str(merged), str(tmp_path / "upper"), str(tmp_path / "work"))
    try:
        (merged / "gone").unlink()
        (merged / "etc/passwd").write_text("changed")
        shutil.rmtree(merged / "var/log")
        (merged / "var/log").mkdir()
        (merged / "var/log/z").write_text("new")
        shutil.rmtree(merged / "opt")
        (merged / "opt").write_text("a file")
        expected = describe(merged)
        archive = packed(tmp_path / "upper")
    finally:
        subprocess.run(["umount", merged], check=True)
    assert {".wh.gone", "var/log/.wh..wh..opq"} <= set(names(archive))
    listed = names(archive)
    assert listed.index("var/log/.wh..wh..opq") == listed.index("var/log") + 1
    layers.apply(io.BytesIO(archive), str(tmp_path / "copy"))
    overlay.mount([str(tmp_path / "copy"), str(tmp_path / "lower")], str(merged))
    try:
        assert without_root(describe(merged)) == without_root(expected)
    finally:
        subprocess.run(["umount", merged], check=True)
    assert packed(tmp_path / "copy") == archive


def test_whiteouts_of_an_overlay_within_an_overlay_count_too(tmp_path):
    (tmp_path / "d").mkdir()
    os.setxattr(tmp_path / "d", "trusted.overlay.opaque", b"x")
    (tmp_path / "d/gone").touch()
    os.setxattr(tmp_path / "d/gone", "trusted.overlay.whiteout", b"")
    (tmp_path / "d/here").touch()
    assert names(packed(tmp_path)) == ["d", "d/.wh.gone", "d/here"]


def test_file_whose_name_would_mean_a_removal_is_refused_in_a_layer_alone(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/.wh.x").touch()
    with pytest.raises(InvalidArgument, match=r"/d/\.wh\.x: in a layer, a name that begins with \.wh\."):
        packed(tmp_path)
    assert names(packed(tmp_path, layer=False)) == ["d", "d/.wh.x"]


@pytest.mark.parametrize("note", ["redirect", "metacopy"])
def test_file_that_is_only_a_part_is_refused(tmp_path, note):
    (tmp_path / "part").mkdir()
    os.setxattr(tmp_path / "part", f"trusted.overlay.{note}", b"/elsewhere")
    with pytest.raises(Unsupported, match=rf"/part cannot be read .* trusted\.overlay\.{note}"):
        packed(tmp_path)


def test_whiteout_of_a_long_name_keeps_all_of_it(tmp_path):
    os.mknod(tmp_path / ("n" * 250), stat.S_IFCHR, 0)
    assert names(packed(tmp_path)) == [".wh." + "n" * 250]
    assert whiteouts.is_whiteout((tmp_path / ("n" * 250)).lstat(), str(tmp_path))


# -- a tree that changes meanwhile --


class Meddling(io.BytesIO):
    """Does something the first time that it is written to."""

    def __init__(self, meddle) -> None:
        super().__init__()
        self.meddle = meddle

    def write(self, data: bytes) -> int:
        if self.meddle:
            self.meddle, meddle = None, self.meddle
            meddle()
        return super().write(data)


def test_file_that_shrinks_meanwhile_is_an_error(tmp_path):
    (tmp_path / "log").write_bytes(bytes(range(256)) * 20_000)
    with pytest.raises(Conflict, match="/log has become shorter while it was read; pause the container"):
        packing.pack(str(tmp_path), Meddling(lambda: os.truncate(tmp_path / "log", 10)))


def test_sparse_file_that_shrinks_meanwhile_is_an_error(tmp_path):
    with open(tmp_path / "log", "wb") as file:
        file.write(b"x" * (2 << 20))
        file.truncate(8 << 20)
    with pytest.raises(Conflict, match="/log has become shorter"):
        packing.pack(str(tmp_path), Meddling(lambda: os.truncate(tmp_path / "log", 10)))


def test_file_that_grows_meanwhile_is_packed_as_long_as_it_was(tmp_path):
    (tmp_path / "log").write_bytes(b"x" * (3 << 20))
    (tmp_path / "next").write_bytes(b"y")

    def grow() -> None:
        with open(tmp_path / "log", "ab") as file:
            file.write(b"z" * 5000)

    out = Meddling(grow)
    packing.pack(str(tmp_path), out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        assert tar.extractfile("log").read() == b"x" * (3 << 20)
        assert tar.extractfile("next").read() == b"y"


def test_what_vanishes_meanwhile_is_left_out(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * (2 << 20))
    for name in ("b/c", "d"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("b/f", "b/c/f", "e"):
        (tmp_path / name).touch()

    def remove() -> None:
        shutil.rmtree(tmp_path / "b")
        (tmp_path / "e").unlink()

    out = Meddling(remove)
    packing.pack(str(tmp_path), out)
    assert names(out.getvalue()) == ["a", "d"]


def test_directory_that_is_swapped_for_a_symlink_leads_nowhere(tmp_path):
    """A process of the container could make the host's own files part of the image."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    top = tmp_path / "top"
    for number in range(50):
        (top / f"{number:02}").mkdir(parents=True)
        (top / f"{number:02}/inside").write_bytes(b"x" * 50_000)
    stop = threading.Event()

    def swap() -> None:
        for number in itertools.cycle(range(50)):
            if stop.is_set():
                return
            path = top / f"{number:02}"
            with contextlib.suppress(OSError):
                path.rename(tmp_path / "aside")
                path.symlink_to(tmp_path / "outside")
                path.unlink()
                (tmp_path / "aside").rename(path)

    meddler = threading.Thread(target=swap)
    meddler.start()
    try:
        for _ in range(30):
            assert not [name for name in names(packed(top)) if "secret" in name]
    finally:
        stop.set()
        meddler.join()


@pytest.mark.parametrize("kind", ["regular", "symlink", "socket", "fifo", "directory", "none"])
@pytest.mark.parametrize("was", ["regular", "symlink"])
def test_file_that_is_replaced_once_it_was_looked_at_is_left_out(tmp_path, monkeypatch, was, kind):
    """Whatever comes in its place: a layer holds what somebody saw, whole, or nothing by that name."""
    top = tmp_path / "top"
    top.mkdir()
    path = top / "swapped"
    make = {
        "regular": lambda: path.write_bytes(b"new"),
        "symlink": lambda: path.symlink_to("new"),
        "socket": lambda: make_socket_at(os.fsencode(path)),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "none": lambda: None,
    }
    look = os.stat

    def look_and_swap(name, **how):
        status = look(name, **how)
        if name == "swapped":
            path.unlink()
            make[kind]()
        return status

    make[was]()
    (top / "zz").write_bytes(b"another")
    monkeypatch.setattr(packing.os, "stat", look_and_swap)
    kept = ["swapped"] if was == kind else []
    assert names(packed(top)) == [*kept, "zz"]


def test_nothing_stays_open(tree, tmp_path):
    (tmp_path / ".wh.x").touch()
    before = sorted(os.listdir("/proc/self/fd"))
    packed(tree)
    with pytest.raises(InvalidArgument):
        packed(tmp_path)
    assert sorted(os.listdir("/proc/self/fd")) == before


# -- depth --


def test_tree_that_is_deeper_than_the_stack():
    with deep_tree(1200) as top, deep_tree(0) as copy:
        (copy / "end").unlink()
        archive = packed(top)
        layers.apply(io.BytesIO(archive), str(copy))
        assert packed(copy) == archive and names(archive)[-1].endswith("/d/end")
        remove_tree(str(copy))
        copy.mkdir()


def test_tree_that_is_deeper_than_a_path_is_refused():
    with (
        deep_tree(2100) as top,
        pytest.raises(InvalidArgument, match="is too deep to be packed: a path has 4095 bytes"),
    ):
        packed(top)


# -- trees that nobody thought of --

NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
LONG = st.integers(100, 250).map(lambda length: b"\xc3\xa9" * (length // 2))
KINDS = st.sampled_from("file file file symlink fifo device link socket".split())
NODES = st.fixed_dictionaries(
    {
        "kind": KINDS,
        "mode": st.integers(0, 0o7777),
        "owner": st.tuples(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2)),
        "content": st.binary(max_size=500),
        "zeros": st.sampled_from([0, 0, 0, 70_000]),
        "time": st.integers(-(2**33) * 10**9, 2**33 * 10**9),
        "xattr": st.one_of(
            st.none(), st.tuples(st.text("ab=%é", min_size=1, max_size=8), st.binary(max_size=99))
        ),
    }
)
TREES = st.recursive(NODES, lambda below: st.dictionaries(NAMES | LONG, below, max_size=5), max_leaves=12)


def build(path: bytes, tree: dict, files: list[bytes]) -> None:
    """Make what hypothesis has thought of."""
    if "kind" not in tree:
        os.makedirs(path, exist_ok=True)
        for name, below in tree.items():
            build(os.path.join(path, name), below, files)
        os.utime(path, ns=(5, 10**18 + len(tree)))
        return
    kind, mode = tree["kind"], tree["mode"]
    if kind == "link" and files:
        os.link(files[len(tree["content"]) % len(files)], path, follow_symlinks=False)
        return
    if kind == "socket":
        make_socket_at(path)
        return
    if kind == "symlink":
        os.symlink(tree["content"][:200].replace(b"\0", b"n") or b"x", path)
    elif kind == "fifo":
        os.mkfifo(path, mode)
    elif kind == "device":
        os.mknod(path, stat.S_IFBLK | mode, os.makedev(mode % 4096, tree["owner"][0] % 1048576))
    else:
        with open(path, "wb") as file:
            file.write(bytes(tree["zeros"]) + tree["content"])
    files.append(path)
    os.lchown(path, *tree["owner"])
    if kind != "symlink":
        os.chmod(path, mode)
    if tree["xattr"] and kind == "file":
        os.setxattr(path, f"user.{tree['xattr'][0]}", tree["xattr"][1])
    with contextlib.suppress(OverflowError):
        os.utime(path, ns=(0, tree["time"]), follow_symlinks=False)


def make_socket_at(path: bytes) -> None:
    os.mknod(path, stat.S_IFSOCK)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=st.dictionaries(NAMES | LONG, TREES, max_size=5))
def test_whatever_the_tree_it_comes_back_and_packs_to_the_same_digest(tmp_path, tree):
    place = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
    top = place / "top"
    top.mkdir()
    build(os.fsencode(top), tree, [])
    for how in ({"layer": False}, {"layer": True}):
        try:
            archive = packed(top, **how)
        except InvalidArgument as error:  # a name that begins with .wh.
            assert ".wh." in str(error) and how["layer"]
            continue
        copy = pathlib.Path(tempfile.mkdtemp(dir=place))
        layers.apply(io.BytesIO(archive), str(copy), whiteouts=how["layer"])
        assert packed(copy, **how) == archive
        expected = {name: what for name, what in describe(top).items() if not stat.S_ISSOCK(int(what[0], 8))}
        assert without_root(describe(copy)) == without_root(expected)


# -- into a store --


@pytest.mark.parametrize("how", ["gzip", "zstd", ""])
def test_layer_in_the_store_is_what_its_descriptor_says(tree, tmp_path, how):
    store = Store(str(tmp_path))
    with store.lease():
        layer, diff_id = packing.add_layer(store, str(tree), how)
        again = packing.add_layer(store, str(tree), how)
        content = pathlib.Path(store.blob_path(layer["digest"])).read_bytes()
    assert again == (layer, diff_id)
    assert layer["digest"] == "sha256:" + hashlib.sha256(content).hexdigest() and layer["size"] == len(
        content
    )
    unpacked = {
        "gzip": gzip.decompress,
        "zstd": lambda c: zstandard.ZstdDecompressor().decompressobj().decompress(c),
    }
    assert unpacked.get(how, bytes)(content) == packed(tree)
    assert diff_id == "sha256:" + hashlib.sha256(packed(tree)).hexdigest()
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar" + (how and f"+{how}")
    assert (
        os.listdir(store.blobs_path) == ["sha256"]
        and os.listdir(os.path.join(store.blobs_path, "sha256")) == []
    )


def test_layer_that_cannot_be_packed_leaves_nothing(tmp_path):
    (tmp_path / "top").mkdir()
    (tmp_path / "top/big").write_bytes(os.urandom(3 << 20))
    (tmp_path / "top/d").mkdir()
    (tmp_path / "top/d/.wh.x").touch()
    store = Store(str(tmp_path))
    with pytest.raises(InvalidArgument), store.lease():
        packing.add_layer(store, str(tmp_path / "top"))
    assert (
        os.listdir(store.blobs_path) == ["sha256"]
        and os.listdir(os.path.join(store.blobs_path, "sha256")) == []
    )
    assert threading.active_count() == 1


def test_memory_does_not_grow_with_the_layer(tmp_path):
    """A gigabyte, packed and unpacked again, in less than 150 MB."""
    (tmp_path / "top").mkdir()
    with open(tmp_path / "top/big", "wb") as file:
        file.truncate(1 << 30)
        for number in range(64):
            file.seek(number << 24)
            file.write(os.urandom(1 << 18))
    code = f"""
import os
from minicontainer.images import packing
from minicontainer.images.store import Store
store = Store({str(tmp_path)!r})
with store.lease():
    layer, diff_id = packing.add_layer(store, {str(tmp_path / "top")!r})
    store.unpack(diff_id, layer)
    assert os.path.getsize(store.layer_paths([diff_id])[0] + "/big") == 1 << 30
print(open("/proc/self/status").read())
"""
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    highest = next(line for line in done.stdout.splitlines() if line.startswith("VmHWM:"))
    assert int(highest.split()[1]) < 150_000


# -- a layer that is moved --


@pytest.mark.parametrize("with_socket", [False, True])
def test_upper_directory_becomes_the_layer_without_a_copy(tmp_path, with_socket: bool):
    upper, store = tmp_path / "upper", Store(str(tmp_path))
    (upper / "below").mkdir(parents=True)
    (upper / "below/file").write_text("text")
    os.chmod(upper, 0o700)
    os.setxattr(upper, "trusted.overlay.impure", b"y")
    os.mknod(upper / "gone", 0o600 | stat.S_IFCHR, 0)
    if with_socket:
        make_socket(upper / "below/socket")
    number = (upper / "below/file").stat().st_ino
    with store.lease():
        descriptor, diff_id = packing.move_layer(store, str(upper))
        diff = pathlib.Path(store.layer_path(diff_id), "diff")
        assert ((diff / "below/file").stat().st_ino == number) is not with_socket, (
            "moved; or made from the archive"
        )
        assert sorted(path.name for path in diff.rglob("*")) == ["below", "file", "gone"]
        assert stat.S_ISCHR((diff / "gone").stat().st_mode)
        assert diff.stat().st_mode & 0o777 == 0o755 and os.listxattr(diff) == []
        assert store.layer_size(diff_id) == 4
        with open(store.blob_path(descriptor["digest"]), "rb") as blob:
            assert names(blob.read()) == ["below", "below/file", ".wh.gone"]


def test_upper_directory_without_a_change_is_no_layer(tmp_path):
    (tmp_path / "upper").mkdir()
    store = Store(str(tmp_path))
    with store.lease():
        assert packing.move_layer(store, str(tmp_path / "upper"))[1] == packing.EMPTY
    assert os.listdir(tmp_path / "layers") == []
