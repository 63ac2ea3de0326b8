"""The pull before a run: of an image that is not here, or whenever ``--pull always`` says so.

It is loaded only when there is something to pull: a container of an image that is here should not wait for the
code that speaks with registries.
"""

from __future__ import annotations

import sys

from minicontainer.cli.progress import Progress
from minicontainer.engine import transfer
from minicontainer.errors import Error, NotFound
from minicontainer.images.reference import Reference, is_digest
from minicontainer.images.registry.manifests import Platform
from minicontainer.images.registry.pull import last_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.engine import Engine


def is_here(engine: Engine, name: str, platform: str = "") -> bool:
    """Whether the store has an image of this name, and for this platform."""
    try:
        image = engine.images.find(name)
    except NotFound:
        return False
    return not platform or Platform.parse(platform).matches(image.config)


def missing(engine: Engine, name: str, platform: str = "") -> None:
    """Pull an image that is not here, and tell of it on standard error; NotFound says why it cannot be had."""
    if is_digest(name):
        raise NotFound(f"no such image: {name}; what has only an id cannot be pulled")
    reference = Reference.parse(name)
    print(f"Unable to find image '{reference.familiar}' locally", file=sys.stderr, flush=True)
    try:
        always(engine, name, platform)
    except Error as error:
        raise NotFound(f"no such image: {name}: it is not here, and cannot be pulled: {error}") from error


def always(engine: Engine, name: str, platform: str = "") -> None:
    """Pull an image, whether or not it is here."""
    reference = Reference.parse(name)
    with Progress(sys.stderr) as progress:
        (pulled,) = transfer.pull(engine, reference, platform=platform, report=progress.report)
        progress.report("", last_word(pulled.reference.familiar, pulled.fresh))
