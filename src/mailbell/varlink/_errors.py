"""The two ways a Varlink exchange can go wrong.

A peer that does not speak the language gets no answer, only the end of the
connection: `ProtocolError`. A peer that speaks it but asks for what cannot be
had gets an error reply and may ask again: `ServiceError`.
"""

from collections.abc import Mapping

__all__ = [
    "MessageTooLong",
    "ProtocolError",
    "ServiceError",
    "expected_more",
    "interface_not_found",
    "invalid_parameter",
    "method_not_found",
    "method_not_implemented",
    "permission_denied",
    "too_many_subscribers",
    "unknown_account",
]

_SERVICE = "org.varlink.service"
_LISTENER = "org.mailbell.Listener"


class ProtocolError(Exception):
    """The peer does not speak Varlink as we understand it: close the connection.

    The text is one of our own sentences and never holds a byte of the peer's,
    so it may be logged or shown as it is.
    """


class MessageTooLong(ProtocolError):  # noqa: N818  the contract's name; it is a ProtocolError
    """A message grew past the limit without its NUL.

    Args:
        limit: most bytes a message may have, its NUL not counted.
        messages: what was complete before it, in the same call of the decoder.
    """

    def __init__(self, limit: int, messages: tuple[bytes, ...] = ()) -> None:
        super().__init__(f"a message of more than {limit} bytes")
        self.limit = limit
        self.messages = messages


class ServiceError(Exception):
    """A Varlink error reply; the connection stays open.

    Args:
        name: fully qualified name, as in `org.varlink.service.MethodNotFound`.
        parameters: the members of the error, as its interface declares them.
    """

    def __init__(self, name: str, parameters: Mapping[str, object] | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.parameters = dict(parameters or {})


def interface_not_found(interface: str) -> ServiceError:
    """The error for an interface that is not served, by its name."""
    return ServiceError(f"{_SERVICE}.InterfaceNotFound", {"interface": interface})


def method_not_found(method: str) -> ServiceError:
    """The error for a method its interface does not have, by its full name."""
    return ServiceError(f"{_SERVICE}.MethodNotFound", {"method": method})


def method_not_implemented(method: str) -> ServiceError:
    """The error for a way of calling that is not offered (`upgrade`), by the full name."""
    return ServiceError(f"{_SERVICE}.MethodNotImplemented", {"method": method})


def invalid_parameter(parameter: str) -> ServiceError:
    """The error for a parameter that is unknown, missing or out of range, by its path."""
    return ServiceError(f"{_SERVICE}.InvalidParameter", {"parameter": parameter})


def permission_denied() -> ServiceError:
    """The error for a caller that may not do this."""
    return ServiceError(f"{_SERVICE}.PermissionDenied")


def expected_more() -> ServiceError:
    """The error for a method that answers more than once, called without `more`."""
    return ServiceError(f"{_SERVICE}.ExpectedMore")


def unknown_account(account: str) -> ServiceError:
    """The error for an account this daemon does not have, by its name."""
    return ServiceError(f"{_LISTENER}.UnknownAccount", {"account": account})


def too_many_subscribers(limit: int) -> ServiceError:
    """The error for one subscriber too many; `limit` is how many there may be."""
    return ServiceError(f"{_LISTENER}.TooManySubscribers", {"limit": limit})
