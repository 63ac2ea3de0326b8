"""bpf(2): small programs that the kernel runs at certain points of its own work, after proving them harmless.

Here only for one point: a cgroup v2 has no file that lists allowed devices, but a program attached to it is
asked at each open(2) and mknod(2) of a device, and answers 1 for yes or 0 for no.

A program is an array of 8-byte instructions for a machine with eleven 64-bit registers, R0 to R10. R1 points
to the question when the program starts, R0 holds the answer when it exits. The functions from :func:`load` to
:func:`leave` are its assembler, one instruction each; bytes are joined with ``+``. The machine and its
instructions are described in Documentation/bpf/standardization/instruction-set.rst of the kernel.
"""

from __future__ import annotations

import ctypes
import struct

from minicontainer.kernel.libc import syscall

# include/uapi/linux/bpf.h: enum bpf_cmd, bpf_prog_type, bpf_attach_type, and the flags of BPF_PROG_ATTACH
BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 0x2

# include/uapi/linux/bpf.h, struct bpf_cgroup_dev_ctx: three 32-bit words. The first has the kind of device in
# its lower half and what is to be done with it in its upper half.
CTX_ACCESS_TYPE = 0
CTX_MAJOR = 4
CTX_MINOR = 8
BPF_DEVCG_DEV_BLOCK = 1
BPF_DEVCG_DEV_CHAR = 2
BPF_DEVCG_ACC_MKNOD = 1
BPF_DEVCG_ACC_READ = 2
BPF_DEVCG_ACC_WRITE = 4

# include/uapi/linux/bpf_common.h and bpf.h: an operation code is a class, a source or size, and an operation
BPF_LDX, BPF_JMP, BPF_ALU64 = 0x01, 0x05, 0x07
BPF_W, BPF_MEM = 0x00, 0x60
BPF_K, BPF_X = 0x00, 0x08
BPF_AND, BPF_RSH, BPF_MOV = 0x50, 0x70, 0xB0
BPF_JSET, BPF_JNE, BPF_EXIT, BPF_JA = 0x40, 0x50, 0x90, 0x00

INSTRUCTION_SIZE = 8


def instruction(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """``struct bpf_insn``: an operation code, two registers, a jump or memory offset, a constant."""
    return struct.pack("=BBhi", code, src << 4 | dst, off, imm)


def load(dst: int, src: int, off: int) -> bytes:
    """``dst = *(u32 *)(src + off)``"""
    return instruction(BPF_LDX | BPF_MEM | BPF_W, dst, src, off)


def move(dst: int, imm: int) -> bytes:
    """``dst = imm``"""
    return instruction(BPF_ALU64 | BPF_MOV | BPF_K, dst, imm=imm)


def copy(dst: int, src: int) -> bytes:
    """``dst = src``"""
    return instruction(BPF_ALU64 | BPF_MOV | BPF_X, dst, src)


def mask(dst: int, imm: int) -> bytes:
    """``dst &= imm``"""
    return instruction(BPF_ALU64 | BPF_AND | BPF_K, dst, imm=imm)


def shift_right(dst: int, imm: int) -> bytes:
    """``dst >>= imm``"""
    return instruction(BPF_ALU64 | BPF_RSH | BPF_K, dst, imm=imm)


def jump(off: int) -> bytes:
    """Skip ``off`` instructions."""
    return instruction(BPF_JMP | BPF_JA, off=off)


def jump_if_not(dst: int, imm: int, off: int) -> bytes:
    """``if (dst != imm)`` skip ``off`` instructions."""
    return instruction(BPF_JMP | BPF_JNE | BPF_K, dst, off=off, imm=imm)


def jump_if_any(dst: int, imm: int, off: int) -> bytes:
    """``if (dst & imm)`` skip ``off`` instructions."""
    return instruction(BPF_JMP | BPF_JSET | BPF_K, dst, off=off, imm=imm)


def leave() -> bytes:
    """Exit with the answer in R0."""
    return instruction(BPF_JMP | BPF_EXIT)


class ProgLoad(ctypes.Structure):
    """The part of ``union bpf_attr`` that BPF_PROG_LOAD reads (include/uapi/linux/bpf.h)."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    )


class ProgAttach(ctypes.Structure):
    """The part of ``union bpf_attr`` that BPF_PROG_ATTACH and BPF_PROG_DETACH read."""

    _fields_ = (
        ("target_fd", ctypes.c_uint32),
        ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
    )


def load_device_program(instructions: bytes) -> int:
    """Load a program that judges device accesses; returns its descriptor, close-on-exec (bpf(2)).

    EINVAL or EACCES mean that the kernel's verifier could not prove the program harmless, EPERM that the
    caller has neither CAP_BPF nor CAP_SYS_ADMIN.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"MIT")
    attributes = ProgLoad(
        prog_type=BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt=len(instructions) // INSTRUCTION_SIZE,
        insns=ctypes.addressof(code),
        license=ctypes.addressof(licence),
    )
    return _bpf(BPF_PROG_LOAD, attributes)


def attach_device_program(cgroup: int, program: int) -> None:
    """Attach a loaded program to a cgroup v2 directory, both given as descriptors (bpf(2)).

    The cgroup keeps the program alive until it is removed. Programs add up, also those of the cgroups above
    and below: all must say yes.
    """
    _bpf(BPF_PROG_ATTACH, ProgAttach(cgroup, program, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI))


def detach_device_program(cgroup: int, program: int) -> None:
    """Take a program off a cgroup again; ENOENT when it is not on it (bpf(2))."""
    _bpf(BPF_PROG_DETACH, ProgAttach(cgroup, program, BPF_CGROUP_DEVICE, 0))


def _bpf(command: int, attributes: ctypes.Structure) -> int:
    return syscall("bpf", command, ctypes.byref(attributes), ctypes.sizeof(attributes))
