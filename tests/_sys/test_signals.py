"""What signals do to a small process. tests/system shows what they do to the programs."""

import os
import signal
import sys
from typing import Any

import pytest
from harness.child import run

from mailbell._sys.signals import (
    children_are_waited_for,
    ending_signals,
    prepare_signals,
    replace_handlers,
)

OTHERS = {signal.SIGKILL, signal.SIGSTOP}


def test_blocked_signals_are_not_inherited() -> None:
    def body() -> set[int]:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - OTHERS)
        prepare_signals()
        return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, set())}

    assert run(body).value == set()


@pytest.mark.parametrize("timer", [signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF])
def test_a_timer_is_not_inherited(timer: int) -> None:
    def body() -> tuple[float, float]:
        signal.setitimer(timer, 1000, 1000)
        prepare_signals()
        return signal.getitimer(timer)

    assert run(body).value == (0.0, 0.0)


def test_what_says_that_a_program_is_broken_is_not_ignored() -> None:
    def body() -> None:
        signal.signal(signal.SIGABRT, signal.SIG_IGN)
        prepare_signals()
        os.kill(os.getpid(), signal.SIGABRT)

    assert run(body).signal is signal.SIGABRT


def test_what_a_program_hears_is_left_to_it() -> None:
    def body() -> list[bool]:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever started it has ignored it
        prepare_signals(handled=[signal.SIGCHLD])
        return [
            signal.getsignal(number) is signal.SIG_IGN
            for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGRTMAX)
        ]

    assert run(body).value == [False, True, True]


def test_a_child_that_nobody_waits_for_leaves_nothing() -> None:
    """Like a process that the first process of a container adopts."""

    def body() -> bool:
        prepare_signals()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        with pytest.raises(ChildProcessError):  # once it has ended
            os.waitpid(pid, 0)
        return True

    assert run(body).value is True


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_what_was_started_to_outlive_its_terminal_does(number: signal.Signals) -> None:
    """As nohup(1) starts a program, and a script with `&`."""

    def body() -> tuple[bool, bool]:
        signal.signal(number, signal.SIG_DFL)
        before = number in ending_signals()
        signal.signal(number, signal.SIG_IGN)
        prepare_signals()
        return before, number in ending_signals()

    assert run(body).value == (True, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGXCPU, signal.SIGPWR])
def test_others_end_it_however_it_was_started(number: signal.Signals) -> None:
    def body() -> bool:
        signal.signal(number, signal.SIG_IGN)
        prepare_signals()
        return number in ending_signals()

    assert run(body).value is True


def test_a_child_can_be_waited_for_although_children_are_ignored() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with children_are_waited_for():
            pid = os.fork()
            if not pid:
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_signal_that_comes_while_its_handler_is_replaced_is_no_error() -> None:
    def body() -> tuple[list[str], bool]:
        reported: list[str] = []
        sys.unraisablehook = report = lambda what: reported.append(str(what.exc_value))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the first one may come at once
        mine = os.getpid()
        sender = os.fork()
        if sender == 0:
            while os.getppid() == mine:
                os.kill(mine, signal.SIGHUP)
            os._exit(0)
        for _ in range(1000):
            signal.signal(signal.SIGHUP, lambda *_: None)
            replace_handlers({signal.SIGHUP: signal.SIG_IGN})
        os.kill(sender, signal.SIGKILL)
        return reported, sys.unraisablehook is report

    assert run(body).value == ([], True)


def test_other_errors_are_reported_while_a_handler_is_replaced() -> None:
    class Broken:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def __del__(self) -> None:
            raise self.error

    class Handlers(dict[int, signal.Handlers]):
        def items(self) -> Any:
            Broken(OSError("broken"))
            Broken(ValueError("a race condition of its own"))
            return super().items()

    def body() -> list[str]:
        reported: list[str] = []
        sys.unraisablehook = lambda what: reported.append(str(what.exc_value))
        replace_handlers(Handlers({signal.SIGHUP: signal.SIG_IGN}))
        return sorted(set(reported))

    assert run(body).value == ["a race condition of its own", "broken"]
