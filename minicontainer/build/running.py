"""RUN: the command runs in a container of the image so far, and what it has changed becomes the next layer.

It is an ordinary container of the engine, with the image's environment, user and working directory, with limits and
a network as ``run`` has them. When it ends well its upper directory is packed, and moved to the layers: nothing is
copied. When it does not, nothing of the step is kept, and the image before it is there to be looked into.

The build holds the container: should the build be killed, the container's monitor notices, and ends it.
"""

from __future__ import annotations

import contextlib
import os
import shlex

from minicontainer.engine.options import Options
from minicontainer.engine.session import Session
from minicontainer.errors import Conflict, Error, NotFound
from minicontainer.images import packing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from minicontainer.engine.container import Container
    from minicontainer.engine.engine import Engine
    from minicontainer.engine.jobs import Job
    from minicontainer.images.image import Image
    from minicontainer.images.index import Descriptor

    Output = Callable[[int, bytes], None]


class CommandFailed(Error):
    """The command of a RUN step ended with another exit code than 0, which is this error's too."""

    def __init__(self, words: Sequence[str], code: int) -> None:
        super().__init__(f"the command {shlex.join(words)!r} returned a non-zero code: {code}")
        self.exit_code = code


class Stopped(Error):
    """The build has ended before the step has, for a reason of its own."""


class Runner:
    """Runs commands for one build, several at a time if need be."""

    def __init__(self, engine: Engine, job: Job, options: Mapping[str, object]) -> None:
        self.engine = engine
        self.job = job
        self.options = options
        self.running: set[Container] = set()
        self.stopped = False

    def check(self) -> None:
        """Raise Stopped when the build is not to go on."""
        if self.stopped:
            raise Stopped("the build was stopped")

    def stop(self) -> None:
        """Kill what runs, and run nothing more."""
        self.stopped = True
        for container in list(self.running):
            self._kill(container)

    @staticmethod
    def _kill(container: Container) -> None:
        with contextlib.suppress(Conflict, NotFound):  # it does not run yet, or no more
            container.signal("KILL")

    def run(
        self,
        image: Image,
        words: Sequence[str],
        output: Output,
        begun: Callable[[Container], None],
        tidy: Callable[[str], None],
        **options: object,
    ) -> tuple[Descriptor, str]:
        """Run a command in a container of ``image``; returns the layer that it has made, and its diff id.

        ``options`` are those of :class:`minicontainer.Options` that this step has apart. ``output`` is given what
        it writes, ``begun`` the container, and ``tidy`` its upper directory at the end. Raises CommandFailed, and
        what keeps it from starting.
        """
        asked = Options(**{"entrypoint": words[0], **self.options, **options})
        container = self.engine.create(image, words[1:], asked)
        self.job.add(container)
        self.running.add(container)
        try:
            begun(container)
            code = self._attached(container, output)
            self.check()
            if code:
                raise CommandFailed(words, code)
            upper = os.path.join(container.path, "upper")
            tidy(upper)
            return packing.move_layer(self.engine.images, upper)
        finally:
            self.running.discard(container)
            lock = container.lock_of_creation()
            if lock:  # it was never started, nor written down as made
                container.delete_files(volumes=True)
                lock.release()
            else:
                container.remove(force=True, volumes=True)

    def _attached(self, container: Container, output: Output) -> int:
        self.check()
        session = Session.start(container, output, wants_input=False, hold=True)
        if self.stopped:  # while it started, when nobody could kill it yet
            self._kill(container)
        return session.run() or 0
