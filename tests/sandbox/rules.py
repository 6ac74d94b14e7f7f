"""Tries every rule of a program's policy live, in both directions, as `test_every_rule` explains.

For programs other than mailbelld: a `Subject` says how to run code in a process that the
program's own code has locked in.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.alone import Call, ask, each_alone
from harness.child import Ended, run
from harness.libseccomp import libseccomp
from sandbox.probes import Probe, probes

from mailbell._sys import seccomp
from mailbell.sandbox.policy_file import FOLDER
from mailbell.syscalls.policy import KILL, Numbers, Policy
from mailbell.syscalls.policy_toml import parse

__all__ = ["BEYOND", "Subject", "Told", "numbers_in"]

Inside = Callable[[Mapping[str, Any]], object]
"""Runs in the locked process; gets what the placeholders of the policy mean there."""

X32: Final = 0x40000000  # asm/unistd.h: __X32_SYSCALL_BIT
# Numbers of calls behind those that a policy knows, some of them negative.
BEYOND: Final = (1024, 1025, 1535, 2047, 4096, 65536, X32 - 1, 1 << 31, 0xFFFFFFFF)


@dataclass(frozen=True)
class Told:
    """The answers to a probe in the locked process, and from the kernel itself."""

    probe: Probe
    locked: int
    free: int


@dataclass(frozen=True)
class Subject:
    """A program whose policy is tried.

    Attributes:
        program: its name.
        locked: runs a function in a process that is locked in as the program is.
        elsewhere: numbers for processes that have only the filter. No process has this number
            or one that differs in one bit, so a broken filter harms no process.
        prepare_free: gives a process without the filter the same descriptors.
    """

    program: str
    locked: Callable[[Inside], Ended]
    elsewhere: Mapping[str, Numbers]
    prepare_free: Callable[[Mapping[str, Any]], object]
    policy: Policy = field(init=False)
    numbers: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        policy = parse(Path(FOLDER, f"{self.program}.toml").read_bytes())
        calls = {call for entry in policy.entries for call in entry.calls}
        object.__setattr__(self, "policy", policy)
        native = libseccomp.Arch.NATIVE
        found = {call: int(libseccomp.resolve_syscall(native, call)) for call in calls}
        object.__setattr__(self, "numbers", found)

    def bound(self) -> Policy:
        """The policy of a process that has only the filter."""
        return self.policy.bind(self.elsewhere)

    def probes(self, numbers: Mapping[str, Any]) -> list[Probe]:
        """The probes of all calls that this architecture has."""
        made = probes(self.policy.bind(numbers))
        return [probe for probe in made if self.numbers[probe.call] >= 0]

    def deadly(self, numbers: Mapping[str, Any]) -> list[Probe]:
        """The probes that kill."""
        return [probe for probe in self.probes(numbers) if probe.answer == KILL]

    def call(self, probe: Probe) -> Call:
        """The call of a probe, by its number."""
        return self.numbers[probe.call], probe.args

    def answers(self, numbers: Mapping[str, Any]) -> list[tuple[Probe, int]]:
        """Make every probe that does not kill, in this process."""
        found = []
        for probe in self.probes(numbers):
            if probe.answer != KILL:
                # After a death, its cause can then be read.
                os.write(2, f"{probe}\n".encode())
                found.append((probe, ask(self.call(probe))))
        return found

    def told(self) -> list[Told]:
        """Make every probe that does not kill, in a locked process and in a free one."""
        inside = self.locked(lambda numbers: (numbers, self.answers(numbers)))
        assert (inside.error, inside.signal) == (None, None), (
            inside.error,
            inside.signal,
            inside.output.splitlines()[-1:],
        )
        numbers, found = inside.value
        free = run(partial(self._answers_of_the_kernel, numbers))
        assert free.error is None, free
        return [Told(p, said, own) for (p, said), (_, own) in zip(found, free.value, strict=True)]

    def _answers_of_the_kernel(self, numbers: Mapping[str, Any]) -> list[tuple[Probe, int]]:
        self.prepare_free(numbers)
        os.closerange(numbers["STATUS"], numbers["STATUS"] + 1)
        return self.answers({**numbers, "SELF": os.getpid()})

    def filtered(self, calls: list[Call]) -> list[int]:
        """Make each call in a process of its own that has the filter and nothing else."""
        return each_alone(seccomp.compile_policy(self.bound()).program, calls)

    def said_of(self, number: int, dead: int) -> int:
        """The policy's answer for a number that it does not name."""
        unknown = self.policy.unknown
        return unknown.action.errno if unknown.newest < number <= unknown.until else dead


def numbers_in(policy: Policy, *several: str) -> dict[str, Numbers]:
    """Return what the placeholders mean in a policy that is bound.

    Args:
        policy: the policy that is in force.
        several: the placeholders that may stand for several numbers.
    """
    found: dict[str, set[int]] = {}
    for entry in policy.entries:
        for value in (value for c in entry.conditions for value in c.values):
            if value.text in policy.placeholders and value.number is not None:
                found.setdefault(value.text, set()).add(value.number)
    meant: dict[str, Numbers] = {"SELF": os.getpid()}
    for name, numbers in found.items():
        in_order = tuple(sorted(numbers))
        meant[name] = in_order if name in several else in_order[0]
    return meant
