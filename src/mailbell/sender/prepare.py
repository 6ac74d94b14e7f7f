"""Opens everything that mailbell-sender needs, because a locked process can open nothing more.

The companions are started here too: a locked process can start none.
"""

import os
import select
import socket
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from mailbell._sys import credentials, systemd
from mailbell._sys.own_addresses import own_networks
from mailbell._sys.signals import children_are_waited_for
from mailbell._sys.user_names import read_user_names
from mailbell.core.networks import Network
from mailbell.logs.journal import Journal
from mailbell.sandbox.lock import Confinement, open_status, step
from mailbell.sandbox.policy_file import read_policy
from mailbell.sender import cluster_node, cyrus_reader, resolver
from mailbell.sender._address_book import AddressBook
from mailbell.sender._binding import BACKLOG, PROGRAM, Sockets, open_sockets
from mailbell.sender._call import SECRET
from mailbell.sender._companion import Companion
from mailbell.sender._engine_settings import find_settings, node_name
from mailbell.sender._hook_server import PLACES
from mailbell.sender._local_service import CONTROL_CONNECTIONS
from mailbell.sender._store import Store
from mailbell.sender._store_file import NEEDED, Examined, examine
from mailbell.sender.configuration import Configuration
from mailbell.serving.varlink_server import BATCH
from mailbell.syscalls.policy import Numbers

__all__ = ["BACKLOG", "Keeper", "Prepared", "descriptors_needed", "node_of", "prepare"]

STANDARD_STREAMS: Final = (0, 1, 2)
# Descriptors beside those of connections: standard streams, two epolls, wake-up sockets,
# /proc/self/status, the service manager, more sockets for hooks, the store's two files and two
# that it opens for a moment, the pairs of three companions, and connections about to be closed.
SPARE_DESCRIPTORS: Final = 32 + 2 * BATCH


class Keeper:
    """Opens the store at the one moment when it may be opened: `Confinement.open_last`.

    Args:
        examined: what is on disk.
        book: the address book that the store keeps.
        journal: the sender's log.
    """

    def __init__(self, examined: Examined, book: AddressBook, journal: Journal) -> None:
        self._examined = examined
        self._journal = journal
        self.book = book
        self.store: Store

    def open(self) -> Mapping[str, Numbers]:
        """Open the store as the sender's own user; return its descriptors, for the policy."""
        self.store = Store.open(
            self._examined, book=self.book, journal=self._journal, steady=steady, wall=time.time
        )
        return {"STORE": self.store.descriptors}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that the sender needs is open. The process still has all its privileges.

    Attributes:
        sockets: the sockets that the sender listens on.
        notifier: the connection to the service manager.
        keeper: the address book, and the store once it is open.
        own: what is local to this host, and is not called.
        users: the names of this machine's users.
        trusted: the users who may speak for every account.
        missing: names in `listen.trusted` that no user of this machine has.
        epoll: the dialer's own.
        secret: no peer knows it; it is in the keys of addresses.
        resolver: finds the addresses of names; None: the configuration has no name.
        cyrus: reads the notify socket of Cyrus IMAP; None: it is off.
        cluster: speaks to the engine that the nodes share; None: this is the only sender.
        node: the name of this node of a cluster; empty: there is none.
        confinement: what the process may do once it is locked in.
    """

    sockets: Sockets
    notifier: systemd.Notifier
    keeper: Keeper
    own: tuple[Network, ...]
    users: Mapping[int, str]
    trusted: frozenset[int]
    missing: tuple[str, ...]
    epoll: select.epoll
    secret: bytes
    resolver: Companion | None
    cyrus: Companion | None
    cluster: Companion | None
    node: str
    confinement: Confinement

    @property
    def companions(self) -> tuple[Companion, ...]:
        """The processes beside the sender."""
        return tuple(each for each in (self.resolver, self.cyrus, self.cluster) if each is not None)


@step("prepare")
def prepare(
    configuration: Configuration, environ: MutableMapping[str, str], journal: Journal
) -> Prepared:
    """Open everything that the sender needs.

    Args:
        configuration: a valid configuration. Whether this machine has what it names is
            checked here.
        environ: the environment. The variables of a service manager are removed.
        journal: the sender's log.

    Returns:
        The sockets and everything that the later steps need.

    Raises:
        MailbellError: something is missing or forbidden; the message has the remedy.
    """
    listen = configuration.listen
    identity = credentials.resolve_user(listen.user) if os.geteuid() == 0 else None
    policy = read_policy(PROGRAM)
    sockets = open_sockets(listen, environ, identity)
    with children_are_waited_for():
        examined = examine(configuration.store.path, identity, configuration.store.key)
    engine = configuration.store.url.engine
    node = "" if engine is None else node_name(configuration.store)
    users = read_user_names(configuration.possible_users)
    numbers = {name: uid for uid, name in users.items()}
    # Each is a fork. So they come before this process has more to copy, and before the book.
    found = resolver.start(identity) if configuration.has_names else None
    reader = None if sockets.cyrus is None else cyrus_reader.start(sockets.cyrus, identity)
    cluster = (
        None
        if engine is None
        else cluster_node.start(identity, partial(find_settings, configuration, engine))
    )
    keeper = Keeper(examined, _book(configuration), journal)
    notifier = systemd.Notifier(environ, os.getpid())
    return Prepared(
        sockets=sockets,
        notifier=notifier,
        keeper=keeper,
        own=own_networks(),
        users=users,
        trusted=frozenset(numbers[name] for name in listen.trusted if name in numbers),
        missing=tuple(name for name in listen.trusted if name not in numbers),
        epoll=select.epoll(),
        secret=os.urandom(SECRET),
        resolver=found,
        cyrus=reader,
        cluster=cluster,
        node=node,
        confinement=Confinement(
            policy=policy,
            identity=identity,
            open_files=descriptors_needed(configuration),
            status_file=open_status(),
            descriptors={
                "SHARED": _shared(sockets),
                "EARLY": _early(sockets, notifier),
                "CALLED": _called(configuration),
            },
            connect_to=configuration.ports,
            send_to=configuration.udp_ports,
            open_last=keeper.open,
            open_within=examined.folder,
            readable=NEEDED,
        ),
    )


def steady() -> float:
    """Return the time of the address book: seconds since the machine started, asleep or not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _book(configuration: Configuration) -> AddressBook:
    settings = configuration.last_used
    return AddressBook(settings.ttl, settings.addresses, secret=os.urandom(16).hex())


def _shared(opened: Sockets) -> tuple[int, ...]:
    """Return the descriptors whose open files other processes may share.

    Whoever started the sender has the standard streams, and a service manager the sockets
    that it passed. A change of such a file would stay when the sender has ended.
    """
    sockets = (*opened.hooks, opened.control, *opened.comsat)
    return (*STANDARD_STREAMS, *(sock.fileno() for sock in sockets))


def _early(opened: Sockets, notifier: systemd.Notifier) -> tuple[int, ...]:
    """Return the descriptors of the early sockets that stay open to the end.

    The pairs of the companions are not among them: when the resolver ends, its pair is closed,
    and the next socket has its number. A pair is connected, so the kernel refuses another
    connect(2) on it.
    """
    return (*_shared(opened), *notifier.descriptors)


def _called(configuration: Configuration) -> tuple[int, ...]:
    """Return the types of socket(2) that the sender makes: those that its targets need."""
    kinds: list[int] = [socket.SOCK_STREAM] if configuration.ports else []
    if configuration.udp_ports:
        kinds.append(socket.SOCK_DGRAM)
    return tuple(kind | int(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) for kind in kinds)


def node_of(configuration: Configuration) -> str:
    """Return the name of this node of a cluster; empty: there is no cluster.

    Args:
        configuration: a valid configuration.

    Raises:
        MailbellError: a file that it names cannot be used, or a host cannot be looked up.
    """
    engine = configuration.store.url.engine
    return "" if engine is None else find_settings(configuration, engine).node


def descriptors_needed(configuration: Configuration) -> int:
    """Return how many descriptors the sender may need at once.

    Args:
        configuration: says how many targets may be called at once.
    """
    calls = configuration.send.connections
    # A quarter more: a name may have several addresses.
    connections = calls + max(calls // 4, 1) + PLACES + CONTROL_CONNECTIONS
    return SPARE_DESCRIPTORS + connections + len(configuration.listen.comsat)
