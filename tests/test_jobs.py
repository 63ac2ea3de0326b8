"""What a command makes for itself is gone when it is, in whatever way it ends."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
from conftest import PROJECT
from waiting import until

from minicontainer.engine import jobs
from minicontainer.engine.engine import Engine
from minicontainer.engine.session import Session
from minicontainer.errors import NotFound


def left(engine: Engine) -> list[str]:
    return [name for name in os.listdir(os.path.join(engine.root, "jobs")) if name != ".lock"]


def test_containers_and_places_of_a_job_go_with_it(engine: Engine) -> None:
    with jobs.job(engine) as job:
        created = engine.create("alpine", ["sleep", "100"])
        job.add(created)
        created.settle()
        running = engine.create("alpine", ["sleep", "100"])
        job.add(running)
        running.start()
        places = [job.place(), job.place()]
        pathlib.Path(places[0], "file").touch()
        assert len(set(places)) == 2 and len(left(engine)) == 1
        engine.sweep()
        assert running.status == "running", "nobody sweeps away what is held"
    for container in (created, running):
        with pytest.raises(NotFound):
            engine.find(container.id)
    assert left(engine) == []


def test_a_job_that_fails_leaves_nothing_and_fails_with_its_own_error(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), jobs.job(engine) as job:
        job.add(engine.create("alpine", ["true"]))
        job.place()
        raise ZeroDivisionError
    assert left(engine) == [] and os.listdir(engine.containers_path) == []


KILLED = """
import os, signal, sys
from minicontainer.engine import jobs
from minicontainer.engine.engine import Engine

engine = Engine(sys.argv[1])
with jobs.job(engine) as job:
    job.place()
    for start in (True, False):
        container = engine.create("alpine", ["sleep", "100"])
        job.add(container)
        container.start() if start else container.settle()
        print(container.id, flush=True)
    engine.create("alpine", ["never", "settled"])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_command_cleans_up_after_a_killed_one(engine: Engine) -> None:
    argv = [sys.executable, "-c", KILLED, engine.root]
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    running, created = done.stdout.split()
    assert engine.find(running).status == "running" and engine.find(created).status == "created"
    assert len(left(engine)) == 1
    pid = engine.find(running).pid
    engine.sweep()
    assert os.listdir(engine.containers_path) == [] and left(engine) == []
    assert not os.path.exists(f"/proc/{pid}")


def test_a_container_that_is_held_ends_with_its_holder(engine: Engine) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    container = engine.create("alpine", ["sleep", "100"])
    session = Session.attach(ours, lambda *_: None, wants_input=False, hold=True)
    container.start(theirs)
    theirs.close()
    assert container.status == "running"
    session.close()
    until(lambda: container.status != "running", seconds=10)
    assert container.state()["ExitCode"] == 137
    container.remove()
