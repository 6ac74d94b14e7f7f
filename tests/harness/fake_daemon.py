"""A daemon that does what a test tells it, on a real Unix socket.

It speaks through the project's own codec, in a thread, one connection after
the other: the n-th connection plays the n-th scene and is closed after it.
"""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from mailbell.core.notification import Cause, Cursor, Notification, Transport
from mailbell.interfaces.listener import (
    LISTENER_SERVICE,
    Account,
    Outcomes,
    Sandbox,
    Status,
    Subscribe,
    SubscribeReply,
)
from mailbell.varlink import (
    CALL_LIMIT,
    Decoder,
    Request,
    Service,
    ServiceError,
    encode_error,
    encode_reply,
    parse_call_untrusted,
)

__all__ = ["STATUS", "FakeDaemon", "Peer", "Scene", "answer", "notification", "stream", "told"]

GUARD = 20.0  # seconds; only a broken test waits so long

STATUS = Status(
    version="1.0",
    pid=1,
    cursor=Cursor("e1", 3),
    started=1_700_000_000_000_000,
    listening=("tcp 127.0.0.1:79",),
    outcomes=Outcomes(tcp={"accepted": 3}, udp={"accepted": 0}),
    refused_by_total=0,
    leaked=0,
    kernel_dropped=None,
    wakeups=3,
    accounts=(Account(name="work", count=3, time=1_700_000_000_000_001),),
    accounts_total=1,
    connections=0,
    connections_limit=256,
    subscribers=0,
    subscribers_limit=64,
    tables=(),
    local={"connected": 1},
    log_suppressed=0,
    sandbox=Sandbox(
        uid=65534,
        gid=65534,
        groups=(),
        capabilities="0000000000000000",
        no_new_privs=True,
        seccomp=2,
        threads=1,
        permitted_calls=40,
        landlock_abi=6,
        landlock_used=6,
        landlock_uncovered=("stat",),
    ),
)


class Peer:
    """The daemon's end of one connection.

    Attributes:
        connection: the connection itself.
    """

    def __init__(self, connection: socket.socket, service: Service = LISTENER_SERVICE) -> None:
        self.connection = connection
        self._decoder = Decoder(CALL_LIMIT)
        self._service = service

    def method(self) -> Request:
        """Waits for the next call."""
        messages: list[bytes] = []
        while not messages:
            data = self.connection.recv(4096)
            assert data, "the client left without a call"
            messages = self._decoder.feed_untrusted(data)
        (message,) = messages
        return self._service.decode_untrusted(parse_call_untrusted(message))

    def reply(self, parameters: object, *, continues: bool = False) -> None:
        """Answers."""
        self.send(encode_reply(parameters, continues=continues))

    def error(self, error: ServiceError) -> None:
        """Answers with an error."""
        self.send(encode_error(error))

    def send(self, data: bytes) -> None:
        """Sends any bytes; the client may leave before it has read them all."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.sendall(data)

    def wait_closed(self) -> None:
        """Waits until the client hangs up."""
        with suppress(ConnectionResetError):
            while self.connection.recv(4096):
                pass


Scene = Callable[[Peer], None]


class FakeDaemon:
    """Listens while the `with` block runs, or until the last scene is played.

    Args:
        path: of the socket; it is removed with the daemon.
        scenes: what happens on each connection, in order.
        service: the interfaces that it serves.
    """

    def __init__(self, path: str, *scenes: Scene, service: Service = LISTENER_SERVICE) -> None:
        self._path = path
        self._service = service
        self._scenes = scenes
        self._played = 0
        self._failure: BaseException | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._run, name="fake daemon", daemon=True)

    def __enter__(self) -> Self:
        self._socket.bind(self._path)
        self._socket.listen()
        self._socket.settimeout(GUARD)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:  # the test has failed already, so do not wait for the client
            self._socket.close()
            return
        self._thread.join(GUARD)
        assert not self._thread.is_alive(), "a scene does not end"
        if self._failure is not None:
            raise self._failure
        assert self._played == len(self._scenes), "not every scene was played"

    def _run(self) -> None:
        try:
            for index, scene in enumerate(self._scenes):
                connection, _ = self._socket.accept()
                if index == len(self._scenes) - 1:
                    self._go_away()
                with connection:
                    connection.settimeout(GUARD)
                    scene(Peer(connection, self._service))
                self._played += 1
        except BaseException as error:  # the test must learn of every exception
            self._failure = error
        finally:
            self._go_away()

    def _go_away(self) -> None:
        # Close as soon as the last connection is accepted. When it ends, the client must
        # find no daemon, and not a socket that is about to disappear.
        if self._socket.fileno() >= 0:
            self._socket.close()
            os.unlink(self._path)


def notification(account: str = "work", cause: Cause = Cause.NETWORK) -> Notification:
    """Return a notification."""
    network = cause is Cause.NETWORK
    return Notification(
        account=account,
        cause=cause,
        count=0 if cause is Cause.RESYNC else 1,
        transport=Transport.TCP if network else None,
        source="192.0.2.25" if network else None,
        time=1_700_000_000_000_000,
    )


def told(epoch: str, sequence: int, what: Notification | None = None) -> SubscribeReply:
    """One answer to `Subscribe`."""
    return SubscribeReply(Cursor(epoch, sequence), what)


def answer(expected: Request, parameters: object) -> Scene:
    """A scene: one call, one answer."""

    def scene(peer: Peer) -> None:
        assert peer.method() == expected
        peer.reply(parameters)

    return scene


def stream(
    *answers: SubscribeReply, asked: Subscribe | None = None, then: Scene = Peer.wait_closed
) -> Scene:
    """Return a scene: a subscription and its answers, and then what the caller adds."""

    def scene(peer: Peer) -> None:
        method = peer.method()
        assert asked is None or method == asked
        for one in answers:
            peer.reply(one, continues=True)
        then(peer)

    return scene
