"""Counts which branches of its modules a target reaches: `python fuzz/reached.py TARGET FOLDER...`.

The last line is a JSON object with `reached` and `all`: lines and branches together. No fuzzer is
needed. The fuzzer's own process is not measured, because it never ends in order.
"""

import importlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import coverage

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / name) for name in ("", "tests")]

from fuzz.parsers import PARSERS  # noqa: E402  the path comes first

__all__ = ["reached"]


def reached(target: str, folders: Iterable[Path]) -> tuple[int, int]:
    """Passes each input of some folders to a target.

    Args:
        target: its name.
        folders: of inputs.

    Returns:
        How many lines and branches of its modules it has reached, and how many there are.
    """
    import mailbell

    files = [str(Path(mailbell.__file__).parent / path) for path in PARSERS[target]]
    counting = coverage.Coverage(branch=True, include=files, data_file=None, config_file=False)
    counting.start()
    check = importlib.import_module(f"fuzz.fuzz_{target}").check
    for path in sorted(path for folder in folders for path in folder.glob("[!.]*")):
        try:
            check(path.read_bytes())
        except Exception as error:  # the fuzzer has told of it
            print(f"{path}: {type(error).__name__}", file=sys.stderr)
    counting.stop()
    return _count(counting, files)


def _count(counting: coverage.Coverage, files: Iterable[str]) -> tuple[int, int]:
    there = found = 0
    for file in files:
        numbers = counting._analyze(file).numbers  # noqa: SLF001  the report writes it in words only
        there += numbers.n_statements + numbers.n_branches
        found += numbers.n_executed + numbers.n_executed_branches
    return found, there


if __name__ == "__main__":
    found, there = reached(sys.argv[1], [Path(each) for each in sys.argv[2:]])
    print(json.dumps({"reached": found, "all": there}))
