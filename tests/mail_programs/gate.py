"""A program that waits, so that a test can act while another program is busy."""

import errno
import os
from pathlib import Path

from harness.daemon import until
from mail_programs.support import Home

__all__ = ["Gate"]


class Gate:
    """A program that keeps its input, and does not end before the test lets it.

    Args:
        home: the home that it lies in.

    Attributes:
        program: the path of the program, which takes no arguments.
        folder: has a file with the input of each run.
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
        """Whether a program waits or has waited."""
        return any(self._gates.iterdir())

    def let_go(self) -> None:
        """Let one program end, also one that does not wait yet."""
        until(self._gone, "somebody at the gate")

    def _gone(self) -> bool:
        for gate in set(self._gates.iterdir()) - self._let_go:
            try:
                descriptor = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # the program does not read yet
                    raise
                continue
            os.write(descriptor, b"\n")
            os.close(descriptor)
            self._let_go.add(gate)
            return True
        return False
