"""Chapter 06: an image from nothing, and what is in the archive of one."""

from __future__ import annotations

import contextlib
import gzip
import os

from minicontainer.engine import api
from minicontainer.errors import Error, NotFound
from minicontainer.images import compression, loading, saving
from minicontainer.lab.check.builds import Kitchen, kitchen, written
from minicontainer.lab.trial import Refused, Trial, checker, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ROOTFS = "rootfs.tar.gz"
_ASSEMBLED = "lab-assembled"
_SAID = "assembled by hand"
_LAYERS = """\
FROM alpine
COPY one /data/
COPY two /data/
COPY three /data/one
RUN rm /data/two
"""


@checker
def from_nothing(solution: Callable[[], str]) -> str:
    """The image has a root filesystem, a greeting above it, and shows the greeting when it is run."""
    recipe = written(solution)
    greeting = f"hello {os.urandom(4).hex()}"
    with kitchen({"greeting": f"{greeting}\n"}) as place:
        _put_rootfs(place)
        image = place.build(recipe).image
        expect("what a container says that is given no command", place.run(image), greeting)
        expect("whether /bin/sh works in it", place.run(image, ["/bin/sh", "-c", "echo yes"]), "yes")
        expect("what is in /etc/motd", place.run(image, "cat /etc/motd"), greeting)
        expect("layers of the image", len(image.diff_ids), 2)
        base = api.default_engine().images.find("alpine").config["history"][0]
        if image.config["history"][0] == base:
            raise Refused("what the image begins with: seen the image alpine, expected nothing")
    return "two layers, the root filesystem and the greeting, and nothing below"


@checker
def layer_of(solution: Callable[[str, str], int | None]) -> str:
    """The layer that a file of a saved image is from is told, and None for one that is not there any more."""
    files = {"one": "first\n", "two": "second\n", "three": "third\n"}
    with kitchen(files) as place:
        image = place.build(_LAYERS).image
        archive = os.path.join(place.path, "saved.tar")
        saving.save_file(api.default_engine().images, [image.id], archive)
        cases = {
            "/bin/busybox": 0,
            "/data/one": 3,  # there was one in layer 1 as well
            "/data/two": None,  # it is in layer 2, and layer 4 has a whiteout for it
            "/data/three": None,
        }
        for path, expected in cases.items():
            with Trial(solution, archive, path, apart=False) as trial:
                expect(f"the layer that {path} is from", trial.value, expected)
    return "a file of the base, one replaced, one removed and one that never was"


@checker
def assemble(solution: Callable[[str, str], object]) -> str:
    """An archive that was made without a builder is loaded, and its image runs."""
    _remove_assembled()
    with kitchen({}) as place:
        _put_rootfs(place)
        archive = os.path.join(place.path, "image.tar")
        with Trial(solution, os.path.join(place.path, _ROOTFS), archive, apart=False):
            try:
                with open(archive, "rb") as file:
                    (loaded,) = loading.load(api.default_engine().images, file)
            except (Error, OSError, ValueError) as error:
                raise Refused(f"loading the archive: seen {error}, expected one image") from None
        try:
            names = [name.familiar for name in loaded.names]
            expect("the names of the image", names, [f"{_ASSEMBLED}:1"])
            expect("its layers", loaded.image.diff_ids, [_alpine_diff_id()])
            expect("what a container of it says", place.run(loaded.image), _SAID)
        finally:
            with contextlib.suppress(NotFound):
                api.default_engine().remove_image(loaded.image.id, force=True)
    return "it was loaded, it has its name, and it runs"


def _put_rootfs(place: Kitchen) -> None:
    """Put the layer of the image alpine into a context, as the archive that it was made of."""
    with gzip.open(os.path.join(place.path, _ROOTFS), "wb", compresslevel=1) as out:
        out.write(_alpine_tar())


def _alpine_tar() -> bytes:
    engine = api.default_engine()
    alpine = engine.images.find("alpine")
    with compression.Reader(engine.images.blob_path(alpine.manifest["layers"][0]["digest"])) as packed:
        return b"".join(iter(lambda: packed.read(1 << 20), b""))


def _alpine_diff_id() -> str:
    return api.default_engine().images.find("alpine").diff_ids[0]


def _remove_assembled() -> None:
    with contextlib.suppress(NotFound):
        api.default_engine().remove_image(_ASSEMBLED + ":1", force=True)
