"""Go's text/template, the language of Docker's ``--format``.

``docker inspect --format '{{.State.Pid}}'`` is in many scripts, so it means the same here, down to the
words of the errors. A template is read in three steps: ``tokens`` cuts it into words, the parser below makes a
tree of them, and the tree's nodes (``statements``, ``expressions``) run over the data.

The whole language but ``define``, ``template`` and ``block``, which a single line has no use for, and
complex numbers.

Source: https://pkg.go.dev/text/template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal as OneOf
from typing import NoReturn

from minicontainer.cli.gotemplate.expressions import (
    Chain,
    Command,
    Dot,
    Expression,
    Literal,
    Name,
    Nil,
    Pipeline,
    State,
    Variable,
)
from minicontainer.cli.gotemplate.format import quote
from minicontainer.cli.gotemplate.functions import FUNCTIONS, Function
from minicontainer.cli.gotemplate.literals import literal
from minicontainer.cli.gotemplate.statements import (
    Action,
    Branch,
    Break,
    Continue,
    Jump,
    Range,
    Statement,
    Text,
    run,
)
from minicontainer.cli.gotemplate.tokens import TemplateError, TemplateSyntaxError, Token, scan

__all__ = ["Template", "TemplateError", "TemplateSyntaxError"]

_OPERANDS = ("bool", "char", "dot", "field", "word", "number", "nil", "raw", "string", "variable", "(")


class Template:
    """A template ready to be rendered, any number of times.

    ``functions`` are those that it may call. Raises TemplateSyntaxError when ``text`` is not a template.
    """

    def __init__(self, text: str, functions: Mapping[str, Function] = FUNCTIONS) -> None:
        self.text, self.functions = text, functions
        self._statements = _Parser(text, functions).template()

    def render(self, data: object, missing: OneOf["error", "no value"] = "error") -> str:
        """Return what the template makes of ``data``: dicts, lists, strings, numbers, booleans and None.

        ``missing`` says what a field that is not there becomes: an error, as ``docker inspect`` has it, or
        the words ``<no value>``, Go's own way. Raises TemplateError.
        """
        out: list[str] = []
        self.write(data, out, missing)
        return "".join(out)

    def write(self, data: object, out: list[str], missing: OneOf["error", "no value"] = "error") -> None:
        """Render into ``out``, which keeps what was written before an error."""
        run(self._statements, State(self.text, data, missing == "error", self.functions, out), data)


class _Parser:
    """Makes statements of tokens, by recursive descent; one method for each rule of the grammar."""

    def __init__(self, text: str, functions: Mapping[str, Function]) -> None:
        self.text, self.functions = text, functions
        self.tokens, self.index = scan(text), 0
        self.variables = ["$"]
        self.loops = 0

    def fail(self, message: str) -> NoReturn:
        line = self.text.count("\n", 0, self.tokens[max(self.index - 1, 0)].pos) + 1
        raise TemplateSyntaxError(f"template: :{line}: {message}")

    def unexpected(self, token: Token, context: str) -> NoReturn:
        self.fail(token.text if token.kind == "error" else f"unexpected {token} in {context}")

    def next(self) -> Token:
        """Take the next token; the last, EOF or an error, can be taken again and again."""
        token = self.tokens[self.index]
        self.index = min(self.index + 1, len(self.tokens) - 1)
        return token

    def peek(self) -> Token:
        return self.tokens[self.index]

    def next_word(self) -> Token:
        """Take the next token that is not space."""
        self.skip_space()
        return self.next()

    def skip_space(self) -> None:
        while self.peek().kind == "space":
            self.next()

    def template(self) -> list[Statement]:
        statements, end = self.statements()
        if end.kind != "EOF":
            self.fail(f"unexpected {{{{{end.text}}}}}")
        return statements

    def statements(self) -> tuple[list[Statement], Token]:
        """Read up to ``{{end}}``, ``{{else`` or the end of the text; return which of these it was."""
        found: list[Statement] = []
        while True:
            token = self.next()
            if token.kind == "text":
                found.append(Text(token.text))
            elif token.kind == "EOF":
                return found, token
            elif token.kind != "{{":
                self.unexpected(token, "input")
            else:
                self.skip_space()
                word = self.peek()
                if word.kind == "keyword" and word.text in ("end", "else"):
                    self.next()
                    return found, word
                found.append(self.action())

    def action(self) -> Statement:
        word = self.peek()
        if word.kind != "keyword":
            return Action(self.pipeline("command", "}}"))
        self.next()
        if word.text in ("break", "continue"):
            return self.jump(word.text)
        if word.text not in ("if", "with", "range"):
            self.fail(f"{word.text} is not supported here; write the template in one piece")
        return self.control(word.text)

    def jump(self, word: str) -> Statement:
        self.close(f"{{{{{word}}}}}")
        if not self.loops:
            self.fail(f"{{{{{word}}}}} outside {{{{range}}}}")
        return Jump(Break if word == "break" else Continue)

    def close(self, context: str) -> None:
        token = self.next_word()
        if token.kind != "}}":
            self.unexpected(token, context)

    def control(self, word: str) -> Statement:
        """Read ``if``, ``with`` or ``range`` from its pipeline to its ``{{end}}``."""
        known = len(self.variables)
        pipeline = self.pipeline(word, "}}")
        self.loops += word == "range"
        body, end = self.statements()
        self.loops -= word == "range"
        otherwise: list[Statement] = []
        if end.text == "else":
            otherwise = self.otherwise(word)
        elif end.kind == "EOF":
            self.fail("unexpected EOF")
        else:
            self.close("end")
        del self.variables[known:]
        if word == "range":
            return Range(pipeline, body, otherwise)
        return Branch(word == "with", pipeline, body, otherwise)

    def otherwise(self, word: str) -> list[Statement]:
        """Read what follows ``{{else``: a body, or ``if …}}`` (``with …}}``), which shares its end with us."""
        self.skip_space()
        token = self.peek()
        if token.kind == "keyword" and token.text == word != "range":
            self.next()
            return [self.control(word)]
        self.close("else")
        body, end = self.statements()
        if end.text != "end":
            self.fail("unexpected EOF" if end.kind == "EOF" else "expected end; found {{else}}")
        self.close("end")
        return body

    def pipeline(self, context: str, end: str) -> Pipeline:
        self.skip_space()
        pos = self.peek().pos
        names, sign = self.declaration(context)
        commands: list[Command] = []
        while (token := self.next_word()).kind != end:
            if token.kind not in _OPERANDS:
                self.unexpected(token, context)
            self.index -= 1
            commands.append(self.command())
        if not commands:
            self.fail(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.words[0], (Dot, Literal, Nil)):
                self.fail(f"non executable command in pipeline stage {stage}")
        return Pipeline(pos, names, sign, commands)

    def declaration(self, context: str) -> tuple[list[str], str]:
        """Read ``$x :=``, ``$x =`` or in a range ``$i, $x :=``; leave everything when it is none of these."""
        start, names = self.index, list[str]()
        while self.peek().kind == "variable":
            names.append(self.next().text)
            sign = self.next_word()
            if sign.kind in ("declare", "="):
                self.variables += names
                return names, sign.text
            if sign.kind != ",":
                break
            if context != "range" or len(names) == 2:
                self.fail(f"too many declarations in {context}")
            self.skip_space()
            if self.peek().kind != "variable":
                self.fail("range can only initialize variables")
        self.index = start
        return [], ""

    def command(self) -> Command:
        """Read operands with space between them, up to ``|``, ``)`` or ``}}``; take only the ``|``."""
        words: list[Expression] = []
        while True:
            self.skip_space()
            word = self.operand()
            if word:
                words.append(word)
            token = self.peek()
            if token.kind == "space":
                continue
            if token.kind not in ("|", ")", "}}"):
                self.next()
                self.unexpected(token, "operand")
            if token.kind == "|":
                self.next()
            if not words:
                self.fail("empty command")
            return Command(words)

    def operand(self) -> Expression | None:
        """Read one term and the fields joined to it, or nothing where there is none."""
        term = self.term()
        if term is None or self.peek().kind != "field":
            return term
        pos, fields = self.peek().pos, ""
        while self.peek().kind == "field":
            fields += self.next().text
        if isinstance(term, (Literal, Nil, Dot)):
            self.fail(f"unexpected . after term {quote(str(term))}")
        names = fields[1:].split(".")
        if isinstance(term, Chain):
            return Chain(f"{term}{fields}", pos, term.of, [*term.names, *names])
        shown = f"({term})" if isinstance(term, Pipeline) else str(term)
        return Chain(shown + fields, pos, term, names)

    def term(self) -> Expression | None:
        token = self.peek()
        if token.kind not in _OPERANDS:
            return None
        self.next()
        if token.kind == "(":
            return self.pipeline("parenthesized pipeline", ")")
        if token.kind == "field":
            return Chain(token.text, token.pos, Dot(".", token.pos), [token.text[1:]])
        if token.kind in ("dot", "nil"):
            return (Dot if token.kind == "dot" else Nil)(token.text, token.pos)
        if token.kind == "variable":
            if token.text not in self.variables:
                self.fail(f'undefined variable "{token.text}"')
            return Variable(token.text, token.pos)
        if token.kind == "word":
            if token.text not in self.functions:
                self.fail(f'function "{token.text}" not defined')
            return Name(token.text, token.pos)
        try:
            return Literal(token.text, token.pos, literal(token))
        except ValueError as error:
            self.fail(str(error))
