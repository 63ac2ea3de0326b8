"""What ``$NAME`` stands for in a Dockerfile: build arguments and the environment.

ENV becomes part of the image, and of everything that comes after. ARG is there for the build alone, and only from
its own line to the end of its stage; an ARG before the first FROM is seen by FROM lines, and by a stage that
declares it again. Where both have a name, ENV counts. A value given with ``--build-arg`` replaces an ARG's default,
and means nothing without an ARG of that name. Proxies are the exception: they need no ARG, and the history of a RUN
step does not tell of them.
"""

from __future__ import annotations

import os

from minicontainer.images.index import ARCHITECTURES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PREDEFINED = frozenset((*_PROXIES, *map(str.lower, _PROXIES)))


def of_platform(platform: str = "") -> dict[str, str]:
    """``TARGETPLATFORM`` and its like: what is built for, and what is built on."""
    machine = ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    host = f"linux/{machine}"
    values: dict[str, str] = {}
    for side, text in (("TARGET", platform or host), ("BUILD", host)):
        system, _, rest = text.partition("/")
        architecture, _, variant = rest.partition("/")
        values |= {f"{side}PLATFORM": text, f"{side}OS": system}
        values |= {f"{side}ARCH": architecture, f"{side}VARIANT": variant}
    return values


class Arguments:
    """The build arguments of a stage, or of the lines before the first FROM.

    :param given: those of ``--build-arg``
    :param outer: for a stage, those of the lines before the first FROM
    """

    def __init__(self, given: Mapping[str, str], outer: Arguments | None = None, platform: str = "") -> None:
        self.given = given
        self.outer = outer
        self.used: set[str] = set() if outer is None else outer.used  #: of those given; all stages share it
        self.platform: dict[str, str] = of_platform(platform) if outer is None else outer.platform
        self.values: dict[str, str] = {}  #: what was declared, and has a value

    def declare(self, words: Sequence[str]) -> None:
        """What ``ARG name other=default`` does; the words have their variables replaced, so none sees another."""
        for word in words:
            name, equals, default = word.partition("=")
            self._declare(name, default if equals else None)

    def _declare(self, name: str, default: str | None) -> None:
        if name in self.given:
            self.used.add(name)
            self.values[name] = self.given[name]
        elif default is not None:
            self.values[name] = default
        elif self.outer and name in self.outer.values:
            self.values[name] = self.outer.values[name]
        elif name in self.platform:
            self.values[name] = self.platform[name]

    def before_stages(self) -> dict[str, str]:
        """What FROM lines see."""
        return {**self.platform, **self.values}

    def seen(self, env: Mapping[str, str]) -> dict[str, str]:
        """What an instruction sees, in an image with this environment."""
        return {**self._proxies(), **self.values, **env}

    def _proxies(self) -> dict[str, str]:
        named = {name: value for name, value in self.given.items() if name in PREDEFINED}
        self.used.update(named)
        return named

    def for_run(self, env: Mapping[str, str]) -> dict[str, str]:
        """What a RUN step gets besides the environment, and what tells it from the same step with others."""
        return {name: value for name, value in sorted(self.values.items()) if name not in env}

    def proxies(self, env: Mapping[str, str]) -> dict[str, str]:
        """What a RUN step gets and nobody is told of."""
        hidden = {*env, *self.values}
        return {name: value for name, value in self._proxies().items() if name not in hidden}

    def unused(self) -> list[str]:
        """Names of ``--build-arg`` that no ARG has asked for."""
        return sorted(set(self.given) - self.used - PREDEFINED)
