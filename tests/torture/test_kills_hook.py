"""A hook that is killed between two system calls: whether its line was written is known."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness.rung import hook_socket

from torture.kills.traced_hook import Life, Moment, live


@pytest.fixture
def held(tmp_path: Path) -> Iterator[socket.socket]:
    with hook_socket(tmp_path) as sock:
        sock.setblocking(False)
        yield sock


def taken(held: socket.socket) -> bytes:
    """Return what hooks have written that nobody has read, of all that have connected."""
    found = b""
    with suppress(BlockingIOError):
        while True:
            connection, _ = held.accept()
            with connection:
                found += connection.recv(512)
    return found


def one(tmp_path: Path, moment: Moment | None) -> Life:
    return live(tmp_path / "hook", "anna", moment)


def test_a_hook_that_lives_has_sent_its_line(tmp_path: Path, held: socket.socket) -> None:
    life = one(tmp_path, None)
    assert (life.sent, life.killed) == (True, False)
    assert 0 < life.first_socket < life.stops
    assert taken(held) == b"new anna\n"


def test_wherever_it_is_killed_its_line_is_there_or_not_as_said(
    tmp_path: Path, held: socket.socket
) -> None:
    life = one(tmp_path, None)
    taken(held)
    told = set()
    for stop in range(life.stops - life.first_socket):
        killed = one(tmp_path, Moment(stop, is_late=True))
        assert killed.killed
        assert taken(held) == (b"new anna\n" if killed.sent else b""), stop
        told.add(killed.sent)
    assert told == {False, True}


def test_a_hook_that_is_killed_early_has_sent_nothing(tmp_path: Path, held: socket.socket) -> None:
    killed = one(tmp_path, Moment(10))
    assert (killed.stops, killed.killed, killed.sent) == (10, True, False)
    assert taken(held) == b""


def test_a_moment_that_never_comes_lets_it_live(tmp_path: Path, held: socket.socket) -> None:
    life = one(tmp_path, Moment(1_000_000))
    assert (life.sent, life.killed) == (True, False)
    assert taken(held) == b"new anna\n"


def test_a_hook_without_a_sender_has_sent_nothing(tmp_path: Path) -> None:
    """Its word to the system's log is not its line."""
    life = live(tmp_path / "nothing", "anna", None)
    assert (life.sent, life.killed) == (False, False)
    assert not os.path.lexists(tmp_path / "nothing")
