"""`python -m torture.soak --hours H`: soak the programs, print what drifts, write the document."""

import argparse
import secrets
import sys
import time
from pathlib import Path
from typing import Final

from torture.soak.page import page, table
from torture.soak.picture import draw
from torture.soak.plan import HOUR, Plan, Record, read, write
from torture.soak.report import report
from torture.soak.run import ROOT, Missing, every, measured
from torture.soak.verdict import judged

__all__ = ["main"]

_KEPT: Final = ROOT / ".cache" / "soak.json"
_PAGE: Final = ROOT / "docs" / "soak.md"


def main() -> int:
    """Return the exit code: 0 if nothing drifts, 1 if something does, 69 if it cannot be run."""
    arguments = _arguments()
    if arguments.again:
        record = read(arguments.again)
    else:
        seconds = arguments.hours * HOUR if arguments.hours else arguments.seconds
        plan = Plan(
            seconds=seconds, seed=arguments.seed, every=arguments.every or every(seconds),
            restart_every=min(arguments.restart_every, seconds),
        )  # fmt: skip
        print(f"seed {plan.seed}")
        try:
            record = measured(plan, _say)
        except Missing as error:
            print(f"skipped: {error}", file=sys.stderr)
            return 69
        _KEPT.parent.mkdir(exist_ok=True)
        write(record, _KEPT)
    if arguments.write or record.plan.seconds >= HOUR:
        _write(record)
    return _print(record)


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _write(record: Record) -> None:
    picture = _PAGE.with_suffix(".png")
    draw(record, picture)
    _PAGE.write_text(page(record, picture.name))
    print(f"wrote {_PAGE.relative_to(ROOT)}")


def _print(record: Record) -> int:
    print(table(judged(record)))
    found = report(record)
    for figure in found.figures:
        print(f"{figure.name}: {figure.value:,.10g} {figure.unit}".rstrip())
    for failure in found.failures:
        print(f"FAILED {failure}")
    return 0 if found.is_right else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torture.soak", description=__doc__)
    parser.add_argument("--hours", type=float, help="how long; instead of --seconds")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument("--every", type=float, help="seconds between two samples")
    parser.add_argument(
        "--restart-every", type=float, default=HOUR, metavar="SECONDS",
        help="in which each part is restarted once",
    )  # fmt: skip
    parser.add_argument(
        "--write", action="store_true",
        help="write docs/soak.md also if it was less than an hour",
    )  # fmt: skip
    parser.add_argument(
        "--again", type=Path, metavar="FILE",
        help="judge what an earlier soak has kept in .cache/soak.json",
    )  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
