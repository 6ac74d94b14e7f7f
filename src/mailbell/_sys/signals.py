"""What each signal does to a program of ours that runs for long.

The default action of most signals ends a process at once, also of those that mean
nothing to it. Then nobody ends what it has started, and its log has no last line.
So there are four kinds:

- signals that end the program in order, with a line in its log: `ending`;
- signals that say that the program is broken, and SIGKILL and SIGSTOP: as the kernel has them;
- SIGTSTP and SIGCONT: as the kernel has them, because a person may stop a program that
  runs in a terminal (Ctrl-Z) and let it go on;
- all others: ignored.

Two numbers, 32 and 33, belong to the C library, which lets nobody change what they do.

Source: signal(7), "Standard signals".
"""

import os
import signal
from collections.abc import Iterable
from typing import Final, NoReturn

__all__ = ["end_as_others_do", "ending", "settle"]

# SIGQUIT is what Ctrl-\ sends. SIGXCPU says that the processor time of `ulimit -t` is
# spent; what goes on is killed. With SIGPWR, LXC tells the first process of a container to end.
_ENDING: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU, signal.SIGPWR,
)  # fmt: skip
# Sent to all that a terminal runs, also to what was started so that it outlives that:
# nohup(1), and a shell's `&` in a script, start a program with these ignored.
_OF_TERMINALS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_BROKEN: Final = (
    signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS,
    signal.SIGTRAP,
)  # fmt: skip
_JOB_CONTROL: Final = (signal.SIGTSTP, signal.SIGCONT)
_FORCED: Final = (signal.SIGKILL, signal.SIGSTOP)

_KEPT: Final = frozenset({*_ENDING, *_OF_TERMINALS, *_BROKEN, *_JOB_CONTROL, *_FORCED})


def settle(*, heard: Iterable[signal.Signals] = ()) -> None:
    """Receive every signal, and ignore those that mean nothing to the program.

    SIGCHLD is among these: then the kernel itself forgets a process that ends and that
    this one has adopted, as the first process of a container does.

    Args:
        heard: what the program has a handler for, or will have.
    """
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in signal.valid_signals() - _KEPT - set(heard):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def ending() -> tuple[signal.Signals, ...]:
    """Return the signals that end a program in order.

    Returns:
        Those, with SIGHUP; without what was ignored when the program was started, for
        then it is to outlive its terminal.
    """
    return tuple(
        number
        for number in (*_ENDING, signal.SIGHUP)
        if number not in _OF_TERMINALS or signal.getsignal(number) is not signal.SIG_IGN
    )


def end_as_others_do() -> None:
    """Let the first process of a container end on a signal before it has its own handlers.

    pid_namespaces(7): the kernel gives it only those signals that it has a handler for.
    Whoever stops the container would wait, lose patience and kill.
    """
    if os.getpid() != 1:
        return
    for number in ending():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, _: object) -> NoReturn:
    os._exit(128 + number)
