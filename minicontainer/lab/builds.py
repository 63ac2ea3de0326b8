"""Builds to look at: which steps were made and which were known, as a table and as a graph of the stages.

Both hear of the build as the command line does, by a :class:`minicontainer.build.report.Report`.
"""

from __future__ import annotations

import time

from minicontainer.build import dockerfile, stages
from minicontainer.build.api import build_image
from minicontainer.build.context import open_context
from minicontainer.build.report import Report
from minicontainer.lab.pictures import Drawing
from minicontainer.lab.show import Shown, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.build.dockerfile import Dockerfile, Stage
    from minicontainer.build.report import Step

CACHED, MADE, FAILED = "from the cache", "made", "failed"
_NOT_NEEDED = "not needed"
_COLOURS = {CACHED: "#c6e6c9", MADE: "#ffdfa8", FAILED: "#f4b6b0", _NOT_NEEDED: "#eeeeee", "": "#ffffff"}
_LONGEST_TEXT = 46  # characters of an instruction that are worth showing


class Watch(Report):
    """Keeps what became of each step."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.outcomes: dict[int, str] = {}  #: by the step's number: CACHED, MADE or FAILED; none for FROM
        self.took: dict[int, float] = {}  #: seconds
        self._began: dict[int, float] = {}

    def plan(self, steps: list[Step]) -> None:
        """Keep them, in the order of the Dockerfile."""
        self.steps = steps

    def begin(self, step: Step) -> None:
        """It is made, if nothing else is heard of it."""
        self._began[step.number] = time.monotonic()
        self.outcomes[step.number] = "" if step.text.upper().startswith("FROM ") else MADE

    def cached(self, step: Step) -> None:
        """It was known."""
        self.outcomes[step.number] = CACHED

    def done(self, step: Step, image_id: str) -> None:
        """It is done."""
        self.took[step.number] = time.monotonic() - self._began[step.number]

    def failed(self, step: Step, error: BaseException) -> None:
        """It came to nothing."""
        self.outcomes[step.number] = FAILED

    def outcome(self, step: Step) -> str:
        """What became of a step, with the time that it took if it was made."""
        outcome = self.outcomes.get(step.number, "")
        if outcome == MADE and step.number in self.took:
            return f"made, {self.took[step.number] * 1000:.0f} ms"
        return outcome


class Built(Shown):
    """A build that was watched, as a table of its steps.

    :ivar image: what it has come to
    :ivar made: the instructions of the steps that were made and not known
    """

    def __init__(self, context: str, *tags: str, **options: Any) -> None:
        watch = Watch()
        self.image = build_image(context, *tags, report=watch, **options)
        self.made = [step.text for step in watch.steps if watch.outcomes.get(step.number) == MADE]
        rows = [(step.number, _short(step.text), watch.outcome(step)) for step in watch.steps]
        shown = table(("", "instruction", "outcome"), rows)
        super().__init__(shown.plain, shown.markdown)


def build(context: str, *tags: str, **options: Any) -> Built:
    """Build an image, as ``minicontainer.build_image`` does, and show what became of each step."""
    return Built(context, *tags, **options)


# ------------------------------------------------------------------ stages, as a graph


def build_graph(context: str, *tags: str, **options: Any) -> Drawing:
    """Build an image, and draw the stages of its Dockerfile with what became of each step.

    An arrow leads from a stage to one that begins with it or takes files from it.
    """
    watch = Watch()
    build_image(context, *tags, report=watch, **options)
    with open_context(context, options.get("dockerfile", "")) as opened:
        parsed = dockerfile.parse(opened.dockerfile, opened.dockerfile_name)
    boxes = [(_title(stage), _rows(stage, watch)) for stage in parsed.stages]
    arrows = _arrows(parsed)
    return Drawing(_as_text(boxes, arrows), _as_dot(boxes, arrows))


def _title(stage: Stage) -> str:
    return stage.name or f"stage {stage.index}"


def _rows(stage: Stage, watch: Watch) -> list[tuple[str, str]]:
    """(instruction, outcome) of each instruction of a stage."""
    done = [step for step in watch.steps if step.stage == stage.index]
    if not done:
        written = [stage.instruction, *stage.instructions]
        return [(_short(each.text), _NOT_NEEDED) for each in written]
    return [(_short(step.text), watch.outcomes.get(step.number, "")) for step in done]


def _arrows(parsed: Dockerfile) -> list[tuple[int, int]]:
    """(from, to) by the numbers of stages."""
    found = []
    for stage in parsed.stages:
        earlier = parsed.stages[: stage.index]
        before = [stages.base(parsed.stages, stage, stage.base)]
        before += [
            stages.find(earlier, name) for each in stage.instructions for name in each.flags.get("from", ())
        ]
        found += sorted({(each.index, stage.index) for each in before if each})
    return found


def _as_text(boxes: list[tuple[str, list[tuple[str, str]]]], arrows: list[tuple[int, int]]) -> str:
    lines = []
    width = max(len(text) for _, rows in boxes for text, _ in rows)
    for index, (title, rows) in enumerate(boxes):
        froms = [boxes[before][0] for before, after in arrows if after == index]
        lines.append(f"{title}{', with files of ' + ', '.join(froms) if froms else ''}")
        lines += [f"    {text:<{width}}  {outcome}".rstrip() for text, outcome in rows]
    return "\n".join(lines)


def _as_dot(boxes: list[tuple[str, list[tuple[str, str]]]], arrows: list[tuple[int, int]]) -> str:
    lines = ['digraph { rankdir=LR; dpi=80; node [shape=plain fontname="sans-serif" fontsize=11];']
    for index, (title, rows) in enumerate(boxes):
        cells = [f'<tr><td colspan="2"><b>{_escaped(title)}</b></td></tr>']
        cells += [
            f'<tr><td align="left" bgcolor="{_COLOURS[outcome]}">{_escaped(text)}</td>'
            f'<td align="right" bgcolor="{_COLOURS[outcome]}"><i>{outcome or " "}</i></td></tr>'
            for text, outcome in rows
        ]
        box = f'<table border="1" cellborder="0" cellspacing="0" cellpadding="4">{"".join(cells)}</table>'
        lines.append(f"{index} [label=<{box}>];")
    lines += [f"{before} -> {after};" for before, after in arrows]
    return "\n".join([*lines, "}"])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
