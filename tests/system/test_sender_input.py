"""What bad input gets: the real mailbell-sender, and users of this machine who mean harm."""

import json
import os
import pwd
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import PATIENCE, until
from harness.ringer import Ringer, ringing, settings

ME: Final = pwd.getpwuid(os.getuid()).pw_name
# Users who are not trusted. As root the tests speak as others; an ordinary user is one itself.
OWN, OTHER = ("daemon", "bin") if os.getuid() == 0 else (ME, "root")


class Machine:
    """A user's machine: notes how often it is rung."""

    def __init__(self) -> None:
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._sock.setblocking(False)
        self.port = self._sock.getsockname()[1]
        self.rung = 0

    def count(self) -> int:
        """Return how often it was rung so far."""
        with suppress(BlockingIOError):
            while True:
                connection, _ = self._sock.accept()
                with connection:
                    connection.settimeout(PATIENCE)
                    assert connection.recv(64) == b"nm_notifyuser\r\n"
                self.rung += 1
        return self.rung

    def close(self) -> None:
        self._sock.close()


@contextmanager
def serving(
    directory: Path, *, listen: str = "", trusted: str = ME, interval: str = "10ms"
) -> Iterator[tuple[Ringer, Machine]]:
    """Run a sender whose accounts all have one machine."""
    machine = Machine()
    accounts = "".join(
        f'[[account]]\nname = "{name}"\ntargets = ["127.0.0.1"]\n' for name in ("anna", OWN, OTHER)
    )
    toml = settings(
        directory,
        'rate = "100000/s"\n' + accounts,
        listen=f'trusted = ["{trusted}"]\n{listen}',
        port=machine.port,
    )
    try:
        with ringing(directory, toml.replace('"10ms"', f'"{interval}"')) as sender:
            yield sender, machine
    finally:
        machine.close()


def until_inputs(sender: Ringer, done: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """Wait until the inputs are as many as they must be; return them."""
    until(lambda: done(sender.inputs()), "the inputs")
    return sender.inputs()


def is_closed(sock: socket.socket) -> bool:
    """Wait for the end of a connection; it must bring no byte."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:  # closed with bytes unread
        return True


BAD: Final = {
    b"new " + b"x" * 600: "too_long",
    b"{" + b"x" * 17_000: "too_long",
    b"new \xff\n": "malformed",
    b"new an\0na\n": "malformed",
    b"ring anna\n": "malformed",
    b"[]\n": "malformed",
    b"{}\n": "malformed",
    b'{"event":' + b"[" * 5000 + b"\n": "malformed",
    b"GET / HTTP/1.1\r\n\r\n": "malformed",
}


def test_bad_input_is_one_outcome_one_line_and_a_closed_connection(open_path: Path) -> None:
    with serving(open_path) as (sender, machine), sender.connected() as other:
        before = len(sender.lines())
        for sent in BAD:
            with sender.connected() as sock:
                with suppress(BrokenPipeError, ConnectionResetError):
                    sock.sendall(sent)
                assert is_closed(sock)
        with sender.connected() as sock, suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(160):  # 10 MiB
                sock.sendall(b"x" * 65_536)
            pytest.fail("it took 10 MiB")
        sender.say("new nobody-of-this-name")
        other.sendall(b"new anna\n")
        expected = {"too_long": 3, "malformed": 7, "unknown_account": 1, "accepted": 1}
        assert until_inputs(sender, lambda seen: sum(seen.values()) >= 12) == expected
        until(lambda: machine.count() == 1, "a ring")
        lines = sender.lines()[before:]
        assert sum(f"event={outcome} " in line for outcome in expected for line in lines) == 11


def test_a_thousand_hooks_in_a_second_ring_once_an_interval(open_path: Path) -> None:
    with serving(open_path, interval="2s") as (sender, machine):
        for _ in range(1000):
            with sender.connected() as hook:
                hook.sendall(b"new anna\n")
        assert until_inputs(sender, lambda seen: seen.get("accepted", 0) == 1000)
        # One at once and one for all others, as long as 1,000 take less than an interval more.
        until(lambda: machine.count() >= 2, "the last of them")
        rings = sender.rings()
        assert rings["sent"] == machine.count() <= 4
        assert rings["sent"] + rings["coalesced"] >= 999


@contextmanager
def as_user(name: str) -> Iterator[None]:
    """Be another user, as far as the kernel tells the peers of new connections (unix(7))."""
    if os.getuid() != 0:
        yield
        return
    os.seteuid(pwd.getpwnam(name).pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


STRANGERS: Final = {"trusted": "root" if os.getuid() else ME}
"""The user `OWN` is not trusted."""


@pytest.mark.usefixtures("many_descriptors")
def test_four_thousand_silent_connections_keep_nobody_out(open_path: Path) -> None:
    with serving(open_path, **STRANGERS) as (sender, machine), ExitStack() as held:
        before = resident(sender)
        with as_user(OWN):
            for _ in range(4000):
                held.enter_context(sender.connected())
            sender.say(f"new {OWN}")
        until(lambda: machine.count() == 1, "a ring")
        status = sender.status()
        assert status["connections"] == status["connections_limit"]
        assert resident(sender) < before + 6 * 1024
        assert sender.inputs() == {"accepted": 1}


def resident(sender: Ringer) -> int:
    """Return how much memory the sender holds, in KiB."""
    status = Path(f"/proc/{sender.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let this process hold the other ends of thousands of connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], min(8192, before[1])), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_user_speaks_for_the_own_account_only(open_path: Path) -> None:
    fields = {"user": OTHER, "success": "yes", "remote_ip": "192.0.2.9"}
    login = json.dumps({"event": "auth_request_finished", "fields": fields})
    others = ("new anna", f"new {OTHER}", f"seen {OTHER} 192.0.2.9", f"new {OTHER} Junk", login)
    with serving(open_path, **STRANGERS) as (sender, machine):
        with as_user(OWN):
            for line in others:
                with sender.connected() as sock:
                    sock.sendall(f"{line}\n".encode())
                    assert is_closed(sock)
        assert sender.inputs() == {"not_permitted": 5}
        assert machine.count() == 0
        with as_user(OWN):
            sender.say(f"new {OWN}")
        until(lambda: machine.count() == 1, "a ring")
        assert "listen.trusted" in next(e for e in sender.lines() if "not_permitted" in e)


def own_addresses() -> list[str]:
    """Return the addresses of this machine on its way to others, if it has one."""
    found = []
    for family, host in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as sock, suppress(OSError):
            sock.connect((host, 9))  # sends nothing
            found.append(sock.getsockname()[0])
    return found


NEVER: Final = (
    "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "224.0.0.1", "ff02::1",
    "255.255.255.255", "169.254.1.1", "fe80::1",
)  # fmt: skip


def test_no_login_comes_from_an_address_that_is_never_called(open_path: Path) -> None:
    addresses = [*NEVER, *own_addresses()]
    with serving(open_path) as (sender, _):
        for address in addresses:
            sender.say(f"seen anna {address}")
        seen = until_inputs(sender, lambda seen: sum(seen.values()) == len(addresses))
        assert seen == {"refused_address": len(addresses)}
        sender.say("seen anna 192.0.2.9")
        assert until_inputs(sender, lambda seen: "accepted" in seen)


def test_biff_datagrams_and_events_of_cyrus_ring(open_path: Path) -> None:
    event = json.dumps({"event": "MessageNew", "user": "anna", "uri": "imap://x/user.anna;UID=1"})
    listen = f'comsat = ["127.0.0.1:0", "[::1]:0"]\ncyrus = "{open_path}/cyrus"'
    with serving(open_path, listen=listen) as (sender, machine):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as cyrus:
            cyrus.connect(f"{open_path}/cyrus")
            cyrus.send(b"mailbell\0EVENT\0\0\0\0" + b"0\0" + event.encode() + b"\0")
            cyrus.send(b"rubbish")
        until(lambda: machine.count() == 1, "a ring by Cyrus")
        biff = [name.partition(" ")[2] for name in sender.status()["listening"] if "comsat" in name]
        assert len(biff) == 2
        for place in biff:
            host, _, port = place.rpartition(":")
            family = socket.AF_INET6 if "[" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"anna@-1\n\0", (host.strip("[]"), int(port)))
                sock.sendto(b"seen anna 192.0.2.9", (host.strip("[]"), int(port)))
        until(lambda: machine.count() >= 2, "a ring by comsat")
        seen = until_inputs(sender, lambda seen: sum(seen.values()) >= 6)
        assert seen == {"accepted": 3, "malformed": 3}
