"""For all tests: what a skip may hide, what is inherited, what is told at the end.

A skipped test shows nothing, and nobody reads the list of the skipped. With
`MAILBELL_STRICT=1` in the environment a skip is therefore a failure, unless its
reason stands in `ALLOWED`. `.ci/run` sets it for root: on a machine for tests
everything that has to be shown is shown.
"""

import os
import re
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import settings

STRICT: Final = os.environ.get("MAILBELL_STRICT") == "1"

# The reason of a skip, as a regular expression of all of it, and why the claim is shown
# all the same or is none on such a machine. Nothing else belongs here: a program that
# is not installed, or a privilege that is not given, is to be had on a machine for tests.
ALLOWED: Final = {
    # Containers keep CAP_SYS_RESOURCE even from root. The test after it shows the
    # same with a kernel that is made to grant the attempt.
    r"needs CAP_SYS_RESOURCE; .*": "test_limits_that_could_be_raised_again_are_noticed",
    # Some containers let everyone bind low ports. The refusal is shown by a daemon
    # in a network namespace of its own, where nobody has changed that.
    r"port 79 needs no privilege here": "test_without_the_privilege_for_port_79_it_says_how",
    # The kernel is older than what would be tested, or was built without it.
    r"this kernel lets anyone filter a TCP socket": "there is no refusal to recover from",
    r"this kernel offers version \d+": "a rule that its Landlock does not have",
    r"(TCP|scopes) came with version \d+": "a rule that its Landlock does not have",
    r"this kernel reads no socket with RWF_NOWAIT": "the other way to read is tested there",
    r"binfmt_misc of a namespace came with Linux 6.7": "no arm64 machine can be made there",
    r"PR_SET_MDWE came with Linux 6.3": "what the daemon says without it has a test of its own",
    r"this kernel makes no 32-bit calls": "there is no second architecture to keep out",
    r"no MPTCP here: .*": "there is no such socket to refuse",
    r"SO_PASSRIGHTS needs Linux 6.16: .*": "SECURITY.md claims it for such kernels only",
    # The architecture has no such thing, nor a claim about it.
    r"x32 is of x86-64|of x86-64 only": "there is no second way to call the kernel",
    r"of x86-64 and aarch64 only": "mailbell claims nothing of other architectures",
    r"this architecture has no such call": "a call that cannot be made",
    r"the names are chosen for x86-64": "test_abi has the names of every architecture",
    # Debian keeps the version that was there first until its next point release.
    r"Debian 12 offers no Thunderbird 140 any more": "who updates has none of it either",
    # The other tests of a cluster fail without it.
    r"coredis is not installed; Debian has no package of it": "the stages `test` and `cluster`",
    # docs/install.md names other ways for them.
    r"Debian 12 has too old a Trio for the packages": "pipx is the way there",
    r"what the packages depend on is fetched for amd64 only": "they are the same files for all",
    # They take minutes, so they have a stage of their own.
    r".* is not installed; the stage `(servers|programs|e2e|packages` or `ways|documents|torture)` "
    r"of .ci/run installs it": "it shows it",
    # They take long, so they have a command of their own; `.ci/run` tries one machine.
    r"`make vm` makes the machine": "make vm, and the stage `machine` of .ci/run",
    # Older versions of Python have no such way in.
    r"remote debugging came with CPython 3\.14": "the stage `python-3.14` of .ci/run has it",
    r"this Python has no remote debugging": "the machine `newest` has it",
    # Not ours to raise; what the daemon says then has a test of its own.
    r".*net\.core\.optmem_max.*": "test_too_large_for_the_kernels_memory_says_what_to_raise",
}

# What says the same with every Python and every version of a dependency, because it asks the
# kernel, libseccomp, systemd, node_exporter, a mail program or V8: with an attack, or with every
# rule of a policy. Or it asks our sources alone. `.ci/run` runs it once; the stages of other
# Pythons say `-m "not once"`. Some tests of other files have the mark too: they ask the kernel with
# a compiled filter and a bare interpreter. The rest of the tests runs each program of ours, the
# agent and its commands too, with each Python and each dependency.
ONCE: Final = {
    "bench", "clients", "completion", "demo", "documents", "end_to_end", "machines",
    "mail_programs", "mail_servers", "manual", "packages", "service_files", "site", "torture",
    "sandbox/test_program.py", "sandbox/test_companion_program.py", "cli/test_collector.py",
    "sandbox/test_companion_rules.py", "sandbox/test_each_layer.py", "sandbox/test_intruder.py",
    "sandbox/test_intruder_ways_round.py", "sandbox/test_sender_attacks.py", "test_layers.py",
}  # fmt: skip
# In a folder of ONCE, but written with msgspec and matplotlib, or with the library that has V8.
NOT_ONCE: Final = {
    "bench/test_report.py", "bench/test_run.py", "bench/test_push_page.py", "clients/test_text.py",
}  # fmt: skip
# Tests of what measures or attacks the programs, and of no program. Stages of `.ci/run` have them;
# `make test` is for who changes the programs, and is to be quick.
ASIDE: Final = {"bench", "torture"}
HERE: Final = Path(__file__).parent

# Real programs, whose branches are not counted, and rooms without a pure module. A pure module
# has its tests in its room: the branches that they miss are missed although these run.
UNCOUNTED: Final = {
    "bench", "clients", "completion", "demo", "documents", "end_to_end", "examples", "hook",
    "machines", "mail_programs", "mail_servers", "manual", "packages", "sandbox", "service_files",
    "serving", "site", "system", "torture",
}  # fmt: skip

FIGURE: Final = "sandbox: "

# How long an example takes says nothing on a machine that runs other tests beside. One stage of
# `.ci/run` tries each property with more examples than `make test`, which is to take less time.
EXAMPLES: Final = int(os.environ.get("HYPOTHESIS_EXAMPLES", "25"))
settings.register_profile("mailbell", deadline=None, max_examples=EXAMPLES)
settings.load_profile("mailbell")

# pytest rewrites the assertions of each test file, which takes most of the time until the first
# test. Each worker would do it in each run again if the environment forbids to keep the result.
# What the tests start inherits the environment as it was.
sys.dont_write_bytecode = False

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_configure() -> None:
    """Let SIGINT and SIGQUIT mean what they do in a terminal, for us and for what we start.

    A shell ignores them for what it starts in the background. That is inherited,
    and Python leaves it so; the daemon would then not end on it.
    """
    # With it in the environment, faults of buffered output would go unnoticed.
    os.environ.pop("PYTHONUNBUFFERED", None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is run once; begin with what takes longest, one for each worker."""
    for item in items:
        path = item.path.relative_to(HERE)
        if str(path) not in NOT_ONCE and ONCE & {str(path), *map(str, path.parents)}:
            item.add_marker(pytest.mark.once)
        if path.parts[0] in ASIDE and not item.get_closest_marker("long"):
            item.add_marker(pytest.mark.aside)
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if item not in long]
    share = len(others) // max(1, len(long))
    for number, item in enumerate(long):
        others.insert(number * (share + 1), item)
    items[:] = others


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Count branches only in tests of rooms that have pure modules: counting takes long."""
    counting = _counting()
    uncounted = item.get_closest_marker("uncounted") is not None
    uncounted = uncounted or item.path.relative_to(HERE).parts[0] in UNCOUNTED
    if counting is None or not uncounted:
        return (yield)
    counting.stop()
    try:
        return (yield)
    finally:
        counting.start()


def _counting() -> Any:
    """Return what counts branches in this run; None: nothing does."""
    coverage = sys.modules.get("coverage")
    return coverage.Coverage.current() if coverage else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge a test that was skipped."""
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge a file that was skipped."""
    return _judged((yield))


def _judged(report: Report) -> Report:
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        reason = _reason(report)
        if not any(re.fullmatch(allowed, reason, re.DOTALL) for allowed in ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped, and MAILBELL_STRICT does not allow that: {reason}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    # pytest: for a skip this is the file, the line, and "Skipped: " with the reason.
    where = report.longrepr
    text = str(where[2] if isinstance(where, tuple) else where)
    return text.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Print what the tests of the sandbox have counted (their `record_property`).

    What several tests count under the same name is added up.
    """
    counted = [
        (name.removeprefix(FIGURE), value)
        for reports in terminalreporter.stats.values()
        for report in reports
        # The report of a test's end holds them a second time.
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name.startswith(FIGURE)
    ]
    figures: dict[str, Any] = {}
    for name, value in counted:
        figures[name] = figures[name] + value if name in figures else value
    if figures:
        terminalreporter.section("the sandbox in figures")
        for name, value in sorted(figures.items()):
            terminalreporter.line(f"{name}: {value}")


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that other users can reach too; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def empty_path() -> Iterator[Path]:
    """A directory to mount something on, outside of what may be closed to others."""
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        yield Path(name)
