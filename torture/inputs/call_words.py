"""What becomes of a connection to a local socket, written from the interfaces' text.

It shares no code with mailbell: JSON is read by `json`, and each method is a row of a table.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torture.inputs.call_model import Exchange, end_of_stream
from torture.inputs.calls import LISTENER, SENDER
from torture.inputs.speaking import Input

__all__ = ["ByTable"]

_SERVICE: Final = "org.varlink.service"
_INVALID: Final = f"{_SERVICE}.InvalidParameter"
_LONGEST: Final = 4096
_DEEPEST: Final = 16
_AT_ONCE: Final = 10

# Each method: its parameters with their types, those that may be absent in brackets.
_TABLE: Final[dict[str, dict[str, str]]] = {
    f"{_SERVICE}.GetInfo": {},
    f"{_SERVICE}.GetInterfaceDescription": {"interface": "str"},
    f"{LISTENER}.GetStatus": {},
    f"{LISTENER}.Notify": {"account": "name"},
    f"{LISTENER}.Subscribe": {"accounts": "[names]", "after": "[cursor]"},
    f"{SENDER}.GetStatus": {},
    f"{SENDER}.Ring": {"account": "name"},
    f"{SENDER}.Seen": {"account": "name", "address": "address"},
    f"{SENDER}.Explain": {"account": "name"},
    f"{SENDER}.Watch": {"account": "[name]"},
}
_STREAMS: Final = (f"{LISTENER}.Subscribe", f"{SENDER}.Watch")
_LONGEST_NAME: Final = {LISTENER: 64, SENDER: 254}
_LONGEST_ADDRESS: Final = 64


class _GarbageError(Exception):
    """The message is no call: the daemon closes."""


class _BadCallError(Exception):
    """A parameter has a wrong type: the daemon closes."""


class _RefusedError(Exception):
    """The answer is an error."""


@dataclass(frozen=True, slots=True)
class ByTable:
    """The interfaces as a table.

    Attributes:
        interface: of the daemon.
        knows: tells whether the daemon has an account.
        ring: says what a call of `Ring` counts as; None: mailbelld has no such call.
        seen: says what a call of `Seen` counts as; likewise.
    """

    interface: str
    knows: Callable[[str], bool]
    ring: Callable[..., str] | None = None
    seen: Callable[..., str] | None = None

    def talk(self, said: Input) -> Exchange:
        """Return what becomes of a connection.

        Args:
            said: all of it.
        """
        *messages, rest = said.data.split(b"\0")
        if any(len(message) > _LONGEST for message in (*messages, rest)):
            return Exchange((), "too_long")
        if len(messages) > _AT_ONCE:
            return Exchange((), "too_fast")
        replies: list[str] = []
        outcomes: list[str] = []
        for place, message in enumerate(messages):
            try:
                call = _read(message)
                error = self._call(call, outcomes)
            except _GarbageError:
                return Exchange(tuple(replies), "garbage", tuple(outcomes))
            except _BadCallError:
                return Exchange(tuple(replies), "bad_call", tuple(outcomes))
            if not error and call["method"] in _STREAMS:
                end = end_of_stream(b"\0".join((*messages[place + 1 :], rest)))
                return Exchange((*replies, ""), end, tuple(outcomes), streams=True)
            if not call.get("oneway"):
                replies.append(error)
        return Exchange(tuple(replies), "disconnected", tuple(outcomes))

    def _call(self, call: Mapping[str, Any], outcomes: list[str]) -> str:
        """Return the name of the error that is answered; "": a result."""
        method = call["method"]
        interface = method.rpartition(".")[0]
        if interface not in {_SERVICE, self.interface}:
            return f"{_SERVICE}.InterfaceNotFound"
        if method not in _TABLE:
            return f"{_SERVICE}.MethodNotFound"
        if call.get("upgrade"):
            return f"{_SERVICE}.MethodNotImplemented"
        try:
            self._check(method, call)
            return self._do(method, call.get("parameters") or {}, outcomes)
        except _RefusedError as refusal:
            return str(refusal)

    def _check(self, method: str, call: Mapping[str, Any]) -> None:
        parameters = call.get("parameters") or {}
        wanted = _TABLE[method]
        needed = {name for name, kind in wanted.items() if not kind.startswith("[")}
        if parameters.keys() - wanted.keys() or needed - parameters.keys():
            raise _RefusedError(_INVALID)
        given = {
            name: value for name, value in parameters.items() if value is not None or name in needed
        }
        if not all(_is_of(wanted[name].strip("[]"), value) for name, value in given.items()):
            raise _BadCallError
        if method in _STREAMS and not call.get("more"):
            raise _RefusedError(f"{_SERVICE}.ExpectedMore")
        for name, value in given.items():
            self._check_length(wanted[name].strip("[]"), value)

    def _check_length(self, kind: str, value: Any) -> None:
        most = _LONGEST_ADDRESS if kind == "address" else _LONGEST_NAME[self.interface]
        texts = value if kind == "names" else [value] if kind in {"name", "address"} else []
        if not all(1 <= len(text) <= most for text in texts):
            raise _RefusedError(_INVALID)

    def _do(self, method: str, parameters: Mapping[str, Any], outcomes: list[str]) -> str:
        name = method.rpartition(".")[2]
        if name == "GetInterfaceDescription":
            known = parameters["interface"] in {_SERVICE, self.interface}
            return "" if known else f"{_SERVICE}.InterfaceNotFound"
        asked = {"Ring": self.ring, "Seen": self.seen}.get(name)
        if asked is not None:
            outcomes.append(asked(*(parameters[each] for each in _TABLE[method])))
            if outcomes[-1] == "unknown_account":
                return f"{SENDER}.UnknownAccount"
            return "" if outcomes[-1] == "accepted" else f"{SENDER}.NotAccepted"
        named = parameters.get("accounts") or []
        account = parameters.get("account")
        accounts = named if account is None else [account]
        return "" if all(map(self.knows, accounts)) else f"{self.interface}.UnknownAccount"


def _is_of(kind: str, value: object) -> bool:
    if kind == "names":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    # The generator writes no cursor that is one.
    return isinstance(value, dict if kind == "cursor" else str)


def _read(message: bytes) -> dict[str, Any]:
    """Return the members of a call, without those that are null."""
    try:
        value = json.loads(message.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _GarbageError from None
    if not isinstance(value, dict) or _depth(value) > _DEEPEST:
        raise _GarbageError
    call = {name: each for name, each in value.items() if each is not None}
    flags = [call.get(name, False) for name in ("oneway", "more", "upgrade")]
    is_call = (
        isinstance(call.get("method"), str)
        and isinstance(call.get("parameters", {}), dict)
        and all(isinstance(flag, bool) for flag in flags)
    )
    if not is_call or (flags[0] and (flags[1] or flags[2])):
        raise _GarbageError
    return call


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object, and refuse what Varlink has no place for."""
    members = dict(pairs)
    if len(members) != len(pairs) or any(map(_is_large, members.values())):
        raise ValueError
    return members


def _is_large(value: object) -> bool:
    if isinstance(value, list):
        return any(map(_is_large, value))
    return isinstance(value, int) and not -(1 << 63) <= value < 1 << 63


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0
