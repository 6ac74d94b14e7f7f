"""Opens everything that mailbelld will ever open, before it is locked in."""

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
# Descriptors beyond the places of connections: standard streams, epoll, wake-up
# sockets, the proof, the service manager, a connection that is being served at
# once, and local ones that were displaced and are about to be closed.
SPARE_DESCRIPTORS: Final = 24 + BATCH


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything opened that will ever be opened; all privileges still held.

    Attributes:
        sockets: what is listened on.
        notifier: the connection to the service manager.
        epoch: names this run; unguessable only as a side effect.
        seed: of the limiter, 64 secret bits.
        confinement: what the process will be locked in with.
    """

    sockets: Sockets
    notifier: systemd.Notifier
    epoch: str
    seed: int
    confinement: Confinement


@step("prepare")
def prepare(configuration: Configuration, environ: MutableMapping[str, str]) -> Prepared:
    """Open all there is to open.

    Args:
        configuration: valid, but not yet held against this machine.
        environ: the environment; what a service manager passes in it is taken out.

    Returns:
        The sockets and everything the later steps need.

    Raises:
        MailbellError: something is missing or not allowed; the message has the remedy.
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
        ),
    )


def descriptors_needed(configuration: Configuration, listening: int) -> int:
    """Return how many descriptors the daemon may need at once.

    Args:
        configuration: for how many connections it may hold.
        listening: sockets it listens on, the local one not counted.
    """
    local = local_connections(configuration.socket.subscribers)
    return SPARE_DESCRIPTORS + listening + 1 + configuration.limits.connections + local
