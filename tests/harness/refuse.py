"""Runs a program for which some system calls fail.

Usage: refuse.py CALL[@ARGUMENT&MASK][,CALL...]=ERRNO [RULE...] -- PROGRAM [ARGUMENT...]

Instead of an error KILL ends the program, for calls that it must not make.
A call with a mask fails only if its argument (counted from 0) has one of the mask's bits:
`renameat2@4&1=EINVAL` refuses RENAME_NOREPLACE alone. Ends with 99 where no filter can be installed.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

# The numbers of x86-64, arch/x86/entry/syscalls/syscall_64.tbl in the kernel's source.
NUMBERS = dict(
    write=1, open=2, close=3, stat=4, fstat=5, ioctl=16, pread64=17, pwrite64=18, sendfile=40, fcntl=72,
    flock=73, fsync=74, fdatasync=75, truncate=76, ftruncate=77, getdents64=217, rename=82, mkdir=83, link=86,
    unlink=87, chmod=90, fchmod=91, statfs=137, fstatfs=138, setxattr=188, fsetxattr=190, fadvise64=221,
    openat=257, mkdirat=258, newfstatat=262, unlinkat=263, renameat=264, linkat=265, symlinkat=266,
    readlinkat=267, waitid=247, fchmodat=268, utimensat=280, fallocate=285, inotify_init1=294, syncfs=306, renameat2=316,
    copy_file_range=326, preadv2=327, statx=332, pidfd_send_signal=424, pidfd_open=434, clone3=435, openat2=437, fchmodat2=452,
)
UNTRIED = 99

# Classic BPF: see linux/bpf_common.h and linux/seccomp.h.
LOAD, JUMP_IF_EQUAL, JUMP_IF_SET, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER_AT, ARGUMENTS_AT = 0, 16
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2


def lines_for(call, error):
    name, _, condition = call.partition("@")
    refuse = (RETURN, 0, 0, KILL if error == "KILL" else FAIL | getattr(errno, error))
    if not condition:
        return [(JUMP_IF_EQUAL, 0, 1, NUMBERS[name]), refuse]
    argument, _, mask = condition.partition("&")
    return [
        (JUMP_IF_EQUAL, 0, 4, NUMBERS[name]),
        (LOAD, 0, 0, ARGUMENTS_AT + 8 * int(argument)),
        (JUMP_IF_SET, 0, 1, int(mask, 0)),
        refuse,
        (RETURN, 0, 0, ALLOW),
    ]


def install(rules):
    code = [(LOAD, 0, 0, NUMBER_AT)]
    for rule in rules:
        calls, _, error = rule.partition("=")
        for call in calls.split(","):
            code += lines_for(call, error)
    code.append((RETURN, 0, 0, ALLOW))
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_void_p)]

    libc = ctypes.CDLL(None)
    program = Program(len(code), ctypes.addressof(text))
    return not libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) and not libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    )


split = sys.argv.index("--")
if platform.machine() != "x86_64" or not install(sys.argv[1:split]):
    print("refuse.py: no filter of system calls here", file=sys.stderr)
    sys.exit(UNTRIED)
os.execvp(sys.argv[split + 1], sys.argv[split + 1 :])
