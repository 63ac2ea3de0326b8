"""What a container sees as its files: its root, its mounts, its /dev; and what of the host it does not see."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from typing import NamedTuple

import pytest

from minicontainer.errors import Error, InvalidArgument, NotFound
from minicontainer.kernel import mount as kernel
from minicontainer.kernel import namespaces

pytest_plugins = ["bundle_fixtures"]


class Mount(NamedTuple):
    """One line of mountinfo (proc_pid_mountinfo(5)), as far as it tells what is there and what may be done."""

    fstype: str
    options: frozenset[str]
    propagation: str
    root: str


def mounts(mountinfo: str) -> dict[str, Mount]:
    """The mounts by mount point; of several at one the uppermost."""
    found = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        _, _, _, root, point, options, *propagation = left.split(" ")
        options = frozenset(options.split(","))
        found[point] = Mount(right.split()[0], options, " ".join(propagation), root)
    return found


def mounts_of(bundle, **how) -> dict[str, Mount]:
    return mounts(bundle.run("cat", "/proc/self/mountinfo", **how).out)


def host_mounts() -> list[str]:
    with open("/proc/self/mountinfo") as file:
        return file.read().splitlines()


@pytest.fixture
def alone():
    """This thread in a copy of the host's mounts, shared as they are, where nobody else mounts meanwhile."""
    with open("/proc/thread-self/ns/mnt") as outside:
        here = os.getcwd()
        namespaces.unshare(namespaces.CLONE_NEWNS)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_SHARED)
        try:
            yield
        finally:
            namespaces.setns(outside.fileno())
            os.chdir(here)


@pytest.fixture
def source(place, request):
    """A directory of the host to bind, with a file in it; unmounted and removed after the test."""
    path = os.path.join(place, f"source-{request.node.name[:40].replace('/', '-')}")
    os.mkdir(path)
    with open(os.path.join(path, "file"), "w") as file:
        file.write("of the host\n")
    yield path
    while path in mounts("\n".join(host_mounts())):
        kernel.umount2(path, kernel.MNT_DETACH)
    subprocess.run(["rm", "-r", path], check=True)


# -- the tree as a whole, compared with runc --


def test_mounts_and_their_options_are_those_that_runc_makes(bundle):
    # A cgroup namespace makes no difference to ours, and runc would mount v1 hierarchies in another way.
    bundle.without_namespace("cgroup")
    theirs = mounts(bundle.runc("cat", "/proc/self/mountinfo").out)
    ours = mounts_of(bundle)
    # runc leaves the tmpfs that holds the v1 hierarchies writable; ours is as read-only as its mount says.
    expected = {
        point: each._replace(options=each.options - {"rw"} | {"ro"}) if point == "/sys/fs/cgroup" else each
        for point, each in theirs.items()
    }
    for tree in (ours, expected):
        for point in list(tree):
            tree[point] = tree[point]._replace(
                root="" if point.startswith("/sys/fs/cgroup") else tree[point].root
            )
    assert ours == expected


def test_devices_modes_owners_and_links_in_dev_are_those_that_runc_makes(bundle):
    script = "cd /dev; for f in $(ls); do stat -c '%n %F %t:%T %a %u:%g' $f; readlink $f; done; true"
    theirs = bundle.runc("sh", "-c", script).out
    assert theirs and bundle.sh(script) == theirs.rstrip("\n")


def test_contents_of_masked_and_readonly_paths_are_those_that_runc_shows(bundle):
    paths = {*bundle.linux["maskedPaths"], *bundle.linux["readonlyPaths"]} - {"/proc/sysrq-trigger"}
    script = (
        f"for p in {' '.join(sorted(paths))}; do echo $p; test -e $p || continue; stat -c '%F %t:%T' $p;"
        " ls $p | grep -c .; test -d $p || wc -c <$p; touch $p/x 2>&1 | sed 's/.*: //'; done"
    )
    theirs = bundle.runc("sh", "-c", script)
    assert theirs.out and bundle.run("sh", "-c", script).out == theirs.out


# -- nothing of the host --


def test_there_is_nothing_above_the_root(bundle):
    inodes = bundle.sh("stat -L -c %d:%i / /.. /../../.. /proc/1/root /proc/1/cwd /proc/self/cwd/..").split()
    assert len(inodes) == 6 and len(set(inodes)) == 1


def test_no_mount_of_the_host_is_left_in_sight(bundle, tmp_path):
    with open("/proc/self/mountinfo") as file:
        points = set(mounts(file.read())) - {
            "/",
            "/proc",
            "/dev",
            "/dev/pts",
            "/dev/shm",
            "/dev/mqueue",
            "/sys",
        }
    inside = mounts_of(bundle)
    assert bundle.rootfs in points
    assert {point for point in points & set(inside) if not point.startswith("/sys/fs/cgroup")} == set()
    assert inside["/"].fstype == "overlay"


def test_mounts_of_a_container_do_not_show_on_the_host(alone, bundle, source):
    bundle.mount("/mnt", "bind", "rbind", "rshared", source=source)
    bundle.mount("/srv", "tmpfs")
    before = host_mounts()
    container = bundle.start("sleep", "60")
    assert host_mounts() == before
    container.signal(9)
    container.wait()
    assert host_mounts() == before


def test_failed_start_leaves_no_mount_on_the_host(alone, bundle, source):
    bundle.mount("/mnt", "bind", "rbind", source=source)
    bundle.mount("/srv", "no-such-filesystem")
    before = host_mounts()
    with pytest.raises(Error, match="cannot mount no-such-filesystem on /srv"):
        bundle.start("true")
    assert host_mounts() == before


def test_working_directory_cannot_be_a_directory_of_the_host(bundle):
    """Whatever number a descriptor of the launcher has, /proc/self/fd/N leads nowhere (CVE-2024-21626)."""
    bundle.config["root"]["readonly"] = False

    def open_root() -> None:
        for number in range(20, 30):
            if not os.path.exists(f"/proc/self/fd/{number}"):  # or it would be one of the test's own
                os.dup2(os.open("/", os.O_RDONLY), number, inheritable=True)

    said = r"cannot (make|change to) the working directory /proc/self/fd/|/proc/self/fd/\d+ leads through"
    for number in (*range(3, 12), 20, 25):
        with pytest.raises(Error, match=said):
            bundle.start("ls", before=open_root, cwd=f"/proc/self/fd/{number}")


def test_working_directory_is_made_inside_even_when_the_hosts_processes_are_in_sight(bundle, place):
    wanted = f"{place}/made-by-a-container"
    bundle.config["root"]["readonly"] = False
    bundle.without_namespace("pid")
    result = None
    with contextlib.suppress(Error):
        result = bundle.run("pwd", cwd=f"/proc/{os.getpid()}/root{wanted}")
    assert not os.path.exists(wanted), "made on the host"
    assert result is None or result.out != wanted


# -- masked, read-only --


def test_masked_file_is_empty_and_masked_directory_too(bundle):
    bundle.add_file("/etc/secret", "of the image")
    bundle.add_file("/srv/secrets/one", "of the image")
    bundle.linux["maskedPaths"] += ["/etc/secret", "/srv/secrets", "/no/such/path"]
    assert bundle.sh("cat /etc/secret; ls -A /srv/secrets; stat -c %t:%T /etc/secret") == "1:3"
    refusal = bundle.run("touch", "/srv/secrets/new")
    assert (refusal.code, "Read-only file system" in refusal.err) == (1, True)


def test_readonly_path_can_be_read_and_not_written_even_by_root(bundle):
    bundle.capable("CAP_DAC_OVERRIDE", "CAP_NET_ADMIN")
    result = bundle.run(
        "sh", "-c", "cat /proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv4/ip_forward"
    )
    assert result.out.strip() in ("0", "1")
    assert "Read-only file system" in result.err


def test_readonly_path_includes_what_is_mounted_below_it(bundle):
    bundle.config["root"]["readonly"] = False
    bundle.mount("/srv/below", "tmpfs")
    bundle.linux["readonlyPaths"].append("/srv")
    assert bundle.run("touch", "/srv/below/x").code == 1


def test_readonly_root_cannot_be_written_but_its_mounts_can(bundle):
    bundle.mount("/tmp", "tmpfs", "mode=1777")
    result = bundle.run("sh", "-c", "touch /tmp/x /dev/shm/x && echo yes; touch /x /etc/x /dev/x; ls /dev/x")
    assert result.out == "yes\n/dev/x\n"
    assert result.err.count("Read-only file system") == 2


def test_masking_with_something_else_than_the_null_device_is_refused(bundle, source):
    """A volume at /dev could bring a null device of its own, and show its content instead (CVE-2025-31133)."""
    with open(os.path.join(source, "null"), "w") as file:
        file.write("not null")
    bundle.mount("/dev", "bind", "rbind", source=source)
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["type"] in ("proc", "bind")]
    with pytest.raises(Error, match="the container's /dev/null is not the null device"):
        bundle.start("true")


# -- filesystems of its own --


def test_tmpfs_has_the_size_mode_and_owner_that_it_was_given(bundle):
    bundle.capable("CAP_DAC_OVERRIDE")
    bundle.mount("/srv", "tmpfs", "size=1m", "mode=0750", "uid=7", "gid=8", "noexec", "nosuid")
    script = (
        "stat -c '%a %u:%g' /srv; df -k /srv | awk 'NR==2 {print $2}';"
        "cp /bin/busybox /srv/; /srv/busybox true 2>&1; dd if=/dev/zero of=/srv/big bs=1M count=2 2>&1"
    )
    lines = bundle.run("sh", "-c", script).out.splitlines()
    assert lines[:2] == ["750 7:8", "1024"]
    assert "Permission denied" in lines[2]
    assert "No space left on device" in " ".join(lines)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["noatime"], {"rw", "noatime"}),
        (["atime"], {"rw", "relatime"}),
        (["strictatime"], {"rw"}),
        (["norelatime"], {"rw"}),
        (["nostrictatime"], {"rw", "relatime"}),
        (["ro", "nodiratime"], {"ro", "nodiratime", "relatime"}),
        (["ro", "rw", "nosuid", "suid"], {"rw", "relatime"}),
        (["nosymfollow"], {"rw", "relatime", "nosymfollow"}),
        (["nosymfollow", "symfollow"], {"rw", "relatime"}),
        (["rnoexec", "rnodev"], {"rw", "noexec", "nodev", "relatime"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_attributes_of_a_mount_are_those_that_it_was_given(bundle, options, expected):
    bundle.mount("/srv", "tmpfs", *options)
    assert mounts_of(bundle)["/srv"].options == expected


def test_unknown_option_is_answered_in_the_filesystems_own_words(bundle):
    bundle.mount("/srv", "tmpfs", "sise=64m")
    with pytest.raises(Error, match=r"cannot mount tmpfs on /srv: .*Unknown parameter 'sise'"):
        bundle.start("true")


def test_mount_on_a_file_of_the_image_is_refused(bundle):
    bundle.mount("/etc/passwd", "tmpfs")
    with pytest.raises(Error, match="no directory at /etc/passwd: a file is in the way"):
        bundle.start("true")


# -- pieces of the host's tree --


def test_bind_mount_shows_and_changes_the_hosts_directory(bundle, source):
    bundle.mount("/mnt/data", "bind", "bind", source=source)
    assert bundle.sh("cat /mnt/data/file; echo hello >/mnt/data/new") == "of the host"
    with open(os.path.join(source, "new")) as file:
        assert file.read() == "hello\n"


def test_readonly_bind_mount_cannot_be_written(bundle, source):
    bundle.mount("/mnt", "bind", "bind", "ro", source=source)
    result = bundle.run("sh", "-c", "cat /mnt/file; echo x >/mnt/file; touch /mnt/new; rm /mnt/file")
    assert result.out == "of the host\n"
    assert result.err.count("Read-only file system") == 3
    assert os.listdir(source) == ["file"]


def test_single_file_can_be_bound(bundle, source):
    bundle.config["root"]["readonly"] = False
    bundle.mount("/etc/app/new.conf", "bind", "bind", "ro", source=f"{source}/file")
    bundle.mount("/etc/hostname", "bind", "bind", source=f"{source}/file")
    assert bundle.sh("cat /etc/app/new.conf /etc/hostname") == "of the host\nof the host"


def test_recursive_bind_mount_brings_what_is_mounted_below_and_a_plain_one_does_not(bundle, source):
    os.mkdir(f"{source}/below")
    kernel.mount("tmpfs", f"{source}/below", "tmpfs")
    with open(f"{source}/below/deep", "w"):
        pass
    try:
        bundle.mount("/mnt", "bind", "rbind", source=source)
        bundle.mount("/media", "bind", "bind", source=source)
        assert bundle.sh("ls /mnt/below; ls /media/below") == "deep"
    finally:
        kernel.umount2(f"{source}/below")


@pytest.mark.parametrize(("option", "writable"), [("ro", True), ("rro", False)])
def test_whether_read_only_counts_for_what_is_mounted_below(bundle, source, option, writable):
    os.mkdir(f"{source}/below")
    kernel.mount("tmpfs", f"{source}/below", "tmpfs")
    try:
        bundle.mount("/mnt", "bind", "rbind", option, source=source)
        assert bundle.run("touch", "/mnt/x").code == 1
        assert (bundle.run("touch", "/mnt/below/x").code == 0) is writable
    finally:
        kernel.umount2(f"{source}/below")


@pytest.mark.parametrize(("propagation", "seen"), [("rprivate", False), ("rslave", True)])
def test_whether_mounts_that_come_later_on_the_host_show_inside(bundle, source, propagation, seen):
    kernel.mount(source, source, None, kernel.MS_BIND)
    kernel.mount(None, source, None, kernel.MS_SHARED)
    os.mkdir(f"{source}/later")
    bundle.mount("/mnt", "bind", "rbind", propagation, source=source)
    container = bundle.start("sh", "-c", "read line; grep -c /mnt/later /proc/self/mountinfo")
    kernel.mount("tmpfs", f"{source}/later", "tmpfs")
    try:
        assert container.finish("go\n").out == ("1\n" if seen else "0\n")
    finally:
        kernel.umount2(f"{source}/later")


def test_missing_source_of_a_bind_mount_is_named(bundle):
    bundle.mount("/mnt", "bind", "rbind", source="/no/such/place")
    with pytest.raises(NotFound, match="cannot mount /no/such/place: there is no such file or directory"):
        bundle.start("true")


def test_relative_source_is_looked_for_in_the_bundle(bundle):
    os.mkdir(os.path.join(bundle.path, "data"))
    with open(os.path.join(bundle.path, "data/file"), "w") as file:
        file.write("of the bundle\n")
    bundle.mount("/mnt", "bind", "bind", source="data")
    assert bundle.sh("cat /mnt/file") == "of the bundle"


def test_option_that_a_bind_mount_cannot_have_is_refused_and_not_forgotten(bundle, source):
    bundle.mount("/mnt", "bind", "rbind", "size=64m", source=source)
    with pytest.raises(InvalidArgument, match="the bind mount on /mnt cannot have the option size=64m"):
        bundle.start("true")


# -- mount points in an image that nobody vouches for --


def test_volume_on_a_symlink_that_leaves_the_root_is_refused_naming_both(bundle, source):
    os.symlink("../../../../../../../../.." + source, bundle.inside("/srv/data"))
    bundle.mount("/srv/data", "tmpfs")
    with pytest.raises(
        InvalidArgument, match="/srv/data leaves the root filesystem through the symlink /srv/data ->"
    ):
        bundle.start("true")
    assert os.listdir(source) == ["file"]


def test_volume_on_an_absolute_symlink_goes_where_the_container_sees_it(bundle, source):
    os.symlink("/srv/real", bundle.inside("/srv/data"))
    os.mkdir(bundle.inside("/srv/real"))
    bundle.mount("/srv/data", "bind", "bind", source=source)
    assert bundle.sh("cat /srv/real/file /srv/data/file") == "of the host\nof the host"


@pytest.mark.parametrize("fstype", ["proc", "sysfs"])
def test_symlink_where_proc_or_sys_belong_is_refused(bundle, fstype):
    point = "/proc" if fstype == "proc" else "/sys"
    os.rmdir(bundle.inside(point))
    os.symlink("/tmp", bundle.inside(point))
    with pytest.raises(Error, match=f"cannot mount {fstype} on {point}: the image has a symlink there"):
        bundle.start("true")


@pytest.mark.parametrize("point", ["/proc", "/proc/sys", "/proc/self/attr"])
def test_volume_in_proc_is_refused(bundle, source, point):
    bundle.mount(point, "bind", "bind", source=source)
    with pytest.raises(Error):
        bundle.start("true")


def test_volume_that_a_symlink_leads_into_proc_is_refused(bundle, source):
    os.symlink("/proc/sys/kernel", bundle.inside("/srv/data"))
    bundle.mount("/srv/data", "bind", "bind", source=source)
    with pytest.raises(InvalidArgument, match="cannot mount on /srv/data: /proc is the kernel's"):
        bundle.start("true")


def test_better_files_about_the_machine_may_be_put_into_proc(bundle, source):
    bundle.mount("/proc/uptime", "bind", "bind", "ro", source=f"{source}/file")
    assert bundle.sh("cat /proc/uptime") == "of the host"


def test_mask_of_the_launcher_does_not_count(bundle):
    bundle.config["root"]["readonly"] = False
    bundle.mount("/srv/a/b", "tmpfs")
    script = "stat -c %a /srv/a /srv/a/b /dev/null /work /work/here; umask"
    shown = bundle.sh(script, before=lambda: os.umask(0o077), cwd="/work/here")
    assert shown.split() == ["755", "1777", "666", "755", "755", "0022"]


# -- /dev --


def test_usual_places_in_dev_work(bundle):
    bundle.capable("CAP_IPC_OWNER")
    script = (
        "echo gone >/dev/null; head -c 3 /dev/zero | wc -c; echo x >/dev/full || true;"
        "head -c 9 /dev/urandom | wc -c; echo shared >/dev/shm/f; cat /dev/shm/f;"
        "touch /dev/mqueue/queue; cat /dev/mqueue/queue; readlink /dev/ptmx;"
        "echo in | cat /dev/stdin; echo out >/dev/stdout; echo err >/dev/stderr; test -c /dev/pts/ptmx && echo pty"
    )
    result = bundle.run("sh", "-c", script)
    queue = "QSIZE:0          NOTIFY:0     SIGNO:0     NOTIFY_PID:0     "
    assert result.out.splitlines() == ["3", "9", "shared", queue, "pts/ptmx", "in", "out", "pty"]
    assert result.err.splitlines()[-1] == "err"
    assert "No space left on device" in result.err


def test_pipes_belong_to_the_user_who_may_open_them_again(bundle):
    assert bundle.run(
        "sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr", user={"uid": 1000, "gid": 1000}
    ) == (
        0,
        "out\n",
        "err\n",
    )


def test_extra_device_has_its_number_mode_and_owner(bundle):
    bundle.linux["devices"] = [
        {"path": "/dev/sub/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
    ]
    assert bundle.sh("stat -c '%F %t:%T %a %u:%g' /dev/sub/mine /dev/pipe; stat -c %a /dev/sub") == (
        "character special file 1:5 640 3:4\nfifo 0:0 600 0:0\n755"
    )


def test_file_of_the_image_is_not_replaced_by_a_device(bundle):
    bundle.add_file("/srv/mine", "of the image")
    bundle.linux["devices"] = [{"path": "/srv/mine", "type": "c", "major": 1, "minor": 5}]
    bundle.config["root"]["readonly"] = False
    with pytest.raises(
        InvalidArgument, match="device /srv/mine: the image has a file there that is no device"
    ):
        bundle.start("true")
    with open(bundle.inside("/srv/mine")) as file:
        assert file.read() == "of the image"


def test_unknown_kind_of_device_is_refused(bundle):
    bundle.linux["devices"] = [{"path": "/dev/x", "type": "x"}]
    with pytest.raises(InvalidArgument, match="'x' is no device type; c, b, u and p are"):
        bundle.start("true")


def test_nodes_of_a_bound_dev_are_left_alone(bundle, source):
    """With ``-v /dev:/dev`` they are the host's, and no other process may find one missing or another."""
    os.mknod(f"{source}/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkdir(f"{source}/pts")
    os.mkdir(f"{source}/shm")
    os.mkdir(f"{source}/mqueue")
    for mount in bundle.config["mounts"]:
        if mount["destination"] == "/dev":
            mount.update(type="bind", source=source, options=["rbind", "rprivate"])
    before = {name: os.lstat(f"{source}/{name}").st_ino for name in sorted(os.listdir(source))}
    assert bundle.sh("test -c /dev/null && echo yes") == "yes"
    assert {name: os.lstat(f"{source}/{name}").st_ino for name in sorted(os.listdir(source))} == before


# -- cgroups and kernel parameters --


@pytest.mark.cgroup
def test_container_sees_its_own_cgroup_and_none_above_it(bundle):
    script = (
        "cut -d: -f3 /proc/self/cgroup | sort -u; cat /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs"
        " 2>/dev/null | sort -u | head -n 1; find /sys/fs/cgroup -type d -mindepth 2 | head -n 3"
    )
    assert bundle.sh(script) == "/\n1"


@pytest.mark.cgroup
def test_cgroups_cannot_be_changed_from_inside(bundle):
    bundle.capable("CAP_DAC_OVERRIDE")
    result = bundle.run(
        "sh", "-c", "for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $d/x && echo made; done"
    )
    assert (result.out, "Read-only file system" in result.err) == ("", True)


def test_kernel_parameters_of_its_namespaces_are_set(bundle):
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242", "net/core/somaxconn": "17"}
    before = open("/proc/sys/kernel/msgmax").read()
    files = "net/ipv4/ip_forward kernel/msgmax net/core/somaxconn"
    assert bundle.sh(f"cd /proc/sys; cat {files}").split() == ["1", "4242", "17"]
    assert open("/proc/sys/kernel/msgmax").read() == before


def test_kernel_parameter_that_cannot_be_set_is_named(bundle):
    for key, value in (("net.no.such", "1"), ("kernel.msgmax", "many")):
        bundle.linux["sysctl"] = {key: value}
        with pytest.raises(Error, match=f"cannot set the sysctl {key} to '{value}'"):
            bundle.start("true")


def test_bundle_without_any_mount_runs(bundle):
    bundle.config["mounts"] = []
    bundle.config["root"]["readonly"] = False
    assert bundle.sh("ls /proc; echo hello >/dev/null; id -u") == "0"


def test_propagation_of_the_root_is_as_the_bundle_says(bundle):
    bundle.linux["rootfsPropagation"] = "rprivate"
    assert mounts_of(bundle)["/"].propagation == ""
    bundle.linux["rootfsPropagation"] = "shared"
    assert mounts_of(bundle)["/"].propagation.startswith("shared:")
