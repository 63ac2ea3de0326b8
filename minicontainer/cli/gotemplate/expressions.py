"""What stands between ``{{`` and ``}}`` and has a value: fields, variables, literals, calls, pipelines.

An expression is evaluated in a :class:`State`, which holds the variables, the output so far, and the
expression last looked at, so that an error can tell where it happened, in the words that Go has for it.

Source: https://pkg.go.dev/text/template, sections Arguments, Pipelines, Variables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from minicontainer.cli.gotemplate.functions import Function
from minicontainer.cli.gotemplate.tokens import TemplateError
from minicontainer.cli.gotemplate.values import GoError, field, type_name

_ABSENT = object()  # no value comes down the pipeline, which is not the same as a nil coming down


class State:
    """One run of a template over ``data``; ``out`` collects what it writes, also when it fails half-way."""

    def __init__(
        self, text: str, data: object, strict: bool, functions: Mapping[str, Function], out: list[str]
    ) -> None:
        self.text, self.strict, self.functions, self.out = text, strict, functions, out
        self.variables: list[tuple[str, object]] = [("$", data)]
        self.at: Expression | None = None

    def fail(self, message: str) -> NoReturn:
        """Raise TemplateError for what the expression last looked at cannot do."""
        assert self.at is not None, "only expressions fail"
        before = self.text[: self.at.pos]
        line, column = before.count("\n") + 1, len(before.rpartition("\n")[2].encode())
        raise TemplateError(f'template: :{line}:{column}: executing "" at <{self.at}>: {message}')

    def variable(self, name: str) -> object:
        """Return the value of the variable that was declared last under this name."""
        return next(value for known, value in reversed(self.variables) if known == name)

    def assign(self, name: str, value: object) -> None:
        """Give a variable that was declared another value."""
        for index in reversed(range(len(self.variables))):
            if self.variables[index][0] == name:
                self.variables[index] = (name, value)
                return
        self.fail(f"undefined variable: {name}")


class Expression:
    """A piece with a value. ``source`` is how an error shows it, ``pos`` where it stands in the template."""

    def __init__(self, source: str, pos: int) -> None:
        self.source, self.pos = source, pos

    def __str__(self) -> str:
        return self.source

    def value(self, state: State, dot: object, arguments: Arguments | None = None) -> object:
        """Return the value with ``.`` being ``dot``; only fields and functions can be given arguments."""
        state.at = self
        if arguments is not None:
            state.fail(f"can't give argument to non-function {self}")
        return self._value(state, dot)

    def _value(self, state: State, dot: object) -> object:
        raise NotImplementedError


class Arguments:
    """What stands after a field or a function, and what came down the pipeline as the last argument."""

    def __init__(self, command: Expression, given: Sequence[Expression], final: object) -> None:
        self.command, self.given, self.final = command, given, final


class Dot(Expression):
    """``.``: what the innermost ``with`` or ``range`` looks at, or the data."""

    def _value(self, state: State, dot: object) -> object:
        return dot


class Literal(Expression):
    """A string, a number, true or false."""

    def __init__(self, source: str, pos: int, literal: object) -> None:
        super().__init__(source, pos)
        self.literal = literal

    def _value(self, state: State, dot: object) -> object:
        return self.literal


class Nil(Expression):
    """The word ``nil``, which can only be an argument."""

    def value(self, state: State, dot: object, arguments: Arguments | None = None) -> object:
        """Refuse: there is nothing to evaluate."""
        state.at = self
        state.fail("nil is not a command")


class Chain(Expression):
    """Fields of something: ``.A.B`` (of dot), ``$x.A``, ``(index .A 0).B``. Without names just that thing."""

    def __init__(self, source: str, pos: int, of: Expression, names: Sequence[str]) -> None:
        super().__init__(source, pos)
        self.of, self.names = of, names

    def value(self, state: State, dot: object, arguments: Arguments | None = None) -> object:
        """Follow the names, one into the other; the last may be a method, and take arguments."""
        value = self.of.value(state, dot)
        if not isinstance(self.of, Pipeline):
            state.at = self
        for number, name in enumerate(self.names, 1):
            try:
                value = field(value, name, state.strict)
            except GoError as error:
                state.fail(str(error))
            value = self._called(state, dot, value, name, arguments if number == len(self.names) else None)
        return value

    def _called(
        self, state: State, dot: object, value: object, name: str, arguments: Arguments | None
    ) -> object:
        """Call a row's field that takes arguments, with these; any other field takes none."""
        if callable(value):
            method = Function(value, "string")
            return call(state, dot, name, method, arguments or Arguments(self, (), _ABSENT))
        if arguments is not None:
            state.fail(f"{name} is not a method but has arguments")
        return value


class Variable(Expression):
    """``$name``."""

    def _value(self, state: State, dot: object) -> object:
        return state.variable(self.source)


class Name(Expression):
    """The name of a function, and so a call of it."""

    def value(self, state: State, dot: object, arguments: Arguments | None = None) -> object:
        """Call the function."""
        state.at = self
        function = state.functions[self.source]
        return call(state, dot, self.source, function, arguments or Arguments(self, (), _ABSENT))


class Command(Expression):
    """One stage of a pipeline: a value alone, or a function or method with its arguments."""

    def __init__(self, words: Sequence[Expression]) -> None:
        super().__init__(" ".join(_operand(word) for word in words), words[0].pos)
        self.words = words

    def run(self, state: State, dot: object, final: object) -> object:
        """Return the value; ``final`` is what came down the pipeline."""
        alone = len(self.words) == 1 and final is _ABSENT
        arguments = None if alone else Arguments(self, self.words[1:], final)
        return self.words[0].value(state, dot, arguments)


def _operand(word: Expression) -> str:
    return f"({word})" if isinstance(word, Pipeline) else str(word)


class Pipeline(Expression):
    """Commands joined by ``|``, each given the value of the one before; may declare or assign variables."""

    def __init__(self, pos: int, names: Sequence[str], sign: str, commands: Sequence[Command]) -> None:
        target = f"{', '.join(names)} {sign} " if names else ""
        super().__init__(target + " | ".join(map(str, commands)), pos)
        self.names, self.sign, self.commands = names, sign, commands

    def result(self, state: State, dot: object) -> object:
        """Return the value and leave the variables alone, for ``range`` to set."""
        state.at = self
        value = _ABSENT
        for command in self.commands:
            value = command.run(state, dot, value)
        return value

    def _value(self, state: State, dot: object) -> object:
        value = self.result(state, dot)
        self.bind(state, [value] * len(self.names))
        return value

    def bind(self, state: State, values: Sequence[object]) -> None:
        """Declare (``:=``) or assign (``=``) the pipeline's variables."""
        for name, value in zip(self.names, values, strict=True):
            if self.sign == ":=":
                state.variables.append((name, value))
            else:
                state.assign(name, value)


def call(state: State, dot: object, name: str, function: Function, arguments: Arguments) -> object:
    """Evaluate the arguments and call ``function``, or fail in Go's words."""
    count = len(arguments.given) + (arguments.final is not _ABSENT)
    if wrong := function.arity_error(count):
        state.fail(f"wrong number of args for {name}: {wrong}")
    values = _evaluated(state, dot, function, arguments)
    if name in ("and", "or"):
        return _decided(values, name == "or")
    try:
        return function.call(*values)
    except GoError as error:
        state.at = arguments.command
        state.fail(f"error calling {name}: {error}")


def _decided(values: Iterator[object], wanted: bool) -> object:
    """Return the first value that decides an ``or`` (true) or an ``and`` (false), or the last; ask no further."""
    value: object = None
    for value in values:
        if bool(value) is wanted:
            break
    return value


def _evaluated(state: State, dot: object, function: Function, arguments: Arguments) -> Iterator[object]:
    for index, word in enumerate(arguments.given):
        state.at = word
        kind = function.kind(index)
        if isinstance(word, Nil):
            if kind in ("string", "int"):
                state.fail(f"cannot assign nil to {kind}")
            yield [] if kind == "[]string" else None
        elif isinstance(word, Literal) and not _is(word.literal, kind):
            state.fail(f"expected {'integer' if kind == 'int' else kind}; found {word}")
        else:
            yield _checked(state, word.value(state, dot), kind)
    if arguments.final is not _ABSENT:
        yield _checked(state, arguments.final, function.kind(len(arguments.given)))


def _checked(state: State, value: object, kind: str) -> object:
    if value is None and kind == "[]string":
        return []
    if value is None and kind != "any":
        state.fail(f"invalid value; expected {kind}")
    if not _is(value, kind):
        state.fail(f"wrong type for value; expected {kind}; got {type_name(value)}")
    return value


def _is(value: object, kind: str) -> bool:
    return kind in ("any", type_name(value)) or (kind == "[]string" and value == [])
