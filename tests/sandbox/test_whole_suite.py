"""The whole system suite once more, with every daemon in it watched.

This shows what the daemon really needs once it is locked. The tests of tests/system make it do
everything that it can do. Here they run once more, under strace and with an audit hook at the
same time (`harness.watch`). That takes minutes: `make test` watches a part of the suite, and
`.ci/run` all of it. A part shows that nothing happens that should not. Only the whole shows
that nothing is permitted without need.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest
from harness.watch import ALLOWED, ALLOWED_OF, calls_after_the_lock, events, unexpected

from mailbell.sandbox.policy_file import read_policy
from mailbell.syscalls.policy import ALLOW, Entry, Policy

SUITE: Final = Path(__file__).parent.parent / "system"
# Both programs serve, meet bad clients and real hosts, and end. It takes seconds.
PART: Final = (
    "test_after_the_lock.py",
    "test_network.py",
    "test_sender_input.py::test_bad_input_is_one_outcome_one_line_and_a_closed_connection",
    "test_sender_input.py::test_no_login_comes_from_an_address_that_is_never_called",
    "test_sender_input.py::test_biff_datagrams_and_events_of_cyrus_ring",
    "test_sender_input.py::test_a_user_speaks_for_the_own_account_only",
)
PROGRAMS: Final = ("mailbelld", "mailbell-sender")
# How many of each are at least seen, so that a run in which nothing was watched is noticed.
SEEN: Final = {"mailbelld": 50, "mailbell-sender": 15}
SEEN_OF_A_PART: Final = {"mailbelld": 3, "mailbell-sender": 3}
PERMITTED: Final = 40  # calls, at most
MINUTES: Final = 15
# Whether these are needed depends on the machine or on its Python, not on the daemon.
DEPENDS: Final = {"clock_gettime", "fstat", "futex", "getrandom", "newfstatat", "recvfrom"}

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

Seen = dict[str, Counter[tuple[int, ...]]]
Publish = Callable[[str, object], None]


def run_suite(directory: Path, files: Iterable[Path] = (SUITE,)) -> None:
    """Run tests/system with its daemons watched. Their records are then in the directory.

    Beside other tests it is one at a time, so that it leaves the cores to them.
    """
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    directory.chmod(0o777)  # the daemon may be another user
    workers = "0" if "PYTEST_XDIST_WORKER" in os.environ else "4"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", workers, "-p", "no:cacheprovider", *files],
        env={**inherited, "MAILBELL_WATCH": str(directory)},
        cwd=SUITE.parent.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False, timeout=MINUTES * 60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def require_nothing_unexpected(program: str, reports: Iterable[Path], seen: int) -> None:
    """Nothing is imported, opened, made or started once a daemon is locked."""
    locked = [report for report in map(events, reports) if report]
    assert len(locked) > seen, program
    allowed = {**ALLOWED, **ALLOWED_OF.get(program, {})}
    assert unexpected({line for report in locked for line in report}, allowed) == []


def calls_of(program: str, directory: Path, policy: Policy) -> Seen:
    """Return the calls of all daemons of a program; none is a call that is not permitted."""
    seen = calls_of_all(directory.glob(f"trace-{program}-*"))
    assert seen.keys() >= {"accept4", "recvfrom", "sendto", "exit_group"}, "nothing was seen"
    assert seen.keys() <= {call for entry in policy.entries for call in entry.calls}
    return seen


def calls_of_all(traces: Iterable[Path]) -> Seen:
    """Return the calls of all daemons once they were locked."""
    found: Seen = {}
    for trace in traces:
        for call, arguments in calls_after_the_lock(trace):
            found.setdefault(call, Counter())[arguments] += 1
    return found


def unused(entry: Entry, seen: Seen) -> Iterator[str]:
    """Name the calls of an entry that were not used, and for the others the unused values."""
    for call in entry.calls:
        if call not in seen:
            yield call
    for condition in (c for c in (*entry.within, *entry.conditions) if not c.negated):
        taken = {a[condition.argument] & condition.mask for each in used(entry, seen) for a in each}
        for value in condition.values if taken else ():
            if value.number is not None and value.number not in taken:
                yield value.text


def used(entry: Entry, seen: Seen) -> list[Counter[tuple[int, ...]]]:
    return [seen[call] for call in entry.calls if call in seen]


def silent(seen: Seen, policy: Policy) -> list[str]:
    """Name what is permitted, was not used, and is not named in `unused`."""
    return [
        f"{name} of {', '.join(entry.calls)}"
        for entry in policy.entries
        if entry.action == ALLOW
        for name in unused(entry, seen)
        if not re.search(rf"(^|[ ,]){re.escape(name)}($|[ ,:;])", entry.unused)
    ]


def stale(seen: Seen, policy: Policy) -> list[str]:
    """Name the paragraphs that claim something unused although all of it was used."""
    return [
        ", ".join(entry.calls)
        for entry in policy.entries
        if entry.unused and not DEPENDS & set(entry.calls) and not list(unused(entry, seen))
    ]


# With another Python the rules differ as little as with another dependency: the tests of the system
# run with each, and a call that is not permitted ends them.
@pytest.mark.once
def test_nothing_happens_that_should_not(open_path: Path, record_property: Publish) -> None:
    run_suite(open_path, [SUITE / name for name in PART])
    for program in PROGRAMS:
        policy = read_policy(program)
        reports = open_path.glob(f"audit-{program}-*")
        require_nothing_unexpected(program, reports, SEEN_OF_A_PART[program])
        calls_of(program, open_path, policy)
        assert len(policy.permitted) <= PERMITTED
        record_property(f"sandbox: permitted calls of {program}", len(policy.permitted))


@pytest.mark.long
def test_what_is_permitted_is_used_or_says_why_not_and_nothing_else_happens(
    open_path: Path, record_property: Publish
) -> None:
    run_suite(open_path)
    for program in PROGRAMS:
        policy = read_policy(program)
        reports = open_path.glob(f"audit-{program}-*")
        require_nothing_unexpected(program, reports, SEEN[program])
        seen = calls_of(program, open_path, policy)
        assert (program, silent(seen, policy)) == (program, [])
        assert (program, stale(seen, policy)) == (program, [])
        used_by_tests = sum(call in seen for call in policy.permitted)
        record_property(f"sandbox: of these of {program}, used by any test", used_by_tests)
