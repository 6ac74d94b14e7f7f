"""The sender: locks itself in, puts its parts together and serves.

`Daemon` needs a `Locked`, which only `mailbell.sandbox.lock.lock` makes. So a process
that is not in its sandbox cannot serve.
"""

import os
import signal
import socket
from collections.abc import AsyncIterator, Iterable, Iterator

import trio

from mailbell import __version__
from mailbell.cluster.messages import Ring as RingMessage
from mailbell.core.clock import Clock
from mailbell.core.errors import MailbellError
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.interfaces.sender_status import Book, ClusterNode, Status
from mailbell.interfaces.sender_status import Cluster as ClusterState
from mailbell.interfaces.sender_status import Store as StoreState
from mailbell.logs.journal import Journal, Level
from mailbell.sandbox.lock import (
    Locked,
    Unprivileged,
    clear_inherited,
    drop_privileges,
    lock,
    step,
)
from mailbell.sandbox.report import describe_sandbox, log_locked, uncovered
from mailbell.sender._accounts import Account, Accounts
from mailbell.sender._address_rules import AddressRules
from mailbell.sender._backlog import Backlog, Late
from mailbell.sender._bell import Bell
from mailbell.sender._cluster_client import PATIENCE, ClusterClient
from mailbell.sender._counters import Counters
from mailbell.sender._datagram_server import ComsatServer, CyrusServer
from mailbell.sender._desk import SenderDesk
from mailbell.sender._dialer import Dialer
from mailbell.sender._hook_server import PLACES, HookServer
from mailbell.sender._local_service import WATCHERS, LocalService
from mailbell.sender._recent import Recent
from mailbell.sender._reception import Reception, Ringer
from mailbell.sender._resolver_client import ResolverClient
from mailbell.sender._ring import Ring
from mailbell.sender._schedule import Schedule
from mailbell.sender._shared_bell import SharedBell
from mailbell.sender._speakers import Speakers
from mailbell.sender._watchers import Watchers
from mailbell.sender.configuration import Configuration
from mailbell.sender.prepare import Prepared, prepare, steady
from mailbell.serving import lifecycle

__all__ = ["Daemon", "run"]

# Accounts that are rung in one go when the last run did not end in order. The next ones follow
# when the total rate has had time for these: they do not pile up, and new mail is heard meanwhile.
PORTION = 64
RETRY = 10.0
"""Seconds until the store tries again to write what it could not."""

# Nothing was tried, so a line in the log would say nothing that the next line does not say.
_SILENT = frozenset({RingOutcome.COALESCED, RingOutcome.BACKING_OFF})


def run(configuration: Configuration) -> None:
    """Run the sender in this process until a signal ends it.

    Args:
        configuration: where to listen, and whom to ring.

    Raises:
        MailbellError: the sender could not start and has accepted nothing, or a process that
            it cannot do without has ended.
    """
    clear_inherited()
    journal = lifecycle.make_journal()
    prepared = prepare(configuration, os.environ, journal)
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
    """One run of mailbell-sender.

    Args:
        configuration: the valid configuration.
        prepared: everything that was opened before the lock.
        locked: the proof that this process is locked in.
        journal: the sender's log.
    """

    def __init__(
        self, configuration: Configuration, prepared: Prepared, locked: Locked, journal: Journal
    ) -> None:
        self._configuration = configuration
        self._has_resumed = False
        self._prepared = prepared
        self._locked = locked
        self._journal = journal
        self._clock = Clock(lifecycle.boottime, lifecycle.wall_clock)
        self._started = self._clock.now()
        self._failure: MailbellError | None = None
        self._counters = Counters()
        self._recent = Recent()
        self._watchers = Watchers(WATCHERS)
        self._accounts = Accounts(configuration)
        self._store = prepared.keeper.store
        self._book = prepared.keeper.book
        self._names = self._resolver()
        self._cluster = self._cluster_client()
        self._connect(configuration, prepared)
        self._listening = tuple(self._places())

    def _connect(self, configuration: Configuration, prepared: Prepared) -> None:
        """Put the parts together, from the targets to the sockets."""
        send, last_used, journal = configuration.send, configuration.last_used, self._journal
        rules = AddressRules(last_used.allow, last_used.deny, prepared.own)
        self._schedule = Schedule(
            interval=send.interval,
            backoff=send.backoff,
            rate=send.rate,
            connections=send.connections,
            deadline=send.deadline,
            horizon=max(last_used.ttl, send.backoff.longest),
            on_ring=self._on_ring,
            on_due=self._wake_dialer,
            steady=steady,
            secret=prepared.secret,
        )
        self._dialer = Dialer(
            self._schedule,
            epoll=prepared.epoll,
            rules=rules,
            names=self._names,
            connections=send.connections,
            journal=journal,
        )
        self._bell = Bell(
            book=self._book,
            rules=rules,
            schedule=self._schedule,
            steady=steady,
            note=self._store.note,
            on_ring=self._on_ring,
        )
        self._shared = self._share(rules)
        speakers = Speakers(self._accounts, prepared.users, prepared.trusted)
        folders = configuration.quiet.folders
        self._reception = Reception(
            self._accounts, speakers, self._ringer, folders, self._counters, journal
        )
        hooks = prepared.sockets.hooks
        places = PLACES // len(hooks)
        self._hooks = [HookServer(sock, self._reception, journal, places=places) for sock in hooks]
        desk = SenderDesk(
            accounts=self._accounts,
            reception=self._reception,
            bell=self._bell,
            clock=trio.current_time,
            status=self.status,
        )
        local = LocalService(desk, self._watchers, journal, count=self._counters.count_local)
        self._control = local.server(prepared.sockets.control)

    def _share(self, rules: AddressRules) -> SharedBell | None:
        """In a cluster, put the bell that all nodes share before the bell of this one."""
        if self._cluster is None:
            return None
        shared = SharedBell(
            bell=self._bell,
            book=self._book,
            accounts=self._accounts,
            schedule=self._schedule,
            rules=rules,
            sharer=self._cluster,
            backlog=Backlog(
                self._known_logins, began=trio.current_time(), is_late=not self._store.was_clean
            ),
            steady=steady,
            on_ring=self._on_ring,
        )
        self._cluster.tell(shared)
        return shared

    @property
    def _ringer(self) -> Ringer:
        return self._bell if self._shared is None else self._shared

    def _known_logins(self) -> Iterator[Late]:
        """Yield every login that this node knows."""
        for name in self._all_names():
            for address, seen in self._book.logins(name, steady()):
                yield Late(name, address, seen)

    def _wake_dialer(self) -> None:
        self._dialer.wake()

    def _companions(self) -> dict[str, int]:
        """Return the companions that live. Without the reader of Cyrus the sender has ended too."""
        prepared = self._prepared
        ended = [
            companion
            for companion, client in (
                (prepared.resolver, self._names),
                (prepared.cluster, self._cluster),
            )
            if client is not None and client.is_gone
        ]
        return {each.program: each.pid for each in prepared.companions if each not in ended}

    def _cluster_client(self) -> ClusterClient | None:
        found = self._prepared.cluster
        if found is None:
            return None
        settings = self._configuration
        return ClusterClient(
            found,
            self._journal,
            node=self._prepared.node,
            url=settings.store.url,
            rate=settings.send.rate,
        )

    def _resolver(self) -> ResolverClient | None:
        found = self._prepared.resolver
        return None if found is None else ResolverClient(found, self._journal)

    async def serve(self, told: AsyncIterator[signal.Signals]) -> None:
        """Serve until a signal ends it.

        Args:
            told: signals; SIGHUP is logged, any other stops it.

        Raises:
            MailbellError: the reader of Cyrus's socket has ended.
        """
        self._log_start()
        self._store.load()
        async with trio.open_nursery() as nursery:
            await self._join_cluster(nursery)
            self._start_servers(nursery)
            nursery.start_soon(self._ring_what_waited)
            nursery.start_soon(self._retry_store)
            nursery.start_soon(lifecycle.feed_watchdog, self._prepared.notifier)
            lifecycle.say_ready(self._prepared.notifier, self._journal)
            await lifecycle.until_told(told, self._journal)
            self._prepared.notifier.stopping()
            nursery.cancel_scope.cancel()
        if self._shared is not None:
            self._shared.collect()
        if "hook" not in self._prepared.sockets.activated:
            for hook in self._hooks:
                hook.drain()
        has_all = await self._drain_cyrus()
        waiting = await self._end_ringing()
        is_sweeping = self._cluster is not None and self._cluster.state.is_sweeping
        finished = self._has_resumed and has_all and not is_sweeping
        self._store.close(waiting, finished=finished)
        if self._failure is not None:
            raise self._failure

    async def _end_ringing(self) -> Iterable[str]:
        """Return the accounts that the next run must ring."""
        self._reception.ring_late(trio.current_time(), all_of_them=True)
        schedule = self._schedule
        if self._shared is None or self._cluster is None:
            return dict.fromkeys(schedule.waiting())
        shared = self._shared
        kept: list[RingMessage] = []

        def rest() -> Iterable[RingMessage]:
            kept.extend(shared.rest(schedule.waiting()))
            return kept

        if await self._cluster.leave(rest):
            return ()
        more = rest() if not kept else shared.rest(iter(()))
        names = (each.account for each in (*kept, *more))
        return dict.fromkeys((*names, *self._cluster.unconfirmed()))

    async def _join_cluster(self, nursery: trio.Nursery) -> None:
        """Begin with the cluster, or after a while without: what comes earlier would ring alone."""
        if self._cluster is not None:
            nursery.start_soon(self._cluster.serve)
            with trio.move_on_after(PATIENCE):
                await self._cluster.connected.wait()

    def _start_servers(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._dialer.serve)
        for hook in self._hooks:
            nursery.start_soon(hook.serve)
        nursery.start_soon(self._control.serve)
        for sock in self._prepared.sockets.comsat:
            nursery.start_soon(ComsatServer(sock, self._reception, self._journal).serve)
        if self._prepared.cyrus is not None:
            nursery.start_soon(self._serve_cyrus, self._prepared.cyrus.pair, nursery)
        if self._names is not None:
            nursery.start_soon(self._names.serve)

    async def _serve_cyrus(self, pair: socket.socket, nursery: trio.Nursery) -> None:
        """Receive from the reader of Cyrus's socket. When the reader ends, so does the sender."""
        try:
            await CyrusServer(pair, self._reception, self._journal).serve()
        except MailbellError as error:
            self._failure = error
            nursery.cancel_scope.cancel()

    async def _drain_cyrus(self) -> bool:
        """Take the rest of the reader of Cyrus's socket; return whether nothing of it is lost."""
        reader = self._prepared.cyrus
        if reader is None:
            return True
        if self._failure is not None:  # it has ended, and what it held is unknown
            return False
        return await CyrusServer(reader.pair, self._reception, self._journal).drain()

    async def _ring_what_waited(self) -> None:
        """Ring what the last run accepted and may not have sent.

        If the last run did not end in order, it may have read a line and not noted it. So every
        account that can be rung is rung: a notification only says "look for mail".
        """
        if self._is_swept_by_cluster():
            self._has_resumed = True
            return
        rung = 0
        for account in self._waiting():
            self._ringer.ring(account, trio.current_time())
            rung += 1
            if not rung % PORTION:
                await trio.sleep(PORTION / self._configuration.send.rate)
        self._has_resumed = True
        if rung:
            why = "rings that waited" if self._store.was_clean else "the last run did not end"
            self._journal.log(Level.NOTICE, "resumed", accounts=rung, why=why)

    def _is_swept_by_cluster(self) -> bool:
        """Tell whether the cluster rings everybody, because this node was killed."""
        if self._cluster is None:
            return False
        return not self._store.was_clean and self._cluster.state.is_swept

    def _waiting(self) -> Iterator[Account]:
        if self._store.was_clean:
            names: Iterator[str] = iter(self._store.pending)
        else:
            names = self._all_names()
        for name in names:
            account = self._accounts.find(name)
            if account is not None:
                yield account

    def _all_names(self) -> Iterator[str]:
        """Yield the accounts that may have an address now, each once."""
        listed = set()
        for account in self._accounts.listed:
            listed.add(account.name)
            has_target = any(isinstance(each, Target) for each in account.targets)
            if has_target or self._book.fresh(account.name, steady()):
                yield account.name
        for name in self._store.names():
            if name not in listed and self._book.fresh(name, steady()):
                yield name

    async def _retry_store(self) -> None:
        while True:
            await trio.sleep(RETRY)
            self._store.retry()

    def _on_ring(self, ring: Ring) -> None:
        self._counters.count_ring(ring.outcome)
        self._recent.note(ring, trio.current_time())
        self._watchers.tell(ring)
        if ring.outcome not in _SILENT:
            self._journal.log(
                Level.INFO,
                ring.outcome.value,
                account=ring.account,
                target=ring.target,
                milliseconds=round(ring.milliseconds, 1) if ring.milliseconds else None,
            )

    def status(self) -> Status:
        """Return everything that the sender tells about itself."""
        now = trio.current_time()
        schedule = self._schedule
        return Status(
            version=__version__,
            pid=os.getpid(),
            started=self._clock.time_of(self._started),
            uptime=self._clock.age(self._started),
            listening=self._listening,
            inputs=self._counters.snapshot_inputs(),
            rings=self._counters.snapshot_rings(),
            latency=self._recent.latency(),
            accounts=self._recent.accounts(now),
            accounts_listed=len(self._accounts.listed),
            targets=self._recent.targets(now, self._back_off),
            targets_known=schedule.known,
            pending=schedule.pending,
            backing_off=schedule.backing_off,
            book=self._book_state(),
            store=self._store_state(),
            names={} if self._names is None else {"known": self._names.known},
            cluster=self._cluster_state(),
            companions=self._companions(),
            connections=sum(hook.connections for hook in self._hooks),
            connections_limit=PLACES,
            sending=schedule.in_flight,
            sending_limit=self._configuration.send.connections,
            watchers=len(self._watchers),
            watchers_limit=self._watchers.limit,
            local=self._counters.snapshot_local(),
            log_suppressed=self._journal.suppressed,
            sandbox=describe_sandbox(self._locked),
        )

    def _back_off(self, target: Target) -> float | None:
        now = trio.current_time()
        waits = []
        for is_configured in (True, False):
            outlook = self._schedule.outlook(target, now, is_configured=is_configured)
            if outlook.backs_off:
                waits.append(outlook.wait)
        return now + max(waits) if waits else None

    def _book_state(self) -> Book:
        book = self._book
        return Book(
            accounts=len(book),
            addresses=book.sightings,
            capacity=book.limit,
            evicted=book.evicted,
        )

    def _cluster_state(self) -> ClusterState | None:
        client, shared = self._cluster, self._shared
        if client is None or shared is None:
            return None
        backlog = shared.backlog
        return ClusterState(
            node=client.node,
            failing="its companion has ended" if client.is_gone else client.state.problem,
            nodes=tuple(
                ClusterNode(
                    name=node.name,
                    lives=node.lives,
                    taken=node.taken,
                    waiting=node.pending,
                    lag=int(node.lag * 1e6),
                )
                for node in client.state.nodes
            ),
            alone=client.alone,
            waiting=backlog.logins + len(backlog.outbox),
            dropped=backlog.dropped + backlog.outbox.dropped,
            refused=shared.refused,
        )

    def _store_state(self) -> StoreState:
        status = self._store.status()
        return StoreState(
            url=str(self._configuration.store.url),
            failing=status.problem,
            set_aside=status.moved_aside,
            pending=len(self._store.pending),
        )

    def _places(self) -> Iterator[str]:
        sockets = self._prepared.sockets
        for sock in sockets.hooks:
            yield f"hook {sock.getsockname()}"
        yield f"control {sockets.control.getsockname()}"
        for sock in sockets.comsat:
            host, port = sock.getsockname()[:2]
            yield f"comsat [{host}]:{port}" if ":" in host else f"comsat {host}:{port}"
        if sockets.cyrus is not None:
            yield f"cyrus {self._configuration.listen.cyrus}"

    def _log_start(self) -> None:
        sockets = self._prepared.sockets
        for name in self._listening:
            self._journal.log(Level.INFO, "listening", on=name)
        if sockets.activated:
            self._journal.log(Level.INFO, "activated", sockets=", ".join(sockets.activated))
        if sockets.withheld:
            self._journal.log(Level.NOTICE, "socket_group_withheld", group=sockets.withheld)
        for name in self._prepared.missing:
            self._journal.log(Level.WARNING, "no_such_user", name=name, key="listen.trusted")
        for what in self._prepared.notifier.unusable:
            self._journal.log(Level.WARNING, "service_manager_unusable", what=what)
        for what in self._uncovered():
            self._journal.log(Level.NOTICE, "uncovered", what=what)
        for companion in self._prepared.companions:
            self._journal.log(Level.INFO, "companion", program=companion.program, pid=companion.pid)
        log_locked(self._locked, self._journal)

    def _uncovered(self) -> tuple[str, ...]:
        """Return what no second layer of this kernel forbids, or no layer at all."""
        more = []
        if not self._prepared.sockets.descriptors_refused:
            more.append("descriptors passed by local peers: closing one can take long")
        elif self._prepared.sockets.early_descriptors:
            more.append("descriptors passed by local peers that connected before this start")
        return (*uncovered(self._locked.unprivileged), *more)
