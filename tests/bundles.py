"""Containers straight from an OCI bundle: no image and no engine, and the same bundle in runc to compare with.

``bundle`` is a directory with a ``config.json`` and a root filesystem, as ``runc spec`` writes it, so what a
test changes in ``bundle.config`` is what it is about. A container is started by a fork of the test's process:
the launcher must be single-threaded, becomes a subreaper, and is the one who waits for the container.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import time
import traceback
from typing import NamedTuple

import pytest

from minicontainer.runtime import launch, spec
from minicontainer.runtime.cgroups import DEFAULT_RULES, Cgroup

TOP = f"/minicontainer-test-{os.getpid()}"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUNC = shutil.which("runc")
FIRST_HOST_ID = 200_000  # of the 65536 that a user namespace of these tests is mapped to
PATIENCE = 30  # seconds
_SECURE = ["nosuid", "noexec", "nodev"]
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]

# What `runc spec` (1.1) writes, but for the terminal and the cgroup namespace, which newer ones add.
DEFAULT = {
    "ociVersion": "1.0.2",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": [f"PATH={PATH}", "TERM=xterm"],
        "cwd": "/",
        "capabilities": dict.fromkeys(
            ("bounding", "effective", "permitted", "inheritable", "ambient"), _CAPABILITIES
        ),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "runc",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*_SECURE, "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _SECURE},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_SECURE, "ro"]},
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": [*_SECURE, "relatime", "ro"],
        },
    ],
    "linux": {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": [
            *(f"/proc/{name}" for name in "acpi asound kcore keys latency_stats timer_list".split()),
            *(f"/proc/{name}" for name in "timer_stats sched_debug scsi".split()),
            "/sys/firmware",
        ],
        "readonlyPaths": [f"/proc/{name}" for name in "bus fs irq sys sysrq-trigger".split()],
    },
}


def in_child(function):
    """What ``function()`` returns, or raises, in a fork of this process, which it may do to what it likes."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = pickle.dumps((function(), None))
        except BaseException as error:
            error.add_note("in a child process:\n" + traceback.format_exc())
            answer = pickle.dumps((None, error))
        os.write(writer, answer)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read()
    os.waitpid(pid, 0)
    value, error = pickle.loads(answer)
    if error:
        raise error
    return value


class Result(NamedTuple):
    """How a container ended, and what it wrote."""

    code: int
    out: str
    err: str


class Container:
    """A running container; ``pid`` is that of its first process, as the host sees it."""

    def __init__(self, bundle: Bundle, launcher: int, talk: socket.socket, ours: list[int]) -> None:
        self.bundle = bundle
        self.launcher = launcher
        self._talk = talk
        self.stdin, self.stdout, self.stderr = ours
        self.prepared: object = None
        self.code: int | None = None
        try:
            self.pid, self.master = self._hear("pid"), -1
        except BaseException:
            self.close()
            raise
        if self._passed:
            self.master = self.stdin = self.stdout = self._passed[0]

    def _hear(self, word: str) -> object:
        """The launcher's word of this name; raises the exception that it tells of instead."""
        self._talk.settimeout(PATIENCE)
        while True:
            data, descriptors, _, _ = socket.recv_fds(self._talk, 1 << 17, 1)
            assert data, "the launcher is gone"
            said = pickle.loads(data)
            if isinstance(said.get("raise"), BaseException):
                raise said["raise"]
            self.prepared = said.get("prepared", self.prepared)
            if word in said:
                self._passed = descriptors
                return said[word]

    def write(self, text: str | bytes) -> None:
        """Type something, or send it to its standard input."""
        os.write(self.stdin, text.encode() if isinstance(text, str) else text)

    def end_input(self) -> None:
        os.close(self.stdin)
        self.stdin = -1

    def read_until(self, end: str) -> str:
        """Its output up to ``end``, which must come."""
        text = b""
        deadline = time.monotonic() + PATIENCE
        while end.encode() not in text:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.stdout], [], [], left)[0]
            try:
                chunk = os.read(self.stdout, 65536) if ready else b""
            except OSError:  # EIO: the terminal has no other end any more
                chunk = b""
            assert chunk, f"no {end!r} in {text.decode(errors='replace')!r}"
            text += chunk
        return text.decode(errors="replace")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code, minus the number of the signal that ended it."""
        if self.code is None:
            self.code = self._hear("code")
        return self.code

    def exec(self, *argv: str, **process: object) -> Result:
        """Run one more process in it to its end."""
        config = spec.load(self.bundle.path)
        asked = {**config["process"], "args": list(argv), **process}

        def start(stdio: tuple[int, int, int], _) -> launch.Process:
            return launch.execute(
                self.pid, config, asked, self.bundle.cgroup, stdio, seccomp_cache=self.bundle.path
            )

        with contextlib.closing(_fork(self.bundle, start)) as other:
            return other.finish()

    def finish(self, input: str | bytes = b"") -> Result:
        """Send the input, collect all output, wait for the end."""
        if input:
            self.write(input)
        if self.stdin != self.master:
            self.end_input()
        out, err = _collect([fd for fd in (self.stdout, self.stderr) if fd >= 0])
        return Result(self.wait(), out, err)

    def close(self) -> None:
        """Leave nothing of it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.launcher, signal.SIGKILL)
        os.waitpid(self.launcher, 0)
        self._talk.close()
        for fd in {self.stdin, self.stdout, self.stderr} - {-1}:
            os.close(fd)
        self.stdin = self.stdout = self.stderr = -1


def _collect(fds: list[int]) -> list[str]:
    parts = dict.fromkeys(fds, b"")
    left = set(fds)
    deadline = time.monotonic() + PATIENCE
    while left:
        ready = select.select(list(left), [], [], max(0, deadline - time.monotonic()))[0]
        assert ready, f"it goes on writing, or keeps its output open: {parts}"
        for fd in ready:
            try:
                chunk = os.read(fd, 65536)
            except OSError:
                chunk = b""
            parts[fd] += chunk
            if not chunk:
                left.remove(fd)
    return [*(part.decode(errors="surrogateescape") for part in parts.values()), ""][:2]


def _fork(bundle, start, before=None, terminal=False) -> Container:
    """Fork a launcher that starts something with ``start(stdio, tell)`` and waits for it."""
    talk, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ends = [] if terminal else [os.pipe(), os.pipe()[::-1], os.pipe()[::-1]]  # (theirs, ours)
    launcher = os.fork()
    if launcher == 0:
        try:
            talk.close()
            for _, ours in ends:
                os.close(ours)
            if before:
                before()
            _launch(theirs, start, tuple(end for end, _ in ends) or (0, 0, 0))
        except BaseException as error:
            error.add_note("in the launcher:\n" + traceback.format_exc())
            theirs.send(pickle.dumps({"raise": error}))
        finally:
            os._exit(0)
    theirs.close()
    for end, _ in ends:
        os.close(end)
    return Container(bundle, launcher, talk, [ours for _, ours in ends] or [-1, -1, -1])


def _launch(talk: socket.socket, start, stdio: tuple[int, int, int]) -> None:
    def tell(passed=(), **what: object) -> None:
        socket.send_fds(talk, [pickle.dumps(what)], passed)

    process = start(stdio, tell)
    masters = [] if process.master is None else [process.master]
    tell(masters, pid=process.pid)
    for fd in {*stdio, *masters} - {0}:
        os.close(fd)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == process.pid:
            tell(code=os.waitstatus_to_exitcode(status))
            return


class Bundle:
    """An OCI bundle in a directory, with a root filesystem to write to and a cgroup of its own."""

    def __init__(self, path: str, rootfs: str, cgroup: str) -> None:
        self.path = path
        self.rootfs = rootfs
        self.cgroup = Cgroup(cgroup)
        self.config = copy.deepcopy(DEFAULT)
        self.config["root"]["path"] = rootfs
        self.started: list[Container] = []

    @property
    def process(self) -> dict:
        return self.config["process"]

    @property
    def linux(self) -> dict:
        return self.config["linux"]

    def capable(self, *names: str) -> None:
        """Grant capabilities on top of the default ones."""
        sets = self.process["capabilities"]
        for kind in sets:
            sets[kind] = sorted({*sets[kind], *names})

    def without_namespace(self, *kinds: str) -> None:
        """Let it share the host's."""
        self.linux["namespaces"] = [n for n in self.linux["namespaces"] if n["type"] not in kinds]
        if "uts" in kinds:
            self.config.pop("hostname", None)

    def with_namespace(self, kind: str, path: str = "") -> None:
        """Give it a new one, or let it join the one at ``path``."""
        self.linux["namespaces"] = [n for n in self.linux["namespaces"] if n["type"] != kind]
        self.linux["namespaces"].append({"type": kind, "path": path} if path else {"type": kind})

    def in_user_namespace(self, tree: str) -> None:
        """Make its root a user without rights on the host; ``tree`` belongs to that user."""
        self.config["root"]["path"] = self.rootfs = tree
        self.with_namespace("user")
        mapping = [{"containerID": 0, "hostID": FIRST_HOST_ID, "size": 65536}]
        self.linux["uidMappings"] = self.linux["gidMappings"] = mapping

    def mount(self, destination: str, fstype: str, *options: str, source: str = "") -> None:
        """Add a mount."""
        self.config["mounts"].append(
            {"destination": destination, "type": fstype, "source": source or fstype, "options": [*options]}
        )

    def write(self) -> None:
        with open(os.path.join(self.path, "config.json"), "w") as file:
            json.dump(self.config, file)

    def inside(self, path: str) -> str:
        """The host's path of a file in its root filesystem."""
        return os.path.join(self.rootfs, path.lstrip("/"))

    def add_file(self, path: str, content: str | bytes = "", mode: int = 0o644) -> str:
        """Put a file into its root filesystem; returns where it is on the host."""
        place = self.inside(path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(place, mode)
        return place

    def start(self, *argv: str, before=None, prepared=None, **process: object) -> Container:
        """Start it; ``before`` and ``prepared`` are called in the launcher, the latter's result is kept."""
        self.process.update({"args": list(argv), **process} if argv else process)
        self.write()
        config = spec.load(self.path)
        if not self.cgroup.exists():
            devices = [*self.linux["resources"]["devices"], *DEFAULT_RULES]
            self.cgroup.create({**self.linux["resources"], "devices": devices})

        def begin(stdio: tuple[int, int, int], tell) -> launch.Process:
            hook = (lambda pid: tell(prepared=prepared(pid))) if prepared else (lambda pid: None)
            return launch.launch(config, self.cgroup, stdio, seccomp_cache=self.path, prepared=hook)

        container = _fork(self, begin, before, bool(self.process.get("terminal")))
        self.started.append(container)
        return container

    def run(self, *argv: str, input: str | bytes = b"", **how: object) -> Result:
        """Start it and wait for its end."""
        return self.start(*argv, **how).finish(input)

    def run_again(self, *argv: str, **process: object) -> Result:
        """Run the bundle beside the container that runs from it already."""
        config = spec.load(self.path)
        config["process"].update(args=list(argv), **process)

        def begin(stdio: tuple[int, int, int], _) -> launch.Process:
            return launch.launch(config, self.cgroup, stdio, seccomp_cache=self.path)

        with contextlib.closing(_fork(self, begin)) as container:
            return container.finish()

    def sh(self, script: str, **how: object) -> str:
        """Run a shell script in it that must succeed; returns what it printed, without the newline."""
        result = self.run("/bin/sh", "-c", script, **how)
        assert (result.code, result.err) == (0, ""), result
        return result.out.rstrip("\n")

    def runc(self, *argv: str, input: str = "") -> Result:
        """Run the same bundle to its end with runc; skips without it."""
        if not RUNC:
            pytest.skip("needs runc (package runc) to compare with")
        self.process.update({"args": list(argv)} if argv else {})
        self.write()
        name = os.path.basename(self.path)
        done = subprocess.run(
            [RUNC, "--root", os.path.join(self.path, "runc"), "run", "--bundle", self.path, name],
            input=input,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            start_new_session=True,  # forks; posix_spawn(3) would leave it a signal ignored
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def runc_spec(self) -> dict:
        """The example that runc itself writes; skips without it."""
        if not RUNC:
            pytest.skip("needs runc (package runc) to compare with")
        place = os.path.join(self.path, "example")
        os.makedirs(place)
        subprocess.run([RUNC, "spec", "--bundle", place], check=True, timeout=PATIENCE)
        os.mkdir(os.path.join(self.path, "example/rootfs"))
        with open(os.path.join(place, "config.json")) as file:
            return json.load(file)

    def close(self) -> None:
        for container in self.started:
            container.close()
        self.cgroup.kill()
        self.cgroup.remove()
