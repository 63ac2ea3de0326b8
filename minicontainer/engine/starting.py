"""Starting a container: what the caller does, before a monitor takes over.

The caller turns what was asked into an OCI bundle, the root filesystem and ``config.json``, and makes the
cgroup. All of it by descriptors and plain files, so that it can be done in any thread of any program. What
cannot, the forks, is the monitor's part; it gets the mounted root filesystem as a descriptor.

Whatever is made is derived from the container's directory, which is there first and locked: a caller that is
killed at any moment leaves nothing that the next command would not find and remove.
"""

from __future__ import annotations

import os
import socket

from minicontainer.engine import bundle, limits, stream, union, users
from minicontainer.engine.launcher import Handover
from minicontainer.engine.network import asking, ends, hosts
from minicontainer.errors import Error
from minicontainer.files import remove_tree, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.container import Container
    from minicontainer.files import Lock


def start(container: Container, lock: Lock, client: socket.socket | None) -> list[str]:
    """Start a container whose lock the caller has; returns warnings of what it does not get.

    Those are limits that this kernel has not, and ports that mean nothing. Raises what kept it from starting. A
    container that is to be removed at its end is gone then, another one has the reason in its state.
    """
    rootfs = -1
    try:
        container.cgroup.remove()  # an empty one, of a start that was killed
        container.leave_networks()
        remove_tree(container.run_path)
        os.makedirs(container.run_path, mode=0o700)
        if container.document.get("Mounts"):
            from minicontainer.engine import sources  # a plain run has none

            sources.make_ready(container)
        if ends.wanted(container.document):
            ends.join(container)
        other = container.document["HostConfig"]["NetworkMode"].partition("container:")[2]
        if other:
            ends.share(container.engine.find(other))
        rootfs = make_bundle(container)
        warnings = container.cgroup.create(limits.resources(container.document))
        warnings += asking.discarded(container.document)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                container.engine.spawn(container, Handover(lock, rootfs, theirs, client))
            container.cgroup.warm_up()
            _await_monitor(container, ours)
        return warnings
    except BaseException as error:
        container.give_up(error)
        raise
    finally:
        if rootfs >= 0:
            os.close(rootfs)


def make_bundle(container: Container) -> int:
    """Mount the root filesystem and write ``config.json``; returns the descriptor of the mount."""
    document = container.document
    merged = os.path.join(container.path, "merged")
    rootfs = union.mount(container)
    try:
        user = users.resolve(rootfs, document["Config"]["User"], document["HostConfig"]["GroupAdd"])
        hosts.write_files(container)
        config = bundle.config(
            document, merged, _files(container), user, lambda other: container.engine.find(other).pid
        )
        write_json(os.path.join(container.path, "config.json"), config, durable=False)
        return rootfs
    except BaseException:
        os.close(rootfs)
        raise


def _await_monitor(container: Container, report: socket.socket) -> None:
    try:
        stream.reply(report)
    except stream.Gone:
        raise Error(f"the monitor of container {container.name} was killed{_last_words(container)}") from None


def _files(container: Container) -> str:
    """The directory with the files for its /etc: those of another one when it is on that one's networks."""
    mode: str = container.document["HostConfig"]["NetworkMode"]
    if mode.startswith("container:"):
        return os.path.join(container.engine.containers_path, mode.removeprefix("container:"))
    return container.path


def _last_words(container: Container) -> str:
    try:
        with open(os.path.join(container.run_path, "monitor.log")) as file:
            text = file.read()
    except FileNotFoundError:
        return ""
    return f":\n{text}" if text else ""
