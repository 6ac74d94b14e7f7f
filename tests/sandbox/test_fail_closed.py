"""Fail closed: if any step of the start-up fails, no connection is served.

Each start is that of the real daemon in its own process. A step fails because of the kernel's
answer to its call, or because of what the process finds on its machine
(`sandbox.start.steps`). The strongest form is a false answer: the kernel reports that it has
done what it was asked to do, and has not.
"""

import os
import platform
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Final

import pytest
from harness.answering import Answer, Call, Made
from sandbox.start.attempt import Attempt, attempt
from sandbox.start.steps import (
    FAILURES,
    GET_PDEATHSIG,
    HARMLESS,
    LIES,
    STEPS,
    TOLERATED,
    WRONG_STATUS,
    Case,
    Who,
)
from sandbox.start.surroundings import as_an_ordinary_user, file_says, require_granted

ROOT: Final = os.geteuid() == 0
Record = Callable[[str, object], None]


def start(directory: Path, case: Case) -> Attempt:
    """Start the daemon as a case describes."""
    require_possible(case)
    user = (as_an_ordinary_user(),) if case.who is Who.USER else ()
    modules = case.modules(directory) if case.modules else {}
    return attempt(
        directory,
        answers=case.answers,
        before=(*user, *case.before),
        environ={**modules, **dict(case.environ)},
        passed=case.passed,
        more=case.more,
    )


def require_possible(case: Case) -> None:
    if case.who is Who.ROOT and not ROOT:
        pytest.skip("needs root, who has something to drop")
    if case.who is Who.USER or (case.before and not ROOT):
        require_granted()
    if case.mdwe and tuple(map(int, platform.release().split(".")[:2])) < (6, 3):
        pytest.skip("PR_SET_MDWE came with Linux 6.3")


def require_not_started(ended: Attempt, case: Case) -> None:
    """It ended with what is wrong, where, and what to do, and no connection was served."""
    assert not ended.ready, ended
    assert not ended.accepted, ended
    assert not ended.connectable, ended
    assert ended.code == case.code, ended
    assert len(ended.lines) == case.lines, ended
    for line in ended.lines:
        assert line.startswith("mailbelld: "), ended
    for part in case.parts:
        assert any(part in line for line in ended.lines), ended
    if ended.lines:
        assert "; " in ended.lines[-1], f"no remedy: {ended}"


def require_started(ended: Attempt, case: Case) -> None:
    """It was locked, it served, and it ended when it was asked to."""
    assert ended.code == 0, ended
    assert ended.accepted, ended
    for part in case.parts:
        assert any(part in line for line in ended.lines), ended
    says = lines_of(ended.status)
    assert (says["Seccomp"], says["NoNewPrivs"], says["Threads"]) == ("2", "1", "1")
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(says[name], 16) == 0, name


def lines_of(status: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in status.decode().splitlines())
    return {key: value.strip() for key, _, value in pairs}


NOTHING: Final = Case("ready", "nothing goes wrong", 0, ("event=locked",))


def test_when_nothing_goes_wrong_it_starts(tmp_path: Path) -> None:
    """The control: without it, the tests below could pass for another reason."""
    ended = start(tmp_path, NOTHING)
    require_started(ended, NOTHING)
    assert ended.ready
    assert any("event=notification account=default" in line for line in ended.lines)


def test_the_same_way_an_ordinary_user_starts_it(tmp_path: Path) -> None:
    case = Case("ready", "nothing goes wrong", 0, ("event=locked",), who=Who.USER)
    ended = start(tmp_path, case)
    require_started(ended, case)
    assert ended.ready


@pytest.mark.parametrize("case", FAILURES, ids=str)
def test_a_step_that_fails_ends_it(case: Case, tmp_path: Path, record_property: Record) -> None:
    require_not_started(start(tmp_path, case), case)
    record_property("sandbox: start-up failures tried", 1)


@pytest.mark.parametrize("case", LIES, ids=str)
def test_a_kernel_that_lies_is_not_believed(
    case: Case, tmp_path: Path, record_property: Record
) -> None:
    require_not_started(start(tmp_path, case), case)
    record_property("sandbox: lies told at start-up", 1)


@pytest.mark.parametrize("case", HARMLESS, ids=str)
def test_what_makes_no_difference_makes_none(case: Case, tmp_path: Path) -> None:
    require_started(start(tmp_path, case), case)


@pytest.mark.parametrize("case", TOLERATED, ids=str)
def test_what_it_can_do_without_it_says(case: Case, tmp_path: Path) -> None:
    require_started(start(tmp_path, case), case)


@pytest.fixture(scope="module")
def good_status(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The kernel's report about a locked daemon."""
    ended = start(tmp_path_factory.mktemp("good"), NOTHING)
    require_started(ended, NOTHING)
    return ended.status


def test_a_status_that_is_right_is_believed(tmp_path: Path, good_status: bytes) -> None:
    """The control of the next test."""
    case = Case("lock", "the status", 0, (), before=(file_says("/proc/self/status", good_status),))
    require_started(start(tmp_path, case), case)


@pytest.mark.parametrize(("name", "value", "complaint", "who"), WRONG_STATUS)
def test_a_status_that_is_wrong_in_one_line_ends_it(
    name: str,
    value: str | None,
    complaint: str,
    who: Who,
    tmp_path: Path,
    good_status: bytes,
    record_property: Record,
) -> None:
    lines = good_status.decode().splitlines(keepends=True)
    (right,) = (line for line in lines if line.startswith(f"{name}:"))
    wrong = "" if value is None else f"{name}:\t{value}\n"
    text = "".join(wrong if line == right else line for line in lines).encode()
    code = 71 if "traces" in complaint else 70
    case = Case(
        "lock", name, code, (complaint,), who=who, before=(file_says("/proc/self/status", text),)
    )
    require_not_started(start(tmp_path, case), case)
    record_property("sandbox: start-up failures tried", 1)


# The calls that make or prove the lock. Each is refused once. Each is falsely reported as done
# once, except those in `INTO_MEMORY`.
LOCKING: Final = {
    "prctl", "capset", "capget", "setgroups", "getgroups", "setresuid", "getresuid", "setuid",
    "setresgid", "getresgid", "setgid", "prlimit64", "landlock_create_ruleset",
    "landlock_restrict_self", "seccomp",
}  # fmt: skip
# The kernel writes the answers of these calls into memory, which a false answer cannot do.
INTO_MEMORY: Final = (
    Call("capget"), Call("getresuid"), Call("getresgid"), Call("getgroups"),
    Call("prlimit64", ((2, 0),)), Call("prctl", ((0, GET_PDEATHSIG),)),
)  # fmt: skip
# The calls that open, ask and wait, as in any program. A call in neither list is a new one: it
# belongs in the first list, or in this one if it has nothing to do with the lock.
ORDINARY: Final = {
    "openat", "read", "write", "lseek", "newfstatat", "fstat", "readlink", "readlinkat",
    "getdents64", "preadv2", "ioctl", "fcntl",
    "dup", "dup2", "dup3", "umask", "chmod", "fchmodat", "chown",
    "fchownat", "removexattr", "getxattr", "lgetxattr", "getcwd",
    "socket", "socketpair", "bind", "listen", "connect", "getsockname", "getsockopt", "setsockopt",
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
    "getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getrandom", "clock_gettime",
    "personality", "futex", "setitimer", "rt_sigaction", "rt_sigprocmask",
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    """A good start, with every call it made."""
    ended = attempt(tmp_path_factory.mktemp("recorded"), record=True)
    assert ended.ready, ended
    assert any(name == "sendto" for name, _ in ended.calls)
    return ended


def test_no_call_of_the_lock_is_without_its_failure_and_its_lie(recorded: Attempt) -> None:
    """So a new step, or a new option, cannot be forgotten in the lists above."""
    made = list(takewhile(lambda call: call[0] != "sendto", recorded.calls))  # until it is ready
    assert {name for name, _ in made} - LOCKING - ORDINARY == set()
    locking = [call for call in made if call[0] in LOCKING]
    assert len(locking) > 30
    answers = [answer for case in (*FAILURES, *LIES, *HARMLESS) for answer in case.answers]
    assert [call for call in locking if not any_fits(call, answers, lie=False)] == []
    told = [call for call in locking if not any(kind.fits(*call) for kind in INTO_MEMORY)]
    assert [call for call in told if not any_fits(call, answers, lie=True)] == []


def test_starting_it_runs_no_other_program(recorded: Attempt) -> None:
    """Some libraries do this when they are imported, and perhaps as root."""
    names = [name for name, _ in (*recorded.earlier, *recorded.calls)]
    assert names.count("execve") == 1
    assert set(names) & {"execveat", "fork", "vfork", "clone", "clone3"} == set()


def any_fits(call: Made, answers: list[Answer], *, lie: bool) -> bool:
    return any(a.call.fits(*call) for a in answers if (a.result >= 0) == lie)


def test_the_steps_come_in_their_order() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    table = documented.partition("| step | what happens |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1].strip().strip("`") for line in table.splitlines()[2:]]
    assert tuple(rows) == STEPS
    for cases in (FAILURES, LIES):
        places = [STEPS.index(case.step) for case in cases]
        assert places == sorted(places)
    assert {case.step for case in FAILURES} == set(STEPS[:-1])
