"""Things to turn, and the same without: a widget calls a function that also works by itself.

What a notebook keeps, and what GitHub shows, is what the function returned for the first of all choices. Where a
kernel runs and ipywidgets is installed there are menus above it.
"""

from __future__ import annotations

from minicontainer.lab.show import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

#: what a notebook may not keep: the widget is gone when the kernel is
WIDGET = "application/vnd.jupyter.widget-view+json"


class Explorer:
    """A function with a menu for each of its arguments."""

    def __init__(self, function: Callable[..., Shown], choices: dict[str, Sequence[Any]]) -> None:
        self.function = function
        self.choices = choices
        self.first = function(**{name: values[0] for name, values in choices.items()})
        self.menus: dict[str, Any] = {}  #: by the names of the arguments; none before it is shown
        self.shown: Any = None  #: the widget that has what the function returned last

    def __repr__(self) -> str:
        return repr(self.first)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = dict(self.first._repr_mimebundle_())
        try:
            import ipywidgets
        except ImportError:
            return bundle
        self.menus = {
            name: ipywidgets.Dropdown(options=list(values), description=name)
            for name, values in self.choices.items()
        }
        self.shown = ipywidgets.Output()
        self._show(self.first)
        for menu in self.menus.values():
            menu.observe(self._turn, "value")
        box = ipywidgets.VBox([*self.menus.values(), self.shown])
        return {**bundle, WIDGET: box._repr_mimebundle_()[WIDGET]}

    def _turn(self, _: object) -> None:
        try:
            self._show(self.function(**{name: menu.value for name, menu in self.menus.items()}))
        except Exception as error:  # nobody else would show it: a menu has no cell
            text = f"{type(error).__name__}: {error}"
            self._show(Shown(text, f"```text\n{text}\n```"))

    def _show(self, what: Shown) -> None:
        # Put there, not captured: capturing needs a frontend that sends back what it was given.
        bundle = {"output_type": "display_data", "data": what._repr_mimebundle_(), "metadata": {}}
        self.shown.outputs = (bundle,)


def explore(function: Callable[..., Shown], **choices: Sequence[Any]) -> Explorer:
    """Show what ``function`` returns for the first of all choices; where it can be, with a menu for each argument.

    :param choices: for each argument of the function the values to choose from
    """
    return Explorer(function, choices)
