"""Docker's default profile, resolved for a host and a container; and profiles of the user's own."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest
from seccomp_judge import (
    AF_ALG,
    AF_VSOCK,
    ALLOW,
    CLONE_NEWUSER,
    ENOSYS,
    EPERM,
    I386,
    X32,
    X86_64,
    call,
    filter_of,
    in_child,
    name_of,
    number_of,
    profile_of,
    rule,
    verdict,
    verdicts,
    x86_64,
)

from minicontainer.engine import seccomp as engine
from minicontainer.errors import InvalidArgument, NotFound, Unsupported
from minicontainer.kernel import seccomp as kernel
from minicontainer.runtime import seccomp, seccomp_profile

DOCKERS_CAPABILITIES = [
    f"CAP_{name}"
    for name in "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP "
    "SETGID SETPCAP SETUID SYS_CHROOT".split()
]


# -- the default, beside Docker --

# What Docker changed since 20.10
ALLOWED_SINCE = set(
    "cachestat clock_settime64 fchmodat2 futex_requeue futex_wait futex_wake getxattrat listmount "
    "listxattrat lsm_get_self_attr lsm_list_modules lsm_set_self_attr map_shadow_stack mseal "
    "name_to_handle_at pkey_alloc pkey_free pkey_mprotect process_vm_readv process_vm_writev removexattrat "
    "riscv_hwprobe set_mempolicy_home_node setxattrat statmount uretprobe".split()
)
REFUSED_SINCE = {"io_uring_enter", "io_uring_register", "io_uring_setup"}


def is_explained(abi: tuple, number: int, ours: object, dockers: object) -> bool:
    """Whether a verdict of ours differs from that of an older Docker for a known reason."""
    name = name_of(abi, number)
    if name == "socket" and isinstance(ours, dict):
        others = dockers if isinstance(dockers, dict) else dict.fromkeys(ours, dockers)
        return {ours[first] for first in ours if ours[first] != others[first]} == {EPERM}
    if name in ALLOWED_SINCE:
        return dockers in (EPERM, ENOSYS) and (ours == ALLOW or ENOSYS in (ours, dockers))
    return name in REFUSED_SINCE and dockers == ALLOW and ours == EPERM


@pytest.fixture(scope="module")
def docker():
    """Start a container with these options -> its configuration, and the filter that runc made of it."""
    command = shutil.which("docker") or "docker"
    try:
        subprocess.run([command, "image", "inspect", "alpine"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs docker with an image called alpine")

    def ask(*line: str) -> str:
        return subprocess.run([command, *line], check=True, capture_output=True, text=True).stdout.strip()

    def run(*options: str) -> tuple[dict, bytes]:
        name = f"minicontainer-seccomp-{os.getpid()}"
        try:
            ask("run", "-d", "--name", name, "--network", "none", *options, "alpine", "sleep", "600")
            pid = int(ask("inspect", "--format", "{{.State.Pid}}", name))
            with open(f"/proc/{pid}/stat") as file:
                shim = file.read().rpartition(")")[2].split()[1]
            with open(f"/proc/{shim}/cwd/config.json") as file:  # containerd starts the shim in the bundle
                return json.load(file), filter_of(pid)
        finally:
            ask("rm", "-f", name)

    return run


@x86_64
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--cap-drop=ALL"],
        ["--cap-add=SYS_ADMIN"],
        ["--cap-add=SYS_PTRACE", "--cap-add=DAC_READ_SEARCH", "--cap-drop=SYS_CHROOT"],
        [f"--cap-add=SYS_{name}" for name in "BOOT MODULE NICE PACCT RAWIO TIME TTY_CONFIG".split()],
        ["--cap-add=SYSLOG"],
    ],
    ids=" ".join,
)
def test_decides_as_docker_does(docker, options):
    config, filter_by_runc = docker(*options)
    dockers = verdicts(filter_by_runc)
    assert verdicts(seccomp.compile(config["linux"]["seccomp"])) == dockers
    bounding = config["process"].get("capabilities", {}).get("bounding") or []
    ours = verdicts(seccomp.compile(engine.default_profile(bounding)))
    assert {key for key in ours if ours[key] != dockers[key]}
    unexplained = {
        (name_of(*key), key): (ours[key], dockers[key])
        for key in ours
        if ours[key] != dockers[key] and not is_explained(*key, ours[key], dockers[key])
    }
    assert unexplained == {}


@x86_64
def test_what_a_container_notices():
    program = seccomp.compile(engine.default_profile(DOCKERS_CAPABILITIES))

    def try_all() -> dict:
        kernel.load(program)
        return {
            "unshare": call(number_of("unshare"), CLONE_NEWUSER),
            "clone with a namespace": call(number_of("clone"), CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0),
            "clone3": call(number_of("clone3"), 0, 0),
            "mount": call(number_of("mount"), 0, 0, 0, 0, 0),
            "keyctl": call(number_of("keyctl"), 0, 0),
            "io_uring_setup": call(number_of("io_uring_setup"), 1, 0),
            "personality(PER_LINUX)": call(number_of("personality"), 0),
            "personality(ADDR_NO_RANDOMIZE)": call(number_of("personality"), 0x40000),
            "socket(AF_INET)": call(number_of("socket"), socket.AF_INET, socket.SOCK_STREAM, 0),
            "socket(AF_ALG)": call(number_of("socket"), AF_ALG, socket.SOCK_STREAM, 0),
            "socket(AF_VSOCK)": call(number_of("socket"), AF_VSOCK, socket.SOCK_STREAM, 0),
            "a call of the year 2040": call(1000),
            "a thread": threading.Thread(target=threading.get_ident).start(),
            "a program": subprocess.run(["true"], check=False).returncode,
        }

    assert in_child(try_all) == {
        "unshare": errno.EPERM,
        "clone with a namespace": errno.EPERM,
        "clone3": errno.ENOSYS,
        "mount": errno.EPERM,
        "keyctl": errno.EPERM,
        "io_uring_setup": errno.EPERM,
        "personality(PER_LINUX)": 0,
        "personality(ADDR_NO_RANDOMIZE)": errno.EPERM,
        "socket(AF_INET)": 0,
        "socket(AF_ALG)": errno.EPERM,
        "socket(AF_VSOCK)": errno.EPERM,
        "a call of the year 2040": errno.ENOSYS,
        "a thread": None,
        "a program": 0,
    }


@x86_64
def test_only_address_families_that_linux_has_and_a_container_needs():
    program = seccomp.compile(engine.default_profile(DOCKERS_CAPABILITIES))
    refused = [family for family in range(64) if verdict(program, "socket", family) != ALLOW]
    dropped = [12, 19, 20, 23, 25, 34, 37]  # AF_DECnet, ECONET, ATMSVC, IRDA, WANPIPE, ISDN, CAIF
    assert refused == sorted([*dropped, AF_ALG, AF_VSOCK, *range(46, 64)])

    def ask_for_a_family_with_upper_bits() -> list[int]:
        kernel.load(program)
        return [
            call(number_of("socket"), 1 << 32 | family, 1, 0) for family in (socket.AF_INET, AF_ALG, AF_VSOCK)
        ]

    assert in_child(ask_for_a_family_with_upper_bits) == [errno.EPERM] * 3


CALLS_OF = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": "bpf fanotify_init fsopen mount perf_event_open setns syslog umount2 unshare",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime settimeofday",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_NET_ADMIN": "",
}
NEVER = "add_key create_module io_uring_setup kexec_load keyctl pivot_root swapon userfaultfd".split()


@x86_64
@pytest.mark.parametrize("capability", CALLS_OF)
def test_a_capability_opens_its_calls_and_no_others(capability):
    program = seccomp.compile(engine.default_profile([capability]))
    calls = {name for names in CALLS_OF.values() for name in names.split()}
    opened = {name for name in calls if verdict(program, name) == ALLOW}
    assert opened == set(CALLS_OF[capability].split())
    assert {verdict(program, name) for name in (calls - opened).union(NEVER)} == {EPERM}


@x86_64
def test_clone_is_judged_by_its_flags_unless_namespaces_are_allowed():
    for held, new_user, clone3 in (([], EPERM, ENOSYS), (["CAP_SYS_ADMIN"], ALLOW, ALLOW)):
        program = seccomp.compile(engine.default_profile(held))
        for abi in (X86_64, X32, I386):
            assert verdict(program, "clone", 0x3D0F00, abi=abi) == ALLOW  # pthread_create(3)
            assert verdict(program, "clone", CLONE_NEWUSER | signal.SIGCHLD, abi=abi) == new_user
            assert verdict(program, "clone3", abi=abi) == clone3


# -- resolving --


def test_the_resolved_profile_is_plain_oci():
    resolved = engine.default_profile([], machine="x86_64", kernel="6.1.0")
    assert resolved.keys() == {"defaultAction", "defaultErrnoRet", "architectures", "syscalls"}
    assert {key for entry in resolved["syscalls"] for key in entry} <= {"names", "action", "errnoRet", "args"}
    seccomp_profile.check(resolved)


@pytest.mark.parametrize(
    ("machine", "architectures", "calls"),
    [
        ("x86_64", "X86_64 X86 X32", "arch_prctl modify_ldt"),
        ("i686", "", "modify_ldt"),
        ("aarch64", "AARCH64 ARM", "cacheflush set_tls sync_file_range2"),
        ("ppc64le", "", "swapcontext sync_file_range2"),
        ("riscv64", "RISCV64", "riscv_flush_icache"),
        ("s390x", "S390X S390", "s390_pci_mmio_read"),
        ("vax", "", ""),
    ],
)
def test_the_default_is_resolved_for_a_machine(machine, architectures, calls):
    resolved = engine.default_profile([], machine=machine, kernel="6.1")
    special = "arch_prctl modify_ldt cacheflush set_tls sync_file_range2 swapcontext riscv_flush_icache "
    names = {name for entry in resolved["syscalls"] for name in entry["names"]}
    assert resolved.get("architectures", []) == [f"SCMP_ARCH_{name}" for name in architectures.split()]
    assert names & {*special.split(), "s390_pci_mmio_read"} == set(calls.split())
    flags_at = [entry["args"][0]["index"] for entry in resolved["syscalls"] if entry["names"] == ["clone"]]
    assert flags_at == [1 if machine == "s390x" else 0]


@pytest.mark.parametrize("release", ["4.8", "4.8.0-generic", "4.10-rc1", "6.18.44", "10.0"])
def test_tracing_is_allowed_since_linux_4_8(release):
    def allows_ptrace(release: str) -> bool:
        return any(
            "ptrace" in entry["names"] for entry in engine.default_profile([], kernel=release)["syscalls"]
        )

    assert allows_ptrace(release)
    assert not allows_ptrace("4.7.10")
    assert not allows_ptrace("3.12-1-amd64")


def conditional(**conditions) -> dict:
    return profile_of({**rule("read"), **conditions})


@pytest.mark.parametrize(
    ("conditions", "applies"),
    [
        ({}, True),
        ({"includes": None, "excludes": {}, "comment": "as podman writes them", "args": None}, True),
        ({"includes": {"caps": ["CAP_A"]}}, True),
        ({"includes": {"caps": ["CAP_A", "CAP_C"]}}, False),
        ({"excludes": {"caps": ["CAP_C"]}}, True),
        ({"excludes": {"caps": ["CAP_C", "CAP_B"]}}, False),
        ({"includes": {"arches": ["amd64", "x86"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"includes": {"minKernel": "5.10"}}, True),
        ({"includes": {"minKernel": "5.11"}}, False),
        ({"excludes": {"minKernel": "5.10"}}, False),
        ({"excludes": {"minKernel": "5.11"}}, True),
        ({"includes": {"caps": ["CAP_A"], "arches": ["arm64"]}}, False),
    ],
)
def test_conditions(conditions, applies):
    profile = conditional(**conditions)
    resolved = engine.resolve(profile, ["CAP_A", "CAP_B"], machine="x86_64", kernel="5.10.3")
    assert resolved["syscalls"] == ([rule("read")] if applies else [])


# -- the option --


@pytest.fixture
def written(tmp_path):
    def write(content: object) -> str:
        path = tmp_path / "profile.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_the_option_names_no_filter_or_the_default():
    assert engine.profile_from("unconfined", []) is None
    assert engine.profile_from("builtin", ["CAP_BPF"]) == engine.default_profile(["CAP_BPF"])


def test_the_option_names_a_file_in_oci_form(written):
    profile = profile_of(
        rule("read", args=[{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]),
        defaultErrnoRet=5,
        architectures=["SCMP_ARCH_X86_64"],
        flags=["SECCOMP_FILTER_FLAG_LOG"],
    )
    assert engine.profile_from(written(profile), []) == profile


def test_the_option_names_a_file_in_dockers_form(written):
    profile = profile_of(
        {"name": "read", "action": "SCMP_ACT_ALLOW", "args": [], "includes": {"caps": ["CAP_A"]}},
        archMap=[{"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
    )
    resolved = engine.profile_from(written(profile), ["CAP_A"], machine="aarch64")
    assert resolved == profile_of(rule("read", args=[]), architectures=["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"])


ANYTHING = {"defaultAction": "SCMP_ACT_ALLOW"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "Expecting value"),
        ("{,}", "line 1"),
        ("[" * 100_000, "cannot be read"),
        ([], "no JSON object"),
        ({}, "defaultAction"),
        ({"defaultAction": "SCMP_ACT_FOO"}, "SCMP_ACT_FOO"),
        ({**ANYTHING, "syscalls": "read"}, "syscalls is not a list"),
        ({**ANYTHING, "syscalls": ["read"]}, "syscalls[0] is not a JSON object"),
        ({**ANYTHING, "architectures": "x"}, "architectures is not a list"),
        ({**ANYTHING, "archMap": [{}], "architectures": ["SCMP_ARCH_X86"]}, "both architectures and archMap"),
        ({**ANYTHING, "archMap": ["SCMP_ARCH_X86"]}, "archMap[] is not a JSON object"),
        (profile_of({**rule("read"), "name": "write"}), "syscalls[0] has both name and names"),
        (conditional(includes=["CAP_A"]), "syscalls[0].includes is not a JSON object"),
        (conditional(includes={"caps": "CAP_A"}), "syscalls[0].includes.caps is not a list"),
        (conditional(includes={"caps": [["CAP_A"]]}), "syscalls[0].includes.caps is not a list of strings"),
        (conditional(excludes={"capabilities": ["CAP_A"]}), "'capabilities'"),
        (conditional(includes={"minKernel": "new"}), "'new' is not the version of a kernel"),
        (conditional(action="FOO"), "syscalls[0].action has 'FOO'"),
        (conditional(action="FOO", includes={"arches": ["vax"]}), "syscalls[0].action has 'FOO'"),
    ],
)
def test_a_file_that_is_no_profile_is_named_with_what_is_wrong(written, content, says):
    path = written(content)
    with pytest.raises(InvalidArgument) as caught:
        engine.profile_from(path, [])
    assert path in str(caught.value)
    assert says in str(caught.value)


def test_a_file_that_is_not_there_or_cannot_be_read(tmp_path):
    with pytest.raises(NotFound, match=r"unconfned.*unconfined"):
        engine.profile_from("unconfned", [])
    with pytest.raises(InvalidArgument, match=rf"^seccomp profile {tmp_path}: is a directory$"):
        engine.profile_from(str(tmp_path), [])


def test_what_a_file_wants_and_this_runtime_cannot_do(written):
    with pytest.raises(Unsupported, match=r"profile\.json.*SCMP_ACT_NOTIFY"):
        engine.profile_from(written({"defaultAction": "SCMP_ACT_NOTIFY"}), [])
