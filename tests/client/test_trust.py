"""The client looks who listens, before it sends or reads: real sockets of real other users."""

import ctypes
import os
import pwd
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from harness.child import _enter_user_namespace, run
from harness.fake_daemon import STATUS, FakeDaemon, Peer, answer
from harness.ordinary import NOBODY, let_in

from mailbell.calling import trust
from mailbell.calling.explain import UntrustedError, explain_connect
from mailbell.client import Client, PrivilegeError, Status, _path
from mailbell.client._mailbelld import MAILBELLD
from mailbell.client.trio import Client as TrioClient
from mailbell.interfaces.listener import GetStatus, GetStatusReply

STRANGER = 12345
PR_SET_DUMPABLE = 4


def ask_blocking(path: str | None, daemon_user: str | None = None) -> Status:
    with Client(path, daemon_user=daemon_user) as client:
        return client.status()


def ask_with_trio(path: str | None, daemon_user: str | None = None) -> Status:
    async def inside() -> Status:
        async with TrioClient(path, daemon_user=daemon_user) as client:
            return await client.status()

    return trio.run(inside)


Ask = Callable[..., Status]
both = pytest.mark.parametrize("ask", [ask_blocking, ask_with_trio])
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture
def path(tmp_path: Path) -> str:
    let_in(tmp_path)
    return str(tmp_path / "s")


def listen(path: str, uid: int) -> socket.socket:
    """A socket on which another user's process has called listen(2)."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    os.chmod(path, 0o666)
    before = os.geteuid()
    os.seteuid(uid)
    try:
        sock.listen()
    finally:
        os.seteuid(before)
    return sock


class Squatter:
    """Another user's process at the daemon's path. It records all that it is sent.

    Its answer is there at once: a client that reads it would take it for a status.
    """

    def __init__(self, path: str, uid: int) -> None:
        self._sock = listen(path, uid)
        self.heard: list[bytes] = []
        self.served = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._sock.accept()
            except OSError:
                return
            with peer:
                self.heard.append(peer.recv(4096))
            self.served.set()

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        # Only shutdown(2) ends an accept(2) that waits.
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._thread.join(20)


@pytest.fixture
def squatter(path: str) -> Iterator[Squatter]:
    one = Squatter(path, STRANGER)
    yield one
    one.close()


@needs_root
@both
def test_another_users_process_is_told_nothing(path: str, squatter: Squatter, ask: Ask) -> None:
    with pytest.raises(PrivilegeError) as caught:
        ask(path)
    assert str(caught.value) == (
        f"the process that listens at {path} belongs to user {STRANGER}; trusted are root, you"
        f" and mailbell; if it is your daemon, set MAILBELL_DAEMON_USER={STRANGER}"
    )
    assert caught.value.exit_code == 77
    assert squatter.served.wait(20)
    assert squatter.heard == [b""]


@needs_root
@both
@pytest.mark.parametrize("named", ["argument", "environment"])
def test_a_user_who_is_named_is_trusted(
    path: str, ask: Ask, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = pwd.getpwuid(NOBODY).pw_name
    for number, user in enumerate((name, str(NOBODY))):
        if named == "environment":
            monkeypatch.setenv("MAILBELL_DAEMON_USER", user)
        place = f"{path}{number}"
        with listen(place, NOBODY) as sock:
            daemon = threading.Thread(target=answer_once, args=(sock,))
            daemon.start()
            assert ask(place, user if named == "argument" else None) == STATUS
            daemon.join(20)


def answer_once(sock: socket.socket) -> None:
    connection, _ = sock.accept()
    with connection:
        answer(GetStatus(), GetStatusReply(STATUS))(Peer(connection))


@both
def test_ones_own_daemon_is_trusted(path: str, ask: Ask) -> None:
    with FakeDaemon(path, answer(GetStatus(), GetStatusReply(STATUS))):
        assert ask(path) == STATUS


@needs_root
@both
def test_roots_socket_is_trusted_whoever_accepts(path: str, ask: Ask) -> None:
    """A service manager calls listen(2), and another process answers."""
    with FakeDaemon(path, answer(GetStatus(), GetStatusReply(STATUS))):
        os.chmod(path, 0o666)

        def as_other() -> bool:
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            return ask(path) == STATUS

        ended = run(as_other)
    assert ended.value is True, ended


@needs_root
def test_a_user_trusts_no_other_user(path: str, squatter: Squatter) -> None:
    def as_nobody() -> str:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with pytest.raises(PrivilegeError) as caught:
            ask_blocking(path)
        return caught.value.what

    ended = run(as_nobody)
    assert f"belongs to user {STRANGER}" in str(ended.value), ended
    assert squatter.served.wait(20)
    assert squatter.heard == [b""]


@needs_root
def test_a_squatter_at_the_first_place_hides_no_daemon(
    path: str, squatter: Squatter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_path, "SYSTEM_PATH", path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("MAILBELL_SOCKET", raising=False)
    (tmp_path / "mailbell").mkdir()
    with FakeDaemon(
        str(tmp_path / "mailbell/mailbell.sock"), answer(GetStatus(), GetStatusReply(STATUS))
    ):
        assert ask_blocking(None) == STATUS
    with pytest.raises(PrivilegeError, match=f"belongs to user {STRANGER}"):
        ask_blocking(None)


def test_a_user_outside_of_the_namespace_is_explained() -> None:
    error = explain_connect({"/s": UntrustedError(65534, "mailbell")}, MAILBELLD)
    assert "user 65534, which may be any user outside of this user namespace" in error.what


@needs_root
def test_in_a_user_namespace_the_outside_is_not_trusted(path: str) -> None:
    """Root of the outside has no number inside. It looks like every other user of the outside."""
    with listen(path, 0):

        def inside() -> str:
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            # Else /proc/self/uid_map belongs to root, prctl(2).
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
            _enter_user_namespace()
            with pytest.raises(PrivilegeError) as caught:
                ask_blocking(path)
            return caught.value.what

        ended = run(inside)
    if isinstance(ended.error, OSError):
        pytest.skip(f"namespaces cannot be made here: {ended.error}")
    assert "belongs to user 65534, which may be any user outside" in str(ended.value), ended


@pytest.mark.parametrize(
    ("user", "number"),
    [("root", 0), ("0", 0), ("12345", 12345), ("no-such-user", None), ("\u0661", None)],
)
def test_a_user_has_a_name_or_a_number(user: str, number: int | None) -> None:
    assert trust._number_of(user) == number
