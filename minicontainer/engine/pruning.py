"""Removing what nobody needs: stopped containers, volumes that none of them mounts, images without one.

What is needed is decided by looking, under the locks that those take who might begin to need it: a container
that has come to run meanwhile stays, and so does a volume that a container being made has written down. The
bytes that are said to be free again were counted in what is really gone.
"""

from __future__ import annotations

from minicontainer.engine import build_cache, disk, events
from minicontainer.engine.container import PAUSED, RUNNING
from minicontainer.engine.filters import prune_test
from minicontainer.errors import Conflict, InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minicontainer.engine.engine import Engine


class Pruned:
    """What was removed of one kind: a line for each, under a title, and the bytes that it took."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: list[str] = []
        self.size = 0

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in (self.title, *self.lines)) if self.lines else ""


def containers(engine: Engine, filters: Sequence[str] = ()) -> Pruned:
    """Remove the containers that do not run; their volumes stay.

    ``filters`` are ``until=TIME``, ``label=…`` and ``label!=…``. Raises InvalidArgument for others.
    """
    passes = prune_test(filters)
    pruned = Pruned("Deleted Containers:")
    for container in engine.containers(all=True):
        try:
            document = container.document
            wanted = container.status not in (RUNNING, PAUSED)
            if wanted and passes(document["Created"], document["Config"]["Labels"]):
                size = disk.own_size(container)
                container.remove()
                pruned.lines.append(container.id)
                pruned.size += size
        except (NotFound, Conflict):  # it is gone, or it runs, since we looked
            continue
    _say(engine, "container", pruned)
    return pruned


def volumes(engine: Engine, filters: Sequence[str] = ()) -> Pruned:
    """Remove the volumes that no container has, running or not, named or anonymous.

    ``filters`` are ``label=…`` and ``label!=…``. Raises InvalidArgument for others, Error when the document of a
    container is damaged, so that nobody knows what it needs.
    """
    passes = prune_test(filters, ("label", "label!"))
    pruned = Pruned("Deleted Volumes:")
    used = engine.volumes.users()
    for volume in engine.volumes.all():
        if volume.name not in used and passes("", volume.labels):
            size = disk.tree_size(volume.data_path)
            try:
                engine.volumes.remove(volume.name)
            except (NotFound, Conflict):
                continue
            pruned.lines.append(volume.name)
            pruned.size += size
    _say(engine, "volume", pruned)
    return pruned


def networks(engine: Engine, filters: Sequence[str] = ()) -> Pruned:
    """Remove the networks that no container is to be on, running or not.

    ``filters`` are ``until=TIME``, ``label=…`` and ``label!=…``. Raises InvalidArgument for others.
    """
    passes = prune_test(filters)
    from minicontainer.engine.network import members  # most that prune have no networks

    pruned = Pruned("Deleted Networks:")
    pruned.lines = members.prune(engine.networks, passes)
    _say(engine, "network", pruned)
    return pruned


def images(engine: Engine, all: bool = False, filters: Sequence[str] = ()) -> Pruned:
    """Remove the images without a name, or ``all``, that no container has."""
    removed = engine.prune_images(all, filters)
    pruned = Pruned("Deleted Images:")
    pruned.lines, pruned.size = [line[:1].lower() + line[1:] for line in removed.lines], removed.freed
    _say(engine, "image", pruned)
    return pruned


def system(
    engine: Engine, all: bool = False, with_volumes: bool = False, filters: Sequence[str] = ()
) -> list[Pruned]:
    """Remove all of these, the containers first: what only they needed can go with them.

    Volumes go only when asked for; and ``until`` says nothing about a volume, so then it cannot be a filter.
    """
    check(filters, with_volumes)
    done = [containers(engine, filters), networks(engine, filters)]
    if with_volumes:
        done.append(volumes(engine, filters))
    return [*done, images(engine, all, filters), builds(engine, all, filters)]


def builds(engine: Engine, all: bool = False, filters: Sequence[str] = ()) -> Pruned:
    """Forget the steps of builds that no image has come of, or ``all``; ``filters`` may be ``until=TIME``."""
    pruned = Pruned("Deleted build cache objects:")
    pruned.lines, pruned.size = build_cache.prune(
        engine, all, [text for text in filters if not text.startswith("label")]
    )
    _say(engine, "builder", pruned)
    return pruned


def check(filters: Sequence[str], with_volumes: bool) -> None:
    """Raise InvalidArgument when these cannot be the filters of :func:`system`, or of either kind alone."""
    prune_test(filters)
    if with_volumes and any(text.startswith("until=") for text in filters):
        raise InvalidArgument('the "until" filter is not supported with "--volumes"')


def _say(engine: Engine, kind: str, pruned: Pruned) -> None:
    events.emit(engine.root, kind, "prune", "", {"reclaimed": pruned.size})
