"""Runs tests of this project within this process, as a plugin of pytest."""

import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import Phase, settings

from torture.mutants.attempt import Time

__all__ = ["ROOT", "Chosen", "Collected", "pytest_run", "run_items", "silence"]

ROOT: Final = Path(__file__).resolve().parents[2]


def pytest_run(tests: Collection[str], scratch: str, plugin: object) -> int:
    """Run pytest, and return its exit status.

    Args:
        tests: the arguments that name the tests.
        scratch: a folder for the tests.
        plugin: gets the hooks.
    """
    # Plugins that were imported before cannot be rewritten, and need not be.
    options = [
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    where = ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), f"--basetemp={scratch}"]
    return int(pytest.main([*options, *where, *tests], plugins=[_Quick(), plugin]))


class _Quick:
    """Hypothesis looks for a counterexample, but not for the simplest one, and always the same."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Set that before the files of tests are read, and after conftest.py is."""
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile(
            "mutants", settings(), phases=phases, derandomize=True, database=None
        )
        settings.load_profile("mutants")


class Collected:
    """Collects the tests, and then does something else with them than to run them all.

    Args:
        then: gets the tests.
    """

    def __init__(self, then: Callable[[Sequence[pytest.Item]], None]) -> None:
        self._then = then
        self.at_failure: Callable[[], object] = lambda: None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the place of pytest's loop."""
        self._then(session.items)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell of a failure."""
        if report.failed:
            self.at_failure()


class Chosen:
    """Runs the named tests only, in the order of their names, and notes the first failure.

    Args:
        names: of the tests, as pytest has them.
        failed: is called at the first failure, and does not return.
    """

    def __init__(self, names: Sequence[str], failed: Callable[[], object]) -> None:
        self._place = {name: place for place, name in enumerate(names)}
        self._failed = failed

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the others out."""
        chosen = [item for item in items if item.nodeid in self._place]
        if len(chosen) < len(self._place):
            self._failed()  # with the change there are other tests: that too is seen by all
        items[:] = sorted(chosen, key=lambda item: self._place[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """End at a failure."""
        if report.failed:
            self._failed()


def run_items(items: Sequence[pytest.Item], each: Callable[[int, Time], None]) -> None:
    """Run some tests of a session, in their order.

    Args:
        items: the tests.
        each: is told the number of each test that has ended, and how long it took.
    """
    for number, item in enumerate(items):
        began, used = time.monotonic(), time.process_time()
        following = items[number + 1] if number + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        each(number, Time(time.monotonic() - began, time.process_time() - used))


def silence() -> None:
    """Forget what the tests print."""
    nowhere = open("/dev/null", "w")  # noqa: SIM115  it stays open until the process ends
    sys.stdout.flush()
    sys.stdout = sys.stderr = nowhere
