"""Any bytes on the local socket give typed requests, error replies or one end; never anything else.

The first byte of an input says how the rest is cut. For every cut: the messages are those of
a split on NUL up to the limit; a request that was understood can be written and is understood
the same way again; an error reply can be sent and read; and on the client's side the same
bytes cause no unexpected exception.
"""

from contextlib import suppress

from mailbell.calling.exchange import Exchange
from mailbell.client._mailbelld import MAILBELLD
from mailbell.core.errors import MailbellError
from mailbell.interfaces.listener import LISTENER_INTERFACE, LISTENER_SERVICE, SubscribeReply
from mailbell.interfaces.sender import SENDER_INTERFACE, SENDER_SERVICE, WatchReply
from mailbell.sender_client._sender import SENDER_DAEMON
from mailbell.varlink import (
    CALL_LIMIT,
    SERVICE_INTERFACE,
    Decoder,
    MessageTooLong,
    ProtocolError,
    Request,
    Service,
    ServiceError,
    decode_reply_untrusted,
    encode_error,
    parse_call_untrusted,
)


def check(data: bytes) -> None:
    """Passes `data` to both ends.

    Args:
        data: any bytes; the first is the size of the pieces, 0 for one piece.

    Raises:
        AssertionError: the invariant does not hold.
    """
    size, stream = (data[0] or len(data), data[1:]) if data else (1, b"")
    messages, lost = decode([stream[i : i + size] for i in range(0, len(stream), size)])
    assert (messages, lost) == expected(stream)
    for message in messages:
        check_call(message, LISTENER_SERVICE)
        check_call(message, SENDER_SERVICE)
    check_client(stream, Exchange(MAILBELLD), SubscribeReply)
    check_client(stream, Exchange(SENDER_DAEMON), WatchReply)


def decode(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """Feeds the pieces. Returns all messages, and whether the stream was lost."""
    decoder = Decoder(CALL_LIMIT)
    messages: list[bytes] = []
    for piece in pieces:
        try:
            messages += decoder.feed_untrusted(piece)
        except MessageTooLong as error:
            return messages + list(error.messages), True
        assert len(decoder._held) <= CALL_LIMIT  # noqa: SLF001  the bound cannot be seen from outside
    return messages, False


def expected(stream: bytes) -> tuple[list[bytes], bool]:
    """Returns the messages in the slow and obvious way, as a model for the decoder."""
    *complete, rest = stream.split(b"\0")
    for index, message in enumerate(complete):
        if len(message) > CALL_LIMIT:
            return complete[:index], True
    return complete, len(rest) > CALL_LIMIT


def check_call(message: bytes, service: Service) -> None:
    """Treats one message as a daemon does."""
    try:
        method = service.decode_untrusted(parse_call_untrusted(message))
    except ProtocolError as error:
        check_text(error)
    except ServiceError as error:
        check_error(error)
    else:
        again = parse_call_untrusted(encode(method).removesuffix(b"\0"))
        assert service.decode_untrusted(again) == method


def encode(method: Request) -> bytes:
    """Writes a request of any interface."""
    for interface in (LISTENER_INTERFACE, SENDER_INTERFACE, SERVICE_INTERFACE):
        with suppress(KeyError):
            return interface.encode(method)
    raise AssertionError(method)


def check_error(error: ServiceError) -> None:
    """Sends the error reply and reads it as the client does."""
    reply = encode_error(error)
    assert reply.count(b"\0") == 1
    received = read_error(reply.removesuffix(b"\0"))
    assert received is not None
    assert (received.name, received.parameters) == (error.name, error.parameters)


def read_error(message: bytes) -> ServiceError | None:
    """Reads a reply; returns None if it is no error."""
    try:
        decode_reply_untrusted(message)
    except ServiceError as error:
        return error
    return None


def check_text(error: Exception) -> None:
    """Checks that a text for a person or the log is one printable line."""
    assert str(error).isprintable()


def check_client(stream: bytes, exchange: Exchange, kind: type) -> None:
    """Treats the stream as answers to a call that is answered more than once."""
    if stream:
        exchange.receive_untrusted(stream)
    while exchange.ready:
        try:
            exchange.take_untrusted(kind)
        except MailbellError as error:
            check_text(error)
            break
