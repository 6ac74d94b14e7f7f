"""The sender's side of the companion for the cluster.

What the companion has not confirmed is kept, in bounded memory. If the engine may not have it, or
the companion ends, the sender rings it from its own memory: a delivery never waits for an engine.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

import trio
from msgspec.structs import replace

from mailbell._sys.connections import close
from mailbell.cluster.messages import (
    MAX_MESSAGE,
    Answered,
    Call,
    CaughtUp,
    Forgot,
    FromCompanion,
    FromSender,
    Leave,
    Left,
    Login,
    Lost,
    Nobody,
    Retire,
    Retired,
    Ring,
    State,
    Sweep,
    Swept,
    Welcome,
    decode_from_companion,
    encode,
)
from mailbell.logs.journal import Journal, Level
from mailbell.logs.switch import Switch
from mailbell.sender._accounts import Account
from mailbell.sender._backlog import Backlog
from mailbell.sender._companion import Companion
from mailbell.sender._pair import Unsent, receive

__all__ = ["MOST", "PATIENCE", "SILENCE", "ClusterClient", "Heard"]

MOST: Final = 4096
"""Messages that the companion has not confirmed, at most."""
PATIENCE: Final = 5.0
"""Seconds until the sender starts or ends without an engine."""
SILENCE: Final = 6.0
"""Seconds until the sender goes on alone if the companion says nothing: it does once a second."""
_MOST_WRONG: Final = 1000  # messages that are none; after so many the companion is not read


class Heard(Protocol):
    """What hears the companion: the shared bell."""

    @property
    def backlog(self) -> Backlog:
        """What the engine has yet to learn."""

    def call(self, message: Call, now: float) -> None:
        """Ring one target of this node."""

    def welcome(self, message: Welcome) -> None:
        """End the back-off of a target."""

    def nobody(self, name: str) -> None:
        """Note that an account has no target."""

    def lost(self, message: Ring | Login, now: float) -> None:
        """Do alone what the engine may not have."""

    def hand_over(self, now: float) -> bool:
        """Say a part of what the engine has yet to learn; return whether it has caught up."""

    def ring(self, account: Account, now: float) -> None:
        """Ring an account."""

    def ring_logins(self, name: str, now: float) -> None:
        """Ring an account at the addresses of its logins only."""

    def configured(self) -> Iterator[Account]:
        """Yield the accounts that have configured targets, each with these only."""


class ClusterClient:
    """Talks to the companion.

    Args:
        companion: the companion.
        journal: has a line when the engine goes, when it comes back, and when the companion ends.
        node: the name of this node.
        url: of the engine, without a password, for the log.
        rate: rings per second while everybody is rung.

    Attributes:
        node: as given.
        state: what the companion last said of the cluster.
        is_gone: whether the companion has ended.
        alone: how many messages the engine may not have got.
        connected: is set as soon as the engine can be used.
    """

    def __init__(
        self, companion: Companion, journal: Journal, *, node: str, url: str, rate: float
    ) -> None:
        self.node = node
        self._companion = companion
        self._pair = companion.pair
        self._journal = journal
        self._switch = Switch(journal, "sharing", url)
        self._rate = rate
        self._numbers = 0
        self._unconfirmed: dict[int, Ring | Login] = {}
        self._unsent: Unsent[FromSender] = Unsent(encode)
        self._all_confirmed = trio.Event()
        self._has_left = trio.Event()
        self._next_sweep: Sweep | None = None
        self._to_sweep = trio.Event()
        self._caught_up_at: int | None = None
        self._heard_at = 0.0
        self._given_up: set[int] = set()  # unconfirmed when the companion was silent
        self._has_lost = False
        self._has_retired = trio.Event()
        self._wrong = 0
        self._heard: Heard
        self.state = State("not connected yet")
        self.is_gone = False
        self.alone = 0
        self.connected = trio.Event()

    def tell(self, heard: Heard) -> None:
        """Say who hears the companion. Call it once, before `serve`."""
        self._heard = heard

    def next_number(self) -> int:
        """Return the number of the next message."""
        self._numbers += 1
        return self._numbers

    @property
    def room(self) -> int:
        """How many messages that are not urgent are taken now."""
        return 0 if self._is_away else max(MOST // 2 - len(self._unconfirmed), 0)

    @property
    def _is_away(self) -> bool:
        return self.is_gone or self.state.problem is not None

    def share(self, message: Ring | Login) -> bool:
        """Pass a message to the companion.

        Args:
            message: with the number of `next_number`.

        Returns:
            False: the engine cannot be used, or too many messages wait for it.
        """
        if self._is_away or len(self._unconfirmed) >= MOST:
            self.alone += 1
            return False
        self._unconfirmed[message.number] = message
        self._unsent.add(message)
        return True

    async def serve(self) -> None:
        """Talk to the companion until it ends. What it has not confirmed is rung alone then."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._unsent.send, self._pair)
            nursery.start_soon(self._sweep)
            nursery.start_soon(self._watch)
            why = await self._read()
            nursery.cancel_scope.cancel()
        self._give_up(why)

    async def leave(self, rest: Callable[[], Iterable[Ring]]) -> bool:
        """Leave the cluster in order; others ring what this node has not. `serve` has ended.

        Args:
            rest: returns what is yet to be rung. It is called when no call follows any more.

        Returns:
            Whether the cluster has all of it. If not, the others find out that this node is gone.
        """
        if self._is_away or self.state.is_sweeping:
            return False
        self._has_lost = False
        with trio.move_on_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._unsent.send, self._pair)
                nursery.start_soon(self._read)
                self._unsent.add(Retire())
                await self._has_retired.wait()
                await self._send_all(rest())
                if not self._has_lost and not self._is_away:
                    self._unsent.add(Leave())
                    await self._has_left.wait()
                nursery.cancel_scope.cancel()
        return self._has_left.is_set()

    async def _send_all(self, messages: Iterable[Ring]) -> None:
        """Send messages, and wait until all are confirmed, or lost."""
        for message in messages:
            while len(self._unconfirmed) >= MOST:
                await self._confirmed()
            self._unconfirmed[message.number] = message
            self._unsent.add(message)
        while self._unconfirmed:
            await self._confirmed()

    def unconfirmed(self) -> Iterator[str]:
        """Yield the accounts of rings that the engine may not have."""
        for message in self._unconfirmed.values():
            if isinstance(message, Ring):
                yield message.account

    async def _confirmed(self) -> None:
        self._all_confirmed = trio.Event()
        await self._all_confirmed.wait()

    # --- from the companion ------------------------------------------------------------

    async def _read(self) -> str:
        """Read messages until there are no more; return why."""
        while self._wrong <= _MOST_WRONG:
            found = await receive(self._pair, MAX_MESSAGE)
            if not found:
                return "it has ended"
            for data in found:
                message = decode_from_companion(data)
                if message is None:
                    self._wrong += 1
                else:
                    self._hear(message, trio.current_time())
        return "it says what it may not"

    def _hear(self, message: FromCompanion, now: float) -> None:
        if isinstance(message, Answered):
            self._wrong += sum(not self._is_confirmed(number) for number in message.numbers)
            self._hand_over(now)
        elif isinstance(message, Lost):
            self._take_back(message.numbers, now)
        elif isinstance(message, State):
            self._heard_at = now
            self._note(message, now)
        elif isinstance(message, Retired):
            self._has_retired.set()
        elif isinstance(message, Left):
            self._has_left.set()
        else:
            self._pass_on(message, now)

    def _pass_on(self, message: Call | Welcome | Nobody | Forgot | Sweep, now: float) -> None:
        if isinstance(message, Call):
            self._heard.call(message, now)
        elif isinstance(message, Welcome):
            self._heard.welcome(message)
        elif isinstance(message, Nobody):
            self._heard.nobody(message.account)
        elif isinstance(message, Sweep):
            self._queue_sweep(message)
        elif message.since is None:
            self._heard.backlog.say_everything(now)
        else:
            self._heard.backlog.say_again(now)

    def _confirm(self, number: int) -> Ring | Login | None:
        self._all_confirmed.set()
        return self._unconfirmed.pop(number, None)

    def _is_confirmed(self, number: int) -> bool:
        """Keep a message no longer; return whether it was one of this sender's."""
        if number in self._given_up:
            self._given_up.discard(number)
            return True
        return self._confirm(number) is not None

    def _take_back(self, numbers: Iterable[int], now: float) -> None:
        for number in numbers:
            self._has_lost = True
            message = self._confirm(number)
            if message is None:
                self._wrong += number not in self._given_up
                self._given_up.discard(number)
            else:
                self.alone += 1
                self._heard.lost(message, now)

    async def _watch(self) -> None:
        """Go on alone while the companion says nothing: it may be stopped, or hang."""
        self._heard_at = trio.current_time()
        while True:
            await trio.sleep(1)
            now = trio.current_time()
            if now - self._heard_at > SILENCE and not self._is_away:
                problem = f"its companion has said nothing for {SILENCE:.0f} s"
                self._note(replace(self.state, problem=problem), now)
                unsent = {each.number for each in self._unsent if isinstance(each, Ring | Login)}
                self._unsent.keep(lambda each: not isinstance(each, Ring | Login))
                numbers = list(self._unconfirmed)
                self._take_back(numbers, now)
                self._given_up = set(numbers) - unsent

    def _note(self, state: State, now: float) -> None:
        was, self.state = self.state.problem, state
        if state.problem is not None:
            self._switch.off(state.problem)
            if was is None:
                self._heard.backlog.hold(now)
            return
        self._switch.on()
        self.connected.set()
        self._hand_over(now)
        if was is None:
            self._heard.backlog.release(now)

    def _hand_over(self, now: float) -> None:
        if self.room and self._heard.hand_over(now):
            # Behind the logins, so the companion has shared them before.
            self._caught_up_at = self._numbers
        if self._caught_up_at is not None and not any(
            number <= self._caught_up_at for number in self._unconfirmed
        ):
            self._caught_up_at = None
            self._unsent.add(CaughtUp())

    # --- everybody is rung -------------------------------------------------------------

    def _queue_sweep(self, message: Sweep) -> None:
        # The companion waits for an answer. If it says the next one nevertheless, it has begun
        # anew, and waits for that one alone.
        self._next_sweep = message
        self._to_sweep.set()

    async def _sweep(self) -> None:
        while True:
            await self._to_sweep.wait()
            self._to_sweep = trio.Event()
            message, self._next_sweep = self._next_sweep, None
            if message is None:
                continue
            for name in message.accounts:
                self._heard.ring_logins(name, trio.current_time())
                await trio.sleep(1 / self._rate)
            if message.is_last:
                for account in self._heard.configured():
                    self._heard.ring(account, trio.current_time())
                    await trio.sleep(1 / self._rate)
            self._unsent.add(Swept(message.number))

    # --- the end -----------------------------------------------------------------------

    def _give_up(self, why: str) -> None:
        self.is_gone = True
        close(self._pair)
        self._journal.log(
            Level.ERROR,
            "companion_ended",
            program=self._companion.program,
            pid=self._companion.pid,
            why=why,
            remedy="this machine rings alone until mailbell-sender is restarted",
        )
        self._take_back(list(self._unconfirmed), trio.current_time())
