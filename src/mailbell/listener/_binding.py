"""What the daemon listens on: bound or taken over, filtered by the kernel, closed to others.

All of it happens before the lock, with every privilege still held, and nothing
is accepted yet.
"""

import os
import socket
import stat
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mailbell._sys import bpf, credentials, sockets, systemd
from mailbell._sys.local_socket import bind_local
from mailbell.core.errors import ConfigurationError, OperatingSystemError, PrivilegeError
from mailbell.core.networks import Family, Network
from mailbell.listener._packet_filter import line_filter, source_filter
from mailbell.listener.configuration import Configuration, Listen

__all__ = ["Sockets", "open_sockets"]


@dataclass(frozen=True, slots=True)
class Sockets:
    """What the daemon listens on, all of it bound before the lock.

    Attributes:
        tcp: listening stream sockets, each of one family.
        udp: bound datagram sockets, each of one family.
        local: the listening Unix socket.
        left_out: endpoints of the default that a family is missing for, each with the reason.
        activated: whether a service manager bound those of the network.
        unfiltered: why the kernel does not enforce `sources.allow`; "": it does, or need not.
        descriptors_refused: whether the kernel keeps local peers from passing descriptors.
        withheld: the group that `socket.group` names and this user cannot let in; "": none.
    """

    tcp: tuple[socket.socket, ...]
    udp: tuple[socket.socket, ...]
    local: socket.socket
    left_out: tuple[tuple[str, str], ...]
    activated: bool
    unfiltered: str
    descriptors_refused: bool
    withheld: str


def open_sockets(
    configuration: Configuration,
    environ: MutableMapping[str, str],
    identity: credentials.Identity | None,
) -> Sockets:
    """Take the sockets a service manager gives, bind whatever it does not, filter them.

    Args:
        configuration: valid, but not yet held against this machine.
        environ: the environment; what a service manager passes in it is taken out.
        identity: whom the daemon will become; None: who it is.

    Returns:
        All of them, listening already: whoever connects waits until we are locked in.

    Raises:
        MailbellError: something is missing or not allowed; the message has the remedy.
    """
    given = systemd.activated_sockets(environ, os.getpid())
    activated = bool(given.tcp or given.udp)
    listen = configuration.listen
    left_out: tuple[tuple[str, str], ...] = ()
    if activated:
        tcp, udp = given.tcp, given.udp
    else:
        tcp, left_out = _bind_tcp(listen)
        udp = tuple(sockets.bind_udp(each, freebind=listen.freebind) for each in listen.udp)
    _require_called_addresses(configuration, udp)
    unfiltered = _filter(configuration, tcp, udp, keep=activated)
    local, withheld = _local(configuration, given.local, identity)
    return Sockets(
        tcp=tcp,
        udp=udp,
        local=local,
        left_out=left_out,
        activated=activated,
        unfiltered=unfiltered,
        descriptors_refused=sockets.refuse_descriptors(local),
        withheld=withheld,
    )


def _bind_tcp(
    listen: Listen,
) -> tuple[tuple[socket.socket, ...], tuple[tuple[str, str], ...]]:
    """Return the TCP sockets, and what was left out of the default, each with the reason.

    The default asks for each family that this machine has. An endpoint that was written
    is bound, or the daemon does not start.
    """
    bound: list[socket.socket] = []
    missing: list[tuple[str, str]] = []
    for endpoint in listen.tcp:
        try:
            bound.append(sockets.bind_tcp(endpoint, freebind=listen.freebind))
        except sockets.FamilyMissingError as error:
            if not listen.is_default:
                raise
            missing.append((f"tcp {endpoint}", error.reason))
    if not bound and missing:
        raise OperatingSystemError(
            "this machine has neither IPv4 nor IPv6", "boot a kernel that has one of them"
        )
    return tuple(bound), tuple(missing)


def _local(
    configuration: Configuration,
    given: socket.socket | None,
    identity: credentials.Identity | None,
) -> tuple[socket.socket, str]:
    """Return the local socket, and the group that could not be let in; "": none."""
    local = configuration.socket
    if given is not None:
        _require_closed_to_others(given, local.mode)
        return given, ""
    if not local.group:
        own = None if identity is None else identity.gid
        return bind_local(local.path, local.mode, own), ""
    group = credentials.group_to_give(local.group)
    if group is None:
        # Then nobody else is let in either: the user's own group was not meant.
        return bind_local(local.path, local.mode & 0o700, None), local.group
    return bind_local(local.path, local.mode, group), ""


def _require_closed_to_others(sock: socket.socket, mode: int) -> None:
    """Refuse a local socket that lets more people in than `socket.mode` says.

    A service manager's default is to let everybody in.
    """
    path = sock.getsockname()
    if not isinstance(path, str) or not path:
        raise ConfigurationError(
            "the service manager's local socket has no path, so nobody could be kept out",
            "write ListenStream= with a path in its unit",
        )
    found = stat.S_IMODE(os.lstat(path).st_mode)
    if found & ~mode & 0o777:
        raise ConfigurationError(
            f"{path} has mode {found:04o}, socket.mode is {mode:04o}",
            f"write SocketMode={mode:04o} and SocketGroup= in its unit",
        )


def _require_called_addresses(
    configuration: Configuration, datagram: tuple[socket.socket, ...]
) -> None:
    """Hold passed sockets to what `mailbell.listener.configuration` holds configured ones to."""
    if not any(account.addresses for account in configuration.account):
        return
    for sock in datagram:
        if sock.getsockname()[0] in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
            raise ConfigurationError(
                "an account has addresses, and a datagram socket is bound to all of them, "
                "so that nobody knows which was called",
                "write ListenDatagram= with one address in its unit",
            )


def _filter(
    configuration: Configuration,
    stream: tuple[socket.socket, ...],
    datagram: tuple[socket.socket, ...],
    *,
    keep: bool,
) -> str:
    """Give the kernel what it can decide before us; return why it would not, "" when it did.

    A list that the kernel does not enforce is still enforced by the daemon
    itself (`mailbell.listener._admission`), only later: newer kernels want
    CAP_NET_ADMIN to filter a TCP socket, and it would be wrong to demand it.
    """
    allow, terminators = configuration.sources.allow, configuration.protocol.terminators
    refused = ""
    for sock in stream:
        try:
            _filter_stream(sock, allow, keep=keep)
        except PrivilegeError as error:
            refused = str(error)
    for sock in datagram:
        bpf.attach(sock, line_filter(_family(sock), allow, terminators))
        if not keep:
            bpf.lock(sock)
    return refused


def _filter_stream(sock: socket.socket, allow: Sequence[Network], *, keep: bool) -> None:
    """Filter one listening socket.

    Args:
        sock: of one family.
        allow: the listed networks; empty for no filter.
        keep: the service manager keeps this socket for the next run, whose list
            may be another: no lock then. The policy forbids us to change it anyway.
    """
    if allow:
        bpf.attach(sock, source_filter(_family(sock), allow))
        if not keep:
            bpf.lock(sock)
    elif keep:
        with suppress(PrivilegeError):  # then there was none to attach one either
            bpf.detach(sock)


def _family(sock: socket.socket) -> Family:
    return Family.IPV4 if sock.family == socket.AF_INET else Family.IPV6
