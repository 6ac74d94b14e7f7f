"""One connection to a daemon: bytes become replies, and failures become errors. Sans-IO."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from mailbell.calling.daemon import Daemon
from mailbell.calling.explain import explain_end, explain_garbage, explain_reply
from mailbell.core.errors import UsageError
from mailbell.varlink import (
    CALL_LIMIT,
    REPLY_LIMIT,
    Conversation,
    ProtocolError,
    Reply,
    Request,
    ServiceError,
)

__all__ = ["FOREVER", "READ_SIZE", "Exchange", "encode_call_checked"]

READ_SIZE = 65536
"""How many bytes are read at once, at most."""

FOREVER = float("inf")
"""A deadline that never comes."""

_T = TypeVar("_T")


def encode_call_checked(request: Request, daemon: Daemon) -> bytes:
    """Encode a call that the daemon will accept.

    Args:
        request: the call.
        daemon: the daemon that is called.

    Returns:
        The bytes to send.

    Raises:
        UsageError: the call is too long, or a name in it is not valid UTF-8.
    """
    try:
        message = daemon.interface.encode(request)
    except UnicodeEncodeError:
        # Python decodes other bytes on the command line to lone surrogates (PEP 383).
        raise UsageError("the name of an account is not valid UTF-8") from None
    if len(message) > CALL_LIMIT + 1:
        what = f"the call has more than {CALL_LIMIT} bytes"
        raise UsageError(what, daemon.too_long)
    return message


class Exchange:
    """One connection to the daemon: takes bytes, gives replies, and explains each failure.

    Args:
        daemon: the daemon that is called.
        limit: the greatest length of a reply that is accepted, in bytes.
        check: raises ProtocolError for parameters that the client must not keep; None: that
            of the daemon.
        accepted: see the attribute.

    Attributes:
        accepted: the accounts of the call, if a daemon has accepted it; None: none has.
    """

    def __init__(
        self,
        daemon: Daemon,
        limit: int = REPLY_LIMIT,
        check: Callable[[object], None] | None = None,
        accepted: Sequence[str] | None = None,
    ) -> None:
        self.accepted = accepted
        self._conversation = Conversation(limit)
        self._daemon = daemon
        self._check = check or daemon.check

    def receive_untrusted(self, data: bytes) -> None:
        """Take the bytes that were read.

        Args:
            data: the bytes; empty when the daemon closed the connection.

        Raises:
            UnavailableError: the connection ended.
        """
        if not data:
            raise explain_end(self._daemon)
        self._conversation.receive_untrusted(data)

    @property
    def ready(self) -> bool:
        """Whether `take_untrusted` has a reply to return or an error to raise."""
        return self._conversation.ready

    def take_untrusted(self, kind: type[_T]) -> tuple[_T, Reply]:
        """Return the next reply. Call it only when `ready`.

        Args:
            kind: the type of the reply's parameters.

        Returns:
            The parameters, and the reply that they were in.

        Raises:
            MailbellError: the daemon sent an error, bytes that are not a reply, or a reply
                that no client should keep.
        """
        try:
            parameters, reply = self._conversation.take_untrusted(kind)
            self._check(parameters)
        except ServiceError as error:
            raise explain_reply(error, self._daemon, self.accepted) from None
        except ProtocolError as error:
            raise explain_garbage(error, self._daemon) from None
        return parameters, reply
