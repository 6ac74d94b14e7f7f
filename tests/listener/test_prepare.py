"""What mailbelld opens before the lock, in this process."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.daemon import configuration as toml

from mailbell._sys import credentials
from mailbell.core.errors import OperatingSystemError
from mailbell.listener import prepare as module
from mailbell.listener._binding import open_sockets
from mailbell.listener._local_service import local_connections
from mailbell.listener.configuration import Configuration, parse
from mailbell.listener.prepare import Prepared, descriptors_needed, prepare
from mailbell.sandbox.policy_file import read_policy


def configured(folder: Path) -> Configuration:
    return parse(toml(folder, tcp=["127.0.0.1:0"], udp=["127.0.0.1:0"]).encode())


def close(prepared: Prepared) -> None:
    for sock in (*prepared.sockets.tcp, *prepared.sockets.udp, prepared.sockets.local):
        sock.close()
    os.close(prepared.confinement.status_file)


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Prepared]:
    found = prepare(configured(tmp_path), {})
    yield found
    close(found)


def test_its_sockets_listen(prepared: Prepared, tmp_path: Path) -> None:
    sockets = prepared.sockets
    assert [sock.getsockname()[0] for sock in (*sockets.tcp, *sockets.udp)] == ["127.0.0.1"] * 2
    assert sockets.local.getsockname() == f"{tmp_path}/mailbell.sock"
    with socket.create_connection(sockets.tcp[0].getsockname()):
        pass


def test_what_it_may_do_once_it_is_locked_in(prepared: Prepared, tmp_path: Path) -> None:
    confinement, sockets = prepared.confinement, prepared.sockets
    assert confinement.policy == read_policy("mailbelld")
    identity = confinement.identity
    assert (identity and identity.name) == ("nobody" if os.geteuid() == 0 else None)
    assert confinement.open_files == descriptors_needed(configured(tmp_path), 2)
    own = [sock.fileno() for sock in (*sockets.tcp, *sockets.udp, sockets.local)]
    assert confinement.descriptors == {"SHARED": (0, 1, 2, *own)}
    link = os.readlink(f"/proc/self/fd/{confinement.status_file}")
    assert link == f"/proc/{os.getpid()}/status"
    assert (confinement.connect_to, confinement.send_to) == (frozenset(), frozenset())


def test_no_descriptor_is_missing_and_none_too_many(tmp_path: Path) -> None:
    """Those that wait, those of the local socket and those to spare, one by one."""
    text = "[limits]\nconnections = 100\n"
    plain = toml(tmp_path).replace("[socket]", "[socket]\nsubscribers = 10")
    found = descriptors_needed(parse((plain + text).encode()), 3)
    more = descriptors_needed(parse((plain + text).encode()), 4)
    assert more == found + 1
    spare = 24 + 8  # and those that are accepted together
    local = 1 + local_connections(10)
    assert found == spare + 3 + local + 100


def test_each_run_has_a_name_and_a_secret_of_its_own(tmp_path: Path) -> None:
    with ExitStack() as stack:
        runs = []
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            runs.append(prepare(configured(folder), {}))
            stack.callback(close, runs[-1])
    assert [len(bytes.fromhex(run.epoch)) for run in runs] == [8, 8]
    assert runs[0].epoch != runs[1].epoch
    assert runs[0].seed != runs[1].seed


def test_the_secret_has_64_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: bytes(range(1, count + 1)))
    found = prepare(configured(tmp_path), {})
    close(found)
    assert found.seed == 0x0102030405060708
    assert found.epoch == "0102030405060708"


def test_the_service_manager_is_that_of_the_environment(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{tmp_path}/notify")
        environ = {
            "NOTIFY_SOCKET": f"{tmp_path}/notify",
            "WATCHDOG_USEC": "2000000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        found = prepare(configured(tmp_path), environ)
        assert found.notifier.watchdog_interval == 1.0
        assert found.notifier.ready()
        assert manager.recv(100) == b"READY=1"
        assert found.notifier._sock is not None
        found.notifier._sock.close()
        close(found)


def test_the_user_of_the_configuration_is_looked_up_for_root_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    monkeypatch.setattr(credentials, "resolve_user", pytest.fail)
    found = prepare(configured(tmp_path), {})
    close(found)
    assert found.confinement.identity is None


def test_the_sockets_are_opened_for_the_user_that_root_becomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = credentials.Identity("me", os.getuid(), os.getgid())
    opened_for: list[object] = []

    def noting(configuration: Configuration, environ: dict[str, str], identity: object) -> object:
        opened_for.append(identity)
        return open_sockets(configuration, environ, None)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(credentials, "resolve_user", lambda _: user)
    monkeypatch.setattr(module, "open_sockets", noting)
    found = prepare(configured(tmp_path), {})
    close(found)
    assert opened_for == [user]
    assert found.confinement.identity == user


def test_an_error_that_nobody_foresaw_names_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise OSError(5, "broken")

    monkeypatch.setattr(module, "read_policy", fail)
    with pytest.raises(OperatingSystemError, match=r"cannot start \(prepare\): broken"):
        prepare(configured(tmp_path), {})
