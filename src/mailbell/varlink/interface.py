"""An interface as data. It turns a call into a typed request, and a request into a call.

The set of methods is closed: only those in the table of an interface exist. This module
knows no interface; ours are in `mailbell.interfaces`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from mailbell.varlink import _errors
from mailbell.varlink._errors import ProtocolError
from mailbell.varlink._message import Call, encode_call

__all__ = ["Interface", "Method", "Request"]

Request: TypeAlias = msgspec.Struct
"""The parameters of one method, as a typed call."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of an interface.

    Attributes:
        kind: the type of its parameters.
        more: whether it answers more than once. Such a method must be called with `more`.
        nested: the parameters that are objects, each with its type.
        check: checks what a type cannot express. It returns the request, perhaps in a
            simpler form, or raises a `ServiceError`.
    """

    kind: type[Request]
    more: bool = False
    nested: Mapping[str, type] = field(default_factory=dict)
    check: Callable[[Any], Request] | None = None

    def decode_untrusted(self, call: Call) -> Request:
        """Give a call of this method its type.

        Args:
            call: as `parse_call_untrusted` gave it.

        Returns:
            The request.

        Raises:
            ServiceError: parameters are unknown, missing or out of range, or the method
                must be called with `more`. The connection stays open.
            ProtocolError: a parameter has a wrong type. The connection closes.
        """
        parameters = _check_names(call.parameters, _required(self.kind))
        for name, kind in self.nested.items():
            if isinstance(inner := parameters.get(name), dict):
                parameters[name] = _check_names(inner, _required(kind), f"{name}.")
        try:
            request = msgspec.convert(parameters, self.kind)
        except msgspec.ValidationError:
            raise ProtocolError(f"a call of {self.kind.__name__} with a wrong type") from None
        if self.more and not call.more:
            raise _errors.expected_more()
        return request if self.check is None else self.check(request)


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface.

    Attributes:
        name: as in `org.varlink.service`.
        text: its definition in Varlink's definition language.
        methods: its methods by name, without the name of the interface.
    """

    name: str
    text: str
    methods: Mapping[str, Method]

    def encode(self, request: Request, *, oneway: bool = False) -> bytes:
        """Write one call, its NUL included. A client uses it.

        Args:
            request: what to ask for: the parameters of one of the methods.
            oneway: ask for no reply.

        Returns:
            The bytes to send.

        Raises:
            KeyError: no method of this interface has such parameters.
        """
        for name, method in self.methods.items():
            if method.kind is type(request):
                return encode_call(f"{self.name}.{name}", request, more=method.more, oneway=oneway)
        raise KeyError(type(request).__name__)


def _required(kind: Any) -> dict[str, bool]:
    """Return the names of a type's fields, and whether each must be given."""
    if issubclass(kind, msgspec.Struct):
        return {each.name: each.required for each in msgspec.structs.fields(kind)}
    return {each.name: each.default is dataclasses.MISSING for each in dataclasses.fields(kind)}


def _check_names(
    given: dict[str, object], required: dict[str, bool], path: str = ""
) -> dict[str, object]:
    """Refuse unknown and missing names. Leave out a null where a field may be absent."""
    for name in given:
        if name not in required:
            raise _errors.invalid_parameter(path + name)
    for name, needed in required.items():
        if needed and name not in given:
            raise _errors.invalid_parameter(path + name)
    return {name: value for name, value in given.items() if value is not None or required[name]}
