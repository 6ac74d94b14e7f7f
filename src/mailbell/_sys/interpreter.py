"""Refuses an interpreter that was started in a way that the sandbox would end later.

By environment variables the operator can make CPython or the dynamic linker generate machine
code, write files, or take memory in a way that no policy permits. The kernel would kill the
locked process for that, perhaps only under load. So this module refuses to start. It also
refuses a process whose memory lies at addresses that anybody knows.
"""

import ctypes
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from mailbell._sys._libc import libc
from mailbell.core.errors import OperatingSystemError

__all__ = ["require_lockable"]

MIMALLOC_2_1: Final = 210

# linux/personality.h. execve(2) keeps them, and they have had their effect already.
_ASK: Final = 0xFFFFFFFF
_NO_RANDOM_ADDRESSES: Final = 0x0040000
_PAGE_AT_ZERO: Final = 0x0100000
_EXECUTABLE_DATA: Final = 0x0400000
_WEAK: Final = _NO_RANDOM_ADDRESSES | _PAGE_AT_ZERO | _EXECUTABLE_DATA


def require_lockable(environ: Mapping[str, str]) -> None:
    """Make sure that the interpreter needs nothing that the policy of a program forbids.

    Call it before inherited descriptors are closed: some of these features have opened
    descriptors already, and write to them.

    Args:
        environ: the environment that the process was started with.

    Raises:
        OperatingSystemError: names the feature and the variable to unset.
    """
    for what, remedy in _unfit(environ):
        raise OperatingSystemError(f"{what} cannot work in the sandbox", remedy)


def _unfit(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    # What its threads and its allocator ask of the kernel was never tried under the policies.
    if "t" in sys.abiflags:
        yield "CPython without its global lock", "start it with CPython's usual build"
    version = getattr(ctypes.CDLL(None), "mi_version", None)
    # mimalloc before 2.1 gives memory back and takes it again by mprotect(2). The filter
    # refuses that call. Then mimalloc takes new memory each time, until none is left.
    if version is not None and version() < MIMALLOC_2_1:
        yield "the allocator mimalloc before 2.1", "unset LD_PRELOAD"
    if _tells(sys, "is_stack_trampoline_active"):
        yield "CPython's support for perf", "unset PYTHONPERFSUPPORT and PYTHON_PERF_JIT_SUPPORT"
    if _tells(getattr(sys, "_jit", None), "is_enabled"):
        yield "CPython's compiler at run time", "unset PYTHON_JIT"
    if sys.flags.inspect:
        yield "CPython's prompt at the end", "unset PYTHONINSPECT, or leave -i out"
    if _personality() & _WEAK:
        yield "memory at addresses that are known", "start it without setarch or a debugger"
    if environ.get("LD_DEBUG") and environ.get("LD_DEBUG_OUTPUT"):
        yield "the dynamic linker's log in a file", "unset LD_DEBUG_OUTPUT"


def _personality() -> int:
    """Return the bits of personality(2); 0: the service manager forbids even to ask."""
    return max(0, int(libc.personality(ctypes.c_ulong(_ASK))))


def _tells(where: object, name: str) -> bool:
    """Call a function that answers yes or no; no: this version of CPython does not have it."""
    question = getattr(where, name, None)
    return question is not None and bool(question())
