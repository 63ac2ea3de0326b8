"""``container.json``: what was asked of a container, in the words of Docker's API.

It is written once, when the container is created, and read by everything after: the bundle is made from it at
each start, ``inspect`` shows it. The field names are Docker's, so that ``inspect --format`` works as people
know it.
"""

from __future__ import annotations

import os
import time

from minicontainer import units
from minicontainer.engine import options as reading
from minicontainer.errors import Error, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minicontainer.engine.options import Options
    from minicontainer.images.store import Image

    Document = dict[str, Any]

MASKED_PATHS = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def make(
    container_id: str,
    name: str,
    image: Image,
    image_name: str,
    argv: Sequence[str],
    options: Options,
    find: Callable[[str], str],
) -> Document:
    """Everything that was asked of a new container, checked.

    ``find`` turns the name of another container into its id, for ``container:NAME``.
    """
    entrypoint, command = _command(image, argv, options)
    words = [*(entrypoint or ()), *(command or ())]
    if not words:
        raise InvalidArgument(f"no command specified, and the image {image_name} has none of its own")
    if any("\0" in word for word in words):
        raise InvalidArgument("the command has a NUL byte in it")
    return {
        "Id": container_id,
        "Created": units.format_time(time.time_ns()),
        "Path": words[0],
        "Args": words[1:],
        "Image": image.id,
        "Name": f"/{name}",
        "RestartCount": 0,
        "Driver": "overlay",
        "Platform": "linux",
        "Config": _config(container_id, image, image_name, entrypoint, command, options),
        "HostConfig": _host_config(options, find),
        "Mounts": [],  # see minicontainer.engine.mounts
    }


def _command(
    image: Image, argv: Sequence[str], options: Options
) -> tuple[list[str] | None, list[str] | None]:
    """Entrypoint and command: a new entrypoint drops the image's command, a new command replaces only that."""
    own = image.settings
    if options.entrypoint is None:
        return own.get("Entrypoint"), list(argv) or own.get("Cmd")
    given = options.entrypoint
    entrypoint = [given] if isinstance(given, str) else list(given)
    return [word for word in entrypoint if word] or None, list(argv) or None


def _config(
    container_id: str,
    image: Image,
    image_name: str,
    entrypoint: list[str] | None,
    command: list[str] | None,
    options: Options,
) -> dict[str, Any]:
    own = image.settings
    env = dict(e.partition("=")[::2] for e in own.get("Env") or ())
    env.update(e.partition("=")[::2] for e in reading.environment(options))
    workdir = options.workdir or own.get("WorkingDir") or ""
    if workdir and not workdir.startswith("/"):
        raise InvalidArgument(
            f"the working directory {workdir!r} is invalid, it needs to be an absolute path"
        )
    return {
        "Hostname": _hostname(container_id, options),
        "Domainname": options.domainname,
        "User": options.user or own.get("User") or "",
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "StdinOnce": False,
        "Env": [f"{key}={value}" for key, value in env.items()],
        "Cmd": command,
        "Image": image_name,
        "Volumes": own.get("Volumes"),
        "WorkingDir": workdir,
        "Entrypoint": entrypoint,
        "ExposedPorts": dict(own.get("ExposedPorts") or {}),
        "Labels": {**(own.get("Labels") or {}), **reading.pairs("label", options.labels)},
        "StopSignal": _signal(options.stop_signal or own.get("StopSignal") or "SIGTERM"),
        "StopTimeout": options.stop_timeout,
    }


def _hostname(container_id: str, options: Options) -> str:
    if options.uts == "host" or options.network == "host":
        if options.hostname and options.uts == "host":
            raise InvalidArgument("--hostname conflicts with --uts host: the host's name would change")
        return options.hostname or os.uname().nodename
    if len(options.hostname) > 63:
        raise InvalidArgument(f"--hostname {options.hostname}: a host name has 63 characters at most")
    return options.hostname or container_id[:12]


def _signal(name: str) -> str:
    from minicontainer.engine.signals import parse

    parse(name)
    return name


def _host_config(options: Options, find: Callable[[str], str]) -> dict[str, Any]:
    limit, both = reading.memory(options)
    if options.cpus and options.cpu_quota:
        raise InvalidArgument("--cpus and --cpu-quota say the same thing; give one of them")
    if options.blkio_weight and not 10 <= options.blkio_weight <= 1000:
        raise InvalidArgument(f"--blkio-weight {options.blkio_weight}: it is from 10 to 1000")
    if not -1000 <= options.oom_score_adj <= 1000:
        raise InvalidArgument(f"--oom-score-adj {options.oom_score_adj}: it is from -1000 to 1000")
    return {
        "Binds": None,
        "VolumesFrom": None,
        "NetworkMode": _mode("network", options.network, (options.network,), find),
        "PidMode": _mode("pid", options.pid, ("", "host"), find),
        "IpcMode": _mode("ipc", options.ipc or "private", ("none", "private", "shareable", "host"), find),
        "UTSMode": _mode("uts", options.uts, ("", "host")),
        "CgroupnsMode": _mode("cgroupns", options.cgroupns or "private", ("private", "host")),
        "AutoRemove": options.remove,
        "Init": options.init,
        "Privileged": options.privileged,
        "ReadonlyRootfs": options.read_only,
        "CapAdd": reading.capability_names("cap-add", options.cap_add),
        "CapDrop": reading.capability_names("cap-drop", options.cap_drop),
        "SecurityOpt": [opt for opt in map(_security_opt, options.security_opt) if opt],
        "GroupAdd": list(options.group_add),
        "Tmpfs": _tmpfs(options),
        "ConsoleSize": list(options.console_size),
        "ShmSize": reading.size("shm-size", options.shm_size),
        "Sysctls": reading.pairs("sysctl", options.sysctls),
        "Devices": [_device(each) for each in options.devices],
        "DeviceCgroupRules": list(options.device_cgroup_rules),
        "Ulimits": reading.ulimits(options.ulimits),
        "OomScoreAdj": options.oom_score_adj,
        "CgroupParent": options.cgroup_parent,
        "CgroupConf": reading.pairs("cgroup-conf", options.cgroup_conf),
        "Memory": limit,
        "MemorySwap": both,
        "MemoryReservation": reading.size("memory-reservation", options.memory_reservation),
        "NanoCpus": reading.nano_cpus(options.cpus) if options.cpus else 0,
        "CpuShares": options.cpu_shares,
        "CpuPeriod": options.cpu_period,
        "CpuQuota": options.cpu_quota,
        "CpusetCpus": options.cpuset_cpus,
        "CpusetMems": options.cpuset_mems,
        "PidsLimit": options.pids_limit,
        "BlkioWeight": options.blkio_weight,
        "MaskedPaths": [] if _unmasked(options) else MASKED_PATHS,
        "ReadonlyPaths": [] if _unmasked(options) else READONLY_PATHS,
    }


def _unmasked(options: Options) -> bool:
    return options.privileged or "systempaths=unconfined" in options.security_opt


def _mode(option: str, mode: str, known: tuple[str, ...], find: Callable[[str], str] | None = None) -> str:
    """A namespace mode; ``container:NAME`` becomes ``container:ID``."""
    if find and mode.startswith("container:"):
        return "container:" + find(mode.removeprefix("container:"))
    if mode not in known:
        choices = ", ".join(repr(each) for each in known if each)
        raise InvalidArgument(f"--{option} {mode}: no such mode; there is {choices}")
    return mode


def _security_opt(entry: str) -> str:
    """Keep a security option that means something here; a seccomp profile's file is read now, as Docker does."""
    name, _, value = entry.partition("=" if "=" in entry else ":")
    if name == "no-new-privileges":
        return "no-new-privileges" if value in ("", "true") else ""
    if name == "seccomp" and value not in ("unconfined", "builtin"):
        from minicontainer.engine import seccomp

        seccomp.profile_from(value, ())  # says what is wrong with it while its name is known
        with open(value, encoding="utf-8") as file:
            return f"seccomp={file.read()}"
    if (name, value) in (("seccomp", "unconfined"), ("seccomp", "builtin"), ("systempaths", "unconfined")):
        return f"{name}={value}"
    if (name, value) in (("apparmor", "unconfined"), ("label", "disable")):
        return f"{name}={value}"  # nothing here applies such a profile
    raise InvalidArgument(
        f"--security-opt {entry}: not supported; there is no-new-privileges, seccomp=FILE, seccomp=unconfined "
        "and systempaths=unconfined"
    )


def _tmpfs(options: Options) -> dict[str, str]:
    if hasattr(options.tmpfs, "items"):
        entries = dict(options.tmpfs.items())
    else:
        entries = dict(entry.partition(":")[::2] for entry in options.tmpfs)
    for path in entries:
        if not path.startswith("/") or os.path.normpath(path) == "/":
            raise InvalidArgument(f"--tmpfs {path}: it must be an absolute path, and not the root")
    return entries


def _device(entry: str) -> dict[str, str]:
    node = reading.device(entry)[0]
    inside = entry.split(":")[1] if entry.count(":") and "/" in entry.split(":")[1] else entry.split(":")[0]
    return {
        "PathOnHost": entry.split(":")[0],
        "PathInContainer": inside,
        "CgroupPermissions": node["access"],
    }


_LIMITS = {  # what update changes: the option, and its name in HostConfig
    "blkio_weight": "BlkioWeight",
    "cpu_period": "CpuPeriod",
    "cpu_quota": "CpuQuota",
    "cpu_shares": "CpuShares",
    "cpus": "NanoCpus",
    "cpuset_cpus": "CpusetCpus",
    "cpuset_mems": "CpusetMems",
    "memory": "Memory",
    "memory_reservation": "MemoryReservation",
    "memory_swap": "MemorySwap",
    "pids_limit": "PidsLimit",
}


def update(document: Document, **changes: Any) -> None:
    """Change limits of a document in place, as ``update`` does; the same checks as at creation."""
    unknown = changes.keys() - _LIMITS.keys()
    if unknown:
        raise TypeError(f"{min(unknown)!r} is no limit that can be updated")
    host = document["HostConfig"]
    new = reading.size("memory", changes.get("memory", 0))
    if 0 < host["MemorySwap"] < new and "memory_swap" not in changes:
        raise Error(
            "memory limit should be smaller than the already set memory and swap limit; "
            "update --memory-swap at the same time"
        )
    before = {  # what the changes may contradict
        "memory": host["Memory"],
        "memory_swap": host["MemorySwap"],
        "cpus": host["NanoCpus"] / 1_000_000_000,
        "cpu_quota": host["CpuQuota"],
    }
    fresh = _host_config(reading.Options(**{**before, **changes}), lambda name: name)
    for name in changes:
        host[_LIMITS[name]] = fresh[_LIMITS[name]]
    if "memory" in changes and not host["MemorySwap"]:
        host["MemorySwap"] = fresh["MemorySwap"]
