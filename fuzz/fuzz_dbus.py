"""Any bytes of a bus are messages or a WireError, and jeepney reads the first message likewise.

The first byte says how the rest is cut. What is read depends on the bytes alone, and no more is
held than a message that is read.
"""

from jeepney import HeaderFields
from jeepney.low_level import Message as Foreign
from jeepney.low_level import Parser, calc_msg_size

from mailbell.agent._dbus import LONGEST, Message, Reader, WireError

_HEADER = 16
_TEXTS = {
    HeaderFields.path: "path",
    HeaderFields.interface: "interface",
    HeaderFields.member: "member",
    HeaderFields.sender: "sender",
    HeaderFields.error_name: "error",
}


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    size, stream = (data[0] + 1, data[1:]) if data else (1, b"")
    whole = read(stream, len(stream) + 1)
    assert read(stream, size) == whole
    check_first(stream)


def read(stream: bytes, size: int) -> tuple[list[Message], bool]:
    """Returns the messages of a stream, and whether it was not D-Bus from some place on."""
    reader = Reader()
    messages: list[Message] = []
    for at in range(0, len(stream), size):
        reader.feed(stream[at : at + size])
        try:
            while (message := reader.take()) is not None:
                messages.append(message)
        except WireError:
            return messages, True
        assert len(reader._held) <= LONGEST  # noqa: SLF001  the bound cannot be seen from outside
    return messages, False


def check_first(stream: bytes) -> None:
    """Compares the first message, if both understand it."""
    found = read_foreign(stream)
    if found is None:
        return
    foreign, length = found
    messages, _ = read(stream[:length], length)
    if messages and length <= LONGEST:
        compare(messages[0], foreign)


def read_foreign(stream: bytes) -> tuple[Foreign, int] | None:
    """Returns the first message and its length as jeepney reads it; None: it is none to jeepney."""
    parser = Parser()
    parser.add_data(stream)
    try:
        message = parser.get_next_message()
        return None if message is None else (message, calc_msg_size(stream[:_HEADER]))
    except Exception:  # jeepney has no error types of its own for bad data
        return None


def compare(ours: Message, foreign: Foreign) -> None:
    """Raises AssertionError if a message says something else to jeepney."""
    fields = foreign.header.fields
    for field, name in _TEXTS.items():
        assert getattr(ours, name) == fields.get(field, "")
    assert ours.answers == fields.get(HeaderFields.reply_serial, 0)
    signature = fields.get(HeaderFields.signature, "")
    assert ours.truth is (bool(foreign.body[0]) if signature == "b" else None)
    is_texts = not signature.strip("s")
    assert ours.texts == (tuple(foreign.body) if is_texts else ())
