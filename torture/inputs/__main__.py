"""Says inputs to the real daemons: `python -m torture.inputs [--seconds N] [--seed N]`.

`--inputs N` says so many; `--state FILE` keeps what is done, so that a later call goes on.
`--only PIECE/ROUND` repeats one round, as a line about a failure says.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

_TOP = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(_TOP), str(_TOP / "tests")]  # the harness of the tests starts the daemons

from torture.figures import Report, lines  # noqa: E402  the path comes first
from torture.inputs.run import PIECE, again, run, run_inputs  # noqa: E402  the path comes first

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and print the report.

    Args:
        arguments: of the command line; None: those of this process.

    Returns:
        The exit status: 0 if nothing went wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m torture.inputs", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--inputs", type=int, help="instead of --seconds")
    parser.add_argument("--piece", type=int, default=PIECE, help="inputs of one piece")
    parser.add_argument("--workers", type=int, default=0, help="pieces at once")
    parser.add_argument("--state", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=SystemRandom().getrandbits(32))
    parser.add_argument("--only", metavar="PIECE/ROUND")
    given = parser.parse_args(arguments)
    print(f"seed {given.seed}", flush=True)
    found = _run(given)
    print(*lines(found), sep="\n")
    return 0 if found.is_right else 1


def _run(given: argparse.Namespace) -> Report:
    if given.only:
        piece, _, number = given.only.partition("/")
        return again(int(piece), int(number), given.seed)
    if given.inputs is None:
        return run(given.seconds, given.seed, _say)
    return run_inputs(
        given.inputs,
        given.seed,
        _say,
        size=given.piece,
        workers=given.workers,
        state=given.state,
    )


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    # The daemons inherit the folder, and the harness starts them with this interpreter.
    os.chdir(_TOP)
    # Otherwise the daemons would live on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; with --state the same call goes on")
