"""Makes connections to the local sockets: good calls, nearly good ones, and what is no call."""

import json
from random import Random
from typing import Final

from torture.inputs.lines import cut
from torture.inputs.speaking import Input

__all__ = ["LISTENER", "SENDER", "make_talk"]

LISTENER: Final = "org.mailbell.Listener"
SENDER: Final = "org.mailbell.Sender"
_SERVICE: Final = "org.varlink.service"

# The methods of both daemons, with parameters that may be right.
_METHODS: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    LISTENER: (("GetStatus", ()), ("Notify", ("account",)), ("Subscribe", ("accounts",))),
    SENDER: (
        ("GetStatus", ()), ("Ring", ("account",)), ("Seen", ("account", "address")),
        ("Explain", ("account",)), ("Watch", ("account",)),
    ),
}  # fmt: skip
_ACCOUNTS: Final = ("one", "anna", "off", "two", "nobody-here", "ann@EXAMPLE.org", "")
_ADDRESSES: Final = ("192.0.2.9", "127.0.0.1", "2001:db8::1", "x", "", "1" * 65, "192.0.2.256")
_WRONG: Final[tuple[object, ...]] = (None, 1, 1.5, True, [], {}, [1], {"a": 1}, "x" * 300)
_NO_CALLS: Final = (
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"{}", b'{"method":1}', b"\xff",
    b'{"method":"a","method":"b"}',
    b'{"method":"a.b","oneway":true,"more":true}', b'{"method":"a.b","parameters":[]}',
    b'{"method":"a.b","more":1}', b'{"method":"a.b","x":' + b"[" * 20 + b"]" * 20 + b"}",
    b'{"method":"a.b","x":9223372036854775808}', b"GET / HTTP/1.1\r\n\r\n", b"{}{}",
)  # fmt: skip
_MOST_CALLS: Final = 8  # a connection has ten at once
_TOO_MANY: Final = 40
_TOO_LONG: Final = 4097


def _value(rng: Random, name: str) -> object:
    if rng.random() < 0.05:
        return rng.choice(_WRONG)
    if name == "accounts":
        return [rng.choice(_ACCOUNTS[:4]) for _ in range(int(rng.random() * 3))]
    return rng.choice(_ADDRESSES if name == "address" else _ACCOUNTS)


def _good(rng: Random, interface: str) -> dict[str, object]:
    kind = rng.random()
    if kind < 0.15:
        return {"method": f"{_SERVICE}.GetInfo"}
    if kind < 0.25:
        named = rng.choice((interface, _SERVICE, "org.example", 5, None))
        parameters = {"interface": named}
        return {"method": f"{_SERVICE}.GetInterfaceDescription", "parameters": parameters}
    name, needed = rng.choice(_METHODS[interface])
    call: dict[str, object] = {"method": f"{interface}.{name}"}
    given = {each: _value(rng, each) for each in needed if rng.random() < 0.93}
    if given or rng.random() < 0.5:
        call["parameters"] = given
    if rng.random() < (0.8 if name in {"Subscribe", "Watch"} else 0.1):
        call["more"] = True
    return call


def _nearly(rng: Random, interface: str) -> dict[str, object]:
    """Return a call with one thing changed."""
    call = _good(rng, interface)
    kind = int(rng.random() * 7)
    if kind == 0:
        call["method"] = rng.choice(
            ("GetStatus", f"{interface}.Nothing", "org.example.Foo", f"{interface}.", "", "a")
        )
    elif kind == 1:
        call[rng.choice(("oneway", "upgrade", "more"))] = rng.choice((True, False, None, 1))
    elif kind == 2:
        call["parameters"] = rng.choice((None, {}, {"x": 1}, {"account": None}, 5))
    elif kind == 3:
        call["more_of"] = {"a": [1, {"b": None}]}
    elif kind == 4:
        call.pop("method")
    elif kind == 5:
        call["oneway"] = True
    else:
        call["parameters"] = {"account": "one", "more": 1}
    return call


def _message(rng: Random, interface: str) -> bytes:
    kind = rng.random()
    if kind < 0.02:
        return rng.choice(_NO_CALLS)
    call = _good(rng, interface) if kind < 0.8 else _nearly(rng, interface)
    data = json.dumps(call, ensure_ascii=rng.random() < 0.5).encode()
    if kind > 0.98:
        place = int(rng.random() * len(data))
        data = data[:place] + bytes([1 + int(rng.random() * 255)]) + data[place + 1 :]
    return data


def make_talk(interface: str, rng: Random) -> Input:
    """Return a connection to a local socket.

    Args:
        interface: of the daemon.
        rng: decides.
    """
    kind = rng.random()
    if kind < 0.03:
        size = _TOO_LONG + int(rng.random() * 3) - 1
        return Input(cut(rng, b'{"method":"' + b"x" * (size - 11) + b"\0"))
    if kind < 0.05:
        return Input((b'{"method":"org.varlink.service.GetInfo"}\0' * _TOO_MANY,))
    calls = [_message(rng, interface) for _ in range(1 + int(rng.random() * _MOST_CALLS))]
    rest = _message(rng, interface)[:20] if rng.random() < 0.1 else b""
    return Input(cut(rng, b"".join(call + b"\0" for call in calls) + rest))
