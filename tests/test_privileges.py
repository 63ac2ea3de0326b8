"""What the container's processes may do, and what of the launcher's they do not get."""

from __future__ import annotations

import errno
import hashlib
import os
import signal

import pytest
from bundles import FIRST_HOST_ID
from waiting import has_ended, until

from minicontainer.errors import CommandNotExecutable, Error
from minicontainer.kernel import capabilities
from minicontainer.kernel import seccomp as kernel_seccomp
from minicontainer.kernel.libc import syscall
from minicontainer.runtime import seccomp

pytest_plugins = ["bundle_fixtures"]

SETS = {"Inh": "inheritable", "Prm": "permitted", "Eff": "effective", "Bnd": "bounding", "Amb": "ambient"}


def status_of(pid: int | str) -> dict[str, str]:
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def capability_sets(pid: int) -> dict[str, list[str]]:
    """A process's capabilities, under OCI's names for the sets."""
    status = status_of(pid)
    return {
        name: [
            each for each, bit in capabilities.NUMBERS.items() if int(status[f"Cap{short}"], 16) >> bit & 1
        ]
        for short, name in SETS.items()
    }


# -- capabilities --


def test_first_process_has_the_capabilities_that_its_bundle_names(bundle):
    bundle.process["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_SYS_CHROOT", "CAP_NET_RAW"],
        "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
        "effective": ["CAP_KILL", "CAP_CHOWN"],
        "inheritable": ["CAP_NET_RAW"],
        "ambient": ["CAP_NET_RAW"],
    }
    container = bundle.start("sleep", "60", user={"uid": 1000, "gid": 1000})
    assert capability_sets(container.pid) == {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SYS_CHROOT"],
        "permitted": ["CAP_NET_RAW"],  # execve(2) leaves somebody who is not root only what is ambient
        "effective": ["CAP_NET_RAW"],
        "inheritable": ["CAP_NET_RAW"],
        "ambient": ["CAP_NET_RAW"],
    }


ALL = {name: ["CAP_KILL", "CAP_NET_RAW", "CAP_CHOWN"] for name in SETS.values()}


@pytest.mark.parametrize(
    ("user", "sets"),
    [
        ({"uid": 0, "gid": 0}, ALL),
        ({"uid": 0, "gid": 0}, {**ALL, "inheritable": [], "ambient": []}),
        ({"uid": 0, "gid": 0}, {**ALL, "inheritable": []}),  # ambient needs inheritable
        ({"uid": 0, "gid": 0}, {name: [] for name in SETS.values()}),
        ({"uid": 1000, "gid": 100, "additionalGids": [7, 8]}, ALL),
        ({"uid": 1000, "gid": 100}, {**ALL, "ambient": []}),
        ({"uid": 1000, "gid": 100}, {"bounding": ["CAP_KILL"]}),
    ],
    ids=["root", "docker", "ambient-alone", "none", "user-ambient", "user", "user-bound"],
)
@pytest.mark.parametrize("no_new_privileges", [True, False], ids=["nnp", "no-nnp"])
def test_ids_and_capabilities_are_those_that_runc_gives(bundle, user, sets, no_new_privileges):
    bundle.process.update(user=user, capabilities=sets, noNewPrivileges=no_new_privileges)
    bundle.without_namespace("cgroup")
    command = ("grep", "-E", "^(Cap|Uid|Gid|Groups|NoNewPrivs|Seccomp|Umask|Sig)", "/proc/self/status")
    theirs = bundle.runc(*command).out
    ours = bundle.run(*command).out
    for kind in ("SigQ", "Seccomp_filters"):  # how many signals wait for this user, on the host too
        theirs, ours = (
            "\n".join(line for line in text.splitlines() if not line.startswith(kind))
            for text in (theirs, ours)
        )
    assert theirs and ours == theirs


def test_capability_that_the_launcher_lacks_is_named(bundle):
    lacking = [name for name in capabilities.NUMBERS if name not in capabilities.available()]
    if not lacking:
        pytest.skip("needs a root that lacks a capability, as in a container; this one has all")
    bundle.capable(lacking[0])
    with pytest.raises(Error, match=f"cannot grant {lacking[0]}: this process itself does not have that"):
        bundle.start("true")


def test_bounding_set_is_dropped_whatever_the_image_says_of_the_kernel(bundle):
    """Without /proc mounted, the image's file of this name is what an open would find."""
    bundle.config["mounts"] = []
    bundle.add_file("/proc/sys/kernel/cap_last_cap", "0\n")
    container = bundle.start("sleep", "60")
    assert capability_sets(container.pid)["bounding"] == sorted(
        bundle.process["capabilities"]["bounding"], key=lambda name: capabilities.NUMBERS[name]
    )


# -- users, limits, and the rest of a process --


def test_process_has_the_user_groups_and_mask_that_its_bundle_names(bundle):
    user = {"uid": 1234, "gid": 55, "additionalGids": [7, 8, 9], "umask": 0o027}
    container = bundle.start("sleep", "60", user=user)
    status = status_of(container.pid)
    assert status["Uid"].split() == ["1234"] * 4
    assert status["Gid"].split() == ["55"] * 4
    assert status["Groups"].split() == ["7", "8", "9"]
    assert status["Umask"] == "0027"


def test_groups_of_the_launcher_are_not_inherited(bundle):
    container = bundle.start("sleep", "60", before=lambda: os.setgroups([1, 2, 3]))
    assert status_of(container.pid)["Groups"].split() == []


def test_limits_are_those_that_the_bundle_names(bundle):
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_FSIZE", "soft": 1 << 20, "hard": 2**64 - 1},
    ]
    assert (
        bundle.sh("ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -Sf; ulimit -Hf")
        == "100\n200\n0\n2048\nunlimited"
    )


@pytest.mark.parametrize(("soft", "hard"), [(10, 5), (0, 2**63)])
def test_limit_that_cannot_be_set_is_named(bundle, soft, hard):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}]
    with pytest.raises(Error, match=f"cannot set RLIMIT_NOFILE to {soft}:{hard}"):
        bundle.start("true")


def test_program_that_may_open_no_more_files_than_three_starts(bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3}]
    bundle.config["annotations"] = {"org.minicontainer.init": "true"}
    result = bundle.run("/bin/busybox", "echo", "hello")
    assert result.out == "hello\n" or "No file descriptors available" in result.err  # if its loader needs one


def test_oom_score_is_that_of_the_bundle_and_else_the_launchers(bundle):
    assert bundle.sh("cat /proc/self/oom_score_adj", oomScoreAdj=123) == "123"
    del bundle.process["oomScoreAdj"]

    def lower() -> None:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("77")

    assert bundle.sh("cat /proc/self/oom_score_adj", before=lower) == "77"


def test_no_new_privileges_is_as_the_bundle_says(bundle):
    assert bundle.sh("grep NoNewPrivs /proc/self/status", noNewPrivileges=True).split()[1] == "1"
    assert bundle.sh("grep NoNewPrivs /proc/self/status", noNewPrivileges=False).split()[1] == "0"


# -- nothing of the launcher's --


def open_many() -> None:
    """Be a launcher with files, directories and sockets open, all of them inheritable."""
    for number in range(50, 80):
        os.dup2(os.open("/" if number % 2 else "/etc/passwd", os.O_RDONLY), number, inheritable=True)
    os.set_inheritable(os.open("/etc/shadow", os.O_RDWR), True)


@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
@pytest.mark.parametrize("init", ["false", "true"], ids=["plain", "init"])
def test_no_descriptor_but_the_standard_three_is_inherited(bundle, terminal, init):
    bundle.config["annotations"] = {"org.minicontainer.init": init}
    container = bundle.start("sleep", "60", before=open_many, terminal=terminal)
    inside = container.exec("ls", "/proc/self/fd", terminal=False).out.split()
    with open(f"/proc/{container.pid}/task/{container.pid}/children") as file:
        pids = [container.pid, *map(int, file.read().split())]
    assert len(pids) == (2 if init == "true" else 1)
    for pid in pids:
        assert sorted(os.listdir(f"/proc/{pid}/fd"), key=int) == ["0", "1", "2"]
    assert inside == ["0", "1", "2", "3"]  # the last one is ls's own


def test_process_that_is_being_set_up_has_nothing_of_the_launchers_open(bundle):
    def targets(pid: int) -> list[str]:
        return [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]

    container = bundle.start("sleep", "60", before=open_many, prepared=targets)
    assert not {"/", "/etc/passwd", "/etc/shadow"}.intersection(container.prepared)
    assert len(container.prepared) < 20


def test_environment_is_that_of_the_bundle_and_nothing_else(bundle):
    bundle.process["env"] = ["PATH=/bin", "A=first", "A=last", "EMPTY=", "WITH=an=equals sign", "none"]
    shown = bundle.run("/bin/busybox", "env", before=lambda: os.environ.update(SECRET="of the host"))
    assert sorted(shown.out.splitlines()) == ["A=last", "EMPTY=", "PATH=/bin", "WITH=an=equals sign"]


def test_session_keyring_is_a_new_one(bundle):
    bundle.linux["maskedPaths"].remove("/proc/keys")

    def keep_a_key() -> None:
        keyring = syscall("keyctl", 1, b"of-the-host")  # KEYCTL_JOIN_SESSION_KEYRING
        syscall("keyctl", 5, keyring, 0x3F000000)  # KEYCTL_SETPERM: only for who possesses it
        with open("/proc/keys") as file:
            assert "of-the-host" in file.read()

    assert "of-the-host" not in bundle.sh("cat /proc/keys", before=keep_a_key)


def test_kernel_without_keyrings_is_no_reason_not_to_start(bundle):
    pytest.importorskip("pyseccomp", reason="needs libseccomp", exc_type=(ImportError, RuntimeError))
    without = seccomp.compile(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}],
        }
    )
    assert bundle.sh("echo hello", before=lambda: kernel_seccomp.load(without, 0)) == "hello"


def test_signals_that_the_launcher_ignores_or_blocks_are_back_to_normal(bundle):
    def disturb() -> None:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGWINCH):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
        for number in (32, 33):  # the C library's own, which a child of posix_spawn(3) ignores
            syscall("rt_sigaction", number, bytes([1]) + bytes(31), None, 8)

    shown = bundle.run("grep", "^Sig[BIC]", "/proc/self/status", before=disturb).out
    assert {line.split()[1] for line in shown.splitlines()} == {"0" * 16}


def test_reader_that_ends_early_ends_the_writer(bundle):
    assert bundle.sh("yes | head -n 1; echo then") == "y\nthen"


@pytest.mark.parametrize("user", [{"uid": 0, "gid": 0}, {"uid": 1000, "gid": 1000}], ids=["root", "user"])
def test_container_dies_with_its_launcher(bundle, user):
    """Also when it is somebody else, which the kernel would take for a reason to forget it."""
    container = bundle.start("sleep", "60", user=user)
    os.kill(container.launcher, signal.SIGKILL)
    until(lambda: has_ended(container.pid), "it did not end", seconds=5)


# -- the host's interpreter, which a process that is being set up still runs --


def test_process_that_is_being_set_up_cannot_be_looked_into(bundle, shifted_tree):
    """Of a process that may not be looked into, /proc's files belong to the host's root (PR_SET_DUMPABLE)."""
    bundle.in_user_namespace(shifted_tree)
    files = ("exe", "mem", "fd", "environ")

    def owners(pid: int) -> set[int]:
        return {os.lstat(f"/proc/{pid}/{name}").st_uid for name in files}

    container = bundle.start("sleep", "60", prepared=owners)
    assert container.prepared == {0}
    assert owners(container.pid) == {FIRST_HOST_ID}, "the program itself may be"


@pytest.fixture
def interpreter():
    """The file that this process runs, and any container before its program; it must stay as it is."""
    path = os.path.realpath("/proc/self/exe")

    def digest() -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    before = digest()
    yield path
    assert digest() == before, "the host's interpreter was changed"


@pytest.mark.parametrize(
    "make",
    [
        lambda bundle: "/proc/self/exe",
        lambda bundle: "/proc/1/exe",
        lambda bundle: os.symlink("/proc/self/exe", bundle.inside("/bin/evil")) or "evil",
        lambda bundle: os.symlink("/proc/self/exe", bundle.inside("/bin/evil")) or "/bin/../bin/evil",
        lambda bundle: bundle.add_file("/bin/evil", "#!/proc/self/exe\n", 0o755) and "evil",
        lambda bundle: bundle.add_file("/bin/evil", "#!/proc/self/exe\n", 0o111) and "evil",
        lambda bundle: bundle.add_file("/bin/evil", "#! \t/proc/1/exe -c 1", 0o755) and "/bin/evil",
        lambda bundle: (
            bundle.add_file("/bin/evil", "#!/bin/evil2\n", 0o755)
            and bundle.add_file("/bin/evil2", "#!/proc/self/exe\n", 0o755)
            and "evil"
        ),
    ],
    ids=["itself", "by-pid", "symlink", "symlink-path", "script", "unreadable", "spaces", "script-of-script"],
)
@pytest.mark.parametrize("user", [0, 1000])
def test_program_that_leads_to_the_hosts_interpreter_is_refused(bundle, interpreter, request, make, user):
    """It would run, and hand out a way to write to the host's own file (CVE-2019-5736)."""
    name = make(bundle)
    with pytest.raises(CommandNotExecutable, match="is the runtime's own executable"):
        bundle.start(name, "-c", "pass", user={"uid": user, "gid": user})
    running = bundle.start("sleep", "60")
    if "/1/" not in name and "spaces" not in request.node.name:  # which is the container's own by now
        with pytest.raises(CommandNotExecutable, match="is the runtime's own executable"):
            running.exec(name, "-c", "pass", user={"uid": user, "gid": user})


def test_interpreter_cannot_be_written_through_a_container_with_an_init(bundle, interpreter):
    """The init is a fork of the host's interpreter, and stays."""
    bundle.config["annotations"] = {"org.minicontainer.init": "true"}
    bundle.capable("CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE")
    script = "for i in 1 2 3; do (: >>/proc/1/exe) 2>/dev/null && echo open; done; echo done"
    assert bundle.run("sh", "-c", script).out == "done\n"


def test_program_of_the_image_that_looks_like_the_hosts_is_its_own_business(bundle):
    bundle.add_file("/bin/python", "#!/bin/echo\n", 0o755)
    bundle.add_file("/bin/odd", "#!\n", 0o755)
    assert bundle.run("python", "x").out == "/bin/python x\n"
    with pytest.raises(CommandNotExecutable, match="exec format error"):
        bundle.start("odd")
