"""Where an engine keeps what it has, and which container has which name.

It is apart from the engine itself because it is all that a monitor needs of it.
"""

from __future__ import annotations

import errno
import os

from minicontainer.errors import Conflict
from minicontainer.files import Lock

DEFAULT_ROOT = "/var/lib/minicontainer"
DEFAULT_RUN = "/run/minicontainer"


class Directories:
    """The directories below ``root``: ``$MINICONTAINER_ROOT``, or /var/lib/minicontainer.

    What does not survive a boot is below /run/minicontainer, or in ``run`` below a root of one's own.
    """

    def __init__(self, root: str | None = None) -> None:
        given = root or os.environ.get("MINICONTAINER_ROOT") or DEFAULT_ROOT
        self.root = os.path.abspath(given)
        self.run_path = DEFAULT_RUN if self.root == DEFAULT_ROOT else os.path.join(self.root, "run")
        self.containers_path = os.path.join(self.root, "containers")
        self.networks_run_path = os.path.join(self.run_path, ".networks")  # who is on which, now
        self.names_path = os.path.join(self.root, "names")
        self.seccomp_cache = os.path.join(self.root, "cache", "seccomp")

    def holder(self, name: str) -> str:
        """The id that a name stands for, "" when nobody has it."""
        if not name or "/" in name or name in (".", ".."):
            return ""
        try:
            return os.path.basename(os.readlink(os.path.join(self.names_path, name)))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENAMETOOLONG):
                return ""
            raise

    def take_name(self, name: str, container_id: str) -> None:
        """Reserve a name; Conflict when a container has it."""
        with self._names_locked():
            holder = self.holder(name)
            if holder and os.path.exists(os.path.join(self.containers_path, holder)):
                raise Conflict(
                    f'the container name "{name}" is already in use by container {holder[:12]}. '
                    "You have to remove (or rename) that container to be able to reuse that name"
                )
            if holder:  # left behind by a command that was killed
                os.unlink(os.path.join(self.names_path, name))
            os.symlink(f"../containers/{container_id}", os.path.join(self.names_path, name))

    def free_name(self, name: str, container_id: str) -> None:
        """Give a name back, if this container has it."""
        with self._names_locked():
            if self.holder(name) == container_id:
                os.unlink(os.path.join(self.names_path, name))

    def _names_locked(self) -> Lock:
        os.makedirs(self.names_path, exist_ok=True)
        return Lock(os.path.join(self.names_path, ".lock"))


def listdir(path: str) -> list[str]:
    """The names in a directory; none when it is not there."""
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
