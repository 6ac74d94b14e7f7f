"""Goes through the files: makes the mutants of each, and has them tried by a process."""

import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec

from torture.mutants.files import IN_PROCESSES, SOURCES, is_tried, module_of, tests_of
from torture.mutants.job import Found, Job, Try
from torture.mutants.mutant import Mutant
from torture.mutants.operators import mutants_of
from torture.mutants.results import Result, Results
from torture.mutants.session import ROOT

__all__ = ["Runner", "tried"]

# Hypothesis tries so many examples where no test says another number: the mutants are many, and
# what the first examples show is shown by every run. What survived is tried with those of
# `make test`.
EXAMPLES: Final = "15"
EXAMPLES_AGAIN: Final = "40"
A_MUTANT: Final = 0.5  # takes about so long, in seconds
# Seconds. A slower test is left out, but for what has survived the others, or starts a daemon.
LONGEST: Final = 4.0
LONGEST_AGAIN: Final = 20.0
REST: Final = 20.0  # seconds between two times that the results are written
LEAST: Final = 20  # a smaller sample of a file says nothing


def tried(job: Job, environment: Mapping[str, str], tell: Callable[[Found], None]) -> None:
    """Have a process do a job.

    Args:
        job: what it is to try.
        environment: of the process.
        tell: is given each result as it comes.

    Raises:
        RuntimeError: the process failed; the message says why.
    """
    words = [sys.executable, "-m", "torture.mutants.forge"]
    with subprocess.Popen(
        words, cwd=ROOT, env=environment, text=False,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        asked, answers, errors = _pipes(process)
        asked.write(msgspec.json.encode(job))
        asked.close()
        for line in answers:
            tell(msgspec.json.decode(line, type=Found))
        error = errors.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(error.strip() or f"{job.module}: exit status {process.returncode}")


def _pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise ValueError("it was started without pipes")
    return process.stdin, process.stdout, process.stderr


class Runner:
    """Tries mutants until the time is over.

    Args:
        results: what is known; it is added to, and written after each file.
        seconds: how long it may take, about.
        seed: chooses the mutants where there is no time for all.
        say: is told each file.
        most: how many mutants of a file are tried in this run; None: all.
    """

    def __init__(
        self,
        results: Results,
        seconds: float,
        seed: int,
        say: Callable[[str], None],
        *,
        most: int | None = None,
    ) -> None:
        self._results = results
        self._end = time.monotonic() + seconds
        self._seed = seed
        self._say = say
        self._most = most
        self._writing = threading.Lock()
        self._waiting: list[str] = []
        self._written = time.monotonic()
        self.failures: list[str] = []

    def run(self, names: Sequence[str], workers: int = 1, *, again: bool = False) -> None:
        """Try the mutants of some files.

        Args:
            names: of the files, the most important first.
            workers: how many are tried at the same time.
            again: try those that survived, not those that were not tried.
        """
        self._waiting = list(names)
        threads = [threading.Thread(target=self._work, args=(again,)) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, again: bool) -> None:
        while time.monotonic() < self._end:
            with self._writing:
                if not self._waiting:
                    return
                name = self._waiting.pop(0)
            self._file(name, again=again)

    def _file(self, name: str, *, again: bool) -> None:
        source = (SOURCES / f"{name}.py").read_text()
        if not _is_installed(module_of(name), source):
            self._fail(f"{name} is not installed as it is here: make .venv/bin/.test")
            return
        mutants = [each for each in mutants_of(source) if is_tried(name, each.change.scope)]
        with self._writing:
            result = self._results.of(name, source, mutants)
        numbers = self._chosen(result.again() if again else result.left(), name)
        if not numbers:
            return
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
            chosen = [mutants[number] for number in numbers]
            job = _job(name, source, chosen, scratch, again=again)
            environment = _environment(EXAMPLES_AGAIN if again else EXAMPLES)
            by_name = {mutants[number].name: number for number in numbers}
            self._do(job, environment, result, by_name, mutants)
        with self._writing:
            self._results.write()
        self._say(
            f"{name}: {result.found} of {result.tried} mutants found, {len(result.left())} not "
            f"tried; {len(numbers)} in {time.monotonic() - began:.0f} s"
        )

    def _do(
        self,
        job: Job,
        environment: Mapping[str, str],
        result: Result,
        numbers: Mapping[str, int],
        mutants: Sequence[Mutant],
    ) -> None:
        def tell(found: Found) -> None:
            if found.outcome is not None:
                number = numbers[found.name]
                with self._writing:
                    result.note(number, mutants[number], found.outcome)
                    self._write_now_and_then()

        try:
            tried(job, environment, tell)
        except RuntimeError as error:
            self._fail(str(error))

    def _fail(self, why: str) -> None:
        self.failures.append(why)
        self._say(why)

    def _write_now_and_then(self) -> None:
        if time.monotonic() - self._written > REST:
            self._written = time.monotonic()
            self._results.write()

    def _chosen(self, numbers: Sequence[int], name: str) -> list[int]:
        """Take a sample where there is no time for all."""
        fits = max(LEAST, round((self._end - time.monotonic()) / A_MUTANT))
        if self._most is not None:
            fits = min(fits, self._most)
        if len(numbers) <= fits:
            return list(numbers)
        chooser = random.Random(f"{self._seed} {name}")  # noqa: S311  it is to be repeatable
        return sorted(chooser.sample(numbers, fits))


def _job(name: str, source: str, mutants: Sequence[Mutant], scratch: str, *, again: bool) -> Job:
    tries = [
        Try(each.name, each.change.scope, each.change.in_body, each.applied(source))
        for each in mutants
    ]
    return Job(
        module_of(name), source, tests_of(name), tuple(tries), f"{scratch}/pytest",
        processes=name in IN_PROCESSES,
        longest=LONGEST_AGAIN if again or name in IN_PROCESSES else LONGEST,
    )  # fmt: skip


def _environment(examples: str) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return {**os.environ, "HYPOTHESIS_EXAMPLES": examples, "PYTHONPATH": paths}


def _is_installed(module: str, source: str) -> bool:
    """Tell whether what the tests run is what is changed."""
    found = importlib.util.find_spec(module)
    return found is not None and Path(found.origin or "").read_text() == source
