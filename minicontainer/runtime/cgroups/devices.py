"""Which devices a container may open or make: OCI's list of rules, in two languages.

A container's root may call mknod(2), so it is not enough that the host's disks have no node in its ``/dev``:
the kernel must be asked at every open. The rules are OCI's (config-linux.md, "Allowed Device List")::

    [{"allow": false, "access": "rwm"},                                          everything is denied,
     {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]      but /dev/null is not

Before the first rule everything is denied; of the rules that speak of a device and an access (``r``\\ ead,
``w``\\ rite, ``m``\\ knod) the last one counts; a number that is missing or -1 stands for all.

cgroup v1 has a controller for it that keeps a default and a list of exceptions, so the rules are boiled down to
that (:func:`boil_down`). cgroup v2 asks a program that is attached to the cgroup, so the rules are translated
into one (:func:`assemble`).
"""

from __future__ import annotations

import errno
import os

from minicontainer.errors import InvalidArgument, Unsupported
from minicontainer.kernel import bpf
from minicontainer.runtime.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    Device = tuple[str, int | None, int | None]  # a, b or c; major; minor. None stands for all

# What every container gets on top of its own rules: any node may be made, none opened but those of the OCI's
# "Default Devices" (null, zero, full, random, urandom, tty, ptmx) and pseudo-terminals. As runc has it.
DEFAULT_RULES: tuple[dict[str, Any], ...] = (
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *({"allow": True, "type": "c", "major": 1, "minor": n, "access": "rwm"} for n in (3, 5, 7, 8, 9)),
    *({"allow": True, "type": "c", "major": 5, "minor": n, "access": "rwm"} for n in (0, 2)),
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
)

# OCI's types and the kernel's: u is another name for c (mknod(1)), and a rule for all is one for each.
_TYPES = {"a": "bc", "b": "b", "c": "c", "u": "c"}


class Rule:
    """One rule: allow or deny an ``access``, such as ``rw``, to the devices that ``device`` stands for."""

    def __init__(self, allow: bool, device: Device, access: str) -> None:
        self.allow = allow
        self.device = device
        self.access = access

    @property
    def is_about_everything(self) -> bool:
        """Whether no earlier rule can matter: any access to any device."""
        return self.device[0] == "a"

    def overlaps(self, device: Device) -> bool:
        """Whether there can be a device that both stand for."""
        return all(a is None or b is None or a == b for a, b in zip(self.device, device, strict=True))

    def covers(self, device: Device) -> bool:
        """Whether ``device`` stands for none that this rule does not."""
        return all(a is None or a == b for a, b in zip(self.device, device, strict=True))


def read_rules(asked: Iterable[Mapping[str, Any]]) -> list[Rule]:
    """Read OCI's rules; InvalidArgument when one is none."""
    found = []
    for rule in asked:
        access = rule.get("access") or "rwm"
        kinds = _TYPES.get(rule.get("type") or "a")
        if kinds is None or not set(access) <= set("rwm"):
            raise InvalidArgument(
                f"device rule {dict(rule)}: type must be a, b, c or u, and access of r, w, m"
            )
        major, minor = (None if rule.get(key) in (-1, None) else rule[key] for key in ("major", "minor"))
        if kinds == "bc" and major is minor is None and set(access) == set("rwm"):
            kinds = "a"
        found += [Rule(bool(rule.get("allow")), (kind, major, minor), access) for kind in kinds]
    return found


# cgroup v1: a default, and exceptions


def boil_down(asked: list[Rule]) -> tuple[bool, dict[Device, set[str]]]:
    """Whether devices are allowed by default, and the exceptions from that: which devices, and r, w, m.

    The kernel's exceptions have no order. So a rule that takes a device out of a wider exception (a hole)
    cannot be said in v1; that raises Unsupported.
    """
    default = False
    exceptions: dict[Device, set[str]] = {}
    for rule in asked:
        if rule.is_about_everything:
            default = rule.allow
            exceptions.clear()
        elif rule.allow != default:
            exceptions.setdefault(rule.device, set()).update(rule.access)
        else:
            for device, access in exceptions.items():
                if rule.covers(device):
                    access.difference_update(rule.access)
                elif rule.overlaps(device) and access.intersection(rule.access):
                    raise _hole(rule, device, access)
    return default, {device: access for device, access in exceptions.items() if access}


def line(device: Device, access: Iterable[str]) -> str:
    """An exception as devices.allow and devices.deny take it: ``c 1:3 rwm``, ``c 136:* rwm``."""
    kind, *numbers = device
    return (
        f"{kind} {':'.join('*' if number is None else str(number) for number in numbers)} {''.join(access)}"
    )


def _hole(rule: Rule, device: Device, access: Iterable[str]) -> Unsupported:
    verb = "allow" if rule.allow else "deny"
    return Unsupported(
        f"cgroup v1 cannot {verb} the devices {line(rule.device, rule.access)} when an earlier rule says otherwise "
        f"of more than those ({line(device, access)}); name them one by one, or use a host with cgroup v2"
    )


def write_exceptions(directory: str, asked: list[Rule]) -> None:
    """Enforce rules on a cgroup v1 of the devices controller; ``a`` is all, and forgets the exceptions.

    Raises Unsupported when the rules have a hole, or allow what the cgroup above may not do itself.
    """
    default, exceptions = boil_down(asked)
    to_default, to_exceptions = ("allow", "deny") if default else ("deny", "allow")
    _write(f"{directory}/devices.{to_default}", "a")
    for device, access in exceptions.items():
        _write(f"{directory}/devices.{to_exceptions}", line(device, sorted(access)))


def _write(path: str, what: str) -> None:
    try:
        files.write(path, what)
    except PermissionError as error:
        raise Unsupported(
            f"cannot write {what!r} to {path}: {error.strerror}; it takes root, and no cgroup can be allowed "
            "what the one above it is not"
        ) from error


# cgroup v2: a program

_KINDS = {"b": bpf.BPF_DEVCG_DEV_BLOCK, "c": bpf.BPF_DEVCG_DEV_CHAR}
_ACCESS = {"r": bpf.BPF_DEVCG_ACC_READ, "w": bpf.BPF_DEVCG_ACC_WRITE, "m": bpf.BPF_DEVCG_ACC_MKNOD}

# Registers, and what is kept in them. The kernel's own are the first two.
ANSWER, QUESTION, WANTED, KIND, MAJOR, MINOR = range(6)


def assemble(asked: list[Rule]) -> bytes:
    """The rules as a program: from the last to the first, until every access that is wanted has been judged.

    WANTED starts as the accesses in question, as bits. A rule that does not speak of the device is skipped. One
    that denies any of what is still wanted ends it; one that allows takes its bits away, and when none is left
    all is allowed. Whatever remains at the end is denied.
    """
    program = (
        bpf.load(WANTED, QUESTION, bpf.CTX_ACCESS_TYPE)
        + bpf.copy(KIND, WANTED)
        + bpf.mask(KIND, 0xFFFF)
        + bpf.shift_right(WANTED, 16)
        + bpf.load(MAJOR, QUESTION, bpf.CTX_MAJOR)
        + bpf.load(MINOR, QUESTION, bpf.CTX_MINOR)
        + bpf.move(ANSWER, 0)
    )
    for rule in reversed(asked):
        program += _assemble_rule(rule)
    return program + bpf.leave()


def _assemble_rule(rule: Rule) -> bytes:
    kind, major, minor = rule.device
    bits = sum(_ACCESS[letter] for letter in set(rule.access))
    if rule.allow:
        verdict = bpf.mask(WANTED, ~bits) + bpf.jump_if_not(WANTED, 0, 2) + bpf.move(ANSWER, 1) + bpf.leave()
    else:
        verdict = bpf.jump_if_any(WANTED, bits, 1) + bpf.jump(1) + bpf.leave()
    # Built from its end, since each test has to know how many instructions it skips.
    for register, number in ((MINOR, minor), (MAJOR, major), (KIND, _KINDS.get(kind))):
        if number is not None:
            verdict = bpf.jump_if_not(register, number, len(verdict) // bpf.INSTRUCTION_SIZE) + verdict
    return verdict


def attach_program(directory: str, asked: list[Rule]) -> None:
    """Enforce rules on a cgroup v2; the program stays until the cgroup is removed.

    Raises Unsupported when the kernel has no such programs or this user may not load one.
    """
    cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        program = bpf.load_device_program(assemble(asked))
        try:
            bpf.attach_device_program(cgroup, program)
        finally:
            os.close(program)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EINVAL, errno.ENOSYS):
            raise
        raise Unsupported(
            f"cannot restrict devices below {directory}: {error.strerror}; on cgroup v2 it takes CAP_SYS_ADMIN "
            "and a kernel with CONFIG_CGROUP_BPF"
        ) from error
    finally:
        os.close(cgroup)
