"""The script for zsh (zshcompsys(1))."""

from __future__ import annotations

import shlex

from minicontainer.cli import main
from minicontainer.cli.completion import tables
from minicontainer.cli.flags import BOOL, LIST, Command, Flag

_ZSH = r"""#compdef minicontainer
# zsh completion of minicontainer. To have it at once:  source <(minicontainer completion zsh)

_minicontainer_names() { # OPTIONS OF compadd, KIND
    local -a names
    names=(${(f)"$(env ${minicontainer_root:+MINICONTAINER_ROOT=$minicontainer_root} \
        minicontainer completion --list $@[-1] 2>/dev/null)"})
    compadd "${@[1,-2]}" -a names
}

_minicontainer_paths() {
    _alternative 'containers:container:_minicontainer_names -qS: containers' 'files:file:_files'
}

_minicontainer_words() { # GROUP: the commands in it
    local -a list
    case $1 in
@WORDS@
    esac
    _describe command list
}

_minicontainer_command() { # COMMAND: the words are its own now
    local curcontext=$curcontext state line
    local -A opt_args
    case $1 in
    @GROUPS@)
        _arguments -C '1: :->command' '*:: :->arguments' && return
        case $state in
        command) _minicontainer_words $1 ;;
        arguments) _minicontainer_command "$1 $words[1]" ;;
        esac
        ;;
    help) _minicontainer_words '' ;;
@COMMANDS@
    esac
}

_minicontainer() {
    local curcontext=$curcontext state line minicontainer_root
    local -A opt_args
    _arguments -C -A '-*' @GLOBAL@ '1: :->command' '*:: :->arguments' && return
    minicontainer_root=${(Q)opt_args[--root]}
    case $state in
    command) _minicontainer_words '' ;;
    arguments) _minicontainer_command $words[1] ;;
    esac
}

if [[ $funcstack[1] == _minicontainer ]]; then # a file of this name in $fpath, loaded by the first tab
    _minicontainer "$@"
else
    compdef _minicontainer minicontainer
fi
"""
_ZSH_ACTIONS = {"files": "_files", "paths": "_minicontainer_paths", "shells": "(bash zsh fish)", "": " "}


def script() -> str:
    """The script for zsh."""
    words = {
        group: " ".join(shlex.quote(f"{word}:{text}") for word, text in tables.words_of(group).items())
        for group in ("", *main.GROUPS)
    }
    aliases = {command.name: [command.name] for command in tables.commands()}
    for pair, name in tables.full_names().items():
        if pair not in aliases:
            aliases[name].append(pair)
    lines = []
    for command in tables.commands():
        asked = " | ".join(map(shlex.quote, aliases[command.name]))
        how = "-s -S -A '-*'" if command.stops else "-s -S"
        specs = [*(spec for flag in command.flags for spec in _zsh_option(flag)), *_zsh_arguments(command)]
        lines.append(
            " \\\n            ".join([f"    {asked})\n        _arguments {how}", *map(shlex.quote, specs)])
            + " ;;"
        )
    parts = {
        "words": tables.branches(words, "    {0}) list=({1}) ;;"),
        "groups": " | ".join(main.GROUPS),
        "commands": "\n".join(lines),
        "global": " ".join(shlex.quote(spec) for flag in main.GLOBAL_FLAGS for spec in _zsh_option(flag)),
    }
    return tables.filled(_ZSH, parts)


def _zsh_option(flag: Flag) -> list[str]:
    """Specifications for _arguments (zshcompsys(1)), one for each spelling."""
    text = flag.help.replace("[", "(").replace("]", ")").replace(":", r"\:")
    excludes = "*" if flag.kind == LIST else f"({' '.join(tables.spellings(flag))})"
    if flag.kind == BOOL:
        return [f"{excludes}{spelling}[{text}]" for spelling in tables.spellings(flag)]
    offers = tables.offers(flag)
    action = "_files" if offers == "@files" else f"({offers})" if offers else " "
    return [
        f"{excludes}{spelling}{'=' if spelling.startswith('--') else '+'}[{text}]:{flag.metavar}:{action}"
        for spelling in tables.spellings(flag)
    ]


def _zsh_arguments(command: Command) -> list[str]:
    kind = tables.kind_of(command)
    if command.most == 0:
        return []
    action = _ZSH_ACTIONS.get(kind, f"_minicontainer_names {kind}")
    first = f"1:{kind or 'argument'}:{action}"
    if command.stops:
        return [first, "*:::_files"]
    return [first] if command.most == 1 else [f"*:{kind}:{action}"]
