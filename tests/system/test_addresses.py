"""The addresses that the daemon listens on: a missing family, an address that comes later."""

import errno
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.answering import Answer, Run, refused
from harness.daemon import configuration, started, until
from harness.netns import Namespace, Pair, namespaces
from harness.sender import LINE, PATIENCE, unread

SERVER = ("192.0.2.1/24", "2001:db8::1/64")
CLIENT = ("192.0.2.2/24", "2001:db8::2/64")
LATER = {socket.AF_INET: "192.0.2.9", socket.AF_INET6: "2001:db8::9"}

NO_IPV4 = refused(errno.EAFNOSUPPORT, "socket", {0: socket.AF_INET})
NO_IPV6 = refused(errno.EAFNOSUPPORT, "socket", {0: socket.AF_INET6})


@contextmanager
def hosts() -> Iterator[Pair]:
    """Two hosts. On the server every user may listen on port 79."""
    with namespaces(SERVER, CLIENT) as pair:
        pair.server.run("sh", "-c", "echo 79 >/proc/sys/net/ipv4/ip_unprivileged_port_start")
        yield pair


def toml(directory: Path, listen: str = "") -> str:
    """Return a configuration; `listen.tcp` is in it only if the caller gives it."""
    path = directory / "mailbell.sock"
    return f'[listen]\nuser = "nobody"\n{listen}\n[socket]\npath = "{path}"\ngroup = ""\n'


@contextmanager
def running(
    directory: Path, host: Namespace, answers: Sequence[Answer], text: str
) -> Iterator[tuple[Run, socket.socket]]:
    """Start the daemon on a host; yield it and the service manager's end of its messages."""
    file = directory / "mailbelld.toml"
    file.write_text(text)
    enter = shutil.which(host.visit[0])
    assert enter
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(directory / "notify"))
        (directory / "notify").chmod(0o666)
        command = [enter, *host.visit[1:], sys.executable, "-m", "mailbell.cli.mailbelld"]
        environ = {**os.environ, "NOTIFY_SOCKET": str(directory / "notify")}
        with Run([*command, "--config", str(file)], environ, answers) as run:
            yield run, manager


def ring(host: Namespace, family: int, address: str, port: int = 79) -> None:
    with host.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((address, port))
        sock.sendall(LINE)
        assert unread(sock) == b""


@pytest.mark.parametrize(
    ("missing", "left_out", "family", "address"),
    [
        (NO_IPV6, '"tcp [::]:79" why="this machine has no IPv6"', socket.AF_INET, "192.0.2.1"),
        (NO_IPV4, '"tcp 0.0.0.0:79" why="this machine has no IPv4"', socket.AF_INET6,
         "2001:db8::1"),
    ],
    ids=["without IPv6", "without IPv4"],
)  # fmt: skip
def test_the_default_leaves_out_a_family_that_is_missing_and_says_so(
    tmp_path: Path, missing: Answer, left_out: str, family: int, address: str
) -> None:
    with hosts() as pair, running(tmp_path, pair.server, [missing], toml(tmp_path)) as (run, news):
        assert run.until(news.fileno()), run.output
        assert news.recv(4096).startswith(b"READY=1")
        ring(pair.client, family, address)
        run.terminate()
        run.until()
    assert run.code == 0
    said = run.output.decode()
    assert f"event=left_out on={left_out}\n" in said
    assert said.count("event=listening ") == 1
    assert said.count("event=notification ") == 1


@pytest.mark.parametrize(
    ("listen", "answers", "parts"),
    [
        ('tcp = ["0.0.0.0:79", "[::]:79"]', [NO_IPV6],
         ("this machine has no IPv6, asked for by port 79 of ::", "remove that address")),
        ('tcp = ["0.0.0.0:79"]\nudp = ["[::]:79"]', [NO_IPV6],
         ("this machine has no IPv6, asked for by port 79 of ::", "remove that address")),
        ("", [NO_IPV4, NO_IPV6], ("neither IPv4 nor IPv6", "boot a kernel")),
    ],
    ids=["tcp", "udp", "neither"],
)  # fmt: skip
def test_a_family_that_was_asked_for_is_not_left_out(
    tmp_path: Path, listen: str, answers: list[Answer], parts: tuple[str, ...]
) -> None:
    with (
        hosts() as pair,
        running(tmp_path, pair.server, answers, toml(tmp_path, listen)) as (run, news),
    ):
        assert not run.until(news.fileno())
    assert run.code == 71
    (line,) = run.output.decode().splitlines()
    assert all(part in line for part in parts), line


def test_where_ipv6_is_switched_off_the_default_starts_with_both(tmp_path: Path) -> None:
    """net.ipv6.conf.all.disable_ipv6: there are sockets, and no addresses yet."""
    off = "for each in all default lo; do echo 1 >/proc/sys/net/ipv6/conf/$each/disable_ipv6; done"
    with hosts() as pair:
        pair.server.run("sh", "-c", off)
        with started(tmp_path, toml(tmp_path), command=pair.server.visit) as daemon:
            assert daemon.status().listening == ("tcp 0.0.0.0:79", "tcp [::]:79")
            ring(pair.client, socket.AF_INET, "192.0.2.1")
            until(lambda: daemon.counted() == {"accepted": 1})


@pytest.mark.parametrize("family", LATER, ids=["ipv4", "ipv6"])
def test_an_address_that_comes_later_rings_once_it_is_there(tmp_path: Path, family: int) -> None:
    address = LATER[socket.AddressFamily(family)]
    endpoint = f"[{address}]:7979" if ":" in address else f"{address}:7979"
    text = toml(tmp_path, f'tcp = ["{endpoint}"]\nudp = ["{endpoint}"]\nfreebind = true')
    length, *options = ("64", "nodad") if ":" in address else ("24",)
    with (
        namespaces(SERVER, CLIENT) as pair,
        started(tmp_path, text, command=pair.server.visit) as daemon,
    ):
        assert daemon.status().listening == (f"tcp {endpoint}", f"udp {endpoint}")
        pair.server.run("ip", "address", "add", f"{address}/{length}", "dev", "cable0", *options)
        ring(pair.client, family, address, 7979)
        until(lambda: daemon.counted() == {"accepted": 1})
        with pair.client.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendto(LINE, (address, 7979))
        until(lambda: daemon.counted("udp") == {"accepted": 1})


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_without_freebind_it_is_refused_and_freebind_named(tmp_path: Path, transport: str) -> None:
    other = "" if transport == "tcp" else "tcp = []\n"
    text = toml(tmp_path, f'{other}{transport} = ["192.0.2.9:7979"]')
    with (
        namespaces(SERVER, CLIENT) as pair,
        running(tmp_path, pair.server, [], text) as (run, news),
    ):
        assert not run.until(news.fileno())
    assert run.code == 71
    assert b"192.0.2.9 is not an address of this machine; " in run.output
    assert b"listen.freebind = true" in run.output


def test_a_port_is_still_refused_to_two(tmp_path: Path) -> None:
    """The counter-test: freebind permits a missing address and no other fault."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        text = configuration(tmp_path, tcp=[endpoint]).replace(
            "[socket]", "freebind = true\n[socket]"
        )
        file = tmp_path / "mailbelld.toml"
        file.write_text(text)
        command = [sys.executable, "-m", "mailbell.cli.mailbelld", "--config", str(file)]
        with Run(command, os.environ) as run:
            run.until()
    assert run.code == 71
    assert b"is taken by" in run.output
