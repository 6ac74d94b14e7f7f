"""Decides when each target is rung: at once, and then at most once in an interval.

A notification that cannot be sent at once waits at its target, and those that come meanwhile
join it: one ring stands for all of them. It waits until the interval is over, until the
back-off of a target that could not be reached is over, or for a place. So each accepted
notification is followed by an attempt, unless the target stays out of reach for too long.
Pure: the caller brings the time, and makes the connections.

Every notification is told once when it comes, if it joins others or must wait, and every
attempt is told once when it ends. So a notification that is sent at once is told once.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum, auto
from math import inf
from typing import Final, NamedTuple

from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.sender._backoff import Backoff
from mailbell.sender._delay_queue import DelayQueue
from mailbell.sender._places import Pace, Places, Rank
from mailbell.sender._ring import Ring

__all__ = ["MOST", "REMEMBERED", "Call", "Outlook", "Schedule"]

MOST: Final = 131_072
"""Targets that have a state at most."""

REMEMBERED: Final = 4096
"""Targets that are remembered although nothing is to be done: the last attempts there."""

# Seconds that calls wait together if the total rate holds them back. Otherwise each of them
# would cost a turn of the event loop.
_TOGETHER: Final = 0.005

# To get a member of an enumeration by its name takes a noticeable part of the time of a ring.
_SENT: Final = RingOutcome.SENT
_NOT_ALLOWED: Final = RingOutcome.NOT_ALLOWED
_TIMEOUT: Final = RingOutcome.TIMEOUT
_PROVEN: Final = Rank.PROVEN


class _Phase(Enum):
    """What a target waits for."""

    IDLE = auto()  # for a notification
    RESTING = auto()  # for the end of the interval; there is no notification
    HELD = auto()  # for the end of the interval, and then it is called
    QUEUED = auto()  # for a place
    FLYING = auto()  # for the end of its attempt
    BACKING_OFF = auto()  # for the next attempt after a failure


_IDLE: Final = _Phase.IDLE
_RESTING: Final = _Phase.RESTING
_HELD: Final = _Phase.HELD
_QUEUED: Final = _Phase.QUEUED
_FLYING: Final = _Phase.FLYING
_BACKING_OFF: Final = _Phase.BACKING_OFF


class Call:
    """One target with a state. `Schedule.take` returns those that must be called now.

    Attributes:
        target: what is called.
        account: who has new mail; if several have, the one that came last.
        memo: free for the caller of the schedule; it lives as long as the state.
        late: the outcome if the attempt lasts longer than the deadline.
        began: when the last attempt began, in seconds.
        rank: what is known of the target.
    """

    __slots__ = (
        "account", "asked", "began", "called_for", "failures", "last", "late", "logged_in", "memo",
        "phase", "rank", "since", "since_next", "target", "until", "waits",
    )  # fmt: skip

    def __init__(self, target: Target) -> None:
        self.target = target
        self.account = ""
        self.memo: object = None
        self.began = -inf
        self.rank = Rank.NEW
        self.phase = _IDLE
        self.failures = 0
        self.last: RingOutcome | None = None
        self.late = RingOutcome.TIMEOUT
        self.called_for = ""  # the account of the attempt that is on its way
        self.logged_in = False  # whether a login came from there during this attempt
        # Whether a notification waits; while the target is called, whether a later one does.
        self.waits = False
        self.since = 0.0  # when the first notification came that waits or is being sent
        self.since_next = 0.0  # likewise, of those that came during this attempt
        self.asked = 0.0  # when the last one came
        self.until = -inf  # no attempt is made later than this

    @property
    def is_configured(self) -> bool:
        """Whether the operator named the target, and not only a login."""
        return self.until == inf


class Outlook(NamedTuple):
    """What a notification would do at a target now.

    Attributes:
        is_in_flight: an attempt is on its way; another one would follow.
        backs_off: the last attempt failed, and the next one comes after `wait`.
        wait: seconds until the target is called; 0: at once.
        last: how the last attempt ended; None: not known.
    """

    is_in_flight: bool
    backs_off: bool
    wait: float
    last: RingOutcome | None


class Schedule:
    """Coalescing, back-off, places and the total rate, for all targets.

    Args:
        interval: seconds from the end of an attempt until the next one at this target.
        backoff: seconds without an attempt after the first failure, and the most seconds.
        rate: attempts per second, all targets together.
        connections: attempts at the same time.
        deadline: seconds that an attempt may take.
        horizon: seconds after the last notification when a target that cannot be reached
            is given up.
        on_ring: is told how each notification and each attempt ended.
        on_due: called when there may be something to do earlier than `next_due` said.
        most: targets that have a state at most. If there are more, the one that has failed
            most and waits longest is given up.
    """

    def __init__(
        self,
        *,
        interval: float,
        backoff: tuple[float, float],
        rate: float,
        connections: int,
        deadline: float,
        horizon: float,
        on_ring: Callable[[Ring], None],
        on_due: Callable[[], None],
        most: int = MOST,
    ) -> None:
        self._horizon = horizon
        self._most = most
        self._on_ring = on_ring
        self._on_due = on_due
        self._calls: dict[Target, Call] = {}
        self._idle: OrderedDict[Call, None] = OrderedDict()  # the one that is idle longest first
        self._interval: DelayQueue[Call] = DelayQueue(interval)
        self._backoff: Backoff[Call] = Backoff(*backoff)
        self._places: Places[Call] = Places(connections, deadline)
        self._pace = Pace(rate)

    # --- what happens -----------------------------------------------------------

    def ring(self, target: Target, account: str, now: float, until: float = inf) -> None:
        """Note a notification for a target.

        Args:
            target: what is rung.
            account: who has new mail.
            now: monotonic time in seconds.
            until: the target belongs to the account until then. No attempt is made later.
        """
        call = self._calls.get(target) or self._new_call(target)
        if call is None:
            self._on_ring(Ring(account, target, RingOutcome.EXPIRED))
            return
        phase = call.phase
        call.account = account
        call.asked = now
        if until > call.until:  # noqa: PLR1730 - `max` takes longer, here where every ring passes
            call.until = until
        if phase is _IDLE:
            self._idle.pop(call, None)
            call.waits = True
            call.since = now
            self._queue(call)
            return
        if phase is _RESTING:
            call.phase = _HELD
            call.since = now
        elif phase is _FLYING and not call.waits:
            call.since_next = now
        call.waits = True
        joins = RingOutcome.BACKING_OFF if phase is _BACKING_OFF else RingOutcome.COALESCED
        self._on_ring(Ring(account, target, joins))

    def logged_in(self, target: Target) -> None:
        """End the back-off of a target, because a login has just come from there.

        Args:
            target: where the login came from.
        """
        call = self._calls.get(target)
        if call is None:
            return
        if call.phase is _FLYING:
            call.logged_in = True
        elif call.phase is _BACKING_OFF:
            self._backoff.discard(call, call.failures)
            self._forgive(call)
            self._resume(call)
        elif call.phase is _QUEUED and call.rank is Rank.FAILING:
            self._places.leave_queue(call)
            self._forgive(call)
            self._queue(call)
        elif call.rank is Rank.FAILING:
            self._forgive(call)

    # --- what must be done --------------------------------------------------------

    @property
    def next_due(self) -> float | None:
        """When the caller must call `overdue` and `take` next, in seconds; None: never.

        A notification or a login may change it, and so may the end of an attempt.
        """
        dues = [self._interval.next_due, self._backoff.next_due, self._places.next_due]
        if self._places.next_rank is not None:
            dues.append(self._pace.next + _TOGETHER)
        return min((due for due in dues if due is not None), default=None)

    def overdue(self, now: float) -> list[Call]:
        """Tell which attempts must be ended now: too late, or displaced by others.

        Args:
            now: monotonic time in seconds.

        Returns:
            The calls. They are over, so `done` must not be called for them.
        """
        late: list[Call] = []
        while (call := self._places.pop_late(now)) is not None:
            late.append(call)
            self._fail(call, call.late, now)
        displaced = self._places.displace(now)
        for call in displaced:
            self._requeue(call)
        return late + displaced

    def take(self, now: float, most: int) -> list[Call]:
        """Tell which calls must be made now. Each of them ends in `done`, `postpone` or `overdue`.

        Args:
            now: monotonic time in seconds.
            most: how many at most.

        Returns:
            The calls. There may be more of them at once if they are as many as `most`.
        """
        self._release(now)
        places, pace = self._places, self._pace
        taken: list[Call] = []
        while len(taken) < most and pace.next <= now:
            rank = places.next_rank
            if rank is None:
                break
            call = places.begin(rank, now)
            if call.until < now:
                places.end(call)
                self._drop(call, RingOutcome.EXPIRED)
                continue
            pace.take(now)
            call.phase = _FLYING
            call.waits = call.logged_in = False
            call.called_for = call.account
            call.late = _TIMEOUT
            taken.append(call)
        return taken

    def done(self, call: Call, outcome: RingOutcome, now: float) -> None:
        """Note how an attempt ended.

        Args:
            call: that `take` returned.
            outcome: how it ended.
            now: monotonic time in seconds.
        """
        self._places.end(call)
        if outcome is not _SENT and outcome is not _NOT_ALLOWED:
            self._fail(call, outcome, now)
            return
        if outcome is _SENT:
            call.failures = 0
            call.rank = _PROVEN
        self._tell(call, outcome, now)
        self._interval.add(call, now)
        if call.waits:
            call.phase = _HELD
            call.since = call.since_next
        else:
            call.phase = _RESTING
            call.until = -inf

    def postpone(self, call: Call) -> None:
        """Take back an attempt that could not begin, because this machine lacks a resource.

        Args:
            call: that `take` returned. It will be taken again.
        """
        self._places.end(call)
        self._requeue(call)

    # --- what is known ------------------------------------------------------------

    def outlook(self, target: Target, now: float) -> Outlook:
        """Tell what a notification would do at a target now.

        Args:
            target: the target.
            now: monotonic time in seconds.
        """
        call = self._calls.get(target)
        if call is None:
            return Outlook(is_in_flight=False, backs_off=False, wait=0.0, last=None)
        backs_off = call.phase is _BACKING_OFF
        due = self._backoff.due(call, call.failures) if backs_off else self._interval.due(call)
        return Outlook(
            is_in_flight=call.phase is _FLYING,
            backs_off=backs_off,
            wait=0.0 if due is None else max(due - now, 0.0),
            last=call.last,
        )

    def waiting(self) -> Iterator[str]:
        """Return accounts whose notifications are not sent yet. A restart must ring them."""
        for call in self._calls.values():
            if call.waits or call.phase is _FLYING:
                yield call.account

    @property
    def known(self) -> int:
        """How many targets have a state."""
        return len(self._calls)

    @property
    def pending(self) -> int:
        """How many targets have a notification that is not sent yet."""
        return sum(1 for _ in self.waiting())

    @property
    def backing_off(self) -> int:
        """How many targets could not be reached and are tried later."""
        return len(self._backoff)

    @property
    def in_flight(self) -> int:
        """How many attempts are on their way."""
        return self._places.in_flight

    # --- the steps between the phases ------------------------------------------------

    def _new_call(self, target: Target) -> Call | None:
        """Make a state; None: there are too many, and none of them may be forgotten."""
        if len(self._calls) >= self._most and not self._forget_one():
            return None
        call = self._calls[target] = Call(target)
        return call

    def _forget_one(self) -> bool:
        """Forget the target that is idle longest, or give up one that cannot be reached."""
        if self._idle:
            call, _ = self._idle.popitem(last=False)
        elif (hopeless := self._backoff.pop_hopeless()) is not None:
            call = hopeless
            self._interval.discard(call)
            self._on_ring(Ring(call.account, call.target, RingOutcome.EXPIRED))
        else:
            return False
        del self._calls[call.target]
        return True

    def _release(self, now: float) -> None:
        """Let those go on whose interval or back-off is over."""
        while (call := self._interval.pop_due(now)) is not None:
            if call.phase is _HELD:
                self._queue(call)
            elif call.phase is _RESTING:
                self._rest(call)
        while (call := self._backoff.pop_due(now)) is not None:
            if now >= call.asked + self._horizon or now > call.until:
                self._drop(call, RingOutcome.EXPIRED)
            else:
                self._resume(call)

    def _fail(self, call: Call, outcome: RingOutcome, now: float) -> None:
        """Note a failed attempt: its notification waits for the next one."""
        self._tell(call, outcome, now)
        call.waits = True
        self._interval.add(call, now)
        if call.logged_in:
            self._forgive(call)
            call.phase = _HELD
        else:
            call.failures += 1
            call.rank = Rank.FAILING
            call.phase = _BACKING_OFF
            self._backoff.add(call, call.failures, now)

    def _forgive(self, call: Call) -> None:
        call.failures = 0
        call.rank = Rank.NEW

    def _resume(self, call: Call) -> None:
        """Call a target again, but not before its interval is over."""
        if call in self._interval:
            call.phase = _HELD
        else:
            self._queue(call)

    def _requeue(self, call: Call) -> None:
        """Let an attempt begin anew that has neither reached its target nor failed."""
        call.waits = True
        if call.logged_in:
            self._forgive(call)
        self._queue(call)

    def _queue(self, call: Call) -> None:
        call.phase = _QUEUED
        self._places.queue(call)
        self._on_due()

    def _drop(self, call: Call, outcome: RingOutcome) -> None:
        """Give the notifications of a target up."""
        call.waits = False
        call.until = -inf
        self._on_ring(Ring(call.account, call.target, outcome))
        if call in self._interval:
            call.phase = _RESTING
        else:
            self._rest(call)

    def _rest(self, call: Call) -> None:
        """Remember a target with which nothing is to be done, for some time."""
        call.phase = _IDLE
        self._idle[call] = None
        if len(self._idle) > REMEMBERED:
            forgotten, _ = self._idle.popitem(last=False)
            del self._calls[forgotten.target]

    def _tell(self, call: Call, outcome: RingOutcome, now: float) -> None:
        call.last = outcome
        took = 1000 * (now - call.began)
        self._on_ring(Ring(call.called_for, call.target, outcome, took, now - call.since))
