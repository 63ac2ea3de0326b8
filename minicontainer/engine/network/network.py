"""One network: what its document says, and who is on it now."""

from __future__ import annotations

import os

from minicontainer import units
from minicontainer.engine.directories import listdir
from minicontainer.engine.network.addresses import Pool, mac_of
from minicontainer.errors import Error, InvalidArgument
from minicontainer.files import read_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.engine.directories import Directories
    from minicontainer.engine.network.end import End

DEFAULT = "bridge"  #: the network of a container that asks for none; its containers have no names on it
PREDEFINED = (DEFAULT, "host", "none")
BRIDGE_NAME = "com.docker.network.bridge.name"
MTU = "com.docker.network.driver.mtu"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
_OPTIONS = (BRIDGE_NAME, MTU, MASQUERADE)
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_LONGEST = 200  # characters; it is the name of a file, with an ending
_LONGEST_DEVICE = 15  # characters of a device's name (include/uapi/linux/if.h, IFNAMSIZ)
_LEAST_MTU = {False: 68, True: 1280}  # bytes: of IPv4 (RFC 791), and of IPv6 (RFC 8200, section 5)


class NoSubnet(Error):
    """No subnet is free: the networks and the host's routes have them all."""


class Network:
    """A network that is there. The object is a handle: all state is on disk, and in the kernel."""

    def __init__(self, directories: Directories, document: dict[str, Any]) -> None:
        self.directories = directories
        #: what is known of it, in Docker's words
        self.document = document
        self.name: str = document["Name"]
        self.id: str = document["Id"]
        self.options: dict[str, str] = document["Options"]
        self.internal: bool = document["Internal"]
        self.labels: dict[str, str] = document["Labels"]
        #: the bridge; "" of host and none
        self.bridge: str = self.options.get(BRIDGE_NAME, "") or f"mc-{self.id[:12]}"
        self.pools = [Pool(config) for config in document["IPAM"]["Config"]]
        self.path = os.path.join(directories.networks_run_path, self.name)
        self.ends_path = os.path.join(self.path, "ends")
        self.addresses_path = os.path.join(self.path, "addresses")

    @property
    def bridge_mac(self) -> str:
        """The hardware address of the bridge: the gateway's, or it would change with each port."""
        return mac_of(self.pools[0].gateway).hex(":")

    @property
    def masquerades(self) -> bool:
        """Whether what its containers send to the outside gets the host's address."""
        return not self.internal and self.options.get(MASQUERADE, "true") != "false"

    @property
    def has_names(self) -> bool:
        """Whether its containers find each other by name."""
        return self.name != DEFAULT

    def pool(self, v6: bool) -> Pool | None:
        """Its addresses of IPv4 or IPv6."""
        return next((pool for pool in self.pools if pool.is_v6 == v6), None)

    def ends(self) -> list[End]:
        """The ends of the containers that are on it, by their ids."""
        from minicontainer.engine.network.end import End

        found = []
        for name in sorted(listdir(self.ends_path)):
            if name.endswith(".json"):
                try:
                    found.append(End(self, read_json(os.path.join(self.ends_path, name))))
                except (FileNotFoundError, Error):
                    continue  # it has left while we look, or is of before a power failure (.end)
        return found

    def inspect(self) -> dict[str, Any]:
        """All that is known of it, in the shape of Docker's API."""
        return {**self.document, "Containers": {end.container_id: end.inspect() for end in self.ends()}}

    def __repr__(self) -> str:
        return f"<Network {self.name} {self.id[:12]}>"


def without_bridge(name: str) -> dict[str, Any]:
    """The document of ``host`` or ``none``, which are there always and have nothing to be made."""
    return {
        "Name": name,
        "Id": (name.encode().hex() * 8)[:64].ljust(64, "0"),
        "Created": units.ZERO_TIME,
        "Scope": "local",
        "Driver": "null" if name == "none" else name,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Options": {},
        "Labels": {},
    }


def check_name(name: str) -> None:
    """Raise InvalidArgument when no network may be called that."""
    if not name or not _ALLOWED.issuperset(name) or name[0] in "_.-" or len(name) > _LONGEST:
        raise InvalidArgument(
            f"{name!r} is no name for a network: it takes [a-zA-Z0-9][a-zA-Z0-9_.-]*, {_LONGEST} characters at most"
        )


def check_options(options: dict[str, str], ipv6: bool) -> None:
    """Raise InvalidArgument for an option that the bridge driver does not have, or a value that is none."""
    least = _LEAST_MTU[ipv6]
    for key, value in options.items():
        if key not in _OPTIONS:
            raise InvalidArgument(f"--opt {key}: the bridge driver knows {', '.join(_OPTIONS)}")
        if key == MTU and not (value.isdecimal() and least <= int(value) <= 65535):
            kind = " with IPv6" if ipv6 else ""
            raise InvalidArgument(f"--opt {key}={value}: an MTU{kind} is from {least} to 65535 bytes")
        if key == BRIDGE_NAME and not (
            0 < len(value) <= _LONGEST_DEVICE and _ALLOWED.issuperset(value) and value.strip(".")
        ):
            raise InvalidArgument(
                f"--opt {key}={value}: a device's name has up to {_LONGEST_DEVICE} characters of [a-zA-Z0-9_.-]"
            )
        if key == MASQUERADE and value not in ("true", "false"):
            raise InvalidArgument(f"--opt {key}={value}: it is true or false")
