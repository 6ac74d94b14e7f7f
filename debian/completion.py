"""Write the files with which shells complete `mailbell`: `python debian/completion.py FOLDER`.

Each is what the program says for its shell, so it fits the click that it was written with. zsh
loads its file as a function when it first needs it, and calls the same function from then on. What
click writes completes at the first call alone, and only registers itself at the second.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

SHELLS: Final = {"bash": "mailbell", "zsh": "_mailbell", "fish": "mailbell.fish"}
_END: Final = "\nif [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n"


def completion(shell: str) -> str:
    """Return the file for a shell.

    Args:
        shell: one of `SHELLS`.

    Raises:
        ValueError: click writes another file for zsh than it did.
        subprocess.CalledProcessError: the program failed.
    """
    environment = {**os.environ, "_MAILBELL_COMPLETE": f"{shell}_source"}
    text = subprocess.run(
        [sys.executable, "-B", "-m", "mailbell"], env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    return _called(text) if shell == "zsh" else text


def _called(text: str) -> str:
    """Let zsh's function complete each time that it is called."""
    functions, end, _ = text.partition(_END)
    if not end:
        raise ValueError(f"click does not end its file for zsh with {_END!r} any more")
    return f'{functions}\n_mailbell_completion "$@"\n'


def main() -> None:
    """Write the files."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for shell, name in SHELLS.items():
        (folder / name).write_text(completion(shell), encoding="utf-8")


if __name__ == "__main__":
    main()
