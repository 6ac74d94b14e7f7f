"""Opens the sockets the daemon listens on, and asks the kernel about them.

All of this happens before the lock and before the event loop, with the
standard library's sockets: an event loop would start threads for some of it.
"""

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Final, Protocol

from mailbell._sys.port_holder import Holder, holder
from mailbell.core.errors import MailbellError, OperatingSystemError, PrivilegeError
from mailbell.core.networks import Family
from mailbell.core.notification import Transport

__all__ = [
    "AddressMissingError",
    "EndpointLike",
    "FamilyMissingError",
    "PeerCredentials",
    "PortTakenError",
    "bind_tcp",
    "bind_udp",
    "defer_accept",
    "examine",
    "kernel_drops",
    "limit_send_buffer",
    "peer_credentials",
    "refuse_descriptors",
]

_BACKLOG: Final = 4096  # the kernel lowers it to net.core.somaxconn
_DEFER_SECONDS: Final = 1

# asm-generic/socket.h and linux/sock_diag.h; the socket module does not name them.
_SO_MEMINFO: Final = 55
_SK_MEMINFO_DROPS: Final = 8
_SO_PASSRIGHTS: Final = 83
# linux/in.h and linux/in6.h.
_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78

_UCRED: Final = struct.Struct("iII")  # `struct ucred`, unix(7)


class EndpointLike(Protocol):
    """What a socket is bound to. `mailbell.configuration.values.Endpoint` is one."""

    @property
    def family(self) -> Family:
        """The address family."""

    @property
    def host(self) -> str:
        """The numeric address."""

    @property
    def port(self) -> int:
        """The port; 0 lets the kernel choose."""


@dataclass(frozen=True, slots=True)
class PeerCredentials:
    """Who connected to a local socket, as the kernel noted it then (unix(7)).

    Attributes:
        pid: process; 0 when it lives in another pid namespace.
        uid: effective user.
        gid: effective group.
    """

    pid: int
    uid: int
    gid: int


class PortTakenError(OperatingSystemError):
    """Another process has the port.

    Args:
        endpoint: what cannot be bound.
        found: who has it; None when that cannot be seen.
    """

    def __init__(self, endpoint: EndpointLike, found: Holder | None) -> None:
        by = f" by {found.name}, pid {found.pid}" if found else ""
        super().__init__(
            f"port {endpoint.port} of {endpoint.host} is taken{by}",
            f"stop what holds it (ss -lnp 'sport = {endpoint.port}'), or listen elsewhere",
        )
        self.holder = found


class FamilyMissingError(OperatingSystemError):
    """This machine has no addresses of that family, as with `ipv6.disable=1`.

    Args:
        endpoint: what cannot be bound.
    """

    def __init__(self, endpoint: EndpointLike) -> None:
        self.reason = f"this machine has no IPv{endpoint.family.value}"
        super().__init__(
            f"{self.reason}, asked for by port {endpoint.port} of {endpoint.host}",
            "remove that address from what mailbelld listens on",
        )


class AddressMissingError(OperatingSystemError):
    """The address is not one of this machine's, or not yet.

    Args:
        endpoint: what cannot be bound.
    """

    def __init__(self, endpoint: EndpointLike) -> None:
        super().__init__(
            f"{endpoint.host} is not an address of this machine",
            "see `ip address`; write 0.0.0.0 or [::] for all of them, or listen.freebind = true"
            " for one that comes later",
        )


def bind_tcp(endpoint: EndpointLike, *, freebind: bool = False) -> socket.socket:
    """Listen on a TCP address.

    Args:
        endpoint: a numeric address and a port.
        freebind: whether the address may come later (IP_FREEBIND, ip(7)).

    Returns:
        A listening socket: non-blocking, close-on-exec, of one family only. A
        connection that stays silent does not wake its owner for some seconds.

    Raises:
        FamilyMissingError: this machine has no addresses of that family.
        AddressMissingError: the address is not here.
        OperatingSystemError: the port is taken.
        PrivilegeError: the port needs a privilege this process lacks.
    """
    sock = _bound(endpoint, Transport.TCP, freebind=freebind)
    try:
        defer_accept(sock)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _explain(error, endpoint, Transport.TCP) from error
    return sock


def bind_udp(endpoint: EndpointLike, *, freebind: bool = False) -> socket.socket:
    """Bind a UDP address. Never with SO_REUSEADDR, which would let another share it.

    Args:
        endpoint: a numeric address and a port.
        freebind: whether the address may come later (IP_FREEBIND, ip(7)).

    Returns:
        A bound socket: non-blocking, close-on-exec, of one family only.

    Raises:
        FamilyMissingError: this machine has no addresses of that family.
        AddressMissingError: the address is not here.
        OperatingSystemError: the port is taken.
        PrivilegeError: the port needs a privilege this process lacks.
    """
    return _bound(endpoint, Transport.UDP, freebind=freebind)


def examine(endpoint: EndpointLike, transport: Transport, *, freebind: bool = False) -> None:
    """Tell whether `bind_tcp` or `bind_udp` would succeed for this process.

    The port is bound and given back. Nobody listens in between, so no
    connection is accepted or lost; a datagram that came just then would be.

    Args:
        endpoint: a numeric address and a port.
        transport: which of the two.
        freebind: whether the address may come later.

    Raises:
        OperatingSystemError: as they do.
        PrivilegeError: as they do.
    """
    _bound(endpoint, transport, freebind=freebind).close()


def defer_accept(sock: socket.socket) -> None:
    """Let silent connections wait in the kernel (TCP_DEFER_ACCEPT, tcp(7)).

    They surface after some seconds all the same, so a deadline is still needed.

    Args:
        sock: a TCP socket.

    Raises:
        OSError: the option cannot be set.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_SECONDS)


def kernel_drops(sock: socket.socket) -> int | None:
    """Count what the kernel dropped at a socket: its filter, or a full queue.

    Args:
        sock: any Internet socket.

    Returns:
        Packets since it was made, 32 bits that wrap around; None when the kernel
        does not tell (SO_MEMINFO came with Linux 4.12).
    """
    size = 4 * (_SK_MEMINFO_DROPS + 1)
    try:
        answer = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, size)
    except OSError:
        return None
    if len(answer) < size:
        return None
    drops: int = struct.unpack_from("=I", answer, 4 * _SK_MEMINFO_DROPS)[0]
    return drops


def peer_credentials(sock: socket.socket) -> PeerCredentials:
    """Ask who is at the other end of a local socket.

    Args:
        sock: an accepted Unix socket.

    Returns:
        What the peer was when it connected. For the log: the socket's mode and
        group decide who may connect, not this.

    Raises:
        OSError: not a Unix socket.
    """
    answer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return PeerCredentials(*_UCRED.unpack(answer))


def limit_send_buffer(sock: socket.socket) -> None:
    """Give a socket the smallest send buffer the kernel knows (about 4.5 KiB).

    A peer that does not read then holds six small messages of ours at most, not a queue.

    Args:
        sock: an accepted Unix socket; the option is not inherited from the listener.

    Raises:
        OSError: the option cannot be set.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)


def refuse_descriptors(sock: socket.socket) -> bool:
    """Keep local peers from passing descriptors (SO_PASSRIGHTS, Linux 6.16).

    Whoever reads a message closes the descriptors in it, and closing some takes
    as long as their owner likes: a TCP connection told to linger, a file of a
    hung network file system. Accepted sockets inherit this.

    Args:
        sock: the listening Unix socket.

    Returns:
        Whether the kernel knows the option.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        return False
    return True


def _bound(endpoint: EndpointLike, transport: Transport, *, freebind: bool) -> socket.socket:
    """Make a socket and bind it; it does not listen yet."""
    sock = _open(endpoint, transport)
    try:
        if freebind:
            _permit_later_address(sock)
        if transport is Transport.TCP:
            # Without it a restart would wait for connections in TIME_WAIT. It does not
            # let two sockets listen on one port (socket(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((endpoint.host, endpoint.port))
    except OSError as error:
        sock.close()
        raise _explain(error, endpoint, transport) from error
    return sock


def _permit_later_address(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)


def _open(endpoint: EndpointLike, transport: Transport) -> socket.socket:
    """Make a socket of one family and no other."""
    kind = socket.SOCK_STREAM if transport is Transport.TCP else socket.SOCK_DGRAM
    ipv6 = endpoint.family is Family.IPV6
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    try:
        # SOCK_CLOEXEC is Python's default (PEP 446).
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise _explain(error, endpoint, transport) from error
    if ipv6:
        # Else an IPv4 source would look like ::ffff:192.0.2.1 and all of them would
        # share one /64 of the limiter.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _explain(error: OSError, endpoint: EndpointLike, transport: Transport) -> MailbellError:
    """Say what is wrong with an address, and what to do about it."""
    where = f"port {endpoint.port} of {endpoint.host}"
    match error.errno:
        case errno.EADDRINUSE:
            found = holder(endpoint.family, endpoint.port, transport)
            return PortTakenError(endpoint, found)
        case errno.EACCES | errno.EPERM:
            return PrivilegeError(
                f"no permission to bind {where}",
                "start as root, let the service manager bind it (socket activation),"
                " or listen on a port above 1023",
            )
        case errno.EADDRNOTAVAIL:
            return AddressMissingError(endpoint)
        case errno.EAFNOSUPPORT:
            return FamilyMissingError(endpoint)
    remedy = "see to what the system lacks, and try again"
    return OperatingSystemError(f"cannot listen on {where}: {error.strerror or error}", remedy)
