"""The errors of the protocol: those that close a connection, and those that are replies."""

import pytest

from mailbell.varlink import _errors
from mailbell.varlink._errors import MessageTooLong, ProtocolError, ServiceError


@pytest.mark.parametrize(
    ("error", "name", "parameters"),
    [
        (_errors.interface_not_found("a.b"), "InterfaceNotFound", {"interface": "a.b"}),
        (_errors.method_not_found("a.b.C"), "MethodNotFound", {"method": "a.b.C"}),
        (_errors.method_not_implemented("a.b.C"), "MethodNotImplemented", {"method": "a.b.C"}),
        (_errors.invalid_parameter("x.y"), "InvalidParameter", {"parameter": "x.y"}),
        (_errors.expected_more(), "ExpectedMore", {}),
    ],
    ids=str,
)
def test_each_error_of_every_service(
    error: ServiceError, name: str, parameters: dict[str, object]
) -> None:
    full = f"org.varlink.service.{name}"
    assert (error.name, error.parameters, str(error)) == (full, parameters, full)


def test_the_parameters_of_an_error_are_its_own() -> None:
    given: dict[str, object] = {"a": 1}
    error = ServiceError("org.example.Odd", given)
    given["a"] = 2
    assert error.parameters == {"a": 1}
    assert str(error) == "org.example.Odd"
    assert ServiceError("org.example.Odd").parameters == {}


def test_a_message_that_is_too_long_has_its_limit_and_those_before_it() -> None:
    error = MessageTooLong(7, (b"one", b"two"))
    assert (error.limit, error.messages) == (7, (b"one", b"two"))
    assert str(error) == "a message of more than 7 bytes"
    assert MessageTooLong(7).messages == ()
    assert isinstance(error, ProtocolError)
