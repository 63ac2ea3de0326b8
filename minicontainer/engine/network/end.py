"""The end of a container on a network: what is written down of it, in a file, before it is made.

What is written down means nothing after a boot and is not forced to disk, so a power failure may damage it. A file
that cannot be read is of a container that does not run, and is taken for one that is not there.
"""

from __future__ import annotations

import os

from minicontainer.engine.network import addresses
from minicontainer.files import write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.engine.network.network import Network


class End:
    """A container's end of a network; ``document`` is what is written down of it."""

    def __init__(self, network: Network, document: dict[str, Any]) -> None:
        self.network = network
        self.document = document
        self.container_id: str = document["Container"]
        self.name: str = document["Name"]  #: the container's
        self.aliases: list[str] = document["Aliases"]
        self.interface: str = document["Interface"]  #: the plug in the container, as ``eth0``
        self.host_interface: str = document["HostInterface"]  #: the plug in the bridge
        self.mac: str = document["MacAddress"]
        self.ipv4: str = document["IPAddress"]
        self.ipv6: str = document["GlobalIPv6Address"]
        #: whether the way to everywhere else is by this network
        self.is_way_out: bool = document["WayOut"]
        #: published ports: ``{"ContainerPort", "Type", "HostIp", "HostPort"}``
        self.ports: list[dict[str, Any]] = document["Ports"]

    @property
    def number(self) -> int:
        """Which of the container's ends it is: 0 of eth0."""
        return int(self.interface.removeprefix("eth"))

    @property
    def names(self) -> list[str]:
        """What others on the network know the container by."""
        return list(dict.fromkeys([self.name, *self.aliases, self.container_id[:12]]))

    @property
    def own_names(self) -> list[str]:
        """What the container calls itself: its host name, with the domain if it has one."""
        own: list[str] = self.document["HostNames"]
        return own

    @property
    def pools(self) -> list[tuple[str, addresses.Pool]]:
        """Its addresses, each with where it is from."""
        pairs = ((self.ipv4, self.network.pool(False)), (self.ipv6, self.network.pool(True)))
        return [(address, pool) for address, pool in pairs if address and pool]

    @property
    def path(self) -> str:
        """The file it is written down in."""
        return os.path.join(self.network.ends_path, f"{self.container_id}.json")

    def write(self) -> None:
        """Write it down as it is now; what does not survive a boot need not be durable."""
        write_json(self.path, self.document, durable=False)

    def inspect(self) -> dict[str, Any]:
        """What ``network inspect`` says of it."""
        return {
            "Name": self.name,
            "EndpointID": self.document["EndpointID"],
            "MacAddress": self.mac,
            "IPv4Address": self._with_prefix(False),
            "IPv6Address": self._with_prefix(True),
        }

    def _with_prefix(self, v6: bool) -> str:
        address, pool = self.ipv6 if v6 else self.ipv4, self.network.pool(v6)
        return f"{address}/{pool.subnet.prefix}" if address and pool else ""

    def settings(self) -> dict[str, Any]:
        """What ``inspect`` of the container says of it."""
        v4, v6 = self.network.pool(False), self.network.pool(True)
        gateways = {pool.is_v6: addresses.show(pool.gateway) for pool in (v4, v6) if pool}
        return {
            "NetworkID": self.network.id,
            "EndpointID": self.document["EndpointID"],
            "Gateway": "" if self.network.internal else gateways.get(False, ""),
            "IPAddress": self.ipv4,
            "IPPrefixLen": v4.subnet.prefix if self.ipv4 and v4 else 0,
            "IPv6Gateway": "" if self.network.internal else gateways.get(True, ""),
            "GlobalIPv6Address": self.ipv6,
            "GlobalIPv6PrefixLen": v6.subnet.prefix if self.ipv6 and v6 else 0,
            "MacAddress": self.mac,
        }
