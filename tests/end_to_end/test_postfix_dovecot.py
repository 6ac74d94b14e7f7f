"""The first topology: Postfix, Dovecot and SpamAssassin push to laptops with mbsync.

A mail is known by its text. Nothing but a ring brings it within the time that a test waits: the
agents poll once an hour. The exceptions are said: an agent that starts, or gets an address, looks.
"""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from end_to_end import seat
from end_to_end.laptop import ADDRESSES, Account, Laptop, boot_laptop, laptop_root
from end_to_end.mx import SPAM, Mx, boot_mx
from end_to_end.reader import NeoMutt
from end_to_end.wire import Wire
from harness.daemon import until
from harness.netns import Namespace
from packages.system import PATIENCE

NAMES: Final = (
    "2001:db8::1 mx.example", "192.0.2.1 mx.example",
    "2001:db8::2 work.example", "192.0.2.2 work.example",
)  # fmt: skip
HOME: Final = Account("home", "anna", "mx.example", 'sources = ["192.0.2.1", "2001:db8::1"]')
WORK: Final = Account("work", "anna", "work.example", 'sources = ["192.0.2.2", "2001:db8::2"]')
CLUB: Final = Account("club", "club", "mx.example", 'addresses = ["2001:db8::8"]')
# The laptop calls with its other address: a login from this one would let its mail ring here.
CLUBS_ADDRESS: Final = "2001:db8::8/64 preferred_lft 0"

FLOOD: Final = Path(__file__).with_name("flood.py")
RATE, SECONDS = 600, 100  # rings a second, and at most so long


@dataclass(frozen=True)
class Hosts:
    """All that run from the first test to the last one."""

    mx: Mx
    work: Mx
    laptop: Laptop
    other: Laptop


@pytest.fixture(scope="module")
def hosts(street: Wire) -> Iterator[Hosts]:
    """They boot beside each other: first the mail servers, and then the laptops, which log in.

    A host ends with the thread that has booted it (PR_SET_PDEATHSIG), so the threads stay.
    """
    with ThreadPoolExecutor() as pool:
        mx = pool.submit(boot_mx, street, {"anna": ["last-used"], "club": ["2001:db8::8"]})
        work = pool.submit(
            boot_mx, street, {"anna": ["last-used"]}, name="work", domain="work.example",
            addresses=("192.0.2.2", "2001:db8::2"),
        )  # fmt: skip
        root = pool.submit(laptop_root, *seat.PACKAGES).result()
        servers = mx.result(), work.result()
        laptop = pool.submit(
            boot_laptop, street, [HOME, WORK, CLUB], NAMES, root=root,
            addresses=[*ADDRESSES, CLUBS_ADDRESS],
        )  # fmt: skip
        # IPv4 is all that it has.
        home = Account("home", "anna", "192.0.2.1", HOME.match)
        other = pool.submit(
            boot_laptop, street, [home], [], root=root,
            name="other", addresses=["192.0.2.9/24"], udp=True,
        )  # fmt: skip
        yield Hosts(*servers, laptop.result(), other.result())


@pytest.fixture
def mx(hosts: Hosts) -> Mx:
    return hosts.mx


@pytest.fixture
def work(hosts: Hosts) -> Mx:
    """The mail server of another account, with its own addresses."""
    return hosts.work


@pytest.fixture
def laptop(hosts: Hosts) -> Laptop:
    return hosts.laptop


@pytest.fixture
def other(hosts: Hosts) -> Laptop:
    """Anna's other laptop."""
    return hosts.other


def pushed(mx: Mx, laptop: Laptop, account: str, subject: str, user: str = "anna") -> None:
    """A mail comes by SMTP, the laptop is rung, and the mail is in its Maildir."""
    rung = laptop.rung(account)
    mx.mail(subject, user, f"This is {subject}.")
    laptop.until_has(account, subject, f"This is {subject}.")
    assert laptop.rung(account) > rung


def test_all_runs_as_the_documents_have_it(mx: Mx, laptop: Laptop) -> None:
    for way in ("lua", "login-events"):
        assert f"{way}: in force" in mx.sender("recipe dovecot-2.4 --check --user anna")
    mx.sender("check")
    laptop.mailbell("check")
    sockets = ("mailbell-sender-hook", "mailbell-sender-control")
    assert {mx.host.shows(f"{name}.socket")["ActiveState"] for name in sockets} == {"active"}
    sockets = ("mailbelld", "mailbelld-local")
    assert {laptop.host.shows(f"{name}.socket")["ActiveState"] for name in sockets} == {"active"}


def test_a_mail_is_pushed_and_neomutt_shows_it(mx: Mx, laptop: Laptop) -> None:
    neomutt = NeoMutt(laptop, "home")
    pushed(mx, laptop, "home", "first")
    neomutt.until_listed("first")
    neomutt.read("first", "This is first.")


def test_accounts_are_told_apart_by_source_and_by_address(mx: Mx, work: Mx, laptop: Laptop) -> None:
    names = ("home", "work", "club")
    mails = ((mx, "home", "anna"), (work, "work", "anna"), (mx, "club", "club"))
    for server, account, user in mails:
        before = {name: laptop.rung(name) for name in names}
        pushed(server, laptop, account, f"for-{account}", user)
        after = {name: laptop.rung(name) for name in names}
        assert after == {**before, account: before[account] + 1}


def test_thunderbird_shows_it_beside_the_agent(mx: Mx, laptop: Laptop) -> None:
    """With IMAP for one account, and with POP3 for another one."""
    home = seat.Account("server1", "home", "imap", "anna", 143, host="mx.example")
    club = seat.Account("server2", "club", "pop3", "club", 110, host="mx.example")
    with seat.running_thunderbird(laptop, home, club) as thunderbird:
        for account in (home, club):
            subject = f"seen-{account.name}"
            pushed(mx, laptop, account.name, subject, account.user)
            until(partial(thunderbird.lists, account, subject), subject, PATIENCE)
            assert thunderbird.opened(account, subject).strip() == f"This is {subject}."


def test_both_laptops_of_a_user_ring(mx: Mx, laptop: Laptop, other: Laptop) -> None:
    pushed(mx, other, "home", "for-both")
    laptop.until_has("home", "for-both", "This is for-both.")


def test_junk_rings_nobody(mx: Mx, other: Laptop) -> None:
    rung, rings = other.rung("home"), mx.status()["rings"]["sent"]
    mx.mail("spam", "anna", SPAM)
    mx.until_delivered("spam", "anna", "Junk")
    until(lambda: mx.status()["inputs"]["quiet_folder"] == 1, "the mail for Junk", PATIENCE)
    assert mx.status()["rings"]["sent"] == rings
    # The ring of a later mail is the only one.
    pushed(mx, other, "home", "ham")
    assert other.rung("home") == rung + 1
    assert not any("Subject: spam" in each for each in other.mails("home"))


@contextmanager
def flooding(stranger: Namespace, *addresses: str) -> Iterator[list[int]]:
    """Flood machines during the block; the list then has the rings by TCP and by UDP."""
    told: list[int] = []
    command = [sys.executable, "-I", str(FLOOD), str(RATE), str(SECONDS), *addresses]
    with stranger.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout
        assert run.stdout.readline() == b"begun\n"
        yield told
        assert run.poll() is None, "the flood has ended before"
        told += map(int, run.communicate()[0].split())
        assert run.returncode == 0


def test_a_flood_of_strangers_silences_nobody(
    street: Wire, mx: Mx, laptop: Laptop, other: Laptop
) -> None:
    stranger = street.namespace("192.0.2.66/24", "2001:db8::42/64")
    before = other.rung("home"), laptop.rung("work")
    with flooding(stranger, "192.0.2.7", "2001:db8::7", "192.0.2.9") as told:
        for number in range(3):
            pushed(mx, other, "home", f"wanted-{number}")
            laptop.until_has("home", f"wanted-{number}", f"This is wanted-{number}.")
    assert min(told) > 100
    outcomes = other.status()["outcomes"]
    for transport in ("tcp", "udp"):
        refused = sum(outcomes[transport].values()) - outcomes[transport]["accepted"]
        assert refused > 10, outcomes
    # A stranger's ring is for no account.
    assert (other.rung("home"), laptop.rung("work")) == (before[0] + 3, before[1])


def test_the_mail_server_restarts(mx: Mx, other: Laptop) -> None:
    """The address book is kept: nobody has to look for mail first."""
    fetched = other.fetched("home")
    mx.host.run("systemctl restart postfix dovecot mailbell-sender spamd spamass-milter")
    mx.host.until("ss -Hltn sport = :25 | grep -q . && spamc -K", "the servers")
    # What the sender has rung when it started again.
    assert other.fetched("home") == fetched
    pushed(mx, other, "home", "restarted")


def test_the_sender_is_killed_while_it_rings(mx: Mx, other: Laptop) -> None:
    killed = mx.host.shows("mailbell-sender")["MainPID"]
    # The laptop's answers are lost, so the sender waits for the connection.
    other.host.namespace.run("ip", "route", "add", "blackhole", "192.0.2.1")
    mx.mail("killed", "anna", "This is killed.")
    mx.host.until("ss -Htn state syn-sent dst 192.0.2.9 dport = :79 | grep -q .", "the ring")
    mx.host.run(f"kill -KILL {killed}")
    other.host.namespace.run("ip", "route", "delete", "blackhole", "192.0.2.1")
    other.until_has("home", "killed", "This is killed.")
    assert mx.host.shows("mailbell-sender")["MainPID"] not in {killed, "0"}


@pytest.mark.parametrize(
    "addresses",
    [["192.0.2.17/24"], ["2001:db8::17/64"], ["192.0.2.27/24", "2001:db8::27/64"]],
    ids=["IPv4", "IPv6", "both"],
)
def test_the_laptop_changes_its_address(mx: Mx, laptop: Laptop, addresses: list[str]) -> None:
    """The agent looks for mail, since it has an address. There the next mail rings."""
    fetched = laptop.fetched("home")
    laptop.host.move(*addresses)
    until(lambda: laptop.fetched("home") > fetched, "a login from the new address", PATIENCE)
    subject = f"moved-{len(laptop.mails('home'))}"
    pushed(mx, laptop, "home", subject)
    new = [each.partition("/")[0] for each in addresses]
    sent = {each["target"] for each in mx.status()["targets"] if each["last"] == "sent"}
    assert {f"[{each}]:79" if ":" in each else f"{each}:79" for each in new} & sent


def failed_rings(mx: Mx) -> int:
    """Return how many rings have reached no machine."""
    rings: dict[str, int] = mx.status()["rings"]
    return rings["unreachable"] + rings["timeout"]


def test_the_laptop_sleeps_through_three_mails_and_one_fetch_brings_all(
    mx: Mx, laptop: Laptop
) -> None:
    names = ["slept-1", "slept-2", "slept-3"]
    lost = failed_rings(mx)
    laptop.host.down()
    fetched = laptop.fetched("home")
    for name in names:
        mx.mail(name, "anna")
        mx.until_delivered(name, "anna")
    assert not any(laptop.has("home", name, "Hello.") for name in names)
    # The laptop sleeps for longer than a ring waits.
    until(lambda: failed_rings(mx) > lost, "the ring that fails", PATIENCE)
    laptop.host.up()
    until(lambda: laptop.fetched("home") > fetched, "the fetch", PATIENCE)
    assert [laptop.has("home", name, "Hello.") for name in names] == [True] * 3
