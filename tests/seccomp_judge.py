"""How the tests of system call filters find out what a filter decides.

An interpreter runs a program over every call's number; the kernel can be asked the same without any call
happening; and what another runtime really loaded is read back from a process with ptrace(2).
"""

import ctypes
import errno
import json
import mmap
import os
import signal
import struct

import pyseccomp
import pytest

from minicontainer.kernel import seccomp as kernel
from minicontainer.runtime import seccomp_profile

ALLOW = kernel.SECCOMP_RET_ALLOW
EPERM = kernel.SECCOMP_RET_ERRNO | errno.EPERM
ENOSYS = kernel.SECCOMP_RET_ERRNO | errno.ENOSYS

x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs an x86_64 machine")

# An ABI: the architecture that a filter sees, a bit in the call's number, libseccomp's name for it
X86_64 = (kernel.AUDIT_ARCH_X86_64, 0, kernel.AUDIT_ARCH_X86_64)
X32 = (kernel.AUDIT_ARCH_X86_64, kernel.X32_SYSCALL_BIT, seccomp_profile.X32)
I386 = (kernel.AUDIT_ARCH_I386, 0, kernel.AUDIT_ARCH_I386)
NUMBERS = [*range(600), 1023, 4095, 0x3FFFFFFF]

CLONE_NEWUSER = 0x10000000
AF_ALG, AF_VSOCK = 38, 40
FIRST_ARGUMENTS = [0, 1, 2, 8, 10, 16, 17, 37, AF_ALG, 39, AF_VSOCK, 41, 0x20000, 0x20008, 0x40000]
FIRST_ARGUMENTS += [CLONE_NEWUSER, 0x7E020000, 0x3D0F00, 0xFFFFFFFF]
FIRST_ARGUMENTS += [1 << 32, 1 << 32 | AF_ALG, 0xFFFFFFFF_FFFFFFFF]


def rule(*names: str, action: str = "SCMP_ACT_ALLOW", **more) -> dict:
    return {"names": list(names), "action": action, **more}


def profile_of(*rules: dict, **more) -> dict:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **more}


def number_of(name: str, abi: tuple = X86_64) -> int:
    return pyseccomp.resolve_syscall(abi[2], name)


def name_of(abi: tuple, number: int) -> str:
    return pyseccomp.resolve_syscall(abi[2], number | abi[1]).decode()


# -- the interpreter --


def interpret(program: bytes, arch: int, number: int, *arguments: int) -> tuple[int, bool]:
    """Run a filter: its verdict, and whether it looked at the arguments."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    code = memoryview(program)
    looked, accumulator, at = False, 0, 0
    while True:
        operation, if_true, if_false, k = struct.unpack_from("=HBBI", code, at * 8)
        at += 1
        if operation == 0x20:  # ld [k]
            accumulator = struct.unpack_from("=I", data, k)[0]
            looked = looked or k >= 16
        elif operation == 0x54:  # and #k
            accumulator &= k
        elif operation == 0x05:  # ja
            at += k
        elif operation == 0x15:  # jeq
            at += if_true if accumulator == k else if_false
        elif operation == 0x25:  # jgt
            at += if_true if accumulator > k else if_false
        elif operation == 0x35:  # jge
            at += if_true if accumulator >= k else if_false
        elif operation == 0x45:  # jset
            at += if_true if accumulator & k else if_false
        elif operation == 0x06:  # ret #k
            return k, looked
        else:
            raise AssertionError(f"instruction {at - 1}: {operation:#x}")


def verdict(program: bytes, name: str, *arguments: int, abi: tuple = X86_64) -> int:
    return interpret(program, abi[0], number_of(name, abi), *arguments)[0]


def verdicts(program: bytes) -> dict:
    """ABI and number -> the verdict, or the verdict for each first argument where they differ."""
    result = {}
    for abi in (X86_64, X32, I386):
        for number in NUMBERS:
            result[abi, number], looked = interpret(program, abi[0], number | abi[1])
            if looked:
                each = {a: interpret(program, abi[0], number | abi[1], a)[0] for a in FIRST_ARGUMENTS}
                if len(set(each.values())) > 1:
                    result[abi, number] = each
    return result


# -- the kernel --

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
libc.ptrace.restype = ctypes.c_long


def in_child(function, *arguments):
    """Call a function in a child process: what it returns (JSON), or the name of the signal that ended it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(function(*arguments)).encode())
            os._exit(0)
        except BaseException as error:
            os.write(writer, json.dumps(f"{type(error).__name__}: {error}").encode())
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return signal.Signals(-status).name if status < 0 else json.loads(answer)


def call(number: int, *arguments: int) -> int:
    """Make a system call by number; 0 or the errno."""
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(argument) for argument in arguments))
    return ctypes.get_errno()


def call_i386(number: int, first: int, sixth: int) -> int:
    """Make a 32-bit system call from this 64-bit process; its result, negative for an errno."""
    # push rbx, rbp; eax, ebx, ebp = the arguments; ecx, edx, esi, edi = 0; int 0x80; pop rbp, rbx; ret
    code = bytes.fromhex("53 55 89f8 89f3 89d5 31c9 31d2 31f6 31ff cd80 5d 5b c3")
    with mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(code)
        start = ctypes.c_char.from_buffer(page)
        function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
        result = function(ctypes.addressof(start))(number, first, sixth)
        del start
    return result


MARK = 0x5EC0C0DE
ALLOWED = 4000  # an errno that no call has


def harmless(program: bytes) -> bytes:
    """A filter that judges only calls whose sixth argument is MARK, and lets none of those happen.

    It answers ALLOWED where the program allows, so that every number can be tried on the kernel.
    """
    allowed = kernel.statement(kernel.BPF_RET, kernel.SECCOMP_RET_ERRNO | ALLOWED)
    allow = kernel.statement(kernel.BPF_RET, ALLOW)
    instructions = [program[at : at + 8] for at in range(0, len(program), 8)]
    judge = b"".join(allowed if instruction == allow else instruction for instruction in instructions)
    sixth = 16 + 5 * 8  # struct seccomp_data: args[5]
    marked = kernel.statement(kernel.BPF_LD_W_ABS, sixth) + kernel.jump(kernel.BPF_JEQ, MARK, 1, 0)
    return marked + allow + judge


def decided_by_kernel(abi: tuple, number: int, first: int) -> int:
    """What the harmless filter of this process says of a call: ALLOWED or an errno."""
    if abi == I386:
        return -call_i386(number, first & 0xFFFFFFFF, MARK)
    return call(number | abi[1], first, 0, 0, 0, 0, MARK)


def filter_of(pid: int) -> bytes:
    """The filter that a process runs under (ptrace(2), PTRACE_SECCOMP_GET_FILTER)."""
    detach, seize, interrupt, get_filter = 17, 0x4206, 0x4207, 0x420C
    _ptrace(seize, pid)
    try:
        _ptrace(interrupt, pid)
        os.waitpid(pid, 0x40000000)  # __WALL
        buffer = ctypes.create_string_buffer(_ptrace(get_filter, pid) * 8)
        _ptrace(get_filter, pid, ctypes.addressof(buffer))
        return buffer.raw
    finally:
        _ptrace(detach, pid)


def _ptrace(request: int, pid: int, data: int = 0) -> int:
    result = libc.ptrace(request, pid, 0, data)
    if result == -1:
        number = ctypes.get_errno()
        if request == 0x420C and number == errno.EIO:
            pytest.skip("needs a kernel with CONFIG_CHECKPOINT_RESTORE, to read back filters")
        raise OSError(number, f"ptrace: {os.strerror(number)}")
    return result
