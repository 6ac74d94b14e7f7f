"""What mailbell-sender opens before the lock, in this process. The companions are replaced."""

import os
import pwd
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sender.support_start import NAMED, Beside, configured, opened

from mailbell._sys import credentials
from mailbell._sys.credentials import Identity
from mailbell._sys.own_addresses import own_networks
from mailbell.core.errors import OperatingSystemError
from mailbell.core.networks import Address
from mailbell.logs.journal import Journal
from mailbell.sandbox.policy_file import read_policy
from mailbell.sender import prepare as module
from mailbell.sender._address_book import MAX_ACCOUNTS
from mailbell.sender._binding import Sockets, open_sockets
from mailbell.sender._hook_server import PLACES
from mailbell.sender._local_service import CONTROL_CONNECTIONS
from mailbell.sender._node_settings import Settings
from mailbell.sender._store_file import Examined, Verdict
from mailbell.sender.configuration import Listen
from mailbell.sender.prepare import (
    Prepared,
    _shared,
    descriptors_needed,
    node_of,
    prepare,
    steady,
)

QUIET = Journal(lambda _: None, lambda: 0.0)
BY_UDP = '[[account]]\nname = "carl"\ntargets = ["192.0.2.7:80"]\ntransport = "udp"\n'


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Beside]:
    made = Beside(monkeypatch)
    yield made
    for pair in made.pairs.values():
        pair.close()


@pytest.fixture
def prepared(open_path: Path) -> Iterator[Prepared]:
    with opened(configured(open_path)) as found:
        yield found


def test_its_sockets_listen(open_path: Path) -> None:
    listen = f'comsat = ["127.0.0.1:0"]\ncyrus = "{open_path}/cyrus"'
    with opened(configured(open_path, listen=listen)) as prepared:
        sockets = prepared.sockets
        assert [sock.getsockname() for sock in sockets.hooks] == [f"{open_path}/hook"]
        assert sockets.control.getsockname() == f"{open_path}/control"
        assert sockets.comsat[0].getsockname()[0] == "127.0.0.1"
        assert sockets.cyrus is not None
        assert sockets.cyrus.getsockname() == f"{open_path}/cyrus"


def test_what_it_may_do_once_it_is_locked_in(open_path: Path) -> None:
    configuration = configured(open_path, NAMED + BY_UDP, listen='comsat = ["127.0.0.1:0"]')
    with opened(configuration) as prepared:
        confinement, sockets = prepared.confinement, prepared.sockets
        assert confinement.policy == read_policy("mailbell-sender")
        identity = confinement.identity
        assert (identity and identity.name) == ("nobody" if os.geteuid() == 0 else None)
        assert confinement.open_files == descriptors_needed(configuration)
        link = os.readlink(f"/proc/self/fd/{confinement.status_file}")
        assert link == f"/proc/{os.getpid()}/status"
        own = [sock.fileno() for sock in (*sockets.hooks, sockets.control, *sockets.comsat)]
        flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        assert confinement.descriptors == {
            "SHARED": (0, 1, 2, *own),
            "EARLY": (0, 1, 2, *own),
            "CALLED": (socket.SOCK_STREAM | flags, socket.SOCK_DGRAM | flags),
        }
        assert confinement.connect_to == {79}
        assert confinement.send_to == {80}
        assert confinement.open_last == prepared.keeper.open
        assert confinement.open_within == f"{open_path}/book"
        assert confinement.readable == ("/dev/urandom",)


@pytest.mark.parametrize(
    ("more", "kinds"),
    [("", []), (NAMED, [socket.SOCK_STREAM]), (BY_UDP, [socket.SOCK_DGRAM])],
)
def test_it_may_make_the_sockets_that_its_targets_need(
    open_path: Path, more: str, kinds: list[int]
) -> None:
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with opened(configured(open_path, more)) as prepared:
        assert prepared.confinement.descriptors["CALLED"] == tuple(kind | flags for kind in kinds)


@pytest.mark.parametrize(
    ("connections", "extra"), [(1, 1), (3, 1), (7, 1), (8, 2), (100, 25), (256, 64)]
)
def test_no_descriptor_is_missing_and_none_too_many(
    open_path: Path, connections: int, extra: int
) -> None:
    """Those of calls, hooks and programs, and those to spare, one by one."""
    comsat = 'comsat = ["127.0.0.1:5512", "[::1]:5512"]'
    configuration = configured(open_path, f"connections = {connections}", listen=comsat)
    spare = 32 + 2 * 8
    served = PLACES + CONTROL_CONNECTIONS + 2
    assert descriptors_needed(configuration) == spare + connections + extra + served


def test_what_is_known_of_this_machine(open_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    listen = 'trusted = ["nobody", "no-such-user", "root", "nor-this"]'
    with opened(configured(open_path, listen=listen)) as prepared:
        assert prepared.own == own_networks()
        assert prepared.users[nobody.pw_uid] == "nobody"
        assert prepared.users[0] == "root"
        assert prepared.trusted == {nobody.pw_uid, 0}
        assert prepared.missing == ("no-such-user", "nor-this")


def test_users_that_no_service_lists_are_asked_for(
    open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def read(wanted: Iterator[str]) -> dict[int, str]:
        asked.extend(wanted)
        return {7: "anna"}

    monkeypatch.setattr(module, "read_user_names", read)
    with opened(configured(open_path, NAMED, listen='trusted = ["vmail"]')) as prepared:
        assert prepared.users == {7: "anna"}
    assert asked == ["vmail", "anna"]


def test_the_store_is_opened_when_it_may_be(open_path: Path) -> None:
    lines: list[str] = []
    journal = Journal(lines.append, lambda: 0.0)
    more = '[last_used]\nttl = "2m"\naddresses = 2\n'
    with opened(configured(open_path, more), journal=journal) as prepared:
        keeper = prepared.keeper
        assert not hasattr(keeper, "store")
        descriptors = keeper.open()
        store = keeper.store
        assert descriptors == {"STORE": store.descriptors}
        assert len(store.descriptors) > 0
        for number in range(1, 4):
            keeper.book.see("anna", Address.parse(f"192.0.2.{number}"), steady())
            store.note("anna", Address.parse(f"192.0.2.{number}"))
        assert (keeper.book.ttl, keeper.book.sightings) == (120.0, 2)
        assert keeper.book.limit == MAX_ACCOUNTS
        assert list(store.names()) == ["anna"]
        store._give_up("broken", "mend it")
        assert "broken" in lines[-1]
        store.close()
        keeper.open()
        assert keeper.store.load() == 1
        assert (keeper.store._steady, keeper.store._wall) == (steady, time.time)


def test_the_clock_of_the_book_goes_on_while_the_machine_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 12.5}.__getitem__)
    assert steady() == 12.5


def test_each_secret_has_its_length(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    monkeypatch.setattr(os, "urandom", random)
    with opened(configured(open_path)) as prepared:
        assert prepared.secret == bytes(range(16))
        assert prepared.keeper.book._secret == bytes(range(16)).hex()
    assert asked == [16, 16]


def test_alone_it_has_no_companion(prepared: Prepared, beside: Beside) -> None:
    assert beside.started == {}
    assert (prepared.resolver, prepared.cyrus, prepared.cluster) == (None, None, None)
    assert prepared.companions == ()
    assert prepared.node == ""


def test_each_companion_gets_what_it_needs(open_path: Path, beside: Beside) -> None:
    listen = f'cyrus = "{open_path}/cyrus"'
    configuration = configured(open_path, NAMED, listen=listen, in_cluster=True)
    with opened(configuration) as prepared:
        identity = prepared.confinement.identity
        assert list(beside.started) == ["resolver", "cyrus", "cluster"]
        assert beside.started["resolver"] == (identity,)
        assert beside.started["cyrus"] == (prepared.sockets.cyrus, identity)
        whose, find = beside.started["cluster"]
        assert whose == identity
        settings = find()
        assert isinstance(settings, Settings)
        assert (settings.node, settings.state) == ("mx1", f"{open_path}/book/state.db")
        found = (prepared.resolver, prepared.cyrus, prepared.cluster)
        assert prepared.companions == found
        assert [each.program for each in prepared.companions] == list(beside.started)
        assert prepared.node == "mx1"


def test_the_name_of_the_node_is_that_of_its_cluster(open_path: Path) -> None:
    assert node_of(configured(open_path)) == ""
    assert node_of(configured(open_path, in_cluster=True)) == "mx1"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who becomes another user")
@pytest.mark.parametrize(("in_cluster", "key"), [(False, "store.url"), (True, "store.file")])
def test_root_opens_all_for_the_user_that_it_becomes(
    open_path: Path, monkeypatch: pytest.MonkeyPatch, in_cluster: bool, key: str
) -> None:
    user = Identity("me", os.getuid(), os.getgid())
    opened_for: list[object] = []

    def look_up(name: str) -> Identity:
        opened_for.append(name)
        return user

    def open_noting(listen: Listen, environ: dict[str, str], identity: object) -> Sockets:
        opened_for.append(identity)
        return open_sockets(listen, environ, None)

    def examine_noting(path: str, *more: object) -> Examined:
        opened_for.extend(more)
        return Examined(path, Verdict.UNUSABLE)

    configuration = configured(open_path, in_cluster=in_cluster)
    monkeypatch.setattr(credentials, "resolve_user", look_up)
    monkeypatch.setattr(module, "open_sockets", open_noting)
    monkeypatch.setattr(module, "examine", examine_noting)
    with opened(configuration) as prepared:
        assert opened_for == ["nobody", user, user, key]
        assert prepared.confinement.identity == user


def test_who_is_not_root_becomes_nobody_else(
    open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = configured(open_path)
    monkeypatch.setattr(module, "examine", lambda path, *_: Examined(path, Verdict.UNUSABLE))
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 1)
    monkeypatch.setattr(credentials, "resolve_user", pytest.fail)
    with opened(configuration) as prepared:
        assert prepared.confinement.identity is None
        assert prepared.confinement.open_within is None


def test_the_service_manager_is_that_of_the_environment(open_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{open_path}/notify")
        environ = {
            "NOTIFY_SOCKET": f"{open_path}/notify",
            "WATCHDOG_USEC": "2000000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        with opened(configured(open_path), environ) as prepared:
            assert prepared.notifier.watchdog_interval == 1.0
            assert prepared.notifier.ready()
            assert manager.recv(100) == b"READY=1"
            descriptors = prepared.confinement.descriptors
            assert prepared.notifier._sock is not None
            own = prepared.notifier._sock.fileno()
            assert descriptors["EARLY"] == (*_shared(prepared.sockets), own)


def test_the_sockets_of_a_service_manager_are_taken_from_the_environment(open_path: Path) -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "hook"}
    with opened(configured(open_path), environ):
        assert environ == {}


def test_an_error_that_nobody_foresaw_names_the_step(
    open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise OSError(5, "broken")

    monkeypatch.setattr(module, "read_policy", fail)
    with pytest.raises(OperatingSystemError, match=r"cannot start \(prepare\): broken"):
        prepare(configured(open_path), {}, QUIET)
