"""`mailbell send`: sends one notification, as a mail server does (RFC 4146, section 3)."""

import errno
import socket
import time
from collections.abc import Sequence

import click

from mailbell.cli._common import Seconds
from mailbell.cli._dial import Candidate, Failures, connect, interleaved, send_datagram
from mailbell.cli._in_time import in_time
from mailbell.core import rfc4146
from mailbell.core.errors import (
    MailbellError,
    OperatingSystemError,
    PrivilegeError,
    TemporaryError,
    UnavailableError,
    UsageError,
)

__all__ = ["command", "parse_target"]

# RFC 4146 takes the finger port: "opens a TCP connection to port 79".
_PORT = 79


def parse_target(text: str) -> tuple[str, int]:
    """Read `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`; a bare V6 address has no port.

    Args:
        text: the target as typed.

    Returns:
        Host, and port (79 unless given).

    Raises:
        UsageError: the text has none of these forms.
    """
    if text.startswith("["):
        host, closing, rest = text[1:].partition("]")
        if not closing or (rest and not rest.startswith(":")):
            raise UsageError(f"{text!r} is no target", "write [ADDRESS] or [ADDRESS]:PORT")
        port = rest[1:] if rest else str(_PORT)
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, str(_PORT)
    if not host:
        raise UsageError(f"there is no host in {text!r}", "write HOST or HOST:PORT")
    return host, _parse_port(port)


def _parse_port(text: str) -> int:
    # isdecimal alone would also accept the digits of other scripts.
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise UsageError(f"{text!r} is no port", "write a number from 1 to 65535")


def _brackets(target: str) -> str:
    """Explain how to write a port after an IPv6 address, if the target may have meant one."""
    address, _, port = target.rpartition(":")
    try:
        socket.inet_pton(socket.AF_INET6, address)
        _parse_port(port)
    except (OSError, UnicodeError, UsageError):
        return ""
    return f"; for port {port} of {address} write [{address}]:{port}"


def _resolve(host: str, port: int, kind: socket.SocketKind, timeout: float) -> list[Candidate]:
    try:
        return in_time(lambda: socket.getaddrinfo(host, port, type=kind), timeout)
    except TimeoutError as error:
        remedy = "try later, or a longer --timeout, or an address instead of the name"
        raise TemporaryError(f"{host}: no name server answered in time", remedy) from error
    except (socket.gaierror, UnicodeError) as error:
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
            raise TemporaryError(f"{host}: no name server answers now", "try later") from error
        raise UnavailableError(f"{host}: no such host", "check the name") from error


def _deliver(candidates: Sequence[Candidate], deadline: float) -> Candidate:
    """Connect to one of the addresses and send the line to it, and to no other address."""
    connection, candidate = connect(candidates, deadline)
    with connection:
        # A time-out of zero would mean "do not wait".
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            connection.sendall(rfc4146.encode())
            # RFC 4146: "closes without waiting". The end of the stream follows the line.
            connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            # No other address is tried: it may belong to the same listener, which may have
            # read the line.
            raise Failures([(candidate, error)]) from error
    return candidate


def _explain(error: OSError, where: str) -> MailbellError:
    if isinstance(error, TimeoutError):
        return TemporaryError(
            f"{where}: no answer in time", "try later, or a longer --timeout; a filter may drop it"
        )
    if isinstance(error, ConnectionRefusedError):
        return UnavailableError(f"{where}: nothing listens there", "start mailbelld there")
    if isinstance(error, PermissionError):
        return PrivilegeError(f"{where}: this system forbids it", "check the local firewall")
    if error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL}:
        return UnavailableError(f"{where}: no way there ({error.strerror})", "check the network")
    if isinstance(error, ConnectionError) or error.errno == errno.ENOTCONN:
        # A listener that accepts the line closes in order. One that refuses the source or
        # its rate need not read the line. ENOTCONN: the listener reset the connection first.
        remedy = "it may refuse this source, or so many from it: run mailbell status there"
        return UnavailableError(f"{where}: broken off by the listener", remedy)
    return OperatingSystemError(f"{where}: {error.strerror or error}", "check this system")


def _where(candidate: Candidate) -> str:
    host, port = candidate[4][:2]
    transport = "tcp" if candidate[1] is socket.SOCK_STREAM else "udp"
    return f"{transport} [{host}]:{port}" if ":" in host else f"{transport} {host}:{port}"


def _send(host: str, port: int, kind: socket.SocketKind, timeout: float) -> str:
    deadline = time.monotonic() + timeout
    candidates = interleaved(_resolve(host, port, kind, timeout))
    if not candidates:
        raise UnavailableError(f"{host}: no address", "check the name")
    try:
        if kind is socket.SOCK_STREAM:
            return _where(_deliver(candidates, deadline))
        return _where(send_datagram(candidates, rfc4146.encode(), deadline))
    except Failures as failures:
        raise _sum_up(failures) from failures


def _sum_up(failures: Failures) -> MailbellError:
    """Explain the last failure. A silent address fails later than one that refuses."""
    candidate, error = failures.all[-1]
    count = len(failures.all)
    others = f" (the last of {count} addresses)" if count > 1 else ""
    return _explain(error, _where(candidate) + others)


_EXAMPLES = """\b
Examples:
  mailbell send 127.0.0.1
  mailbell send --timeout 2 laptop.example
  mailbell send [2001:db8::1]:7979
  mailbell send --udp -v 127.0.0.1:7979"""


_HELP = """\
Send one notification, as a mail server would.

HOST is a name or an address. Write an IPv6 address with a port in brackets.
The default port is 79. On success it prints nothing.

If a name has several addresses, each next one is tried a quarter of a second
after the one before. Only the first that connects gets the notification. A
datagram gets no answer. It goes to the first address that this machine can
send to, and to the next one only if the first reports an error."""


@click.command(help=_HELP, epilog=_EXAMPLES)
@click.argument("target", metavar="HOST[:PORT]")
@click.option("--udp", is_flag=True, help="One datagram instead of a connection.")
@click.option(
    "--timeout",
    type=Seconds(),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Time for the look-up, connecting and sending, for all addresses together.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print the address that was used.")
def command(target: str, udp: bool, timeout: float, verbose: bool) -> None:
    """Send one notification, as a mail server would."""
    host, port = parse_target(target)
    try:
        sent = _send(host, port, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM, timeout)
    except MailbellError as error:
        raise type(error)(error.what, error.remedy + _brackets(target)) from error
    if verbose:
        click.echo(f"sent to {sent}")
