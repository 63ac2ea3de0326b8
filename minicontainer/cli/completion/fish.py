"""The script for fish (complete(1))."""

from __future__ import annotations

from minicontainer.cli import main
from minicontainer.cli.completion import tables
from minicontainer.cli.flags import BOOL, Flag

_FISH = r"""# fish completion of minicontainer. To have it at once:  minicontainer completion fish | source

function __minicontainer_name # WORDS: the command that they mean
    switch "$argv"
@NAMES@
        case '*'
            echo "$argv"
    end
end

function __minicontainer_valued # COMMAND: those of its options that take a value
    switch "$argv"
@VALUED@
    end
end

function __minicontainer_pending # COMMAND WORD: whether the next word is the value of an option in WORD
    set -l valued (string split -- ' ' (__minicontainer_valued $argv[1]))
    if string match -q -- '--*' $argv[2]
        contains -- $argv[2] $valued
        return
    end
    set -l letters (string split '' -- (string sub -s 2 -- $argv[2]))
    while set -q letters[1] # -it is two options, -m4m is one and its value
        if contains -- -$letters[1] $valued
            test (count $letters) = 1
            return
        end
        set -e letters[1]
    end
    return 1
end

function __minicontainer_typed # the command before the cursor, and how many arguments it has
    set -l command ''
    set -l count 0
    set -l skip no
    for word in (commandline -opc)[2..-1]
        if test $skip = yes
            set skip no
        else if string match -q -- '-?*' $word
            __minicontainer_pending "$command" $word; and set skip yes
        else if contains -- "$command" '' @GROUPS@
            test $word = help; or set command (__minicontainer_name (string trim -- "$command $word"))
        else
            set count (math $count + 1)
        end
    end
    echo $command
    echo $count
end

function __minicontainer_at # COMMAND [first|later]: whether the cursor is at its (first, a later) argument
    set -l typed (__minicontainer_typed)
    test "$typed[1]" = "$argv[1]"; or return
    switch "$argv[2]"
        case first
            test $typed[2] = 0
        case later
            test $typed[2] != 0
    end
end

function __minicontainer_names # KIND
    set -l words (commandline -opc)
    set -l root (string replace -fr '^--root=' '' -- $words)
    set -l at (contains -i -- --root $words); and set root $words[(math $at + 1)]
    set -q root[1]; and set -lx MINICONTAINER_ROOT $root[1]
    minicontainer completion --list $argv[1] 2>/dev/null
end

complete -c minicontainer -f
@LINES@
"""
_FISH_ARGUMENTS = {
    "files": "-F",
    "paths": "-F -a '(__minicontainer_names containers):'",
    "shells": "-a 'bash zsh fish'",
}


def script() -> str:
    """The script for fish."""
    lines = [
        f"complete -c minicontainer -n \"__minicontainer_at '{group}'\" -a {word} -d {_fish(text)}"
        for group in ("", *main.GROUPS)
        for word, text in tables.words_of(group).items()
    ]
    lines += [_fish_option("__minicontainer_at ''", flag) for flag in main.GLOBAL_FLAGS]
    for command in tables.commands():
        here = f"__minicontainer_at '{command.name}'"
        first = f"{here} first" if command.stops or command.most == 1 else here
        lines += [_fish_option(first if command.stops else here, flag) for flag in command.flags]
        if kind := tables.kind_of(command):
            offers = _FISH_ARGUMENTS.get(kind, f"-a '(__minicontainer_names {kind})'")
            lines.append(f'complete -c minicontainer -n "{first}" {offers}')
        if command.stops:
            lines.append(f'complete -c minicontainer -n "{here} later" -F')
    form = "        case {0}\n            echo '{1}'"
    parts = {
        "names": tables.branches(
            {words: name for words, name in tables.full_names().items() if words != name}, form
        ),
        "valued": tables.branches(
            {name: " ".join(tables.valued(every)) for name, every in tables.flags().items()}, form
        ),
        "groups": " ".join(main.GROUPS),
        "lines": "\n".join(lines),
    }
    return tables.filled(_FISH, parts)


def _fish_option(condition: str, flag: Flag) -> str:
    words = [f'complete -c minicontainer -n "{condition}" -l {flag.long}']
    words += [f"-s {flag.short}"] if flag.short else []
    offers = tables.offers(flag)
    if flag.kind != BOOL:
        words.append("-r -F" if offers == "@files" else f"-x -a '{offers}'" if offers else "-x")
    return " ".join([*words, "-d", _fish(flag.help)])


def _fish(text: str) -> str:
    return "'" + text.replace("'", r"\'") + "'"
