"""Tries the mutants of one file: reads a `Job` from its standard input, writes a `Found` a line.

What is imported for every test is imported once, then each mutant has a fork of its own. Most
mutants change the body of one function: they get a fork of a process that has collected all tests,
and the changed code is put into the living function. The others change what is done when the file
is imported: they get a fork of a process that has not imported the project yet.

A mutant that survives the quick way is tried the slow way too if its function has run before it was
changed: the tests may have what it returned then.
"""

import fcntl
import gc
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import hypothesis
import msgspec
import pytest
import trio

from torture.mutants.attempt import KILLED, SURVIVED, Time, adopt_orphans, attempted
from torture.mutants.changed import Finder, mount
from torture.mutants.job import Found, Job, Outcome, Try
from torture.mutants.reach import Reach, early
from torture.mutants.session import Chosen, Collected, pytest_run, run_items, silence
from torture.mutants.swap import Functions

__all__ = ["Plan"]

IMPORTED_ONCE: Final = (hypothesis, msgspec, pytest, trio)
BASELINE: Final = Time(60.0, 30.0)
NOTHING: Final = Time(0.0, 0.0)
TO_COLLECT: Final = Time(10.0, 3.0)
FAR: Final = 100  # the least number of the descriptor for answers


class Test(msgspec.Struct, frozen=True):
    """What is known of a test that passes.

    Attributes:
        name: as pytest has it.
        file: where it is.
        time: how long it takes.
        scopes: the functions of the file that it runs.
    """

    name: str
    file: str
    time: Time
    scopes: frozenset[str]


class Plan(msgspec.Struct, frozen=True):
    """The tests of a file, the quickest first.

    Attributes:
        tests: those that pass and are quick enough.
        left_out: how many are not.
        early: the functions that run before any test does, so that each may depend on them.
    """

    tests: tuple[Test, ...]
    left_out: int
    early: frozenset[str]

    def of(self, scope: str, *, processes: bool) -> list[Test]:
        """Return the tests that run a function; all if none does, or if it is none.

        Args:
            scope: the function or method; empty: none.
            processes: whether to take those too that run no function of the file, because
                they start programs that do.
        """
        if scope in self.early:
            return list(self.tests)
        reaching = [test for test in self.tests if scope in test.scopes]
        if processes and reaching:
            reaching += [test for test in self.tests if not test.scopes]
        return reaching or list(self.tests)


class Forge:
    """Tries what one job asks for.

    Args:
        job: what is to be tried.
        tell: is given each result.
    """

    def __init__(self, job: Job, tell: Callable[[Found], None]) -> None:
        self._job = job
        self._tell = tell
        self._open = {each.name: each for each in job.tries}
        self._file = file_of(job.module)

    def run(self) -> None:
        """Try all."""
        adopt_orphans()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            Collection(self._job, self._file, writer).run()
        os.close(writer)
        with open(reader, "rb") as answers:
            first = answers.readline()
            if not first:
                raise SystemExit(f"{self._job.module}: its tests cannot be collected")
            plan = msgspec.json.decode(first, type=Plan)
            if not plan.tests:
                raise SystemExit(f"{self._job.module}: no test passes")
            self._tell(Found("", detail={"tests": len(plan.tests), "left out": plan.left_out}))
            for line in answers:
                found = msgspec.json.decode(line, type=Found)
                self._tell(found)
                del self._open[found.name]
        os.waitpid(pid, 0)
        self._import_all(plan)

    def _import_all(self, plan: Plan) -> None:
        """Try the rest of the mutants by importing each."""
        if self._open and self._imported(self._job.source, plan, "")[0] is not Outcome.SURVIVED:
            raise SystemExit(f"{self._job.module}: its tests fail where nothing is changed")
        for each in self._open.values():
            outcome, seconds = self._imported(each.source, plan, each.scope)
            self._tell(Found(each.name, outcome, seconds))

    def _imported(self, source: str, plan: Plan, scope: str) -> tuple[Outcome, float]:
        """Try a source with one file of tests after the other."""
        groups: dict[str, list[Test]] = {}
        for test in plan.of(scope, processes=self._job.processes):
            groups.setdefault(test.file, []).append(test)
        total = 0.0
        for file, tests in groups.items():
            work = partial(self._in_a_file, source, file, [test.name for test in tests])
            expected = _time([test.time for test in tests], TO_COLLECT)
            outcome, seconds = attempted(work, expected)
            total += seconds
            if outcome is not Outcome.SURVIVED:
                return outcome, total
        return Outcome.SURVIVED, total

    def _in_a_file(self, source: str, file: str, names: Sequence[str]) -> int:
        silence()
        if self._job.processes:
            mount(self._file, source, str(Path(self._job.scratch).parent))
        sys.meta_path.insert(0, Finder(self._job.module, self._file, source))
        chosen = Chosen(names, partial(os._exit, KILLED))
        return KILLED if pytest_run([file], self._job.scratch, chosen) else SURVIVED


class Collection:
    """The process that has collected the tests, and changes living functions in forks of it.

    Args:
        job: what is to be tried.
        file: where Python finds the file.
        writer: where the plan goes, and then each mutant that a test has found.
    """

    def __init__(self, job: Job, file: str, writer: int) -> None:
        self._job = job
        self._file = file
        self._answers = open(writer, "wb", buffering=0)  # noqa: SIM115  until the process ends

    def run(self) -> NoReturn:
        """Collect, and do all."""
        silence()
        adopt_orphans()
        self._pytest = Collected(self._collected)
        self._early = early(self._file)
        pytest_run(self._job.tests, self._job.scratch, self._pytest)
        os._exit(0)

    def _collected(self, items: Sequence[pytest.Item]) -> None:
        importlib.import_module(self._job.module)
        sys.setprofile(None)
        functions = Functions(self._file, self._job.source)
        gc.freeze()
        plan = self._plan(items, functions.scopes)
        self._answers.write(msgspec.json.encode(plan) + b"\n")
        by_name = {item.nodeid: item for item in items}
        for each in self._job.tries:
            tests = [test for test in plan.tests if each.scope in test.scopes]
            if not each.in_body or not tests:
                continue
            chosen = [by_name[test.name] for test in tests]
            work = partial(self._changed, functions, each, chosen)
            outcome, seconds = attempted(work, _time([test.time for test in tests]))
            if outcome is not Outcome.SURVIVED or self._is_final(functions, each):
                self._answers.write(msgspec.json.encode(Found(each.name, outcome, seconds)) + b"\n")

    def _is_final(self, functions: Functions, each: Try) -> bool:
        """Tell whether the other way would show the same."""
        again = each.scope in self._early or self._job.processes
        return not again and functions.put(each.source, each.scope, only_try=True)

    def _changed(self, functions: Functions, each: Try, items: Sequence[pytest.Item]) -> int:
        """Run the tests of a function with its changed code."""
        if not functions.put(each.source, each.scope):
            return SURVIVED  # what cannot be done here is tried the other way
        self._pytest.at_failure = partial(os._exit, KILLED)
        run_items(items, lambda *_: None)
        return SURVIVED

    def _plan(self, items: Sequence[pytest.Item], scopes: Sequence[str]) -> Plan:
        """Run all tests with nothing changed, to learn what each does."""
        reach = Reach(self._file, scopes, len(items))
        attempted(partial(self._watched, items, reach), BASELINE)
        passed = [
            Test(item.nodeid, str(item.path), time, frozenset(reach.scopes(number)))
            for number, item in enumerate(items)
            if (time := reach.time(number)) is not None and time.seconds <= self._job.longest
        ]
        passed.sort(key=lambda test: test.time.seconds)
        return Plan(tuple(passed), len(items) - len(passed), frozenset(self._early))

    def _watched(self, items: Sequence[pytest.Item], reach: Reach) -> int:
        failed = []
        self._pytest.at_failure = lambda: failed.append(True)

        def ended(number: int, time: Time) -> None:
            if not failed:
                reach.passed(number, time)
            failed.clear()
            if number + 1 < len(items):
                reach.watch(number + 1)

        reach.watch(0)
        run_items(items, ended)
        return SURVIVED


def _time(times: Sequence[Time], more: Time = NOTHING) -> Time:
    """Return how long all of them take together."""
    return Time(
        more.seconds + sum(time.seconds for time in times),
        more.processor + sum(time.processor for time in times),
    )


def file_of(module: str) -> str:
    """Return where Python would find a module, without importing what it is in.

    `importlib.util.find_spec` imports the packages around it, and with them perhaps the module.

    Args:
        module: its dotted name.

    Raises:
        SystemExit: there is none.
    """
    first, *rest = module.split(".")
    found = importlib.util.find_spec(first)
    if found is None or found.origin is None:
        raise SystemExit(f"{module} is not installed")
    place = Path(found.origin).parent.joinpath(*rest)
    for file in (
        Path(found.origin) if not rest else place / "__init__.py",
        place.with_suffix(".py"),
    ):
        if file.is_file():
            return str(file)
    raise SystemExit(f"{module} is not installed")


def main() -> None:
    """Do the job that standard input has."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    # A mutant may write to another descriptor than it should, which is a low number.
    answers = os.fdopen(fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, FAR), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def tell(found: Found) -> None:
        answers.write(msgspec.json.encode(found) + b"\n")

    Forge(job, tell).run()


if __name__ == "__main__":
    main()
