"""A classic BPF program as data. `mailbell._sys.bpf` attaches it to a socket. Pure.

Source: Linux, Documentation/networking/filter.rst and include/uapi/linux/bpf_common.h.
"""

from typing import Final, NamedTuple

__all__ = ["MAX_INSTRUCTIONS", "Instruction", "Program"]

MAX_INSTRUCTIONS: Final = 4096


class Instruction(NamedTuple):
    """One classic BPF instruction, as `struct sock_filter` has it.

    Attributes:
        code: class, size and mode.
        jump_true: instructions to skip when a test holds.
        jump_false: instructions to skip when it does not.
        operand: the constant, offset or distance (`k`), 32 bits.
    """

    code: int
    jump_true: int
    jump_false: int
    operand: int


Program = tuple[Instruction, ...]
