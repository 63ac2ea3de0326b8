"""``.dockerignore``: what of a directory is not part of the build context.

A file of patterns, one a line, as :mod:`minicontainer.build.patterns` has them, relative to the context's root.
A pattern that matches a directory holds for all that is in it. A line that begins with ``!`` takes back what
those above it exclude: **the last line that matches decides**. A line that begins with ``#`` is a comment.

A directory that is excluded is not even looked into, unless a ``!`` pattern begins with its name: ``build`` and
``!build/app`` leave one file, and ``build`` and ``!**/app`` leave none. That is Docker's rule too, and it is
what makes excluding ``node_modules`` worth it.
"""

from __future__ import annotations

import os

from minicontainer.build.patterns import compile_ignore
from minicontainer.errors import InvalidArgument

_BOM = b"\xef\xbb\xbf"


class Ignore:
    """The lines of a ``.dockerignore``."""

    def __init__(self, text: bytes, filename: str = ".dockerignore") -> None:
        """``filename`` is for the messages: InvalidArgument names it and the line of a bad pattern."""
        self.rules: list[_Rule] = []
        for number, line in enumerate(os.fsdecode(text.removeprefix(_BOM)).split("\n"), 1):
            if line.startswith("#") or not line.strip():
                continue
            try:
                self.rules.append(_Rule(line.strip()))
            except InvalidArgument as error:
                raise InvalidArgument(f"{filename}:{number}: {error}\n    {line.strip()}") from None
        self._takes_back = [rule.pattern for rule in self.rules if rule.takes_back]
        self._fitting: dict[str, list[bool]] = {}  # directory -> which of the rules fit it, or one above it

    def excludes(self, path: str) -> bool:
        """Whether ``path``, relative to the root, is left out; the root itself, "", never is."""
        if not path:
            return False
        excluded = False
        for rule, fits_above in zip(self.rules, self._fits(path.rpartition("/")[0]), strict=True):
            if rule.takes_back == excluded and (fits_above or rule.fits(path)):
                excluded = not rule.takes_back
        return excluded

    def _fits(self, directory: str) -> list[bool]:
        """Which rules fit a directory or one above it: looked for once, as many files are in it."""
        if directory not in self._fitting:
            parts = directory.split("/") if directory else []
            ways = ["/".join(parts[: count + 1]) for count in range(len(parts))]
            self._fitting[directory] = [any(rule.fits(way) for way in ways) for rule in self.rules]
        return self._fitting[directory]

    def reaches(self, path: str) -> bool:
        """Whether all directories that ``path`` is in are looked into."""
        ends = [end for end, char in enumerate(path) if char == "/"]
        return not any(self.excludes(path[:end]) and not self.may_want_below(path[:end]) for end in ends)

    def may_want_below(self, directory: str) -> bool:
        """Whether something in an excluded directory may have been taken back, so that it has to be looked into."""
        return any(f"{pattern}/".startswith(f"{directory}/") for pattern in self._takes_back)


class _Rule:
    """One line."""

    def __init__(self, line: str) -> None:
        self.takes_back = line.startswith("!")
        pattern = line.removeprefix("!").strip()
        if not pattern:
            raise InvalidArgument("illegal exclusion pattern '!'; a pattern is to follow the !")
        # Clean as Go cleans paths, which knows no // at the beginning.
        cleaned = os.path.normpath("/" + pattern.lstrip("/") if pattern.startswith("/") else pattern)
        self.pattern = cleaned.removeprefix("/") or "/"
        self.fits = compile_ignore(self.pattern).fullmatch
