"""Fuzzes for some time: `python fuzz/run.py [--seconds N] [TARGET...]`. The default: all targets.

The targets share the seconds. Each runs in its own process, because the fuzzer never
returns. An input that breaks an invariant is kept in fuzz/found/ and makes the exit code 1.
fuzz/README.md says what to do with it.
"""

import argparse
import importlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOUND = HERE / "found"
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))
# An input that takes more seconds or more MiB than this is a finding too.
SLOW, LARGE = 10, 1024


def fuzz(target: str, seconds: int) -> None:
    """Fuzzes one target in this process. It does not return.

    Args:
        target: name of the target.
        seconds: how long to fuzz.
    """
    import atheris

    sys.path.insert(0, str(HERE.parent))
    with atheris.instrument_imports(include=["mailbell"]):
        module = importlib.import_module(f"fuzz.fuzz_{target}")
    seeds = [HERE / kind / target for kind in ("corpus", "regressions")]
    with tempfile.TemporaryDirectory() as grown:
        arguments = [
            f"-max_total_time={seconds}",
            f"-timeout={SLOW}",
            f"-rss_limit_mb={LARGE}",
            f"-artifact_prefix={FOUND}/{target}-",
            "-print_final_stats=1",
            grown,  # the first directory is the one libFuzzer adds to
            *(str(path) for path in seeds if path.is_dir()),
        ]
        atheris.Setup([sys.argv[0], *arguments], module.check)
        atheris.Fuzz()


def supervise(target: str, seconds: int) -> bool:
    """Runs `fuzz` in a child process.

    Args:
        target: name of the target.
        seconds: how long to fuzz.

    Returns:
        Whether there was no finding.
    """
    print(f"fuzz {target}: {seconds} s", flush=True)
    command = [sys.executable, __file__, "--child", "--seconds", str(seconds), target]
    child = subprocess.run(command, check=False, timeout=seconds + 10 * SLOW)  # noqa: S603 - ourselves
    if child.returncode:
        print(f"fuzz {target}: finding, see {FOUND} (exit code {child.returncode})", flush=True)
    return child.returncode == 0


def main() -> int:
    """Returns the exit code: 0 no finding, 1 a finding, 2 wrong usage, 69 no fuzzer."""
    parser = argparse.ArgumentParser(description="Fuzzes mailbell's parsers and state machines.")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args()
    targets = options.targets or TARGETS
    if unknown := sorted(set(targets) - set(TARGETS)):
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if importlib.util.find_spec("atheris") is None:
        remedy = "run `make fuzz`, or install it with: pip install -e '.[fuzz]'"
        print(f"atheris is missing; {remedy}", file=sys.stderr)
        return 69
    if options.child:
        fuzz(targets[0], options.seconds)
    FOUND.mkdir(exist_ok=True)
    each = max(1, options.seconds // len(targets))
    clean = [supervise(target, each) for target in targets]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
