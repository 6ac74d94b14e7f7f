"""A terminal of so many rows and columns, with a program in it.

It is the program's controlling terminal: keys such as Ctrl-C become signals, and when the
terminal is closed the program is told.
"""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from harness.daemon import PATIENCE, until

__all__ = ["Terminal"]

# ECMA-48, section 5.4: control sequences.
_CONTROL: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_HOME: Final = "\x1b[H"


class Terminal:
    """Runs a program on a terminal of its own until the end of the block.

    Args:
        words: the command line.
        environment: of the program; `TERM` is added.
        rows: of the terminal.
        columns: of the terminal.

    Attributes:
        process: the program.
        drawn: everything it has written.
        modes_before: how the terminal was when the program began.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: dict[str, str],
        *,
        rows: int = 24,
        columns: int = 80,
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.drawn = ""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment | {"TERM": "xterm"},
        )
        os.close(theirs)
        # Of the pair's other side, as the program sees it: tty_ioctl(4).
        self.modes_before = self.modes()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        """Close it, as a window is closed. Closing it again does nothing."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def modes(self) -> list[Any]:
        """How the terminal treats what is typed and written: termios(3)."""
        return termios.tcgetattr(self._ours)

    def foreground(self) -> int:
        """The process group that has the terminal."""
        return os.tcgetpgrp(self._ours)

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self._ours, keys)

    def until(self, seen: Callable[[str], object], what: str) -> str:
        """Wait until the picture, as it is now, is so; return it."""
        until(lambda: seen(self._picture()), what)
        return self._picture()

    def until_shown(self, text: str) -> str:
        """Wait until a text is in the picture; return it, a line end after each row."""
        return self.until(lambda picture: text in picture, f"{text!r} on the screen")

    def until_written(self, text: str) -> None:
        """Wait until a text was written, on whichever screen."""
        until(lambda: self._read() and text in self.drawn, f"{text!r} to be written")

    def ended(self, signal: int) -> int:
        """Send a signal, and return the exit status, everything that was written being read."""
        self.process.send_signal(signal)
        return self.exit_status()

    def exit_status(self) -> int:
        """Wait for the end, and return the exit status, everything that was written being read."""
        until(lambda: self._read() and self.process.poll() is not None, "the end")
        self._read()
        return self.process.wait(PATIENCE)

    def _picture(self) -> str:
        self._read()
        # Each picture is drawn from the upper left corner, and as a whole.
        text = _CONTROL.sub("", self.drawn.rpartition(_HOME)[2])
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())

    def _read(self) -> bool:
        while select.select([self._ours], [], [], 0)[0]:
            try:
                self.drawn += os.read(self._ours, 65536).decode(errors="replace")
            except OSError:  # EIO: nobody is at the other end any more
                break
        return True
