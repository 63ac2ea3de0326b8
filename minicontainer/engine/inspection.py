"""``inspect``: a container or an image as one document, in the shape of Docker's API."""

from __future__ import annotations

import os

from minicontainer import units
from minicontainer.engine.container import PAUSED, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.engine.container import Container
    from minicontainer.images.store import Image


def container(it: Container) -> dict[str, Any]:
    """All that is known of a container: what was asked, and how it is now."""
    document = dict(it.document)
    layers = document.pop("Layers", [])
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
        "Bundle": it.path,
        "Layers": layers,
        "Mounts": [],
        "NetworkSettings": {"Ports": {}, "IPAddress": "", "Gateway": "", "MacAddress": "", "Networks": {}},
    }


def image(it: Image) -> dict[str, Any]:
    """All that is known of an image."""
    own = it.config.get("config", {})
    return {
        "Id": it.id,
        "RepoTags": [name.familiar for name in it.names if name.tag],
        "RepoDigests": [f"{name.familiar_repository}@{it.manifest_digest}" for name in it.names],
        "Parent": "",
        "Comment": next(
            (entry["comment"] for entry in it.config.get("history", ()) if entry.get("comment")), ""
        ),
        "Created": it.config.get("created", units.ZERO_TIME),
        "Author": it.config.get("author", ""),
        "Config": {
            "User": "",
            "ExposedPorts": None,
            "Env": None,
            "Cmd": None,
            "Volumes": None,
            "WorkingDir": "",
            "Entrypoint": None,
            "Labels": None,
            **own,
        },
        "Architecture": it.config.get("architecture", ""),
        "Os": it.config.get("os", ""),
        "Size": it.size,
        "VirtualSize": it.size,
        "GraphDriver": {
            "Name": "overlay",
            "Data": {"LowerDir": ":".join(it.store.layer_paths(it.diff_ids))},
        },
        "RootFS": {"Type": "layers", "Layers": it.diff_ids},
        "Metadata": {"LastTagTime": units.ZERO_TIME},
    }
