"""Many directories seen as one: what shows, where writes go, what a whiteout hides; on the real overlayfs."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import threading

import pytest
from bundles import in_child

from minicontainer.errors import Error, Unsupported
from minicontainer.images import layers, overlay
from minicontainer.images.reference import Reference
from minicontainer.kernel import mount as kernel
from minicontainer.kernel import namespaces

MANY = 127  # as many layers as Docker allows an image


class Union:
    """Branches, each a directory with files, and where to mount them."""

    def __init__(self, path) -> None:
        self.path = path
        self.merged, self.upper, self.work = (str(path / name) for name in ("merged", "upper", "work"))
        for each in (self.merged, self.upper, self.work):
            os.mkdir(each)

    def branch(self, name: str, **files: str) -> str:
        place = self.path / name
        place.mkdir(parents=True)
        for file, content in files.items():
            (place / file).write_text(content)
        return str(place)

    def seen(self, lowerdirs: list[str], then=None, writable: bool = True) -> dict[str, str]:
        """Mount the union in a mount namespace of its own; returns what ``then(merged)`` does, or its files."""

        def mount_and_look():
            namespaces.unshare(namespaces.CLONE_NEWNS)
            kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
            overlay.mount(lowerdirs, self.merged, *([self.upper, self.work] if writable else []))
            return (then or contents)(self.merged)

        return in_child(mount_and_look)


def contents(directory: str) -> dict[str, str]:
    found = {}
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name)) as file:
            found[name] = file.read()
    return found


@pytest.fixture
def union(tmp_path):
    return Union(tmp_path)


def test_name_in_several_branches_comes_from_the_highest(union):
    low = union.branch("low", a="low", b="low", c="low")
    high = union.branch("high", b="high", d="high")
    assert union.seen([high, low]) == {"a": "low", "b": "high", "c": "low", "d": "high"}
    assert union.seen([low, high])["b"] == "low"


def test_writes_go_to_the_upper_directory_and_removals_leave_whiteouts_there(union):
    low = union.branch("low", kept="low", changed="low", removed="low")

    def change(merged: str) -> dict[str, str]:
        for name in ("changed", "new"):
            with open(f"{merged}/{name}", "w") as file:
                file.write("upper")
        os.unlink(f"{merged}/removed")
        return contents(merged)

    assert union.seen([low], change) == {"changed": "upper", "kept": "low", "new": "upper"}
    assert contents(low) == {"changed": "low", "kept": "low", "removed": "low"}
    assert sorted(os.listdir(union.upper)) == ["changed", "new", "removed"]
    status = os.lstat(f"{union.upper}/removed")
    assert (status.st_rdev, status.st_mode & 0o170000) == (0, 0o020000)


def test_whiteouts_and_opaque_directories_of_a_layer_hide_what_is_below(union):
    low = union.branch("low", removed="low", kept="low")
    for directory in ("opaque", "replaced", "merged-dir"):
        union.branch(f"low/{directory}", old="low")
    high = union.branch("high")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in (
            ".wh.removed",
            "opaque/.wh..wh..opq",
            "opaque/new",
            ".wh.replaced",
            "replaced/",
            "replaced/new",
            "merged-dir/new",
        ):
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type, info.mode = (
                (tarfile.DIRTYPE, 0o755) if name.endswith("/") else (tarfile.REGTYPE, 0o644)
            )
            tar.addfile(info)
    packed.seek(0)
    layers.apply(packed, high)

    def look(merged: str) -> list[list[str]]:
        return [
            sorted(os.listdir(os.path.join(merged, each)))
            for each in ("", "opaque", "replaced", "merged-dir")
        ]

    assert union.seen([high, low], look) == [
        ["kept", "merged-dir", "opaque", "replaced"],
        ["new"],
        ["new"],
        ["new", "old"],
    ]


def test_without_an_upper_directory_nothing_can_be_written(union):
    branches = [union.branch("high", a="high"), union.branch("low", b="low")]

    def write(merged: str) -> str:
        with pytest.raises(OSError) as refusal:
            open(f"{merged}/new", "w")
        return refusal.value.strerror

    assert union.seen(branches, write, writable=False) == "Read-only file system"


@pytest.mark.parametrize(
    "name",
    ["with,comma", "with:colon", "with\\backslash", "with space", 'with"quote', "\N{SNOWMAN}=x", "a\\,b:c"],
)
def test_names_of_directories_may_have_any_character(tmp_path, name):
    (tmp_path / name).mkdir()
    union = Union(tmp_path / name)
    branches = [union.branch("high", a="high"), union.branch("low", b="low")]
    assert union.seen(branches) == {"a": "high", "b": "low"}


@pytest.mark.parametrize("length", [0, 64])
def test_as_many_layers_as_docker_allows_can_be_mounted(union, length):
    """Their paths, as the store has them, are more than mount(2) takes in one page."""
    branches = [
        union.branch(f"{'x' * length}{number}/diff", same=str(number), **{f"f{number}": ""})
        for number in range(MANY)
    ]
    seen = union.seen(branches)
    assert len(seen) == MANY + 1 and seen["same"] == "0"


def test_mount_that_is_attached_nowhere_is_seen_by_its_holder_alone(union):
    low = union.branch("low", a="low")
    fd = overlay.detached([low], union.upper, union.work)
    try:
        assert contents(f"/proc/self/fd/{fd}") == {"a": "low"}
        with open(os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=fd), "w") as file:
            file.write("upper")
        with open("/proc/self/mountinfo") as file:
            assert str(union.path) not in file.read()
    finally:
        os.close(fd)
    assert os.listdir(union.upper) == ["new"]


class OldKernel:
    """fsconfig(2) as it was before Linux 6.7: ``lowerdir+`` is unknown; which the legacy interface says late."""

    def __init__(self, monkeypatch, late: bool) -> None:
        self.refused = 0
        self._late = late
        self._asked: set[int] = set()
        self._string, self._create = kernel.fsconfig_string, kernel.fsconfig_create
        monkeypatch.setattr(kernel, "fsconfig_string", self.string)
        monkeypatch.setattr(kernel, "fsconfig_create", self.create)

    def string(self, fs: int, key: str, value: str) -> None:
        if key != "lowerdir+":
            self._string(fs, key, value)
        elif self._late:
            self._asked.add(fs)
        else:
            self._refuse()

    def create(self, fs: int) -> None:
        if fs in self._asked:
            self._asked.remove(fs)
            self._refuse()
        self._create(fs)

    def _refuse(self) -> None:
        self.refused += 1
        raise OSError(errno.EINVAL, "fsconfig: Invalid argument")


@pytest.fixture(params=["this kernel", "as before 6.7", "as before 6.5"])
def old(request, monkeypatch):
    """Run a test on this kernel, and again on one without ``lowerdir+``, as far as overlay.py can tell."""
    if request.param == "this kernel":
        return None
    return OldKernel(monkeypatch, late=request.param == "as before 6.5")


@pytest.mark.parametrize("count", [1, 13, 20, MANY, MANY + 1])
def test_mount_that_is_attached_nowhere_may_have_as_many_layers(union, count, old):
    branches = [union.branch(f"{number}", same=str(number), **{f"f{number}": ""}) for number in range(count)]
    before = sorted(os.listdir("/proc/self/fd"))
    fd = overlay.detached(branches, union.upper, union.work)
    try:
        seen = contents(f"/proc/self/fd/{fd}")
        assert len(seen) == count + 1 and seen["same"] == "0"
        with open("/proc/self/mountinfo") as file:
            assert str(union.path) not in file.read()
    finally:
        os.close(fd)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert not old or old.refused == (count > 13)  # so many names fit the 255 bytes of one value


def test_mount_of_many_layers_is_made_by_any_thread_and_moves_into_any_namespace(union, monkeypatch):
    """The roundabout way of an old kernel leaves the program as it was: its namespace, its working directory."""
    old = OldKernel(monkeypatch, late=True)
    branches = [union.branch(f"{'x' * 200}{number}", **{f"f{number}": ""}) for number in range(MANY)]

    def mount_and_move() -> int:
        namespace, here = os.readlink("/proc/self/ns/mnt"), os.getcwd()
        made: list[int] = []
        thread = threading.Thread(
            target=lambda: made.append(overlay.detached(branches, union.upper, union.work))
        )
        thread.start()
        thread.join()
        assert (os.readlink("/proc/self/ns/mnt"), os.getcwd()) == (namespace, here)
        assert threading.active_count() == 1
        namespaces.unshare(namespaces.CLONE_NEWNS)
        kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        target = os.open(union.merged, os.O_PATH | os.O_DIRECTORY)
        kernel.move_mount(made[0], target)
        with open(f"{union.merged}/new", "w") as file:
            file.write("upper")
        return len(os.listdir(union.merged))

    assert in_child(mount_and_move) == MANY + 1
    assert contents(union.upper) == {"new": "upper"}
    assert old.refused == 0, "it was the child who asked"


def test_container_of_an_image_with_as_many_layers_runs(engine, tmp_path, old):
    """From the whole engine's side, with a store whose path is longer than any that a page had room for."""
    store = engine.images
    blobs, diff_ids = [], []
    base = store.find("alpine")
    for number in range(MANY - len(base.diff_ids)):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            info = tarfile.TarInfo(f"layer{number}")
            info.mtime = number
            tar.addfile(info)
        blob = store.add_blob(packed.getvalue())
        blobs.append({"mediaType": "application/vnd.oci.image.layer.v1.tar", **blob})
        diff_ids.append(blob["digest"])
    config = {**base.config, "rootfs": {"type": "layers", "diff_ids": base.diff_ids + diff_ids}}
    tall = store.add_image(config, [*base.manifest["layers"], *blobs], Reference.parse("tall"))
    try:
        container = engine.create("tall", ["sh", "-c", "ls -d /layer* | wc -l; touch /new"])
        container.start()
        container.wait()
        assert container.logs() == f"{len(diff_ids)}\n"
        assert os.listdir(os.path.join(container.path, "upper")) == ["new"]
        container.remove()
    finally:
        store.remove(tall)


# -- what an upper directory holds --


def test_upper_directory_holds_whole_files_and_directories(union):
    """Nothing that refers to a lower layer: no redirects, no bare metadata. It is packed as it lies there."""
    low = union.branch("low", big="x" * 100_000)
    union.branch("low/directory", inside="low")

    def change(merged: str) -> str:
        os.chmod(f"{merged}/big", 0o600)
        with pytest.raises(OSError) as refusal:
            os.rename(f"{merged}/directory", f"{merged}/renamed")
        with open("/proc/self/mountinfo") as file:
            (line,) = [line for line in file if f" {merged} " in line]
        assert "redirect_dir=nofollow" in line or "redirect_dir=off" in line or "redirect_dir" not in line
        assert "metacopy=on" not in line and "index=on" not in line
        return errno.errorcode[refusal.value.errno]

    assert union.seen([low], change) == "EXDEV"
    copied = os.stat(f"{union.upper}/big")
    assert (copied.st_size, copied.st_blocks * 512 >= 100_000) == (100_000, True)
    assert os.listdir(union.upper) == ["big"]
    assert set(os.listxattr(f"{union.upper}/big")) <= {"trusted.overlay.origin"}


def test_redirects_that_a_layer_brings_are_not_followed(union):
    low = union.branch("low")
    union.branch("low/secret", inside="low")
    high = union.branch("high")
    union.branch("high/innocent")
    os.setxattr(f"{high}/innocent", "trusted.overlay.redirect", b"secret")
    fd = overlay.detached([high, low], union.upper, union.work)
    try:
        with pytest.raises(OSError):
            os.listdir(f"/proc/self/fd/{fd}/innocent")
    finally:
        os.close(fd)


def test_upper_directory_on_a_filesystem_that_cannot_hold_one_is_explained(union, tmp_path):
    low = union.branch("low", a="low")

    def attempt() -> None:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.mount("proc", union.work, "proc")
        overlay.mount([low], union.merged, f"{union.work}/1", f"{union.work}/1")

    with pytest.raises(
        Unsupported, match=r"cannot hold an upper directory .* use --root with a directory on ext4"
    ):
        in_child(attempt)


def test_missing_layer_is_named(union):
    for function in (
        lambda: overlay.mount(["/no/such/layer"], union.merged, union.upper, union.work),
        lambda: overlay.detached(["/no/such/layer"], union.upper, union.work),
    ):
        with pytest.raises(Error, match="No such file or directory"):
            function()


def test_options_are_as_the_kernels_documentation_has_them():
    assert overlay.options(["/high", "/lo:w"], "/up", "/work") == (
        "lowerdir=/high:/lo\\:w,upperdir=/up,workdir=/work,redirect_dir=nofollow,metacopy=off,index=off"
    )
    assert overlay.options(["/a", "/b"]) == "lowerdir=/a:/b"
    assert overlay.supported()
