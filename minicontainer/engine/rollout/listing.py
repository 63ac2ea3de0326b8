"""What ``rollout status`` and ``rollout ls`` show.

Two sources, side by side: what is written down says what was meant, and HAProxy says what is. When they differ,
somebody was killed between the one and the other.
"""

from __future__ import annotations

from minicontainer.engine.rollout import record as phases
from minicontainer.engine.rollout.balancer import BLUE, GREEN
from minicontainer.engine.rollout.runtime_api import NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from minicontainer.engine.rollout.rollout import Rollout
    from minicontainer.engine.rollout.runtime_api import Server


def document(rollout: Rollout) -> dict[str, Any]:
    """All that is known of a rollout.

    ``LoadBalancer`` is HAProxy's process, 0 when it does not run; ``Driven`` says whether a command is at work on
    it; ``Replicas`` has what HAProxy knows of each replica in use, ``Advice`` what can be done next.
    """
    written = dict(rollout.record.read())
    pid, servers = _seen(rollout)
    total = sum(server.weight for server in servers)
    written["Size"] = written.pop("Replicas")
    return {
        **written,
        "Running": bool(pid),
        "LoadBalancer": pid,
        "Driven": rollout.record.is_driven(),
        "Advice": _advice(rollout, servers),
        "Replicas": [_replica(server, total) for server in servers],
        "Containers": rollout.replicas.states(),
    }


def _seen(rollout: Rollout) -> tuple[int, list[Server]]:
    """The load balancer's process and the servers that it uses; 0 and none when it does not run."""
    try:
        servers = [server for colour in (BLUE, GREEN) for server in rollout.balancer.of_colour(colour)]
        return rollout.balancer.pid, servers
    except NotRunning:
        return 0, []


def _advice(rollout: Rollout, servers: Sequence[Server]) -> str:
    """What can be done next: start what has ended, or what the rollout says itself."""
    document = rollout.record.document
    serving = [server for server in servers if server.status == "UP"]
    is_whole = len(serving) >= document["Replicas"] if document["Deployment"] is None else bool(servers)
    if document["Status"] == phases.READY and not is_whole:
        return f"minicontainer rollout start {rollout.name}"
    return rollout.advice()


def _replica(server: Server, total: int) -> dict[str, Any]:
    return {
        "Name": server.name,
        "Address": server.address,
        "State": server.status,
        "Check": server.check,
        "Share": round(100 * server.weight / total, 2) if total else 0.0,
        "Sessions": server.sessions,
        "Requests": server.requests,
        "Errors": server.errors,
        "Latency": server.latency,
    }


def row(rollout: Rollout) -> dict[str, object]:
    """A rollout as a row of ``rollout ls``."""
    known = document(rollout)
    serving = [each for each in known["Replicas"] if each["State"] == "UP" and each["Share"]]
    return {
        "Name": known["Name"],
        "Image": known["Versions"][known["Live"]]["Image"],
        "Live": known["Live"],
        "Replicas": f"{len(serving)}/{known['Size']}",
        "Ports": f"{known['HostIp'] or '0.0.0.0'}:{known['HostPort']}->{known['Port']}/tcp",
        "Status": status(known),
        "CreatedAt": known["CreatedAt"],
    }


def status(known: dict[str, Any]) -> str:
    """How a rollout is, in some words."""
    if known["Status"] != phases.READY:
        return f"half {'removed' if known['Status'] == phases.REMOVING else 'created'}"
    if not known["Running"]:
        return "not running"
    deployment = known["Deployment"]
    if deployment is None:
        return "serving"
    told = f"{deployment['Strategy']} of {deployment['Image']}: {deployment['Phase']}"
    if known["Share"]:
        told += f", {known['Share']:g} %"
    moving = deployment["Phase"] not in (phases.WAITING, phases.FAILED)
    return told + (" (its command was killed)" if moving and not known["Driven"] else "")
