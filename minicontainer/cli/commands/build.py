"""build: an image from a Dockerfile."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from minicontainer import files
from minicontainer.build import builder
from minicontainer.build.context import open_context
from minicontainer.build.options import Options
from minicontainer.build.report import ClassicReport, Kept
from minicontainer.cli.flags import BOOL, BYTES, INT, LIST, STRING, Command, Flag, UsageError
from minicontainer.engine import jobs
from minicontainer.engine import options as reading
from minicontainer.errors import InvalidArgument, Unsupported, explain
from minicontainer.images.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from minicontainer.build.report import Report
    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine

# Options whose name in minicontainer.build.options is another than on the command line.
_RENAMED = {
    "build_arg": "build_args",
    "label": "labels",
    "secret": "secrets",
    "tag": "tags",
    "ulimit": "ulimits",
}
_PROGRESS = ("auto", "plain", "tty", "quiet")
_LEAST_WINDOW = (40, 6)  # columns and lines, for the live view
_BUILD_ARGUMENT, _LABEL, _TAG = (
    Flag("", "build-arg", LIST, "Set build-time variables (NAME=value, or NAME from the environment)"),
    Flag("", "label", LIST, "Set metadata for an image"),
    Flag("t", "tag", LIST, "Name and optionally a tag in the 'name:tag' format"),
)
_SECRET = Flag("", "secret", LIST, "Secret for RUN --mount=type=secret (id=NAME[,src=FILE|,env=VARIABLE])")
FLAGS = (
    Flag("", "add-host", LIST, "Add a custom host-to-IP mapping (host:ip)"),
    _BUILD_ARGUMENT,
    Flag("", "cache-from", LIST, "Images to consider as cache sources", metavar="strings"),
    Flag("", "cgroup-parent", STRING, "Parent cgroup for the containers of RUN steps"),
    Flag("", "compress", BOOL, "Taken for Docker's sake: nothing is sent anywhere"),
    Flag("", "cpu-period", INT, "Limit CPU CFS period, microseconds"),
    Flag("", "cpu-quota", INT, "Limit CPU CFS quota, microseconds per period"),
    Flag("c", "cpu-shares", INT, "CPU shares (relative weight)"),
    Flag("", "cpuset-cpus", STRING, "CPUs in which to allow execution (0-3, 0,1)"),
    Flag("", "cpuset-mems", STRING, "MEMs in which to allow execution (0-3, 0,1)"),
    Flag("", "disable-content-trust", BOOL, "Skip image verification", default=True),
    Flag("f", "file", STRING, "Name of the Dockerfile (Default is 'PATH/Dockerfile')"),
    Flag("", "force-rm", BOOL, "Always remove intermediate containers (always so here)"),
    Flag("", "iidfile", STRING, "Write the image ID to the file"),
    Flag("", "isolation", STRING, "Container isolation technology", values=("default",)),
    _LABEL,
    Flag("m", "memory", BYTES, "Memory limit"),
    Flag("", "memory-swap", BYTES, "Swap limit equal to memory plus swap: '-1' for unlimited"),
    Flag(
        "",
        "network",
        STRING,
        "Networking mode for RUN steps (default|none|host)",
        default="default",
        values=("default", "none", "host"),
    ),
    Flag("", "no-cache", BOOL, "Do not use cache when building the image"),
    Flag("", "no-cache-filter", LIST, "Do not cache specified stages (not supported)", metavar="strings"),
    Flag("o", "output", LIST, "Output destination (not supported)"),
    Flag("", "platform", STRING, "Set platform if server is multi-platform capable"),
    Flag(
        "",
        "progress",
        STRING,
        f"Type of progress output ({'|'.join(_PROGRESS)})",
        default="auto",
        values=_PROGRESS,
    ),
    Flag("", "pull", BOOL, "Always attempt to pull a newer version of the image"),
    Flag("q", "quiet", BOOL, "Suppress the build output and print image ID on success"),
    Flag("", "rm", BOOL, "Remove intermediate containers (always so here)", default=True),
    _SECRET,
    Flag("", "security-opt", LIST, "Security options", metavar="strings"),
    Flag("", "shm-size", BYTES, "Size of /dev/shm"),
    Flag("", "squash", BOOL, "Squash newly built layers into a single new layer (not supported)"),
    _TAG,
    Flag("", "target", STRING, "Set the target build stage to build"),
    Flag("", "ulimit", LIST, "Ulimit options", metavar="ulimit"),
)
_INSTEAD = {  # of what is not supported
    "no_cache_filter": "--no-cache makes all stages anew",
    "output": "build with -t NAME; 'save' has the image, 'export' and 'cp' have the files of a container of it",
    "squash": "a last stage with 'COPY --from=… / /' has all in one layer",
}


def build(engine: Engine, values: Values, words: list[str]) -> None:
    """Build an image, and show how it is going."""
    _refuse(values)
    options = _options(values)
    if values.iidfile:
        _make_way(values.iidfile)
    _end_cleanly()
    with (
        jobs.job(engine) as job,
        open_context(words[0], values.file or "", sys.stdin.buffer, directory=job.place()) as context,
        _report(values) as report,
    ):
        image = builder.build(engine, context, options, report)
    if values.iidfile:
        files.write_atomic(values.iidfile, image.id.encode())
    if values.quiet or values.progress == "quiet":
        print(image.id)


def _refuse(values: Values) -> None:
    """Say no to what cannot be done, before anything is."""
    for name, instead in _INSTEAD.items():
        if getattr(values, name):
            raise Unsupported(f"--{name.replace('_', '-')} is not supported; {instead}")
    if values.isolation not in (None, "", "default"):
        raise UsageError(f'unsupported isolation: "{values.isolation}"; on Linux there is "default"', 1)
    if values.progress not in _PROGRESS:
        raise UsageError(
            f'invalid argument "{values.progress}" for --progress; there is {", ".join(_PROGRESS)}'
        )
    if values.progress == "tty" and not sys.stdout.isatty():
        raise UsageError("--progress tty: standard output is no terminal; plain is for files and pipes", 1)
    if not values.rm:
        print("WARNING: --rm=false: containers of RUN steps are removed all the same", file=sys.stderr)


# ------------------------------------------------------------------ what is asked


def _options(values: Values) -> Options:
    """The builder's options from those on the command line."""
    asked: dict[str, Any] = {}
    for flag in FLAGS:
        name = _RENAMED.get(flag.name, flag.name)
        if values.given(flag.name) and name in Options.__annotations__:
            asked[name] = getattr(values, flag.name)
    asked["build_args"] = _build_arguments(values.build_arg)
    asked["labels"] = _labels(values.label)
    asked["tags"] = [_tag(text) for text in values.tag]
    _check_limits(values)
    asked["secrets"] = dict(_secret(text) for text in values.secret)
    for name in ("cache_from", "security_opt"):
        asked[name] = [word for text in getattr(values, name) for word in text.split(",")]
    return Options(**asked)


def _check_limits(values: Values) -> None:
    """Have what would keep every container from starting found now, and not at the first RUN step."""
    given = {name: getattr(values, name) for name in ("memory", "memory_swap") if values.given(name)}
    try:
        reading.memory(reading.Options(**given))
        reading.ulimits(values.ulimit)
    except InvalidArgument as error:
        raise UsageError(str(error)) from None


def _wrong(flag: Flag, text: str, reason: object) -> UsageError:
    return UsageError(f'invalid argument "{text}" for "{flag}" flag: {reason}')


def _build_arguments(given: list[str]) -> dict[str, str]:
    """``NAME=value``; a bare NAME is taken from the environment, and is nothing when it is not there."""
    arguments = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name:
            raise _wrong(_BUILD_ARGUMENT, text, "it has no name")
        if equals or name in os.environ:
            arguments[name] = value if equals else os.environ[name]
    return arguments


def _labels(given: list[str]) -> dict[str, str]:
    labels = {}
    for text in given:
        name, _, value = text.partition("=")
        if not name:
            raise _wrong(_LABEL, text, "it has no name")
        labels[name] = value
    return labels


def _tag(text: str) -> str:
    try:
        if Reference.parse(text).digest:
            raise InvalidArgument("a digest is found, not given; NAME[:TAG] is a name")
    except InvalidArgument as error:
        raise _wrong(_TAG, text, error) from None
    return text


def _secret(text: str) -> tuple[str, bytes]:
    """The id and the content of ``id=NAME[,src=FILE|,env=VARIABLE]``; without either, whichever is called NAME."""
    fields = dict(word.partition("=")[::2] for word in text.split(","))
    name, kind = fields.get("id", ""), fields.get("type", "")
    unknown = fields.keys() - {"id", "type", "src", "source", "env"}
    if unknown or not name:
        reason = f"no key {min(unknown)!r}; it is" if unknown else "it has no id, as in"
        raise _wrong(_SECRET, text, f"{reason} id=NAME[,src=FILE|,env=VARIABLE]")
    path = fields.get("src", fields.get("source", ""))
    variable = fields.get("env", "" if path or kind == "file" else name)
    if kind == "env":
        path, variable = "", path or variable
    if variable in os.environ and not path:
        return name, os.environb[os.fsencode(variable)]
    if "env" in fields or kind == "env":
        raise _wrong(_SECRET, text, f"the environment has no {variable}")
    try:
        with open(path or name, "rb") as file:
            return name, file.read()
    except OSError as error:
        raise _wrong(_SECRET, text, explain(error)) from None


# ------------------------------------------------------------------ what is told


@contextlib.contextmanager
def _report(values: Values) -> Iterator[Report]:
    """Who hears of the build: the live view at a terminal that can show it, or else a log."""
    at_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if values.quiet or values.progress == "quiet":
        log = Kept()
        try:
            yield ClassicReport(log)
        except BaseException:
            log.copy_to(_Stream(2))
            raise
    elif values.progress == "plain" or not at_terminal or not _is_large_enough():
        yield ClassicReport(_Stream(1), colours=at_terminal and not os.environ.get("NO_COLOR"))
    else:
        from minicontainer.cli.building import LiveReport  # for those who look

        with LiveReport(sys.stdout) as report:
            yield report


class _Stream:
    """A standard stream, for bytes: the one in sys may have no buffer (PYTHONUNBUFFERED), and write in part."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def flush(self) -> None:
        pass


def _is_large_enough() -> bool:
    from minicontainer.cli.lines import window

    return all(has >= needs for has, needs in zip(window(sys.stdout), _LEAST_WINDOW, strict=True))


def _make_way(path: str) -> None:
    """Remove the id file of an earlier build: should this one fail, nobody takes that for its own."""
    directory = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(directory):
        raise InvalidArgument(f"--iidfile {path}: the directory {directory} does not exist")
    if os.path.lexists(path):
        if not os.path.isfile(path):
            raise InvalidArgument(f"--iidfile {path}: it is there, and is no regular file")
        os.unlink(path)


def _end_cleanly() -> None:
    """Have the signals that ask us to end end the build as ctrl-C does, with nothing left of it."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)


COMMANDS = {
    "build": Command(
        "build",
        "[OPTIONS] PATH | URL | -",
        "Build an image from a Dockerfile",
        FLAGS,
        build,
        least=1,
        most=1,
        completes="files",
    ),
}
