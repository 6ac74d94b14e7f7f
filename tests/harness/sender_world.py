"""What is around the sender: the dialer, the targets, and time.

It checks each attempt and each delay. `tests/sender/test_book_model.py` says what happens.
"""

import math
from collections.abc import Iterator
from typing import Final

from harness.naive_debts import Key, Network
from harness.sender_runs import BETWEEN, PORTION, Flight, SenderRuns

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import RingOutcome
from mailbell.sender import daemon
from mailbell.sender._hook_server import TOGETHER
from mailbell.sender._places import PATIENCE
from mailbell.sender._schedule import Call

__all__ = ["PAUSE", "SenderWorld"]

EXACT: Final = 1e-6  # seconds: the times of two clocks are added and rounded
BATCH: Final = 3  # calls that are taken at once
PAUSE: Final = 0.25  # seconds until the dialer tries again after a shortage


class SenderWorld(SenderRuns):
    """What happens around the sender."""

    has_shortage = False

    def serve(self) -> None:
        """Do what the dialer does when it wakes."""
        while True:
            self.is_due = False
            for call in self.parts.schedule.overdue(self.clocks.now):
                self.end_late(self.flights.pop(call))
            if self.clocks.now < self.paused_until:
                return
            taken = self.parts.schedule.take(self.clocks.now, BATCH)
            for call in taken:
                self.call(call)
            if len(taken) < BATCH and not self.is_due:
                return

    def end_late(self, flight: Flight) -> None:
        now, state = self.clocks.now, self.states[flight.key]
        if now >= flight.began + self.sizes.deadline:
            state.fail(now, self.sizes)
        else:
            assert now >= flight.began + PATIENCE
            state.take_back(now)

    def call(self, call: Call) -> None:
        assert isinstance(call.target.host, Address)
        key, now = Key(call.target.host, call.is_configured), self.clocks.now
        state = self.states[key]
        assert state.flying is None
        assert state.debts, "called without a notification"
        assert self.clocks.steady() <= state.until + EXACT, "the address is too old"
        assert now >= state.ended + self.sizes.interval, "too often"
        assert now >= state.not_before, "the back-off is not over"
        self.number += 1
        state.begin(now, self.number)
        if self.has_shortage:
            state.take_back(now)
            self.parts.schedule.postpone(call)
            self.paused_until = now + PAUSE
            return
        quick = min(PATIENCE, self.sizes.deadline) / 2
        ends, outcome = {
            Network.ANSWERS: (now + quick, RingOutcome.SENT),
            Network.REFUSES: (now, RingOutcome.REFUSED),
            Network.IS_SILENT: (math.inf, RingOutcome.TIMEOUT),
        }[self.network[key.address]]
        self.flights[call] = Flight(key, now, ends, outcome)

    def finish(self) -> None:
        """Let the attempts end that are answered by now."""
        for call, flight in list(self.flights.items()):
            if flight.ends <= self.clocks.now:
                del self.flights[call]
                state = self.states[flight.key]
                end = state.succeed if flight.outcome is RingOutcome.SENT else state.fail
                end(self.clocks.now, self.sizes)
                self.parts.schedule.done(call, flight.outcome, self.clocks.now)

    def resume(self) -> None:
        """Ring a portion of what the last run has left."""
        if self.waiting is None or self.clocks.now < self.resume_at:
            return
        for _ in range(PORTION):
            account = next(self.waiting, None)
            if account is None:
                self.waiting = None
                return
            self.parts.bell.ring(account, self.clocks.now)
        self.resume_at = self.clocks.now + BETWEEN

    def run_until(self, end: float) -> None:
        """Let time pass, and do all that is due."""
        for _ in range(100_000):
            self.resume()
            self.ring_late()
            self.retry_store()
            self.finish()
            self.serve()
            self.check_promise()
            following = min(self.dues(), default=math.inf)
            following = min(following, self.late_at, self.retry_at)
            if following > end:
                self.clocks.go_to(end)
                return
            self.clocks.go_to(max(following, self.clocks.now))
        raise AssertionError("the sender is due without an end")

    def ring_late(self) -> None:
        """Ring those that a limit refused, as the hook's server does when it wakes."""
        if self.clocks.now >= self.late_at:
            due = self.parts.reception.ring_late(self.clocks.now)
            self.late_at = max(due, self.clocks.now + TOGETHER)
            if due == math.inf:
                self.late_at = due

    def retry_store(self) -> None:
        if self.clocks.now >= self.retry_at:
            self.retry_at = self.clocks.now + daemon.RETRY
            self.parts.store.retry()

    def dues(self) -> Iterator[float]:
        if (due := self.parts.schedule.next_due) is not None:
            yield max(due, self.paused_until)
        for flight in self.flights.values():
            yield flight.ends
        if self.waiting is not None:
            yield self.resume_at

    def check_promise(self) -> None:
        now, steady = self.clocks.now, self.clocks.steady()
        for key, state in self.states.items():
            debts = state.promised(steady)
            if not debts or self.has_shortage:
                continue
            first = min(debt.since for debt in debts)
            since = max(first, self.since[key.address])
            if self.network[key.address] is Network.ANSWERS:
                assert now <= since + self.latest, "a target that answers is not rung"
            if state.flying is None:
                begin = max(first, state.not_before, state.held_up, self.paused_until)
                assert now <= begin + 2 * self.turn, "an attempt that is due is not made"
