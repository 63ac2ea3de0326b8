"""What a container's monitor does about its networks: ports are opened before the start, plugs put in during it."""

from __future__ import annotations

import os
import signal

from minicontainer.engine.network import ends, wires

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.network.end import End
    from minicontainer.engine.network.ports import Held
    from minicontainer.engine.record import Record


class Plugging:
    """The networks of one container, for as long as it runs."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._ends: list[End] = []
        self._held: list[Held] = []
        self._proxy = 0

    def open_ports(self) -> None:
        """Hold the ports that it publishes, and have packets sent on to it; Conflict when one is in use."""
        if not ends.wanted(self._record.document):
            return
        self._ends = ends.of(self._record)
        host = self._record.document["HostConfig"]
        if not any(end.is_way_out for end in self._ends):
            return  # as in an internal network: there is no way in either
        if not host.get("PortBindings") and not host.get("PublishAllPorts"):
            return
        from minicontainer.engine.network import ports, proxy  # most containers have none

        self._held = ports.hold(self._record.document, ends.namer(self._record))
        if self._held:
            ends.publish(self._record, [held.document for held in self._held])
            self._ends = ends.of(self._record)
            self._proxy = proxy.start(self._record, self._held)

    def plug_in(self, pid: int) -> None:
        """Connect its first process, which has its namespaces and is not yet running."""
        for end in self._ends:
            wires.plug_in(end, pid)

    def close(self) -> None:
        """Take everything back; safe to call twice."""
        if self._proxy:
            os.kill(self._proxy, signal.SIGKILL)
            os.waitpid(self._proxy, 0)
            self._proxy = 0
        for held in self._held:
            held.socket.close()
        self._held = []
        self._record.leave_networks()

    def ended(self, pid: int) -> None:
        """Hear of a child that has ended; it may be the proxy."""
        if pid == self._proxy:
            self._proxy = 0
