"""Fuzzes for some time: `python fuzz/run.py [--seconds N] [TARGET...]`. The default: all targets.

The targets share the seconds. Each runs in its own process, because the fuzzer never
returns. An input that breaks an invariant is kept in fuzz/found/ and makes the exit code 1.
At the end stands a table: how many inputs, and how much of its modules each target reaches.
`--json FILE` writes the same for a program. fuzz/README.md says what to do with a finding.
"""

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from fuzz.results import Result, read_stats, table, totals  # noqa: E402  the path comes first

FOUND = HERE / "found"
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))
# An input that takes more seconds or more MiB than this is a finding too.
SLOW, LARGE = 10, 1024


def fuzz(target: str, seconds: int, grown: str) -> None:
    """Fuzzes one target in this process. It does not return.

    Args:
        target: name of the target.
        seconds: how long to fuzz.
        grown: a folder for the inputs that reach something new.
    """
    import atheris

    with atheris.instrument_imports(include=["mailbell"]):
        module = importlib.import_module(f"fuzz.fuzz_{target}")
    from fuzz.entry import start

    words = HERE / "dictionaries" / f"{target}.dict"
    start(
        module,
        [
            f"-max_total_time={seconds}",
            f"-timeout={SLOW}",
            f"-rss_limit_mb={LARGE}",
            f"-artifact_prefix={FOUND}/{target}-",
            f"-dict={words}",
            "-print_final_stats=1",
            grown,  # the first directory is the one libFuzzer adds to
            *(str(path) for path in seeds(target)),
        ],
    )


def seeds(target: str) -> list[Path]:
    """Returns the folders of inputs that a target has."""
    folders = [HERE / kind / target for kind in ("corpus", "regressions")]
    return [path for path in folders if path.is_dir()]


def supervise(target: str, seconds: int, *, measured: bool, say: Callable[[str], None]) -> Result:
    """Runs `fuzz` in a child process.

    Args:
        target: name of the target.
        seconds: how long to fuzz.
        measured: whether to count what the target reaches.
        say: takes one line.

    Returns:
        What came of it.
    """
    say(f"fuzz {target}: {seconds} s")
    before = set(findings(target))
    with tempfile.TemporaryDirectory() as grown:
        child = run("--child", "--grown", grown, "--seconds", str(seconds), target, most=seconds)
        stats = read_stats(child.stderr)
        new = sorted(set(findings(target)) - before)
        for path in new:
            say(f"fuzz {target}: finding, see {path}")
        if child.returncode:
            say(f"fuzz {target}: exit code {child.returncode}")
            say(child.stderr[-4000:])
        there = reach(target, Path(grown)) if measured else (0, 0)
    # A target that cannot even be loaded leaves no input behind, and is a finding all the same.
    count = max(len(new), child.returncode != 0)
    return Result(target, stats, count, *there)


def findings(target: str) -> list[Path]:
    """Returns the inputs that broke a target's invariant in this run or an earlier one."""
    return sorted(FOUND.glob(f"{target}-*-*"))


def run(*arguments: str, most: int) -> "subprocess.CompletedProcess[str]":
    """Runs this file in a child process for some seconds."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(  # noqa: S603  ourselves
        command, check=False, timeout=most + 10 * SLOW, capture_output=True, text=True,
        errors="replace",
    )  # fmt: skip


def reach(target: str, grown: Path) -> tuple[int, int]:
    """Counts in a child process what the seeds and the grown corpus of a target reach.

    Returns:
        As `reached`. Two zeros: the target cannot be loaded, which is a finding already.
    """
    command = [sys.executable, str(HERE / "reached.py"), target, *map(str, (grown, *seeds(target)))]
    child = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  ours
    if child.returncode:
        return 0, 0
    told = json.loads(child.stdout.splitlines()[-1])
    return told["reached"], told["all"]


def fuzz_all(
    targets: Sequence[str], seconds: int, say: Callable[[str], None], *, measured: bool = True
) -> list[Result]:
    """Fuzzes some targets, one after the other.

    Args:
        targets: their names.
        seconds: for all of them together, without what is measured behind each.
        say: takes one line.
        measured: whether to count what each target reaches.

    Returns:
        What came of each.
    """
    FOUND.mkdir(exist_ok=True)
    each = max(1, seconds // len(targets))
    return [supervise(target, each, measured=measured, say=say) for target in targets]


def main() -> int:
    """Returns the exit code: 0 no finding, 1 a finding, 2 wrong usage, 69 no fuzzer."""
    parser = argparse.ArgumentParser(description="Fuzzes mailbell's parsers and state machines.")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--grown", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args()
    targets = options.targets or TARGETS
    if unknown := sorted(set(targets) - set(TARGETS)):
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if importlib.util.find_spec("atheris") is None:
        remedy = "run `make fuzz`, or install it with: pip install -e '.[fuzz,test]'"
        print(f"atheris is missing; {remedy}", file=sys.stderr)
        return 69
    if options.child:
        fuzz(targets[0], options.seconds, options.grown)
    results = fuzz_all(targets, options.seconds, lambda line: print(line, flush=True))
    print(table(results))
    told = totals(results)
    print(f"inputs executed: {told['inputs']}, findings: {told['findings']}")
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    return 1 if told["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
