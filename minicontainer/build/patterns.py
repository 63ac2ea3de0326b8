"""Names with wildcards, as Go's ``filepath.Match`` has them, and what ``.dockerignore`` adds: ``**``.

``*`` is any run of characters but ``/``, ``?`` is one of them, ``[a-z]`` and ``[^a-z]`` are classes, and ``\\``
takes the next character as it is. A pattern is always the whole name. In ``.dockerignore`` alone, ``**`` is any
number of directories, none too.

A pattern becomes a regular expression once, for it meets thousands of names. What a ``*`` has found first stays
(an atomic group, ``(?>…)``): when the rest does not fit behind that, it fits nowhere. Otherwise a pattern with a
dozen stars would try every way to share a name among them.
"""

from __future__ import annotations

import functools
import itertools
import re

from minicontainer.errors import InvalidArgument

_NOTHING = "(?!)"
_ANYTHING = "[^/]"


def match(pattern: str, name: str) -> bool:
    """Whether the whole of ``name`` matches (Go, path/filepath, Match); InvalidArgument for a bad pattern."""
    return compile_pattern(pattern).fullmatch(name) is not None


def has_wildcards(pattern: str) -> bool:
    """Whether a pattern may match more than one name: a ``*``, ``?`` or ``[`` without a ``\\`` before it."""
    return re.search(r"(?s)^(?:\\.|[^\\])*?[*?[]", pattern) is not None


def quote(name: str) -> str:
    """The pattern that matches this name and no other."""
    return re.sub(r"[*?\[\\]", r"\\\g<0>", name)


@functools.lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern of Go's; InvalidArgument when it is none."""
    return re.compile(_translate(_words(pattern)), re.DOTALL)


@functools.lru_cache(maxsize=512)
def compile_ignore(pattern: str) -> re.Pattern[str]:
    """The regular expression of a line of ``.dockerignore``, where ``**`` is any number of directories."""
    segments = _segments(_words(pattern))
    expression = _translate(segments[0])
    for before, segment in itertools.pairwise(segments):
        after_slash = not before or before[-1] == "/"
        if segment is segments[-1]:
            expression += f"(?:.*/)?{_translate(segment)}" if segment else ".*"
        elif after_slash and segment[-1:] in ([], ["/"]):  # both this ** and the next are names of their own
            expression += f"(?>(?:[^/]*/)*?{_translate(segment)})"
        else:
            expression += f"(?:.*/)?{_translate(segment)}"
    return re.compile(expression, re.DOTALL)


def _segments(words: list[str]) -> list[list[str]]:
    """What is before the first ``**``, and what is behind each; the ``/`` right behind one belongs to it."""
    segments: list[list[str]] = [[]]
    position = 0
    while position < len(words):
        if words[position : position + 2] == ["*", "*"]:
            segments.append([])
            position += 3 if words[position + 2 : position + 3] == ["/"] else 2
        else:
            segments[-1].append(words[position])
            position += 1
    return segments


def _words(pattern: str) -> list[str]:
    """The pattern in parts: a character, one with the ``\\`` before it, or a class with its brackets."""
    words, position = [], 0
    while position < len(pattern):
        end = position + 1
        if pattern[position] == "[":
            end = _end_of_class(pattern, position)
        elif pattern[position] == "\\":
            end += 1
        if end > len(pattern):
            raise _bad(pattern)
        words.append(pattern[position:end])
        position = end
    return words


# One member of a class: a character or a range. "-" and "]" need a backslash.
_MEMBER = re.compile(r"(?s)(?:\\(.)|([^\\\]-]))(?:-(?:\\(.)|([^\\\]-])))?")


def _end_of_class(pattern: str, start: int) -> int:
    position = start + 2 if pattern.startswith("[^", start) else start + 1
    first = position
    while not (pattern.startswith("]", position) and position > first):
        member = _MEMBER.match(pattern, position)
        if not member:
            raise _bad(pattern)
        position = member.end()
    return position + 1


def _translate(words: list[str]) -> str:
    """The regular expression of a pattern without ``**``, name by name."""
    expression = ""
    name: list[str] = []
    for word in words:
        if word == "/":
            expression += _name(name) + "/"
            name = []
        else:
            name.append(word)
    return expression + _name(name)


def _name(words: list[str]) -> str:
    """The regular expression of what is between two slashes."""
    pieces = [""]  # what is before the first *, and what is behind each
    for word in words:
        if word == "*":
            pieces.append("")
        else:
            pieces[-1] += _character(word)
    first, *others = pieces
    found = "".join(f"(?>{_ANYTHING}*?{piece})" for piece in others[:-1] if piece)
    return first + found + "".join(f"{_ANYTHING}*{piece}" for piece in others[-1:])


def _character(word: str) -> str:
    if word == "?":
        return _ANYTHING
    if word[0] == "\\":
        return re.escape(word[1])
    if word[0] == "[":
        return _class(word)
    return re.escape(word)


def _class(word: str) -> str:
    """The class of a regular expression; a range that ends before it begins has nobody in it."""
    negated = word.startswith("[^")
    members = ""
    for found in _MEMBER.finditer(word, 2 if negated else 1, len(word) - 1):
        low = found[1] or found[2]
        high = found[3] or found[4] or low
        if low <= high:
            members += f"{re.escape(low)}-{re.escape(high)}"
    if not members:
        return "." if negated else _NOTHING
    return f"[{'^' if negated else ''}{members}]"


def _bad(pattern: str) -> InvalidArgument:
    return InvalidArgument(f"syntax error in pattern {pattern!r}: a [ without its ], or a \\ at the end")
