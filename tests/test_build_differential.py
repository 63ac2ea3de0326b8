"""Each build of the corpus gives the image that Docker's classic builder gives.

The corpus is in tests/dockerfiles; tests/build_cases.py says how to read it. What is compared: all files (kind,
mode, owner, content, links, attributes, and whether their time was kept), the configuration, the history, and the
names in each layer. Where there is no Docker, buildah stands in, whose history is its own.
"""

from __future__ import annotations

import pathlib
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from build_cases import Case, cases
from conftest import DOCKER, DOCKER_IMAGE, Cli, engine_with_alpine, has_docker
from differential import Buildah, Builder, differences, docker, ours, served

pytestmark = pytest.mark.peer
CASES = cases()

#: Differences that are meant: case, what a line of the difference looks like, and why.
ACCEPTED = [
    (
        "capabilities",
        "^/bin/ping2: .*security.capability=.*, theirs is",
        "Docker sets the owner of a single file once more after it has been copied from a stage, and the kernel "
        "takes the capabilities then; they stay here, as they do at Docker when the whole directory is copied",
    ),
    (
        "heredoc-copy",
        "^/(bin/script|both/b.txt|etc/settings|files/(one|two).txt): .* new, theirs is .* kept$",
        "what is in the Dockerfile itself has no time to keep; Docker is given files",
    ),
    (
        "run-mount-bind",
        "^/etc/resolv.conf: None, theirs is file",
        "buildah leaves the file that it has mounted its own onto in the layer",
    ),
]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory, rootfs_archive: str) -> Iterator[Builder]:
    """minicontainer with a store of its own, in which the base image is."""
    engine = engine_with_alpine(str(tmp_path_factory.mktemp("builds")), rootfs_archive)
    cli = Cli(engine.root)
    cli("tag", "alpine", DOCKER_IMAGE)
    yield ours(cli, DOCKER_IMAGE)
    assert cli.out("ps", "-aq") == "", "containers of builds are left"


class References:
    """Docker and buildah, whichever are here."""

    def __init__(self, place: pathlib.Path, archive: str) -> None:
        self.docker = docker(DOCKER_IMAGE) if has_docker() else None
        self.buildah: Builder | None = None
        if self.docker:
            self.docker.run("import", "-c", 'CMD ["/bin/sh"]', archive, DOCKER_IMAGE)
        self.place = place

    def get(self, case: Case, mine: Builder) -> Builder:
        """The builder that a case is compared with."""
        wanted = case.head.get("reference", "docker")
        if wanted == "docker" and self.docker:
            return self.docker
        if not shutil.which("buildah") or (wanted == "docker" and case.fails):
            pytest.skip(f"{wanted} is not here to compare with")
        if not self.buildah:
            archive = self.place / "base.tar"
            mine.save(DOCKER_IMAGE, archive)
            self.buildah = Buildah(self.place, DOCKER_IMAGE, archive)
        return self.buildah

    def close(self) -> None:
        for builder in (self.docker, self.buildah):
            if builder:
                builder.close()
        if self.docker:
            self.docker.run("rmi", "-f", DOCKER_IMAGE)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory, rootfs_archive: str) -> Iterator[References]:
    """The other builders, with the same base image."""
    references = References(tmp_path_factory.mktemp("references"), rootfs_archive)
    yield references
    references.close()


def accepted(case: Case, line: str) -> bool:
    return any(case.name == name and re.search(pattern, line, re.S) for name, pattern, _ in ACCEPTED)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_image(case: Case, mine: Builder, references: References, tmp_path: pathlib.Path) -> None:
    reference = references.get(case, mine)
    classic = reference.argv == [DOCKER]
    with served(tmp_path / "mine/web") as address, ThreadPoolExecutor(1) as other:
        words = {"base-image": DOCKER_IMAGE, "web-server": address}
        here = case.unpack(tmp_path / "mine", words)
        there = case.unpack(tmp_path / "theirs", words, classic)
        waiting = other.submit(reference.build, case, there)
        built, theirs = mine.build(case, here), waiting.result()
    assert "Traceback" not in built.said, built.said
    assert theirs.ok == (not case.fails), f"the reference: {theirs.said}"
    assert built.ok == theirs.ok, f"{built.said}\nThe reference says: {theirs.said}"
    for word in (case.fails, case.head.get("says", "")):
        assert word in built.said, f"{built.said}\nThe reference says: {theirs.said}"
        assert word in theirs.said
    if built.image and theirs.image:
        found = differences(built.image, theirs.image, case)
        assert [line for line in found if not accepted(case, line)] == [], built.said
        for name, pattern, _ in ACCEPTED:
            assert name != case.name or any(re.search(pattern, line, re.S) for line in found), (
                f"{pattern}: no more"
            )


def test_corpus_is_large_enough() -> None:
    assert sum(not case.fails for case in CASES) >= 70
    assert sum(bool(case.fails) for case in CASES) >= 40
    assert len(ACCEPTED) <= 10
