"""A virtual screen for programs with windows."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from harness.sender import PATIENCE
from mail_programs.support import needs

__all__ = ["screens"]


@contextmanager
def screens() -> Iterator[str]:
    """Run Xvfb until the end of the block.

    Yields:
        Its name, for DISPLAY.
    """
    needs("Xvfb")
    reader, writer = os.pipe()
    # Xvfb takes the first free number, and prints it when it is ready.
    process = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writer), "-nolisten", "tcp", "-screen", "0", "800x600x24"],
        pass_fds=[writer], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writer)
    try:
        with open(reader) as said:
            number = said.readline().strip()
        assert number, "Xvfb has ended"
        yield f":{number}"
    finally:
        process.terminate()
        process.wait(PATIENCE)
