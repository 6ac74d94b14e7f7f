"""System calls of the daemons fail: what is found, and that each check can fail."""

import errno
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from harness.sender import PATIENCE

from mailbell.sandbox.policy_file import read_policy
from torture.faults import life
from torture.faults.errors import ALL_MEMORY, ERRORS, NO_ERRORS, codes
from torture.faults.house import House
from torture.faults.launching import Launch, launch
from torture.faults.listener import Listener
from torture.faults.page import NEVER, PAGE, render
from torture.faults.plan import HOUSES, opened
from torture.faults.run import run
from torture.faults.sender import Sender
from torture.faults.start import Start, attempt_start
from torture.faults.tally import Tally
from torture.faults.trial import (
    Behaviour,
    Outcome,
    Trial,
    When,
    attempt,
    judge_end,
    restarted,
)
from torture.faults.unotify import FIRST, OTHERS, Fault

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may look at a locked daemon")

# Doors that a daemon is started through instead of its own: each plants a fault of its own.
DOOR: Final = "from mailbell.cli import mailbelld; mailbelld.main()"
WITHOUT_A_PAUSE: Final = f"from mailbell.serving import intake; intake.PAUSE = 0.0; {DOOR}"
FORGETFUL: Final = f"""
from mailbell.listener import _local_service as local
subscribe = local.LocalService._subscribe
def forget(self, request, *rest):
    return subscribe(self, type(request)(request.accounts), *rest)
local.LocalService._subscribe = forget
{DOOR}
"""
GIVES_UP: Final = f"from mailbell.serving import intake; intake.PAUSE = 1e9; {DOOR}"
SAYS_NOTHING: Final = f"""
import os
from mailbell.serving.intake import Intake
Intake._note = lambda self, error: os._exit(3)
{DOOR}
"""


def behaviour(house: House, *trials: Trial) -> list[Behaviour]:
    """Make some faults; return what the daemon does about each."""
    assert restarted(house) == ""
    outcomes = [attempt(house, trial) for trial in trials]
    print(*outcomes, sep="\n")
    return [outcome.behaviour for outcome in outcomes]


@needs_root
@pytest.mark.long
def test_mailbelld_lives_through_what_once_ended_it() -> None:
    with opened(Listener, holds=True) as house:
        assert (
            behaviour(
                house,
                Trial("accept4", errno.EMFILE, When.ALWAYS),
                Trial("sendto", errno.ENOBUFS, When.LATER, 2),
                Trial("close", errno.EIO, When.ALWAYS),
            )
            == [Behaviour.SERVED_ON] * 3
        )


@needs_root
@pytest.mark.long
def test_the_sender_lives_through_what_once_ended_it() -> None:
    with opened(Sender, holds=True) as house:
        assert (
            behaviour(
                house,
                Trial("sendto", errno.ECONNRESET, When.NEXT),
                Trial("connect", errno.EACCES, When.ALWAYS),
                Trial("close", errno.EIO, When.NEXT),
            )
            == [Behaviour.SERVED_ON] * 3
        )


@needs_root
@pytest.mark.long
def test_the_companions_live_through_what_once_ended_them() -> None:
    for program in ("mailbell-resolver", "mailbell-cyrus", "mailbell-cluster"):
        with opened(HOUSES[program], holds=True) as house:
            assert (
                behaviour(
                    house,
                    Trial("sendto", errno.ENOBUFS, When.NEXT),
                    Trial("recvfrom", errno.ENOMEM, When.NEXT),
                    Trial("recvfrom", errno.ENOMEM, When.ALWAYS),
                )
                == [Behaviour.SERVED_ON] * 3
            )


@needs_root
@pytest.mark.long
def test_a_companion_that_reads_its_end_does_not_linger() -> None:
    """Its client of the engine would wait for ever for what the kernel refuses."""
    with opened(HOUSES["mailbell-cluster"], holds=True) as house:
        trial = Trial("recvfrom", errno.ECONNREFUSED, When.ALWAYS)
        assert behaviour(house, trial, trial) == [Behaviour.WITHOUT] * 2


@needs_root
@pytest.mark.long
def test_a_start_that_fails_says_why() -> None:
    with opened(Listener, holds=False) as house:
        outcome = attempt_start(house, Start("bind", 1, errno.EADDRINUSE))
        assert outcome.behaviour is Behaviour.ENDED
        assert outcome.detail.startswith("exit code 71: mailbelld: ")
        assert restarted(house) == ""


@needs_root
@pytest.mark.long
def test_the_short_form() -> None:
    report = run(40, 4146, print)
    assert report.is_right, report.failures
    assert report.figures[0].value > 8


@needs_root
@pytest.mark.long
@pytest.mark.parametrize(
    ("door", "found"),
    [
        (WITHOUT_A_PAUSE, Behaviour.BUSY),
        (FORGETFUL, Behaviour.LOST),
        pytest.param(GIVES_UP, Behaviour.UNSERVED, marks=pytest.mark.long),
        pytest.param(SAYS_NOTHING, Behaviour.UNEXPLAINED, marks=pytest.mark.long),
    ],
    ids=["busy", "lost", "unserved", "unexplained"],
)
def test_each_failure_is_found(
    door: str, found: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check can fail: these doors plant what must not be."""
    tmp_path.chmod(0o755)
    with opened(Listener, holds=True) as house:
        assert isinstance(house, Listener)
        house._command = ("-c", door)
        assert restarted(house) == ""
        if found in {Behaviour.LOST, Behaviour.UNSERVED}:
            monkeypatch.setattr(life, "PATIENCE", 3.0)  # this one waits in vain
        outcome = attempt(house, Trial("accept4", errno.EMFILE, When.ALWAYS))
        assert outcome.behaviour is found, outcome


@needs_root
@pytest.mark.parametrize("count", [200, 800])
def test_a_program_is_started_by_one_that_has_opened_much(count: int) -> None:
    """The number of the descriptor that the filter gets is told before it has it."""
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]
    try:
        pid, supervisor = launch(Launch((shutil.which("true") or "true",), os.environ, ()))
    finally:
        for descriptor in opened:
            os.close(descriptor)
    assert os.waitpid(pid, 0) == (pid, 0)
    supervisor.join(PATIENCE)
    assert not supervisor.is_alive()


def test_which_calls_fail() -> None:
    accept = frozenset({"accept4"})

    def failing(fault: Fault) -> list[int]:
        return [number for number in range(1, 8) if fault.fails(number)]

    assert failing(Fault(accept, errno.EIO)) == [1]
    assert failing(Fault(accept, errno.EIO, first=3)) == [3]
    assert failing(Fault(accept, errno.EIO, first=2, times=0)) == [2, 3, 4, 5, 6, 7]
    assert failing(Fault(accept, errno.EIO, times=0, step=2)) == [1, 3, 5, 7]
    assert failing(Trial("accept4", errno.EAGAIN, When.ALWAYS).fault(7)) == [1, 4, 7]


def test_whose_calls_fail() -> None:
    accept = frozenset({"accept4"})
    assert Fault(accept, errno.EIO, pid=FIRST).hits("accept4", 7, 7)
    assert not Fault(accept, errno.EIO, pid=FIRST).hits("accept4", 8, 7)
    assert Fault(accept, errno.EIO, pid=OTHERS).hits("accept4", 8, 7)
    assert not Fault(accept, errno.EIO, pid=OTHERS).hits("accept4", 7, 7)
    assert Fault(accept, errno.EIO, pid=8).hits("accept4", 8, 7)
    assert not Fault(accept, errno.EIO, pid=8).hits("close", 8, 7)


@pytest.mark.parametrize(
    ("code", "said", "error", "found"),
    [
        (71, ["event=x", "mailbelld: no memory"], errno.ENOMEM, Behaviour.ENDED),
        (70, ["Traceback (most", "mailbelld: a bug"], errno.EBADF, Behaviour.ENDED),
        (70, ["Traceback (most", "mailbelld: a bug"], errno.ENOMEM, Behaviour.UNEXPLAINED),
        (70, ["  + Exception Group Traceback (", "mailbelld: a bug"], errno.ENOMEM,
         Behaviour.UNEXPLAINED),
        (71, ["event=x"], errno.ENOMEM, Behaviour.UNEXPLAINED),
        (0, ["mailbelld: done"], errno.ENOMEM, Behaviour.UNEXPLAINED),
        (-11, [], errno.ENOMEM, Behaviour.UNEXPLAINED),
        (-6, ["Assertion failed"], errno.EBADF, Behaviour.ENDED),
        (-6, ["Assertion failed"], errno.ENOMEM, Behaviour.UNEXPLAINED),
        (-6, [], errno.EBADF, Behaviour.UNEXPLAINED),
        (None, [], errno.ENOMEM, Behaviour.HUNG),
    ],
)  # fmt: skip
def test_how_an_end_is_judged(
    code: int | None, said: list[str], error: int, found: Behaviour
) -> None:
    trial = Trial("accept4", error, When.NEXT)
    assert judge_end("mailbelld", code, said, trial)[0] is found


@pytest.mark.parametrize(
    ("code", "said"),
    [(1, ["Traceback (most", "MemoryError: "]), (-6, ["Fatal Python error: oh", "Extension"])],
)
def test_without_any_memory_the_interpreter_may_say_it(code: int, said: list[str]) -> None:
    without, other = (Trial(name, errno.ENOMEM, When.ALWAYS) for name in (ALL_MEMORY, "accept4"))
    assert judge_end("mailbelld", code, said, without)[0] is Behaviour.ENDED
    assert judge_end("mailbelld", code, said, other)[0] is Behaviour.UNEXPLAINED
    assert judge_end("mailbelld", code, ["oh"], without)[0] is Behaviour.UNEXPLAINED


def test_what_is_wrong_is_in_the_report() -> None:
    tally = Tally()
    trial = Trial("accept4", errno.EMFILE, When.ALWAYS)
    tally.add("mailbelld", "serving", Outcome(trial, Behaviour.SERVED_ON, 7))
    assert tally.report(1).is_right
    tally.add("mailbelld", "serving", Outcome(trial, Behaviour.BUSY, 9, "all of a processor"))
    report = tally.report(1)
    assert not report.is_right
    assert "accept4 EMFILE always: busy loop: all of a processor" in report.failures[0]
    assert "| `accept4` | EMFILE | - | - | busy loop | - |" in render(tally, 1)


def test_results_pass_from_one_process_to_another(tmp_path: Path) -> None:
    tally, other = Tally(), Tally()
    trial = Trial("close", errno.EIO, When.LATER, 3)
    tally.add("mailbelld", "serving", Outcome(trial, Behaviour.ENDED, 1, "exit code 71: x"))
    tally.write(tmp_path / "results")
    other.read(tmp_path / "results")
    assert other == tally


@pytest.mark.parametrize("program", HOUSES)
def test_every_call_of_a_policy_is_in_the_table(program: str) -> None:
    assert set(read_policy(program).permitted) <= {*ERRORS, *NO_ERRORS}
    assert not set(ERRORS) & set(NO_ERRORS)
    assert all(codes(name) for name in ERRORS)


@pytest.mark.parametrize("program", HOUSES)
def test_the_document_names_every_call_of_the_policy(program: str) -> None:
    """It is written by hours of trials: a policy that has changed since needs them once more."""
    text = PAGE.read_text()
    section = text.partition(f"\n## {program}\n")[2].partition("\n## ")[0]
    serving = section.partition("\nIts start")[0]
    named = set(re.findall(r"^\| `([\w+]+)` \|", serving, re.MULTILINE))
    never = re.search(rf"^{re.escape(NEVER)} (.*)\.$", serving, re.MULTILINE)
    named |= set(re.findall(r"`([\w+]+)`", never[1])) if never else set()
    assert named == {ALL_MEMORY, *(set(read_policy(program).permitted) & set(ERRORS))}


def test_the_document_shows_no_failure() -> None:
    text = PAGE.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    wrong = [each for each in Behaviour if not each.is_right]
    assert Counter(each for each in wrong for row in rows if str(each) in row) == {}
