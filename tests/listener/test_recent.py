"""The callers that were heard lately, against a naive memory."""

import gc
from collections.abc import Sequence

import pytest
from harness.house import house
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.outcome import Outcome
from mailbell.listener import _recent
from mailbell.listener._account_state import AccountState
from mailbell.listener._admission import Caller
from mailbell.listener._recent import RecentCallers


class Made:
    """Makes callers, and notes for which addresses."""

    def __init__(self) -> None:
        self.house = house()
        self.texts: list[str] = []

    def __call__(self, text: str) -> Caller:
        self.texts.append(text)
        return self.house.meet(text)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_recent, "GENERATION", 3)


@pytest.mark.usefixtures("small")
@given(st.lists(st.integers(1, 9), max_size=60))
def test_the_last_addresses_are_remembered_and_nobody_is_taken_for_another(
    heard: Sequence[int],
) -> None:
    made = Made()
    recent = RecentCallers(made)
    for number, last in enumerate(heard):
        text = f"192.0.2.{last}"
        before = len(made.texts)
        caller = recent[text]
        assert str(caller) == text
        assert recent[text] is caller
        lately = list(dict.fromkeys(reversed(heard[:number])))[:3]
        if last in lately:
            assert len(made.texts) == before
        assert len(recent) <= 3


@pytest.mark.usefixtures("small")
def test_its_size_is_bounded() -> None:
    made = Made()
    recent = RecentCallers(made)
    for last in range(1, 200):
        recent[f"192.0.2.{last}"]
    assert len(recent) + len(recent._older) <= 6
    assert len(made.texts) == 199


def test_a_kept_caller_meets_the_same_limits_as_a_new_one() -> None:
    it = house("[limits]\nburst = 4")
    kept = it.meet("192.0.2.25")
    for _ in range(2):
        assert it.admission.refusal(kept, 0.0) is None
        assert it.refusal("192.0.2.25") is None
    assert it.admission.refusal(kept, 0.0) is Outcome.RATE_LIMITED
    assert it.refusal("192.0.2.25") is Outcome.RATE_LIMITED


def test_a_kept_caller_pays_although_its_entry_was_forgotten_meanwhile() -> None:
    it = house("[limits]\nburst = 2\nsources = 8")
    kept = it.meet("192.0.2.25")
    assert [it.admission.refusal(kept, 0.0) for _ in range(2)] == [None] * 2
    for network in range(100):
        for _ in range(2):
            it.refusal(f"198.18.{network}.1", 0.001)
    assert [it.admission.refusal(kept, 0.001) for _ in range(2)] == [None] * 2, "a full bucket"
    assert it.admission.refusal(kept, 0.001) is Outcome.RATE_LIMITED


def test_a_kept_caller_is_proven_again_after_it_was_forgotten() -> None:
    it = house()
    kept = it.meet("192.0.2.25")
    known = [kept.visitor.known]
    it.admission.accept(kept, 0.0)
    known.append(kept.visitor.known)
    for host in range(26, 34):
        it.conclude(Outcome.ACCEPTED, f"192.0.2.{host}")
    known.append(kept.visitor.known)
    it.admission.accept(kept, 0.5)
    known.append(kept.visitor.known)
    assert known == [False, True, False, True]


def test_callers_and_accounts_that_nobody_needs_any_more_go() -> None:
    """The account has its last caller, and the caller its account."""

    def states() -> int:
        gc.collect()
        return sum(isinstance(one, AccountState) for one in gc.get_objects())

    before = states()
    it = house()
    it.conclude(Outcome.ACCEPTED, "192.0.2.25")
    assert states() == before + 1
    del it
    assert states() == before


def test_256_callers_are_a_generation() -> None:
    made = Made()
    recent = RecentCallers(made)
    for last in range(256):
        recent[f"192.0.2.{last}"]
    assert (len(recent), len(recent._older)) == (256, 0)
    recent["198.51.100.1"]
    assert (len(recent), len(recent._older)) == (1, 256)
