"""Good senders are heard while others flood: real hosts, each with fixed addresses.

No test depends on time. Where a rate matters it is one an hour, so no token comes back. Where
tokens come back, more of them can only help the good senders.
"""

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from harness.daemon import LINE, Daemon, configuration, started, until
from harness.netns import Namespace, Pair, namespaces
from harness.sender import PATIENCE, unread
from system.support import GENEROUS

from mailbell.client import Client
from mailbell.limits.limiter import PREFIXES, Senders
from mailbell.listener.configuration import parse

pytestmark = pytest.mark.unwatched(
    reason="floods cause no call of the daemon that other tests do not cause"
)

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "configuration" / "home.toml"
SERVER: Final = ("192.0.2.1/24", "2001:db8::1/32")
CLIENT: Final = ("192.0.2.2/24", "2001:db8::2/32")
PORT: Final = 7979
GARBAGE: Final = b"x\r\n"

NAMED: Final = [f"10.9.8.{k}" for k in range(1, 41)]
# Each source has its default limits. All sources together have little more than 40 senders need.
SCARCE: Final = '[limits]\ntotal_rate = "60/s"\n'
# Nothing that is spent comes back.
ONCE: Final = '[limits]\nrate = "1/h"\nburst = 8\n'


@contextmanager
def hosts() -> Iterator[Pair]:
    """The daemon's host, and one that has all of 10.9.8.0/24, 10.77.0.0/16 and more addresses."""
    with namespaces(SERVER, CLIENT) as pair:
        for network in ("10.9.8.0/24", "10.77.0.0/16"):
            pair.client.run("ip", "route", "add", "local", network, "dev", "lo")
            pair.server.run("ip", "route", "add", network, "via", "192.0.2.2")
        for network in ("64:ff9b::/96", "2001:dba:64::/96"):
            pair.server.run("ip", "-6", "route", "add", network, "dev", "cable0")
        yield pair


def add(host: Namespace, addresses: Sequence[str]) -> None:
    """Give IPv6 addresses to a host."""
    each = 'for a; do ip -6 address add "$a/128" dev cable0 nodad || exit; done'
    host.run("sh", "-c", each, "sh", *addresses)


@contextmanager
def listening(pair: Pair, directory: Path, more: str, *, udp: bool = False) -> Iterator[Daemon]:
    everywhere = (f"0.0.0.0:{PORT}", f"[::]:{PORT}")
    toml = configuration(directory, tcp=everywhere, udp=everywhere if udp else (), more=more)
    with started(directory, toml, command=pair.server.visit) as daemon:
        yield daemon


def account(*sources: str) -> str:
    return f'[[account]]\nname = "good"\nsources = {list(sources)}\n'


def connected(host: Namespace, source: str) -> socket.socket:
    """Return a connection to the daemon."""
    family, target = _target(source)
    sock = host.socket(family, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    sock.bind((source, 0))
    sock.connect((target, PORT))
    return sock


def _target(source: str) -> tuple[socket.AddressFamily, str]:
    if source.startswith("127."):
        return socket.AF_INET, "127.0.0.1"
    if ":" in source:
        return socket.AF_INET6, "2001:db8::1"
    return socket.AF_INET, "192.0.2.1"


def call(host: Namespace, source: str, data: bytes = LINE) -> None:
    """Connect, send, and wait for the end."""
    with connected(host, source) as sock:
        with suppress(ConnectionError):
            sock.sendall(data)
        assert unread(sock) == b""


def flood(host: Namespace, sources: Sequence[str]) -> None:
    """Send a line from each source, and wait for nothing."""
    for source in sources:
        with connected(host, source) as sock, suppress(ConnectionError):
            sock.sendall(LINE)


@pytest.mark.long
@pytest.mark.parametrize("where", ["this machine", "many networks"])
@pytest.mark.parametrize("named", ["by address", "by network"])
def test_sources_without_number_leave_named_senders_their_share(
    tmp_path: Path, named: str, where: str
) -> None:
    """A user of this machine has all of 127.0.0.0/8. A botnet has a source in each network."""
    sources = NAMED if named == "by address" else ["10.9.8.0/24"]
    more = SCARCE + account(*sources)
    with hosts() as pair, listening(pair, tmp_path, more) as daemon:
        local = where == "this machine"
        host, network = (pair.server, 127) if local else (pair.client, 10)
        for number, sender in enumerate(NAMED):
            flood(host, [f"{network}.77.{number}.{k}" for k in range(1, 16)])
            call(pair.client, sender)
        assert daemon.counted()["accepted"] == len(NAMED)
        assert daemon.counted()["unknown_account"] > 0  # the strangers get what is left


@pytest.mark.long
@pytest.mark.parametrize("named", ["by address", "by network"])
def test_datagrams_with_one_forged_source_leave_others_their_share(
    tmp_path: Path, named: str
) -> None:
    """The forged source is a listed sender's, whose own datagrams a forger can always crowd out."""
    forged = "10.9.8.99"
    sources = [*NAMED, forged] if named == "by address" else ["10.9.8.0/24"]
    more = SCARCE + f"[sources]\nallow = {sources}\n" + account(*sources)
    with hosts() as pair, listening(pair, tmp_path, more, udp=True) as daemon:
        refused, sent = 0, 0
        for sender in NAMED:
            # As many as fit in the kernel's queue, so that none is lost there.
            datagrams(pair.client, forged, 100)
            sent += 100
            until(lambda: sum(daemon.counted("udp").values()) == sent)  # noqa: B023 - called now
            before = daemon.counted("udp")["accepted"]
            datagrams(pair.client, sender, 1)
            sent += 1
            until(lambda: sum(daemon.counted("udp").values()) == sent)  # noqa: B023 - called now
            refused += daemon.counted("udp")["accepted"] == before
        assert refused == 0
        # The forged source's own sender is still heard now and then.
        assert daemon.status().leaked > 0


@pytest.mark.long
def test_a_burst_of_forged_datagrams_does_not_push_one_out_of_the_kernels_queue(
    tmp_path: Path,
) -> None:
    """The queue is one for all sources. The daemon is held up while 450 datagrams come."""
    toml = configuration(
        tmp_path, tcp=["127.0.0.1:0"], udp=["127.0.0.1:0"], more=account("127.0.0.3")
    )
    with started(tmp_path, toml) as daemon:
        target = daemon.endpoint("udp")
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            for source, count in (("127.0.0.2", 450), ("127.0.0.3", 1)):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind((source, 0))
                    for _ in range(count):
                        sock.sendto(LINE, target)
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        until(lambda: sum(daemon.counted("udp").values()) == 451)
        assert daemon.counted("udp")["accepted"] == 1


def datagrams(host: Namespace, source: str, count: int) -> None:
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        for _ in range(count):
            sock.sendto(LINE, ("192.0.2.1", PORT))


@pytest.mark.long
def test_one_host_of_the_house_cannot_silence_this_machine_with_the_example(tmp_path: Path) -> None:
    """`home.toml` with the network of these tests: a host can have every address of it."""
    text = EXAMPLE.read_text()
    limits = text[text.index("[limits]") :]
    allow = '[sources]\nallow = ["127.0.0.1", "10.9.8.0/24"]\n'
    with hosts() as pair, listening(pair, tmp_path, allow + limits) as daemon:
        for last in range(1, 21):
            flood(pair.client, [f"10.9.8.{last}"] * 10)
        until(lambda: sum(daemon.counted().values()) == 200)
        before = daemon.counted()["accepted"]
        call(pair.server, "127.0.0.1")
        assert daemon.counted()["accepted"] == before + 1


@pytest.mark.parametrize("path", sorted(EXAMPLE.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_in_no_example_can_some_listed_sources_use_up_the_total(path: Path) -> None:
    if path.stem in {"agent", "sender"}:  # of other programs
        return
    found = parse(path.read_bytes())
    named = Senders(
        (*found.sources.allow, *(each for account in found.account for each in account.sources))
    ).by_family()
    shares = 0
    for family, networks in named.items():
        bits, (_, factor) = PREFIXES[family][0][0], PREFIXES[family][-1]
        shares += sum(1 if network.length == bits else factor for network in networks)
    limits = found.limits
    assert shares * limits.rate <= limits.total_rate
    # The bucket of the total holds what two seconds bring.
    assert shares * limits.burst <= 2 * max(limits.burst, limits.total_rate)


class Neighbourhood(NamedTuple):
    """A good sender, the network around it, and who else is in there."""

    sender: str
    network: str
    neighbours: list[str]


NEIGHBOURHOODS: Final = {
    "one in the /64": Neighbourhood("2001:db8:2:2::25", "2001:db8:2:2::/64", ["2001:db8:2:2::66"]),
    "16 in the /24": Neighbourhood(
        "10.9.8.25", "10.9.8.0/24", [f"10.9.8.{k}" for k in range(101, 117)]
    ),
    "16 in the /48": Neighbourhood(
        "2001:db8:5:1::25", "2001:db8:5::/48", [f"2001:db8:5:{k:x}::66" for k in range(16, 32)]
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("named", ["by address", "by network", "not at all"])
@pytest.mark.parametrize("which", NEIGHBOURHOODS)
def test_garbage_of_neighbours_does_not_silence_a_sender_that_never_rang(
    tmp_path: Path, which: str, named: str
) -> None:
    around = NEIGHBOURHOODS[which]
    sources = {
        "by address": [around.sender],
        "by network": [around.network],
        "not at all": ["0.0.0.0/0", "::/0"],
    }[named]
    with hosts() as pair, listening(pair, tmp_path, ONCE + account(*sources)) as daemon:
        if ":" in around.sender:
            add(pair.client, [around.sender, *around.neighbours])
        # Each neighbour goes on until it is refused.
        for neighbour in around.neighbours:
            for _ in range(4):
                call(pair.client, neighbour, GARBAGE)
        assert daemon.counted()["rate_limited"] > 0
        before = daemon.counted().get("accepted", 0)
        call(pair.client, around.sender)
        assert daemon.counted().get("accepted", 0) == before + 1


@pytest.mark.long
@pytest.mark.parametrize("named", ["by address", "by network", "not at all"])
@pytest.mark.parametrize("which", NEIGHBOURHOODS)
def test_a_sender_that_takes_two_packets_gets_a_place_beside_silent_neighbours(
    tmp_path: Path, which: str, named: str
) -> None:
    """A line that comes whole needs no place. The rest of this one comes later."""
    around = NEIGHBOURHOODS[which]
    sources = {
        "by address": [around.sender],
        "by network": [around.network],
        "not at all": ["0.0.0.0/0", "::/0"],
    }[named]
    with (
        hosts() as pair,
        listening(pair, tmp_path, GENEROUS + account(*sources)) as daemon,
        ExitStack() as stack,
    ):
        if ":" in around.sender:
            add(pair.client, [around.sender, *around.neighbours])
        for neighbour in around.neighbours:
            for _ in range(10):  # two more than one source may have
                sock = stack.enter_context(connected(pair.client, neighbour))
                with suppress(ConnectionError):
                    sock.sendall(LINE[:3])
        until(lambda: daemon.counted().get("too_many_from_source") == 2 * len(around.neighbours))
        taken = daemon.status().connections
        with connected(pair.client, around.sender) as sock:
            sock.sendall(LINE[:3])
            until(lambda: daemon.status().connections == taken + 1)
            sock.sendall(LINE[3:])
            assert unread(sock) == b""
        assert daemon.counted()["accepted"] == 1


@pytest.mark.long
@pytest.mark.parametrize("named", ["by address", "by network", "not at all"])
def test_the_last_of_a_sender_is_heard_after_many_lines_of_one_other_host(
    tmp_path: Path, named: str
) -> None:
    """One host has a whole /64. Its good lines must not push out who has rung before."""
    sender, one = "2001:db8:2:2::25", [f"2001:db8:2:3::{k}" for k in range(1, 9)]
    sources = {
        "by address": [sender, "2001:db8:2:3::/64"],
        "by network": ["2001:db8:2:2::/64", "2001:db8:2:3::/64"],
        "not at all": ["::/0"],
    }[named]
    more = ONCE + '[coalesce]\ninterval = "10ms"\n' + account(*sources)
    with (
        hosts() as pair,
        listening(pair, tmp_path, more) as daemon,
        Client(str(daemon.path)) as client,
        client.subscribe() as subscription,
    ):
        add(pair.client, [sender, *one])
        for source in [*[sender] * 8, *one]:
            call(pair.client, source)
        assert daemon.counted() == {"accepted": 16}
        heard = 0
        while heard < 16:
            heard += subscription.next(PATIENCE).count
        call(pair.client, sender)
        assert daemon.counted() == {"accepted": 16, "rate_limited": 1}
        assert subscription.next(PATIENCE).source == sender


TRANSLATORS: Final = {
    "well-known": ("64:ff9b::", ""),
    "configured": ("2001:dba:64::", '[sources]\nnat64 = ["2001:dba:64::/96"]\n'),
}
GOOD_IPV4, OTHER_IPV4 = "192.0.2.25", "198.51.100.66"


@pytest.mark.long
@pytest.mark.parametrize("named", ["by address", "not at all"])
@pytest.mark.parametrize("which", TRANSLATORS)
def test_senders_behind_a_translator_are_sources_of_their_own(
    tmp_path: Path, which: str, named: str
) -> None:
    """Stateless translators (NAT64, SIIT) give every IPv4 host an address of one IPv6 network."""
    prefix, key = TRANSLATORS[which]
    sources = [GOOD_IPV4] if named == "by address" else ["0.0.0.0/0", "::/0"]
    good, other = (
        socket.inet_ntop(
            socket.AF_INET6, socket.inet_pton(socket.AF_INET6, prefix)[:12] + socket.inet_aton(ipv4)
        )
        for ipv4 in (GOOD_IPV4, OTHER_IPV4)
    )
    with hosts() as pair, listening(pair, tmp_path, key + ONCE + account(*sources)) as daemon:
        add(pair.client, [good, other])
        # It spends its tokens, and takes all places of one source.
        held = [connected(pair.client, other) for _ in range(8)]
        for sock in held:
            sock.sendall(LINE[:3])
        call(pair.client, other, GARBAGE)
        call(pair.client, other, GARBAGE)
        before = daemon.counted().get("accepted", 0)
        call(pair.client, good)
        assert daemon.counted().get("accepted", 0) == before + 1
        for sock in held:
            sock.close()
