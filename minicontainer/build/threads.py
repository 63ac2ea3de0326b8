"""Stages side by side: each in a thread that begins when those it takes from are done."""

from __future__ import annotations

import threading

from minicontainer.build.running import Stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.build.builder import Build
    from minicontainer.build.stage import StageBuild


def run(build: Build, work: dict[int, StageBuild], waits: dict[int, set[int]]) -> None:
    """Build all the stages; ``waits`` has for each of them those that come before.

    Raises what the first one that failed has raised, when the others have stopped.
    """
    group = _Group(build, work, waits)
    threads = [threading.Thread(target=group.build_stage, args=(index,), daemon=True) for index in work]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:  # ^C: the stages end, and then this
        build.runner.stop()
        for thread in threads:
            thread.join()
        raise
    if group.failures:
        raise next((each for each in group.failures if not isinstance(each, Stopped)), group.failures[0])


class _Group:
    """What the threads have in common."""

    def __init__(self, build: Build, work: dict[int, StageBuild], waits: dict[int, set[int]]) -> None:
        self.build = build
        self.work = work
        self.waits = waits
        self.done = {index: threading.Event() for index in work}
        self.failures: list[BaseException] = []

    def build_stage(self, index: int) -> None:
        """Build one stage, when its time has come."""
        try:
            for before in self.waits[index]:
                self.done[before].wait()
            self.build.runner.check()
            self.build.drafts[index] = self.work[index].run()
        except BaseException as error:  # it is raised again in the thread that waits
            self.failures.append(error)
            self.build.runner.stop()
        finally:
            self.done[index].set()
