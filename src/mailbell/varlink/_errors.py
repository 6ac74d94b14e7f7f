"""The two ways in which a Varlink exchange can fail.

A peer that does not speak Varlink gets no answer; its connection is closed
(`ProtocolError`). A peer that speaks Varlink and makes a wrong call gets an error reply
and may call again (`ServiceError`).
"""

from collections.abc import Mapping

__all__ = [
    "SERVICE",
    "MessageTooLong",
    "ProtocolError",
    "ServiceError",
    "expected_more",
    "interface_not_found",
    "invalid_parameter",
    "method_not_found",
    "method_not_implemented",
]

SERVICE = "org.varlink.service"
"""The interface that every Varlink service has."""


class ProtocolError(Exception):
    """The peer does not speak Varlink as we understand it: close the connection.

    The text is always one of our own sentences and contains no byte from the peer. So it
    may be logged or shown as it is.
    """


class MessageTooLong(ProtocolError):  # noqa: N818  the contract's name; it is a ProtocolError
    """A message exceeded the limit before its NUL came.

    Args:
        limit: the greatest length of a message in bytes, without its NUL.
        messages: those that the same call of the decoder completed before this one.
    """

    def __init__(self, limit: int, messages: tuple[bytes, ...] = ()) -> None:
        super().__init__(f"a message of more than {limit} bytes")
        self.limit = limit
        self.messages = messages


class ServiceError(Exception):
    """A Varlink error reply. The connection stays open.

    Args:
        name: the fully qualified name, as in `org.varlink.service.MethodNotFound`.
        parameters: the members of the error, as its interface declares them.
    """

    def __init__(self, name: str, parameters: Mapping[str, object] | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.parameters = dict(parameters or {})


def interface_not_found(interface: str) -> ServiceError:
    """Make the error for an interface that is not served.

    Args:
        interface: its name, as the peer sent it.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{SERVICE}.InterfaceNotFound", {"interface": interface})


def method_not_found(method: str) -> ServiceError:
    """Make the error for a method that its interface does not have.

    Args:
        method: its full name, as the peer sent it.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{SERVICE}.MethodNotFound", {"method": method})


def method_not_implemented(method: str) -> ServiceError:
    """Make the error for `upgrade`, a way of calling that no method here offers.

    Args:
        method: the full name of the method, as the peer sent it.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{SERVICE}.MethodNotImplemented", {"method": method})


def invalid_parameter(parameter: str) -> ServiceError:
    """Make the error for a parameter that is unknown, missing or out of range.

    Args:
        parameter: its path, as in `after.sequence`.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{SERVICE}.InvalidParameter", {"parameter": parameter})


def expected_more() -> ServiceError:
    """Make the error for a method that answers more than once, called without `more`.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{SERVICE}.ExpectedMore")
