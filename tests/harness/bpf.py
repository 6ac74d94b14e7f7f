"""A naive evaluator of classic BPF, written from filter.rst and not from our generator.

It serves socket filters (big-endian loads, `SKF_NET_OFF`) and seccomp programs
(native loads of 32 bits from `struct seccomp_data`).
"""

import operator
from collections.abc import Callable, Sequence
from typing import Final, Literal

Code = tuple[int, int, int, int]

_MASK: Final = 0xFFFFFFFF
_NET_OFF: Final = -0x100000

_ALU: Final[dict[int, Callable[[int, int], int]]] = {
    0x00: operator.add,
    0x10: operator.sub,
    0x20: operator.mul,
    0x30: operator.floordiv,
    0x40: operator.or_,
    0x50: operator.and_,
    0x60: lambda a, b: a << b if b < 32 else 0,
    0x70: lambda a, b: a >> b if b < 32 else 0,
    0x80: lambda a, _: -a,
    0x90: operator.mod,
    0xA0: operator.xor,
}
_JUMP: Final[dict[int, Callable[[int, int], bool]]] = {
    0x00: lambda _a, _b: True,
    0x10: operator.eq,
    0x20: operator.gt,
    0x30: operator.ge,
    0x40: lambda a, b: bool(a & b),
}
_SIZE: Final = {0x00: 4, 0x08: 2, 0x10: 1}


class InvalidProgramError(Exception):
    """The kernel would refuse the program, or it does what the evaluator does not know."""


class _OutOfPacketError(Exception):
    """A load beyond the packet: the kernel ends the program with 0."""


class _Machine:
    def __init__(
        self, data: bytes, network: bytes | None, byteorder: Literal["big", "little"]
    ) -> None:
        self.data = data
        self.network = network
        self.byteorder = byteorder
        self.a = 0
        self.x = 0
        self.memory: dict[int, int] = {}

    def fetch(self, offset: int, size: int) -> int:
        source = self.data
        signed = offset - (1 << 32) if offset & 0x80000000 else offset
        if signed < 0:
            if self.network is None or signed < _NET_OFF:
                raise InvalidProgramError(f"load at {signed}")
            source, signed = self.network, signed - _NET_OFF
        part = source[signed : signed + size]
        if len(part) < size:
            raise _OutOfPacketError
        return int.from_bytes(part, self.byteorder)

    def value(self, code: int, k: int) -> int:
        """What BPF_LD and BPF_LDX load."""
        mode = code & 0xE0
        if mode == 0x00:
            return k
        if mode == 0x60:
            return self.memory[k]  # a KeyError is a program the kernel refuses
        if mode == 0x80:
            return len(self.data)
        size = _SIZE[code & 0x18]
        if mode == 0x20:
            return self.fetch(k, size)
        if mode == 0x40:
            return self.fetch((self.x + k) & _MASK, size)
        if code == 0xB1:
            return 4 * (self.fetch(k, 1) & 0xF)
        raise InvalidProgramError(f"code {code:#x}")

    def compute(self, code: int, k: int) -> None:
        operand = self.x if code & 0x08 else k
        if not operand and code & 0xF0 in (0x30, 0x90):
            raise _OutOfPacketError  # a division by zero also ends with 0
        self.a = _ALU[code & 0xF0](self.a, operand) & _MASK

    def step(self, code: int, k: int) -> None:
        """One instruction that neither jumps nor returns."""
        kind = code & 0x07
        if kind == 0:
            self.a = self.value(code, k)
        elif kind == 1:
            self.x = self.value(code, k)
        elif kind in (2, 3):
            self.memory[k] = self.a if kind == 2 else self.x
        elif kind == 4:
            self.compute(code, k)
        elif code == 0x07:
            self.x = self.a
        elif code == 0x87:
            self.a = self.x
        else:
            raise InvalidProgramError(f"code {code:#x}")

    def skip(self, code: int, jump_true: int, jump_false: int, k: int) -> int:
        if code & 0xF0 == 0:
            return k
        operand = self.x if code & 0x08 else k
        return jump_true if _JUMP[code & 0xF0](self.a, operand) else jump_false


def check(program: Sequence[Code]) -> None:
    """Refuse what the kernel's `bpf_check_classic` refuses, as far as it is structure."""
    if not 0 < len(program) <= 4096:
        raise InvalidProgramError(f"{len(program)} instructions")
    if program[-1][0] & 0x07 != 6:
        raise InvalidProgramError("the last instruction does not return")
    for at, (code, jump_true, jump_false, k) in enumerate(program):
        if not (0 <= jump_true <= 255 and 0 <= jump_false <= 255 and 0 <= k <= _MASK):
            raise InvalidProgramError(f"a field of instruction {at} is out of range")
        if code & 0x07 == 5:
            farthest = k if code & 0xF0 == 0 else max(jump_true, jump_false)
            if at + 1 + farthest >= len(program):
                raise InvalidProgramError(f"instruction {at} jumps out of the program")


def evaluate(
    program: Sequence[Code],
    data: bytes,
    *,
    network: bytes | None = None,
    byteorder: Literal["big", "little"] = "big",
) -> int:
    """Check a program and run it.

    Args:
        program: (code, jt, jf, k) each.
        data: what offset 0 counts from; its length is the packet's.
        network: the packet from its network header on, for `SKF_NET_OFF`.
        byteorder: "big" for packets; `sys.byteorder` for seccomp.

    Returns:
        What the program returns, 32 bits.
    """
    check(program)
    return run(program, data, network=network, byteorder=byteorder)


def run(
    program: Sequence[Code],
    data: bytes,
    *,
    network: bytes | None = None,
    byteorder: Literal["big", "little"] = "big",
) -> int:
    """Run a program that has been checked, as `evaluate` does."""
    machine = _Machine(data, network, byteorder)
    at = 0
    try:
        while True:
            code, jump_true, jump_false, k = program[at]
            at += 1
            if code & 0x07 == 6:
                return {0x00: k, 0x08: machine.x, 0x10: machine.a}[code & 0x18]
            if code & 0x07 == 5:
                at += machine.skip(code, jump_true, jump_false, k)
            else:
                machine.step(code, k)
    except _OutOfPacketError:
        return 0
