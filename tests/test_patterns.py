"""Wildcards, as Go's filepath.Match has them; the cases are those that its documentation leads to."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicontainer.build import patterns
from minicontainer.errors import InvalidArgument


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("abc", "abc", True),
        ("abc", "abcd", False),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "abc", True),
        ("*", "a/b", False),
        ("*c", "abc", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("*x", "xxx", True),
        ("**", "a/b", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("ab[!c]", "ab!", True),
        ("[a-ce-g]", "f", True),
        ("[z-a]", "b", False),
        ("[^z-a]", "b", True),
        ("[^z-a]", "/", True),
        ("a[/]b", "a/b", True),
        ("a?b", "a/b", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("[a-ζ]*", "δ", True),
        ("*[a-ζ]", "A", False),
        ("a\\*b", "a*b", True),
        ("a\\*b", "acb", False),
        ("\\a", "a", True),
        ("[\\]a]", "]", True),
        ("[\\-]", "-", True),
        ("[x\\-]", "-", True),
        ("[x\\-]", "z", False),
        ("[\\-x]", "x", True),
        ("[[]x", "[x", True),
        ("[*?]", "?", True),
        (".", "a", False),
        ("a.b", "axb", False),
        ("(a|b)+{2}$", "(a|b)+{2}$", True),
        ("a?b", "a\nb", True),
        ("a*b", "a\nb", True),
        ("a?", "a\udcff", True),
        ("*\udcff", "a\udcff", True),
    ],
)
def test_match(pattern: str, name: str, matches: bool) -> None:
    assert patterns.match(pattern, name) is matches


@pytest.mark.parametrize(
    "pattern",
    "[ [] [^] [^]] [^ []a] [-] [-x] [x- [x-] [a-b-c] [a a[ a[b *[ ?[^ \\ a\\ [\\ [a\\ [a-\\ [a-]".split(),
)
def test_a_bad_pattern_is_one_whatever_the_name(pattern: str) -> None:
    for name in ("", "a", "zzz"):
        with pytest.raises(InvalidArgument, match="syntax error in pattern"):
            patterns.match(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "has"),
    [
        ("a", False),
        ("a*", True),
        ("?", True),
        ("[", True),
        ("\\*", False),
        ("\\\\*", True),
        ("a\\[b]", False),
        ("", False),
    ],
)
def test_wildcards_are_seen(pattern: str, has: bool) -> None:
    assert patterns.has_wildcards(pattern) is has


@given(st.text(alphabet="a*?[]\\^-/b"))
def test_a_quoted_name_matches_itself_alone(name: str) -> None:
    assert patterns.match(patterns.quote(name), name)
    assert not patterns.match(patterns.quote(name), name + "a")
    assert not patterns.has_wildcards(patterns.quote(name))


def naive(pattern: str, name: str) -> bool:
    """The same without a regular expression, for patterns without classes: try every way."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return naive(pattern[1:], name) or (name[:1] not in ("", "/") and naive(pattern, name[1:]))
    if pattern[0] == "?":
        return name[:1] not in ("", "/") and naive(pattern[1:], name[1:])
    literal = pattern[1] if pattern[0] == "\\" else pattern[0]
    rest = pattern[2:] if pattern[0] == "\\" else pattern[1:]
    return name[:1] == literal and naive(rest, name[1:])


WORDS = st.lists(st.sampled_from(["a", "b", "*", "?", "/", "\\*", "ab"]), max_size=9).map("".join)
NAMES = st.text(alphabet="ab/*", max_size=9)


@given(WORDS, NAMES)
def test_match_agrees_with_trying_every_way(pattern: str, name: str) -> None:
    assert patterns.match(pattern, name) == naive(pattern, name)


def dockers(pattern: str) -> re.Pattern[str]:
    """What Docker turns a line of .dockerignore into (moby, pkg/fileutils)."""
    expression = ""
    while pattern:
        if found := re.match(r"\*\*/?$", pattern):
            expression += ".*"
        elif found := re.match(r"\*\*/?", pattern):
            expression += "(.*/)?"
        elif found := re.match(r"\*", pattern):
            expression += "[^/]*"
        elif found := re.match(r"\?", pattern):
            expression += "[^/]"
        else:
            found = re.match(r"\\?.", pattern)
            expression += re.escape(found[0][-1])
        pattern = pattern[found.end() :]
    return re.compile(expression)


PATHS = st.lists(st.text(alphabet="ab", min_size=1, max_size=3), min_size=1, max_size=6).map("/".join)
IGNORED = st.lists(
    st.sampled_from(["a", "b", "*", "?", "/", "/**/", "**/", "**", "/*", "a*b", "*a*/"]), max_size=7
).map("".join)


@given(IGNORED, st.lists(PATHS, min_size=5, max_size=20))
def test_ignore_patterns_agree_with_dockers_expression(pattern: str, paths: list[str]) -> None:
    ours, theirs = patterns.compile_ignore(pattern), dockers(pattern)
    for path in paths:
        assert bool(ours.fullmatch(path)) == bool(theirs.fullmatch(path)), (pattern, path)


@pytest.mark.parametrize("pattern", ["*a" * 40 + "*b", "a*" * 40 + "b", "?*" * 40 + "/"])
def test_no_pattern_takes_long(pattern: str) -> None:
    started = time.process_time()
    assert not patterns.match(pattern, "a" * 250)
    assert not patterns.compile_ignore(pattern).fullmatch("a" * 250)
    assert time.process_time() - started < 1
