"""What ``volume ls`` lists, and which of it ``--filter`` lets through."""

from __future__ import annotations

from minicontainer.engine.filters import boolean, combined, has_label, matches
from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minicontainer.engine.engine import Engine
    from minicontainer.engine.volumes import Volume


def rows(engine: Engine, filters: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of ``volume ls``, by name. Raises InvalidArgument for a filter that there is not."""
    passes = combined(filters, lambda name, value: _test(engine, name, value))
    return [row(volume) for volume in engine.volumes.all() if passes(volume)]


def _test(engine: Engine, name: str, value: str) -> Callable[[Volume], bool]:
    if name == "name":
        return lambda volume: matches(value, volume.name)
    if name == "label":
        return lambda volume: has_label(volume.labels, value)
    if name == "driver":
        return lambda volume: value == "local"
    if name == "dangling":
        users, wanted = engine.volumes.users(), boolean(name, value)
        return lambda volume: (volume.name not in users) == wanted
    raise InvalidArgument(f"invalid filter '{name}'; there is dangling, driver, label and name")


def row(volume: Volume) -> dict[str, Any]:
    """The line of one volume; its size takes looking at all its files, and is not in it."""
    labels = volume.labels
    return {
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
        "Links": "N/A",
        "Mountpoint": volume.data_path,
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    }
