"""The engine for programs: containers as objects, output as text.

Everything here works from any thread, and from several at once; a Jupyter kernel is such a program.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import threading

from minicontainer.engine import events, stream
from minicontainer.engine.engine import Engine
from minicontainer.engine.options import Options
from minicontainer.engine.session import Session
from minicontainer.errors import Error, NotFound
from minicontainer.images import archive, changes
from minicontainer.images.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from minicontainer.engine.container import Container
    from minicontainer.images.store import Image

_engines: dict[str, Engine] = {}


class Output(str):
    """What a program wrote to its standard output, as text; ``stderr`` and ``exit_code`` come with it."""

    __slots__ = ("exit_code", "stderr")

    exit_code: int
    stderr: str

    @classmethod
    def make(cls, stdout: bytes, stderr: bytes, exit_code: int) -> Output:
        """Decode what a program wrote; bytes that are not UTF-8 are replaced."""
        output = cls(stdout.decode(errors="replace"))
        output.stderr = stderr.decode(errors="replace")
        output.exit_code = exit_code
        return output


class ProgramError(Error):
    """The program in the container ran, and ended with another exit code than 0."""

    def __init__(self, argv: Sequence[str], output: Output) -> None:
        last = output.stderr.strip().splitlines()[-1:] or [""]
        super().__init__(
            f"{shlex.join(argv)} ended with {output.exit_code}" + (f": {last[0]}" if last[0] else "")
        )
        self.exit_code = output.exit_code
        self.output = output


def default_engine() -> Engine:
    """The engine that this module's functions use: the one that the command line uses."""
    engine = Engine()
    engine = _engines.setdefault(engine.root, engine)
    engine.sweep()
    return engine


def run(
    image: str,
    argv: Sequence[str] | str = (),
    *,
    detach: bool = False,
    input: bytes | str | None = None,
    check: bool = True,
    engine: Engine | None = None,
    **options: Any,
) -> Output | Container:
    """Run a program in a new container of ``image``.

    :param argv: the program and its arguments; text is split as a shell would; empty for the image's own
    :param detach: return a :class:`Container` at once, running, instead of waiting for its output
    :param input: what its standard input reads
    :param check: raise ProgramError when it ends with another exit code than 0
    :param options: any of :class:`minicontainer.Options`: ``memory="4m"``, ``name="web"``, …
    :returns: its output, with ``stderr`` and ``exit_code``; the container is removed unless ``remove=False``
    :raises NotFound: without such an image
    :raises CommandNotFound, CommandNotExecutable: when the program cannot be run
    :raises Error: for anything else that kept it from starting
    """
    if detach and input is not None:
        raise TypeError("input is for a run that is waited for; exec and attach reach a detached one")
    engine = engine or default_engine()
    words = _words(argv)
    if detach:
        container = engine.create(image, words, Options(**options))
        container.start()
        return container
    asked = Options(**{"remove": True, "interactive": input is not None, **options})
    container = engine.create(image, words, asked)
    output = _attached(container, input, remove=asked.remove)
    if check and output.exit_code:
        raise ProgramError([container.document["Path"], *container.document["Args"]], output)
    return output


def _attached(container: Container, input: bytes | str | None, remove: bool) -> Output:
    """Start a container and stay with it until it has ended."""
    with _Collector(input) as collector:
        session = Session.start(container, collector.take, wants_input=input is not None)
        try:
            return collector.finish(session)
        except BaseException:  # as ^C in a notebook: nobody has a handle on what is to be removed at its end
            if remove:
                with contextlib.suppress(NotFound):  # it has ended just now
                    container.remove(force=True)
            raise


def execute(
    container: Container,
    argv: Sequence[str] | str,
    *,
    input: bytes | str | None = None,
    check: bool = True,
    user: str = "",
    workdir: str = "",
    env: Sequence[str] = (),
    privileged: bool = False,
) -> Output:
    """Run one more program in a running container and return its output: ``container.exec``.

    Raises as :func:`run` does, and Conflict when the container is not running or paused.
    """
    words = _words(argv)
    container.pid  # noqa: B018  raises when it is not running
    with _Collector(input) as collector:
        session = Session.exec(
            container,
            collector.take,
            wants_input=input is not None,
            args=words,
            user=user,
            workdir=workdir,
            env=list(env),
            privileged=privileged,
        )
        output = collector.finish(session)
    if check and output.exit_code:
        raise ProgramError(words, output)
    return output


def list_containers(all: bool = False) -> list[Container]:
    """The containers, the newest first: those that run, or all."""
    return default_engine().containers(all)


def list_images() -> list[Image]:
    """The images, the newest first."""
    return default_engine().images.images()


def import_image(
    source: str, name: str, *, change: Sequence[str] = (), message: str = "", engine: Engine | None = None
) -> Image:
    """Make an image of a root filesystem in a tarball: a file, an http(s) URL.

    ``change`` holds Dockerfile instructions for its configuration, as ``['CMD ["/bin/sh"]']``.
    """
    engine = engine or default_engine()
    with archive.open_source(source) as stream_:
        image = archive.import_tree(
            engine.images, stream_, Reference.parse(name), config=changes.apply({}, change), message=message
        )
    events.of_image(engine.root, "import", image)
    return image


def pull(name: str, *, platform: str = "", engine: Engine | None = None) -> Image:
    """Bring an image from its registry into the store; ``platform`` is ``os/arch[/variant]``, this host's if empty.

    :raises NotFound: when the registry has no such image, or none for the platform
    :raises Error: when it does not answer, does not let us, or sends something else than it should
    """
    from minicontainer.engine import transfer  # of use to few programs, and it takes 100 ms

    (pulled,) = transfer.pull(engine or default_engine(), Reference.parse(name), platform=platform)
    return pulled.image


def push(name: str, *, engine: Engine | None = None) -> str:
    """Bring the image of this name to the registry in the name; returns the digest that it has there.

    Raises as :func:`pull` does.
    """
    from minicontainer.engine import transfer

    (pushed,) = transfer.push(engine or default_engine(), Reference.parse(name))
    return pushed.digest


def _words(argv: Sequence[str] | str) -> list[str]:
    return shlex.split(argv) if isinstance(argv, str) else [str(word) for word in argv]


class _Collector:
    """Gathers what a session puts out, and feeds it its input from a pipe, filled by a thread."""

    def __init__(self, input: bytes | str | None) -> None:
        self._input = input.encode() if isinstance(input, str) else input
        self._parts: dict[int, list[bytes]] = {stream.STDOUT: [], stream.STDERR: []}
        self._read = -1

    def __enter__(self) -> _Collector:
        if self._input is not None:
            self._read, write = os.pipe()
            threading.Thread(target=_fill, args=(write, self._input), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._read >= 0:
            os.close(self._read)

    def take(self, kind: int, data: bytes) -> None:
        """Keep some output."""
        self._parts[kind].append(data)

    def finish(self, session: Session) -> Output:
        """Carry on until the program has ended."""
        code = session.run(self._read)
        return Output.make(
            b"".join(self._parts[stream.STDOUT]), b"".join(self._parts[stream.STDERR]), code or 0
        )


def _fill(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        pass  # nobody reads it any more
    finally:
        os.close(fd)
