"""Registries that are slow, broken or hostile: what can be had is had, and nothing else gets into the store."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator

import pytest
from registries import CONFIG, INDEX, LAYER, MANIFEST, Fake, Handler, archive, digest_of, fake

from minicontainer.errors import Error, IntegrityError, InvalidArgument, NotFound, Unsupported
from minicontainer.images.reference import Reference
from minicontainer.images.registry import client, hosts, transport
from minicontainer.images.registry.auth import Denied
from minicontainer.images.registry.pull import Pulled, pull, pull_all
from minicontainer.images.registry.transport import Unreachable
from minicontainer.images.store import Store

BIG = os.urandom(3 << 20)  # does not get smaller by packing


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Short pauses, and nobody's logins."""
    monkeypatch.setattr(transport, "PAUSES", (0.01, 0.02, 0.03))
    monkeypatch.setattr(transport, "READ_SECONDS", 0.5)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.delenv(hosts.MIRROR, raising=False)


@pytest.fixture
def server() -> Iterator[Fake]:
    with fake() as server:
        yield server


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(str(tmp_path / "root"))


def get(store: Store, server: Fake, name: str = "app", **how: str) -> Pulled:
    return pull(store, Reference.parse(f"{server.name}/{name}"), **how)


def content(store: Store, pulled: Pulled, name: str) -> bytes:
    """A file of the image, of the highest layer that has it."""
    for directory in store.layer_directories(pulled.image):
        path = pathlib.Path(directory, name)
        if path.exists():
            return path.read_bytes()
    raise AssertionError(f"no {name}")


def in_store(store: Store) -> list[str]:
    """The blobs and layers that are there, and whatever else is not a lock."""
    found = []
    for directory in (store.blobs_path, store.layers_path):
        for place, directories, names in os.walk(directory):
            found += [os.path.join(place, name) for name in names]
            found += [os.path.join(place, name) for name in directories if name != "sha256"]
    return found


def refused(store: Store, server: Fake, error: type[Exception], *culprits: str, **how: str) -> str:
    """Pull what must be refused, with a message that has the culprits; nothing of it may be left."""
    with pytest.raises(error) as caught:
        get(store, server, **how)
    for culprit in culprits:
        assert culprit in str(caught.value), caught.value
    assert in_store(store) == []
    assert store.images() == []
    return str(caught.value)


# ------------------------------------------------------------------ broken lines


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_download_goes_on_where_it_broke(store: Store, server: Fake, ranges: bool) -> None:
    server.knows_ranges = ranges
    manifest = server.put_image(archive(big=BIG))
    layer = manifest["layers"][0]["digest"]
    server.arrange(
        f"GET .*{layer}", lambda h: h.cut(1_000_000), lambda h: h.cut(1_500_000 if not ranges else 500_000)
    )
    pulled = get(store, server)
    assert content(store, pulled, "big") == BIG
    asked = [headers.get("Range") for _, _, headers in server.asked(f"GET .*{layer}")]
    assert len(asked) == 3
    assert asked[0] is None
    starts = [int(each.removeprefix("bytes=").removesuffix("-")) for each in asked[1:]]
    assert 0 < starts[0] <= 1_000_000
    assert starts[0] < starts[1] <= 1_500_000


def test_a_line_that_breaks_every_time_is_given_up(store: Store, server: Fake) -> None:
    layer = server.put_image(archive(big=BIG))["layers"][0]["digest"]
    server.arrange(f"GET .*{layer}", *[lambda h: h.cut(1000)] * 50)
    refused(store, server, Unreachable, server.name, layer, "bytes")
    assert len(server.asked(f"GET .*{layer}")) < 10


def test_another_part_than_the_one_asked_for_is_refused(store: Store, server: Fake) -> None:
    layer = server.put_image(archive(big=BIG))["layers"][0]
    wrong = {"Content-Range": f"bytes 0-{layer['size'] - 1}/{layer['size']}"}
    answer = server.blobs[layer["digest"]]
    server.arrange(
        f"GET .*{layer['digest']}", lambda h: h.cut(1_000_000), lambda h: h.send(206, answer, **wrong)
    )
    refused(store, server, Unreachable, layer["digest"])


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(store: Store, server: Fake, status: int) -> None:
    server.put_image(archive(a="1"))
    busy = [lambda h: h.send(status), lambda h: h.send(status, **{"Retry-After": "0"})]
    for what in ("GET /v2/$", "GET .*/manifests/", "GET .*/blobs/"):
        server.arrange(what, *busy)
    assert content(store, get(store, server), "a") == b"1"
    assert len(server.asked("GET .*/manifests/")) == 3


def test_a_server_that_wants_us_to_wait_for_hours_has_said_no(store: Store, server: Fake) -> None:
    server.put_image(archive(a="1"))
    limit = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit"}]}'
    server.arrange("GET .*/manifests/", *[lambda h: h.send(429, limit, **{"Retry-After": "3600"})] * 5)
    start = time.monotonic()
    refused(store, server, Error, "pull rate limit", "429")
    assert time.monotonic() - start < 5
    assert len(server.asked("GET .*/manifests/")) == 1


def test_a_server_that_stays_busy_is_given_up_with_its_own_words(store: Store, server: Fake) -> None:
    server.put_image(archive(a="1"))
    said = b'{"errors": [{"message": "closed for repairs"}]}'
    server.arrange("GET .*/manifests/", *[lambda h: h.send(503, said)] * 20)
    refused(store, server, Error, "closed for repairs", "503", server.name)
    assert len(server.asked("GET .*/manifests/")) == len(transport.PAUSES) + 1


def test_a_server_that_says_nothing_is_not_waited_for(store: Store, server: Fake) -> None:
    server.put_image(archive(a="1"))
    server.arrange("GET .*/manifests/", *[lambda h: time.sleep(1.5)] * 20)
    start = time.monotonic()
    refused(store, server, Unreachable, server.name, "in time")
    assert time.monotonic() - start < 6


def test_a_server_that_stops_in_the_middle_is_not_waited_for(store: Store, server: Fake) -> None:
    manifest = server.put_image(archive(big=BIG))

    def stall(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(manifest["layers"][0]["size"]))
        handler.end_headers()
        handler.wfile.write(b"some")
        handler.wfile.flush()
        time.sleep(1.5)
        handler.close_connection = True

    server.arrange(f"GET .*{manifest['layers'][0]['digest']}", *[stall] * 20)
    start = time.monotonic()
    refused(store, server, Unreachable, server.name, "in time")
    assert time.monotonic() - start < 6


def test_where_nobody_listens(store: Store) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{nobody.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(Unreachable, match=f"{name} cannot be reached: connection refused"):
            pull(store, Reference.parse(f"{name}/app"))
    assert time.monotonic() - start < 2


def test_what_answers_and_is_no_registry(store: Store, server: Fake) -> None:
    server.arrange("GET /v2/$", lambda h: h.send(404, b"<html>"))
    refused(store, server, Unreachable, server.name, "no registry")


def test_one_bad_layer_ends_the_others(store: Store, server: Fake) -> None:
    """The error of the first is told, and what others have brought so far is not kept."""
    manifest = server.put_image(*[archive(**{f"f{number}": BIG[number:]}) for number in range(6)])
    wrong = manifest["layers"][1]
    server.blobs[wrong["digest"]] = BIG[: wrong["size"]].ljust(wrong["size"], b"x")
    refused(store, server, IntegrityError, wrong["digest"], digest_of(server.blobs[wrong["digest"]]))


# ------------------------------------------------------------------ bytes that are not what they should be


def test_a_blob_with_another_digest(store: Store, server: Fake) -> None:
    manifest = server.put_image(archive(a="1"))
    layer = manifest["layers"][0]
    server.blobs[layer["digest"]] = b"?" * layer["size"]
    refused(store, server, IntegrityError, layer["digest"], digest_of(b"?" * layer["size"]))


def test_a_configuration_with_another_digest(store: Store, server: Fake) -> None:
    config = server.put_image(archive(a="1"))["config"]
    server.blobs[config["digest"]] = server.blobs[config["digest"]].replace(b"linux", b"Linux")
    refused(store, server, IntegrityError, config["digest"], digest_of(server.blobs[config["digest"]]))


@pytest.mark.parametrize("by", [-1, 1, 100_000])
def test_a_blob_of_another_size(store: Store, server: Fake, by: int) -> None:
    manifest = server.put_image(archive(a=BIG[:200_000]))
    manifest["layers"][0]["size"] += by
    server.put_manifest(manifest, "latest")
    refused(
        store, server, IntegrityError, manifest["layers"][0]["digest"], str(manifest["layers"][0]["size"])
    )


def test_a_blob_without_end(store: Store, server: Fake) -> None:
    """One whose length is not told, and that goes on and on, is read no further than it may be long."""
    layer = server.put_image(archive(a="1"))["layers"][0]
    sent = []

    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        for _ in range(200):
            handler.wfile.write(BIG[: 1 << 20])
            sent.append(1)

    server.arrange(f"GET .*{layer['digest']}", endless)
    refused(store, server, IntegrityError, layer["digest"], "longer")
    assert len(sent) < 100


def test_a_manifest_that_is_not_what_was_asked_for(store: Store, server: Fake) -> None:
    server.put_image(archive(a="1"))
    other = server.put_manifest(json.dumps({"schemaVersion": 2}).encode())
    wanted = "sha256:" + "0" * 64
    server.manifests[wanted] = server.manifests["latest"]
    got = digest_of(server.manifests["latest"][0])
    with pytest.raises(IntegrityError, match=f"{wanted}.*{got}"):
        get(store, server, f"app@{wanted}")
    assert other != wanted
    assert in_store(store) == []


def test_a_manifest_that_is_not_what_the_answer_says(store: Store, server: Fake) -> None:
    server.put_image(archive(a="1"))
    data, media_type = server.manifests["latest"]
    promised = {"Content-Type": media_type, "Docker-Content-Digest": "sha256:" + "1" * 64}
    server.arrange("GET .*/manifests/", lambda h: h.send(200, data, **promised))
    refused(store, server, IntegrityError, "1" * 64, digest_of(data))


def test_a_layer_that_unpacks_to_something_else(store: Store, server: Fake) -> None:
    honest = [digest_of(archive(a="1"))]
    server.put_image(archive(a="2"), rootfs={"type": "layers", "diff_ids": honest})
    refused(store, server, IntegrityError, honest[0], digest_of(archive(a="2")))


def test_a_layer_that_leads_out_of_the_image(store: Store, server: Fake, tmp_path: pathlib.Path) -> None:
    server.put_image(archive(a="1"), archive(**{"../../../../../escaped": "x"}))
    refused(store, server, InvalidArgument, "../../../../../escaped")
    assert not list(tmp_path.rglob("escaped"))


def test_a_layer_that_is_no_archive(store: Store, server: Fake) -> None:
    server.put_image(b"this is not a tar archive" * 100)
    refused(store, server, InvalidArgument, "tar")


def test_a_packing_that_is_damaged(store: Store, server: Fake) -> None:
    manifest = server.put_image(archive(a="1"))
    half = gzip.compress(archive(a=BIG))[:-100]
    manifest["layers"][0].update(server.put_blob(half))
    server.put_manifest(manifest, "latest")
    refused(store, server, Error, "damaged")


# ------------------------------------------------------------------ manifests that cannot be meant


def changed(server: Fake, **fields: object) -> None:
    """The image's manifest with some fields changed."""
    manifest = server.put_image(archive(a="1"))
    server.put_manifest({**manifest, **fields}, "latest", media_type=str(fields.get("mediaType", MANIFEST)))


HOSTILE = {
    "no digest": {"layers": [{"mediaType": LAYER, "size": 1}]},
    "another algorithm": {"layers": [{"mediaType": LAYER, "digest": "md5:" + "0" * 32, "size": 1}]},
    "a path for a digest": {
        "layers": [{"mediaType": LAYER, "digest": "sha256:../../../etc/passwd", "size": 1}]
    },
    "a negative size": {"layers": [{"mediaType": LAYER, "digest": "sha256:" + "0" * 64, "size": -1}]},
    "a size in words": {"layers": [{"mediaType": LAYER, "digest": "sha256:" + "0" * 64, "size": "many"}]},
    "a size that is true": {"layers": [{"mediaType": LAYER, "digest": "sha256:" + "0" * 64, "size": True}]},
    "a size beyond all disks": {
        "layers": [{"mediaType": LAYER, "digest": "sha256:" + "0" * 64, "size": 1 << 60}]
    },
    "a layer that is a word": {"layers": ["layer"]},
    "layers that are a word": {"layers": "many"},
    "no layers": {"layers": []},
    "too many layers": {"layers": [{"mediaType": LAYER, "digest": "sha256:" + "0" * 64, "size": 1}] * 128},
    "a layer to be had elsewhere": {
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                "digest": "sha256:" + "0" * 64,
                "size": 1,
                "urls": ["http://192.0.2.1/"],
            }
        ]
    },
    "no configuration": {"config": None},
    "a configuration without end": {
        "config": {"mediaType": CONFIG, "digest": "sha256:" + "0" * 64, "size": 1 << 30}
    },
    "a chart": {
        "config": {
            "mediaType": "application/vnd.cncf.helm.config.v1+json",
            "digest": "sha256:" + "0" * 64,
            "size": 1,
        }
    },
    "a schema of old": {"schemaVersion": 1},
    "an unknown kind": {"mediaType": "application/vnd.example+json"},
    "both a manifest and an index": {"manifests": []},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_manifest_that_cannot_be_meant(store: Store, server: Fake, what: str) -> None:
    changed(server, **HOSTILE[what])
    message = refused(store, server, Error)
    assert f"{server.name}/app" in message
    assert server.asked("GET .*/blobs/") == []


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>", b"[]", b"null", b"[" * 100_000, b"{" + b" " * (5 << 20) + b"}", b'{"a": \xff}'],
    ids=["nothing", "html", "list", "null", "deep", "huge", "latin"],
)
def test_a_manifest_that_is_none(store: Store, server: Fake, data: bytes) -> None:
    server.put_manifest(data, "latest")
    refused(store, server, Error, f"{server.name}/app")


CONFIGS = {
    "fewer diff ids than layers": {"rootfs": {"type": "layers", "diff_ids": []}},
    "more diff ids than layers": {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64] * 2}},
    "no root filesystem": {"rootfs": None},
    "a diff id that is a path": {"rootfs": {"type": "layers", "diff_ids": ["sha256:../../../../tmp/x"]}},
    "settings that are a list": {"config": ["/bin/sh"]},
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_configuration_that_does_not_fit(store: Store, server: Fake, what: str) -> None:
    manifest = server.put_image(archive(a="1"), **CONFIGS[what])
    refused(store, server, Error, f"{server.name}/app")
    assert server.asked(f"GET .*{manifest['layers'][0]['digest']}") == []


# ------------------------------------------------------------------ platforms


def index_of(server: Fake, **platforms: str) -> None:
    """An index of images, each with a file that says what it is for; ``arm64_v8="linux/arm64/v8"``."""
    entries = []
    for name, platform in platforms.items():
        system, architecture, *variant = platform.split("/")
        fields = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        manifest = server.put_image(archive(platform=platform), tag=name, **fields)
        data = json.dumps(manifest).encode()
        entries.append(
            {"mediaType": MANIFEST, "digest": digest_of(data), "size": len(data), "platform": fields}
        )
    server.put_manifest(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, "latest", media_type=INDEX
    )


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("", "linux/amd64"),
        ("linux/amd64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux", "linux/amd64"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("LINUX/ARM64", "linux/arm64/v8"),
    ],
)
def test_the_image_for_a_platform(store: Store, server: Fake, asked: str, got: str) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("needs an x86_64 host")
    index_of(
        server, w="windows/amd64", v7="linux/arm/v7", v6="linux/arm/v6", a="linux/amd64", v8="linux/arm64/v8"
    )
    pulled = get(store, server, platform=asked)
    assert content(store, pulled, "platform").decode() == got
    assert store.find(f"{server.name}/app").id == pulled.image.id
    assert pulled.digest == digest_of(server.manifests["latest"][0])


def test_a_platform_that_there_is_not(store: Store, server: Fake) -> None:
    index_of(server, a="linux/amd64", v8="linux/arm64/v8")
    refused(store, server, NotFound, "linux/riscv64", "linux/amd64, linux/arm64/v8", platform="linux/riscv64")
    for wrong in ("a/b/c/d", "linux/", "../etc", ""):
        if wrong:
            refused(store, server, InvalidArgument, wrong, platform=wrong)


def test_an_image_for_another_machine_than_asked_for(store: Store, server: Fake) -> None:
    server.put_image(archive(a="1"), architecture="s390x")
    refused(store, server, NotFound, "linux/s390x", "linux/arm64", platform="linux/arm64")
    said: list[str] = []
    pull(store, Reference.parse(f"{server.name}/app"), report=lambda layer, status, *_: said.append(status))
    assert any("WARNING" in line and "linux/s390x" in line for line in said)


def test_an_index_that_names_itself_or_another_without_end(store: Store, server: Fake) -> None:
    platform = {"os": "linux", "architecture": "amd64"}
    digest, size = server.put_manifest(server.put_image(archive(a="1"))), 0
    for _ in range(10):
        size = len(server.manifests[digest][0])
        kind = server.manifests[digest][1]
        entry = {"mediaType": kind, "digest": digest, "size": size, "platform": platform}
        content = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        digest = server.put_manifest(content, "latest", media_type=INDEX)
    refused(store, server, InvalidArgument, "deep", platform="linux/amd64")


def test_an_index_that_lies_about_a_manifest(store: Store, server: Fake) -> None:
    index_of(server, a="linux/amd64")
    index = json.loads(server.manifests["latest"][0])
    index["manifests"][0]["size"] += 1
    server.put_manifest(index, "latest", media_type=INDEX)
    refused(store, server, IntegrityError, index["manifests"][0]["digest"], platform="linux/amd64")


# ------------------------------------------------------------------ redirects


def test_a_blob_that_is_kept_elsewhere(store: Store, server: Fake) -> None:
    with fake() as elsewhere:
        layer = server.put_image(archive(a="1"))["layers"][0]
        elsewhere.blobs[layer["digest"]] = server.blobs.pop(layer["digest"])
        where = {"Location": f"http://{elsewhere.name}/blobs/{layer['digest']}"}
        server.arrange(f"GET .*{layer['digest']}", lambda h: h.send(307, **where))
        assert content(store, get(store, server), "a") == b"1"


def test_a_circle_of_redirects(store: Store, server: Fake) -> None:
    server.put_image(archive(a="1"))
    server.arrange("GET .*/manifests/", *[lambda h: h.send(302, Location=h.path)] * 100)
    refused(store, server, Unreachable, server.name, "without end")
    assert len(server.asked("GET .*/manifests/")) < 20


@pytest.mark.parametrize(
    "where", ["file:///etc/passwd", "ftp://192.0.2.1/x", "gopher:x", "https://", "http://[", "http://x:y/"]
)
def test_a_redirect_to_nowhere(store: Store, server: Fake, where: str) -> None:
    server.put_image(archive(a="1"))
    server.arrange("GET .*/manifests/", lambda h: h.send(302, Location=where))
    refused(store, server, Unreachable, server.name, where)


# ------------------------------------------------------------------ what is here already, and names


def test_what_is_here_is_not_fetched_again(store: Store, server: Fake) -> None:
    base = archive(base=BIG)
    server.put_image(base, archive(a="1"))
    assert get(store, server).fresh
    first = len(server.asked("GET .*/blobs/"))
    assert first == 3
    assert not get(store, server).fresh
    assert len(server.asked("GET .*/blobs/")) == first
    server.put_image(base, archive(a="2"))
    pulled = get(store, server)
    assert pulled.fresh
    assert content(store, pulled, "a") == b"2"
    assert len(server.asked("GET .*/blobs/")) == first + 2  # the new layer, and the new configuration
    assert len(store.images()) == 2  # the old one has lost its name


def test_a_layer_that_is_there_twice_is_fetched_once(store: Store, server: Fake) -> None:
    empty = archive()
    manifest = server.put_image(empty, archive(a="1"), empty, empty)
    pulled = get(store, server)
    assert len(pulled.image.diff_ids) == 4
    assert len(server.asked(f"GET .*{manifest['layers'][0]['digest']}")) == 1


def test_by_digest(store: Store, server: Fake) -> None:
    server.put_image(archive(a="1"))
    digest = digest_of(server.manifests["latest"][0])
    pulled = get(store, server, f"app@{digest}")
    assert store.find(f"{server.name}/app@{digest}").id == pulled.image.id
    assert [str(name) for name in pulled.image.names] == [f"{server.name}/app@{digest}"]
    server.put_image(archive(a="2"))
    assert get(store, server).image.id != pulled.image.id
    assert store.find(f"{server.name}/app@{digest}").id == pulled.image.id


@pytest.mark.parametrize("kind", ["manifest", "index"])
def test_manifests_are_kept_byte_for_byte(store: Store, server: Fake, kind: str) -> None:
    if kind == "manifest":
        manifest = server.put_image(archive(a="1"))
        server.put_manifest(b"\n \t" + json.dumps(manifest, indent=3).encode() + b"\n\n", "latest")
    else:
        index_of(server, a="linux/amd64", b="linux/arm64")
    pulled = get(store, server, platform="linux/amd64")
    data = server.manifests["latest"][0]
    assert pulled.digest == digest_of(data)
    assert pathlib.Path(store.blob_path(pulled.digest)).read_bytes() == data
    assert store.find(f"{server.name}/app").digest == pulled.digest
    assert store.find(f"{server.name}/app@{pulled.digest}").id == pulled.image.id


def test_all_tags_page_by_page(store: Store, server: Fake) -> None:
    for number in range(5):
        server.put_image(archive(a=str(number)), tag=f"t{number}")
    following = {"Link": '</v2/app/tags/list?last=t2>; rel="next"'}
    first, second = (json.dumps({"tags": tags}).encode() for tags in (["t0", "t1", "t2"], ["t3", "t4"]))
    server.arrange(r"GET .*/tags/list$", lambda h: h.send(200, first, **following))
    server.arrange(r"GET .*/tags/list\?last=t2$", lambda h: h.send(200, second))
    pulled = pull_all(store, Reference.parse(f"{server.name}/app"))
    assert [each.reference.tag for each in pulled] == ["t0", "t1", "t2", "t3", "t4"]
    assert [content(store, each, "a") for each in pulled] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_list_of_tags_without_end(store: Store, server: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_MOST_PAGES", 5)
    page = {"Link": '</v2/app/tags/list>; rel="next"'}
    server.arrange("GET .*/tags/list", *[lambda h: h.send(200, b'{"tags": ["a"]}', **page)] * 100)
    with pytest.raises(Unreachable, match="no end"):
        pull_all(store, Reference.parse(f"{server.name}/app"))


def test_words_of_a_hostile_server_do_not_reach_the_terminal(store: Store, server: Fake) -> None:
    said = json.dumps(
        {"errors": [{"message": "\x1b[2J\x1b]0;owned\x07gone\nminicontainer: all is well" + "x" * 5000}]}
    )
    server.arrange("GET .*/manifests/", lambda h: h.send(400, said.encode()))
    message = refused(store, server, Error, "gone")
    assert message.isprintable()
    assert len(message) < 600


# ------------------------------------------------------------------ mirrors


def test_the_mirror_is_asked_first_and_for_docker_hub_only(
    store: Store, server: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hosts.MIRROR, f"http://{server.name}/")
    server.put_image(archive(a="1"))
    pulled = pull(store, Reference.parse("alpine"))
    assert pulled.image.name == "alpine:latest"
    assert server.asked("GET /v2/library/alpine/manifests/latest")
    assert [each.url for each in hosts.addresses("docker.io", writes=True)] == [
        "https://registry-1.docker.io"
    ]
    assert [each.url for each in hosts.addresses("quay.io")] == ["https://quay.io"]


def test_what_the_mirror_has_not_is_asked_of_docker_hub(
    store: Store, server: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake() as hub:
        monkeypatch.setenv(hosts.MIRROR, f"http://{server.name}")
        addresses = hosts.addresses("docker.io")
        assert addresses[-1].url == "https://registry-1.docker.io"
        ours = [addresses[0], hosts.Address(f"http://{hub.name}", "docker.io")]
        monkeypatch.setattr(hosts, "addresses", lambda *_, **__: ours)
        hub.put_image(archive(a="hub"))
        assert content(store, pull(store, Reference.parse("alpine")), "a") == b"hub"
        assert server.asked("GET /v2/library/alpine/manifests/latest")
        hub.manifests.clear()
        with pytest.raises(Unreachable, match=f"the mirror {server.name}: .*no such thing") as caught:
            raise_both(store, hub)
        assert "broken" in str(caught.value) or hub.name in str(caught.value)


def raise_both(store: Store, hub: Fake) -> None:
    hub.arrange("GET /v2/$", lambda h: h.send(404))
    pull(store, Reference.parse("alpine"))


@pytest.mark.parametrize("wrong", ["192.0.2.1:5000", "ftp://x", "https://"])
def test_a_mirror_that_is_no_url(store: Store, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv(hosts.MIRROR, wrong)
    with pytest.raises(InvalidArgument, match=hosts.MIRROR):
        pull(store, Reference.parse("alpine"))


# ------------------------------------------------------------------ who may do without TLS


@pytest.mark.parametrize(
    ("registry", "listed", "plain"),
    [
        ("localhost:5000", "", True),
        ("localhost", "", True),
        ("127.0.0.1:5000", "", True),
        ("127.8.9.10:5000", "", True),
        ("[::1]:5000", "", True),
        ("192.0.2.1:5000", "", False),
        ("192.0.2.1:5000", "other, 192.0.2.1:5000", True),
        ("192.0.2.1:5000", "192.0.2.1", True),
        ("192.0.2.1:5000", "192.0.2.1:5001", False),
        ("quay.io", "", False),
        ("localhost.example.org", "", False),
        ("127.0.0.1.example.org:5000", "", False),
    ],
)
def test_who_may_do_without_tls(
    monkeypatch: pytest.MonkeyPatch, registry: str, listed: str, plain: bool
) -> None:
    monkeypatch.setenv(hosts.INSECURE, listed)
    schemes = [each.url.partition(":")[0] for each in hosts.addresses(registry)]
    assert schemes == (["https", "http"] if plain else ["https"])


def test_denied_is_said_as_such(store: Store, server: Fake) -> None:
    server.arrange("GET .*/manifests/", lambda h: h.send(403, b'{"errors": [{"code": "DENIED"}]}'))
    refused(store, server, Denied, f"{server.name}/app", "minicontainer login", "DENIED")
    server.arrange("GET .*/manifests/", lambda h: h.send(404))
    refused(store, server, NotFound, f"{server.name}/app")
    index_of(server)
    refused(store, server, NotFound, "there is none")
    changed(server, mediaType="application/vnd.docker.distribution.manifest.v1+json")
    refused(store, server, Unsupported, "not supported")


# ------------------------------------------------------------------ proxies


def test_the_way_out_may_be_a_proxy(store: Store, server: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says, as for curl: the proxy is asked for the whole address, and nobody else is."""
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "HTTP_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://me:secret@{server.name}")
    monkeypatch.setenv(hosts.INSECURE, "registry.invalid:5000")
    server.put_image(archive(a="1"))
    pulled = pull(store, Reference.parse("registry.invalid:5000/app"))
    assert content(store, pulled, "a") == b"1"
    assert all(path.startswith("http://registry.invalid:5000/v2/") for _, path, _ in server.seen)
    proofs = [{name.lower(): text for name, text in headers.items()} for _, _, headers in server.seen]
    assert {proof.get("proxy-authorization") for proof in proofs} == {"Basic bWU6c2VjcmV0"}
    monkeypatch.setenv("no_proxy", "registry.invalid")
    with pytest.raises(Unreachable, match=r"registry\.invalid:5000 cannot be reached"):
        pull(store, Reference.parse("registry.invalid:5000/app"))
