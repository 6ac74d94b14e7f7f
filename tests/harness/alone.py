"""Make system calls, each in a process of its own that has a seccomp filter and nothing else.

A process dies of one forbidden call, so a thousand forbidden calls take a thousand
processes. They are forked from an interpreter without our packages, which is small
and therefore forks fast: this file, run as a program. It gives up root before, so
that a filter which is broken lets nothing happen that matters.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

__all__ = ["Call", "ask", "each_alone"]

# The number of a system call, and its six arguments as unsigned numbers.
Call = tuple[int, tuple[int, ...]]

NOBODY: Final = 65534
NOT_FILTERED: Final = 255  # no error's number, nor what a signal gives
# linux/prctl.h, linux/seccomp.h
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
SECCOMP_MODE_FILTER: Final = 2
SECONDS: Final = 10  # for a call that blocks, because the filter let it through

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def ask(call: Call) -> int:
    """Make a system call; return 0, or the number of its error."""
    number, arguments = call
    ctypes.set_errno(0)
    result = _libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))
    return ctypes.get_errno() if result == -1 else 0


def each_alone(program: bytes, calls: Sequence[Call]) -> list[int]:
    """Make each call in a process of its own.

    Args:
        program: what filters it, as the kernel takes it.
        calls: each with six arguments.

    Returns:
        What became of each: 0, the number of its error, or that of the signal
        that killed the process, negative.
    """
    done = subprocess.run(
        # Isolated, and without site-packages.
        [sys.executable, "-I", "-S", __file__],
        input=json.dumps({"program": program.hex(), "calls": calls}).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    ended: list[int] = json.loads(done.stdout)
    return ended


class _Program(ctypes.Structure):
    """`struct sock_fprog` of linux/filter.h."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def _main() -> None:
    asked = json.load(sys.stdin)
    code = bytes.fromhex(asked["program"])
    program = _Program(len(code) // 8, code)
    _become_nobody()
    # No core, whatever the machine does with one; children inherit it.
    _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    json.dump([_alone(program, call) for call in asked["calls"]], sys.stdout)


def _become_nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _alone(program: _Program, call: Call) -> int:
    pid = os.fork()
    if pid == 0:
        _child(program, call)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _child(program: _Program, call: Call) -> NoReturn:
    signal.alarm(SECONDS)
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or _libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        os._exit(NOT_FILTERED)
    os._exit(ask(call))


if __name__ == "__main__":
    _main()
