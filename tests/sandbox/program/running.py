"""The filters in force in a process, as the kernel reports them.

Source: ptrace(2), PTRACE_SECCOMP_GET_FILTER. It needs CAP_SYS_ADMIN, and a kernel
with CONFIG_CHECKPOINT_RESTORE, which keeps programs as they were loaded.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["filters_of"]

# linux/ptrace.h
SEIZE: Final = 0x4206
INTERRUPT: Final = 0x4207
DETACH: Final = 17
SECCOMP_GET_FILTER: Final = 0x420C

INSTRUCTION_BYTES: Final = 8

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def filters_of(pid: int) -> list[bytes]:
    """Return every program in force in a process with one thread.

    Args:
        pid: a child of ours, which goes on afterwards as before.

    Raises:
        OSError: the kernel does not tell; EINVAL if it was built without this.
    """
    with _stopped(pid):
        return list(_filters(pid))


def _filters(pid: int) -> Iterator[bytes]:
    index = 0
    while True:
        try:
            length = _ptrace(SECCOMP_GET_FILTER, pid, index)
        except OSError as error:
            if error.errno == errno.ENOENT:  # that was the last
                return
            raise
        program = ctypes.create_string_buffer(length * INSTRUCTION_BYTES)
        _ptrace(SECCOMP_GET_FILTER, pid, index, ctypes.addressof(program))
        yield program.raw
        index += 1


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    _ptrace(SEIZE, pid)
    try:
        _ptrace(INTERRUPT, pid)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSTOPPED(status), status
        yield
    finally:
        _ptrace(DETACH, pid)


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    result = int(_libc.ptrace(request, pid, address, data))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")
    return result
