"""From what was asked to what is run: an OCI bundle out of a container's document.

This is the seam between the two halves. Everything that Docker's words mean in the kernel's is decided here:
which namespaces are new, which mounts there are, what the capabilities come to. The low half reads the
``config.json`` that comes of it, and nothing else.
"""

from __future__ import annotations

import json
import os

from minicontainer.engine import limits, mount_list, users
from minicontainer.engine.record import cgroup_path
from minicontainer.errors import Error, InvalidArgument
from minicontainer.kernel import capabilities
from minicontainer.runtime import oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minicontainer.engine.container import Container
    from minicontainer.engine.document import Document
    from minicontainer.engine.users import User

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)


def config(
    document: Document, rootfs: str, files: str, user: User, pid_of: Callable[[str], int]
) -> dict[str, Any]:
    """The OCI configuration of a container.

    :param rootfs: its root filesystem, mounted
    :param files: the directory with the ``hostname``, ``hosts`` and ``resolv.conf`` made for it
    :param user: who its ``Config.User`` is in that root filesystem
    :param pid_of: the pid of another, running container, by its id
    """
    host = document["HostConfig"]
    return {
        "ociVersion": oci.VERSION,
        "process": process(document, user),
        "root": {"path": rootfs, "readonly": host["ReadonlyRootfs"]},
        "hostname": "" if host["UTSMode"] == "host" else document["Config"]["Hostname"],
        "domainname": document["Config"]["Domainname"],
        "mounts": mount_list.make(document, files),
        "annotations": {oci.INIT: "true"} if host["Init"] else {},
        "linux": {
            "namespaces": _namespaces(host, pid_of),
            "resources": limits.resources(document),
            "cgroupsPath": cgroup_path(document),
            "devices": limits.all_devices() if host["Privileged"] else limits.devices(host),
            "sysctl": _sysctls(host),
            "maskedPaths": host["MaskedPaths"],
            "readonlyPaths": host["ReadonlyPaths"],
            "seccomp": _seccomp(document),
        },
    }


# ------------------------------------------------------------------ the process


def process(document: Document, user: User) -> dict[str, Any]:
    """The OCI ``process`` object of the container's own command."""
    own, host = document["Config"], document["HostConfig"]
    return {
        "terminal": own["Tty"],
        "consoleSize": dict(zip(("height", "width"), host["ConsoleSize"], strict=True)),
        "user": user.oci(),
        "args": [document["Path"], *document["Args"]],
        "env": environment(document, own["Env"], own["Tty"], user),
        "cwd": own["WorkingDir"] or "/",
        "capabilities": capability_sets(host, user),
        "rlimits": [
            {"type": f"RLIMIT_{limit['Name'].upper()}", "soft": limit["Soft"], "hard": limit["Hard"]}
            for limit in host["Ulimits"]
        ],
        "noNewPrivileges": "no-new-privileges" in host["SecurityOpt"],
        "oomScoreAdj": host["OomScoreAdj"],
    }


def exec_process(
    container: Container,
    args: list[str],
    *,
    tty: bool = False,
    user: str = "",
    workdir: str = "",
    env: Sequence[str] = (),
    privileged: bool = False,
    size: dict[str, int] | None = None,
) -> dict[str, Any]:
    """The OCI ``process`` object of one more process in a running container: its own, but for what is asked.

    Raises Conflict when the container is not running, Error when it does not know the user.
    """
    document = container.document
    cwd = workdir or document["Config"]["WorkingDir"] or "/"
    if not cwd.startswith("/"):
        raise InvalidArgument(f"the working directory {cwd!r} is invalid, it needs to be an absolute path")
    root = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        who = users.resolve(root, user or document["Config"]["User"])
    finally:
        os.close(root)
    if privileged:
        document = {**document, "HostConfig": {**document["HostConfig"], "Privileged": True}}
    return {
        **process(document, who),
        "terminal": tty,
        "consoleSize": size,
        "args": list(args),
        "env": environment(document, [*document["Config"]["Env"], *env], tty, who),
        "cwd": cwd,
    }


def environment(document: Document, given: list[str], tty: bool, user: User) -> list[str]:
    """Docker's defaults, then what was asked for, then the home directory if nobody gave one."""
    variables = {"PATH": DEFAULT_PATH, "HOSTNAME": document["Config"]["Hostname"]}
    if tty:
        variables["TERM"] = "xterm"
    variables.update(entry.partition("=")[::2] for entry in given)
    variables.setdefault("HOME", user.home)
    return [f"{name}={value}" for name, value in variables.items()]


def capability_sets(host: dict[str, Any], user: User) -> dict[str, list[str]]:
    """The OCI capability sets. Someone who is not root gets only the bound, which set-user-ID programs use."""
    granted = _capabilities(host)
    own = granted if user.uid == 0 else []
    return {"bounding": granted, "permitted": own, "effective": own, "inheritable": [], "ambient": []}


def _capabilities(host: dict[str, Any]) -> list[str]:
    """The default set, less what is dropped, with what is added; ``ALL`` stands for every one (docker run)."""
    available = capabilities.available()
    if host["Privileged"]:
        return available
    add, drop = host["CapAdd"], host["CapDrop"]
    lacking = [name for name in add if name not in (*available, "ALL")]
    if lacking:
        raise Error(f"--cap-add {lacking[0]}: this process does not have it, so it cannot give it")
    if "ALL" in add:
        granted = available
    elif "ALL" in drop:
        granted = []
    else:
        granted = [name for name in DEFAULT_CAPABILITIES if name in available]
    granted = [name for name in granted if name not in drop]
    return granted + [name for name in add if name not in (*granted, "ALL")]


def _seccomp(document: Document) -> dict[str, Any] | None:
    host = document["HostConfig"]
    options = [o.partition("=")[2] for o in host["SecurityOpt"] if o.startswith("seccomp=")]
    if options == ["unconfined"] or (host["Privileged"] and not options):
        return None
    from minicontainer.engine import seccomp

    granted = _capabilities(host)
    if not options or options[-1] == "builtin":
        return seccomp.default_profile(granted)
    return seccomp.resolve(json.loads(options[-1]), granted)  # as the file was when the container was created


# ------------------------------------------------------------------ what it sees


def _namespaces(host: dict[str, Any], pid_of: Callable[[str], int]) -> list[dict[str, str]]:
    kinds = {
        "pid": ("pid", host["PidMode"]),
        "network": ("net", host["NetworkMode"]),
        "ipc": ("ipc", host["IpcMode"]),
        "uts": ("uts", host["UTSMode"]),
        "cgroup": ("cgroup", host["CgroupnsMode"]),
    }
    result: list[dict[str, str]] = [{"type": "mount"}]
    for kind, (file, mode) in kinds.items():
        if mode.startswith("container:"):
            pid = pid_of(mode.removeprefix("container:"))
            result.append({"type": kind, "path": f"/proc/{pid}/ns/{file}"})
        elif mode != "host":
            result.append({"type": kind})
    return result


def _sysctls(host: dict[str, Any]) -> dict[str, str]:
    """Docker's two: anybody may use low ports and ping; then what was asked for."""
    sysctls = {}
    if host["NetworkMode"] != "host" and not host["NetworkMode"].startswith("container:"):
        sysctls["net.ipv4.ip_unprivileged_port_start"] = "0"
        sysctls["net.ipv4.ping_group_range"] = "0 2147483647"
        if os.path.exists("/proc/sys/net/ipv6"):  # a device has it when its network does
            sysctls["net.ipv6.conf.default.disable_ipv6"] = "1"
    for key, value in host["Sysctls"].items():
        _check_sysctl(key, host)
        sysctls[key] = value
    return sysctls


_IPC_SYSCTLS = tuple(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


def _check_sysctl(key: str, host: dict[str, Any]) -> None:
    """Refuse a parameter that is not the container's own: it would change the host."""
    if key.startswith("net."):
        if host["NetworkMode"] == "host":
            raise InvalidArgument(
                f"--sysctl {key}: not allowed with --network host, it would change the host"
            )
    elif key.startswith("fs.mqueue.") or key in _IPC_SYSCTLS:
        if host["IpcMode"] == "host":
            raise InvalidArgument(f"--sysctl {key}: not allowed with --ipc host, it would change the host")
    elif key != "kernel.domainname":
        raise InvalidArgument(f"--sysctl {key}: not a parameter of a namespace, it would change the host")
