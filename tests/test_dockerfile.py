"""Reading Dockerfiles: the steps are those that Docker sees, and every mistake is told with its line and reason."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from conftest import DOCKER

from minicontainer.build.dockerfile import DockerfileError, Instruction, parse, parse_instruction
from minicontainer.errors import InvalidArgument


def docker_build(text: bytes) -> subprocess.CompletedProcess[str]:
    """Have Docker's classic builder build a Dockerfile that needs no context."""
    env = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(
        [DOCKER, "build", "--force-rm", "-"], input=text, env=env, capture_output=True, check=False
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def one(text: str) -> Instruction:
    """The one instruction after FROM."""
    [instruction] = parse(f"FROM scratch\n{text}\n".encode()).stages[0].instructions
    return instruction


# ---------------------------------------------------------------- lines

LINES = {
    "plain": "FROM scratch\nENV A=1\nLABEL b=2\n",
    "no newline at the end": "FROM scratch\nENV A=1",
    "Windows ends its lines so": "FROM scratch\r\nENV A=1 \\\r\n  B=2\r\nLABEL c=d\r\n",
    "byte order mark": "\ufeffFROM scratch\nENV A=1\n",
    "lower case": "from scratch as Me\nenv a b\nlabel  x=1   y=2  \n",
    "indented": "  FROM scratch\n\t ENV A=1\n",
    "empty lines": "\n\nFROM scratch\n\n   \nENV A=1\n\n",
    "comments": "# one\nFROM scratch\n  # two\nENV A=1 # no comment\n#\n".replace(" # no comment", " B=#x"),
    "continued": "FROM scratch\nENV A=1 \\\n    B=2 \\\n  C=3\n",
    "continued inside a word": "FROM scratch\nENV A=one\\\ntwo\n",
    "continued with spaces after it": "FROM scratch\nENV A=1 \\  \t\n B=2\n",
    "comment inside": "FROM scratch\nENV A=1 \\\n# no\n   # nor this \\\n B=2\n",
    "empty line inside": "FROM scratch\nENV A=1 \\\n\n B=2\n",
    "goes on to the end": "FROM scratch\nENV A=1 \\\n",
    "a doubled escape does not continue": "FROM scratch\nLABEL A=1\\\\\nLABEL B=2\n",
    "other escape": "# escape=`\nFROM scratch\nENV A=1 `\n  B=c:\\\nLABEL c=d\n",
    "directives among others": "#syntax = docker/dockerfile:1\n# eScApE=`\nFROM scratch\nENV A=1 `\n B=2\n",
    "directive after a comment": "# hello\n# escape=`\nFROM scratch\nENV A=1 \\\n B=`\n",
    "directive after an empty line": "\n# escape=`\nFROM scratch\nENV A=1 \\\n B=2\n",
    "unknown directive": "# unknown=x\n# escape=`\nFROM scratch\nENV A=1 \\\n B=2\n",
    "arguments first": "ARG A=scratch\nARG B\nFROM $A\nENV B=1\n",
    "tabs": "FROM\tscratch\nENV\tA=1\t\tB=2\n",
    "words around flags": 'FROM scratch\nHEALTHCHECK   --interval=5s  --retries=2   CMD  a  "b"\n',
    "exec form": 'FROM scratch\nCMD [ "a" ,\t"b\\u00e9\\n" ]\nENTRYPOINT ["x"]\n',
    "no JSON after all": 'FROM scratch\nCMD [ -f /x ] && ls\nCMD [\'a\']\nCMD ["a"] b\nCMD ["a",]\nCMD [NaN]\n',
    "letters that are none": "FROM scratch\nLABEL a=\ufffd\n",
    "triggers": 'FROM scratch\nONBUILD  RUN  ls\nonbuild copy ["a", "b"]\n',
}


@pytest.mark.peer
@pytest.mark.parametrize("name", LINES)
def test_steps_are_those_that_docker_takes(docker, name):
    done = docker_build(LINES[name].encode())
    assert done.returncode == 0, done.stderr
    theirs = re.findall(r"Step \d+/\d+ : (.*?)\s*$", done.stdout, re.M)
    dockerfile = parse(LINES[name].encode())
    assert [instruction.text for instruction in dockerfile.instructions] == theirs
    subprocess.run([DOCKER, "rmi", done.stdout.split()[-1]], check=False, capture_output=True)


def test_instructions_know_their_lines():
    text = b"# c\nFROM scratch\nENV A=1 \\\n# c\n\n  B=2\n\nCOPY <<E /x\n1\nE\nUSER a\n"
    dockerfile = parse(text)
    assert [(each.name, each.first, each.last) for each in dockerfile.instructions] == [
        ("FROM", 2, 2),
        ("ENV", 3, 6),
        ("COPY", 8, 10),
        ("USER", 11, 11),
    ]
    assert dockerfile.instructions[1].lines == ["ENV A=1 \\", "# c", "", "  B=2"]
    assert dockerfile.warnings == ["Dockerfile:5: empty continuation line"]


def test_directives_are_told():
    dockerfile = parse(b"# syntax=docker/dockerfile:1\n#check=skip=all\n# escape=`\nFROM a\n")
    assert dockerfile.directives == {"syntax": "docker/dockerfile:1", "check": "skip=all", "escape": "`"}
    assert dockerfile.escape == "`"
    assert parse(b"FROM a").escape == "\\"


# ---------------------------------------------------------------- stages


def test_stages_are_what_stands_between_froms():
    dockerfile = parse(
        b"ARG V=3\nFROM alpine:$V AS Build\nRUN a\nRUN b\nFROM --platform=$BUILDPLATFORM build as x.y-z_1\n"
        b"COPY --from=0 a b\nFROM scratch\n",
        "my.Dockerfile",
    )
    assert [(each.index, each.base, each.name, each.platform) for each in dockerfile.stages] == [
        (0, "alpine:$V", "build", ""),
        (1, "build", "x.y-z_1", "$BUILDPLATFORM"),
        (2, "scratch", "", ""),
    ]
    assert [[each.text for each in stage.instructions] for stage in dockerfile.stages] == [
        ["RUN a", "RUN b"],
        ["COPY --from=0 a b"],
        [],
    ]
    assert [each.arguments for each in dockerfile.arguments] == [["V=3"]]
    assert dockerfile.stages[1].instruction.first == 5
    assert dockerfile.filename == "my.Dockerfile"


# ---------------------------------------------------------------- flags and forms


@pytest.mark.parametrize(
    ("text", "flags", "rest"),
    [
        ("COPY --chown=a:b --chmod=u+x --from=x --link --parents a b", {}, "a b"),
        (
            "COPY --link=FALSE --exclude=*.md --exclude=$X a b",
            {"link": ["false"], "exclude": ["*.md", "$X"]},
            "a b",
        ),
        ('COPY --chown="a b" --chmod=6\\44 a b', {"chown": ["a b"], "chmod": ["644"]}, "a b"),
        ("COPY -- --chown=x b", {}, "--chown=x b"),
        (
            "ADD --checksum=sha256:00 --keep-git-dir=true --unpack=false a b",
            {"keep-git-dir": ["true"]},
            "a b",
        ),
        ("RUN --mount=type=cache,target=/a --mount=type=tmpfs,target=/b ls  -l", {}, "ls  -l"),
        ("RUN --network=none --security=sandbox ls", {"network": ["none"], "security": ["sandbox"]}, "ls"),
        ("RUN ls --network=none", {}, "ls --network=none"),
        ("HEALTHCHECK --start-interval=1s NONE", {"start-interval": ["1s"]}, "NONE"),
    ],
)
def test_flags_come_first(text, flags, rest):
    instruction = one(text)
    assert instruction.rest == rest
    assert {name: instruction.flags[name] for name in flags} == flags


def test_mounts_stay_in_order():
    instruction = one("RUN --mount=type=cache,target=/a --mount=type=secret,id='my id' ls")
    assert instruction.flags == {"mount": ["type=cache,target=/a", "type=secret,id=my id"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('RUN ["ls", "-l"]', ["ls", "-l"]),
        ('RUN --network=none ["ls"]', ["ls"]),
        ("CMD []", []),
        ('HEALTHCHECK --interval=5s cmd ["a", "b"]', ["a", "b"]),
        ('COPY ["a b", "/c d/"]', ["a b", "/c d/"]),
        ('CMD ["\\ud800", "\\ud83d\\ude00"]', ["\ufffd", "\U0001f600"]),
        ('RUN ["ls", "-l"', None),
        ("RUN ['ls']", None),
        ('RUN ["ls"] && id', None),
        ('USER ["a"]', None),
        ('ENV A=["a"]', None),
        ('MAINTAINER ["a"]', None),
    ],
)
def test_exec_form_is_a_json_array_and_nothing_else(text, words):
    assert one(text).words == words


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("ARG A B=\"x y\" C='z\\' D=a\\ b", ["A", 'B="x y"', "C='z\\'", "D=a\\ b"]),
        ("COPY a\t$B   /c/", ["a", "$B", "/c/"]),
        ('COPY "a b" c', ['"a', 'b"', "c"]),
        ("EXPOSE 80  443/tcp", ["80", "443/tcp"]),
        ('VOLUME ["/a b"]', ["/a b"]),
    ],
)
def test_arguments_are_words_that_nothing_is_taken_from(text, arguments):
    assert one(text).arguments == arguments


# ---------------------------------------------------------------- heredocs


def test_heredocs_follow_in_their_order():
    instruction = one('COPY <<one <<-"two" a.txt /x/\n1 $A\nindented\n\tone\none\n\t\t2\n\ttwo')
    assert [(each.name, each.content, each.expand) for each in instruction.heredocs] == [
        ("one", "1 $A\nindented\n\tone\n", True),
        ("two", "2\n", False),
    ]
    assert instruction.arguments == ["<<one", '<<-"two"', "a.txt", "/x/"]
    assert one('COPY <<"a name" /x\na name').arguments == ['<<"a name"', "/x"]


@pytest.mark.parametrize(
    ("word", "name", "expand"),
    [
        ("<<EOF", "EOF", True),
        ("<<'EOF'", "EOF", False),
        ('<<"E F"', "E F", False),
        ("<<E\\F", "EF", False),
        ("3<<E", "E", True),
    ],
)
def test_quoted_name_of_a_heredoc_keeps_variables(word, name, expand):
    [heredoc] = one(f"RUN cat {word}\n$x\n{name}").heredocs
    assert (heredoc.name, heredoc.expand, heredoc.content) == (name, expand, "$x\n")


@pytest.mark.parametrize(
    "line",
    [
        "RUN echo $((1<<2)) $((1 << 2)) 1 << x",
        "RUN cat <<<word",
        'RUN echo "<<EOF"',
        "RUN echo '<<EOF'",
        "RUN echo \\<<EOF",
        "RUN echo it's <<EOF",
        'RUN ["cat", "<<EOF"]',
        "ENV A=<<EOF",
        "CMD cat <<EOF",
    ],
)
def test_not_every_arrow_begins_a_heredoc(line):
    assert one(line).heredocs == []
    assert one(line).text == line


def test_heredoc_may_have_a_space_before_its_name():
    instruction = one("RUN cat << EOF && cat <<- 'E2'\n1\nEOF\n\t2\n\tE2\n")
    assert instruction.shell_line == "cat <<EOF && cat <<-'E2'\n1\nEOF\n2\nE2"


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("RUN <<EOF\nx=1\necho ${x}\\\n2\nEOF", "12\n"),
        ("RUN <<'EOF'\nx=1\necho $x\nEOF", "1\n"),
        ("RUN cat <<EOF\n$((1+1)) # no comment\nEOF", "2 # no comment\n"),
        ("RUN cat <<'EOF' ; echo end\n$x\nEOF", "$x\nend\n"),
        ("RUN cat <<-EOF\n\t\tindented\n\tEOF", "indented\n"),
        ("RUN cat <<A - <<B\n1\nA\n2\nB", "2\n"),
        ("RUN (cat <<A ; cat <<B )\n1\nA\n2\nB", "1\n2\n"),
        ("RUN cat \\\n<<EOF | \\\n tr a b\naaa\nEOF", "bbb\n"),
    ],
)
def test_shell_gets_the_heredocs_of_run(text, output):
    done = subprocess.run(["sh", "-c", one(text).shell_line], capture_output=True, check=True)
    assert done.stdout.decode() == output


def test_program_of_its_own_interpreter_is_told_apart():
    assert (
        one("RUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF").script == "#!/usr/bin/env python3\nprint(1)\n"
    )
    assert one("RUN <<EOF cat\n#!/bin/sh\nEOF").script is None
    assert one("RUN <<EOF <<EOG\nEOF\nEOG").script is None
    assert one("COPY <<EOF /x\n#!/bin/sh\nEOF").script is None


def test_content_that_is_no_text_comes_through():
    [heredoc] = parse(b"FROM a\nCOPY <<E /x\n\xff\x00\xc3\xa9\r\nE\n").stages[0].instructions[0].heredocs
    assert heredoc.content.encode("utf-8", "surrogateescape") == b"\xff\x00\xc3\xa9\r\n"


def test_bytes_that_are_no_text_are_replaced_in_an_instruction():
    assert parse(b"FROM a\nENV A=\xff\n").instructions[1].rest == "A=\ufffd"


# ---------------------------------------------------------------- triggers


def test_trigger_is_read_again_by_the_build_that_it_is_for():
    instruction = one("ONBUILD COPY --chown=a <<E /x\n$y\nE")
    assert (instruction.rest, instruction.last) == ("COPY --chown=a <<E /x\n$y\nE", 4)
    trigger = parse_instruction(instruction.rest)
    assert (trigger.name, trigger.flags, trigger.arguments) == ("COPY", {"chown": ["a"]}, ["<<E", "/x"])
    assert trigger.heredocs[0].content == "$y\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUN x", "chaining ONBUILD"),
        ("RUN a\nRUN b", "a single instruction"),
        ("", "a single instruction"),
        ("FOO \ud800", "unknown instruction: FOO"),
    ],
)
def test_trigger_of_a_strange_image_is_refused(text, reason):
    with pytest.raises(DockerfileError, match=re.escape(reason)) as refusal:
        parse_instruction(text)
    assert str(refusal.value).startswith("ONBUILD:1: ")


# ---------------------------------------------------------------- mistakes

F = "FROM scratch\n"
MISTAKES = [  # a Dockerfile, the line that is at fault, and the reason; Docker refuses these too
    ("", 1, "file with no instructions"),
    ("# only this\n\n", 3, "file with no instructions"),
    ("RUN ls\nFROM scratch", 1, "no build stage in current context; RUN has to come after FROM"),
    ("ARG A=1\n", 1, "no build stage in current context"),
    (F + "FOO bar", 2, "unknown instruction: FOO"),
    (F + "\nCOPPY a b", 3, "unknown instruction: COPPY; did you mean COPY?"),
    (F + "\\\n", 2, "a continuation of nothing"),
    (F + "= x", 2, "unknown instruction: ="),
    ("FROM", 1, "FROM requires either one or three arguments"),
    ("FROM a b", 1, "FROM requires either one or three arguments"),
    ("FROM a AS", 1, "FROM requires either one or three arguments"),
    ("FROM a IN b", 1, "FROM requires either one or three arguments"),
    ("FROM a AS b c", 1, "FROM requires either one or three arguments"),
    ("FROM a AS 1x", 1, 'invalid name for build stage: "1x"'),
    ("FROM a AS b/c", 1, 'invalid name for build stage: "b/c"'),
    ("FROM scratch AS a\nENV A=1\nFROM scratch AS A", 3, "a stage name already used"),
    ("FROM --platform a", 1, "missing a value on flag: platform"),
    ("FROM --plattform=x a", 1, "unknown flag: plattform; did you mean platform?"),
    (F + "COPY a", 2, "COPY requires at least two arguments, but only one was provided"),
    (F + "ADD", 2, "ADD requires at least two arguments, but none were provided"),
    (F + 'ADD ["a"]', 2, "ADD requires at least two arguments"),
    (F + "COPY --form=a b c", 2, "unknown flag: form; did you mean from?"),
    (F + "COPY --chown a b", 2, "missing a value on flag: chown"),
    (F + "COPY --from=a --from=b c d", 2, "duplicate flag specified: from"),
    (F + "ADD --from=x a b", 2, "unknown flag: from"),
    (F + "ENV --x=y A=b", 2, "unknown flag: x; ENV has no flags"),
    (F + "RUN --foo ls", 2, "unknown flag: foo; RUN has --mount, --network, --security"),
    (F + "CMD --foo", 2, "unknown flag: foo"),
    (F + "ENV", 2, "ENV requires at least one argument"),
    (F + "ENV A", 2, "ENV must have two arguments: A has no value"),
    (F + "ENV A=b \\\n  c", 2, 'can\'t find = in "c"'),
    (F + "ENV =b", 2, "ENV names can not be blank"),
    (F + "LABEL", 2, "LABEL requires at least one argument"),
    (F + 'LABEL "ab"', 2, "LABEL must have two arguments"),
    (F + "LABEL a=b =c", 2, "LABEL names can not be blank"),
    (F + "ARG", 2, "ARG requires at least one argument"),
    (F + "ARG =b", 2, "ARG names can not be blank"),
    (F + "CMD [1]", 2, "arrays must be comprised of strings only"),
    (F + 'RUN ["a", ["b"]]', 2, "arrays must be comprised of strings only"),
    (F + "VOLUME [null]", 2, "arrays must be comprised of strings only"),
    (F + "SHELL /bin/sh -c", 2, "SHELL requires the arguments to be in JSON form"),
    (F + "SHELL []", 2, "SHELL requires at least one argument"),
    (F + "VOLUME", 2, "VOLUME requires at least one argument"),
    (F + "VOLUME []", 2, "VOLUME requires at least one argument"),
    (F + 'VOLUME ["/a", " "]', 2, "VOLUME specified can not be an empty string"),
    (F + "EXPOSE", 2, "EXPOSE requires at least one argument"),
    (F + "USER", 2, "USER requires exactly one argument"),
    (F + "WORKDIR", 2, "WORKDIR requires exactly one argument"),
    (F + "MAINTAINER", 2, "MAINTAINER requires exactly one argument"),
    (F + "STOPSIGNAL", 2, "STOPSIGNAL requires exactly one argument"),
    (F + "ONBUILD", 2, "ONBUILD requires at least one argument"),
    (F + "ONBUILD ONBUILD RUN ls", 2, "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
    (F + "ONBUILD FROM x", 2, "FROM isn't allowed as an ONBUILD trigger"),
    (F + "onbuild maintainer x", 2, "MAINTAINER isn't allowed as an ONBUILD trigger"),
    (F + "HEALTHCHECK", 2, "HEALTHCHECK requires at least one argument"),
    (F + "HEALTHCHECK CMD", 2, "missing command after HEALTHCHECK CMD"),
    (F + "HEALTHCHECK CMD []", 2, "missing command after HEALTHCHECK CMD"),
    (F + "HEALTHCHECK ls", 2, 'unknown type "LS" in HEALTHCHECK (try CMD)'),
    (F + "HEALTHCHECK NONE ls", 2, "HEALTHCHECK NONE takes no arguments"),
    (F + "HEALTHCHECK --interval=5 CMD ls", 2, '--interval: missing unit in duration "5"'),
    (F + "HEALTHCHECK --timeout=soon CMD ls", 2, '--timeout: invalid duration "soon"'),
    (F + "HEALTHCHECK --interval=1us CMD ls", 2, 'interval "interval" cannot be less than 1ms'),
    (F + "HEALTHCHECK --retries=0 CMD ls", 2, "--retries must be at least 1 (not 0)"),
    (F + "HEALTHCHECK --retries=x CMD ls", 2, '--retries "x" is not a number'),
    ("# escape=x\n" + F, 1, "invalid escape token 'x'"),
    ("# escape=`\n# escape=\\\n" + F, 2, "only one escape parser directive can be used"),
    ("\x7fELF\x02\x01\x01", 1, "unknown instruction: "),
]
NEWER_MISTAKES = [  # these Docker 20.10 does not know, or finds in a later build, or not at all
    (F + "RUN", 2, "RUN requires at least one argument"),
    (F + "RUN []", 2, "RUN requires at least one argument"),
    (F + "ONBUILD FOO", 2, "unknown instruction: FOO"),
    (F + "ONBUILD COPY a", 2, "COPY requires at least two arguments"),
    (F + "ONBUILD RUN <<EOF\nx", 2, "unterminated heredoc; a line that is only EOF has to follow"),
    (F + "RUN <<EOF\nx\n EOF", 2, "unterminated heredoc; a line that is only EOF has to follow"),
    (F + "COPY <<A <<B /x\nA\nA", 2, "unterminated heredoc; a line that is only B has to follow"),
    (F + "COPY a <<E\nE\n", 2, "COPY cannot accept a heredoc as a destination"),
    (F + "COPY --link=maybe a b", 2, "expecting boolean value for flag link, not: maybe"),
    (F + "COPY --link= a b", 2, "missing a value on flag: link"),
    (F + "RUN --network=all ls", 2, "--network=all is not one of default, none, host"),
    (F + "RUN --security=low ls", 2, "--security=low is not one of sandbox, insecure"),
    (F + "RUN --mount ls", 2, "missing a value on flag: mount"),
    (F + "ARG --x=y A", 2, "unknown flag: x"),
    (F + "RUN a\0b", 2, "a NUL byte in an instruction"),
    (F + "RUN <<E\n\0\nE\n", 2, "a NUL byte in a command"),
    (F + 'CMD ["a\\u0000"]', 2, "a NUL character in a JSON array"),
    (F + "CMD " + "[" * 100_000, 2, "arrays must be comprised of strings only"),
]


@pytest.mark.parametrize(("text", "line", "reason"), MISTAKES + NEWER_MISTAKES)
def test_mistake_is_told_with_file_line_and_reason(text, line, reason):
    with pytest.raises(InvalidArgument) as refusal:
        parse(text.encode(), "path/Dockerfile")
    first, *source = str(refusal.value).split("\n    ")
    assert first.startswith(f"path/Dockerfile:{line}: ")
    assert reason in first
    shown = text.split("\n")[line - 1][:200].strip()
    assert source == ([shown] if shown else [])
    assert (refusal.value.line, refusal.value.filename) == (line, "path/Dockerfile")


@pytest.mark.peer
@pytest.mark.parametrize("text", [text for text, _, _ in MISTAKES])
def test_docker_refuses_it_too(docker, text):
    assert docker_build(text.encode()).returncode == 1


def test_kinds_of_mistakes_are_many():
    assert len({reason for _, _, reason in MISTAKES + NEWER_MISTAKES}) > 60
