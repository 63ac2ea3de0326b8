"""From a profile to a program to a process under it, and the programs that are kept."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest
from seccomp_judge import (
    ALLOW,
    ALLOWED,
    ENOSYS,
    EPERM,
    FIRST_ARGUMENTS,
    I386,
    X32,
    X86_64,
    call,
    call_i386,
    decided_by_kernel,
    filter_of,
    harmless,
    in_child,
    interpret,
    number_of,
    profile_of,
    rule,
    verdict,
    verdicts,
    x86_64,
)

from minicontainer.engine import seccomp as engine
from minicontainer.errors import InvalidArgument, Unsupported
from minicontainer.kernel import capabilities, process
from minicontainer.kernel import seccomp as kernel
from minicontainer.runtime import seccomp, seccomp_profile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
X86 = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
ANYTHING = {"defaultAction": "SCMP_ACT_ALLOW"}
SMALL = profile_of(rule("read", "write", "exit_group"))


def compare(operator: str, value: int, index: int = 0, **more) -> dict:
    return {"index": index, "value": value, "op": f"SCMP_CMP_{operator}", **more}


# -- the interpreter that the other tests rely on --


@x86_64
def test_interpreter_agrees_with_the_kernel_about_every_call():
    program = seccomp.compile(engine.default_profile(["CAP_SYS_CHROOT"]))
    errnos = {ALLOW: ALLOWED, EPERM: errno.EPERM, ENOSYS: errno.ENOSYS}

    def disagreements() -> list:
        kernel.load(harmless(program))
        wrong = []
        for abi, number in verdicts(program):
            if abi != I386 and number in (335, 336):
                continue  # uretprobe and uprobe, which newer kernels let past every filter
            for first in FIRST_ARGUMENTS:
                seen = first & 0xFFFFFFFF if abi == I386 else first
                expected = errnos[interpret(program, abi[0], number | abi[1], seen)[0]]
                decided = decided_by_kernel(abi, number, first)
                if decided != expected:
                    wrong.append([abi, number, first, decided, expected])
        return wrong

    assert in_child(disagreements) == []


# -- loading --


def error_of_loading(program: bytes, flags: int = 0) -> int:
    try:
        kernel.load(program, flags)
    except OSError as error:
        return error.errno
    return 0


def test_what_is_loaded_is_what_was_given():
    program = seccomp.compile(engine.default_profile([]))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            kernel.load(program)
            os.write(writer, b"!")
            signal.pause()
        os._exit(1)
    try:
        os.close(writer)
        assert os.read(reader, 1) == b"!"
        assert filter_of(child) == program
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)


ALLOW_ALL = kernel.statement(kernel.BPF_RET, ALLOW)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(b"", id="empty"),
        pytest.param(ALLOW_ALL[:7], id="less than an instruction"),
        pytest.param(kernel.statement(kernel.BPF_LD_W_ABS, 0), id="no verdict"),
        pytest.param(bytes(8), id="zeros"),
        pytest.param(ALLOW_ALL * 4097, id="too long"),
        pytest.param(ALLOW_ALL * 65537, id="too long for the length's field"),
    ],
)
def test_kernel_refuses_what_is_no_filter(program):
    assert in_child(error_of_loading, program) == errno.EINVAL


def test_loading_takes_a_capability_or_no_new_privs():
    def load(given_up: bool) -> int:
        capabilities.capset(0, 0, 0)
        if given_up:
            process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        return error_of_loading(ALLOW_ALL)

    assert in_child(load, False) == errno.EACCES
    assert in_child(load, True) == 0


def test_flags_reach_the_kernel():
    for flag in seccomp_profile.FLAGS:
        assert in_child(error_of_loading, ALLOW_ALL, seccomp.flags({"flags": [flag]})) == 0
    assert in_child(error_of_loading, ALLOW_ALL, 1 << 30) == errno.EINVAL
    assert seccomp.flags({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_LOG"]}) == 2
    assert seccomp.flags({"flags": None}) == seccomp.flags({}) == 0


@x86_64
def test_tsync_reaches_the_other_threads():
    refuse = rule("getppid", action="SCMP_ACT_ERRNO", errnoRet=77)
    program = seccomp.compile({**ANYTHING, "syscalls": [refuse]})

    def other_thread(flags: int) -> int:
        go, results = threading.Event(), []
        thread = threading.Thread(target=lambda: (go.wait(), results.append(call(number_of("getppid")))))
        thread.start()
        kernel.load(program, flags)
        go.set()
        thread.join()
        return results[0]

    assert in_child(other_thread, 0) == 0
    assert in_child(other_thread, kernel.SECCOMP_FILTER_FLAG_TSYNC) == 77


def test_tsync_that_cannot_be_is_an_error():
    def load() -> int:
        ready, done = threading.Event(), threading.Event()

        def confine_oneself() -> None:
            kernel.load(ALLOW_ALL)
            ready.set()
            done.wait()

        threading.Thread(target=confine_oneself).start()
        ready.wait()
        try:
            return error_of_loading(ALLOW_ALL, kernel.SECCOMP_FILTER_FLAG_TSYNC)
        finally:
            done.set()

    assert in_child(load) == errno.ESRCH


# -- compiling --


@x86_64
def test_actions_and_their_numbers():
    wanted = {
        "read": (rule("read", action="SCMP_ACT_KILL"), kernel.SECCOMP_RET_KILL_THREAD),
        "write": (rule("write", action="SCMP_ACT_KILL_THREAD"), kernel.SECCOMP_RET_KILL_THREAD),
        "open": (rule("open", action="SCMP_ACT_KILL_PROCESS"), kernel.SECCOMP_RET_KILL_PROCESS),
        "close": (rule("close", action="SCMP_ACT_TRAP"), kernel.SECCOMP_RET_TRAP),
        "stat": (rule("stat", action="SCMP_ACT_ERRNO", errnoRet=7), kernel.SECCOMP_RET_ERRNO | 7),
        "fstat": (rule("fstat", action="SCMP_ACT_ERRNO"), EPERM),
        "lstat": (rule("lstat", action="SCMP_ACT_TRACE", errnoRet=9), kernel.SECCOMP_RET_TRACE | 9),
        "poll": (rule("poll", action="SCMP_ACT_TRACE"), kernel.SECCOMP_RET_TRACE | errno.EPERM),
        "lseek": (rule("lseek", action="SCMP_ACT_LOG"), kernel.SECCOMP_RET_LOG),
        "openat": (rule("openat"), ALLOW),
        "mmap": (rule("mmap", action="SCMP_ACT_ERRNO", errnoRet=13), kernel.SECCOMP_RET_ERRNO | 13),
    }
    program = seccomp.compile(profile_of(*(entry for entry, _ in wanted.values()), defaultErrnoRet=13))
    assert {name: verdict(program, name) for name in wanted} == {name: v for name, (_, v) in wanted.items()}
    assert verdict(program, "brk") == kernel.SECCOMP_RET_ERRNO | 13


@x86_64
@pytest.mark.parametrize("operator", [name.removeprefix("SCMP_CMP_") for name in seccomp_profile.OPERATORS])
def test_operators_mean_what_they_say_to_the_kernel(operator):
    value, mask, masked = 0x1_0000_0005, 0x2_0000_00F0, 0x2_0000_0010
    meaning = {
        "NE": lambda v: v != value,
        "LT": lambda v: v < value,
        "LE": lambda v: v <= value,
        "EQ": lambda v: v == value,
        "GE": lambda v: v >= value,
        "GT": lambda v: v > value,
        "MASKED_EQ": lambda v: v & mask == masked,
    }[operator]
    condition = compare(operator, value)
    if operator == "MASKED_EQ":
        condition = compare(operator, mask, valueTwo=masked)
    program = seccomp.compile(profile_of(rule("getpid", args=[condition])))
    values = [0, 4, 5, 6, value - 1, value, value + 1, 0x7_0000_0005, masked, 0xF_0000_001F, 0x10, 2**64 - 1]

    def decide() -> list[bool]:
        kernel.load(harmless(program))
        return [decided_by_kernel(X86_64, number_of("getpid"), value) == ALLOWED for value in values]

    assert in_child(decide) == [meaning(value) for value in values]


@x86_64
def test_conditions_on_one_argument_are_alternatives_and_on_several_all_must_hold():
    program = seccomp.compile(
        profile_of(
            rule("read", args=[compare("EQ", 1), compare("EQ", 2)]),
            rule("write", args=[compare("EQ", 1), compare("EQ", 2, index=1)]),
        )
    )
    assert [verdict(program, "read", first) for first in (1, 2, 3)] == [ALLOW, ALLOW, EPERM]
    assert [verdict(program, "write", *pair) for pair in ((1, 2), (1, 3), (3, 2))] == [ALLOW, EPERM, EPERM]


@x86_64
def test_calls_that_libseccomp_does_not_know_are_passed_over():
    program = seccomp.compile(profile_of(rule("no_such_call", "getpid", "cacheflush")))
    assert verdict(program, "getpid") == ALLOW


@x86_64
@pytest.mark.parametrize("action", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_calls_newer_than_the_profile_are_not_there(action):
    program = seccomp.compile(profile_of(rule("faccessat2"), defaultAction=action, architectures=X86))
    for abi in (X86_64, X32, I386):
        number = number_of("faccessat2", abi)
        assert interpret(program, abi[0], number)[0] == ALLOW
        assert interpret(program, abi[0], number - 1)[0] == seccomp_profile.verdict(action, None)
        assert interpret(program, abi[0], number + 1)[0] == ENOSYS
        assert interpret(program, abi[0], number + 1000)[0] == ENOSYS


@x86_64
@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_a_default_that_lets_calls_through_lets_new_ones_through(action):
    program = seccomp.compile(profile_of(rule("getpid", action="SCMP_ACT_ERRNO"), defaultAction=action))
    assert interpret(program, X86_64[0], 600)[0] == seccomp_profile.verdict(action, None)


@x86_64
def test_the_machines_own_architecture_needs_no_naming():
    program = seccomp.compile(profile_of(rule("faccessat2")))
    assert verdict(program, "faccessat2") == ALLOW
    assert interpret(program, X86_64[0], 500)[0] == ENOSYS


@x86_64
def test_a_program_of_another_architecture_is_killed_unless_named():
    def ask(architectures: list[str]) -> int:
        kernel.load(seccomp.compile({**ANYTHING, "architectures": architectures}))
        return call_i386(20, 0, 0)  # 32-bit getpid

    assert in_child(ask, ["SCMP_ARCH_X86_64"]) == "SIGSYS"
    assert in_child(ask, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]) > 1


@x86_64
def test_a_rule_holds_for_every_architecture_by_its_own_number():
    refuse = rule("getpid", action="SCMP_ACT_ERRNO", errnoRet=77)

    def ask() -> list[int]:
        kernel.load(seccomp.compile({**ANYTHING, "syscalls": [refuse], "architectures": X86}))
        return [call(39), call(39 | kernel.X32_SYSCALL_BIT), call_i386(20, 0, 0)]

    assert in_child(ask) == [77, 77, -77]


@x86_64
def test_a_profile_without_a_rule_that_matters():
    assert verdict(seccomp.compile({"defaultAction": "SCMP_ACT_ERRNO"}), "read") == EPERM
    many = [entry["names"] for entry in engine.default_profile([])["syscalls"] if "args" not in entry]
    program = seccomp.compile(profile_of(*(rule(*names) for names in many), **ANYTHING))
    assert verdict(program, "read") == verdict(program, "mount") == ALLOW


@pytest.fixture
def runc(tmp_path):
    """Run a process under runc with a seccomp profile -> the filter that runc made of it."""
    command = shutil.which("runc", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not command:
        pytest.skip("needs runc")
    for name in ("usr", "proc"):
        os.makedirs(tmp_path / "rootfs" / name)
    for name in ("bin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), tmp_path / "rootfs" / name)
    user = {"uid": 0, "gid": 0}
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": ["/usr/bin/sleep", "600"], "cwd": "/", "user": user, "noNewPrivileges": True},
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]},
    }

    def run(profile: dict) -> bytes:
        config["linux"]["seccomp"] = profile
        (tmp_path / "config.json").write_text(json.dumps(config))
        base, name = [command, "--root", str(tmp_path / "state")], f"minicontainer-seccomp-{os.getpid()}"
        start = [*base, "run", "-d", "--bundle", str(tmp_path), "--pid-file", str(tmp_path / "pid"), name]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            subprocess.run(start, check=True, **quiet)
            pid = int((tmp_path / "pid").read_text())
            ends = time.monotonic() + 10
            while pathlib.Path(f"/proc/{pid}/comm").read_text() != "sleep\n" and time.monotonic() < ends:
                time.sleep(0.01)  # until then it is runc's own process, whose threads its execve(2) ends
            return filter_of(pid)
        finally:
            subprocess.run([*base, "delete", "-f", name], check=False, **quiet)

    return run


@x86_64
def test_runc_makes_the_same_of_the_default_profile(runc):
    profile = engine.default_profile(["CAP_SYS_NICE", "CAP_SYS_TIME"])
    assert verdicts(seccomp.compile(profile)) == verdicts(runc(profile))


@x86_64
def test_runc_makes_the_same_of_an_odd_profile(runc):
    profile = profile_of(
        *engine.default_profile([])["syscalls"],
        rule("bpf", args=[compare("EQ", 1), compare("GT", 40)]),
        rule("mount", args=[compare("GE", 8), compare("NE", 1, index=1)]),
        rule("mount", "no_such_call", action="SCMP_ACT_KILL_PROCESS"),
        rule("syslog", action="SCMP_ACT_ERRNO", errnoRet=99),
        rule("reboot", action="SCMP_ACT_TRACE", args=[compare("LE", 2)]),
        rule("acct", action="SCMP_ACT_TRAP"),
        rule("swapon", action="SCMP_ACT_LOG", args=[compare("LT", 1 << 32)]),
        defaultAction="SCMP_ACT_KILL_PROCESS",
        architectures=["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
    )
    assert verdicts(seccomp.compile(profile)) == verdicts(runc(profile))


@x86_64
def test_runc_makes_the_same_of_podmans_profile(runc):
    path = "/usr/share/containers/seccomp.json"
    if not os.path.exists(path):
        pytest.skip(f"needs podman's {path}")
    profile = engine.profile_from(path, ["CAP_SYS_CHROOT"])
    assert verdicts(seccomp.compile(profile)) == verdicts(runc(profile))


# -- what is refused --


def with_argument(**argument) -> dict:
    return profile_of(rule("read", args=[{"index": 0, "value": 0, "op": "SCMP_CMP_EQ", **argument}]))


def with_errno(number: object, action: str = "SCMP_ACT_ERRNO") -> dict:
    return profile_of(rule("read"), rule("read", action=action, errnoRet=number))


@pytest.mark.parametrize(
    ("profile", "place", "value"),
    [
        ([], "the profile", "object"),
        ({}, "defaultAction", "None"),
        ({"defaultAction": "SCMP_ACT_FOO"}, "defaultAction", "SCMP_ACT_FOO"),
        ({"defaultAction": ["SCMP_ACT_ALLOW"]}, "defaultAction", "SCMP_ACT_ALLOW"),
        ({**ANYTHING, "defaultErrnoRet": 1}, "defaultErrnoRet", "SCMP_ACT_ALLOW"),
        ({**ANYTHING, "architectures": ["SCMP_ARCH_VAX"]}, "architectures", "SCMP_ARCH_VAX"),
        ({**ANYTHING, "architectures": "SCMP_ARCH_X86"}, "architectures", "list"),
        ({**ANYTHING, "flags": ["SECCOMP_FILTER_FLAG_FOO"]}, "flags", "SECCOMP_FILTER_FLAG_FOO"),
        ({**ANYTHING, "syscalls": {"names": []}}, "syscalls", "list"),
        ({**ANYTHING, "syscalls": ["read"]}, "syscalls[0]", "object"),
        (profile_of({"action": "SCMP_ACT_ALLOW"}), "syscalls[0].names", "list"),
        (profile_of(rule("read"), rule("write", "")), "syscalls[1].names", "list"),
        (profile_of(rule("read\0")), "syscalls[0].names", "list"),
        (profile_of(rule("read", action="ALLOW")), "syscalls[0].action", "'ALLOW'"),
        (with_errno("EPERM"), "syscalls[1].errnoRet", "'EPERM'"),
        (with_errno(65536), "syscalls[1].errnoRet", "65536"),
        (with_errno(1, "SCMP_ACT_ALLOW"), "syscalls[1].errnoRet", "SCMP_ACT_ALLOW"),
        (profile_of(rule("read", args=[7])), "syscalls[0].args[0]", "object"),
        (with_argument(op="=="), "syscalls[0].args[0].op", "'=='"),
        (with_argument(index=6), "syscalls[0].args[0].index", "6"),
        (with_argument(value=-1), "syscalls[0].args[0].value", "-1"),
        (with_argument(value=None), "syscalls[0].args[0].value", "None"),
        (with_argument(valueTwo=1 << 64), "syscalls[0].args[0].valueTwo", "18446744073709551616"),
    ],
)
def test_a_wrong_profile_is_refused_by_the_place_and_the_value(profile, place, value):
    with pytest.raises(InvalidArgument) as caught:
        seccomp.compile(profile)
    assert place in str(caught.value)
    assert value in str(caught.value)


def test_rules_that_contradict_each_other():
    one = [compare("EQ", 1)]
    with pytest.raises(InvalidArgument, match="SCMP_ACT_LOG for read"):
        seccomp.compile(profile_of(rule("read", args=one), rule("read", action="SCMP_ACT_LOG", args=one)))


def test_a_program_that_is_too_long_for_the_kernel():
    rules = [rule("read", args=[compare("EQ", n << 33 | n)]) for n in range(1400)]
    with pytest.raises(InvalidArgument, match="instructions"):
        seccomp.compile(profile_of(*rules))


@pytest.mark.parametrize(
    "profile",
    [
        profile_of(rule("read", action="SCMP_ACT_NOTIFY")),
        {"defaultAction": "SCMP_ACT_NOTIFY"},
        {**ANYTHING, "architectures": [f"SCMP_ARCH_{'S390X' if sys.byteorder == 'little' else 'X86_64'}"]},
    ],
    ids=["notify", "notify by default", "other byte order"],
)
def test_what_cannot_be_done_here_is_not_done_by_half(profile):
    with pytest.raises(Unsupported):
        seccomp.compile(profile)


TRY_TO_COMPILE = f"""
import sys
sys.path.insert(0, {ROOT!r})
from minicontainer.errors import Unsupported
from minicontainer.runtime import seccomp
try:
    seccomp.filter_for({ANYTHING}, "/nowhere")
except Unsupported as error:
    print(error)
"""


@pytest.mark.parametrize("missing", ["library", "module"])
def test_without_libseccomp_the_remedy_is_named(missing):
    with open("/proc/self/maps") as maps:
        library = next(line.split()[-1] for line in maps if "libseccomp.so" in line)
    options = ["-I", "-S"] if missing == "module" else []  # -S: no installed packages
    hide = f"mount --bind /dev/null {library};" if missing == "library" else ""
    shell = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", hide + 'exec "$@"', "sh"]
    line = [*shell, sys.executable, *options, "-c", TRY_TO_COMPILE]
    answer = subprocess.run(line, check=True, capture_output=True, text=True)
    assert answer.stderr == ""
    assert "apt-get install libseccomp2" in answer.stdout
    assert "--security-opt seccomp=unconfined" in answer.stdout
    assert not os.path.exists("/nowhere")


# -- the kept programs --


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "new" / "cache")


def only_file(cache: str) -> str:
    (name,) = os.listdir(cache)
    return os.path.join(cache, name)


def test_a_program_is_compiled_once_and_kept_for_this_user_alone(cache):
    before = os.umask(0)
    try:
        program = seccomp.filter_for(SMALL, cache)
    finally:
        os.umask(before)
    assert program == seccomp.compile(SMALL)
    path = only_file(cache)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(cache).st_mode) == 0o700
    written = os.stat(path)
    assert seccomp.filter_for(dict(reversed(SMALL.items())), cache) == program
    assert (os.stat(path).st_ino, os.stat(path).st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_a_kept_program_says_what_it_was_made_from(cache):
    seccomp.filter_for(SMALL, cache)
    with open(only_file(cache), "rb") as file:
        made_from = json.loads(file.readline())
    assert made_from["profile"] == SMALL
    assert (made_from["machine"], made_from["kernel"]) == (os.uname().machine, os.uname().release)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda c: b"", id="empty"),
        pytest.param(lambda c: c[:-8], id="an instruction less"),
        pytest.param(lambda c: c[:-3], id="half an instruction"),
        pytest.param(lambda c: c[:40], id="a beginning"),
        pytest.param(lambda c: c[: c.index(b"\n") + 10], id="no program"),
        pytest.param(lambda c: c + c[-8:], id="an instruction more"),
        pytest.param(lambda c: c + bytes(100_000), id="much more"),
        pytest.param(lambda c: c[:-3] + bytes([c[-3] ^ 1]) + c[-2:], id="a bit"),
        pytest.param(lambda c: c.replace(b'"read"', b'"open"'), id="another profile's"),
    ],
)
def test_a_damaged_file_is_made_anew(cache, damage):
    program = seccomp.filter_for(SMALL, cache)
    path = only_file(cache)
    with open(path, "rb") as file:
        content = file.read()
    assert damage(content) != content
    with open(path, "wb") as file:
        file.write(damage(content))
    assert seccomp.filter_for(SMALL, cache) == program
    with open(path, "rb") as file:
        assert file.read() == content


def test_each_profile_has_a_program_of_its_own(cache):
    others = [SMALL, ANYTHING, profile_of(rule("read")), {**SMALL, "defaultErrnoRet": 5}]
    for _ in range(2):
        assert [seccomp.filter_for(p, cache) for p in others] == [seccomp.compile(p) for p in others]
    assert len(os.listdir(cache)) == len(others)


def test_many_at_once_agree_and_leave_one_file(cache):
    profile = engine.default_profile([])
    expected = seccomp.compile(profile)
    start = time.monotonic() + 0.3
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            try:
                time.sleep(max(0, start - time.monotonic()))
                os._exit(0 if seccomp.filter_for(profile, cache) == expected else 2)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert seccomp.filter_for(profile, cache) == expected
    assert only_file(cache)


def children() -> list[int]:
    """The children of this process, with those that nobody has waited for yet."""
    parents = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
            parents[int(pid)] = int(stat.rpartition(")")[2].split()[1])
    return sorted(pid for pid, parent in parents.items() if parent == os.getpid())


def test_what_is_wrong_is_told_as_without_a_cache_and_nothing_is_left(cache):
    before = children()
    with pytest.raises(InvalidArgument, match="SCMP_ACT_FOO"):
        seccomp.filter_for({"defaultAction": "SCMP_ACT_FOO"}, cache)
    with pytest.raises(Unsupported, match="SCMP_ACT_NOTIFY"):
        seccomp.filter_for({"defaultAction": "SCMP_ACT_NOTIFY"}, cache)
    assert not os.path.exists(cache)
    assert children() == before


def test_a_directory_that_cannot_be_used_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        seccomp.filter_for(SMALL, str(tmp_path / "file"))
    (tmp_path / "readable").mkdir()
    mount = f'mount --bind -o ro {tmp_path}/readable {tmp_path}/readable; exec "$@"'
    code = f"import sys; sys.path[:0] = {sys.path!r}; from minicontainer.runtime import seccomp\n"
    code += f"seccomp.filter_for({SMALL}, {str(tmp_path / 'readable')!r})"
    line = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        mount,
        "sh",
        sys.executable,
        "-c",
        code,
    ]
    answer = subprocess.run(line, check=False, capture_output=True, text=True)
    assert "Read-only file system" in answer.stderr.splitlines()[-1]


def test_the_caller_stays_small(cache):
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from minicontainer.runtime import seccomp
for _ in range(2):
    seccomp.filter_for({SMALL}, {cache!r})
heavy = {{"pyseccomp", "ctypes.util", "subprocess", "hashlib", "typing", "traceback"}}
print(sorted(heavy & sys.modules.keys()), "libseccomp" in open("/proc/self/maps").read())
"""
    line = [sys.executable, "-S", "-c", code]
    answer = subprocess.run(line, check=True, capture_output=True, text=True)
    assert answer.stdout == "[] False\n"
