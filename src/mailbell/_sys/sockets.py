"""Opens the sockets that the daemon listens on, and asks the kernel about them.

The sockets are opened before the lock and before the event loop, with the standard
library: an event loop would start threads for some of this.
"""

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Final, Protocol

from mailbell._sys.port_holder import Holder, find_holder
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
    "takes_descriptors",
]

_BACKLOG: Final = 4096  # the kernel uses net.core.somaxconn if that is lower
_DEFER_SECONDS: Final = 1
# Bytes for datagrams that wait, with the kernel's own records; the kernel doubles the number.
# The usual limit holds some 300 datagrams: a flood of 20,000 a second fills it in 15 ms.
_RECEIVE_BUFFER: Final = 2 * 1024 * 1024

# asm-generic/socket.h and linux/sock_diag.h; the socket module does not name them.
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_SK_MEMINFO_DROPS: Final = 8
_SO_PASSRIGHTS: Final = 83
# linux/in.h and linux/in6.h.
_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78

_UCRED: Final = struct.Struct("iII")  # `struct ucred`, unix(7)


class EndpointLike(Protocol):
    """An address and a port to bind. `mailbell.configuration.values.Endpoint` is one."""

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
    """The process that connected to a local socket, as the kernel noted it then (unix(7)).

    Attributes:
        pid: the id of the process; 0: the process is in another pid namespace.
        uid: its effective user.
        gid: its effective group.
    """

    pid: int
    uid: int
    gid: int


class PortTakenError(OperatingSystemError):
    """Another process has the port.

    Args:
        endpoint: the endpoint that cannot be bound.
        found: the process that has the port; None: unknown.
    """

    def __init__(self, endpoint: EndpointLike, found: Holder | None) -> None:
        by = f" by {found.name}, pid {found.pid}" if found else ""
        super().__init__(
            f"port {endpoint.port} of {endpoint.host} is taken{by}",
            f"stop what holds it (ss -lnp 'sport = {endpoint.port}'), or listen elsewhere",
        )
        self.holder = found


class FamilyMissingError(OperatingSystemError):
    """This machine has no addresses of that family, for example with `ipv6.disable=1`.

    Args:
        endpoint: the endpoint that cannot be bound.
    """

    def __init__(self, endpoint: EndpointLike) -> None:
        self.reason = f"this machine has no IPv{endpoint.family.value}"
        super().__init__(
            f"{self.reason}, asked for by port {endpoint.port} of {endpoint.host}",
            "remove that address from the configuration",
        )


class AddressMissingError(OperatingSystemError):
    """This machine does not have the address, or does not have it yet.

    Args:
        endpoint: the endpoint that cannot be bound.
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
        A listening socket: non-blocking, close-on-exec, of one family only. A silent
        connection waits in the kernel for some seconds before it can be accepted.

    Raises:
        FamilyMissingError: this machine has no addresses of that family.
        AddressMissingError: this machine does not have the address.
        OperatingSystemError: the port is taken.
        PrivilegeError: the port needs a privilege that this process lacks.
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
    """Bind a UDP address. SO_REUSEADDR is not used: it would let other processes share it.

    Its queue is as large as this process may make it, up to 4 MiB. The kernel has one queue
    for all sources: what comes while it is full is lost, a good sender's datagram too.

    Args:
        endpoint: a numeric address and a port.
        freebind: whether the address may come later (IP_FREEBIND, ip(7)).

    Returns:
        A bound socket: non-blocking, close-on-exec, of one family only.

    Raises:
        FamilyMissingError: this machine has no addresses of that family.
        AddressMissingError: this machine does not have the address.
        OperatingSystemError: the port is taken.
        PrivilegeError: the port needs a privilege that this process lacks.
    """
    sock = _bound(endpoint, Transport.UDP, freebind=freebind)
    _enlarge_receive_queue(sock)
    return sock


def examine(endpoint: EndpointLike, transport: Transport, *, freebind: bool = False) -> None:
    """Tell whether `bind_tcp` or `bind_udp` would succeed for this process.

    The port is bound and given back. The socket does not listen, so no connection is
    accepted or lost. A datagram that arrives at that moment is lost.

    Args:
        endpoint: a numeric address and a port.
        transport: TCP: as `bind_tcp`; UDP: as `bind_udp`.
        freebind: whether the address may come later.

    Raises:
        OperatingSystemError: as `bind_tcp`.
        PrivilegeError: as `bind_tcp`.
    """
    _bound(endpoint, transport, freebind=freebind).close()


def defer_accept(sock: socket.socket) -> None:
    """Make silent connections wait in the kernel (TCP_DEFER_ACCEPT, tcp(7)).

    After some seconds the kernel lets them be accepted, so a deadline is still needed.

    Args:
        sock: a TCP socket.

    Raises:
        OSError: the option cannot be set.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_SECONDS)


def kernel_drops(sock: socket.socket) -> int | None:
    """Return how many packets the kernel dropped at a socket: by its filter, or in a full queue.

    Args:
        sock: any Internet socket.

    Returns:
        Packets since the socket was made, 32 bits that wrap around. None: the kernel does
        not tell (SO_MEMINFO came with Linux 4.12).
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
    """Ask which process is at the other end of a local socket.

    Args:
        sock: an accepted Unix socket.

    Returns:
        The peer's process, user and group when it connected. They are for the log only:
        the socket's mode and group decide which users may connect.

    Raises:
        OSError: it is no Unix socket.
    """
    answer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return PeerCredentials(*_UCRED.unpack(answer))


def limit_send_buffer(sock: socket.socket) -> None:
    """Give a socket the smallest send buffer that the kernel permits (about 4.5 KiB).

    Then at most six small messages wait in the kernel for a peer that does not read.

    Args:
        sock: an accepted Unix socket. It does not inherit the option from the listener.

    Raises:
        OSError: the option cannot be set.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)


def refuse_descriptors(sock: socket.socket) -> bool:
    """Forbid local peers to pass descriptors (SO_PASSRIGHTS, Linux 6.16).

    The process that reads a message must close the descriptors in it. To close some of
    them takes as long as their owner likes: a TCP connection with the linger option, a file
    of a network file system that hangs. The peer's call that passes one fails with EPERM.

    Args:
        sock: a listening Unix socket, whose accepted sockets inherit the option, or a Unix
            socket that is not connected yet.

    Returns:
        Whether the kernel knows the option.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        return False
    return True


def takes_descriptors(sock: socket.socket) -> bool:
    """Tell whether local peers may pass descriptors, and the kernel could forbid it.

    A connection has the option from the moment of connect(2), not of accept(2). So those that
    wait in the queue of a listening socket may pass descriptors until they are closed, if
    `refuse_descriptors` came later.

    Args:
        sock: a Unix socket.

    Returns:
        Whether the kernel has the option and it is on. False: it is off, or it is unknown.
    """
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS))
    except OSError:
        return False


def _bound(endpoint: EndpointLike, transport: Transport, *, freebind: bool) -> socket.socket:
    """Make a socket and bind it; it does not listen yet."""
    sock = _open(endpoint, transport)
    try:
        if freebind:
            _permit_later_address(sock)
        if transport is Transport.TCP:
            # Without this option a restart would wait for connections in TIME_WAIT. It does
            # not let two sockets listen on one port (socket(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((endpoint.host, endpoint.port))
    except OSError as error:
        sock.close()
        raise _explain(error, endpoint, transport) from error
    return sock


def _enlarge_receive_queue(sock: socket.socket) -> None:
    """Make a queue as large as this process may: beyond net.core.rmem_max with CAP_NET_ADMIN."""
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, _RECEIVE_BUFFER)
        except PermissionError:
            continue
        return


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
        # Without this option an IPv4 source would look like ::ffff:192.0.2.1, and all IPv4
        # sources would share one /64 of the limiter.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _explain(error: OSError, endpoint: EndpointLike, transport: Transport) -> MailbellError:
    """Say what is wrong with an address, with the remedy."""
    where = f"port {endpoint.port} of {endpoint.host}"
    match error.errno:
        case errno.EADDRINUSE:
            found = find_holder(endpoint.family, endpoint.port, transport)
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
    remedy = "find out what the system lacks, and try again"
    return OperatingSystemError(f"cannot listen on {where}: {error.strerror or error}", remedy)
