"""What is shown for the second and the third topology: mail is pushed, whatever happens."""

from collections.abc import Sequence
from typing import Final

from end_to_end.laptop import PERSON
from end_to_end.mx import ADDRESSES
from end_to_end.pop3_laptops import ACCOUNT, TARGET, Pop3Laptop
from end_to_end.pop3_servers import OTHER, Pop3Server
from harness.daemon import until

__all__ = [
    "NAMES",
    "PATIENCE",
    "few_fetches_bring_a_burst",
    "follows_to_another_network",
    "is_pushed",
    "junk_is_silent",
    "rings_after_a_restart",
    "until_known",
]

NAMES: Final = tuple(f"{address} mx.example" for address in reversed(ADDRESSES))
"""What the laptop knows: the mail server's name has both addresses, and IPv6 is the first."""

PATIENCE: Final = 90.0  # seconds: the machine may be busy
_BURST: Final = 12
_ELSEWHERE: Final = "192.0.2.77"


def _brought(laptop: Pop3Laptop, *subjects: str) -> None:
    """Wait until mails are in the laptop's mailbox, each once and whole."""
    until(
        lambda: all(laptop.has(ACCOUNT, each, f"This is {each}.") for each in subjects),
        f"{subjects} on the laptop", PATIENCE,
    )  # fmt: skip


def _mail(mx: Pop3Server, *subjects: str, address: str = ADDRESSES[0]) -> None:
    for each in subjects:
        mx.mail(each, PERSON, f"This is {each}.", address)


def _fetches(mx: Pop3Server, laptop: Pop3Laptop) -> int:
    """Return how often the person has logged in, without those times when a fetch was repeated."""
    return mx.logins(PERSON) - laptop.failures()


def _fetched(mx: Pop3Server, laptop: Pop3Laptop, before: int, *, most: int) -> None:
    if laptop.fetches_once:
        assert 1 <= _fetches(mx, laptop) - before <= most


def until_known(mx: Pop3Server) -> None:
    """Wait until the sender knows from a login where the person is."""
    until(lambda: mx.status()["book"]["addresses"] == 1, "a login in the book", PATIENCE)


def is_pushed(mx: Pop3Server, laptop: Pop3Laptop, subject: str, *, by: str, target: str) -> None:
    """A mail rings the laptop where it last fetched, and the laptop fetches it.

    Args:
        mx: the mail server.
        laptop: of the person.
        subject: of the mail.
        by: the address of the server that takes the mail.
        target: what is rung.
    """
    rung, runs = mx.rung(target), laptop.runs("network")
    _mail(mx, subject, address=by)
    _brought(laptop, subject)
    assert laptop.runs("network") > runs
    assert mx.rung(target) > rung


def few_fetches_bring_a_burst(mx: Pop3Server, laptop: Pop3Laptop) -> None:
    """Many mails in a short time are fetched together, none of them twice."""
    before = _fetches(mx, laptop)
    subjects = [f"burst-{number}" for number in range(_BURST)]
    _mail(mx, *subjects)
    _brought(laptop, *subjects)
    _fetched(mx, laptop, before, most=_BURST // 2)


def junk_is_silent(mx: Pop3Server, laptop: Pop3Laptop, idle: str, folder: str = "") -> None:
    """A mail that a filter has marked rings nobody; the next one of the same user does.

    Args:
        mx: the mail server.
        laptop: of the person.
        idle: a command that says nothing when the server has nothing left to deliver.
        folder: where the server puts such a mail; "": into the inbox.
    """
    assert not mx.knows(OTHER)
    mx.junk("junk", OTHER)
    mx.until_delivered("junk", OTHER, folder)
    until(lambda: not mx.host.run(idle).strip(), "the end of that delivery", PATIENCE)
    # The sender takes what it is told in order. So it has been told of nothing before this one.
    _mail(mx, "later")
    _brought(laptop, "later")
    assert not mx.knows(OTHER)
    mx.mail("wanted", OTHER)
    until(lambda: mx.knows(OTHER), "a ring for the mail that is no junk", PATIENCE)


def rings_after_a_restart(mx: Pop3Server, laptop: Pop3Laptop) -> None:
    """The server restarts, and knows without a new login where the person is."""
    mx.restart()
    assert mx.rung(TARGET) == 0
    is_pushed(mx, laptop, "restarted", by=ADDRESSES[0], target=TARGET)


def follows_to_another_network(mx: Pop3Server, laptop: Pop3Laptop) -> None:
    """A laptop wakes up where IPv4 is all there is: a fetch brings all, and it is rung there."""
    away: Sequence[str] = [f"away-{number}" for number in range(3)]
    laptop.host.down()
    _mail(mx, *away)
    for each in away:
        mx.until_delivered(each, PERSON)
    before = _fetches(mx, laptop)
    laptop.host.move(f"{_ELSEWHERE}/24")
    _brought(laptop, *away)
    # A ring that was on its way may arrive late. Its fetch finds nothing.
    _fetched(mx, laptop, before, most=2)
    is_pushed(mx, laptop, "elsewhere", by=ADDRESSES[1], target=f"{_ELSEWHERE}:79")
