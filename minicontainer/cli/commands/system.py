"""About the engine and its host: version, info, doctor."""

from __future__ import annotations

import json

from minicontainer.cli.flags import STRING, Command, Flag
from minicontainer.engine import about

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine


def _print(document: dict[str, Any], fmt: str | None) -> bool:
    """Print a document by a template, if there is one."""
    if fmt == "json":
        print(json.dumps(document, separators=(",", ":")))
    elif fmt:
        from minicontainer.cli.gotemplate import Template

        print(Template(fmt).render(document))
    return bool(fmt)


def version(engine: Engine, values: Values, _: list[str]) -> None:
    """Print versions."""
    document = about.version()
    if not _print(document, values.format):
        for part, name in (("Client", "Client"), ("Server", "Engine")):
            print(f"{name}:")
            for key, value in document[part].items():
                print(f" {key + ':':<18}{value}")


def info(engine: Engine, values: Values, _: list[str]) -> None:
    """Print what the engine has and what its host is."""
    document = about.info(engine)
    if not _print(document, values.format):
        for key, value in document.items():
            text = " ".join(value) if isinstance(value, list) else value
            print(f" {about.TITLES.get(key, key)}: {text}")


def doctor(engine: Engine, values: Values, _: list[str]) -> int:
    """Examine the host, a line for each thing, and end with 1 when something necessary is missing."""
    from minicontainer.engine import doctor as examiner

    missing = 0
    for check in examiner.examine():
        print(check, flush=True)
        missing += check.result == examiner.MISSING
    if missing:
        print(f"\n{missing} of these must be mended before containers can run here")
    return 1 if missing else 0


_FORMAT = Flag("f", "format", STRING, "Format the output using the given Go template, or json")
COMMANDS = {
    "version": Command("version", "[OPTIONS]", "Show the version information", (_FORMAT,), version, most=0),
    "info": Command("info", "[OPTIONS]", "Display system-wide information", (_FORMAT,), info, most=0),
    "doctor": Command(
        "doctor", "", "Say what this host can and cannot do, and how to mend it", (), doctor, most=0
    ),
}
