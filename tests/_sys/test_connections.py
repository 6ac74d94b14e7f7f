import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, NoReturn

import pytest
from harness.kernel import reads_sockets_without_waiting
from harness.sender import PATIENCE

from mailbell._sys.connections import (
    READERS,
    Reader,
    adopt,
    choose_reader,
    close,
    hang_up,
    make_acceptor,
    make_socket_acceptor,
)
from mailbell.core.outcome import End

LINGER_NOT = struct.pack("ii", 1, 0)  # a close that resets (socket(7), SO_LINGER)


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def listening(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, host = request.param
    with socket.create_server((host, 0), family=family) as sock:
        sock.setblocking(False)
        yield sock


NOT_HERE: Final = "this kernel reads no socket with RWF_NOWAIT"
needs_fast_reader = pytest.mark.skipif(not reads_sockets_without_waiting(), reason=NOT_HERE)


@pytest.fixture(
    params=[pytest.param(READERS[0], marks=needs_fast_reader), *READERS[1:]],
    ids=lambda read: read.__name__,
)
def read(request: pytest.FixtureRequest) -> Reader:
    chosen: Reader = request.param
    return chosen


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection's two ends, the first one as it is accepted: blocking."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as peer,
        server.accept()[0] as ours,
    ):
        yield ours, peer


def test_a_connection_is_a_descriptor_that_no_program_inherits(listening: socket.socket) -> None:
    accept = make_acceptor(listening)
    with pytest.raises(BlockingIOError):
        accept()
    with socket.create_connection(listening.getsockname()[:2]) as peer:
        descriptor, address = accept()
        try:
            assert address == peer.getsockname()
            assert not os.get_inheritable(descriptor)
        finally:
            os.close(descriptor)
        assert peer.recv(1) == b""


def test_a_socket_that_adopts_it_owns_it(listening: socket.socket) -> None:
    with socket.create_connection(listening.getsockname()[:2]) as peer:
        descriptor, address = make_acceptor(listening)()
        with adopt(descriptor, listening) as connection:
            assert connection.fileno() == descriptor
            assert (connection.family, connection.type) == (listening.family, listening.type)
            assert connection.getpeername() == address
        assert peer.recv(1) == b""
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_taken_connection_is_a_socket_and_none_is_lost_without_memory(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> NoReturn:
        raise MemoryError

    take = make_socket_acceptor(listening)
    with socket.create_connection(listening.getsockname()[:2]) as peer, take() as connection:
        assert connection.getpeername() == peer.getsockname()
    with socket.create_connection(listening.getsockname()[:2]) as peer:
        peer.settimeout(PATIENCE)
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", no_memory)
            with pytest.raises(MemoryError):
                take()
        assert peer.recv(1) == b""


def test_what_cannot_be_adopted_is_closed(listening: socket.socket) -> None:
    descriptor, other = os.pipe()
    try:
        with pytest.raises(OSError, match="non-socket"):
            adopt(descriptor, listening)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    finally:
        os.close(other)


def test_what_is_there_is_read_and_no_more_than_asked_for(
    pair: tuple[socket.socket, socket.socket], read: Reader
) -> None:
    ours, peer = pair
    peer.sendall(b"nm_notifyuser\r\nand more")
    assert read(ours.fileno(), 16) == b"nm_notifyuser\r\na"
    assert read(ours.fileno(), 100) == b"nd more"


def test_nothing_of_one_read_is_left_in_the_next(
    pair: tuple[socket.socket, socket.socket], read: Reader
) -> None:
    ours, peer = pair
    for sent in (b"nm_notifyuser\r\n", b"nm", b"nm_notifyuser\rX", b"nm_notifyuser\r\n", b"x"):
        peer.sendall(sent)
        assert read(ours.fileno(), 16) == sent
    peer.sendall(b"nm_notifyuser\r\n")
    assert [read(ours.fileno(), room) for room in (3, 16)] == [b"nm_", b"notifyuser\r\n"]


def test_it_never_waits_though_the_descriptor_would(
    pair: tuple[socket.socket, socket.socket], read: Reader
) -> None:
    ours, peer = pair
    assert ours.getblocking()
    assert read(ours.fileno(), 16) is None
    peer.shutdown(socket.SHUT_WR)
    assert read(ours.fileno(), 16) is End.EOF


def test_after_a_reset_the_descriptor_is_still_the_callers(
    pair: tuple[socket.socket, socket.socket], read: Reader
) -> None:
    ours, peer = pair
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    peer.close()
    assert read(ours.fileno(), 16) is End.RESET
    os.fstat(ours.fileno())


def test_the_reader_is_the_first_that_works_here(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    assert choose_reader(listening) is READERS[0 if reads_sockets_without_waiting() else 1]
    monkeypatch.setattr(os, "preadv", refused)
    assert choose_reader(listening) is READERS[1]
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    assert choose_reader(listening) is READERS[1]


@needs_fast_reader
def test_the_reader_is_tried_on_a_socket_that_cannot_be_read(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, peer = pair
    peer.sendall(b"x")
    with pytest.raises(AssertionError):
        choose_reader(ours)


@pytest.mark.parametrize("number", [errno.EIO, errno.EINTR, errno.EBADF])
def test_an_error_of_a_close_changes_nothing(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> NoReturn:
        raise OSError(number, "refused")

    class Failing(socket.socket):
        def close(self) -> None:
            super().close()
            fail(0)

    close(Failing())
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", fail)
        hang_up(0)
