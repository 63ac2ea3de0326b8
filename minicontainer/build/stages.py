"""Which stages a build needs, and what they wait for.

A stage may begin with an earlier one (``FROM build``), copy from it (``COPY --from=build``) or mount it
(``RUN --mount=from=build``). What the last stage, or ``--target``, does not lead to in this way is not built.
"""

from __future__ import annotations

from minicontainer.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minicontainer.build.dockerfile import Dockerfile, Stage


def target(dockerfile: Dockerfile, name: str) -> Stage:
    """The stage that is asked for by its name or number, "" for the last; NotFound names those there are."""
    stages = dockerfile.stages
    if not name:
        return stages[-1]
    found = find(stages, name)
    if found is None:
        known = ", ".join(stage.name or str(stage.index) for stage in stages)
        raise NotFound(
            f"failed to reach build target {name} in {dockerfile.filename}; its stages are {known}"
        )
    return found


def find(stages: list[Stage], name: str) -> Stage | None:
    """The stage of this name, the last one that has it, or of this number; None when it must be an image."""
    for stage in reversed(stages):
        if stage.name and stage.name == name.lower():
            return stage
    if name.isascii() and name.isdecimal() and int(name) < len(stages):
        return stages[int(name)]
    return None


def base(stages: list[Stage], stage: Stage, image: str) -> Stage | None:
    """The earlier stage that ``FROM image`` means; a number is an image's name there."""
    earlier = stages[: stage.index]
    return next((each for each in reversed(earlier) if each.name and each.name == image.lower()), None)


def needed(dockerfile: Dockerfile, goal: Stage, sources: Callable[[Stage], list[str]]) -> dict[int, set[int]]:
    """The stages to build, by their numbers in order, each with those that it waits for.

    ``sources`` gives what a stage takes from: the image of its FROM first, then those of ``--from``.
    """
    waits: dict[int, set[int]] = {}
    todo = [goal]
    while todo:
        stage = todo.pop()
        if stage.index in waits:
            continue
        image, *others = sources(stage)
        earlier = dockerfile.stages[: stage.index]
        found = [base(dockerfile.stages, stage, image), *(find(earlier, name) for name in others)]
        before = [each for each in found if each]
        waits[stage.index] = {each.index for each in before}
        todo += before
    return dict(sorted(waits.items()))
