"""Variables, quotes and escapes of a Dockerfile come to what Docker, or a shell, makes of them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time

import pytest
from conftest import DOCKER

from minicontainer.errors import InvalidArgument
from minicontainer.words import expand, quote, split, substitute, unquote

VARIABLES = {"x": "foobarbaz", "empty": "", "two": "a  b", "one1": "1", "_u": "under", "é": "accent"}

KNOWN_TO_DOCKER = [  # the builder of Docker 20.10; words without bare spaces
    "plain",
    "$x",
    "${x}",
    "${x}_y",
    "$x$one1",
    "$x-y",
    "$_u",
    "$one1",
    "$é",
    "$nothing",
    "a${nothing}b",
    "$",
    "a$",
    "$$",
    "$1",
    "$12x",
    "$@$*$#$?$!",
    "$/",
    "$%",
    "${x:-y}",
    "${nothing:-y}",
    "${empty:-y}",
    "${x:+y}",
    "${nothing:+y}",
    "${empty:+y}",
    "${x:?y}",
    "${nothing:-${x}}",
    "${nothing:-${alsonothing:-deep}}",
    "${nothing:-$x}",
    "${nothing:-}",
    '${nothing:-"q"}',
    "${nothing:-'$x'}",
    '"$two"',
    '"a ${two} b"',
    "'$x'",
    "'a\\'",
    "'a\"b'",
    '"a\'b"',
    '"a\\"b"',
    '"a\\nb"',
    '"\\$x"',
    '"a\\\\b"',
    "a\\nb",
    "a\\ b",
    "\\$x",
    "\\${x}",
    "\\\\$x",
    "\\'",
    "a'b'c\"d\"e",
    "''",
    '""',
    "a''b",
    "${x:-a}}",
    "}",
    "{$x}",
    "~",
    "*",
    "`ls`",
    "$(ls)",
]


def docker_build(text: str) -> dict:
    """The configuration of the image that Docker makes of a Dockerfile."""
    done = subprocess.run(
        [DOCKER, "build", "-q", "--force-rm", "-"],
        input=text.encode(),
        env={"DOCKER_BUILDKIT": "0", **os.environ},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    image = done.stdout.decode().strip()
    shown = subprocess.run([DOCKER, "image", "inspect", image], capture_output=True, check=True).stdout
    subprocess.run([DOCKER, "rmi", image], check=False, capture_output=True)
    return json.loads(shown)[0]["Config"]


@pytest.fixture(scope="module")
def of_docker(docker) -> dict[str, str]:
    """What Docker makes of each word: one build sets them all, as labels."""
    env = " ".join(f"{name}={shlex.quote(value) or repr('')}" for name, value in VARIABLES.items())
    labels = "".join(f" \\\n  w{number}={word}" for number, word in enumerate(KNOWN_TO_DOCKER))
    config = docker_build(f"FROM scratch\nENV {env}\nLABEL{labels}\n")
    return {word: config["Labels"][f"w{number}"] for number, word in enumerate(KNOWN_TO_DOCKER)}


@pytest.mark.peer
@pytest.mark.parametrize("word", KNOWN_TO_DOCKER)
def test_word_is_what_docker_makes_of_it(of_docker, word):
    assert expand(word, VARIABLES) == of_docker[word]


OF_A_SHELL = [
    "${x-y}",
    "${empty-y}",
    "${nothing-y}",
    "${empty+y}",
    "${nothing+y}",
    "${x#f}",
    "${x#*o}",
    "${x##*o}",
    "${x#f*b}",
    "${x##f*b}",
    "${x#z}",
    "${x#}",
    "${x%z}",
    "${x%b*}",
    "${x%%b*}",
    "${x%%?a?}",
    "${x#???}",
    "${x#*}",
    "${x##*}",
    "${x%*}",
    "${x%%*}",
    "${x/ba/fo}",
    "${x//ba/fo}",
    "${x//o/}",
    "${x/o*b/-}",
    "${x//b?/[]}",
    "${x//*/all}",
    "${x/nothing/y}",
    "${x/o/$one1}",
    "${nothing#x}",
    "${nothing/x/y}",
    "${two#a }b",
    "${x#$one1}",
    "${x#${nothing:-f}}",
    '"${x%%ba*}"',
]


@pytest.mark.parametrize("word", OF_A_SHELL)
def test_word_is_what_bash_makes_of_it(word):
    bash = shutil.which("bash")
    assert bash, "every machine that builds images has a bash"
    env = {name: value for name, value in VARIABLES.items() if name.isascii()}
    made = subprocess.run([bash, "-c", f"printf %s {word}"], env=env, check=True, capture_output=True)
    if "two" in word:  # bash cuts there, Docker does not
        made = subprocess.run([bash, "-c", f'printf %s "{word}"'], env=env, check=True, capture_output=True)
    assert expand(word, VARIABLES) == made.stdout.decode()


def test_escaped_wildcards_stand_for_themselves():
    variables = {"v": "a*b*c?d\\e/f}g"}
    assert expand(r"${v#a\*}", variables) == "b*c?d\\e/f}g"
    assert expand(r"${v//\*/-}", variables) == "a-b-c?d\\e/f}g"
    assert expand(r"${v/\?/!}", variables) == "a*b*c!d\\e/f}g"
    assert expand(r"${v/\//:}", variables) == "a*b*c?d\\e:f}g"
    assert expand(r"${v%%\}*}", variables) == "a*b*c?d\\e/f"
    assert expand(r"${v##*\\}", variables) == "e/f}g"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80 443", ["80", "443"]),
        ("$two", ["a", "b"]),
        ('"$two"', ["a  b"]),
        ("x$two", ["xa", "b"]),
        ("${nothing:-1 2}", ["1", "2"]),
        ("a\\ b", ["a b"]),
        ("'a b' c", ["a b", "c"]),
        ("$nothing", []),
        ("''", []),
        ("", []),
    ],
)
def test_text_is_cut_at_spaces_that_are_not_quoted(text, expected):
    assert split(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a`$x", "a$x"), ("c:\\dir", "c:\\dir"), ("a` b", "a b"), ('"`"\\n"', '"\\n'), ("``", "`")],
)
def test_another_escape_character_leaves_the_backslash_alone(text, expected):
    assert expand(text, {"x": "no"}, "`") == expected


def test_quotes_in_a_heredoc_are_part_of_the_file():
    text = "a=\"$x\" b='$x' c=\\$x d=\\\\ e=it's\n"
    assert substitute(text, {"x": "1"}) == "a=\"1\" b='1' c=$x d=\\ e=it's\n"


def test_unquoting_replaces_nothing():
    assert unquote("\"$x\"'y'\\z${q") == "$xyz${q"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${x", "syntax error: missing '}'"),
        ("${x:", "syntax error: missing '}'"),
        ("${x:-y", "syntax error: missing '}'"),
        ("a${", "syntax error: missing '}'"),
        ("${}", "bad substitution"),
        ("${{x}}", "bad substitution"),
        ("${:-x}", "bad substitution"),
        ("${x:y}", "unsupported modifier (:y) in substitution"),
        ("${x!}", "unsupported modifier (!) in substitution"),
        ("${x y}", "unsupported modifier ( ) in substitution"),
        ("${nothing?}", "nothing: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${nothing:?set it with --build-arg}", "nothing: set it with --build-arg"),
        ("${x/a}", "missing '/'"),
        ("${x/a/b", "missing '}'"),
        (r"${x#\a}", r"invalid escape '\a'"),
        ('"a', "unexpected end of statement while looking for matching double-quote"),
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ("${x:-'}", "single-quote"),
        ("${a:-" * 500, "more than 100 variables inside each other"),
    ],
)
def test_what_cannot_be_expanded_is_refused_quoting_it(text, reason):
    with pytest.raises(InvalidArgument) as refusal:
        expand(text, VARIABLES)
    assert str(refusal.value).startswith(f"failed to process {quote(text)}: ")
    assert reason in str(refusal.value)


def test_no_pattern_takes_long():
    begun = time.monotonic()
    value = {"v": "a" * 20_000}
    assert expand("${v##" + "*a" * 20 + "b}", value) == value["v"]
    assert expand("${v//" + "*" * 50 + "/x}", value) == "x"
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", '"a b"'),
        ('say "hi"\\', '"say \\"hi\\"\\\\"'),
        ("é\x01\t\n\x7f", '"é\\x01\\t\\n\\x7f"'),
        ("\u200b\U000e0001", '"\\u200b\\U000e0001"'),
    ],
)
def test_text_is_quoted_as_go_does(text, expected):
    assert quote(text) == expected
