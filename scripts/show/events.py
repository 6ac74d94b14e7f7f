"""What the lines of the programs' logs say, in words. Pure.

A line that says nothing of the way of a mail is passed over. Nothing is made up here: each word
about a mail, a ring or a fetch comes from a line that a program has written.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mailbell.core.escape import printable

__all__ = ["Happening", "Line", "Side", "What", "happening", "pairs"]


class Side(StrEnum):
    """The machine where something happens."""

    SERVER = "mail server"
    LAPTOP = "laptop"


class What(StrEnum):
    """Kinds of what can happen."""

    UP = "up"  # a program is ready
    TAKEN = "taken"  # Postfix has a mail
    FILED = "filed"  # it is in a folder of the mailbox
    RANG = "rang"
    UNANSWERED = "unanswered"  # a ring did not reach the laptop
    QUIET = "quiet"  # nobody is rung for this folder
    RUNG = "rung"
    FETCH = "fetch"  # a fetch begins
    LOGIN = "login"
    FETCHED = "fetched"
    ARRIVED = "arrived"  # a mail is in the laptop's Maildir


@dataclass(frozen=True)
class Line:
    """A line of a program's log.

    Attributes:
        at: when it was read, in seconds since 1970.
        program: which program wrote it.
        text: the line, without its end.
    """

    at: float
    program: str
    text: str


@dataclass(frozen=True)
class Happening:
    """Something that has happened.

    Attributes:
        at: when, in seconds since 1970.
        side: where.
        what: its kind.
        words: what a person is told of it.
        about: what it is about: a folder, an address, a cause, a subject.
    """

    at: float
    side: Side
    what: What
    words: str
    about: str = ""


_CAUSES: Final = {
    "network": "it was rung",
    "address": "an address came",
    "start": "it has started",
    "resync": "it may have missed a ring",
    "retry": "the last one failed",
}

# Printable ASCII alone: that is what `mailbell.logs.journal` writes.
_PAIR: Final = r'(\w+)=("(?:[ !#-\[\]-~]|\\[ -~])*"|[!#-~]*)'
_FIELD: Final = re.compile(_PAIR, re.ASCII)
_LINE: Final = re.compile(rf"{_PAIR}(?: {_PAIR})*", re.ASCII)
_POSTFIX_UP: Final = re.compile(r"daemon started -- version ([\d.]+)")
_TAKEN: Final = re.compile(r"/smtpd\[\d+\]: \w+: client=\S*\[([0-9a-f.:]+)\]")
_DOVECOT_UP: Final = re.compile(r"Dovecot v([\d.]+)\S* .*starting up")
_FILED: Final = re.compile(r"lmtp\(.*sieve: .*stored mail into mailbox '([^']*)'")
_LOGIN: Final = re.compile(r"imap-login: Info: Logged in: user=<([^>]*)>.* rip=([0-9a-f.:]+)")


def pairs(text: str) -> dict[str, str]:
    """Return the fields of a line as `mailbell.logs.journal` writes it; none of any other line.

    Escapes stay as they are: the values are for a terminal.
    """
    if not _LINE.fullmatch(text):
        return {}
    return {name: value.removeprefix('"').removesuffix('"') for name, value in _FIELD.findall(text)}


def happening(line: Line) -> Happening | None:
    """Return what a line says; None: nothing of the way of a mail.

    Args:
        line: of `postfix`, `dovecot`, `mailbell-sender`, `mailbelld`, `mailbell watch`,
            `mailbell run` or `Maildir`; of any other program it says nothing.
    """
    read = _READERS.get(line.program)
    return read(line) if read else None


def _postfix(line: Line) -> Happening | None:
    if found := _POSTFIX_UP.search(line.text):
        return _server(line, What.UP, f"Postfix {found[1]} takes mail at port 25")
    if found := _TAKEN.search(line.text):
        return _server(line, What.TAKEN, f"Postfix takes a mail from {found[1]}", found[1])
    return None


def _dovecot(line: Line) -> Happening | None:
    if found := _DOVECOT_UP.search(line.text):
        return _server(line, What.UP, f"Dovecot {found[1]} has the mailboxes, Sieve, IMAP")
    if found := _FILED.search(line.text):
        folder = printable(found[1])
        return _server(line, What.FILED, f"Dovecot: Sieve files it in {folder}", folder)
    if found := _LOGIN.search(line.text):
        words = f"Dovecot: {printable(found[1])} logs in from {found[2]}"
        return _server(line, What.LOGIN, words, found[2])
    return None


def _sender(line: Line) -> Happening | None:
    fields = pairs(line.text)
    event, target = fields.get("event", ""), fields.get("target", "")
    if event == "locked":
        return _server(line, What.UP, f"mailbell-sender: {_locked(fields)}")
    if event == "quiet_folder":
        folder = fields.get("folder", "")
        return _server(line, What.QUIET, f"mailbell-sender rings nobody: it is {folder}", folder)
    took = f" ({fields['milliseconds']} ms)" if "milliseconds" in fields else ""
    if event == "sent":
        return _server(line, What.RANG, f"mailbell-sender rang {target}{took}", target)
    if event in ("timeout", "unreachable", "refused", "reset"):
        words = f"mailbell-sender: {target} does not answer: {event}{took}"
        return _server(line, What.UNANSWERED, words, target)
    return None


def _mailbelld(line: Line) -> Happening | None:
    fields = pairs(line.text)
    if fields.get("event") == "locked":
        return _laptop(line, What.UP, f"mailbelld: {_locked(fields)}")
    return None


def _watch(line: Line) -> Happening | None:
    # The daemon's own time: this line comes through one program more than the others.
    try:
        told = json.loads(line.text)
        at, account, source = told["time"] / 1e6, str(told["account"]), str(told["source"])
    except (ValueError, LookupError, TypeError):
        return None
    words = f"mailbelld: {printable(source)} rings for {printable(account)}"
    return Happening(at, Side.LAPTOP, What.RUNG, words, source)


def _agent(line: Line) -> Happening | None:
    fields = pairs(line.text)
    event, job = fields.get("event"), fields.get("job", "")
    if event == "listening":
        return _laptop(line, What.UP, "mailbell run hears mailbelld")
    if event == "run":
        cause = fields.get("cause", "")
        why = _CAUSES.get(cause, cause)
        return _laptop(line, What.FETCH, f"mailbell run starts {job}: {why}", cause)
    if event == "ran":
        code, seconds = fields.get("code", "?"), fields.get("seconds", "?")
        ended = "has fetched" if code == "0" else f"failed with code {code}"
        return _laptop(line, What.FETCHED, f"{job} {ended}, in {seconds} s", code)
    return None


def _maildir(line: Line) -> Happening | None:
    subject = printable(line.text)
    return _laptop(line, What.ARRIVED, f"in the Maildir: “{subject}”", subject)


def _locked(fields: Mapping[str, str]) -> str:
    uid, landlock = fields.get("uid", "?"), fields.get("landlock_abi", "?")
    return f"seccomp, Landlock {landlock}, uid {uid}"


def _server(line: Line, what: What, words: str, about: str = "") -> Happening:
    return Happening(line.at, Side.SERVER, what, words, about)


def _laptop(line: Line, what: What, words: str, about: str = "") -> Happening:
    return Happening(line.at, Side.LAPTOP, what, words, about)


_READERS: Final[Mapping[str, Callable[[Line], Happening | None]]] = {
    "postfix": _postfix,
    "dovecot": _dovecot,
    "mailbell-sender": _sender,
    "mailbelld": _mailbelld,
    "mailbell watch": _watch,
    "mailbell run": _agent,
    "Maildir": _maildir,
}
