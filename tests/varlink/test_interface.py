"""An interface that is not one of ours: this room knows none of ours."""

from dataclasses import dataclass

import msgspec
import pytest

from mailbell.varlink import (
    Call,
    Conversation,
    GetInfo,
    GetInfoReply,
    Interface,
    Method,
    ProtocolError,
    Service,
    ServiceError,
    encode_error,
    encode_reply,
    invalid_parameter,
    parse_call_untrusted,
)


@dataclass
class Place:
    street: str
    number: int = 0


class Ring(msgspec.Struct, frozen=True):
    door: str
    place: Place | None = None


class Watch(msgspec.Struct, frozen=True):
    pass


class Rung(msgspec.Struct, frozen=True):
    times: int


def _no_empty_door(request: Ring) -> Ring:
    if not request.door:
        raise invalid_parameter("door")
    return Ring(request.door.lower(), request.place)


DOORS = Interface(
    "org.example.Doors",
    "interface org.example.Doors\n",
    {
        "Ring": Method(Ring, nested={"place": Place}, check=_no_empty_door),
        "Watch": Method(Watch, more=True),
    },
)
SERVICE = Service(vendor="v", product="p", version="1", url="u", interfaces=(DOORS,))


def error(call: Call) -> tuple[str, dict[str, object]]:
    with pytest.raises(ServiceError) as caught:
        SERVICE.decode_untrusted(call)
    return caught.value.name, caught.value.parameters


def test_a_request_survives_the_wire_and_is_checked() -> None:
    call = parse_call_untrusted(DOORS.encode(Ring("Front", Place("Elm", 4)))[:-1])
    assert call.method == "org.example.Doors.Ring"
    assert SERVICE.decode_untrusted(call) == Ring("front", Place("Elm", 4))


def test_one_that_answers_more_than_once_is_called_with_more() -> None:
    call = parse_call_untrusted(DOORS.encode(Watch())[:-1])
    assert (call.more, SERVICE.decode_untrusted(call)) == (True, Watch())
    assert error(Call("org.example.Doors.Watch"))[0] == "org.varlink.service.ExpectedMore"


def test_a_request_of_another_interface_cannot_be_written() -> None:
    with pytest.raises(KeyError, match="GetInfo"):
        DOORS.encode(GetInfo())


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({}, "door"),
        ({"door": ""}, "door"),
        ({"door": "a", "key": 1}, "key"),
        ({"door": "a", "place": {"number": 1}}, "place.street"),
        ({"door": "a", "place": {"street": "s", "town": "t"}}, "place.town"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, object], named: str) -> None:
    wrong = error(Call("org.example.Doors.Ring", parameters))
    assert wrong == ("org.varlink.service.InvalidParameter", {"parameter": named})


def test_null_stands_for_absent_where_a_field_may_be_absent() -> None:
    nothing = {"door": "a", "place": {"street": "s", "number": None}}
    call = Call("org.example.Doors.Ring", nothing)
    assert SERVICE.decode_untrusted(call) == Ring("a", Place("s"))


@pytest.mark.parametrize("parameters", [{"door": 1}, {"door": "a", "place": "s"}])
def test_a_wrong_type_is_no_varlink(parameters: dict[str, object]) -> None:
    with pytest.raises(ProtocolError, match="Ring"):
        SERVICE.decode_untrusted(Call("org.example.Doors.Ring", parameters))


def test_the_service_describes_what_it_serves_and_answers_nothing_else() -> None:
    information = SERVICE.answer(GetInfo())
    served = ("org.varlink.service", "org.example.Doors")
    assert information == GetInfoReply("v", "p", "1", "u", served)
    assert SERVICE.answer(Watch()) is None
    assert error(Call("org.mailbell.Listener.GetStatus"))[0].endswith("InterfaceNotFound")


def test_a_conversation_gives_replies_errors_and_the_end_of_sense() -> None:
    conversation = Conversation()
    assert not conversation.ready
    conversation.receive_untrusted(encode_reply(Rung(1), continues=True) + encode_reply(Rung(2)))
    assert conversation.take_untrusted(Rung)[0] == Rung(1)
    again, reply = conversation.take_untrusted(Rung)
    assert (again, reply.continues, conversation.ready) == (Rung(2), False, False)
    conversation.receive_untrusted(encode_error(ServiceError("org.example.Doors.Locked")))
    with pytest.raises(ServiceError, match="Locked"):
        conversation.take_untrusted(Rung)
    conversation.receive_untrusted(b"no JSON\0")
    with pytest.raises(ProtocolError):
        conversation.take_untrusted(Rung)


def test_a_method_without_objects_and_checks_takes_the_call_as_it_is() -> None:
    call = Call("org.example.Doors.Watch", {}, more=True)
    assert DOORS.methods["Watch"].decode_untrusted(call) == Watch()


@pytest.mark.parametrize("oneway", [False, True])
def test_a_call_says_whether_it_wants_replies(oneway: bool) -> None:
    for request, more in ((Ring("front"), False), (Watch(), True)):
        data = DOORS.encode(request, oneway=oneway)
        read = msgspec.json.decode(data.removesuffix(b"\0"))
        assert read["method"] == f"org.example.Doors.{type(request).__name__}"
        assert read.get("oneway", False) is oneway
        assert read.get("more", False) is more
