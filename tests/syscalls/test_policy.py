"""The two meanings of a policy never differ."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.errors import InternalError
from mailbell.syscalls.policy import (
    ALL_BITS,
    ALLOW,
    ARGUMENTS,
    KILL,
    Action,
    Condition,
    Entry,
    Match,
    Policy,
    Rule,
    Unknown,
    Value,
)
from mailbell.syscalls.policy_toml import MAX_RULES

EPERM = Action("EPERM", 1)
EACCES = Action("EACCES", 13)
LOW = (1 << 32) - 1
CALLS = ("one", "two", "three")


def condition(argument: int, *numbers: int, mask: int = LOW) -> Condition:
    return Condition(argument, mask, tuple(Value(str(n), n & mask) for n in numbers))


def policy(*entries: Entry, placeholders: tuple[str, ...] = ()) -> Policy:
    unknown = Unknown(450, 500, Action("ENOSYS", 38), "newer")
    return Policy("test", dict.fromkeys(placeholders, "?"), unknown, entries)


def entry(
    *conditions: Condition,
    calls: tuple[str, ...] = ("one",),
    action: Action = ALLOW,
    otherwise: Action = KILL,
    within: tuple[Condition, ...] = (),
) -> Entry:
    return Entry(calls, conditions, action, otherwise, "because", within=within)


registers = st.integers(0, ALL_BITS)
masks = st.sampled_from([LOW, ALL_BITS, 4, 0xFF00, 1 << 63, (1 << 33) - 1]) | registers.filter(bool)
small = st.integers(0, 9)


@st.composite
def conditions(draw: st.DrawFn, argument: int) -> Condition:
    made = condition(
        argument, *draw(st.lists(small | registers, min_size=1, max_size=3)), mask=draw(masks)
    )
    return replace(made, negated=draw(st.booleans()))


@st.composite
def entries(draw: st.DrawFn, call: str) -> Entry:
    arguments = sorted(draw(st.sets(st.integers(0, 5), max_size=3)))
    around = sorted(draw(st.sets(st.integers(0, 5), max_size=2)))
    return entry(
        *(draw(conditions(argument)) for argument in arguments),
        within=tuple(draw(conditions(argument)) for argument in around),
        calls=(call,),
        action=draw(st.sampled_from([ALLOW, EACCES])),
        otherwise=draw(st.sampled_from([KILL, EPERM])),
    )


# The rules of an entry are a product over its conditions: a few of 64 bits make millions, and
# with them gigabytes and minutes. policy_toml accepts no such entry either.
policies = st.tuples(
    *(entries(call).filter(lambda made: made.size <= MAX_RULES) for call in CALLS)
).map(lambda made: policy(*made))


@st.composite
def calls_near(draw: st.DrawFn, made: Policy) -> tuple[str, list[int]]:
    """Arguments that meet the conditions, or miss them by one bit, where mistakes are likely."""
    args = draw(st.lists(small | registers, min_size=6, max_size=6))
    chosen = draw(st.sampled_from(made.entries))
    for c in (*chosen.within, *chosen.conditions):
        free = args[c.argument] & ~c.mask
        if draw(st.integers(0, 3)):
            args[c.argument] = free | draw(st.sampled_from(sorted(c.numbers)))
        if not draw(st.integers(0, 3)):
            args[c.argument] ^= 1 << draw(st.integers(0, 63))
    return chosen.calls[0], args


@pytest.mark.uncounted
@given(st.data(), policies)
def test_rules_say_what_the_text_says(data: st.DataObject, made: Policy) -> None:
    rules = made.rules()
    for _ in range(5):
        call, args = data.draw(calls_near(made))
        matching = [rule for rule in rules if rule.applies(call, args)]
        # They must be disjoint: libseccomp does not say which of two rules counts.
        assert len(matching) <= 1
        assert (matching[0].action if matching else KILL) == made.answer(call, args)


@pytest.mark.uncounted
@given(policies)
def test_rules_are_fit_for_libseccomp(made: Policy) -> None:
    for rule in made.rules():
        arguments = [match.argument for match in rule.matches]
        assert len(set(arguments)) == len(arguments)  # it takes one comparison an argument
        assert rule.action != KILL  # the default, which a rule must not repeat
        assert all(match.value & ~match.mask == 0 for match in rule.matches)


@pytest.mark.uncounted
@given(policies)
def test_size_is_an_upper_bound(made: Policy) -> None:
    for one in made.entries:
        assert len(list(one.rules(one.calls[0]))) <= one.size


def test_outside_of_within_a_call_is_killed_whatever_else_there_is() -> None:
    around = condition(0, 2, mask=3)
    one = entry(condition(0, 2), condition(1, 7), otherwise=EPERM, within=(around,))
    made = policy(one)
    answers = {
        (register, other): made.answer("one", (register, other, 0, 0, 0, 0))
        for register in range(8)
        for other in (7, 8)
    }
    assert {args for args, said in answers.items() if said == ALLOW} == {(2, 7)}
    assert {args for args, said in answers.items() if said == EPERM} == {(2, 8), (6, 7), (6, 8)}
    assert {said for (register, _), said in answers.items() if register & 3 != 2} == {KILL}


def test_a_value_that_can_never_be_met_has_no_rule() -> None:
    """Two conditions of one argument that exclude each other for some of their values."""
    made = policy(
        entry(
            condition(0, 1, mask=0b1),
            condition(0, 0b10, 0b11, mask=0b11),
            within=(condition(1, 4),),
        )
    )
    for first in range(4):
        for second in (4, 5):
            args = (first, second, 0, 0, 0, 0)
            applied = [rule.action for rule in made.rules() if rule.applies(CALLS[0], args)]
            assert applied == [ALLOW] * (first == 0b11 and second == 4)
            assert made.answer(CALLS[0], args) == (applied or [KILL])[0]
    assert not any(rule.applies("no such call", (3, 4, 0, 0, 0, 0)) for rule in made.rules())


def test_one_value_takes_one_rule_a_bit_to_exclude() -> None:
    rules = policy(entry(condition(1, 0x5421), otherwise=EPERM)).rules()
    assert [rule.action for rule in rules] == [EPERM] * 32 + [ALLOW]
    assert Rule("one", ALLOW, (Match(1, LOW, 0x5421),)) in rules


@pytest.mark.parametrize("chosen", range(1, 256))
def test_met_and_unmet_part_the_numbers(chosen: int) -> None:
    """Every choice of values under a mask of three bits that are not adjacent."""
    under_mask = [n for n in range(32) if n & ~0b10101 == 0]
    numbers = [n for at, n in enumerate(under_mask) if chosen >> at & 1]
    made = condition(0, *numbers, mask=0b10101)
    for register in range(64):
        met = [m for m in made.met() if register & m.mask == m.value]
        unmet = [m for m in made.unmet() if register & m.mask == m.value]
        assert (len(met), len(unmet)) == ((1, 0) if register & 0b10101 in numbers else (0, 1))


def test_what_a_negated_condition_does_not_meet_are_its_values() -> None:
    made = condition(0, 2, 5, mask=0b111)
    negated = replace(made, negated=True)
    assert negated.unmet() == made.met() == (Match(0, 0b111, 2), Match(0, 0b111, 5))
    assert negated.met() == made.unmet()


def test_a_mask_that_leaves_nothing_over_has_no_complement() -> None:
    rules = policy(entry(condition(2, 0, 4, mask=4), otherwise=EPERM)).rules()
    assert [rule.action for rule in rules] == [ALLOW, ALLOW]


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        ((0, 7, 0, 0, 0, 0), ALLOW),
        ((0, 7 | 1 << 32, 0, 0, 0, 0), ALLOW),  # the kernel reads an int, so do we
        ((0, 6, 0, 0, 0, 0), EPERM),
    ],
)
def test_32_bits_are_compared(args: tuple[int, ...], answer: Action) -> None:
    assert policy(entry(condition(1, 7), otherwise=EPERM)).answer("one", args) == answer


def test_what_is_not_named_is_killed() -> None:
    made = policy(entry())
    assert made.answer("one") == ALLOW
    assert made.answer("execve") == KILL
    assert [made.answer(n).name for n in (0, 450, 451, 500, 501, 0x40000001)] == [
        "kill",
        "kill",
        "ENOSYS",
        "ENOSYS",
        "kill",
        "kill",
    ]


def test_the_registers_that_a_filter_sees() -> None:
    """As in seccomp(2): `__u64 args[6]`."""
    assert (ARGUMENTS, ALL_BITS) == (6, 0xFFFF_FFFF_FFFF_FFFF)
    made = policy(entry(*(condition(argument, 0) for argument in range(ARGUMENTS))))
    assert made.answer("one") == ALLOW, "they are zero if nobody says what they are"


def test_what_is_left_out_is_empty() -> None:
    assert [(one.name, one.errno) for one in (ALLOW, KILL)] == [("allow", 0), ("kill", 0)]
    assert Rule("one", ALLOW).matches == ()
    made = Entry(("one",), (), ALLOW, KILL, "because")
    assert (made.unused, made.within) == ("", ())


def test_permitted_names_each_allowed_call() -> None:
    made = policy(
        entry(calls=("two", "one")),
        entry(calls=("three",), action=EACCES),
        entry(condition(0, 1), calls=("also",), otherwise=EPERM),
    )
    assert made.permitted == ("also", "one", "two")


class TestPlaceholders:
    made = policy(
        entry(Condition(0, LOW, (Value("2", 2), Value("FD", None), Value("SELF", None)))),
        placeholders=("FD", "SELF"),
    )

    def test_open_ones_are_known(self) -> None:
        assert self.made.unbound == {"FD", "SELF"}
        assert self.made.bind({"FD": 9}).unbound == {"SELF"}

    def test_an_open_one_answers_nothing(self) -> None:
        with pytest.raises(InternalError, match="FD, SELF"):
            self.made.answer("one")
        with pytest.raises(InternalError, match="SELF"):
            self.made.bind({"FD": 9}).rules()

    def test_a_filled_one_is_its_number(self) -> None:
        bound = self.made.bind({"FD": 9, "SELF": 1 << 32 | 77})
        assert [n for n in range(100) if bound.answer("one", (n, 0, 0, 0, 0, 0)) == ALLOW] == [
            2,
            9,
            77,
        ]

    def test_one_of_within_is_filled_too(self) -> None:
        around = Condition(1, LOW, (Value("FD", None),))
        one = entry(condition(0, 2), otherwise=EPERM, within=(around,))
        bound = policy(one, placeholders=("FD",)).bind({"FD": 9})
        assert bound.unbound == frozenset()
        answers = [bound.answer("one", (first, 9, 0, 0, 0, 0)) for first in (2, 3)]
        assert answers == [ALLOW, EPERM]
        assert bound.answer("one", (2, 8, 0, 0, 0, 0)) == KILL

    def test_an_undeclared_one_is_a_mistake(self) -> None:
        with pytest.raises(InternalError, match="no placeholder WRONG"):
            self.made.bind({"WRONG": 1})

    def test_one_may_stand_for_several_numbers_or_none(self) -> None:
        bound = self.made.bind({"FD": (9, 1 << 32 | 11), "SELF": ()})
        assert [n for n in range(100) if bound.answer("one", (n, 0, 0, 0, 0, 0)) == ALLOW] == [
            2,
            9,
            11,
        ]
        assert bound.unbound == frozenset()


def test_all_but_some_values() -> None:
    other = replace(condition(0, 2, 5, mask=0xF), negated=True)
    made = policy(entry(condition(1, 7), other, otherwise=EPERM))
    answers = {n: made.answer("one", (n, 7, 0, 0, 0, 0)) for n in (0, 1, 2, 3, 4, 5, 6, 18, LOW)}
    # It kills, although the paragraph has an "else".
    assert [n for n, answer in answers.items() if answer == KILL] == [2, 5, 18]
    assert set(answers.values()) == {ALLOW, KILL}
    assert made.answer("one", (2, 8, 0, 0, 0, 0)) == EPERM
    assert len(made.rules()) <= made.entries[0].size == 32 + 2 * 4


def test_text_for_people() -> None:
    assert str(replace(condition(0, 7, 8), negated=True)) == "args.0 is not 7 or 8"
    several = Condition(0, LOW, (Value("FD", None),)).bind({"FD": (3, 4)})
    assert str(several) == "args.0 = FD"
    assert str(condition(1, 7, 8)) == "args.1 = 7 or 8"
    assert str(condition(1, 7, mask=ALL_BITS)) == "args.1 = 7"
    assert str(condition(2, 0, mask=4)) == "args.2 & 0x4 = 0"
    assert str(EPERM) == "EPERM"
