"""The names of outcomes, which a log, a status and a counter have, are those of our own code."""

from enum import Enum

import pytest

from mailbell.core.notification import Cause, Cursor, Notification, Transport
from mailbell.core.outcome import End, Outcome
from mailbell.core.sender_outcome import InputOutcome, RingOutcome


@pytest.mark.parametrize("kind", [End, Outcome, InputOutcome, RingOutcome, Transport, Cause])
def test_each_value_is_its_name_in_lower_case(kind: type[Enum]) -> None:
    assert [member.value for member in kind] == [member.name.lower() for member in kind]


def test_a_notification_and_a_place_cannot_be_changed_and_may_be_keys() -> None:
    one = Notification("work", Cause.NETWORK, 1, Transport.TCP, "192.0.2.25", 7)
    assert {one: 1, Cursor("e", 1): 2} == {one: 1, Cursor("e", 1): 2}
    for thing, name in ((one, "count"), (Cursor("e", 1), "sequence")):
        with pytest.raises(AttributeError):
            setattr(thing, name, 2)
