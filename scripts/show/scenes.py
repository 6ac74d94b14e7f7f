"""The scenes: what is done in each, and what must follow."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.show.columns import Entry, Heading, Note, Title
from scripts.show.events import Happening, Side, What
from scripts.show.expected import Expected
from scripts.show.figures import accepted, counted, refusals, refused
from scripts.show.hosts import Host
from scripts.show.machines import FETCH, LAPTOP, SERVER, STRANGER
from scripts.show.theatre import NotHappenedError, Theatre

__all__ = ["SCENES", "opening", "summary"]

_HERE: Final = Path(__file__).parent
_PROGRAMS: Final = 5  # that say that they are ready
_SLEEPING: Final = ("The train is late", "The train is very late", "I walk")
_FLOOD: Final = 3.0  # seconds

_FILED: Final = Expected(What.FILED, "Sieve files the mail in INBOX", "INBOX")
_RANG: Final = Expected(What.RANG, "mailbell-sender rings the laptop", f"{LAPTOP[0]}:79")
_RUNG: Final = Expected(What.RUNG, "mailbelld hears the mail server", SERVER[0])
_FETCHED: Final = Expected(What.FETCHED, "mbsync fetches", "0")


def opening(theatre: Theatre) -> None:
    """Say what will be seen; then the machines start."""
    theatre.say(
        Heading(f"mail.example.org, {SERVER[0]}", f"Anna's laptop, {LAPTOP[0]}"),
        Title("Real programs start on two machines, each in namespaces of its own"),
    )


def _up(theatre: Theatre) -> None:
    theatre.ready(_PROGRAMS)


def _mail(theatre: Theatre) -> None:
    subject = "Lunch on Friday?"
    heard = theatre.scene(
        "1. A mail comes",
        f"Tom sends a mail to Anna by SMTP: “{subject}”. No connection waits for it.",
        lambda _: _send(theatre, subject),
        [
            Expected(What.TAKEN, "Postfix takes the mail"), _FILED, _RANG, _RUNG,
            Expected(What.FETCH, "mailbell run starts mbsync", "network"),
            Expected(What.LOGIN, "mbsync logs in", LAPTOP[0]),
            Expected(What.ARRIVED, "the mail is in the Maildir", subject), _FETCHED,
        ],
    )  # fmt: skip
    taken, rung, fetch, arrived = (
        _time(heard, what) for what in (What.TAKEN, What.RUNG, What.FETCH, What.ARRIVED)
    )
    theatre.say(
        Note(
            f"{_ms(arrived - taken)} from Postfix to the Maildir:"
            f" delivery and ring {_ms(rung - taken)},"
            f" wait for more rings {_ms(fetch - rung)} ({' '.join(FETCH[2:4])}),"
            f" fetch {_ms(arrived - fetch)}."
        )
    )
    theatre.screen.mark("a mail")


def _junk(theatre: Theatre) -> None:
    theatre.scene(
        "2. Junk rings nobody",
        "A mail comes that a filter has marked as spam.",
        lambda _: _send(theatre, "Cheap pills", "spam"),
        [
            Expected(What.FILED, "Sieve files the mail in Junk", "Junk"),
            Expected(What.QUIET, "mailbell-sender rings nobody for Junk", "Junk"),
            Expected(What.RANG, "mailbell-sender rings nobody", count=0),
            Expected(What.RUNG, "mailbelld is not rung", count=0),
            Expected(What.FETCH, "nothing is fetched", count=0),
        ],
    )
    theatre.screen.mark("junk")


def _sleep(theatre: Theatre) -> None:
    laptop = theatre.machines.laptop

    def mails(_: Callable[[], None]) -> None:
        laptop.cable(plugged=False)
        for subject in _SLEEPING:
            _send(theatre, subject)

    theatre.scene(
        "3. The laptop sleeps through three mails",
        "Its network is down, and its addresses are gone. Tom sends three mails.",
        mails,
        [
            Expected(What.FILED, "Sieve files three mails in INBOX", "INBOX", 3),
            Expected(What.UNANSWERED, "a ring is not answered", f"{LAPTOP[0]}:79"),
            Expected(What.RUNG, "nobody rings a laptop without a network", count=0),
        ],
        lingers=0.5,
    )


def _wake(theatre: Theatre) -> None:
    laptop = theatre.machines.laptop

    def wakes(begins: Callable[[], None]) -> None:
        begins()
        laptop.cable(plugged=True)
        laptop.addresses(f"{LAPTOP[0]}/24", f"{LAPTOP[1]}/64")

    heard = theatre.scene(
        "4. It wakes: one fetch brings all",
        "The network is up again.",
        wakes,
        [
            Expected(What.FETCH, "mailbell run starts mbsync", "address"),
            *(Expected(What.ARRIVED, f"“{each}” is in the Maildir", each) for each in _SLEEPING),
            _FETCHED, _RANG,
        ],
    )  # fmt: skip
    first = _time(heard, What.FETCHED)
    brought = sum(each.what is What.ARRIVED and each.at <= first for each in heard)
    if brought != len(_SLEEPING):
        raise NotHappenedError(f"one fetch brings all three mails; it has brought {brought}")
    theatre.screen.mark("awake")


def _flood(theatre: Theatre) -> None:
    machines = theatre.machines
    subject = "Did you get my mails?"
    before, memory = _status(machines.laptop), _memory(machines.listener)
    sent: list[str] = []

    def flood(_: Callable[[], None]) -> None:
        script = (_HERE / "flood.py").read_text()
        process = machines.stranger.start("python3", "-c", script, str(_FLOOD))
        while not refusals(before, _status(machines.laptop)):
            pass  # each question takes a tenth of a second
        _send(theatre, subject)
        sent[:] = process.communicate()[0].decode().split()

    heard = theatre.scene(
        "5. A stranger floods port 79",
        f"{STRANGER[0]} rings for {_FLOOD:.0f} s by TCP and UDP, and Tom sends a mail.",
        flood,
        [
            _FILED, _RANG, _RUNG,
            Expected(What.ARRIVED, "the mail is in the Maildir in spite of the flood", subject),
            _FETCHED, Expected(What.RUNG, "no stranger rings", STRANGER[0], 0),
        ],
    )  # fmt: skip
    after = _status(machines.laptop)
    if len(sent) != 2 or not refusals(before, after):
        raise NotHappenedError(f"the stranger floods: {' '.join(sent)}")
    passed = _ms(_time(heard, What.ARRIVED) - _time(heard, What.TAKEN))
    tcp, udp = map(int, sent)
    theatre.say(
        Note(f"The stranger has sent {tcp:,} notifications by TCP and {udp:,} by UDP."),
        *(Entry(Side.LAPTOP, None, each) for each in refused(before, after)),
        Entry(Side.LAPTOP, None, f"{accepted(before, after)} accepted, from the mail server"),
        Entry(Side.LAPTOP, None, f"memory: {memory} before, {_memory(machines.listener)} after"),
        Note(f"Tom's mail took {passed} from Postfix to the Maildir meanwhile."),
    )
    theatre.screen.mark("flood")


def _read(theatre: Theatre) -> None:
    arrived = [each for each in theatre.ears.happenings if each.what is What.ARRIVED]
    theatre.say(Title("6. Anna opens NeoMutt"))
    there = theatre.machines.listed([each.about for each in arrived])
    theatre.say(*(Entry(Side.LAPTOP, None, f"NeoMutt lists “{each}”") for each in there))
    if len(there) < len(arrived):
        raise NotHappenedError(f"NeoMutt lists {len(arrived)} mails; it lists {len(there)}")


SCENES: Final[Sequence[Callable[[Theatre], None]]] = (
    _up,
    _mail,
    _junk,
    _sleep,
    _wake,
    _flood,
    _read,
)
"""In their order."""


def summary(theatre: Theatre, seconds: float) -> None:
    """Say what it was in all, from the counters of the daemons and the Maildir.

    Args:
        theatre: where the scenes were shown.
        seconds: how long all took.

    Raises:
        NotHappenedError: a mail is missing.
    """
    machines, happenings = theatre.machines, theatre.ears.happenings
    kinds = Counter(each.what for each in happenings)
    causes = Counter(each.about for each in happenings if each.what is What.FETCH)
    sender = json.loads(machines.server.run("mailbell", "sender", "status", "--json"))
    strangers = sum(refusals({}, _status(machines.laptop)).values())
    taken, junk, there = kinds[What.TAKEN], sender["inputs"]["quiet_folder"], machines.mails()
    if there + junk != taken:
        raise NotHappenedError(f"{taken} mails were sent, and {there} are in the Maildir")
    why = ", ".join(f"{number} by {cause}" for cause, number in sorted(causes.items()))
    theatre.say(
        Title("The end"),
        Note(f"{taken} mails: {there} in the Maildir, {junk} in Junk, none lost."),
        Note(f"{sender['rings']['sent']} rings, and {kinds[What.FETCH]} fetches: {why}."),
        Note(f"{strangers:,} rings of a stranger were refused, and caused no fetch."),
        Note(f"Connections open between the two machines now: {machines.connections()}."),
        Note(f"All of it took {seconds:.0f} s."),
    )
    theatre.screen.mark("end")


def _send(theatre: Theatre, subject: str, *more: str) -> None:
    script = (_HERE / "send_mail.py").read_text()
    theatre.machines.outside.run("python3", "-c", script, subject, *more)


def _status(laptop: Host) -> Counter[str]:
    status: dict[str, Any] = json.loads(laptop.run("mailbell", "status", "--json"))
    return counted(status)


def _memory(process: int) -> str:
    """Return how much memory a process has, as proc_pid_status(5) tells it."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return f"{int(kilobytes) / 1024:.1f} MiB"


def _time(heard: Sequence[Happening], what: What) -> float:
    return next(each.at for each in heard if each.what is what)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
