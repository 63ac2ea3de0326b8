"""From a bundle to a process and back: its streams, its terminal, its end, and one more process in it."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import time

import pytest
from bundles import in_child

from minicontainer.errors import CommandNotFound, Error, NotFound
from minicontainer.kernel import terminal
from minicontainer.runtime import launch, spec

pytest_plugins = ["bundle_fixtures"]


def children() -> list[str]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


# -- streams --


def test_output_and_errors_come_apart_and_input_arrives(bundle):
    script = 'read line; echo "got $line"; echo trouble >&2; cat'
    assert bundle.run("sh", "-c", script, input="hello\nand more\n") == (
        0,
        "got hello\nand more\n",
        "trouble\n",
    )


def test_large_output_is_complete(bundle):
    assert len(bundle.run("head", "-c", "3000000", "/dev/zero").out) == 3_000_000


def test_end_of_input_is_seen(bundle):
    container = bundle.start("cat")
    container.write("one\n")
    assert container.read_until("one\n") == "one\n"
    container.end_input()
    assert container.wait() == 0


def test_file_that_cannot_be_given_away_serves_as_input(bundle, place):
    """As a user other than root, with an input on a file system that is read-only."""
    with open("/proc/version") as file:
        fd, text = os.dup(file.fileno()), file.read()
    bundle.process.update(args=["cat"], user={"uid": 1000, "gid": 1000})
    bundle.write()
    config = spec.load(bundle.path)
    bundle.cgroup.create({})
    os.lseek(fd, 0, os.SEEK_SET)
    reader, writer = os.pipe()

    def run() -> int:
        started = launch.launch(config, bundle.cgroup, (fd, writer, writer), seccomp_cache=bundle.path)
        return os.waitstatus_to_exitcode(os.waitpid(started.pid, 0)[1])

    assert in_child(run) == 0
    os.close(writer)
    with open(reader) as file:
        assert file.read() == text
    os.close(fd)


# -- a start that fails, a launcher that goes --


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bundle: bundle.process.update(args=["nothing"]),
        lambda bundle: bundle.process.update(cwd="/etc/passwd"),
        lambda bundle: bundle.mount("/mnt", "bind", "bind", source="/no/where"),
        lambda bundle: bundle.with_namespace("network", "/no/such/namespace"),
        lambda bundle: bundle.linux.update(sysctl={"net.no.such": "1"}),
    ],
    ids=["command", "directory", "mount", "namespace", "sysctl"],
)
@pytest.mark.parametrize("has_terminal", [False, True], ids=["pipes", "terminal"])
def test_start_that_fails_leaves_nothing_running_and_nothing_open(bundle, spoil, has_terminal):
    bundle.process["args"] = ["sleep", "60"]
    bundle.process["terminal"] = has_terminal
    spoil(bundle)
    bundle.write()
    config = spec.load(bundle.path)
    bundle.cgroup.create({})

    def attempt() -> tuple[bool, list[str], bool]:
        before = sorted(os.listdir("/proc/self/fd"))
        with pytest.raises((Error, OSError)):
            launch.launch(config, bundle.cgroup, (0, 1, 2), seccomp_cache=bundle.path)
        return sorted(os.listdir("/proc/self/fd")) == before, children(), True

    assert in_child(attempt) == (True, [], True)
    assert bundle.cgroup.pids() == []


def test_setup_hook_finds_the_container_made_and_not_yet_running(bundle):
    def look(pid: int) -> tuple[bool, bool, str]:
        with open(f"/proc/{pid}/comm") as file:
            name = file.read().strip()
        others = os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        return others, os.path.exists(f"/proc/{pid}/root/etc/alpine-release"), name

    container = bundle.start("sleep", "60", prepared=look)
    others, inside, name = container.prepared
    assert (others, name != "sleep") == (True, True)
    assert inside == os.path.exists(bundle.inside("/etc/alpine-release"))


def test_setup_hook_that_fails_stops_the_start(bundle):
    def fail(pid: int) -> None:
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        bundle.start("sleep", "60", prepared=fail)
    assert bundle.cgroup.pids() == []


@pytest.mark.cgroup
def test_container_is_counted_in_its_cgroup_from_its_first_instruction(bundle):
    bundle.linux["resources"]["pids"] = {"limit": 3}
    where = "/sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs"
    script = f"cat {where} 2>/dev/null | sort -u; for i in 1 2 3; do sleep 60 & done; wait"
    result = bundle.run("sh", "-c", script)
    assert "1" in result.out.split()
    assert "can't fork" in result.err


@pytest.mark.cgroup
def test_memory_limit_that_the_interpreter_exceeds_lets_a_small_program_run(bundle):
    bundle.linux["resources"]["memory"] = {"limit": 4 << 20}
    assert bundle.run("echo", "hello") == (0, "hello\n", "")


def test_container_says_nothing_of_who_started_it(bundle):
    shown = bundle.sh("cat /proc/1/cmdline /proc/1/comm /proc/self/status | tr '\\0' ' '")
    assert "python" not in shown and "pytest" not in shown
    assert "PPid:\t0" in shown or "PPid:\t1" in shown


# -- a terminal --


def test_terminal_is_one_of_the_containers_own(bundle):
    container = bundle.start(
        "sh",
        "-c",
        "tty; stat -c '%t:%T %u:%g %a' $(tty) /dev/console; ls -1 /dev/pts | cat;"
        "test -t 0 -a -t 1 -a -t 2 && echo all",
        terminal=True,
    )
    before = os.listdir("/dev/pts")
    assert (
        container.finish().out.replace("\r\n", "\n")
        == "/dev/pts/0\n88:0 0:5 620\n88:0 0:5 620\n0\nptmx\nall\n"
    )
    assert os.listdir("/dev/pts") == before


def test_console_is_the_terminal(bundle):
    container = bundle.start("sh", "-c", "echo to the console >/dev/console", terminal=True)
    assert container.finish().out == "to the console\r\n"


def test_terminal_belongs_to_the_user(bundle):
    container = bundle.start("sh", "-c", "stat -c %u $(tty)", terminal=True, user={"uid": 1000, "gid": 1000})
    assert container.finish().out == "1000\r\n"


def test_terminal_has_the_size_that_the_bundle_names_and_follows_the_outer_one(bundle):
    container = bundle.start(
        "sh",
        "-c",
        "trap 'stty size' WINCH; stty size; while :; do sleep 0.01; done",
        terminal=True,
        consoleSize={"height": 33, "width": 101},
    )
    assert container.read_until("\r\n") == "33 101\r\n"
    time.sleep(0.1)
    terminal.set_size(container.master, 44, 120)
    assert container.read_until("\r\n") == "44 120\r\n"
    assert terminal.get_size(container.master) == (44, 120)


def test_interrupt_reaches_the_foreground_job_and_not_the_shell(bundle):
    container = bundle.start("sh", terminal=True)
    container.read_until("# ")
    container.write("sleep 60\n")
    container.read_until("sleep 60")
    time.sleep(0.2)
    container.write(b"\x03")
    container.read_until("# ")
    container.write("echo code $?\n")
    container.read_until("code 130")
    container.write("exit 6\n")
    assert container.wait() == 6


def test_hang_up_of_the_terminal_ends_the_shell(bundle):
    container = bundle.start("sh", terminal=True)
    container.read_until("# ")
    master, container.master = container.master, -1
    container.stdin = container.stdout = -1
    os.close(master)
    assert container.wait() in (0, 1, 129, -signal.SIGHUP)


@pytest.mark.parametrize("has_terminal", [False, True], ids=["pipes", "terminal"])
def test_terminal_of_the_host_cannot_be_reached(bundle, has_terminal):
    """A process with a descriptor of the user's terminal could type commands into it (TIOCSTI)."""
    master, slave = pty.openpty()

    def sit_at_it() -> None:
        os.setsid()
        fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY
        for number in (0, 1, 2):
            os.dup2(slave, number)

    script = "(echo typed >/dev/tty) 2>&1; for n in 0 1 2; do readlink /proc/self/fd/$n; done"
    container = bundle.start("sh", "-c", script, before=sit_at_it, terminal=has_terminal)
    shown = container.finish().out
    if has_terminal:
        assert shown.splitlines() == ["typed", "/dev/pts/0", "/dev/pts/0", "/dev/pts/0"]
    else:
        assert "can't create /dev/tty" in shown and "pts" not in shown
    os.set_blocking(master, False)
    with pytest.raises(BlockingIOError):
        os.read(master, 100)
    os.close(master)
    os.close(slave)


def test_container_without_pseudo_terminals_says_so(bundle):
    bundle.config["mounts"] = [each for each in bundle.config["mounts"] if each["type"] != "devpts"]
    with pytest.raises(Error, match="no terminal: the container has no /dev/pts to make one in"):
        bundle.start("sh", terminal=True)


# -- one more process --


def test_one_more_process_is_in_all_that_the_container_is_in(bundle):
    container = bundle.start("sleep", "60")
    script = "hostname; readlink /proc/self/ns/net; cut -d: -f3 /proc/self/cgroup | sort -u; pwd; ps | wc -l"
    shown = container.exec("sh", "-c", script, cwd="/tmp").out.splitlines()
    assert shown[0] == "runc"
    assert shown[1] == os.readlink(f"/proc/{container.pid}/ns/net")
    assert shown[2:4] == ["/", "/tmp"]
    assert shown[4].strip() == "5"  # the header, sleep, sh, ps and wc


def test_one_more_process_has_the_privileges_that_it_was_given_and_no_more(bundle):
    container = bundle.start("sleep", "60")
    shown = container.exec(
        "grep", "-E", "^(Uid|CapBnd|NoNewPrivs)", "/proc/self/status", user={"uid": 9, "gid": 9}
    )
    theirs = bundle.run_again(
        "grep", "-E", "^(Uid|CapBnd|NoNewPrivs)", "/proc/self/status", user={"uid": 9, "gid": 9}
    )
    assert shown.out == theirs.out and "\t9\t9\t9\t9\n" in shown.out


def test_one_more_process_leaves_the_container_when_it_ends(bundle):
    container = bundle.start("sleep", "60")
    assert container.exec("sh", "-c", "exit 3").code == 3
    assert container.exec("sh", "-c", "kill -KILL $$").code == -9
    assert bundle.cgroup.pids() == [container.pid]


def test_one_more_terminal_is_the_next_one_and_not_the_console(bundle):
    container = bundle.start("sh", terminal=True)
    shown = container.exec("sh", "-c", "tty; stat -c %t:%T $(tty) /dev/console", terminal=True).out
    assert shown.split() == ["/dev/pts/1", "88:1", "88:0"]


def test_one_more_process_in_a_container_that_has_ended_is_refused(bundle):
    container = bundle.start("true")
    container.wait()
    with pytest.raises(NotFound, match=f"/proc/{container.pid}/ns/.* is not there"):
        container.exec("true")


def test_one_more_process_that_is_not_there_leaves_the_container_as_it_is(bundle):
    container = bundle.start("sleep", "60")
    with pytest.raises(CommandNotFound):
        container.exec("nothing")
    assert bundle.cgroup.pids() == [container.pid]
