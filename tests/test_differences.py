"""``diff`` says what Docker says of the same changes, and sees through any stack of layers."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
import threading

import pytest
from conftest import DOCKER_IMAGE
from trees import deep_tree

from minicontainer.images import differences

SCRIPTS = {
    "nothing": "true",
    "a new file": "echo x > /new; echo y > /etc/new",
    "new directories": "mkdir -p /a/b/c; echo 1 > /a/b/c/f; mkdir /etc/empty",
    "a file changed": "echo x >> /etc/passwd",
    "a file removed": "rm /etc/motd",
    "a directory removed": "rm -rf /media /etc/apk",
    "all of a directory removed": "rm -rf /media/*",
    "a mode changed": "chmod 600 /etc/group; chmod 700 /srv",
    "an owner changed": "chown 7:8 /etc/group /srv",
    "a mode changed and changed back": "chmod 600 /etc/group; chmod 644 /etc/group",
    "a time changed": "touch -d @1000 /etc/group; touch -d @1000 /srv",
    "a time set to what it was": "touch -r /etc/shells /etc/shells",
    "opened for writing": ": >> /etc/group",
    "written and restored": "cp -p /etc/group /tmp/g; echo x >> /etc/group; cat /tmp/g > /etc/group; "
    "touch -r /tmp/g /etc/group",
    "a file in place of a directory": "rm -rf /etc/apk; echo file > /etc/apk",
    "a directory in place of a file": "rm /etc/fstab; mkdir /etc/fstab; echo 1 > /etc/fstab/x",
    "a symlink in place of a file": "rm /etc/fstab; ln -s passwd /etc/fstab",
    "a symlink to elsewhere": "rm /var/run; ln -s /tmp /var/run",
    "the same symlink again": "rm /bin/ls; ln -s /bin/busybox /bin/ls",
    "a directory made anew": "rm -rf /media; mkdir /media; echo x > /media/usb",
    "an empty directory made anew": "rm -rf /opt; mkdir /opt",
    "a directory made anew with what was in it": "rm -rf /media; mkdir -p /media/usb /media/cdrom",
    "a file made anew": "rm /etc/motd; echo other > /etc/motd",
    "a file renamed": "mv /etc/profile /profile; mv /etc/motd /etc/motto",
    "a directory renamed": "mv /media /medium; mv /var/spool /var/pool",
    "a renamed directory in place of another": "rm -rf /opt; mv /media /opt",
    "a hard link": "ln /etc/services /services; ln /etc/shells /etc/same",
    "a fifo": "mkfifo /fifo /etc/fifo",
    "a device": "mknod /device c 1 3",
    "come and gone": "touch /tmp/t; rm /tmp/t; mkdir /mnt/x; rmdir /mnt/x",
    "deep below": "mkdir -p /usr/share/misc/a; echo 1 > /usr/lib/new; rm /usr/share/udhcpc/default.script",
    "awkward names": "touch '/with space' '/with\ttab' /ünï; mkdir '/-d'",
    "the mount points": "echo '# x' >> /etc/hosts; echo x > /etc/hostname; touch /dev/x /dev/shm/x; ls /proc",
    "a set-user-ID bit": "chmod u+s /bin/busybox; cp -p /bin/busybox /su",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_changes_are_those_that_docker_lists(cli, docker, name):
    script = SCRIPTS[name]
    theirs = docker("run", "-d", "--network", "none", DOCKER_IMAGE, "sh", "-c", script).stdout.strip()
    try:
        docker("wait", theirs)
        expected = docker("diff", theirs).stdout
    finally:
        docker("rm", theirs)
    ours = cli.out("create", "alpine", "sh", "-c", script)
    cli("start", ours)
    cli("wait", ours)
    found = cli("diff", ours).stdout
    assert sorted(found.splitlines()) == sorted(expected.splitlines())
    assert found == cli("container", "diff", ours[:12]).stdout
    paths = [line[2:] for line in found.splitlines()]
    for path in paths:  # each directory comes before what is in it
        above = os.path.dirname(path)
        assert above == "/" or above not in paths or paths.index(above) < paths.index(path)


def test_started_twice_it_still_has_changed_nothing(cli):
    container = cli.out("create", "--tmpfs", "/data", "--workdir", "/", "alpine", "true")
    for _ in range(2):
        cli("start", container)
        cli("wait", container)
    assert [line for line in cli.out("diff", container).splitlines() if "/data" not in line] == []


def test_container_that_is_not_there_is_named(cli):
    done = cli("diff", "nobody", code=1)
    assert "no such container: nobody" in done.stderr.lower()


# -- layers made by hand --


def listed(tmp_path: pathlib.Path, lowers: int = 3) -> list[str]:
    """The changes of ``upper`` over ``1``, the highest of the layers, ``2`` and so on."""
    for name in ("upper", *map(str, range(1, lowers + 1))):
        (tmp_path / name).mkdir(exist_ok=True)
    directories = [str(tmp_path / str(number)) for number in range(1, lowers + 1)]
    return [str(each) for each in differences.changes(str(tmp_path / "upper"), directories)]


def make(tmp_path: pathlib.Path, *paths: str) -> None:
    """Files; ``wh:`` is a whiteout, ``opq:`` an opaque directory. All have the same time."""
    for path in paths:
        kind, _, rest = path.rpartition(":")
        place = tmp_path / rest
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "wh":
            os.mknod(place, stat.S_IFCHR, 0)
        elif kind == "opq":
            place.mkdir(exist_ok=True)
            os.setxattr(place, "trusted.overlay.opaque", b"y")
        else:
            place.write_text("text")
        os.utime(place, (0, 0))


def test_file_that_a_lower_layer_had_removed_is_new(tmp_path):
    make(tmp_path, "upper/f", "wh:1/f", "2/f")
    assert listed(tmp_path) == ["A /f"]


def test_file_removed_twice_is_not_removed_again(tmp_path):
    make(tmp_path, "wh:upper/f", "wh:1/f", "2/f")
    assert listed(tmp_path) == []


def test_highest_layer_counts(tmp_path):
    make(tmp_path, "upper/f", "1/f", "2/f")
    (tmp_path / "2/f").write_text("long ago")
    assert listed(tmp_path) == []


def test_opaque_directory_further_down_hides_what_is_below_it(tmp_path):
    make(tmp_path, "upper/d/f", "1/d/x", "opq:2/d", "3/d/f")
    assert listed(tmp_path) == ["C /d", "A /d/f"]


def test_file_in_the_place_of_a_directory_further_down_hides_it(tmp_path):
    make(tmp_path, "upper/d/f", "1/d/x", "2/d", "3/d/f")
    assert listed(tmp_path) == ["C /d", "A /d/f"]


def test_directory_over_a_removed_one_is_new(tmp_path):
    make(tmp_path, "upper/d/f", "wh:1/d", "2/d/f")
    assert listed(tmp_path) == ["A /d", "A /d/f"]


def test_opaque_directory_removes_what_it_does_not_have(tmp_path):
    make(
        tmp_path,
        "opq:upper/d",
        "upper/d/kept",
        "1/d/kept",
        "1/d/gone",
        "2/d/also",
        "wh:1/d/twice",
        "2/d/twice",
    )
    assert listed(tmp_path) == ["C /d", "D /d/also", "D /d/gone"]


def test_nothing_below_an_added_directory_was_there_before(tmp_path):
    make(tmp_path, "upper/new/d/f")
    assert listed(tmp_path) == ["A /new", "A /new/d", "A /new/d/f"]


def test_file_capabilities_count(tmp_path):
    make(tmp_path, "upper/f", "1/f")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(tmp_path / "upper/f", "security.capability", capability)
    os.utime(tmp_path / "upper/f", (0, 0))
    assert listed(tmp_path) == ["C /f"]


def test_tree_that_is_deeper_than_the_stack():
    with deep_tree(1200) as top:
        assert len(differences.changes(str(top), [])) == 1201


def test_directory_swapped_for_a_symlink_meanwhile_shows_nothing_of_the_host(tmp_path):
    (tmp_path / "host").mkdir()
    (tmp_path / "host/secret").touch()
    for number in range(30):
        make(tmp_path, f"upper/{number}/f")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for number in range(30):
                path = tmp_path / f"upper/{number}"
                with contextlib.suppress(OSError):
                    path.rename(tmp_path / "aside")
                    path.symlink_to(tmp_path / "host")
                    path.unlink()
                    (tmp_path / "aside").rename(path)

    meddler = threading.Thread(target=swap)
    meddler.start()
    try:
        for _ in range(50):
            assert not [line for line in listed(tmp_path) if "secret" in line]
    finally:
        stop.set()
        meddler.join()
