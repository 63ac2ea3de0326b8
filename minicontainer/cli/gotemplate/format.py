"""Go's printing: ``print``, ``println``, ``printf`` and its verbs.

A verb meets a value of the wrong type more often in a template than in a program, and Go never fails over
it: the mistake is printed in place, ``%!d(string=x)``, and the rest goes on. A verb given a list or a map
is applied to each element.

Source: https://pkg.go.dev/fmt, section Printing. Not here: ``%p``, complex numbers, ``*`` for a width and
``[1]`` for an argument's number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from minicontainer.cli.gotemplate.values import NilPointer, type_name

_VERB = re.compile(r"%([-+# 0]*)(\d+)?(?:\.(\d*))?(.)?", re.DOTALL)
_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}
_INTEGER_BASES = {"d": "d", "v": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}
_INTEGER_PREFIXES = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}


def sprint(values: Sequence[object]) -> str:
    """Print ``values`` with a space between two of which neither is a string (fmt.Sprint)."""
    parts: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            parts.append(" ")
        parts.append(plain(value))
    return "".join(parts)


def sprintln(values: Sequence[object]) -> str:
    """Print ``values`` with spaces between all of them and a newline at the end (fmt.Sprintln)."""
    return " ".join(plain(value) for value in values) + "\n"


def sprintf(template: str, values: Sequence[object]) -> str:
    """Print ``values`` as the verbs of ``template`` say (fmt.Sprintf)."""
    left = list(values)

    def one(match: re.Match[str]) -> str:
        verb = match[4]
        if verb is None:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if not left:
            return f"%!{verb}(MISSING)"
        precision = None if match[3] is None else int(match[3] or 0)
        return _Verb(match[1], int(match[2] or 0), precision, verb).write(left.pop(0))

    text = _VERB.sub(one, template)
    if left:
        text += f"%!(EXTRA {', '.join(_typed(value) for value in left)})"
    return text


def plain(value: object) -> str:
    """Print ``value`` as ``%v`` does: ``[a b]``, ``map[a:1 b:2]``, ``true``, ``<nil>``."""
    return value if isinstance(value, str) else _PLAIN.write(value)


def quote(text: str, ascii_only: bool = False) -> str:
    """Write ``text`` as a Go string literal (strconv.Quote, and QuoteToASCII)."""
    return '"' + "".join('\\"' if char == '"' else _escaped(char, ascii_only) for char in text) + '"'


def _escaped(char: str, ascii_only: bool) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable() and (char.isascii() or not ascii_only):
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _typed(value: object) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={plain(value)}"


class _Verb:
    """One ``%…`` with its flags, width and precision; :meth:`write` applies it to a value."""

    def __init__(self, flags: str, width: int, precision: int | None, verb: str) -> None:
        # %+v asks for the names of a struct's fields, not for signs, and there are no structs here.
        self.flags = flags.replace("+", "") if verb == "v" else flags
        self.width, self.precision, self.verb = width, precision, verb

    def write(self, value: object) -> str:
        if self.verb == "T":
            return self._pad(type_name(value))
        if value is None or isinstance(value, NilPointer):
            return self._pad("<nil>") if self.verb == "v" else f"%!{self.verb}(<nil>)"
        for kind, writer in _WRITERS.items():
            if isinstance(value, kind):
                return writer(self, value)
        return self._wrong(value)

    def _pad(self, text: str, zeros: bool = False) -> str:
        if "-" in self.flags:
            return text.ljust(self.width)
        return text.rjust(self.width, "0" if zeros else " ")

    def _wrong(self, value: object) -> str:
        shown = _Verb(self.flags, self.width, self.precision, "v").write(value)
        return f"%!{self.verb}({type_name(value)}={shown})"

    def _sign(self, negative: bool) -> str:
        return "-" if negative else "+" if "+" in self.flags else " " if " " in self.flags else ""

    def _zeros_to(self) -> int:
        """Return the width to fill with zeros: the flag ``0``, which ``-`` overrules."""
        return self.width if "0" in self.flags and "-" not in self.flags else 0

    def boolean(self, value: bool) -> str:
        return self._pad(str(value).lower()) if self.verb in "tv" else self._wrong(value)

    def integer(self, value: int) -> str:
        if self.verb not in "dvboOxXcqU":
            return self._wrong(value)
        if self.verb in "cqU":
            return self._rune(value)
        sign = self._sign(value < 0)
        digits = format(abs(value), _INTEGER_BASES[self.verb])
        if self.precision is not None:
            digits = "" if self.precision == value == 0 else digits.zfill(self.precision)
        else:
            digits = digits.zfill(self._zeros_to() - len(sign))
        prefix = _INTEGER_PREFIXES.get(self.verb, "") if "#" in self.flags else ""
        if self.verb == "O":
            prefix = "0o"
        elif prefix == "0" and digits.startswith("0"):
            prefix = ""
        return self._pad(sign + prefix + digits)

    def _rune(self, value: int) -> str:
        char = chr(value) if 0 <= value < 0x110000 else "\ufffd"
        if self.verb == "c":
            return self._pad(char)
        if self.verb == "U":
            return self._pad(f"U+{value:04X}" + (f" '{char}'" if "#" in self.flags else ""))
        return self._pad("'" + ("\\'" if char == "'" else _escaped(char, "+" in self.flags)) + "'")

    def floating(self, value: float) -> str:
        if self.verb not in "veEfFgG":
            return self._wrong(value)
        number = abs(value)
        if self.verb in "vgG" and self.precision is None:
            text = _shortest(number)
            text = text.upper() if self.verb == "G" else text
        else:
            precision = 6 if self.precision is None else self.precision
            text = f"{number:.{precision}{'g' if self.verb == 'v' else self.verb}}"
        sign = self._sign(value < 0)
        return self._pad(sign + text.zfill(self._zeros_to() - len(sign)))

    def string(self, value: str) -> str:
        shown = value if self.precision is None else value[: self.precision]
        if self.verb == "q":
            raw = "#" in self.flags and "`" not in shown and shown.isprintable()
            return self._pad(f"`{shown}`" if raw else quote(shown, "+" in self.flags))
        if self.verb in "xX":
            octets = shown.encode(errors="replace").hex(" ") if " " in self.flags else shown.encode().hex()
            octets = ("0x" if "#" in self.flags and octets else "") + octets
            return self._pad(octets.upper() if self.verb == "X" else octets)
        if self.verb not in "sv":
            return self._wrong(value)
        return self._pad(quote(shown) if self._as_source() else shown)

    def sequence(self, value: list[object]) -> str:
        if self._as_source():
            return f"{type_name(value)}{{{', '.join(map(self._element, value))}}}"
        return f"[{' '.join(map(self._element, value))}]"

    def mapping(self, value: dict[str, object]) -> str:
        pairs = [f"{self._element(key)}:{self._element(value[key])}" for key in sorted(value)]
        if self._as_source():
            return f"{type_name(value)}{{{', '.join(pairs)}}}"
        return f"map[{' '.join(pairs)}]"

    def _as_source(self) -> bool:
        return self.verb == "v" and "#" in self.flags

    def _element(self, value: object) -> str:
        if value is None:
            return "interface {}(nil)" if self._as_source() else "<nil>"
        return self.write(value)


_WRITERS: dict[type, Callable[[_Verb, Any], str]] = {  # bool before int: in Python every bool is an int too
    bool: _Verb.boolean,
    int: _Verb.integer,
    float: _Verb.floating,
    str: _Verb.string,
    list: _Verb.sequence,
    dict: _Verb.mapping,
}


def _shortest(number: float) -> str:
    """Write a float with the fewest digits that read back as the same: Go's ``%g`` without a precision."""
    digits = next(n for n in range(18) if float(f"{number:.{n}e}") == number)
    scientific = f"{number:.{digits}e}"
    exponent = int(scientific.partition("e")[2])
    return f"{number:.{max(digits - exponent, 0)}f}" if -4 <= exponent < 6 else scientific


_PLAIN = _Verb("", 0, None, "v")
