"""Chapter 00: starting a container, and telling one from an ordinary process."""

from __future__ import annotations

import contextlib
import os
import subprocess

from minicontainer.engine import api
from minicontainer.errors import NotFound
from minicontainer.lab.trial import Refused, Trial, checker, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minicontainer.engine.container import Container

_KITCHEN = "lab-kitchen"
_OTHER = "lab-other"


@checker
def start_kitchen(solution: Callable[[], object]) -> str:
    """A container ``lab-kitchen`` runs, its host name is kitchen, and it may have 16 MiB."""
    _remove(_KITCHEN)
    try:
        with Trial(solution, apart=False):
            container = _find(_KITCHEN)
            expect("the state of lab-kitchen", container.status, "running")
            name = container.nsenter(["uts"], ["uname", "-n"]).strip()
            expect("the host name of lab-kitchen", name, "kitchen")
            expect("the memory that lab-kitchen may have", container.cgroup.stats().memory_limit, 16 << 20)
    finally:
        _remove(_KITCHEN)
    return "lab-kitchen runs, calls itself kitchen, and may have 16777216 bytes"


@checker
def is_contained(solution: Callable[[int], object]) -> str:
    """A container's first process is contained; this one, and a ``sleep`` of the host's, are not."""
    with running_container() as container, subprocess.Popen(["sleep", "1000"]) as sleep:
        try:
            cases = [
                ("the first process of a container", container.pid, True),
                ("a sleep(1) of this host", sleep.pid, False),
                ("the process of this notebook", os.getpid(), False),
            ]
            for what, pid, expected in cases:
                with Trial(solution, pid, apart=False) as trial:
                    expect(what, trial.value, expected)
        finally:
            sleep.kill()
    return "it knows a container's process from two of this host's"


@contextlib.contextmanager
def running_container() -> Iterator[Container]:
    """A container to try things on, for a while."""
    _remove(_OTHER)
    container = api.run("alpine", ["sleep", "1000"], detach=True, name=_OTHER)
    assert not isinstance(container, str)
    try:
        yield container
    finally:
        container.remove(force=True)


def _find(name: str) -> Container:
    try:
        return api.default_engine().find(name)
    except NotFound:
        names = [container.name for container in api.list_containers(all=True)]
        raise Refused(f"the containers: seen {', '.join(names) or 'none'}, expected {name}") from None


def _remove(name: str) -> None:
    with contextlib.suppress(NotFound):
        api.default_engine().find(name).remove(force=True)
