"""One connection to a target: as few system calls as possible, and not a byte is read.

A target by TCP needs socket, connect, sendto and close; the event loop adds one call. The error
of a connection is what `sendto` reports, so nothing is asked about it. The C type of a socket
costs less than its Python subclass `socket.socket`.
"""

import errno
import socket
from typing import Final, NamedTuple

from mailbell._sys.connections import close
from mailbell.core.networks import Address, Family
from mailbell.core.notification import Transport
from mailbell.core.rfc4146 import LINE
from mailbell.core.sender_outcome import RingOutcome

__all__ = ["SHORTAGES", "Path", "call_address", "outcome_of", "send_line"]

SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors that say what this machine lacks, and nothing about the target."""

_LENGTH: Final = len(LINE)
_NO_SIGNAL: Final = socket.MSG_NOSIGNAL
_SENT: Final = RingOutcome.SENT

_OUTCOMES: Final = {
    errno.ECONNREFUSED: RingOutcome.REFUSED,
    errno.ETIMEDOUT: RingOutcome.TIMEOUT,
    errno.ECONNRESET: RingOutcome.RESET,
    errno.ECONNABORTED: RingOutcome.RESET,
    errno.EPIPE: RingOutcome.RESET,
}


class Path(NamedTuple):
    """How an address is called, in the words of the socket module.

    Attributes:
        family: AF_INET or AF_INET6.
        kind: stream or datagram, non-blocking; CPython adds close-on-exec.
        protocol: TCP or UDP.
        address: text and port.
    """

    family: int
    kind: int
    protocol: int
    address: tuple[str, int]

    @classmethod
    def to(cls, address: Address, port: int, transport: Transport) -> "Path":
        """Prepare to call an address.

        Args:
            address: of either family.
            port: 1 to 65535.
            transport: TCP or UDP.
        """
        family = socket.AF_INET if address.family is Family.IPV4 else socket.AF_INET6
        kind, protocol = (
            (socket.SOCK_STREAM, socket.IPPROTO_TCP)
            if transport is Transport.TCP
            else (socket.SOCK_DGRAM, socket.IPPROTO_UDP)
        )
        # Not the text of `ipaddress`: what the kernel says of a socket is compared with it.
        text = socket.inet_ntop(family, address.value.to_bytes(address.family.bits // 8))
        return cls(family, kind | socket.SOCK_NONBLOCK, protocol, (text, port))

    @property
    def is_stream(self) -> bool:
        """Whether a connection must be made before the line can be sent."""
        return self.protocol == socket.IPPROTO_TCP


def call_address(path: Path, *, may_be_own: bool) -> socket.SocketType | RingOutcome:
    """Begin a connection, or send the datagram.

    Args:
        path: where to.
        may_be_own: whether it may be an address of this host.

    Returns:
        A socket that becomes writable when it is connected or has failed, and which the caller
        must close; or the outcome.

    Raises:
        OSError: this machine lacks something (`SHORTAGES`).
    """
    try:
        sock = socket.SocketType(path.family, path.kind, path.protocol)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        return outcome_of(error)  # a machine without IPv6
    number = sock.connect_ex(path.address)
    if number in {0, errno.EINPROGRESS}:
        # The kernel has chosen our own address by now. It is the target's if the target is an
        # address of this host, and in no other case.
        if not may_be_own and sock.getsockname()[0] == path.address[0]:
            outcome = RingOutcome.NOT_ALLOWED
        elif path.is_stream:
            return sock
        else:
            outcome = send_line(sock) or RingOutcome.UNREACHABLE
    else:
        outcome = outcome_of(OSError(number, ""))
    close(sock)
    if number in SHORTAGES:
        raise OSError(number, "connect")
    return outcome


def send_line(sock: socket.SocketType) -> RingOutcome | None:
    """Send the line.

    Args:
        sock: a socket that is connected or has failed.

    Returns:
        The outcome; None: it is not connected yet.
    """
    try:
        sent = sock.send(LINE, _NO_SIGNAL)
    except BlockingIOError:
        return None
    except OSError as error:
        return outcome_of(error)
    # A new connection has room for more than one line.
    return _SENT if sent == _LENGTH else RingOutcome.RESET


def outcome_of(error: OSError) -> RingOutcome:
    """Name an error of a connection.

    Args:
        error: what the kernel reports. An error that has no name of its own means that there
            is no way to the target: no route, no address of this host, a filter.

    Source: connect(2), send(2), ip(7), tcp(7).
    """
    return _OUTCOMES.get(error.errno or 0, RingOutcome.UNREACHABLE)
