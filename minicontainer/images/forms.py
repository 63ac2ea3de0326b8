"""How the text of an instruction is cut: name, flags, words, pairs, or a JSON array.

Each instruction has its own idea of what a word is. ``COPY`` cuts at every space, and has the JSON form for names
with spaces in them; ``ENV`` cuts only at spaces outside of quotes; the flags, ``--chown=app``, come first and lose
their quotes at once. Nothing here looks at variables, and every quote that is not taken off is still there
for :func:`minicontainer.words.expand`.

Source: the Dockerfile reference.
"""

from __future__ import annotations

from minicontainer.errors import InvalidArgument

_SPACES = "\t\v\f\r\n "


def cut(text: str) -> tuple[str, str]:
    """The first word, and what follows the spaces after it."""
    text = text.strip()
    end = next((at for at, char in enumerate(text) if char in _SPACES), len(text))
    return text[:end], text[end:].strip()


def fields(text: str) -> list[str]:
    """Cut at spaces, whatever quotes there are: the arguments of FROM, COPY, ADD, EXPOSE and VOLUME."""
    for space in _SPACES:
        text = text.replace(space, " ")
    return [word for word in text.split(" ") if word]


def cut_flags(text: str) -> tuple[list[str], str]:
    """The words at the beginning that start with ``--``, without their quotes, and the rest.

    A ``--`` alone ends them. ``\\`` escapes here whatever the escape directive says, as in Docker.
    """
    flags: list[str] = []
    while text.startswith("--"):
        end = _end_of_word(text)
        word, text = text[:end], text[end:].strip()
        if word == "--":
            break
        flags.append(_bare(word))
    return flags, text


def _end_of_word(text: str) -> int:
    """Where the first word ends: at the first space that is neither quoted nor escaped."""
    quote, escaped = "", False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace():
            return at
    return len(text)


def _bare(word: str) -> str:
    """A flag without quotes and escapes; unlike in a shell ``\\`` escapes between single quotes too."""
    bare, quote = "", ""
    chars = iter(word)
    for char in chars:
        if char == "\\":
            bare += next(chars, "")
        elif char in "'\"" and quote in ("", char):
            quote = "" if quote else char
        else:
            bare += char
    return bare


def quoted(text: str, escape: str = "\\") -> list[str]:
    """Cut at the spaces that are not quoted, and leave quotes, escapes and variables as they are.

    ``A=1 B="x y"`` is ``A=1`` and ``B="x y"``; ``words.expand`` then makes a value of each. Quotes that are
    never closed reach to the end, and it is for expand to complain.
    """
    words, word, quote_ = [], "", ""
    chars = iter(text)
    for char in chars:
        if not quote_ and char.isspace():
            words.append(word)
            word = ""
            continue
        if char == escape and quote_ != "'":
            following = next(chars, "")
            word += char + following if following else ""
            continue
        if char in "'\"" and quote_ in ("", char):
            quote_ = "" if quote_ else char
        word += char
    return [each for each in (*words, word) if each]


def json_form(text: str) -> list[str] | None:
    """The words of ``["a", "b"]``; None when it is no JSON array, for then it is the shell's business.

    Raises InvalidArgument for an array that holds anything but strings, or a string with NUL in it.
    """
    if not text.lstrip().startswith("["):
        return None
    import json  # the shell form does without

    refusal = InvalidArgument("when using JSON array syntax, arrays must be comprised of strings only")
    try:
        words = json.loads(text, parse_constant=_no_constant)
    except RecursionError:  # arrays in arrays in arrays
        raise refusal from None
    except ValueError:
        return None
    if not all(isinstance(word, str) for word in words):
        raise refusal
    if any("\0" in word for word in words):
        raise InvalidArgument("a NUL character in a JSON array; no program and no file name can have one")
    return [_whole(word) for word in words]


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is Python's idea of JSON")


def _whole(text: str) -> str:
    r"""The text with U+FFFD for a ``\ud800`` that is half a character: UTF-8 has no way to write that."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
