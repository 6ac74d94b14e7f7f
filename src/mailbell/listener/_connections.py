"""The listener accepts connections and datagrams, reads one line at most and never answers.

Connections are accepted in batches. The kernel holds back a connection that has sent
nothing (TCP_DEFER_ACCEPT), so the line is nearly always there. Then the connection is
accepted, read and closed at once, without a task. Only a connection whose line is not
complete gets a task, one of a limited number of places (`mailbell.listener._waiting`), and
the rest of its deadline.

No code here writes to the network.
"""

import socket
from contextlib import suppress
from functools import partial

import trio

from mailbell._sys.connections import adopt, choose_reader, close, hang_up, make_acceptor
from mailbell.core.networks import Family
from mailbell.core.notification import Transport
from mailbell.core.outcome import End, Outcome
from mailbell.core.rfc4146 import LINE, MAX_INPUT, Receiver, Terminator, parse_datagram
from mailbell.limits.limiter import Limiter
from mailbell.listener._admission import ACCOUNT_OUTCOMES, Admission, Caller
from mailbell.listener._recent import RecentCallers
from mailbell.listener._waiting import Place, WaitingRoom
from mailbell.logs.journal import Journal, Level
from mailbell.serving.intake import Intake

__all__ = ["DatagramListener", "StreamListener"]

# Connections taken before other tasks run.
BATCH = 64
# Datagrams taken before other tasks run. Fewer than connections, because a forged flood
# must not delay TCP.
DATAGRAM_BATCH = 16

# To get a member of an enumeration by its name takes a noticeable part of the time of a
# notification.
_ACCEPTED = Outcome.ACCEPTED

_FAMILIES = {
    socket.AF_INET: Family.IPV4,
    socket.AF_INET6: Family.IPV6,
}


class StreamListener:
    """Accepts on one TCP socket.

    Args:
        sock: the listening socket, non-blocking, of one family only.
        admission: decides about each connection, and passes notifications on.
        limiter: its gate for this family is used.
        terminators: the permitted ends of a line.
        deadline: seconds that one connection may take in all.
        waiting: the places of connections that wait, shared by all listeners.
        journal: logs changes of state, and bugs.
    """

    def __init__(
        self,
        sock: socket.socket,
        admission: Admission,
        limiter: Limiter,
        *,
        terminators: frozenset[Terminator],
        deadline: float,
        waiting: WaitingRoom,
        journal: Journal,
    ) -> None:
        self._socket = sock
        self._name = describe_socket(sock)
        self._intake = Intake(
            sock,
            make_acceptor(sock),
            batch=BATCH,
            journal=journal,
            what="accepting",
            where=self._name,
        )
        self._read = choose_reader(sock)
        self._family = sock.family
        self._gate = limiter.gate(Transport.TCP, _FAMILIES[sock.family])
        self._admission = admission
        self._recent = RecentCallers(self._meet)
        self._terminators = terminators
        self._line_suffices = Terminator.CRLF in terminators
        self._deadline = deadline
        self._journal = journal
        self._waiting = waiting
        self._nursery: trio.Nursery  # of the tasks that wait for the rest of a line

    async def serve(self) -> None:
        """Accept for ever. A sender that misbehaves ends its own connection and no other."""
        async with trio.open_nursery() as self._nursery:
            await self._intake.serve(self._serve_untrusted)

    def _meet(self, host: str) -> Caller:
        return self._admission.meet(self._gate, _number(self._family, host))

    def _serve_untrusted(self, taken: tuple[int, tuple[str, int]], now: float) -> None:
        descriptor, address = taken
        receiver: Receiver | None = None
        try:
            caller = self._recent[address[0]]
            outcome = self._admission.refusal(caller, now)
            if outcome is None:
                data = self._read(descriptor, MAX_INPUT)
                if data == LINE and self._line_suffices:
                    outcome = _ACCEPTED
                else:
                    receiver = Receiver(self._terminators)
                    outcome = self._judge_untrusted(caller, now, receiver, data)
        except Exception:  # a bug, which the intake logs; only this code owns the descriptor
            hang_up(descriptor)
            raise
        if outcome is None or (self._admission.needs_local_address and outcome in ACCOUNT_OUTCOMES):
            self._keep(descriptor, caller, now, outcome, receiver)
            return
        # Nearly every connection ends here.
        hang_up(descriptor)
        if outcome is _ACCEPTED:
            self._admission.accept(caller, now)
        else:
            self._admission.conclude(outcome, caller, now, data=_data_of(receiver))

    def _judge_untrusted(
        self, caller: Caller, now: float, receiver: Receiver, data: bytes | End | None
    ) -> Outcome | None:
        """Return the outcome of input that is not simply the line; None: the rest must come."""
        end = _feed_untrusted(receiver, data)
        if end is None:
            return None
        outcome = receiver.finish(end)
        if outcome is not _ACCEPTED:
            caller.visitor.penalize(now)
        return outcome

    def _keep(
        self,
        descriptor: int,
        caller: Caller,
        now: float,
        outcome: Outcome | None,
        receiver: Receiver | None,
    ) -> None:
        """Make a connection a socket: it waits, or the kernel is asked for the called address."""
        connection = adopt(descriptor, self._socket)
        try:
            if outcome is not None:
                self._conclude(connection, caller, now, outcome, _data_of(receiver))
            elif receiver is not None:
                self._await_rest(connection, caller, now, receiver)
        except Exception:  # a bug, which the intake logs
            close(connection)
            raise

    def _await_rest(
        self, connection: socket.socket, caller: Caller, now: float, receiver: Receiver
    ) -> None:
        """Give a connection a place in which it waits for the rest of its line."""
        scope = trio.CancelScope(deadline=now + self._deadline)
        displace = partial(self._displace, connection, caller, receiver, scope)
        place = self._waiting.enter(self._gate, caller.source, displace)
        if isinstance(place, Outcome):
            self._conclude(connection, caller, now, place, receiver.data)
            return
        try:
            self._nursery.start_soon(self._wait, connection, caller, place, scope, receiver)
        except MemoryError:  # no task exists that would give the place back
            self._waiting.leave(place)
            raise

    async def _wait(
        self,
        connection: socket.socket,
        caller: Caller,
        place: Place,
        scope: trio.CancelScope,
        receiver: Receiver,
    ) -> None:
        """Read the rest of the line, until the deadline or until the place is needed."""
        end: End | None = None
        try:
            with scope, suppress(trio.ClosedResourceError):
                while end is None and not _is_closed(connection):
                    await trio.lowlevel.wait_readable(connection)
                    end = self._receive_untrusted(connection, receiver)
            if not _is_closed(connection):
                now = trio.current_time()
                self._finish(connection, caller, now, receiver, end or End.DEADLINE)
        except Exception as error:  # a bug that one sender meets must not stop the others
            self._journal.log(Level.ERROR, "failed", where=self._name, error=repr(error))
        finally:
            close(connection)
            self._waiting.leave(place)

    def _displace(
        self, connection: socket.socket, caller: Caller, receiver: Receiver, scope: trio.CancelScope
    ) -> None:
        """End a wait at once, because a new connection needs its place and descriptor."""
        trio.lowlevel.notify_closing(connection)
        scope.cancel()
        now = trio.current_time()
        # Read once more: the line may have arrived at this moment.
        end = self._receive_untrusted(connection, receiver)
        if end:
            self._finish(connection, caller, now, receiver, end)
        else:
            full = Outcome.TOO_MANY_CONNECTIONS
            self._conclude(connection, caller, now, full, receiver.data)

    def _finish(
        self, connection: socket.socket, caller: Caller, now: float, receiver: Receiver, end: End
    ) -> None:
        outcome = receiver.finish(end)
        if outcome is not Outcome.ACCEPTED:
            caller.visitor.penalize(now)
        self._conclude(connection, caller, now, outcome, receiver.data)

    def _conclude(
        self,
        connection: socket.socket,
        caller: Caller,
        now: float,
        outcome: Outcome,
        data: bytes = b"",
    ) -> None:
        local = None
        if outcome in ACCOUNT_OUTCOMES and self._admission.needs_local_address:
            local = _called_address(self._family, connection)
        close(connection)
        self._admission.conclude(outcome, caller, now, local=local, data=data)

    def _receive_untrusted(self, connection: socket.socket, receiver: Receiver) -> End | None:
        """Pass the bytes that are there to the receiver; return how the input ended, or None."""
        return _feed_untrusted(receiver, self._read(connection.fileno(), receiver.room))


def _feed_untrusted(receiver: Receiver, data: bytes | End | None) -> End | None:
    if isinstance(data, bytes):
        return End.CLOSED if receiver.receive(data) else None
    return data


def _data_of(receiver: Receiver | None) -> bytes:
    return b"" if receiver is None else receiver.data


def _is_closed(connection: socket.socket) -> bool:
    return connection.fileno() < 0


class DatagramListener:
    """Receives on one UDP socket: a datagram is one whole line or nothing.

    Args:
        sock: a bound socket, non-blocking, of one family only.
        admission: decides about each datagram, and passes notifications on.
        limiter: its gate for this family is used.
        terminators: the permitted ends of a line.
        journal: logs changes of state, and bugs.
    """

    def __init__(
        self,
        sock: socket.socket,
        admission: Admission,
        limiter: Limiter,
        *,
        terminators: frozenset[Terminator],
        journal: Journal,
    ) -> None:
        self._intake = Intake(
            sock,
            partial(sock.recvfrom, MAX_INPUT),
            batch=DATAGRAM_BATCH,
            journal=journal,
            what="receiving",
            where=describe_socket(sock),
        )
        self._family = sock.family
        self._gate = limiter.gate(Transport.UDP, _FAMILIES[sock.family])
        self._admission = admission
        self._terminators = terminators
        # The called address is the socket's own. If an account depends on it, the
        # configuration permits no wildcard for a datagram socket.
        self._local = _called_address(self._family, sock)

    async def serve(self) -> None:
        """Receive for ever."""
        await self._intake.serve(self._serve_untrusted)

    def _serve_untrusted(self, taken: tuple[bytes, tuple[str, int]], now: float) -> None:
        data, address = taken
        caller = self._admission.meet(self._gate, _number(self._family, address[0]))
        outcome = self._admission.refusal(caller, now)
        if outcome is None:
            outcome = parse_datagram(data, self._terminators)
            if outcome is not Outcome.ACCEPTED:
                caller.visitor.penalize(now)
        self._admission.conclude(outcome, caller, now, local=self._local, data=data)


def _number(family: socket.AddressFamily, host: str) -> int:
    return int.from_bytes(socket.inet_pton(family, host))


def _called_address(family: socket.AddressFamily, sock: socket.socket) -> int:
    return _number(family, sock.getsockname()[0])


def describe_socket(sock: socket.socket) -> str:
    """Return the name of a listening socket in the log and in the status."""
    transport = "tcp" if sock.type == socket.SOCK_STREAM else "udp"
    host, port = sock.getsockname()[:2]
    return f"{transport} [{host}]:{port}" if ":" in host else f"{transport} {host}:{port}"
