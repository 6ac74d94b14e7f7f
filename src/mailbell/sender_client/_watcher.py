"""Everything that both clients share about `Watch`. Only the waiting differs.

Sans-IO: bytes come in as arguments; rings and errors go out.
"""

from mailbell.calling.exchange import Exchange, encode_call_checked
from mailbell.calling.explain import explain_end
from mailbell.interfaces.sender import RingResult, Watch, WatchReply
from mailbell.interfaces.sender_reply import WATCH_LIMIT
from mailbell.sender_client._sender import SENDER_DAEMON

__all__ = ["Watcher"]


class Watcher:
    """The state of one call of `Watch`.

    Args:
        account: of this account only; None: of all accounts.

    Attributes:
        call: the bytes to send first.
        missed: how many rings the sender could not tell so far, because the caller read slowly.
    """

    def __init__(self, account: str | None) -> None:
        self.call = encode_call_checked(Watch(account), SENDER_DAEMON)
        self.missed = 0
        self._exchange = Exchange(SENDER_DAEMON, WATCH_LIMIT)

    @property
    def ready(self) -> bool:
        """Whether `take_untrusted` has an answer to return or an error to raise."""
        return self._exchange.ready

    def receive_untrusted(self, data: bytes) -> None:
        """Take the bytes that were read.

        Args:
            data: the bytes; empty when the sender closed the connection.

        Raises:
            UnavailableError: the connection ended.
        """
        self._exchange.receive_untrusted(data)

    def take_untrusted(self) -> RingResult | None:
        """Return the next ring. Call it only when `ready`.

        Returns:
            The ring; None for an answer without one, such as the first.

        Raises:
            MailbellError: the sender sent an error, bytes that are not a reply, or the end.
        """
        answer, reply = self._exchange.take_untrusted(WatchReply)
        if not reply.continues:
            raise explain_end(SENDER_DAEMON)
        self.missed += answer.missed
        return answer.ring
