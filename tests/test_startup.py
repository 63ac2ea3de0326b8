"""Starting a container imports only what it uses: an import of a few milliseconds is a tenth of the whole."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import PROJECT, Cli

HEAVY = """argparse asyncio dataclasses email hashlib inspect logging pathlib pyroute2 pyseccomp rich shutil
subprocess tarfile tempfile typing urllib urllib3 traceback ipaddress datetime""".split()


def imported(text: str) -> set[str]:
    """The modules of an ``-X importtime`` report."""
    return {line.rpartition("|")[2].strip() for line in re.findall(r"^import time:.*\d.*$", text, re.M)}


@pytest.fixture(scope="module")
def modules(root: str) -> tuple[set[str], set[str]]:
    """What the command and what the monitor import for ``run``, once the system call filter is compiled."""
    Cli(root)("run", "--rm", "alpine", "true")
    # -I alone would leave the checkout out of sys.path; the rest is what the console script does.
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import minicontainer.cli.main as m; m.main()"
    argv = [sys.executable, "-I", "-X", "importtime", "-c", code, "--root", root, "run", "-d", "alpine"]
    done = subprocess.run([*argv, "sleep", "1000"], capture_output=True, text=True, check=True)
    container = done.stdout.strip()
    report = pathlib.Path(root, "run", container, "monitor.log").read_text()
    Cli(root)("rm", "-f", container)
    site = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", "-c", "0"], capture_output=True, text=True, check=True
    )
    return imported(done.stderr) - imported(site.stderr), imported(report)


def test_the_report_is_one(modules: tuple[set[str], set[str]]) -> None:
    command, _ = modules
    assert {"minicontainer.cli.commands.run", "minicontainer.engine.engine", "json"} <= command


@pytest.mark.parametrize("name", HEAVY)
def test_run_does_without(modules: tuple[set[str], set[str]], name: str) -> None:
    for who, names in zip(("command", "monitor"), modules, strict=True):
        found = {each for each in names if each == name or each.startswith(f"{name}.")}
        assert not found, f"the {who} imports {found}"


def test_no_other_command_is_imported(modules: tuple[set[str], set[str]]) -> None:
    commands = {each for each in modules[0] if each.startswith("minicontainer.cli.commands.")}
    assert commands == {"minicontainer.cli.commands.run"}


def test_importing_the_package_imports_nothing_of_it() -> None:
    code = "import sys, minicontainer; print([m for m in sys.modules if m.startswith('minicontainer.')])"
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['minicontainer.version']"
