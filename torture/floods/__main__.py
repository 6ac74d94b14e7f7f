"""Floods a daemon: `python -m torture.floods [--seconds N] [--seed N]`."""

import argparse
import secrets
import sys
from pathlib import Path

# What the tests share is used here too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))


def main() -> int:
    """Return the exit code: 0 if everything is right, or nothing can be tried here."""
    from torture.figures import lines
    from torture.floods.run import run

    parser = argparse.ArgumentParser(description="All floods at once, while good senders ring.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the floods run")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    report = run(options.seconds, options.seed, lambda line: print(line, flush=True))
    print(*lines(report), sep="\n")
    return 0 if report.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
