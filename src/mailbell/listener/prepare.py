"""Opens everything that mailbelld needs, because a locked process can open nothing more."""

import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

from mailbell._sys import credentials, systemd
from mailbell.listener._binding import Sockets, open_sockets
from mailbell.listener._local_service import local_connections
from mailbell.listener.configuration import Configuration
from mailbell.sandbox.lock import Confinement, open_status, step
from mailbell.sandbox.policy_file import read_policy
from mailbell.serving.varlink_server import BATCH

__all__ = ["Prepared", "descriptors_needed", "prepare"]

PROGRAM: Final = "mailbelld"
STANDARD_STREAMS: Final = (0, 1, 2)
# Descriptors beside those of waiting connections: standard streams, epoll, wake-up
# sockets, /proc/self/status, the service manager, a connection that needs no wait, and
# local connections that have lost their place and are about to be closed.
SPARE_DESCRIPTORS: Final = 24 + BATCH


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that the daemon needs is open. The process still has all its privileges.

    Attributes:
        sockets: the sockets that the daemon listens on.
        notifier: the connection to the service manager.
        epoch: the name of this run. It must differ from other runs; it is no secret.
        seed: the limiter's seed, 64 secret bits.
        confinement: what the process may do once it is locked in.
    """

    sockets: Sockets
    notifier: systemd.Notifier
    epoch: str
    seed: int
    confinement: Confinement


@step("prepare")
def prepare(configuration: Configuration, environ: MutableMapping[str, str]) -> Prepared:
    """Open everything that the daemon needs.

    Args:
        configuration: a valid configuration. Whether this machine has what it names is
            checked here.
        environ: the environment. The variables of a service manager are removed.

    Returns:
        The sockets and everything that the later steps need.

    Raises:
        MailbellError: something is missing or forbidden; the message has the remedy.
    """
    identity = None
    if os.geteuid() == 0:
        identity = credentials.resolve_user(configuration.listen.user)
    policy = read_policy(PROGRAM)
    sockets = open_sockets(configuration, environ, identity)
    return Prepared(
        sockets=sockets,
        notifier=systemd.Notifier(environ, os.getpid()),
        epoch=os.urandom(8).hex(),
        seed=int.from_bytes(os.urandom(8), "big"),
        confinement=Confinement(
            policy=policy,
            identity=identity,
            open_files=descriptors_needed(configuration, len(sockets.tcp) + len(sockets.udp)),
            status_file=open_status(),
            descriptors={"SHARED": _shared(sockets)},
        ),
    )


def _shared(opened: Sockets) -> tuple[int, ...]:
    """Return the descriptors whose open files other processes may share.

    Whoever started the daemon has the standard streams, and a service manager the sockets
    that it passed. A change of such a file would stay when the daemon has ended.
    """
    sockets = (*opened.tcp, *opened.udp, opened.local)
    return (*STANDARD_STREAMS, *(sock.fileno() for sock in sockets))


def descriptors_needed(configuration: Configuration, listening: int) -> int:
    """Return how many descriptors the daemon may need at once.

    Args:
        configuration: says how many connections the daemon may hold.
        listening: how many sockets it listens on, without the local socket.
    """
    local = local_connections(configuration.socket.subscribers)
    return SPARE_DESCRIPTORS + listening + 1 + configuration.limits.connections + local
