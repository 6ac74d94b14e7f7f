"""The waits between attempts to connect, compared with those of mailbell's own client."""

from typing import Final

import pytest
from harness.v8 import loaded
from hypothesis import given
from hypothesis import strategies as st

from mailbell.client._conversation import Backoff

WAITS: Final = """(lives, random) => {
  const backoff = new Backoff();
  return lives.map(lived => backoff.next(lived, random));
}"""


@given(st.lists(st.integers(0, 20_000)), st.floats(0, 1, exclude_max=True))
def test_it_waits_as_the_client_does_and_at_most_a_quarter_less(
    lives: list[int], random: float
) -> None:
    model = Backoff()
    expected = [1000 * model.next_delay(lived / 1000) for lived in lives]
    waits = loaded()(WAITS, lives, random)
    assert waits == pytest.approx([wait * (0.75 + random / 4) for wait in expected])


def test_only_a_connection_that_lasted_begins_anew() -> None:
    waits = loaded()(WAITS, [0] * 9 + [9_999, 10_000, 0], 0)
    assert waits == [
        75, 150, 300, 600, 1200, 2400, 4800, 7500, 7500, 7500, 75, 150
    ]  # fmt: skip
