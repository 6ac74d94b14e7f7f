"""The whole way: hook, mailbell-sender, network, mailbelld on another host, subscriber."""

import os
import pwd
import sqlite3
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import Daemon, configuration, started, until
from harness.netns import Namespace, Pair, another_host, namespaces
from harness.sending import HOOK, Sender, sender_configuration, sending
from system.support import Local

pytestmark = pytest.mark.unwatched(reason="the daemons do here what they do in other tests")

SERVER: Final = ("192.0.2.1/24", "2001:db8::1/64")
LAPTOP: Final = ("192.0.2.2/24", "2001:db8::2/64")
PORT: Final = 7979
ANNA: Final = "anna@example.org"


@pytest.fixture
def hosts() -> Iterator[Pair]:
    with namespaces(SERVER, LAPTOP) as pair:
        yield pair


@contextmanager
def listening(directory: Path, host: Namespace, *, udp: bool = False) -> Iterator[Daemon]:
    """A mailbelld on a host, on all of its addresses."""
    directory.mkdir()
    where = [f"0.0.0.0:{PORT}", f"[::]:{PORT}"]
    toml = configuration(directory, tcp=where, udp=where if udp else ())
    with started(directory, toml, command=host.visit) as daemon:
        yield daemon


def delivered(sender: Sender, *words: str, **environ: str) -> None:
    """Do what a mail server does after it has delivered a mail, or at a login.

    The hook does not wait for the sender. The tests do: lines of two hooks have no order.
    """
    before = inputs(sender)
    done = subprocess.run(
        [*HOOK, "--socket", str(sender.hook), *words],
        stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=30,
        env={"PATH": os.environ["PATH"], **environ},
    )  # fmt: skip
    assert done.stdout + done.stderr == b""
    until(lambda: inputs(sender) > before, "the hook's line")


def inputs(sender: Sender) -> int:
    return sum(sender.status().inputs.values())


def toml(directory: Path, targets: Sequence[str], more: str = "", **send: str) -> str:
    # Who delivers may speak for every account: here that is whoever runs the tests.
    trusted = f'trusted = ["{pwd.getpwuid(os.getuid()).pw_name}"]'
    settings = "\n".join(f'{key} = "{value}"' for key, value in {"interval": "1s", **send}.items())
    return sender_configuration(
        directory,
        f"""
[send]
port = {PORT}
{settings}
{more}
[[account]]
name = "{ANNA}"
aliases = ["anna"]
targets = {list(targets)}
""",
        listen=trusted,
    )


@pytest.mark.parametrize(
    ("target", "source"),
    [("192.0.2.2", "192.0.2.1"), ("[2001:db8::2]:7979", "2001:db8::1")],
    ids=["IPv4", "IPv6"],
)
def test_a_delivery_rings_a_configured_address(
    open_path: Path, hosts: Pair, target: str, source: str
) -> None:
    with (
        listening(open_path / "laptop", hosts.client) as daemon,
        Local(daemon.path) as subscriber,
        sending(open_path, toml(open_path, [target]), command=hosts.server.visit) as sender,
    ):
        subscriber.subscribe()
        delivered(sender, "anna")
        told = subscriber.reply()["notification"]
        assert (told["count"], told["transport"], told["source"]) == (1, "tcp", source)
        until(lambda: sender.status().rings["sent"] == 1)
        assert daemon.counted() == {"accepted": 1}


def test_by_udp(open_path: Path, hosts: Pair) -> None:
    text = toml(open_path, ["192.0.2.2"], transport="udp")
    with (
        listening(open_path / "laptop", hosts.client, udp=True) as daemon,
        Local(daemon.path) as subscriber,
        sending(open_path, text, command=hosts.server.visit) as sender,
    ):
        subscriber.subscribe()
        delivered(sender, RECIPIENT=ANNA)
        assert subscriber.reply()["notification"]["transport"] == "udp"
        assert daemon.counted("udp") == {"accepted": 1}
        assert daemon.counted() == {}


def test_two_targets_are_both_rung(open_path: Path, hosts: Pair) -> None:
    far = another_host(hosts.server, ["198.51.100.1/24"], ["198.51.100.2/24"])
    with (
        far as second,
        listening(open_path / "one", hosts.client) as one,
        listening(open_path / "two", second) as two,
        Local(one.path) as first,
        Local(two.path) as other,
        sending(
            open_path,
            toml(open_path, ["192.0.2.2", "198.51.100.2"]),
            command=hosts.server.visit,
        ) as sender,
    ):
        first.subscribe()
        other.subscribe()
        delivered(sender, ANNA)
        assert first.reply()["notification"]["source"] == "192.0.2.1"
        assert other.reply()["notification"]["source"] == "198.51.100.1"


def test_a_login_says_where_and_the_next_mail_rings_there(open_path: Path, hosts: Pair) -> None:
    """Over both families, and at two places at once."""
    far = another_host(hosts.server, ["198.51.100.1/24"], ["198.51.100.2/24"])
    with (
        far as second,
        listening(open_path / "one", hosts.client) as one,
        listening(open_path / "two", second) as two,
        Local(one.path) as first,
        Local(two.path) as other,
        sending(open_path, toml(open_path, ["last-used"]), command=hosts.server.visit) as sender,
    ):
        first.subscribe()
        other.subscribe()
        delivered(sender, "anna")
        until(lambda: sender.status().rings["no_target"] == 1)
        delivered(sender, "--login", USER="anna", IP="2001:db8::2")
        delivered(sender, "anna")
        assert first.reply()["notification"]["source"] == "2001:db8::1"
        delivered(sender, "--login", AUTHENTICATED="anna", TCPREMOTEIP="::ffff:198.51.100.2")
        delivered(sender, "anna")
        assert other.reply()["notification"]["source"] == "198.51.100.1"
        assert first.reply()["notification"]["source"] == "2001:db8::1"
        assert one.counted() == {"accepted": 2}
        assert two.counted() == {"accepted": 1}


def test_a_login_that_is_too_old_rings_nobody(open_path: Path, hosts: Pair) -> None:
    """The state is that of an earlier run, whose login is an hour old."""
    text = toml(open_path, ["last-used"], more='[last_used]\nttl = "1m"')
    with listening(open_path / "laptop", hosts.client) as daemon:
        with sending(open_path, text, command=hosts.server.visit) as sender:
            delivered(sender, "--login", USER="anna", IP="192.0.2.2")
            delivered(sender, "anna")
            until(lambda: daemon.counted() == {"accepted": 1})
        age_logins(open_path / "state" / "state.db", seconds=3600)
        with sending(open_path, text, command=hosts.server.visit) as sender:
            delivered(sender, "anna")
            until(lambda: sender.status().rings["no_target"] == 1)
        assert daemon.counted() == {"accepted": 1}


def age_logins(path: Path, *, seconds: int) -> None:
    """Make all logins older, as if so much time had passed since."""
    sighting = struct.Struct(">16sq")
    earlier = 1000 * seconds
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT account, newest, addresses FROM book").fetchall()
        assert rows
        for account, newest, packed in rows:
            older = b"".join(
                sighting.pack(address, time - earlier)
                for address, time in sighting.iter_unpack(packed)
            )
            row = (newest - earlier, older, account)
            database.execute("UPDATE book SET newest = ?, addresses = ? WHERE account = ?", row)
    database.close()


def test_a_name_rings_where_it_leads(open_path: Path, hosts: Pair) -> None:
    """The name is in the hosts file, which the resolver read before its lock."""
    known = open_path / "hosts"
    known.write_text("192.0.2.2 laptop.example.net\n2001:db8::2 laptop.example.net\n")
    # An ordinary user is root for mount(8) in a namespace, and after it who he was.
    back: str = ""
    view: tuple[str, ...] = ("unshare", "--mount")
    if os.geteuid() != 0:
        back = f"unshare --map-user={os.getuid()} --map-group={os.getgid()}"
        view = ("unshare", "--user", "--map-root-user", "--mount")
    see = f'mount --bind {known} /etc/hosts && exec {back} "$@"'
    with (
        listening(open_path / "laptop", hosts.client) as daemon,
        Local(daemon.path) as subscriber,
        sending(
            open_path,
            toml(open_path, ["laptop.example.net"]),
            command=(*hosts.server.visit, *view, "sh", "-c", see, "sh"),
        ) as sender,
    ):
        subscriber.subscribe()
        delivered(sender, "anna")
        # RFC 8305: IPv6 is tried first, and IPv4 if it takes too long. Only one of them is rung.
        assert subscriber.reply()["notification"]["source"] in {"2001:db8::1", "192.0.2.1"}
        until(lambda: sender.status().rings["sent"] == 1)
        # A second attempt may have begun meanwhile: it is closed unsent.
        assert daemon.counted()["accepted"] == 1
