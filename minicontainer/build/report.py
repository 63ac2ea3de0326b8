"""What a build tells of itself while it is at it, and the classic way to print that.

Independent stages are built side by side, so reports of several steps come interleaved; each names its step.
The builder calls one method at a time, from whatever thread.
"""

from __future__ import annotations

import io

from minicontainer import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Protocol

    from minicontainer.images.image import Image

    class Out(Protocol):
        """Where a log goes."""

        def write(self, data: bytes, /) -> object:
            """Write all of it."""

        def flush(self) -> object:
            """Have it seen."""


_MUCH = 1 << 20  # bytes that are kept in memory; more go to a file
_RED, _PLAIN = b"\x1b[91m", b"\x1b[0m"  # as Docker has what a container writes to its standard error


class Step:
    """One step of a build, as a report names it."""

    def __init__(self, number: int, total: int, text: str, stage: int, stage_name: str) -> None:
        self.number = number  #: from 1, over all stages that are built, in the order of the Dockerfile
        self.total = total
        self.text = text  #: the instruction, as ``COPY . /app``
        self.stage = stage  #: the stage's place in the Dockerfile, from 0; -1 for an ARG before the first
        self.stage_name = stage_name  #: what AS calls it, or ""


class Report:
    """Hears of a build; this one says nothing."""

    def context(self, size: int) -> None:
        """The context is ready: so many bytes of files."""

    def plan(self, steps: list[Step]) -> None:
        """These steps are to be made."""

    def begin(self, step: Step) -> None:
        """A step begins."""

    def cached(self, step: Step) -> None:
        """Its outcome is known from an earlier build."""

    def running(self, step: Step, container_id: str) -> None:
        """A container runs for it."""

    def output(self, step: Step, stream: int, data: bytes) -> None:
        """The container has written to its standard output (1) or error (2)."""

    def removed(self, step: Step, container_id: str) -> None:
        """The container is gone."""

    def warning(self, step: Step | None, text: str) -> None:
        """Something is not as it should be, but no error."""

    def done(self, step: Step, image_id: str) -> None:
        """A step is done; its image's id is ``sha256:…``, "" when there is none yet (FROM scratch)."""

    def failed(self, step: Step, error: BaseException) -> None:
        """A step has failed, and so has the build."""

    def built(self, image: Image) -> None:
        """The build is done."""

    def tagged(self, name: str) -> None:
        """The image has got this name."""


class Kept:
    """Bytes to be shown later, if at all: in memory, and in a file without a name once they are many."""

    def __init__(self) -> None:
        self._file: IO[bytes] = io.BytesIO()

    def write(self, data: bytes) -> None:
        """Add some."""
        if isinstance(self._file, io.BytesIO) and self._file.tell() + len(data) > _MUCH:
            import tempfile  # 8 ms, for what hardly ever happens

            file = tempfile.TemporaryFile()
            file.write(self._file.getvalue())
            self._file = file
        self._file.write(data)

    def flush(self) -> None:
        """Nothing waits for it."""

    def copy_to(self, out: Out) -> None:
        """Write all of it to ``out``."""
        self._file.seek(0)
        while data := self._file.read(_MUCH):
            out.write(data)
        out.flush()


class ClassicReport(Report):
    """Prints what Docker's classic builder prints, line for line, in the order of the Dockerfile.

    The first step that is not done yet is shown as it goes; what comes of later ones, in stages that are built
    beside its own, is kept back until all before them are done. Docker has both streams of a container in its
    standard output, so that a log has them in order, and so they are here.

    :param out: a file for bytes
    :param colours: whether what a container writes to its standard error is red
    """

    def __init__(self, out: Out, *, colours: bool = False) -> None:
        self._out = out
        self._colours = colours
        self._turn = 1  # the number of the step that is shown as it goes
        self._done: set[int] = set()
        self._kept: dict[int, Kept] = {}
        self._mid_line: set[int] = set()  # steps whose output stopped in the middle of a line
        self._over = False
        self._broken: OSError | None = None  # nobody reads on, or the disk is full

    def context(self, size: int) -> None:
        """Docker's client would send it now; ours is read where it is."""
        self._show(f"Sending build context to Docker daemon  {units.human_size(size, 4)}\n")

    def begin(self, step: Step) -> None:
        """Name the step."""
        self._line(step, f"Step {step.number}/{step.total} : {step.text}")

    def cached(self, step: Step) -> None:
        """Say so."""
        self._line(step, " ---> Using cache")

    def running(self, step: Step, container_id: str) -> None:
        """Name the container."""
        self._line(step, f" ---> Running in {container_id[:12]}")

    def output(self, step: Step, stream: int, data: bytes) -> None:
        """Pass it on."""
        self._write(step, _RED + data + _PLAIN if stream == 2 and self._colours else data)
        if data.endswith(b"\n"):
            self._mid_line.discard(step.number)
        elif data:
            self._mid_line.add(step.number)

    def removed(self, step: Step, container_id: str) -> None:
        """Name the container once more."""
        self._line(step, f"Removing intermediate container {container_id[:12]}")

    def warning(self, step: Step | None, text: str) -> None:
        """Put it where the step is; or here and now, when it is about the whole."""
        line = f"[Warning] {text[:1].upper()}{text[1:]}"
        if step:
            self._line(step, line)
        else:
            self._show(f"{line}\n")

    def done(self, step: Step, image_id: str) -> None:
        """Name the image; then it is the next step's turn, and what is kept of it and those after is shown."""
        if step.stage >= 0:
            self._line(step, f" ---> {short(image_id)}")
        self._done.add(step.number)
        while self._turn in self._done:
            self._turn += 1
            self._release(self._turn)

    def failed(self, step: Step, error: BaseException) -> None:
        """Show all that is kept back, of this step last: why it failed is to be the end of it all.

        If it was the log that could not be written, that is said once more: the step is not to blame.
        """
        if self._broken:
            raise self._broken
        if self._turn in self._mid_line:
            self._show("\n")
        for number in sorted(self._kept, key=lambda number: (number == step.number, number)):
            self._release(number)
            if number in self._mid_line:
                self._show("\n")
        self._over = True

    def built(self, image: Image) -> None:
        """Name it."""
        self._show(f"Successfully built {short(image.id)}\n")

    def tagged(self, name: str) -> None:
        """Name it by this name."""
        self._show(f"Successfully tagged {name}\n")

    def _line(self, step: Step, text: str) -> None:
        if step.number in self._mid_line:
            self._mid_line.discard(step.number)
            text = "\n" + text
        self._write(step, f"{text}\n".encode(errors="surrogateescape"))

    def _write(self, step: Step, data: bytes) -> None:
        """Write it now, or keep it until it is the step's turn."""
        if self._over:
            return  # others are being ended; nobody wants to know
        if step.number == self._turn:
            self._put(data)
        else:
            self._kept.setdefault(step.number, Kept()).write(data)

    def _release(self, number: int) -> None:
        if kept := self._kept.pop(number, None):
            kept.copy_to(self._out)

    def _show(self, text: str) -> None:
        self._put(text.encode(errors="surrogateescape"))

    def _put(self, data: bytes) -> None:
        try:
            self._out.write(data)
            self._out.flush()
        except OSError as error:
            self._broken = error
            raise


def short(image_id: str) -> str:
    """The id of an image as it is shown: twelve digits, without the algorithm."""
    return image_id.removeprefix("sha256:")[:12]
