"""What the literals of a template stand for: Go's booleans, numbers, characters and strings."""

from __future__ import annotations

import re

from minicontainer.cli.gotemplate.tokens import Token

_ESCAPE = re.compile(
    rb"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|())"
)
_SIMPLE_ESCAPES = dict(zip(b"abfnrtv\\'\"", b"\a\b\f\n\r\t\v\\'\"", strict=True))


def literal(token: Token) -> object:
    """The value that a literal stands for. Raises ValueError when it stands for none."""
    if token.kind == "bool":
        return token.text == "true"
    if token.kind == "raw":
        return token.text[1:-1]
    if token.kind == "number":
        return _number(token.text)
    text = _unquote(token.text)
    if token.kind == "string":
        return text
    if len(text) != 1:
        raise ValueError(f"malformed character constant: {token.text}")
    return ord(text)


def _unquote(quoted: str) -> str:
    """Return what a Go string or character literal stands for; ``\\xff`` and ``\\377`` are bytes of UTF-8."""

    def octets(match: re.Match[bytes]) -> bytes:
        simple, hexadecimal, octal, short, long, wrong = match.groups()
        if wrong is not None or (simple in (b"'", b'"') and simple != quoted[0].encode()):
            raise ValueError("invalid syntax")
        if simple:
            return bytes([_SIMPLE_ESCAPES[simple[0]]])
        if hexadecimal or octal:
            return bytes([int(hexadecimal or octal, 16 if hexadecimal else 8) & 0xFF])
        return chr(min(int(short or long, 16), 0x10FFFF)).encode(errors="replace")

    return _ESCAPE.sub(octets, quoted[1:-1].encode()).decode(errors="replace")


def _number(text: str) -> int | float:
    """Read a Go number: ``0x1f``, ``0b1``, ``017`` and ``0o17``, ``1_000``, ``1.5e3``."""
    digits = re.sub(r"^([-+]?)0(?=[0-7_])", r"\g<1>0o", text)
    try:
        number = int(digits, 0)
    except ValueError:
        return _floating(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f'integer overflow: "{text}"')
    return number


def _floating(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("inf")
    if abs(number) == float("inf"):
        raise ValueError(f'illegal number syntax: "{text}"')
    return number
