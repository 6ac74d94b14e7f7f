"""Stands in for the fuzzer in tests: it runs the seeds and some changes of them, and counts.

It has what `fuzz/entry.py` and `fuzz/run.py` use of atheris, and understands the arguments of
libFuzzer that they give. It says what it did in the fuzzer's own words.
"""

import hashlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RUNS = 20
LONGEST = 4096

_state: dict[str, Any] = {}


@contextmanager
def instrument_imports(include: Sequence[str]) -> Iterator[None]:
    """Do nothing."""
    yield


def Mutate(data: bytes, longest: int) -> bytes:  # noqa: N802  the fuzzer's name
    """Change one byte, always the same way."""
    place = len(data) // 2
    return (data[:place] + b"\xa5" + data[place + 1 :])[:longest]


def Setup(  # noqa: N802  the fuzzer's name
    argv: Sequence[str],
    check: Callable[[bytes], None],
    custom_mutator: Callable[[bytes, int, int], bytes],
) -> None:
    """Remember what is to be done."""
    options = dict(each[1:].split("=", 1) for each in argv[1:] if each.startswith("-"))
    folders = [Path(each) for each in argv[1:] if not each.startswith("-")]
    _state.update(options=options, folders=folders, check=check, mutate=custom_mutator)


def Fuzz() -> None:  # noqa: N802  the fuzzer's name
    """Run all inputs, say how many there were, and end the process."""
    folders: list[Path] = _state["folders"]
    inputs = [path.read_bytes() for folder in folders for path in sorted(folder.glob("[!.]*"))]
    if words := _state["options"].get("dict"):
        assert Path(words).read_text(encoding="ascii").startswith("#")
    count = 0
    for data in [b"", *inputs, *_changed(inputs)]:
        count += 1
        _run(data)
        if folders:
            name = hashlib.sha256(data).hexdigest()[:8]
            (folders[0] / name).write_bytes(data)
    _say(count)
    os._exit(0)


def _changed(inputs: Sequence[bytes]) -> Iterator[bytes]:
    runs = int(_state["options"].get("runs", RUNS))
    for seed in range(runs):
        data = inputs[seed % len(inputs)] if inputs else b""
        yield _state["mutate"](data, LONGEST, seed)


def _run(data: bytes) -> None:
    try:
        _state["check"](data)
    except Exception:  # as the fuzzer: whatever a target raises is a crash
        traceback.print_exc()
        prefix = _state["options"].get("artifact_prefix", "./")
        name = f"{prefix}crash-{hashlib.sha256(data).hexdigest()[:8]}"
        Path(name).write_bytes(data)
        _say(1)
        os._exit(77)


def _say(count: int) -> None:
    print(f"stat::number_of_executed_units: {count}", file=sys.stderr)
    print(f"stat::average_exec_per_sec:     {count}", file=sys.stderr)
    print(f"stat::new_units_added:          {count}", file=sys.stderr, flush=True)
