import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.notification import Cause, Cursor, Notification, Transport
from mailbell.interfaces.listener import NotifyReply, SubscribeReply
from mailbell.varlink import (
    Call,
    Decoder,
    ProtocolError,
    Reply,
    ServiceError,
    decode_reply_untrusted,
    encode_error,
    encode_reply,
    parse_call_untrusted,
    read_parameters_untrusted,
)
from mailbell.varlink._message import encode_call

INT64 = st.integers(-(2**63), 2**63 - 1)
cursors = st.builds(Cursor, st.text(), INT64)
notifications = st.builds(
    Notification,
    account=st.text(),
    cause=st.sampled_from(Cause),
    count=INT64,
    transport=st.none() | st.sampled_from(Transport),
    source=st.none() | st.text(),
    time=INT64,
)


def one_message(data: bytes) -> bytes:
    (message,) = Decoder(1 << 20).feed_untrusted(data)
    assert data == message + b"\0"
    return message


@given(cursors, st.none() | notifications, st.booleans())
def test_a_reply_survives_the_wire(
    cursor: Cursor, notification: Notification | None, continues: bool
) -> None:
    sent = SubscribeReply(cursor, notification)
    reply = decode_reply_untrusted(one_message(encode_reply(sent, continues=continues)))
    assert reply.continues is continues
    assert read_parameters_untrusted(reply, SubscribeReply) == sent


def test_a_notification_as_others_read_it() -> None:
    answer = SubscribeReply(
        Cursor("e", 7), Notification("work", Cause.NETWORK, 2, Transport.TCP, "192.0.2.1", 5)
    )
    assert json.loads(one_message(encode_reply(answer, continues=True))) == {
        "parameters": {
            "cursor": {"epoch": "e", "sequence": 7},
            "notification": {
                "account": "work",
                "cause": "network",
                "count": 2,
                "transport": "tcp",
                "source": "192.0.2.1",
                "time": 5,
            },
        },
        "continues": True,
    }
    # systemd's client refuses an "error" that is null, so it must be left out.
    last = encode_reply(SubscribeReply(Cursor("e", 7)))
    assert json.loads(one_message(last)) == {
        "parameters": {"cursor": {"epoch": "e", "sequence": 7}, "notification": None}
    }


@given(st.text(), st.dictionaries(st.text(), st.text() | INT64), st.booleans(), st.booleans())
def test_a_call_survives_the_wire(
    method: str, parameters: dict[str, Any], more: bool, oneway: bool
) -> None:
    message = one_message(encode_call(method, parameters, more=more, oneway=oneway))
    if more and oneway:
        with pytest.raises(ProtocolError, match="no reply and also many"):
            parse_call_untrusted(message)
    else:
        call = parse_call_untrusted(message)
        assert call == Call(method, parameters, more=more, oneway=oneway)


@given(st.text(), st.dictionaries(st.text(), st.text() | INT64))
def test_an_error_survives_the_wire(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(ServiceError) as caught:
        decode_reply_untrusted(one_message(encode_error(ServiceError(name, parameters))))
    assert (caught.value.name, caught.value.parameters) == (name, parameters)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (b'{"method":"a.B"}', Call("a.B")),
        (b'{"method":"a.B","parameters":{}}', Call("a.B")),
        # the Python client's command line
        (b'{"method": "a.B", "more": false, "parameters": {"c": 1}}', Call("a.B", {"c": 1})),
        (b'{"method":"a.B","parameters":{},"more":true}', Call("a.B", more=True)),
        (b'{"method":"a.B","oneway":true}', Call("a.B", oneway=True)),
        (b'{"method":"a.B","upgrade":true}', Call("a.B", upgrade=True)),
        # null counts as absent, and unknown members are ignored
        (b'{"method":"a.B","parameters":null,"more":null,"oneway":null}', Call("a.B")),
        (b'{"method":"a.B","deadline":[1,{"x":2}]}', Call("a.B")),
    ],
)
def test_calls_that_real_clients_send(message: bytes, call: Call) -> None:
    assert parse_call_untrusted(message) == call


@pytest.mark.parametrize(
    "message",
    [
        b"{}",
        b'{"method":null}',
        b'{"method":1}',
        b'{"method":"a.B","parameters":[]}',
        b'{"method":"a.B","parameters":"{}"}',
        b'{"method":"a.B","more":1}',
        b'{"method":"a.B","oneway":"true"}',
        b'{"method":"a.B","oneway":true,"upgrade":true}',
        b'{"method":"a.B","method":"a.C"}',
    ],
)
def test_what_is_no_call(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_call_untrusted(message)


@pytest.mark.parametrize(
    "message",
    [
        b'{"parameters":1}',
        b'{"continues":"yes"}',
        b'{"error":1}',
        b"[]",
        b'{"error":"a","error":"b"}',
    ],
)
def test_what_is_no_reply(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_reply_untrusted(message)


def test_a_call_asks_for_nothing_more_by_itself() -> None:
    assert encode_call("a.B", {}) == b'{"method":"a.B","parameters":{}}\0'
    assert encode_call("a.B", {"c": 1}, oneway=True) == (
        b'{"method":"a.B","parameters":{"c":1},"oneway":true}\0'
    )


def test_a_call_that_contradicts_itself_is_told_so() -> None:
    with pytest.raises(ProtocolError) as refused:
        parse_call_untrusted(b'{"method":"a.B","oneway":true,"more":true}')
    assert str(refused.value) == "a call that wants no reply and also many"


def test_an_empty_reply() -> None:
    assert decode_reply_untrusted(b"{}").parameters == {}
    assert decode_reply_untrusted(b'{"error":null}') == Reply()
    with pytest.raises(ProtocolError, match="a NotifyReply with a member missing"):
        read_parameters_untrusted(Reply(), NotifyReply)


def test_a_newer_daemon_may_say_more() -> None:
    reply = Reply({"cursor": {"epoch": "e", "sequence": 1, "shard": 2}, "mood": "good"})
    assert read_parameters_untrusted(reply, NotifyReply) == NotifyReply(Cursor("e", 1))


@pytest.mark.parametrize("cause", ["rumour", 1, None])
def test_a_cause_outside_the_list_is_an_error_that_does_not_quote_it(cause: object) -> None:
    told = {
        "account": "a",
        "cause": cause,
        "count": 1,
        "time": 0,
        "transport": None,
        "source": None,
    }
    reply = Reply({"cursor": {"epoch": "e", "sequence": 1}, "notification": told})
    with pytest.raises(ProtocolError) as caught:
        read_parameters_untrusted(reply, SubscribeReply)
    assert "rumour" not in str(caught.value)
