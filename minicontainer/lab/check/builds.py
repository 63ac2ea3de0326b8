"""Chapter 05: Dockerfiles that build what is wanted, and make again only what they must."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time

from minicontainer.engine import api
from minicontainer.errors import Error, NotFound
from minicontainer.files import remove_tree
from minicontainer.lab.builds import Built
from minicontainer.lab.trial import Refused, Trial, checker, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from minicontainer.images.image import Image

_NAME = "lab-check"
_MIB = 1 << 20
_SETTLED = 0.02  # seconds: what changed just now may change while it is copied, and is not remembered
_INSTALL_SDK = """\
mkdir -p /sdk/bin
truncate -s 32M /sdk/libraries
echo 'sed "s/^say/echo/" $1 > $2' > /sdk/bin/cc
"""


class Kitchen:
    """A context to build from, in a directory of its own; what is built is gone in the end."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._names: list[str] = []

    def write(self, files: dict[str, str]) -> None:
        """Put files into the context."""
        for name, text in files.items():
            with open(os.path.join(self.path, name), "w") as file:
                file.write(text)
        time.sleep(_SETTLED)

    def build(self, recipe: object, **options: Any) -> Built:
        """Build what a solution has returned; Refused tells why that cannot be."""
        if not isinstance(recipe, str):
            raise Refused(f"what is returned: seen {recipe!r}, expected the text of a Dockerfile")
        self.write({"Dockerfile": recipe})
        self._names.append(f"{_NAME}-{len(self._names)}")
        try:
            return Built(self.path, self._names[-1], **options)
        except Error as error:
            first = str(error).splitlines()[0]
            raise Refused(f"the build: seen {first}, expected an image") from None

    def run(self, image: Image, argv: str | list[str] = "") -> str:
        """What a container of the image says."""
        try:
            return str(api.run(image.id, argv)).strip()
        except Error as error:
            raise Refused(f"a container of the image: seen {error}, expected it to run") from None

    def close(self) -> None:
        """Remove what was built, and the context."""
        for name in self._names:
            with contextlib.suppress(NotFound):
                api.default_engine().remove_image(name, force=True)
        remove_tree(self.path)


@contextlib.contextmanager
def kitchen(files: dict[str, str]) -> Iterator[Kitchen]:
    """A kitchen for a while, with these files in its context."""
    opened = Kitchen(tempfile.mkdtemp(prefix="lab-", dir=api.default_engine().root))
    try:
        opened.write(files)
        yield opened
    finally:
        opened.close()


def written(solution: Callable[[], object]) -> object:
    """What a solution without arguments returns."""
    with Trial(solution, apart=False) as trial:
        return trial.value


@checker
def in_order(solution: Callable[[], str]) -> str:
    """The slow step is made again for a new list of packages, and not for a new program."""
    program = "echo {}; cat installed"
    recipe = written(solution)
    with kitchen({"main.sh": program.format("one"), "packages.txt": "b\na\n"}) as place:
        first = place.build(recipe, no_cache=True)  # an earlier try may have left it all
        if not _slow(first):
            raise Refused("the steps of the build: seen none with sleep in it, expected the slow one")
        expect("what the image says", place.run(first.image).split(), ["one", "a", "b"])
        place.write({"main.sh": program.format("two")})
        second = place.build(recipe)
        expect("what it says with a new main.sh", place.run(second.image).split(), ["two", "a", "b"])
        expect("slow steps made again for a new main.sh", _slow(second), [])
        place.write({"packages.txt": "c\na\n"})
        third = place.build(recipe)
        expect("what it says with new packages.txt", place.run(third.image).split(), ["two", "a", "c"])
    return "a new main.sh is in the image without the slow step, new packages.txt are with it"


def _slow(built: Built) -> list[str]:
    return [step for step in built.made if "sleep" in step]


@checker
def small(solution: Callable[[], str]) -> str:
    """The program is in the image and the tools are not; and they are not installed for each new program."""
    recipe = written(solution)
    word = os.urandom(4).hex()
    sdk = _INSTALL_SDK.replace("32M", f"{32 * _MIB + int(word[:2], 16)}")  # no cache has that
    with kitchen({"hello.src": f"say {word}\n", "install-sdk": sdk}) as place:
        built = place.build(recipe)
        expect("what the image says", place.run(built.image), word)
        more = built.image.size - api.default_engine().images.find("alpine").size
        if more > _MIB:
            raise Refused(f"what it has more than alpine: seen {more >> 20} MiB, expected less than one")
        place.write({"hello.src": f"say {word} again\n"})
        again = place.build(recipe)
        expect("what it says with a new hello.src", place.run(again.image), f"{word} again")
        installing = [step for step in again.made if "install-sdk" in step]
        expect("steps with install-sdk made again for a new hello.src", installing, [])
    return f"{more} bytes more than alpine, and the tools were installed once"


@checker
def keep_secret(solution: Callable[[], str]) -> str:
    """The step had the token, and the image has it nowhere: in no layer, and not in its configuration."""
    recipe = written(solution)
    token = os.urandom(8).hex()
    with kitchen({"token.txt": token}) as place:
        given = {"build_args": {"TOKEN": token}, "secrets": {"token": token.encode()}}
        built = place.build(recipe, no_cache=True, **given)  # a step does not depend on what a secret is
        proof = place.run(built.image, "cat /proof").split(" ")[0]
        expect("the sum in /proof", proof, hashlib.sha256(token.encode()).hexdigest())
        expect("where the token is left", _leaks(built.image, token), "nowhere")
    return "the step has read the token, and nothing in the image remembers it"


def _leaks(image: Image, token: str) -> str:
    """Where in an image a word is found, ``nowhere`` if it is not."""
    history = json.dumps(image.config.get("history"))
    if token in history:
        return "in the history"
    if token in json.dumps(image.config):
        return "in the configuration"
    for number, layer in enumerate(image.store.layer_directories(image)[::-1]):
        for where, _, files in os.walk(layer):
            for name in files:
                path = os.path.join(where, name)
                if os.path.isfile(path) and not os.path.islink(path) and _holds(path, token):
                    return f"in layer {number}, {path.removeprefix(layer)}"
    return "nowhere"


def _holds(path: str, token: str) -> bool:
    with open(path, "rb") as file:
        return token.encode() in file.read()
