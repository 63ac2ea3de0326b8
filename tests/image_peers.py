"""Other tools that read and write images, for the tests: podman with a storage of its own, skopeo, umoci."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

Tool = Callable[..., subprocess.CompletedProcess[str]]


def tool(name: str, *before: str, env: dict[str, str] | None = None) -> Tool:
    """Run a program that must succeed; the test is skipped when it is not installed."""
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")

    def run(*words: object, check: bool = True, **how: object) -> subprocess.CompletedProcess[str]:
        argv = [path, *before, *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, timeout=180, **how)
        assert done.returncode == 0 or not check, f"{argv}\n{done.stdout}{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """podman with images of its own."""
    place = tmp_path_factory.mktemp("podman")
    (place / "containers.conf").write_text("[containers]\ndefault_ulimits = []\n")
    (place / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    roots = ("--root", str(place / "root"), "--runroot", str(place / "run"), "--storage-driver", "vfs")
    run = tool("podman", *roots, env={**os.environ, "CONTAINERS_CONF": str(place / "containers.conf")})
    yield run
    run("rmi", "-af", check=False)
    run("system", "reset", "-f", check=False)


@pytest.fixture(scope="session")
def skopeo() -> Tool:
    """skopeo, which copies images from anywhere to anywhere."""
    return tool("skopeo")


@pytest.fixture(scope="session")
def umoci() -> Tool:
    """umoci, which works on OCI layouts alone."""
    return tool("umoci")


def podman_run(podman: Tool, image: str, *words: str) -> str:
    """What a program prints in a container of podman's; runc, as crun does not know every host's cgroups."""
    runtime = ("--runtime", shutil.which("runc") or "runc")
    return podman(*runtime, "run", "--rm", "--network", "none", image, *words).stdout.strip()
