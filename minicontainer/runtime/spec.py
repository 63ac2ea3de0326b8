"""The bundle: ``config.json`` and a root filesystem, all that this half of the package ever reads.

The OCI runtime specification (https://github.com/opencontainers/runtime-spec) says what may stand in it.
What this runtime cannot do must be an error here, before anything is made: a container that silently lacks
a protection it was promised is worse than none.
"""

from __future__ import annotations

import json
import os

from minicontainer.errors import InvalidArgument, NotFound, Unsupported
from minicontainer.runtime import mounts, namespaces, privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]

# What each thing must be, if it is there; [shape] is a list of such, {} an object that somebody else judges.
_STRINGS = [str]
_ID_MAP = {"containerID": int, "hostID": int, "size": int}
_SHAPE: Config = {
    "ociVersion": str,
    "hostname": str,
    "domainname": str,
    "annotations": {},
    "hooks": {},
    "root": {"path": str, "readonly": bool},
    "process": {
        "args": _STRINGS,
        "env": _STRINGS,
        "cwd": str,
        "terminal": bool,
        "noNewPrivileges": bool,
        "oomScoreAdj": int,
        "consoleSize": {"height": int, "width": int},
        "user": {"uid": int, "gid": int, "umask": int, "additionalGids": [int]},
        "capabilities": dict.fromkeys(privileges.SETS, _STRINGS),
        "rlimits": [{"type": str, "soft": int, "hard": int}],
    },
    "mounts": [{"destination": str, "type": str, "source": str, "options": _STRINGS}],
    "linux": {
        "namespaces": [{"type": str, "path": str}],
        "uidMappings": [_ID_MAP],
        "gidMappings": [_ID_MAP],
        "timeOffsets": {name: {"secs": int, "nanosecs": int} for name in ("monotonic", "boottime")},
        "devices": [
            {"type": str, "path": str, "major": int, "minor": int, "fileMode": int, "uid": int, "gid": int}
        ],
        "cgroupsPath": str,
        "resources": {},
        "seccomp": {},
        "sysctl": {},
        "maskedPaths": _STRINGS,
        "readonlyPaths": _STRINGS,
        "rootfsPropagation": str,
    },
}
_REQUIRED = {  # of the objects in a list
    "process.rlimits": ("type", "soft", "hard"),
    "mounts": ("destination",),
    "linux.namespaces": ("type",),
    "linux.uidMappings": tuple(_ID_MAP),
    "linux.gidMappings": tuple(_ID_MAP),
    "linux.devices": ("type", "path"),
}
# What the specification has and this runtime has not.
_UNSUPPORTED = {
    "": ("windows", "solaris", "vm", "zos"),
    "process": ("apparmorProfile", "selinuxLabel", "scheduler", "ioPriority", "execCPUAffinity"),
    "linux": ("mountLabel", "intelRdt", "personality", "netDevices", "memoryPolicy"),
    "mounts": ("uidMappings", "gidMappings"),
}


def load(bundle: str) -> Config:
    """Read and check the ``config.json`` of a bundle, a directory.

    ``root.path`` and the sources of bind mounts come back absolute, and nothing in it is null. Raises NotFound
    without the file, InvalidArgument when it is not what the specification wants, Unsupported when it wants what
    this runtime cannot do.
    """
    path = os.path.join(bundle, "config.json")
    try:
        with open(path, "rb") as file:
            config: Config = json.load(file)
    except FileNotFoundError:
        raise NotFound(f"{bundle} is no bundle: it has no config.json") from None
    except ValueError as error:
        raise InvalidArgument(f"{path} is not JSON: {error}") from None
    try:
        check(config)
    except (InvalidArgument, Unsupported) as error:
        raise type(error)(f"{path}: {error}") from None
    _make_absolute(config, os.path.abspath(bundle))
    if not os.path.isdir(config["root"]["path"]):
        raise NotFound(f"{path}: the root filesystem {config['root']['path']} is not a directory")
    return config


def _make_absolute(config: Config, bundle: str) -> None:
    config["root"]["path"] = os.path.join(bundle, config["root"]["path"])
    for mount in config.get("mounts", ()):
        if mount.get("source") and mounts.is_bind(mount):
            mount["source"] = os.path.join(bundle, mount["source"])


def check(config: Config) -> None:
    """Raise InvalidArgument or Unsupported when this cannot become a container; what is null is taken out."""
    _check_shape(config, _SHAPE, "")
    version = str(config.get("ociVersion", ""))
    _require(version.startswith("1."), f"ociVersion {version!r} is not 1.x")
    _require(config.get("root", {}).get("path"), "root.path is missing")
    process = config.get("process", {})
    _require(process.get("args"), "process.args is missing or empty")
    _require(process.get("cwd", "").startswith("/"), "process.cwd is not an absolute path")
    process.setdefault("user", {})
    _check_privileges(process)
    for mount in config.get("mounts", ()):
        destination = mount["destination"]
        _require(
            destination.startswith("/"), f"the mount destination {destination!r} is not an absolute path"
        )
        _require(
            mount.get("source") or not mounts.is_bind(mount), f"the bind mount on {destination} has no source"
        )
        mounts.check(mount)
    linux = config.get("linux", {})
    for device in linux.get("devices", ()):
        _require(device["path"].startswith("/"), f"the device {device['path']!r} is not an absolute path")
    propagation = linux.get("rootfsPropagation", "")
    known = propagation.removeprefix("r") in mounts.PROPAGATION or not propagation
    _require(
        known,
        f"linux.rootfsPropagation is {propagation!r}; it must be one of {', '.join(mounts.PROPAGATION)}",
    )
    _check_namespaces(linux)
    _check_preconditions(config, {namespaces.find(each["type"]).name for each in linux["namespaces"]})


def _require(condition: object, what: str) -> None:
    if not condition:
        raise InvalidArgument(what)


_WORDS = {dict: "an object", list: "a list", str: "a string", int: "a whole number", bool: "true or false"}


def _check_shape(value: Any, shape: Any, where: str) -> None:
    """Check a value and all below it; ``where`` it stands, as ``process.args[0]``, is for messages."""
    kind = shape if isinstance(shape, type) else type(shape)
    if type(value) is not kind:
        raise InvalidArgument(f"{where or 'it'} must be {_WORDS[kind]}, not {json.dumps(value)[:60]}")
    if isinstance(value, str):
        _require("\0" not in value, f"{where} has a NUL character in it")
    elif isinstance(value, list):
        for index, element in enumerate(value):
            _check_shape(element, shape[0], f"{where}[{index}]")
            for key in _REQUIRED.get(where, ()):
                _require(key in element, f"{where}[{index}].{key} is missing")
    elif isinstance(value, dict):
        _check_members(value, shape, where)


def _check_members(value: Config, shape: Config, where: str) -> None:
    for key in [key for key, member in value.items() if member is None]:
        del value[key]  # Go's encoder writes null for what is not there
    before = f"{where}." if where else ""
    for key in _UNSUPPORTED.get(where.partition("[")[0], ()):
        if value.get(key):
            raise Unsupported(f"{before}{key} is not supported by this runtime")
    for key in value.keys() & shape.keys():
        _check_shape(value[key], shape[key], before + key)


def _check_privileges(process: Config) -> None:
    for names in process.get("capabilities", {}).values():
        privileges.mask(names)
    kinds = [limit["type"] for limit in process.get("rlimits", ())]
    for kind in kinds:
        privileges.rlimit(kind)
        _require(kinds.count(kind) == 1, f"process.rlimits has {kind} twice")


def _check_namespaces(linux: Config) -> None:
    wanted = linux.get("namespaces", [])
    kinds = [namespaces.find(entry["type"]).name for entry in wanted]
    _require(len(kinds) == len(set(kinds)), "linux.namespaces names one kind twice")
    _require("mount" in kinds, "linux.namespaces has no mount namespace; the host's mounts would be changed")
    for entry in wanted:
        path = entry.get("path", "")
        _require(not path or path.startswith("/"), f"the namespace {path!r} is not an absolute path")
        if path and namespaces.find(entry["type"]).name == "mount":
            raise Unsupported(
                "a container cannot join a mount namespace: its root would become that of all in it"
            )


def _check_preconditions(config: Config, kinds: set[str]) -> None:
    """What one part of the configuration needs of another, in the user's words."""
    linux = config["linux"]
    if any(config.get("hooks", {}).values()):
        raise Unsupported("hooks are not supported by this runtime")
    _require(not config.get("hostname") or "uts" in kinds, "a hostname requires a uts namespace of its own")
    _require(
        not config.get("domainname") or "uts" in kinds, "a domainname requires a uts namespace of its own"
    )
    mapped = bool(linux.get("uidMappings") or linux.get("gidMappings"))
    _require(not mapped or "user" in kinds, "uidMappings and gidMappings require a user namespace")
    new = "user" in new_namespaces(config)
    both = linux.get("uidMappings") and linux.get("gidMappings")
    _require(not new or both, "a new user namespace requires uidMappings and gidMappings")
    _require(not linux.get("timeOffsets") or "time" in kinds, "timeOffsets require a time namespace")
    for key in linux.get("sysctl", {}):
        needed = _namespace_of(key)
        _require(needed, f"the sysctl {key} belongs to no namespace; setting it would change the host")
        _require(needed in kinds, f"the sysctl {key} requires a {needed} namespace; it would change the host")


_IPC_SYSCTLS = {
    f"kernel.{name}" for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
}


def _namespace_of(sysctl: str) -> str:
    """The kind of namespace that a kernel parameter belongs to, "" for the whole machine (namespaces(7))."""
    name = sysctl.replace("/", ".")
    if name.startswith("net."):
        return "network"
    if name.startswith("fs.mqueue.") or name in _IPC_SYSCTLS:
        return "ipc"
    return "uts" if name in ("kernel.domainname", "kernel.hostname") else ""


def has_namespace(config: Config, name: str) -> bool:
    """Whether the container gets another namespace of this kind than the caller's: new or joined."""
    return any(namespaces.find(e["type"]).name == name for e in config["linux"].get("namespaces", ()))


def new_namespaces(config: Config) -> list[str]:
    """The kinds of namespaces to be made new, in the table's order."""
    new = {
        namespaces.find(e["type"]).name for e in config["linux"].get("namespaces", ()) if not e.get("path")
    }
    return [namespace.name for namespace in namespaces.NAMESPACES if namespace.name in new]
