"""Service managers that pass the right things, and wrong ones."""

import itertools
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mailbell._sys import systemd
from mailbell._sys.systemd import Notifier, activated_sockets
from mailbell.core.errors import ConfigurationError

PID = os.getpid()
IPV6 = os.path.exists("/proc/net/if_inet6")


def tcp(family: int = socket.AF_INET, *, v6only: bool = True) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    sock.bind(("127.0.0.1" if family == socket.AF_INET else "::", 0))
    sock.listen()
    return sock


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def local() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("")  # the kernel chooses an abstract name
    sock.listen()
    return sock


@pytest.fixture
def passing(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., dict[str, str]]]:
    """Puts sockets where a manager puts them, but at higher numbers: a test uses 3 itself."""
    used: list[int] = []

    def put(*sockets: tuple[str, socket.socket]) -> dict[str, str]:
        with ExitStack() as stack:
            first = max(map(int, os.listdir("/proc/self/fd"))) + 10
            for number, (_, sock) in enumerate(sockets, first):
                stack.enter_context(sock)
                os.dup2(sock.fileno(), number)
                used.append(number)
        monkeypatch.setattr(systemd, "_FIRST", first)
        return {
            "LISTEN_PID": str(PID),
            "LISTEN_FDS": str(len(sockets)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in sockets),
            "OTHER": "kept",
        }

    yield put
    for number in used:
        # The test closes the sockets that it took; a refusal closes its own.
        try:
            os.close(number)
        except OSError:
            continue


def close(given: systemd.ActivatedSockets) -> None:
    for sock in (*given.tcp, *given.udp, *((given.local,) if given.local else ())):
        sock.close()


Passing = Callable[..., dict[str, str]]


def test_every_kind_is_taken_by_its_name(passing: Passing) -> None:
    environ = passing(("udp", udp()), ("tcp", tcp()), ("local", local()), ("tcp", tcp()))
    given = activated_sockets(environ, PID)
    try:
        assert (len(given.tcp), len(given.udp), given.local is not None) == (2, 1, True)
        assert environ == {"OTHER": "kept"}
        assert given.local is not None
        for sock in (*given.tcp, *given.udp, given.local):
            assert not sock.get_inheritable()
            assert not sock.getblocking()
        for sock in given.tcp:
            assert sock.type == socket.SOCK_STREAM
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) >= 1
    finally:
        close(given)


@pytest.mark.skipif(not IPV6, reason="no IPv6 here")
def test_ipv6_alone_is_taken_and_dual_stack_refused(passing: Passing) -> None:
    close(activated_sockets(passing(("tcp", tcp(socket.AF_INET6))), PID))
    environ = passing(("tcp", tcp(socket.AF_INET6, v6only=False)))
    with pytest.raises(ConfigurationError, match="BindIPv6Only=ipv6-only") as caught:
        activated_sockets(environ, PID)
    assert caught.value.exit_code == 78


def not_listening() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def unbound() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def local_datagram() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def multipath() -> socket.socket:
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)  # IPPROTO_MPTCP
    except OSError as error:
        pytest.skip(f"no MPTCP here: {error}")
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("tcp", udp, "is no TCP socket.*ListenStream="),
        ("tcp", local, "is no TCP socket"),
        ("tcp", multipath, "is no TCP socket"),
        ("tcp", not_listening, "does not listen.*Accept=no"),
        ("udp", tcp, "is no UDP socket.*ListenDatagram="),
        ("udp", local_datagram, "is no UDP socket"),
        ("udp", unbound, "is not bound"),
        ("local", tcp, "is no Unix stream socket"),
        ("local", local_datagram, "is no Unix stream socket"),
        ("mailbelld.socket", tcp, "unknown name; write FileDescriptorName="),
        ("", tcp, "LISTEN_FDNAMES has 0 names for 1 sockets"),
    ],
)
def test_what_is_not_as_its_name_says(
    passing: Passing, name: str, make: Callable[[], socket.socket], message: str
) -> None:
    environ = passing((name, make()))
    with pytest.raises(ConfigurationError, match=message):
        activated_sockets(environ, PID)


def test_all_that_are_not_as_their_names_say_are_told_at_once(passing: Passing) -> None:
    environ = passing(("tcp", udp()), ("local", local()), ("udp", tcp()))
    with pytest.raises(ConfigurationError, match="2 sockets of the service manager") as caught:
        activated_sockets(environ, PID)
    first, second = map(str, caught.value.problems)
    assert "is no TCP socket" in first
    assert "is no UDP socket" in second


def test_a_refusal_closes_what_was_taken(passing: Passing) -> None:
    environ = passing(("tcp", tcp()), ("local", local()), ("local", local()))
    with pytest.raises(ConfigurationError, match="several sockets named local"):
        activated_sockets(environ, PID)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(systemd._FIRST)


def test_what_is_no_socket(passing: Passing, tmp_path: Path) -> None:
    environ = passing(("tcp", tcp()))
    (tmp_path / "file").write_text("")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    os.dup2(descriptor, systemd._FIRST)
    os.close(descriptor)
    with pytest.raises(ConfigurationError, match="is no socket"):
        activated_sockets(environ, PID)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"LISTEN_FDS": "x"}, "LISTEN_FDS='x' is no number"),
        ({"LISTEN_FDS": "-1"}, "is no number"),
        ({"LISTEN_FDS": "²"}, "is no number"),
        ({"LISTEN_FDS": "9" * 5000}, "is no number"),
        ({"LISTEN_FDS": "65"}, "passes 65 sockets"),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "tcp"}, "1 names for 2 sockets"),
        ({"LISTEN_FDS": "1"}, "0 names for 1 sockets"),
    ],
)
def test_a_wrong_environment(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        activated_sockets({"LISTEN_PID": str(PID), **environ}, PID)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "tcp"},
        {"LISTEN_PID": str(PID + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "tcp"},
        {"LISTEN_PID": "me", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "tcp"},
        {"LISTEN_PID": f" {PID}", "LISTEN_FDS": "many"},
        {"LISTEN_PID": str(PID)},
        {"LISTEN_PID": str(PID), "LISTEN_FDS": "0", "LISTEN_PIDFDID": "7"},
    ],
)
def test_nothing_for_us(environ: dict[str, str]) -> None:
    assert activated_sockets(environ, PID) == systemd.ActivatedSockets()
    assert environ == {}


CHILD = """
import os
from mailbell._sys.systemd import activated_sockets
given = activated_sockets(os.environ, os.getpid())
print(given.tcp[0].getsockname()[1], given.udp[0].getsockname()[1], flush=True)
"""


def test_a_real_process_finds_them_from_descriptor_3_on() -> None:
    reading, writing = os.pipe()
    with tcp() as stream, udp() as datagram:
        ports = f"{stream.getsockname()[1]} {datagram.getsockname()[1]}\n"
        # The manager knows the id of the process only when it exists: $$.
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", 'LISTEN_PID=$$ exec "$0" -c "$1"', sys.executable, CHILD],
            {
                "LISTEN_FDS": "2",
                "LISTEN_FDNAMES": "tcp:udp",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            file_actions=[
                # Move the descriptors away first: 3 and 4 may be among those to copy.
                (os.POSIX_SPAWN_DUP2, writing, 1),
                (os.POSIX_SPAWN_DUP2, stream.fileno(), 60),
                (os.POSIX_SPAWN_DUP2, datagram.fileno(), 61),
                (os.POSIX_SPAWN_DUP2, 60, 3),
                (os.POSIX_SPAWN_DUP2, 61, 4),
            ],
        )
    os.close(writing)
    with open(reading) as output:
        assert output.read() == ports
    assert os.waitpid(pid, 0)[1] == 0


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        if request.param == "path":
            sock.bind(str(tmp_path / "notify"))
            address = str(tmp_path / "notify")
        else:
            sock.bind("")
            address = "@" + sock.getsockname()[1:].decode()
        sock.settimeout(10)
        yield sock, address


@contextmanager
def connected(environ: dict[str, str]) -> Iterator[Notifier]:
    """Yield a notifier and close it. The daemon never closes its own."""
    notifier = Notifier(environ, PID)
    yield notifier
    notifier.close()
    assert not notifier.connected
    assert not notifier.ready()


def test_the_manager_hears_the_news(manager: tuple[socket.socket, str]) -> None:
    sock, address = manager
    with connected({"NOTIFY_SOCKET": address}) as notifier:
        assert notifier.ready()
        assert notifier.watchdog()
        assert notifier.status("deaf:\nREADY=1")
        assert notifier.stopping()
    expected = [b"READY=1", b"WATCHDOG=1", b"STATUS=deaf:\\nREADY=1", b"STOPPING=1"]
    assert [sock.recv(1000) for _ in expected] == expected


def test_without_a_manager_it_is_silent() -> None:
    with connected({}) as notifier:
        said = (notifier.ready(), notifier.watchdog(), notifier.status("x"), notifier.stopping())
        assert not any(said)


def test_a_manager_that_is_gone_or_deaf_stops_nobody(manager: tuple[socket.socket, str]) -> None:
    sock, address = manager
    with connected({"NOTIFY_SOCKET": address}) as notifier:
        answers = [notifier.watchdog() for _ in range(5000)]
        assert answers[0]
        assert not answers[-1]  # the manager's queue is full, and the daemon does not wait
        sock.close()
        assert not notifier.watchdog()


def gone(directory: Path) -> str:
    return str(directory / "gone")


def too_long(directory: Path) -> str:
    return str(directory / ("x" * 200))


def a_file(directory: Path) -> str:
    (directory / "file").touch()
    return str(directory / "file")


def below_a_file(directory: Path) -> str:
    return a_file(directory) + "/notify"


def nobody_reads(directory: Path) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(directory / "closed"))
    return str(directory / "closed")


def of_another_type(directory: Path) -> str:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(directory / "stream"))
    sock.listen()
    sock.detach()  # open until this process ends
    return str(directory / "stream")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (gone, "No such file or directory"),
        (too_long, "AF_UNIX path too long"),
        (a_file, "Connection refused"),
        (below_a_file, "Not a directory"),
        (nobody_reads, "Connection refused"),
        (of_another_type, "Protocol wrong type for socket"),
        (lambda _: "@mailbell-nobody-has-this", "Connection refused"),
        (lambda _: "@" + "x" * 200, "AF_UNIX path too long"),
        (lambda _: "vsock:2:1234", "neither a path nor an abstract name"),
        (lambda _: "notify", "neither a path nor an abstract name"),
        (lambda _: "run/notify", "neither a path nor an abstract name"),
        (lambda _: "/run/\udcff\n", "No such file or directory"),
    ],
)
def test_a_manager_that_cannot_be_reached_is_told_in_words_and_stops_nobody(
    tmp_path: Path, make: Callable[[Path], str], why: str
) -> None:
    address = make(tmp_path)
    # The signs of life use the same socket.
    with connected({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}) as notifier:
        assert notifier.unusable == [f"NOTIFY_SOCKET={address[:120]}: {why}"]
        assert (notifier.connected, notifier.watchdog_interval) == (False, None)
        assert not notifier.ready()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(PID)}, 0.5),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(PID + 1)}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_PID": str(PID)}, None),
    ],
)
def test_half_of_what_the_manager_waits(
    manager: tuple[socket.socket, str], environ: dict[str, str], seconds: float | None
) -> None:
    with connected({"NOTIFY_SOCKET": manager[1], **environ}) as notifier:
        assert notifier.watchdog_interval == seconds
        assert notifier.unusable == []
    with connected(environ) as notifier:
        assert notifier.watchdog_interval is None  # there is no service manager


@pytest.mark.parametrize("value", ["soon", "-1", "1e6", "1 ", "²", "9" * 20])
@pytest.mark.parametrize("name", ["WATCHDOG_USEC", "WATCHDOG_PID"])
def test_a_watchdog_that_is_no_number_stops_nobody(
    manager: tuple[socket.socket, str], name: str, value: str
) -> None:
    environ = {"WATCHDOG_USEC": "1000000", name: value, "NOTIFY_SOCKET": manager[1]}
    with connected(environ) as notifier:
        assert notifier.unusable == [f"{name}={value!r} is no number"]
        assert notifier.watchdog_interval is None
        assert notifier.ready()


def test_the_journal_is_told_from_a_terminal_that_inherits_its_name(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        status = os.fstat(log.fileno())
        here = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert systemd.logs_to_journal(here, log.fileno())
        assert not systemd.logs_to_journal({"JOURNAL_STREAM": "8:1"}, log.fileno())
        for garbage in ("", ":", "x:y", "9" * 99, "1:2:3"):
            assert not systemd.logs_to_journal({"JOURNAL_STREAM": garbage}, log.fileno())
        assert not systemd.logs_to_journal({}, log.fileno())
    assert not systemd.logs_to_journal(here, 1 << 20)  # no such descriptor


BY_PATH = {"hook": 2, "control": 1}


def test_sockets_by_path_arrive_under_their_names(passing: Passing) -> None:
    environ = passing(("control", local()), ("hook", local()), ("hook", local()))
    given = systemd.activated_local_sockets(environ, PID, BY_PATH)
    assert {name: len(sockets) for name, sockets in given.items()} == {"control": 1, "hook": 2}
    for sock in itertools.chain(*given.values()):
        assert not sock.get_inheritable()
        assert not sock.getblocking()
        sock.close()
    assert environ == {"OTHER": "kept"}
    assert systemd.activated_local_sockets({}, PID, BY_PATH) == {}


@pytest.mark.parametrize(
    ("sockets", "message"),
    [
        ((("local", local),), "unknown name; write FileDescriptorName=hook or control in its"),
        ((("hook", tcp),), "is no Unix stream socket"),
        ((("control", local), ("control", local)), "several sockets named control; keep one"),
        ((("hook", local),) * 3, "more than 2 sockets named hook; keep 2"),
    ],
)
def test_wrong_sockets_by_path_are_refused(
    passing: Passing, sockets: tuple[tuple[str, Callable[[], socket.socket]], ...], message: str
) -> None:
    environ = passing(*((name, make()) for name, make in sockets))
    with pytest.raises(ConfigurationError, match=message):
        systemd.activated_local_sockets(environ, PID, BY_PATH)
