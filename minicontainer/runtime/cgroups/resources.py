"""From OCI's ``linux.resources`` to lines in the kernel's files, and words for what the kernel will not do.

The runtime specification (config-linux.md, "Control groups") speaks one language: ``memory.limit``,
``cpu.shares``, ``pids.limit``. The kernel speaks two, one a version. Each is a table in a file of its own,
:mod:`~minicontainer.runtime.cgroups.v1` and :mod:`~minicontainer.runtime.cgroups.v2`, to be read side by side.
A row says: this resource goes into this file, in this form. The first word of the file's name is the
controller, so the row also says where the file is: in the hierarchy that this controller lives in.

What a host cannot do is a warning where a container can do without (in Docker's words, which people search
for), and an error where a limit would silently not hold.
"""

from __future__ import annotations

import contextlib
import errno
import os

from minicontainer.errors import Conflict, Error, InvalidArgument, Unsupported
from minicontainer.runtime.cgroups import files, v1, v2
from minicontainer.runtime.cgroups.hierarchy import carrier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from minicontainer.runtime.cgroups.forms import Form
    from minicontainer.runtime.cgroups.hierarchy import Hierarchy

    Resources = dict[str, Any]
    Write = tuple[str, str, str]  # the resource, the path of the file, the line

# Where 0 says something. Elsewhere it is how "not set" looks after a trip through JSON.
_ZERO_COUNTS = ("memory.swappiness", "cpu.idle", "cpu.burst", "hugepageLimits")
# Not limits: checkBeforeUpdate asks for what is always done, useHierarchy for what every kernel now does.
_NO_LIMITS = ("memory.checkBeforeUpdate", "memory.useHierarchy")

# What takes the settings of a device away again; 0 where nothing is said here.
_NO_SETTING = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "blkio.bfq.weight_device": "default",
}

_NOT_SUPPORTED = "Your kernel does not support {} or the cgroup is not mounted. {}"
_WARNINGS = {
    "memory.swap": ("swap limit capabilities", "Memory limited without swap."),
    "memory.swappiness": ("memory swappiness capabilities", "Memory swappiness discarded."),
    "memory.disableOOMKiller": ("OomKillDisable", "OomKillDisable discarded."),
    "memory.kernelTCP": ("kernel memory TCP limit capabilities", "Limitation discarded."),
    "blockIO.weight": ("Block I/O weight", "Weight discarded."),
    "blockIO.weightDevice": ("Block I/O weight_device", "Weight-device discarded."),
}


def asked(resources: Resources) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Each limit that is asked for: (``memory.limit``, its value, the section it stands in)."""
    for name, section in resources.items():
        if name in ("devices", "unified"):
            continue  # not of this kind
        if name == "hugepageLimits":
            section = {limit["pageSize"]: limit["limit"] for limit in section or ()}
        for key, value in (section or {}).items():
            resource = f"{name}.{key}"
            zero_counts = resource in _ZERO_COUNTS or name in _ZERO_COUNTS
            if resource not in _NO_LIMITS and (value or (value == 0 and zero_counts)):
                yield resource, value, section
        if name == "memory" and section and section.get("limit") == -1 and not section.get("swap"):
            yield "memory.swap", -1, section  # a limit on both that stays would be one on memory


def rows(resource: str) -> list[tuple[int, str, Form]]:
    """What the two tables say of a resource: (version, file, form); a ``*`` takes up the resource's last word."""
    section, _, key = resource.partition(".")
    if "/" in key:
        raise InvalidArgument(f"{resource!r} is not the name of a resource")
    return [
        (version, file.replace("*", key), form)
        for version, table in ((1, v1.TABLE), (2, v2.TABLE))
        for name, file, form in table
        if name in (resource, f"{section}.*")
    ]


def needed(resources: Resources) -> set[str]:
    """The version 2 controllers without which a limit would silently not hold."""
    names = list(resources.get("unified") or ())
    for resource, value, _ in asked(resources):
        if value != -1 and resource not in _WARNINGS:
            names += [file for version, file, _ in rows(resource) if version == 2]
    return {name.partition(".")[0] for name in names}


def lines(resources: Resources, there: list[Hierarchy], path: str) -> tuple[list[Write], list[str]]:
    """What to write for these limits on the cgroup ``path``, and warnings of those that cannot be had.

    Raises Unsupported for one that cannot be had and is relied on, InvalidArgument for an impossible value.
    """
    writes: list[Write] = []
    warnings: list[str] = []
    for resource, value, section in asked(resources):
        for version, file, form in rows(resource):
            hierarchy = carrier(there, version, file)
            target = hierarchy and f"{hierarchy.directory(path)}/{file}"
            if target and os.path.exists(target):
                try:
                    writes += [(resource, target, line) for line in form(value, section, target)]
                except (TypeError, KeyError) as error:
                    raise InvalidArgument(
                        f"{resource} {value!r} is not what OCI has there: {error!r}"
                    ) from error
                break
        else:
            warnings += _cannot(resource, value)
    for file, value in (resources.get("unified") or {}).items():
        target = _unified(file, there, path)
        writes += [(f"unified.{file}", target, line) for line in str(value).splitlines()]
    return writes, warnings


def _cannot(resource: str, value: object) -> list[str]:
    """The warning for what this host cannot limit; an error where there is none to give."""
    if value == -1 or value is False:
        return []  # no limit was asked for
    if resource in _WARNINGS:
        return [_NOT_SUPPORTED.format(*_WARNINGS[resource])]
    if not rows(resource):
        return [f"{resource} is not supported. {resource} discarded."]
    raise Unsupported(
        f"cannot set {resource} to {value}: your kernel does not support it or the cgroup is not mounted; "
        "`minicontainer doctor` shows what this host has"
    )


def _unified(file: str, there: list[Hierarchy], path: str) -> str:
    """Where a file that the user named is: ``unified`` is OCI's door to all that version 2 has."""
    hierarchy = carrier(there, 2, file)
    if "/" in file or "." not in file:
        raise InvalidArgument(
            f"unified resource {file!r} is not the name of a cgroup v2 file, such as memory.high"
        )
    if hierarchy is None:
        controller = file.partition(".")[0]
        raise Unsupported(
            f"the unified resource {file} needs cgroup v2, and the {controller} controller in it; this host has "
            f"{' '.join(map(repr, there))} (`grep cgroup /proc/self/mountinfo` shows it)"
        )
    return f"{hierarchy.directory(path)}/{file}"


def write_all(writes: list[Write]) -> None:
    """Write line after line; what the kernel refuses becomes an error in the user's words.

    Some files bound each other: on v1 the limit on memory must never be above the one on memory and swap, so
    raising both wants another order than lowering both. Hence a line that the kernel calls invalid gets a
    second chance when all others are written.
    """
    late = []
    for write in writes:
        try:
            files.write(*write[1:])
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise refusal(*write, error) from error
            late.append(write)
    for write in late:
        try:
            files.write(*write[1:])
        except OSError as error:
            raise refusal(*write, error) from error


def change_all(writes: list[Write]) -> None:
    """As :func:`write_all`, for a cgroup in use: when the kernel refuses a line, all is again as it was.

    Processors and memory nodes come last, when nothing else can be refused any more: in v2 they may be empty, for
    those of the cgroup above, and while there are processes in it there is no way back to that (ENOSPC).
    """
    before = {}
    for _, path, _ in writes:
        with contextlib.suppress(OSError):  # what is not there, or only to be written, has no value before
            before[path] = files.read(path)
    last = [write for write in writes if os.path.basename(write[1]).startswith("cpuset.")]
    try:
        write_all([write for write in writes if write not in last])
        write_all(last)
    except BaseException as error:
        try:
            write_all(_way_back(writes, before))
        except Error as second:
            raise Error(f"{error}; what was set before that could not be taken back: {second}") from error
        raise


def _way_back(writes: list[Write], before: dict[str, str]) -> list[Write]:
    """The lines to write for every file to say what it said before, the last change first."""
    return [
        (resource, path, _former(path, line, before[path]))
        for resource, path, line in reversed(writes)
        if path in before and files.read(path) != before[path]
    ]


def _former(path: str, line: str, before: str) -> str:
    """The line that takes ``line`` back; where each device has one, that is the one of its device."""
    key = line.partition(" ")[0]
    lines = before.splitlines()
    if ":" in key:
        unset = f"{key} {_NO_SETTING.get(os.path.basename(path), '0')}"
        return next((each for each in lines if each.startswith(f"{key} ")), unset)
    if path.endswith("/memory.oom_control"):
        return lines[0].split()[1]  # "oom_kill_disable 0", and then what happened
    return lines[0] if lines else "\n"  # the kernel is not asked to write nothing


def refusal(resource: str, path: str, line: str, error: OSError) -> Error:
    """The kernel's errno in the words of someone who asked for ``resource``."""
    message = f"cannot set {resource}: the kernel refused {line!r} for {path}: {error.strerror}"
    if error.errno == errno.EBUSY:
        return Conflict(f"{message}; more than that is in use: stop some of it first, or ask for more")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Unsupported(f"{message}; it takes root, or a cgroup that was delegated to this user")
    if error.errno == errno.ENOENT:
        return Unsupported(f"{message}; this kernel has no such file, or the cgroup is gone")
    if error.errno == errno.ENODEV:
        return InvalidArgument(f"{message}; major:minor must be those of a whole disk (lsblk shows them)")
    return InvalidArgument(f"{message}; cgroups(7) leads to what the file takes")
