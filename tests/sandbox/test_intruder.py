"""Code execution inside: every attack, in the running daemon, as raw calls and as Python.

An attack fails in one of two ways. Either its calls get exactly the policy's answer, and the
daemon goes on as if nothing had happened. Or the whole process ends at once.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from harness import child
from harness.daemon import Daemon
from harness.inject import intruding
from harness.tracee import Tracee, require_tracing, traced
from sandbox.attacks.attempts import files, site
from sandbox.attacks.catalogue import ATTACKS, Attack, Result, Targets, aimed, laid_out
from sandbox.attacks.layers import NOBODY, ROOT
from sandbox.inside import (
    POLICY,
    broken_into,
    descriptors,
    is_killed,
    policy_of,
    registers,
    said,
    serves,
)

from mailbell.syscalls.policy import ALLOW, KILL, Action, Policy

# The policy permits these, and a limit of resources stops them when they take too much.
STOPPED_BY_A_LIMIT: Final = {"exhaust memory": errno.ENOMEM}

# For any target: numbers alone decide in which of the two ways an attack fails.
NOWHERE: Final = Targets(
    readable="", secret="", writable="", own="", others="", folder="", program="",
    tcp4=("127.0.0.1", 0), tcp6=("::1", 0), udp4=("127.0.0.1", 0), udp6=("::1", 0),
    unix="", abstract="", victim=1, victim_memory=0, stranger=1,
    listener=3, datagrams=4, terminal=2,
)  # fmt: skip
SOMEWHERE: Final = 1 << 40


def answer(policy: Policy, attack: Attack) -> Action:
    """The policy's answer to the first call that it does not permit."""
    for call, made in zip(attack.calls, laid_out(attack, SOMEWHERE).calls, strict=True):
        args = [SOMEWHERE if isinstance(arg, Result) else arg for arg in made.args]
        if (action := policy.answer(call.name, registers(args))) != ALLOW:
            return action
    return ALLOW


SAID: Final = {
    attack.name: answer(
        POLICY.bind({"SELF": 2, "STATUS": 7, "WAKEUP": 12, "SHARED": range(6)}),
        aimed(attack, NOWHERE),
    )
    for attack in ATTACKS
}
DEADLY: Final = [attack for attack in ATTACKS if SAID[attack.name] == KILL]
REFUSED: Final = [attack for attack in ATTACKS if attack not in DEADLY]


@pytest.fixture(scope="module")
def targets() -> Iterator[Targets]:
    """Targets where the attacks succeed if nothing stops them."""
    with site() as place:
        yield replace(place.targets, **files(place.directory), terminal=2)


def aimed_from(daemon: Daemon, targets: Targets, *attacks: Attack) -> list[Attack]:
    """Attacks on the targets, and on the daemon's own sockets."""
    with intruding(daemon) as intruder:
        at = {kind: descriptor for descriptor, kind in descriptors(intruder).items()}
    everything = replace(targets, listener=at["tcp"], datagrams=at["udp"])
    return [aimed(attack, everything) for attack in attacks]


def as_raw_calls(daemon: Daemon, attack: Attack) -> object:
    """Make the calls up to the first that fails. Return the number of its error."""
    with intruding(daemon) as intruder:
        base = intruder.place(bytes(len(laid_out(attack, 0).memory)))
        layout = laid_out(attack, base)
        intruder.write(base, layout.memory)
        results: list[int] = []
        for call in layout.calls:
            args = [results[arg.of] if isinstance(arg, Result) else arg for arg in call.args]
            results.append(intruder.call(call.number, *args))
            if results[-1] < 0:
                break
    return -results[-1]


def as_python(daemon: Daemon, attack: Attack) -> object:
    """Execute the source. Return the number of the error that it raises."""
    raised = said(daemon, attack.python)
    return raised[1] if isinstance(raised, tuple) else raised


WAYS: Final = (as_raw_calls, as_python)
Way = Callable[[Daemon, Attack], object]
both_ways: Final = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@both_ways
@traced
def test_what_is_refused_gets_the_policys_very_answer(
    open_path: Path, targets: Targets, way: Way
) -> None:
    with broken_into(open_path) as daemon:
        policy, attacks = policy_of(daemon), aimed_from(daemon, targets, *REFUSED)
        results = {attack.name: way(daemon, attack) for attack in attacks}
        answers = {attack.name: answer(policy, attack).errno for attack in attacks}
        assert results == {**answers, **STOPPED_BY_A_LIMIT}
        serves(daemon)


@both_ways
@pytest.mark.parametrize("attack", DEADLY, ids=lambda attack: attack.name)
@traced
def test_what_kills_leaves_nothing(
    open_path: Path, targets: Targets, attack: Attack, way: Way
) -> None:
    with broken_into(open_path) as daemon:
        (aimed_attack,) = aimed_from(daemon, targets, attack)
        with is_killed(daemon):
            way(daemon, aimed_attack)


def test_every_attack_is_one_of_these(record_property: Callable[[str, object], None]) -> None:
    require_tracing()
    assert {name for name, action in SAID.items() if action == ALLOW} == set(STOPPED_BY_A_LIMIT)
    assert len(DEADLY) + len(REFUSED) == len(ATTACKS)
    record_property("sandbox: attacks inside", len(ATTACKS) * len(WAYS))


def test_a_process_of_the_same_user_does_not_get_inside(open_path: Path, targets: Targets) -> None:
    yama = Path("/proc/sys/kernel/yama/ptrace_scope")
    assert not attached(targets.victim).error or yama.read_text() != "0\n"
    with broken_into(open_path) as daemon:
        assert isinstance(attached(daemon.pid).error, PermissionError)
        serves(daemon)


def attached(pid: int) -> child.Ended:
    """The result when a process traces another process of the same user."""

    def inside() -> None:
        if ROOT:
            os.setgroups([])
            os.setresgid(NOBODY.gid, NOBODY.gid, NOBODY.gid)
            os.setresuid(NOBODY.uid, NOBODY.uid, NOBODY.uid)
        Tracee(pid)

    return child.run(inside)
