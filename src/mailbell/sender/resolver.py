"""Finds the addresses of names for the sender, in a process of its own that is locked in.

The sender itself never speaks to a name server. This process reads resolv.conf(5) and hosts(5)
before its lock and opens no file afterwards. By UDP it reaches the name servers that it was
connected to before the lock, and by TCP only the port of name servers.
"""

import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from random import SystemRandom
from typing import Any, Final

import trio

from mailbell._sys.credentials import Identity
from mailbell.core.networks import Address, Family
from mailbell.logs.journal import Journal, Level
from mailbell.sandbox.lock import Unprivileged, lock
from mailbell.sender import _companion
from mailbell.sender._companion import Companion, confine, import_nothing_more, say_ready
from mailbell.sender._inquiries import IPV4, MOST_OPEN, TCP_WAIT, Inquiries, Reply, Sending
from mailbell.sender._names import LONGEST, MAX_NAME, Answer, Reason, encode_answer, is_name
from mailbell.sender._pair import Unsent, says_the_end
from mailbell.sender._resolv_conf import MAX_BYTES, NameServer, parse_hosts, parse_name_servers
from mailbell.serving.intake import PAUSE, until_readable

__all__ = ["PROGRAM", "Machine", "start"]

PROGRAM: Final = "mailbell-resolver"
PORTS: Final = 32
"""UDP sockets for each name server: a forger must also guess which of them has asked."""
_MAX_ANSWER: Final = 4096
"""Bytes of an answer that is read. By UDP it has 512 (RFC 1035, section 4.2.1), because no more is
asked for. A longer one by TCP counts as a failure."""
_BATCH: Final = 64  # messages that are read before other tasks run
_SPARE_DESCRIPTORS: Final = 64  # TCP, epoll, wake-up, the pair, standard streams
_ERRORS: Final = 8  # of earlier datagrams that are passed over at once
_REST: Final = 0.05  # seconds between two looks while too many names are asked for
# An alias with its address, a denial, and a name that never ends. They are read before the lock,
# so that everything that reading needs is loaded.
_REHEARSAL: Final = (
    b"\0\0\x81\x80\0\1\0\2\0\0\0\0\1a\0\0\1\0\1\xc0\f\0\5\0\1\0\0\0\1\0\3\1b\0\1b\0\0\1\0\1\0\0\0\1\0\4ABCD",
    b"\0\0\x81\x83\0\1\0\0\0\1\0\0\1a\0\0\1\0\1\0\0\6\0\1\0\0\0\1\0\x16\0\0" + bytes(20),
    b"\0\0\x81\x80\0\1\0\0\0\0\0\0\xc0\f\0\1\0\1",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """Where this machine says how names are found.

    Attributes:
        resolv_conf: the file with the name servers.
        hosts: the file with the machine's own names.
        port: of the name servers.
    """

    resolv_conf: str = "/etc/resolv.conf"
    hosts: str = "/etc/hosts"
    port: int = 53


@dataclass(frozen=True, slots=True)
class _Line:
    """A name server, with the sockets that are connected to it; without any: TCP only."""

    family: socket.AddressFamily
    where: tuple[Any, ...]
    sockets: tuple[socket.socket, ...]


def start(identity: Identity | None, machine: Machine | None = None) -> Companion:
    """Start the resolver. Call it before the event loop and before the lock.

    Args:
        identity: the user of the sender; None: this process has no privilege to change its user.
        machine: where to look; None: where every program looks.

    Returns:
        The companion, for `ResolverClient`.

    Raises:
        MailbellError: it could not start.
    """
    return _companion.start(PROGRAM, partial(_run, identity, machine or Machine()))


def _run(identity: Identity | None, machine: Machine, far: socket.socket) -> None:
    """Be the resolver until the sender ends."""
    # Only this process loads dnspython. The sender does not.
    from mailbell.sender._dns_reply import read_reply

    for message in _REHEARSAL:
        read_reply(message, IPV4)
    journal = Journal(_write_line, time.monotonic)
    hosts = parse_hosts(_read(machine.hosts))
    lines = [
        _open_line(server, machine.port, journal)
        for server in parse_name_servers(_read(machine.resolv_conf))
    ]
    connected = [sock.fileno() for line in lines for sock in line.sockets]
    far.setblocking(False)
    unprivileged = confine(
        PROGRAM,
        identity,
        open_files=_SPARE_DESCRIPTORS + max([*connected, far.fileno()]),
        descriptors={"CONNECTED": (0, 1, 2, *connected)},
        connect_to=frozenset({machine.port}),
    )
    resolver = partial(_Resolver, far, lines, hosts, read_reply, journal)
    trio.run(_serve, resolver, unprivileged, far)


async def _serve(
    resolver: "partial[_Resolver]", unprivileged: Unprivileged, far: socket.socket
) -> None:
    lock(unprivileged)
    import_nothing_more()
    say_ready(far)
    await resolver().serve()


def _read(path: str) -> str:
    """Read a file of the machine, `MAX_BYTES` at most. If there is none, it is empty."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _open_line(server: NameServer, port: int, journal: Journal) -> _Line:
    """Connect UDP sockets to a name server. Each has a port of ours that the kernel draws."""
    host = str(server.address)
    family = socket.AF_INET
    where: tuple[Any, ...] = (host, port)
    if server.address.family is Family.IPV6:
        family, where = socket.AF_INET6, (host, port, 0, _zone(server.zone))
    sockets: list[socket.socket] = []
    try:
        for _ in range(PORTS):
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            sockets.append(sock)
            sock.connect(where)
    except OSError as error:  # no route yet, or no such family: TCP may get there later
        journal.log(Level.NOTICE, "name_server_by_tcp", address=host, why=error.strerror)
        for sock in sockets:
            sock.close()
        sockets = []
    return _Line(family, where, tuple(sockets))


def _zone(name: str) -> int:
    try:
        return socket.if_nametoindex(name) if name else 0
    except OSError:
        return 0


class _Resolver:
    """The locked process.

    Args:
        far: its end of the pair.
        lines: the name servers.
        hosts: the names that this machine knows by itself.
        read: reads an answer.
        journal: the log.
    """

    def __init__(
        self,
        far: socket.socket,
        lines: Sequence[_Line],
        hosts: dict[str, tuple[Address, ...]],
        read: Callable[[bytes, int], Reply],
        journal: Journal,
    ) -> None:
        self._far = far
        self._lines = lines
        self._hosts = hosts
        self._read = read
        self._journal = journal
        self._inquiries = Inquiries(
            by_udp=[bool(line.sockets) for line in lines],
            ports=PORTS,
            draw=SystemRandom().getrandbits,
            read=self._reply,
        )
        self._changed = trio.Event()
        self._answers = Unsent(encode_answer)

    async def serve(self) -> None:
        """Serve until the sender ends. The process ends then."""
        async with trio.open_nursery() as nursery:
            for server, line in enumerate(self._lines):
                for port, sock in enumerate(line.sockets):
                    nursery.start_soon(self._receive, server, port, sock)
            nursery.start_soon(self._ask, nursery)
            nursery.start_soon(self._answers.send, self._far)
            await self._listen()
            nursery.cancel_scope.cancel()
        # Nothing is left that must end in order. The end of the event loop would need its wake-up
        # socket, and would wait for ever if the kernel refused that.
        os._exit(os.EX_OK)

    async def _listen(self) -> None:
        """Take names from the sender until it ends."""
        while True:
            await until_readable(self._far)
            while len(self._inquiries) + len(self._answers) >= MOST_OPEN:
                await trio.sleep(_REST)
            try:
                data = self._far.recv(MAX_NAME)
            except BlockingIOError:
                continue
            except OSError as error:
                if says_the_end(error):
                    return
                await trio.sleep(PAUSE)
                continue
            if not data:
                return
            self._take(data.decode("latin-1"))

    def _take(self, name: str) -> None:
        if not is_name(name):
            return
        if name in self._hosts:
            self._answers.add(Answer(name, self._hosts[name], int(LONGEST)))
        else:
            self._inquiries.ask(name, trio.current_time())
            self._changed.set()

    async def _ask(self, nursery: trio.Nursery) -> None:
        """Send what must be sent, when it must be sent."""
        while True:
            now = trio.current_time()
            for sending in self._inquiries.take(now):
                if sending.port >= 0:
                    self._send(sending, now)
                else:
                    nursery.start_soon(self._exchange, sending)
            self._answers.add(*self._inquiries.answers())
            due = self._inquiries.next_due(now)
            with trio.move_on_at(inf if due is None else due):
                await self._changed.wait()
            self._changed = trio.Event()

    def _send(self, sending: Sending, now: float) -> None:
        try:
            self._lines[sending.server].sockets[sending.port].send(sending.data)
        except BlockingIOError:  # it is lost, as it could be on its way
            return
        except OSError:
            self._inquiries.refused(sending.server, sending.port, now)
            self._changed.set()

    async def _receive(self, server: int, port: int, sock: socket.socket) -> None:
        while True:
            await until_readable(sock)
            failed = 0
            for _ in range(_BATCH):
                try:
                    data = sock.recv(_MAX_ANSWER)
                except BlockingIOError:
                    break
                except OSError:  # of an earlier datagram, which nobody took
                    self._inquiries.refused(server, port, trio.current_time())
                    failed += 1
                    if failed < _ERRORS:
                        continue
                    break
                self._inquiries.datagram(server, port, data, trio.current_time())
            self._changed.set()
            if failed == _ERRORS:  # the machine lacks something
                await trio.sleep(PAUSE)

    async def _exchange(self, sending: Sending) -> None:
        """Ask by TCP: RFC 1035, section 4.2.2; RFC 7766."""
        data = None
        with trio.move_on_after(TCP_WAIT):
            data = await _ask_by_tcp(self._lines[sending.server], sending.data)
        self._inquiries.stream(sending, data, trio.current_time())
        self._changed.set()

    def _reply(self, data: bytes, kind: int) -> Reply:
        """Read an answer. A bug there costs this answer only."""
        try:
            return self._read(data, kind)
        except Exception as error:  # a bug that one answer meets must not stop the others
            self._journal.log(Level.ERROR, "failed", where="name server", error=repr(error))
            return Reply((), 0, Reason.FAILED)


async def _ask_by_tcp(line: _Line, query: bytes) -> bytes | None:
    """Send one query and read one answer; return None if the server does not speak properly."""
    try:
        with socket.socket(line.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            if sock.connect_ex(line.where) not in {0, errno.EINPROGRESS}:
                return None
            await trio.lowlevel.wait_writable(sock)
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return None
            # It is short, and the new connection has an empty buffer.
            sock.send(len(query).to_bytes(2, "big") + query)
            size = int.from_bytes(await _read_exactly(sock, 2), "big")
            return await _read_exactly(sock, size) if size <= _MAX_ANSWER else None
    except (OSError, EOFError):
        return None


async def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        await trio.lowlevel.wait_readable(sock)
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _write_line(line: str) -> bool:
    data = line.encode() + b"\n"
    try:
        return os.write(2, data) == len(data)
    except OSError:
        return False
