r"""A terminal that a command has to itself for a while, and gives back on every way out.

The person may leave with q, stop the command with Ctrl-Z and take it up again, or end it
with Ctrl-C, Ctrl-\ or a signal; the terminal may be closed. Whatever it is, the screen, the
cursor and the keyboard are afterwards as they were before.
"""

import contextlib
import errno
import os
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Final, Self

__all__ = ["Screen"]

# xterm's control sequences: the alternate screen, the cursor, the upper left corner.
_TAKE: Final = b"\x1b[?1049h\x1b[?25l"
_GIVE: Final = b"\x1b[?25h\x1b[?1049l"
_HOME: Final = b"\x1b[H"

# Signals that end a process unless it does something about them. What cannot be caught
# (SIGKILL), or is the program's own fault (SIGSEGV), is not here; SIGINT raises in Python.
_ENDING: Final = (
    signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU, signal.SIGSTKFLT, signal.SIGIO, signal.SIGPWR,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)  # fmt: skip
# While the terminal is given back nothing may come between.
_HELD: Final = {
    *_ENDING,
    signal.SIGINT,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGTTIN,
    signal.SIGTTOU,
}

_QUIT: Final = b"qQ"
# A key is one byte; an arrow or a function key is an escape and a few more.
_KEYS: Final = 64
# Seconds to wait for a terminal that takes no output.
_HALTED: Final = 0.5
# Seconds between two looks whether the terminal is ours again.
_MOMENT: Final = 0.1


class Screen:
    """Takes the terminal until the end of the block.

    Signals raise SystemExit in the main thread, with the exit code that a shell reports for
    them; q raises it with 0.
    """

    def __init__(self) -> None:
        self._output = sys.stdout.fileno()
        self._input = _keyboard()
        self._before: list[Any] | None = None  # how the keyboard was
        self._changed = False  # whether the keyboard is as we want it
        self._taken = False  # whether the screen is ours
        self._picture = b""
        self._times_stopped = 0
        self._quit = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        try:
            self._handle_signals()
            self._take()
        except BaseException:
            self._restore()
            raise
        if self._input is not None:
            # A thread inherits what is held. All signals are for the main one, which waits.
            with _held():
                threading.Thread(target=self._read_keys, args=[self._input], daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._restore()
        except BaseException:
            # A signal that came just before it was held raises as soon as it is. It is held
            # now, so that this goes through.
            self._restore()
            raise

    def draw(self, picture: str) -> None:
        """Show a picture.

        Args:
            picture: as many lines as the terminal has rows, each as long as a row.
        """
        self._picture = _HOME + picture.encode(errors="replace")
        self._redraw()

    def _redraw(self) -> None:
        rest, times_stopped = self._picture, self._times_stopped
        # After a stop the picture was drawn anew as a whole: the rest of the old one would
        # stand where the cursor is now.
        while rest and times_stopped == self._times_stopped:
            rest = rest[os.write(self._output, rest) :]

    def _restore(self) -> None:
        """Give the terminal and the signals back. Doing so again does nothing."""
        with _held():
            self._give()
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers = {}

    # --- the terminal ---------------------------------------------------------

    def _take(self) -> None:
        # First the keyboard: in the background this stops the process (SIGTTOU), and
        # nothing was written to the terminal of another program yet.
        self._set_keyboard()
        self._taken = True
        os.write(self._output, _TAKE)

    def _set_keyboard(self) -> None:
        """Let keys come one by one and unseen; Ctrl-C and its like stay what they are."""
        if self._input is None:
            return
        mode: list[Any] = termios.tcgetattr(self._input)
        if self._before is None:
            self._before = [*mode[:6], [*mode[6]]]
        mode[3] &= ~(termios.ECHO | termios.ICANON)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        # Before it is true: a signal may come between.
        self._changed = True
        while True:
            try:
                termios.tcsetattr(self._input, termios.TCSADRAIN, mode)
            except termios.error as error:
                # It was stopped here, in the background, and is in the foreground now.
                if error.args[0] == errno.EINTR:
                    continue
                raise
            return

    def _give(self) -> None:
        # The terminal may be gone. Then there is nothing to give back.
        with contextlib.suppress(OSError, termios.error):
            # One that was halted with Ctrl-S takes nothing, and must not keep us.
            if self._taken and select.select([], [self._output], [], _HALTED)[1]:
                os.write(self._output, _GIVE)
        self._taken = False
        with contextlib.suppress(OSError, termios.error):
            # Else it is another program's by now, which has set its own mode.
            if self._changed and os.tcgetpgrp(self._input or 0) == os.getpgrp():
                termios.tcsetattr(self._input or 0, termios.TCSANOW, self._before or [])
        self._changed = False

    # --- signals and keys -----------------------------------------------------

    def _handle_signals(self) -> None:
        for number in _ENDING:
            self._handle(number, self._end)
        self._handle(signal.SIGTSTP, self._stop)
        self._handle(signal.SIGCONT, self._go_on)

    def _handle(self, number: int, handler: Any) -> None:
        # Who started us may have had a signal ignored: nohup(1) does so with SIGHUP.
        if signal.getsignal(number) is not signal.SIG_IGN:
            self._handlers[number] = signal.signal(number, handler)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        sys.exit(0 if self._quit else 128 + number)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """Give the terminal back, stop as anybody does, and take it again when told to go on."""
        with _held():
            self._give()
        self._times_stopped += 1
        handler = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Here the shell has told us to go on.
        signal.signal(number, handler)
        self._take()
        self._redraw()

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        """Take up again what a stop that cannot be caught has left as it was (SIGSTOP)."""
        # The kernel sends SIGCONT as well when the terminal is closed, after SIGHUP.
        with contextlib.suppress(OSError, termios.error):
            if self._taken:
                self._times_stopped += 1
                self._set_keyboard()
                self._redraw()

    def _read_keys(self, keyboard: int) -> None:
        """Wait for q, in a thread: the main one waits for the daemon."""
        ready = select.poll()
        ready.register(keyboard, select.POLLIN)
        keys: bytes | None = None
        while keys is None or (keys and keys[:1] not in _QUIT):
            ((_, events),) = ready.poll()
            try:
                # What is typed while the terminal is another program's is for that one.
                # Waiting does not stop a process in the background, reading does.
                keys = os.read(keyboard, _KEYS) if self._taken else None
            except OSError:
                keys = b"" if events & select.POLLHUP else None
            if keys is None:
                time.sleep(_MOMENT)
        self._quit = bool(keys)
        told = signal.SIGTERM if self._quit else signal.SIGHUP  # the terminal was closed
        signal.pthread_kill(threading.main_thread().ident or 0, told)


def _keyboard() -> int | None:
    """Find the terminal's keyboard; None: standard input is something else."""
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # it was closed before we began
        return None
    return descriptor if os.isatty(descriptor) else None


@contextlib.contextmanager
def _held() -> Iterator[None]:
    """Let signals wait until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
