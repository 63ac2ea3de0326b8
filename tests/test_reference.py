"""What people may write for an image, and what it is short for; Docker decides what is right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicontainer.errors import InvalidArgument
from minicontainer.images.reference import Reference

DIGEST = "sha256:" + "0123456789abcdef" * 4

FULL = [
    ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
    ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
    ("ccarmelo/goweb", "docker.io/ccarmelo/goweb:latest", "ccarmelo/goweb:latest"),
    ("a/b/c:t", "docker.io/a/b/c:t", "a/b/c:t"),
    ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
    ("docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
    ("index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
    ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
    ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
    ("quay.io/coreos/etcd", "quay.io/coreos/etcd:latest", "quay.io/coreos/etcd:latest"),
    ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
    (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", f"alpine@{DIGEST}"),
    (f"alpine:3@{DIGEST}", f"docker.io/library/alpine:3@{DIGEST}", f"alpine:3@{DIGEST}"),
    ("[fd00::1]:5000/app", "[fd00::1]:5000/app:latest", "[fd00::1]:5000/app:latest"),
]


@pytest.mark.parametrize(("text", "full", "familiar"), FULL, ids=[each[0] for each in FULL])
def test_short_forms_mean_what_they_mean_to_docker(text, full, familiar):
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (full, familiar)
    assert Reference.parse(familiar) == Reference.parse(full) == reference


# Whether Docker takes it is asked of Docker itself below.
VALID = """
alpine a a1 a.b a_b a__b a-b a--b a---b a.b_c-d 1 foo/bar foo/bar/baz:1.2.3_4-x x:_tag x:T.A-G
localhost:5000/a host.name:1/a/b:c 10.0.0.1/a example.com/a.b FOO.bar/baz a-b.c-d/e
"""
INVALID = """
Alpine aLpine foo/Bar .a a. -a a- _a a_ a..b a___b a._b a_.b a-.b a.-b a-_b a_-b /a a/ a//b a: :a a:b:c a:-t a:.t
a:t/b:c a@b a@sha256:0 a@sha256:zz a@md5:00 -host.io/a host-.io/a host..io/a :5000/a host:/a host:port/a
a\u0131 a:\u212a a%20b a+b a:t+1 a~ ../a a/../b sha256: http://host/a *
"""
VALID = [*VALID.split(), f"a@{DIGEST}", "a:" + "t" * 128, "a" * 200]
INVALID = [
    *INVALID.split(),
    "",
    " ",
    "a b",
    " a",
    "a\n",
    "a:t\n",
    "a:" + "t" * 129,
    "a" * 256,
    f"a@{DIGEST.upper()}",
]


@pytest.mark.parametrize("text", VALID)
def test_reference_that_docker_takes_is_taken(text):
    Reference.parse(text)


@pytest.mark.parametrize("text", INVALID, ids=repr)
def test_reference_that_docker_refuses_is_refused_naming_it(text):
    with pytest.raises(InvalidArgument, match=r"^invalid reference") as refusal:
        Reference.parse(text)
    assert repr(text)[1:20].rstrip("'\"") in str(refusal.value)


def test_docker_agrees_about_all_of_them(docker):
    def takes(text: str) -> bool:
        answer = docker("tag", "--", "no-such-image", text).stderr  # what it says of the image comes later
        return "no such image" in answer.lower() or "refusing to create a tag with a digest" in answer

    assert [text for text in VALID if not takes(text)] == []
    assert [text for text in INVALID if text and takes(text)] == []


def test_uppercase_letters_are_named_as_the_reason():
    with pytest.raises(
        InvalidArgument, match="invalid reference 'Alpine': repository name must be lowercase"
    ):
        Reference.parse("Alpine")


def test_parts_can_be_asked_for():
    reference = Reference.parse(f"quay.io/coreos/etcd:v3@{DIGEST}")
    assert (reference.registry, reference.path, reference.tag, reference.digest) == (
        "quay.io",
        "coreos/etcd",
        "v3",
        DIGEST,
    )
    assert reference.repository == "quay.io/coreos/etcd"
    assert Reference.parse("ccarmelo/goweb").familiar_repository == "ccarmelo/goweb"
    assert Reference.parse("alpine").familiar_repository == "alpine"


@given(st.text(alphabet="abAB01._-:/@[]%\u212a", max_size=30))
def test_whatever_is_typed_is_either_refused_or_means_the_same_when_written_out(text):
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference
    assert hash(Reference.parse(str(reference))) == hash(reference)
