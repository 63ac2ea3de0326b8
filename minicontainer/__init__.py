"""minicontainer: a container runtime to read, chapter by chapter, and then to use.

>>> import minicontainer
>>> print(minicontainer.run("alpine", ["cat", "/etc/alpine-release"], memory="16m"))
3.20.3
>>> web = minicontainer.run("alpine", ["sleep", "1000"], detach=True, name="web")
>>> web.exec(["hostname"]).strip() == web.short_id
True
>>> web.remove(force=True)

The names below are all that is meant for programs; each is loaded when it is first used.
"""

from __future__ import annotations

from minicontainer import version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.build.api import build_image
    from minicontainer.engine.api import (
        Output,
        ProgramError,
        default_engine,
        import_image,
        list_containers,
        list_images,
        pull,
        push,
        run,
    )
    from minicontainer.engine.container import Container
    from minicontainer.engine.engine import Engine
    from minicontainer.engine.options import Options
    from minicontainer.errors import Error
    from minicontainer.images.store import Image

__all__ = [
    "Container",
    "Engine",
    "Error",
    "Image",
    "Options",
    "Output",
    "ProgramError",
    "__version__",
    "build_image",
    "default_engine",
    "import_image",
    "list_containers",
    "list_images",
    "pull",
    "push",
    "run",
]

__version__ = version.VERSION

_HOMES = {
    "Container": "engine.container",
    "Engine": "engine.engine",
    "Error": "errors",
    "Image": "images.store",
    "Options": "engine.options",
    "build_image": "build.api",
    **dict.fromkeys(
        ("Output ProgramError default_engine import_image list_containers list_images pull push run").split(),
        "engine.api",
    ),
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562): the command line pays only for what it needs."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"minicontainer.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
