"""The show itself, in namespaces of its own: `python -m scripts.show.play ROOT HOLD [CAST]`.

`scripts/demo.py` starts it. It is the first process of its namespace: all that it starts ends with
it. What it shows is what the programs have said; if a step does not happen, it says so, and ends
with code 1.
"""

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from scripts.show.cast import written
from scripts.show.columns import Note
from scripts.show.ears import Ears
from scripts.show.machines import start
from scripts.show.scenes import SCENES, opening, summary
from scripts.show.screen import Screen
from scripts.show.theatre import NotHappenedError, Theatre

_INTERRUPTED: Final = 128 + signal.SIGINT


def main(words: list[str]) -> int:
    """Show everything; return the exit code."""
    lower, hold, *cast = words
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may not have all characters
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen, ears = Screen("mailbell: mail is pushed"), Ears()
    try:
        with ExitStack() as stack:
            _show(stack, Theatre(screen, ears), Path(lower), Path(hold))
    except NotHappenedError as error:
        screen.show(Note(f"This did not happen: {error}"))
        sys.stderr.writelines(f"{line}\n" for line in ears.said)
        return 1
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    if cast:
        Path(cast[0]).write_text(written(screen.cast()))
    return 0


def _show(stack: ExitStack, theatre: Theatre, root: Path, hold: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", hold], check=True)  # noqa: S603, S607 (our own words)
    began = time.monotonic()
    opening(theatre)
    theatre.enter(start(stack, root, hold, theatre.ears))
    for scene in SCENES:
        scene(theatre)
    summary(theatre, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
