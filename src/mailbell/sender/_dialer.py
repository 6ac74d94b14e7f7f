"""Makes the connections that the schedule asks for, sends the line and closes.

Targets with an address need no task each: one epoll of the dialer's own has all connections
that are not made yet, and Trio watches that epoll. So a notification costs few system calls,
and a thousand targets that do not answer cost a thousand small records. A name has a task.

Nothing here reads from the network. A target can only accept, refuse, or be silent.
"""

import errno
import select
import socket
from math import inf
from typing import Final, Protocol

import trio

from mailbell._sys.connections import close
from mailbell.core.networks import Address
from mailbell.core.sender_outcome import RingOutcome
from mailbell.logs.journal import Journal, Level
from mailbell.logs.switch import Switch
from mailbell.sender._address_rules import Refusal
from mailbell.sender._named import Race
from mailbell.sender._names import Names, NameUnknownError
from mailbell.sender._outgoing import Path, call_address, send_line
from mailbell.sender._schedule import Call, Schedule
from mailbell.serving.intake import until_readable

__all__ = ["BATCH", "PAUSE", "Dialer", "DialingRules"]

BATCH: Final = 64
"""Connections that are begun or ended before other tasks run."""

PAUSE: Final = 0.25
"""Seconds until it tries again after this machine had no descriptor or no memory left."""

_WRITABLE: Final = select.EPOLLOUT
_NOT_ALLOWED: Final = RingOutcome.NOT_ALLOWED


class DialingRules(Protocol):
    """Which addresses may be called."""

    def refusal(self, address: Address) -> str | None:
        """Return why an address is never called; None: it may be called."""

    def permits_own(self, address: Address) -> bool:
        """Tell whether an address may be called even if it is one of this host."""


class _Line:
    """What the dialer remembers of a call: the path to it, and what is open."""

    __slots__ = ("path", "scope", "sock")

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.sock: socket.SocketType | None = None
        self.scope: trio.CancelScope | None = None


class Dialer:
    """Calls targets.

    Args:
        schedule: what is called when; its `on_due` must call `wake`.
        epoll: made before the lock (`select.epoll()`), and used by nothing else.
        rules: which addresses of a name may be called, and which own addresses.
        names: finds addresses of names; None: the configuration has no name.
        connections: attempts at the same time. A quarter more are open at most, for names with
            several addresses.
        journal: logs changes of state, and bugs.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        epoll: select.epoll,
        rules: DialingRules,
        names: Names | None,
        connections: int,
        journal: Journal,
    ) -> None:
        self._schedule = schedule
        self._epoll = epoll
        self._rules = rules
        self._names = names
        self._journal = journal
        self._state = Switch(journal, "dialing", "targets")
        self._by_descriptor: dict[int, Call] = {}
        self._extra = 0  # connections beside the first one of a name
        self._most_extra = max(connections // 4, 1)
        self._resume_at = -inf
        self._woken = trio.Event()
        self._timer = trio.CancelScope()
        self._nursery: trio.Nursery

    def wake(self) -> None:
        """Look at the schedule soon: there may be something to do."""
        self._woken.set()

    async def serve(self) -> None:
        """Call for ever."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._end_calls)
                await self._begin_calls()
        finally:
            for call in tuple(self._by_descriptor.values()):
                self._hang_up(call)

    async def _begin_calls(self) -> None:
        """Begin what is due, and end what is late."""
        while True:
            self._woken = trio.Event()
            if self._attend(trio.current_time()):
                await trio.lowlevel.checkpoint()
                continue
            with trio.CancelScope(deadline=self._next_due) as self._timer:
                await self._woken.wait()

    async def _end_calls(self) -> None:
        """Send the line to those that have answered."""
        while True:
            await until_readable(self._epoll)
            now = trio.current_time()
            self._answer_all(now, BATCH)
            self._attend(now)
            # What has ended may be due again earlier than the timer knows.
            self._timer.deadline = min(self._timer.deadline, self._next_due)

    @property
    def _next_due(self) -> float:
        due = self._schedule.next_due
        return inf if due is None else max(due, self._resume_at)

    def _attend(self, now: float) -> bool:
        """Do what is due now, one batch at most; tell whether more may be due."""
        schedule = self._schedule
        if schedule.is_late(now):
            # This turn may be what is late, because the process was stopped. Those that have
            # answered meanwhile get the line.
            self._answer_all(now, len(self._by_descriptor))
        for call in schedule.overdue(now):
            self._hang_up(call)
        if now < self._resume_at:
            return False
        calls = schedule.take(now, BATCH)
        for call in calls:
            self._begin(call, now)
        return len(calls) == BATCH

    def _begin(self, call: Call, now: float) -> None:
        line = call.memo
        if not isinstance(line, _Line):
            line = call.memo = _describe(call)
        if line.path is None:
            call.late = RingOutcome.NAME_UNKNOWN
            line.scope = trio.CancelScope()
            self._nursery.start_soon(self._call_name, call, line.scope)
            return
        host = call.target.host
        may_be_own = call.is_configured or (
            isinstance(host, Address) and self._rules.permits_own(host)
        )
        try:
            found = call_address(line.path, may_be_own=may_be_own)
            if isinstance(found, RingOutcome):
                self._schedule.done(call, found, now)
                return
            line.sock = found
            descriptor = found.fileno()
            self._by_descriptor[descriptor] = call
            self._epoll.register(descriptor, _WRITABLE)
        except (OSError, MemoryError) as error:
            self._hang_up(call)
            self._schedule.postpone(call)
            self._pause(error, now)
        except Exception as error:  # a bug that one target meets must not stop the others
            self._hang_up(call)
            self._journal.log(Level.ERROR, "failed", where="targets", error=repr(error))
            self._schedule.done(call, RingOutcome.UNREACHABLE, now)
        else:
            self._state.on()

    def _answer_all(self, now: float, most: int) -> None:
        for descriptor, _ in self._epoll.poll(0, max(most, 1)):
            self._answer(descriptor, now)

    def _answer(self, descriptor: int, now: float) -> None:
        """Send the line on a connection that is made, or find out why it is not."""
        call = self._by_descriptor.get(descriptor)
        line = call.memo if call else None
        if call is None or not isinstance(line, _Line) or line.sock is None:
            return  # an earlier call of this batch has ended it
        outcome = send_line(line.sock)
        if outcome is None:
            return
        del self._by_descriptor[descriptor]
        close(line.sock)
        line.sock = None
        self._schedule.done(call, outcome, now)

    def _hang_up(self, call: Call) -> None:
        """Close what is open, without a word to the schedule."""
        line = call.memo
        if not isinstance(line, _Line):
            return
        if line.sock is not None:
            self._by_descriptor.pop(line.sock.fileno(), None)
            close(line.sock)  # which takes it out of the epoll
            line.sock = None
        if line.scope is not None:
            line.scope.cancel()
            line.scope = None

    def _pause(self, error: BaseException, now: float) -> None:
        number = error.errno if isinstance(error, OSError) else errno.ENOMEM
        self._state.off(errno.errorcode.get(number or 0, "?"))
        self._resume_at = now + PAUSE

    async def _call_name(self, call: Call, scope: trio.CancelScope) -> None:
        """Find the addresses of a name, and call them by turns."""
        outcome = RingOutcome.UNREACHABLE
        shortage: OSError | None = None
        with scope:
            try:
                outcome = await self._race(call)
            except OSError as error:
                shortage = error
            except Exception as error:  # a bug that one name meets must not stop the others
                self._journal.log(Level.ERROR, "failed", where="names", error=repr(error))
        line = call.memo
        if not isinstance(line, _Line) or line.scope is not scope:
            return  # it was ended meanwhile, and the schedule knows
        line.scope = None
        now = trio.current_time()
        if shortage is None:
            self._schedule.done(call, outcome, now)
        else:
            self._schedule.postpone(call)
            self._pause(shortage, now)
        self.wake()

    async def _race(self, call: Call) -> RingOutcome:
        name = call.target.host
        if self._names is None or isinstance(name, Address):
            return RingOutcome.NAME_UNKNOWN
        try:
            found = await self._names.lookup(name)
        except NameUnknownError:
            return RingOutcome.NAME_UNKNOWN
        call.late = RingOutcome.TIMEOUT
        allowed = tuple(address for address in found if self._may_be_called(address))
        if not allowed:
            return _NOT_ALLOWED
        return await Race(
            call.target,
            allowed,
            may_begin=lambda: self._extra < self._most_extra,
            may_be_own=self._rules.permits_own,
            on_open=self._count_extra,
        ).run()

    def _may_be_called(self, address: Address) -> bool:
        """Tell whether an address of a name may be called.

        `last_used.allow` lists where users log in from. It does not narrow what the operator
        wrote into the targets.
        """
        return self._rules.refusal(address) in {None, Refusal.NOT_ALLOWED}

    def _count_extra(self, change: int) -> None:
        self._extra += change


def _describe(call: Call) -> _Line:
    target = call.target
    if isinstance(target.host, Address):
        return _Line(Path.to(target.host, target.port, target.transport))
    return _Line(None)
