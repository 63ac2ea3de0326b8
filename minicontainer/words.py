"""The words of a Dockerfile: variables, quotes and escapes, as a shell has them.

Some instructions never reach a shell: ``COPY $SOURCE /app`` is obeyed by the builder, so the builder itself has
to know what ``$SOURCE`` is. For that there is a little language, a part of the shell's:

    $name ${name}                  the value; nothing at all when there is no such variable
    ${name:-word} ${name:+word}    word when name has no value, or when it has one
    ${name:?word}                  an error that says word when name has no value
    ${name#pattern} ${name##…}     the value without the shortest (longest) beginning that looks like pattern
    ${name%pattern} ${name%%…}     the value without such an end
    ${name/pattern/word} ${name//…}    the value with word for the first (for all) that looks like pattern

Without the colon, a variable that is set to nothing counts as having a value. ``word`` may hold variables
itself; in a pattern ``*`` and ``?`` are wildcards. An escaped character stands for itself. Single quotes keep
all they hold as it is; between double quotes variables are replaced, and an escape counts only before ``"``,
``$`` and itself.

Source: the Dockerfile reference, "Environment replacement"; POSIX, Shell Command Language 2.6.2.
"""

from __future__ import annotations

from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Part = tuple[str, bool]  # text, and whether a space in it ends a word: quoted and escaped ones do not

_SPECIAL = "@*#?-$!"  # the shell's own parameters; a Dockerfile has none of them, so they are always unset
_DEEPEST = 100  # ${a:-${b:-…}}: deeper than anyone writes, and less deep than Python recurses
_ONE, _MANY = "any one", "any number"  # the wildcards of a pattern; every other token is a single character


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Replace the variables in ``text`` and take off its quotes; the outcome is one word, spaces or not.

    ``escape`` is the character that takes the meaning from the next. Raises InvalidArgument that quotes ``text``.
    """
    return _joined(_Reader(text, variables, escape).read())


def split(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """Like :func:`expand`, and the outcome is cut into words at the spaces that are not quoted."""
    return _words(_Reader(text, variables, escape).read())


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Replace the variables in the content of a heredoc, where quotes have no meaning and ``\\`` escapes."""
    return _joined(_Reader(text, variables, "\\", quotes="").read())


def unquote(text: str, escape: str = "\\") -> str:
    """Take off quotes and escapes; ``$`` is a character like any other."""
    return _joined(_Reader(text, None, escape).read())


class _Reader:
    """Reads a text from left to right; ``at`` is how far it has come. Without variables ``$`` means nothing."""

    def __init__(
        self, text: str, variables: Mapping[str, str] | None, escape: str, quotes: str = "'\""
    ) -> None:
        self.text, self.variables, self.escape, self.quotes = text, variables, escape, quotes
        self.at = 0
        self.depth = 0
        self.raw = False  # in a pattern escapes stay, as the pattern has its own use for them

    def read(self) -> list[Part]:
        """The parts of the whole text."""
        return self._until("")

    def _next(self) -> str:
        """Take one character; "" at the end."""
        char = self.text[self.at : self.at + 1]
        self.at += 1
        return char

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _error(self, reason: str) -> InvalidArgument:
        return InvalidArgument(f"failed to process {quote(self.text)}: {reason}")

    def _until(self, stop: str) -> list[Part]:
        """The parts up to the character ``stop``, which is taken too; up to the end if it is ""."""
        parts: list[Part] = []
        while char := self._next():
            if char == stop:
                return parts
            if char == "$" and self.variables is not None:
                parts.append((self._dollar(self.variables), True))
            elif char in self.quotes:
                parts.append((self._single() if char == "'" else self._double(), False))
            elif char == self.escape:
                parts.append((char * self.raw + self._next(), False))
            else:
                parts.append((char, True))
        if stop:
            raise self._error(f"syntax error: missing {stop!r}")
        return parts

    def _single(self) -> str:
        end = self.text.find("'", self.at)
        if end < 0:
            raise self._error("unexpected end of statement while looking for matching single-quote")
        content = self.text[self.at : end]
        self.at = end + 1
        return content

    def _double(self) -> str:
        content = ""
        while char := self._next():
            if char == '"':
                return content
            if char == "$" and self.variables is not None:
                char = self._dollar(self.variables)
            elif char == self.escape:
                content += char * self.raw
                if self._peek() in ('"', "$", self.escape):
                    char = self._next()
            content += char
        raise self._error("unexpected end of statement while looking for matching double-quote")

    def _name(self) -> str:
        """A variable's name: letters, digits and ``_``; one that begins with a digit has only digits."""
        begin = self.at
        if self._peek() and self._peek() in _SPECIAL:
            return self._next()
        digits = self._peek().isdecimal()
        while (char := self._peek()) and (
            char.isdecimal() or (not digits and (char.isalpha() or char == "_"))
        ):
            self.at += 1
        return self.text[begin : self.at]

    def _dollar(self, variables: Mapping[str, str]) -> str:
        """What stands for ``$name`` or ``${…}``; the ``$`` is taken already."""
        if self._peek() != "{":
            name = self._name()
            return variables.get(name, "") if name else "$"
        self._next()
        if self._peek() in ("{", "}", ":"):
            raise self._error("syntax error: bad substitution; a variable's name comes after '${'")
        name = self._name()
        modifier = self._next()
        if modifier == "}":
            return variables.get(name, "")
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._error(f"more than {_DEEPEST} variables inside each other")
        value = self._modified(name, variables.get(name), modifier)
        self.depth -= 1
        return value

    def _modified(self, name: str, value: str | None, modifier: str) -> str:
        """What stands for ``${name…}`` when its value is ``value``; read up to and with ``modifier``."""
        if modifier == "/":
            return self._replaced(value or "")
        kind = self._next() if modifier == ":" else modifier
        if not kind:
            raise self._error("syntax error: missing '}'")
        if kind not in "-+?#%":
            raise self._error(
                f"unsupported modifier ({kind if kind == modifier else modifier + kind}) in substitution; "
                "write one of :- - :+ + :? ? # ## % %% / //"
            )
        word = self._word("}", raw=kind in "#%")
        if kind in "#%":
            return self._trimmed(value or "", kind, word)
        missing = value is None or (modifier == ":" and not value)
        if kind == "+":
            return "" if missing else word
        if not missing:
            return value or ""
        if kind == "-":
            return word
        raise self._error(
            f"{name}: {word or 'is not allowed to be ' + ('unset' if value is None else 'empty')}"
        )

    def _word(self, stop: str, raw: bool) -> str:
        before, self.raw = self.raw, raw
        word = _joined(self._until(stop))
        self.raw = before
        return word

    def _trimmed(self, value: str, kind: str, pattern: str) -> str:
        longest = pattern.startswith(kind)
        tokens = self._tokens(pattern[longest:])
        if kind == "%":  # an end is a beginning, read backwards
            tokens, value = tokens[::-1], value[::-1]
        ends = list(_ends(tokens, value))
        if ends:
            value = value[ends[-1] if longest else ends[0] :]
        return value[::-1] if kind == "%" else value

    def _replaced(self, value: str) -> str:
        every = self._peek() == "/"
        if every:
            self._next()
        tokens = self._tokens(self._word("/", raw=True))
        replacement = self._word("}", raw=True)
        done, at, last = "", 0, -1
        while at <= len(value) and (every or last < 0):
            end = max(_ends(tokens, value, at), default=-1)
            if end > at or (end == at != last):  # an empty match does not follow on another's heels
                done += replacement
                last = end
            if end > at:
                at = end
            else:
                done += value[at : at + 1]
                at += 1
        return done + value[at:]

    def _tokens(self, pattern: str) -> list[str]:
        """A pattern's characters, and its wildcards as such."""
        tokens, chars = [], iter(pattern)
        for char in chars:
            if char == "\\":
                char = next(chars, "")
                if char not in ("*", "?", "\\", "}", "/"):
                    raise self._error(
                        f"invalid pattern ({pattern}) in substitution: invalid escape '\\{char}'"
                    )
                tokens.append(char)
            else:
                tokens.append({"*": _MANY, "?": _ONE}.get(char, char))
        return tokens


def _ends(tokens: list[str], value: str, begin: int = 0) -> Iterator[int]:
    """Every place at which a match of the pattern that starts at ``begin`` may end, in order.

    All ways to match are followed side by side, so that no pattern, however many stars it has, takes long.
    """
    states = _past_stars(tokens, {0})
    if len(tokens) in states:
        yield begin
    for at in range(begin, len(value)):
        states = _past_stars(tokens, {after for state in states for after in _step(tokens, state, value[at])})
        if not states:
            return
        if len(tokens) in states:
            yield at + 1


def _step(tokens: list[str], state: int, char: str) -> tuple[int, ...]:
    """The state after ``char``, if the token at ``state`` takes it."""
    if state == len(tokens):
        return ()
    if tokens[state] == _MANY:
        return (state,)
    return (state + 1,) if tokens[state] in (_ONE, char) else ()


def _past_stars(tokens: list[str], states: set[int]) -> set[int]:
    """The states with those that are reached by letting a star stand for nothing."""
    for state in sorted(states):
        while state < len(tokens) and tokens[state] == _MANY:
            state += 1
            states.add(state)
    return states


def _joined(parts: list[Part]) -> str:
    return "".join(text for text, _ in parts)


def _words(parts: list[Part]) -> list[str]:
    words = [""]
    for text, bare in parts:
        for piece in text if bare else (text,):
            if bare and piece.isspace():
                words.append("")
            else:
                words[-1] += piece
    return [word for word in words if word]


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def quote(text: str, mark: str = '"') -> str:
    """Write a text as Go's ``%q`` does, which is how Docker's history and messages quote."""
    return mark + "".join(_quoted_char(char, mark) for char in text) + mark


def _quoted_char(char: str, mark: str) -> str:
    if char in (mark, "\\"):
        return "\\" + char
    if char in _ESCAPES or char.isprintable():
        return _ESCAPES.get(char, char)
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
