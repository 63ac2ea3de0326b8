"""``version`` and ``info``: what this is and where it runs."""

from __future__ import annotations

import os
import sys

from minicontainer.engine.container import PAUSED, RUNNING
from minicontainer.engine.engine import Engine
from minicontainer.runtime import cgroups, oci
from minicontainer.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TITLES = {
    "ContainersRunning": "Running",
    "ContainersPaused": "Paused",
    "ContainersStopped": "Stopped",
    "ServerVersion": "Server Version",
    "Driver": "Storage Driver",
    "CgroupDriver": "Cgroup Driver",
    "CgroupVersion": "Cgroup Version",
    "CgroupMode": "Cgroup Mode",
    "SecurityOptions": "Security Options",
    "KernelVersion": "Kernel Version",
    "OperatingSystem": "Operating System",
    "NCPU": "CPUs",
    "MemTotal": "Total Memory",
    "DockerRootDir": "Root Dir",
}


def version() -> dict[str, Any]:
    """Docker's shape: a client and a server, which here are one."""
    python = ".".join(str(number) for number in sys.version_info[:3])
    common = {
        "Version": VERSION,
        "PythonVersion": python,
        "Os": "linux",
        "Arch": os.uname().machine,
    }
    return {
        "Client": common,
        "Server": {**common, "RuntimeSpec": oci.VERSION, "KernelVersion": os.uname().release},
    }


def info(engine: Engine) -> dict[str, Any]:
    """What there is, and what the host can do."""
    states = [container.status for container in engine.containers(all=True)]
    hierarchies = cgroups.hierarchies()
    controllers = {controller for hierarchy in hierarchies for controller in hierarchy.controllers}
    return {
        "Containers": len(states),
        "ContainersRunning": states.count(RUNNING),
        "ContainersPaused": states.count(PAUSED),
        "ContainersStopped": len(states) - states.count(RUNNING) - states.count(PAUSED),
        "Images": len(engine.images.images()),
        "ServerVersion": VERSION,
        "Driver": "overlay",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2" if cgroups.mode() == "v2" else "1",
        "CgroupMode": cgroups.mode(),
        "MemoryLimit": "memory" in controllers,
        "CpuCfsQuota": "cpu" in controllers,
        "PidsLimit": "pids" in controllers,
        "SecurityOptions": ["name=seccomp,profile=default"],
        "KernelVersion": os.uname().release,
        "OperatingSystem": _operating_system(),
        "OSType": "linux",
        "Architecture": os.uname().machine,
        "NCPU": os.cpu_count(),
        "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "Name": os.uname().nodename,
        "DockerRootDir": engine.root,
    }


def _operating_system() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith("PRETTY_NAME=")]
    except FileNotFoundError:
        return "Linux"
    return lines[0].partition("=")[2].strip().strip("\"'") if lines else "Linux"
