"""Which system call filter a container gets: Docker's default, one of the user's own, or none.

A filter depends on what it is for: ``mount`` may be called by a container that has CAP_SYS_ADMIN,
``arch_prctl`` exists on one kind of machine, ``ptrace`` is safe since Linux 4.8. Docker's profiles say so
with conditions, ``includes`` and ``excludes``; an OCI configuration knows no conditions. This module resolves
the one into the other, for this host and for this container's capabilities. The low half compiles it.

The default, ``seccomp.json`` beside this module, has the effect of the profile that Docker's developers keep
(github.com/moby/profiles, seccomp/default.json, commit 02e898b of 2026), in an arrangement of its own.
Against Docker 20.10's it allows the calls that Linux gained up to 6.13, memory protection keys,
name_to_handle_at and process_vm_readv. It refuses io_uring, whose work is done past every filter, and the
address families AF_ALG, AF_VSOCK and those that Linux has dropped. The families are allowed one by one, and
not all but two: a filter compares 64 bits of an argument of which socket(2) takes 32, and
1 << 32 | AF_VSOCK is neither of the two.

Source: https://docs.docker.com/engine/security/seccomp/
"""

from __future__ import annotations

import functools
import json
import os

from minicontainer.errors import InvalidArgument, NotFound, Unsupported, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Profile = dict[str, Any]

_DEFAULT = os.path.join(os.path.dirname(__file__), "seccomp.json")

# uname(2)'s machine -> the name in a profile's conditions, and in archMap
_MACHINES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "i686": ("x86", "SCMP_ARCH_X86"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "armv6l": ("arm", "SCMP_ARCH_ARM"),
    "loongarch64": ("loong64", "SCMP_ARCH_LOONGARCH64"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
}
_OCI_KEYS = ("defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "listenerMetadata")
_OCI_RULE_KEYS = ("names", "action", "errnoRet", "args")


def default_profile(
    capabilities: Iterable[str], *, machine: str | None = None, kernel: str | None = None
) -> Profile:
    """Return Docker's default profile as an OCI ``linux.seccomp`` object.

    ``capabilities`` is the container's bounding set, in names such as "CAP_SYS_ADMIN"; ``machine`` and
    ``kernel`` are what uname(2) calls machine and release, by default this host's.
    """
    return resolve(_default(), capabilities, machine=machine, kernel=kernel)


@functools.cache
def _default() -> Profile:
    """The data file, read once: a program that starts many containers passes it on to all (engine.launcher)."""
    with open(_DEFAULT, "rb") as file:
        profile: Profile = json.load(file)
    return profile


def profile_from(
    option: str, capabilities: Iterable[str], *, machine: str | None = None, kernel: str | None = None
) -> Profile | None:
    """Return the profile that ``--security-opt seccomp=OPTION`` asks for; None is for no filter.

    ``option`` is "unconfined", "builtin", or the path of a JSON file in Docker's form or in OCI's; the others
    are those of :func:`default_profile`. Raises NotFound without the file, InvalidArgument when it is no
    profile, Unsupported when it wants what this runtime cannot do.
    """
    if option == "unconfined":
        return None
    if option == "builtin":
        return default_profile(capabilities, machine=machine, kernel=kernel)
    # Checked now and not when it is compiled, while the file's name is known.
    from minicontainer.runtime.seccomp_profile import check

    profile = _read(option)
    try:
        resolved = resolve(profile, capabilities, machine=machine, kernel=kernel)
        # All rules, also those that do not apply here: a rule keeps its place in the file for the message.
        check(
            {**resolved, "syscalls": [_rule(rule, n) for n, rule in enumerate(profile.get("syscalls") or ())]}
        )
    except (InvalidArgument, Unsupported) as error:
        raise type(error)(f"seccomp profile {option}: {str(error).removeprefix('seccomp: ')}") from None
    return resolved


def _read(path: str) -> Profile:
    try:
        with open(path, "rb") as file:
            profile = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"no seccomp profile {path!r}; give the path of a JSON file, or unconfined, or builtin"
        ) from None
    except OSError as error:
        raise InvalidArgument(f"seccomp profile {explain(error)}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"seccomp profile {path} cannot be read: {error}") from None
    if not isinstance(profile, dict):
        raise InvalidArgument(f"seccomp profile {path}: it holds no JSON object")
    return profile


def resolve(
    profile: Profile, capabilities: Iterable[str], *, machine: str | None = None, kernel: str | None = None
) -> Profile:
    """Turn a profile in Docker's form into an OCI ``linux.seccomp`` object; one in OCI's form stays as it is.

    The arguments are those of :func:`default_profile`. Raises InvalidArgument for a condition that cannot be
    meant; the rest of the profile is checked where it is compiled.
    """
    host = os.uname()
    name, architecture = _MACHINES.get(machine or host.machine, (machine or host.machine, ""))
    version = _version(kernel or host.release)
    has = set(capabilities)
    resolved = {key: profile[key] for key in _OCI_KEYS if profile.get(key) is not None}
    if profile.get("archMap"):
        if profile.get("architectures"):
            raise InvalidArgument("it has both architectures and archMap; keep one")
        resolved["architectures"] = _architectures(profile["archMap"], architecture)
    resolved["syscalls"] = [
        _rule(rule, number)
        for number, rule in enumerate(_list(profile.get("syscalls"), "syscalls"))
        if _applies(rule, f"syscalls[{number}]", has, name, version)
    ]
    return resolved


def _architectures(arch_map: object, native: str) -> list[str]:
    """The host's architecture and those that its kernel also runs; none where the map has not the host's."""
    for entry in _list(arch_map, "archMap"):
        if _dict(entry, "archMap[]").get("architecture") == native:
            return [native, *_words(entry.get("subArchitectures"), "archMap[].subArchitectures")]
    return []


def _rule(rule: Profile, number: int) -> Profile:
    """The rule without its conditions. Old profiles have one ``name`` in place of ``names``."""
    resolved = {key: rule[key] for key in _OCI_RULE_KEYS if rule.get(key) is not None}
    if rule.get("name"):
        if rule.get("names"):
            raise InvalidArgument(f"syscalls[{number}] has both name and names; keep one")
        resolved["names"] = [rule["name"]]
    return resolved


def _applies(rule: object, where: str, has: set[str], machine: str, version: tuple[int, int]) -> bool:
    """Whether all that the rule includes is so, and nothing that it excludes."""
    conditions = _dict(rule, where)
    if conditions.get("includes"):
        caps, arches, minimum = _conditions(conditions["includes"], f"{where}.includes")
        if not has.issuperset(caps) or (arches and machine not in arches) or (minimum and version < minimum):
            return False
    if conditions.get("excludes"):
        caps, arches, minimum = _conditions(conditions["excludes"], f"{where}.excludes")
        if not has.isdisjoint(caps) or machine in arches or (minimum and version >= minimum):
            return False
    return True


def _conditions(value: object, where: str) -> tuple[list[str], list[str], tuple[int, int] | None]:
    """The capabilities, the architectures and the least version of the kernel."""
    conditions = _dict(value, where)
    unknown = conditions.keys() - {"caps", "arches", "minKernel"}
    if unknown:
        raise InvalidArgument(f"{where} has the condition {min(unknown)!r}, which is not known")
    minimum = conditions.get("minKernel")
    return (
        _words(conditions.get("caps"), f"{where}.caps"),
        _words(conditions.get("arches"), f"{where}.arches"),
        _version(minimum) if minimum else None,
    )


def _version(text: object) -> tuple[int, int]:
    """The first two numbers of a kernel's version: (6, 18) of 6.18.44-generic."""
    major, _, rest = str(text).partition(".")
    minor = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if not (major.isdecimal() and minor.isdecimal()):
        raise InvalidArgument(f"{text!r} is not the version of a kernel, such as 4.8")
    return int(major), int(minor)


def _list(value: object, where: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise InvalidArgument(f"{where} is not a list")
    return value or []


def _words(value: object, where: str) -> list[str]:
    words = _list(value, where)
    if not all(isinstance(word, str) for word in words):
        raise InvalidArgument(f"{where} is not a list of strings")
    return words


def _dict(value: object, where: str) -> Profile:
    if not isinstance(value, dict):
        raise InvalidArgument(f"{where} is not a JSON object")
    return value
