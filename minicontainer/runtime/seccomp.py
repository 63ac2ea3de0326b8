"""System call filters: which of the kernel's four hundred doors a container may knock at.

Every system call is code that runs with the kernel's own rights; some of it is rarely used, rarely read, and
wrong. A container shares that kernel with its host: a call that it does not need is best not there. The
``linux.seccomp`` object of an OCI configuration says which calls are: a verdict for all of them, and rules
that differ from it by a call's name and arguments. The kernel wants numbers, and a program that compares them
(:mod:`minicontainer.kernel.seccomp`); libseccomp knows every architecture's numbers and writes the program.

**More than one architecture.** An x86-64 kernel also runs 32-bit programs, whose ``execve`` is number 11 and
not 59. A filter that judged by number alone could be walked around by asking through the other door, so the
program looks at the architecture first, and kills what asks from one that the profile does not name.

**Calls from the future.** A profile can only name calls that its author knew. When a C library tries a newer
one, a kernel without it answers ENOSYS and the library falls back on an older call; EPERM, the answer of most
profiles, would be believed and the program fail. So a few instructions of our own stand in front, as in runc:
a number above the largest that the profile names gets ENOSYS. Calls that libseccomp itself is too old to know
are passed over, and mostly end there too.

Compiling takes a tenth of a second and more memory than all the rest of a container's monitor. It is done in
a child process, once for each profile; the program is kept in a file.
"""

from __future__ import annotations

import errno
import json
import os
import zlib

from minicontainer.errors import InvalidArgument, Unsupported
from minicontainer.kernel import seccomp as kernel
from minicontainer.runtime import seccomp_profile
from minicontainer.runtime.seccomp_profile import items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from minicontainer.runtime.seccomp_profile import Profile

_FORMAT = 1  # of the kept files; another number, and none of the old ones is used again
_UNKNOWN_CALL = -1  # seccomp.h: __NR_SCMP_ERROR
_BINARY_TREE = 2  # seccomp_attr_set(3): the value of SCMP_FLTATR_CTL_OPTIMIZE


def compile(profile: Profile) -> bytes:
    """Turn a ``linux.seccomp`` object into a BPF program, an array of struct sock_filter.

    Raises InvalidArgument for a profile that is wrong, Unsupported without libseccomp. Source: runtime-spec,
    config-linux.md; seccomp_rule_add(3).
    """
    seccomp_profile.check(profile)
    scmp = _libseccomp()
    default = seccomp_profile.verdict(profile["defaultAction"], profile.get("defaultErrnoRet"))
    program = scmp.SyscallFilter(default)
    for name in items(profile, "architectures"):
        _add_architecture(program, name)
    # A rule with the default's verdict says nothing new, and libseccomp would take it for a mistake.
    rules = [rule for rule in items(profile, "syscalls") if _verdict(rule) != default]
    for rule in rules:
        _add_rule(scmp, program, rule)
    if len(_names(rules)) > 32:  # worth it only then; libseccomp 2.5 gets the tree of an empty filter wrong
        program.set_attr(scmp.Attr.CTL_OPTIMIZE, _BINARY_TREE)
    bpf = _newer_calls(scmp, profile) + _export(program)
    count = len(bpf) // kernel.INSTRUCTION_SIZE
    if count > kernel.BPF_MAXINSNS:
        raise InvalidArgument(
            f"seccomp: the profile takes {count} instructions of {kernel.BPF_MAXINSNS} at most"
        )
    return bpf


def _export(program: Any) -> bytes:
    with open(os.memfd_create("seccomp"), "rb") as file:  # libseccomp writes to descriptors only
        program.export_bpf(file)
        file.seek(0)
        return file.read()


def _libseccomp() -> Any:
    """The module pyseccomp. It is slow to import: it runs other programs to find the library."""
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:
        raise Unsupported(
            f"a system call filter needs libseccomp: {error}; install it (apt-get install libseccomp2) or "
            "start the container without a filter (--security-opt seccomp=unconfined)"
        ) from None
    return pyseccomp


def _add_architecture(program: Any, name: str) -> None:
    try:
        program.add_arch(seccomp_profile.ARCHITECTURES[name])
    except FileExistsError:
        pass  # this machine's own is in every filter from the start
    except OSError as error:
        raise Unsupported(f"seccomp: libseccomp cannot filter {name} here: {error.strerror}") from None


def _verdict(rule: Profile) -> int:
    return seccomp_profile.verdict(rule["action"], rule.get("errnoRet"))


def _names(rules: list[Profile]) -> set[str]:
    return {name for rule in rules for name in rule["names"]}


def _add_rule(scmp: Any, program: Any, rule: Profile) -> None:
    for name in rule["names"]:
        number = scmp.resolve_syscall(scmp.Arch.NATIVE, name)
        if number == _UNKNOWN_CALL:
            continue
        for conditions in _alternatives(scmp, items(rule, "args")):
            try:
                program.add_rule(_verdict(rule), number, *conditions)
            except OSError as error:
                what = f"seccomp: libseccomp refuses the rule {rule['action']} for {name}: {error.strerror}"
                raise InvalidArgument(f"{what}; does another rule contradict it?") from None


def _alternatives(scmp: Any, arguments: list[Profile]) -> list[list[Any]]:
    """Lists of conditions that must hold together. The rule applies when any of the lists does.

    Conditions on different arguments must all hold; but when two are on the same argument, each one is an
    alternative of its own. That is runc's reading, and profiles are written for it.
    """
    conditions = [
        scmp.Arg(a["index"], seccomp_profile.OPERATORS.index(a["op"]) + 1, a["value"], a.get("valueTwo") or 0)
        for a in arguments
    ]
    if len({a["index"] for a in arguments}) < len(arguments):
        return [[condition] for condition in conditions]
    return [conditions]


def _newer_calls(scmp: Any, profile: Profile) -> bytes:
    """The instructions in front: ENOSYS for numbers above the largest that the profile names.

    Only where the default refuses. Whoever allows, logs or traces what is not named wants to see new calls.
    """
    if profile["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"):
        return b""
    names = _names(items(profile, "syscalls"))
    wanted = {seccomp_profile.ARCHITECTURES[name] for name in items(profile, "architectures")}
    program = b""
    for architecture in sorted(wanted | {scmp.system_arch()}):
        newest = max((scmp.resolve_syscall(architecture, name) for name in names), default=0)
        if newest > 0:
            program += _refuse_above(architecture, newest)
    return program


def _refuse_above(architecture: int, newest: int) -> bytes:
    machine, last = architecture, 0xFFFFFFFF
    if architecture == kernel.AUDIT_ARCH_X86_64:
        last = kernel.X32_SYSCALL_BIT - 1
    elif architecture == seccomp_profile.X32:
        machine = kernel.AUDIT_ARCH_X86_64
    return b"".join(
        (
            kernel.statement(kernel.BPF_LD_W_ABS, kernel.SECCOMP_DATA_ARCH),
            kernel.jump(kernel.BPF_JEQ, machine, 0, 4),  # another architecture: on to what follows
            kernel.statement(kernel.BPF_LD_W_ABS, kernel.SECCOMP_DATA_NR),
            kernel.jump(kernel.BPF_JGT, newest, 0, 2),  # the profile's author knew this number: on
            kernel.jump(kernel.BPF_JGT, last, 1, 0),  # on x86-64, the numbers of x32: on
            kernel.statement(kernel.BPF_RET, kernel.SECCOMP_RET_ERRNO | errno.ENOSYS),
        )
    )


def flags(profile: Profile) -> int:
    """The profile's flags as the number that :func:`minicontainer.kernel.seccomp.load` takes."""
    return sum({seccomp_profile.FLAGS[flag] for flag in items(profile, "flags")})


def filter_for(profile: Profile, cache: str) -> bytes:
    """Return the program for a ``linux.seccomp`` object, compiled at most once.

    ``cache`` is a directory, made when missing. Each file in it has a line of JSON that says what was
    compiled for which machine, a line with a checksum, and the program; it may be deleted at any time. Raises
    what :func:`compile` does, and OSError when the directory cannot be used.
    """
    source = _describe(profile)
    # The name need not be unique: the file begins with the whole of what it was made from.
    path = os.path.join(cache, f"{zlib.crc32(source):08x}.bpf")
    program = _read(path, source)
    if program is None:
        program = _compile_in_child(profile)
        os.makedirs(cache, mode=0o700, exist_ok=True)
        _write(path, source + _checksum(program) + program)
    return program


def _describe(profile: Profile) -> bytes:
    system = os.uname()
    made_for = {"format": _FORMAT, "machine": system.machine, "kernel": system.release, "profile": profile}
    return json.dumps(made_for, sort_keys=True).encode() + b"\n"


def _checksum(program: bytes) -> bytes:
    return b"%08x\n" % zlib.crc32(program)


def _read(path: str, source: bytes) -> bytes | None:
    """The program in a kept file; None when there is none, or it is damaged or another profile's."""
    start = len(source) + len(_checksum(b""))
    try:
        with open(path, "rb") as file:
            kept = file.read(start + kernel.BPF_MAXINSNS * kernel.INSTRUCTION_SIZE)
    except FileNotFoundError:
        return None
    program = kept[start:]
    if not program or kept[:start] != source + _checksum(program):
        return None
    return program


def _write(path: str, content: bytes) -> None:
    """Let ``path`` have this content or what it had before, even after a crash; for this user alone."""
    temporary = f"{path}.{os.urandom(8).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# What the child may fail with: its exit status is the place in this list, counted from 1.
_FAILURES: tuple[type[Exception], ...] = (RuntimeError, InvalidArgument, Unsupported)


def _compile_in_child(profile: Profile) -> bytes:
    """Compile in a child process, so that the library and what it needs do not stay in this one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(writer, profile)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        return answer
    if status < 0:
        raise RuntimeError(f"signal {-status} ended the process that compiled the seccomp profile")
    raise _FAILURES[status - 1](answer.decode())


def _answer(writer: int, profile: Profile) -> NoReturn:
    """Write the program to a pipe, or what went wrong, and end this process."""
    status = 1
    try:
        try:
            answer, status = compile(profile), 0
        except (InvalidArgument, Unsupported) as error:
            answer, status = str(error).encode(), 1 + _FAILURES.index(type(error))
        except BaseException:
            import traceback  # slow to import, and there is a bug to report

            answer = traceback.format_exc().encode()
        with open(writer, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(status)  # never back into the caller's program
