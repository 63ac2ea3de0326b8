"""The script for bash (bash(1), Programmable Completion)."""

from __future__ import annotations

from minicontainer.cli import main
from minicontainer.cli.completion import tables

_BASH = r"""# bash completion of minicontainer. To have it at once:  source <(minicontainer completion bash)

_minicontainer_words() { # GROUP: the commands in it
    case $1 in
@WORDS@
    esac
}

_minicontainer_name() { # WORDS: the command that they mean
    case $1 in
@NAMES@
    *) echo "$1" ;;
    esac
}

_minicontainer_options() { # COMMAND
    case $1 in
@OPTIONS@
    esac
}

_minicontainer_valued() { # COMMAND: those of its options that take a value
    case $1 in
@VALUED@
    esac
}

_minicontainer_values() { # COMMAND OPTION: what the value can be
    case "$1 $2" in
@VALUES@
    esac
}

_minicontainer_arguments() { # COMMAND: what its arguments are
    case $1 in
@ARGUMENTS@
    esac
}

_minicontainer_pending() { # COMMAND WORD: the option in WORD whose value is the next word
    local valued=" $(_minicontainer_valued "$1") " word=$2
    if [[ $word == --* ]]; then
        [[ $valued == *" $word "* ]] && echo "$word"
        return
    fi
    while word=${word:1} && [[ $word ]]; do # -it is two options, -m4m is one and its value
        if [[ $valued == *" -${word:0:1} "* ]]; then
            [[ ${#word} == 1 ]] && echo "-$word"
            return
        fi
    done
}

_minicontainer_names() { # KIND
    env ${root:+MINICONTAINER_ROOT="$root"} minicontainer completion --list "$1" 2>/dev/null
}

_minicontainer_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

_minicontainer_offer() { # WORDS
    COMPREPLY+=($(compgen -W "$1" -- "$cur"))
}

_minicontainer_argument() { # KIND
    case $1 in
    containers | running | images | volumes | networks | rollouts)
        _minicontainer_offer "$(_minicontainer_names "$1")"
        ;;
    files) _minicontainer_files ;;
    paths)
        _minicontainer_files
        _minicontainer_offer "$(_minicontainer_names containers | sed 's/$/:/')"
        compopt -o nospace 2>/dev/null
        ;;
    shells) _minicontainer_offer "bash zsh fish" ;;
    esac
}

_minicontainer() {
    local cur="" command="" option="" root="" ended="" glue="" arguments=0 i word values
    local -a words=()
    for ((i = 1; i <= COMP_CWORD; i++)); do # bash splits at = and : what is one word to us
        word=${COMP_WORDS[i]}
        if [[ $word && ${#words[@]} -gt 0 && ($glue || $word == [=:]*) ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        [[ $word == *[=:] ]] && glue=1 || glue=""
    done
    cur=${words[-1]}
    unset "words[-1]"
    for word in "${words[@]}"; do
        if [[ $option ]]; then
            [[ $option == --root ]] && root=$word
            option=""
        elif [[ $word == -?* && ! $ended ]]; then
            [[ $word == --root=* ]] && root=${word#*=}
            [[ $word == -- ]] && ended=1
            option=$(_minicontainer_pending "$command" "$word")
        elif [[ $(_minicontainer_words "$command") ]]; then
            [[ $word == help ]] || command=$(_minicontainer_name "${command:+$command }$word")
        else
            ((arguments++))
            [[ "@STOPS@" == *" $command "* ]] && ended=1
        fi
    done
    COMPREPLY=()
    if [[ ! $option && ! $ended && $cur == --*=* ]]; then
        option=${cur%%=*} cur=${cur#*=}
    fi
    if [[ $option ]]; then
        values=$(_minicontainer_values "$command" "$option")
        [[ $values == @files ]] && _minicontainer_files || _minicontainer_offer "$values"
    elif [[ $cur == -* && ! $ended ]]; then
        _minicontainer_offer "$(_minicontainer_options "$command") --help"
    elif [[ $(_minicontainer_words "$command") ]]; then
        _minicontainer_offer "$(_minicontainer_words "$command")"
    elif [[ $ended && $arguments -gt 0 ]]; then
        _minicontainer_files
    else
        _minicontainer_argument "$(_minicontainer_arguments "$command")"
    fi
    # In a word with a colon bash replaces only what comes after the last one.
    [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] && COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*:}"}"}")
    return 0
}

complete -F _minicontainer minicontainer
"""


def script() -> str:
    """The script for bash."""
    form = "    {0}) echo '{1}' ;;"
    flags = tables.flags()
    cases = {
        "words": {group: " ".join(tables.words_of(group)) for group in ("", *main.GROUPS)},
        "names": {words: name for words, name in tables.full_names().items() if words != name},
        "options": {
            name: " ".join(spelling for flag in every for spelling in tables.spellings(flag))
            for name, every in flags.items()
        },
        "valued": {name: " ".join(tables.valued(every)) for name, every in flags.items()},
        "values": {
            f"{name} {spelling}": tables.offers(flag)
            for name, every in flags.items()
            for flag in every
            for spelling in tables.spellings(flag)
        },
        "arguments": {command.name: tables.kind_of(command) for command in tables.commands()},
    }
    parts = {name: tables.branches(table, form) for name, table in cases.items()}
    stops = [command.name for command in tables.commands() if command.stops]
    return tables.filled(_BASH, {**parts, "stops": f" {' '.join(stops)} "})
