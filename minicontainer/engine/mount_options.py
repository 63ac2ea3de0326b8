"""Reading ``-v`` and ``--mount``: from what people write to the object that Docker's API has for a mount.

Docker has two languages for one thing. ``-v SOURCE:TARGET:MODE`` came first, guesses what is meant, and makes
what is missing; ``--mount type=bind,src=…,dst=…`` says it in words and guesses nothing. Nothing is looked at on
the host here; what is wrong with a text alone is said here.
"""

from __future__ import annotations

import os

from minicontainer import units
from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Mount = dict[str, Any]  # {"Type": "bind", "Source": …, "Target": …, "ReadOnly": …, "BindOptions": …, …}

PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
# The options of -v; of each kind there may be one.
_MODES = (
    ("ro", "rw"),
    ("z", "Z"),  # labels for SELinux; nothing here applies such
    ("nocopy",),
    PROPAGATIONS,
    ("consistent", "cached", "delegated"),  # of Docker on a Mac
)


# ------------------------------------------------------------------ -v


def with_absolute_source(text: str) -> str:
    """``./data:/data`` from the directory that we are in; names of volumes have no such beginning."""
    source, colon, rest = text.partition(":")
    return _absolute(source) + colon + rest


def _absolute(source: str) -> str:
    return os.path.abspath(source) if source.split("/")[0] in (".", "..") else source


def parse_volume(text: str) -> tuple[Mount, str]:
    """What ``-v SOURCE:TARGET[:MODE]`` asks for, and its mode; InvalidArgument when it cannot be meant."""
    parts = text.split(":")
    if "" in parts:
        raise refused("volume", text, "empty section between colons; it is SOURCE:TARGET[:MODE]")
    if len(parts) > 3:
        raise refused("volume", text, "too many colons; a path with a colon in it takes --mount")
    source, target = parts[:2]
    mode = parts[2] if len(parts) == 3 else ""
    words = mode.split(",") if mode else []
    kinds = [kind for word in words for kind in _MODES if word in kind]
    if len(kinds) != len(words) or len(set(kinds)) != len(kinds):
        raise refused("volume", text, f"invalid mode: {mode}")
    if len(parts) == 2 and target in ("ro", "rw"):
        raise refused("volume", text, "an anonymous volume has no mode; name it, as in NAME:TARGET:ro")
    mount: Mount = {
        "Type": "bind" if source.startswith("/") else "volume",
        "Source": source,
        "Target": target,
        "ReadOnly": "ro" in words,
    }
    if "nocopy" in words:
        mount["VolumeOptions"] = {"NoCopy": True}
    propagation = [word for word in words if word in PROPAGATIONS]
    if propagation:
        mount["BindOptions"] = {"Propagation": propagation[0]}
    return mount, mode


# ------------------------------------------------------------------ --mount

_FLAGS = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive")  # keys that say yes by being there
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
# key -> where it goes: a member of the mount, or one of an object in it
_MEMBERS = {
    "type": ("", "Type"),
    **dict.fromkeys(("source", "src"), ("", "Source")),
    **dict.fromkeys(("target", "dst", "destination"), ("", "Target")),
    **dict.fromkeys(("readonly", "ro"), ("", "ReadOnly")),
    "consistency": ("", "Consistency"),
    "bind-propagation": ("BindOptions", "Propagation"),
    "bind-nonrecursive": ("BindOptions", "NonRecursive"),
    "volume-nocopy": ("VolumeOptions", "NoCopy"),
    "volume-label": ("VolumeOptions", "Labels"),
    "volume-driver": ("VolumeOptions", "Driver"),
    "volume-opt": ("VolumeOptions", "Opt"),
    "tmpfs-size": ("TmpfsOptions", "SizeBytes"),
    "tmpfs-mode": ("TmpfsOptions", "Mode"),
}


def parse_mount(text: str) -> Mount:
    """What ``--mount key=value,…`` asks for; InvalidArgument says what is wrong with it.

    It is a line of CSV, so that a value may have a comma in it: ``"src=/a,b"``.
    """
    import csv  # a few milliseconds, and only --mount needs it

    mount: Mount = {"Type": "volume"}
    for field in next(csv.reader([text]), []):
        key, equals, value = field.partition("=")
        key = key.lower()
        if not equals and key not in _FLAGS:
            raise refused("mount", text, f"invalid field '{field}' must be a key=value pair")
        if key not in _MEMBERS:
            raise refused("mount", text, f"unexpected key '{key}' in '{field}'")
        group, member = _MEMBERS[key]
        place = mount.setdefault(group, {}) if group else mount
        try:
            place[member] = _value(key, value if equals else "true", place.get(member))
        except ValueError:
            raise refused("mount", text, f"invalid value for {key}: {value}") from None
    if not mount.get("Target"):
        raise refused("mount", text, "target is required")
    for group, kind in (("BindOptions", "bind"), ("VolumeOptions", "volume"), ("TmpfsOptions", "tmpfs")):
        if group in mount and mount["Type"] != kind:
            raise refused("mount", text, f"cannot mix '{kind}-*' options with mount type '{mount['Type']}'")
    mount["Source"] = _absolute(mount.get("Source", ""))
    return mount


def _value(key: str, text: str, before: Any) -> Any:
    """The value of a key; ValueError when it is none."""
    if key in _FLAGS:
        if text not in (*_TRUE, *_FALSE):
            raise ValueError
        return text in _TRUE
    if key == "type":
        return text.lower()
    if key == "tmpfs-mode":
        return int(text, 8)
    if key == "tmpfs-size":
        try:
            return units.parse_size(text)
        except InvalidArgument:
            raise ValueError from None
    if key == "volume-label":
        name, _, value = text.partition("=")
        return {**(before or {}), name: value}
    return text


def refused(option: str, text: str, why: str) -> InvalidArgument:
    """What is said of an option's value that cannot be meant."""
    return InvalidArgument(f'invalid argument "{text}" for --{option}: {why}')
