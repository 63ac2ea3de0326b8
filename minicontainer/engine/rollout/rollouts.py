"""All rollouts below one root: making one, and finding it."""

from __future__ import annotations

import errno
import os
import socket

from minicontainer.engine import names
from minicontainer.engine.network import listeners
from minicontainer.engine.rollout import haproxy, record
from minicontainer.engine.rollout.balancer import BLUE, other
from minicontainer.engine.rollout.rollout import PATIENCE, Rollout
from minicontainer.errors import Conflict, InvalidArgument, NotFound, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from minicontainer.engine.engine import Engine

MOST_REPLICAS = 100
LONGEST_NAME = 192  # characters: its network's name is longer by "rollout-", and may have 200


class Rollouts:
    """The rollouts of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def open(self, name: str) -> Rollout:
        """The rollout of this name, whether it is there or not."""
        return Rollout(self.engine, name)

    def find(self, name: str) -> Rollout:
        """The rollout of this name; NotFound when there is none."""
        if name not in self.names():
            raise NotFound(f"no such rollout: {name}")
        return self.open(name)

    def names(self) -> list[str]:
        """The names of all rollouts, sorted."""
        return record.all_names(self.engine)

    def all(self) -> list[Rollout]:
        """Every rollout, by name."""
        return [self.open(name) for name in self.names()]

    def create(
        self,
        name: str,
        image: str,
        *,
        publish: str,
        replicas: int = 1,
        command: Sequence[str] = (),
        health_path: str = "",
        network: str = "",
        options: Mapping[str, Any] | None = None,
        patience: float = PATIENCE,
    ) -> Rollout:
        """Make a rollout and start it: it serves when this returns.

        :param publish: where clients find it, and the port that a replica listens on: ``[ADDRESS:]PORT:PORT``
        :param health_path: what a replica must answer well; "" when it is enough that it takes a connection
        :param network: which its replicas are on; "" for one of their own
        :param options: of its containers, as :class:`minicontainer.Options`
        :raises Conflict: when its name or its port is taken
        :raises Unsupported: when there is no HAProxy; it says how to get it
        :raises Error: when a replica does not start, or is not ready after ``patience`` seconds
        """
        haproxy.find()
        _check_name(name)
        address, host_port, port = read_publish(publish)
        _check(replicas, health_path, network)
        self._expect_free(name, address, host_port)
        version = {
            "Image": image,
            "ImageId": self.engine.images.find(image).id,
            "Command": list(command),
            "Options": dict(options or {}),
        }
        given = {"HostIp": address, "HostPort": host_port, "Port": port, "HealthPath": health_path}
        network_of_it = {"Network": network or f"rollout-{name}", "OwnNetwork": not network}
        rollout = self.open(name)
        with rollout.record.create(
            {"Name": name, "Replicas": replicas, **given, **network_of_it, **_beginning(version)}
        ):
            rollout.begin(patience)
        return rollout

    def _expect_free(self, name: str, address: str, port: int) -> None:
        """Raise Conflict when somebody listens on the port, and say who if it is one of ours."""
        if name in self.names():
            return  # that is said in its own words
        try:
            for each in [address] if address else ["0.0.0.0", "::"]:
                _listen(each, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise InvalidArgument(f"cannot listen on {address or '*'}:{port}: {explain(error)}") from None
            raise Conflict(
                f"cannot publish {name} on {address or '0.0.0.0'}:{port}: port is already allocated"
                f"{self._holder(port)}; choose another one or stop that first"
            ) from None

    def _holder(self, port: int) -> str:
        """Who has a port, as the end of a sentence; "" if unknown."""
        for each in self.all():
            if each.record.document["HostPort"] == port:
                return f" by rollout {each.name}"
        return listeners.holder("tcp", port, lambda container_id: self.engine.find(container_id).name)


def _beginning(version: dict[str, Any]) -> dict[str, Any]:
    """What is written down of a rollout that has one version."""
    return {
        "CreatedAt": record.now(),
        "Status": record.CREATING,
        "Live": BLUE,
        "Share": 0,  # percent of the traffic that the other colour has
        "Versions": {BLUE: version, other(BLUE): None},
        "Deployment": None,
    }


def _check_name(name: str) -> None:
    """Raise InvalidArgument unless a rollout may be called that: its containers' names begin with it."""
    try:
        names.check(name[:LONGEST_NAME])
        is_good = len(name) <= LONGEST_NAME
    except InvalidArgument:
        is_good = False
    if not is_good:
        raise InvalidArgument(
            f"invalid rollout name {name!r}: it takes from 2 to {LONGEST_NAME} of [a-zA-Z0-9_.-], "
            "the first a letter or digit"
        )


def _check(replicas: int, health_path: str, network: str) -> None:
    """Raise InvalidArgument for what cannot be meant."""
    if not 1 <= replicas <= MOST_REPLICAS:
        raise InvalidArgument(f"--replicas {replicas}: it is from 1 to {MOST_REPLICAS}")
    if health_path and not (
        health_path.startswith("/") and health_path.isprintable() and " " not in health_path
    ):
        raise InvalidArgument(f"invalid health path '{health_path}': it is the path of a URL, as /health")
    if network in ("host", "none") or network.startswith("container:"):
        raise InvalidArgument(
            f"--network {network}: each replica needs an address of its own; name a network"
        )


def _listen(address: str, port: int) -> None:
    """Bind a socket as HAProxy will, and let go of it. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if address == "::" and not os.path.exists("/proc/net/if_inet6"):
        return
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen()


def read_publish(text: str) -> tuple[str, int, int]:
    """The host's address ("" for all), its port and the replicas' port, from ``[ADDRESS:]PORT:PORT``."""
    rest, _, inside = text.rpartition(":")
    address, _, outside = rest.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    ports = [int(port) if port.isascii() and port.isdecimal() else 0 for port in (outside, inside)]
    if not all(0 < port < 1 << 16 for port in ports) or (address and not _is_address(address)):
        raise InvalidArgument(f"invalid publish '{text}': it is [ADDRESS:]PORT:PORT, as 8080:80")
    return address, ports[0], ports[1]


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False
