"""Drawings: a graph in dot, the language of graphviz, as a picture where graphviz is installed, and as text.

What GitHub shows of a notebook is a PNG: a picture in SVG does not always show there.
"""

from __future__ import annotations

import base64

from minicontainer.lab.show import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Drawing(Shown):
    """Something with a plain face and a picture; without Graphviz the plain one alone."""

    def __init__(self, plain: str, dot: str) -> None:
        super().__init__(plain, f"```text\n{plain}\n```")
        self.dot = dot

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        bundle = {"text/plain": self.plain}
        picture = _picture(self.dot)
        return {**bundle, "image/png": picture} if picture else {**bundle, "text/markdown": self.markdown}


def _picture(dot: str) -> str:
    """A PNG in base64, "" where there is no Graphviz."""
    try:
        import graphviz

        return base64.b64encode(graphviz.Source(dot).pipe(format="png")).decode()
    except ImportError:
        return ""
    except graphviz.ExecutableNotFound:
        return ""
