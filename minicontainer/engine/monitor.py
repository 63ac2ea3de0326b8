"""The monitor: one small process for each running container.

There is no daemon. Each container has a parent of its own that owns its standard streams, writes its log,
starts further processes in it (exec), hears of its end, records the exit code and cleans up. The monitor
holds a lock as long as it lives, and the kernel takes the lock away when it dies: so anybody can see whether a
container that calls itself running still has a monitor.

The root filesystem is attached in a mount namespace of the monitor's own, and handed down from there to the
container's. Nothing shows in the host's mount table, and nothing can be left behind there: when the container
is gone, so is the mount, however it ended. For the same reason it is told to die with its monitor
(PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time

from minicontainer import units
from minicontainer.engine import events, logs, stream
from minicontainer.engine.execs import Execs
from minicontainer.engine.network.plugging import Plugging
from minicontainer.engine.record import EXITED, RUNNING
from minicontainer.engine.relay import Relay
from minicontainer.files import Lock, remove_tree
from minicontainer.kernel import mount, namespaces, process
from minicontainer.runtime import launch, mounts, spec
from minicontainer.runtime import rootfs as rootfs_tree
from minicontainer.runtime.cgroups import Cgroup
from minicontainer.runtime.channel import describe
from minicontainer.runtime.launch import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from minicontainer.engine.launcher import Handover
    from minicontainer.engine.record import Record
    from minicontainer.engine.relay import Client

SETTLE = 1.0  # seconds without an event after which the start is over
DRAIN = 0.3  # seconds without output after which a container that has ended has said its last


def prepare(keep: Sequence[int]) -> None:
    """Do what can be done before it is known for which container, in a process of one's own.

    The process has nothing in common with the caller any more but its standard streams and what is to be kept:
    no terminal, no directory, no signals, no mounts.
    """
    with contextlib.suppress(PermissionError):  # it may lead a session already
        os.setsid()
    process.close_all_but(keep)
    os.chdir("/")
    os.umask(0o022)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    namespaces.unshare(namespaces.CLONE_NEWNS)


def run(container: Record, handover: Handover, failed: OSError | None = None) -> NoReturn:
    """Be the monitor, in a process that was prepared (or could not be), until the container has ended."""
    code = 1
    try:
        _take_name_and_streams(container)
        Monitor(container).live(handover, failed)
        code = 0
    except BaseException:  # nobody is there to see it: it goes to the monitor's log
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _take_name_and_streams(container: Record) -> None:
    messages = os.open(os.path.join(container.run_path, "monitor.log"), os.O_WRONLY | os.O_CREAT, 0o600)
    null = os.open("/dev/null", os.O_RDWR)
    for standard, fd in enumerate((null, null, messages)):
        os.dup2(fd, standard)
    os.close(null)
    os.close(messages)
    process.set_title(f"minicontainer-monitor {container.id}")
    process.set_name("minicontainer")


class Monitor:
    """The life of one container, from its start to its end."""

    def __init__(self, container: Record) -> None:
        self.container = container
        self.cgroup: Cgroup = container.cgroup
        self.process: Process | None = None
        self.exit_code: int | None = None
        self.execs = Execs(container)
        self.networks = Plugging(container)
        self.relay: Relay

    def live(self, handover: Handover, failed: OSError | None) -> None:
        """Start the container, say how that went, serve it until it ends, and clean up."""
        alive = Lock(os.path.join(self.container.run_path, "monitor.lock"))
        if not alive.acquire(blocking=False):
            return  # whoever asked has asked twice, for the first helper was killed just when it had done its part
        try:
            if failed:
                raise failed
            self._start(handover.rootfs)
        except BaseException as error:
            self._end_start(error)
            handover.report.send(stream.message(stream.REPLY, describe(error)))
            return
        self._write_running()
        events.started(self.container)
        handover.lock.release()
        handover.report.send(stream.message(stream.REPLY, {"ok": True}))
        handover.report.close()
        self._unmount()
        if handover.client:
            self.relay.receive(self.relay.add(handover.client))
        self._serve()
        waiting = self._finish()
        alive.release()
        for each in waiting:
            self.relay.send(each, stream.message(stream.EXIT, {"code": self.exit_code}))
        self.relay.flush_all()

    def _serve(self) -> None:
        """Answer whoever comes, until the container has ended."""
        settled = False
        while self.exit_code is None:
            if not self.relay.step(None if settled else SETTLE) and not settled:
                settled = True
                self._settle()

    @staticmethod
    def _settle() -> None:
        """Make ready for a long life: what the start needed is given back, and garbage is looked for again."""
        gc.collect()
        gc.freeze()
        gc.enable()
        process.trim_memory()

    # ------------------------------------------------------------ the start

    def _start(self, rootfs: int) -> None:
        """Attach the root filesystem where the bundle says it is, and run the bundle."""
        container = self.container
        config = spec.load(container.path)
        clones = mounts.clone_peers(config)
        rootfs_tree.detach()  # what is attached now shows nowhere else
        self._attach(rootfs, config["root"]["path"])
        tty, keep_stdin = config["process"]["terminal"], container.document["Config"]["OpenStdin"]
        self.networks.open_ports()
        theirs, ours = _pipes(tty, keep_stdin)
        try:
            self.process = launch.launch(
                config,
                self.cgroup,
                theirs,
                seccomp_cache=container.directories.seccomp_cache,
                clones=clones,
                meanwhile=lambda: self._open_relay(ours, tty),
                prepared=self.networks.plug_in,
            )
        finally:
            for fd in set(theirs):
                os.close(fd)
        if self.process.master is not None:
            self.relay.add_terminal(self.process.master, keep_stdin)

    @staticmethod
    def _attach(rootfs: int, path: str) -> None:
        target = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mount.move_mount(rootfs, target)
        os.close(target)
        os.close(rootfs)

    def _write_running(self) -> None:
        assert self.process
        self.container.write_state(
            RUNNING,
            Pid=self.process.pid,
            StartedAt=units.format_time(time.time_ns()),
            ExitCode=0,
            Error="",
            OOMKilled=False,
        )

    def _end_start(self, error: BaseException) -> None:
        if self.process:
            os.kill(self.process.pid, signal.SIGKILL)
            os.waitpid(self.process.pid, 0)
        self._unmount()
        self.networks.close()
        self.container.give_up(error)

    def _open_relay(self, ours: dict[str, int], tty: bool) -> None:
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.relay = Relay(
            stream.listen(self.container.run_path),
            {fd: name for name, fd in ours.items() if name != "stdin"},
            ours.get("stdin", -1),
            tty,
            logs.Writer(self.container.log_path),
            self._on_request,
            self._on_signal,
        )
        self.relay.watch(wake_read, self._reap)
        os.write(wake_write, b"\0")  # its end may have come before this was set up

    # ------------------------------------------------------------ while it runs

    def _reap(self, wake: int, _: int) -> None:
        """Wait for every child that has ended: the container's first process, execs, and their orphans."""
        os.read(wake, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            code = code if code >= 0 else 128 - code
            if self.process and pid == self.process.pid:
                self.exit_code = code
            self.execs.ended(pid, code)
            self.networks.ended(pid)
            self._tell(pid, code)

    def _tell(self, pid: int, code: int) -> None:
        """Tell those who wait for an exec that it has ended."""
        for client in list(self.relay.clients):
            if client.waits_for == pid and not (self.process and pid == self.process.pid):
                client.waits_for = 0
                self.relay.send(client, stream.message(stream.EXIT, {"code": code}))

    def _on_signal(self, number: int) -> None:
        if self.process and self.exit_code is None:
            os.kill(self.process.pid, number)

    def _on_request(self, client: Client, request: dict[str, Any], descriptors: list[int]) -> None:
        assert self.process
        passed: list[int] = []
        try:
            if request["do"] == "exec":
                started = self.execs.start(self.process.pid, request["process"], descriptors)
                client.waits_for = started.pid
                answer = {"ok": True, "pid": started.pid}
                if started.master is not None and request["detach"]:
                    self.relay.discard(started.master)
                elif started.master is not None:
                    passed = [started.master]
            else:
                client.waits_for = self.process.pid
                client.wants_output = request["do"] == "attach"
                client.gives_input = bool(request.get("stdin"))
                client.closes_input = bool(request.get("once"))
                client.holds = bool(request.get("hold"))
                answer = {"ok": True}
        except Exception as error:
            answer = describe(error)
        finally:
            for fd in descriptors:
                os.close(fd)
        client.socket.setblocking(True)  # descriptors go with the first bytes of a message or not at all
        try:
            socket.send_fds(client.socket, [stream.message(stream.REPLY, answer)], passed)
            client.socket.setblocking(False)
        except OSError:
            self.relay.drop(client)
        for fd in passed:
            os.close(fd)

    # ------------------------------------------------------------ the end

    def _finish(self) -> list[Client]:
        """Record how it ended and leave nothing of it; returns those who wait to hear of it."""
        container = self.container
        if container.document["HostConfig"]["PidMode"]:
            self.cgroup.kill()  # in a pid namespace that is not its own, others outlive its first process
        self.relay.drain(DRAIN)
        oom = self.cgroup.oom_kills() > 0
        events.ended(container, self.exit_code or 0, oom)
        waiting = [client for client in self.relay.clients if client.waits_for]
        self.networks.close()
        self.cgroup.remove()
        if container.document["HostConfig"]["AutoRemove"]:
            self._remove()
        else:
            finished = units.format_time(time.time_ns())
            container.write_state(EXITED, Pid=0, ExitCode=self.exit_code, OOMKilled=oom, FinishedAt=finished)
        remove_tree(container.run_path)
        return waiting

    def _remove(self) -> None:
        """Remove a container that was to be removed at its end, unless somebody is doing so."""
        with contextlib.suppress(FileNotFoundError), Lock(self.container.lock_path):
            self.container.delete_files(volumes=True)

    def _unmount(self) -> None:
        """Let go of the root filesystem: by now the container's own mount namespace holds it, or there is none."""
        with contextlib.suppress(OSError):  # it is not mounted if the start did not come so far
            mount.umount2(os.path.join(self.container.path, "merged"), mount.MNT_DETACH)


def _pipes(tty: bool, keep_stdin: bool) -> tuple[tuple[int, int, int], dict[str, int]]:
    """The container's three descriptors, and our ends of them by name; a terminal replaces them all."""
    stdin = os.open("/dev/null", os.O_RDONLY)
    if tty:
        return (stdin, stdin, stdin), {}
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    ours = {"stdout": out_read, "stderr": err_read}
    if keep_stdin:
        os.close(stdin)
        stdin, ours["stdin"] = os.pipe()
    return (stdin, out_write, err_write), ours
