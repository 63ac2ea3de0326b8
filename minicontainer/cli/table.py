"""Lists as Docker prints them: a table, a template for each row, or JSON.

The columns are laid out as Go's text/tabwriter does it. A cell ends with a tab; a column is at least ten
characters wide, and three wider than its widest cell; what follows the last tab of a line belongs to no
column and is not padded. A line without a cell in some column ends that column, and the next one begins anew
below it.

``--format`` takes a template for each row, ``table`` and a template, from which the header is made too, the
word ``table`` alone for the usual columns, or ``json``.

Source: https://docs.docker.com/engine/cli/formatting/; https://pkg.go.dev/text/tabwriter.
"""

from __future__ import annotations

from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from minicontainer.cli.gotemplate.template import Template

_MINIMUM_WIDTH = 10
_PADDING = 3


def align(text: str, least_width: int = _MINIMUM_WIDTH) -> str:
    """Lay out lines whose cells end with tabs in columns, and return them with spaces for tabs."""
    lines = [line.split("\t") for line in text.split("\n")]
    _widen(lines, 0, len(lines), 0, least_width)
    return "\n".join("".join(line) for line in lines)


def _widen(lines: list[list[str]], start: int, end: int, column: int, least_width: int) -> None:
    """Pad the cells of ``column`` in ``lines[start:end]``, and of the columns right of it, in place.

    A run of neighbouring lines that have a cell there is one block with one width.
    """
    while start < end:
        after = start
        while after < end and column < len(lines[after]) - 1:
            after += 1
        if after > start:
            block = lines[start:after]
            width = max(least_width, *(len(line[column]) + _PADDING for line in block))
            for line in block:
                line[column] = line[column].ljust(width)
            _widen(lines, start, after, column + 1, least_width)
        start = max(after, start + 1)


def render(
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[tuple[str, str]],
    least_width: int = _MINIMUM_WIDTH,
) -> str:
    """Return the table of ``rows`` with ``columns``, pairs of header and key; each line ends with a newline."""
    lines = [[header for header, _ in columns]]
    lines += [[str(row[key]) for _, key in columns] for row in rows]
    return align("".join("\t".join(line) + "\n" for line in lines), least_width)


def label_header(name: str) -> str:
    """Return the header for ``{{.Label "com.example.cpu-count"}}``: ``cpu count``."""
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


def formatted(
    rows: Sequence[Mapping[str, object]],
    fmt: str | None,
    headers: Mapping[str, object],
    default_columns: Sequence[str],
    quiet_key: str | None = None,
) -> str:
    """Return ``rows`` as ``--format`` asks, for printing as it is.

    ``fmt`` is the option's value, None or empty without it. ``headers`` gives each field its header (or, for
    a field with arguments, a function of these, such as :func:`label_header`), ``default_columns`` the fields
    of the usual table. ``quiet_key`` is the field to print alone, given when the user said ``--quiet``; a
    template wins over it. Raises TemplateError for a template that is none, or that names an unknown field.
    """
    if not fmt or fmt == "table":
        if quiet_key:
            return "".join(f"{row[quiet_key]}\n" for row in rows)
        return render(rows, [(str(headers[key]), key) for key in default_columns])
    if fmt == "json":
        fmt = "{{json .}}"
    if not fmt.startswith("table"):
        return _lines(_template(fmt), rows)
    template = _template(fmt.removeprefix("table"))
    body = _lines(template, rows)
    return align(_header(template, headers) + "\n" + body)


def _template(text: str) -> Template:
    """Read a template of the command line, where ``\\t`` and ``\\n`` may be written for tab and newline."""
    from minicontainer.cli.gotemplate.template import (
        Template,
        TemplateSyntaxError,
    )  # most lists need no template

    try:
        return Template(text.strip(" ").replace("\\t", "\t").replace("\\n", "\n"))
    except TemplateSyntaxError as error:
        error.exit_code = 1  # lists end with 1 over a template that docker inspect ends with 64 over
        raise


def _lines(template: Template, rows: Sequence[Mapping[str, object]]) -> str:
    from minicontainer.cli.gotemplate.values import Row

    return "".join(template.render(Row(row)) + "\n" for row in rows)


def _header(template: Template, headers: Mapping[str, object]) -> str:
    """Render ``template`` over the names of its fields; what cannot be a header ends the line."""
    from minicontainer.cli.gotemplate.functions import HEADER_FUNCTIONS
    from minicontainer.cli.gotemplate.template import Template, TemplateError

    out: list[str] = []
    with suppress(TemplateError):  # {{json .}} has no header, and the rows are well all the same
        Template(template.text, HEADER_FUNCTIONS).write(dict(headers), out, missing="no value")
    return "".join(out)
