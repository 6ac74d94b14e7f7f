"""Code execution inside: attempts to get round the filter, all of which fail.

Other entries to the kernel, arguments that the filter might read differently from the kernel,
another filter in addition, memory that becomes code.
"""

import platform
import signal
import socket
import struct
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import PATIENCE, Daemon
from harness.inject import Gone, Intruder, intruding
from harness.registers import HERE
from harness.tracee import mappings, traced
from sandbox.attacks.aim import number
from sandbox.frames import FRAMES
from sandbox.inside import (
    broken_into,
    descriptor_of,
    ends,
    errors,
    is_killed,
    policy_of,
    registers,
    serves,
)

from mailbell.syscalls.policy import ALLOW

only_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="of x86-64 only")

X32: Final = 0x40000000
INT_80: Final = bytes.fromhex("cd80")
I386_GETPID: Final = 20
# asm/vsyscall.h: gettimeofday, time and getcpu as they were called long ago.
VSYSCALLS: Final = (0xFFFFFFFFFF600000, 0xFFFFFFFFFF600400, 0xFFFFFFFFFF600800)

HIGH: Final = 1 << 32  # in the half of a register that the kernel does not see of an int
PAGE: Final = 4096
R, W, X = 1, 2, 4
ANONYMOUS, SHARED, FIXED, HUGE = 0x22, 0x21, 0x10, 0x40000
INET, PACKET, STREAM = int(socket.AF_INET), int(socket.AF_PACKET), int(socket.SOCK_STREAM)
SOL_SOCKET, SO_DETACH_FILTER = int(socket.SOL_SOCKET), 27
FIONBIO, TIOCSTI = 0x5421, 0x5412
MREMAP_MAYMOVE: Final = 1
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 22, 38, 65
PR_SET_VMA, PR_SET_VMA_ANON_NAME = 0x53564D41, 0
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER = 1, 8

HIGH_HALVES: Final[dict[str, tuple[int | bytes, ...]]] = {
    "write": (HIGH | 2, b"x\n", 2),
    "mmap": (0, PAGE, (X << 32) | R | W, ANONYMOUS, -1, 0),
    "socket": (HIGH | INET, STREAM, 0),
    "setsockopt": (3, HIGH | SOL_SOCKET, HIGH | SO_DETACH_FILTER, bytes(4), 4),
    "mprotect": (0, PAGE, (X << 32) | R | W),
}
DEADLY: Final[dict[str, tuple[str, tuple[int | bytes, ...]]]] = {
    # arguments that use the high half
    "the log made non-blocking": ("ioctl", (2, HIGH | FIONBIO, bytes(4))),
    "write to another descriptor": ("write", (HIGH | 1, b"x", 1)),
    "raw packets": ("socket", (HIGH | PACKET, 3, 0)),
    "no close-on-exec": ("accept4", (3, 0, 0, HIGH)),
    "an address above 4 GiB": ("sendto", (4, b"x", 1, 0, HIGH, 0)),
    "a length above 4 GiB": ("sendto", (4, b"x", 1, 0, 0, HIGH)),
    "memory in the place of other memory": ("mmap", (HIGH, PAGE, R | W, ANONYMOUS | FIXED, -1, 0)),
    "executable memory at an address": ("mmap", (HIGH, PAGE, R | X, ANONYMOUS, -1, 0)),
    "memory of others at an address": ("mmap", (HIGH, PAGE, R | W, SHARED, -1, 0)),
    "executable memory": ("mmap", (0, PAGE, HIGH | R | X, ANONYMOUS, -1, 0)),
    "memory that becomes executable": ("mprotect", (0, PAGE, HIGH | R | X)),
    "a signal to the group": ("kill", (HIGH, 0)),
    "a signal to everybody": ("kill", (-1, int(signal.SIGINT))),
    "a mask of signals": ("epoll_pwait", (3, bytes(16), 1, 0, HIGH, 8)),
    # another filter, and settings made before the lock
    "a filter by prctl": ("prctl", (PR_SET_SECCOMP, 2, bytes(16), 0, 0)),
    "a filter by seccomp": ("seccomp", (SECCOMP_SET_MODE_FILTER, 0, bytes(16))),
    "a filter that asks us": (
        "seccomp",
        (SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, bytes(16)),
    ),
    "new privileges": ("prctl", (PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)),
    "writable and executable": ("prctl", (PR_SET_MDWE, 0, 0, 0, 0)),
    # to get a descriptor, or to pass one on
    "a message with descriptors": ("recvmsg", (3, bytes(56), 0)),
    "descriptors in a message": ("sendmsg", (6, bytes(56), 0)),
    # work that the kernel itself would do
    "a call that is restarted": ("restart_syscall", ()),
}


@only_x86_64
@traced
def test_the_door_of_32_bit_programs_kills(open_path: Path) -> None:
    with broken_into(open_path) as daemon:
        with pytest.raises(Gone), intruding(daemon) as intruder:
            # Two bytes in the middle of other instructions are an instruction too.
            intruder.step(next=code(daemon, intruder, INT_80), number=I386_GETPID)
        ended = daemon.process.wait(PATIENCE)
    if ended == -signal.SIGSEGV:
        pytest.skip("this kernel makes no 32-bit calls")
    assert ended == -signal.SIGSYS


def code(daemon: Daemon, intruder: Intruder, wanted: bytes = b"") -> int:
    """The address of some bytes in executable memory."""
    for mapping in mappings(daemon.pid):
        if mapping.rights == "r-xp" and mapping.path.startswith("/"):
            at = intruder.read(mapping.start, mapping.end - mapping.start).find(wanted)
            if at >= 0:
                return mapping.start + at
    raise LookupError(wanted)


@only_x86_64
@pytest.mark.parametrize("call", ["getpid", "execve"])
@traced
def test_the_numbers_of_x32_kill(open_path: Path, call: str) -> None:
    with (
        broken_into(open_path) as daemon,
        ends(daemon, -signal.SIGSYS),
        intruding(daemon) as intruder,
    ):
        intruder.call(X32 | number(call), 2)


@only_x86_64
@pytest.mark.parametrize("address", VSYSCALLS, ids=["gettimeofday", "time", "getcpu"])
@traced
def test_calls_at_fixed_addresses_kill(open_path: Path, address: int) -> None:
    with broken_into(open_path) as daemon:
        there = any(mapping.path == "[vsyscall]" for mapping in mappings(daemon.pid))
        killer = signal.SIGSYS if there else signal.SIGSEGV
        with ends(daemon, -killer), intruding(daemon) as intruder:
            intruder.step(next=address)


@traced
def test_a_forged_return_from_a_signal_makes_no_new_call(open_path: Path) -> None:
    """It sets all registers, with the instruction pointer, and does no more."""
    back = number("rt_sigreturn")
    with broken_into(open_path) as daemon, is_killed(daemon), intruding(daemon) as intruder:
        frame = forged(intruder, number("getpid"))
        intruder.step(next=intruder.door, number=back, stack=frame)
        assert intruder.next_step().result == daemon.pid
        frame = forged(intruder, number("execve"))
        there = intruder.step(next=intruder.door, number=back, stack=frame)
        assert (there.next, there.number) == (intruder.door, number("execve"))
        intruder.next_step()


def forged(intruder: Intruder, call: int) -> int:
    """Place what rt_sigreturn(2) reads: a frame of a thread that is about to make a call."""
    stack = intruder.place(bytes(PAGE)) + PAGE // 2
    return intruder.place(FRAMES[platform.machine()](call, stack, intruder.door))


@traced
def test_what_the_kernel_does_not_see_of_an_argument_changes_nothing(open_path: Path) -> None:
    with broken_into(open_path) as daemon:
        policy = policy_of(daemon)
        with intruding(daemon) as intruder:
            for name, arguments in HIGH_HALVES.items():
                passed = [a if isinstance(a, int) else intruder.place(a) for a in arguments]
                action = policy.answer(name, registers(passed))
                result = intruder.call(number(name), *passed)
                assert result >= 0 if action == ALLOW else -result == action.errno, name
        assert both(daemon.pid) == []
        serves(daemon)


@traced
def test_memory_of_no_other_kind_is_had_by_asking_as_an_allocator_does(open_path: Path) -> None:
    """At a chosen address, also one that needs the upper half; and with huge pages."""
    with broken_into(open_path) as daemon:
        before = {(each.start, each.end) for each in mappings(daemon.pid)}
        with intruding(daemon) as intruder:
            own = {(each.start, each.end) for each in mappings(daemon.pid)} - before
            for address in (HIGH, HIGH | 7 * PAGE, 1 << 46):
                for rights in (0, R, W, R | W):
                    asked = (address, PAGE, rights, ANONYMOUS, -1, 0)
                    assert errors(intruder.call(number("mmap"), *asked)) == "ENOMEM"
            for size in (0, 21 << 26, 30 << 26):
                asked = (0, PAGE, R | W, ANONYMOUS | HUGE | size, -1, 0)
                assert errors(intruder.call(number("mmap"), *asked)) == "ENOMEM"
            assert {(each.start, each.end) for each in mappings(daemon.pid)} == before | own
            named = (PR_SET_VMA, PR_SET_VMA_ANON_NAME, intruder.place(b""), PAGE, b"of malloc")
            assert errors(intruder.call(number("prctl"), *named)) == "EPERM"
        serves(daemon)


@pytest.mark.parametrize("case", DEADLY)
@traced
def test_these_arguments_kill(open_path: Path, case: str) -> None:
    call, arguments = DEADLY[case]
    with broken_into(open_path) as daemon, is_killed(daemon), intruding(daemon) as intruder:
        intruder.call(number(call), *arguments)


def both(pid: int) -> list[str]:
    """Return the memory that is writable and executable."""
    return [each.path for each in mappings(pid) if "w" in each.rights and "x" in each.rights]


@traced
def test_code_is_never_written(open_path: Path) -> None:
    with broken_into(open_path) as daemon:
        policy = policy_of(daemon)
        with intruding(daemon) as intruder:
            target = code(daemon, intruder) & -PAGE
            listener, length = descriptor_of(intruder, "tcp"), struct.pack("<I", 16)
            written = intruder.call(number("getsockname"), listener, target, length)
            assert errors(written) == "EFAULT"
            for name, arguments in {
                "mprotect": (target, PAGE, R | W),
                "mremap": (target, PAGE, 2 * PAGE, MREMAP_MAYMOVE),
                "madvise": (target, PAGE, 4),
            }.items():
                action = policy.answer(name, registers(arguments))
                assert -intruder.call(number(name), *arguments) == action.errno != 0, name
        assert both(daemon.pid) == []
        serves(daemon)


@traced
def test_what_is_written_is_never_code(open_path: Path) -> None:
    with (
        broken_into(open_path) as daemon,
        ends(daemon, -signal.SIGSEGV),
        intruding(daemon) as intruder,
    ):
        instruction = intruder.read(intruder.door, len(HERE.instruction))
        assert instruction == HERE.instruction
        intruder.step(next=intruder.place(instruction), number=number("getpid"))
