"""Limit a process to a few system calls, by a seccomp filter. On Linux on x86-64 and ARM64; elsewhere nothing is done."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from typing import NamedTuple


class _Machine(NamedTuple):
    """Its AUDIT_ARCH constant, and the column of the tables below."""

    audit: int
    column: int


_MACHINES = {"x86_64": _Machine(0xC000003E, 0), "aarch64": _Machine(0xC00000B7, 1)}

# The numbers on x86-64 and ARM64; None where a system call does not exist.
_Numbers = tuple[int | None, int | None]
_ALWAYS: dict[str, _Numbers] = {
    "brk": (12, 214),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "lseek": (8, 62),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "poll": (7, None),
    "ppoll": (271, 73),
    "pread64": (17, 67),
    "read": (0, 63),
    "readv": (19, 65),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "set_robust_list": (273, 99),
    "setitimer": (38, 103),
    "setrlimit": (160, 164),
    "sigaltstack": (131, 132),
    "sysinfo": (99, 179),
    "write": (1, 64),
    "writev": (20, 66),
}
_TO_READ_FILES: dict[str, _Numbers] = {
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fcntl": (72, 25),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "ioctl": (16, 29),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "stat": (4, None),
    "statx": (332, 291),
}
_OPEN: _Numbers = (2, None)
_OPENAT: _Numbers = (257, 56)
_PRLIMIT: _Numbers = (302, 261)
_CLONE: _Numbers = (56, 220)
_CLONE3: _Numbers = (435, 435)
_CLONE_THREAD = 0x10000
_WRITE_FLAGS = 0o1103  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC
_ALL_BITS = 0xFFFFFFFF

_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF instructions
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000  # SECCOMP_RET_*
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2


def allow_few(*, reads_files: bool) -> None:
    """Refuse, for good, all system calls but those to compute, to use open files and, if asked for, to read others.

    Programs, processes, sockets, signals to others and changes of files end with EPERM. Only this thread and those that it
    starts are concerned: call it before there are others. OSError if the kernel refuses the filter.
    """
    machine = _MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if machine is None:
        return
    program = _program(machine, reads_files=reads_files)
    buffer = ctypes.create_string_buffer(program)
    # struct sock_fprog: the number of instructions, padding, a pointer to them.
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS was refused")
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) and ctypes.get_errno() != errno.EINVAL:
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP was refused")  # EINVAL: a kernel built without filters


def _program(machine: _Machine, *, reads_files: bool) -> bytes:
    names = _ALWAYS | (_TO_READ_FILES if reads_files else {})
    code = [(_LOAD, 0, 0, _MACHINE_AT), (_IF_EQUAL, 1, 0, machine.audit), (_RETURN, 0, 0, _KILL)]
    code.append((_LOAD, 0, 0, _NUMBER_AT))
    for numbers in names.values():
        code += _when(numbers[machine.column], [(_RETURN, 0, 0, _ALLOW)])
    # The C library starts threads by clone3 and falls back to clone, whose flags can be read here.
    code += _when(_CLONE3[machine.column], [(_RETURN, 0, 0, _ERROR | errno.ENOSYS)])
    code += _when(_CLONE[machine.column], _by_bits(0, _CLONE_THREAD, if_any=_ALLOW, if_none=_ERROR | errno.EPERM))
    # The process 0 is this one.
    code += _when(_PRLIMIT[machine.column], _by_bits(0, _ALL_BITS, if_any=_ERROR | errno.EPERM, if_none=_ALLOW))
    if reads_files:
        for numbers, argument in ((_OPEN, 1), (_OPENAT, 2)):
            checked = _by_bits(argument, _WRITE_FLAGS, if_any=_ERROR | errno.EPERM, if_none=_ALLOW)
            code += _when(numbers[machine.column], checked)
    code.append((_RETURN, 0, 0, _ERROR | errno.EPERM))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


_Instructions = list[tuple[int, int, int, int]]


def _when(number: int | None, then: _Instructions) -> _Instructions:
    """Run `then`, which returns, for one system call."""
    return [] if number is None else [(_IF_EQUAL, 0, len(then), number), *then]


def _by_bits(argument: int, mask: int, *, if_any: int, if_none: int) -> _Instructions:
    """Return one of two results by the bits of an argument. Both machines store its lower half first."""
    return [
        (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument),
        (_IF_ANY_BIT, 0, 1, mask),
        (_RETURN, 0, 0, if_any),
        (_RETURN, 0, 0, if_none),
    ]
