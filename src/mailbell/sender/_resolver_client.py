"""Asks the resolver for the addresses of names, and remembers what it said.

An intruder may be in the resolver. So a message is bounded, an answer counts only for a name
that was asked for, and nothing waits for the resolver without an end. If the resolver ends,
the sender goes on without names: a name server must not be able to stop all ringing.
"""

from typing import Final

import trio

from mailbell._sys.connections import close
from mailbell.core.networks import Address
from mailbell.logs.journal import Journal, Level
from mailbell.sender._companion import Companion
from mailbell.sender._names import (
    MAX_MESSAGE,
    MAX_NAMES,
    Answer,
    NameCache,
    NameUnknownError,
    Reason,
    by_turns,
    decode_answer,
    is_name,
)
from mailbell.sender._pair import Unsent, receive

__all__ = ["ResolverClient"]

PATIENCE: Final = 30.0
"""Seconds until the sender stops waiting for an answer. The resolver answers earlier."""
MOST_UNASKED: Final = 10_000
"""Messages that answer no question. After so many the resolver is not read any more."""


class _Question:
    """A name that the resolver was asked for, and what waits for its answer."""

    __slots__ = ("answer", "answered")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.answered = trio.Event()


class ResolverClient:
    """The sender's side of the resolver: `mailbell.sender._names.Names`.

    Args:
        companion: the resolver.
        journal: has one line when the resolver has ended.
    """

    def __init__(self, companion: Companion, journal: Journal) -> None:
        self._companion = companion
        self._pair = companion.pair
        self._journal = journal
        self._cache = NameCache()
        self._asked: dict[str, _Question] = {}
        self._unsent: Unsent[str] = Unsent(str.encode)
        self._unasked = 0
        self.is_gone = False

    @property
    def known(self) -> int:
        """The number of names with an answer that is kept."""
        return len(self._cache)

    async def lookup(self, name: str) -> tuple[Address, ...]:
        """Find the addresses of a name: see `Names.lookup`."""
        answer = self._cache.find(name, trio.current_time())
        if answer is None:
            answer = await self._ask(name)
        else:
            await trio.lowlevel.checkpoint()
        if answer.reason is not None:
            raise NameUnknownError(name, answer.reason)
        return answer.addresses

    async def serve(self) -> None:
        """Talk to the resolver until it ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._unsent.send, self._pair)
            why = await self._read()
            nursery.cancel_scope.cancel()
        self._give_up(why)

    async def _ask(self, name: str) -> Answer:
        """Ask the resolver, or wait with others who have asked for the same name."""
        question = self._asked.get(name)
        if question is None:
            refusal = self._refusal(name)
            if refusal is not None:
                await trio.lowlevel.checkpoint()
                return Answer(name, (), 0, refusal)
            question = self._asked[name] = _Question()
            self._unsent.add(name)
        with trio.move_on_after(PATIENCE):
            await question.answered.wait()
        if question.answer is None:
            self._conclude(Answer(name, (), 0, Reason.TIMEOUT))
        return question.answer or Answer(name, (), 0, Reason.TIMEOUT)

    def _refusal(self, name: str) -> Reason | None:
        if not is_name(name):
            return Reason.NOT_FOUND
        if self.is_gone:
            return Reason.GONE
        return Reason.BUSY if len(self._asked) >= MAX_NAMES else None

    def _conclude(self, answer: Answer) -> None:
        """Keep an answer and give it to everyone who waits for it."""
        question = self._asked.pop(answer.name, None)
        if question is None:
            self._unasked += 1
            return
        question.answer = answer
        question.answered.set()
        if answer.reason is not Reason.GONE:
            self._cache.keep(answer, trio.current_time())

    async def _read(self) -> str:
        """Read answers until there are no more; return why."""
        while self._unasked <= MOST_UNASKED:
            found = await receive(self._pair, MAX_MESSAGE)
            if not found:
                return "it has ended"
            for data in found:
                self._take(data)
        return "it says what it was not asked"

    def _take(self, data: bytes) -> None:
        answer = decode_answer(data)
        if answer is None:
            self._unasked += 1
        else:
            self._conclude(answer._replace(addresses=by_turns(answer.addresses)))

    def _give_up(self, why: str) -> None:
        """Go on without names; the log says so once. The resolver ends when its pair is closed."""
        self.is_gone = True
        close(self._pair)
        self._journal.log(
            Level.ERROR,
            "companion_ended",
            program=self._companion.program,
            pid=self._companion.pid,
            why=why,
            remedy="names are unknown until mailbell-sender is restarted",
        )
        for name in list(self._asked):
            self._conclude(Answer(name, (), 0, Reason.GONE))
