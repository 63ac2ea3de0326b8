"""cp by the rules of cp(1) and Docker, into and out of containers that run and that do not, hostile ones too."""

from __future__ import annotations

import io
import os
import pathlib
import stat
import subprocess
import tarfile
from collections.abc import Callable

import pytest
from conftest import Cli

# What lies in /data of the containers here.
SCRIPT = """mkdir -p /data/sub /data/empty; echo hi > /data/sub/x; chmod 640 /data/sub/x; chown 12:34 /data/sub/x
ln -s sub /data/l; ln -s /etc/passwd /data/p; ln -s /nowhere /data/broken; mkfifo /data/pipe
ln -s a /data/circle-b; ln -s circle-b /data/circle; ln -s circle /data/circle-b -f"""


@pytest.fixture(params=["running", "stopped"])
def box(cli: Cli, request: pytest.FixtureRequest) -> str:
    """A container with files in /data, running or not."""
    cli("run", "--name", "box", "alpine", "sh", "-c", SCRIPT)
    if request.param == "running":
        image_of = cli.out(
            "create", "--name", "live", "alpine", "sh", "-c", SCRIPT + "; touch /ready; exec sleep 1000"
        )
        cli("rm", "box")
        cli("rename", "live", "box")
        cli("start", image_of)
        while cli("exec", "box", "test", "-e", "/ready", code=None).returncode:
            pass
    return "box"


@pytest.fixture
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A directory with files, which is the current one."""
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "f").write_text("f\n")
    (tmp_path / "f").chmod(0o640)
    (tmp_path / "d" / "e" / "g").write_text("g\n")
    (tmp_path / "link").symlink_to("f")
    (tmp_path / "dirlink").symlink_to("d")
    os.utime(tmp_path / "f", ns=(10**18 + 5, 10**18 + 123456789))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def look(cli: Cli, path: str) -> str:
    """What ``cp CONTAINER:PATH -`` has in its archive: names, kinds and contents."""
    argv = [*cli.argv, "cp", f"box:{path}", "-"]
    done = subprocess.run(argv, env=cli.env, capture_output=True, check=True)
    lines = []
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        for entry in tar:
            if entry.isreg():
                content = tar.extractfile(entry)
                assert content
                lines.append(f"{entry.name}={content.read().decode().strip()}")
            else:
                lines.append(f"{entry.name}/" if entry.isdir() else f"{entry.name}->{entry.linkname}")
    return " ".join(sorted(lines))


# ------------------------------------------------------------------ in


def test_a_file_goes_in(cli: Cli, box: str, here: pathlib.Path) -> None:
    cli("cp", "f", "box:/tmp")
    assert look(cli, "/tmp/f") == "f=f"
    cli("cp", "f", "box:/tmp/new")
    assert look(cli, "/tmp/new") == "new=f"
    cli("cp", here / "f", "box:tmp/relative"), "paths inside are relative to /"
    assert look(cli, "/tmp/relative") == "relative=f"
    cli("cp", "f", "box:/")
    assert look(cli, "/f") == "f=f"


def test_mode_time_and_owner(cli: Cli, box: str, here: pathlib.Path) -> None:
    os.chown("f", 1000, 1001)
    for option, owner in (((), (0, 0)), (("-a",), (1000, 1001))):
        cli("cp", *option, "f", "box:/tmp/f")
        cli("cp", "-a", "box:/tmp/f", "back")
        found = os.stat("back")
        assert (found.st_uid, found.st_gid) == owner
        assert stat.S_IMODE(found.st_mode) == 0o640
        assert found.st_mtime == 10**9 + 0.123456789


def test_a_directory_goes_in_as_cp_does_it(cli: Cli, box: str, here: pathlib.Path) -> None:
    cli("cp", "d", "box:/tmp")
    assert look(cli, "/tmp/d") == "d/ d/e/ d/e/g=g"
    cli("cp", "d", "box:/tmp/other")
    assert look(cli, "/tmp/other") == "other/ other/e/ other/e/g=g"
    cli("cp", "d", "box:/tmp/other")
    assert look(cli, "/tmp/other") == "other/ other/d/ other/d/e/ other/d/e/g=g other/e/ other/e/g=g"
    cli("cp", "d/.", "box:/data/empty")
    assert look(cli, "/data/empty") == "empty/ empty/e/ empty/e/g=g"


def test_links_of_the_host_are_copied_as_links_unless_they_are_to_be_followed(
    cli: Cli, box: str, here: pathlib.Path
) -> None:
    cli("cp", "link", "box:/tmp/link")
    cli("cp", "-L", "link", "box:/tmp/followed")
    cli("cp", "dirlink", "box:/tmp/dirlink")
    cli("cp", "dirlink/", "box:/tmp/entered")
    assert look(cli, "/tmp/link") == "link->f"
    assert look(cli, "/tmp/followed") == "followed=f"
    assert look(cli, "/tmp/dirlink") == "dirlink->d"
    assert look(cli, "/tmp/entered") == "entered/ entered/e/ entered/e/g=g"


def test_links_of_the_container_are_followed_inside(cli: Cli, box: str, here: pathlib.Path) -> None:
    """A link at the end of the path is written through, also to where nothing is yet, and never out of it."""
    host = pathlib.Path("/etc/passwd").read_bytes()
    cli("cp", "f", "box:/data/p")
    assert look(cli, "/data/p") == "p->/etc/passwd"
    assert look(cli, "/etc/passwd") == "passwd=f"
    assert pathlib.Path("/etc/passwd").read_bytes() == host
    cli("cp", "f", "box:/data/broken")
    assert look(cli, "/nowhere") == "nowhere=f"
    assert not os.path.exists("/nowhere")
    cli("cp", "f", "box:/data/l")
    assert look(cli, "/data/sub") == "sub/ sub/f=f sub/x=hi"
    assert "circle" in cli("cp", "f", "box:/data/circle", code=1).stderr


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (("f", "box:/tmp/no/such"), "/tmp/no"),
        (("f", "box:/tmp/missing/"), "/tmp/missing"),
        (("d", "box:/etc/passwd"), "/etc/passwd"),
        (("d/.", "box:/etc/passwd"), "/etc/passwd"),
        (("f", "box:/etc/passwd/x"), "/etc/passwd"),
        (("missing", "box:/tmp"), "missing"),
        (("box:/missing", "x"), "/missing"),
        (("box:/data/sub/x", "no/such"), "no"),
        (("box:/data/sub/x", "missing/"), "missing"),
        (("box:/data", "f"), "f"),
        (("box:/data/sub/x/", "x"), "/data/sub/x/"),
        (("nonesuch:/x", "x"), "nonesuch"),
        (("f", "nonesuch:/x"), "nonesuch"),
        (("box:/a", "box:/b"), "between containers"),
        (("f", "x"), "container"),
        (("box:", "x"), "box:"),
    ],
    ids=lambda words: "_".join(words) if isinstance(words, tuple) else "",
)
def test_what_cannot_be_copied(cli: Cli, here: pathlib.Path, words: tuple[str, str], culprit: str) -> None:
    cli("run", "--name", "box", "alpine", "sh", "-c", SCRIPT)
    before = sorted(os.listdir("."))
    failed = cli("cp", *words, code=1)
    assert culprit in failed.stderr
    assert sorted(os.listdir(".")) == before


# ------------------------------------------------------------------ out


def test_out(cli: Cli, box: str, here: pathlib.Path) -> None:
    cli("cp", "box:/data/sub/x", "one")
    cli("cp", "box:/data/sub/x", "d")
    cli("cp", "box:/data", "all")
    cli("cp", "box:/data/.", "d/e")
    assert (here / "one").read_text() == (here / "d" / "x").read_text() == "hi\n"
    for top in (here / "all", here / "d" / "e"):
        assert (top / "sub" / "x").read_text() == "hi\n"
        assert os.readlink(top / "p") == "/etc/passwd"
        assert os.readlink(top / "broken") == "/nowhere"
        assert stat.S_ISFIFO((top / "pipe").stat().st_mode)
        assert stat.S_IMODE((top / "sub" / "x").stat().st_mode) == 0o640
    assert (here / "one").stat().st_uid == os.getuid()
    cli("cp", "-a", "box:/data/sub/x", "owned")
    assert ((here / "owned").stat().st_uid, (here / "owned").stat().st_gid) == (12, 34)


def test_links_out(cli: Cli, box: str, here: pathlib.Path) -> None:
    cli("cp", "box:/data/p", "as-link")
    assert os.readlink("as-link") == "/etc/passwd"
    cli("cp", "-L", "box:/data/p", "followed")
    assert not os.path.islink("followed")
    assert "root:x:0:0" in (here / "followed").read_text(), "the container's /etc/passwd"
    cli("cp", "box:/data/sub/x", "link")
    assert os.readlink("link") == "f"
    assert (here / "f").read_text() == "hi\n", "a link of ours at the end is written through"


def test_the_whole_without_what_the_kernel_shows(cli: Cli, here: pathlib.Path) -> None:
    cli(
        "run",
        "-d",
        "--name",
        "box",
        "--tmpfs",
        "/scratch",
        "alpine",
        "sh",
        "-c",
        "touch /scratch/x; sleep 1000",
    )
    cli("cp", "box:/", "all")
    assert (here / "all" / "etc" / "passwd").exists()
    for kernels in ("proc", "sys", "dev", "scratch"):
        assert os.listdir(here / "all" / kernels) == []
    cli("cp", "box:/scratch/x", "x"), "what is asked for by name is there all the same"


def test_what_was_never_started_can_be_copied_from_too(cli: Cli, here: pathlib.Path) -> None:
    container = cli.out("create", "--name", "box", "alpine", "cat", "/tmp/f")
    cli("cp", "box:/etc/passwd", "passwd")
    cli("cp", "f", "box:/tmp/f")
    assert cli.out("start", "-a", "box") == "f"
    assert container not in pathlib.Path("/proc/self/mounts").read_text()


def test_read_only(cli: Cli, here: pathlib.Path) -> None:
    options = ("--read-only", "--tmpfs", "/tmp")
    cli("create", "--name", "box", *options, "alpine", "sleep", "1000")
    assert "read-only" in cli("cp", "f", "box:/x", code=1).stderr
    cli("start", "box")
    assert "ead-only" in cli("cp", "f", "box:/x", code=1).stderr
    cli("cp", "f", "box:/tmp/x")
    assert cli.out("exec", "box", "cat", "/tmp/x") == "f"


# ------------------------------------------------------------------ archives


def test_an_archive_in_and_out(cli: Cli, box: str, here: pathlib.Path) -> None:
    packed = subprocess.run(["tar", "-c", "d", "link"], capture_output=True, check=True).stdout
    subprocess.run([*cli.argv, "cp", "-", "box:/data/empty"], env=cli.env, input=packed, check=True)
    assert look(cli, "/data/empty") == "empty/ empty/d/ empty/d/e/ empty/d/e/g=g empty/link->f"
    assert look(cli, "/data/sub/x") == "x=hi"
    damaged = cli("cp", "-", "box:/tmp", input="this is no archive" * 100, code=1)
    assert "tar" in damaged.stderr


def climbing() -> bytes:
    """Archives that try to get out: by .., by an absolute name, and through a link of their own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("../../../../escaped-1", "/escaped-2"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"bad\n"))
        link = tarfile.TarInfo("way-out")
        link.type, link.linkname = tarfile.SYMTYPE, "/"
        tar.addfile(link)
        entry = tarfile.TarInfo("way-out/escaped-3")
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"bad\n"))
    return out.getvalue()


def test_an_archive_cannot_write_outside(cli: Cli, box: str) -> None:
    argv = [*cli.argv, "cp", "-", "box:/tmp"]
    subprocess.run(argv, env=cli.env, input=climbing(), check=False, capture_output=True)
    for number in (1, 2, 3):
        assert not os.path.exists(f"/escaped-{number}")


SWAPS: list[Callable[[str], str]] = [
    lambda path: f"rm -r {path}; ln -s /etc {path}",
    lambda path: f"rm -r {path}; ln -s ../../../../../../etc {path}",
    lambda path: f"rm -r {path}; ln -s /proc/1/root/etc {path}",
    lambda path: f"rm -r {path}; ln -s /proc/self/root/etc {path}",
]


@pytest.mark.parametrize("swap", SWAPS)
def test_a_container_cannot_lead_cp_to_the_host(
    cli: Cli, here: pathlib.Path, swap: Callable[[str], str]
) -> None:
    """A directory that is a symlink when we come: CVE-2018-15664."""
    marker = here / "f"
    marker.write_text("from the host\n")
    cli(
        "run",
        "-d",
        "--name",
        "box",
        "alpine",
        "sh",
        "-c",
        f"mkdir /d; {swap('/d')}; touch /ready; sleep 1000",
    )
    while cli("exec", "box", "test", "-e", "/ready", code=None).returncode:
        pass
    name = "minicontainer-test-escape"
    cli("cp", "f", f"box:/d/{name}", code=None)
    assert not os.path.exists(f"/etc/{name}")
    out = cli("cp", "box:/d/hostname", "stolen", code=None)
    host = pathlib.Path("/etc/hostname").read_text() if os.path.exists("/etc/hostname") else "no host name"
    assert out.returncode or (here / "stolen").read_text() != host


def test_large_and_odd_files_come_through(cli: Cli, here: pathlib.Path) -> None:
    cli("run", "-d", "--name", "box", "alpine", "sleep", "1000")
    odd = here / "odd"
    odd.mkdir()
    names = [b"new\nline", b"not-\xff-utf8", b"x" * 255, "Ünïcødé".encode(), b" lead", b"-dash", b"*"]
    for name in names:
        with open(os.path.join(os.fsencode(odd), name), "wb") as file:
            file.write(name)
    data = os.urandom(20 << 20)
    (odd / "large").write_bytes(data)
    cli("cp", "odd", "box:/odd")
    cli("cp", "box:/odd", "back")
    assert sorted(os.listdir(os.fsencode(here / "back"))) == sorted([*names, b"large"])
    for name in names:
        with open(os.path.join(os.fsencode(here / "back"), name), "rb") as file:
            assert file.read() == name
    assert (here / "back" / "large").read_bytes() == data
