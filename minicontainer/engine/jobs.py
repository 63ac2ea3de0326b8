"""Jobs: work of one command that makes containers which are to go with it.

A build runs its steps in containers, and unpacks the context that comes as an archive. They are nobody's when the
build has ended, in whatever way; so a job is written down, and its list of containers before each of them counts as
made::

    jobs/.<random>/             held by a lock that the kernel takes away with the process
    jobs/.<random>/containers   ids, one a line
    jobs/.<random>/<number>/    places to work in

A job that nobody holds is a killed command's: the next command removes its containers, and then the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from minicontainer.engine.container import Container
from minicontainer.errors import NotFound
from minicontainer.files import Lock, is_locked, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minicontainer.engine.engine import Engine

_LIST = "containers"


class Job:
    """A place that is there for as long as a command is at work."""

    def __init__(self, engine: Engine, path: str) -> None:
        self.engine = engine
        self.path = path
        self._places = 0

    def add(self, container: Container) -> None:
        """Write down a container that was created and is not settled or started yet: it goes with the job."""
        with open(os.path.join(self.path, _LIST), "a") as file:
            file.write(f"{container.id}\n")

    def place(self) -> str:
        """A new directory to work in."""
        self._places += (
            1  # one job's places are made by several threads; a number that is taken is passed over
        )
        path = os.path.join(self.path, str(self._places))
        try:
            os.mkdir(path, mode=0o700)
        except FileExistsError:
            return self.place()
        return path

    def clean_up(self) -> None:
        """Remove its containers, those that run too, and all its places."""
        for container_id in _listed(self.path):
            container = Container(self.engine, container_id)
            if container.is_whole():
                with contextlib.suppress(NotFound):
                    container.remove(force=True, volumes=True)
            else:
                container.delete_files(volumes=True)
        remove_tree(self.path)


@contextlib.contextmanager
def job(engine: Engine) -> Iterator[Job]:
    """For a ``with``: a job, of which nothing is left at the end."""
    directory = os.path.join(engine.root, "jobs")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = os.path.join(directory, f".{os.urandom(8).hex()}")
    with Lock(os.path.join(directory, ".lock")):
        os.mkdir(path, mode=0o700)
        claim = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(claim, fcntl.LOCK_EX)
    try:
        mine = Job(engine, path)
        try:
            yield mine
        finally:
            mine.clean_up()
    finally:
        os.close(claim)


def sweep(engine: Engine) -> None:
    """Clean up after killed commands."""
    directory = os.path.join(engine.root, "jobs")
    with Lock(os.path.join(directory, ".lock")):
        paths = [os.path.join(directory, name) for name in os.listdir(directory) if name != ".lock"]
        left = [path for path in paths if not is_locked(path)]
        for path in left:
            Job(engine, path).clean_up()


def _listed(path: str) -> list[str]:
    try:
        with open(os.path.join(path, _LIST)) as file:
            return [line for line in file.read().split("\n") if len(line) == 64]
    except FileNotFoundError:
        return []
