"""The tables of docs/scale.md, from the results of a simulation and of measurements.

    python bench/cluster/page.py            end with 1 if the document has another text
    python bench/cluster/page.py --write    write the tables and the picture

`make bench-cluster` writes them too. Nothing is written while an input is not measured.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[2]
if not __package__:  # started by its path, which puts its own folder on the search path
    sys.path[0] = str(ROOT)

from bench.cluster.costs import COSTS, UnmeasuredError, costs_of, read  # noqa: E402  found only now
from bench.cluster.record import Run, Throughput  # noqa: E402  it is found only now
from bench.cluster.tables import report  # noqa: E402  it is found only now

__all__ = [
    "PENDING", "RESULTS", "THROUGHPUT", "StaleError", "changed", "main", "read_throughput",
    "results",
]  # fmt: skip

RESULTS: Final = Path(__file__).resolve().parent / "results.json"
THROUGHPUT: Final = RESULTS.with_name("throughput.json")
_PICTURE: Final = "results.png"
_DOCUMENT: Final = "docs/scale.md"
_MARKS: Final = ("<!-- figures: bench/cluster/page.py --write -->\n", "<!-- /figures -->\n")
PENDING: Final = """\
There are no figures yet, because not every input is measured.
`python bench/cluster/page.py --write` names those that are missing.
"""
"""What the document says as long as there are no results."""


class StaleError(Exception):
    """The results are missing, or were computed from other inputs."""


def results(costs: Path = COSTS, file: Path = RESULTS) -> Run:
    """Return results that may be shown.

    Args:
        costs: the inputs.
        file: the results.

    Raises:
        UnmeasuredError: an input is not measured.
        StaleError: the results are missing, or were computed from other inputs.
    """
    inputs = read(costs)
    costs_of(inputs)
    if not file.exists():
        raise StaleError("there are no results: python bench/cluster/run.py")
    run = msgspec.json.decode(file.read_bytes(), type=Run)
    if run.inputs != inputs:
        raise StaleError("the results are those of other inputs: python bench/cluster/run.py")
    return run


def read_throughput(file: Path = THROUGHPUT) -> Throughput | None:
    """Return what was measured of real clusters; None: nothing was.

    Args:
        file: that bench/cluster/measure.py has written.
    """
    if not file.exists():
        return None
    return msgspec.json.decode(file.read_bytes(), type=Throughput)


def changed(block: str) -> str:
    """Return the text of the document with this text between its marks.

    Raises:
        LookupError: the document has no place for it.
    """
    begin, end = _MARKS
    before, found, rest = (ROOT / _DOCUMENT).read_text().partition(begin)
    _, also, after = rest.partition(end)
    if not found or not also:
        raise LookupError(f"{_DOCUMENT} has no place between {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{block}{end}{after}"


def main(words: Sequence[str] | None = None, *, costs: Path = COSTS, file: Path = RESULTS) -> int:
    """Return the exit code: 1 if the document has another text, 70 if nothing can be written.

    Args:
        words: the words of the command line; None: those of this process.
        costs: the inputs.
        file: the results.
    """
    words = sys.argv[1:] if words is None else words
    writes = list(words) == ["--write"]
    if not writes and not file.exists():
        return _compare(PENDING)
    try:
        run = results(costs, file)
    except (UnmeasuredError, StaleError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 70
    if not writes:
        return _compare(report(run, read_throughput()))
    from bench.cluster.picture import draw

    draw(run, file.with_name(_PICTURE))
    (ROOT / _DOCUMENT).write_text(changed(report(run, read_throughput())))
    return 0


def _compare(block: str) -> int:
    if (ROOT / _DOCUMENT).read_text() == changed(block):
        return 0
    print(f"{_DOCUMENT} is not that of the results: python bench/cluster/page.py --write")
    return 1


if __name__ == "__main__":
    sys.exit(main())
