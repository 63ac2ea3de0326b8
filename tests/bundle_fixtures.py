"""The fixtures of tests that start containers from bundles (``pytest_plugins = ["bundle_fixtures"]``)."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile

import pytest
from bundles import FIRST_HOST_ID, TOP, Bundle

from minicontainer.kernel import mount
from minicontainer.runtime.cgroups import Cgroup


@pytest.fixture(scope="session")
def place() -> str:
    """A directory that everybody may pass through, as the root of a user namespace must."""
    path = tempfile.mkdtemp(prefix="minicontainer-bundles-")
    os.chmod(path, 0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def tree(rootfs_archive: str, place: str) -> str:
    """The root filesystem of the tests, unpacked by somebody else than us; not to be written to."""
    path = os.path.join(place, "tree")
    os.mkdir(path)
    subprocess.run(["tar", "-xf", rootfs_archive, "-C", path], check=True)
    return path


@pytest.fixture(scope="session")
def shifted_tree(tree: str, place: str) -> str:
    """The same, owned by the ids that a user namespace of these tests is mapped to."""
    path = os.path.join(place, "shifted")
    subprocess.run(["cp", "-a", tree, path], check=True)
    os.chown(path, FIRST_HOST_ID, FIRST_HOST_ID)
    for directory, names, files in os.walk(path):
        for name in (*names, *files):
            status = os.lstat(os.path.join(directory, name))
            ids = status.st_uid + FIRST_HOST_ID, status.st_gid + FIRST_HOST_ID
            os.lchown(os.path.join(directory, name), *ids)
    return path


_NUMBERS = itertools.count()


@pytest.fixture
def make_bundle(tree: str, place: str):
    """A factory of bundles whose root filesystems can be written to; gone after the test, with all in them."""
    made = []

    def make() -> Bundle:
        number = next(_NUMBERS)
        path = os.path.join(place, f"bundle{number}")
        for name in ("", "upper", "work", "rootfs"):
            os.makedirs(os.path.join(path, name))
        rootfs = os.path.join(path, "rootfs")
        options = f"lowerdir={tree},upperdir={path}/upper,workdir={path}/work"
        mount.mount("overlay", rootfs, "overlay", 0, options)
        made.append(Bundle(path, rootfs, f"{TOP}/{number}"))
        return made[-1]

    yield make
    for bundle in made:
        bundle.close()
        mount.umount2(os.path.join(bundle.path, "rootfs"), mount.MNT_DETACH)
    Cgroup(TOP).remove()


@pytest.fixture
def bundle(make_bundle) -> Bundle:
    """A bundle with the default configuration of runc."""
    return make_bundle()
