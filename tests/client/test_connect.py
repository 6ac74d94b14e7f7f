"""The client finds the daemon at each place, and reports one that cannot be reached as such."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio
from harness.fake_daemon import STATUS, FakeDaemon, Peer, answer, notification, stream, told
from harness.lingering import needs_refusal, pass_to
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell._sys import local_listener
from mailbell.calling import connect as _connect
from mailbell.calling.connect import connect
from mailbell.client import Client, State, Timing, _path
from mailbell.client._mailbelld import MAILBELLD
from mailbell.client.trio import Client as TrioClient
from mailbell.core.errors import PrivilegeError, TemporaryError, UnavailableError
from mailbell.core.notification import Cause
from mailbell.interfaces.listener import GetStatus, GetStatusReply, Status, too_fast
from mailbell.varlink import encode_error

RESYNC = notification(cause=Cause.RESYNC)


def leave(peer: Peer) -> None:
    """The daemon dies."""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The two places where a client without a path looks. Neither has a daemon."""
    (tmp_path / "mailbell").mkdir()
    monkeypatch.setattr(_path, "SYSTEM_PATH", str(tmp_path / "system"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("MAILBELL_SOCKET", raising=False)
    return str(tmp_path / "system"), str(tmp_path / "mailbell" / "mailbell.sock")


@contextmanager
def listening(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen(1)
        yield sock


def test_calls_find_the_daemon_wherever_it_is_by_now(places: tuple[str, str]) -> None:
    system, users = places
    client = Client()
    assert client.places == places
    assert client.path == users  # what default_path() returns while there is none
    for place in (system, users, system):
        with FakeDaemon(place, answer(GetStatus(), GetStatusReply(STATUS))):
            assert client.status() == STATUS
        assert client.path == place
    with pytest.raises(UnavailableError) as caught:
        client.status()
    assert f"no daemon at {system} or {users} (No such file or directory)" in str(caught.value)
    assert client.path == system  # where the daemon was last found


def test_a_dead_socket_hides_no_daemon(places: tuple[str, str]) -> None:
    system, users = places
    with listening(system):
        pass
    assert os.path.exists(system)
    with FakeDaemon(users, answer(GetStatus(), GetStatusReply(STATUS))):
        assert Client().status() == STATUS


def test_a_path_that_is_given_is_the_only_place(places: tuple[str, str]) -> None:
    system, users = places
    with listening(system), pytest.raises(UnavailableError, match="no daemon at"):
        Client(users).status()
    client = Client()
    client.path = users
    assert (client.path, client.places) == (users, (users,))


def test_a_subscription_finds_the_daemon_at_another_place(places: tuple[str, str]) -> None:
    system, users = places
    daemons: list[FakeDaemon] = []

    def come_back(_: float) -> None:
        if not daemons:
            daemons.append(FakeDaemon(system, stream(told("e2", 0, RESYNC))).__enter__())

    with Client(timing=Timing(lambda: 0.0, come_back)) as client:
        with FakeDaemon(users, stream(told("e1", 5), then=leave)):
            subscription = client.subscribe()
            assert client.path == users
        assert next(subscription) == RESYNC
        assert client.path == system
    daemons[0].__exit__(None, None, None)


async def test_a_subscription_of_trio_finds_the_daemon_at_another_place(
    places: tuple[str, str], mock_clock: MockClock
) -> None:
    system, users = places
    lost = trio.Event()
    found: list[object] = []

    async with TrioClient() as client, trio.open_nursery() as nursery:
        with FakeDaemon(users, stream(told("e1", 5), then=leave)):
            subscription = await client.subscribe(
                on_state=lambda state: lost.set() if state is State.LOST else None
            )
            assert client.path == users

        async def wait() -> None:
            found.append(await subscription.next())
            client.close()

        nursery.start_soon(wait)
        await lost.wait()
        await wait_all_tasks_blocked()
        with FakeDaemon(system, stream(told("e2", 0, RESYNC))):
            mock_clock.jump(0.1)
            while not found:
                await trio.lowlevel.checkpoint()
    assert found == [RESYNC]
    assert client.path == system


async def test_whoever_says_so_waits_for_the_first_connection(
    places: tuple[str, str], mock_clock: MockClock
) -> None:
    said: list[str] = []
    agreed = trio.Event()

    def retry(error: Exception) -> bool:
        said.append(str(error))
        return True

    async def subscribe() -> None:
        await client.subscribe(retry=retry)
        agreed.set()

    async with TrioClient() as client, trio.open_nursery() as nursery:
        nursery.start_soon(subscribe)
        for number, delay in enumerate((0.0, 0.1, 0.2), 1):
            mock_clock.jump(delay)
            await wait_all_tasks_blocked()
            assert len(said) == number
        with FakeDaemon(places[0], stream(told("e", 0))):
            mock_clock.jump(0.4)
            await agreed.wait()
            client.close()
    assert client.path == places[0]
    assert all(place in line for line in said for place in places)


def test_a_busy_daemon_is_not_passed_over_for_another(places: tuple[str, str]) -> None:
    system, users = places
    waiting = []
    with listening(system), listening(users):
        for _ in range(2):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect(system)
        with pytest.raises(TemporaryError, match=f"the daemon at {system} is too busy"):
            connect(places, MAILBELLD)
    for one in waiting:
        one.close()


def test_one_that_is_forbidden_is_passed_over(
    places: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, users = places
    real = _connect._connect_to

    def connect_to(path: str) -> socket.socket:
        if path == system:  # the kernel never refuses root
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(_connect, "_connect_to", connect_to)
    with pytest.raises(PrivilegeError, match=f"{system}, and no daemon at {users}"):
        connect(places, MAILBELLD)
    with listening(users):
        sock, path = connect(places, MAILBELLD)
        sock.close()
        assert path == users


def remove(path: str) -> None:
    os.unlink(path)


def replace(path: str) -> None:
    os.unlink(path)
    Path(path).touch()


def replace_by_a_dead_one(path: str) -> None:
    os.unlink(path)
    with listening(path):
        pass


def lose_the_folder(path: str) -> None:
    os.unlink(path)
    os.rmdir(os.path.dirname(path))
    Path(path).parent.touch()


@pytest.mark.parametrize("lose", [remove, replace, replace_by_a_dead_one, lose_the_folder])
def test_a_daemon_that_nothing_reaches_is_not_called_absent(tmp_path: Path, lose: object) -> None:
    assert callable(lose)
    (tmp_path / "run").mkdir()
    path = str(tmp_path / "run" / "s")
    with listening(path):
        lose(path)
        with pytest.raises(UnavailableError) as caught:
            Client(path).status()
        assert str(caught.value) == (
            f"the daemon runs, but nothing reaches it: its socket {path} was removed or replaced;"
            " end it and start it again"
        )
    with pytest.raises(UnavailableError, match="no daemon at"):
        Client(path).status()


def test_a_daemon_that_starts_while_it_is_looked_for_is_not_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "s")
    real = local_listener.listens
    daemons: list[socket.socket] = []

    def listens(at: str) -> bool:
        daemons.append(socket.socket(socket.AF_UNIX))
        daemons[-1].bind(at)
        daemons[-1].listen()
        return real(at)

    monkeypatch.setattr(_connect, "listens", listens)
    with pytest.raises(UnavailableError, match="no daemon at"):
        connect([path], MAILBELLD)
    daemons[0].close()


async def ask_with_trio(path: str) -> Status:
    async with TrioClient(path) as client:
        return await client.status()


ASK = [lambda path: Client(path).status(), lambda path: trio.run(ask_with_trio, path)]
both = pytest.mark.parametrize("ask", ASK, ids=["blocking", "trio"])


@needs_refusal
@both
def test_a_descriptor_that_takes_long_to_close_is_refused(
    tmp_path: Path, ask: Callable[[str], Status]
) -> None:
    """The client would have to close it, whatever its deadline is."""
    taken = []

    def scene(peer: Peer) -> None:
        taken.append(pass_to(peer.connection))
        answer(GetStatus(), GetStatusReply(STATUS))(peer)

    path = str(tmp_path / "s")
    with FakeDaemon(path, scene):
        assert ask(path) == STATUS
    assert taken == [False]


@both
def test_why_a_call_is_refused_is_read_also_after_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], Status]
) -> None:
    """The daemon has answered and closed before the client sends: the kernel says EPIPE."""
    path = str(tmp_path / "s")
    with listening(path) as daemon:

        def refuse(_: socket.socket, *__: object) -> None:
            with daemon.accept()[0] as connection:
                connection.send(encode_error(too_fast()))

        monkeypatch.setattr(_connect, "require_trusted", refuse)
        with pytest.raises(TemporaryError, match="refuses more calls of this user"):
            ask(path)


@both
def test_an_end_without_a_word_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], Status]
) -> None:
    path = str(tmp_path / "s")
    with listening(path) as daemon:
        monkeypatch.setattr(_connect, "require_trusted", lambda *_: daemon.accept()[0].close())
        with pytest.raises(UnavailableError, match="the daemon closed the connection"):
            ask(path)


def fill(path: str) -> list[socket.socket]:
    """Fill the queue of a socket on which nobody accepts."""
    waiting = []
    with suppress(BlockingIOError):
        while True:
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect(path)
    return waiting


def test_a_client_waits_for_room_in_the_queue(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    slept: list[float] = []
    with listening(path) as daemon:
        waiting = fill(path)

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:  # the daemon takes one, and answers the client before it calls
                daemon.accept()[0].close()

        with pytest.raises(TemporaryError, match=r"did not answer within 0\.05 seconds"):
            Client(path, timeout=0.05, timing=Timing(lambda: sum(slept), sleep)).status()
        assert slept == [0.001, 0.002, 0.004]
        for one in waiting:
            one.close()


def test_a_client_waits_for_room_no_longer_than_its_timeout(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    slept: list[float] = []
    timing = Timing(lambda: sum(slept), slept.append)
    with listening(path):
        waiting = fill(path)
        for timeout in (0.5, 0.0):
            slept.clear()
            with pytest.raises(TemporaryError, match=f"the daemon at {path} is too busy"):
                Client(path, timeout=timeout, timing=timing).status()
            assert timeout * 0.8 <= sum(slept) <= timeout
        assert max(slept, default=0.05) == 0.05
        for one in waiting:
            one.close()


async def test_the_trio_client_waits_for_room_in_the_queue(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    path = str(tmp_path / "s")
    with listening(path) as daemon:
        waiting = fill(path)
        before = trio.current_time()
        with pytest.raises(TemporaryError, match=f"the daemon at {path} is too busy"):
            await TrioClient(path, timeout=3.0).status()
        assert 2.9 < trio.current_time() - before <= 3.0
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(TemporaryError, match="did not answer within 3 seconds"):
                    await TrioClient(path, timeout=3.0).status()

            nursery.start_soon(ask)
            await trio.sleep(1)
            daemon.accept()[0].close()
        for one in waiting:
            one.close()
