"""The accounts that were rung alone."""

from hypothesis import given
from hypothesis import strategies as st

from mailbell.cluster.outbox import Outbox

ACCOUNTS = st.sampled_from("abcde")


@given(st.lists(ACCOUNTS | st.integers(0, 4)), st.integers(1, 4))
def test_it_is_a_bounded_queue_with_each_account_once(steps: list[str | int], most: int) -> None:
    outbox, dropped = Outbox(most), 0
    model: list[str] = []
    times: dict[str, float] = {}
    for number, step in enumerate(steps):
        if isinstance(step, int):
            assert list(outbox.take(step)) == [(name, times[name]) for name in model[:step]]
            del model[:step]
        else:
            is_kept = step in model or len(model) < most
            assert outbox.put(step, float(number)) is is_kept
            dropped += not is_kept
            if is_kept:
                times[step] = float(number)
            if is_kept and step not in model:
                model.append(step)
        assert (len(outbox), outbox.dropped) == (len(model), dropped)


def test_without_another_number_so_many_accounts_are_kept() -> None:
    outbox = Outbox()
    assert all(outbox.put(str(number), 0.0) for number in range(1 << 16))
    assert [outbox.put(name, 0.0) for name in ("one", "two", "0")] == [False, False, True]
    assert (len(outbox), outbox.dropped) == (1 << 16, 2)
