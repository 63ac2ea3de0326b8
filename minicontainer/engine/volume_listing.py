"""What ``volume ls`` lists, and which of it ``--filter`` lets through."""

from __future__ import annotations

from minicontainer.engine.listing import has_label, matches
from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minicontainer.engine.engine import Engine
    from minicontainer.engine.volumes import Volume

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def rows(engine: Engine, filters: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of ``volume ls``, by name. Raises InvalidArgument for a filter that there is not."""
    groups: dict[str, list[Callable[[Volume], bool]]] = {}
    for text in filters:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidArgument(f"bad format of filter {text!r} (expected name=value)")
        groups.setdefault(text if name == "label" else name, []).append(_filter(engine, name, value))
    return [
        row(volume)
        for volume in engine.volumes.all()
        if all(any(test(volume) for test in group) for group in groups.values())
    ]


def _filter(engine: Engine, name: str, value: str) -> Callable[[Volume], bool]:
    if name == "name":
        return lambda volume: matches(value, volume.name)
    if name == "label":
        return lambda volume: has_label(volume.labels, value)
    if name == "driver":
        return lambda volume: value == "local"
    if name == "dangling" and value in _BOOLEANS:
        users = engine.volumes.users()
        return lambda volume: (volume.name not in users) == _BOOLEANS[value]
    if name == "dangling":
        raise InvalidArgument(f"invalid filter 'dangling={value}'; it is true or false")
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
