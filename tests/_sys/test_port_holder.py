"""A process is found by its sockets: this one, another one, and in a /proc made for the test."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mailbell._sys.port_holder import Holder, find_holder
from mailbell.core.networks import Family
from mailbell.core.notification import Transport

IPV6 = os.path.exists("/proc/net/if_inet6")
KINDS = {Transport.TCP: socket.SOCK_STREAM, Transport.UDP: socket.SOCK_DGRAM}
NAMES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


def own_name() -> str:
    return Path("/proc/self/comm").read_text().strip()


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("family", Family)
def test_this_process_is_found(family: Family, transport: Transport) -> None:
    if family is Family.IPV6 and not IPV6:
        pytest.skip("no IPv6 here")
    with socket.socket(NAMES[family], KINDS[transport]) as sock:
        sock.bind(("127.0.0.1" if family is Family.IPV4 else "::1", 0))
        port = sock.getsockname()[1]
        if transport is Transport.TCP:
            assert find_holder(family, port, transport) is None  # bound, and not listening
            sock.listen()
        assert find_holder(family, port, transport) == Holder(os.getpid(), own_name())
    assert find_holder(family, port, transport) is None


@pytest.mark.skipif(not IPV6, reason="no IPv6 here")
def test_an_ipv4_port_may_be_held_by_a_dual_stack_socket() -> None:
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        sock.listen()
        found = find_holder(Family.IPV4, sock.getsockname()[1], Transport.TCP)
    assert found is not None
    assert found.pid == os.getpid()


CHILD = """
import socket, sys
open("/proc/self/comm", "w").write("\\x1b[31m evil")
sock = socket.socket(); sock.bind(("127.0.0.1", 0)); sock.listen()
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_another_process_is_found_and_its_name_is_harmless() -> None:
    with subprocess.Popen(
        [sys.executable, "-I", "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert find_holder(Family.IPV4, port, Transport.TCP) == Holder(child.pid, r"\x1b[31m evil")
        child.communicate()


ROW = (
    "   0: 00000000:004F 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 {} 1 0 100\n"
)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text("  sl  local_address\n" + ROW.format(4711))
    return tmp_path


def add(proc: Path, pid: int, comm: bytes | None, *targets: str) -> None:
    descriptors = proc / str(pid) / "fd"
    descriptors.mkdir(parents=True)
    for number, target in enumerate(targets):
        (descriptors / str(number)).symlink_to(target)
    if comm is not None:
        (proc / str(pid) / "comm").write_bytes(comm)


@pytest.mark.parametrize(
    ("comm", "name"),
    [(b"fingerd\n", "fingerd"), (b"\n", "?"), (None, "?"), (b"a\nb\xc3\xa9\n", r"a\nb\xc3\xa9")],
)
def test_the_name(proc: Path, comm: bytes | None, name: str) -> None:
    add(proc, 10, b"other\n", "/dev/null", "socket:[4712]")
    add(proc, 11, comm, "pipe:[4711]", "socket:[4711]")
    (proc / "self").mkdir()
    assert find_holder(Family.IPV4, 79, Transport.TCP, proc=str(proc)) == Holder(11, name)


def test_a_service_manager_is_named_only_where_no_service_is(proc: Path) -> None:
    """The service manager keeps the sockets that it passes."""
    add(proc, 1, b"systemd\n", "socket:[4711]")
    assert find_holder(Family.IPV4, 79, Transport.TCP, proc=str(proc)) == Holder(1, "systemd")
    add(proc, 11, b"mailbelld\n", "socket:[4711]")
    assert find_holder(Family.IPV4, 79, Transport.TCP, proc=str(proc)) == Holder(11, "mailbelld")


def test_a_holder_one_may_not_see(proc: Path) -> None:
    (proc / "12").mkdir()  # no fd: the process is gone, or may not be read
    (proc / "13" / "fd").mkdir(parents=True)
    (proc / "13" / "fd" / "0").write_text("no link any more: closed meanwhile")
    assert find_holder(Family.IPV4, 79, Transport.TCP, proc=str(proc)) is None


def test_no_proc_at_all(tmp_path: Path) -> None:
    assert find_holder(Family.IPV4, 79, Transport.TCP, proc=str(tmp_path)) is None


@pytest.mark.parametrize(
    "row",
    [
        "", "short row\n", ROW.replace("004F", "0050"), ROW.replace("004F", "zz"),
        ROW.replace(" 0A ", " 01 "),
    ],
)  # fmt: skip
def test_rows_that_do_not_count(proc: Path, row: str) -> None:
    add(proc, 11, b"x\n", "socket:[4711]")
    (proc / "net" / "tcp").write_text("  sl  local_address\n" + row.replace("{}", "4711"))
    assert find_holder(Family.IPV4, 79, Transport.TCP, proc=str(proc)) is None
