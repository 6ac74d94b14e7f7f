"""What is read of a D-Bus stream: jeepney writes the messages, and short ones count."""

import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney import DBusAddress, Endianness, HeaderFields, new_error, new_method_call, new_signal
from jeepney import Message as Written

from mailbell.agent._dbus import LONGEST, Message, Reader, WireError

EMITTER = DBusAddress("/org/example/a", "org.example", "org.example.Interface")
NOTHING = Message("", "", "", "", "", 0, (), None)


def signal(signature: str | None = None, *body: Any, sender: str = ":1.7") -> Written:
    message = new_signal(EMITTER, "Happened", signature, body)
    message.header.fields[HeaderFields.sender] = sender
    return message


def read(*written: bytes) -> list[Message]:
    reader, found = Reader(), []
    for data in written:
        reader.feed(data)
        while (message := reader.take()) is not None:
            found.append(message)
    return found


HAPPENED = Message("/org/example/a", "org.example.Interface", "Happened", ":1.7", "", 0, (), None)


@pytest.mark.parametrize("order", list(Endianness))
def test_the_forms_that_the_bus_and_logind_use(order: Endianness) -> None:
    call = new_method_call(EMITTER, "Ask")
    call.header.serial = 9
    messages = [
        (signal(), HAPPENED),
        (signal("b", True), HAPPENED._replace(truth=True)),
        (signal("b", False), HAPPENED._replace(truth=False)),
        (signal("sss", "a", "", "caf\xe9"), HAPPENED._replace(texts=("a", "", "caf\xe9"))),
        (signal("u", 7), HAPPENED),
        (
            new_error(call, "org.example.Error", "s", ("why",)),
            NOTHING._replace(error="org.example.Error", answers=9, texts=("why",)),
        ),
    ]
    for written, expected in messages:
        written.header.endianness = order
        assert read(written.serialise(3)) == [expected]


@given(st.lists(st.integers(1, 300), max_size=60))
def test_chunking_does_not_matter(sizes: list[int]) -> None:
    long = signal("ay", b"x" * LONGEST)
    stream = b"".join(
        message.serialise(number)
        for number, message in enumerate(
            [signal("b", True), long, signal(), long, signal("s", "a")]
        )
    )
    chunks = []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    expected = [HAPPENED._replace(truth=True), HAPPENED, HAPPENED._replace(texts=("a",))]
    assert read(*chunks, stream) == expected


def test_a_message_is_read_up_to_the_limit() -> None:
    room = LONGEST - len(signal("s", "").serialise(1))
    (longest,) = read(signal("s", "x" * room).serialise(1))
    assert longest.texts == ("x" * room,)
    assert read(signal("s", "x" * (room + 1)).serialise(1)) == []


@pytest.mark.parametrize("part", ["body", "fields", "both"])
def test_a_long_message_is_neither_kept_nor_read(part: str) -> None:
    size = 31 << 20
    body, fields = (size * (part != "fields"), size * (part != "body"))
    header = struct.pack("<4BIII", ord("l"), 4, 0, 1, body, 1, fields)
    chunk = b"\xff" * 16384
    reader = Reader()
    tracemalloc.start()
    try:
        reader.feed(header)
        for _ in range((body + fields) // len(chunk)):
            reader.feed(chunk)
            assert reader.take() is None
        reader.feed(signal("b", True).serialise(2))
        assert reader.take() == HAPPENED._replace(truth=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_a_message_with_something_else_in_it_is_left_out() -> None:
    """Its length is known, so what follows it is read."""
    strange = bytearray(signal("b", True).serialise(1))
    first = strange.index(b"\1o\0")
    for at, byte in ((first - 1, 77), (first + 1, ord("u")), (first, 9)):
        changed = strange.copy()
        changed[at] = byte
        assert read(bytes(changed) + signal().serialise(2)) == [HAPPENED]
    with_descriptors = signal("b", True)
    with_descriptors.header.fields[HeaderFields.unix_fds] = 1
    assert read(with_descriptors.serialise(1)) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xff\xff\xff", b"\1\0\0\0aa", b"\1\0\0\0\xff\0"],
    ids=["no body", "a length beyond the end", "no NUL", "no UTF-8"],
)
def test_a_text_that_is_none_is_left_out(body: bytes) -> None:
    message = signal("s", "a").serialise(1)
    length = struct.pack("<I", len(body))
    assert read(message[:4] + length + message[8:-6] + body + signal().serialise(2)) == [HAPPENED]


@pytest.mark.parametrize(
    "header",
    [
        b"\0" * 16,
        b"l\4\0\2" + bytes(12),
        struct.pack("<4BIII", ord("l"), 4, 0, 1, 0, 1, (1 << 26) + 1),
        struct.pack(">4BIII", ord("B"), 4, 0, 1, 1 << 27, 1, 0),
    ],
    ids=["zeros", "another version", "fields too long", "message too long"],
)
def test_what_is_no_d_bus_is_an_error(header: bytes) -> None:
    with pytest.raises(WireError):
        read(header)


@given(st.binary(max_size=300), st.integers(0, 284))
def test_any_bytes_give_messages_or_a_wire_error(data: bytes, fields: int) -> None:
    read(b"l\4\0\1" + struct.pack("<III", 0, 1, fields) + data[: fields + 7])
    try:
        read(data)
    except WireError:
        return


@given(st.data())
def test_a_damaged_message_does_not_end_the_reading(data: st.DataObject) -> None:
    message = bytearray(signal("sss", "a", "b", "c").serialise(1))
    at = data.draw(st.integers(16, len(message) - 1))
    message[at] = data.draw(st.integers(0, 255))
    assert read(bytes(message) + signal().serialise(2))[-1] == HAPPENED
