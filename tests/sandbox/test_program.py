"""The compiled program does what `policy/*.toml` says: every call number, around every condition.

Three answers are compared for each input: that of the program, that of `Policy.answer`, and that
of a second reading of the text, which shares nothing with the product
(`sandbox.program.reading`). A running daemon shows that this program is the one in force.
"""

import os
import struct
from pathlib import Path
from typing import Final

import pytest
from harness.bpf import run
from harness.daemon import ring, started, until
from harness.libseccomp import libseccomp
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox.program.cases import (
    LOW,
    NUMBERS,
    X32,
    ZEROES,
    Args,
    arguments,
    near,
    noise,
    permitted,
)
from sandbox.program.decisions import Decisions
from sandbox.program.reading import Numbers
from sandbox.program.running import filters_of
from sandbox.program.subject import (
    AARCH64,
    NATIVE,
    X86_64,
    Publish,
    Subject,
    Tally,
    can_emulate,
    cross_compiled,
    decoded,
    emulated,
    native,
    native_with,
    returned,
)

from mailbell.syscalls.policy import ALLOW

STDERR = 2
FIONBIO = 0x5421  # asm-generic/ioctls.h
POINTER = 0x7FFF_0123_4567  # to an instruction; it has no effect


# What aarch64 compiles itself has every rule of what is compiled for it here, and more.
FOREIGN: Final = emulated if can_emulate() else cross_compiled


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(native, id="native"),
        pytest.param(FOREIGN, id="aarch64", marks=pytest.mark.long),
    ],
)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    made: Subject = request.param(tmp_path_factory.mktemp("headers"))
    return made


def test_every_call_number(subject: Subject, record_property: Publish) -> None:
    """Also with arguments with which another call is permitted."""
    tally = Tally(subject)
    tempting = {args for one in subject.reading.paragraphs.values() for args in permitted(one)}
    for number in NUMBERS:
        for args in (*tempting, ZEROES, noise(number)):
            tally.add(number, args)
    tally.publish(record_property)


def test_every_foreign_architecture(subject: Subject, record_property: Publish) -> None:
    tally = Tally(subject)
    named = subject.reading.architectures.values()
    garbage = (0, 0xFFFFFFFF, *(subject.architecture ^ 1 << bit for bit in range(32)))
    for architecture in {*named, *garbage} - {subject.architecture}:
        for number in range(1024):
            tally.add_foreign(architecture, number, ZEROES)
            tally.add_foreign(architecture, X32 | number, noise(number))
        for number, one in subject.reading.paragraphs.items():
            for args in permitted(one):
                tally.add_foreign(architecture, number, args)
    tally.publish(record_property)


@pytest.mark.long
def test_around_every_condition(subject: Subject, record_property: Publish) -> None:
    tally = Tally(subject)
    add_around_every_condition(tally)
    tally.publish(record_property)


def add_around_every_condition(tally: Tally) -> None:
    for number, one in tally.subject.reading.paragraphs.items():
        for args in arguments(one):
            tally.add(number, args)


def test_whatever_else_there_is(subject: Subject, record_property: Publish) -> None:
    tally = Tally(subject)
    paragraphs = subject.reading.paragraphs.items()
    named = [(number, args) for number, one in paragraphs for args in permitted(one)]
    registers = st.integers(0, (1 << 64) - 1)
    flips = st.dictionaries(st.integers(0, 5), registers, max_size=3)

    @settings(deadline=None)  # how fast it is depends on who else is on the machine
    @given(st.lists(st.tuples(st.sampled_from(named), flips), min_size=10), st.integers(0, LOW))
    def add(made: list[tuple[tuple[int, Args], dict[int, int]]], other: int) -> None:
        for (number, args), flipped in made:
            changed = tuple(arg ^ flipped.get(at, 0) for at, arg in enumerate(args))
            tally.add(number, changed)
            tally.add(other, changed)
        assert not tally.mismatches, tally.examples

    add()
    tally.publish(record_property)


@pytest.mark.long
def test_an_evaluator_that_takes_the_program_as_it_stands_agrees(subject: Subject) -> None:
    """The tree of decisions is a translation and might be wrong."""
    program, decisions = subject.program, Decisions(subject.program)

    def agree(number: int, args: Args, architecture: int = subject.architecture) -> None:
        packed = struct.pack("<2IQ6Q", number & LOW, architecture, POINTER, *args)
        said = decisions.judge(architecture, number).answer(args)
        assert said == run(program, packed, byteorder="little"), (architecture, number, args)

    for number in NUMBERS:
        agree(number, noise(number))
    for number, one in subject.reading.paragraphs.items():
        for args in near(one):
            agree(number, args)
    for architecture in subject.reading.architectures.values():
        agree(0, ZEROES, architecture)


def test_the_kernels_headers_and_libseccomp_number_calls_alike(subject: Subject) -> None:
    """A call that an architecture lacks has no number in either, so it means no other call."""
    numbers = {
        name: libseccomp.resolve_syscall(subject.architecture, name)
        for entry in subject.policy.entries
        for name in entry.calls
    }
    assert subject.reading.calls == {n: name for name, n in numbers.items() if n >= 0}
    assert subject.reading.lacking == {name for name, n in numbers.items() if n < 0}


def test_every_architecture_of_the_headers_is_tried(subject: Subject) -> None:
    named = subject.reading.architectures
    assert (named["AUDIT_ARCH_X86_64"], named["AUDIT_ARCH_AARCH64"]) == (X86_64, AARCH64)
    assert {"AUDIT_ARCH_I386", "AUDIT_ARCH_ARM", "AUDIT_ARCH_S390X"} <= named.keys()


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="the kernel shows a filter in force to root only")
def test_the_program_in_force_is_the_one_evaluated(
    tmp_path: Path, record_property: Publish
) -> None:
    with started(tmp_path) as daemon:
        (code,) = filters_of(daemon.pid)
        status, wakeup, shared = descriptors_judged_by(code)
        assert os.readlink(f"/proc/{daemon.pid}/fd/{wakeup}").startswith("socket:")
        ring(daemon.endpoint())  # being looked at has not changed it
        until(lambda: daemon.counted() == {"accepted": 1})
        assert all(os.path.exists(f"/proc/{daemon.pid}/fd/{each}") for each in shared)
        assert len(shared) == 3 + 3  # the standard streams, TCP of both families, local
    placeholders: dict[str, Numbers] = {
        "SELF": daemon.pid, "STATUS": status, "WAKEUP": wakeup, "SHARED": shared,
    }  # fmt: skip
    subject = native_with(placeholders, tmp_path)
    assert subject.code == code
    tally = Tally(subject)
    add_around_every_condition(tally)
    tally.publish(record_property)


def descriptors_judged_by(code: bytes) -> tuple[int, int, tuple[int, ...]]:
    """What a filter lets its process read, write to beside standard error, and not change."""
    decisions = Decisions(decoded(code))

    def permitted_to(call: str, *more: int) -> set[int]:
        judge = decisions.judge(NATIVE, libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, call))
        rest = (*more, *ZEROES)[: len(ZEROES) - 1]
        return {fd for fd in range(4096) if judge.answer((fd, *rest)) == returned(ALLOW)}

    (status,) = permitted_to("read")
    (wakeup,) = permitted_to("write") - {STDERR}
    shared = set(range(4096)) - permitted_to("ioctl", FIONBIO)
    return status, wakeup, tuple(sorted(shared))
