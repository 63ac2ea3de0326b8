"""Before a chapter begins: can this host do what it needs?

The host is asked by ``doctor``, which tries each thing instead of reading version numbers. What is missing is
told in one line, with how to get it; the notebook stops there, without a traceback.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from minicontainer.engine import api
from minicontainer.engine.doctor import MISSING, OK
from minicontainer.errors import Error, NotFound, Unsupported
from minicontainer.images import rootfs
from minicontainer.lab import tidy
from minicontainer.lab.children import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Found = list[list[str]]  # name, result, detail and remedy of each of doctor's checks

IMAGE = "alpine"
_CONTROLLERS = ("memory", "cpu", "pids", "cpuset")
_PROGRAMS = {"haproxy": "apt-get install haproxy", "ip": "apt-get install iproute2"}
_EXAMINE = """
import json
from minicontainer.engine import doctor
print(json.dumps([[check.name, check.result, check.detail, check.remedy] for check in doctor.examine()]))
"""


class NotReady(Unsupported):
    """This host lacks something that the chapter needs; the message says what, and how to get it."""


def require(*needs: str) -> None:
    """Print a line for each need, and make sure of it.

    :param needs: of ``root``, ``namespaces``, ``overlay``, ``seccomp``, ``cgroups``, ``memory``, ``cpu``,
        ``pids``, ``cpuset``, ``networks``, ``ip``, ``haproxy``, and ``image``: an image ``alpine``, which is made
        when there is none
    :raises NotReady: with the one line that says what is missing and how to get it
    """
    found = examine()
    for need in needs:
        if need == "image":
            detail = _image()
        elif need in _PROGRAMS:
            detail = _program(need)
        else:
            detail = _judge(need, found)
        print(f"ok  {need}: {detail}")
    if removed := tidy.remove_all():
        print(f"    removed what an earlier run had left: {', '.join(removed)}")


def examine() -> Found:
    """What doctor says, asked in a process of its own: it forks, and a notebook's kernel has threads."""
    done = subprocess.run(
        [sys.executable, "-c", _EXAMINE], env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Error(f"doctor failed: {done.stderr.strip().splitlines()[-1]}")
    found: Found = json.loads(done.stdout)
    return found


def _judge(need: str, found: Found) -> str:
    concerned = [check for check in found if _CHECKS[need](check[0])]
    for name, result, detail, remedy in concerned:
        # To doctor a controller is something that containers can do without; to a chapter on it, it is not.
        if result == MISSING or (result != OK and need != "namespaces"):
            raise NotReady(f"{name}: {detail}; to get it: {remedy}")
    if need in ("namespaces", "networks"):
        return ", ".join(name.removesuffix(" namespaces") for name, result, *_ in concerned if result == OK)
    if need in _CONTROLLERS:
        return f"the {need} controller, for {concerned[0][2]}"
    return ", ".join(detail for _, _, detail, _ in concerned)


def _program(name: str) -> str:
    if shutil.which(name) is None:
        raise NotReady(f"the program {name} is not installed; to get it: {_PROGRAMS[name]}")
    return "installed"


def _named(name: str) -> Callable[[str], bool]:
    return lambda check: check == name


_CHECKS: dict[str, Callable[[str], bool]] = {
    "root": _named("privileges"),
    "namespaces": lambda check: check.endswith(" namespaces"),
    "overlay": _named("overlay filesystem"),
    "networks": lambda check: check in ("bridges and veths", "nftables"),
    "seccomp": _named("seccomp"),
    "cgroups": _named("cgroups"),
    **{name: _named(f"{name} controller") for name in _CONTROLLERS},
}


def _image() -> str:
    """Make sure of the image; says where it is from."""
    engine = api.default_engine()
    try:
        return f"{engine.images.find(IMAGE).name} is in the store"
    except NotFound:
        pass
    try:
        fetched = rootfs.obtain()
        api.import_image(fetched.path, IMAGE, change=['CMD ["/bin/sh"]'], engine=engine)
    except (Error, OSError) as error:
        raise NotReady(f"no image {IMAGE}: {error}") from None
    return f"{IMAGE} made now, from {fetched}"
