"""What ``network ls`` lists, and which of it ``--filter`` lets through."""

from __future__ import annotations

from minicontainer.engine.filters import boolean, combined, has_label, matches
from minicontainer.engine.listing import local
from minicontainer.engine.network import members
from minicontainer.engine.network.network import PREDEFINED
from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minicontainer.engine.engine import Engine
    from minicontainer.engine.network.network import Network


def rows(engine: Engine, filters: Sequence[str] = (), trunc: bool = True) -> list[dict[str, Any]]:
    """The rows of ``network ls``, by name. Raises InvalidArgument for a filter that there is not."""
    passes = combined(filters, lambda name, value: _test(engine, name, value))
    return [row(network, trunc) for network in engine.networks.all() if passes(network)]


def _test(engine: Engine, name: str, value: str) -> Callable[[Network], bool]:
    if name == "name":
        return lambda network: matches(value, network.name)
    if name == "id":
        return lambda network: matches(value, network.id)
    if name == "label":
        return lambda network: has_label(network.labels, value)
    if name in ("driver", "scope"):
        return lambda network: bool(network.document[name.capitalize()] == value)
    if name == "type" and value in ("custom", "builtin"):
        return lambda network: (network.name in PREDEFINED) == (value == "builtin")
    if name == "dangling":
        used, wanted = members.users(engine.networks), boolean(name, value)
        return lambda network: (network.name not in used and network.name not in PREDEFINED) == wanted
    known = "dangling, driver, id, label, name, scope and type"
    raise InvalidArgument(f"invalid filter '{name}={value}'; there is {known}")


def row(network: Network, trunc: bool) -> dict[str, Any]:
    """The line of one network."""
    document, labels = network.document, network.labels
    return {
        "ID": network.id[:12] if trunc else network.id,
        "Name": network.name,
        "Driver": document["Driver"],
        "Scope": document["Scope"],
        "IPv4": str(network.pool(v6=False) is not None).lower(),
        "IPv6": str(document["EnableIPv6"]).lower(),
        "Internal": str(network.internal).lower(),
        "CreatedAt": local(document["Created"]),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
    }
