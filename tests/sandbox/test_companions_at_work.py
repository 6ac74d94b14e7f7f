"""What the companions really need once they are locked in, and what an intruder can do there.

Each does everything that it ever does, under strace and with an audit hook at the same time.
"""

import ctypes
import errno
import mmap
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from harness.alone import ask
from harness.child import Ended
from harness.engine import needs_engine
from harness.libseccomp import libseccomp
from harness.watch import ALLOWED, events, unexpected
from sandbox.companion_processes import locked_cluster, locked_cyrus_reader, locked_resolver
from sandbox.test_whole_suite import calls_of_all, silent, stale

from mailbell._sys import landlock
from mailbell.sandbox.policy_file import read_policy
from mailbell.sender import _companion

TESTS: Final = Path(__file__).parent.parent
SCRIPT: Final = Path(__file__).parent / "companions_at_work.py"
BY_TCP: Final = {
    r"socket\.__new__ by _ask_by_tcp: .*": "a connection to a name server",
    r"socket\.connect by _ask_by_tcp: .*": "a connection to a name server",
}


TO_THE_ENGINE: Final = {
    r"socket\.(__new__|connect|getaddrinfo) by .*": "a connection to the engine",
}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("which", ["resolver", "cyrus", "cluster"])
def test_what_is_permitted_is_used_or_says_why_not(which: str, tmp_path: Path) -> None:
    if which == "cluster":
        needs_engine()
    strace = ["strace", "-ff", "-qq", "-e", "raw=all", "-e", "signal=none"]
    (tmp_path / "audit").write_bytes(bytes(1 << 16))
    done = subprocess.run(
        [*strace, "-o", tmp_path / "trace", sys.executable, SCRIPT, which, tmp_path],
        env={**os.environ, "PYTHONPATH": str(TESTS)}, check=False, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    report = events(tmp_path / "audit")
    assert report
    assert unexpected(report, {**ALLOWED, **BY_TCP, **TO_THE_ENGINE}) == []
    policy = read_policy(f"mailbell-{which}")
    seen = calls_of_all(tmp_path.glob("trace.*"))
    assert seen.keys() >= {"recvfrom", "sendto", "exit_group"}, "nothing was seen"
    assert silent(seen, policy) == []
    assert stale(seen, policy) == []
    assert seen.keys() <= {call for entry in policy.entries for call in entry.calls}


# --- an intruder --------------------------------------------------------------------------


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "succeeded"


# struct sockaddr_in: 127.0.0.9, port 9.
ELSEWHERE: Final = ctypes.create_string_buffer(
    socket.AF_INET.to_bytes(2, sys.byteorder) + b"\0\x09\x7f\0\0\x09" + bytes(8), 16
)
TEXT: Final = ctypes.create_string_buffer(b"x")


def call(name: str, *arguments: int) -> int:
    """Make a system call, and nothing before it."""
    number = libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, name)
    return ask((number, (*arguments, *(0,) * (6 - len(arguments)))))


def udp_of(numbers: Mapping[str, Any]) -> int:
    """One of the resolver's UDP sockets, which is connected to a name server."""
    return int(max(numbers["CONNECTED"]))


def udp_socket(_: Mapping[str, Any]) -> object:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def another_peer(numbers: Mapping[str, Any]) -> object:
    return call("connect", udp_of(numbers), ctypes.addressof(ELSEWHERE), 16)


def by_address(numbers: Mapping[str, Any]) -> object:
    where = ctypes.addressof(ELSEWHERE)
    return call("sendto", udp_of(numbers), ctypes.addressof(TEXT), 1, 0, where, 16)


def bind(numbers: Mapping[str, Any]) -> object:
    return call("bind", numbers.get("SENDER", 2), ctypes.addressof(ELSEWHERE), 16)


def listen(numbers: Mapping[str, Any]) -> object:
    return call("listen", numbers.get("SENDER", 2), 1)


def accept(numbers: Mapping[str, Any]) -> object:
    return call("accept4", numbers.get("SENDER", 2))


def unix_socket(_: Mapping[str, Any]) -> object:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


def fork(_: Mapping[str, Any]) -> object:
    return os.fork()


def execute(_: Mapping[str, Any]) -> object:
    return os.execv("/bin/true", ["true"])


def signal_the_sender(_: Mapping[str, Any]) -> None:
    os.kill(os.getppid(), signal.SIGTERM)


def pass_a_descriptor(numbers: Mapping[str, Any]) -> object:
    return call("sendmsg", numbers.get("SENDER", 2), 0)


def write_elsewhere(numbers: Mapping[str, Any]) -> object:
    return call("write", numbers["CYRUS"], ctypes.addressof(TEXT), 1)


def wait_for_the_sender(numbers: Mapping[str, Any]) -> object:
    return call("sendto", numbers["SENDER"], ctypes.addressof(TEXT), 1)


def answer_cyrus(numbers: Mapping[str, Any]) -> object:
    return call("sendto", numbers["CYRUS"], ctypes.addressof(TEXT), 1, socket.MSG_DONTWAIT)


def close_the_pair(numbers: Mapping[str, Any]) -> None:
    os.close(numbers["SENDER"])


EITHER: Final = [
    fork,
    execute,
    signal_the_sender,
    pass_a_descriptor,
    udp_socket,
    unix_socket,
    bind,
    listen,
    accept,
]


@pytest.mark.parametrize(
    "attack", [*EITHER, another_peer, by_address], ids=lambda attack: attack.__name__
)
def test_an_intruder_in_the_resolver_dies(attack: Callable[[Mapping[str, Any]], object]) -> None:
    assert locked_resolver(attack).signal is signal.SIGSYS


def tcp_options(_: Mapping[str, Any]) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


@pytest.mark.parametrize("attack", [*EITHER, tcp_options], ids=lambda attack: attack.__name__)
def test_an_intruder_in_the_companion_for_the_cluster_dies(
    attack: Callable[[Mapping[str, Any]], object],
) -> None:
    assert locked_cluster(attack).signal is signal.SIGSYS


@pytest.mark.parametrize(
    "attack",
    [*EITHER, write_elsewhere, wait_for_the_sender, answer_cyrus, close_the_pair],
    ids=lambda attack: attack.__name__,
)
def test_an_intruder_in_the_reader_dies(attack: Callable[[Mapping[str, Any]], object]) -> None:
    assert locked_cyrus_reader(attack).signal is signal.SIGSYS


@pytest.mark.parametrize("locked", [locked_resolver, locked_cyrus_reader, locked_cluster])
def test_how_much_memory_the_tests_have_changes_nothing(locked: Callable[..., Ended]) -> None:
    with mmap.mmap(-1, 2 << 30, mmap.MAP_PRIVATE):  # counted as data, and never used
        assert locked(lambda _: "locked").value == "locked"


@pytest.mark.parametrize("locked", [locked_resolver, locked_cyrus_reader, locked_cluster])
def test_none_opens_a_file_nor_looks_at_one(locked: Callable[..., Any]) -> None:
    def inside(_: Mapping[str, Any]) -> list[str]:
        return [
            outcome(lambda: os.open("/etc/passwd", os.O_RDONLY)),
            outcome(lambda: os.stat("/")),
            outcome(lambda: os.listdir("/")),
        ]

    assert locked(inside).value == ["EACCES"] * 3


@pytest.mark.parametrize("locked", [locked_resolver, locked_cluster])
def test_what_has_many_libraries_imports_nothing_more(locked: Callable[..., Any]) -> None:
    def inside(_: Mapping[str, Any]) -> str:
        sys.modules.pop("mailbell.cli.top", None)  # another test may have loaded it
        try:
            import mailbell.cli.top  # noqa: F401
        except ImportError:
            return f"not found by {sys.meta_path}"
        return "found"

    # No finder is left that looks into folders.
    assert locked(inside).value == f"not found by {[_companion.NoModule]}"


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    """Two ports on which something listens; the first one is that of the name servers."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        yield one.getsockname()[1], two.getsockname()[1]


def test_the_resolver_connects_to_the_port_of_name_servers_only(ports: tuple[int, int]) -> None:
    if landlock.abi() < 4:
        pytest.skip("TCP came with version 4")

    def connected(port: int) -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            return errno.errorcode.get(sock.connect_ex(("127.0.0.1", port)), "succeeded")

    ended = locked_resolver(lambda _: [connected(port) for port in ports], port=ports[0])
    assert ended.value == ["EINPROGRESS", "EACCES"], ended


def test_the_companion_for_the_cluster_connects_to_the_engine_only(
    ports: tuple[int, int], tmp_path: Path
) -> None:
    if landlock.abi() < 4:
        pytest.skip("TCP came with version 4")

    def connected(port: int) -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            return errno.errorcode.get(sock.connect_ex(("127.0.0.1", port)), "succeeded")

    ended = locked_cluster(lambda _: [connected(port) for port in ports], port=ports[0])
    assert ended.value == ["succeeded", "EACCES"], ended


def test_with_a_unix_socket_it_connects_to_no_other(open_path: Path) -> None:
    """From version 9 on Landlock refuses others. The filter leaves no TCP on any kernel."""

    def connected(_: Mapping[str, Any]) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            return errno.errorcode.get(sock.connect_ex(str(open_path / "engine")), "succeeded")

    def by_tcp(_: Mapping[str, Any]) -> object:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(open_path / "engine"))
        os.chmod(open_path / "engine", 0o777)
        server.listen(8)
        assert locked_cluster(connected, path=open_path / "engine").value == "succeeded"
        assert locked_cluster(by_tcp, path=open_path / "engine").signal is signal.SIGSYS
        if landlock.abi() >= 9:
            other = locked_cluster(connected, path=open_path / "elsewhere" / "engine")
            assert other.value == "EACCES"
