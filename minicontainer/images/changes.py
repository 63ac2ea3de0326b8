"""``--change 'CMD ["/bin/sh"]'``: an instruction of a Dockerfile that changes only an image's configuration."""

from __future__ import annotations

import json
import shlex

from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Config = dict[str, Any]


def apply(config: Config, instructions: Sequence[str]) -> Config:
    """Return a copy of an image's ``config`` with the instructions applied; InvalidArgument names a bad one."""
    config = dict(config)
    done: list[str] = []
    for text in instructions:
        word, _, rest = text.strip().partition(" ")
        change = _CHANGES.get(word.upper())
        if change is None:
            raise InvalidArgument(f"--change {text!r}: {word} is not one of {', '.join(sorted(_CHANGES))}")
        if not rest.strip():
            raise InvalidArgument(f"--change {text!r}: {word} requires at least one argument")
        try:
            change(config, rest.strip())
        except ValueError as error:
            raise InvalidArgument(f"--change {text!r}: {error}") from None
        done.append(word.upper())
        if done[-1] == "ENTRYPOINT" and "CMD" not in done:
            config.pop("Cmd", None)  # it was meant for another program (Dockerfile reference, ENTRYPOINT)
    return config


def _command(rest: str) -> list[str]:
    """The exec form, a JSON array, or else the shell form."""
    try:
        words = json.loads(rest)
    except ValueError:
        words = None
    if not isinstance(words, list):
        return ["/bin/sh", "-c", rest]
    if not all(isinstance(word, str) for word in words):
        raise ValueError("the words of an array must be strings")
    return words


def _pairs(rest: str) -> dict[str, str]:
    """``NAME=value …`` with quotes, or the old ``NAME value``."""
    if "=" not in rest.split()[0]:
        name, _, value = rest.partition(" ")
        if not value.strip():
            raise ValueError(f"{name} has no value")
        return {name: value.strip()}
    words = shlex.split(rest)
    for word in words:
        if "=" not in word[1:]:
            raise ValueError(f"{word!r} is not NAME=value")
    return dict(word.split("=", 1) for word in words)


def _env(config: Config, rest: str) -> None:
    variables = dict(entry.split("=", 1) for entry in config.get("Env") or ())
    config["Env"] = [f"{name}={value}" for name, value in {**variables, **_pairs(rest)}.items()]


def _labels(config: Config, rest: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **_pairs(rest)}


def _ports(config: Config, rest: str) -> None:
    ports: Config = {port: {} for word in rest.split() for port in _port_range(word)}
    config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **ports}


def _port_range(text: str) -> list[str]:
    """``80``, ``53/udp`` or ``8000-8002`` as a list of ``80/tcp``."""
    numbers, _, protocol = text.lower().partition("/")
    first, _, last = numbers.partition("-")
    protocol, last = protocol or "tcp", last or first
    known = protocol in ("tcp", "udp", "sctp") and f"{first}{last}".isascii()
    if not known or not first.isdecimal() or not last.isdecimal() or not int(first) <= int(last) < 1 << 16:
        raise ValueError(f"{text!r} is not a port")
    return [f"{number}/{protocol}" for number in range(int(first), int(last) + 1)]


def _volumes(config: Config, rest: str) -> None:
    paths = json.loads(rest) if rest.startswith("[") else rest.split()
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _workdir(config: Config, rest: str) -> None:
    import posixpath

    config["WorkingDir"] = posixpath.normpath(posixpath.join(config.get("WorkingDir") or "/", rest))


def _set(key: str) -> Callable[[Config, str], None]:
    def change(config: Config, rest: str) -> None:
        config[key] = rest

    return change


def _set_command(key: str) -> Callable[[Config, str], None]:
    def change(config: Config, rest: str) -> None:
        config[key] = _command(rest)

    return change


_CHANGES: dict[str, Callable[[Config, str], None]] = {
    "CMD": _set_command("Cmd"),
    "ENTRYPOINT": _set_command("Entrypoint"),
    "ENV": _env,
    "EXPOSE": _ports,
    "LABEL": _labels,
    "STOPSIGNAL": _set("StopSignal"),
    "USER": _set("User"),
    "VOLUME": _volumes,
    "WORKDIR": _workdir,
}
