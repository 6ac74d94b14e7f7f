"""Runs all jobs of one agent, for notifications and for the agent's own reasons."""

import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Final

import trio

from mailbell._sys import signals
from mailbell._sys.process import adopts_orphans
from mailbell._sys.signal_queue import SignalQueue
from mailbell._sys.systemd import Notifier
from mailbell.agent._awake import addresses, resumed
from mailbell.agent._child import reap_adopted
from mailbell.agent._lock import Turn, take_all
from mailbell.agent._pace import Trigger
from mailbell.agent._places import Places
from mailbell.agent._session import Running
from mailbell.agent._worker import Worker
from mailbell.agent.configuration import Job
from mailbell.agent.folders import state_folder
from mailbell.agent.log import Log
from mailbell.client import State
from mailbell.client.trio import RETRIED, Client
from mailbell.core.account_name import is_account_name
from mailbell.core.errors import MailbellError, TemporaryError, UsageError
from mailbell.core.notification import Cause, Notification
from mailbell.interfaces.reply import SOURCE
from mailbell.logs.journal import Level

__all__ = ["serve"]

MOST_NAMES: Final = 32
# Seconds in which a daemon that is well has answered. The first runs begin then at the latest.
FIRST_ANSWER: Final = 1.0
# Seconds between two looks whether the files of the locks are still there.
LOCKS_EVERY: Final = 5.0
ASK_AGAIN: Final = 1.0  # seconds
TRIGGERS: Final = {
    Cause.NETWORK: Trigger.NETWORK,
    Cause.MANUAL: Trigger.MANUAL,
    Cause.RESYNC: Trigger.RESYNC,
}


async def serve(jobs: Sequence[Job], path: str | None, log: Log) -> None:
    """Run jobs until a signal ends the agent.

    Args:
        jobs: the jobs.
        path: the path of the daemon's socket; None: the usual places.
        log: records all events.

    Raises:
        TemporaryError: another agent fetches for one of the accounts.
        MailbellError: the daemon has no such account, or another attempt cannot help.
    """
    wanted = [(job.lock, job.accounts) for job in jobs]
    with (
        take_all(state_folder(os.environ), wanted) as turn,
        closing(Notifier(os.environ, os.getpid())) as notifier,
    ):
        await _Agent(jobs, Client(path), log, notifier, turn).serve()


class _Agent:
    def __init__(
        self,
        jobs: Sequence[Job],
        client: Client,
        log: Log,
        notifier: Notifier,
        turn: Turn,
    ) -> None:
        # Only the subscription uses it, so its path is that of the subscribed daemon.
        self._client = client
        self._log = log
        turns, places = turns_of(jobs), Places()
        running = Running(turn.note, turn.descriptors, self._holds)
        self._workers = [Worker(job, log, turns[job.name], running, places) for job in jobs]
        self._turn = turn
        self._notifier = notifier
        self._running = running
        self._hears: bool | None = None  # None: no attempt has ended yet
        self._why_not = ""
        self._found = False
        self._answered = trio.Event()  # the first attempt to subscribe has ended
        self._connected = trio.Event()  # a subscription has begun that is not checked yet
        self._unknown: set[str] = set()  # what the daemon lacks for the present attempt
        self._missing: frozenset[str] = frozenset()  # what it lacks, as the log says
        self._has_begun = False  # whether the runs of the start were wanted
        self._scope = trio.CancelScope()
        self._fault: MailbellError | None = None

    async def _end_on_signal(
        self, told: AsyncIterator[signal.Signals], scope: trio.CancelScope
    ) -> None:
        """End everything on a signal."""
        async for number in told:
            # To end the commands takes up to fifteen seconds. The line explains the wait.
            ends = len(self._running) or None
            self._log.log(Level.INFO, "stopping", signal=number.name, commands=ends)
            self._notifier.stopping()
            scope.cancel()
            return

    def _end(self, fault: MailbellError) -> None:
        """End everything because of a fault. The first one is raised at the end."""
        self._fault = self._fault or fault
        self._scope.cancel()

    async def serve(self) -> None:
        # Until the commands have ended, signals must not end the agent at once. A second
        # signal would leave the commands running, and their locks free.
        with ending_signals() as told:
            await self._serve(told)

    async def _serve(self, told: AsyncIterator[signal.Signals]) -> None:
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            nursery.start_soon(self._end_on_signal, told, nursery.cancel_scope)
            for worker in self._workers:
                nursery.start_soon(worker.serve)
                nursery.start_soon(self._report_state, worker)
            nursery.start_soon(self._begin)
            nursery.start_soon(self._check_names)
            nursery.start_soon(self._watch_locks)
            nursery.start_soon(self._feed_watchdog)
            nursery.start_soon(_reap_adopted)
            nursery.start_soon(resumed, partial(self._ring_all, Trigger.RESUME), self._log)
            nursery.start_soon(addresses, partial(self._ring_all, Trigger.ADDRESS), self._log)
            for what in self._notifier.unusable:
                self._log.log(Level.WARNING, "service_manager_unusable", what=what)
            places = " or ".join(self._client.places)
            self._log.log(Level.INFO, "started", jobs=len(self._workers), socket=places)
            self._notifier.ready()
            self._end(await self._listen())
        if self._fault is not None:
            raise self._fault

    # --- the locks -------------------------------------------------------------

    def _holds(self) -> bool:
        """Take the locks again if their files were removed; return whether this agent has them."""
        try:
            if self._turn.renew():
                self._log.log(Level.WARNING, "locks_taken_again", folder=self._turn.directory)
        except MailbellError as error:
            if self._fault is None:  # to end the commands takes up to fifteen seconds
                self._log.log(Level.WARNING, "locks_lost", why=str(error), then="ending")
                self._notifier.stopping()
            self._end(error)
            return False
        return True

    async def _watch_locks(self) -> None:
        while True:
            await trio.sleep(LOCKS_EVERY)
            self._holds()

    # --- the daemon ------------------------------------------------------------

    async def _listen(self) -> MailbellError:
        """Dispatch notifications, until a failure after which another attempt cannot help."""
        try:
            async with await self._client.subscribe(
                self._accounts(),
                on_state=self._on_state,
                retry=self._on_failure,
                on_unknown=self._unknown.add,
            ) as subscription:
                # The daemon does not tell of notifications before the first subscription. So
                # a run that began before it may have missed one.
                if self._why_not or self._has_begun:
                    self._ring_all(Trigger.RESYNC)
                self._answered.set()
                while True:
                    self._dispatch(await subscription.next())
        except MailbellError as error:
            return error

    async def _begin(self) -> None:
        """Want the runs of the start: after the first subscription, unless that takes long."""
        with trio.move_on_after(FIRST_ANSWER):
            await self._answered.wait()
        self._has_begun = True
        self._ring_all(Trigger.START)

    def _on_failure(self, error: MailbellError) -> bool:
        """Log that the agent does not hear the daemon; return whether to try again."""
        # At the start, a wrong socket is a mistake and ends the agent, and so are accounts of
        # which the daemon has none. Later, the daemon's configuration has changed, and may be
        # changed back.
        self._unknown.clear()
        if not self._found and not isinstance(error, RETRIED):
            return False
        self._on_deaf(str(error))
        self._answered.set()
        return True

    def _accounts(self) -> list[str]:
        """Return the accounts to subscribe to; empty: all, and `_dispatch` chooses."""
        names = self._names()
        for_all = any(not worker.job.accounts for worker in self._workers)
        # A call has at most 4 KiB, and a name up to 64 characters.
        return [] if for_all or len(names) > MOST_NAMES else names

    def _names(self) -> list[str]:
        return sorted({name for worker in self._workers for name in worker.job.accounts})

    async def _check_names(self) -> None:
        """Find out which accounts each daemon lacks, if the subscription is for all accounts.

        A subscription to certain accounts says so by itself.
        """
        names = self._names()
        portions = [names[at : at + MOST_NAMES] for at in range(0, len(names), MOST_NAMES)]
        while not self._accounts():
            await self._connected.wait()
            self._connected = trio.Event()
            try:
                lacking = [name for some in portions for name in await self._lacking(some)]
            except MailbellError:  # the daemon has gone; the next one is asked
                continue
            self._note_missing(frozenset(lacking))

    async def _lacking(self, names: Sequence[str]) -> set[str]:
        """Ask the daemon which of some accounts it does not have."""
        unknown: set[str] = set()
        while True:
            try:
                async with await Client(self._client.path).subscribe(
                    names, reconnect=False, on_unknown=unknown.add
                ):
                    return unknown
            except UsageError:
                return {*names}
            except TemporaryError:  # it is busy, or permits no more calls in this second
                await trio.sleep(ASK_AGAIN)

    def _note_missing(self, missing: frozenset[str]) -> None:
        """Log once that the daemon lacks an account, and once that it is back."""
        for name in sorted(missing - self._missing):
            why = f"the daemon has no account {name!a}; `mailbell status` lists the accounts"
            self._log.log(Level.WARNING, "account_unknown", account=name, why=why)
        for name in sorted(self._missing - missing):
            self._log.log(Level.INFO, "account_known", account=name)
        self._missing = missing
        lacks = f"; the daemon does not have: {', '.join(sorted(missing))}" if missing else ""
        self._notifier.status(f"listening{lacks}")

    def _dispatch(self, notification: Notification) -> None:
        trigger = TRIGGERS[notification.cause]
        account, source = notification.account, notification.source or ""
        for worker in self._workers:
            theirs = not worker.job.accounts or notification.account in worker.job.accounts
            if theirs and wants(worker.job, trigger):
                worker.ring(
                    trigger,
                    count=notification.count,
                    # Commands get these values. The program that answers on the socket may
                    # not be mailbelld.
                    account=account if is_account_name(account) else "",
                    source=source if SOURCE.fullmatch(source) else "",
                )

    def _ring_all(self, trigger: Trigger) -> None:
        for worker in self._workers:
            if wants(worker.job, trigger):
                worker.ring(trigger)

    # --- whether the agent hears the daemon ----------------------------------------

    def _on_state(self, state: State) -> None:
        if state is State.CONNECTED:
            self._hears = self._found = True
            self._log.log(Level.INFO, "listening", socket=self._client.path)
            self._connected.set()
            if self._accounts():
                self._note_missing(frozenset(self._unknown))
                self._unknown.clear()
            else:
                self._note_missing(self._missing)  # until the daemon has been asked

    def _on_deaf(self, why: str) -> None:
        """Log once that the agent does not hear the daemon, and again for a new reason."""
        if self._hears is not False or why != self._why_not:
            self._hears, self._why_not = False, why
            self._log.log(Level.WARNING, "deaf", why=why, then="trying again, for ever")
            self._notifier.status(f"deaf: {why}")

    async def _report_state(self, worker: Worker) -> None:
        """Log at every poll whether the agent hears the daemon for this job."""
        poll = worker.job.timing.poll
        while poll:
            await trio.sleep(poll)
            accounts = {*worker.job.accounts}
            rings = not accounts or bool(accounts - self._missing)
            hears = bool(self._hears) and rings and await self._daemon_answers()
            unknown = ",".join(sorted(accounts & self._missing)) or None
            is_well = hears and not (worker.failures or worker.is_stuck or unknown)
            level = Level.INFO if is_well else Level.WARNING
            self._log.log(
                level, "alive", job=worker.job.name,
                hears="yes" if hears else "no", failures=worker.failures,
                stuck="yes" if worker.is_stuck else None, unknown=unknown,
            )  # fmt: skip

    async def _daemon_answers(self) -> bool:
        """Return whether the daemon answers. One that hangs keeps its connections open."""
        try:
            # Ask the subscribed daemon, even if another one has started since.
            await Client(self._client.path).status()
        except MailbellError:
            return False
        return True

    async def _feed_watchdog(self) -> None:
        while self._notifier.watchdog_interval is not None:
            self._notifier.watchdog()
            await trio.sleep(self._notifier.watchdog_interval)


async def _reap_adopted() -> None:
    """Reap the processes that this process adopts, if it is one that adopts."""
    if not adopts_orphans():
        return
    ended = SignalQueue([signal.SIGCHLD])
    try:
        reap_adopted()
        async for _ in ended:
            reap_adopted()
    finally:
        ended.give_back()


@contextmanager
def ending_signals() -> Iterator[AsyncIterator[signal.Signals]]:
    """Receive the signals that end the agent. Signals after the first have no effect."""
    told = SignalQueue(signals.ending_signals())
    try:
        yield told
    finally:
        told.give_back()


def wants(job: Job, trigger: Trigger) -> bool:
    """Return whether a job runs for a trigger.

    Args:
        job: the job.
        trigger: the cause.
    """
    if job.only_rung:
        return trigger in {Trigger.NETWORK, Trigger.MANUAL}
    unwanted = {Trigger.START: not job.on_start, Trigger.ADDRESS: not job.network_up}
    return not unwanted.get(trigger, False)


def turns_of(jobs: Sequence[Job]) -> dict[str, trio.Lock]:
    """Return the lock that each job holds while it runs, by the name of the job.

    Two jobs share a lock if they have the same lock name and an account in common. They
    also share it if each of them shares one with a third job. So jobs that must not
    overlap never do.
    """
    turns: dict[str, trio.Lock] = {}
    for job in jobs:
        turns[job.name] = trio.Lock()
        for other in jobs:
            if other.name in turns and collide(job, other):
                old, new = turns[other.name], turns[job.name]
                turns = {name: new if turn is old else turn for name, turn in turns.items()}
    return turns


def collide(one: Job, other: Job) -> bool:
    """Return whether two jobs must not overlap."""
    for_all = not (one.accounts and other.accounts)
    return one.lock == other.lock and (for_all or bool({*one.accounts} & {*other.accounts}))
