"""The interface that every service has, and which call goes where."""

import msgspec
import pytest

from mailbell.varlink import (
    SERVICE,
    SERVICE_INTERFACE,
    Call,
    GetInfo,
    GetInfoReply,
    GetInterfaceDescription,
    GetInterfaceDescriptionReply,
    Interface,
    Method,
    Service,
    ServiceError,
)


class Ring(msgspec.Struct, frozen=True):
    door: str


DOORS = Interface("org.example.Doors", "interface org.example.Doors\n", {"Ring": Method(Ring)})
IT = Service(vendor="v", product="p", version="1", url="u", interfaces=(DOORS,))


def test_the_interface_of_every_service() -> None:
    assert SERVICE == SERVICE_INTERFACE.name == "org.varlink.service"
    assert "\ninterface org.varlink.service\n" in SERVICE_INTERFACE.text
    kinds = {name: method.kind for name, method in SERVICE_INTERFACE.methods.items()}
    assert kinds == {"GetInfo": GetInfo, "GetInterfaceDescription": GetInterfaceDescription}


@pytest.mark.parametrize(
    "kind", [GetInfo, GetInfoReply, GetInterfaceDescription, GetInterfaceDescriptionReply]
)
def test_what_is_said_cannot_be_changed(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.frozen


def test_a_call_goes_to_its_method() -> None:
    assert IT.decode_untrusted(Call("org.example.Doors.Ring", {"door": "a"})) == Ring("a")
    assert IT.decode_untrusted(Call("org.varlink.service.GetInfo", {})) == GetInfo()


@pytest.mark.parametrize(
    ("method", "name", "parameters"),
    [
        ("org.example.Bells.Ring", "InterfaceNotFound", {"interface": "org.example.Bells"}),
        ("Ring", "InterfaceNotFound", {"interface": ""}),
        ("org.example.Doors.Open", "MethodNotFound", {"method": "org.example.Doors.Open"}),
        ("org.varlink.service.Open", "MethodNotFound", {"method": "org.varlink.service.Open"}),
    ],
)
def test_a_call_of_nothing_is_told_what_there_is_not(
    method: str, name: str, parameters: dict[str, str]
) -> None:
    with pytest.raises(ServiceError) as refused:
        IT.decode_untrusted(Call(method, {}))
    assert refused.value.name == f"org.varlink.service.{name}"
    assert refused.value.parameters == parameters


def test_nobody_may_leave_the_protocol() -> None:
    method = "org.example.Doors.Ring"
    with pytest.raises(ServiceError) as refused:
        IT.decode_untrusted(Call(method, {"door": "a"}, upgrade=True))
    assert refused.value.name == "org.varlink.service.MethodNotImplemented"
    assert refused.value.parameters == {"method": method}


def test_it_says_who_it_is_and_what_it_serves() -> None:
    names = ("org.varlink.service", "org.example.Doors")
    assert IT.answer(GetInfo()) == GetInfoReply("v", "p", "1", "u", names)
    for interface in (SERVICE_INTERFACE, DOORS):
        said = IT.answer(GetInterfaceDescription(interface.name))
        assert said == GetInterfaceDescriptionReply(interface.text)
    assert IT.answer(Ring("a")) is None
    with pytest.raises(ServiceError) as refused:
        IT.answer(GetInterfaceDescription("org.example.Bells"))
    assert refused.value.name == "org.varlink.service.InterfaceNotFound"
    assert refused.value.parameters == {"interface": "org.example.Bells"}
