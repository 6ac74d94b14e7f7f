"""What is shown for every mail server and every mechanism: it rings, and mail never suffers."""

import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from harness.daemon import until
from harness.machine import HOOK, Machine
from harness.sending import Sender
from mail_servers.laptop import Laptop
from mail_servers.logins import PROTOCOLS, log_in
from mail_servers.results import record
from mail_servers.server import MailServer
from mail_servers.told import Told, listening

from mailbell.recipes import load

__all__ = [
    "HOOK_FAULTS",
    "SENDER_FAULTS",
    "Way",
    "delivered_once",
    "delivered_once_while_hooks_hang",
    "faulty",
    "hanging",
    "hook_replaced",
    "logins_are_followed",
    "order_at_the_hook",
    "order_at_the_socket",
    "rings",
    "stopped",
    "subject",
]

SENDER_FAULTS: Final = ("sender absent", "sender stopped", "sender killed")
HOOK_FAULTS: Final = ("hook missing", "hook exits with 75", "hook hangs")
"""What may be wrong with a hook that is a program. A socket has the other faults only."""

_HANGS: Final = 20  # seconds
_RAN: Final = "/var/log/hook-ran"
_MET: Final = "/var/log/hook-met"
_NOTED: Final = f"echo >>{_MET} 2>/dev/null"
_TIMEOUT: Final = "/usr/bin/timeout"
# Programs of the package: they run timeout and the hook, although no line of a recipe says so.
_PROGRAMS: Final = ("loginexec", "mailbell-forward", "mailbell-mda", "mailbell-postlogin")
_LARGE: Final = "0123456789\n" * 40_000
"""More than a pipe holds: a server that writes it sees whether anybody reads."""
_ROUNDS: Final = 5
_numbers = count(1)


class Way:
    """A mechanism of a recipe, as it is used on a server.

    Args:
        name: of the recipe's way.
        trusted: users of listen.trusted.
        listen: further keys of [listen].
        account: makes the account's name from the user's.
    """

    def __init__(
        self,
        name: str,
        *,
        trusted: Sequence[str] = (),
        listen: str = "",
        account: Callable[[str], str] = str,
    ) -> None:
        self.name = name
        self.trusted = trusted
        self.listen = listen
        self.account = account

    def __str__(self) -> str:
        return self.name


def subject(word: str) -> str:
    """Return a subject that no other mail of this run has."""
    return f"{word}-{next(_numbers)}"


def rings(
    server: MailServer, way: Way, laptop: Laptop, user: str, *, rounds: int = _ROUNDS
) -> None:
    """A mail rings the user's machine, each mail once, after it is visible in the mailbox.

    Where the recipe promises no order, the mail may become visible later.
    """
    in_order = load(server.recipe).way(way.name).order == "after"
    laptop.forget()
    delays = []
    with server.sending(way.account(user), trusted=way.trusted, listen=way.listen) as sender:
        for _ in range(rounds):
            mail = subject(way.name)
            before = laptop.count()
            server.deliver(mail, user)
            told, printed = laptop.rung()
            assert told["source"] == "192.0.2.1"
            if in_order:
                # Visible before the notification was printed: there is nothing to wait for.
                visible = dict(server.arrived(user)).get(mail)
                assert visible is not None, f"{mail} was not there when it rang: {sender.lines()}"
                assert visible <= printed
            else:
                visible = server.until_arrived(mail, user)
            delays.append(1000 * (printed - visible))
            server.until_settled()
            assert laptop.count() == before + 1, sender.lines()
        inputs = sender.status().inputs
        assert inputs["accepted"] == rounds
    assert [name for name, _ in server.arrived(user)].count(mail) == 1
    record(server.name, server.version(), way.name, milliseconds=sorted(delays)[rounds // 2])


def order_at_the_hook(
    server: MailServer, way: Way, user: str, *, rounds: int = _ROUNDS
) -> list[bool]:
    """Deliver mails with a hook that only notes when it runs.

    Returns:
        for each mail, whether it was visible in the mailbox before the hook began.
    """
    noted = server.machine.path(_RAN)
    server.machine.write(_RAN, "", mode=0o666)
    after = []
    with hook_replaced(server.machine, f"date +%s.%N >>{_RAN}"):
        for done in range(1, rounds + 1):
            mail = subject(f"order-{way.name}")
            server.deliver(mail, user)
            visible = server.until_arrived(mail, user)
            after.append(visible <= _after_runs(noted, done))
            server.until_settled()
    return after


def _after_runs(noted: Path, count: int) -> float:
    """Wait until the hook has noted so many runs; return when the last one began."""
    until(lambda: len(noted.read_text().splitlines()) == count, f"run {count} of the hook")
    return float(noted.read_text().split()[-1])


def order_at_the_socket(
    server: MailServer,
    user: str,
    *,
    name: str = "hook",
    kind: int = socket.SOCK_STREAM,
    word: bytes = b"new ",
    rounds: int = _ROUNDS,
) -> list[bool]:
    """Deliver mails while this test is in the place of the sender, and looks when it is told.

    The ctime says nothing here: Cyrus removes another name of the file later, and Dovecot sets
    the time of an mbox later.

    Args:
        server: a mail server that tells by a socket, without a program.
        user: who gets the mails.
        name: of the socket.
        kind: SOCK_STREAM or SOCK_DGRAM.
        word: what it says of a new mail, and of nothing else.
        rounds: how many mails.

    Returns:
        for each mail, whether it was in the mailbox when the server told of it.
    """
    after = []
    with listening(server.machine.shared / name, kind) as told, ThreadPoolExecutor() as beside:
        for _ in range(rounds):
            mail = subject("order")
            present = beside.submit(_when_told, told, word, server, user)
            server.deliver(mail, user)
            after.append(mail in present.result())
            server.until_arrived(mail, user)
            server.until_settled()
    return after


def _when_told(told: Told, word: bytes, server: MailServer, user: str) -> list[str]:
    told.of(word)
    return server.subjects(user)


def delivered_once(
    server: MailServer, way: Way, fault: str, user: str, other: str, *, large: bool = False
) -> None:
    """With a fault of ours, a mail is delivered exactly once, and nobody gets a report.

    While the fault lasts, later mail of another user is delivered too. Where a hook is called,
    the fault has met it.

    Args:
        server: the mail server, with the way in force.
        way: the way.
        fault: of SENDER_FAULTS or HOOK_FAULTS.
        user: who gets the mail.
        other: who gets the later mail.
        large: whether the user gets a second mail at once, of 400 KB, which nobody may read.
    """
    mail, later = subject(fault.replace(" ", "-")), subject("later")
    mails = [mail]
    reports = len(server.arrived("berta"))
    with faulty(server, way, fault, user, other) as lasting:
        server.deliver(mail, user)
        if large:
            mails.append(subject("large"))
            server.deliver(mails[-1], user, body=_LARGE)
        for each in mails:
            server.until_arrived(each, user)
        until(lasting, f"{fault}, for real")
        server.deliver(later, other)
        server.until_arrived(later, other)
        assert lasting(), "the later mail came after the fault only"
        if fault == "hook hangs":
            until(lambda: not hanging(server.machine), "the end of the hooks")
    server.until_settled()
    for each in mails:
        assert server.subjects(user).count(each) == 1, each
    assert server.subjects(other).count(later) == 1
    assert server.arrived("berta")[reports:] == []


def delivered_once_while_hooks_hang(server: MailServer, turns: Iterable[tuple[str, str]]) -> None:
    """What `delivered_once` shows of a hook that hangs, for several ways in the time of one.

    Args:
        server: the mail server.
        turns: pairs of a user whose hook is to hang, and another user. It may prepare a way
            before it yields a pair.
    """
    reports = len(server.arrived("berta"))
    met = server.machine.path("/var/log/hooks-that-hang")
    server.machine.write("/var/log/hooks-that-hang", "", mode=0o666)
    sent = []
    script = f"echo >>/var/log/hooks-that-hang; exec sleep {_HANGS}.125"
    with hook_replaced(server.machine, script):
        for user, other in turns:
            mail, later = subject("hook-hangs"), subject("later")
            met.write_text("")
            server.deliver(mail, user)
            server.until_arrived(mail, user)
            until(met.read_text, "a hook that hangs")
            server.deliver(later, other)
            server.until_arrived(later, other)
            assert hanging(server.machine), "the later mail came after the fault only"
            sent += [(mail, user), (later, other)]
        until(lambda: not hanging(server.machine), "the end of the hooks")
    server.until_settled()
    for mail, user in sent:
        assert server.subjects(user).count(mail) == 1
    assert server.arrived("berta")[reports:] == []


def logins_are_followed(
    server: MailServer,
    way: Way,
    laptop: Laptop,
    logins: Mapping[str, tuple[str, str]],
    *,
    refused: str,
    password: str,
) -> None:
    """After a login the next mail rings where it came from. A refused login teaches nothing.

    Args:
        server: the mail server.
        way: how it tells of logins; it tells of mail too, in whatever way.
        laptop: where people log in.
        logins: of each user the protocol, and the family of the address ("IPv4" or "IPv6").
        refused: a user who uses a wrong password, with both protocols.
        password: the right one.
    """
    laptop.forget()
    accounts = [way.account(user) for user in (*logins, refused)]
    with (
        server.sending(
            *accounts, targets=["last-used"], trusted=way.trusted, listen=way.listen
        ) as sender,
        ThreadPoolExecutor() as beside,
    ):
        # Servers let time pass before they refuse.
        failing = [
            beside.submit(log_in, laptop.host, "192.0.2.1", protocol, refused, "wrong")
            for protocol in PROTOCOLS
        ]
        for user, (protocol, family) in logins.items():
            known = _accepted(sender)
            address = "192.0.2.1" if family == "IPv4" else "2001:db8::1"
            assert log_in(laptop.host, address, protocol, user, password)
            until(partial(_more, sender, known), f"what {user}'s login tells")
            server.deliver(subject("where"), user)
            assert laptop.rung()[0]["source"] == address
        assert not any(each.result() for each in failing)
        server.deliver(subject("nowhere"), refused)
        until(lambda: sender.status().rings["no_target"], "the mail for the refused")
        assert sender.status().rings["sent"] == len(logins)
    record(server.name, server.version(), way.name, logins="IMAP and POP3 over IPv4 and IPv6")


def _accepted(sender: Sender) -> int:
    return sender.status().inputs["accepted"]


def _more(sender: Sender, than: int) -> bool:
    return _accepted(sender) > than


@contextmanager
def faulty(server: MailServer, way: Way, fault: str, *users: str) -> Iterator[Callable[[], object]]:
    """Let something of ours be wrong during the block.

    A sender that was stopped has been told something when it goes on.

    Yields:
        what tells whether the fault lasts and has met the hook. Where a way has no hook, and
        where the server itself starts one that is missing, only the rest is seen.
    """
    with ExitStack() as stack:
        met = _arranged(stack, server, way, fault)
        if fault == "sender absent":
            yield met
            return
        accounts = [way.account(user) for user in users]
        with server.sending(*accounts, trusted=way.trusted, listen=way.listen) as sender:
            if fault == "sender killed":
                sender.kill()
            if fault != "sender stopped":
                yield met
                return
            with stopped(sender):
                yield met
            until(lambda: sum(sender.status().inputs.values()), "what the stopped sender was told")


def _arranged(stack: ExitStack, server: MailServer, way: Way, fault: str) -> Callable[[], object]:
    """Replace the hook as a fault says; return what tells whether it was called."""
    its = server.machine
    met: Callable[[], object] = _always
    if fault in SENDER_FAULTS and _says(server, way, "@hook@"):
        met = stack.enter_context(_hook_noted(its))
    elif fault == "hook missing":
        if _says(server, way, "timeout -"):
            met = stack.enter_context(_timeout_noted(its))
        stack.enter_context(hook_replaced(its, None))
    elif fault == "hook exits with 75":
        met = stack.enter_context(_marked(its))
        stack.enter_context(hook_replaced(its, f"{_NOTED}; exit 75"))
    elif fault == "hook hangs":
        met = partial(hanging, its)
        stack.enter_context(hook_replaced(its, f"exec sleep {_HANGS}.125"))
    return met


def _always() -> bool:
    return True


def _says(server: MailServer, way: Way, word: str) -> bool:
    """Return whether a way's steps have a word, or a program that has all such words."""
    steps = load(server.recipe).way(way.name).step
    text = "\n".join(each for step in steps for each in (step.text, *step.command))
    return any(each in text for each in (word, *_PROGRAMS))


@contextmanager
def _marked(machine: Machine) -> Iterator[Callable[[], object]]:
    """Yield what tells whether the mark was left that `_NOTED` leaves, as any user."""
    machine.write(_MET, "", mode=0o666)
    yield machine.path(_MET).read_text


@contextmanager
def _hook_noted(machine: Machine) -> Iterator[Callable[[], object]]:
    """Let the real hook leave a mark when it begins, during the block."""
    script = f'{_NOTED}; exec {HOOK}.aside "$@"'
    with _marked(machine) as met, hook_replaced(machine, script):
        yield met


@contextmanager
def _timeout_noted(machine: Machine) -> Iterator[Callable[[], object]]:
    """Let timeout(1) leave a mark when it begins with a hook: a missing hook leaves none."""
    script = f'case "$*" in */mailbell-hook*) {_NOTED};; esac; exec {_TIMEOUT}.aside "$@"'
    with _marked(machine) as met, _replaced(machine, _TIMEOUT, script):
        yield met


@contextmanager
def stopped(sender: Sender) -> Iterator[None]:
    """Let the sender not run, as SIGSTOP does it, during the block."""
    os.kill(sender.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(sender.pid, signal.SIGCONT)


@contextmanager
def hook_replaced(machine: Machine, script: str | None) -> Iterator[None]:
    """Let the hook be a shell script, or missing, during the block."""
    with _replaced(machine, HOOK, script):
        yield


@contextmanager
def _replaced(machine: Machine, program: str, script: str | None) -> Iterator[None]:
    aside = machine.path(f"{program}.aside")
    machine.path(program).rename(aside)
    try:
        if script is not None:
            machine.write(program, f"#!/bin/sh\n{script}\n", mode=0o755)
        yield
    finally:
        aside.replace(machine.path(program))


def hanging(machine: Machine) -> bool:
    """Return whether a hook hangs in the machine."""
    found = machine.run("pgrep", "-f", f"^sleep {_HANGS}\\.125$", check=False)
    return bool(found.strip())
