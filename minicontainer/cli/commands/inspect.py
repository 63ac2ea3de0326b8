"""inspect: all that is known of containers and images."""

from __future__ import annotations

import json
import sys

from minicontainer.cli.flags import STRING, Command, Flag, UsageError
from minicontainer.engine import inspection
from minicontainer.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine


def _find(engine: Engine, name: str, kind: str) -> dict[str, Any]:
    """The document of a container of this name, or else of an image, a network or a volume."""
    if kind in ("", "container"):
        try:
            return inspection.container(engine.find(name))
        except NotFound:
            if kind:
                raise
    if kind in ("", "image"):
        try:
            return inspection.image(engine.images.find(name))
        except NotFound:
            if kind:
                raise NotFound(f"no such image: {name}") from None
    if kind in ("", "network"):
        try:
            return engine.networks.find(name).inspect()
        except NotFound:
            if kind:
                raise NotFound(f"no such network: {name}") from None
    try:
        return engine.volumes.find(name).inspect()
    except NotFound:
        raise NotFound(f"no such object: {name}" if not kind else f"no such volume: {name}") from None


def print_documents(names: list[str], find: Callable[[str], dict[str, Any]], fmt: str | None) -> int:
    """Print what ``find`` knows of each name, as ``--format`` says; 1 when one of them is not there."""
    template = None
    if fmt and fmt != "json":
        from minicontainer.cli.gotemplate import Template, TemplateSyntaxError

        try:
            template = Template(fmt)
        except TemplateSyntaxError as error:
            raise UsageError(str(error), 64) from None
    found, status = [], 0
    for name in names:
        try:
            found.append(find(name))
        except NotFound as error:
            print(f"minicontainer: {error}", file=sys.stderr)
            status = 1
    if template:
        for document in found:
            print(template.render(document))
    elif fmt == "json":
        print(json.dumps(found, separators=(",", ":"), ensure_ascii=False))
    else:
        print(json.dumps(found, indent=4, ensure_ascii=False))
    return status


def inspect(engine: Engine, values: Values, names: list[str]) -> int:
    """Inspect containers and images."""
    if values.type not in (None, *_TYPES):
        raise UsageError(f'"{values.type}" is not a valid value for --type', 1)
    return print_documents(names, lambda name: _find(engine, name, values.type or ""), values.format)


def inspect_container(engine: Engine, values: Values, names: list[str]) -> int:
    """Inspect containers."""
    return print_documents(names, lambda name: _find(engine, name, "container"), values.format)


def inspect_image(engine: Engine, values: Values, names: list[str]) -> int:
    """Inspect images."""
    return print_documents(names, lambda name: _find(engine, name, "image"), values.format)


_TYPES = ("container", "image", "network", "volume")
_FORMAT = Flag("f", "format", STRING, "Format the output using the given Go template, or json")
COMMANDS = {
    "inspect": Command(
        "inspect",
        "[OPTIONS] NAME|ID [NAME|ID...]",
        "Return low-level information on containers and images",
        (
            _FORMAT,
            Flag("", "type", STRING, "Return JSON for specified type", values=_TYPES),
        ),
        inspect,
        least=1,
        completes="containers",
    ),
    "container inspect": Command(
        "container inspect",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Display detailed information on one or more containers",
        (_FORMAT,),
        inspect_container,
        least=1,
        completes="containers",
    ),
    "image inspect": Command(
        "image inspect",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Display detailed information on one or more images",
        (_FORMAT,),
        inspect_image,
        least=1,
        completes="images",
    ),
}
