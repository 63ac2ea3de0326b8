"""``inspect``: a container or an image as one document, in the shape of Docker's API."""

from __future__ import annotations

import os

from minicontainer import units
from minicontainer.engine import union
from minicontainer.engine.container import PAUSED, RUNNING
from minicontainer.engine.network import ends, ports
from minicontainer.engine.network.network import DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.engine.container import Container
    from minicontainer.images.store import Image


def container(it: Container) -> dict[str, Any]:
    """All that is known of a container: what was asked, and how it is now."""
    document = dict(it.document)
    layers, mounts = document.pop("Layers", []), document.pop("Mounts", [])
    state = it.state()
    running = state["Status"] in (RUNNING, PAUSED)
    document["Config"] = {
        **document["Config"],
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "OnBuild": None,
    }
    return {
        **{key: document.pop(key) for key in ("Id", "Created", "Path", "Args")},
        "State": {
            "Status": state["Status"],
            "Running": running,
            "Paused": state["Status"] == PAUSED,
            "Restarting": False,
            "OOMKilled": state["OOMKilled"],
            "Dead": False,
            **{key: state[key] for key in ("Pid", "ExitCode", "Error", "StartedAt", "FinishedAt")},
        },
        "Image": document.pop("Image"),
        "ResolvConfPath": os.path.join(it.path, "resolv.conf"),
        "HostnamePath": os.path.join(it.path, "hostname"),
        "HostsPath": os.path.join(it.path, "hosts"),
        "LogPath": it.log_path,
        **document,
        "GraphDriver": {
            "Name": document["GraphDriver"]["Name"],
            "Data": {"LowerDir": ":".join(union.lowerdirs(it)), **document["GraphDriver"]["Data"]},
        },
        "Bundle": it.path,
        "Layers": layers,
        "Mounts": [_mount_point(point) for point in mounts],
        "NetworkSettings": _network_settings(it, running),
    }


def _network_settings(it: Container, running: bool) -> dict[str, Any]:
    """Where it is on networks, or would like to be; what is at the top is of the default network alone."""
    held = ends.of(it) if running else []
    now = {end.network.name: end for end in held}
    networks = {
        name: {**_NO_END, **wish, **(now[name].settings() if name in now else {})}
        for name, wish in ends.wanted(it.document).items()
    }
    if not networks and it.document["HostConfig"]["NetworkMode"] in ("host", "none"):
        networks = {it.document["HostConfig"]["NetworkMode"]: dict(_NO_END)}
    published = [port for end in held for port in end.ports]
    first = networks.get(DEFAULT, {})
    return {
        "Ports": ports.by_port(it.document, published) if running else {},
        **{key: first.get(key, value) for key, value in _NO_END.items() if key in _AT_THE_TOP},
        "Networks": networks,
    }


_NO_END: dict[str, Any] = {
    "IPAMConfig": None,
    "Links": None,
    "Aliases": None,
    "NetworkID": "",
    "EndpointID": "",
    "Gateway": "",
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "MacAddress": "",
    "DriverOpts": None,
}
_AT_THE_TOP = (
    "EndpointID Gateway GlobalIPv6Address GlobalIPv6PrefixLen IPAddress IPPrefixLen IPv6Gateway MacAddress"
).split()


def _mount_point(point: dict[str, Any]) -> dict[str, Any]:
    """What Docker shows of it; the rest is for the start of the container."""
    shown = ("Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation")
    return {key: point[key] for key in shown if key in point}


def image(it: Image) -> dict[str, Any]:
    """All that is known of an image."""
    moment = it.moment()
    lower = it.store.layer_paths(it.diff_ids)
    return {
        "Id": it.id,
        "RepoTags": [name.familiar for name in it.names if name.tag],
        "RepoDigests": sorted({f"{name.familiar_repository}@{it.digest}" for name in it.names}),
        "Parent": "",
        "Comment": _comment(it),
        "Created": units.ZERO_TIME if moment is None else it.created,
        "Container": it.config.get("container", ""),
        "ContainerConfig": {**_NO_SETTINGS, **(it.config.get("container_config") or {})},
        "DockerVersion": it.config.get("docker_version", ""),
        "Author": it.config.get("author", ""),
        "Config": {**_NO_SETTINGS, **it.settings},
        "Architecture": it.config.get("architecture", ""),
        **{name: it.config[key] for name, key in _PLATFORM if it.config.get(key)},
        "Os": it.config.get("os", ""),
        "Size": it.size,
        "VirtualSize": it.size,
        "GraphDriver": {"Name": "overlay", "Data": {"LowerDir": ":".join(lower)}},
        "RootFS": {"Type": "layers", "Layers": it.diff_ids},
        "Metadata": {"LastTagTime": units.ZERO_TIME},
    }


def _comment(it: Image) -> str:
    """What was said of the last step."""
    told = it.config.get("history")
    last = told[-1] if isinstance(told, list) and told else {}
    return str(it.config.get("comment") or (last.get("comment") if isinstance(last, dict) else "") or "")


_PLATFORM = (("Variant", "variant"), ("OsVersion", "os.version"))
_NO_SETTINGS: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "ExposedPorts": None,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}
