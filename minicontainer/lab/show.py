"""Showing code and tables: coloured in Jupyter and on GitHub, plain text everywhere else.

Both go out as Markdown beside the plain text. A browser colours it in its own theme, and unlike HTML made by a
highlighter it is the same text with every version of every library.
"""

from __future__ import annotations

import ast
import inspect
import os
import textwrap

from minicontainer.errors import NotFound
from minicontainer.lab.children import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType
    from typing import Any


class Shown:
    """Something with a plain and a Markdown face."""

    def __init__(self, plain: str, markdown: str) -> None:
        self.plain = plain
        self.markdown = markdown

    def __repr__(self) -> str:
        return self.plain

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self.plain, "text/markdown": self.markdown}


def source(what: Any, name: str = "") -> Shown:
    """The code of a function, class or module, with its file and line: what is shown is what runs.

    :param name: a name that the module ``what`` assigns to, as ``source(namespaces, "NAMESPACES")``; shown with
        the comment above it
    :raises NotFound: when the module has no such name
    """
    if name:
        text, line = _assignment(what, name)
    else:
        lines, line = inspect.getsourcelines(what)
        text = textwrap.dedent("".join(lines))  # of a method, as wide as a function
    file = os.path.relpath(inspect.getfile(inspect.unwrap(what)), PACKAGE)
    where = file if inspect.ismodule(what) and not name else f"{file}, line {line}"
    fence = "````" if "```" in text else "```"
    text = text.rstrip("\n")
    return Shown(f"# {where}\n{text}", f"`{where}`\n\n{fence}python\n{text}\n{fence}")


def _assignment(module: ModuleType, name: str) -> tuple[str, int]:
    lines = inspect.getsource(module).splitlines(keepends=True)
    for node in ast.parse("".join(lines)).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            first = node.lineno - 1
            while first and lines[first - 1].startswith("#"):
                first -= 1
            return "".join(lines[first : node.end_lineno]), first + 1
    raise NotFound(f"{module.__name__} assigns nothing to {name}")


def table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> Shown:
    """Rows below titles; each row has as many values as there are titles."""
    cells = [list(titles), *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    plain = [
        "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    marked = [
        "| " + " | ".join(value.replace("|", "\\|").replace("\n", "<br>") for value in row) + " |"
        for row in cells
    ]
    marked.insert(1, "|" + " --- |" * len(titles))
    return Shown("\n".join(plain), "\n".join(marked))
