"""What an instruction that changes an image's configuration says, before any variable in it has a value.

Each of these instructions has a form of its own: pairs in ENV and LABEL, paths in VOLUME, a command in CMD, JSON
and nothing else in SHELL. Whether the form is kept can be seen by looking, so a Dockerfile is refused before its
first step runs; what the variables in it come to is known when its turn comes (``changes.py``).
"""

from __future__ import annotations

from minicontainer import words
from minicontainer.errors import InvalidArgument
from minicontainer.images import forms, healthcheck

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Flags = Mapping[str, Sequence[str]]

DEFAULT_SHELL = ("/bin/sh", "-c")
_NEEDED = {  # CMD and ENTRYPOINT may stand alone
    **dict.fromkeys("ENV EXPOSE HEALTHCHECK LABEL ONBUILD SHELL VOLUME".split(), "at least one argument"),
    **dict.fromkeys("MAINTAINER STOPSIGNAL USER WORKDIR".split(), "exactly one argument"),
}


class Statement:
    """An instruction's name, its flags, and the rest as it was written."""

    def __init__(
        self,
        name: str,
        rest: str,
        words: list[str] | None = None,
        flags: Flags | None = None,
        escape: str = "\\",
    ) -> None:
        self.name = name
        self.rest = rest
        self.words = words  #: of the exec form, ``["a", "b"]``; None in the shell form
        self.flags = flags or {}  #: as ``{"interval": ["5s"]}``
        self.escape = escape  #: the character that takes the meaning from the next

    def check(self) -> None:
        """Raise InvalidArgument if it does not have the form that its name asks for."""
        if not self.rest and self.name in _NEEDED:
            raise InvalidArgument(f"{self.name} requires {_NEEDED[self.name]}")
        if self.name in ("ENV", "LABEL"):
            self.pairs()
        elif self.name == "HEALTHCHECK":
            healthcheck.parse(self.rest, self.words, self.flags)
        elif self.name == "SHELL":
            self.shell()
        elif self.name == "VOLUME":
            check_paths(self.paths())

    def command(self, shell: Sequence[str] | None) -> list[str]:
        """The exec form's words, or the image's shell with the shell form's line."""
        if self.words is not None:
            return self.words
        return [*(shell or DEFAULT_SHELL), *([self.rest] if self.rest else [])]

    def pairs(self) -> list[tuple[str, str]]:
        """``NAME=value …``, or the old ``NAME value`` whose value reaches to the end; not expanded."""
        found = forms.quoted(self.rest, self.escape)
        if found and "=" not in found[0]:
            name, value = forms.cut(self.rest)
            if not value:
                raise InvalidArgument(
                    f"{self.name} must have two arguments: {name} has no value; write {name}=VALUE"
                )
            return [(name, value)]
        for word in found:
            if "=" not in word:
                raise InvalidArgument(f"syntax error - can't find = in {words.quote(word)}; write NAME=VALUE")
            if word.startswith("="):
                raise InvalidArgument(f"{self.name} names can not be blank: {word} is not NAME=VALUE")
        return [(name, value) for name, _, value in (word.partition("=") for word in found)]

    def paths(self) -> list[str]:
        """The words of VOLUME, not expanded."""
        return forms.fields(self.rest) if self.words is None else self.words

    def shell(self) -> list[str]:
        """The words of SHELL."""
        if self.words is None:
            raise InvalidArgument('SHELL requires the arguments to be in JSON form: SHELL ["/bin/sh", "-c"]')
        if not self.words:
            raise InvalidArgument("SHELL requires at least one argument")
        return self.words


def check_paths(paths: list[str]) -> list[str]:
    """The paths of VOLUME without spaces around them; InvalidArgument if there is none, or an empty one."""
    if not paths:
        raise InvalidArgument("VOLUME requires at least one argument: a path")
    paths = [path.strip() for path in paths]
    if "" in paths:
        raise InvalidArgument("VOLUME specified can not be an empty string")
    return paths
