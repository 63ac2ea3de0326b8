"""What is seen of a build: Docker's classic log, in the Dockerfile's order whatever comes first, and the live view.

The events are made up here; tests/test_cli_build.py has those of real builds.
"""

from __future__ import annotations

import io
import os
import pathlib
import re
import sys
import termios
import textwrap
import time

import pytest
from at_terminal import Terminal
from conftest import PROJECT

from minicontainer.build.report import ClassicReport, Kept, Report, Step
from minicontainer.cli import building, lines

BASE, NEXT, CONTAINER = (f"sha256:{digit * 64}" for digit in "abc")


class Image:
    """What a report needs of one."""

    id = NEXT


def steps(*stages: tuple[str, ...]) -> list[Step]:
    """The plan of a Dockerfile with these stages."""
    total = sum(map(len, stages))
    numbers = iter(range(1, total + 1))
    return [
        Step(next(numbers), total, text, index, "") for index, stage in enumerate(stages) for text in stage
    ]


def classic(**how: bool) -> tuple[ClassicReport, io.BytesIO]:
    out = io.BytesIO()
    return ClassicReport(out, **how), out


def run(report: Report, step: Step, *written: bytes) -> None:
    """The events of a RUN step that goes well."""
    report.begin(step)
    report.running(step, CONTAINER.removeprefix("sha256:"))
    for data in written:
        report.output(step, 1, data)
    report.removed(step, CONTAINER.removeprefix("sha256:"))
    report.done(step, NEXT)


# ------------------------------------------------------------------ the classic log


def test_a_log_is_docker_s():
    report, out = classic()
    first, second, third, fourth = plan = steps(
        ("FROM alpine", "RUN echo hello", "COPY . /app", 'CMD ["/bin/sh"]')
    )
    report.context(3072)
    report.plan(plan)
    report.begin(first)
    report.done(first, BASE)
    run(report, second, b"hello\n")
    for step in (third, fourth):
        report.begin(step)
        report.cached(step)
        report.done(step, BASE)
    report.warning(None, "one or more build-args [X] were not consumed")
    report.built(Image())
    report.tagged("example/app:1")
    assert out.getvalue().decode() == textwrap.dedent("""\
        Sending build context to Docker daemon  3.072kB
        Step 1/4 : FROM alpine
         ---> aaaaaaaaaaaa
        Step 2/4 : RUN echo hello
         ---> Running in cccccccccccc
        hello
        Removing intermediate container cccccccccccc
         ---> bbbbbbbbbbbb
        Step 3/4 : COPY . /app
         ---> Using cache
         ---> aaaaaaaaaaaa
        Step 4/4 : CMD ["/bin/sh"]
         ---> Using cache
         ---> aaaaaaaaaaaa
        [Warning] One or more build-args [X] were not consumed
        Successfully built bbbbbbbbbbbb
        Successfully tagged example/app:1
    """)


def test_scratch_has_no_id_and_an_argument_before_all_stages_has_no_line_for_it():
    report, out = classic()
    argument, scratch = Step(1, 2, "ARG A=b", -1, ""), Step(2, 2, "FROM scratch", 0, "")
    report.plan([argument, scratch])
    for step in (argument, scratch):
        report.begin(step)
        report.done(step, "")
    assert out.getvalue() == b"Step 1/2 : ARG A=b\nStep 2/2 : FROM scratch\n ---> \n"


def test_output_comes_at_once_and_as_it_is():
    report, out = classic()
    (step,) = plan = steps(("RUN cat",))
    report.plan(plan)
    report.begin(step)
    before = len(out.getvalue())
    report.output(step, 1, b"\xff half a l")
    assert out.getvalue()[before:] == b"\xff half a l"
    report.output(step, 2, b"ine")
    report.removed(step, "c" * 64)
    assert out.getvalue()[before:] == b"\xff half a line\nRemoving intermediate container cccccccccccc\n"


def test_what_goes_to_standard_error_is_red_where_there_are_colours():
    report, out = classic(colours=True)
    (step,) = plan = steps(("RUN cat",))
    report.plan(plan)
    report.output(step, 1, b"plain\n")
    report.output(step, 2, b"red\n")
    assert out.getvalue() == b"plain\n\x1b[91mred\n\x1b[0m"


def test_stages_side_by_side_are_shown_one_after_the_other():
    report, out = classic()
    plan = steps(("FROM a", "RUN one"), ("FROM b", "RUN two"), ("FROM c", "RUN three"))
    one, two, three = plan[:2], plan[2:4], plan[4:]
    report.plan(plan)
    for step in (three[0], two[0], one[0]):
        report.begin(step)
        report.done(step, BASE)
    run(report, three[1], b"third\n")
    report.begin(one[1])
    shown = out.getvalue()
    assert shown.endswith(b"Step 2/6 : RUN one\n")
    report.begin(two[1])
    report.output(two[1], 1, b"second\n")
    assert out.getvalue() == shown
    report.output(one[1], 1, b"first\n")
    assert out.getvalue() == shown + b"first\n"
    report.done(one[1], BASE)
    assert out.getvalue().endswith(b"Step 4/6 : RUN two\nsecond\n")
    report.output(two[1], 1, b"now at once\n")
    assert out.getvalue().endswith(b"now at once\n")
    report.done(two[1], BASE)
    log = out.getvalue().decode()
    order = [
        "FROM a",
        "RUN one",
        "first",
        "FROM b",
        "RUN two",
        "second",
        "now",
        "FROM c",
        "RUN three",
        "third",
    ]
    places = [log.index(word) for word in order]
    assert places == sorted(places)
    assert log.count("Step ") == 6


def test_a_failed_step_is_the_last_that_is_shown():
    report, out = classic()
    plan = steps(("FROM a", "RUN slow"), ("FROM b", "RUN fails"), ("FROM c", "RUN other"))
    report.plan(plan)
    for step in (plan[0], plan[2], plan[4]):
        report.begin(step)
        report.done(step, BASE)
    for step, data in ((plan[1], b"slow output"), (plan[3], b"the reason"), (plan[5], b"other output\n")):
        report.begin(step)
        report.output(step, 2, data)
    report.failed(plan[3], RuntimeError("ended with 1"))
    report.output(plan[1], 1, b"killed\n")
    report.removed(plan[1], "c" * 64)
    log = out.getvalue().decode().splitlines()
    assert log[-2:] == ["Step 4/6 : RUN fails", "the reason"]
    assert "slow output" in log
    assert "other output" in log
    assert "killed" not in log


def test_much_that_is_kept_back_comes_out_whole_and_takes_no_memory():
    report, out = classic()
    plan = steps(("FROM a",), ("RUN noise",))
    report.plan(plan)
    noise = [os.urandom(100_000) for _ in range(50)]
    for data in noise:
        report.output(plan[1], 1, data)
    kept = report._kept[2]
    assert not isinstance(kept._file, io.BytesIO)
    assert out.getvalue() == b""
    report.done(plan[0], BASE)
    assert out.getvalue() == b" ---> aaaaaaaaaaaa\n" + b"".join(noise)


def test_a_quiet_log_can_be_read_afterwards():
    log, out = Kept(), io.BytesIO()
    report = ClassicReport(log)
    report.context(1)
    log.copy_to(out)
    assert out.getvalue() == b"Sending build context to Docker daemon  1B\n"


# ------------------------------------------------------------------ the live view

VIEW = """
import sys, time
from minicontainer.build.report import Step
from minicontainer.cli.building import LiveReport
texts = [(0, "sdk", "FROM alpine AS sdk"), (0, "sdk", "RUN make " + "all " * 60), (1, "", "FROM alpine"),
         (1, "", "RUN a\\x1b[2Jb"), (1, "", "CMD x")]
plan = [Step(n, len(texts), text, stage, name) for n, (stage, name, text) in enumerate(texts, 1)]
class Image:
    id = "sha256:" + "b" * 64
def say(name):
    print("@" + name, file=sys.stderr, flush=True)
    while sys.stdin.readline() != "\\n":
        pass
with LiveReport(sys.stdout) as report:
    report.context(3072)
    report.plan(plan)
    for step in (plan[0], plan[2]):
        report.begin(step)
        report.done(step, "sha256:" + "a" * 64)
    report.begin(plan[1])
    report.begin(plan[3])
    for number in range(1, 501):
        report.output(plan[1], 1, b"line %d\\n" % number)
    report.output(plan[3], 2, b"10%\\r20%\\rready \\x1b]0;title\\x07\\xff half")
    say("running")
    ACT
"""
ENDS = """
    report.done(plan[3], "")
    say("second done")
    report.done(plan[1], "")
    report.begin(plan[4])
    report.cached(plan[4])
    report.done(plan[4], "")
    report.warning(None, "something is odd")
    report.built(Image())
    report.tagged("example/app:1")
"""
FAILS = """
    report.failed(plan[1], RuntimeError())
    sys.exit(9)
"""


def view(tmp_path: pathlib.Path, act: str, term: str = "xterm", **window: int) -> Terminal:
    program = tmp_path / "view.py"
    program.write_text(VIEW.replace("    ACT\n", act))
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    env |= {"PYTHONPATH": str(PROJECT), "TERM": term}
    terminal = Terminal([sys.executable, str(program)], env, **window)
    settings = termios.tcgetattr(terminal.fd)
    settings[3] &= ~termios.ECHO  # or what is typed moves the picture
    termios.tcsetattr(terminal.fd, termios.TCSANOW, settings)
    return terminal


def screen(written: str) -> list[str]:
    """What a terminal shows, and what has scrolled away above, after all this was written; without colours."""
    rows, row = [""], 0
    for piece in re.findall(r"\x1b\[[?\d]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", written):
        if piece == "\n":
            row += 1
            rows += [""] * (row == len(rows))
        elif piece == "\x1b[2K":
            rows[row] = ""
        elif piece.startswith("\x1b") and piece.endswith("A"):
            row -= int(piece[2:-1])
        elif not piece.startswith(("\x1b", "\r")):
            rows[row] += piece  # whoever draws erases the line first
    return [line.rstrip() for line in rows]


def times(rows: list[str]) -> list[str]:
    """The rows, with a T where a time was."""
    return [re.sub(r"^[ |/\\-] +\d+\.\ds|\d+\.\ds$", "T", row) for row in rows]


RUNNING = [
    "Build context: 3.072kB",
    "[sdk]",
    "T 1/5 FROM alpine AS sdk",
    f"T 2/5 RUN make {'all ' * 13}all al",
    *(f"         line {number}" for number in range(496, 501)),
    "[stage 1]",
    "T 4/5 RUN ab",
    "         ready \ufffd half",
    "         2/5 steps, T",
]


def test_the_view_shows_what_runs_and_keeps_what_is_done(tmp_path):
    with view(tmp_path, ENDS) as terminal:
        terminal.expect("@running")
        terminal.expect(r"steps, [^\n]*$")
        assert [row for row in times(screen(terminal.shown)) if row != "@running"] == RUNNING
        terminal.type("\n")
        terminal.expect("@second done")
        terminal.expect("3/5 steps")
        shown = times(screen(terminal.shown))
        assert "T 4/5 RUN ab" not in shown, "it is done, and waits for its turn"
        terminal.type("\n")
        assert terminal.wait() == 0
        assert [row for row in times(screen(terminal.shown)) if row and not row.startswith("@")] == [
            *RUNNING[:4],
            "[stage 1]",
            "T 3/5 FROM alpine",
            "T 4/5 RUN ab",
            "  CACHED 5/5 CMD x",
            "[Warning] Something is odd",
            "Successfully built bbbbbbbbbbbb in T",
            "Successfully tagged example/app:1",
        ]
        assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h"), "the cursor is back"


def test_a_failed_step_leaves_the_end_of_its_output(tmp_path):
    with view(tmp_path, FAILS) as terminal:
        terminal.expect("@running")
        terminal.type("\n")
        assert terminal.wait() == 9
        rows = [row for row in times(screen(terminal.shown)) if row and not row.startswith("@")]
    failed = rows.index(RUNNING[3], 5)
    assert rows[:failed] == [*RUNNING[:3], "[stage 1]", "T 3/5 FROM alpine", "[sdk]"]
    assert rows[failed + 1] == "         (the last 100 of 500 lines)"
    assert rows[failed + 2 :] == [f"         line {number}" for number in range(401, 501)]


def test_ctrl_c_takes_the_picture_away_and_brings_the_cursor_back(tmp_path):
    with view(tmp_path, "    time.sleep(30)\n") as terminal:
        terminal.expect("@running")
        terminal.expect("steps,")
        terminal.type("\n")
        time.sleep(0.3)
        terminal.type("\x03")
        terminal.expect("KeyboardInterrupt")
        terminal.wait()
        assert "line 500" not in "\n".join(screen(terminal.shown))
        assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h")


@pytest.mark.parametrize(("rows", "columns"), [(7, 40), (50, 132)])
def test_the_picture_fits_the_window(tmp_path, rows, columns):
    with view(tmp_path, "    time.sleep(1)\n", rows=rows, columns=columns) as terminal:
        terminal.expect("@running")
        terminal.expect("steps,")
        terminal.type("\n")
        terminal.expect("steps,")
        shown = terminal.shown.rpartition("\x1b[2K")[2]
        picture = screen(shown)
        assert len(picture) < rows
        assert max(map(len, picture)) <= columns
        terminal.resize(rows, columns - 15)
        terminal.expect("steps,")
        terminal.expect("steps,")
        terminal.wait()
        narrow = screen(terminal.shown.rpartition("steps,")[0].rpartition("\x1b[2K")[2])
        assert max(map(len, narrow)) <= columns - 15


def test_what_is_built_at_once_does_not_wait_for_rich(tmp_path):
    program = """
        import io, sys
        from minicontainer.build.report import Step
        from minicontainer.cli.building import LiveReport
        step = Step(1, 1, "FROM alpine", 0, "")
        with LiveReport(sys.stdout) as report:
            report.context(1)
            report.plan([step])
            report.begin(step)
            report.cached(step)
            report.done(step, "sha256:0")
        sys.exit("rich" in sys.modules)
    """
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "NO_COLOR": "1"}
    with Terminal([sys.executable, "-c", textwrap.dedent(program)], env) as terminal:
        assert terminal.wait() == 0
        assert terminal.shown == "Build context: 1B\r\n  CACHED 1/1 FROM alpine\r\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("10%\r20%\rdone\r", "done"),
        ("a\tb", "a       b"),
        ("\x1b]0;title\x07x\x1b]8;;http://a\x1b\\link\x1b[2J\x1bc\x1b(B", "xlink"),
        ("bell\x07 del\x7f c1\x9b2J", "bell del c12J"),
        ("cut off \x1b[", "cut off "),
        ("\x1b", ""),
    ],
)
def test_a_line_is_shown_without_what_would_move_the_cursor(text, shown):
    assert lines.plain(text) == shown


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abcdef", 4, "abcd"),
        ("\x1b[1mabc\x1b[0mdef", 4, "\x1b[1mabc\x1b[0md"),
        ("\x1b[1mabcdef\x1b[0m", 4, "\x1b[1mabcd\x1b[0m"),
        ("日本語", 5, "日本"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301e\u0301"),
    ],
)
def test_a_line_is_as_wide_as_it_is_shown(text, width, shown):
    assert lines.fit(text, width) == shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (59.94, "59.9s"), (59.97, "1m00s"), (60, "1m00s"), (3599.9, "59m59s"), (3720, "1h02m")],
)
def test_spans_of_time(seconds, text):
    assert building.duration(seconds) == text
