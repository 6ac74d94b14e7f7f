"""Any bytes give a Policy or a ConfigurationError with problems; its rules answer as its text does.

Near every value a condition names, and one bit away from it, the rules that
match a call are none or one, and their action is the answer of the text.
"""

from collections.abc import Iterator

from mailbell.core.errors import ConfigurationError
from mailbell.syscalls.policy import ARGUMENTS, KILL, Entry, Policy
from mailbell.syscalls.policy_toml import parse

# The most rules times arguments that are checked, so that a seed takes milliseconds.
MAX_WORK = 200_000
BITS = (0, 1, 2, 31, 32, 63)


def check(data: bytes) -> None:
    """Read `data` as a policy.

    Args:
        data: any bytes.

    Raises:
        AssertionError: the invariant does not hold.
    """
    try:
        policy = parse(data)
    except ConfigurationError as error:
        _check_problems(error)
    else:
        _check_policy(policy)


def _check_problems(error: ConfigurationError) -> None:
    assert error.problems
    assert all(problem.message for problem in error.problems)


def _check_policy(policy: Policy) -> None:
    bound = policy.bind({name: at for at, name in enumerate(policy.placeholders)})
    assert not bound.unbound
    for entry in bound.entries:
        call = entry.calls[0]
        rules = [rule for rule in bound.rules() if rule.call == call]
        for _, args in zip(range(MAX_WORK // len(rules)), _arguments(entry), strict=False):
            matching = [rule.action for rule in rules if rule.applies(call, args)]
            assert (matching or [KILL]) == [bound.answer(call, args)]


def _arguments(entry: Entry) -> Iterator[list[int]]:
    """Yields arguments that meet every condition, then the same with one bit of one flipped."""
    met = [0] * ARGUMENTS
    judged = (*entry.within, *entry.conditions)
    for condition in judged:
        met[condition.argument] |= min(condition.numbers)
    yield met
    for condition in judged:
        for number in condition.numbers:
            for bit in BITS:
                near = list(met)
                near[condition.argument] = number
                yield near
                near[condition.argument] ^= 1 << bit
                yield near
