"""Opens every socket on which mail servers and programs speak to the sender.

This happens before the lock, while the process still has all its privileges. Nothing is
accepted yet.
"""

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

from mailbell._sys import sockets, systemd
from mailbell._sys.credentials import Identity
from mailbell._sys.local_socket import bind_local_datagrams
from mailbell.sender.configuration import Listen
from mailbell.serving.local_place import LocalPlace, group_of, open_local

__all__ = ["PROGRAM", "Sockets", "open_sockets"]

PROGRAM: Final = "mailbell-sender"
BACKLOG: Final = 4096
"""Hooks that may wait until the sender accepts them. The kernel uses net.core.somaxconn if that
is lower."""

# Every user may say that mail has arrived. The kernel tells which user says it.
_HOOK_MODE: Final = 0o666
_GROUP_MODE: Final = 0o660
_GROUP_KEY: Final = "listen.group"
# How many sockets a service manager may pass, by their names. Each socket has a queue of its own in
# the kernel. So a mail server can have one that other users cannot fill.
_PASSED: Final = {"hook": 4, "control": 1}


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets that the sender listens on, all bound before the lock.

    Attributes:
        hooks: the listening stream sockets of the hooks.
        control: the listening Varlink socket.
        comsat: bound datagram sockets, each of one family.
        cyrus: the bound notify socket for Cyrus IMAP; None: it is off.
        activated: the names of those that a service manager bound.
        withheld: the group of `listen.group`, if this user cannot give the sockets to it; "":
            the group has access.
        descriptors_refused: whether the kernel keeps local peers from passing descriptors.
        early_descriptors: whether those may pass descriptors that connected to a passed socket
            before this start.
    """

    hooks: tuple[socket.socket, ...]
    control: socket.socket
    comsat: tuple[socket.socket, ...]
    cyrus: socket.socket | None
    activated: tuple[str, ...]
    withheld: str
    descriptors_refused: bool
    early_descriptors: bool


def open_sockets(
    listen: Listen, environ: MutableMapping[str, str], identity: Identity | None
) -> Sockets:
    """Take the sockets that a service manager passes, and bind the others.

    Args:
        listen: where the sender listens. Whether this machine has what it names is checked here.
        environ: the environment. The variables of a service manager are removed.
        identity: the user that the sender will become; None: it keeps its user.

    Returns:
        The sockets. They listen already: a hook that connects now waits in the kernel until
        the sender is locked in.

    Raises:
        MailbellError: something is missing or forbidden; the message has the remedy.
    """
    given = systemd.activated_local_sockets(environ, os.getpid(), _PASSED)
    hook_place = LocalPlace(
        path=listen.hook, mode=_HOOK_MODE, backlog=BACKLOG, program=PROGRAM, key=_GROUP_KEY
    )
    control_place = LocalPlace(
        path=listen.control, mode=_GROUP_MODE, group=listen.group, program=PROGRAM, key=_GROUP_KEY
    )
    hooks = [open_local(hook_place, each, identity)[0] for each in given.get("hook", (None,))]
    (passed,) = given.get("control", (None,))
    control, withheld = open_local(control_place, passed, identity)
    local = (*hooks, control)
    early = any(map(sockets.takes_descriptors, local))
    refused = [sockets.refuse_descriptors(sock) for sock in local]
    return Sockets(
        hooks=tuple(hooks),
        control=control,
        comsat=tuple(sockets.bind_udp(each, freebind=False) for each in listen.comsat),
        cyrus=_cyrus(listen, identity) if listen.cyrus else None,
        activated=tuple(sorted(given)),
        withheld=withheld,
        descriptors_refused=all(refused),
        early_descriptors=early,
    )


def _cyrus(listen: Listen, identity: Identity | None) -> socket.socket:
    """Bind the notify socket. Whoever can write to it speaks for every account.

    So its mode is not that of the hook's socket: the user of Cyrus must be in the group.
    """
    place = LocalPlace(
        path=listen.cyrus, mode=_GROUP_MODE, group=listen.group, program=PROGRAM, key=_GROUP_KEY
    )
    mode, gid = group_of(place, identity)
    trusted = set() if identity is None else {identity.uid}
    return bind_local_datagrams(place.path, mode, gid, trusted, program=PROGRAM)
