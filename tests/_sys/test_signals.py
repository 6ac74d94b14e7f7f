"""What signals do to a small process. tests/system shows what they do to the programs."""

import os
import signal

import pytest
from harness.child import run

from mailbell._sys.signals import ending_signals, prepare_signals

OTHERS = {signal.SIGKILL, signal.SIGSTOP}


def test_blocked_signals_and_an_alarm_are_not_inherited() -> None:
    def body() -> tuple[set[int], float]:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - OTHERS)
        signal.setitimer(signal.ITIMER_REAL, 1000)
        prepare_signals()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, set())
        return {int(number) for number in blocked}, signal.getitimer(signal.ITIMER_REAL)[0]

    assert run(body).value == (set(), 0.0)


def test_what_a_program_hears_is_left_to_it() -> None:
    def body() -> list[bool]:
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
