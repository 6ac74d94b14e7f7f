"""Opens every socket that the daemon listens on, and attaches the kernel's packet filters.

This happens before the lock, while the process still has all its privileges. Nothing is
accepted yet.
"""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass

from mailbell._sys import bpf, credentials, sockets, systemd
from mailbell.core.errors import ConfigurationError, OperatingSystemError, PrivilegeError
from mailbell.core.networks import Family
from mailbell.listener._packet_filter import line_filter, source_filter
from mailbell.listener.configuration import Configuration, Listen, Sources
from mailbell.serving.local_place import LocalPlace, open_local

__all__ = ["Sockets", "open_sockets"]


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets that the daemon listens on, all bound before the lock.

    Attributes:
        tcp: listening stream sockets, each of one family.
        udp: bound datagram sockets, each of one family.
        local: the listening Unix socket.
        left_out: endpoints of the default whose family this machine does not have, each
            with the reason.
        activated: whether a service manager bound the network sockets.
        unfiltered: why the kernel does not enforce `sources.allow`; "": it does, or the
            list is empty.
        descriptors_refused: whether the kernel keeps local clients from passing descriptors.
        early_descriptors: whether those may pass descriptors that connected to a passed local
            socket before this start.
        withheld: the group of `socket.group`, if this user cannot give the socket to it; "":
            the group has access.
    """

    tcp: tuple[socket.socket, ...]
    udp: tuple[socket.socket, ...]
    local: socket.socket
    left_out: tuple[tuple[str, str], ...]
    activated: bool
    unfiltered: str
    descriptors_refused: bool
    early_descriptors: bool
    withheld: str


def open_sockets(
    configuration: Configuration,
    environ: MutableMapping[str, str],
    identity: credentials.Identity | None,
) -> Sockets:
    """Take the sockets that a service manager passes, bind the others, and filter all.

    Args:
        configuration: a valid configuration. Whether this machine has what it names is
            checked here.
        environ: the environment. The variables of a service manager are removed.
        identity: the user that the daemon will become; None: it keeps its user.

    Returns:
        The sockets. They listen already: a sender that connects now waits in the kernel
        until the daemon is locked in.

    Raises:
        MailbellError: something is missing or forbidden; the message has the remedy.
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
    place = configuration.socket
    wanted = LocalPlace(path=place.path, mode=place.mode, group=place.group)
    local, withheld = open_local(wanted, given.local, identity)
    early = sockets.takes_descriptors(local)
    return Sockets(
        tcp=tcp,
        udp=udp,
        local=local,
        left_out=left_out,
        activated=activated,
        unfiltered=unfiltered,
        descriptors_refused=sockets.refuse_descriptors(local),
        early_descriptors=early,
        withheld=withheld,
    )


def _bind_tcp(
    listen: Listen,
) -> tuple[tuple[socket.socket, ...], tuple[tuple[str, str], ...]]:
    """Return the TCP sockets, and the endpoints left out, each with the reason.

    An endpoint of the default is left out if this machine does not have its family. If the
    operator wrote an endpoint, it is bound or the daemon does not start.
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


def _require_called_addresses(
    configuration: Configuration, datagram: tuple[socket.socket, ...]
) -> None:
    """Check passed sockets as `mailbell.listener.configuration` checks configured endpoints."""
    if not any(account.addresses for account in configuration.account):
        return
    for sock in datagram:
        if sock.getsockname()[0] in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
            raise ConfigurationError(
                "an account has addresses, but a datagram socket is bound to every address "
                "and does not tell which one was called",
                "write ListenDatagram= with one address in its unit",
            )


def _filter(
    configuration: Configuration,
    stream: tuple[socket.socket, ...],
    datagram: tuple[socket.socket, ...],
    *,
    keep: bool,
) -> str:
    """Attach the packet filters; return why the kernel refused one, or "".

    The daemon itself enforces `sources.allow` too (`mailbell.listener._admission`), only
    later. Newer kernels demand CAP_NET_ADMIN to filter a TCP socket. The daemon must not
    demand that privilege, so a refusal is not an error.
    """
    sources, terminators = configuration.sources, configuration.protocol.terminators
    allow, translation = sources.allow, sources.translation
    refused = ""
    for sock in stream:
        try:
            _filter_stream(sock, sources, keep=keep)
        except PrivilegeError as error:
            refused = str(error)
    for sock in datagram:
        bpf.attach(sock, line_filter(_family(sock), allow, terminators, translation))
        if not keep:
            bpf.lock(sock)
    return refused


def _filter_stream(sock: socket.socket, sources: Sources, *, keep: bool) -> None:
    """Filter one listening socket.

    Args:
        sock: a listening socket of one family.
        sources: the listed networks; if `allow` is empty: no filter.
        keep: whether the service manager keeps this socket for the next run. That run may
            have another list, so the filter is not locked. In this run the policy of the
            sandbox forbids to change the filter.
    """
    if sources.allow:
        bpf.attach(sock, source_filter(_family(sock), sources.allow, sources.translation))
        if not keep:
            bpf.lock(sock)
    elif keep:
        with suppress(PrivilegeError):  # no privilege now: the earlier run had none either
            bpf.detach(sock)


def _family(sock: socket.socket) -> Family:
    return Family.IPV4 if sock.family == socket.AF_INET else Family.IPV6
