"""Images from and to registries, for an engine: what is pulled and pushed is told to whoever asks for events."""

from __future__ import annotations

from minicontainer.engine import events
from minicontainer.images.registry import pull as pulling
from minicontainer.images.registry import push as pushing
from minicontainer.images.registry.pull import quiet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.engine import Engine
    from minicontainer.images.reference import Reference
    from minicontainer.images.registry.pull import Pulled, Report
    from minicontainer.images.registry.push import Pushed


def pull(engine: Engine, reference: Reference, *, platform: str = "", report: Report = quiet) -> list[Pulled]:
    """Bring an image into the store; a list of one, as :func:`pull_all` has it. Raises as the latter does."""
    pulled = pulling.pull(engine.images, reference, platform=platform, report=report)
    _tell(engine, "pull", pulled.reference)
    return [pulled]


def pull_all(
    engine: Engine, reference: Reference, *, platform: str = "", report: Report = quiet
) -> list[Pulled]:
    """Bring all tags of a repository (minicontainer.images.registry.pull)."""
    every = pulling.pull_all(engine.images, reference, platform=platform, report=report)
    for pulled in every:
        _tell(engine, "pull", pulled.reference)
    return every


def push(engine: Engine, reference: Reference, *, report: Report = quiet) -> list[Pushed]:
    """Bring an image to its registry; a list of one, as :func:`push_all` has it. Raises as the latter does."""
    pushed = pushing.push(engine.images, reference, report=report)
    _tell(engine, "push", pushed.reference)
    return [pushed]


def push_all(engine: Engine, reference: Reference, *, report: Report = quiet) -> list[Pushed]:
    """Bring all tags of a repository (minicontainer.images.registry.push)."""
    every = pushing.push_all(engine.images, reference, report=report)
    for pushed in every:
        _tell(engine, "push", pushed.reference)
    return every


def _tell(engine: Engine, action: str, name: Reference) -> None:
    events.emit(engine.root, "image", action, name.familiar, {"name": name.familiar_repository})
