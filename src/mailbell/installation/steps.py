"""The steps of an installation: each is told, done once, and undone if a later one fails."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, Protocol

from mailbell._sys.signals import replace_handlers
from mailbell.core.errors import MailbellError, OperatingSystemError

__all__ = ["Say", "Step", "carry_out", "ended_by_signals"]

Say = Callable[[str], None]
"""Takes a line that tells the person of a step."""

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Step(Protocol):
    """One thing that the machine must have."""

    @property
    def what(self) -> str:
        """What is done, as in `write PATH`; "": nothing that a person must know."""
        ...

    @property
    def there(self) -> str:
        """What is said if nothing must be done."""
        ...

    def check(self) -> None:
        """Refuse what stands in the way, before anything is changed.

        Raises:
            MailbellError: the reason, with a remedy.
            OSError: the system does not let this process look.
        """
        ...

    def is_done(self) -> bool:
        """Tell whether the machine has it already."""
        ...

    def do(self) -> None:
        """Do it.

        Raises:
            MailbellError: it failed. `undo` is called.
            OSError: the same.
        """
        ...

    def undo(self) -> None:
        """Put back what was before, also if `do` has failed on its way.

        Raises:
            MailbellError: it cannot be put back.
            OSError: the same.
        """
        ...


def carry_out(steps: Sequence[Step], say: Say, *, dry: bool) -> bool:
    """Carry out steps in their order, all or none.

    Args:
        steps: the steps.
        say: called with each step, before it is done.
        dry: whether to tell the steps only.

    Returns:
        Whether there was something to do.

    Raises:
        MailbellError: a step failed, or would fail. Those before it are undone; what could not
            be undone is named.
        OSError: the same.
    """
    for step in steps:
        step.check()
    begun: list[Step] = []
    try:
        for step in steps:
            if step.is_done():
                _tell(step.there, say)
                continue
            _tell(step.what, say)
            begun.append(step)
            if not dry:
                step.do()
    except BaseException as error:
        with _signals_ignored():
            left = [] if dry else _undo(begun, say)
        if left:
            what = f"{error}; and not all of it could be undone: {'; '.join(left)}"
            raise OperatingSystemError(what, "mailbell uninstall") from error
        raise
    return any(step.what for step in begun)


def _tell(line: str, say: Say) -> None:
    if line:
        say(line)


def _undo(begun: list[Step], say: Say) -> list[str]:
    """Undo steps, the last one first; return what could not be undone."""
    left = []
    if any(step.what for step in begun):
        with suppress(OSError):  # the terminal is gone
            say("a step failed: what was done is undone")
    for step in reversed(begun):
        try:
            step.undo()
        except (MailbellError, OSError) as error:
            left.append(str(error))
    return left


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that its steps are undone."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup(1)
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        replace_handlers(before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Let nothing but SIGKILL interrupt the block."""
    before = {number: signal.getsignal(number) for number in _ENDING}
    replace_handlers(dict.fromkeys(_ENDING, signal.SIG_IGN))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
