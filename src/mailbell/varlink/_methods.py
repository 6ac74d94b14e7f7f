"""From the name of a method to a typed request, and back.

Closed: a method is in the table below or it does not exist.
"""

from typing import TypeAlias

import msgspec

from mailbell.varlink import _errors, types
from mailbell.varlink._errors import ProtocolError
from mailbell.varlink._message import Call, encode_call
from mailbell.varlink._names import LISTENER, SERVICE

__all__ = ["MAX_ACCOUNT_NAME", "Method", "decode_method_untrusted", "encode_method"]

MAX_ACCOUNT_NAME = 64
"""Most characters of an account's name; the configuration knows no longer ones."""

Method: TypeAlias = (
    types.GetInfo | types.GetInterfaceDescription | types.Subscribe | types.Notify | types.GetStatus
)

_METHODS: dict[str, type[Method]] = {
    f"{SERVICE}.GetInfo": types.GetInfo,
    f"{SERVICE}.GetInterfaceDescription": types.GetInterfaceDescription,
    f"{LISTENER}.Subscribe": types.Subscribe,
    f"{LISTENER}.Notify": types.Notify,
    f"{LISTENER}.GetStatus": types.GetStatus,
}
_NAMES = {kind: name for name, kind in _METHODS.items()}
_REQUIRED = {
    kind: {field.name: field.required for field in msgspec.structs.fields(kind)} for kind in _NAMES
}
_CURSOR = {"epoch": True, "sequence": True}


def decode_method_untrusted(call: Call) -> Method:
    """Give a call its type.

    Args:
        call: as `parse_call_untrusted` gave it.

    Returns:
        The request. Account names in it have 1 to 64 characters, none is there
        twice, and a cursor's sequence is -1 or greater.

    Raises:
        ServiceError: no such method, or its parameters are unknown, missing or
            out of range. The connection stays open.
        ProtocolError: a parameter has a wrong type. The connection closes.
    """
    kind = _find(call.method)
    if call.upgrade:
        raise _errors.method_not_implemented(call.method)
    parameters = _named(call.parameters, _REQUIRED[kind])
    if isinstance(after := parameters.get("after"), dict):
        parameters["after"] = _named(after, _CURSOR, "after.")
    try:
        method: Method = msgspec.convert(parameters, kind)
    except msgspec.ValidationError:
        raise ProtocolError(f"a call of {kind.__name__} with a wrong type") from None
    return _check(method, more=call.more)


def encode_method(method: Method, *, oneway: bool = False) -> bytes:
    """Write one call, its NUL included: the client's side.

    Args:
        method: what to ask for. `Subscribe` asks for more than one reply.
        oneway: ask for no reply.

    Returns:
        The bytes to send.
    """
    more = isinstance(method, types.Subscribe)
    return encode_call(_NAMES[type(method)], method, more=more, oneway=oneway)


def _find(name: str) -> type[Method]:
    if kind := _METHODS.get(name):
        return kind
    interface = name.rpartition(".")[0]
    if interface in {SERVICE, LISTENER}:
        raise _errors.method_not_found(name)
    raise _errors.interface_not_found(interface)


def _named(
    given: dict[str, object], required: dict[str, bool], path: str = ""
) -> dict[str, object]:
    """Refuse unknown and missing names; drop null where a field may be absent."""
    for name in given:
        if name not in required:
            raise _errors.invalid_parameter(path + name)
    for name, needed in required.items():
        if needed and name not in given:
            raise _errors.invalid_parameter(path + name)
    return {name: value for name, value in given.items() if value is not None or required[name]}


def _check(method: Method, *, more: bool) -> Method:
    if isinstance(method, types.Notify):
        _check_account(method.account, "account")
    if not isinstance(method, types.Subscribe):
        return method
    if not more:
        raise _errors.expected_more()
    for name in method.accounts:
        _check_account(name, "accounts")
    if method.after is not None and method.after.sequence < -1:
        raise _errors.invalid_parameter("after.sequence")
    return types.Subscribe(tuple(dict.fromkeys(method.accounts)), method.after)


def _check_account(name: str, parameter: str) -> None:
    if not 1 <= len(name) <= MAX_ACCOUNT_NAME:
        raise _errors.invalid_parameter(parameter)
