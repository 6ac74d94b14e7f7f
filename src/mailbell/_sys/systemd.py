"""Takes sockets from a service manager, and tells it the state of the daemon.

Socket activation, sd_listen_fds(3): the manager binds the sockets, so this program never
has that privilege. Every passed socket is checked: a unit file is easily wrong, and with a
socket of both families the limits would count wrong sources.

Notification, sd_notify(3), and the watchdog, sd_watchdog_enabled(3).

Both protocols need a few lines only. libsystemd would be one more library in a process
that is locked in.
"""

import os
import socket
from collections.abc import Callable, Collection, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from mailbell._sys.sockets import defer_accept
from mailbell.core.errors import ConfigurationError, Problem
from mailbell.core.escape import printable

__all__ = [
    "PASSED",
    "ActivatedSockets",
    "Notifier",
    "activated_local_sockets",
    "activated_sockets",
    "logs_to_journal",
]

T = TypeVar("T")

_FIRST: Final = 3  # SD_LISTEN_FDS_START
_MAX_SOCKETS: Final = 64
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_SHOWN: Final = 120  # characters of an address in a message
# Variables that a service manager sets for this process only, not for its child processes.
PASSED: Final = frozenset({*_VARIABLES, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class ActivatedSockets:
    """The sockets that a service manager has bound for this process; all may be missing.

    Attributes:
        tcp: listening stream sockets, each of one family.
        udp: bound datagram sockets, each of one family.
        local: the listening Unix socket.
    """

    tcp: tuple[socket.socket, ...] = ()
    udp: tuple[socket.socket, ...] = ()
    local: socket.socket | None = None


def activated_sockets(environ: MutableMapping[str, str], pid: int) -> ActivatedSockets:
    """Take the sockets that a service manager passes.

    Args:
        environ: the environment. The variables are removed from it, so that no code
            takes the descriptors twice.
        pid: the id of this process. Sockets for another process are left alone.

    Returns:
        The sockets, by their names in the unit (`FileDescriptorName=`), each
        non-blocking and close-on-exec.

    Raises:
        ConfigurationError: a name is unknown, or a socket is not what its name says.
    """
    return _taken(environ, pid, _CHECKS, _sort) or ActivatedSockets()


def activated_local_sockets(
    environ: MutableMapping[str, str], pid: int, names: Mapping[str, int]
) -> dict[str, tuple[socket.socket, ...]]:
    """Take the Unix sockets that a service manager passes to a daemon with several of them.

    Args:
        environ: as for `activated_sockets`.
        pid: as for `activated_sockets`.
        names: the names that the sockets may have in their units, and how many may have each.

    Returns:
        The sockets that were passed, by their names. Each is a listening stream socket.

    Raises:
        ConfigurationError: a name is unknown or too frequent, or a socket is not such a one.
    """

    def by_name(taken: list[tuple[str, socket.socket]]) -> dict[str, tuple[socket.socket, ...]]:
        found: dict[str, tuple[socket.socket, ...]] = {}
        for name, sock in taken:
            found[name] = (*found.get(name, ()), sock)
            if len(found[name]) > names[name]:
                raise _several(name, names[name])
        return found

    return _taken(environ, pid, dict.fromkeys(names, _check_local), by_name) or {}


def _taken(
    environ: MutableMapping[str, str],
    pid: int,
    checks: "Mapping[str, _Check]",
    arrange: Callable[[list[tuple[str, socket.socket]]], T],
) -> T | None:
    """Take all sockets for this process and arrange them; None: there are none for it."""
    values = {name: environ.pop(name, "") for name in _VARIABLES}
    if values["LISTEN_PID"] != str(pid):
        return None
    count = _number("LISTEN_FDS", values["LISTEN_FDS"]) or 0
    if count > _MAX_SOCKETS:
        raise ConfigurationError(
            f"LISTEN_FDS passes {count} sockets", f"at most {_MAX_SOCKETS} are taken"
        )
    names = values["LISTEN_FDNAMES"].split(":") if values["LISTEN_FDNAMES"] else []
    if len(names) != count:
        raise ConfigurationError(
            f"LISTEN_FDNAMES has {len(names)} names for {count} sockets",
            f"name each in its socket unit: {_choice(checks)}",
        )
    taken: list[tuple[str, socket.socket]] = []
    wrong: list[ConfigurationError] = []
    try:
        for descriptor, name in enumerate(names, _FIRST):
            try:
                taken.append((name, _take(descriptor, name, checks)))
            except ConfigurationError as error:
                wrong.append(error)
        _refuse(wrong)
        return arrange(taken)
    except BaseException:
        for _, sock in taken:
            sock.close()
        raise


def _choice(names: Collection[str]) -> str:
    """Say which names a socket may have in its unit."""
    *others, last = names
    return f"FileDescriptorName={', '.join(others)} or {last}"


def _refuse(wrong: list[ConfigurationError]) -> None:
    """Raise one error for all sockets that are not what their names say."""
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise ConfigurationError(
            f"{len(wrong)} sockets of the service manager cannot be used",
            "correct their socket units",
            tuple(Problem("", str(error)) for error in wrong),
        )


def _sort(taken: list[tuple[str, socket.socket]]) -> ActivatedSockets:
    by_name = {kind: tuple(s for name, s in taken if name == kind) for kind in _CHECKS}
    if len(by_name["local"]) > 1:
        raise _several("local", 1)
    return ActivatedSockets(by_name["tcp"], by_name["udp"], next(iter(by_name["local"]), None))


def _several(name: str, most: int) -> ConfigurationError:
    how_many, keep = ("several", "one") if most == 1 else (f"more than {most}", str(most))
    return ConfigurationError(
        f"the service manager passes {how_many} sockets named {name}",
        f"keep {keep} ListenStream= with a path in units with that name",
    )


def _take(descriptor: int, name: str, checks: "Mapping[str, _Check]") -> socket.socket:
    """Make a socket object of a descriptor, if the socket is what its name says."""
    where = f"descriptor {descriptor} ({name!r}) of the service manager"
    check = checks.get(name)
    if check is None:
        raise ConfigurationError(
            f"{where} has an unknown name", f"write {_choice(checks)} in its unit"
        )
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigurationError(
            f"{where} is no socket: {error.strerror}", "pass nothing else under these names"
        ) from error
    try:
        problem = check(sock) or _dual_stack(sock)
        if problem:
            raise ConfigurationError(f"{where} {problem[0]}", problem[1])
        sock.set_inheritable(False)
        sock.setblocking(False)
        if name == "tcp":
            defer_accept(sock)
    except BaseException:
        sock.close()
        raise
    return sock


_Complaint = tuple[str, str] | None  # what is wrong, and the remedy
_Check = Callable[[socket.socket], _Complaint]


def _check_tcp(sock: socket.socket) -> _Complaint:
    # MPTCP and SCTP are refused: the filters and the deadlines are designed for TCP.
    fits = sock.family in _INTERNET and sock.type == socket.SOCK_STREAM
    if not fits or sock.proto != socket.IPPROTO_TCP:
        return "is no TCP socket", "write ListenStream=0.0.0.0:79 and ListenStream=[::]:79"
    return _check_listening(sock)


def _check_udp(sock: socket.socket) -> _Complaint:
    fits = sock.family in _INTERNET and sock.type == socket.SOCK_DGRAM
    if not fits or sock.proto != socket.IPPROTO_UDP:
        return "is no UDP socket", "write ListenDatagram=0.0.0.0:79 and ListenDatagram=[::]:79"
    if sock.getsockname()[1] == 0:
        return "is not bound", "write ListenDatagram= with an address and a port"
    return None


def _check_local(sock: socket.socket) -> _Complaint:
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        return "is no Unix stream socket", "write ListenStream=/run/mailbell/mailbell.sock"
    return _check_listening(sock)


def _check_listening(sock: socket.socket) -> _Complaint:
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    return "does not listen", "write Accept=no in its unit"


def _dual_stack(sock: socket.socket) -> _Complaint:
    """Refuse an IPv6 socket that IPv4 reaches too. A bound socket cannot be changed."""
    if sock.family != socket.AF_INET6:
        return None
    if sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return None
    return "serves IPv4 and IPv6 at once", "write BindIPv6Only=ipv6-only in its unit"


_CHECKS: Final = {"tcp": _check_tcp, "udp": _check_udp, "local": _check_local}


class Notifier:
    """Tells the service manager the state of the daemon. Without a manager it does nothing.

    It connects when it is made, because a locked process can open nothing. Each method
    returns whether the message was sent. An error is not raised: a daemon that works must
    not stop because its messages are not received. The variables may be inherited from
    another service, or name a socket outside of a container.

    Args:
        environ: the environment. NOTIFY_SOCKET is a path, or @ and an abstract name.
        pid: the id of this process. A watchdog for another process is ignored.

    Attributes:
        watchdog_interval: seconds between two signs of life: half of the time that the
            service manager waits, as sd_watchdog_enabled(3) advises. None: no watchdog.
        unusable: the variables that cannot be used, each with the reason, for the log.
    """

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self.unusable: list[str] = []
        self._sock = self._connected(environ.get("NOTIFY_SOCKET", ""))
        interval = self._interval(environ, pid)
        self.watchdog_interval = None if self._sock is None else interval

    def _connected(self, address: str) -> socket.socket | None:
        if not address:
            return None
        if address[0] not in "/@":
            self.unusable.append(
                f"NOTIFY_SOCKET={address[:_SHOWN]}: neither a path nor an abstract name"
            )
            return None
        name = "\0" + address[1:] if address[0] == "@" else address
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self.unusable.append(f"NOTIFY_SOCKET={address[:_SHOWN]}: {error.strerror}")
            return None
        try:
            sock.connect(name)
        except OSError as error:
            sock.close()
            self.unusable.append(f"NOTIFY_SOCKET={address[:_SHOWN]}: {error.strerror or error}")
            return None
        return sock

    def _interval(self, environ: Mapping[str, str], pid: int) -> float | None:
        try:
            meant_for = _number("WATCHDOG_PID", environ.get("WATCHDOG_PID", ""))
            microseconds = _number("WATCHDOG_USEC", environ.get("WATCHDOG_USEC", ""))
        except ConfigurationError as error:
            self.unusable.append(error.what)
            return None
        if not microseconds or meant_for not in {None, pid}:
            return None
        return microseconds / 2_000_000

    @property
    def connected(self) -> bool:
        """Whether there is a service manager."""
        return self._sock is not None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptor of the connection; none: there is no service manager."""
        return () if self._sock is None else (self._sock.fileno(),)

    def ready(self) -> bool:
        """Say that the daemon is locked in and serves.

        Returns:
            Whether the message was sent.
        """
        return self._send(b"READY=1")

    def watchdog(self) -> bool:
        """Say that the daemon is alive.

        Returns:
            Whether the message was sent.
        """
        return self._send(b"WATCHDOG=1")

    def stopping(self) -> bool:
        """Say that the daemon is about to end.

        Returns:
            Whether the message was sent.
        """
        return self._send(b"STOPPING=1")

    def status(self, text: str) -> bool:
        """Describe the state in words. The service manager shows them to people.

        Args:
            text: one line. Characters that could begin another message are escaped.

        Returns:
            Whether the message was sent.
        """
        return self._send(b"STATUS=" + printable(text).encode("ascii")[:1000])

    def close(self) -> None:
        """Close the connection. The daemon never does this: its end closes everything."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _send(self, message: bytes) -> bool:
        if self._sock is None:
            return False
        with suppress(OSError):
            return self._sock.send(message, socket.MSG_NOSIGNAL) == len(message)
        return False


def logs_to_journal(environ: Mapping[str, str], descriptor: int = 2) -> bool:
    """Tell whether the output of a descriptor goes to the journal (systemd.exec(5)).

    The variable alone does not prove it: a shell that a service starts inherits the
    variable and may write to a terminal.

    Args:
        environ: the environment.
        descriptor: standard error by default.

    Returns:
        Whether it goes to the journal.
    """
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _number(name: str, text: str) -> int | None:
    """Read a decimal number from the environment; None: it is not set."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise ConfigurationError(
            f"{name}={text!r} is no number", "let the service manager set it, or unset it"
        )
    return int(text)
