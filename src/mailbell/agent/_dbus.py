"""Reads the messages on a D-Bus connection, and skips long ones unread.

Every local user may send any program on the system bus a message of up to 128 MiB, in a few
calls. The first 16 bytes of a message tell its length. A message longer than `LONGEST` is
neither kept nor parsed, whoever sent it. Of a short message only the header is read, and no
type is read but those that the bus and logind use there.

Pure: bytes come in, and messages go out. Source: D-Bus Specification, "Message Protocol",
https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol
"""

import struct
from typing import Final, NamedTuple

__all__ = ["LONGEST", "Message", "Reader", "WireError"]

LONGEST: Final = 4096
"""The greatest length of a message that is read, in bytes. logind's signals have about 250."""

_FIXED: Final = 16  # bytes: up to the length of the array of header fields
_BODY_AND_FIELDS: Final = {ord("l"): struct.Struct("<4xI4xI"), ord("B"): struct.Struct(">4xI4xI")}
_NUMBER: Final = {ord("l"): struct.Struct("<I"), ord("B"): struct.Struct(">I")}
_VERSION: Final = 1
_MOST_FIELDS: Final = 1 << 26  # bytes of an array
_MOST: Final = 1 << 27  # bytes of a message

# The header fields, with the only type that each may have.
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SENDER, _SIGNATURE = range(
    1, 9
)
_TYPES: Final = {
    _PATH: b"o",
    _INTERFACE: b"s",
    _MEMBER: b"s",
    _ERROR_NAME: b"s",
    _REPLY_SERIAL: b"u",
    _DESTINATION: b"s",
    _SENDER: b"s",
    _SIGNATURE: b"g",
}


class WireError(Exception):
    """The bytes are not D-Bus: where the next message begins is unknown."""


class Message(NamedTuple):
    """What is known of one message. A text is empty if the message has no such field.

    Attributes:
        path: the object that sent a signal.
        interface: the interface of a signal.
        member: the name of a signal.
        sender: the sender's connection, as the bus wrote it.
        error: the name of an error.
        answers: the serial of the call that this message answers; 0: none.
        texts: the texts in the body, if it has nothing else.
        truth: the body, if it is one truth value.
    """

    path: str
    interface: str
    member: str
    sender: str
    error: str
    answers: int
    texts: tuple[str, ...]
    truth: bool | None


class Reader:
    """Splits a stream into messages. It holds at most `LONGEST` bytes and those of one `feed`."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> None:
        """Take bytes that were read.

        Args:
            data: the bytes. The work until `take` returns None grows with their number.
        """
        unread = min(self._skip, len(data))
        self._skip -= unread
        self._held += memoryview(data)[unread:]

    def take(self) -> Message | None:
        """Return the next message that can be read.

        Returns:
            The message; None: it needs more bytes. Messages that are too long, or have fields
            that neither the bus nor logind uses, are left out.

        Raises:
            WireError: the bytes are not D-Bus.
        """
        while len(self._held) >= _FIXED:
            fields, length = _measure(self._held)
            if length > LONGEST:
                unread = min(length, len(self._held))
                self._skip = length - unread
                del self._held[:unread]
                continue
            if length > len(self._held):
                break
            data = bytes(self._held[:length])
            del self._held[:length]
            message = _read(data, _FIXED + fields)
            if message is not None:
                return message
        return None


def _measure(data: bytearray) -> tuple[int, int]:
    """Return the length of the array of fields, and of the whole message."""
    form = _BODY_AND_FIELDS.get(data[0])
    if form is None or data[3] != _VERSION:
        raise WireError("what the bus sends is not D-Bus")
    body, fields = form.unpack_from(data)
    length = _aligned(_FIXED + fields, 8) + body
    if fields > _MOST_FIELDS or length > _MOST:
        raise WireError("what the bus sends is longer than a message may be")
    return fields, length


def _read(data: bytes, end: int) -> Message | None:
    """Read a whole message whose header fields end there; None if this module does not know it."""
    number = _NUMBER[data[0]]
    try:
        fields = _read_fields(data, end, number)
        texts, truth = _read_body(data, _aligned(end, 8), str(fields.get(_SIGNATURE, "")), number)
    except (struct.error, ValueError, IndexError):
        return None
    return Message(
        path=str(fields.get(_PATH, "")),
        interface=str(fields.get(_INTERFACE, "")),
        member=str(fields.get(_MEMBER, "")),
        sender=str(fields.get(_SENDER, "")),
        error=str(fields.get(_ERROR_NAME, "")),
        answers=int(fields.get(_REPLY_SERIAL, 0)),
        texts=texts,
        truth=truth,
    )


def _read_fields(data: bytes, end: int, number: struct.Struct) -> dict[int, str | int]:
    fields: dict[int, str | int] = {}
    at = _FIXED
    while at < end:
        at = _aligned(at, 8)
        code = data[at]
        # The type is a signature of one character: its length, the character, NUL.
        if data[at + 1 : at + 4] != b"\1" + _TYPES.get(code, b"?") + b"\0":
            raise ValueError
        at += 4
        if code == _REPLY_SERIAL:
            (fields[code],) = number.unpack_from(data, at)
            at += number.size
        elif code == _SIGNATURE:
            fields[code], at = _text(data, at + 1, data[at])
        else:
            fields[code], at = _string(data, at, number)
    return fields


def _read_body(
    data: bytes, at: int, signature: str, number: struct.Struct
) -> tuple[tuple[str, ...], bool | None]:
    if signature == "b":
        (value,) = number.unpack_from(data, at)
        return (), bool(value)
    if signature.strip("s"):
        return (), None
    texts = []
    for _ in signature:
        text, at = _string(data, _aligned(at, 4), number)
        texts.append(text)
    return tuple(texts), None


def _string(data: bytes, at: int, number: struct.Struct) -> tuple[str, int]:
    (length,) = number.unpack_from(data, at)
    return _text(data, at + number.size, length)


def _text(data: bytes, at: int, length: int) -> tuple[str, int]:
    """Return a text that ends with NUL, and the place after it."""
    if data[at + length] != 0:
        raise ValueError
    return data[at : at + length].decode(), at + length + 1


def _aligned(at: int, boundary: int) -> int:
    return -(-at // boundary) * boundary
