"""What a process keeps of the things that it inherits."""

import ctypes
import errno
import fcntl
import os
import resource
import signal
import socket
from itertools import chain, combinations
from pathlib import Path

import pytest
from harness.child import run

from mailbell._sys import inheritance
from mailbell._sys._libc import prctl
from mailbell._sys.inheritance import close_inherited, reset_attributes
from mailbell.core.errors import InternalError, OperatingSystemError

SUBSETS = list(chain.from_iterable(combinations((0, 1), n) for n in range(3)))


def opened() -> dict[int, str]:
    """Return this process's descriptors, without the one that reads the list."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found


@pytest.mark.parametrize("missing", SUBSETS, ids=str)
def test_standard_input_and_output_lead_nowhere_and_nothing_else_is_kept(
    missing: tuple[int, ...],
) -> None:
    def body() -> dict[int, str]:
        extra = socket.socketpair()
        for descriptor in missing:
            os.close(descriptor)
        close_inherited({}, os.getpid())
        for end in extra:
            end.detach()
        return opened()

    ended = run(body)
    assert ended.error is None
    assert {n: ended.value[n] for n in (0, 1)} == {0: "/dev/null", 1: "/dev/null"}
    assert set(ended.value) == {0, 1, 2}


def test_a_missing_standard_error_is_filled_before_a_socket_can_take_its_number() -> None:
    def body() -> None:
        kept = os.dup(2)
        os.close(2)
        close_inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(kept - 2)}, os.getpid())
        taken = os.readlink("/proc/self/fd/2")
        os.dup2(kept, 2)  # the pipe to the test
        assert taken == "/dev/null", taken

    assert run(body).error is None


def test_what_was_opened_before_the_limit_was_lowered_is_not_kept() -> None:
    def body() -> set[int]:
        os.dup2(2, 200)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        close_inherited({}, os.getpid())
        return set(opened())

    assert run(body).value == {0, 1, 2}


@pytest.mark.parametrize(
    ("pid", "count", "kept"),
    [
        ("mine", "2", {3, 4}),
        ("1", "2", set()),
        ("mine", "many", set()),
        ("mine", "-1", set()),
        ("mine", "9" * 5000, set()),
    ],
)
def test_what_a_service_manager_passes_is_kept(pid: str, count: str, kept: set[int]) -> None:
    def body() -> set[int]:
        ends = socket.socketpair(), socket.socketpair()
        copies = [os.dup(end.fileno()) for pair in ends for end in pair]
        high = [os.dup2(copy, 200 + place) for place, copy in enumerate(copies)]
        for place, copy in enumerate(high):
            os.dup2(copy, 3 + place)
        own = str(os.getpid()) if pid == "mine" else pid
        close_inherited({"LISTEN_PID": own, "LISTEN_FDS": count}, os.getpid())
        for pair in ends:
            for end in pair:
                end.detach()
        return set(opened()) - {0, 1, 2}

    assert run(body).value == kept


def test_no_signal_comes_at_the_death_of_the_parent() -> None:
    def body() -> int:
        prctl(inheritance.PR_SET_PDEATHSIG, signal.SIGKILL)
        reset_attributes()
        found = ctypes.c_int(-1)
        prctl(inheritance.PR_GET_PDEATHSIG, ctypes.addressof(found))
        return found.value

    assert run(body).value == 0


@pytest.mark.parametrize("owner", ["itself", "its group", "the group of another process"])
def test_no_signal_comes_when_a_descriptor_is_ready(owner: str) -> None:
    def body() -> tuple[int, int]:
        if owner == "the group of another process":
            leader = os.fork()
            if not leader:
                signal.pause()
            os.setpgid(leader, leader)
            os.setpgid(0, leader)
        else:
            os.setpgrp()
        ours, theirs = socket.socketpair()
        fcntl.fcntl(ours, fcntl.F_SETOWN, os.getpid() if owner == "itself" else -os.getpgrp())
        fcntl.fcntl(ours, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC)
        fcntl.fcntl(theirs, fcntl.F_SETOWN, os.getppid())
        reset_attributes()
        theirs.send(b".")
        if owner == "the group of another process":
            os.kill(leader, signal.SIGKILL)
        return fcntl.fcntl(ours, fcntl.F_GETOWN), fcntl.fcntl(theirs, fcntl.F_GETOWN)

    ended = run(body)
    assert ended.signal is None
    assert ended.value == (0, 0)  # another process may share a group with it later


@pytest.mark.parametrize(("before", "after"), [(60 * 10**9, 50_000_000), (10**6, 10**6)])
def test_deadlines_are_not_made_late(before: int, after: int) -> None:
    def body() -> str:
        prctl(inheritance.PR_SET_TIMERSLACK, before)
        reset_attributes()
        return Path("/proc/self/timerslack_ns").read_text()

    assert int(run(body).value) == after


def test_a_real_time_class_that_stays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(inheritance, "own_stat", lambda: {41: os.SCHED_FIFO})
    with pytest.raises(InternalError, match="still in a real-time class"):
        run_here(monkeypatch, lambda *_: None)
    with pytest.raises(OperatingSystemError, match="remove CPUSchedulingPolicy="):
        run_here(monkeypatch, refuse)


def run_here(monkeypatch: pytest.MonkeyPatch, setter: object) -> None:
    """Only the class of the scheduler: the rest would change the process of the tests."""
    monkeypatch.setattr(os, "sched_setscheduler", setter)
    inheritance._leave_real_time()
