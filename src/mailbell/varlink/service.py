"""The interfaces that one socket serves. One of them, `org.varlink.service`, describes the others.

Source: https://varlink.org/Service
"""

from collections.abc import Sequence

import msgspec

from mailbell.varlink import _errors
from mailbell.varlink._errors import SERVICE
from mailbell.varlink._message import Call
from mailbell.varlink.interface import Interface, Method, Request

__all__ = [
    "SERVICE_INTERFACE",
    "GetInfo",
    "GetInfoReply",
    "GetInterfaceDescription",
    "GetInterfaceDescriptionReply",
    "Service",
]

_TEXT = """\
# What every Varlink service answers: what it is and what it can do.
interface org.varlink.service

# The program that answers, and the interfaces it serves.
method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

# The definition of an interface in Varlink's definition language.
method GetInterfaceDescription(interface: string) -> (description: string)

# This interface is not served here.
error InterfaceNotFound (interface: string)

# The interface has no such method.
error MethodNotFound (method: string)

# The method cannot be called like this. No method here can be upgraded.
error MethodNotImplemented (method: string)

# A parameter is unknown, missing or out of range.
error InvalidParameter (parameter: string)

# The caller may not do this.
error PermissionDenied ()

# The method answers more than once and must be called with "more".
error ExpectedMore ()
"""


class GetInfo(msgspec.Struct, frozen=True):
    """org.varlink.service.GetInfo: asks what the service is."""


class GetInfoReply(msgspec.Struct, frozen=True):
    """The answer to `GetInfo`.

    Attributes:
        vendor: the maker of the service.
        product: its name.
        version: its version.
        url: where to read about it.
        interfaces: names of the interfaces it serves.
    """

    vendor: str
    product: str
    version: str
    url: str
    interfaces: tuple[str, ...]


class GetInterfaceDescription(msgspec.Struct, frozen=True):
    """org.varlink.service.GetInterfaceDescription: asks what can be called.

    Attributes:
        interface: name of the interface.
    """

    interface: str


class GetInterfaceDescriptionReply(msgspec.Struct, frozen=True):
    """The answer to `GetInterfaceDescription`.

    Attributes:
        description: the interface in Varlink's definition language.
    """

    description: str


SERVICE_INTERFACE = Interface(
    name=SERVICE,
    text=_TEXT,
    methods={
        "GetInfo": Method(GetInfo),
        "GetInterfaceDescription": Method(GetInterfaceDescription),
    },
)


class Service:
    """The interfaces that one socket serves, `org.varlink.service` first.

    Args:
        vendor: who made the program.
        product: name of the program.
        version: of the program.
        url: where to read about it.
        interfaces: those it serves beside `org.varlink.service`.
    """

    def __init__(
        self, *, vendor: str, product: str, version: str, url: str, interfaces: Sequence[Interface]
    ) -> None:
        served = (SERVICE_INTERFACE, *interfaces)
        self._interfaces = {interface.name: interface for interface in served}
        self._information = GetInfoReply(vendor, product, version, url, tuple(self._interfaces))

    def decode_untrusted(self, call: Call) -> Request:
        """Give a call its type.

        Args:
            call: as `parse_call_untrusted` gave it.

        Returns:
            The request, which its method has checked.

        Raises:
            ServiceError: no such method, or its parameters are unknown, missing or
                out of range. The connection stays open.
            ProtocolError: a parameter has a wrong type. The connection closes.
        """
        interface, _, name = call.method.rpartition(".")
        if interface not in self._interfaces:
            raise _errors.interface_not_found(interface)
        method = self._interfaces[interface].methods.get(name)
        if method is None:
            raise _errors.method_not_found(call.method)
        if call.upgrade:
            raise _errors.method_not_implemented(call.method)
        return method.decode_untrusted(call)

    def answer(self, request: Request) -> Request | None:
        """Answer a call of `org.varlink.service`.

        Args:
            request: as `decode_untrusted` gave it.

        Returns:
            The reply; None when the request belongs to another interface.

        Raises:
            ServiceError: there is no such interface to describe.
        """
        match request:
            case GetInfo():
                return self._information
            case GetInterfaceDescription(name):
                return self._describe(name)
        return None

    def _describe(self, name: str) -> GetInterfaceDescriptionReply:
        if name not in self._interfaces:
            raise _errors.interface_not_found(name)
        return GetInterfaceDescriptionReply(self._interfaces[name].text)
