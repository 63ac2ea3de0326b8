"""The completion scripts, loaded into the shells they are for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

import pytest
from at_terminal import Terminal
from conftest import Cli

from minicontainer.cli.commands import shell
from minicontainer.cli.completion import tables
from minicontainer.engine.engine import Engine

BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"
# What is on the line, word by word as bash splits it, and what is offered for the last word.
OFFERED = {
    "ru": {"run"},
    "container l": {"list", "logs", "ls"},
    "help ru": {"run"},
    "completion ": {"bash", "fish", "zsh"},
    "run --net": {"--net", "--network", "--network-alias"},
    "container run --mac": {"--mac-address"},
    "run --network ": {"bridge", "host", "none"},
    "run -it --rm -m 4m alp": {"alpine", "alpine:latest"},
    "run -m4m -it alp": {"alpine", "alpine:latest"},
    "run --memory=4m alp": {"alpine", "alpine:latest"},
    "run -dm 4m alp": {"alpine", "alpine:latest"},
    "run --env-file /etc/hostn": {"/etc/hostname"},
    "run alpine /etc/hostn": {"/etc/hostname"},
    "run alpine --net": set(),  # that is the program's own
    "stop -t 3 ": {"web"},
    "container stop ": {"web"},
    "exec -it w": {"web"},
    "start ": {"idle", "web"},
    "rm -f i": {"idle"},
    "--debug rm i": {"idle"},
    "--root /nonexistent rm ": set(),
    "cp we": {"web:"},
    "inspect --type ": {"container", "image", "network", "volume"},
    "volume rm d": {"data"},
    "volume l": {"list", "ls"},
    "system p": {"prune"},
    "rollout p": {"promote"},
    "rollout deploy --strategy ": {"blue-green", "canary"},
    "image inspect alp": {"alpine", "alpine:latest"},
    "import /etc/hostn": {"/etc/hostname"},
}
needs_fish = pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
needs_zsh = pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")


@pytest.fixture(scope="module")
def engine(rootfs_archive):
    """An engine of our own, in a directory that everybody may list, as /var/lib/minicontainer is."""
    path = tempfile.mkdtemp(prefix="minicontainer-completion-")
    os.chmod(path, 0o755)
    engine = Engine(path)
    cli = Cli(path)
    cli("import", rootfs_archive, "alpine")
    cli("volume", "create", "data")
    cli("run", "-d", "--name", "web", "alpine", "sleep", "1000")
    cli("create", "--name", "idle", "alpine", "true")
    yield engine
    cli("rm", "-f", "web", "idle")
    shutil.rmtree(path)


@pytest.fixture
def environment(engine, tmp_path):
    """The environment of a shell that has ``minicontainer`` on its PATH; web runs, and idle does not."""
    command = tmp_path / "bin" / "minicontainer"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m minicontainer "$@"\n')
    command.chmod(0o755)
    shells = {"PATH": f"{command.parent}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(tmp_path)}
    return {**Cli(engine.root).env, **shells, "MINICONTAINER_ROOT": engine.root}


def script(name: str, environment: dict[str, str], tmp_path) -> str:
    """The script for a shell, in a file."""
    path = tmp_path / f"completion.{name}"
    with path.open("w") as file:
        subprocess.run(["minicontainer", "completion", name], stdout=file, env=environment, check=True)
    return str(path)


def ask_bash(lines: list[str], environment: dict[str, str], tmp_path) -> list[set[str]]:
    """What bash offers at the end of each of these lines."""
    asks = [f"source {script('bash', environment, tmp_path)}"]
    for line in lines:
        words = " ".join(f"'{word}'" for word in ("minicontainer", *line.replace("=", " = ").split(" ")))
        asks.append(f"COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _minicontainer")
        asks.append('echo "${COMPREPLY[@]}"')
    done = subprocess.run(
        ["bash"], input="\n".join(asks), env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return [set(answer.split()) for answer in done.stdout.splitlines()]


def ask_fish(lines: list[str], environment: dict[str, str], tmp_path) -> list[set[str]]:
    """What fish offers at the end of each of these lines."""
    asks = [f"source {script('fish', environment, tmp_path)}"]
    for line in lines:
        asks.append(f"echo (complete -C 'minicontainer {line}' | string replace -r '\\t.*' '')")
    done = subprocess.run(
        ["fish", "--no-config"],
        input="\n".join(asks),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [set(answer.split()) for answer in done.stdout.splitlines()]


ASK = [pytest.param(ask_bash, id="bash"), pytest.param(ask_fish, id="fish", marks=needs_fish)]


@pytest.mark.parametrize("ask", ASK)
def test_what_fits_is_offered(ask, environment, tmp_path):
    got = ask(list(OFFERED), environment, tmp_path)
    assert dict(zip(OFFERED, got, strict=True)) == OFFERED


@pytest.mark.parametrize("ask", ASK)
def test_every_command_and_every_option_is_offered(ask, environment, tmp_path):
    options = {command.name: {f"--{flag.long}" for flag in command.flags} for command in tables.commands()}
    commands, *got = ask(["", *(f"{name} --" for name in options)], environment, tmp_path)
    assert commands == set(tables.words_of())
    got = [{each for each in one if each.startswith("--") and each != "--help"} for one in got]
    assert dict(zip(options, got, strict=True)) == options


def test_bash_puts_it_on_the_line(environment, tmp_path):
    with Terminal(["bash", "--norc", "-i"], environment, columns=160) as terminal:
        terminal.type(f"source {script('bash', environment, tmp_path)}; echo load''ed\n")
        terminal.expect("loaded")
        for typed, shown in (
            ("minicontainer run alpine:l\t", r"run alpine:latest "),
            ("minicontainer run --network=h\t", r"run --network=host "),
            ("minicontainer stop w\t", r"stop web "),
        ):
            terminal.type(typed)
            terminal.expect(shown)
            terminal.type("\x15")  # ctrl-u: forget the line


def test_bash_after_sudo(environment, tmp_path):
    if not os.path.exists(BASH_COMPLETION):
        pytest.skip("needs bash-completion, which knows that a command follows sudo")
    asks = f"""
        source {BASH_COMPLETION}
        source {script("bash", environment, tmp_path)}
        _completion_loader sudo
        COMP_LINE='sudo minicontainer stop '
        COMP_WORDS=(sudo minicontainer stop '') COMP_CWORD=3 COMP_POINT=${{#COMP_LINE}}
        _sudo sudo '' stop
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash"], input=asks, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["web"], done.stderr


@needs_zsh
def test_zsh_puts_it_on_the_line(environment, tmp_path):
    with Terminal(["zsh", "-f", "-i"], environment, rows=50, columns=160) as terminal:
        terminal.type("PROMPT='zsh: ' LISTMAX=9999; autoload -U compinit; compinit -D -u\n")
        terminal.type(f"source {script('zsh', environment, tmp_path)}; echo load''ed\n")
        terminal.expect("^loaded")
        for typed, shown in (
            ("minicontainer unp\t", r"minicontainer unpause "),
            ("minicontainer stop \t", r"stop web "),
            ("minicontainer container exec -it w\t", r"exec -it web "),
            ("minicontainer run --network=h\t", r"--network=host "),
            ("minicontainer run --netw\t", r"--network"),
            ("minicontainer run -m 4m alpine:l\t", r"alpine:latest "),
            ("minicontainer run --ne\t\t", r"--network +-- Connect a container to a network \(NAME"),
            ("minicontainer cp we\t", r"cp web:"),
        ):
            terminal.expect("zsh: ")
            terminal.type(typed)
            terminal.expect(shown)
            terminal.type("\x15\n")


@needs_zsh
def test_zsh_loads_it_from_fpath(environment, tmp_path):
    shutil.copy(script("zsh", environment, tmp_path), tmp_path / "_minicontainer")
    with Terminal(["zsh", "-f", "-i"], environment, columns=160) as terminal:
        terminal.type(f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -D -u; echo load''ed\n")
        terminal.expect("^loaded")
        terminal.type("minicontainer stop w\t")
        terminal.expect("stop web ")


def test_names_are_found_without_privileges(engine):
    """So that tab works for the user who is typing sudo."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.write(write, repr([shell.names(engine, kind) for kind in shell.KINDS]).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read) as file:
        networks = ["bridge", "host", "none"]
        wanted = [["idle", "web"], ["web"], ["alpine", "alpine:latest"], ["data"], networks, []]
        assert file.read() == repr(wanted)


def test_what_it_cannot_do_it_says(cli):
    assert "for which shell? There are scripts for bash, zsh, fish" in cli("completion", code=1).stderr
    assert "for which shell" in cli("completion", "tcsh", code=1).stderr
    assert '"dogs" is not a valid value for --list' in cli("completion", "--list", "dogs", code=1).stderr


@pytest.mark.parametrize("kind", shell.KINDS)
def test_where_nothing_was_ever_made_there_is_nothing_to_offer(kind, tmp_path):
    always = ["bridge", "host", "none"] if kind == "networks" else []
    assert shell.names(Engine(str(tmp_path)), kind) == always
