"""Whatever a daemon sends, the client library ends in values within bounds or a MailbellError.

The first byte chooses what was asked for, the second one how the rest is cut. A subscription is
also fed on: it connects again, its cursor moves only with what its caller was given, and no daemon
can make its next call longer than a daemon accepts.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from mailbell.calling.exchange import Exchange
from mailbell.client._conversation import Follower, State
from mailbell.client._mailbelld import MAILBELLD
from mailbell.core.errors import MailbellError
from mailbell.core.notification import Cursor, Notification
from mailbell.interfaces import listener, sender
from mailbell.interfaces.reply import is_cursor
from mailbell.sender_client._sender import SENDER_DAEMON
from mailbell.sender_client._watcher import Watcher
from mailbell.varlink import CALL_LIMIT

_NAMES: Final = ("work", "home", "a" * 64)
_START: Final = Cursor("0123456789abcdef", 7)
_SINGLE: Final = (
    (MAILBELLD, listener.NotifyReply),
    (MAILBELLD, listener.GetStatusReply),
    (SENDER_DAEMON, sender.RingReply),
    (SENDER_DAEMON, sender.SeenReply),
    (SENDER_DAEMON, sender.ExplainReply),
    (SENDER_DAEMON, sender.GetStatusReply),
)
_LONGEST: Final = 2048  # characters of what a person is shown


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    choice, size, stream = (data[0], data[1] or 4096, data[2:]) if len(data) > 2 else (0, 1, b"")
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    kinds: list[Callable[[list[bytes]], object]] = [check_follower, check_watcher]
    place = choice % (len(kinds) + len(_SINGLE))
    if place < len(kinds):
        kinds[place](pieces)
    else:
        check_single(pieces, place - len(kinds))


def check_error(error: MailbellError) -> None:
    """Checks that a terminal can show an error."""
    text = f"{error.what}; {error.remedy}"
    assert text.isprintable(), repr(text)
    assert len(text) <= _LONGEST


def check_single(pieces: list[bytes], place: int) -> None:
    """Reads the answer to a call that has one answer."""
    daemon, kind = _SINGLE[place]
    exchange = Exchange(daemon)
    for piece in pieces:
        exchange.receive_untrusted(piece)
        if exchange.ready:
            try:
                value, _ = exchange.take_untrusted(kind)
            except MailbellError as error:
                check_error(error)
            else:
                assert isinstance(value, kind)
                msgspec.json.encode(value)
            return


def check_watcher(pieces: list[bytes]) -> None:
    """Reads the answers to `Watch`."""
    watcher = Watcher("anna@example.org")
    missed = 0
    for piece in [*pieces, b""]:
        try:
            watcher.receive_untrusted(piece)
            while watcher.ready:
                ring = watcher.take_untrusted()
                assert ring is None or isinstance(ring, sender.RingResult)
                assert watcher.missed >= missed
                missed = watcher.missed
        except MailbellError as error:
            check_error(error)
            return
    raise AssertionError("the end of the connection was not told")


class Subscription:
    """A subscription whose caller takes what there is."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.unknown: list[str] = []
        self.now = 0.0
        self.follower = Follower(
            _NAMES, _START, 5.0, self.states.append, on_unknown=self.unknown.append
        )

    def connect(self) -> None:
        """Begins a connection, with a call that a daemon accepts."""
        assert len(self.follower.connect(self.now)) <= CALL_LIMIT + 1

    def receive(self, piece: bytes) -> bool:
        """Takes bytes; returns whether the subscription goes on."""
        try:
            self.follower.receive_untrusted(piece)
            while self.follower.ready:
                self.take()
        except MailbellError as error:
            check_error(error)
            return self.lose(error)
        return True

    def take(self) -> None:
        """Takes one answer."""
        follower, before = self.follower, self.follower.cursor
        if follower.established:
            found = follower.take_untrusted()
            assert found is None or isinstance(found, Notification)
        else:
            follower.establish_untrusted()
            # A notification in the answer is not given yet.
            assert follower.cursor == before or follower._held is None  # noqa: SLF001  no other sign
        assert follower.cursor is not None
        assert is_cursor(follower.cursor)

    def lose(self, error: MailbellError) -> bool:
        """Connects again if the subscription does that."""
        try:
            self.follower.note_loss(error, self.now)
        except type(error):
            return False
        assert self.now <= self.follower.retry_at <= self.now + 600
        self.now = self.follower.retry_at
        self.connect()
        return True


def check_follower(pieces: list[bytes]) -> None:
    """Feeds a subscription; the end of a connection comes after each 0xFF that begins a piece."""
    subscription = Subscription()
    subscription.connect()
    for piece in pieces:
        if not subscription.receive(b"" if piece.startswith(b"\xff") else piece):
            break
    expected = [State.CONNECTED, State.LOST] * len(subscription.states)
    assert subscription.states == expected[: len(subscription.states)], "a state was told twice"
    assert set(subscription.unknown) <= set(_NAMES)
