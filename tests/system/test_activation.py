"""Sockets from a service manager, and from a capability: no moment as root at all."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.daemon import LINE, Daemon, configuration, ring, started, until
from harness.ordinary import NOBODY, as_nobody

# Becomes what a service manager starts: descriptors from 3 on, and LISTEN_PID
# set to the process that the program will be.
MANAGER = """
import os, sys
given = [int(n) for n in sys.argv[1].split(",")]
names = sys.argv[2]
copies = [os.dup(fd) for fd in given]
for place, fd in enumerate(copies):
    os.dup2(fd, 100 + place)
for place in range(len(copies)):
    os.dup2(100 + place, 3 + place, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)), LISTEN_FDNAMES=names)
os.execv(sys.argv[3], sys.argv[3:])
"""


def listening(family: int, kind: int, address: object) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.bind(address)  # type: ignore[arg-type]  # of either family
    if kind == socket.SOCK_STREAM:
        sock.listen(64)
    return sock


@contextmanager
def activated(directory: Path, *setup: str) -> Iterator[tuple[Daemon, tuple[str, int]]]:
    with (
        listening(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)) as tcp,
        listening(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)) as udp,
        listening(socket.AF_UNIX, socket.SOCK_STREAM, str(directory / "mailbell.sock")) as local,
    ):
        (directory / "mailbell.sock").chmod(0o660)
        descriptors = [tcp.fileno(), udp.fileno(), local.fileno()]
        manager = [sys.executable, "-c", MANAGER, ",".join(map(str, descriptors)), "tcp:udp:local"]
        command = (*setup, *manager)
        with started(directory, command=command, descriptors=descriptors) as daemon:
            yield daemon, tcp.getsockname()


def test_sockets_of_a_service_manager_are_taken_by_name(tmp_path: Path) -> None:
    with activated(tmp_path) as (daemon, endpoint):
        ring(endpoint)
        until(lambda: daemon.counted() == {"accepted": 1})
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(LINE, daemon.endpoint("udp"))
        until(lambda: daemon.counted("udp") == {"accepted": 1})


def refused(directory: Path, name: str, passed: socket.socket, more: str = "") -> str:
    """Start with one passed socket that is wrong; return what the daemon says."""
    file = directory / "mailbelld.toml"
    file.write_text(configuration(directory, more=more))
    words = [sys.executable, "-c", MANAGER, str(passed.fileno()), name]
    words += [sys.executable, "-m", "mailbell.cli.mailbelld", "--config", str(file)]
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, pass_fds=[passed.fileno()], timeout=30
    )
    assert done.returncode == 78, done
    return done.stderr


def test_a_passed_local_socket_that_lets_everybody_in_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open.sock"
    with listening(socket.AF_UNIX, socket.SOCK_STREAM, str(path)) as local:
        path.chmod(0o666)
        assert "SocketMode=0660" in refused(tmp_path, "local", local)


def test_a_passed_local_socket_without_a_path_is_refused(tmp_path: Path) -> None:
    with listening(socket.AF_UNIX, socket.SOCK_STREAM, f"\0mailbell-{os.getpid()}") as local:
        assert "write ListenStream= with a path" in refused(tmp_path, "local", local)


def test_a_passed_wildcard_datagram_socket_cannot_serve_accounts_by_address(
    tmp_path: Path,
) -> None:
    account = '[[account]]\nname = "a"\naddresses = ["127.0.0.1"]'
    with listening(socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", 0)) as udp:
        assert "ListenDatagram= with one address" in refused(tmp_path, "udp", udp, account)


def test_no_connection_is_lost_while_an_activated_daemon_restarts(tmp_path: Path) -> None:
    with listening(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)) as tcp:
        manager = (sys.executable, "-c", MANAGER, str(tcp.fileno()), "tcp")
        with started(tmp_path, command=manager, descriptors=[tcp.fileno()]) as daemon:
            ring(tcp.getsockname())
            until(lambda: daemon.counted() == {"accepted": 1})
        with socket.create_connection(tcp.getsockname()) as meanwhile:
            meanwhile.sendall(LINE)
            with started(tmp_path, command=manager, descriptors=[tcp.fileno()]) as daemon:
                until(lambda: daemon.counted() == {"accepted": 1})


ONLY_TO_BIND = (
    "--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service",
    "--bounding-set=-all,+net_bind_service",
)  # fmt: skip
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a capability to somebody")


@ROOT
def test_a_user_with_only_the_capability_to_bind_drops_that_too(
    open_path: Path, empty_path: Path
) -> None:
    os.chown(open_path, NOBODY, NOBODY)
    toml = configuration(open_path, tcp=["127.0.79.1:79"])
    command = as_nobody(empty_path, *ONLY_TO_BIND)
    with started(open_path, toml, command=command) as daemon:
        ring(("127.0.79.1", 79))
        until(lambda: daemon.counted() == {"accepted": 1})
        says = daemon.kernel_says()
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(says[name], 16) == 0, name
        assert set(says["Uid"].split()) == {str(NOBODY)}


def test_a_group_that_cannot_be_let_in_is_said_and_no_other_is(
    open_path: Path, empty_path: Path
) -> None:
    """The group exists, and who starts the daemon is not in it: the user's own was not meant."""
    toml = configuration(open_path).replace('group = ""', 'group = "daemon"')
    command: Sequence[str] = ()
    if os.geteuid() == 0:
        os.chown(open_path, NOBODY, NOBODY)
        command = as_nobody(empty_path)
    with started(open_path, toml, command=command) as daemon:
        assert stat.S_IMODE(daemon.path.stat().st_mode) == 0o600
        daemon.until_logged("event=socket_group_withheld group=daemon")


@ROOT
def test_without_the_privilege_to_filter_the_daemon_itself_holds_the_list(
    open_path: Path, empty_path: Path
) -> None:
    """Newer kernels filter a TCP socket for CAP_NET_ADMIN only; the list counts all the same."""
    os.chown(open_path, NOBODY, NOBODY)
    toml = configuration(open_path, tcp=["127.0.79.1:79"], more='[sources]\nallow = ["127.0.79.2"]')
    command = as_nobody(empty_path, *ONLY_TO_BIND)
    with started(open_path, toml, command=command) as daemon:
        if not any("kernel_filter_missing" in line for line in daemon.lines()):
            pytest.skip("this kernel lets anyone filter a TCP socket")
        assert ring(("127.0.79.1", 79), source="127.0.79.3") == b""
        ring(("127.0.79.1", 79), source="127.0.79.2")
        until(lambda: daemon.counted() == {"unlisted_source": 1, "accepted": 1})
