"""What each namespace changes for who is in it, one kind at a time, and what it leaves as it was."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from bundles import FIRST_HOST_ID, in_child

from minicontainer.errors import Error, InvalidArgument, NotFound, Unsupported
from minicontainer.kernel import mount
from minicontainer.kernel import namespaces as kernel
from minicontainer.runtime import namespaces, nsenter
from minicontainer.runtime.namespaces import NAMESPACES

pytest_plugins = ["bundle_fixtures"]

NS_GET_NSTYPE = 0xB703  # include/uapi/linux/nsfs.h
NAMES = [namespace.name for namespace in NAMESPACES]


def of(pid: int | str = "self", names=NAMES) -> dict[str, str]:
    return {name: namespaces.find(name).of(pid) for name in names}


# -- the table --


def test_user_comes_first_and_cgroup_last_in_the_order_of_entering():
    assert NAMES == ["user", "ipc", "uts", "network", "pid", "mount", "time", "cgroup"]


@pytest.mark.parametrize("namespace", NAMESPACES, ids=NAMES)
def test_kernel_agrees_about_the_flag_of_each_kind(namespace):
    fd = os.open(f"/proc/self/ns/{namespace.file}", os.O_RDONLY)
    assert fcntl.ioctl(fd, NS_GET_NSTYPE) == namespace.flag
    os.close(fd)


def test_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(InvalidArgument) as refusal:
        namespaces.unshare(["nett"])
    assert str(refusal.value) == (
        "no namespace is called 'nett'; there are user, ipc, uts, net, pid, mnt, time, cgroup"
    )


def test_oci_names_and_names_of_proc_mean_the_same():
    assert namespaces.find("net") is namespaces.find("network")
    assert namespaces.find("mnt") is namespaces.find("mount")


# -- leaving one for a new one --


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("pid", "time")])
def test_new_namespace_of_one_kind_leaves_the_others_as_they_were(name):
    def changed() -> list[str]:
        before = of()
        namespaces.unshare([name])
        return [kind for kind, value in of().items() if value != before[kind]]

    assert in_child(changed) == [name]


def test_new_uts_namespace_has_a_host_name_of_its_own():
    def rename() -> str:
        namespaces.unshare(["uts"])
        kernel.sethostname("elsewhere")
        return socket.gethostname()

    here = socket.gethostname()
    assert in_child(rename) == "elsewhere"
    assert socket.gethostname() == here


def test_new_network_namespace_has_nothing_but_a_loopback_device_that_is_down():
    def devices() -> tuple[list[str], str]:
        namespaces.unshare(["network"])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError) as refusal:
            sock.connect(("127.0.0.1", 9))
        return [name for _, name in socket.if_nameindex()], refusal.value.strerror

    assert in_child(devices) == (["lo"], "Network is unreachable")


def test_first_process_of_a_new_pid_namespace_is_number_one():
    def numbers() -> tuple[bool, int]:
        before = os.getpid()
        namespaces.unshare(["pid"])
        return os.getpid() == before, in_child(os.getpid)

    assert in_child(numbers) == (True, 1)


def test_mounts_of_a_new_mount_namespace_do_not_show_outside(tmp_path):
    def look() -> list[str]:
        namespaces.unshare(["mount"])
        mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
        mount.mount("tmpfs", str(tmp_path), "tmpfs")
        (tmp_path / "inside").touch()
        return os.listdir(tmp_path)

    assert in_child(look) == ["inside"]
    assert os.listdir(tmp_path) == []


def test_new_ipc_namespace_has_limits_of_its_own():
    path = "/proc/sys/kernel/msgmax"

    def change() -> str:
        namespaces.unshare(["ipc"])
        with open(path, "w") as file:
            file.write("4242")
        return open(path).read()

    before = open(path).read()
    assert in_child(change) == "4242\n"
    assert open(path).read() == before != "4242\n"


def test_clocks_of_a_new_time_namespace_can_be_set():
    def ahead() -> float:
        namespaces.unshare(["time"])
        with open("/proc/self/timens_offsets", "w") as file:
            file.write("boottime 1000000 0")
        return in_child(lambda: time.clock_gettime(time.CLOCK_BOOTTIME))

    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 0 <= in_child(ahead) - now - 1_000_000 < 60


def test_who_enters_a_new_user_namespace_is_nobody_and_may_do_everything_there():
    def who() -> tuple[int, bool]:
        namespaces.unshare(["user"])
        namespaces.unshare(["uts"])
        kernel.sethostname("mine")  # takes CAP_SYS_ADMIN
        return os.getuid(), socket.gethostname() == "mine"

    def as_nobody() -> tuple[int, bool]:
        os.setresuid(1234, 1234, 1234)
        return who()

    overflow = int(open("/proc/sys/kernel/overflowuid").read())
    assert in_child(who) == in_child(as_nobody) == (overflow, True)


@pytest.mark.cgroup
def test_new_cgroup_namespace_shows_its_makers_cgroup_as_the_root(bundle):
    def paths() -> tuple[set[str], set[str]]:
        def current() -> set[str]:
            return {line.split(":", 2)[2].rstrip("\n") for line in open("/proc/self/cgroup")}

        bundle.cgroup.join(os.getpid())
        before = current()
        namespaces.unshare(["cgroup"])
        return before, current()

    bundle.cgroup.create({})
    before, after = in_child(paths)
    assert any(path.endswith(bundle.cgroup.path) for path in before)
    assert after == {"/"}


def test_process_with_threads_is_told_why_it_gets_no_user_namespace():
    def attempt() -> str:
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        try:
            namespaces.unshare(["user"])
        except Unsupported as error:
            return str(error)
        finally:
            stop.set()
            thread.join()
        return "it worked"

    assert in_child(attempt) == (
        "cannot make a new namespace (user): this process has threads; do it in a child process"
    )


def test_without_root_there_is_a_word_about_root():
    def attempt() -> None:
        os.setresuid(1234, 1234, 1234)
        namespaces.unshare(["uts"])

    with pytest.raises(Error, match="operation not permitted; it takes root"):
        in_child(attempt)


# -- entering those of another process --


@pytest.fixture
def stranger():
    """A process with namespaces of its own of most kinds, and the host name ``stranger``."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        namespaces.unshare(["uts", "network", "ipc", "mount"])
        kernel.sethostname("stranger")
        mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
        mount.mount("stranger", "/mnt", "tmpfs")
        os.write(writer, b".")
        signal.pause()
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("name", ["uts", "net", "ipc", "mnt"])
def test_entering_one_namespace_is_entering_no_other(stranger, name):
    def changed() -> list[str]:
        before = of()
        namespaces.enter(stranger, [name])
        return [kind for kind, value in of().items() if value != before[kind]]

    assert in_child(changed) == [namespaces.find(name).name]
    assert of(stranger)[namespaces.find(name).name] != of()[namespaces.find(name).name]


@pytest.mark.parametrize(
    ("flag", "name", "command"),
    [
        ("-u", "uts", ["hostname"]),
        ("-n", "net", ["cat", "/proc/net/dev"]),
        ("-m", "mnt", ["grep", "stranger", "/proc/self/mounts"]),
    ],
)
def test_nsenter_shows_what_the_real_one_shows(stranger, flag, name, command):
    theirs = subprocess.run(
        ["nsenter", flag, "-t", str(stranger), *command], capture_output=True, text=True, check=False
    )
    ours = subprocess.run(
        [sys.executable, "-m", "minicontainer.runtime.nsenter", str(stranger), name, *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert theirs.stdout and (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    assert ours.stdout != subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -TERM $$", 128 + 15), ("true", 0)])
def test_nsenter_ends_as_the_program_ends(stranger, script, code):
    assert in_child(lambda: nsenter.run(stranger, ["uts"], ["sh", "-c", script])) == code


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["{}", "uts", "nothing-of-this-name"], 127, "executable file not found in $PATH"),
        (["{}", "uts,tus", "true"], 125, "no namespace is called 'tus'; there are user, ipc, uts"),
        (["{}", "uts"], 1, "usage: python -m minicontainer.runtime.nsenter PID NAME[,NAME...] PROGRAM"),
        (["init", "uts", "true"], 1, "usage: "),
        (["4194999", "uts", "true"], 125, "/proc/4194999/ns/uts is not there"),
        ([], 1, "usage: "),
    ],
)
def test_nsenter_says_what_is_wrong(stranger, words, code, message):
    words = [word.format(stranger) for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "minicontainer.runtime.nsenter", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, message in done.stderr) == (code, True), done
    assert "Traceback" not in done.stderr


def test_entering_ones_own_namespaces_is_no_error():
    assert in_child(lambda: namespaces.enter(os.getpid(), NAMES)) is None


# -- those of containers --


def test_container_has_the_namespaces_that_its_bundle_names_and_shares_the_rest(bundle):
    bundle.without_namespace("ipc")
    container = bundle.start("sleep", "60")
    inside, outside = of(container.pid), of()
    assert {name for name in NAMES if inside[name] == outside[name]} == {"user", "ipc", "time"}


def test_container_sees_only_its_own_processes_and_is_the_first(bundle):
    shown = bundle.sh("echo $$; ps -o pid,args; true")
    assert shown.splitlines()[0] == "1"
    assert "python" not in shown
    assert len(shown.splitlines()) == 4  # and a header, the shell and ps


def test_container_has_its_host_name_and_domain_name(bundle):
    bundle.config["domainname"] = "example.test"
    assert bundle.sh("hostname; cat /proc/sys/kernel/domainname") == "runc\nexample.test"
    assert socket.gethostname() != "runc"


def test_loopback_device_of_a_container_is_up(bundle):
    assert "UP" in bundle.sh("ip -o link show lo").split("<")[1].split(">")[0].split(",")


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "cgroup"])
def test_container_can_join_a_namespace_of_another(make_bundle, kind):
    first, second = make_bundle(), make_bundle()
    there = first.start("sleep", "60")
    second.config.pop("hostname")
    second.with_namespace(kind, f"/proc/{there.pid}/ns/{namespaces.find(kind).file}")
    here = second.start("sleep", "60")
    inside, theirs = of(here.pid), of(there.pid)
    assert {name for name in NAMES if inside[name] == theirs[name]} == {"user", "time", kind}


def test_container_that_joins_a_pid_namespace_is_not_its_first_process(make_bundle):
    first, second = make_bundle(), make_bundle()
    there = first.start("sleep", "1234")
    second.with_namespace("pid", f"/proc/{there.pid}/ns/pid")
    shown = second.sh("echo $$; ps -o args").splitlines()
    assert shown[0] != "1"
    assert "sleep 1234" in shown


def test_containers_that_share_a_network_reach_each_other_by_loopback(make_bundle):
    first, second = make_bundle(), make_bundle()
    server = first.start("sh", "-c", "echo ready; echo hello | nc -l -p 80")
    server.read_until("ready")
    second.with_namespace("network", f"/proc/{server.pid}/ns/net")
    script = (
        "for i in 1 2 3 4 5 6 7 8 9 10; do nc 127.0.0.1 80 </dev/null 2>/dev/null && break; sleep 0.1; done"
    )
    assert second.sh(script) == "hello"


def test_namespace_of_another_kind_is_refused(bundle):
    bundle.with_namespace("network", "/proc/self/ns/uts")
    with pytest.raises(InvalidArgument, match="cannot enter a network namespace: that is not one"):
        bundle.start("true")


def test_namespace_that_is_not_there_is_named(bundle):
    bundle.with_namespace("network", "/run/netns/no-such-network")
    with pytest.raises(NotFound, match="/run/netns/no-such-network is not there"):
        bundle.start("true")


def test_clocks_of_a_container_are_set_as_its_bundle_says(bundle):
    bundle.with_namespace("time")
    bundle.linux["timeOffsets"] = {
        "boottime": {"secs": 8_640_000, "nanosecs": 500_000_000},
        "monotonic": {"secs": 5},
    }
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 0 <= float(bundle.sh("cut -d' ' -f1 /proc/uptime")) - now - 8_640_000 < 60
    assert open("/proc/uptime").read().split()[0] < str(now + 60)


# -- root that is not root outside --


@pytest.fixture
def shifted(bundle, shifted_tree):
    """A bundle with a user namespace, whose root filesystem belongs to its root."""
    bundle.in_user_namespace(shifted_tree)
    bundle.config["root"]["readonly"] = False
    return bundle


def test_root_of_a_user_namespace_is_somebody_else_outside(shifted):
    container = shifted.start("sh", "-c", "id -u; touch /tmp/made; stat -c %u /tmp/made /root; sleep 60")
    assert container.read_until("0\n0\n0\n")
    status = open(f"/proc/{container.pid}/status").read()
    assert f"Uid:\t{FIRST_HOST_ID}\t{FIRST_HOST_ID}\t{FIRST_HOST_ID}\t{FIRST_HOST_ID}" in status
    assert os.stat(shifted.inside("/tmp/made")).st_uid == FIRST_HOST_ID
    os.unlink(shifted.inside("/tmp/made"))


def test_root_of_a_user_namespace_may_not_touch_what_belongs_to_the_hosts(shifted, place):
    secret = os.path.join(place, "secret")
    with open(secret, "w") as file:
        file.write("of the host")
    os.chmod(secret, 0o600)
    shifted.mount("/mnt/secret", "bind", "bind", source=secret)
    result = shifted.run(
        "sh", "-c", "cat /mnt/secret; echo x >/mnt/secret; chown 0 /mnt/secret; stat -c %u /mnt/secret"
    )
    assert result.out == "65534\n"
    assert result.err.count("ermission denied") == 2 and "Operation not permitted" in result.err
    assert open(secret).read() == "of the host"


def test_devices_of_a_user_namespace_are_the_hosts_own_and_work(shifted):
    shifted.capable("CAP_MKNOD", "CAP_SYS_ADMIN")
    result = shifted.run(
        "sh",
        "-c",
        "echo gone >/dev/null && head -c 4 /dev/zero | wc -c; for d in null zero full random urandom tty; do"
        " grep -q \" /dev/$d .* devtmpfs \" /proc/self/mountinfo && stat -c '%n %t:%T %a' /dev/$d; done;"
        " mknod /tmp/disk b 254 0",
    )
    assert result.out == (
        "4\n/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n"
        "/dev/random 1:8 666\n/dev/urandom 1:9 666\n/dev/tty 5:0 666\n"
    )
    assert "Operation not permitted" in result.err


def test_all_namespaces_of_a_container_belong_to_its_user_namespace(shifted):
    """Who is root in it may change its host name and mounts, and nobody else's."""
    shifted.capable("CAP_SYS_ADMIN")
    shifted.with_namespace("time")
    assert (
        shifted.sh("hostname mine; hostname; mount -t tmpfs none /mnt && echo mounted; umount /mnt")
        == "mine\nmounted"
    )


def test_message_queues_belong_to_the_root_of_the_user_namespace(shifted):
    assert shifted.sh("stat -c %u:%a /dev/mqueue") == "0:1777"


def test_clocks_can_be_set_with_a_user_namespace_too(shifted):
    shifted.with_namespace("time")
    shifted.linux["timeOffsets"] = {"boottime": {"secs": 1_000_000}}
    assert float(shifted.sh("cut -d' ' -f1 /proc/uptime")) > 1_000_000


def test_oom_score_can_be_set_with_a_user_namespace_too(shifted):
    shifted.process["oomScoreAdj"] = 300
    assert shifted.sh("cat /proc/self/oom_score_adj") == "300"


def test_one_more_process_in_a_user_namespace_is_its_root(shifted):
    container = shifted.start("sleep", "60")
    assert container.exec("id", "-u").out == "0\n"
    assert container.exec("stat", "-c", "%u", "/root", "/proc/1").out == "0\n0\n"


def test_terminal_of_a_user_namespace_belongs_to_its_root(shifted):
    container = shifted.start("sh", "-c", "stat -c %u:%a $(tty) /dev/console", terminal=True)
    assert container.finish().out == "0:620\r\n0:620\r\n"


def test_container_can_join_the_user_namespace_of_another(make_bundle, shifted, shifted_tree):
    there = shifted.start("sleep", "60")
    second = make_bundle()
    second.config["root"]["path"] = shifted_tree
    second.with_namespace("user", f"/proc/{there.pid}/ns/user")
    container = second.start("sh", "-c", "id -u; stat -c %u /root; sleep 60")
    assert container.read_until("0\n0\n")
    assert of(container.pid)["user"] == of(there.pid)["user"]


def test_id_map_that_the_kernel_refuses_is_named(shifted):
    shifted.linux["uidMappings"] = [
        {"containerID": 0, "hostID": 1, "size": 5},
        {"containerID": 3, "hostID": 9, "size": 5},
    ]
    with pytest.raises(Error, match="cannot write the uid map"):
        shifted.start("true")
    with contextlib.suppress(ChildProcessError):
        assert os.waitpid(-1, os.WNOHANG) == (0, 0)
