"""The builder: a Dockerfile and a context become an image.

The stages that the image needs are built, each when those that it takes from are done; independent ones side by
side, in threads, for a build mostly waits: for its containers, for the disk, for a registry. Whatever is made is
under a lease of the store and in a job of the engine. So a build that is interrupted, or killed, leaves nothing but
steps that are whole, for the next build to begin with.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from minicontainer.build import dockerfile, mounting, stages
from minicontainer.build.cache import Cache
from minicontainer.build.dockerfile import DockerfileError
from minicontainer.build.draft import Draft
from minicontainer.build.options import Options as Options
from minicontainer.build.report import Report, Step
from minicontainer.build.running import CommandFailed, Runner, Stopped
from minicontainer.build.stage import StageBuild
from minicontainer.build.tree import Tree
from minicontainer.build.variables import Arguments
from minicontainer.engine import jobs
from minicontainer.errors import Error, InvalidArgument, NotFound, explain
from minicontainer.images import overlay
from minicontainer.images.reference import Reference
from minicontainer.words import expand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.build.context import Context
    from minicontainer.build.dockerfile import Instruction, Stage
    from minicontainer.engine.engine import Engine
    from minicontainer.images.image import Image


class StepFailed(Error):
    """A step of a build failed; ``image`` is the last good one before it, None when there is none."""

    def __init__(self, message: str, exit_code: int, image: Image | None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.image = image


def build(
    engine: Engine, context: Context, options: Options | None = None, report: Report | None = None
) -> Image:
    """Build an image of a context and the Dockerfile in it.

    Raises DockerfileError before anything is done for what cannot be read, StepFailed for a step that fails, and
    NotFound for a target that there is not.
    """
    with engine.images.lease(), jobs.job(engine) as job:
        return Build(engine, context, options or Options(), report or Report(), job).run()


class Build:
    """One build, and what its stages share."""

    def __init__(
        self, engine: Engine, context: Context, options: Options, report: Report, job: jobs.Job
    ) -> None:
        self.engine = engine
        self.context = context
        self.options = options
        self.report = report
        self.job = job
        self.dockerfile = dockerfile.parse(context.dockerfile, context.dockerfile_name)
        self.arguments = Arguments(options.build_args, platform=options.platform)
        self.runner = Runner(engine, job, options.of_containers())
        self.caches = os.path.join(engine.images.builds.path, "mounts")
        self.drafts: dict[int, Draft] = {}  #: of the stages that are done
        self.images: dict[str, Image] = {}  #: those of others that were asked for
        self._telling = allocate_lock()
        self._finding = allocate_lock()
        self.cache = Cache(engine.images, not options.no_cache, self._cache_sources())

    def _cache_sources(self) -> list[Image]:
        """The images of ``--cache-from`` that are here; others are no error, as with Docker."""
        found = []
        for name in self.options.cache_from:
            try:
                found.append(self.engine.images.find(name))
            except NotFound:
                self.tell("warning", None, f"--cache-from {name}: no such image here")
        return found

    def run(self) -> Image:
        """Build what is asked for."""
        self._declare_arguments()
        goal = stages.target(self.dockerfile, self.options.target)
        waits = stages.needed(self.dockerfile, goal, self._sources)
        steps = self._plan(goal, list(waits))
        self.tell("context", self.context.size)
        self.tell("plan", [step for each in steps.values() for step in each])
        for text in self.dockerfile.warnings:
            self.tell("warning", None, text)
        self._tell_arguments(steps.pop(-1))
        work = {index: StageBuild(self, self.dockerfile.stages[index], steps[index]) for index in waits}
        if len(work) == 1:
            self.drafts[goal.index] = work[goal.index].run()
        else:
            from minicontainer.build import threads

            threads.run(self, work, waits)
        return self._finish(self.drafts[goal.index])

    # ------------------------------------------------------------ the plan

    def _declare_arguments(self) -> None:
        for instruction in self.dockerfile.arguments:
            seen = self.arguments.before_stages()
            self.arguments.declare(
                [expand(word, seen, self.dockerfile.escape) for word in instruction.arguments]
            )

    def _tell_arguments(self, steps: list[Step]) -> None:
        for step in steps:
            self.tell("begin", step)
            self.tell("done", step, "")

    def image_name(self, stage: Stage) -> str:
        """What a stage begins with, its variables replaced."""
        name = expand(stage.base, self.arguments.before_stages(), self.dockerfile.escape)
        if not name:
            raise stage.instruction.error(f"base name ({stage.base}) should not be blank")
        return name

    def _sources(self, stage: Stage) -> list[str]:
        """What a stage takes from: its base first, then whatever its instructions copy from and mount."""
        found = [self.image_name(stage)]
        for instruction in stage.instructions:
            found += instruction.flags.get("from", [])
            found += filter(None, map(mounting.origin, instruction.flags.get("mount", ())))
        return found

    def labels(self, stage: Stage) -> list[tuple[str, str]]:
        """The labels that ``--label`` adds at the end of a stage: of the last one."""
        is_last = stage is stages.target(self.dockerfile, self.options.target)
        return sorted(self.options.labels.items()) if is_last else []

    def _plan(self, goal: Stage, needed: list[int]) -> dict[int, list[Step]]:
        """The steps of each stage, numbered in the order of the Dockerfile; -1 has those before the first."""
        texts = {-1: [each.text for each in self.dockerfile.arguments]}
        for index in needed:
            stage = self.dockerfile.stages[index]
            texts[index] = [each.text for each in (stage.instruction, *stage.instructions)]
        texts[goal.index] += [f"LABEL {name}={value}" for name, value in self.labels(goal)]
        total = sum(map(len, texts.values()))
        numbers = iter(range(1, total + 1))
        names = {stage.index: stage.name for stage in self.dockerfile.stages}
        return {
            index: [Step(next(numbers), total, text, index, names.get(index, "")) for text in its]
            for index, its in sorted(texts.items())
        }

    # ------------------------------------------------------------ for the stages

    def tell(self, what: str, *about: object) -> None:
        """Report something, one thread at a time."""
        with self._telling:
            getattr(self.report, what)(*about)

    def base(self, stage: Stage) -> Draft:
        """What a stage begins with."""
        name = self.image_name(stage)
        earlier = stages.base(self.dockerfile.stages, stage, name)
        if earlier:
            before = self.drafts[earlier.index]
            draft = Draft(before.image)
            draft.author = before.author
            return draft
        if name == "scratch":
            return Draft()
        platform = expand(stage.platform, self.arguments.before_stages(), self.dockerfile.escape)
        return Draft(self.find(name, platform or self.options.platform))

    def find(self, name: str, platform: str = "") -> Image:
        """An image that is no stage: from the store, or else from its registry."""
        with self._finding:
            if name not in self.images:
                self.images[name] = self._find(name, platform)
            return self.images[name]

    def _find(self, name: str, platform: str) -> Image:
        if not self.options.pull or _is_id(name):
            try:
                found = self.engine.images.find(name)
                return self.engine.images.hold_image(found.manifest_digest) or found
            except NotFound:
                pass
        from minicontainer.engine import transfer

        (pulled,) = transfer.pull(self.engine, Reference.parse(name), platform=platform)
        return pulled.image

    def source(self, name: str, index: int) -> Image | None:
        """The image that ``--from`` means in the stage of this number; None for a stage that has made nothing."""
        stage = stages.find(self.dockerfile.stages[:index], name)
        if stage and stage.index not in self.drafts:
            raise InvalidArgument(
                f"stage {name} is not built before this one: a variable or an ONBUILD trigger names it, which is "
                "known too late; name it in a --from of the stage"
            )
        return self.drafts[stage.index].image if stage else self.find(name)

    def mount(self, image: Image | None, place: str) -> int:
        """Mount an image's file tree, attached nowhere; what is changed goes to ``place``/upper."""
        names = [os.path.join(place, name) for name in ("upper", "work", "nothing")]
        for name in names:
            os.mkdir(name)
            os.chmod(name, 0o755)
        upper, work, nothing = names
        below = self.engine.images.layer_directories(image) if image else []
        return overlay.detached([*below, nothing] if len(below) < 2 else below, upper, work)

    def missing(self, image: Image, targets: list[str]) -> list[str]:
        """The mount points that an image does not have."""
        if not targets:
            return []
        root = self.mount(image, self.job.place())
        try:
            return mounting.missing(root, targets)
        finally:
            os.close(root)

    def tree(self, origin: str, index: int) -> Tree:
        """The files of a stage or image that ``origin`` names, to be closed by the caller; or of the context."""
        if not origin:
            return self.context.tree
        root = self.mount(self.source(origin, index), self.job.place())
        try:
            return Tree(root, what=origin)
        finally:
            os.close(root)

    # ------------------------------------------------------------ the end

    def explained(self, error: Exception, instruction: Instruction, stage: StageBuild) -> Exception:
        """An error, with the place in the Dockerfile and the image before it; a bug of ours stays what it is."""
        if isinstance(error, (StepFailed, Stopped)) or not isinstance(error, (Error, OSError)):
            return error
        self.tell("failed", stage.step, error)
        code = error.exit_code if isinstance(error, CommandFailed) else 1
        message = explain(error)
        if not isinstance(error, DockerfileError):
            message = str(instruction.error(message))
        image = stage.draft.image
        if image:
            message += f"\nthe last good layer is {image.short_id}; to look into it: "
            message += f"minicontainer run --rm -it {image.short_id} {stage.draft.shell[0]}"
        return StepFailed(message, code, image)

    def _finish(self, draft: Draft) -> Image:
        """Give the image its names."""
        if draft.image is None:
            raise InvalidArgument(
                f"{self.dockerfile.filename}: no image was generated; it has no step but FROM scratch"
            )
        unused = self.arguments.unused()
        if unused:
            self.tell("warning", None, f"one or more build-args [{' '.join(unused)}] were not consumed")
        descriptor = draft.descriptor()
        for digest in (draft.image.id, descriptor["digest"]):
            self.engine.images.make_durable(digest)
        names = [Reference.parse(tag) for tag in self.options.tags]
        for name in names or (None,):
            self.engine.images.name(descriptor["digest"], descriptor["size"], name)
        self.tell("built", draft.image)
        for name in names:
            self.tell("tagged", name.familiar)
        return draft.image


def _is_id(name: str) -> bool:
    return name.startswith("sha256:")
