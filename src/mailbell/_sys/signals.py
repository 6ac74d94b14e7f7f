"""Decides what each signal does to our long-running programs.

The default action of most signals ends a process at once, even if the signal means nothing
to the program. Then the processes that it started live on, and its log has no last line.
So there are four kinds of signals:

- signals that end the program in order, with a line in its log: `ending_signals`;
- signals that say that the program is broken, and SIGKILL and SIGSTOP: they keep the
  kernel's default action;
- SIGTSTP and SIGCONT: they keep it too, because a person may stop a program in a terminal
  (Ctrl-Z) and continue it;
- all others: ignored.

The signals 32 and 33 belong to the C library. A program cannot change their action.

Source: signal(7), "Standard signals".
"""

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeVar

__all__ = [
    "children_are_waited_for",
    "end_as_first_process",
    "ending_signals",
    "prepare_signals",
    "replace_handlers",
]

# Ctrl-\ sends SIGQUIT. The kernel sends SIGXCPU when the processor time of `ulimit -t` is
# used up, and later kills a process that goes on. LXC sends SIGPWR to the first process of a
# container to end it.
_ENDING: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU, signal.SIGPWR,
)  # fmt: skip
# The kernel sends these to every process of a terminal. A program that must outlive its
# terminal is started with some of them ignored: by nohup(1), or by `&` in a shell script.
_OF_TERMINALS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_BROKEN: Final = (
    signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS,
    signal.SIGTRAP,
)  # fmt: skip
_JOB_CONTROL: Final = (signal.SIGTSTP, signal.SIGCONT)
_FORCED: Final = (signal.SIGKILL, signal.SIGSTOP)

_Number = TypeVar("_Number", bound=int)

_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

_KEPT: Final = frozenset({*_ENDING, *_OF_TERMINALS, *_BROKEN, *_JOB_CONTROL, *_FORCED})


def prepare_signals(*, handled: Iterable[signal.Signals] = ()) -> None:
    """Stop every timer, unblock every signal, and ignore those that mean nothing to the program.

    execve(2) keeps timers, blocked and pending signals, and which signals are ignored. A
    pending signal takes effect now, before the program is ready, or is discarded.

    Unless the program handles SIGCHLD it is ignored too. Then the kernel leaves no zombie of a
    process that this one has adopted, as the first process of a container does.

    Args:
        handled: the signals that the program handles, now or later.
    """
    for timer in _TIMERS:
        signal.setitimer(timer, 0)
    handled = set(handled)
    for number in signal.valid_signals() - _KEPT - handled:
        signal.signal(number, signal.SIG_IGN)
    for number in handled:
        # SIGCHLD: while it is ignored, the kernel keeps no status of a child.
        if number not in _OF_TERMINALS and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    for number in _BROKEN:
        # Otherwise a broken program could go on: abort(3) first raises SIGABRT.
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a program in order.

    Returns:
        The signals, SIGHUP among them. A signal of terminals that was ignored when the
        program started is left out: then the program must outlive its terminal.
    """
    return tuple(
        number
        for number in (*_ENDING, signal.SIGHUP)
        if number not in _OF_TERMINALS or signal.getsignal(number) is not signal.SIG_IGN
    )


def replace_handlers(handlers: Mapping[_Number, Any]) -> None:
    """Replace handlers that are in use; a signal that comes meanwhile is handled or ignored.

    CPython notes a signal and calls its handler later. If there is no handler any more by then,
    it writes "Signal 15 ignored due to race condition" and a traceback to standard error. Here
    that is no error.

    Args:
        handlers: the new handler of each signal, as for `signal.signal`.
    """
    report = sys.unraisablehook

    def report_others(what: "sys.UnraisableHookArgs") -> None:
        if not (isinstance(what.exc_value, OSError) and "race condition" in str(what.exc_value)):
            report(what)

    sys.unraisablehook = report_others
    try:
        # The second call first handles what came during the first one.
        for number, handler in (*handlers.items(), *handlers.items()):
            signal.signal(number, handler)
    finally:
        sys.unraisablehook = report


@contextmanager
def children_are_waited_for() -> Iterator[None]:
    """Let this process learn how its children end, in the block.

    While SIGCHLD is ignored the kernel keeps no status of a child (wait(2), "Notes").
    """
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def end_as_first_process() -> None:
    """Make the first process of a container end on a signal before it has its own handlers.

    pid_namespaces(7): the kernel delivers to this process only signals that it has a handler
    for. Without this, a command that stops the container would wait for its time limit and
    then kill the process.
    """
    if os.getpid() != 1:
        return
    for number in ending_signals():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, _: object) -> NoReturn:
    os._exit(128 + number)
