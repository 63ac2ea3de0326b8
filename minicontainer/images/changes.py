"""The instructions that change only an image's configuration: CMD, ENV, EXPOSE, WORKDIR and their like.

An image is layers, and a small document that says how a container of it is to be started. Half of the
instructions of a Dockerfile write into this document and never touch a file. They also work on a finished
image, as ``commit --change 'CMD ["/bin/sh"]'`` and ``import --change …``.

Two forms run through all of them. In the *exec form*, ``CMD ["ls", "-l"]``, the words stand in a JSON array and
are the command as it is. In the *shell form*, ``CMD ls -l``, the text is a line for the image's shell:
``["/bin/sh", "-c", "ls -l"]``, and that shell is what replaces variables in it when the container runs. In the
other instructions, which no shell will ever see, variables are replaced here and now (``words.py``).

Source: the Dockerfile reference; the OCI image specification, config.md.
"""

from __future__ import annotations

import posixpath

from minicontainer import words as language
from minicontainer.errors import InvalidArgument
from minicontainer.images import forms, healthcheck
from minicontainer.images.ports import exposed
from minicontainer.images.statement import Statement, check_paths
from minicontainer.images.stopsignal import check_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from minicontainer.images.statement import Flags

    Config = dict[str, Any]
    Expand = Callable[[str], str]

# What --change takes. The others have no meaning outside of a build: MAINTAINER, SHELL.
_FOR_FINISHED_IMAGES = (
    *("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK"),
    *("LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
)


def apply(config: Config, instructions: Sequence[str]) -> Config:
    """Return a copy of an image's ``config`` with the instructions applied; InvalidArgument names a bad one."""
    config = dict(config)
    done: list[str] = []
    for text in instructions:
        name, rest = forms.cut(text)
        name = name.upper()
        if name not in _FOR_FINISHED_IMAGES:
            raise InvalidArgument(
                f"--change {text!r}: {name} is not one of {', '.join(_FOR_FINISHED_IMAGES)}"
            )
        try:
            _apply(config, name, rest)
        except InvalidArgument as error:
            raise InvalidArgument(f"--change {text!r}: {error}") from None
        done.append(name)
        if name == "ENTRYPOINT" and "CMD" not in done:
            config.pop("Cmd", None)  # it was meant for another program (Dockerfile reference, ENTRYPOINT)
    return config


def _apply(config: Config, name: str, rest: str) -> None:
    options, rest = forms.cut_flags(rest)
    flags = {}
    for option in options:
        flag, _, value = option[2:].partition("=")
        if name != "HEALTHCHECK" or flag not in healthcheck.FLAGS:
            raise InvalidArgument(f"unknown flag: {flag}")
        flags[flag] = [value]
    if not rest:
        raise InvalidArgument(f"{name} requires at least one argument")
    words = forms.json_form(healthcheck.command(rest) if name == "HEALTHCHECK" else rest)
    change(config, name, rest, words=words, flags=flags, variables=environment(config))


def environment(config: Config) -> dict[str, str]:
    """The variables of an image, from its ``Env``."""
    return dict(entry.split("=", 1) for entry in config.get("Env") or () if "=" in entry)


def change(
    config: Config,
    name: str,
    rest: str,
    *,
    words: list[str] | None = None,
    flags: Flags | None = None,
    variables: Mapping[str, str] | None = None,
    escape: str = "\\",
) -> str:
    """Change an image's ``config`` by one instruction, and return that instruction in canonical words.

    ``rest`` is the text after the flags, as it was written; ``words`` is what its JSON form holds, None when it
    is in the shell form; ``flags`` as ``{"interval": ["5s"]}``; ``variables`` is what ``$name`` may stand for,
    where the instruction allows that. The words returned are those that Docker's history shows after ``#(nop)``:
    ``CMD ["/bin/sh"]``, ``ENV A=b C=d``, ``EXPOSE 53/udp 80``. Raises InvalidArgument, and then nothing has
    changed. ENTRYPOINT leaves an inherited ``Cmd`` alone: whether it was set in this build the caller knows.
    MAINTAINER changes nothing: the author stands beside an image's config, not in it.
    """
    statement = Statement(name, rest, words, flags, escape)
    statement.check()

    def expand(text: str) -> str:
        return language.expand(text, variables or {}, escape)

    if name == "EXPOSE":  # the one where a variable may hold several words
        return f"EXPOSE {_expose(config, statement, variables or {})}"
    return f"{name} {_CHANGES[name](config, statement, expand)}"


def _command(config: Config, statement: Statement, expand: Expand) -> str:
    config["Cmd"] = statement.command(config.get("Shell"))
    return _quoted(config["Cmd"])


def _entrypoint(config: Config, statement: Statement, expand: Expand) -> str:
    argv = statement.command(config.get("Shell")) if statement.rest else []
    config["Entrypoint"] = argv or None
    return _quoted(argv)


def _quoted(argv: Sequence[str]) -> str:
    return f"[{' '.join(language.quote(word) for word in argv)}]"


def _env(config: Config, statement: Statement, expand: Expand) -> str:
    new = [(expand(name), expand(value)) for name, value in statement.pairs()]
    for name, value in new:
        if not name:
            raise InvalidArgument(f"invalid environment variable: ={value}; its name is empty")
    config["Env"] = [f"{name}={value}" for name, value in {**environment(config), **dict(new)}.items()]
    return _written(new)


def _label(config: Config, statement: Statement, expand: Expand) -> str:
    new = [(expand(name), expand(value)) for name, value in statement.pairs()]
    config["Labels"] = {**(config.get("Labels") or {}), **dict(new)}
    return _written(new)


def _written(pairs: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"{name}={value}" for name, value in pairs)


def _expose(config: Config, statement: Statement, variables: Mapping[str, str]) -> str:
    # Sorted before the variables are replaced: in this order Docker's history has them.
    written = sorted(forms.fields(statement.rest))
    ports = [word for port in written for word in language.split(port, variables, statement.escape)]
    new: Config = {number: {} for port in ports for number in exposed(port)}
    config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **new}
    return " ".join(ports)


def _healthcheck(config: Config, statement: Statement, expand: Expand) -> str:
    check = healthcheck.parse(statement.rest, statement.words, statement.flags)
    # What it leaves open stays as it was, as Docker's builder has it; the history has only what was written.
    config["Healthcheck"] = {**(config.get("Healthcheck") or {}), **check}
    return healthcheck.describe(check)


def _maintainer(config: Config, statement: Statement, expand: Expand) -> str:
    return statement.rest


def _onbuild(config: Config, statement: Statement, expand: Expand) -> str:
    config["OnBuild"] = [*(config.get("OnBuild") or ()), statement.rest]
    return statement.rest


def _shell(config: Config, statement: Statement, expand: Expand) -> str:
    config["Shell"] = statement.shell()
    return f"[{' '.join(config['Shell'])}]"


def _stopsignal(config: Config, statement: Statement, expand: Expand) -> str:
    signal = expand(statement.rest)
    check_signal(signal)
    config["StopSignal"] = signal
    return signal


def _user(config: Config, statement: Statement, expand: Expand) -> str:
    config["User"] = user = expand(statement.rest)
    return user


def _volume(config: Config, statement: Statement, expand: Expand) -> str:
    paths = check_paths([expand(path) for path in statement.paths()])
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}
    return f"[{' '.join(paths)}]"


def _workdir(config: Config, statement: Statement, expand: Expand) -> str:
    path = expand(statement.rest)
    if not path:
        raise InvalidArgument(f"cannot normalize nothing: {statement.rest} is an empty path")
    if not path.startswith("/"):  # an absolute one stays as it was written
        path = posixpath.normpath(posixpath.join("/", config.get("WorkingDir") or "", path))
    config["WorkingDir"] = path
    return path


_CHANGES: dict[str, Callable[[Config, Statement, Expand], str]] = {
    "CMD": _command,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
INSTRUCTIONS = (*_CHANGES, "EXPOSE")  #: all that :func:`change` knows
