"""A step that has not happened is named, and so is one that must not happen."""

from hypothesis import given
from hypothesis import strategies as st

from scripts.show.events import Happening, Side, What
from scripts.show.expected import Expected, missing, unwanted
from scripts.show.figures import accepted, counted, refusals, refused

HAPPENINGS = st.builds(
    Happening, st.floats(0, 9), st.sampled_from(Side), st.sampled_from(What), st.just("words"),
    st.sampled_from(["", "INBOX", "Junk"]),
)  # fmt: skip


def rung(about: str = "192.0.2.1") -> Happening:
    return Happening(0.0, Side.LAPTOP, What.RUNG, "", about)


def test_what_has_not_happened_is_missing() -> None:
    twice = Expected(What.RUNG, "it rings twice", "192.0.2.1", 2)
    assert missing([twice], [rung()]) == ["it rings twice"]
    assert missing([twice], [rung(), rung("192.0.2.66")]) == ["it rings twice"]
    assert missing([twice], [rung(), rung()]) == []


def test_what_must_not_happen_is_unwanted() -> None:
    never = Expected(What.RUNG, "nobody rings", "192.0.2.66", 0)
    assert unwanted([never], [rung()]) == []
    assert unwanted([never], [rung("192.0.2.66")]) == ["nobody rings"]
    assert missing([never], []) == []


@given(st.lists(HAPPENINGS, max_size=5), st.lists(HAPPENINGS, max_size=5))
def test_more_happenings_never_make_a_step_missing(
    some: list[Happening], more: list[Happening]
) -> None:
    steps = [Expected(what, what, count=2) for what in What]
    assert {*missing(steps, some + more)} <= {*missing(steps, some)}


def test_the_refusals_are_those_between_two_counts() -> None:
    before = counted({"outcomes": {"tcp": {"accepted": 1, "rate_limited": 2}, "udp": {}}})
    after = counted(
        {
            "outcomes": {
                "tcp": {"accepted": 3, "rate_limited": 2000, "empty": 1},
                "udp": {"rate_limited": 10, "unknown_account": 5},
            }
        }
    )
    assert accepted(before, after) == 2
    assert refusals(before, after) == {"rate_limited": 2008, "unknown_account": 5, "empty": 1}
    assert refused(before, after)[0] == "2,008 refused: too many of one source"


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 99), max_size=4))
def test_nothing_new_is_no_refusal(counts: dict[str, int]) -> None:
    assert refusals(counts, counts) == {}
