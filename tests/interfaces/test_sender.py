"""What a call of mailbell-sender may hold: every length that is checked, and the errors."""

from typing import Any

import pytest

from mailbell.core.mailbox import MAX_MAILBOX
from mailbell.core.sender_outcome import InputOutcome
from mailbell.interfaces.sender import (
    SENDER,
    SENDER_SERVICE,
    not_accepted,
    too_fast,
    too_many_watchers,
    unknown_account,
)
from mailbell.varlink._errors import ServiceError
from mailbell.varlink._message import Call

NAME = "a" * MAX_MAILBOX


def decode(method: str, parameters: dict[str, Any]) -> object:
    more = method == "Watch"
    return SENDER_SERVICE.decode_untrusted(Call(f"{SENDER}.{method}", parameters, more=more))


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("Ring", {"account": "a"}),
        ("Ring", {"account": NAME}),
        ("Explain", {"account": "a"}),
        ("Explain", {"account": NAME}),
        ("Watch", {"account": "a"}),
        ("Watch", {"account": NAME}),
        ("Watch", {"account": None}),
        ("Watch", {}),
        ("Seen", {"account": "a", "address": "x"}),
        ("Seen", {"account": NAME, "address": "x" * 64}),
        ("GetStatus", {}),
    ],
)
def test_the_shortest_and_the_longest_texts_are_taken(
    method: str, parameters: dict[str, Any]
) -> None:
    found = decode(method, parameters)
    assert type(found).__name__ == method
    for name, value in parameters.items():
        assert getattr(found, name) == value


@pytest.mark.parametrize(
    ("method", "parameters", "wrong"),
    [
        ("Ring", {"account": ""}, "account"),
        ("Ring", {"account": NAME + "a"}, "account"),
        ("Explain", {"account": ""}, "account"),
        ("Explain", {"account": NAME + "a"}, "account"),
        ("Watch", {"account": ""}, "account"),
        ("Watch", {"account": NAME + "a"}, "account"),
        ("Seen", {"account": "", "address": "x"}, "account"),
        ("Seen", {"account": NAME + "a", "address": "x"}, "account"),
        ("Seen", {"account": "a", "address": ""}, "address"),
        ("Seen", {"account": "a", "address": "x" * 65}, "address"),
    ],
)
def test_a_text_that_is_empty_or_too_long_is_named(
    method: str, parameters: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        decode(method, parameters)
    assert caught.value.name == "org.varlink.service.InvalidParameter"
    assert caught.value.parameters == {"parameter": wrong}


@pytest.mark.parametrize(
    ("error", "name", "parameters"),
    [
        (unknown_account("anna"), "UnknownAccount", {"account": "anna"}),
        (not_accepted(InputOutcome.DISABLED), "NotAccepted", {"outcome": InputOutcome.DISABLED}),
        (too_many_watchers(7), "TooManyWatchers", {"limit": 7}),
        (too_fast(), "TooFast", {}),
    ],
)
def test_each_error_has_its_name_and_what_it_says(
    error: ServiceError, name: str, parameters: dict[str, object]
) -> None:
    assert error.name == f"org.mailbell.Sender.{name}"
    assert error.parameters == parameters
