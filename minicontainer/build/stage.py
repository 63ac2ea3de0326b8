"""One stage: instruction after instruction, each making the next image of the one before.

There are three kinds. Most change the configuration alone (ENV, CMD, USER, …). COPY, ADD and WORKDIR write files,
and RUN has a container write them: what they have written is a layer. Before anything is made the cache is asked,
by what the step depends on; after it, the cache is told.
"""

from __future__ import annotations

import os

from minicontainer import words
from minicontainer.build import copy_step, dockerfile, run_step
from minicontainer.build.draft import Draft
from minicontainer.build.report import Step
from minicontainer.build.variables import Arguments
from minicontainer.images import changes, packing
from minicontainer.runtime.inside import open_inside, open_mount_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minicontainer.build.builder import Build
    from minicontainer.build.dockerfile import Instruction, Stage
    from minicontainer.build.tree import Tree
    from minicontainer.images.image import Image
    from minicontainer.images.index import Descriptor

    Layer = tuple[Descriptor, str]


class StageBuild:
    """A stage that is being built."""

    def __init__(self, build: Build, stage: Stage, steps: list[Step]) -> None:
        self.build = build
        self.stage = stage
        self.steps = iter(steps)
        self.step = steps[0]
        self.store = build.engine.images
        self.arguments = Arguments(build.options.build_args, build.arguments)
        self.draft = Draft()
        self.missed = False  #: a step was made anew, and so are all that follow
        self._has_command = False  #: CMD was met, and ENTRYPOINT leaves it alone

    def run(self) -> Draft:
        """Build it; returns what it has come to."""
        for instruction in [self.stage.instruction, *self.stage.instructions]:
            self.build.runner.check()
            self.step = next(self.steps)
            self.build.tell("begin", self.step)
            try:
                if instruction.name == "FROM":
                    self._from()
                else:
                    self._make(instruction)
            except Exception as error:
                raise self.build.explained(error, instruction, self) from error
            self.build.tell("done", self.step, self.draft.id)
        for name, value in self.build.labels(self.stage):
            self.step = next(self.steps)
            self.build.tell("begin", self.step)
            self._label(name, value)
            self.build.tell("done", self.step, self.draft.id)
        return self.draft

    def _from(self) -> None:
        self.draft = self.build.base(self.stage)
        triggers = self.draft.config.pop("OnBuild", None) or ()
        if triggers:
            plural = "s" if len(triggers) > 1 else ""
            self.build.tell(
                "output", self.step, 1, f"# Executing {len(triggers)} build trigger{plural}\n".encode()
            )
        for text in triggers:
            trigger = dockerfile.parse_instruction(text)
            try:
                self._make(trigger)
            except Exception as error:
                raise self.build.explained(error, trigger, self) from error

    def _make(self, instruction: Instruction) -> None:
        if instruction.name == "RUN":
            run_step.run(self, instruction)
        elif instruction.name in ("COPY", "ADD"):
            copy_step.copy(self, instruction)
        elif instruction.name == "ARG":
            self._declare(instruction)
        else:
            self._configure(instruction)

    # ------------------------------------------------------------ what steps of all kinds do

    def variables(self) -> dict[str, str]:
        """What ``$NAME`` stands for here."""
        return self.arguments.seen(self.draft.env)

    def expand(self, text: str) -> str:
        """A word with its variables replaced."""
        return words.expand(text, self.variables(), self.build.dockerfile.escape)

    def comment(self, text: str, space: str = " ") -> str:
        """A row of history for a step that runs nothing: the shell is there, with a comment for it."""
        return " ".join([*self.draft.shell, f"#(nop){space}{text}"])

    def commit(
        self,
        step: str,
        make: Callable[[], Layer | None] = lambda: None,
        more: str = "",
        holds: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take the step's outcome from the cache, or have it made and tell the cache.

        ``more`` is what the words of ``step`` do not say of what it depends on; ``holds`` tells, when it is made,
        whether all that is still true.
        """
        cache = self.build.cache
        known = None if self.missed else cache.find(self.draft, step, more)
        if known:
            author, self.draft = self.draft.author, Draft(known)
            self.draft.author = author
            self.build.tell("cached", self.step)
            return
        self.missed = True
        parent = self.draft.id
        self.draft.commit(self.store, step, make())
        if holds():
            cache.add(parent, self.draft, step, more)

    def image(self) -> Image:
        """The image so far, also when nothing is in it yet."""
        return self.draft.image or self.draft.put(self.store)

    def write(self, change: Callable[[int], None]) -> Layer:
        """Have the file tree changed, by a function that is given its root; returns the layer that this makes."""
        place = self.build.job.place()
        root = self.build.mount(self.draft.image, place)
        try:
            change(root)
        finally:
            os.close(root)
        return packing.move_layer(self.store, os.path.join(place, "upper"))

    def tree(self, origin: str) -> Tree:
        """The files of a stage or image that ``--from`` names, or of the context."""
        return self.build.tree(origin, self.stage.index)

    def bring(self, origin: str, source: str, place: str) -> str:
        """Copy files for a step to mount into a directory; returns where they are."""
        return copy_step.bring(self, origin, source, place)

    def digest(self, origin: str, source: str) -> str:
        """The digest of files that a step mounts."""
        return copy_step.digest(self, origin, source)

    # ------------------------------------------------------------ configuration

    def _declare(self, instruction: Instruction) -> None:
        declared = [self.expand(word) for word in instruction.arguments]
        self.arguments.declare(declared)
        self.commit(self.comment(f"ARG {' '.join(declared)}", "  "))

    def _configure(self, instruction: Instruction) -> None:
        config = dict(self.draft.config)
        text = changes.change(
            config,
            instruction.name,
            instruction.rest,
            words=instruction.words,
            flags=instruction.flags,
            variables=self.variables(),
            escape=self.build.dockerfile.escape,
        )
        if instruction.name == "CMD":
            self._has_command = True
        if instruction.name == "ENTRYPOINT" and not self._has_command:
            config.pop("Cmd", None)  # it was meant for another program (Dockerfile reference, ENTRYPOINT)
        if instruction.name == "MAINTAINER":
            self.draft.author = instruction.rest
        self.draft.config = config
        if instruction.name == "WORKDIR":
            self.commit(self.comment(text), lambda: self.write(self._make_workdir))
        else:
            self.commit(self.comment(text, "  "))

    def _label(self, name: str, value: str) -> None:
        """What one ``--label`` does: a step of its own, in which nothing is replaced."""
        labels = {**(self.draft.config.get("Labels") or {}), name: value}
        self.draft.config = {**self.draft.config, "Labels": labels}
        self.commit(self.comment(f"LABEL {name}={value}", "  "))

    def _make_workdir(self, root: int) -> None:
        path = self.draft.config["WorkingDir"]
        try:
            os.close(open_inside(root, path.lstrip("/") or ".", os.O_PATH | os.O_DIRECTORY))
        except FileNotFoundError:
            os.close(open_mount_point(root, path, directory=True))
