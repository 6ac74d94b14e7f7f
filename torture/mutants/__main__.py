"""`python -m torture.mutants [FILE...] [--seconds N] [--seed N] [--most N] [--again]`."""

import argparse
import sys

from torture.mutants.files import files
from torture.mutants.page import FILE, page
from torture.mutants.results import Results
from torture.mutants.run import report
from torture.mutants.runner import Runner


def main() -> int:
    """Try mutants, and write what became of them.

    Returns:
        the exit status: 1 if the mutants of a file could not be tried.
    """
    parser = argparse.ArgumentParser(prog="python -m torture.mutants", description=__doc__)
    parser.add_argument("file", nargs="*", help="as core/rfc4146; none: all")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long it may take, about")
    parser.add_argument(
        "--seed", type=int, default=1, help="chooses where there is no time for all"
    )
    parser.add_argument("--workers", type=int, default=1, help="how many files at the same time")
    parser.add_argument("--again", action="store_true", help="only what no test has noticed")
    parser.add_argument("--most", type=int, help="how many mutants of a file; else all")
    words = parser.parse_args()
    if unknown := set(words.file) - set(files()):
        parser.error(f"no such file is tried: {', '.join(sorted(unknown))}")
    results = Results.read()
    runner = Runner(
        results, words.seconds, words.seed, lambda line: print(line, flush=True), most=words.most
    )
    runner.run(words.file or files(), words.workers, again=words.again)
    FILE.write_text(page(results))
    for figure in report(results, runner.failures).figures:
        print(f"{figure.name}: {figure.value:.0f}")
    return 1 if runner.failures else 0


if __name__ == "__main__":
    sys.exit(main())
