"""HAProxy: its configuration, and its process.

One HAProxy for each rollout, an ordinary process of the host. It has a directory of its own::

    haproxy.cfg      what it began with; what it was told since is in its memory alone
    haproxy.log      why it did not start
    admin.sock       where it takes commands (minicontainer.engine.rollout.runtime_api)
    empty/           the only directory it can see

The configuration has two servers for each replica: those of one colour are live, those of the other are free for
the next version. Which address and which weight they have, it is told while it runs. So a deployment starts no new
HAProxy, and no connection changes hands. When it was killed, a new configuration is made of what is written down of
the rollout, and it goes on with the same shares.

It is started as root, to listen on any port, and goes on as a user who owns nothing, in an empty directory.

Source: HAProxy configuration manual, sections 3 and 4; management guide, sections 3 and 4 (starting, stopping).
"""

from __future__ import annotations

import os
import pwd
import resource
import select
import shutil
import signal
import subprocess

from minicontainer.engine.rollout import runtime_api
from minicontainer.errors import Conflict, Error, Unsupported
from minicontainer.files import remove_tree, write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

BACKEND = "replicas"
HOW_TO_GET = "apt-get install haproxy"
_USERS = ("haproxy", "nobody")  # Debian's package makes the first
# Its own choice is what the limits allow, and it sets aside memory for all of them.
_MOST_CONNECTIONS = 10_000
_PATIENCE = 10  # seconds for a process to end that was killed

# http-server-close: a connection to a replica serves one request. A connection that is kept may be closed by the
#   replica at the very moment the next request is sent on it, and that request is lost.
# redispatch, retry-on: a replica that takes no connection, or closes it without an answer, is not asked again;
#   another one gets the request. What may have changed something (POST and the like) is not sent a second time.
# noreuseport: a port that somebody else listens on is an error. Otherwise the two would share it.
_CONFIGURATION = """\
global
    stats socket unix@{socket} mode 600 level admin
    maxconn {maxconn}
    noreuseport
    hard-stop-after 10m
    {user}
    chroot empty

defaults
    mode http
    option http-server-close
    option forwardfor
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s

frontend clients
{binds}
    http-request disable-l7-retry unless METH_GET
    default_backend {backend}

backend {backend}
    balance roundrobin
{check}
    default-server check inter 500ms fall 2 rise 1
{servers}
"""


class Slot:
    """A server of the configuration: its name, ``ADDRESS:PORT`` or "" while it is free, and its weight."""

    def __init__(self, name: str, address: str = "", weight: int = 0) -> None:
        self.name = name
        self.address = address
        self.weight = weight

    def __str__(self) -> str:
        if not self.address:
            return f"    server {self.name} 127.0.0.1:1 weight 0 disabled"
        return f"    server {self.name} {self.address} weight {self.weight}"


def find() -> str:
    """The path of HAProxy's program; Unsupported when it is not installed, which says how to get it."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin"  # a user's PATH may lack them
    program = shutil.which("haproxy", path=path)
    if not program:
        raise Unsupported(f"rollouts need the load balancer HAProxy, which is not installed; {HOW_TO_GET}")
    return program


def configuration(binds: Sequence[str], slots: Sequence[Slot], check_path: str) -> str:
    """The text of ``haproxy.cfg``.

    :param binds: where it listens, ``ADDRESS:PORT``
    :param check_path: what it asks a replica for to see whether it is well; "" for opening a connection alone
    """
    return _CONFIGURATION.format(
        socket=runtime_api.SOCKET,
        maxconn=_most_connections(len(slots)),
        user=_user(),
        backend=BACKEND,
        binds="\n".join(f"    bind {bind}" for bind in binds),
        check=f"    option httpchk GET {check_path}" if check_path else "",
        servers="\n".join(map(str, slots)),
    )


def binds(address: str, port: int) -> list[str]:
    """Where it listens: on one address, or on all of IPv4 and, where the host has it, IPv6 when none is given."""
    if address:
        return [f"[{address}]:{port}" if ":" in address else f"{address}:{port}"]
    return [f"0.0.0.0:{port}"] + ([f"[::]:{port} v6only"] if os.path.exists("/proc/net/if_inet6") else [])


def _most_connections(servers: int) -> int:
    """How many clients at once: each takes two descriptors, and a process may not have any number of them."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return min(_MOST_CONNECTIONS, most // 2 - 100 - servers)


def _user() -> str:
    """Who it goes on as, in the words of its configuration."""
    for name in _USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return f"uid {entry.pw_uid}\n    gid {entry.pw_gid}"
    raise Unsupported(f"this host has no user for HAProxy to run as: none of {', '.join(_USERS)}")


def is_running(directory: str) -> bool:
    """Whether the HAProxy of this directory answers."""
    try:
        runtime_api.pid(directory)
    except runtime_api.NotRunning:
        return False
    return True


def start(directory: str, text: str) -> None:
    """Start HAProxy with this configuration, unless it runs; it is ready when this returns.

    :raises Unsupported: when it is not installed
    :raises Conflict: when somebody else listens on its port
    :raises Error: when it does not start for another reason
    """
    program = find()
    if is_running(directory):
        return
    os.makedirs(os.path.join(directory, "empty"), mode=0o711, exist_ok=True)
    write_atomic(os.path.join(directory, "haproxy.cfg"), text.encode(), mode=0o600)
    argv = [program, "-D", "-C", directory, "-f", "haproxy.cfg"]
    log_path = os.path.join(directory, "haproxy.log")
    with open(log_path, "wb") as log:  # not a pipe, which the process that goes on would hold open
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise _refusal(log_path)


def _refusal(log_path: str) -> Error:
    """Why it did not start, by the first of the lines that it calls alerts."""
    with open(log_path, errors="replace") as file:
        alerts = [line.partition(" : ")[2].strip() for line in file if line.startswith("[ALERT]")]
    reason = alerts[0] if alerts else "it does not say why"
    if "Address already in use" in reason:
        address = reason.partition(" for [")[2].rstrip("]")
        return Conflict(f"cannot listen on {address}: port is already allocated; stop who has it first")
    return Error(f"the load balancer did not start: {reason}; see {log_path}")


def stop(directory: str, patience: float) -> None:
    """Have HAProxy end: it listens no more, and ends with its last request, after ``patience`` seconds in any case.

    Nothing happens when it does not run.
    """
    try:
        pid = runtime_api.pid(directory)
        # A descriptor stays with its process; a number may belong to another one by the time we use it.
        fd = os.pidfd_open(pid)
    except (runtime_api.NotRunning, ProcessLookupError):
        return
    try:
        for number, seconds in ((signal.SIGUSR1, patience), (signal.SIGKILL, _PATIENCE)):
            signal.pidfd_send_signal(fd, number)
            if _await_end(fd, seconds):
                return
    except ProcessLookupError:
        return
    finally:
        os.close(fd)
    raise Error(f"the load balancer, process {pid}, does not end")


def _await_end(pidfd: int, seconds: float) -> bool:
    """Whether a process ends within so many seconds (pidfd_open(2): it can be read from then)."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def remove(directory: str, patience: float) -> None:
    """Stop it and delete its directory."""
    stop(directory, patience)
    remove_tree(directory)
