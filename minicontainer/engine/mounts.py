"""What is to be mounted in a container besides its image: a list of **mount points**.

``-v``, ``--mount``, ``--volumes-from`` and the ``VOLUME`` of an image all come to the same: one entry for each
place, in the words of ``inspect``, with the options that the bundle is to have. The list is written into the
container's document when it is created, and from then on it is what counts: who looks whether a volume is in
use looks there.

Nothing is made on the host here, and nothing looked at but one: whether the source of a ``--mount type=bind`` is
there, for that is its promise.
"""

from __future__ import annotations

import os

from minicontainer.engine import mount_options
from minicontainer.engine.volumes import Volumes, check_name
from minicontainer.errors import Conflict, InvalidArgument, NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from minicontainer.engine.document import Document
    from minicontainer.engine.options import Options

    Mount = dict[str, Any]  # as Docker's API has it: {"Type": "bind", "Source": …, "Target": …, …}
    Point = dict[str, Any]  # as inspect has it: {"Type": "bind", "Source": …, "Destination": …, …}

_SECURE = ("nosuid", "nodev", "noexec")


def ask(
    document: Document,
    options: Options,
    of_image: Iterable[str],
    volumes: Volumes,
    find: Callable[[str], Document],
) -> None:
    """Write into a new container's document what is to be mounted: as it was asked for, and as mount points.

    :param of_image: the paths that the image wants volumes at
    :param volumes: where a volume's files will be; they are not made yet
    :param find: the document of another container, by its name
    :raises InvalidArgument: for what cannot be meant
    :raises Conflict: when two things are to be mounted on one place
    """
    host, points = document["HostConfig"], {}
    for text in options.volumes_from:
        for point in _points_of(text, find):
            points[point["Destination"]] = point
    binds = [mount_options.with_absolute_source(text) for text in options.volumes if ":" in text]
    anonymous = [*of_image, *(text for text in options.volumes if ":" not in text)]
    wanted = [mount_options.parse_mount(text) for text in options.mounts]
    taken = {os.path.normpath(path) for path in host["Tmpfs"]}
    for point in [*(_of_volume(text, volumes) for text in binds), *(_of_mount(m, volumes) for m in wanted)]:
        if point["Destination"] in taken:
            raise Conflict(
                f"duplicate mount point: {point['Destination']}; only one thing can be mounted there"
            )
        taken.add(point["Destination"])
        points[point["Destination"]] = point
    for path in anonymous:
        point = _of_path(path, volumes)
        if point["Destination"] not in taken:
            points.setdefault(point["Destination"], point)
    host["Binds"] = binds or None
    host["VolumesFrom"] = list(options.volumes_from) or None
    if wanted:
        host["Mounts"] = wanted
    document["Config"]["Volumes"] = {path: {} for path in anonymous} or None
    document["Mounts"] = list(points.values())


def _points_of(text: str, find: Callable[[str], Document]) -> list[Point]:
    """The mount points of another container, from ``NAME[:ro|rw]``."""
    name, _, mode = text.partition(":")
    if not name:
        raise InvalidArgument('invalid argument "" for --volumes-from: it must name a container')
    if mode not in ("", "ro", "rw", "z", "Z"):
        raise InvalidArgument(f'invalid argument "{text}" for --volumes-from: invalid mode: {mode}')
    points = []
    for point in find(name).get("Mounts", ()):
        options = [*point["Options"], *(["rro"] if mode == "ro" else [])]
        writable = point["RW"] and mode != "ro"
        points.append({**point, "Mode": "", "RW": writable, "NoCopy": True, "Options": options})
    return points


# ------------------------------------------------------------------ the mount points


def _of_volume(text: str, volumes: Volumes) -> Point:
    mount, mode = mount_options.parse_volume(text)
    try:
        return _point(mount, mode, volumes)
    except InvalidArgument as error:
        raise mount_options.refused("volume", text, str(error)) from None


def _of_path(path: str, volumes: Volumes) -> Point:
    """The mount point of an anonymous volume."""
    try:
        return _point({"Type": "volume", "Target": path}, "", volumes)
    except InvalidArgument as error:
        raise mount_options.refused("volume", path, str(error)) from None


def _of_mount(mount: Mount, volumes: Volumes) -> Point:
    try:
        point = _point(mount, "z" if mount["Type"] == "volume" else "", volumes)
    except InvalidArgument as error:
        raise InvalidArgument(f'invalid mount config for type "{mount["Type"]}": {error}') from None
    if mount["Type"] == "bind":
        point["MustExist"] = True
        check_source(point)
    return point


def check_source(point: Point) -> None:
    """NotFound when the source of a ``--mount type=bind`` is not there."""
    if point.get("MustExist") and not os.path.exists(point["Source"]):
        raise NotFound(
            f'invalid mount config for type "bind": bind source path does not exist: {point["Source"]}; '
            "make it, or use -v, which makes a directory"
        )


def _point(mount: Mount, mode: str, volumes: Volumes) -> Point:
    """The mount point of one mount; InvalidArgument says what it cannot be."""
    kinds = {"bind": _bind, "volume": _volume, "tmpfs": _tmpfs}
    if mount["Type"] not in kinds:
        raise InvalidArgument("mount type unknown; there is bind, volume and tmpfs")
    target = mount["Target"]
    if not target.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{target}' mount path must be absolute")
    if "\0" in target or "\0" in mount.get("Source", ""):
        raise InvalidArgument("a path has a NUL byte in it")
    destination = "/" + os.path.normpath(target).lstrip("/")
    if destination == "/":
        raise InvalidArgument("invalid specification: destination can't be '/'")
    point = {"Destination": destination, "Mode": mode, "RW": not mount.get("ReadOnly", False)}
    return kinds[mount["Type"]](point, mount, volumes)


def _bind(point: Point, mount: Mount, _: Volumes) -> Point:
    options = mount.get("BindOptions", {})
    propagation = options.get("Propagation") or "rprivate"
    source = mount.get("Source", "")
    if "VolumeOptions" in mount:
        raise InvalidArgument("nocopy is for volumes, and this is a path of the host")
    if not source:
        raise InvalidArgument("field Source must not be empty")
    if not source.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{source}' mount path must be absolute")
    if propagation not in mount_options.PROPAGATIONS:
        raise InvalidArgument(
            f"invalid propagation mode: {propagation}; there is {', '.join(mount_options.PROPAGATIONS)}"
        )
    return {
        "Type": "bind",
        "Source": "/" + os.path.normpath(source).lstrip("/"),
        **point,
        "Propagation": propagation,
        "Options": [
            "bind" if options.get("NonRecursive") else "rbind",
            propagation,
            *([] if point["RW"] else ["rro"]),
        ],
    }


def _volume(point: Point, mount: Mount, volumes: Volumes) -> Point:
    options, name = mount.get("VolumeOptions", {}), mount.get("Source", "")
    if "BindOptions" in mount:
        raise InvalidArgument("propagation is for paths of the host, and this is a volume")
    if options.get("Driver", "local") not in ("", "local") or options.get("Opt"):
        raise Unsupported(
            f'the volume driver "{options.get("Driver", "local")}" with options is not supported; '
            "there is local, which has none"
        )
    if not name and not point["RW"]:
        raise InvalidArgument("must not set ReadOnly mode when using anonymous volumes")
    if name:
        check_name(name)
    named = name or os.urandom(32).hex()
    return {
        "Type": "volume",
        "Name": named,
        "Source": volumes.data_path(named),
        **point,
        "Driver": "local",
        "Mode": point["Mode"] or ("z" if name else ""),
        "Propagation": "",
        "Anonymous": not name,
        "NoCopy": options.get("NoCopy", False),
        "Labels": options.get("Labels"),
        "Options": ["rbind", "rprivate", *([] if point["RW"] else ["rro"])],
    }


def _tmpfs(point: Point, mount: Mount, _: Volumes) -> Point:
    options = mount.get("TmpfsOptions", {})
    if mount.get("Source"):
        raise InvalidArgument("field Source must not be specified; a tmpfs begins empty")
    given = [f"size={options['SizeBytes']}"] if options.get("SizeBytes") else []
    given += [f"mode={options['Mode']:o}"] if options.get("Mode") else []
    access = [] if point["RW"] else ["ro"]
    return {"Type": "tmpfs", "Source": "", **point, "Propagation": "", "Options": [*_SECURE, *access, *given]}
