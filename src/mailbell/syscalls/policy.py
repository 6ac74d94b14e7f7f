"""A program's system calls as reviewed text: TOML in, typed rules out.

A policy says, call by call, what a locked program may do and why. This module
reads it, finds everything that is wrong with it at once, and gives it two
meanings that must never differ:

- `Policy.answer` is the text taken at its word, for reviewers and tests;
- `Policy.rules` is what the filter is built from: conjunctions of masked
  equalities, disjoint, so that no input ever matches two of them. Ordered
  comparisons are not used at all, because libseccomp before 2.6.1 merges them
  wrongly and can then allow what it should kill.

Whatever no rule matches kills the process. See seccomp(2) for the arguments
a filter sees: six registers of 64 bits, never the memory they point to.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mailbell.core.errors import InternalError

__all__ = [
    "ALLOW",
    "ARGUMENTS",
    "KILL",
    "Action",
    "Condition",
    "Entry",
    "Match",
    "Policy",
    "Rule",
    "Unknown",
    "Value",
]

ARGUMENTS: Final = 6
ALL_BITS: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Action:
    """What becomes of a call.

    Attributes:
        name: "allow", "kill", or the name of an error as in errno(3).
        errno: the error's number; 0 for the other two.
    """

    name: str
    errno: int = 0

    def __str__(self) -> str:
        return self.name


ALLOW: Final = Action("allow")
KILL: Final = Action("kill")


@dataclass(frozen=True, slots=True)
class Value:
    """A number a policy names.

    Attributes:
        text: as it is written in the policy.
        number: what it means, reduced to the width of its condition; None for
            a placeholder that `Policy.bind` has not filled yet.
    """

    text: str
    number: int | None


@dataclass(frozen=True, slots=True)
class Match:
    """One masked equality: `args[argument] & mask == value`."""

    argument: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One conjunction: when all matches hold, the call gets this action."""

    call: str
    action: Action
    matches: tuple[Match, ...] = ()

    def applies(self, call: str, args: Sequence[int]) -> bool:
        """Tell whether a call is this rule's.

        Args:
            call: its name.
            args: the six argument registers, unsigned.

        Returns:
            Whether the name is this rule's and every match holds.
        """
        return call == self.call and all(args[m.argument] & m.mask == m.value for m in self.matches)


def _others(
    numbers: frozenset[int], mask: int, fixed: int = 0, value: int = 0
) -> Iterator[tuple[int, int]]:
    """Cover all but `numbers` (under `mask`) with disjoint pairs of mask and value.

    A walk down the binary tree of the masked bits, the highest first: a
    subtree that holds none of the numbers is one pair.
    """
    if not numbers:
        yield fixed, value
    elif fixed != mask:
        bit = 1 << ((mask & ~fixed).bit_length() - 1)
        for side in (0, bit):
            below = frozenset(number for number in numbers if number & bit == side)
            yield from _others(below, mask, fixed | bit, value | side)


@dataclass(frozen=True, slots=True)
class Condition:
    """One argument must be one of some values, where a mask lets the bits through.

    Attributes:
        argument: which one, 0 to 5.
        mask: the bits that count. The kernel reads an `int` argument as 32
            bits while the filter sees 64, so a mask of 32 bits is the rule
            and one of 64 is for pointers and lengths.
        values: any of these will do.
    """

    argument: int
    mask: int
    values: tuple[Value, ...]

    @property
    def numbers(self) -> frozenset[int]:
        """What the values mean.

        Raises:
            InternalError: a placeholder has not been filled.
        """
        found = frozenset(value.number for value in self.values)
        if None in found:
            names = ", ".join(value.text for value in self.values if value.number is None)
            raise InternalError(f"policy placeholder {names} has no value")
        return frozenset(number for number in found if number is not None)

    def holds(self, args: Sequence[int]) -> bool:
        """Tell whether a call's arguments meet the condition.

        Args:
            args: the six argument registers, unsigned.

        Returns:
            Whether the masked argument is one of the values.

        Raises:
            InternalError: a placeholder has not been filled.
        """
        return args[self.argument] & self.mask in self.numbers

    def met(self) -> tuple[Match, ...]:
        """Return disjoint matches that together say: it holds."""
        return tuple(Match(self.argument, self.mask, number) for number in sorted(self.numbers))

    def unmet(self) -> tuple[Match, ...]:
        """Return disjoint matches that together say: it does not hold."""
        pairs = _others(self.numbers, self.mask)
        return tuple(Match(self.argument, mask, value) for mask, value in pairs)

    def bind(self, values: Mapping[str, int]) -> "Condition":
        """Fill placeholders.

        Args:
            values: numbers by placeholder; those not named stay open.

        Returns:
            The same condition with the named placeholders filled.
        """

        def filled(value: Value) -> Value:
            if value.number is not None or value.text not in values:
                return value
            return Value(value.text, values[value.text] & self.mask)

        return replace(self, values=tuple(map(filled, self.values)))

    def __str__(self) -> str:
        masked = "" if self.mask in {ALL_BITS, ALL_BITS >> 32} else f" & {self.mask:#x}"
        return f"args.{self.argument}{masked} = {' or '.join(value.text for value in self.values)}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What one paragraph of the policy says.

    Attributes:
        calls: the names of the system calls it is about.
        conditions: all of them must hold, at most one for each argument.
        action: what the calls get then.
        otherwise: what they get with any other arguments.
        reason: why, in words.
        unused: why it is granted all the same, where no run of the tests ever
            needs a call or a value of it; names each of them. Else empty.
    """

    calls: tuple[str, ...]
    conditions: tuple[Condition, ...]
    action: Action
    otherwise: Action
    reason: str
    unused: str = ""

    def answer(self, args: Sequence[int]) -> Action:
        """Answer a call of this entry.

        Args:
            args: the six argument registers, unsigned.

        Returns:
            What the call gets.

        Raises:
            InternalError: a placeholder has not been filled.
        """
        held = all(condition.holds(args) for condition in self.conditions)
        return self.action if held else self.otherwise

    def rules(self, call: str) -> Iterator[Rule]:
        """Yield the same as disjoint rules; what is to be killed has none.

        The complement of "a and b and c" is taken apart into "not a", "a and
        not b", "a and b and not c", which exclude each other.

        Args:
            call: one of this entry's.
        """
        held: list[tuple[Match, ...]] = [()]
        for condition in self.conditions:
            if self.otherwise != KILL:
                for unmet in condition.unmet():
                    yield from (Rule(call, self.otherwise, (*so_far, unmet)) for so_far in held)
            held = [(*so_far, met) for so_far in held for met in condition.met()]
        yield from (Rule(call, self.action, matches) for matches in held)

    @property
    def size(self) -> int:
        """No fewer than the rules each call of this entry takes."""
        total, held = 0, 1
        for condition in self.conditions:
            if self.otherwise != KILL:
                total += held * len(condition.values) * condition.mask.bit_count()
            held *= len(condition.values)
        return total + held


@dataclass(frozen=True, slots=True)
class Unknown:
    """What becomes of calls newer than the policy, which have no name in it.

    Attributes:
        newest: the highest call number the author of the policy knew.
        until: the last number that is answered softly; above it is killed.
        action: what the numbers between get.
        reason: why, in words.
    """

    newest: int
    until: int
    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class Policy:
    """All that a program may do once it is locked.

    Attributes:
        program: whose policy it is.
        placeholders: names for numbers known only at run time, each with what it is.
        unknown: what calls without a name get.
        entries: everything else; no call stands in two of them.
    """

    program: str
    placeholders: Mapping[str, str]
    unknown: Unknown
    entries: tuple[Entry, ...]

    @property
    def permitted(self) -> tuple[str, ...]:
        """The calls that are allowed at least sometimes, sorted by name."""
        allowed = (entry.calls for entry in self.entries if entry.action == ALLOW)
        return tuple(sorted(call for calls in allowed for call in calls))

    @property
    def unbound(self) -> frozenset[str]:
        """The placeholders that still need a value."""
        return frozenset(
            value.text
            for entry in self.entries
            for condition in entry.conditions
            for value in condition.values
            if value.number is None
        )

    def bind(self, values: Mapping[str, int]) -> "Policy":
        """Fill placeholders.

        Args:
            values: numbers by placeholder; those not named stay open.

        Returns:
            The same policy with the named placeholders filled.

        Raises:
            InternalError: the policy declares no such placeholder.
        """
        if unknown := values.keys() - self.placeholders.keys():
            raise InternalError(f"policy of {self.program} has no placeholder {min(unknown)}")
        entries = tuple(
            replace(entry, conditions=tuple(c.bind(values) for c in entry.conditions))
            for entry in self.entries
        )
        return replace(self, entries=entries)

    def answer(self, call: str | int, args: Sequence[int] = (0,) * ARGUMENTS) -> Action:
        """Answer a call, straight from the text.

        Args:
            call: its name, or its number when it has no name.
            args: the six argument registers, unsigned.

        Returns:
            What the call gets.

        Raises:
            InternalError: a placeholder has not been filled.
        """
        if isinstance(call, int):
            soft = self.unknown.newest < call <= self.unknown.until
            return self.unknown.action if soft else KILL
        for entry in self.entries:
            if call in entry.calls:
                return entry.answer(args)
        return KILL

    def rules(self) -> tuple[Rule, ...]:
        """Return every named call as disjoint rules; no rule means the call is killed.

        Raises:
            InternalError: a placeholder has not been filled.
        """
        return tuple(
            rule for entry in self.entries for call in entry.calls for rule in entry.rules(call)
        )
