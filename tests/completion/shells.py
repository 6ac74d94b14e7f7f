"""A shell at a terminal, in which a test types."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["PROMPT", "SHELLS", "Typing", "typing"]

PROMPT: Final = "READY> "
PATIENCE: Final = 120.0  # seconds
# What a terminal does and does not show: CSI, OSC, and escapes of two or three characters.
_CONTROL: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]"
    r"|[\x00-\x09\x0b-\x1f]"
)

# For each shell: its command, its start-up file below the home, and the lines that set its prompt.
SHELLS: Final[Mapping[str, tuple[list[str], str, str]]] = {
    "bash": (["bash", "-i"], ".bashrc", f"PS1='{PROMPT}'\n"),
    "zsh": (["zsh", "-i"], ".zshrc", f"PS1='{PROMPT}'\nunsetopt beep\n"),
    "fish": (
        ["fish", "-i"],
        ".config/fish/config.fish",
        f"function fish_prompt\n  printf '{PROMPT}'\nend\nset -g fish_greeting\n",
    ),
}


class Typing:
    """A terminal with a shell in it."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self.shown = ""

    def type(self, text: str) -> None:
        """Type; what was shown before is forgotten."""
        self.shown = ""
        os.write(self._terminal, text.encode())

    def until(self, pattern: str) -> None:
        """Wait until the terminal shows something, as a regular expression."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, _CONTROL.sub("", self.shown)):
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._terminal], [], [], max(left, 0))
            assert ready, f"no {pattern!r} in {self.shown!r}"
            self.shown += os.read(self._terminal, 1 << 16).decode(errors="replace")


@contextmanager
def typing(shell: str, home: Path, lines: str, **variables: str) -> Iterator[Typing]:
    """Start a shell of a person whose start-up file has some lines, and wait for its prompt."""
    command, startup, prompt = SHELLS[shell]
    path = home / startup
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{lines}\n{prompt}")
    environment = {
        "HOME": str(home), "TERM": "xterm", "LC_ALL": "C.UTF-8", "LINES": "24", "COLUMNS": "200",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **variables,
    }  # fmt: skip
    ours, theirs = pty.openpty()
    # setsid(1) makes the terminal that of the shell's session: then job control works as ever.
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=home, env=environment,
    )  # fmt: skip
    os.close(theirs)
    try:
        terminal = Typing(ours)
        terminal.until(re.escape(PROMPT))
        yield terminal
    finally:
        process.kill()
        process.wait(PATIENCE)
        os.close(ours)
