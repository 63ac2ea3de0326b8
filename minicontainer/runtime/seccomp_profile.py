"""What may stand in the ``linux.seccomp`` object of an OCI configuration, and what it stands for.

The words are libseccomp's, the numbers behind them the kernel's. A word that is not known is an error and
never passed over: a rule that is left out leaves a door open, or shuts one that the container needs.

Source: runtime-spec, config-linux.md, section "Seccomp".
"""

from __future__ import annotations

import errno

from minicontainer.errors import InvalidArgument, Unsupported
from minicontainer.kernel import seccomp as kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    Profile = dict[str, Any]

ACTIONS = {
    "SCMP_ACT_KILL": kernel.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": kernel.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": kernel.SECCOMP_RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": kernel.SECCOMP_RET_TRAP,
    "SCMP_ACT_ERRNO": kernel.SECCOMP_RET_ERRNO,
    "SCMP_ACT_TRACE": kernel.SECCOMP_RET_TRACE,
    "SCMP_ACT_LOG": kernel.SECCOMP_RET_LOG,
    "SCMP_ACT_ALLOW": kernel.SECCOMP_RET_ALLOW,
}
_CARRIES_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")

# x32 is x86-64 with 32-bit pointers: the kernel tells it by a bit in the call's number and has no AUDIT_ARCH
# for it, so libseccomp made one up.
X32 = 0x4000003E
ARCHITECTURES = {
    "SCMP_ARCH_AARCH64": kernel.AUDIT_ARCH_AARCH64,
    "SCMP_ARCH_ARM": kernel.AUDIT_ARCH_ARM,
    "SCMP_ARCH_LOONGARCH64": kernel.AUDIT_ARCH_LOONGARCH64,
    "SCMP_ARCH_MIPS": kernel.AUDIT_ARCH_MIPS,
    "SCMP_ARCH_MIPS64": kernel.AUDIT_ARCH_MIPS64,
    "SCMP_ARCH_MIPS64N32": kernel.AUDIT_ARCH_MIPS64N32,
    "SCMP_ARCH_MIPSEL": kernel.AUDIT_ARCH_MIPSEL,
    "SCMP_ARCH_MIPSEL64": kernel.AUDIT_ARCH_MIPSEL64,
    "SCMP_ARCH_MIPSEL64N32": kernel.AUDIT_ARCH_MIPSEL64N32,
    "SCMP_ARCH_PPC": kernel.AUDIT_ARCH_PPC,
    "SCMP_ARCH_PPC64": kernel.AUDIT_ARCH_PPC64,
    "SCMP_ARCH_PPC64LE": kernel.AUDIT_ARCH_PPC64LE,
    "SCMP_ARCH_RISCV64": kernel.AUDIT_ARCH_RISCV64,
    "SCMP_ARCH_S390": kernel.AUDIT_ARCH_S390,
    "SCMP_ARCH_S390X": kernel.AUDIT_ARCH_S390X,
    "SCMP_ARCH_X32": X32,
    "SCMP_ARCH_X86": kernel.AUDIT_ARCH_I386,
    "SCMP_ARCH_X86_64": kernel.AUDIT_ARCH_X86_64,
}
# enum scmp_compare of seccomp.h counts them in this order from 1.
OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": kernel.SECCOMP_FILTER_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": kernel.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": kernel.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
}


def check(profile: object) -> None:
    """Raise InvalidArgument, naming the place and the value, for what is no ``linux.seccomp`` object.

    Unsupported for SCMP_ACT_NOTIFY, which would ask another process for each verdict.
    """
    if not isinstance(profile, dict):
        raise InvalidArgument("seccomp: the profile is not a JSON object")
    _check_verdict(profile, "defaultAction", "defaultErrnoRet", "")
    for architecture in items(profile, "architectures"):
        _check_word(architecture, ARCHITECTURES, "architectures")
    for flag in items(profile, "flags"):
        _check_word(flag, FLAGS, "flags")
    for number, rule in enumerate(items(profile, "syscalls")):
        _check_rule(rule, f"syscalls[{number}]")


def _check_rule(rule: object, where: str) -> None:
    if not isinstance(rule, dict):
        raise InvalidArgument(f"seccomp: {where} is not a JSON object")
    names = items(rule, "names", f"{where}.")
    if not names or not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise InvalidArgument(f"seccomp: {where}.names is not a list of system call names")
    _check_verdict(rule, "action", "errnoRet", f"{where}.")
    for number, argument in enumerate(items(rule, "args", f"{where}.")):
        _check_argument(argument, f"{where}.args[{number}]")


def _check_argument(argument: object, where: str) -> None:
    if not isinstance(argument, dict):
        raise InvalidArgument(f"seccomp: {where} is not a JSON object")
    _check_word(argument.get("op"), OPERATORS, f"{where}.op")
    _check_number(argument.get("index"), 5, f"{where}.index")
    _check_number(argument.get("value"), 0xFFFFFFFFFFFFFFFF, f"{where}.value")
    _check_number(argument.get("valueTwo") or 0, 0xFFFFFFFFFFFFFFFF, f"{where}.valueTwo")


def _check_verdict(of: Profile, action: str, number: str, where: str) -> None:
    if of.get(action) == "SCMP_ACT_NOTIFY":
        raise Unsupported(f"seccomp: {where}{action} is SCMP_ACT_NOTIFY, which this runtime cannot do")
    _check_word(of.get(action), ACTIONS, where + action)
    if of.get(number) is None:
        return
    _check_number(of[number], kernel.SECCOMP_RET_DATA, where + number)
    if of[action] not in _CARRIES_ERRNO:
        raise InvalidArgument(f"seccomp: {where}{number} means nothing with {of[action]}")


def _check_word(value: object, known: Collection[str], where: str) -> None:
    if not isinstance(value, str) or value not in known:
        raise InvalidArgument(f"seccomp: {where} has {value!r}, which is none of {', '.join(known)}")


def _check_number(value: object, last: int, where: str) -> None:
    if not isinstance(value, int) or not 0 <= value <= last:
        raise InvalidArgument(f"seccomp: {where} is {value!r}, which is no number from 0 to {last}")


def items(of: Profile, key: str, where: str = "") -> list[Any]:
    """The list at ``key``, empty when it is missing or null; InvalidArgument when it is no list."""
    value = of.get(key)
    if value is not None and not isinstance(value, list):
        raise InvalidArgument(f"seccomp: {where}{key} is not a list")
    return value or []


def verdict(action: str, number: int | None) -> int:
    """What a filter answers for an action: a SECCOMP_RET_*, with an errno in it (EPERM unless given)."""
    if action not in _CARRIES_ERRNO:
        return ACTIONS[action]
    return ACTIONS[action] | (errno.EPERM if number is None else number)
