"""The listeners that are compared: each takes the line and counts everything else."""

import os
import shutil
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial

import pytest

from bench.listeners import (
    HOST,
    Listener,
    accept_loop,
    handler,
    mailbelld,
    program,
    python_loop,
    socat,
    xinetd,
)
from bench.processes import Failed, Load, build

Start = Callable[[], AbstractContextManager[Listener]]

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CC", "cc")) is None, reason="there is no C compiler"
)
needs_socat = pytest.mark.skipif(program("socat") is None, reason="socat is not installed")
needs_xinetd = pytest.mark.skipif(program("xinetd") is None, reason="xinetd is not installed")

ALL = [
    pytest.param(mailbelld, id="mailbelld"),
    pytest.param(accept_loop, id="loop"),
    pytest.param(partial(python_loop, "epoll"), id="epoll"),
    pytest.param(partial(python_loop, "trio"), id="task"),
    pytest.param(partial(handler, "trio"), id="trio"),
    pytest.param(partial(handler, "asyncio"), id="asyncio"),
    pytest.param(socat, id="socat", marks=needs_socat),
    pytest.param(xinetd, id="xinetd", marks=needs_xinetd),
]

pytestmark = needs_compiler


@pytest.fixture(autouse=True, scope="module")
def programs() -> None:
    build()


def say(listener: Listener, words: bytes) -> None:
    """Send something that is not part of the load."""
    with socket.create_connection((HOST, listener.port)) as sock:
        sock.sendall(words)
        assert sock.recv(1) == b""


@pytest.mark.parametrize("start", ALL)
def test_it_takes_what_it_is_sent_and_that_costs_something(start: Start) -> None:
    with start() as listener:
        cost = listener.drive(Load(30, 8, 5)).total + listener.drive(Load(10, 1, 5)).total
        assert listener.sent == 40
    assert cost > 0


@pytest.mark.parametrize("start", ALL)
def test_anything_else_is_no_notification(start: Start) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(start())
        say(listener, b"nm_notifyuses\r\n")
        listener.drive(Load(3, 1, 1))
        with pytest.raises(Failed, match=r"was sent 3 notifications.* and 1 of something else"):
            stack.close()


@pytest.mark.parametrize("start", ALL)
def test_a_notification_that_was_not_part_of_the_load_is_noticed(start: Start) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(start())
        say(listener, b"nm_notifyuser\r\n")
        listener.drive(Load(3, 1, 1))
        with pytest.raises(Failed, match=r"was sent 3 notifications.* 4 lines and 0"):
            stack.close()


def test_a_program_that_is_not_installed_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.listeners.program", lambda _: None)
    with pytest.raises(Failed, match="apt-get install xinetd"), xinetd():
        pass
