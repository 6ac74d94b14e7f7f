"""The registers of a stopped thread, by the names that they have on this machine's architecture.

`ARCHITECTURES` says of each architecture which registers there are and what each one is for:
who traces a thread asks `HERE` and names no register. The kernel copies the registers by
`PTRACE_GETREGSET` with `NT_PRSTATUS`, see ptrace(2), in the order of their structure.
"""

import ctypes
import platform
from dataclasses import dataclass, field
from typing import Final

__all__ = ["ARCHITECTURES", "HERE", "Architecture", "Registers"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """How an architecture makes calls, to the kernel and to functions: names of registers.

    Attributes:
        registers: all of them, in the order of the kernel's structure.
        next: the one with the address of the instruction that comes next.
        stack: the stack pointer.
        number: where a system call has its number before it is made.
        called: where that number is found once the call was made.
        result: where a call or a function puts what it returns.
        arguments: where a system call has its arguments.
        parameters: where a function has its first ones.
        back: where a function has the address to return to; empty if that is on the stack.
        red_zone: how many bytes below the stack pointer are in use (ABI).
        instruction: the instruction that makes a system call.
        sleeps: the call with which glibc's epoll_wait(3) sleeps.
        at_rest: what is set before a stopped thread makes a call, so that the kernel restarts
            none that was interrupted.
    """

    registers: tuple[str, ...]
    next: str
    stack: str
    number: str
    called: str
    result: str
    arguments: tuple[str, ...]
    parameters: tuple[str, ...]
    back: str
    red_zone: int
    instruction: bytes
    sleeps: str
    at_rest: dict[str, int] = field(default_factory=dict)


_X: Final = tuple(f"x{number}" for number in range(31))

ARCHITECTURES: Final = {
    # `struct user_regs_struct`, sys/user.h; the psABI of x86-64, appendix A.2; syscall(2)
    "x86_64": Architecture(
        registers=(
            "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8",
            "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss",
            "fs_base", "gs_base", "ds", "es", "fs", "gs",
        ),
        next="rip", stack="rsp", number="rax", called="orig_rax", result="rax",
        arguments=("rdi", "rsi", "rdx", "r10", "r8", "r9"),
        parameters=("rdi", "rsi", "rdx", "rcx"),
        back="", red_zone=128, instruction=bytes.fromhex("0f05"), sleeps="epoll_wait",
        # There is none that could have to be restarted.
        at_rest={"orig_rax": (1 << 64) - 1},
    ),
    # `struct user_pt_regs`, asm/ptrace.h; AAPCS64; syscall(2). A stopped thread's kernel has
    # forgotten the call already (`forget_syscall`): its number is still in x8, and nothing is
    # restarted.
    "aarch64": Architecture(
        registers=(*_X, "sp", "pc", "pstate"),
        next="pc", stack="sp", number="x8", called="x8", result="x0",
        arguments=_X[:6], parameters=_X[:4], back="x30", red_zone=0,
        instruction=bytes.fromhex("010000d4"), sleeps="epoll_pwait",
    ),
}  # fmt: skip

# On another architecture nothing is traced: `harness.tracee.require_tracing` skips.
HERE: Final = ARCHITECTURES.get(platform.machine(), ARCHITECTURES["x86_64"])


class Registers(ctypes.Structure):
    """Those of this machine's architecture, each an attribute; and what they are for."""

    _fields_ = [(name, ctypes.c_uint64) for name in HERE.registers]

    def but(self, **changed: int) -> "Registers":
        """The same with some changed: each by its name, or by what it is for, as in HERE."""
        copied = Registers.from_buffer_copy(self)
        for name, value in changed.items():
            setattr(copied, name if name in HERE.registers else getattr(HERE, name), value)
        return copied

    @property
    def next(self) -> int:
        """The address of the instruction that comes next."""
        return self._of(HERE.next)

    @property
    def stack(self) -> int:
        """The stack pointer."""
        return self._of(HERE.stack)

    @property
    def number(self) -> int:
        """The number of the system call that the next instruction makes, if it makes one."""
        return self._of(HERE.number)

    @property
    def called(self) -> int:
        """The number of the system call that was made last."""
        return self._of(HERE.called)

    @property
    def result(self) -> int:
        """What a call or a function has returned."""
        return ctypes.c_int64(self._of(HERE.result)).value

    @property
    def arguments(self) -> list[int]:
        """Those of a system call."""
        return [self._of(name) for name in HERE.arguments]

    def _of(self, name: str) -> int:
        return int(getattr(self, name))
