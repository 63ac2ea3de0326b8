"""What happened: a line for each event, in one file that everybody appends to.

Docker's daemon keeps the last events in memory. Here is no daemon; whoever does something says so, the command
or the monitor, in ``events`` below the engine's root: one JSON object a line, in the form of Docker's API. A
line is one write(2) to a file opened with O_APPEND, which the kernel puts at the end whole, whoever else writes
at the same moment. A file that has become long is put aside as ``events.1``, and the one that lay there is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from minicontainer.engine.record import Record
    from minicontainer.images.image import Image

    Event = dict[str, Any]

MOST_BYTES = 1 << 20  # of one file; some three thousand events
_PAUSE = 0.1  # seconds between two looks for something new
_CHUNK = 1 << 16


def path_of(root: str) -> str:
    """The file with the events of the engine at ``root``."""
    return os.path.join(root, "events")


def emit(root: str, kind: str, action: str, actor: str, attributes: Mapping[str, object]) -> None:
    """Say that something happened: ``emit(root, "container", "die", id, {"exitCode": 1})``."""
    now = time.time_ns()
    known = {name: str(value) for name, value in sorted(attributes.items())}
    event: Event = {}
    if kind in ("container", "image"):  # from before there were other kinds
        event = {"status": action, "id": actor}
    if kind == "container":
        event["from"] = known.get("image", "")
    event |= {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": actor, "Attributes": known},
        "scope": "local",
        "time": now // 1_000_000_000,
        "timeNano": now,
    }
    with contextlib.suppress(OSError):  # it has happened, and is not to fail because the disk is full
        _append(path_of(root), json.dumps(event).encode() + b"\n")


def of_image(root: str, action: str, image: Image, name: str = "") -> None:
    """Say that something happened to an image: ``tag``, ``import``, ``load``; ``name`` is the one it is about."""
    emit(root, "image", action, image.id, {**image.labels, "name": name or image.id})


def images_removed(root: str, lines: Iterable[str], known: Iterable[str]) -> None:
    """Say what the removal of images did, from the lines that it printed and the ids that there were before."""
    ids = set(known)
    for line in lines:
        verb, _, what = line.partition(": ")
        if verb == "Untagged":
            emit(root, "image", "untag", what, {"name": what})
        elif what in ids:
            emit(root, "image", "delete", what, {"name": what})


def started(container: Record) -> None:
    """Say that a container runs, and which volumes are mounted in it."""
    for point in _volumes(container):
        attributes = {
            "container": container.id,
            "destination": point["Destination"],
            "driver": "local",
            "propagation": "",
            "read/write": str(point["RW"]).lower(),
        }
        emit(container.directories.root, "volume", "mount", point["Name"], attributes)
    container.emit("start")


def ended(container: Record, code: int, oom: bool) -> None:
    """Say that a container has ended, and whether for want of memory."""
    if oom:
        container.emit("oom")
    container.emit("die", exitCode=code)
    for point in _volumes(container):
        attributes = {"container": container.id, "driver": "local"}
        emit(container.directories.root, "volume", "unmount", point["Name"], attributes)


def _volumes(container: Record) -> list[dict[str, Any]]:
    return [point for point in container.document.get("Mounts", ()) if point["Type"] == "volume"]


def _append(path: str, line: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        if os.write(fd, line) and os.fstat(fd).st_size > MOST_BYTES:
            _put_aside(path, fd)
    finally:
        os.close(fd)


def _put_aside(path: str, fd: int) -> None:
    """Begin a new file, unless somebody just has."""
    from minicontainer.files import Lock

    with Lock(f"{path}.lock"):
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            os.rename(path, f"{path}.1")
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640))


# ------------------------------------------------------------------ reading


def read(
    root: str,
    since: int | None = None,
    until: int | None = None,
    filters: Sequence[str] = (),
) -> Iterator[Event]:
    """The events from ``since`` to ``until``, both in nanoseconds since 1970, as they come.

    Without ``since``, those that happen from now on; without ``until``, for ever. Raises InvalidArgument at once
    for a filter that there is not.
    """
    from minicontainer.engine.filters import combined  # whoever only tells of events has none

    passes = combined(filters, _test)
    return (
        event
        for event in _between(_lines(path_of(root), since is not None, until), since or 0, until)
        if passes(event)
    )


def _between(lines: Iterator[bytes], since: int, until: int | None) -> Iterator[Event]:
    for line in lines:
        try:
            event: Event = json.loads(line)
        except ValueError:  # the disk was full, and had no room for all of it
            continue
        if event["timeNano"] >= since and (until is None or event["timeNano"] <= until):
            yield event


def _lines(path: str, from_start: bool, until: int | None) -> Iterator[bytes]:
    """The lines of the file, then of the one that takes its place, and so on until the time has come."""
    current = _open(path)
    if from_start:
        yield from _old_lines(path, current)
    elif current >= 0:
        os.lseek(current, 0, os.SEEK_END)
    begun = b""
    try:
        while True:
            over = until is not None and time.time_ns() > until
            replaced = not _is_at(current, path)
            while current >= 0 and (data := os.read(current, _CHUNK)):
                *whole, begun = (begun + data).split(b"\n")
                yield from whole
            if replaced:  # and nobody writes to it any more
                if current >= 0:
                    os.close(current)
                current = _open(path)
                replaced = current >= 0
            if over:
                return
            if not replaced:
                time.sleep(_PAUSE)
    finally:
        if current >= 0:
            os.close(current)


def _open(path: str) -> int:
    """A descriptor of the file; -1 when nothing has happened yet."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _is_at(fd: int, path: str) -> bool:
    """Whether the file with this name is still the one that is open."""
    try:
        return fd >= 0 and os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:  # between the two steps of putting it aside
        return True


def _old_lines(path: str, current: int) -> Iterator[bytes]:
    """The lines of the file that was put aside."""
    old = _open(f"{path}.1")
    if old < 0:
        return
    with open(old, "rb") as file:
        if current < 0 or not os.path.samestat(os.fstat(old), os.fstat(current)):
            yield from file.read().splitlines()


# ------------------------------------------------------------------ filters


def _test(name: str, value: str) -> Callable[[Event], bool]:
    if name not in _TESTS:
        raise InvalidArgument(f"invalid filter '{name}'; there is {', '.join(_TESTS)}")
    return lambda event: _TESTS[name](event, value)


def _is(kind: str) -> Callable[[Event, str], bool]:
    """A test for events of one kind, by the beginning of an id or of a name."""

    def test(event: Event, value: str) -> bool:
        actor = event["Actor"]
        names = (actor["ID"], actor["Attributes"].get("name", ""))
        return event["Type"] == kind and any(name.startswith(value) for name in names)

    return test


def _has_image(event: Event, value: str) -> bool:
    """Whether it is of an image, or of a container of one; with or without the tag."""
    attributes = event["Actor"]["Attributes"]
    name = attributes.get("image" if event["Type"] == "container" else "name", "")
    names = [name, name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name]
    return event["Type"] in ("container", "image") and value in (event["Actor"]["ID"], *names)


def _has_label(event: Event, value: str) -> bool:
    name, equals, wanted = value.partition("=")
    attributes = event["Actor"]["Attributes"]
    return name in attributes and (not equals or attributes[name] == wanted)


_TESTS: dict[str, Callable[[Event, str], bool]] = {
    "container": _is("container"),
    "event": lambda event, value: value in (event["Action"], event["Action"].partition(":")[0]),
    "image": _has_image,
    "label": _has_label,
    "network": _is("network"),
    "scope": lambda event, value: bool(event["scope"] == value),
    "type": lambda event, value: bool(event["Type"] == value),
    "volume": _is("volume"),
}
