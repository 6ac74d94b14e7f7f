"""A terminal with a given size, and a program in it.

It is the program's controlling terminal: keys such as Ctrl-C become signals, and the kernel
tells the program when the terminal is closed.
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
        environment: the environment of the program; `TERM` is added.
        rows: the number of rows.
        columns: the number of columns.

    Attributes:
        process: the program.
        drawn: the whole output of the program.
        modes_before: the mode of the terminal when the program began.
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
        # The size of the pair's other side, which the program sees (tty_ioctl(4)).
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
        """Close the terminal, as a window is closed. A second call does nothing."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def modes(self) -> list[Any]:
        """The mode of the terminal for input and output (termios(3))."""
        return termios.tcgetattr(self._ours)

    def foreground(self) -> int:
        """The process group that has the terminal."""
        return os.tcgetpgrp(self._ours)

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self._ours, keys)

    def until(self, seen: Callable[[str], object], what: str) -> str:
        """Wait until the present picture meets a condition; return it."""
        until(lambda: seen(self._picture()), what)
        return self._picture()

    def until_shown(self, text: str) -> str:
        """Wait until a text is in the picture; return the picture, one line for each row."""
        return self.until(lambda picture: text in picture, f"{text!r} on the screen")

    def until_written(self, text: str) -> None:
        """Wait until a text was written, on any screen."""
        until(lambda: self._read() and text in self.drawn, f"{text!r} to be written")

    def ended(self, signal: int) -> int:
        """Send a signal, read all output, and return the exit status."""
        self.process.send_signal(signal)
        return self.exit_status()

    def exit_status(self) -> int:
        """Wait for the end, read all output, and return the exit status."""
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
            except OSError:  # EIO: no process has the other end open
                break
        return True
