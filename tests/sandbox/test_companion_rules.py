"""The policies of the sender and its companions: every rule live, in both directions."""

import os
import signal
import socket
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import pytest
from harness.alone import ask
from harness.child import Ended
from sandbox.companion_processes import locked_cluster, locked_cyrus_reader, locked_resolver
from sandbox.probes import BASES, only_of_others, unprobed
from sandbox.program.reading import Numbers
from sandbox.program.subject import Publish
from sandbox.rules import BEYOND, Inside, Subject, Told
from sandbox.sender_process import locked_sender

from mailbell.syscalls.policy import ALLOW, KILL

pytestmark = pytest.mark.long
DEAD: Final = -int(signal.SIGSYS)
APART: Final = {"exit_group", "rt_sigreturn"}  # they do not return to their caller
# As `_called` of the sender's preparation has them.
TYPES: Final = tuple(
    kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
)
ELSEWHERE: Final[dict[str, dict[str, Numbers]]] = {
    "mailbell-sender": {
        "SELF": 0x3FFF0000,
        "STATUS": 98,
        "WAKEUP": 99,
        "SHARED": (0, 1, 2, 97),
        "EARLY": (0, 1, 2, 96, 97),
        "STORE": (94, 95),
        "CALLED": TYPES,
    },
    "mailbell-resolver": {"SELF": 0x3FFF0000, "STATUS": 98, "CONNECTED": (0, 1, 2, *range(64, 96))},
    "mailbell-cluster": {
        "SELF": 0x3FFF0000,
        "STATUS": 98,
        "FAMILIES": (socket.AF_INET, socket.AF_INET6),
    },
    "mailbell-cyrus": {"SELF": 0x3FFF0000, "STATUS": 98, "CYRUS": 97, "SENDER": 96},
}


def harmless_signals() -> None:
    """Let signals to the process itself end nothing, so that an answer can be seen."""
    signal.signal(signal.SIGABRT, signal.SIG_IGN)


def same_sockets(numbers: Mapping[str, Any]) -> None:
    """Give a free process the sockets that the reader has, in the same state."""
    harmless_signals()
    cyrus = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    cyrus.bind("")  # a name of the kernel's choice: unix(7), "Autobind feature"
    kept.append(near)
    for sock, number in ((cyrus, numbers["CYRUS"]), (far, numbers["SENDER"])):
        os.dup2(sock.fileno(), number)


kept: list[socket.socket] = []


def same_descriptors(numbers: Mapping[str, Any]) -> None:
    """Give a free process files and a wake-up socket where the sender has its own."""
    harmless_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, numbers["WAKEUP"])
    for number in numbers["STORE"]:
        file = os.memfd_create("store")
        os.write(file, b"stored")
        os.dup2(file, number)


def sender(inside: Inside) -> Ended:
    return locked_sender(inside, before=before_the_sender)


def before_the_sender() -> None:
    # To ignore SIGABRT would not last: the sender gives it its default action again.
    signal.signal(signal.SIGABRT, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def resolver(inside: Inside) -> Ended:
    return locked_resolver(inside, before=harmless_signals)


def cluster(inside: Inside) -> Ended:
    return locked_cluster(inside, before=harmless_signals)


def cyrus_reader(inside: Inside) -> Ended:
    return locked_cyrus_reader(inside, before=harmless_signals)


SUBJECTS: Final = [
    Subject("mailbell-sender", sender, ELSEWHERE["mailbell-sender"], same_descriptors),
    Subject(
        "mailbell-resolver", resolver, ELSEWHERE["mailbell-resolver"], lambda _: harmless_signals()
    ),
    Subject(
        "mailbell-cluster", cluster, ELSEWHERE["mailbell-cluster"], lambda _: harmless_signals()
    ),
    Subject("mailbell-cyrus", cyrus_reader, ELSEWHERE["mailbell-cyrus"], same_sockets),
]
every = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.program)


@cache
def told(program: str) -> list[Told]:
    (subject,) = [each for each in SUBJECTS if each.program == program]
    return subject.told()


def rules(tolds: list[Told]) -> set[tuple[str, int | None]]:
    return {(one.probe.call, one.probe.argument) for one in tolds}


@every
def test_what_is_allowed_goes_through(subject: Subject) -> None:
    allowed = [one for one in told(subject.program) if one.probe.answer == ALLOW]
    assert len(allowed) > 100
    assert [one for one in allowed if one.locked != one.free] == []
    softly = [one for one in allowed if one.probe.other != KILL]
    assert [one for one in softly if one.free == one.probe.other.errno] == []


@every
def test_what_is_refused_gets_its_error(subject: Subject) -> None:
    refused = [one for one in told(subject.program) if one.probe.answer not in {ALLOW, KILL}]
    assert [one for one in refused if one.locked != one.probe.answer.errno] == []
    assert rules(refused) - rules([one for one in refused if one.locked != one.free]) == set()


@pytest.mark.once
@every
def test_one_bit_off_kills(subject: Subject) -> None:
    tried = subject.deadly(subject.elsewhere)
    ended = subject.filtered([subject.call(probe) for probe in tried])
    assert [(p, end) for p, end in zip(tried, ended, strict=True) if end != DEAD] == []


@every
def test_each_condition_kills_in_a_process_locked_by_the_program(subject: Subject) -> None:
    tried = {(probe.call, probe.argument) for probe in subject.deadly(subject.elsewhere)}

    def inside(rule: tuple[str, int | None]) -> Callable[[Mapping[str, Any]], int]:
        def attempt(numbers: Mapping[str, Any]) -> int:
            found = [p for p in subject.deadly(numbers) if (p.call, p.argument) == rule]
            return ask(subject.call(found[-1]))

        return attempt

    ended = {rule: subject.locked(inside(rule)) for rule in tried}
    assert {rule: end for rule, end in ended.items() if end.signal is not signal.SIGSYS} == {}


@every
def test_exit_group_ends_the_process_with_its_code(subject: Subject) -> None:
    number = subject.numbers["exit_group"]
    ended = subject.locked(lambda _: ask((number, (7, 0, 0, 0, 0, 0))))
    assert ended.code == 7


def test_the_sender_comes_back_from_a_signal_handler() -> None:
    """rt_sigreturn(2): only the end of a handler may call it. The companions have no handler."""
    came: list[int] = []
    (subject,) = (each for each in SUBJECTS if "rt_sigreturn" in each.numbers)

    def before() -> None:
        signal.signal(signal.SIGABRT, lambda number, _: came.append(number))

    def inside(numbers: Mapping[str, Any]) -> list[int]:
        us = numbers["SELF"]
        ask((subject.numbers["tgkill"], (us, us, signal.SIGABRT, 0, 0, 0)))
        return came

    assert locked_sender(inside, before=before).value == [signal.SIGABRT]


@pytest.mark.once
@every
def test_every_number_without_a_name(subject: Subject) -> None:
    named = {*subject.numbers.values(), 335, 336}  # those two pass every filter: test_every_rule.py
    numbers = [n for n in (*range(1024), *BEYOND) if n not in named]
    ended = subject.filtered([(n, (0,) * 6) for n in numbers])
    wrong = {
        n: end for n, end in zip(numbers, ended, strict=True) if end != subject.said_of(n, DEAD)
    }
    assert wrong == {}


@every
def test_every_call_and_every_condition_has_its_probes(subject: Subject) -> None:
    others = {*BASES} & only_of_others(subject.policy)
    assert unprobed(subject.bound(), APART & subject.numbers.keys(), others) == set()


def test_how_little_is_permitted(record_property: Publish) -> None:
    counts = {subject.program: len(subject.policy.permitted) for subject in SUBJECTS}
    for program, count in counts.items():
        if program != "mailbell-sender":  # test_whole_suite.py tells it, and figures add up
            record_property(f"sandbox: permitted calls of {program}", count)
    assert counts == {
        "mailbell-sender": 33,
        "mailbell-cluster": 25,
        "mailbell-cyrus": 17,
        "mailbell-resolver": 22,
    }
