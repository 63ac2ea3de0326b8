"""``RUN --mount``: what a step sees while it runs, and what does not get into the image.

========= ==================================================================================================
bind      files of the context, of a stage or of an image; what the step writes there is dropped
cache     a directory that stays from build to build, for package managers and compilers
tmpfs     a directory in memory
secret    a file that the user of ``--secret`` has given, or its content in a variable
========= ==================================================================================================

A mount point that the image does not have is made for the step, and is removed again afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import posixpath
import stat

from minicontainer.errors import InvalidArgument, NotFound, Unsupported
from minicontainer.files import Lock
from minicontainer.runtime.inside import open_inside
from minicontainer.units import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KEYS = {
    "bind": {"type", "target", "source", "from", "rw", "ro"},
    "cache": {"type", "id", "target", "ro", "rw", "sharing", "from", "source", "mode", "uid", "gid"},
    "tmpfs": {"type", "target", "size"},
    "secret": {"type", "id", "target", "required", "mode", "uid", "gid", "env"},
}
_SAME = {"dst": "target", "destination": "target", "src": "source", "readonly": "ro", "readwrite": "rw"}
_SHARING = ("shared", "private", "locked")


class Mount:
    """One ``--mount``, read."""

    def __init__(self, text: str, workdir: str) -> None:
        values = dict(_pairs(text))
        self.text = text
        self.type = values.get("type", "bind")
        if self.type == "ssh":
            raise Unsupported(
                f"--mount={text}: there is no ssh agent for builds here; a secret can hold a key"
            )
        if self.type not in _KEYS:
            raise InvalidArgument(f"--mount={text}: no type {self.type!r}; there is {', '.join(_KEYS)}")
        unknown = sorted(values.keys() - _KEYS[self.type])
        if unknown:
            known = ", ".join(sorted(_KEYS[self.type]))
            raise InvalidArgument(f"--mount={text}: a {self.type} has no {unknown[0]!r}; there is {known}")
        self.values = values
        target = values.get("target", "")
        if self.type == "secret":
            self.id = values.get("id") or posixpath.basename(target)
            target = target or ("" if "env" in values else f"/run/secrets/{self.id}")
        else:
            self.id = values.get("id", "")
        if not target and not (self.type == "secret" and "env" in values):
            raise InvalidArgument(f"--mount={text}: it needs a target")
        self.target = posixpath.normpath(posixpath.join(workdir or "/", target)) if target else ""
        self.id = self.id or self.target
        self.source = values.get("source", "")
        self.origin = values.get("from", "")
        self.readonly = _truth(values.get("ro", "false")) or (
            self.type == "bind" and not _truth(values.get("rw", "false"))
        )
        if self.type == "cache" and values.get("sharing", "shared") not in _SHARING:
            raise InvalidArgument(f"--mount={text}: sharing is one of {', '.join(_SHARING)}")

    def number(self, key: str, default: int, base: int = 10) -> int:
        """A value that is a number."""
        try:
            return int(self.values.get(key, ""), base) if key in self.values else default
        except ValueError:
            raise InvalidArgument(f"--mount={self.text}: {key}={self.values[key]} is no number") from None


def _pairs(text: str) -> list[tuple[str, str]]:
    found = []
    for word in text.split(","):
        key, equals, value = word.partition("=")
        key = _SAME.get(key.strip().lower(), key.strip().lower())
        found.append((key, value if equals else "true"))
    return found


def origin(text: str) -> str:
    """The stage or image that a ``--mount`` takes from, "" for the context."""
    return dict(_pairs(text)).get("from", "")


def _truth(text: str) -> bool:
    return text.lower() in ("true", "1", "t", "")


class Mounts:
    """The mounts of one step, made ready: the options of its container, and what has to be undone.

    :param place: a directory of the step's own
    :param caches: where caches lie
    :param secrets: what ``--secret`` has given
    :param bring: copies ``source`` of a stage or image, "" for the context, into a directory; returns its path
    """

    def __init__(
        self,
        place: str,
        caches: str,
        secrets: Mapping[str, bytes],
        bring: Callable[[str, str, str], str],
    ) -> None:
        self.place = place
        self.caches = caches
        self.secrets = secrets
        self.bring = bring
        self.options: list[str] = []
        self.tmpfs: dict[str, str] = {}
        self.env: list[str] = []
        self.targets: list[str] = []
        self._held: list[int] = []
        self._count = 0

    def add(self, mount: Mount) -> None:
        """Make one ready."""
        if mount.target:
            self.targets.append(mount.target)
        if mount.type == "tmpfs":
            size = mount.values.get("size")
            self.tmpfs[mount.target] = f"size={parse_size(size)}" if size else ""
        elif mount.type == "secret":
            self._secret(mount)
        elif mount.type == "cache":
            self._bind(self._cache(mount), mount)
        else:
            self._bind(self.bring(mount.origin, mount.source or "/", self._place()), mount)

    def file(self, target: str, content: bytes, mode: int = 0o755) -> None:
        """Mount a file with this content: a script that a heredoc holds."""
        path = os.path.join(self._place(), "file")
        _write(path, content, mode, 0, 0)
        self.targets.append(target)
        self.options.append(_option(path, target, True))

    def close(self) -> None:
        """Let others have the caches."""
        for fd in self._held:
            os.close(fd)
        self._held = []

    # ------------------------------------------------------------ each kind

    def _place(self) -> str:
        self._count += 1
        path = os.path.join(self.place, f"mount{self._count}")
        os.makedirs(path, mode=0o755)
        return path

    def _bind(self, path: str, mount: Mount) -> None:
        self.options.append(_option(path, mount.target, mount.readonly))

    def _secret(self, mount: Mount) -> None:
        content = self.secrets.get(mount.id)
        if content is None:
            if _truth(mount.values.get("required", "false")):
                raise NotFound(
                    f"--mount={mount.text}: secret {mount.id} was not given; give it with --secret"
                )
            self.targets = [each for each in self.targets if each != mount.target]
            return
        if mount.values.get("env"):
            self.env.append(f"{mount.values['env']}={content.decode(errors='surrogateescape')}")
        if mount.target:
            path = os.path.join(self._place(), "secret")
            _write(
                path, content, mount.number("mode", 0o400, 8), mount.number("uid", 0), mount.number("gid", 0)
            )
            self.options.append(_option(path, mount.target, True))

    def _cache(self, mount: Mount) -> str:
        """The directory of a cache; ``locked`` waits for others, ``private`` takes another one meanwhile."""
        sharing = mount.values.get("sharing", "shared")
        name = hashlib.sha256(mount.id.encode(errors="surrogateescape")).hexdigest()[:32]
        for attempt in range(1000):
            path = os.path.join(self.caches, name + (f"-{attempt}" if attempt else ""))
            self._make_cache(path, mount)
            if sharing != "shared":
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | (fcntl.LOCK_NB if sharing == "private" else 0))
                except BlockingIOError:
                    os.close(fd)
                    continue
                self._held.append(fd)
            return path
        raise NotFound(f"--mount={mount.text}: a thousand builds use this cache")

    def _make_cache(self, path: str, mount: Mount) -> None:
        """Make a cache that is not there yet: empty, or with files of a stage or image to begin with."""
        os.makedirs(self.caches, mode=0o700, exist_ok=True)
        with Lock(os.path.join(self.caches, ".lock")):
            if os.path.exists(path):
                return
            new = self._place()
            if mount.origin or mount.source:
                new = self.bring(mount.origin, mount.source or "/", new)
            os.chown(new, mount.number("uid", 0), mount.number("gid", 0))
            os.chmod(new, mount.number("mode", 0o755, 8))
            os.rename(new, path)


def _option(path: str, target: str, readonly: bool) -> str:
    """As ``run --mount`` takes it; a comma in a path is quoted."""
    words = ["type=bind", f"src={path}", f"dst={target}", *(["readonly"] if readonly else [])]
    return ",".join(f'"{word}"' if "," in word else word for word in words)


def _write(path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)


# ------------------------------------------------------------------ mount points


def missing(root: int, targets: list[str]) -> list[str]:
    """The paths that are not there in a file tree, those above them too: the deepest first."""
    found = []
    for target in targets:
        path = target
        while path not in ("/", "") and not _exists(root, path):
            found.append(path)
            path = posixpath.dirname(path)
    return sorted(set(found), key=len, reverse=True)


def _exists(root: int, path: str) -> bool:
    try:
        os.close(open_inside(root, path.lstrip("/"), os.O_PATH))
    except OSError:
        return False
    return True


def remove_points(upper: str, paths: list[str]) -> None:
    """Remove those mount points from an upper directory that a step has left as they were made: empty."""
    root = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in paths:
            with contextlib.suppress(OSError):  # it is something else by now, or something is in it
                _remove_point(root, path)
    finally:
        os.close(root)


def _remove_point(root: int, path: str) -> None:
    above, name = posixpath.split(path)
    parent = open_inside(root, above.lstrip("/") or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.rmdir(name, dir_fd=parent)
        elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
            os.unlink(name, dir_fd=parent)
    finally:
        os.close(parent)
