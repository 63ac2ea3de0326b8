"""A container becomes an image, or an archive: what Docker makes of the same container, and nothing half made."""

from __future__ import annotations

import io
import json
import os
import pathlib
import random
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time

import pytest
from conftest import DOCKER, DOCKER_IMAGE
from waiting import until

from minicontainer.engine import commit
from minicontainer.errors import Conflict, InvalidArgument, NotFound
from minicontainer.images import packing

CHANGE = (
    "echo new > /new; echo more >> /etc/passwd; rm /etc/motd; rm -rf /media; mkdir /media; echo 1 > /media/mine; "
    "rm -rf /opt; echo file > /opt; chown 7:8 /srv; chmod 4711 /new; ln /new /same; ln -s new /link; mkfifo /fifo; "
    "mv /var/spool /var/pool; mkdir -p /a/b; mknod /null c 1 3"
)


@pytest.fixture
def changed(cli) -> str:
    """A container that has made all kinds of changes, and has ended."""
    container = cli.out("run", "-d", "alpine", "sh", "-c", CHANGE)
    assert cli.out("wait", container) == "0"
    return container


def forget(cli, *images: str) -> None:
    cli("rmi", "-f", *images, code=None)


# -- commit --


def test_next_container_begins_where_this_one_stands(cli, changed):
    image = cli.out("commit", changed, "changed:1")
    assert image.startswith("sha256:") and cli.out("images", "-q", "changed:1") == image[7:19]
    look = "cat /new /opt /media/mine; ls /etc/motd; ls /media; stat -c %a:%u /new /srv; readlink /link"
    shown = cli("run", "--rm", "changed:1", "sh", "-c", look)
    assert shown.stdout.split() == ["new", "file", "1", "mine", "4711:0", "755:7", "new"]
    assert "No such file" in shown.stderr
    again = cli.out("run", "-d", "changed:1", "true")
    cli("wait", again)
    assert cli.out("diff", again) == ""
    cli("rm", again)
    forget(cli, "changed:1")


def test_image_that_was_begun_with_is_as_before(cli, changed):
    before = cli.out("image", "inspect", "alpine")
    cli("commit", changed, "changed:1")
    assert cli.out("image", "inspect", "alpine") == before
    assert cli.out("run", "--rm", "alpine", "ls", "/") == cli.out("run", "--rm", "alpine", "ls", "/")
    assert "new" not in cli.out("run", "--rm", "alpine", "ls", "/").split()
    forget(cli, "changed:1")


def layer_of(engine, image) -> tarfile.TarFile:
    path = engine.images.blob_path(image.manifest["layers"][-1]["digest"])
    return tarfile.open(fileobj=io.BytesIO(pathlib.Path(path).read_bytes()))


def entries(tar: tarfile.TarFile) -> dict[str, tuple]:
    """What an archive says of each file, but for times."""
    found = {}
    for entry in tar:
        content = tar.extractfile(entry).read() if entry.isreg() else entry.linkname
        if entry.name.endswith(".wh..wh..opq"):  # of which only the name counts
            entry.mode = 0
        found[entry.name] = (entry.type, entry.mode & 0o7777, entry.uid, entry.gid, content)
    return found


def test_layer_is_the_one_that_docker_makes(cli, engine, docker, changed):
    """The same names, kinds, modes, owners and contents, whiteouts and opaque directories among them."""
    theirs = docker("run", "-d", "--network", "none", DOCKER_IMAGE, "sh", "-c", CHANGE).stdout.strip()
    docker("wait", theirs)
    image = docker("commit", theirs).stdout.strip()
    try:
        saved = subprocess.run([DOCKER, "save", image], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
            manifest = json.load(tar.extractfile("manifest.json"))
            expected = entries(tarfile.open(fileobj=tar.extractfile(manifest[0]["Layers"][-1])))
    finally:
        docker("rm", theirs)
        docker("rmi", image)
    found = entries(layer_of(engine, engine.find(changed).commit()))
    assert found == expected
    assert {".wh..wh..opq", ".wh.motd", ".wh.spool"} <= {name.rpartition("/")[2] for name in found}


def test_docker_runs_what_was_committed(cli, docker, changed, tmp_path):
    cli("commit", changed, "minicontainer-committed:1")
    cli("save", "-o", tmp_path / "saved.tar", "minicontainer-committed:1")
    docker("load", "-i", tmp_path / "saved.tar")
    look = "cat /new /opt /media/mine; ls /media /var; ls /etc/motd"
    try:
        theirs = docker("run", "--rm", "--network", "none", "minicontainer-committed:1", "sh", "-c", look)
    finally:
        docker("rmi", "minicontainer-committed:1")
    ours = cli("run", "--rm", "minicontainer-committed:1", "sh", "-c", look, code=None)
    assert ours.stdout.split()[:3] == ["new", "file", "1"]
    assert (theirs.stdout, theirs.stderr) == (ours.stdout, ours.stderr)
    forget(cli, "minicontainer-committed:1")


def test_configuration_is_the_one_that_docker_makes(cli, engine, docker):
    how = [
        "-e",
        "A=1",
        "-l",
        "x=y",
        "-u",
        "nobody",
        "-w",
        "/tmp",
        "--entrypoint",
        "/bin/echo",
        "--stop-signal",
        "INT",
    ]
    asked = ["-c", "ENV B=2", "-c", "EXPOSE 80", "-m", "said", "-a", "me"]
    theirs = docker("create", *how, DOCKER_IMAGE, "hi", "there").stdout.strip()
    image = docker("commit", *asked, theirs).stdout.strip()
    expected = json.loads(docker("image", "inspect", image).stdout)[0]
    docker("rm", theirs)
    docker("rmi", image)
    ours = cli.out("create", *how, "alpine", "hi", "there")
    found = json.loads(cli.out("image", "inspect", cli.out("commit", *asked, ours)))[0]
    cli("rm", ours)
    for key in (
        "User",
        "Env",
        "Cmd",
        "Entrypoint",
        "WorkingDir",
        "Labels",
        "ExposedPorts",
        "Volumes",
        "StopSignal",
    ):
        assert found["Config"].get(key) == expected["Config"].get(key), key
    for key in ("Comment", "Author", "Architecture", "Os"):
        assert found[key] == expected[key], key


@pytest.mark.parametrize("change", ['ENTRYPOINT ["/e"]', 'CMD ["c"]', "USER 7", "WORKDIR /w", "ENV A=2"])
def test_change_does_what_it_does_with_docker(cli, docker, change):
    theirs = docker("create", "-e", "A=1", DOCKER_IMAGE, "hi").stdout.strip()
    image = docker("commit", "-c", change, theirs).stdout.strip()
    expected = json.loads(docker("image", "inspect", image).stdout)[0]["Config"]
    docker("rm", theirs)
    docker("rmi", image)
    ours = cli.out("create", "-e", "A=1", "alpine", "hi")
    made = cli.out("commit", "-c", change, ours)
    found = json.loads(cli.out("image", "inspect", made))[0]["Config"]
    cli("rm", ours)
    forget(cli, made)
    for key in ("User", "Env", "Cmd", "Entrypoint", "WorkingDir"):
        assert found.get(key) == expected.get(key), key


def test_history_tells_of_it(cli, changed):
    cli("commit", "-m", "a message", "-a", "somebody", changed, "changed:1")
    rows = cli.out("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}|{{.Size}}", "changed:1")
    by, comment, size = rows.splitlines()[0].split("|")
    assert (by, comment) == (f"sh -c {CHANGE}", "a message")
    assert size.endswith("B") and size != "0B"
    forget(cli, "changed:1")


def test_size_is_known_before_anybody_uses_it(cli, engine):
    with AfterScript(engine, "head -c 299997 /dev/zero | tr '\\0' x > /f; ln -s abc /l") as container:
        image = container.commit()
    below = engine.images.find("alpine").size
    assert image.size == below + 300_000
    engine.images.layer_directories(image)
    assert image.size == below + 300_000


class AfterScript:
    """A container that has run a script, for a ``with``."""

    def __init__(self, engine, script: str) -> None:
        self.container = engine.create("alpine", ["sh", "-c", script])

    def __enter__(self):
        self.container.start()
        assert self.container.wait() == 0
        return self.container

    def __exit__(self, *_: object) -> None:
        self.container.remove(force=True)


def test_container_that_changed_nothing_adds_no_layer_as_with_docker(cli, engine):
    with AfterScript(engine, "true") as container:
        image = container.commit(message="nothing")
    assert image.diff_ids == engine.images.find("alpine").diff_ids
    assert image.config["history"][-1]["empty_layer"] is True
    assert image.config["history"][-1]["comment"] == "nothing"
    assert not os.path.exists(engine.images.layer_path(packing.EMPTY))


def test_same_change_is_the_same_layer(engine):
    script = "echo same > /f; touch -d @1000 /f"
    layers = []
    for _ in range(2):
        with AfterScript(engine, script) as container:
            image = container.commit()
            layers.append((image.diff_ids[-1], image.manifest["layers"][-1]["digest"]))
    assert layers[0] == layers[1]


def test_commit_of_a_commit_has_a_layer_for_each(cli, engine):
    cli("run", "--name", "one", "alpine", "sh", "-c", "echo 1 > /one; echo 1 > /both")
    cli("commit", "one", "layers:1")
    cli("run", "--name", "two", "layers:1", "sh", "-c", "echo 2 > /two; echo 2 > /both; rm /one")
    cli("commit", "two", "layers:2")
    assert len(engine.images.find("layers:2").diff_ids) == 3
    assert cli.out("run", "--rm", "layers:2", "sh", "-c", "cat /two /both; ls /one || true").split() == [
        "2",
        "2",
    ]
    assert cli.out("run", "--rm", "layers:1", "sh", "-c", "cat /one /both").split() == ["1", "1"]
    cli("rm", "one", "two")
    forget(cli, "layers:2", "layers:1")


# -- the pause --


@pytest.fixture
def writer(cli) -> str:
    """A container that writes the same number to two files, one after the other, again and again."""
    loop = "n=0; while :; do n=$((n+1)); for f in /first /last; do echo $n > /new; mv /new $f; done; done"
    container = cli.out("run", "-d", "alpine", "sh", "-c", loop)
    until(lambda: cli.is_there(container, "/last"))
    return container


def actions(cli, container: str, since: float) -> list[str]:
    shown = cli.out("events", "--since", since, "--until", time.time(), "--filter", f"container={container}")
    return [line.split()[2] for line in shown.splitlines()]


def test_container_stands_still_meanwhile_and_then_goes_on(cli, engine, writer):
    since = time.time()
    image = engine.images.find(cli.out("commit", writer))
    assert engine.find(writer).status == "running"
    assert actions(cli, writer, since) == ["pause", "unpause", "commit"]
    contents = {name: what[-1] for name, what in entries(layer_of(engine, image)).items()}
    first, last = (int(contents[name] or 0) for name in ("first", "last"))
    assert first - last in (0, 1)
    before = cli.out("exec", writer, "cat", "/last")
    until(lambda: cli.out("exec", writer, "cat", "/last") != before, "it did not go on")


def test_without_a_pause_it_goes_on(cli, writer):
    since = time.time()
    cli("commit", "--pause=false", writer)
    assert actions(cli, writer, since) == ["commit"]


def test_container_that_was_paused_stays_so(cli, engine, writer):
    cli("pause", writer)
    cli("commit", writer)
    assert engine.find(writer).status == "paused"
    cli("ps")
    assert engine.find(writer).status == "paused"
    cli("unpause", writer)


def test_container_goes_on_when_its_layer_cannot_be_packed(cli, engine):
    container = cli.out("run", "-d", "alpine", "sh", "-c", "touch /.wh.x; sleep 1000")
    until(lambda: cli.is_there(container, "/.wh.x"))
    before = {image.id for image in engine.images.images()}
    done = cli("commit", container, "wrong:1", code=1)
    assert "/.wh.x: in a layer, a name that begins with .wh. means a removal" in done.stderr
    assert engine.find(container).status == "running"
    assert {image.id for image in engine.images.images()} == before
    cli("rm", "-f", container)


def blobs(engine) -> set[str]:
    return {
        *os.listdir(os.path.join(engine.images.blobs_path, "sha256")),
        *os.listdir(engine.images.blobs_path),
    }


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_nothing_and_the_container_goes_on(cli, engine):
    script = "for n in $(seq 300); do head -c 20000 /dev/urandom > /f$n; done; touch /ready; sleep 1000"
    container = cli.out("run", "-d", "alpine", "sh", "-c", script)
    until(lambda: cli.is_there(container, "/ready"), seconds=120)
    begun = time.monotonic()
    forget(cli, cli.out("commit", container))
    takes = time.monotonic() - begun
    before, seen = blobs(engine), []
    for number in range(30):
        child = subprocess.Popen(
            [*cli.argv, "commit", container, f"killed:{number}"], env=cli.env, stdout=subprocess.PIPE
        )
        time.sleep(random.uniform(0.2, 1) * takes)
        child.send_signal(signal.SIGKILL)
        done = child.communicate()[0].startswith(b"sha256:")
        seen.append(engine.find(container).status)
        cli("ps")  # the next command
        assert engine.find(container).status == "running"
        assert "no problems" in cli.out("system", "check")
        made = cli("images", "-q", f"killed:{number}").stdout
        assert made or not done
        if made:
            forget(cli, f"killed:{number}")
        assert blobs(engine) == before
    assert "paused" in seen, "it was never killed while the container was paused"
    cli("rm", "-f", container)


def test_container_may_be_deeper_than_the_stack(cli, engine):
    """Neither diff nor commit, nor the layer unpacked, nor the removal of all of it minds."""
    script = "n=0; while [ $n -lt 1200 ]; do mkdir d; cd d; n=$((n+1)); done; echo x > end"
    container = cli.out("run", "-d", "-w", "/tmp", "alpine", "sh", "-c", script)
    cli("wait", container)
    assert len(cli.out("diff", container).splitlines()) == 1202
    cli("commit", container, "deep:1")
    assert cli.out("run", "--rm", "deep:1", "find", "/tmp", "-name", "end").count("/d") == 1200
    cli("rm", container)
    cli("rmi", "deep:1")


def test_two_at_once_both_succeed(cli, engine, changed):
    outcome = []

    def make(name: str) -> None:
        outcome.append(engine.find(changed).commit(name))

    threads = [threading.Thread(target=make, args=(f"twin:{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({image.diff_ids[-1] for image in outcome}) == 1
    for number in range(3):
        assert cli.out("run", "--rm", f"twin:{number}", "cat", "/new") == "new"
    forget(cli, "twin:0", "twin:1", "twin:2")


# -- what cannot be committed --


def test_container_whose_image_is_gone_cannot_be_committed_but_exported(cli, engine, changed):
    base = cli.out("commit", changed, "base:1")
    container = cli.out("create", "base:1", "true")
    cli("rmi", "-f", "base:1")
    done = cli("commit", container, code=1)
    assert "its image was removed" in done.stderr and "export" in done.stderr
    assert base not in {image.id for image in engine.images.images()}
    out = io.BytesIO()
    engine.find(container).export(out)
    assert "new" in tarfile.open(fileobj=io.BytesIO(out.getvalue())).getnames()
    cli("rm", container)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nobody"], "no such container: nobody"),
        (["{it}", "UPPER"], "invalid reference"),
        (["-c", "RUN x", "{it}"], "RUN is not one of"),
        ([], '"minicontainer commit" requires at least 1 argument'),
        (["{it}", "a", "b"], '"minicontainer commit" requires at most 2 arguments'),
    ],
)
def test_what_cannot_be_meant_is_refused_and_leaves_nothing(cli, engine, changed, words, message):
    before = blobs(engine)
    done = cli("commit", *(word.format(it=changed) for word in words), code=1)
    assert message in done.stderr
    assert blobs(engine) == before


def test_library_does_the_same(engine, changed):
    container = engine.find(changed)
    image = container.commit("library:1", author="me", message="said", changes=["ENV A=1"])
    assert image.settings["Env"] == ["A=1"] and [name.familiar for name in image.names] == ["library:1"]
    assert "A /new" in map(str, container.diff())
    with pytest.raises(InvalidArgument, match="RUN is not one of"):
        container.commit(changes=["RUN x"])
    engine.images.remove(image)


# -- export --


def exported(cli, container: str) -> tarfile.TarFile:
    done = subprocess.run([*cli.argv, "export", container], env=cli.env, check=True, capture_output=True)
    return tarfile.open(fileobj=io.BytesIO(done.stdout))


def test_archive_is_the_one_that_docker_writes(cli, docker, changed):
    theirs = docker("run", "-d", "--network", "none", DOCKER_IMAGE, "sh", "-c", CHANGE).stdout.strip()
    docker("wait", theirs)
    written = subprocess.run([DOCKER, "export", theirs], check=True, capture_output=True).stdout
    docker("rm", theirs)
    expected = entries(tarfile.open(fileobj=io.BytesIO(written)))
    found = entries(exported(cli, changed))
    for archive in (expected, found):
        for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf"):  # mounted on; the image's, or empty
            archive.pop(name)
        # Docker's in every container.
        for name in (".dockerenv", "dev/console", "dev/pts", "dev/shm", "etc/mtab"):
            archive.pop(name, None)
    assert found == expected
    assert not [name for name in found if ".wh." in name]


def test_running_container_is_written_without_what_is_mounted_in_it(cli):
    container = cli.out(
        "run",
        "-d",
        "--tmpfs",
        "/data",
        "alpine",
        "sh",
        "-c",
        "echo x > /data/secret; echo y > /file; sleep 1000",
    )
    until(lambda: cli.is_there(container, "/file"))
    found = entries(exported(cli, container))
    assert found["file"][-1] == b"y\n"
    assert [name for name in found if name.startswith(("proc/", "sys/", "dev/", "data/"))] == []
    assert {"proc", "sys", "dev", "data"} <= set(found)
    assert cli.out("exec", container, "cat", "/data/secret") == "x"
    cli("rm", "-f", container)


def test_archive_is_imported_as_the_same_tree(cli, changed, tmp_path):
    cli("export", "-o", tmp_path / "tree.tar", changed)
    cli("import", tmp_path / "tree.tar", "flat:1")
    container = cli.out("create", "flat:1", "true")
    assert entries(exported(cli, container)) == entries(exported(cli, changed))
    cli("rm", container)
    forget(cli, "flat:1")


def test_file_is_there_whole_or_not_at_all(cli, changed, tmp_path, engine, monkeypatch):
    place = tmp_path / "out.tar"
    cli("export", "--output", place, changed)
    assert "new" in tarfile.open(place).getnames() and stat.S_IMODE(place.stat().st_mode) == 0o600
    child = subprocess.Popen([*cli.argv, "export", "-o", tmp_path / "half.tar", changed], env=cli.env)
    child.send_signal(signal.SIGINT)
    child.wait()
    assert os.listdir(tmp_path) == ["out.tar"] or tarfile.open(tmp_path / "half.tar").getnames()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere/out.tar", "invalid output path: directory"),
        (".", "is there and is no regular file"),
    ],
)
def test_place_where_no_file_can_be_is_refused(cli, changed, tmp_path, target, message):
    done = cli("export", "-o", tmp_path / target, changed, code=1)
    assert message in done.stderr
    assert os.listdir(tmp_path) == []


def test_terminal_gets_no_archive(cli, changed):
    shown, status = cli.tty("export", changed)
    assert "cowardly refusing to save to a terminal" in shown and status == 1


def test_reader_that_goes_away_is_no_error_of_ours(cli, changed):
    words = f"{' '.join(map(str, cli.argv))} export {changed} | head -c 1000 | wc -c"
    done = subprocess.run(["sh", "-c", words], env=cli.env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1000" and done.stderr == ""


def test_container_that_is_not_there_is_named(cli):
    assert "no such container: nobody" in cli("export", "nobody", code=1).stderr


def test_program_keeps_its_own_mounts_when_it_exports(engine):
    """Another mount namespace is entered by a thread that ends."""
    before = os.readlink("/proc/self/ns/mnt")
    container = engine.create("alpine", ["sleep", "1000"])
    container.start()
    container.export(io.BytesIO())
    assert os.readlink("/proc/self/ns/mnt") == before and threading.active_count() == 1
    container.remove(force=True)
    with pytest.raises((NotFound, Conflict)):
        commit.export(container, io.BytesIO())


def test_nothing_is_imported_for_run_that_only_this_needs():
    code = "import sys, minicontainer.engine.engine; print('minicontainer.engine.commit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
