"""What ``images`` and ``history`` list, and which of it ``--filter`` lets through."""

from __future__ import annotations

from minicontainer import units
from minicontainer.engine.filters import boolean, has_label, split
from minicontainer.engine.listing import ago, local
from minicontainer.errors import InvalidArgument
from minicontainer.images import history

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minicontainer.engine.engine import Engine
    from minicontainer.images.image import Image

    Test = Callable[[Image], bool]

_MOST_CREATED_BY = 45  # characters of a step that history shows
_NONE = "<none>"


def images(
    engine: Engine,
    repository: str = "",
    *,
    all: bool = False,
    filters: Sequence[str] = (),
    trunc: bool = True,
) -> list[dict[str, Any]]:
    """The rows of ``images``: one for each name of an image, and one for an image without; newest first.

    With ``all``, those that the steps of builds have made as well.

    ``filters`` are those of ``docker images``: dangling, label, before, since and reference. InvalidArgument for
    others, NotFound when the image of ``before`` or ``since`` is not here.
    """
    tests, patterns = _filters(engine, [*filters, *([f"reference={repository}"] if repository else [])])
    rows = []
    known = engine.images.images()
    for image in _with_steps(engine, known) if all else known:
        if any(not test(image) for test in tests):
            continue
        names = [(name.familiar_repository, name.tag or _NONE) for name in image.names]
        for repo, tag in names or [(_NONE, _NONE)]:
            if not patterns or any(_fits(pattern, repo, tag) for pattern in patterns):
                rows.append(_row(image, repo, tag, trunc))
    return rows


def _with_steps(engine: Engine, images: list[Image]) -> list[Image]:
    ids = {image.id for image in images}
    steps = [image for image in engine.images.step_images() if image.id not in ids]
    return sorted([*images, *steps], key=lambda image: image.created, reverse=True)


def _row(image: Image, repository: str, tag: str, trunc: bool) -> dict[str, Any]:
    moment = image.moment()
    created = units.format_time(moment) if moment is not None else ""
    return {
        "Repository": repository,
        "Tag": tag,
        "ID": image.short_id if trunc else image.id,
        "Digest": image.digest,
        "CreatedSince": ago(created) if created else "N/A",
        "CreatedAt": local(created) if created else "N/A",
        "Size": units.human_size(image.size),
        "VirtualSize": units.human_size(image.size, 4),
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "Containers": "N/A",
    }


def steps(engine: Engine, name: str, *, human: bool = True, trunc: bool = True) -> list[dict[str, Any]]:
    """The rows of ``history``, the newest step first."""
    rows = []
    for step in history.steps(engine.images.find(name)):
        moment = step.moment()
        created = units.format_time(moment // units.SECOND * units.SECOND) if moment is not None else ""
        created_by = step.created_by.replace("\t", " ").replace("\n", " ")  # a line each, whatever was run
        if trunc and len(created_by) > _MOST_CREATED_BY:
            created_by = created_by[: _MOST_CREATED_BY - 1] + "…"
        rows.append(
            {
                "ID": step.id.removeprefix("sha256:")[:12] if trunc else step.id,
                "CreatedSince": (ago(created) if human else created) if created else "N/A",
                "CreatedAt": created or "N/A",
                "CreatedBy": created_by,
                "Size": units.human_size(step.size) if human else str(step.size),
                "Comment": step.comment,
            }
        )
    return rows


# ------------------------------------------------------------------ filters


def _filters(engine: Engine, filters: Sequence[str]) -> tuple[list[Test], list[str]]:
    """The tests that an image has to pass, all of them, and patterns of which a name has to fit one."""
    tests: list[Test] = []
    patterns = []
    for text in filters:
        key, value = split(text)
        if key == "reference":
            patterns.append(value)
        else:
            tests.append(_test(engine, key, value))
    return tests, patterns


def _test(engine: Engine, key: str, value: str) -> Test:
    if key == "dangling":
        wanted = boolean(key, value)
        return lambda image: (not image.names) == wanted
    if key == "label":
        return lambda image: has_label(image.labels, value)
    if key in ("before", "since"):
        other = engine.images.find(value).moment() or 0
        if key == "before":
            return lambda image: (image.moment() or 0) < other
        return lambda image: (image.moment() or 0) > other
    raise InvalidArgument(f"invalid filter '{key}'")


def _fits(wanted: str, repository: str, tag: str) -> bool:
    """Whether ``REPOSITORY[:TAG]`` as typed names this image; ``*`` stands for anything within a component."""
    import fnmatch

    path, colon, wanted_tag = wanted.rpartition(":")
    if not colon or "/" in wanted_tag:
        path, wanted_tag = wanted, "*"
    same_depth = path.count("/") == repository.count("/")
    return same_depth and fnmatch.fnmatchcase(repository, path) and fnmatch.fnmatchcase(tag, wanted_tag)
