"""The queue of equal delays beside a list that is sorted each time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.sender._delay_queue import DelayQueue

DELAY = 2.0

STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "discard", "pop_due", "pop"]), st.integers(0, 5)), max_size=60
)


@given(steps=STEPS)
def test_it_does_what_a_sorted_list_does(steps: list[tuple[str, int]]) -> None:
    queue: DelayQueue[int] = DelayQueue(DELAY)
    model: list[tuple[float, int]] = []  # sorted: the times never run backwards
    now = 10.0
    for what, item in steps:
        now += item / 4
        waits = item in [each for _, each in model]
        match what:
            case "add" if not waits:
                queue.add(item, now)
                model.append((now + DELAY, item))
            case "discard":
                queue.discard(item)
                model = [pair for pair in model if pair[1] != item]
            case "pop_due":
                is_due = bool(model) and model[0][0] <= now
                assert queue.pop_due(now) == (model.pop(0)[1] if is_due else None)
            case "pop" if model:
                assert queue.pop() == model.pop(0)[1]
        assert len(queue) == len(model)
        assert queue.next_due == (model[0][0] if model else None)
        for due, each in model:
            assert each in queue
            assert queue.due(each) == due
        assert (item in queue) == (queue.due(item) is not None)


def test_the_first_one_in_is_the_first_one_out_and_due_after_the_delay() -> None:
    queue: DelayQueue[str] = DelayQueue(DELAY)
    for item in ("a", "b", "c"):
        queue.add(item, 10.0)
    assert queue.pop() == "a"
    assert queue.pop_due(10.0 + DELAY - 0.25) is None
    assert [queue.pop_due(10.0 + DELAY) for _ in range(3)] == ["b", "c", None]


def test_nothing_waits_in_a_new_queue() -> None:
    queue: DelayQueue[str] = DelayQueue(1.0)
    assert (queue.next_due, queue.pop_due(1e9), queue.due("a")) == (None, None, None)
    with pytest.raises(KeyError):
        queue.pop()
