"""A program's policy of system calls, as typed values. `policy_toml` reads its text.

A policy says for each system call what a locked program may do, and why. This module gives the
policy two meanings that must never differ:

- `Policy.answer` follows the text literally. Reviewers and tests use it.
- `Policy.rules` is what the filter is built from: conjunctions of masked equalities. They are
  disjoint, so no call ever matches two of them. Ordered comparisons are never used, because
  libseccomp before 2.6.1 merges them wrongly and can then allow what it should kill.

A call that no rule matches kills the process. The arguments that a filter sees are six
registers of 64 bits, never the memory they point to: see seccomp(2).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
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
    "Numbers",
    "Policy",
    "Rule",
    "Unknown",
    "Value",
]

ARGUMENTS: Final = 6
ALL_BITS: Final = (1 << 64) - 1

Numbers = int | Collection[int]
"""What a placeholder stands for: one number, or each of several."""


@dataclass(frozen=True, slots=True)
class Action:
    """What happens to a call.

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
    """A number that a policy names.

    Attributes:
        text: as it is written in the policy.
        number: its meaning, reduced to the width of its condition. None: a placeholder
            that `Policy.bind` has not filled yet.
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
    """One conjunction: if all matches hold, the call gets this action."""

    call: str
    action: Action
    matches: tuple[Match, ...] = ()

    def applies(self, call: str, args: Sequence[int]) -> bool:
        """Tell whether this rule covers a call.

        Args:
            call: its name.
            args: the six argument registers, unsigned.

        Returns:
            Whether the name is this rule's and every match holds.
        """
        return call == self.call and all(args[m.argument] & m.mask == m.value for m in self.matches)


def _join(matches: tuple[Match, ...], one: Match) -> tuple[Match, ...] | None:
    """Add a match to a conjunction. Return None if both can never hold.

    libseccomp accepts one comparison for each argument, so a match is merged into that of
    the same argument.
    """
    found = {match.argument: match for match in matches}
    other = found.get(one.argument, Match(one.argument, 0, 0))
    if (other.value ^ one.value) & other.mask & one.mask:
        return None
    found[one.argument] = Match(one.argument, other.mask | one.mask, other.value | one.value)
    return tuple(found.values())


def _cover_others(
    numbers: frozenset[int], mask: int, fixed: int = 0, value: int = 0
) -> Iterator[tuple[int, int]]:
    """Cover all numbers but `numbers` (under `mask`) with disjoint pairs of mask and value.

    It walks down the binary tree of the masked bits, the highest bit first. A subtree
    that contains none of the numbers becomes one pair.
    """
    if not numbers:
        yield fixed, value
    elif fixed != mask:
        bit = 1 << ((mask & ~fixed).bit_length() - 1)
        for side in (0, bit):
            below = frozenset(number for number in numbers if number & bit == side)
            yield from _cover_others(below, mask, fixed | bit, value | side)


@dataclass(frozen=True, slots=True)
class Condition:
    """One argument must have one of some values. Only the bits of a mask are compared.

    Attributes:
        argument: which argument, 0 to 5.
        mask: the bits that are compared. The kernel reads an `int` argument as 32 bits and
            the filter sees 64. So most masks have 32 bits; pointers and lengths have 64.
        values: the accepted values.
        negated: whether these are the values that are not accepted, and all others are.
    """

    argument: int
    mask: int
    values: tuple[Value, ...]
    negated: bool = False

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of the values.

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
            Whether the masked argument is one of the values; if negated, none of them.

        Raises:
            InternalError: a placeholder has not been filled.
        """
        return (args[self.argument] & self.mask in self.numbers) != self.negated

    def met(self) -> tuple[Match, ...]:
        """Return disjoint matches that together cover all arguments that meet the condition."""
        return self._others() if self.negated else self._named()

    def unmet(self) -> tuple[Match, ...]:
        """Return disjoint matches that together cover all arguments that do not meet it."""
        return self._named() if self.negated else self._others()

    @property
    def most_met(self) -> int:
        """How many matches `met` returns at most, if each placeholder is one number."""
        return len(self.values) * (self.mask.bit_count() if self.negated else 1)

    def _named(self) -> tuple[Match, ...]:
        return tuple(Match(self.argument, self.mask, number) for number in sorted(self.numbers))

    def _others(self) -> tuple[Match, ...]:
        pairs = _cover_others(self.numbers, self.mask)
        return tuple(Match(self.argument, mask, value) for mask, value in pairs)

    def bind(self, values: Mapping[str, Numbers]) -> "Condition":
        """Fill placeholders.

        Args:
            values: a number, or several, by placeholder; those not named stay unfilled.

        Returns:
            The same condition with the named placeholders filled.
        """

        def filled(value: Value) -> Iterator[Value]:
            if value.number is not None or value.text not in values:
                yield value
                return
            found = values[value.text]
            for number in (found,) if isinstance(found, int) else found:
                yield Value(value.text, number & self.mask)

        return replace(self, values=tuple(one for value in self.values for one in filled(value)))

    def __str__(self) -> str:
        masked = "" if self.mask in {ALL_BITS, ALL_BITS >> 32} else f" & {self.mask:#x}"
        names = " or ".join(dict.fromkeys(value.text for value in self.values))
        return f"args.{self.argument}{masked} {'is not' if self.negated else '='} {names}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One paragraph of the policy.

    Attributes:
        calls: the names of the system calls it is about.
        conditions: all of them must hold; there is at most one for each argument. The negated
            ones stand last. If only a negated one does not hold, the call kills.
        action: what the calls get if all conditions hold.
        otherwise: what they get with any other arguments.
        reason: the reason in words.
        unused: why a call or a value is granted although no test run needs it. It names each
            of them. Empty if there are none.
        within: further conditions. A call that does not meet them kills: it gets neither
            `action` nor `otherwise`.
    """

    calls: tuple[str, ...]
    conditions: tuple[Condition, ...]
    action: Action
    otherwise: Action
    reason: str
    unused: str = ""
    within: tuple[Condition, ...] = ()

    def answer(self, args: Sequence[int]) -> Action:
        """Answer a call of this entry.

        Args:
            args: the six argument registers, unsigned.

        Returns:
            What the call gets.

        Raises:
            InternalError: a placeholder has not been filled.
        """
        if not all(condition.holds(args) for condition in self.within):
            return KILL
        for condition in self.conditions:
            if not condition.holds(args):
                return KILL if condition.negated else self.otherwise
        return self.action

    def rules(self, call: str) -> Iterator[Rule]:
        """Yield the same answers as disjoint rules. A call that must kill has no rule.

        The complement of "a and b and c" is split into "not a", "a and not b" and
        "a and b and not c", which exclude each other.

        Args:
            call: the name of one of this entry's calls.
        """
        held: list[tuple[Match, ...]] = [()]
        for condition in self.within:
            held = _combine(held, condition.met())
        for condition in self.conditions:
            if self.otherwise != KILL and not condition.negated:
                for matches in _combine(held, condition.unmet()):
                    yield Rule(call, self.otherwise, matches)
            held = _combine(held, condition.met())
        yield from (Rule(call, self.action, matches) for matches in held)

    @property
    def size(self) -> int:
        """The number of rules that each call of this entry takes, or more."""
        total, held = 0, prod(condition.most_met for condition in self.within)
        for condition in self.conditions:
            if self.otherwise != KILL and not condition.negated:
                total += held * len(condition.values) * condition.mask.bit_count()
            held *= condition.most_met
        return total + held


def _combine(held: Iterable[tuple[Match, ...]], more: Iterable[Match]) -> list[tuple[Match, ...]]:
    """Combine each conjunction with each match, except those that can never hold together."""
    joined = (_join(matches, match) for match in more for matches in held)
    return [matches for matches in joined if matches is not None]


@dataclass(frozen=True, slots=True)
class Unknown:
    """What happens to calls newer than the policy, for which it has no name.

    Attributes:
        newest: the highest call number that the author of the policy knew.
        until: the last number that gets an error; a higher number kills.
        action: what the numbers in between get.
        reason: the reason in words.
    """

    newest: int
    until: int
    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that a program may do once it is locked.

    Attributes:
        program: the program that the policy is for.
        placeholders: names for numbers known only at run time, each with a description.
        unknown: what calls without a name get.
        entries: all paragraphs; no call is in two of them.
    """

    program: str
    placeholders: Mapping[str, str]
    unknown: Unknown
    entries: tuple[Entry, ...]

    @property
    def permitted(self) -> tuple[str, ...]:
        """The calls that are allowed with some arguments at least, sorted by name."""
        allowed = (entry.calls for entry in self.entries if entry.action == ALLOW)
        return tuple(sorted(call for calls in allowed for call in calls))

    @property
    def unbound(self) -> frozenset[str]:
        """The placeholders that still need a value."""
        return frozenset(
            value.text
            for entry in self.entries
            for condition in (*entry.within, *entry.conditions)
            for value in condition.values
            if value.number is None
        )

    def bind(self, values: Mapping[str, Numbers]) -> "Policy":
        """Fill placeholders.

        Args:
            values: a number, or several, by placeholder; those not named stay unfilled.

        Returns:
            The same policy with the named placeholders filled.

        Raises:
            InternalError: the policy declares no such placeholder.
        """
        if unknown := values.keys() - self.placeholders.keys():
            raise InternalError(f"policy of {self.program} has no placeholder {min(unknown)}")
        entries = tuple(
            replace(
                entry,
                conditions=tuple(c.bind(values) for c in entry.conditions),
                within=tuple(c.bind(values) for c in entry.within),
            )
            for entry in self.entries
        )
        return replace(self, entries=entries)

    def answer(self, call: str | int, args: Sequence[int] = (0,) * ARGUMENTS) -> Action:
        """Answer a call by the literal text of the policy.

        Args:
            call: its name, or its number if it has no name.
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
        """Return all named calls as disjoint rules. A call without a rule kills.

        Raises:
            InternalError: a placeholder has not been filled.
        """
        return tuple(
            rule for entry in self.entries for call in entry.calls for rule in entry.rules(call)
        )
