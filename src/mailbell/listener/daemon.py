"""The daemon: locks itself in, puts its parts together and serves.

`Daemon` needs a `Locked`, which only `mailbell.sandbox.lock.lock` makes. So a process
that is not in its sandbox cannot serve.
"""

import os
import signal
from collections.abc import AsyncIterator
from math import inf
from random import random

import trio

from mailbell import __version__
from mailbell._sys.sockets import kernel_drops
from mailbell.core.clock import Clock
from mailbell.core.notification import Notification
from mailbell.interfaces.listener import Account, Status
from mailbell.limits.limiter import Limiter, Senders
from mailbell.listener._accounts import AccountMap
from mailbell.listener._admission import Admission
from mailbell.listener._connections import DatagramListener, StreamListener, describe_socket
from mailbell.listener._counters import Counters
from mailbell.listener._hub import AccountState, Hub
from mailbell.listener._local_service import LocalService
from mailbell.listener._waiting import WaitingRoom
from mailbell.listener.configuration import Configuration
from mailbell.listener.prepare import Prepared, prepare
from mailbell.logs.journal import Journal, Level
from mailbell.logs.switch import Switch
from mailbell.sandbox.lock import (
    Locked,
    Unprivileged,
    clear_inherited,
    drop_privileges,
    lock,
    step,
)
from mailbell.sandbox.report import describe_sandbox, log_locked, uncovered
from mailbell.serving import lifecycle

__all__ = ["Daemon", "run"]

# A status is one message, so the number of accounts in it is limited.
ACCOUNTS_SHOWN = 256
# Seconds between two portions of wake-ups while more are due. So a line for 10,000 accounts
# takes only a part of the processor, and every sender has its turn meanwhile.
PORTION_REST = 0.001


def run(configuration: Configuration) -> None:
    """Run the daemon in this process until a signal ends it.

    Args:
        configuration: where to listen, and for which accounts.

    Raises:
        MailbellError: the daemon could not start, and has accepted nothing.
    """
    clear_inherited()
    journal = lifecycle.make_journal()
    prepared = prepare(configuration, os.environ)
    unprivileged = drop_privileges(prepared.confinement)
    with step("start event loop"):
        lifecycle.run_event_loop(_serve, configuration, prepared, unprivileged, journal)


async def _serve(
    configuration: Configuration, prepared: Prepared, unprivileged: Unprivileged, journal: Journal
) -> None:
    with step("start event loop"):
        told = lifecycle.signal_queue()
    daemon = Daemon(configuration, prepared, lock(unprivileged), journal)
    await daemon.serve(told)
    lifecycle.ignore_signals()


class Daemon:
    """One run of mailbelld.

    Args:
        configuration: the valid configuration.
        prepared: everything that was opened before the lock.
        locked: the proof that this process is locked in.
        journal: the daemon's log.
    """

    def __init__(
        self, configuration: Configuration, prepared: Prepared, locked: Locked, journal: Journal
    ) -> None:
        self._configuration = configuration
        self._locked = locked
        self._prepared = prepared
        self._journal = journal
        self._clock = Clock(lifecycle.boottime, lifecycle.wall_clock)
        self._started = self._clock.now()
        self._counters = Counters()
        self._due_changed = trio.Event()
        translation = configuration.sources.translation
        accounts = AccountMap(configuration.account, configuration.unmatched == "all", translation)
        self._hub = Hub(
            accounts.names,
            interval=configuration.coalesce.interval,
            epoch=prepared.epoch,
            started=self._started,
            time_of=self._clock.time_of,
            on_due=self._wake_timer,
            on_wakeup=self._on_wakeup,
        )
        limits = configuration.limits
        self._limiter = Limiter(
            rate=limits.rate,
            burst=limits.burst,
            total_rate=limits.total_rate,
            connections=limits.connections,
            connections_per_source=limits.connections_per_source,
            sources=limits.sources,
            udp=bool(prepared.sockets.udp),
            seed=prepared.seed,
            random=random,
            senders=Senders(tuple(configuration.listed), translation),
        )
        self._admission = Admission(
            configuration.sources, accounts, self._hub, self._counters, journal, lifecycle.boottime
        )
        local = LocalService(
            self._hub,
            self._counters,
            journal,
            status=self.status,
            stamp=lifecycle.boottime,
            subscribers=configuration.socket.subscribers,
        )
        self._local_server = local.server(prepared.sockets.local)
        self._listening = tuple(
            map(describe_socket, (*prepared.sockets.tcp, *prepared.sockets.udp))
        )

    async def serve(self, told: AsyncIterator[signal.Signals]) -> None:
        """Serve until a signal ends it.

        Args:
            told: signals; SIGHUP is logged, any other stops it.
        """
        self._log_start()
        async with trio.open_nursery() as nursery:
            for stream_listener in self._stream_listeners():
                nursery.start_soon(stream_listener.serve)
            for datagram_listener in self._datagram_listeners():
                nursery.start_soon(datagram_listener.serve)
            nursery.start_soon(self._local_server.serve)
            nursery.start_soon(self._deliver_trailing)
            nursery.start_soon(lifecycle.feed_watchdog, self._prepared.notifier)
            lifecycle.say_ready(self._prepared.notifier, self._journal)
            await lifecycle.until_told(told, self._journal)
            self._prepared.notifier.stopping()
            nursery.cancel_scope.cancel()

    def status(self) -> Status:
        """Return everything that the daemon tells about itself."""
        limiter = self._limiter.statistics()
        states = list(self._hub.accounts)
        return Status(
            version=__version__,
            pid=os.getpid(),
            cursor=self._hub.cursor,
            started=self._clock.time_of(self._started),
            uptime=self._clock.age(self._started),
            listening=self._listening,
            outcomes=self._counters.snapshot_outcomes(),
            refused_by_total=limiter.total_refused,
            leaked=limiter.leaked,
            kernel_dropped=self._kernel_dropped(),
            unfiltered=self._prepared.sockets.unfiltered or None,
            wakeups=self._counters.wakeups,
            accounts=tuple(map(self._account, states[:ACCOUNTS_SHOWN])),
            accounts_total=len(states),
            connections=limiter.connections,
            connections_limit=self._configuration.limits.connections,
            subscribers=self._hub.subscribers,
            subscribers_limit=self._configuration.socket.subscribers,
            tables=limiter.tables,
            limited=self._limiter.limited(trio.current_time()),
            local=self._counters.snapshot_local(),
            log_suppressed=self._journal.suppressed,
            sandbox=describe_sandbox(self._locked),
        )

    def _account(self, state: AccountState) -> Account:
        if state.time is None:
            return Account(name=state.name, count=state.count)
        time, age = self._clock.time_of(state.time), self._clock.age(state.time)
        return Account(name=state.name, count=state.count, time=time, age=age)

    def _kernel_dropped(self) -> int | None:
        """Return how many datagrams the kernel dropped; None: unknown, or no UDP socket.

        Of TCP it does not tell: a listening socket's counter also counts every
        handshake that TCP_DEFER_ACCEPT holds back.
        """
        drops = [kernel_drops(sock) for sock in self._prepared.sockets.udp]
        told = [count for count in drops if count is not None]
        return sum(told) if told else None

    def _stream_listeners(self) -> list[StreamListener]:
        protocol = self._configuration.protocol
        waiting = WaitingRoom(Switch(self._journal, "waiting", "tcp"))
        return [
            StreamListener(
                sock,
                self._admission,
                self._limiter,
                terminators=protocol.terminators,
                deadline=protocol.deadline,
                waiting=waiting,
                journal=self._journal,
            )
            for sock in self._prepared.sockets.tcp
        ]

    def _datagram_listeners(self) -> list[DatagramListener]:
        return [
            DatagramListener(
                sock,
                self._admission,
                self._limiter,
                terminators=self._configuration.protocol.terminators,
                journal=self._journal,
            )
            for sock in self._prepared.sockets.udp
        ]

    def _wake_timer(self) -> None:
        self._due_changed.set()

    async def _deliver_trailing(self) -> None:
        """Deliver the trailing wake-ups when they are due."""
        while True:
            due = self._hub.next_due
            self._due_changed = trio.Event()
            with trio.move_on_at(inf if due is None else due):
                await self._due_changed.wait()
            if self._hub.tick(trio.current_time()):
                await trio.sleep(PORTION_REST)

    def _on_wakeup(self, notification: Notification) -> None:
        self._counters.count_wakeup()
        self._journal.log(
            Level.INFO,
            "notification",
            account=notification.account,
            cause=notification.cause,
            count=notification.count,
            transport=notification.transport,
            source=notification.source,
        )

    def _log_start(self) -> None:
        for name in self._listening:
            self._journal.log(Level.INFO, "listening", on=name)
        sockets = self._prepared.sockets
        for name, reason in sockets.left_out:
            self._journal.log(Level.NOTICE, "left_out", on=name, why=reason)
        if sockets.activated:
            self._journal.log(Level.INFO, "activated", ignored="listen.tcp, listen.udp")
        if sockets.withheld:
            self._journal.log(Level.NOTICE, "socket_group_withheld", group=sockets.withheld)
        if sockets.unfiltered:
            self._journal.log(Level.WARNING, "kernel_filter_missing", why=sockets.unfiltered)
        for what in self._prepared.notifier.unusable:
            self._journal.log(Level.WARNING, "service_manager_unusable", what=what)
        for what in self._uncovered():
            self._journal.log(Level.NOTICE, "uncovered", what=what)
        log_locked(self._locked, self._journal)

    def _uncovered(self) -> tuple[str, ...]:
        """Return what no second layer of this kernel forbids, or no layer at all."""
        more = []
        if not self._prepared.sockets.descriptors_refused:
            more.append("descriptors passed by local peers: closing one can take long")
        elif self._prepared.sockets.early_descriptors:
            more.append("descriptors passed by local peers that connected before this start")
        return (*uncovered(self._locked.unprivileged), *more)
