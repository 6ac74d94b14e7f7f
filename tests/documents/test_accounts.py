"""docs/accounts.md: several accounts of one machine, and several machines of one account."""

import socket
from collections.abc import Callable, Iterator

import pytest
from documents.blocks import Block, block
from documents.walk import Walk
from end_to_end.laptop import laptop_root
from end_to_end.wire import Host, Wire, wire
from harness.daemon import PATIENCE, until
from harness.netns import Namespace
from packages.environments import put_environment
from packages.roots import require_roots

PAGE = "docs/accounts.md"
BY_SOURCE = "Accounts of different mail servers: by the source"
BY_ADDRESS = "Accounts of the same mail server: by an IPv6 address of their own"
JOBS = "One job for each account"
MACHINES = "Several laptops of one account"
PERSON = "anna"
ACCOUNTS = ("work", "private", "club")
NOTIFICATION = b"nm_notifyuser\r\n"
# mbsync fetches from one folder into another, as it does from a server.
CHANNEL = """\
MaildirStore {0}-far
Inbox ~/far/{0}

MaildirStore {0}-near
Inbox ~/near/{0}

Channel {0}
Far :{0}-far:
Near :{0}-near:

"""
SENDER = "/etc/mailbell/sender.toml"


@pytest.fixture
def street() -> Iterator[Wire]:
    require_roots(stages="`documents`")
    with wire() as made:
        yield made


def page(heading: str, ordinal: int = 0) -> Block:
    return block(PAGE, heading, ordinal)


def test_each_account_has_its_rings_and_each_machine(street: Wire) -> None:
    work = street.namespace("192.0.2.1/24")
    other = street.namespace("192.0.2.9/24")
    mx = street.host("mx", laptop_root(), "192.0.2.2/24", "2001:db8::2/64")
    laptop = street.host("laptop", laptop_root(), "192.0.2.7/24", "2001:db8::7/64")
    for host in (mx, laptop):
        put_environment(host)
    of_mx, of_laptop = Walk(mx), Walk(laptop, PERSON)
    has_accounts(laptop, of_laptop)

    # The same mail server rings for two accounts: each at its own address.
    mx.write(SENDER, page(BY_ADDRESS, 3).text)
    mx.run("/opt/mailbell/bin/mailbell install --sender")
    rung(laptop, "private", lambda: mx.run("mailbell sender ring anna"))
    rung(laptop, "club", lambda: mx.run("mailbell sender ring club"))
    rung(laptop, "work", lambda: ring(work))

    # Both machines of one account are rung.
    with other.socket(socket.AF_INET, socket.SOCK_STREAM) as second:
        second.bind(("192.0.2.9", 79))
        second.listen()
        second.settimeout(PATIENCE)
        mx.write(SENDER, page(MACHINES).text)
        of_mx.follow(page(MACHINES, 1))
        with second.accept()[0] as connection, connection.makefile("rb") as stream:
            assert stream.read() == NOTIFICATION


def has_accounts(laptop: Host, walk: Walk) -> None:
    """mailbelld knows three accounts, and the person's agent runs a job for each."""
    laptop.person(PERSON)
    laptop.run(f"/opt/mailbell/bin/mailbell install --user {PERSON}")
    laptop.run(f"loginctl enable-linger {PERSON}")
    walk.follow(page(BY_ADDRESS))
    accounts = page(BY_SOURCE).text + "\n" + page(BY_ADDRESS, 1).text
    laptop.write("/etc/mailbell/mailbelld.toml", accounts)
    walk.follow(page(BY_ADDRESS, 2))
    home = f"/home/{PERSON}"
    laptop.write(f"{home}/.mbsyncrc", "".join(map(CHANNEL.format, ACCOUNTS)), 0o600)
    laptop.write(f"{home}/.config/mailbell/agent.toml", page(JOBS).text)
    folders = " ".join(f"{end}/{name}" for end in ("far", "near") for name in ACCOUNTS)
    laptop.run(f"cd {home}; for i in {folders}; do mkdir -p $i/cur $i/new $i/tmp; done")
    laptop.run(f"chown -R {PERSON}: {home}")
    walk.follow(page(JOBS, 1))
    for name in ACCOUNTS:
        laptop.until(f"{LOG} | grep 'event=ran .*{name}.* code=0'", f"{name}'s first run")


LOG = "journalctl --no-pager -o cat _SYSTEMD_USER_UNIT=mailbell-agent.service"


def rung(laptop: Host, account: str, ring_it: Callable[[], object]) -> None:
    """Show that a ring fetches the mail of this account, and of no other."""
    for name in ACCOUNTS:
        laptop.run(f"printf 'Subject: {account}\\n\\n' >far/{name}/new/1.{account}", user=PERSON)
    before = runs(laptop)
    ring_it()
    near = laptop.path(f"/home/{PERSON}/near")
    until(lambda: any((near / account / "new").iterdir()), f"the mail of {account}")
    until(lambda: len(runs(laptop)) > len(before), "the end of the run")
    assert [account in line for line in runs(laptop)[len(before) :]] == [True]
    for name in ACCOUNTS:
        laptop.run(f"rm -f far/{name}/new/1.{account}", user=PERSON)


def runs(laptop: Host) -> list[str]:
    """Return the lines of the agent's log about runs that have ended."""
    said = laptop.run(f"journalctl --sync; {LOG}").splitlines()
    return [line for line in said if line.startswith("event=ran ")]


def ring(host: Namespace) -> None:
    """Ring the laptop, as a mail server does."""
    with host.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(("192.0.2.7", 79))
        connection.sendall(NOTIFICATION)
