"""What a template does: write text and values, choose, and repeat.

Every statement writes to ``state.out``; what it writes it takes from an expression
(:mod:`minicontainer.cli.gotemplate.expressions`), and ``.`` is the value that the innermost ``with`` or ``range``
set, or the data.

Source: https://pkg.go.dev/text/template, section Actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from minicontainer.cli.gotemplate.expressions import Pipeline, State
from minicontainer.cli.gotemplate.format import plain


class Break(Exception):
    """``{{break}}``: a way out of the loop, not an error."""


class Continue(Exception):
    """``{{continue}}``: a way out of this round of the loop."""


class Statement:
    """A piece that writes to ``state.out``."""

    def run(self, state: State, dot: object) -> None:
        """Write to ``state.out``, with ``.`` being ``dot``."""
        raise NotImplementedError


class Text(Statement):
    """What stands outside ``{{`` and ``}}``."""

    def __init__(self, text: str) -> None:
        self.text = text

    def run(self, state: State, dot: object) -> None:
        """Write it."""
        state.out.append(self.text)


class Action(Statement):
    """``{{pipeline}}``: writes its value, unless it only sets a variable."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def run(self, state: State, dot: object) -> None:
        """Evaluate, and write what comes of it."""
        value = self.pipeline.value(state, dot)
        if not self.pipeline.names:
            state.out.append("<no value>" if value is None else plain(value))


class Jump(Statement):
    """``{{break}}`` and ``{{continue}}``."""

    def __init__(self, out_of: type[Break] | type[Continue]) -> None:
        self.out_of = out_of

    def run(self, state: State, dot: object) -> None:
        """Leave the loop, or this round of it."""
        raise self.out_of


class Branch(Statement):
    """``if``, and ``with``, which is an if that makes the value the dot of its body."""

    def __init__(
        self, sets_dot: bool, pipeline: Pipeline, body: list[Statement], otherwise: list[Statement]
    ) -> None:
        self.sets_dot, self.pipeline, self.body, self.otherwise = sets_dot, pipeline, body, otherwise

    def run(self, state: State, dot: object) -> None:
        """Choose, and write what was chosen."""
        known = len(state.variables)
        value = self.pipeline.value(state, dot)
        if value:
            run(self.body, state, value if self.sets_dot else dot)
        else:
            run(self.otherwise, state, dot)
        del state.variables[known:]


class Range(Statement):
    """``range`` over a list, a map in the order of its keys, or a number; ``else`` when there is nothing."""

    def __init__(self, pipeline: Pipeline, body: list[Statement], otherwise: list[Statement]) -> None:
        self.pipeline, self.body, self.otherwise = pipeline, body, otherwise

    def run(self, state: State, dot: object) -> None:
        """Write the body once for each item."""
        items = self._items(state, self.pipeline.result(state, dot))
        known = len(state.variables)
        try:
            for index, element in items:
                self.pipeline.bind(state, [index, element][2 - len(self.pipeline.names) :])
                with suppress(Continue):
                    run(self.body, state, element)
                del state.variables[known:]
        except Break:
            del state.variables[known:]
        if not items:
            run(self.otherwise, state, dot)

    def _items(self, state: State, value: object) -> list[tuple[object, object]]:
        if value is None:
            return []
        if isinstance(value, list):
            return [*enumerate(value)]
        if isinstance(value, dict):
            return sorted(value.items())
        if isinstance(value, bool) or not isinstance(value, int):
            state.fail(f"range can't iterate over {plain(value)}")
        return [(number, number) for number in range(value)]


def run(statements: Sequence[Statement], state: State, dot: object) -> None:
    """Run ``statements`` one after another."""
    for statement in statements:
        statement.run(state, dot)
