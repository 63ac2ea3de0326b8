"""What ``ps`` lists, and which of it ``--filter`` lets through."""

from __future__ import annotations

import contextlib
import json
import os
import time

from minicontainer import units
from minicontainer.engine.container import CREATED, EXITED, PAUSED, RUNNING
from minicontainer.engine.filters import combined, has_label, matches
from minicontainer.engine.network import ends, ports
from minicontainer.errors import Error, InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minicontainer.engine.container import Container
    from minicontainer.engine.engine import Engine

_MOST_MOUNT = 15  # characters of a name in the column of mounts
_MOST_COMMAND = 20  # characters of the command that ps shows


def containers(
    engine: Engine,
    *,
    all: bool = False,
    filters: Sequence[str] = (),
    last: int = -1,
    trunc: bool = True,
    size: bool = False,
) -> list[dict[str, Any]]:
    """The rows of ``ps``: the running containers, or all, or the ``last`` so many; newest first.

    ``size`` asks how much each has written, which means looking at all its files.
    """
    passes = combined(filters, lambda name, value: _test(engine, name, value))
    asks_status = any(each.startswith(("status=", "exited=")) for each in filters)
    found = engine.containers(all=all or last >= 0 or asks_status)
    rows = []
    for container in found[: last if last >= 0 else None]:
        try:
            state = container.state()
            if passes(container, state):
                rows.append(_container_row(container, state, trunc, size))
        except NotFound:
            continue  # removed meanwhile
    return rows


def _container_row(container: Container, state: dict[str, Any], trunc: bool, size: bool) -> dict[str, Any]:
    document = container.document
    arguments = [f"'{word}'" if " " in word else word for word in document["Args"]]
    command = " ".join([document["Path"], *arguments])
    if trunc and len(command) > _MOST_COMMAND:
        command = command[: _MOST_COMMAND - 1] + "…"
    labels: dict[str, str] = document["Config"]["Labels"]
    mounts = document.get("Mounts", ())
    return {
        "ID": container.short_id if trunc else container.id,
        "Names": container.name,
        "Image": document["Config"]["Image"],
        "Command": json.dumps(command, ensure_ascii=False),  # a newline in it would break the table
        "CreatedAt": local(document["Created"]),
        "RunningFor": ago(document["Created"]),
        "Ports": _ports(container) if state["Status"] in (RUNNING, PAUSED) else "",
        "State": state["Status"],
        "Status": status(state),
        "Size": _size(container) if size else "",
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
        "Mounts": ",".join(_shortened(point, trunc) for point in mounts),
        "LocalVolumes": str(sum(point["Type"] == "volume" for point in mounts)),
        "Networks": ",".join(_networks(document)),
    }


def _ports(container: Container) -> str:
    published = [port for end in ends.of(container) for port in end.ports]
    return ports.column(ports.by_port(container.document, published))


def _networks(document: dict[str, Any]) -> list[str]:
    """The networks that it is to be on, ``host`` and ``none`` among them."""
    mode = document["HostConfig"]["NetworkMode"]
    return sorted(ends.wanted(document)) or ([] if mode.startswith("container:") else [mode])


def _shortened(point: dict[str, Any], trunc: bool) -> str:
    """What is mounted, by the volume's name or the path; of the length that ps has room for."""
    name = str(point.get("Name") or point["Source"])
    return f"{name[: _MOST_MOUNT - 1]}…" if trunc and len(name) > _MOST_MOUNT else name


def _size(container: Container) -> str:
    """What it has written, and with the image below it: ``12.3MB (virtual 20.1MB)``."""
    own = 0
    for directory, _, names in os.walk(os.path.join(container.path, "upper")):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                own += os.lstat(os.path.join(directory, name)).st_size
    try:
        whole = own + container.engine.images.find(container.document["Image"]).size
    except NotFound:  # removed by force
        return units.human_size(own)
    return f"{units.human_size(own)} (virtual {units.human_size(whole)})"


def status(state: dict[str, Any]) -> str:
    """The STATUS column: ``Up 4 minutes (Paused)``, ``Exited (137) 2 hours ago``, ``Created``."""
    if state["Status"] == CREATED:
        return "Created"
    if state["Status"] == EXITED:
        return f"Exited ({state['ExitCode']}) {ago(state['FinishedAt'])}"
    return f"Up {_since(state['StartedAt'])}" + (" (Paused)" if state["Status"] == PAUSED else "")


def _since(moment: str) -> str:
    return units.human_duration((time.time_ns() - units.parse_rfc3339(moment)) / units.SECOND)


def ago(moment: str) -> str:
    """How long ago a moment was, in Docker's words."""
    return f"{_since(moment)} ago"


def local(moment: str) -> str:
    """A moment as Docker's CreatedAt has it: ``2026-11-22 05:41:15 +0000 UTC``."""
    seconds = units.parse_rfc3339(moment) // units.SECOND
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def _test(engine: Engine, key: str, value: str) -> Callable[[Container, dict[str, Any]], bool]:
    if key == "status":
        if value not in (CREATED, RUNNING, PAUSED, EXITED, "restarting", "removing", "dead"):
            raise InvalidArgument(f"invalid filter 'status={value}'")
        return lambda container, state: bool(state["Status"] == value)
    if key == "exited":
        return lambda container, state: state["Status"] == EXITED and str(state["ExitCode"]) == value
    if key == "name":
        return lambda container, state: matches(value, container.name)
    if key == "id":
        return lambda container, state: container.id.startswith(value)
    if key == "label":
        return lambda container, state: has_label(container.document["Config"]["Labels"], value)
    if key == "volume":
        return lambda container, state: any(
            value in (point.get("Name"), point["Source"], point["Destination"])
            for point in container.document.get("Mounts", ())
        )
    if key == "network":
        return lambda container, state: _is_on(container, value)
    if key in ("publish", "expose"):
        return lambda container, state: _has_port(container, value, key == "publish")
    if key == "ancestor":
        image = _image_id(engine, value)
        return lambda container, state: container.document["Image"] == image
    if key in ("before", "since"):
        created = engine.find(value).document["Created"]
        if key == "before":
            return lambda container, state: bool(container.document["Created"] < created)
        return lambda container, state: bool(container.document["Created"] > created)
    raise InvalidArgument(f"invalid filter '{key}'")


def _is_on(container: Container, name: str) -> bool:
    """Whether it is to be on a network of this name or id."""
    networks = _networks(container.document)
    return name in networks or any(
        network.name in networks and network.id.startswith(name)
        for network in container.engine.networks.all()
    )


def _has_port(container: Container, text: str, published: bool) -> bool:
    """Whether it publishes, or exposes, one of the ports ``80``, ``80/udp``, ``8000-8080/tcp``."""
    wanted = set(ports.exposed("--filter", text))
    if not published:
        return not wanted.isdisjoint(container.document["Config"]["ExposedPorts"])
    held = [port for end in ends.of(container) for port in end.ports]
    return any(f"{port['HostPort']}/{port['Type']}" in wanted for port in held)


def _image_id(engine: Engine, name: str) -> str:
    try:
        return engine.images.find(name).id
    except Error:
        return ""
