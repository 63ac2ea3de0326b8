"""seccomp(2): a small program in the kernel that judges every system call before it is made.

The program is classic BPF, the language of old packet filters: it sees the number of the call, the
architecture it was made for and its six arguments (struct seccomp_data), never the memory they point to. It
cannot loop. What it returns is the verdict: let the call through, fail it with an errno, kill the process.

A filter once loaded is there for good, and every child has it too, across execve. That is why the kernel
takes one only from a process that has CAP_SYS_ADMIN in its user namespace or has given up gaining privileges
by execve (no_new_privs): otherwise a set-user-ID program could be run with its setuid(2) failing.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from minicontainer.kernel.libc import syscall

# include/uapi/linux/seccomp.h
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 1 << 0  # every thread of the process, not the calling one alone
SECCOMP_FILTER_FLAG_LOG = 1 << 1  # every verdict but "allow" goes to the audit log
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1 << 2  # no mitigation against speculative store bypass

# include/uapi/linux/seccomp.h: the verdicts. ERRNO and TRACE carry a number in their low 16 bits.
SECCOMP_RET_KILL_PROCESS = 0x80000000
SECCOMP_RET_KILL_THREAD = 0x00000000
SECCOMP_RET_TRAP = 0x00030000
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_TRACE = 0x7FF00000
SECCOMP_RET_LOG = 0x7FFC0000
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_DATA = 0x0000FFFF

# include/uapi/linux/seccomp.h: where struct seccomp_data has the number of the call and its architecture
SECCOMP_DATA_NR = 0
SECCOMP_DATA_ARCH = 4

# include/uapi/linux/bpf_common.h, include/uapi/linux/filter.h
BPF_LD_W_ABS = 0x20  # load the 32-bit word at offset k
BPF_JEQ = 0x15  # jump if the loaded word equals k
BPF_JGT = 0x25  # jump if it is greater than k, unsigned
BPF_RET = 0x06  # return k
BPF_MAXINSNS = 4096
INSTRUCTION_SIZE = 8  # sizeof(struct sock_filter)

# include/uapi/linux/audit.h: an ELF machine number, with a bit for 64 bits and one for little endian
AUDIT_ARCH_AARCH64 = 0xC00000B7
AUDIT_ARCH_ARM = 0x40000028
AUDIT_ARCH_I386 = 0x40000003
AUDIT_ARCH_LOONGARCH64 = 0xC0000102
AUDIT_ARCH_MIPS = 0x00000008
AUDIT_ARCH_MIPS64 = 0x80000008
AUDIT_ARCH_MIPS64N32 = 0xA0000008
AUDIT_ARCH_MIPSEL = 0x40000008
AUDIT_ARCH_MIPSEL64 = 0xC0000008
AUDIT_ARCH_MIPSEL64N32 = 0xE0000008
AUDIT_ARCH_PPC = 0x00000014
AUDIT_ARCH_PPC64 = 0x80000015
AUDIT_ARCH_PPC64LE = 0xC0000015
AUDIT_ARCH_RISCV64 = 0xC00000F3
AUDIT_ARCH_S390 = 0x00000016
AUDIT_ARCH_S390X = 0x80000016
AUDIT_ARCH_X86_64 = 0xC000003E

# arch/x86/include/uapi/asm/unistd.h: x32 calls are x86-64 calls with this bit in their number
X32_SYSCALL_BIT = 0x40000000


class _Program(ctypes.Structure):
    """struct sock_fprog of include/uapi/linux/filter.h."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def statement(code: int, k: int) -> bytes:
    """One instruction that does not branch, as the macro BPF_STMT makes it (linux/filter.h)."""
    return jump(code, k, 0, 0)


def jump(code: int, k: int, if_true: int, if_false: int) -> bytes:
    """One branching instruction, as the macro BPF_JUMP makes it: how many instructions to skip either way."""
    return struct.pack("=HBBI", code, if_true, if_false, k)


def load(program: bytes, flags: int = 0) -> None:
    """Put the calling thread, and all that it will ever start, under a filter (seccomp(2)).

    ``program`` is an array of struct sock_filter, ``flags`` is made of SECCOMP_FILTER_FLAG_TSYNC, _LOG and
    _SPEC_ALLOW. OSError: EACCES without CAP_SYS_ADMIN or no_new_privs, EINVAL for a program that the kernel
    does not accept, ESRCH when TSYNC finds a thread that has a filter of its own.
    """
    count, rest = divmod(len(program), INSTRUCTION_SIZE)
    if rest or count > BPF_MAXINSNS:  # checked here: a count above 65535 would be cut to a shorter program
        raise OSError(
            errno.EINVAL, f"seccomp: {len(program)} bytes are not up to {BPF_MAXINSNS} instructions"
        )
    thread = syscall("seccomp", SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(_Program(count, program)))
    if thread:
        raise OSError(errno.ESRCH, f"seccomp: thread {thread} has a filter of its own")
