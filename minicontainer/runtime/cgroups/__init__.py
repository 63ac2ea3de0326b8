"""cgroups: who gets how much, and who has taken how much.

Namespaces change what a process sees; they do not stop it from taking all the memory there is. That is the
part of control groups. A cgroup is a directory: mkdir makes it, writing a process id to its ``cgroup.procs``
puts the process and all its future children in, writing a number to ``memory.max`` (or, on older hosts,
``memory.limit_in_bytes``) limits them together. The kernel then does as it was told: it makes wait whoever
exceeds a processor quota, fails the fork(2) that exceeds the number of processes, and kills when memory is
over. Reading other files tells what was used.

=====================  =====================================================================
:mod:`.hierarchy`      looking: which hierarchies there are, and which controllers live where
:mod:`.v1` :mod:`.v2`  each resource in the kernel's two languages, side by side
:mod:`.resources`      from OCI's ``linux.resources`` to lines to write, and words for refusals
:mod:`.freezer`        stopping all that is in one, for a while or for good
:mod:`.devices`        which devices may be opened: rules, exceptions, a program
:mod:`.files`          directories and small files, the whole interface
:mod:`.stats`          what was used
=====================  =====================================================================

The source is the kernel's Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst; cgroups(7) is a good way in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

from minicontainer.errors import Conflict, Error, InvalidArgument, NotFound, Unsupported
from minicontainer.runtime.cgroups import devices, files, freezer, v1, v2
from minicontainer.runtime.cgroups.devices import DEFAULT_RULES
from minicontainer.runtime.cgroups.hierarchy import (
    Hierarchy,
    carrier,
    hierarchies,
    in_use,
    mode,
    own_path,
    require,
)
from minicontainer.runtime.cgroups.resources import change_all, lines, needed, refusal, write_all
from minicontainer.runtime.cgroups.stats import Stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.runtime.cgroups.devices import Rule
    from minicontainer.runtime.cgroups.resources import Resources

__all__ = ["DEFAULT_RULES", "Cgroup", "Hierarchy", "Stats", "hierarchies", "mode"]

_REMOVE_WITHIN = 2.0  # seconds: what the kernel may take to bury a process
_FREEZE_WITHIN = 10.0


class Cgroup:
    """One cgroup, the same path in every hierarchy of the host.

    Every hierarchy is used in which something can be counted or limited (see :func:`.hierarchy.in_use`).

    :param path: ``/minicontainer/<id>``, below each hierarchy's mount point. InvalidArgument when it is not
        absolute and plain; the root cgroup, which holds the host's own processes, is none of ours.
    :param there: the hierarchies to be in, if not the host's usual ones
    """

    def __init__(self, path: str, there: list[Hierarchy] | None = None) -> None:
        first, *names = path.split("/")
        if first or not names or {"", ".", ".."}.intersection(names) or "\n" in path or "\0" in path:
            raise InvalidArgument(
                f"{path!r} is no path of a cgroup; one is absolute and not the root: /minicontainer/x"
            )
        self.path = path
        self.hierarchies = in_use(hierarchies()) if there is None else there

    def create(self, resources: Resources) -> list[str]:
        """Make the cgroup and limit it; when anything fails, nothing is left behind.

        :param resources: OCI ``linux.resources``. Devices are restricted only when ``devices`` is there, and then
            to what it says: a container should get :data:`DEFAULT_RULES` behind its own.
        :returns: warnings of what this kernel cannot limit
        :raises Conflict: when it is there and holds processes; an empty one is a left-over and made anew
        :raises InvalidArgument: for a value that the kernel refuses
        :raises Unsupported: for a limit that this host cannot hold
        """
        require(self.hierarchies)
        if self.exists():
            if pids := self.pids():
                raise Conflict(f"the cgroup {self.path} holds processes already: {' '.join(map(str, pids))}")
            self.remove()
        try:
            for hierarchy in self.hierarchies:
                if hierarchy.version == 1:
                    v1.make(hierarchy, self.path)
                else:
                    v2.make(hierarchy, self.path, needed(resources))
            writes, warnings = lines(resources, self.hierarchies, self.path)
            write_all(writes)
            if "devices" in resources:
                self._restrict_devices(devices.read_rules(resources["devices"] or ()))
        except BaseException:
            self.remove()
            raise
        return warnings

    def update(self, resources: Resources) -> list[str]:
        """Change the limits of a cgroup with processes in it; returns warnings as :meth:`create` does.

        What ``resources`` does not mention stays, and so do the devices. Raises Conflict when more is in use than
        the new limit allows, and what :meth:`create` does; then no limit has changed.
        """
        self._require()
        writes, warnings = lines(resources, self.hierarchies, self.path)
        for resource, path, line in writes:
            if resource == "memory.limit" and path.endswith("/memory.max") and line != "max":
                try:
                    v2.make_room(os.path.dirname(path), int(line))
                except OSError as error:
                    raise refusal(resource, path, line, error) from error
        change_all(writes)
        return warnings

    def join(self, pid: int, version: int | None = None) -> None:
        """Put a process in; the children it has from now on will be in it too.

        What it has already in memory stays counted where it was, in both versions: a cgroup of 4 MiB takes in a
        larger process, which may then become a smaller one with execve(2).

        The first write makes the kernel wait for an RCU grace period, 10 to 20 ms, since no process may fork
        while another one is moved; further writes within the next 10 ms take some 0.1 ms each. See
        :meth:`warm_up` and :meth:`entrances` for two ways around it.

        :param pid: as seen by the caller; 0 is the caller itself
        :param version: only the hierarchies of this cgroup version, None for all
        :raises NotFound: without such a process or without the cgroup
        """
        for hierarchy in self.hierarchies:
            if version in (None, hierarchy.version):
                join = files.join if hierarchy.version == 1 else v2.join
                try:
                    join(hierarchy.directory(self.path), pid)
                except OSError as error:
                    raise self._cannot_join(pid, error) from error

    def entrances(self) -> list[int]:
        """Descriptors by which a process puts itself into the hierarchies of version 1: it writes ``0`` to each.

        Version 1 has a file ``tasks`` that moves a single thread. A process with one thread is moved as a whole
        by it, and who moves himself cannot be forking: the kernel has nothing to wait for. The caller closes
        them. Version 2 has no such file.
        """
        return [
            os.open(f"{hierarchy.directory(self.path)}/tasks", os.O_WRONLY | os.O_CLOEXEC)
            for hierarchy in self.hierarchies
            if hierarchy.version == 1
        ]

    def warm_up(self) -> None:
        """Wait for the grace period now, so that :meth:`join` into version 2 need not within the next 10 ms or so.

        For a process that has nothing else to do meanwhile. It moves itself to the cgroup that it is in: nothing
        changes by it, and nothing is lost when it fails.
        """
        for hierarchy in self.hierarchies:
            if hierarchy.version == 2:
                with contextlib.suppress(OSError):
                    files.join(hierarchy.mountpoint + own_path(hierarchy), os.getpid())

    def pids(self) -> list[int]:
        """The processes in it and below it, in any hierarchy; empty when there is no such cgroup."""
        return freezer.processes(self.hierarchies, self.path)

    def exists(self) -> bool:
        """Whether it is there, in any hierarchy."""
        return any(os.path.isdir(directory) for directory in self._directories())

    def freeze(self) -> None:
        """Stop all processes where they are (``pause``); returns when all have stopped.

        Raises Error when one has not within 10 s, as one that waits for a dead disk, and lets all go on.
        """
        self._require()
        if not freezer.freeze(freezer.find(self.hierarchies), self.path, _FREEZE_WITHIN):
            self.thaw()
            raise Error(
                f"cannot freeze the cgroup {self.path}: not all had stopped after {_FREEZE_WITHIN:.0f} s"
            )

    def thaw(self) -> None:
        """Let all processes go on (``unpause``)."""
        self._require()
        freezer.set_frozen(freezer.find(self.hierarchies), self.path, False)

    @property
    def frozen(self) -> bool:
        """Whether all processes are stopped."""
        self._require()
        return freezer.is_frozen(freezer.find(self.hierarchies), self.path)

    def kill(self, within: float = 10.0) -> None:
        """SIGKILL all processes in it and below until none is left; also frozen ones, also a fork bomb.

        :param within: seconds; Error when some are alive then, as those that wait for a dead disk
        """
        freezer.kill(self.hierarchies, self.path, within)

    def remove(self) -> None:
        """Remove it and all below it from every hierarchy; fine when it is not there.

        Raises Conflict when it holds processes; :meth:`kill` comes first.
        """
        deadline = time.monotonic() + _REMOVE_WITHIN
        for directory in self._directories():
            files.remove_tree(directory, deadline)

    def stats(self) -> Stats:
        """What it has used so far."""
        self._require()
        stats = Stats()
        for hierarchy in self.hierarchies:
            measure = v1.measure if hierarchy.version == 1 else v2.measure
            measure(hierarchy, hierarchy.directory(self.path), stats)
        return stats

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed because memory was over, in it and below it."""
        if memory := carrier(self.hierarchies, 1, "memory.oom_control"):
            return v1.oom_kills(memory.directory(self.path))
        if memory := carrier(self.hierarchies, 2, "memory.events"):
            return v2.oom_kills(memory.directory(self.path))
        return 0

    def mounts(self) -> list[tuple[str, str]]:
        """What to bind below /sys/fs/cgroup of the container: (host directory, name there).

        Names are those that programs look for: ``""``, that is /sys/fs/cgroup itself, in a v2 world; a directory a
        hierarchy otherwise, ``memory`` or ``unified``. Controllers that live together get one each, and one for
        all: ``cpu,cpuacct``, ``cpu``, ``cpuacct``.
        """
        if not any(h.version == 1 and h.controllers for h in self.hierarchies):
            return [(h.directory(self.path), "") for h in self.hierarchies if h.version == 2]
        found = []
        for hierarchy in self.hierarchies:
            names = [hierarchy.name.removeprefix("name=") or "unified"]
            if len(hierarchy.controllers) > 1:
                names += hierarchy.controllers
            found += [(hierarchy.directory(self.path), name) for name in names if "/" not in name]
        return found

    def _directories(self) -> list[str]:
        return [hierarchy.directory(self.path) for hierarchy in self.hierarchies]

    def _require(self) -> None:
        if not self.exists():
            raise NotFound(f"there is no cgroup {self.path}")

    def _cannot_join(self, pid: int, error: OSError) -> Error:
        message = f"process {pid} cannot join the cgroup {self.path}"
        if error.errno == errno.ENOENT:
            return NotFound(f"{message}: there is no such cgroup")
        if error.errno == errno.ESRCH:
            return NotFound(f"{message}: there is no such process")
        return Error(f"{message}: {error.strerror} ({error.filename})")

    def _restrict_devices(self, rules: list[Rule]) -> None:
        if hierarchy := carrier(self.hierarchies, 1, "devices.allow"):
            devices.write_exceptions(hierarchy.directory(self.path), rules)
        elif hierarchy := carrier(self.hierarchies, 2, "cgroup.procs"):
            devices.attach_program(hierarchy.directory(self.path), rules)
        else:
            raise Unsupported(
                "cannot restrict devices: the v1 devices controller is not mounted, and v2 neither"
            )
