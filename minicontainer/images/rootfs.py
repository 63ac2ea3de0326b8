"""Where the first root filesystem comes from.

A container needs a directory tree to call ``/``, and the first image is made from nothing, so its files must
come from somewhere. They come from Alpine's mini root filesystem: a tar archive of about 3 MB with musl,
busybox and a package manager, and no kernel, since a container uses its host's.

What is wanted is *pinned*: ``alpine.toml`` holds the address and the sha256 of each archive, and the sum makes
it unimportant where the bytes come from. So the sources are asked from near to far:

1. the cache directory, where an earlier fetch left the file;
2. the mirror that ``MINICONTAINER_MIRROR`` names, a directory or URL that has the file by its base name;
3. Alpine's CDN.

A source that does not have the file is passed over, and the result says so. A mirror or CDN that has *other
bytes* under that name is an error: to pass it over would hide the one event that the sum is there to show.
When no source can be reached, :func:`obtain` makes the embedded default from the host's own busybox instead.

``python -m minicontainer.images.rootfs`` does the same for scripts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys

from minicontainer.errors import Error, IntegrityError, NotFound
from minicontainer.images import download

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

MIRROR = "MINICONTAINER_MIRROR"
PART = ".minicontainer-part"  # ends the name of an unfinished file, and no other program's


class Unreachable(NotFound):
    """No source has the file; ``reasons`` says of each why not."""

    def __init__(self, message: str, reasons: list[str]) -> None:
        super().__init__(message)
        self.reasons = reasons


class Pin:
    """One archive: ``version`` ("3.20.3"), ``machine`` (as uname(2) says it), ``url`` and ``sha256`` (hex)."""

    def __init__(self, version: str, machine: str, url: str, sha256: str) -> None:
        self.version, self.machine, self.url, self.sha256 = version, machine, url, sha256
        self.name = os.path.basename(url)

    def __str__(self) -> str:
        return f"alpine {self.version}"


class Fetched:
    """An archive (.tar.gz) on this host: its ``path`` and its ``source``: cache, mirror, cdn or embedded.

    As a string it is one line: which source that was, and what was wrong with those before it.
    """

    def __init__(self, path: str, source: str, line: str) -> None:
        self.path, self.source, self.line = path, source, line

    def __str__(self) -> str:
        return self.line


def pins() -> list[Pin]:
    """Return every archive that ``alpine.toml`` pins."""
    return [Pin(**entry) for entry in _pinned()["pin"]]


def pin(version: str | None = None, machine: str | None = None) -> Pin:
    """Return the pin of ``version`` ("3.20.3", "3.20", "alpine:3.20"; None: the default) for ``machine``
    (None: this one). Raises ``NotFound``, which lists what is pinned.
    """
    version = (version or str(_pinned()["default"])).removeprefix("alpine:")
    machine = machine or os.uname().machine
    for entry in pins():
        if entry.machine == machine and version in (entry.version, entry.version.rpartition(".")[0]):
            return entry
    known = ", ".join(f"{entry.version} for {entry.machine}" for entry in pins())
    raise NotFound(
        f'alpine {version} for {machine} is not pinned; choose "embedded", or of the pinned {known}'
    )


def cache_directory() -> str:
    """Return root's /var/cache/minicontainer, or the XDG one of anybody else: ~/.cache/minicontainer.

    Root's does not depend on the environment: under sudo that may still be the caller's, and root's files
    do not belong into a user's directory. Source: XDG Base Directory Specification.
    """
    if os.geteuid() == 0:
        return "/var/cache/minicontainer"
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # unset, or relative, which the specification says to ignore
        base = os.path.expanduser("~/.cache")
    return os.path.join(base, "minicontainer")


def fetch(
    pin: Pin, *, cache: str | None = None, mirror: str | None = None, progress: bool | None = None
) -> Fetched:
    """Return ``pin``'s archive in the directory ``cache``, brought there from ``mirror`` or the CDN if need be.

    ``mirror`` is a directory or a file, http or https URL (None: what ``MINICONTAINER_MIRROR`` says; "": none).
    ``progress`` shows a bar on standard error (None: when that is a terminal). Raises ``Unreachable`` when no
    source has it, ``IntegrityError`` when the mirror or the CDN has something else under its name, and
    ``OSError`` when the cache cannot be written.
    """
    path = os.path.join(cache or cache_directory(), pin.name)
    if _sha256_of(path) == pin.sha256:
        return _cached(pin, path)
    mirror = os.environ.get(MIRROR, "") if mirror is None else mirror
    with _only_writer(os.path.dirname(path)):
        return _fill(pin, path, mirror, sys.stderr.isatty() if progress is None else progress)


def obtain(
    version: str | None = None,
    *,
    cache: str | None = None,
    mirror: str | None = None,
    progress: bool | None = None,
) -> Fetched:
    """Return a root filesystem, whatever the network does: :func:`fetch` of what :func:`pin` says ``version``
    is, or the embedded default when that is unreachable or ``version`` is "embedded".

    Raises as those do, and ``NotFound`` when this host cannot make the embedded default either.
    """
    if version == "embedded":
        return _embedded(cache or cache_directory(), ["asked for by name"])
    try:
        return fetch(pin(version), cache=cache, mirror=mirror, progress=progress)
    except Unreachable as error:
        return _embedded(cache or cache_directory(), error.reasons)


def _embedded(cache: str, reasons: list[str]) -> Fetched:
    from minicontainer.images import embedded

    path = os.path.join(cache, f"minicontainer-embedded-{os.uname().machine}.tar.gz")
    try:
        archive = embedded.build()
    except NotFound as error:
        raise NotFound(f"no root filesystem: {', '.join(reasons)}; no embedded default: {error}") from error
    with _only_writer(cache), open(path + PART, "wb") as part:
        part.write(archive)
        _keep(part, path)
    return Fetched(path, "embedded", f"embedded default: {', '.join(reasons)}")


def _pinned() -> dict[str, Any]:
    """Read alpine.toml: beside this module when installed, in rootfs/ of a checkout."""
    import tomllib  # 5 ms, and only when something is fetched

    here = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(here, "alpine.toml")
    if not os.path.exists(path):
        path = os.path.join(here, "..", "..", "rootfs", "alpine.toml")
    with open(path, "rb") as file:
        return tomllib.load(file)


def _cached(pin: Pin, path: str) -> Fetched:
    return Fetched(path, "cache", f"{pin} from the cache {path} (sha256 verified)")


def _fill(pin: Pin, path: str, mirror: str, bar: bool) -> Fetched:
    """Bring the file into the cache, of which the caller is the only writer."""
    got = _sha256_of(path)
    if got == pin.sha256:
        return _cached(pin, path)  # brought by the writer before
    unset, failed = [], []
    if got:
        os.unlink(path)
        failed.append(f"discarded the damaged {path} (expected sha256 {pin.sha256}, got {got})")
    else:
        unset.append(f"not in the cache {os.path.dirname(path)}")
    sources = [("CDN", pin.url, pin.url)]
    if mirror:
        sources.insert(0, ("mirror", mirror, f"{mirror.rstrip('/')}/{pin.name}"))
    else:
        unset.append(f"no mirror ({MIRROR} is not set)")
    for source, shown, url in sources:
        try:
            _copy(url, pin, path, bar)
        except download.Unanswered as error:
            failed.append(f"{source} unreachable: {url}: {error}")
        else:
            line = f"{pin} from the {source} {shown} (sha256 verified)"
            return Fetched(path, source.lower(), "; ".join([line, *failed]))
    reasons = unset + failed
    advice = f"put {pin.name} into a directory and name that in {MIRROR}"
    raise Unreachable(f"cannot fetch {pin}: {', '.join(reasons)}; {advice}", reasons)


def _copy(url: str, pin: Pin, path: str, bar: bool) -> None:
    """Make ``path`` the file at ``url``, if that has the pinned sum."""
    with open(path + PART, "w+b") as part:
        download.save(url, part, bar=bar)
        part.seek(0)
        got = hashlib.file_digest(part, "sha256").hexdigest()
        if got != pin.sha256:
            raise IntegrityError(f"{url} is not the pinned {pin}: expected sha256 {pin.sha256}, got {got}")
        _keep(part, path)


def _keep(part: BinaryIO, path: str) -> None:
    """Let ``path`` be what was written to ``part``: all of it, even if the power fails now, or none."""
    part.flush()
    os.fsync(part.fileno())
    os.rename(part.name, path)


@contextlib.contextmanager
def _only_writer(directory: str) -> Iterator[None]:
    """Wait to be the only writer of the cache (flock(2)).

    Then every unfinished file in it is one whose writer was killed, or the caller's own that came to nothing.
    """
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "minicontainer.lock"), "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _sweep(directory)
        try:
            yield
        finally:
            _sweep(directory)


def _sweep(directory: str) -> None:
    for name in os.listdir(directory):
        if name.endswith(PART):
            os.unlink(os.path.join(directory, name))


def _sha256_of(path: str) -> str | None:
    """Return the sum in hex, or None when there is no such file."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def main(arguments: list[str] | None = None) -> int:
    """Fetch from the command line: the line of :class:`Fetched`, or with --print-path the path, on standard
    output; one line on standard error and 1 when it cannot be.
    """
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m minicontainer.images.rootfs",
        description="Fetch a root filesystem and say where it came from.",
    )
    parser.add_argument(
        "version", nargs="?", help='as "3.20" or "3.20.3"; "embedded" for the embedded default'
    )
    parser.add_argument("--print-path", action="store_true", help="print only the path of the archive")
    parser.add_argument(
        "--cache", metavar="DIR", help=f"where archives are kept (default: {cache_directory()})"
    )
    options = parser.parse_args(arguments)
    try:
        fetched = obtain(options.version, cache=options.cache)
    except (Error, OSError) as error:
        print(f"rootfs: {error}", file=sys.stderr)
        return 1
    if options.print_path:
        print(fetched, file=sys.stderr)
    print(fetched.path if options.print_path else fetched)
    return 0


if __name__ == "__main__":
    sys.exit(main())
