"""`python -m torture.faults [--seconds N] [--seed N] [--all]`."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from torture.faults.everything import run_all, run_one  # noqa: E402 - the path is set above
from torture.faults.page import PAGE, write_page  # noqa: E402 - the path is set above
from torture.faults.plan import HOUSES  # noqa: E402 - the path is set above
from torture.faults.run import run  # noqa: E402 - the path is set above
from torture.figures import Report  # noqa: E402 - the path is set above


def say(line: str) -> None:
    """Print one line at once."""
    print(line, flush=True)


def report_of(given: argparse.Namespace) -> Report:
    """Make the faults that the command line asks for."""
    if given.only:
        tally = run_one(given.only, given.seed, say)
        if given.results:
            tally.write(Path(given.results))
        return tally.report(given.seed)
    if given.all:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(given.results or name)
            folder.mkdir(exist_ok=True)
            tally = run_all(given.seed, folder, say)
        write_page(tally, given.seed)
        return tally.report(given.seed)
    return run(given.seconds, given.seed, say)


def main() -> int:
    """Make faults, print what came of them; return 1 if the daemons did anything wrong."""
    parser = argparse.ArgumentParser(prog="python -m torture.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--all", action="store_true", help=f"every fault, and write {PAGE.name}")
    parser.add_argument("--only", choices=list(HOUSES), help="every fault of this daemon")
    parser.add_argument("--results", help="with --only: a file for what came; with --all: a folder")
    given = parser.parse_args()
    say(f"seed {given.seed}")
    report = report_of(given)
    for figure in report.figures:
        print(f"{figure.name}: {figure.value:g}{figure.unit}")
    for line in filter(None, (*report.failures, report.skipped)):
        print(line)
    return 0 if report.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
