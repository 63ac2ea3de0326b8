"""The rules that the code is built by, held by reading its syntax trees."""

from __future__ import annotations

import ast
import functools
import os
import pathlib
import re

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "minicontainer"
# A module imports from its own floor and from those below it; the ground holds what every floor stands on.
FLOORS = ("ground", "kernel", "runtime", "images", "engine", "build", "cli", "lab")
GROUND = {"errors", "files", "units", "version", "words"}
LONGEST_FUNCTION = 50  # lines of the whole definition, with decorators, signature and docstring
LONGEST_MODULE = 330
FOR_NOTEBOOKS = {"graphviz", "ipywidgets", "rich"}


@functools.cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of every module, by its dotted name."""
    found = {}
    for path in sorted((PROJECT / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(), str(path))
    return found


def floor(module: str) -> int:
    """The number of a module's floor; the package itself and its __main__, the ways in, are above all but lab."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] == "__main__":
        return FLOORS.index("cli")
    return 0 if parts[1] in GROUND else FLOORS.index(parts[1])


def imported(node: ast.AST) -> list[str]:
    """The modules that an import statement names, ours as exactly as it says them."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "relative imports hide which floor they go to"
        full = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in modules() else str(node.module) for name in full]
    return []


def imports(module: str) -> set[str]:
    """All that a module imports, wherever it does."""
    return {name for node in ast.walk(modules()[module]) for name in imported(node)}


def imports_when_loaded(module: str) -> set[str]:
    """What is imported as soon as the module is: not in a function, and not for a type checker alone."""
    found, todo = set(), list(modules()[module].body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        found.update(imported(node))
        todo += ast.iter_child_nodes(node)
    return found


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] == PACKAGE}


def test_every_module_has_a_floor():
    known = {*FLOORS[1:], *GROUND, "__main__"}
    assert {module.split(".")[1] for module in modules() if "." in module} <= known


def test_nothing_is_imported_from_a_higher_floor():
    wrong = [
        f"{module} imports {name}"
        for module in modules()
        for name in sorted(ours(imports(module)) - {PACKAGE})
        if floor(name) > floor(module)
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: ours(imports_when_loaded(module)) & set(modules()) for module in modules()}

    cleared: set[str] = set()

    def circle(path: list[str]) -> list[str]:
        """The first circle among what the path's end imports; empty when there is none."""
        for name in sorted(graph[path[-1]] - cleared):
            if name in path:
                return [*path[path.index(name) :], name]
            if found := circle([*path, name]):
                return found
        cleared.add(path[-1])
        return []

    assert [found for module in graph if (found := circle([module]))] == []


def test_only_the_kernel_floor_uses_ctypes():
    users = {
        module for module in modules() if {"ctypes", "_ctypes"} & {n.split(".")[0] for n in imports(module)}
    }
    assert {module for module in users if floor(module) != FLOORS.index("kernel")} == set()
    assert users  # or this test looks for the wrong thing


def test_what_is_for_notebooks_is_loaded_by_the_lab_alone():
    wrong = [
        f"{module} imports {name}"
        for module in modules()
        for name in imports_when_loaded(module)
        if name.split(".")[0] in FOR_NOTEBOOKS and floor(module) != FLOORS.index("lab")
    ]
    assert wrong == []


def definitions(module: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The functions and classes of a module, those within others too."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return [node for node in ast.walk(modules()[module]) if isinstance(node, kinds)]


def test_no_function_is_longer_than_a_screen():
    long = []
    for module in modules():
        for node in definitions(module):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            lines = (node.end_lineno or 0) - first + 1
            if not isinstance(node, ast.ClassDef) and lines > LONGEST_FUNCTION:
                long.append(f"{module}.{node.name}: {lines} lines")
    assert long == []


def test_no_module_is_longer_than_a_sitting():
    sizes = {path: len(path.read_text().splitlines()) for path in (PROJECT / PACKAGE).rglob("*.py")}
    long = {str(path.relative_to(PROJECT)): size for path, size in sizes.items() if size > LONGEST_MODULE}
    assert long == {}


def public(tree: ast.Module | ast.ClassDef, prefix: str) -> list[tuple[str, ast.AST]]:
    """What a reader may use from outside, by name."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
            found.append((f"{prefix}.{node.name}", node))
            if isinstance(node, ast.ClassDef):
                found += public(node, f"{prefix}.{node.name}")
    return found


def test_all_that_is_public_says_what_it_is_for():
    silent = [name for name, tree in modules().items() if not ast.get_docstring(tree)]
    for module, tree in modules().items():
        for name, node in public(tree, module):
            setter = any(isinstance(each, ast.Attribute) for each in getattr(node, "decorator_list", []))
            if not setter and not ast.get_docstring(node):
                silent.append(name)
    assert silent == []


# The letter in brackets keeps each pattern from finding itself here.
ELSEWHERE = {
    "a path of some developer's machine": r"/wor[k]/(main|shared|\.)|/roo[t]/\.|/tm[p]/v\d",
    "a package registry's host": r"pypi\.or[g]|pythonhosted\.or[g]|deb\.debian\.or[g]|npmj[s]\.|anacond[a]\.org",
    "a directory beside the checkout": r"\.\./share[d]",
}
MAY = {".ci/run": "a directory beside the checkout"}  # and copes without it


def texts() -> list[pathlib.Path]:
    """The text files of the checkout, without what tools leave in it."""
    found = []
    for directory, names, files in os.walk(PROJECT):
        names[:] = [
            name for name in names if not name.startswith(".") or name in (".ci", ".github", ".devcontainer")
        ]
        names[:] = [name for name in names if name != "__pycache__"]
        found += [
            pathlib.Path(directory, file) for file in files if not file.endswith((".png", ".gz", ".pyc"))
        ]
    return found


@pytest.mark.parametrize("what", ELSEWHERE)
def test_the_files_stand_on_their_own(what):
    wrong = []
    for path in texts():
        name = str(path.relative_to(PROJECT))
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if MAY.get(name) != what and re.search(ELSEWHERE[what], line):
                wrong.append(f"{name}:{number}: {line.strip()[:100]}")
    assert wrong == []
