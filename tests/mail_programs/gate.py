"""A program that waits, so that a test can do something while another one is busy."""

import errno
import os
from pathlib import Path

from harness.daemon import until
from mail_programs.support import Home

__all__ = ["Gate"]


class Gate:
    """A program that keeps its input and does not end before it is let go.

    Args:
        home: where it is.

    Attributes:
        program: it takes no arguments.
        folder: a file for each time it was run, with the input.
    """

    def __init__(self, home: Home) -> None:
        self.folder, self._gates = home.path / "kept", home.path / "gates"
        self._let_go: set[Path] = set()
        for folder in (self.folder, self._gates):
            folder.mkdir()
        wait = f'mkfifo "{self._gates}/$$"\nread -r _ <"{self._gates}/$$"\n'
        script = f'#!/bin/sh\ncat >"{self.folder}/$$"\n{wait}'
        self.program = home.write("gate-keeper", script, 0o700)

    def reached(self) -> bool:
        """Whether one waits, or did."""
        return any(self._gates.iterdir())

    def let_go(self) -> None:
        """Let one go, which may be on its way here."""
        until(self._gone, "somebody at the gate")

    def _gone(self) -> bool:
        for gate in set(self._gates.iterdir()) - self._let_go:
            try:
                descriptor = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # it does not read yet
                    raise
                continue
            os.write(descriptor, b"\n")
            os.close(descriptor)
            self._let_go.add(gate)
            return True
        return False
