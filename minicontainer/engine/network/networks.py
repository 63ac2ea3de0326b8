"""The networks of an engine: their documents, which subnets they have, and who is on them."""

from __future__ import annotations

import os
import time

from minicontainer import units
from minicontainer.engine import events
from minicontainer.engine.directories import DEFAULT_ROOT, listdir
from minicontainer.engine.network.network import (
    BRIDGE_NAME,
    DEFAULT,
    PREDEFINED,
    Network,
    NoSubnet,
    check_name,
    check_options,
    without_bridge,
)
from minicontainer.errors import Conflict, NotFound
from minicontainer.files import Lock, read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from minicontainer.engine.directories import Directories

_HEX = frozenset("0123456789abcdef")


class Networks:
    """The networks below one root."""

    def __init__(self, directories: Directories) -> None:
        self.directories = directories
        self.path = os.path.join(directories.root, "networks")

    def locked(self) -> Lock:
        """The lock on all that is about networks, for a ``with``."""
        os.makedirs(self.directories.networks_run_path, mode=0o700, exist_ok=True)
        return Lock(os.path.join(self.directories.networks_run_path, "lock"))

    # ------------------------------------------------------------ finding

    def get(self, name: str) -> Network:
        """The network of exactly this name; NotFound when there is none. The default one is always there."""
        if name in ("host", "none"):
            return Network(self.directories, without_bridge(name))
        try:
            return self.written(name)
        except NotFound:
            if name != DEFAULT:
                raise
            with self.locked():
                return self._make_default()

    def written(self, name: str) -> Network:
        """The network of exactly this name, if it has been made; NotFound when not."""
        try:
            if not name or "/" in name:
                raise FileNotFoundError
            return Network(self.directories, read_json(self._file(name)))
        except FileNotFoundError:
            raise NotFound(f"network {name} not found; minicontainer network create makes one") from None

    def find(self, name: str) -> Network:
        """The network of this name, id, or unambiguous beginning of an id."""
        try:
            return self.get(name)
        except NotFound as error:
            missing = error
        matches = [network for network in self.all() if network.id.startswith(name)] if name else []
        if len(matches) > 1:
            raise Conflict(f"{name} is the beginning of several network ids; give more of it")
        if not matches or not _HEX.issuperset(name):
            raise missing
        return matches[0]

    def all(self) -> list[Network]:
        """Every network, by name: those made, and those always there; the default one once it has a subnet."""
        found = []
        for name in self.names():
            try:
                found.append(self.get(name))
            except (NotFound, NoSubnet):  # removed while we look; or never made yet
                continue
        return found

    def names(self) -> list[str]:
        """The names of all networks, sorted; for whoever may not read more."""
        made = {name.removesuffix(".json") for name in listdir(self.path) if name.endswith(".json")}
        return sorted({*made, *PREDEFINED})

    def made(self) -> list[Network]:
        """The networks that have been made, of which each has a bridge or had one before the last boot."""
        names = [name.removesuffix(".json") for name in listdir(self.path) if name.endswith(".json")]
        found = []
        for name in sorted(names):
            try:
                found.append(self.written(name))
            except NotFound:
                continue
        return found

    def _file(self, name: str) -> str:
        return os.path.join(self.path, f"{name}.json")

    # ------------------------------------------------------------ making

    def create(
        self,
        name: str,
        *,
        subnets: list[str] | None = None,
        gateways: list[str] | None = None,
        ranges: list[str] | None = None,
        internal: bool = False,
        ipv6: bool = False,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Network:
        """Make a network with its bridge.

        :param subnets: of IPv4 and, with ``ipv6``, of IPv6, one of each at most; what is not given is chosen
        :param gateways: the host's address in each; the first of the subnet unless said otherwise
        :param ranges: what addresses are chosen from
        :raises Conflict: when the name is taken, or a subnet overlaps one that is in use
        :raises InvalidArgument: for anything that cannot be meant
        """
        check_name(name)
        known = dict(options or {})
        check_options(known, ipv6)
        if name in PREDEFINED:
            raise Conflict(
                f"network with name {name} already exists; it is a pre-defined one, choose another name"
            )
        from minicontainer.engine.network import subnets as choosing  # seldom

        with self.locked(), choosing.claim():
            self._refuse_taken(name, known.get(BRIDGE_NAME, ""))
            config = choosing.choose(self, subnets or [], gateways or [], ranges or [], ipv6)
            network = self._write(name, config, internal, ipv6, dict(labels or {}), known)
            try:
                self._bring_up(network)
            except BaseException:
                self._take_down(network)
                raise
        events.emit(self.directories.root, "network", "create", network.id, {"name": name, "type": "bridge"})
        return network

    def _refuse_taken(self, name: str, bridge: str) -> None:
        """Raise Conflict when there is such a network, or one with a bridge of that name."""
        for other in self.made():
            if other.name == name:
                raise Conflict(
                    f"network with name {name} already exists (id {other.id[:12]}); choose another name"
                )
            if other.bridge == bridge:
                raise Conflict(
                    f"the bridge {bridge} is that of network {other.name}; choose another name for it"
                )

    def _make_default(self) -> Network:
        """Write the default network down, unless it is; its bridge comes with the first container that needs it.

        Under the lock.
        """
        from minicontainer.engine.network import subnets as choosing

        if os.path.exists(self._file(DEFAULT)):
            return self.written(DEFAULT)
        config = choosing.choose(self, [], [], [], False)
        own = {BRIDGE_NAME: "minicontainer0"} if self.directories.root == DEFAULT_ROOT else {}
        return self._write(DEFAULT, config, False, False, {}, own)

    def _write(
        self,
        name: str,
        config: list[dict[str, str]],
        internal: bool,
        ipv6: bool,
        labels: dict[str, str],
        options: dict[str, str],
    ) -> Network:
        document = {
            "Name": name,
            "Id": os.urandom(32).hex(),
            "Created": units.format_time(time.time_ns()),
            "Scope": "local",
            "Driver": "bridge",
            "EnableIPv6": ipv6,
            "IPAM": {"Driver": "default", "Options": {}, "Config": config},
            "Internal": internal,
            "Attachable": False,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Options": options,
            "Labels": labels,
        }
        os.makedirs(self.path, mode=0o755, exist_ok=True)
        write_json(self._file(name), document)
        return Network(self.directories, document)

    def ready(self, name: str) -> Network:
        """The network of this name with its bridge and rules, which after a boot are not there; under the lock.

        The default one gets another subnet when somebody has taken its own before it had a bridge. NotFound when
        there is no such network (any more).
        """
        from minicontainer.engine.network import wires

        network = self._make_default() if name == DEFAULT else self.written(name)
        if not wires.is_up(network):
            from minicontainer.engine.network import subnets as choosing  # seldom

            with choosing.claim():
                if name == DEFAULT and not network.ends() and choosing.is_taken(self, network):
                    self._take_down(network)
                    network = self._make_default()
                self._bring_up(network)
        return network

    def _bring_up(self, network: Network) -> None:
        from minicontainer.engine.network import bridges, firewall

        for name in ("ends", "addresses"):
            os.makedirs(os.path.join(network.path, name), mode=0o755, exist_ok=True)
        bridges.make(network)
        firewall.write(self)

    # ------------------------------------------------------------ removing

    def remove(self, name: str) -> Network:
        """Remove a network; Conflict when a container that runs is on it."""
        network = self.find(name)
        if network.name in PREDEFINED:
            raise Conflict(f"{network.name} is a pre-defined network and cannot be removed")
        with self.locked():
            if self.written(network.name).id != network.id:
                raise NotFound(f"network {name} not found")  # removed, and made anew, since we looked
            users = [end.name for end in network.ends()]
            if users:
                raise Conflict(
                    f"network {network.name} has active endpoints: {', '.join(users)}; disconnect them first"
                )
            self._take_down(network)
        events.emit(
            self.directories.root, "network", "destroy", network.id, {"name": network.name, "type": "bridge"}
        )
        return network

    def _take_down(self, network: Network) -> None:
        """Leave nothing of a network that nobody is on; under the lock."""
        from minicontainer.engine.network import bridges, firewall
        from minicontainer.files import remove_tree

        bridges.remove(network)
        remove_tree(network.path)
        os.unlink(self._file(network.name))
        firewall.write(self)

    def forget_default(self) -> bool:
        """Take the default network down when nobody is on it; the next container that needs it makes it again."""
        with self.locked():
            if not os.path.exists(self._file(DEFAULT)):
                return False
            network = self.written(DEFAULT)
            if network.ends():
                return False
            self._take_down(network)
            return True
