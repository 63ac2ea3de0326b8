"""COPY and ADD, as steps: what they copy is found, and named by its digest, before anything is copied.

The digest stands in the history where the file was, so the step is the same as an earlier one when the content is.
"""

from __future__ import annotations

import os

from minicontainer.build import copying
from minicontainer.build.copy_sources import Source
from minicontainer.build.copying import Copying
from minicontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.build.dockerfile import Instruction
    from minicontainer.build.stage import Layer, StageBuild


def copy(stage: StageBuild, instruction: Instruction) -> None:
    """Copy what one COPY or ADD says, or take what it has done before from the cache."""
    from minicontainer.build import sources

    with sources.resolve(
        instruction,
        stage.expand,
        stage.tree,
        stage.draft.config.get("WorkingDir") or "/",
        stage.variables(),
    ) as asked:
        chown = f"--chown={asked.chown} " if asked.chown else ""
        text = f"{instruction.name} {chown}{copying.digest(asked)} in {asked.destination} "
        # The history has --chown already, and the digest what --from leads to.
        flags = sorted(item for item in instruction.flags.items() if item[0] not in ("chown", "from"))
        more = "\n".join(f"--{name}={value}" for name, values in flags for value in values)

        def make() -> Layer:
            return stage.write(lambda root: copying.run(asked, root))

        stage.commit(stage.comment(text), make, more, lambda: not asked.changed)


# ------------------------------------------------------------------ for RUN --mount


def bring(stage: StageBuild, origin: str, source: str, place: str) -> str:
    """Copy files for a step to mount, out of a stage, an image or, without an origin, the context.

    Returns where they are: below the directory ``place``.
    """
    root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _mounted(stage, origin, source) as asked:
            copying.run(asked, root)
    finally:
        os.close(root)
    return os.path.join(place, "files")


def digest(stage: StageBuild, origin: str, source: str) -> str:
    """The digest of files that a step mounts."""
    with _mounted(stage, origin, source) as asked:
        return copying.digest(asked)


def _mounted(stage: StageBuild, origin: str, source: str) -> Copying:
    """What a ``--mount`` takes, as if it were copied to ``/files``."""
    tree = stage.tree(origin)
    try:
        found = [Source(tree, path, source) for path in tree.match(source)]
    except Error:
        if origin:
            tree.close()
        raise
    asked = Copying(found, "/files", name="--mount", keep_owners=bool(origin))
    if origin:
        asked.owned.append(tree.close)
    return asked
