"""What makes it start on a new machine: the commands of the README, and the lists of what is needed."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = ["scripts/start", "scripts/test", "scripts/lib.sh", ".ci/run"]
CALLED_OTHERWISE = {"graphviz": "python-graphviz", "isal": "python-isal"}  # by conda-forge
# In environment.yml for conda alone: the interpreter, pip, and a program that Debian packages too.
FOR_CONDA = {"python", "pip", "graphviz"}


def environment() -> tuple[dict[str, str], dict[str, str]]:
    """The packages of environment.yml, each with its range: those of conda, and those of its pip section."""
    conda, pip, into = {}, {}, None
    for line in (PROJECT / "environment.yml").read_text().splitlines():
        if line == "dependencies:":
            into = conda
        elif line == "  - pip:":
            into = pip
        elif into is not None and (found := re.fullmatch(r" +- ([\w-]+)(.*)", line)):
            into[found[1]] = found[2]
    return conda, pip


def project() -> dict:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def wanted() -> dict[str, str]:
    """The packages of pyproject.toml, extras and all, each with its range."""
    lists = [project()["dependencies"], *project()["optional-dependencies"].values()]
    found = [re.fullmatch(r"([\w-]+)(.*)", entry) for entries in lists for entry in entries]
    return {entry[1]: entry[2] for entry in found}


def test_conda_installs_what_pip_does():
    conda, pip = environment()
    assert pip.pop("-e") == " ."
    both = {name: spec for name, spec in (conda | pip).items() if name not in FOR_CONDA}
    assert both == {CALLED_OTHERWISE.get(name, name): spec for name, spec in wanted().items()}
    assert conda["python"] == project()["requires-python"]


def test_conda_can_read_it():
    rattler = pytest.importorskip("rattler", reason="needs py-rattler, conda's own parser")
    for name, spec in environment()[0].items():
        match = rattler.MatchSpec(name + spec, strict=True)
        assert match.name.normalized == name
        assert str(match.version or "") == spec


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_shell_understands_the_scripts(name):
    shell = "bash" if name == ".ci/run" else "sh"
    subprocess.run([shell, "-n", PROJECT / name], check=True)
    assert name.endswith(".sh") or os.access(PROJECT / name, os.X_OK)


def test_shellcheck_finds_nothing():
    if not shutil.which("shellcheck"):
        pytest.skip("needs shellcheck")
    done = subprocess.run(
        ["shellcheck", "-x", *SCRIPTS], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


def lib(code: str, **how) -> subprocess.CompletedProcess[str]:
    """Run shell code that has the functions of scripts/lib.sh."""
    script = f'set -eu; PROJECT="{how.pop("checkout", PROJECT)}"; . "{PROJECT}/scripts/lib.sh"; {code}'
    return subprocess.run(["sh", "-c", script, "try"], capture_output=True, text=True, check=False, **how)


def python_that_says(version: tuple[int, ...], path: pathlib.Path) -> None:
    """An interpreter that is this one, but for the version that it says it has."""
    code = f"import sys; sys.version_info = {version}; exec(sys.argv.pop(1))"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = -I ] && [ "$2" = -c ] && exec {sys.executable} -I -c "{code}" "$3"\nexit 1\n'
    )
    path.chmod(0o755)


def test_the_newest_python_that_will_do_is_found(tmp_path):
    for name, version in {"python3.13": None, "python3.12": (3, 12, 1), "python3": (3, 13, 0)}.items():
        if version:
            python_that_says(version, tmp_path / name)
        else:  # as pyenv's stand-ins do
            (tmp_path / name).write_text("#!/bin/sh\necho no such version >&2\nexit 127\n")
            (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    code = 'find_python; echo "$found"'
    assert lib(f"SYSTEM_PYTHON={tmp_path}/none; {code}", env=env).stdout.split()[0] == "3.12.1"
    assert lib(f"SYSTEM_PYTHON={tmp_path}/python3; {code}", env=env).stdout.split()[0] == "3.13.0"


def test_an_old_python_is_refused_by_name(tmp_path):
    python_that_says((3, 10, 9), tmp_path / "python3")
    done = lib("find_python", env={"PATH": "/usr/bin:/bin", "PYTHON": str(tmp_path / "python3")})
    assert (done.returncode, done.stderr) == (
        1,
        f"try: PYTHON={tmp_path}/python3 is no Python 3.11 or newer\n",
    )


def test_without_any_python_it_says_how_to_name_one(tmp_path):
    for tool in ("sh", "mktemp", "rm", "tail"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = lib("SYSTEM_PYTHON=none; find_python", env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert "no Python 3.11 or newer among python3.13 python3.12" in done.stderr
    assert "sudo PYTHON=/path/to/python3" in done.stderr


@pytest.mark.parametrize("name", ["start", "test"])
def test_without_root_it_says_sudo(name):
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", f"scripts/{name}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "try again with sudo" in done.stderr


def test_a_wrong_option_is_an_error_before_anything_happens(tmp_path):
    done = subprocess.run([PROJECT / "scripts/start", "--labs"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "[--lab|--no-lab]" in done.stderr
    assert done.stdout == ""


def test_what_root_made_goes_to_the_owner_of_the_checkout(tmp_path):
    outside = tmp_path / "outside"
    outside.touch()
    checkout = tmp_path / "checkout"
    (checkout / "__pycache__").mkdir(parents=True)
    (checkout / "__pycache__" / "made").touch()
    (checkout / "link").symlink_to(outside)
    os.link(outside, checkout / "hard")
    os.chown(checkout, 12345, 12345)
    done = lib("hand_back", checkout=checkout)
    assert done.returncode == 0, done.stderr
    owners = {name: (checkout / name).lstat().st_uid for name in ("__pycache__", "__pycache__/made", "link")}
    assert owners == dict.fromkeys(owners, 12345)
    assert outside.stat().st_uid == 0  # also what the checkout has a hard link to


def test_an_environment_made_elsewhere_is_not_used(tmp_path):
    """A checkout that was copied or moved has programs in .venv that still go to the old place."""
    venv = tmp_path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    assert lib("environment_is_good", checkout=tmp_path).returncode == 0
    (venv / "made-for").write_text(f"{tmp_path}\n")
    assert lib("environment_is_good", checkout=tmp_path).returncode == 0
    (venv / "made-for").write_text("/another/place\n")
    assert lib("environment_is_good", checkout=tmp_path).returncode == 1


def test_the_readme_names_the_two_commands():
    text = (PROJECT / "README.md").read_text()
    assert "sudo ./scripts/start" in text
    assert "sudo ./scripts/test" in text


def test_links_in_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (PROJECT / "README.md").read_text())
    assert [link for link in links if not (PROJECT / link).exists()] == []
