import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.notification import Cursor
from mailbell.interfaces.listener import (
    LISTENER_INTERFACE,
    LISTENER_SERVICE,
    GetStatus,
    Notify,
    Subscribe,
)
from mailbell.varlink import (
    SERVICE_INTERFACE,
    Call,
    GetInfo,
    GetInterfaceDescription,
    ProtocolError,
    Request,
    ServiceError,
    encode_error,
    parse_call_untrusted,
)

LISTENER = "org.mailbell.Listener"
SERVICE = "org.varlink.service"


def encode(request: Request, *, oneway: bool = False) -> bytes:
    interface = SERVICE_INTERFACE if "GetI" in type(request).__name__ else LISTENER_INTERFACE
    return interface.encode(request, oneway=oneway)


names = st.text(min_size=1, max_size=64)
methods: st.SearchStrategy[Request] = st.one_of(
    st.just(GetInfo()),
    st.just(GetStatus()),
    st.builds(GetInterfaceDescription, st.text()),
    st.builds(Notify, names),
    st.builds(
        Subscribe,
        st.lists(names, unique=True, max_size=5).map(tuple),
        st.none() | st.builds(Cursor, st.text(), st.integers(-1, 2**63 - 1)),
    ),
)


def decode(method: str, parameters: dict[str, Any], **flags: bool) -> Request:
    return LISTENER_SERVICE.decode_untrusted(Call(method, parameters, **flags))


def error(method: str, parameters: dict[str, Any], **flags: bool) -> tuple[str, dict[str, object]]:
    with pytest.raises(ServiceError) as caught:
        decode(method, parameters, **flags)
    assert encode_error(caught.value)  # and it can be sent
    return caught.value.name, caught.value.parameters


def invalid(parameter: str) -> tuple[str, dict[str, object]]:
    return f"{SERVICE}.InvalidParameter", {"parameter": parameter}


@given(methods)
def test_every_method_survives_the_wire(method: Request) -> None:
    call = parse_call_untrusted(encode(method)[:-1])
    assert call.more is isinstance(method, Subscribe)
    assert LISTENER_SERVICE.decode_untrusted(call) == method


def test_a_call_without_a_reply() -> None:
    call = parse_call_untrusted(encode(Notify("a"), oneway=True)[:-1])
    assert call == Call(f"{LISTENER}.Notify", {"account": "a"}, oneway=True)


def test_defaults_are_not_sent() -> None:
    assert json.loads(encode(Subscribe())[:-1]) == {
        "method": f"{LISTENER}.Subscribe",
        "parameters": {},
        "more": True,
    }


def test_null_is_absent_and_no_names_are_all_names() -> None:
    forms: list[dict[str, Any]] = [{}, {"accounts": None, "after": None}, {"accounts": []}]
    for parameters in forms:
        assert decode(f"{LISTENER}.Subscribe", parameters, more=True) == Subscribe((), None)


def test_an_account_twice_is_an_account_once() -> None:
    asked = decode(f"{LISTENER}.Subscribe", {"accounts": ["b", "a", "b"]}, more=True)
    assert asked == Subscribe(("b", "a"))


@pytest.mark.parametrize("method", ["GetInfo", "GetStatus", "Subscribe", "Notify.", ""])
def test_no_such_method(method: str) -> None:
    interface = LISTENER if method == "GetInfo" else SERVICE
    name = f"{interface}.{method}"
    if method == "Notify.":
        assert error(name, {}) == (
            f"{SERVICE}.InterfaceNotFound",
            {"interface": f"{SERVICE}.Notify"},
        )
    else:
        assert error(name, {}) == (f"{SERVICE}.MethodNotFound", {"method": name})


@pytest.mark.parametrize(
    ("method", "interface"),
    [
        ("org.example.Foo", "org.example"),
        ("Foo", ""),
        ("", ""),
        ("org.mailbell.listener.Notify",) * 2,
    ],
)
def test_no_such_interface(method: str, interface: str) -> None:
    interface = interface.removesuffix(".Notify")
    assert error(method, {}) == (f"{SERVICE}.InterfaceNotFound", {"interface": interface})


def test_nothing_can_be_upgraded() -> None:
    name = f"{LISTENER}.GetStatus"
    assert error(name, {}, upgrade=True) == (f"{SERVICE}.MethodNotImplemented", {"method": name})


def test_subscribe_needs_more() -> None:
    assert error(f"{LISTENER}.Subscribe", {}) == (f"{SERVICE}.ExpectedMore", {})
    # The other methods accept it and answer once even so.
    assert decode(f"{LISTENER}.GetStatus", {}, more=True) == GetStatus()


@pytest.mark.parametrize(
    ("method", "parameters", "named"),
    [
        ("org.mailbell.Listener.GetStatus", {"verbose": True}, "verbose"),
        ("org.varlink.service.GetInfo", {"x": None}, "x"),
        ("org.varlink.service.GetInterfaceDescription", {}, "interface"),
        ("org.mailbell.Listener.Notify", {}, "account"),
        ("org.mailbell.Listener.Notify", {"account": "a", "count": 2}, "count"),
        ("org.mailbell.Listener.Notify", {"account": ""}, "account"),
        ("org.mailbell.Listener.Notify", {"account": "a" * 65}, "account"),
        ("org.mailbell.Listener.Subscribe", {"accounts": ["a", ""]}, "accounts"),
        ("org.mailbell.Listener.Subscribe", {"accounts": ["é" * 65]}, "accounts"),
        ("org.mailbell.Listener.Subscribe", {"after": {"epoch": "e"}}, "after.sequence"),
        ("org.mailbell.Listener.Subscribe", {"after": {"sequence": 1}}, "after.epoch"),
        (
            "org.mailbell.Listener.Subscribe",
            {"after": {"epoch": "e", "sequence": 1, "x": 2}},
            "after.x",
        ),
        (
            "org.mailbell.Listener.Subscribe",
            {"after": {"epoch": "e", "sequence": -2}},
            "after.sequence",
        ),
    ],
)
def test_parameters_that_get_an_error_reply(
    method: str, parameters: dict[str, Any], named: str
) -> None:
    assert error(method, parameters, more=method.endswith("Subscribe")) == invalid(named)


def test_a_cursor_before_the_first_wake_up_is_taken() -> None:
    after = {"epoch": "e", "sequence": -1}
    asked = decode(f"{LISTENER}.Subscribe", {"after": after}, more=True)
    assert asked == Subscribe((), Cursor("e", -1))


def test_the_longest_name_is_taken() -> None:
    assert decode(f"{LISTENER}.Notify", {"account": "é" * 64}) == Notify("é" * 64)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("org.mailbell.Listener.Notify", {"account": None}),
        ("org.mailbell.Listener.Notify", {"account": 1}),
        ("org.mailbell.Listener.Notify", {"account": ["a"]}),
        ("org.mailbell.Listener.Subscribe", {"accounts": "a"}),
        ("org.mailbell.Listener.Subscribe", {"accounts": [None]}),
        ("org.mailbell.Listener.Subscribe", {"accounts": {"a": 1}}),
        ("org.mailbell.Listener.Subscribe", {"after": ["e", 1]}),
        ("org.mailbell.Listener.Subscribe", {"after": {"epoch": "e", "sequence": True}}),
        ("org.mailbell.Listener.Subscribe", {"after": {"epoch": "e", "sequence": 1.0}}),
        ("org.mailbell.Listener.Subscribe", {"after": {"epoch": "e", "sequence": "1"}}),
        ("org.mailbell.Listener.Subscribe", {"after": {"epoch": None, "sequence": 1}}),
        ("org.varlink.service.GetInterfaceDescription", {"interface": {}}),
    ],
)
def test_wrong_types_close_the_connection(method: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        decode(method, parameters, more=method.endswith("Subscribe"))
