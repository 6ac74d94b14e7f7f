"""Every rule of the shipped policy, in both directions, and every other call: the kernel answers.

The probes are made from the policy's text (`probes.py`). Probes that do not kill run in a
process that the daemon's own code has locked, and in one that is not locked. An allowed call
must get the kernel's answer, the same in both. A probe that kills needs a process of its own.
For each condition, one such process is locked by the daemon's code. For each bit, the process
has the same filter and nothing else.
"""

import errno
import os
import platform
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import pytest
from harness.alone import Call, ask, each_alone
from harness.child import run
from harness.daemon import until
from harness.libseccomp import libseccomp
from harness.locked import locked
from sandbox.probes import Probe, only_of_others, probes, unprobed

from mailbell._sys import seccomp
from mailbell.sandbox.policy_file import FOLDER
from mailbell.syscalls.policy import ALLOW, KILL, Numbers, Policy
from mailbell.syscalls.policy_toml import parse

RecordProperty = Callable[[str, object], None]

TEXT: Final = Path(FOLDER, "mailbelld.toml").read_text()
POLICY: Final = parse(TEXT.encode())
# Numbers for processes that have only the filter. No process has this number or one that
# differs in one bit, so a broken filter harms no process. Above PID_MAX_LIMIT, linux/threads.h.
ELSEWHERE: Final[dict[str, Numbers]] = {
    "SELF": 0x3FFF0000,
    "STATUS": 98,
    "WAKEUP": 99,
    "SHARED": (0, 1, 2, 97),
}

X32: Final = 0x40000000  # asm/unistd.h: __X32_SYSCALL_BIT
DEAD: Final = -int(signal.SIGSYS)
# Since 6.14 Linux asks no filter about the calls with which it enters its own probes of user
# space, kernel/seccomp.c: seccomp_uprobe_exception. Outside its trampoline they do nothing: the
# first kills, the second is an error, which Linux 7.2 calls EPROTO.
PAST_EVERY_FILTER: Final = (
    {335: {-int(signal.SIGILL)}, 336: {errno.ENXIO, errno.EPROTO}}
    if platform.machine() == "x86_64"
    else {}
)
only_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="of x86-64 only")


def number(call: str) -> int:
    return int(libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, call))


NUMBERS: Final = {call: number(call) for entry in POLICY.entries for call in entry.calls}


def made(numbers: Mapping[str, Any]) -> list[Probe]:
    """The probes of all calls that this architecture has."""
    return [probe for probe in probes(POLICY.bind(numbers)) if NUMBERS[probe.call] >= 0]


def deadly(numbers: Mapping[str, Any]) -> list[Probe]:
    return [probe for probe in made(numbers) if probe.answer == KILL]


def call_of(probe: Probe) -> Call:
    return NUMBERS[probe.call], probe.args


def rule_of(probe: Probe) -> tuple[str, int | None]:
    return probe.call, probe.argument


# --- probes that do not kill ----------------------------------------------------------


def harmless_signals() -> None:
    """Let signals to the process itself end nothing, so that an answer can be seen."""
    # To ignore it would not last: the daemon gives it its default action again.
    signal.signal(signal.SIGABRT, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def answers(numbers: Mapping[str, Any]) -> list[tuple[Probe, int]]:
    found = []
    for probe in made(numbers):
        if probe.answer != KILL:
            # After a death, its cause can then be read.
            os.write(2, f"{probe}\n".encode())
            found.append((probe, ask(call_of(probe))))
    return found


def answers_of_the_kernel(numbers: Mapping[str, Any]) -> list[tuple[Probe, int]]:
    """Make the same calls, with the same descriptors, in a process that may make them."""
    harmless_signals()
    os.dup2(2, numbers["WAKEUP"])
    os.closerange(numbers["STATUS"], numbers["STATUS"] + 1)
    return answers({**numbers, "SELF": os.getpid()})


@dataclass(frozen=True)
class Told:
    """The answers to a probe in the locked process, and from the kernel itself."""

    probe: Probe
    locked: int
    free: int


@cache
def told() -> list[Told]:
    """The answers to each probe that does not kill."""
    inside = locked(lambda numbers: (numbers, answers(numbers)), before=harmless_signals)
    assert (inside.error, inside.signal) == (None, None), inside.output.splitlines()[-1:]
    numbers, found = inside.value
    free = run(partial(answers_of_the_kernel, numbers))
    assert free.error is None, free
    return [Told(p, said, own) for (p, said), (_, own) in zip(found, free.value, strict=True)]


def test_what_is_allowed_goes_through(record_property: RecordProperty) -> None:
    allowed = [one for one in told() if one.probe.answer == ALLOW]
    assert [one for one in allowed if one.locked != one.free] == []
    # Where the filter gives the same answer to other arguments, nothing is proved.
    softly = [one for one in allowed if one.probe.other != KILL]
    assert [one for one in softly if one.free == one.probe.other.errno] == []
    record_property("sandbox: live probes, allowed", len(allowed))


def test_what_is_refused_gets_its_error(record_property: RecordProperty) -> None:
    refused = [one for one in told() if one.probe.answer not in {ALLOW, KILL}]
    assert [one for one in refused if one.locked != one.probe.answer.errno] == []
    # The kernel itself gives the same error to some nonsense, but never to all of a rule's.
    shown = {rule_of(one.probe) for one in refused if one.locked != one.free}
    assert {rule_of(one.probe) for one in refused} - shown == set()
    record_property("sandbox: live probes, refused with an error", len(refused))


# --- calls that do not return to their caller ------------------------------------------


def returned_from_a_handler() -> bool:
    """rt_sigreturn(2): only the end of a handler may call it."""
    came: list[int] = []

    def before() -> None:
        signal.signal(signal.SIGABRT, lambda number, _: came.append(number))

    def inside(numbers: Mapping[str, Any]) -> list[int]:
        ask((NUMBERS["tgkill"], (numbers["SELF"], numbers["SELF"], signal.SIGABRT, 0, 0, 0)))
        return came

    return bool(locked(inside, before=before).value == [signal.SIGABRT])


def ended_with_its_code() -> bool:
    ended = locked(lambda _: ask((NUMBERS["exit_group"], (7, 0, 0, 0, 0, 0))))
    return (ended.code, ended.output) == (7, b"")


APART: Final = {"rt_sigreturn": returned_from_a_handler, "exit_group": ended_with_its_code}


@pytest.mark.parametrize("call", APART)
def test_what_does_not_return_goes_through(call: str) -> None:
    assert APART[call]()


# --- probes that kill -----------------------------------------------------------------


def filtered(calls: list[Call]) -> list[int]:
    return each_alone(seccomp.compile_policy(POLICY.bind(ELSEWHERE)).program, calls)


@pytest.mark.once
def test_one_bit_off_kills(record_property: RecordProperty) -> None:
    tried = deadly(ELSEWHERE)
    ended = filtered([call_of(probe) for probe in tried])
    assert [(p, end) for p, end in zip(tried, ended, strict=True) if end != DEAD] == []
    record_property("sandbox: live probes, killed", len(tried))


def test_each_condition_kills_in_a_process_locked_by_the_daemon(
    record_property: RecordProperty,
) -> None:
    rules = {rule_of(probe) for probe in deadly(ELSEWHERE)}

    def inside(rule: tuple[str, int | None], numbers: Mapping[str, Any]) -> int:
        # The last is the highest bit; no two process numbers differ in it.
        *_, last = (probe for probe in deadly(numbers) if rule_of(probe) == rule)
        return ask(call_of(last))

    ended = {rule: locked(partial(inside, rule)) for rule in rules}
    assert {rule: end for rule, end in ended.items() if end.signal is not signal.SIGSYS} == {}
    record_property("sandbox: live probes, killed in the locked daemon", len(rules))


@pytest.mark.parametrize("bit", [0, pytest.param(X32, marks=only_x86_64, id="x32")])
def test_a_kill_takes_every_thread(bit: int) -> None:
    """If only the thread were killed, this process would stay, as a daemon with its port would."""

    def inside() -> None:
        blocked, _ = os.pipe()
        threading.Thread(target=os.read, args=(blocked, 1), daemon=True).start()
        (other,) = {int(task) for task in os.listdir("/proc/self/task")} - {os.getpid()}
        # Before it sleeps in read(2) it may hold Python's lock.
        reading = f"{NUMBERS['read']} "
        where = Path(f"/proc/self/task/{other}/syscall")
        until(lambda: where.read_text().startswith(reading), "read")
        seccomp.compile_policy(POLICY.bind(ELSEWHERE)).load()
        ask((bit | number("getppid"), (0,) * 6))

    assert run(inside, seconds=10).signal is signal.SIGSYS


# --- every other call --------------------------------------------------------------------

NAMED: Final = set(NUMBERS.values())
BEYOND: Final = (1024, 1025, 1535, 2047, 4096, 65536, X32 - 1, 1 << 31, 0xFFFFFFFF)


def said_of(number: int) -> int:
    """The policy's answer for a number that it does not name."""
    unknown = POLICY.unknown
    return unknown.action.errno if unknown.newest < number <= unknown.until else DEAD


@pytest.mark.once
def test_every_number_without_a_name(record_property: RecordProperty) -> None:
    numbers = [n for n in (*range(1024), *BEYOND) if n not in NAMED]
    ended = filtered([(n, (0,) * 6) for n in numbers])
    wrong = {
        n: end
        for n, end in zip(numbers, ended, strict=True)
        if end != said_of(n) and end not in PAST_EVERY_FILTER.get(n, ())
    }
    assert wrong == {}
    record_property("sandbox: live call numbers", len(numbers))


@pytest.mark.once
def test_the_kernel_reads_32_bits_of_a_number_and_so_does_the_filter() -> None:
    above = 1 << 32
    ended = filtered([(above | number(call), (0,) * 6) for call in ("getpid", "execve")])
    assert ended == [0, DEAD]


@pytest.mark.once
@only_x86_64
def test_every_number_of_x32_kills(record_property: RecordProperty) -> None:
    ended = filtered([(X32 | n, (0,) * 6) for n in range(1024)])
    assert {n: end for n, end in enumerate(ended) if end != DEAD} == {}
    record_property("sandbox: live call numbers of x32", len(ended))


# --- there is a probe for everything ------------------------------------------------


OTHERS: Final = only_of_others(POLICY)


def parsed(text: str) -> Policy:
    return parse(text.encode()).bind(ELSEWHERE)


def test_every_call_and_every_condition_has_its_probes() -> None:
    assert unprobed(parsed(TEXT), APART, OTHERS) == set()


def test_a_rule_without_a_probe_is_noticed() -> None:
    more = '[[allow]]\ncalls = ["getppid"]\nargs.0 = [1]\nreason = "one more"\n'
    assert unprobed(parsed(TEXT + more), APART, OTHERS) == {"getppid", "getppid args.0"}


def test_a_condition_without_a_probe_is_noticed() -> None:
    end = 'calls = ["exit_group"]\n'
    assert TEXT.count(end) == 1
    policy = parsed(TEXT.replace(end, end + "args.0 = [0]\n"))
    assert unprobed(policy, APART, OTHERS) == {"exit_group args.0"}


def test_a_probe_without_a_rule_is_noticed() -> None:
    policy = parsed(TEXT)
    *others, last = policy.entries
    fewer = replace(policy, entries=tuple(others))
    assert unprobed(fewer, APART, OTHERS) == {f"{call} of no policy" for call in last.calls}
