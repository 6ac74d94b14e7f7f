"""Probes made from a policy: for each call, permitted arguments and arguments one bit off.

`BASES` adds what a policy does not contain: arguments with which a permitted call does nothing
that blocks or matters. Descriptors are -1. Addresses lead to memory of our own or to nothing.
The arguments that a condition is about are replaced by its values.
"""

import ctypes
import mmap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from socket import SOCK_STREAM
from typing import Final

from mailbell.sandbox.policy_file import list_programs, read_policy
from mailbell.syscalls.policy import ARGUMENTS, KILL, Action, Condition, Entry, Policy

__all__ = ["BASES", "Probe", "only_of_others", "probes", "unprobed"]

NONE: Final = (1 << 64) - 1  # no descriptor
HERE: Final = NONE - 99  # AT_FDCWD, linux/fcntl.h
SIGSET_BYTES: Final = 8
EPOLL_CTL_DEL: Final = 2  # linux/eventpoll.h

_memory: Final = mmap.mmap(-1, 4 * mmap.PAGESIZE)
PAGE: Final = ctypes.addressof(ctypes.c_char.from_buffer(_memory))
BUFFER: Final = PAGE + mmap.PAGESIZE
# Given back to the system in the child that tries it. No other code uses it.
GIVEN_BACK: Final = PAGE + 2 * mmap.PAGESIZE
# Never written to: a time of zero, with which a call that waits returns at once.
NO_TIME: Final = PAGE + 3 * mmap.PAGESIZE
RW: Final = mmap.PROT_READ | mmap.PROT_WRITE

# With these the kernel itself gives another answer than a refusal by the filter.
BASES: Final[dict[str, tuple[int, ...]]] = {
    # the network
    "accept4": (NONE,),
    "connect": (NONE,),
    "getpeername": (NONE,),
    "getsockname": (NONE,),
    "getsockopt": (NONE, 0, 0, BUFFER, BUFFER),
    "recvfrom": (NONE, BUFFER, 8),
    "sendto": (NONE, BUFFER, 8),
    "setsockopt": (NONE, 0, 0, BUFFER, 4),
    "socket": (0, SOCK_STREAM),
    # the event loop
    "epoll_ctl": (NONE, EPOLL_CTL_DEL, NONE),
    "epoll_pwait": (NONE, BUFFER, 1, 0, 0, SIGSET_BYTES),
    "epoll_wait": (NONE, BUFFER, 1),
    "poll": (BUFFER,),
    "ppoll": (BUFFER, 0, NO_TIME, 0, SIGSET_BYTES),
    "restart_syscall": (),
    # descriptors
    "close": (NONE,),
    "fcntl": (NONE,),
    "ftruncate": (NONE,),
    "pread64": (NONE, BUFFER, 0),
    "pwrite64": (NONE, BUFFER, 0),
    "ioctl": (NONE, 0, 0),  # from nowhere: a process without the filter changes nothing
    "preadv2": (NONE, BUFFER, 0, 0, 0, 0),
    "read": (0, BUFFER),
    "write": (0, BUFFER),
    "writev": (0, BUFFER),
    # files
    "access": (),
    "creat": (),
    "faccessat": (HERE,),
    "faccessat2": (HERE,),
    "fstat": (NONE,),
    "getcwd": (BUFFER, mmap.PAGESIZE),
    "lstat": (),
    "newfstatat": (HERE,),
    "open": (),
    "openat": (HERE,),
    "openat2": (HERE,),
    "readlink": (0, BUFFER, 8),
    "readlinkat": (HERE, 0, BUFFER, 8),
    "stat": (),
    "statx": (HERE,),
    # memory
    "brk": (),
    "futex": (BUFFER,),
    "madvise": (PAGE, mmap.PAGESIZE),
    "mmap": (0, mmap.PAGESIZE, 0, 0, NONE),
    "mprotect": (PAGE, mmap.PAGESIZE, RW),
    "mremap": (PAGE, mmap.PAGESIZE, mmap.PAGESIZE),
    "munmap": (GIVEN_BACK, mmap.PAGESIZE),
    "prctl": (0, 0, PAGE, mmap.PAGESIZE),
    # signals
    "kill": (),
    "rt_sigaction": (0, 0, 0, SIGSET_BYTES),
    "rt_sigprocmask": (0, 0, 0, SIGSET_BYTES),
    "sigaltstack": (),
    "tgkill": (),
    # the rest
    "clock_gettime": (0, BUFFER),
    "clone3": (),
    "getpid": (),
    "getrandom": (BUFFER, 8),
    "gettid": (),
    "uname": (BUFFER,),
}


@dataclass(frozen=True, slots=True)
class Probe:
    """A call, and the answer that the policy's paragraph demands.

    Attributes:
        call: its name.
        args: all six arguments.
        answer: the answer it must get.
        other: the answer that the paragraph gives for other arguments.
        argument: the one that is not permitted; None: all are permitted.
    """

    call: str
    args: tuple[int, ...]
    answer: Action
    other: Action
    argument: int | None = None


def probes(policy: Policy) -> Iterator[Probe]:
    """Make the probes of a policy whose placeholders are all filled."""
    for entry in policy.entries:
        for call in entry.calls:
            if call in BASES:
                yield from _probes(entry, call)


def _probes(entry: Entry, call: str) -> Iterator[Probe]:
    for args in _permitted(_judged(entry), BASES[call]):
        held = Probe(call, args, entry.action, entry.otherwise)
        yield held
        for condition in _judged(entry):
            if condition.negated:
                yield from _excluded(held, condition)
            else:
                yield from _one_bit_off(held, entry, condition.argument)


def _judged(entry: Entry) -> list[Condition]:
    """Return one condition for each argument that the answer depends on."""
    own = {condition.argument for condition in entry.conditions}
    return [*entry.conditions, *(each for each in entry.within if each.argument not in own)]


def _permitted(conditions: Sequence[Condition], base: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield every combination of the values of the conditions."""
    padded = (*base, *(0,) * (ARGUMENTS - len(base)))
    named = [condition for condition in conditions if not condition.negated]
    for numbers in product(*(sorted(condition.numbers) for condition in named)):
        args = list(padded)
        for condition, number in zip(named, numbers, strict=True):
            args[condition.argument] = args[condition.argument] & ~condition.mask | number
        yield tuple(args)


def _one_bit_off(held: Probe, entry: Entry, at: int) -> Iterator[Probe]:
    """Yield each bit of an argument changed: where it counts, and where it must not count."""
    outer = _mask_of(entry.within, at)
    inner = _mask_of(entry.conditions, at)
    for bit in range(64):
        args = list(held.args)
        args[at] ^= 1 << bit
        if not (inner | outer) >> bit & 1:
            yield replace(held, args=tuple(args))
        elif not _hold(entry.within, args):
            yield Probe(held.call, tuple(args), KILL, held.answer, at)
        elif not _hold(entry.conditions, args):
            yield Probe(held.call, tuple(args), held.other, held.answer, at)


def _excluded(held: Probe, condition: Condition) -> Iterator[Probe]:
    """Yield each value that the argument must not have, which kills. The base has another one."""
    for number in sorted(condition.numbers):
        args = list(held.args)
        args[condition.argument] = number
        yield Probe(held.call, tuple(args), KILL, held.answer, condition.argument)


def _mask_of(conditions: Sequence[Condition], at: int) -> int:
    return next((each.mask for each in conditions if each.argument == at), 0)


def _hold(conditions: Sequence[Condition], args: Sequence[int]) -> bool:
    return all(each.holds(args) for each in conditions)


def only_of_others(policy: Policy) -> set[str]:
    """Return the calls that a policy does not name and that of another shipped program does."""
    others = map(read_policy, list_programs())
    named = {call for other in others for entry in other.entries for call in entry.calls}
    return named - {call for entry in policy.entries for call in entry.calls}


def unprobed(
    policy: Policy, apart: Collection[str], others: Collection[str] = frozenset()
) -> set[str]:
    """Compare a policy with the probes for it.

    Args:
        policy: the policy, all its placeholders filled.
        apart: calls that are tried in another way than by a probe.
        others: calls that have a probe because another program makes them.

    Returns:
        Calls and conditions of the policy without a probe, and calls in `BASES` that are not in
        the policy.
    """
    tried: set[tuple[str, int | None]] = {(p.call, p.argument) for p in probes(policy)}
    tried |= {(call, None) for call in apart}
    said: set[tuple[str, int | None]] = set()
    for entry in policy.entries:
        for call in entry.calls:
            said |= {(call, None), *((call, c.argument) for c in _judged(entry))}
    stale = {*BASES, *apart} - {call for call, _ in said} - {*others}
    return {_named(*what) for what in said - tried} | {f"{call} of no policy" for call in stale}


def _named(call: str, argument: int | None) -> str:
    return call if argument is None else f"{call} args.{argument}"
