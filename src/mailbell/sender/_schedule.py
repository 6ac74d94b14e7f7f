"""Decides when each target is rung: at once, and then at most once in an interval.

A notification that cannot be sent at once waits at its target, and those that come meanwhile
join it: one ring stands for all of them. It waits until the interval is over, until the
back-off of a target that could not be reached is over, or for a place. So each accepted
notification is followed by an attempt, unless the target stays out of reach for too long.
Pure: the caller brings the time, and makes the connections.

Every notification is told once when it comes, if it joins others or must wait, and every
attempt is told once when it ends. So a notification that is sent at once is told once.

A target that the operator configured and the same one as a login named it have a state each.
So a login that is a lie delays no configured target.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from math import inf
from typing import Final

from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.sender._backoff import Backoff
from mailbell.sender._call import Call, Outlook, Phase, login_key
from mailbell.sender._delay_queue import DelayQueue
from mailbell.sender._places import Pace, Places, Rank
from mailbell.sender._ring import Ring

__all__ = ["MOST", "REMEMBERED", "SHARED", "Call", "Outlook", "Schedule"]

MOST: Final = 131_072
"""Targets that have a state at most."""

REMEMBERED: Final = 4096
"""Targets that are remembered although nothing is to be done: the last attempts there."""

SHARED: Final = 32
"""Accounts of one target that are remembered by name while they wait there."""

# Seconds that calls wait together if the total rate holds them back. Otherwise each of them
# would cost a turn of the event loop.
_TOGETHER: Final = 0.005

# To get a member of an enumeration by its name takes a noticeable part of the time of a ring.
_SENT: Final = RingOutcome.SENT
_NOT_ALLOWED: Final = RingOutcome.NOT_ALLOWED
_TIMEOUT: Final = RingOutcome.TIMEOUT
_PROVEN: Final = Rank.PROVEN
_IDLE: Final = Phase.IDLE
_RESTING: Final = Phase.RESTING
_HELD: Final = Phase.HELD
_QUEUED: Final = Phase.QUEUED
_FLYING: Final = Phase.FLYING
_BACKING_OFF: Final = Phase.BACKING_OFF


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
        steady: the clock of `until`, in seconds. It goes on while the machine sleeps.
        secret: 16 bytes that no peer can know.
        most: targets that have a state at most. If there are more, the one that has failed
            most and waits longest is given up: one of a login, and a configured one only for
            another configured one.
    """

    def __init__(  # noqa: PLR0913 - each of them comes from a different place
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
        steady: Callable[[], float],
        secret: bytes,
        most: int = MOST,
    ) -> None:
        self._steady = steady
        self._secret = secret
        self._horizon = horizon
        self._most = most
        self._on_ring = on_ring
        self._on_due = on_due
        self._calls: dict[Target | bytes, Call] = {}
        self._idle: OrderedDict[Call, None] = OrderedDict()  # the one that is idle longest first
        self._interval: DelayQueue[Call] = DelayQueue(interval)
        # Those of logins, and the configured ones.
        self._backoffs: tuple[Backoff[Call], ...] = (Backoff(*backoff), Backoff(*backoff))
        self._places: Places[Call] = Places(connections, deadline)
        self._pace = Pace(rate)

    # --- what happens -----------------------------------------------------------

    def ring(self, target: Target, account: str, now: float, until: float = inf) -> None:
        """Note a notification for a target.

        Args:
            target: what is rung.
            account: who has new mail.
            now: monotonic time in seconds.
            until: the address of a login belongs to the account until then, on the steady
                clock. No attempt is made later. Without an end: the target is configured.
        """
        key = self._key(target, is_configured=until == inf)
        call = self._calls.get(key) or self._new_call(target, key)
        if call is None:
            self._on_ring(Ring(account, target, RingOutcome.EXPIRED))
            return
        phase = call.phase
        call.account = account
        call.asked = now
        if account not in call.accounts:
            if len(call.accounts) < SHARED:
                call.accounts = (*call.accounts, account)
            else:
                call.is_crowded = True
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

    def logged_in(self, target: Target, *, is_configured: bool) -> None:
        """End the back-off of a target, because a login has just come from there.

        Args:
            target: where the login came from.
            is_configured: whether the account has it from the operator, and not from a login.
        """
        call = self._calls.get(self._key(target, is_configured=is_configured))
        if call is None:
            return
        if call.phase is _FLYING:
            call.logged_in = True
        elif call.phase is _BACKING_OFF:
            self._backoffs[call.is_configured].discard(call, call.failures)
            self._forgive(call)
            self._resume(call)
        elif call.phase is _QUEUED and call.rank is Rank.FAILING:
            self._places.leave_queue(call)
            self._forgive(call)
            self._queue(call)
        elif call.rank is Rank.FAILING:
            self._forgive(call)

    def withdraw(self, target: Target, account: str) -> None:
        """Note that an account has newer logins than the one that named a target.

        If nobody else waits there and it is out of reach, it is given up. Otherwise one account
        could have a state for each address that it ever names.

        Args:
            target: of the login that is too old.
            account: who logged in there.
        """
        call = self._calls.get(self._key(target, is_configured=False))
        if call is None:
            return
        call.accounts = tuple(each for each in call.accounts if each != account)
        call.served = tuple(each for each in call.served if each != account)
        if self._is_wanted(call):
            return
        if call.phase is _BACKING_OFF:
            self._backoffs[False].discard(call, call.failures)
            self._drop(call, RingOutcome.EXPIRED)
        elif call.phase is _QUEUED and call.rank is Rank.FAILING:
            self._places.leave_queue(call)
            self._drop(call, RingOutcome.EXPIRED)

    # --- what must be done --------------------------------------------------------

    @property
    def next_due(self) -> float | None:
        """When the caller must call `overdue` and `take` next, in seconds; None: never.

        A notification or a login may change it, and so may the end of an attempt.
        """
        dues = [self._interval.next_due, self._places.next_due]
        dues += [backoff.next_due for backoff in self._backoffs]
        if self._places.next_rank is not None:
            dues.append(self._pace.next + _TOGETHER)
        return min((due for due in dues if due is not None), default=None)

    def is_late(self, now: float) -> bool:
        """Tell whether an attempt lasts longer than the deadline.

        Args:
            now: monotonic time in seconds.
        """
        return self._places.is_late(now)

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
            # On the clock that goes on while the machine sleeps, right before the attempt.
            if not call.is_configured and call.until < self._steady():
                places.end(call)
                self._drop(call, RingOutcome.EXPIRED)
                continue
            pace.take(now)
            call.phase = _FLYING
            call.waits = call.logged_in = False
            call.called_for = call.account
            call.served, call.accounts = call.accounts, ()
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
        call.served = ()
        if call.waits:
            call.phase = _HELD
            call.since = call.since_next
        else:
            call.phase = _RESTING
            call.until = -inf
            call.is_crowded = False

    def postpone(self, call: Call) -> None:
        """Take back an attempt that could not begin, because this machine lacks a resource.

        Args:
            call: that `take` returned. It will be taken again.
        """
        self._places.end(call)
        self._requeue(call)

    # --- what is known ------------------------------------------------------------

    def outlook(self, target: Target, now: float, *, is_configured: bool) -> Outlook:
        """Tell what a notification would do at a target now.

        Args:
            target: the target.
            now: monotonic time in seconds.
            is_configured: whether the operator named it, and not a login.
        """
        call = self._calls.get(self._key(target, is_configured=is_configured))
        if call is None:
            return Outlook(is_in_flight=False, backs_off=False, wait=0.0, last=None)
        backs_off = call.phase is _BACKING_OFF
        backoff = self._backoffs[call.is_configured]
        due = backoff.due(call, call.failures) if backs_off else self._interval.due(call)
        return Outlook(
            is_in_flight=call.phase is _FLYING,
            backs_off=backs_off,
            wait=0.0 if due is None else max(due - now, 0.0),
            last=call.last,
        )

    def waiting(self) -> Iterator[str]:
        """Return accounts whose notifications are not sent yet. A restart must ring them.

        An account may come several times. Of a target, `SHARED` accounts twice at most.
        """
        for call in self._calls.values():
            if call.waits or call.phase is _FLYING:
                yield from call.served
                yield from call.accounts

    @property
    def known(self) -> int:
        """How many targets have a state."""
        return len(self._calls)

    @property
    def pending(self) -> int:
        """How many targets have a notification that is not sent yet."""
        return sum(call.waits or call.phase is _FLYING for call in self._calls.values())

    @property
    def backing_off(self) -> int:
        """How many targets could not be reached and are tried later."""
        return sum(map(len, self._backoffs))

    @property
    def in_flight(self) -> int:
        """How many attempts are on their way."""
        return self._places.in_flight

    # --- the steps between the phases ------------------------------------------------

    def _key(self, target: Target, *, is_configured: bool) -> Target | bytes:
        """Return the key of a state: only the operator chooses those without a secret."""
        return target if is_configured else login_key(target, self._secret)

    def _new_call(self, target: Target, key: Target | bytes) -> Call | None:
        """Make a state; None: there are too many, and none of them may be forgotten."""
        if len(self._calls) >= self._most and not self._forget_one(for_configured=key is target):
            return None
        call = self._calls[key] = Call(target, key)
        return call

    def _forget_one(self, *, for_configured: bool) -> bool:
        """Forget the target that is idle longest, or give up one that cannot be reached."""
        if self._idle:
            call, _ = self._idle.popitem(last=False)
        elif (hopeless := self._pop_hopeless(for_configured=for_configured)) is not None:
            call = hopeless
            self._interval.discard(call)
            self._on_ring(Ring(call.account, call.target, RingOutcome.EXPIRED))
        else:
            return False
        del self._calls[call.key]
        return True

    def _pop_hopeless(self, *, for_configured: bool) -> Call | None:
        of_logins, configured = self._backoffs
        call = of_logins.pop_hopeless()
        return configured.pop_hopeless() if call is None and for_configured else call

    def _release(self, now: float) -> None:
        """Let those go on whose interval or back-off is over."""
        while (call := self._interval.pop_due(now)) is not None:
            if call.phase is _HELD:
                self._queue(call)
            elif call.phase is _RESTING:
                self._rest(call)
        for backoff in self._backoffs:
            while (call := backoff.pop_due(now)) is not None:
                if now >= call.asked + self._horizon:
                    self._drop(call, RingOutcome.EXPIRED)
                else:
                    self._resume(call)

    def _fail(self, call: Call, outcome: RingOutcome, now: float) -> None:
        """Note a failed attempt: its notification waits for the next one."""
        self._tell(call, outcome, now)
        call.waits = True
        self._interval.add(call, now)
        self._take_back(call)
        if not self._is_wanted(call):
            call.failures += 1
            call.rank = Rank.FAILING
            self._drop(call, RingOutcome.EXPIRED)
        elif call.logged_in:
            self._forgive(call)
            call.phase = _HELD
        else:
            call.failures += 1
            call.rank = Rank.FAILING
            call.phase = _BACKING_OFF
            self._backoffs[call.is_configured].add(call, call.failures, now)

    def _is_wanted(self, call: Call) -> bool:
        """Tell whether an account waits there that still has this target."""
        return call.is_configured or call.is_crowded or bool(call.served or call.accounts)

    def _take_back(self, call: Call) -> None:
        """Let the accounts of an attempt wait again, beside those that came meanwhile."""
        both = tuple(dict.fromkeys((*call.served, *call.accounts)))
        call.served, call.accounts = (), both[:SHARED]
        call.is_crowded = call.is_crowded or len(both) > SHARED

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
        self._take_back(call)
        if call.logged_in:
            self._forgive(call)
        if self._is_wanted(call):
            self._queue(call)
        else:
            self._drop(call, RingOutcome.EXPIRED)

    def _queue(self, call: Call) -> None:
        call.phase = _QUEUED
        self._places.queue(call)
        self._on_due()

    def _drop(self, call: Call, outcome: RingOutcome) -> None:
        """Give the notifications of a target up."""
        call.waits = call.is_crowded = False
        call.served = call.accounts = ()
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
            del self._calls[forgotten.key]

    def _tell(self, call: Call, outcome: RingOutcome, now: float) -> None:
        call.last = outcome
        took = 1000 * (now - call.began)
        self._on_ring(Ring(call.called_for, call.target, outcome, took, now - call.since))
