"""Whatever bytes a Dockerfile has, reading it ends soon, in a Dockerfile or in an error that names a line."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicontainer import words
from minicontainer.build.dockerfile import Dockerfile, DockerfileError, parse, parse_instruction
from minicontainer.errors import InvalidArgument
from minicontainer.images import changes

QUICK = settings(max_examples=150, deadline=1000, suppress_health_check=list(HealthCheck))
NAMES = (
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL "
    "USER VOLUME WORKDIR from Run oNbUiLd FOO"
).split()
PIECES = [  # what a Dockerfile has a use for, and so has most to say about
    *(
        "a",
        "b/c",
        "/d",
        "A=1",
        "=",
        "NONE",
        "CMD",
        "AS",
        "scratch",
        "80/udp",
        "8000-8002",
        "é",
        "\ud7ff",
        "\x85",
    ),
    *("'", '"', "\\", "`", "$", "{", "}", "[", "]", ",", ":", "#", "%", "/", "*", "?", "!", "-", "--", "=x"),
    *("$A", "${A}", "${A:-b}", "${A:?}", "${A#*", "${A/b/c}", "${${", '["a", "b"]', '["\\u0000"]', "[1]"),
    *("--from=x", "--chown=1:2", "--interval=5s", "--retries=3", "--mount=type=cache", "--link", "--"),
    *(
        "<<EOF",
        "<<-'E F'",
        '<<"',
        "<< EOF",
        "EOF",
        "\nEOF\n",
        "\nE F\n",
        "\\\n",
        "`\n",
        "\n# c\n",
        "\n\n",
        "\r\n",
    ),
    *(" ", "  ", "\t", "\x0b", "\0", "\ufeff", "# escape=`\n", "# syntax=x\n"),
]
line = st.builds(
    lambda name, pieces, end: name + " " + "".join(pieces) + end,
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12),
    st.sampled_from(["\n", "\\\n", "\r\n", ""]),
)
shaped = st.builds(
    lambda head, lines: head + "".join(lines), st.sampled_from(["", "FROM a\n"]), st.lists(line, max_size=6)
)


def read(text: bytes) -> Dockerfile | None:
    """Read a Dockerfile, or check that the refusal is one that its author can use."""
    try:
        return parse(text, "F")
    except DockerfileError as error:
        number = int(str(error).split(":")[1])
        assert str(error).startswith(f"F:{number}: ")
        assert 1 <= number <= text.count(b"\n") + 1
        assert error.reason.strip()
        str(error).encode()  # it can be printed
        return None


@QUICK
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(text):
    read(text)
    read(b"FROM a\n" + text)


@QUICK
@given(shaped)
def test_what_looks_like_a_dockerfile_is_read_or_refused_and_carried_out(text):
    dockerfile = read(text.encode("utf-8", "surrogatepass"))
    config: dict[str, object] = {}
    for instruction in dockerfile.instructions if dockerfile else ():
        assert text.count("\n") + 1 >= instruction.last >= instruction.first >= 1
        carry_out(config, instruction, dockerfile.escape)
    json.dumps(config, ensure_ascii=False).encode()  # as the image's configuration is written


def carry_out(config, instruction, escape):
    """Do what the builder does with an instruction."""
    variables = {"A": "b c", "é": ""}
    try:
        if instruction.name in changes.INSTRUCTIONS:
            said = changes.change(
                config,
                instruction.name,
                instruction.rest,
                words=instruction.words,
                flags=instruction.flags,
                variables=variables,
                escape=escape,
            )
            assert said.startswith(f"{instruction.name} ")
            said.encode()
        for word in instruction.arguments:
            words.expand(word, variables, escape)
        for heredoc in instruction.heredocs:
            words.substitute(heredoc.content, variables)
        if instruction.name == "ONBUILD":
            assert parse_instruction(instruction.rest).name in NAMES
    except InvalidArgument as error:
        str(error).encode()


@QUICK
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=20).map("".join))
def test_any_word_is_expanded_or_refused(text):
    variables = {"A": "b'\"$ c*?"}
    for escape in "\\`":
        try:
            words.expand(text, variables, escape)
            words.split(text, variables, escape)
        except InvalidArgument as error:
            assert "failed to process" in str(error)


@QUICK
@given(st.text())
def test_quoting_and_unquoting_gives_the_text_back(text):
    assert words.unquote("'" + text.replace("'", "'\"'\"'") + "'") == text
    assert words.expand("".join(f"\\{char}" for char in text), {}) == text


@QUICK
@given(st.text())
def test_trigger_of_any_image_is_read_or_refused(text):
    with contextlib.suppress(DockerfileError):
        parse_instruction(text)


@pytest.mark.parametrize(
    "text",
    [
        b"".join(b"FROM a AS s%d\n" % number for number in range(10_000)),
        b"FROM a\nRUN a" + b" \\\n b" * 50_000,
        b"FROM a\n" + b"RUN << E\n" * 5_000,
        b"FROM a\n" + b"RUN <<E\nE\n" * 5_000,
        b"FROM a\nRUN " + b"<<E " * 2_000 + b"\n" + b"E\n" * 2_000,
        b"FROM a\nENV A=" + b"${A:-" * 20_000,
        b"FROM a\nENV " + b"A=1 " * 20_000,
        b"FROM a\nCMD " + b"[" * 200_000,
        b"FROM a\nCMD [" + b'"a",' * 50_000 + b'"b"]',
        b"FROM a\n" + b"ONBUILD " * 50_000,
        b"FROM a\n" + b"x" * 500_000,
        b"FROM a\nRUN " + b"--mount=a " * 10_000 + b"x",
        b"\\\n" * 100_000,
        b"#" * 300_000,
        b"\n" * 300_000,
        b"\0" * 300_000,
    ],
    ids=range(16),
)
def test_a_large_file_takes_no_long_time(text):
    begun = time.monotonic()
    dockerfile = read(text)
    for instruction in dockerfile.instructions[:50] if dockerfile else ():
        carry_out({}, instruction, "\\")
    assert time.monotonic() - begun < 5
