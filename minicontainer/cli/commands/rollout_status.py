"""How rollouts are: rollout ls, status."""

from __future__ import annotations

import contextlib
import json

from minicontainer.cli import table
from minicontainer.cli.flags import BOOL, STRING, Command, Flag
from minicontainer.engine.rollout import listing
from minicontainer.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine

HEADERS: dict[str, object] = {
    "CreatedAt": "CREATED AT",
    "Image": "IMAGE",
    "Live": "LIVE",
    "Name": "NAME",
    "Ports": "PORTS",
    "Replicas": "REPLICAS",
    "Status": "STATUS",
}
_REPLICA_COLUMNS = (
    ("REPLICA", "Name"),
    ("ADDRESS", "Address"),
    ("STATE", "State"),
    ("SHARE", "Share"),
    ("SESSIONS", "Sessions"),
    ("REQUESTS", "Requests"),
    ("ERRORS", "Errors"),
    ("LATENCY", "Latency"),
)


def ls(engine: Engine, values: Values, _: list[str]) -> None:
    """List rollouts."""
    rows = []
    for rollout in engine.rollouts.all():
        with contextlib.suppress(NotFound):  # removed while we look
            rows.append(listing.row(rollout))
    columns = ("Name", "Image", "Replicas", "Ports", "Status")
    quiet = "Name" if values.quiet else None
    print(table.formatted(rows, values.format, HEADERS, columns, quiet), end="")


def status(engine: Engine, values: Values, words: list[str]) -> None:
    """Print all that is known of a rollout."""
    known = engine.rollouts.find(words[0]).status()
    if values.format == "json":
        print(json.dumps(known))
    elif values.format:
        from minicontainer.cli.gotemplate import Template

        print(Template(values.format).render(known))
    else:
        print(_text(known), end="")


def _text(known: dict[str, Any]) -> str:
    """What ``rollout status`` prints."""
    balancer = f"HAProxy, process {known['LoadBalancer']}" if known["Running"] else "HAProxy, not running"
    lines = [
        ("Status", listing.status(known)),
        ("Published", f"{known['HostIp'] or '0.0.0.0'}:{known['HostPort']} -> {known['Port']}"),
        ("Load balancer", balancer),
    ]
    for colour, version in known["Versions"].items():
        if version:
            lines.append((colour, version["Image"] + (" (live)" if colour == known["Live"] else "")))
    if known["Deployment"] and known["Deployment"]["Reason"]:
        lines.append(("Reason", known["Deployment"]["Reason"]))
    if known["Advice"]:
        lines.append(("Next", known["Advice"]))
    text = "".join(f"{name + ':':<15}{value}\n" for name, value in [("Name", known["Name"]), *lines])
    if not known["Replicas"]:
        return text
    rows = [{**r, "Share": f"{r['Share']:g}%", "Latency": f"{r['Latency']}ms"} for r in known["Replicas"]]
    return text + "\n" + table.render(rows, _REPLICA_COLUMNS)


COMMANDS = {
    "rollout status": Command(
        "rollout status",
        "[OPTIONS] ROLLOUT",
        "Show how a rollout is, and what can be done next",
        (Flag("f", "format", STRING, "Format the output using the given Go template, or json"),),
        status,
        least=1,
        most=1,
        completes="rollouts",
    ),
    "rollout ls": Command(
        "rollout ls",
        "[OPTIONS]",
        "List rollouts",
        (
            Flag("", "format", STRING, "Pretty-print using a Go template, or table TEMPLATE, or json"),
            Flag("q", "quiet", BOOL, "Only display rollout names"),
        ),
        ls,
        most=0,
    ),
}
