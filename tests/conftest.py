"""What the tests share: an engine of their own, an image in it, and the command line as a user types it.

``MINICONTAINER_TEST_ROOTFS`` chooses the root filesystem of the image ``alpine``: ``3.20``, ``3.11`` or
``embedded``; the default is 3.20, and the embedded one when no archive is to be had.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # of a background job; our programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.engine import Engine

pytest.register_assert_rewrite("network_fixtures")
PROJECT = pathlib.Path(__file__).resolve().parent.parent
DOCKER = "/usr/bin/docker"
PEERS = {"docker", "podman", "skopeo", "umoci"}  # the fixtures that are other tools
DOCKER_IMAGE = f"minicontainer-tests-{os.getpid()}"  #: the image alpine of the tests, in Docker


def pytest_report_header() -> str:
    return f"root filesystem of the tests: {os.environ.get('MINICONTAINER_TEST_ROOTFS', '3.20')}"


def remove_networks(below: str) -> None:
    """Remove the networks of the engines in a directory; pytest keeps that, and the host has subnets for thirty."""
    from minicontainer.engine.engine import Engine
    from minicontainer.engine.network import bridges, members
    from minicontainer.kernel import netlink, rtnetlink

    with netlink.Socket() as sock:
        bridges.remove_orphans(sock)
        roots = {link.alias.removeprefix(bridges.ALIAS) for link in rtnetlink.links(sock)}
    for root in roots:
        if root.startswith(below + os.sep):
            members.prune(Engine(root).networks)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    try:
        return (yield)
    finally:
        if "tmp_path" in getattr(item, "funcargs", {}):
            remove_networks(str(item.funcargs["tmp_path"]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        raise pytest.UsageError("the tests make containers: run them as root, as with sudo ./scripts/test")
    for item in items:
        if PEERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("peer")


@pytest.fixture(scope="session", autouse=True)
def no_bridge_stays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Directories that several tests share are there until the end; their engines' networks go then."""
    yield
    remove_networks(str(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="session")
def rootfs_archive() -> str:
    """The archive that the image ``alpine`` of the tests is made of."""
    from minicontainer.images import rootfs

    wanted = os.environ.get("MINICONTAINER_TEST_ROOTFS", "3.20")
    fetched = rootfs.obtain(wanted)
    if wanted != "embedded" and "MINICONTAINER_TEST_ROOTFS" in os.environ:
        assert fetched.source != "embedded", f"MINICONTAINER_TEST_ROOTFS={wanted} cannot be had: {fetched}"
    return str(fetched.path)


def engine_with_alpine(path: str, rootfs_archive: str) -> Engine:
    """An engine below ``path`` with one image, ``alpine``."""
    from minicontainer.engine.engine import Engine
    from minicontainer.images import archive
    from minicontainer.images.reference import Reference

    engine = Engine(path)
    with open(rootfs_archive, "rb") as stream:
        archive.import_tree(engine.images, stream, Reference.parse("alpine"), config={"Cmd": ["/bin/sh"]})
    return engine


@pytest.fixture(scope="session")
def root(rootfs_archive: str) -> Iterator[str]:
    """The state directory of the tests' engine, with the image ``alpine``; nothing is left when they end."""
    path = tempfile.mkdtemp(prefix="minicontainer-tests-")
    engine = engine_with_alpine(path, rootfs_archive)
    yield path
    for container in engine.containers(all=True):
        container.remove(force=True)
    from minicontainer.engine.network import members

    members.prune(engine.networks)  # the default network's bridge is on the host
    shutil.rmtree(path)


@pytest.fixture
def turn() -> Iterator[None]:
    """Nobody else who runs these tests on this host has a turn meanwhile: for fixed names, ports and subnets."""
    fd = os.open("/run", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield
    os.close(fd)


@pytest.fixture
def engine(root: str) -> Iterator[Engine]:
    """The tests' engine, as a program uses it; containers, volumes and images that a test leaves go after it."""
    from minicontainer.engine.engine import Engine
    from minicontainer.errors import NotFound

    engine = Engine(root)
    engine.sweep()
    before = {container.id for container in engine.containers(all=True)}
    had = {image.id for image in engine.images.images()}
    yield engine
    for container in engine.containers(all=True):
        if container.id not in before:
            with contextlib.suppress(NotFound):  # one of --rm, which has ended just now
                container.remove(force=True, volumes=True)
    for volume in engine.volumes.all():
        engine.volumes.remove(volume.name)
    for image in engine.images.images():
        if image.id not in had:
            engine.images.remove(image)


class Cli:
    """The command line: ``cli("run", "alpine", "true")`` as a user types it."""

    def __init__(self, root: str) -> None:
        self.argv = [sys.executable, "-m", "minicontainer", "--root", root]
        self.env = {**os.environ, "PYTHONPATH": str(PROJECT)}

    def __call__(
        self,
        *words: object,
        code: int | None = 0,
        input: str | None = None,
        timeout: float = 120,
        **how: object,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; unless it ends with ``code`` (None for any), the test fails and shows what it said."""
        done = subprocess.run(
            [*self.argv, *map(str, words)],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.env,
            check=False,
            **how,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, (
            f"{words} ended with {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
        )
        return done

    def out(self, *words: object, **how: object) -> str:
        """What a command printed, without the white space around it."""
        return self(*words, **how).stdout.strip()

    def is_there(self, container: str, path: str) -> bool:
        """Whether there is such a path in a container that runs."""
        return self("exec", container, "test", "-e", path, code=None).returncode == 0

    def tty(self, *words: object, type: tuple[str, ...] = (), timeout: float = 30) -> tuple[str, int]:
        """Run at a real terminal, typing a line whenever it has gone quiet; what it showed, and the exit code."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execvpe(self.argv[0], [*self.argv, *map(str, words)], self.env)
        shown, todo, quiet = b"", list(type), time.monotonic()
        deadline = quiet + timeout
        while time.monotonic() < deadline:
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    chunk = os.read(fd, 65536)
                except OSError:
                    break
                if not chunk:
                    break
                shown, quiet = shown + chunk, time.monotonic()
            elif todo and time.monotonic() - quiet > 0.4:
                os.write(fd, todo.pop(0).encode())
                quiet = time.monotonic()
        _, status = os.waitpid(pid, 0)
        os.close(fd)
        return shown.decode(errors="replace"), os.waitstatus_to_exitcode(status)


@pytest.fixture
def cli(engine: Engine) -> Cli:
    """The command line, working on the tests' engine."""
    return Cli(engine.root)


def has_docker() -> bool:
    """Whether a Docker engine answers here."""
    try:
        return subprocess.run([DOCKER, "info"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(scope="session")
def docker(rootfs_archive: str):
    """Run the real docker on an image of the same tree, DOCKER_IMAGE; skips when there is none."""
    if not has_docker():
        pytest.skip("docker is not installed, or its engine does not run")
    subprocess.run(
        [DOCKER, "import", "-c", 'CMD ["/bin/sh"]', rootfs_archive, DOCKER_IMAGE],
        check=True,
        capture_output=True,
    )

    def run(
        *words: object, input: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [DOCKER, *map(str, words)],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    yield run
    subprocess.run([DOCKER, "rmi", "-f", DOCKER_IMAGE], check=False, capture_output=True)
