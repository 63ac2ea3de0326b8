"""Options are read as Docker's command line reads them (Go's pflag), and every one is in the help text."""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Callable

import pytest
from conftest import Cli

from minicontainer.cli import main
from minicontainer.cli.flags import (
    BOOL,
    BYTES,
    FLOAT,
    INT,
    LIST,
    STRING,
    Command,
    Flag,
    HelpRequested,
    UsageError,
    Values,
)

FLAGS = (
    Flag("i", "interactive", BOOL, "Keep STDIN open"),
    Flag("t", "tty", BOOL, "Allocate a pseudo-TTY"),
    Flag("", "sig-proxy", BOOL, "Proxy signals", default=True),
    Flag("e", "env", LIST, "Set environment variables"),
    Flag("n", "number", INT, "A number"),
    Flag("", "cpus", FLOAT, "Number of CPUs"),
    Flag("m", "memory", BYTES, "Memory limit"),
    Flag("", "name", STRING, "A name", metavar="who"),
)


def command(**how: object) -> Command:
    return Command("try", "[OPTIONS] WORDS...", "Try it", FLAGS, lambda *_: None, **how)


def parse(*words: str, **how: object) -> tuple[Values, list[str]]:
    return command(**how).parse(words)


def test_without_options_they_have_their_defaults() -> None:
    values, arguments = parse()
    assert arguments == []
    assert (values.interactive, values.sig_proxy, values.env, values.number, values.name) == (
        *(False, True, [], None, None),
    )
    assert not values.given("interactive")


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["-i"], "interactive", True),
        (["-it"], "tty", True),
        (["--tty"], "tty", True),
        (["--tty=false"], "tty", False),
        (["-t=false"], "tty", False),
        (["-it=0"], "tty", False),
        (["--sig-proxy=F"], "sig_proxy", False),
        (["--tty=T", "--tty=f"], "tty", False),
        (["-e", "A=b", "--env=C=d", "-eE=f", "-e=G", "--env", "H"], "env", ["A=b", "C=d", "E=f", "G", "H"]),
        (["-ie", "X"], "env", ["X"]),
        (["-e", "-i"], "env", ["-i"]),
        (["--env", "--"], "env", ["--"]),
        (["--env="], "env", [""]),
        (["-n5"], "number", 5),
        (["-n", "-5"], "number", -5),
        (["--number=0x10"], "number", 16),
        (["--cpus", ".5"], "cpus", 0.5),
        (["-m4m"], "memory", "4m"),
        (["--memory", "-1"], "memory", "-1"),
        (["--name", ""], "name", ""),
        (["--name", "a", "--name", "b"], "name", "b"),
    ],
)
def test_values(words: list[str], name: str, value: object) -> None:
    values, arguments = parse(*words)
    assert getattr(values, name) == value
    assert values.given(name)
    assert arguments == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["-ix"], "unknown shorthand flag: 'x' in -ix"),
        (["--name"], "flag needs an argument: --name"),
        (["-e"], "flag needs an argument: 'e' in -e"),
        (["--tty=perhaps"], 'invalid argument "perhaps" for "-t, --tty" flag: not true or false'),
        (["-n", "five"], 'invalid argument "five" for "-n, --number" flag: not a whole number'),
        (["--cpus", "half"], 'invalid argument "half" for "--cpus" flag: not a number'),
        (["-m", "lots"], 'invalid argument "lots" for "-m, --memory" flag: invalid size: \'lots\''),
    ],
)
def test_what_cannot_be_read_is_said_in_pflag_s_words(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert str(caught.value) == said
    assert caught.value.exit_code == 125


def test_options_stop_at_the_image_where_a_command_follows() -> None:
    values, arguments = parse("-i", "alpine", "ls", "-l", "--tty", stops=True)
    assert values.interactive
    assert not values.tty
    assert arguments == ["alpine", "ls", "-l", "--tty"]


def test_elsewhere_they_may_come_later() -> None:
    values, arguments = parse("one", "-i", "two", "--name", "x", "-")
    assert values.interactive
    assert values.name == "x"
    assert arguments == ["one", "two", "-"]


def test_two_dashes_end_them() -> None:
    assert parse("-i", "--", "-t", "--name")[1] == ["-t", "--name"]
    assert parse("--", "-t", stops=True)[1] == ["-t"]


@pytest.mark.parametrize(
    ("count", "how", "said"),
    [
        (0, {"least": 1}, "requires at least 1 argument"),
        (1, {"least": 2}, "requires at least 2 arguments"),
        (1, {"least": 2, "most": 2}, "requires exactly 2 arguments"),
        (3, {"least": 2, "most": 2}, "requires exactly 2 arguments"),
        (0, {"least": 1, "most": 1}, "requires exactly 1 argument"),
        (3, {"least": 1, "most": 2}, "requires at most 2 arguments"),
        (2, {"most": 1}, "requires at most 1 argument"),
        (1, {"most": 0}, "accepts no arguments"),
    ],
)
def test_the_number_of_arguments(count: int, how: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*["word"] * count, **how)
    assert str(caught.value) == f'"minicontainer try" {said}'
    assert caught.value.exit_code == 1


def test_help_is_asked_for_by_help_and_by_h_unless_that_is_an_option() -> None:
    for word in ("--help", "-h", "-ih"):
        with pytest.raises(HelpRequested):
            parse(word)
    assert parse("x", "--help", stops=True)[1] == ["x", "--help"]


def test_help_text() -> None:
    text = command().help_text()
    assert text.startswith("\nUsage:  minicontainer try [OPTIONS] WORDS...\n\nTry it\n\nOptions:\n")
    assert re.search(r"^      --name who +A name$", text, re.M)
    assert re.search(r"^  -m, --memory bytes +Memory limit$", text, re.M)
    assert re.search(r"^      --sig-proxy +Proxy signals \(default true\)$", text, re.M)


# ------------------------------------------------------------------ the commands as they are

ALL = sorted({*main.COMMANDS, *(f"{group} {name}" for group, names in main.GROUPS.items() for name in names)})


def load(name: str) -> Command:
    words = main.find(name.split())
    return main.load(words[0])


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_with_all_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = load(name)
    text = found.help_text()
    assert text.startswith(f"\nUsage:  minicontainer {found.name}")
    for flag in found.flags:
        assert re.search(rf"(-{flag.short}, |    )--{flag.long}\b.* {re.escape(flag.help)}", text)
    for long in {flag.long for flag in found.flags} - {"help"}:
        assert [flag.long for flag in found.flags].count(long) == 1
    shorts = [flag.short for flag in found.flags if flag.short]
    assert len(shorts) == len(set(shorts)), "two options have one letter"


def test_the_help_of_the_whole_names_every_command(cli: Cli) -> None:
    text = cli("--help").stdout
    assert text == cli("help").stdout == cli().stdout == cli("-h").stdout
    for name, (_, what) in main.COMMANDS.items():
        assert f"  {name:<12}{what}" in text
    for group in main.GROUPS:
        assert f"minicontainer {group} COMMAND" in cli(group).stdout
        assert cli(group).stdout == cli(group, "--help").stdout


COMMANDS = """create start exec ps inspect logs attach stop kill restart wait rm pause unpause top stats rename cp
update import images rmi version info doctor run nsenter"""


def test_help_at_the_command_line(cli: Cli) -> None:
    """``CMD --help``, ``help CMD``, and ``CMD -h`` where that is not an option, which it is of run and create."""
    for name in COMMANDS.split():
        found = load(name)
        assert cli(name, "--help").stdout == found.help_text()
        with pytest.raises(UsageError if name in ("run", "create") else HelpRequested):
            found.parse(["-h"])
    assert "needs an argument" in cli("run", "-h", code=125).stderr
    assert cli("ps", "-h").stdout == load("ps").help_text()
    assert cli("help", "container", "ls").stdout == load("ps").help_text()
    assert "nonesuch" in cli("help", "nonesuch", code=1).stderr


def test_every_module_of_the_table_has_its_commands() -> None:
    for name, (module, _) in main.COMMANDS.items():
        assert name in importlib.import_module(f"minicontainer.cli.commands.{module}").COMMANDS


OWN = {  # and not in the help of Docker's client, which has --net and hides it
    "run": {"cgroup-conf", "net"},
    "create": {"cgroup-conf", "net"},
    "cp": {"quiet"},
    "start": {"no-stdin", "sig-proxy"},
}


@pytest.mark.parametrize("name", [n for n in COMMANDS.split() if n not in ("doctor", "nsenter")])
def test_options_are_those_of_docker(
    docker: Callable[..., subprocess.CompletedProcess[str]], name: str
) -> None:
    """Every long option of ours is one of Docker's, with the same letter, and takes a value where that does."""

    def options(text: str) -> dict[str, tuple[str, bool]]:
        lines = re.findall(r"^ +(?:-(\w), )?--([\w-]+)(?: ([a-zA-Z0-9<>]+))?(?:   |$)", text, re.M)
        return {long: (short, bool(value)) for short, long, value in lines}

    ours = options(load(name).help_text())
    theirs = options(docker(name, "--help").stdout)
    assert ours.keys() - theirs.keys() <= OWN.get(name, set())
    assert {n: o for n, o in ours.items() if n in theirs and o != theirs[n]} == {}
