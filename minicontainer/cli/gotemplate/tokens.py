"""The words of a Go template: first half of reading one.

A template is text with actions in it, ``{{ … }}``. :func:`scan` cuts both into tokens for the parser in
:mod:`minicontainer.cli.gotemplate.template`. Two rules make this less plain than it looks. Space is a token of its
own, because ``.A .B`` are two operands and ``.A.B`` is one. And a minus beside a brace, ``{{- `` or `` -}}``,
eats all white space up to the text on its side.

Source: https://pkg.go.dev/text/template, sections Text and spaces, Actions, Arguments.
"""

from __future__ import annotations

import re

from minicontainer.errors import InvalidArgument

_SPACES = " \t\r\n"
_OPEN = re.compile(r"\{\{(?:(-)[ \t\r\n])?")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_CLOSE = re.compile(r"[ \t\r\n](-)\}\}|\}\}")
_TOKEN = re.compile(
    r"""
      (?P<space> [ \t\r\n]+(?!-\}\}))
    | (?P<declare> :=)
    | (?P<string> "(?:\\[^\n]|[^"\\\n])*")
    | (?P<raw> `[^`]*`)
    | (?P<char> '(?:\\[^\n]|[^'\\\n])*')
    | (?P<variable> \$\w*)
    | (?P<field> \.(?![0-9])\w+)
    | (?P<dot> \.(?![0-9])(?!\Z))
    | (?P<number> [-+.0-9](?:[\w.]|(?<=[eEpP])[-+])*)
    | (?P<word> \w+)
    | (?P<mark> [!#%&()*,/;<=>?@\[\\\]^{|}~])
    """,
    re.VERBOSE,
)
_TERMINATOR = re.compile(r"[ \t\r\n.,|:()]|\}\}|\Z")  # what may follow a word, a field or a variable
_UNCLOSED = {
    "": "unclosed action",
    '"': "unterminated quoted string",
    "`": "unterminated raw quoted string",
    "'": "unterminated character constant",
    ":": "expected :=",
}
_KEYWORDS = {"block", "break", "continue", "define", "else", "end", "if", "range", "nil", "template", "with"}


class TemplateError(InvalidArgument):
    """A ``--format`` that cannot be read, or that asks for what the data does not have.

    ``detail`` is Go's own message, ``template: :1:2: …``, without what Docker puts before it.
    """

    exit_code = 1

    def __init__(self, detail: str) -> None:
        super().__init__(f"template parsing error: {detail}")
        self.detail = detail


class TemplateSyntaxError(TemplateError):
    """A template that cannot be read at all; ``docker inspect`` ends with 64 then (EX_USAGE, sysexits.h)."""

    exit_code = 64


class Token:
    """One word: its ``kind``, its ``text``, and ``pos``, where it begins in the template (characters)."""

    def __init__(self, kind: str, text: str, pos: int) -> None:
        self.kind, self.text, self.pos = kind, text, pos

    def __str__(self) -> str:
        """Name the token as Go does when it did not expect it."""
        if self.kind in ("keyword", "nil", "dot"):
            return f"<{self.text}>"
        shown = self.text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{shown[:10]}"...' if len(self.text) > 10 else f'"{shown}"'


class _ScanError(Exception):
    """Nothing that a template may hold; ends the tokens with one of the kind ``error``."""


def scan(text: str) -> list[Token]:
    """Cut ``text`` into tokens; the last is of the kind ``EOF``, or ``error`` with the message as its text.

    An error is a token so that the parser meets it in its place: an earlier mistake is reported first.
    """
    tokens: list[Token] = []
    pos = 0
    while opening := _OPEN.search(text, pos):
        literal = text[pos : opening.start()]
        if opening[1]:
            literal = literal.rstrip(_SPACES)
        tokens.append(Token("text", literal, pos))
        try:
            pos = _scan_action(text, opening, tokens)
        except _ScanError as error:
            return [*tokens, Token("error", str(error), opening.end())]
    return [*tokens, Token("text", text[pos:], pos), Token("EOF", "EOF", len(text))]


def _scan_action(text: str, opening: re.Match[str], tokens: list[Token]) -> int:
    """Read on after ``{{`` to behind ``}}``, and return where the text goes on."""
    pos = opening.end()
    if text.startswith("/*", pos):
        comment = _COMMENT.match(text, pos)
        if not comment:
            raise _ScanError("unclosed comment")
        closing = _CLOSE.match(text, comment.end())
        if not closing:
            raise _ScanError("comment ends before closing delimiter")
    else:
        tokens.append(Token("{{", "{{", opening.start()))
        closing = _scan_words(text, pos, tokens)
        tokens.append(Token("}}", "}}", closing.start()))
    pos = closing.end()
    return len(text) - len(text[pos:].lstrip(_SPACES)) if closing[1] else pos


def _scan_words(text: str, pos: int, tokens: list[Token]) -> re.Match[str]:
    """Append the words from ``pos`` to the closing braces, and return the match of these."""
    depth = 0
    while not (closing := _CLOSE.match(text, pos)):
        match = _TOKEN.match(text, pos)
        if not match:
            raise _ScanError(
                _UNCLOSED.get(text[pos : pos + 1], f"unrecognized character in action: {_rune(text, pos)}")
            )
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        pos = match.end()
        if match.lastgroup in ("variable", "field", "dot", "word") and not _TERMINATOR.match(text, pos):
            raise _ScanError(f"bad character {_rune(text, pos)}")
        tokens.append(_token(match))
    if depth:
        raise _ScanError("unclosed left paren")
    return closing


def _token(match: re.Match[str]) -> Token:
    kind, word = str(match.lastgroup), match[0]
    if kind == "mark":
        kind = word
    elif word in _KEYWORDS:
        kind = "nil" if word == "nil" else "keyword"
    elif word in ("true", "false"):
        kind = "bool"
    return Token(kind, word, match.start())


def _rune(text: str, pos: int) -> str:
    return f"U+{ord(text[pos]):04X} '{text[pos]}'" if pos < len(text) else "U+FFFFFFFFFFFFFFFF"
