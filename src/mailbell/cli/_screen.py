r"""Takes the whole terminal for a command, and restores it however the command ends.

The person may end the command with q, Ctrl-C, Ctrl-\ or a signal, or stop it with Ctrl-Z
and continue it later. The terminal may be closed. In every case the screen, the cursor and
the keyboard are restored.
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

from mailbell._sys.signals import replace_handlers

__all__ = ["Screen"]

# xterm's control sequences: the alternate screen, the cursor, the upper left corner.
_TAKE: Final = b"\x1b[?1049h\x1b[?25l"
_GIVE: Final = b"\x1b[?25h\x1b[?1049l"
_HOME: Final = b"\x1b[H"

# Signals that end a process by default. Signals that cannot be caught (SIGKILL) or that
# report the program's own fault (SIGSEGV) are left out. SIGINT raises in Python.
_ENDING: Final = (
    signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU, signal.SIGSTKFLT, signal.SIGIO, signal.SIGPWR,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)  # fmt: skip
# Signals that must wait while the terminal is restored.
_HELD: Final = {
    *_ENDING,
    signal.SIGINT,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGTTIN,
    signal.SIGTTOU,
}

_QUIT: Final = b"qQ"
# Bytes of a key. A key sends one byte; an arrow or a function key sends a few.
_KEYS: Final = 64
# Seconds to wait for a terminal that takes no output.
_HALTED: Final = 0.5
# Seconds between two looks at whether this process has the terminal again.
_MOMENT: Final = 0.1


class Screen:
    """Takes the terminal until the end of the block.

    Signals raise SystemExit in the main thread, with the exit code that a shell reports for
    them. The key q raises SystemExit with 0.
    """

    def __init__(self) -> None:
        self._output = sys.stdout.fileno()
        self._input = _keyboard()
        self._before: list[Any] | None = None  # the keyboard's mode before
        self._changed = False  # whether this has changed the keyboard's mode
        self._taken = False  # whether this has taken the screen
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
            # A thread inherits the blocked signals. Only the main thread handles signals.
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
            # A signal that came just before it was blocked has raised. Now it is blocked, so
            # the second attempt succeeds.
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
        # After a stop the whole picture was drawn again. The rest of the old picture would
        # then appear in the wrong place.
        while rest and times_stopped == self._times_stopped:
            rest = rest[os.write(self._output, rest) :]

    def _restore(self) -> None:
        """Restore the terminal and the signal handlers. A second call does nothing."""
        with _held():
            self._give()
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers = {}

    # --- the terminal ---------------------------------------------------------

    def _take(self) -> None:
        # The keyboard comes first. In the background this stops the process (SIGTTOU)
        # before it writes to a terminal that another program uses.
        self._set_keyboard()
        self._taken = True
        os.write(self._output, _TAKE)

    def _set_keyboard(self) -> None:
        """Read keys one by one and without echo. Ctrl-C and similar keys still send signals."""
        if self._input is None:
            return
        mode: list[Any] = termios.tcgetattr(self._input)
        if self._before is None:
            self._before = [*mode[:6], [*mode[6]]]
        mode[3] &= ~(termios.ECHO | termios.ICANON)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        # Set before the change, because a signal may come in between.
        self._changed = True
        while True:
            try:
                termios.tcsetattr(self._input, termios.TCSADRAIN, mode)
            except termios.error as error:
                # The process was stopped here in the background, and is now continued.
                if error.args[0] == errno.EINTR:
                    continue
                raise
            return

    def _give(self) -> None:
        # If the terminal was closed, there is nothing to restore.
        with contextlib.suppress(OSError, termios.error):
            # A terminal that was halted with Ctrl-S takes no output. Do not wait for it.
            if self._taken and select.select([], [self._output], [], _HALTED)[1]:
                os.write(self._output, _GIVE)
        self._taken = False
        with contextlib.suppress(OSError, termios.error):
            # If another program has the foreground now, it has set its own mode.
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
        # A signal that was ignored at the start stays ignored: nohup(1) ignores SIGHUP.
        if signal.getsignal(number) is not signal.SIG_IGN:
            self._handlers[number] = signal.signal(number, handler)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        # When the terminal is closed, both the kernel and `_read_keys` send SIGHUP. The second one
        # may come after the handlers are restored, and must not kill the process then.
        ended = {number, signal.SIGHUP} & self._handlers.keys()
        replace_handlers(dict.fromkeys(ended, signal.SIG_IGN))
        for each in ended:
            del self._handlers[each]
        sys.exit(0 if self._quit else 128 + number)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """Restore the terminal, stop by the default action, and take the terminal again."""
        with _held():
            self._give()
        self._times_stopped += 1
        handler = signal.getsignal(number)
        replace_handlers({number: signal.SIG_DFL})
        os.kill(os.getpid(), number)
        # The process continues here after SIGCONT from the shell.
        signal.signal(number, handler)
        self._take()
        self._redraw()

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        """Take the terminal again after SIGSTOP, which cannot be caught."""
        # The kernel also sends SIGCONT after SIGHUP when the terminal is closed.
        with contextlib.suppress(OSError, termios.error):
            if self._taken:
                self._times_stopped += 1
                self._set_keyboard()
                self._redraw()

    def _read_keys(self, keyboard: int) -> None:
        """Wait for the key q in a thread. The main thread waits for the daemon."""
        ready = select.poll()
        ready.register(keyboard, select.POLLIN)
        keys: bytes | None = None
        while keys is None or (keys and keys[:1] not in _QUIT):
            ((_, events),) = ready.poll()
            try:
                # Keys that are typed while another program has the terminal are for that
                # program. A process in the background may poll; a read would stop it.
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
    except (AttributeError, OSError, ValueError):  # stdin was closed before the start
        return None
    return descriptor if os.isatty(descriptor) else None


@contextlib.contextmanager
def _held() -> Iterator[None]:
    """Block signals until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
