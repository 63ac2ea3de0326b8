"""The chapters are what they say they are: whole, in order, executed, true on this machine, and solvable."""

from __future__ import annotations

import ast
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import nbformat
import pytest
from conftest import DOCKER_IMAGE

from minicontainer.lab import peers

PROJECT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOKS = PROJECT / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
SANITIZE = NOTEBOOKS / "sanitize.cfg"
SCRIPT = PROJECT / "scripts" / "execute-notebooks"
TAGS = {"exercise", "check", "raises-exception", "nbval-ignore-output"}
EXERCISES = {"00": 2}  # the least there must be; three in all other chapters
SECTIONS = (
    "What you will be able to do",
    "Before we begin",
    "See the problem",
    "By hand",
    "The module",
    "What real runtimes do besides",
    "Break it",
    "Exercise 1",
    "Compare",
    "Clean up",
    "Recap",
)
# What a chapter may import beside the facade and the lab: the modules that it introduces, and earlier chapters'.
INTRODUCES = {
    "00": ("minicontainer.engine.doctor",),
    "01": ("minicontainer.kernel", "minicontainer.runtime.namespaces"),
    "02": ("minicontainer.runtime.cgroups",),
    "03": ("minicontainer.images.overlay",),
    "04": tuple(f"minicontainer.images.{name}" for name in ("differences", "layers", "packing")),
    "05": tuple(f"minicontainer.build.{name}" for name in ("builder", "cache", "source", "stage")),
    "06": tuple(f"minicontainer.images.{name}" for name in ("rootfs", "saving", "store")),
    "07": tuple(f"minicontainer.engine.network.{name}" for name in ("firewall", "members", "wires")),
    "10": ("minicontainer.images.reference", "minicontainer.images.registry"),
    "11": tuple(f"minicontainer.engine.rollout.{name}" for name in ("balancer", "bounds", "deployment")),
}
PROGRAMS = {"11": "haproxy"}  # what a chapter stops without, in its first cell
FACADE = ("minicontainer", "minicontainer.lab", "minicontainer.errors")


def read(path: pathlib.Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def text_of(cell: nbformat.NotebookNode) -> str:
    """All that a cell has put out, as plain text."""
    parts = [
        output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs
    ]
    return "".join(parts)


def python_of(cell: nbformat.NotebookNode) -> str:
    """The Python of a cell; nothing for one in another language."""
    first, _, rest = cell.source.partition("\n")
    if not first.startswith("%%"):
        return cell.source
    return rest if first.split()[0] in ("%%child", "%%every_child") else ""


def prose(notebook: nbformat.NotebookNode) -> str:
    """What a learner reads from top to bottom: no code, no tables, nothing that is folded."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    text = re.sub(r"```.*?```|<details>.*?</details>", "", text, flags=re.DOTALL)
    return re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request: pytest.FixtureRequest) -> pathlib.Path:
    return request.param


@pytest.fixture
def runnable(chapter: pathlib.Path, request: pytest.FixtureRequest) -> pathlib.Path:
    """A chapter whose programs are here; one with subnets of its own has them for itself."""
    if chapter.name.startswith("07"):
        request.getfixturevalue("turn")
    program = PROGRAMS.get(chapter.name[:2])
    if program and not shutil.which(program):
        pytest.skip(f"needs {program}")
    return chapter


@pytest.fixture
def notebook(chapter: pathlib.Path) -> nbformat.NotebookNode:
    return read(chapter)


@pytest.fixture
def environment(root: str) -> dict[str, str]:
    """For a process that runs notebooks: this package, the tests' store, and cgroups of its own."""
    return {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "MINICONTAINER_ROOT": root,
        "MINICONTAINER_LAB": f"minicontainer-lab-{os.getpid()}",
    }


def test_there_are_chapters_and_the_index_names_each() -> None:
    assert len(CHAPTERS) >= 3
    index = (NOTEBOOKS / "README.md").read_text()
    assert [path.name for path in CHAPTERS] == re.findall(r"\((\d\d-[a-z-]+\.ipynb)\)", index)


# ------------------------------------------------------------------ form


def test_is_a_valid_notebook_without_stray_metadata(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}, cell.id
        assert set(cell.metadata.get("tags", ())) <= TAGS, cell.id


def test_is_committed_executed_and_in_order(notebook: nbformat.NotebookNode) -> None:
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.get("name") != "stderr", f"{cell.id} writes to stderr: {output.text}"
        failed = any(output.output_type == "error" for output in cell.outputs)
        assert failed == (cell in tagged(notebook, "raises-exception")), cell.id


def test_shows_on_github_without_a_kernel(notebook: nbformat.NotebookNode) -> None:
    for cell in code(notebook):
        for output in cell.outputs:
            kinds = set(output.get("data", ()))
            assert kinds <= {"text/plain", "text/markdown", "image/png"}, f"{cell.id}: {kinds}"
    assert "```mermaid" not in prose(notebook)


def test_has_no_path_of_the_machine_it_was_executed_on(chapter: pathlib.Path) -> None:
    text = chapter.read_text()
    for path in (
        str(PROJECT),
        sys.prefix,
        tempfile.gettempdir() + "/minicontainer",
        "site-packages",
    ):
        assert path not in text, path
    assert "Traceback (most recent call last)" not in text


def test_is_as_long_as_a_chapter(notebook: nbformat.NotebookNode) -> None:
    assert 40 <= len(notebook.cells) <= 66
    assert statistics.median(len(cell.source.splitlines()) for cell in code(notebook)) <= 5
    assert 800 <= len(prose(notebook).split()) <= 1500
    assert all(len(line) <= 110 for cell in code(notebook) for line in cell.source.splitlines())


def test_begins_with_a_title_card_and_a_preflight(
    chapter: pathlib.Path, notebook: nbformat.NotebookNode
) -> None:
    card = notebook.cells[0].source
    assert card.startswith(f"# {chapter.name[:2]} · ")
    for word in ("**Time**", "**Needs**", "**Docker calls this**", "◀"):
        assert word in card
    assert code(notebook)[0].source.startswith("from minicontainer import lab\n\nlab.require(")
    assert code(notebook)[-1].source == "lab.clean_up()"


def test_has_its_sections_in_order(notebook: nbformat.NotebookNode) -> None:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^#{2,3} (.*)$", text, flags=re.MULTILINE)
    found = [next((i for i, h in enumerate(headings) if h.startswith(section)), None) for section in SECTIONS]
    assert None not in found, dict(zip(SECTIONS, found, strict=True))
    assert found == sorted(found)
    assert text.count("**Predict.**") >= 2
    assert tagged(notebook, "raises-exception")


def test_links_lead_somewhere(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        for target in re.findall(r"\]\(([^)#]+)\)", cell.source if cell.cell_type == "markdown" else ""):
            assert "://" in target or (NOTEBOOKS / target).exists(), f"{cell.id}: {target}"


def test_uses_only_its_own_and_earlier_modules(
    chapter: pathlib.Path, notebook: nbformat.NotebookNode
) -> None:
    number = chapter.name[:2]
    allowed = [module for key in INTRODUCES if key <= number for module in INTRODUCES[key]]
    for cell in notebook.cells:
        folded = re.findall(r"```python\n(.*?)```", cell.source, re.DOTALL)
        sources = [python_of(cell)] if cell.cell_type == "code" else folded
        for module in [name for source in sources for name in imports(source)]:
            known = module in FACADE or any(f"{module}.".startswith(f"{each}.") for each in allowed)
            assert known, f"{cell.id} uses {module}, which chapter {number} may not know"
    for module in INTRODUCES[number]:
        assert module.rpartition(".")[2] in "".join(cell.source for cell in code(notebook)), module


def imports(source: str) -> list[str]:
    """The modules of the package that a piece of Python imports, by their full names."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{name.name}" for name in node.names]
    return [name for name in found if name.split(".")[0] == "minicontainer"]


# ------------------------------------------------------------------ exercises


def test_exercises_are_complete(chapter: pathlib.Path, notebook: nbformat.NotebookNode) -> None:
    exercises = tagged(notebook, "exercise")
    assert len(exercises) >= EXERCISES.get(chapter.name[:2], 3)
    for exercise in exercises:
        at = notebook.cells.index(exercise)
        check, folds = notebook.cells[at + 1], notebook.cells[at + 2].source
        name = re.match(r"def (\w+)\(", exercise.source)[1]
        assert exercise.source.endswith("raise NotImplementedError"), f"{exercise.id} is not a stub"
        assert check.source == f"lab.check.{name}({name})"
        assert check.metadata.tags == ["check"]
        assert text_of(check).startswith("✗ not yet"), f"{check.id} accepts the stub"
        assert re.findall(r"<summary>(.*?)</summary>", folds) == ["Hint 1", "Hint 2", "Solution"]
        assert folds.count("```python") == 1


@pytest.mark.slow
def test_a_solved_copy_passes_whole(
    environment: dict[str, str], tmp_path: pathlib.Path, runnable: pathlib.Path
) -> None:
    run_script(environment, "--solved", "--output", tmp_path, runnable)
    solved = read(tmp_path / runnable.name)
    checks = tagged(solved, "check")
    assert len(checks) == len(tagged(read(runnable), "exercise"))
    assert [text_of(cell)[:8] for cell in checks] == ["✓ passed"] * len(checks), [text_of(c) for c in checks]
    assert text_of(code(solved)[-1]).count("none left") == 6


def test_solutions_are_never_written_into_the_notebooks(
    environment: dict[str, str], chapter: pathlib.Path
) -> None:
    before = chapter.read_bytes()
    done = run_script(environment, "--solved", chapter, code=2)
    assert "--output" in done.stderr
    assert chapter.read_bytes() == before


def run_script(
    environment: dict[str, str], *words: object, code: int = 0
) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(SCRIPT), *map(str, words)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


# ------------------------------------------------------------------ truth


def nbval(environment: dict[str, str], path: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook by nbval with the interpreter that runs this, and compare its outputs."""
    words = "-q -p no:cacheprovider --color=no --nbval --nbval-current-env --nbval-cell-timeout 60".split()
    argv = [sys.executable, "-m", "pytest", *words, "--nbval-sanitize-with", str(SANITIZE), str(path)]
    return subprocess.run(argv, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_runs_as_committed(environment: dict[str, str], runnable: pathlib.Path) -> None:
    done = nbval(environment, runnable)
    assert done.returncode == 0, done.stdout


def test_a_wrong_output_would_be_noticed(environment: dict[str, str], tmp_path: pathlib.Path) -> None:
    """The comparison is on: nbval refuses a copy in which one number has been changed."""
    notebook = read(NOTEBOOKS / "00-welcome.ipynb")
    (cell,) = [cell for cell in notebook.cells if cell.id == "oom"]
    assert text_of(cell) == "137"
    cell.outputs[0]["data"]["text/plain"] = "0"
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    done = nbval(environment, tmp_path / "changed.ipynb")
    assert done.returncode == 1
    assert "1 failed" in done.stdout, done.stdout


def recorded_cells() -> list[tuple[pathlib.Path, str, str, str]]:
    """(notebook, tool, recording, cell id) of each %%peer cell."""
    return [
        (path, *cell.source.splitlines()[0].split()[1:], cell.id)
        for path in CHAPTERS
        for cell in code(read(path))
        if cell.source.startswith("%%peer ")
    ]


def test_recordings_are_what_the_notebooks_show() -> None:
    recordings = {f"{recording}.txt" for _, _, recording, _ in recorded_cells()}
    assert recordings == set(os.listdir(peers.RECORDED))
    for path, _, recording, cell_id in recorded_cells():
        (cell,) = [cell for cell in code(read(path)) if cell.id == cell_id]
        assert text_of(cell) == peers.recorded(recording)


@pytest.mark.parametrize(("path", "tool", "recording", "cell_id"), recorded_cells())
def test_recordings_are_what_the_tools_still_say(
    docker: object,
    capsys: pytest.CaptureFixture[str],
    path: pathlib.Path,
    tool: str,
    recording: str,
    cell_id: str,
) -> None:
    (cell,) = [cell for cell in code(read(path)) if cell.id == cell_id]
    peers.peer(tool, recording, cell.source.partition("\n")[2].replace(" alpine ", f" {DOCKER_IMAGE} "))
    assert shape(capsys.readouterr().out) == shape(peers.recorded(recording))


def shape(text: str) -> list[str]:
    """What a recording says, without what differs between machines: numbers, names of hosts, cgroup versions."""
    text = re.sub(r"\b[0-9a-f]{64}\b", "<id>", text)
    text = re.sub(r"\b\d{2,}\b(?! bytes)(?!$)|\b\d+(?= devices)", "<number>", text)
    return [line for line in text.splitlines() if not re.match(r"\d+:", line)]
