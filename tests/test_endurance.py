"""Whatever is killed at whatever moment, one ordinary command later nothing is left of it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
from waiting import has_ended

from minicontainer.engine.engine import Engine
from minicontainer.runtime.cgroups import hierarchies

ROUNDS = int(os.environ.get("MINICONTAINER_TEST_KILLS", "200"))
MONITOR = "minicontainer-monitor"  # as ps shows it; the container's id comes after it


class Host:
    """What a container may leave on the host, looked for where the kernel has it."""

    def __init__(self, root: str, cgroup_parent: str) -> None:
        self.root = root
        self.cgroup_parent = cgroup_parent

    def cgroups(self) -> set[str]:
        """Names of the cgroups below the parent that is only used here."""
        found = set()
        for hierarchy in hierarchies():
            with contextlib.suppress(FileNotFoundError):
                found |= {e.name for e in os.scandir(hierarchy.directory(self.cgroup_parent)) if e.is_dir()}
        return found

    def mounts(self) -> list[str]:
        """Mounts on the host that have anything to do with our state directory."""
        return [
            line
            for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
            if self.root in line
        ]

    def processes(self) -> dict[int, str]:
        """Processes that are ours: in our cgroups, or with our state directory among their files or words."""
        found = {}
        for pid in [
            int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()
        ]:
            with contextlib.suppress(OSError):
                proc = pathlib.Path(f"/proc/{pid}")
                words = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                files = "".join(os.readlink(fd) for fd in (proc / "fd").iterdir())
                if self.root in words + files or self.cgroup_parent in (proc / "cgroup").read_text():
                    found[pid] = words
        return found


@pytest.fixture
def host(engine: Engine) -> Host:
    host = Host(engine.root, f"/minicontainer-endurance-{os.getpid()}")
    yield host
    for hierarchy in hierarchies():
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(hierarchy.directory(host.cgroup_parent))


class Command:
    """A command of the line, begun and not waited for."""

    def __init__(self, root: str, *words: str) -> None:
        argv = [sys.executable, "-m", "minicontainer", "--root", root, *words]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(argv, **quiet)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _settle(engine: Engine, host: Host, short: bool = False, deadline: float = 10) -> None:
    """Wait for the end of commands, starts and ends that are going on; with ``short``, of the containers too."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        lasting = set() if short else _running(engine)
        processes = host.processes().values()
        busy = [words for words in processes if words.startswith(MONITOR) and words.split()[1] not in lasting]
        if not busy and not any("-m minicontainer" in words for words in processes):
            return
        time.sleep(0.02)
    raise AssertionError(f"still busy: {host.processes()}")


def _running(engine: Engine) -> set[str]:
    """Containers whose file says that they run, and whose process does; without the engine, which mends things."""
    found = set()
    for name in _directory(engine.containers_path):
        with contextlib.suppress(OSError, ValueError):
            state = json.loads(pathlib.Path(engine.containers_path, name, "state.json").read_text())
            if state["Status"] == "running" and not has_ended(state["Pid"]):
                found.add(name)
    return found


def _directory(path: str) -> set[str]:
    """The containers in a directory; what begins with a dot is about something else, as networks."""
    found = os.listdir(path) if os.path.isdir(path) else []
    return {name for name in found if not name.startswith(".")}


def _assert_nothing_left(engine: Engine, host: Host) -> None:
    """The kernel and the state directory agree about which containers there are."""
    containers = {container.id: container for container in engine.containers(all=True)}
    running = {cid for cid, container in containers.items() if container.status in ("running", "paused")}
    assert host.cgroups() <= running, "a cgroup is left that no live container owns"
    assert not host.mounts(), "a mount is left"
    assert _directory(engine.containers_path) == set(containers), "a directory is left that is no container"
    assert _directory(engine.run_path) == running, "a run directory is left, or missing"
    links = [
        os.path.join(engine.names_path, name) for name in _directory(engine.names_path) if name[0] != "."
    ]
    names = {os.path.basename(os.readlink(link)) for link in links}
    assert names == set(containers), "a name is left, or missing"
    pids = {pid for cid in running for pid in containers[cid].cgroup.pids()}
    for pid, words in host.processes().items():
        owner = any(cid in words for cid in running) or pid in pids
        assert owner, f"process {pid} is left that no live container owns: {words}"
    for cid in running:
        pid = containers[cid].pid
        assert pathlib.Path(f"/proc/{pid}").exists(), (
            f"{cid} is shown as running, and its process {pid} is not there"
        )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kills_at_random_moments_leave_nothing(engine: Engine, host: Host, cli) -> None:
    seed = int(os.environ.get("MINICONTAINER_TEST_SEED", time.time_ns() % 100_000))
    print(f"MINICONTAINER_TEST_SEED={seed}")
    chance = random.Random(seed)
    parent = host.cgroup_parent.lstrip("/")
    for round_ in range(ROUNDS):
        operation = chance.choice(["run", "run -d", "run --rm", "exec", "stop", "rm"])
        victim = chance.choice(["command", "monitor", "init"])
        name = f"endure{round_}"
        run = ["run", "--name", name, "--cgroup-parent", parent, "--network", "none"]
        if operation.startswith("run"):
            options = operation.split()[1:]
            command = Command(
                engine.root, *run, *options, "alpine", "sleep", "0.05" if "-d" not in options else "30"
            )
        else:
            cli(*run, "-d", "alpine", "sleep", "30")
            words = {
                "exec": ["exec", name, "sleep", "0.2"],
                "stop": ["stop", "-t", "0", name],
                "rm": ["rm", "-f", name],
            }
            command = Command(engine.root, *words[operation])
        time.sleep(chance.uniform(0, 0.25))
        _kill_victim(engine, host, victim, command, name)
        command.process.wait(30) if victim != "command" else command.process.wait()
        _settle(engine, host, short=operation in ("run", "run --rm"))
        cli("ps")  # the one ordinary command
        try:
            _assert_nothing_left(engine, host)
        except AssertionError as error:
            raise AssertionError(
                f"round {round_}, {operation}, killed the {victim} (seed {seed}): {error}"
            ) from error
        cli("rm", "-f", name)


def _kill_victim(engine: Engine, host: Host, victim: str, command: Command, name: str) -> None:
    if victim == "command":
        _kill(command.process.pid)
    elif victim == "monitor":
        for pid, words in host.processes().items():
            if words.startswith(MONITOR):
                _kill(pid)
    else:
        with contextlib.suppress(Exception):
            _kill(engine.find(name).pid)


def test_a_hundred_detached_containers(engine: Engine, host: Host, cli) -> None:
    """They start, are listed in a blink, and leave nothing."""
    parent = host.cgroup_parent.lstrip("/")
    for number in range(100):
        cli("run", "-d", "--name", f"many{number}", "--cgroup-parent", parent, "alpine", "sleep", "1000")
    times = []
    for _ in range(5):
        begun = time.monotonic()
        rows = cli.out("ps", "-q").splitlines()
        times.append(time.monotonic() - begun)
    assert len(rows) >= 100
    assert min(times) < 0.3, f"listing 100 containers took {min(times):.2f} s at best"
    cli("rm", "-f", *[f"many{number}" for number in range(100)])
    _assert_nothing_left(engine, host)
    assert not host.cgroups()
