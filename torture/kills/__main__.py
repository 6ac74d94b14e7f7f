"""Kills programs at random moments: `python -m torture.kills --rounds 1000`.

It ends with code 1 if a look was lost. A failure names its seed and its round: `--seed N --first N
--rounds 1` plays that round again.
"""

import argparse
import random
import sys
import time
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[2] / "tests"
if str(_TESTS) not in sys.path:  # the real programs are started by what the tests share
    sys.path.append(str(_TESTS))

from torture.figures import lines  # noqa: E402  after the path
from torture.kills.run import WORLDS, Plays  # noqa: E402  after the path

__all__ = ["main"]


def main() -> int:
    """Play rounds, print what came of them, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, help="no round begins after this time")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--first", type=int, default=0, help="the number of the first round")
    parser.add_argument("--worlds", type=int, default=WORLDS, help="how many play at once")
    given = parser.parse_args()
    if given.seconds is None and given.rounds is None:
        given.seconds = 60.0
    until = None if given.seconds is None else time.monotonic() + given.seconds
    report = Plays(
        given.seed,
        lambda line: print(line, flush=True),
        until=until,
        rounds=given.rounds,
        first=given.first,
        worlds=given.worlds,
    ).play()
    print(*lines(report), sep="\n")
    return 0 if report.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
