"""What is shown for every mail server and every mechanism: it rings, and mail never suffers."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from harness.daemon import until
from harness.sending import Sender
from mail_servers.laptop import Laptop
from mail_servers.logins import PROTOCOLS, log_in
from mail_servers.machine import HOOK, Machine
from mail_servers.results import record
from mail_servers.server import MailServer

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
    "rings",
    "stopped",
    "subject",
]

SENDER_FAULTS: Final = ("sender absent", "sender stopped", "sender killed")
HOOK_FAULTS: Final = ("hook missing", "hook exits with 75", "hook hangs")
"""What may be wrong with a hook that is a program. A socket has the other faults only."""

_HANGS: Final = 20  # seconds
_RAN: Final = "/var/log/hook-ran"
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


def delivered_once(server: MailServer, way: Way, fault: str, user: str, other: str) -> None:
    """With a fault of ours, a mail is delivered exactly once, and nobody gets a report.

    While the fault lasts, later mail of another user is delivered too.
    """
    mail, later = subject(fault.replace(" ", "-")), subject("later")
    reports = len(server.arrived("berta"))
    with faulty(server, way, fault, user, other) as lasting:
        server.deliver(mail, user)
        server.until_arrived(mail, user)
        until(lasting, f"{fault}, for real")
        server.deliver(later, other)
        server.until_arrived(later, other)
        assert lasting(), "the later mail came after the fault only"
        if fault == "hook hangs":
            until(lambda: not hanging(server.machine), "the end of the hooks")
    server.until_settled()
    assert server.subjects(user).count(mail) == 1
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


def _accepted(sender: Sender) -> int:
    return sender.status().inputs["accepted"]


def _more(sender: Sender, than: int) -> bool:
    return _accepted(sender) > than


@contextmanager
def faulty(server: MailServer, way: Way, fault: str, *users: str) -> Iterator[Callable[[], object]]:
    """Let something of ours be wrong during the block.

    Yields:
        what tells whether the fault lasts and the hook has met it, where that can be seen.
    """
    with ExitStack() as stack:
        if fault != "sender absent":
            accounts = [way.account(user) for user in users]
            sender = stack.enter_context(
                server.sending(*accounts, trusted=way.trusted, listen=way.listen)
            )
            if fault == "sender stopped":
                stack.enter_context(stopped(sender))
            elif fault == "sender killed":
                sender.kill()
        if fault == "hook missing":
            stack.enter_context(hook_replaced(server.machine, None))
        elif fault == "hook exits with 75":
            stack.enter_context(hook_replaced(server.machine, "exit 75"))
        elif fault == "hook hangs":
            stack.enter_context(hook_replaced(server.machine, f"exec sleep {_HANGS}.125"))
            yield lambda: hanging(server.machine)
            return
        yield lambda: True


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
    aside = f"{HOOK}.aside"
    machine.path(HOOK).rename(machine.path(aside))
    try:
        if script is not None:
            machine.write(HOOK, f"#!/bin/sh\n{script}\n", mode=0o755)
        yield
    finally:
        machine.path(aside).replace(machine.path(HOOK))


def hanging(machine: Machine) -> bool:
    """Return whether a hook hangs in the machine."""
    found = machine.run("pgrep", "-f", f"^sleep {_HANGS}\\.125$", check=False)
    return bool(found.strip())
