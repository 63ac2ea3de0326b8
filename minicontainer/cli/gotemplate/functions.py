"""What a template can call: Go's predefined functions, and those that Docker adds.

Each takes arguments of fixed Go kinds, written beside it, which the template checks before it calls: a
function that was promised a ``string`` gets one. Lengths and positions in strings count bytes, as in Go.

Source: https://pkg.go.dev/text/template, section Functions; docker/cli templates/templates.go. Not here:
``js`` and ``call``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from minicontainer.cli.gotemplate.format import plain, sprint, sprintf, sprintln
from minicontainer.cli.gotemplate.values import NIL_MAP, NIL_SLICE, GoError, NilPointer, Row, type_name

_HTML = {'"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd"}
_NOT_IN_JSON = re.compile("[\u2028\u2029\ud800-\udfff]")  # Go escapes the first two and has no surrogates


class Function:
    """A function with the kinds of its parameters; with ``more`` the last one may come any number of times."""

    def __init__(self, call: Callable[..., object], *kinds: str, more: bool = False) -> None:
        self.call, self.kinds, self.more = call, kinds, more

    def kind(self, index: int) -> str:
        """Return the kind of argument ``index``: ``any``, ``string``, ``int`` or ``[]string``."""
        return self.kinds[min(index, len(self.kinds) - 1)]

    def arity_error(self, given: int) -> str | None:
        """Return what is wrong with ``given`` arguments, in Go's words, or None."""
        fixed = len(self.kinds) - self.more
        if given == fixed or (self.more and given > fixed):
            return None
        return f"want {'at least ' if self.more else ''}{fixed} got {given}"


def _index(item: object, *indexes: object) -> object:
    if item is None:
        raise GoError("index of untyped nil")
    for index in indexes:
        if item is None or isinstance(item, NilPointer):
            raise GoError("index of nil pointer")
        if isinstance(item, dict):
            if not isinstance(index, str):
                raise GoError(f"value has type {type_name(index)}; should be string")
            # The zero of Go's map[string]string is the empty string; of any other map it is nil here.
            item = item.get(index, "" if type_name(item) == "map[string]string" else None)
        elif isinstance(item, (list, str)):
            octets = item.encode() if isinstance(item, str) else item
            place = _place(index, len(octets))
            if place == len(octets):
                raise GoError(f"index out of range: {place}")
            item = octets[place]
        else:
            raise GoError(f"can't index item of type {type_name(item)}")
    return item


def _place(index: object, length: int) -> int:
    if not isinstance(index, int) or isinstance(index, bool):
        raise GoError(
            f"cannot index slice/array with {'nil' if index is None else 'type ' + type_name(index)}"
        )
    if not 0 <= index <= length:
        raise GoError(f"index out of range: {index}")
    return index


def _slice(item: object, *indexes: object) -> object:
    if not isinstance(item, (list, str)):
        raise GoError(
            "slice of untyped nil" if item is None else f"can't slice item of type {type_name(item)}"
        )
    if len(indexes) > 2:
        raise GoError(f"too many slice indexes: {len(indexes)}")
    octets = item.encode() if isinstance(item, str) else item
    places = [_place(index, len(octets)) for index in indexes]
    start = places[0] if places else 0
    end = places[1] if len(places) == 2 else len(octets)
    if start > end:
        raise GoError(f"invalid slice index: {start} > {end}")
    part = octets[start:end]
    return part.decode(errors="replace") if isinstance(part, bytes) else part


def _len(item: object) -> int:
    if item is None or isinstance(item, NilPointer):
        raise GoError("len of nil pointer")
    if isinstance(item, str):
        return len(item.encode())
    if isinstance(item, (list, dict)):
        return len(item)
    raise GoError(f"len of type {type_name(item)}")


def _basic_kind(value: object) -> str | None:
    """Return the kind under which Go compares ``value``, None for nil, lists and maps."""
    name = type_name(value)
    return name if name in ("bool", "int", "float64", "string") else None


def _eq(first: object, *others: object) -> bool:
    """Whether ``first`` equals any of the others: ``eq .State "dead" "exited"``."""
    if not others:
        raise GoError("missing argument for comparison")
    return any(_equal(first, other) for other in others)


def _equal(first: object, second: object) -> bool:
    kinds = _basic_kind(first), _basic_kind(second)
    nils = [value is None or isinstance(value, NilPointer) for value in (first, second)]
    if any(nils):
        return all(nils)
    if kinds[0] != kinds[1]:
        raise GoError("incompatible types for comparison")
    if kinds[0] is None:
        raise GoError(f"non-comparable type {plain(second)}: {type_name(second)}")
    return first == second


def _less(first: Any, second: Any) -> bool:
    kinds = _basic_kind(first), _basic_kind(second)
    if None in kinds:
        raise GoError("invalid type for comparison")
    if kinds[0] != kinds[1]:
        raise GoError("incompatible types for comparison")
    if kinds[0] == "bool":
        raise GoError("invalid type for comparison")
    if kinds[0] == "string":
        return bool(first.encode() < second.encode())
    return bool(first < second)


def _le(first: object, second: object) -> bool:
    return _less(first, second) or _equal(first, second)


def _never(*_: object) -> object:
    raise AssertionError("and, or: evaluated by the template, which stops at the first that decides")


def to_json(value: object) -> str:
    """Write ``value`` as Go's encoder does: compact, keys in their order, non-ASCII as it is.

    A row has its fields sorted and ``<>&`` escaped, because Docker encodes rows in a second way.
    """
    if value is NIL_SLICE or value is NIL_MAP or isinstance(value, NilPointer):
        return "null"
    if isinstance(value, Row):
        text = _dumps({name: value[name] for name in sorted(value) if not callable(value[name])})
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return _dumps(value)


def _dumps(value: object) -> str:
    text = json.dumps(_whole(value), ensure_ascii=False, separators=(",", ":"))
    return _NOT_IN_JSON.sub(
        lambda match: {"\u2028": "\\u2028", "\u2029": "\\u2029"}.get(match[0], "\ufffd"), text
    )


def _whole(value: object) -> object:
    """Return ``value`` with floats that are whole numbers as ints: Go writes 2.0 as ``2``."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def _title(text: str) -> str:
    """Raise the first letter of each word and leave the rest (Go's strings.Title)."""
    return re.sub(r"(?<!\w)\w", lambda match: match[0].upper(), text)


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _join(items: list[str], separator: str) -> str:
    return separator.join(items)


def _pad(text: str, before: int, after: int) -> str:
    if min(before, after) < 0:
        raise GoError("strings: negative Repeat count")
    return f"{' ' * before}{text}{' ' * after}" if text else ""


def _truncate(text: str, length: int) -> str:
    if length < 0:
        raise GoError(f"slice bounds out of range [:{length}]")
    return text.encode()[:length].decode(errors="replace")


def _html(*values: object) -> str:
    return "".join(_HTML.get(char, char) for char in _shown(values))


def _shown(values: Sequence[object]) -> str:
    return sprint(["<no value>" if value is None else value for value in values])


def _urlquery(*values: object) -> str:
    from urllib.parse import quote_plus  # rarely wanted, and urllib is slow to load

    return quote_plus(_shown(values))


FUNCTIONS: dict[str, Function] = {
    "and": Function(_never, "any", "any", more=True),
    "or": Function(_never, "any", "any", more=True),
    "not": Function(lambda value: not value, "any"),
    "eq": Function(_eq, "any", "any", more=True),
    "ne": Function(lambda first, second: not _equal(first, second), "any", "any"),
    "lt": Function(_less, "any", "any"),
    "le": Function(_le, "any", "any"),
    "gt": Function(lambda first, second: not _le(first, second), "any", "any"),
    "ge": Function(lambda first, second: not _less(first, second), "any", "any"),
    "index": Function(_index, "any", "any", more=True),
    "slice": Function(_slice, "any", "any", more=True),
    "len": Function(_len, "any"),
    "print": Function(lambda *values: sprint(values), "any", more=True),
    "println": Function(lambda *values: sprintln(values), "any", more=True),
    "printf": Function(lambda template, *values: sprintf(template, values), "string", "any", more=True),
    "html": Function(_html, "any", more=True),
    "urlquery": Function(_urlquery, "any", more=True),
    "json": Function(to_json, "any"),
    "split": Function(_split, "string", "string"),
    "join": Function(_join, "[]string", "string"),
    "title": Function(_title, "string"),
    "lower": Function(str.lower, "string"),
    "upper": Function(str.upper, "string"),
    "pad": Function(_pad, "string", "int", "int"),
    "truncate": Function(_truncate, "string", "int"),
}


def _unchanged(header: str, *_: object) -> str:
    return header


# In the header of a table these leave the column's name as it is: {{json .ID}} is still under CONTAINER ID.
HEADER_FUNCTIONS: dict[str, Function] = {
    **FUNCTIONS,
    "json": Function(_unchanged, "string"),
    "split": Function(_unchanged, "string", "string"),
    "join": Function(_unchanged, "string", "string"),
    "title": Function(_unchanged, "string"),
    "lower": Function(_unchanged, "string"),
    "upper": Function(_unchanged, "string"),
    "truncate": Function(_unchanged, "string", "int"),
}
