"""The first root filesystem: pinned, fetched from where it can be had, and made when it cannot be had."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import until

from minicontainer.errors import IntegrityError, InvalidArgument, NotFound
from minicontainer.images import download, embedded, rootfs

CONTENT = gzip.compress(os.urandom(300_000), mtime=0)
SUM = hashlib.sha256(CONTENT).hexdigest()
NOWHERE = "http://127.0.0.1:9"  # discard: nobody listens
REPOSITORY = Path(__file__).resolve().parent.parent

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="chroot(2) needs root")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No mirror, no proxy, and no waiting for a machine that will not answer."""
    for name in list(os.environ):
        if name.lower() in ("http_proxy", "https_proxy", "no_proxy", "all_proxy") or name == rootfs.MIRROR:
            monkeypatch.delenv(name)
    monkeypatch.setattr(download, "CONNECT_SECONDS", 2.0)
    monkeypatch.setattr(download, "READ_SECONDS", 0.5)
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.05, 0.05))


MIRROR = os.environ.get(rootfs.MIRROR, "")  # before the fixture hides it


class Web:
    """A real HTTP server on 127.0.0.1 that answers each request with the next of ``answers``, or the last."""

    def __init__(self) -> None:
        self.answers: list[Callable[[http.server.BaseHTTPRequestHandler], None]] = []
        self.asked: list[str] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                answer = web.answers.pop(0) if len(web.answers) > 1 else web.answers[0]
                with contextlib.suppress(ConnectionError):
                    answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def sends(body: bytes, status: int = 200, promised: int | None = None) -> Callable[..., None]:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) if promised is None else promised))
        request.end_headers()
        request.wfile.write(body)

    return answer


def stalls(seconds: float) -> Callable[..., None]:
    """Half of the file, and then silence."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(CONTENT[: len(CONTENT) // 2])
        request.wfile.flush()
        time.sleep(seconds)

    return answer


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    thread = threading.Thread(target=web.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield web
    web.server.shutdown()
    web.server.server_close()
    thread.join()


def a_pin(url: str = NOWHERE, sha256: str = SUM) -> rootfs.Pin:
    return rootfs.Pin("9.9.9", os.uname().machine, f"{url}/alpine-minirootfs-9.9.9.tar.gz", sha256)


def files_in(directory: Path) -> list[str]:
    return sorted(set(os.listdir(directory)) - {"minicontainer.lock"})


# Pins


def test_two_releases_for_two_machines_are_pinned_with_address_and_sum() -> None:
    pinned = {(pin.version, pin.machine): pin for pin in rootfs.pins()}
    assert set(pinned) == {(v, m) for v in ("3.20.3", "3.11.13") for m in ("x86_64", "aarch64")}
    for (version, machine), pin in pinned.items():
        assert pin.url.startswith(f"https://dl-cdn.alpinelinux.org/alpine/v{version.rpartition('.')[0]}/")
        assert pin.name == f"alpine-minirootfs-{version}-{machine}.tar.gz"
        assert len(bytes.fromhex(pin.sha256)) == 32
    assert len({pin.sha256 for pin in pinned.values()}) == 4


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        (None, "3.20.3"),
        ("3.20", "3.20.3"),
        ("3.20.3", "3.20.3"),
        ("alpine:3.20", "3.20.3"),
        ("3.11", "3.11.13"),
        ("alpine:3.11.13", "3.11.13"),
    ],
)
def test_a_pin_is_found_by_release_series_or_image_name(asked: str | None, version: str) -> None:
    for machine in ("x86_64", "aarch64"):
        pin = rootfs.pin(asked, machine)
        assert (pin.version, pin.machine) == (version, machine)


@pytest.mark.parametrize(
    ("version", "machine"), [("3", "x86_64"), ("3.2", "x86_64"), ("3.20", "vax"), ("edge", None)]
)
def test_what_is_not_pinned_is_refused_with_a_list_of_what_is(version: str, machine: str | None) -> None:
    with pytest.raises(NotFound) as error:
        rootfs.pin(version, machine)
    for word in (version, machine or "", "3.20.3 for x86_64", "3.11.13 for aarch64"):
        assert word in str(error.value)


def test_an_installed_package_finds_its_pins_beside_the_module(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "minicontainer", tmp_path / "minicontainer")
    code = "from minicontainer.images import rootfs; print(rootfs.pin().sha256, rootfs.__file__)"
    run = [sys.executable, "-c", code]
    bare = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, env={}, check=False)
    assert bare.returncode != 0, "the test looks at another checkout's pins"
    shutil.copy(REPOSITORY / "rootfs" / "alpine.toml", tmp_path / "minicontainer" / "images")
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, env={}, check=True)
    assert done.stdout.split() == [rootfs.pin().sha256, f"{tmp_path}/minicontainer/images/rootfs.py"]


def test_the_cache_of_root_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/somebody/.cache")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert rootfs.cache_directory() == "/var/cache/minicontainer"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert rootfs.cache_directory() == "/home/somebody/.cache/minicontainer"
    monkeypatch.setenv("HOME", "/home/somebody")
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert rootfs.cache_directory() == "/home/somebody/.cache/minicontainer"


# Sources


def test_a_directory_is_a_mirror_and_fills_the_cache(tmp_path: Path) -> None:
    mirror, cache = tmp_path / "a mirror", tmp_path / "cache"
    mirror.mkdir()
    (mirror / a_pin().name).write_bytes(CONTENT)
    for address in (str(mirror), f"{mirror}/", mirror.as_uri()):
        shutil.rmtree(cache, ignore_errors=True)
        got = rootfs.fetch(a_pin(), cache=str(cache), mirror=address)
        assert got.source == "mirror"
        assert str(got) == f"alpine 9.9.9 from the mirror {address} (sha256 verified)"
        assert got.path == str(cache / a_pin().name)
        assert Path(got.path).read_bytes() == CONTENT
        assert files_in(cache) == [a_pin().name]


def test_the_mirror_of_the_environment_is_used_unless_another_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / a_pin().name).write_bytes(CONTENT)
    monkeypatch.setenv(rootfs.MIRROR, str(tmp_path))
    assert rootfs.fetch(a_pin(), cache=str(tmp_path / "cache1")).source == "mirror"
    with pytest.raises(rootfs.Unreachable):
        rootfs.fetch(a_pin(), cache=str(tmp_path / "cache2"), mirror="")


def test_a_mirror_over_http_is_asked_for_the_file_by_its_name(tmp_path: Path, web: Web) -> None:
    web.answers = [sends(CONTENT)]
    got = rootfs.fetch(a_pin(), cache=str(tmp_path), mirror=f"{web.url}/alpine/")
    assert got.source == "mirror"
    assert web.asked == [f"/alpine/{a_pin().name}"]


def test_the_cdn_is_asked_when_the_mirror_does_not_have_the_file(tmp_path: Path, web: Web) -> None:
    web.answers = [sends(CONTENT)]
    empty = tmp_path / "mirror"
    empty.mkdir()
    got = rootfs.fetch(a_pin(web.url), cache=str(tmp_path / "cache"), mirror=str(empty))
    assert got.source == "cdn"
    assert str(got).startswith(f"alpine 9.9.9 from the CDN {web.url}/{a_pin().name} (sha256 verified)")
    assert "mirror unreachable" in str(got)
    assert "No such file or directory" in str(got)


def test_what_is_in_the_cache_is_not_asked_for_again(tmp_path: Path, web: Web) -> None:
    web.answers = [sends(CONTENT)]
    first = rootfs.fetch(a_pin(web.url), cache=str(tmp_path), mirror=web.url)
    again = rootfs.fetch(a_pin(web.url), cache=str(tmp_path), mirror=web.url)
    assert (first.source, again.source) == ("mirror", "cache")
    assert first.path == again.path
    assert len(web.asked) == 1


def test_a_damaged_cache_entry_is_discarded_with_a_note_and_fetched_anew(tmp_path: Path, web: Web) -> None:
    web.answers = [sends(CONTENT)]
    entry = tmp_path / a_pin().name
    entry.write_bytes(CONTENT[:-1])
    got = rootfs.fetch(a_pin(web.url), cache=str(tmp_path))
    assert got.source == "cdn"
    assert f"discarded the damaged {entry}" in str(got)
    assert SUM in str(got)
    assert hashlib.sha256(CONTENT[:-1]).hexdigest() in str(got)
    assert entry.read_bytes() == CONTENT


@pytest.mark.parametrize("where", ["directory", "http mirror", "cdn"])
def test_a_file_with_another_sum_is_an_error_and_is_not_kept(tmp_path: Path, web: Web, where: str) -> None:
    wrong = CONTENT[:1000] + b"\0" + CONTENT[1001:]
    web.answers = [sends(wrong)]
    (tmp_path / a_pin().name).write_bytes(wrong)
    mirror = {"directory": str(tmp_path), "http mirror": web.url, "cdn": ""}[where]
    cache = tmp_path / "cache"
    # A CDN that has the right file must not cover a mirror that has not.
    cdn = web.url if where == "cdn" else NOWHERE
    for call in (lambda: rootfs.fetch(a_pin(cdn), cache=str(cache), mirror=mirror),) * 2:
        with pytest.raises(IntegrityError) as error:
            call()
        for word in (a_pin().name, SUM, hashlib.sha256(wrong).hexdigest()):
            assert word in str(error.value)
        assert files_in(cache) == []


# A network that is not a good one


def test_a_busy_server_and_a_broken_line_are_tried_again(tmp_path: Path, web: Web) -> None:
    web.answers = [sends(b"", 503), sends(CONTENT[:1000], promised=len(CONTENT)), sends(CONTENT)]
    got = rootfs.fetch(a_pin(web.url), cache=str(tmp_path))
    assert len(web.asked) == 3
    assert Path(got.path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "reason", "attempts"),
    [
        (sends(b"no", 404), "HTTP status 404", 1),
        (sends(b"no", 503), "HTTP status 503", 3),
        (sends(CONTENT[:1000], promised=len(CONTENT)), "1000 bytes read", 3),
        (stalls(2.0), "timed out", 3),
    ],
)
def test_a_server_that_does_not_deliver_is_said_to_be_unreachable(
    tmp_path: Path, web: Web, answer: Callable[..., None], reason: str, attempts: int
) -> None:
    web.answers = [answer]
    with pytest.raises(rootfs.Unreachable) as error:
        rootfs.fetch(a_pin(web.url), cache=str(tmp_path))
    assert reason in str(error.value)
    assert f"{web.url}/{a_pin().name}" in str(error.value)
    assert f"no mirror ({rootfs.MIRROR} is not set)" in str(error.value)
    assert len(web.asked) == attempts
    assert files_in(tmp_path) == []


def test_a_server_that_never_stops_sending_does_not_fill_the_disk(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(bytes(1 << 16))

    web.answers = [endless]
    monkeypatch.setattr(download, "LARGEST", 1 << 20)
    with pytest.raises(rootfs.Unreachable, match="more than 1 MiB"):
        rootfs.fetch(a_pin(web.url), cache=str(tmp_path))
    assert files_in(tmp_path) == []


def test_a_server_that_calls_the_archive_an_encoding_does_not_get_it_unpacked(
    tmp_path: Path, web: Web
) -> None:
    def encoded(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Encoding", "gzip")
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(CONTENT)

    web.answers = [encoded]
    assert rootfs.fetch(a_pin(web.url), cache=str(tmp_path)).source == "cdn"


def test_a_redirect_is_followed(tmp_path: Path, web: Web) -> None:
    def elsewhere(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "/elsewhere")
        request.send_header("Content-Length", "0")
        request.end_headers()

    web.answers = [elsewhere, sends(CONTENT)]
    assert rootfs.fetch(a_pin(web.url), cache=str(tmp_path)).source == "cdn"
    assert web.asked[1] == "/elsewhere"


def test_the_proxy_of_the_environment_is_used_but_for_no_proxy(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def proxy(request: http.server.BaseHTTPRequestHandler) -> None:
        seen.append(request.headers.get("Proxy-Authorization"))
        sends(CONTENT)(request)

    web.answers = [proxy]
    monkeypatch.setenv("http_proxy", web.url.replace("http://", "http://user:secret@"))
    rootfs.fetch(a_pin("http://alpine.invalid"), cache=str(tmp_path / "1"))
    assert web.asked == [f"http://alpine.invalid/{a_pin().name}"], "a proxy is asked for the whole address"
    assert seen == ["Basic dXNlcjpzZWNyZXQ="]

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    rootfs.fetch(a_pin(web.url), cache=str(tmp_path / "2"))
    assert web.asked[1:] == [f"/{a_pin().name}"], "no_proxy names this host"


def test_a_mirror_of_a_kind_nobody_can_read_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"ftp://example\.org"):
        rootfs.fetch(a_pin(), cache=str(tmp_path), mirror="ftp://example.org/alpine")


def test_the_bar_is_for_terminals_and_leaves_standard_output_alone(tmp_path: Path, web: Web) -> None:
    """Under a pseudo-terminal (script(1)) the bar shows; into a pipe nothing does."""
    if not shutil.which("script"):
        pytest.skip("script(1) is missing: apt-get install bsdutils")
    web.answers = [sends(CONTENT)]
    code = textwrap.dedent(
        f"""
        from minicontainer.images import rootfs
        pin = rootfs.Pin("9.9.9", "any", "{web.url}/{a_pin().name}", "{SUM}")
        print(rootfs.fetch(pin, cache=CACHE).source)
        """
    )
    piped = [sys.executable, "-c", code.replace("CACHE", repr(str(tmp_path / "1")))]
    done = subprocess.run(piped, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("cdn\n", "")
    program = tmp_path / "fetch.py"
    program.write_text(code.replace("CACHE", repr(str(tmp_path / "2"))))
    command = f"PYTHONPATH={REPOSITORY} TERM=xterm COLUMNS=120 {sys.executable} {program} >{tmp_path}/out"
    shown = subprocess.run(
        ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, check=True
    )
    assert (tmp_path / "out").read_text() == "cdn\n"
    assert a_pin().name in shown.stdout, "no bar on the terminal"


# Interrupted, and at the same time

CHILD = """
import sys
from minicontainer.images import download, rootfs
url, sha256, cache = sys.argv[1:]
print("begun", flush=True)
print(rootfs.fetch(rootfs.Pin("9.9.9", "any", url, sha256), cache=cache).source, flush=True)
"""


def child(web: Web, cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, f"{web.url}/{a_pin().name}", SUM, str(cache)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def test_a_fetch_killed_half_way_leaves_nothing_that_is_used(tmp_path: Path, web: Web) -> None:
    web.answers = [stalls(30.0), sends(CONTENT)]
    part = tmp_path / (a_pin().name + rootfs.PART)
    with child(web, tmp_path) as process:
        until(lambda: part.exists() and part.stat().st_size > 0)
        process.send_signal(signal.SIGKILL)
    assert files_in(tmp_path) == [part.name], "the kill came too late to prove anything"
    other = tmp_path / f"something-else{rootfs.PART}"
    other.touch()
    theirs = tmp_path / "browser-download.part"
    theirs.touch()
    got = rootfs.fetch(a_pin(web.url), cache=str(tmp_path))
    assert got.source == "cdn"
    assert Path(got.path).read_bytes() == CONTENT
    assert files_in(tmp_path) == [a_pin().name, theirs.name], "stale files stay, or others' files went"


def test_two_processes_at_once_fetch_once(tmp_path: Path, web: Web) -> None:
    def slowly(request: http.server.BaseHTTPRequestHandler) -> None:
        time.sleep(1.0)
        sends(CONTENT)(request)

    web.answers = [slowly]
    with child(web, tmp_path) as one, child(web, tmp_path) as two:
        assert one.stdout and two.stdout
        answers = sorted(process.stdout.read().split()[-1] for process in (one, two) if process.stdout)
    assert answers == ["cache", "cdn"]
    assert len(web.asked) == 1


# The embedded default


def host_busybox() -> str:
    try:
        return embedded.find_busybox()
    except NotFound as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def archive() -> bytes:
    return embedded.build(host_busybox())


@pytest.fixture(scope="module")
def tree(archive: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded default, unpacked by tar(1) as anybody would."""
    root = tmp_path_factory.mktemp("embedded")
    subprocess.run(["tar", "-xzpf", "-", "-C", str(root)], input=archive, check=True)
    return root


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {os.path.normpath(member.name): member for member in tar}


def alpine(version: str) -> bytes:
    if not MIRROR:
        pytest.skip(f"the Alpine archive to compare with: set {rootfs.MIRROR} to a directory that has it")
    pin = rootfs.pin(version)
    return Path(MIRROR, pin.name).read_bytes()


def test_the_same_busybox_makes_the_same_bytes(archive: bytes) -> None:
    code = (
        "import hashlib, os, time; os.umask(0o77); from minicontainer.images import embedded;"
        f"print(hashlib.sha256(embedded.build({host_busybox()!r})).hexdigest())"
    )
    time.sleep(1.1)  # a time in it would differ now
    run = [sys.executable, "-c", code]
    other = subprocess.run(
        run, cwd=REPOSITORY, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert other.stdout.strip() == hashlib.sha256(archive).hexdigest()


def test_everything_in_it_is_roots_sorted_and_timeless(archive: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = [member.name for member in tar]
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in tar} == {(0, 0, "", "", 0)}
    assert names[0] == "."
    assert names == sorted(names)
    assert len(names) == len(set(names))


def test_its_directories_and_their_modes_are_alpines(archive: bytes) -> None:
    ours = {path: m.mode for path, m in members(archive).items() if m.isdir()}
    theirs = [{p: m.mode for p, m in members(alpine(v)).items() if m.isdir()} for v in ("3.20", "3.11")]
    common = {
        p: mode for p, mode in theirs[0].items() if theirs[1].get(p) == mode and "apk" not in p.split("/")
    }
    assert ours == common
    assert (ours["tmp"], ours["root"], ours["var/empty"]) == (0o1777, 0o700, 0o555)


@pytest.mark.parametrize("version", ["3.20", "3.11"])
def test_its_tools_are_where_alpine_has_them(archive: bytes, version: str) -> None:
    def tools(packed: bytes) -> dict[str, str]:
        found = members(packed).items()
        return {p.rpartition("/")[2]: p for p, m in found if m.issym() and m.linkname == "/bin/busybox"}

    ours, theirs = tools(archive), tools(alpine(version))
    both = set(ours) & set(theirs)
    assert len(both) > 150
    assert {name: ours[name] for name in both} == {name: theirs[name] for name in both}


def test_its_users_and_groups_are_alpines(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(alpine("3.20"))) as tar:
        for path in ("etc/passwd", "etc/group", "etc/shadow", "etc/hosts"):
            member = tar.extractfile(f"./{path}")
            assert member is not None
            assert (tree / path).read_text() == member.read().decode()


def test_it_says_what_it_is(tree: Path) -> None:
    release = (tree / "etc/os-release").read_text()
    assert "ID=minicontainer-embedded\n" in release
    assert 'NAME="minicontainer embedded"\n' in release
    for name in ("etc/os-release", "etc/issue", "etc/motd"):
        assert "alpine" not in (tree / name).read_text().lower()


def inside(tree: Path, script: str) -> str:
    done = subprocess.run(
        ["chroot", str(tree), "/bin/sh", "-ec", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Iterator[Path]:
    """A tree of its own, with a /proc for the tools that read it."""
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", str(tree), str(root)], check=True)
    (root / "dev/null").touch()
    for source, target, kind in (("proc", "proc", ["-t", "proc"]), ("/dev/null", "dev/null", ["--bind"])):
        subprocess.run(["mount", *kind, source, str(root / target)], check=True)
    yield root
    for target in ("dev/null", "proc"):
        subprocess.run(["umount", "-l", str(root / target)], check=True)


@needs_root
@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("cat /etc/hostname", "localhost\n"),
        ("hostname", f"{os.uname().nodename}\n"),
        ("stat -c '%a %u:%g %U:%G' /tmp /root", "1777 0:0 root:root\n700 0:0 root:root\n"),
        ("touch /f && chown guest:users /f && stat -c %U:%G:%u:%g /f", "guest:users:405:100\n"),
        ("id guest", "uid=405(guest) gid=100(users) groups=100(users)\n"),
        ("printf 'b\\na\\n' | sort | grep -n a", "1:a\n"),
        ("cd /etc && find . -name passwd -type f", "./passwd\n"),
        ("mkfifo /p && stat -c %F /p", "fifo\n"),
        ("dd if=/bin/busybox of=/f bs=1024 count=2 2>/dev/null; stat -c %s /f", "2048\n"),
        ("sleep 0.1; for i in $(seq 3); do echo $i; done | wc -l", "3\n"),
        ("tty || true", "not a tty\n"),
        ("rm -r /var/empty && ls /var | grep -c empty || true", "0\n"),
        ("/usr/bin/env | grep ^HOME", "HOME=/root\n"),
        ("su -s /bin/sh guest -c 'id -un'", "guest\n"),
    ],
)
def test_the_tools_work_in_it(copy: Path, script: str, answer: str) -> None:
    assert inside(copy, script) == answer


@needs_root
def test_every_link_in_it_leads_to_a_tool_that_starts(copy: Path) -> None:
    listed = inside(copy, "for f in /bin/* /sbin/* /usr/bin/* /usr/sbin/*; do [ -x $f ] || echo $f; done")
    assert listed == ""
    unknown = inside(copy, "for f in $(find / -xdev -type l); do [ -e $f ] || readlink $f; done | sort -u")
    assert unknown in ("", "/proc/mounts\n")


@needs_root
def test_processes_and_the_network_are_seen_from_it(copy: Path) -> None:
    assert "COMMAND" in inside(copy, "ps")
    assert "PID" in inside(copy, "top -b -n 1 | head -n 4")
    assert "lo: <LOOPBACK" in inside(copy, "ip addr")
    assert "1 packets received" in inside(copy, "ping -c 1 -W 3 localhost"), (
        "by /etc/hosts, without a library"
    )
    served = "echo served | nc -l -p 18099 >/dev/null & sleep 0.5; nc 127.0.0.1 18099 </dev/null; wait"
    assert inside(copy, served) == "served\n"


@needs_root
@pytest.mark.parametrize(
    "script",
    [
        "adduser -D app; id app; ls -ld /home/app | cut -c1-10",
        "adduser -D app; su app -c 'id -un; pwd; echo $HOME'; grep ^app: /etc/passwd",
        "adduser -D app; grep -c '^app:!:[0-9]*:0:99999:7:::$' /etc/shadow",
        "addgroup -g 2000 other; adduser -D -u 2000 app 2>/dev/null; echo $?; grep ^app: /etc/passwd",
        "addgroup -S web; adduser -S -D -H -G web web; grep ^web: /etc/passwd /etc/group; ls /home",
        "adduser -S svc; grep ^svc: /etc/passwd /etc/group; stat -c %u:%g /home/svc",
        "addgroup -g 2000 g; adduser -D -u 1500 -h /srv/x -s /bin/ash -g 'A B' u -G g; grep ^u: /etc/passwd",
        "adduser -D a; adduser a users; addgroup a users; grep ^users /etc/group",
        "adduser -D a; adduser -D a 2>&1; echo $?",
        "adduser -D -G nosuch a 2>&1; echo $?; grep ^a: /etc/passwd; addgroup nosuch users 2>&1; echo $?",
        "addgroup -g 100 x 2>&1; adduser -D -u 405 x 2>&1; addgroup -g 1x x 2>&1; grep -c x: /etc/group",
        "addgroup taken; adduser -D one; adduser -D two; tail -n 2 /etc/passwd; tail -n 3 /etc/group",
        "adduser -D 'a:b' 2>/dev/null; echo $?; adduser -D -s /bin/sh -S z; grep ^z: /etc/passwd",
    ],
)
def test_adduser_does_what_alpines_does(copy: Path, tmp_path: Path, script: str) -> None:
    """Debian's busybox has no adduser; the script in its place is compared with the real one."""
    real = tmp_path / "alpine"
    real.mkdir()
    subprocess.run(["tar", "-xzpf", "-", "-C", str(real)], input=alpine("3.20"), check=True)
    (real / "dev/null").touch()
    assert inside(copy, f"set +e; {script}; true") == inside(real, f"set +e; {script}; true") != ""


# A busybox that will not do


def test_static_and_dynamic_are_told_apart_as_the_kernel_does(tmp_path: Path) -> None:
    assert embedded.is_static(host_busybox())
    assert not embedded.is_static(os.path.realpath(sys.executable))
    (tmp_path / "script").write_text("#!/bin/sh\n" + "#" * 100)
    assert not embedded.is_static(str(tmp_path / "script"))
    (tmp_path / "short").write_bytes(b"\x7fELF")
    assert not embedded.is_static(str(tmp_path / "short"))


def test_a_dynamic_busybox_is_refused_and_the_static_one_named() -> None:
    with pytest.raises(NotFound, match="apt-get install busybox-static") as error:
        embedded.build("/bin/true")
    assert "/bin/true" in str(error.value)


def test_a_static_program_that_is_no_busybox_is_refused() -> None:
    if not os.path.exists("/sbin/ldconfig") or not embedded.is_static("/sbin/ldconfig"):
        pytest.skip("a static program that is not busybox: /sbin/ldconfig is none here")
    with pytest.raises(NotFound, match="/sbin/ldconfig has no shell"):
        embedded.build("/sbin/ldconfig")


def test_a_static_busybox_elsewhere_on_the_path_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(host_busybox(), tmp_path / "busybox.static")
    monkeypatch.setattr(embedded, "NAMES", ("busybox.static",))
    monkeypatch.setenv("PATH", f"/nowhere:{tmp_path}")
    assert embedded.find_busybox() == str(tmp_path / "busybox.static")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotFound, match="apt-get install busybox-static"):
        embedded.find_busybox()


# Whatever the network does


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that nobody runs: the CDN is out of reach, without asking anybody for a name."""
    monkeypatch.setenv("https_proxy", NOWHERE)


def test_the_embedded_default_is_made_when_nothing_can_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_busybox()
    unreachable(monkeypatch)
    got = rootfs.obtain("3.20", cache=str(tmp_path))
    assert got.source == "embedded"
    line = str(got)
    assert line.startswith(
        f"embedded default: not in the cache {tmp_path}, no mirror ({rootfs.MIRROR} is not set)"
    )
    assert "CDN unreachable: https://dl-cdn.alpinelinux.org/" in line
    assert "Connection refused" in line
    assert "\n" not in line
    assert "bin/busybox" in members(Path(got.path).read_bytes())
    assert files_in(tmp_path) == [os.path.basename(got.path)]


def test_a_wrong_mirror_or_version_is_not_covered_by_the_embedded_default(tmp_path: Path) -> None:
    (tmp_path / rootfs.pin().name).write_bytes(b"not alpine")
    with pytest.raises(IntegrityError):
        rootfs.obtain(cache=str(tmp_path / "cache"), mirror=str(tmp_path))
    with pytest.raises(NotFound, match="pinned"):
        rootfs.obtain("2.7", cache=str(tmp_path / "cache"), mirror=str(tmp_path))


def test_without_a_busybox_either_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable(monkeypatch)
    monkeypatch.setattr(embedded, "NAMES", ("no-such-busybox",))
    with pytest.raises(NotFound, match="apt-get install busybox-static") as error:
        rootfs.obtain(cache=str(tmp_path))
    assert "CDN unreachable" in str(error.value)


@pytest.mark.parametrize("version", ["3.20", "3.11"])
def test_the_real_archive_comes_from_the_mirror_with_its_pinned_sum(tmp_path: Path, version: str) -> None:
    content = alpine(version)
    got = rootfs.obtain(version, cache=str(tmp_path), mirror=MIRROR)
    assert got.source == "mirror"
    assert Path(got.path).read_bytes() == content
    assert "etc/alpine-release" in members(content)


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "minicontainer.images.rootfs", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env=dict(os.environ, **environment),
        check=False,
    )


def test_the_command_says_what_it_used_and_prints_the_path_for_scripts(tmp_path: Path) -> None:
    host_busybox()
    said = command("embedded", "--cache", str(tmp_path))
    assert (said.returncode, said.stdout) == (0, "embedded default: asked for by name\n"), said.stderr
    path = command("embedded", "--print-path", "--cache", str(tmp_path))
    assert tarfile.is_tarfile(path.stdout.removesuffix("\n"))
    assert path.stderr == said.stdout


def test_the_command_fails_in_one_line(tmp_path: Path) -> None:
    (tmp_path / rootfs.pin().name).write_bytes(b"not alpine")
    (tmp_path / "file").touch()
    for arguments in (["2.7"], [], ["embedded", "--cache", str(tmp_path / "file")]):
        cache = [] if "--cache" in arguments else ["--cache", str(tmp_path / "cache")]
        failed = command(*arguments, *cache, MINICONTAINER_MIRROR=str(tmp_path))
        assert failed.returncode == 1
        assert failed.stdout == ""
        assert len(failed.stderr.splitlines()) == 1, failed.stderr


def test_looking_at_the_pins_loads_neither_the_http_library_nor_the_bar() -> None:
    code = (
        "import sys; from minicontainer.images import rootfs; rootfs.pin();"
        "print(sorted({'urllib3', 'rich', 'tarfile', 'urllib.request', 'subprocess'} & set(sys.modules)))"
    )
    run = [sys.executable, "-S", "-c", code]
    done = subprocess.run(run, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
