"""Leaving no trace: what a chapter makes can be told from everything else by its name.

Containers, images and networks of a chapter are called ``lab-…``; its cgroups are below the one of
:func:`cgroup_path`; its files are in the directory of :func:`workbench`; its processes have
:data:`~minicontainer.lab.children.MARK` in their environment. What has no name, the steps of builds and the images
that have lost theirs, is known by its age: it is younger than the workbench. So what is left of a run that was
broken off is found by the next one, also by another kernel.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from minicontainer import units
from minicontainer.engine import api, build_cache
from minicontainer.errors import Error
from minicontainer.files import remove_tree
from minicontainer.kernel import mount
from minicontainer.lab import networks, shelf, traffic
from minicontainer.lab.children import MARK, mark
from minicontainer.runtime.cgroups import Cgroup, hierarchies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.container import Container
    from minicontainer.images.builds import Record
    from minicontainer.images.image import Image

PREFIX = "lab-"
_DIES_WITHIN = 5.0  # seconds
_before: list[str] = []  # where the notebook was, before it went to its workbench


class LeftBehind(Error):
    """Something of the chapter's is still there after cleaning up."""


def cgroup_path(name: str = "") -> str:
    """Where a chapter's own cgroup ``name`` is, below each hierarchy: ``/minicontainer-lab/name``."""
    return f"/{mark()}/{name}".rstrip("/")


def workbench() -> None:
    """Make an empty directory and go there; children begin there too, and :func:`clean_up` removes it.

    It is beside the containers, on a filesystem that can hold what overlayfs writes.
    """
    _clear_workbench()
    if not _before:
        _before.append(os.getcwd())
    os.makedirs(_workbench_path())
    with open(_begun_path(), "a"):
        pass  # its time is that of the beginning
    os.chdir(_workbench_path())


def _workbench_path() -> str:
    return os.path.join(api.default_engine().root, mark())


def _begun_path() -> str:
    return f"{_workbench_path()}.begun"


def clean_up() -> None:
    """Remove what the chapter has made, and show that nothing of it is left; may be called again.

    :raises LeftBehind: when something is
    """
    for line in remove_all():
        print(f"removed {line}")
    left = remains()
    for kind, names in left.items():
        print(f"{kind + ':':<12}{', '.join(names) or 'none left'}")
    if any(left.values()):
        raise LeftBehind(
            "the chapter has left something behind, named above; a restart of the kernel may help"
        )


def remove_all() -> list[str]:
    """Remove what there is; says what it was."""
    traffic.close_all()
    removed = shelf.close_all()
    for name in api.default_engine().rollouts.names():
        if name.startswith(PREFIX):  # before its containers, which belong to it
            removed.append(f"rollout {name}")
            api.default_engine().rollouts.open(name).remove(force=True, drain_time=0)
    for container in _containers():
        removed.append(f"container {container.name}")
        container.remove(force=True)
    for name in networks.made():
        removed.append(f"network {name}")
        api.default_engine().networks.remove(name)
    for name in _images():
        removed.append(f"image {name}")
        api.default_engine().remove_image(name, force=True)
    removed += _remove_nameless()
    for pid, name in _processes():
        removed.append(f"process {name}")
        os.kill(pid, signal.SIGKILL)
    top = Cgroup(cgroup_path())
    if top.exists():
        removed.append(f"cgroup {top.path}")
        top.kill()
        top.remove()
    deadline = time.monotonic() + _DIES_WITHIN
    while (_processes() or networks.strays()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return removed + _clear_workbench()


def _remove_nameless() -> list[str]:
    """Remove the images without a name and the steps of builds that the chapter has made."""
    engine = api.default_engine()
    images, steps = _nameless(), _steps()
    for image in images:
        engine.remove_image(image.id, force=True)
    build_cache.forget(engine, steps)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_begun_path())
    return [*(["images without a name"] if images else []), *(["steps of builds"] if steps else [])]


def _clear_workbench() -> list[str]:
    """Remove the workbench, and go back to where the notebook was before."""
    path = _workbench_path()
    removed = []
    for point in reversed(_mounts()):
        if point.startswith(f"{path}/"):  # or what is mounted there would be emptied with it
            mount.umount2(point, mount.MNT_DETACH)
            removed.append(f"mount {os.path.basename(point)}")
    if not os.path.isdir(path):
        return removed
    if _before:
        os.chdir(_before[0])
    remove_tree(path)
    return [*removed, f"directory {os.path.basename(path)}"]


def remains() -> dict[str, list[str]]:
    """What there is of a chapter's, and of networks what belongs to nobody."""
    return {
        "containers": [*(container.name for container in _containers()), *_rollouts()],
        "networks": [*networks.made(), *networks.strays()],
        "images": [*_images(), *(image.short_id for image in _nameless()), *(step.step for step in _steps())],
        "processes": [f"{name} (pid {pid})" for pid, name in _processes()],
        "cgroups": _cgroups(),
        "mounts": _mounts(),
    }


def _containers() -> list[Container]:
    return [each for each in api.list_containers(all=True) if each.name.startswith(PREFIX)]


def _rollouts() -> list[str]:
    """The rollouts, and networks that have outlived theirs."""
    engine, start = api.default_engine(), f"rollout-{PREFIX}"
    left = [name for name in engine.networks.names() if name.startswith(start)]
    return [*(name for name in engine.rollouts.names() if name.startswith(PREFIX)), *left]


def _images() -> list[str]:
    names = [name.familiar for image in api.list_images() for name in image.names]
    return [name for name in names if name.rpartition("/")[2].startswith(PREFIX)]  # at whatever registry


def _begun() -> int | None:
    """When the workbench was made, in nanoseconds since 1970."""
    try:
        return os.stat(_begun_path()).st_mtime_ns
    except FileNotFoundError:
        return None


def _nameless() -> list[Image]:
    """The images that are younger than the workbench and have no name, as one whose name went to a newer one."""
    begun = _begun()
    nameless = [image for image in api.list_images() if not image.names]
    return [image for image in nameless if begun and (image.moment() or 0) >= begun]


def _steps() -> list[Record]:
    """The steps of builds that are younger than the workbench."""
    begun = _begun()
    steps = api.default_engine().images.builds.all()
    return [step for step in steps if begun and units.parse_rfc3339(step.created) >= begun]


def _processes() -> list[tuple[int, str]]:
    """The children of notebooks: (pid, name)."""
    wanted = f"{MARK}={mark()}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                ours = wanted in file.read().split(b"\0")
            with open(f"/proc/{entry}/comm") as file:
                name = file.read().strip()
        except OSError:
            continue  # it has ended, or is a thread of the system's
        if ours:
            found.append((int(entry), name))
    return found


def _cgroups() -> list[str]:
    directories = [hierarchy.directory(cgroup_path()) for hierarchy in hierarchies()]
    return [directory for directory in directories if os.path.isdir(directory)]


def _mounts() -> list[str]:
    """Mounts of containers that this process can see; there should never be any (proc_pid_mountinfo(5))."""
    root = api.default_engine().root
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    return [
        point
        for point in points
        if point.startswith((f"{root}/containers/", f"{_workbench_path()}/"))
        or os.path.basename(point).startswith(PREFIX)
    ]
