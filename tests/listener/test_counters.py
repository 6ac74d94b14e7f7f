"""The counters against a plain tally."""

from collections import Counter as Tally

from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.notification import Transport
from mailbell.core.outcome import Outcome
from mailbell.interfaces.local_event import LocalEvent
from mailbell.listener._counters import Counters


def test_every_name_is_there_before_anything_happened() -> None:
    counters = Counters()
    names = [outcome.value for outcome in Outcome]
    outcomes = counters.snapshot_outcomes()
    assert list(outcomes.tcp) == list(outcomes.udp) == names
    assert list(counters.snapshot_local()) == [event.value for event in LocalEvent]
    assert {*outcomes.tcp.values(), *outcomes.udp.values(), *counters.local.values()} == {0}
    assert counters.wakeups == 0


@given(
    st.lists(st.tuples(st.sampled_from(Transport), st.sampled_from(Outcome))),
    st.lists(st.sampled_from(LocalEvent)),
    st.integers(0, 5),
)
def test_the_counts_are_what_was_counted(
    inputs: list[tuple[Transport, Outcome]], events: list[LocalEvent], wakeups: int
) -> None:
    counters = Counters()
    for transport, outcome in inputs:
        counters.outcomes[transport][outcome] += 1
    for event in events:
        counters.count_local(event)
    for _ in range(wakeups):
        counters.count_wakeup()
    outcomes = counters.snapshot_outcomes()
    for by, counts in (("tcp", outcomes.tcp), ("udp", outcomes.udp)):
        assert {name: n for name, n in counts.items() if n} == Tally(
            outcome.value for transport, outcome in inputs if transport.value == by
        )
    local = counters.snapshot_local()
    assert {name: n for name, n in local.items() if n} == Tally(e.value for e in events)
    assert counters.wakeups == wakeups


def test_a_snapshot_does_not_move() -> None:
    counters = Counters()
    outcomes, local = counters.snapshot_outcomes(), counters.snapshot_local()
    counters.outcomes[Transport.TCP][Outcome.ACCEPTED] += 1
    counters.count_local(LocalEvent.CONNECTED)
    assert outcomes.tcp["accepted"] == 0
    assert local["connected"] == 0
