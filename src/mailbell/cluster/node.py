"""One node of a cluster at work: between its sender, by messages, and the engine.

Nothing here waits for the engine with a message of the sender in hand: what the engine does not
take in time is given back (`Lost`), and the sender rings it from its own memory.
"""

import math
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, Protocol

import trio

from mailbell.cluster import inbox
from mailbell.cluster import messages as m
from mailbell.cluster.engine import Beat, Engine, Entry, Known, NameTakenError, Noted
from mailbell.cluster.members import BEAT, LIFE, Members
from mailbell.cluster.reaper import Reaper
from mailbell.cluster.repeats import Said, Taken
from mailbell.cluster.report import Report

__all__ = ["Node", "Sender"]

_BATCH: Final = 256  # messages of the sender that are shared in one exchange
_WAIT: Final = 0.5  # seconds until an empty inbox is read again
_LONGEST_WORDS: Final = 300
_MOST_WAITING: Final = 4096  # messages of the sender that wait here
# Seconds: what was confirmed within them may be lost when an engine ends or another takes over.
_UNSURE: Final = 60.0
_SOON: Final = 2.0  # seconds: a login that is older was not said as it came


class Sender(Protocol):
    """The sender of this node."""

    async def tell(self, message: m.FromCompanion) -> None:
        """Pass a message on; wait while the sender is busy."""


class Node:
    """What one node does.

    Args:
        name: its name.
        sender: hears of it.
        ttl: seconds for which a login counts.
        host: names this host, 8 hexadecimal digits.
        beat: seconds from one sign of life to the next.
        life: seconds without a sign of life after which a node counts as dead.

    Attributes:
        engine: what the nodes share; None: it is not reached yet.
        problem: why the engine cannot be used; None: it can.
        failed: is set when it cannot be used; whoever connects makes another connection then.
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        ttl: float,
        *,
        host: str,
        beat: float = BEAT,
        life: float = LIFE,
    ) -> None:
        self._beat_every = beat
        self._life = life
        self._name = name
        self._members = Members(name)
        self.engine: Engine | None = None
        self._sender = sender
        self._ttl = ttl
        self._run = host + secrets.token_hex(4)
        self._prefix = f"{name}/{self._run}"
        self._requests: deque[m.Ring | m.Login] = deque()
        self._repeats: deque[m.Ring | m.Login] = deque()
        self._arrived = trio.Event()
        self.failed = trio.Event()
        self._has_claimed = False
        self._has_retired = False
        self._has_worked = False
        self._is_swept = False
        self._is_to_leave = trio.Event()
        self._memory = ""
        self._grace = -math.inf  # until then a node that is not seen may come back too
        self._beats = 0  # signs of life that the engine has counted
        self._has_taught = False  # a login that others may have missed
        self._returns = 0
        self._returns_of: dict[tuple[str, str], int] = {}
        self._nodes: tuple[Known, ...] = ()
        self._said: Said[m.Ring] = Said(_UNSURE)
        self._inbox = trio.Lock()
        self._can_take = True
        self._seen = Taken()
        self._taken = 0
        self._lag = 0.0
        self._reaper = Reaper(self._members, sender, life, lambda: self._engine)
        self.problem: str | None = "not connected yet"

    # --- what the sender says ----------------------------------------------------------

    async def put(self, request: m.FromSender) -> None:
        """Take a message of the sender.

        Args:
            request: the message.
        """
        if isinstance(request, m.Swept):
            self._reaper.swept(request.number)
        elif isinstance(request, m.CaughtUp):
            if self._has_taught:
                # Rings from before may have missed logins that the engine has only now.
                self._has_taught = False
                self._returns += 1
                self._repeat()
        elif isinstance(request, m.Retire):
            await self._retire()
        elif isinstance(request, m.Leave):
            self._is_to_leave.set()
        elif self.problem is not None or len(self._requests) >= _MOST_WAITING:
            await self._sender.tell(m.Lost((request.number,)))
        else:
            self._requests.append(request)
            self._arrived.set()

    async def _retire(self) -> None:
        """Take no more rings; those that are being taken are told first."""
        self._has_retired = True
        self._members.retire()
        async with self._inbox:
            await self._sender.tell(m.Retired())

    async def serve(self) -> None:
        """Work until it is cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._share_all)
            nursery.start_soon(self._take_all)
            nursery.start_soon(self._live)
            nursery.start_soon(self._reap_all)

    async def _share_all(self) -> None:
        while True:
            while not self._requests and not self._repeats:
                self._arrived = trio.Event()
                await self._arrived.wait()
            if self.problem is not None:
                await self._give_back()
            elif self._repeats:
                await self._share_repeats()
            else:
                await self._share_requests()

    async def _give_back(self) -> None:
        """Let the sender ring alone what waits; what is only repeated waits for the engine."""
        while self._requests:
            some = min(m.MOST_NUMBERS, len(self._requests))
            numbers = tuple(self._requests.popleft().number for _ in range(some))
            await self._sender.tell(m.Lost(numbers))
        await trio.sleep(self._beat_every)

    async def _share_repeats(self) -> None:
        batch = [self._repeats.popleft() for _ in range(min(_BATCH, len(self._repeats)))]
        if not await self._attempt(partial(self._share, batch, is_repeat=True)):
            self._repeats.extendleft(reversed(batch))

    async def _share_requests(self) -> None:
        batch = [self._requests.popleft() for _ in range(min(_BATCH, len(self._requests)))]
        numbers = tuple(each.number for each in batch)
        if not await self._attempt(partial(self._share, batch)):
            await self._sender.tell(m.Lost(numbers))
            return
        for each in batch:
            if isinstance(each, m.Ring):
                about = (each.account, bool(each.targets), bool(each.places))
                self._said.note(about, each, trio.current_time())
        await self._sender.tell(m.Answered(numbers))

    async def _share(self, batch: Iterable[m.Ring | m.Login], *, is_repeat: bool = False) -> None:
        now = time.time()
        added = await self._note([each for each in batch if isinstance(each, m.Login)], now)
        found = await self._find([each for each in batch if isinstance(each, m.Ring)])
        sent = []
        for each in batch:
            made = list(
                inbox.entries(
                    each,
                    logins=found.get(each.account, ()),
                    is_new=each.number in added,
                    prefix=self._prefix,
                    owner=self._members.owner,
                    now=now,
                    ttl=self._ttl,
                )
            )
            sent += made
            if not made and isinstance(each, m.Ring) and not each.rung and not is_repeat:
                await self._sender.tell(m.Nobody(each.account))
        if sent:
            await self._engine.send(sent)

    async def _note(self, logins: list[m.Login], now: float) -> set[int]:
        """Note logins; return the numbers of those whose address is new for the account."""
        noted = [each for each in logins if each.places]
        if not noted:
            return set()
        before = self._has_taught
        old = [each.number for each in noted if each.age > _SOON]
        self._has_taught = before or bool(old)  # also if no answer comes
        added = await self._engine.note_logins(
            [Noted(each.account, each.address, now - each.age) for each in noted]
        )
        new = {each.number for each, is_new in zip(noted, added, strict=True) if is_new}
        self._has_taught = before or not new.isdisjoint(old)
        return new

    async def _find(self, rings: list[m.Ring]) -> dict[str, inbox.Logins]:
        accounts = list(dict.fromkeys(each.account for each in rings if each.places))
        if not accounts:
            return {}
        return dict(zip(accounts, await self._engine.logins(accounts), strict=True))

    # --- what others have for this node ------------------------------------------------

    async def _take_all(self) -> None:
        while True:
            if not self._has_claimed or self._has_retired:
                self._can_take = True  # as far as is known
                await trio.sleep(self._beat_every)
                continue
            self._can_take = await self._attempt(self._take)
            if not self._can_take:
                await trio.sleep(self._beat_every)

    async def _take(self) -> None:
        began = trio.current_time()
        found = await self._engine.receive(_WAIT)
        if not found and trio.current_time() - began < _WAIT / 2:
            await trio.sleep(self._beat_every)  # it answers too soon, and would be asked again
        async with self._inbox:
            if not found or self._has_retired:
                return
            try:
                # First: if this node is killed in between, everybody is rung, these too. If they
                # were still there then, they would be rung once more.
                await self._engine.take_out(self._name, found)
            finally:  # if it failed, they may be gone nevertheless
                await self._pass_on(found)

    async def _pass_on(self, found: Iterable[Entry]) -> None:
        """Tell the sender what arrived, but nothing twice."""
        now = time.time()
        for entry in found:
            arrived = inbox.read(entry.fields, now, self._ttl)
            if arrived is None:
                continue
            self._lag = arrived.waited
            if arrived.ring is None or self._seen.is_new(arrived.ring):
                self._taken += arrived.ring is not None
                await self._sender.tell(arrived.message)

    # --- who lives ------------------------------------------------------------------------

    async def _live(self) -> None:
        while not self._is_to_leave.is_set():
            was_away = self.problem is not None
            # A node that cannot take its rings gives no sign of life, so that others take them.
            if self._can_take and await self._attempt(self._beat):
                if was_away:
                    await self._come_back()
                if not self._is_in_grace:
                    self._reaper.notice(self._nodes)
            nodes = tuple(map(_state, self._nodes))
            await self._sender.tell(
                m.State(self.problem, nodes, self._is_swept, self._reaper.is_sweeping)
            )
            with trio.move_on_after(self._beat_every):
                await self._is_to_leave.wait()
        if await self._attempt(self._leave):
            await self._sender.tell(m.Left())

    async def _beat(self) -> None:
        report = Report(self._run, self._returns, self._taken, self._lag)
        is_first = not self._has_claimed
        if is_first:
            await self._claim(report)
        try:
            beat = await self._engine.beat(
                report, self._life, keep_swept=self._reaper.is_sweeping_own
            )
        except NameTakenError:
            self._has_claimed = False
            raise
        forgot = not is_first and await self._notice_losses(beat)
        self._nodes = beat.nodes
        known = self._members.nodes if self._is_in_grace else ()
        # Nobody would look into the inbox of a node that is not listed.
        listed = set(known) if forgot else {each.name for each in beat.nodes}
        alive = (each.name for each in beat.nodes if each.report is not None)
        self._members.update((*alive, *(name for name in known if name in listed)))
        self._memory, self._beats = beat.memory, beat.beats
        self._returns_of = _returns(beat.nodes, self._name)

    async def _claim(self, report: Report) -> None:
        claim = await self._engine.claim(report, self._life)
        if claim is None:
            raise NameTakenError(
                f"another node is called {self._name}, or ended less than {self._life:.0f} s ago"
            )
        self._has_claimed = True
        is_unclean = claim.was_there and not claim.left
        self._is_swept = is_unclean or claim.swept
        if is_unclean:
            self._reaper.sweep_own()

    async def _notice_losses(self, beat: Beat) -> bool:
        """Say again what an engine may have lost that another one replaces, or that began anew.

        It returns whether the engine has forgotten something.
        """
        forgot = beat.memory != self._memory or beat.beats <= self._beats
        if forgot:
            await self._sender.tell(m.Forgot())
            # One of them may have died with it; whoever has not will say so in time.
            await self._engine.remember(self._members.nodes)
        if self.problem is None and any(
            self._returns_of.get(name, 0) < returns
            for name, returns in _returns(beat.nodes, self._name).items()
        ):
            # It has taught the engine logins that this node's rings may have missed.
            self._repeat()
        return forgot

    async def _come_back(self) -> None:
        """Go on with an engine that was away, or begin."""
        self.problem = None
        if self._has_worked:
            self._grace = trio.current_time() + self._life
            await self._say_again()
        self._has_worked = True
        self._said.release(trio.current_time())

    async def _say_again(self) -> None:
        now = trio.current_time()
        if not self._said.is_complete(now):
            self._reaper.sweep_everybody()
        self._repeat()
        await self._sender.tell(m.Forgot(_UNSURE))

    def _repeat(self) -> None:
        """Say the latest rings again. Whoever has taken one knows it."""
        self._repeats = deque(self._said.again(trio.current_time()))
        self._arrived.set()

    # --- who has died ------------------------------------------------------------------------

    @property
    def _is_in_grace(self) -> bool:
        return self.problem is not None or trio.current_time() < self._grace

    async def _reap_all(self) -> None:
        while True:
            is_busy = self._reaper.is_needed and not self._is_in_grace
            if not is_busy or not await self._attempt(self._reaper.work):
                await trio.sleep(self._beat_every)

    async def _leave(self) -> None:
        if len(self._members.nodes) > 1:
            async with self._inbox:  # what was just taken is not moved too
                await self._reaper.move_inbox(self._name)
        await self._engine.leave()

    # --- the engine fails ------------------------------------------------------------------

    async def _attempt(self, exchange: Callable[[], Awaitable[None]]) -> bool:
        """Make an exchange with the engine; return whether it worked.

        Args:
            exchange: with the engine.
        """
        try:
            await exchange()
        except Exception as error:  # whatever the engine, or who is in its place, answers
            self.fail(error)
            return False
        return True

    @property
    def _engine(self) -> Engine:
        if self.engine is None:
            raise ConnectionError(self.problem)
        return self.engine

    def fail(self, error: Exception) -> None:
        """Note that the engine cannot be used.

        Args:
            error: why.
        """
        if self.problem is None:
            self._said.hold(trio.current_time())
        self.problem = _words(error)
        self._arrived.set()
        self.failed.set()


def _returns(nodes: Iterable[Known], own: str) -> dict[tuple[str, str], int]:
    """Return for each run of another node how often the engine came back for it."""
    return {
        (each.name, each.report.run): each.report.returns
        for each in nodes
        if each.report is not None and each.name != own
    }


def _state(node: Known) -> m.NodeState:
    report = node.report
    if report is None:
        return m.NodeState(node.name, False, 0, node.pending, 0.0)
    return m.NodeState(node.name, True, report.taken, node.pending, report.lag)


def _words(error: BaseException) -> str:
    """Say what went wrong, and the reason that lies deepest."""
    said = ""
    first: BaseException | None = error
    while first is not None:
        if isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
            continue
        text = str(first) or type(first).__name__
        said = text if not said else f"{said.partition(': ')[0]}: {text}"
        first = first.__cause__
    return said[:_LONGEST_WORDS]
