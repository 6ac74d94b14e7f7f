"""`mailbell sender status`, `top`, `test` and `ring`: real processes at a real control socket."""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cli.support import Run
from cli.terminal import Terminal
from harness.control import ANNA, STEPS, TARGET, Control, controlled
from harness.fake_sender import CLUSTER, STATUS

from mailbell.cli import _group, sender_test
from mailbell.cli._sender_metrics import sender_metrics
from mailbell.cli.sender_top import View, frame
from mailbell.core.errors import TemporaryError, UnavailableError
from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.interfaces.sender import Origin, Step, Verdict
from mailbell.sender._ring import Ring

COMMANDS = ["status", "top", "check", "test", "ring", "recipe"]


@pytest.fixture
def place(environment: dict[str, str], tmp_path: Path) -> Path:
    environment["MAILBELL_SENDER_SOCKET"] = str(tmp_path / "control")
    return tmp_path / "control"


@pytest.fixture
def control(place: Path) -> Iterator[Control]:
    with controlled(place) as it:
        yield it


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_examples(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _group.run(["sender", command, option]) == 0
    text = capsys.readouterr().out
    assert "  Examples:\n" in text
    assert f"    mailbell sender {command}" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert _group.run(["sender", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert _group.run(["sender"]) == 64
    assert capsys.readouterr().err == text
    assert _group.run(["sender", "tset"]) == 64
    said = "mailbell: No such command 'tset'; perhaps 'test'; see 'mailbell sender --help'\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("command", ["status", "top", "test anna", "ring anna"])
def test_no_sender_is_69(run: Run, place: Path, command: str) -> None:
    result = run("mailbell", "sender", *command.split())
    assert (result.returncode, result.stdout) == (69, "")
    assert f"mailbell: no sender at {place}" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "line", [["sender", "test", "a"], ["sender", "ring", "--socket", "P", "a"]]
)
def test_accounts_complete(
    run: Run, environment: dict[str, str], control: Control, line: list[str]
) -> None:
    line = [str(control.path) if word == "P" else word for word in line]
    environment |= {
        "_MAILBELL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["mailbell", *line]),
        "COMP_CWORD": str(len(line)),
    }
    assert run("mailbell").stdout == f"plain,{ANNA}\n"
    environment["COMP_WORDS"] = environment["COMP_WORDS"].removesuffix("a") + "x"
    assert run("mailbell").stdout.strip() == ""


def test_without_a_sender_nothing_completes(
    run: Run, environment: dict[str, str], place: Path
) -> None:
    environment |= {
        "_MAILBELL_COMPLETE": "bash_complete",
        "COMP_WORDS": "mailbell sender test a",
        "COMP_CWORD": "3",
    }
    result = run("mailbell")
    assert (result.stdout.strip(), result.stderr) == ("", "")


def test_it_rings_and_says_nothing(run: Run, control: Control) -> None:
    result = run("mailbell", "sender", "ring", "anna")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert control.desk.asked == [("ring", "anna", os.geteuid())]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (InputOutcome.UNKNOWN_ACCOUNT, 64),
        (InputOutcome.DISABLED, 64),
        (InputOutcome.NOT_PERMITTED, 77),
        (InputOutcome.RATE_LIMITED, 75),
    ],
)
def test_what_is_not_accepted_has_its_exit_code(
    run: Run, control: Control, outcome: InputOutcome, code: int
) -> None:
    control.desk.outcome = outcome
    result = run("mailbell", "sender", "ring", "anna")
    assert (result.returncode, result.stderr.count("\n")) == (code, 1)
    assert "; " in result.stderr


def test_a_collector_is_told_that_no_sender_answers(run: Run, place: Path) -> None:
    result = run("mailbell", "sender", "status", "--prometheus")
    assert result.returncode == 69
    assert result.stdout.splitlines()[-2:] == ["mailbell_sender_up 0", "# EOF"]


def test_the_status_in_its_three_forms(run: Run, control: Control) -> None:
    shown = run("mailbell", "sender", "status")
    assert (shown.returncode, shown.stderr) == (0, "")
    for said in (
        "mailbell-sender 1.0, process 4711, up 1 min 30 s",
        "listening on hook /run/mailbell-sender/hook",
        "p50 0.4 ms, p99 1.2 ms of 2",
        "[2001:db8::7]:79",
        "in 21 s",
        "ok  seccomp       mode 2, 40 calls permitted",
    ):
        assert said in shown.stdout
    told = run("mailbell", "sender", "status", "--json").stdout
    assert json.loads(told) == json.loads(msgspec.json.encode(STATUS))
    metrics = run("mailbell", "sender", "status", "--prometheus").stdout
    assert metrics == sender_metrics(STATUS)
    both = run("mailbell", "sender", "status", "--prometheus", "--json")
    assert (both.returncode, both.stdout) == (64, "")


def test_troubles_of_the_store_are_shown_first(run: Run, control: Control) -> None:
    store = msgspec.structs.replace(STATUS.store, failing="disk full", set_aside="it was corrupt")
    control.desk.answer = msgspec.structs.replace(
        STATUS, store=store, companions={"resolver": 9}, names={"known": 3}
    )
    for command in ("status", "top"):
        told = run("mailbell", "sender", command).stdout
        assert "STORE: logins are not saved, only kept in memory: disk full" in told
        assert "store: begun anew at the start: it was corrupt" in told
    rows = [line.split() for line in run("mailbell", "sender", "status").stdout.splitlines()]
    assert ["companion", "resolver", "process", "9"] in rows
    assert ["names:", "known", "3"] in rows


def test_a_cluster_is_shown_with_its_nodes(run: Run, control: Control) -> None:
    away = msgspec.structs.replace(CLUSTER, failing="it is away")
    control.desk.answer = msgspec.structs.replace(STATUS, cluster=away)
    shown = run("mailbell", "sender", "status").stdout
    rows = [line.split() for line in shown.splitlines()]
    assert ["mx1", "(this", "one)", "lives", "12", "3", "2.5", "ms"] in rows
    assert ["mx2", "gone", "0", "7", "0.0", "ms"] in rows
    assert "CLUSTER: this machine rings alone: it is away" in shown
    assert "to be handed over: 5" in " ".join(shown.split())
    assert "CLUSTER: this machine rings alone" in run("mailbell", "sender", "top").stdout


def test_step_by_step(run: Run, control: Control) -> None:
    result = run("mailbell", "sender", "test", "anna")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        "1. anna@example.org has 2 targets\n"
        "   192.0.2.7:79 is rung at once\n"
        "   the address of the last login is NOT rung: nobody has looked for mail lately\n"
        "      -> look for mail now; if it stays so, the mail server does not tell of logins:"
        " mailbell-hook --login, or Dovecot's exporter\n"
        "2. the sender has accepted a notification, as from a mail server\n"
        "3. what came of it\n"
        "   192.0.2.7:79 was rung, in 0.4 ms\n"
    )


def test_a_target_that_is_held_back_is_waited_for(run: Run, control: Control) -> None:
    control.desk.steps = (msgspec.structs.replace(STEPS[0], verdict=Verdict.HELD_BACK, wait=1),)
    control.desk.rings = [
        Ring(ANNA, TARGET, RingOutcome.COALESCED),
        Ring(ANNA, TARGET, RingOutcome.SENT, 12.0),
    ]
    result = run("mailbell", "sender", "test", "anna")
    assert result.returncode == 0
    assert "1. anna@example.org has 1 target\n   192.0.2.7:79 is rung in 1 s" in result.stdout
    assert result.stdout.endswith(
        "   192.0.2.7:79 is rung soon: one ring stands for several notifications\n"
        "   192.0.2.7:79 was rung, in 12 ms\n"
    )


def test_a_target_that_is_not_reached_has_a_remedy(run: Run, control: Control) -> None:
    control.desk.rings = [Ring(ANNA, TARGET, RingOutcome.REFUSED, 0.2)]
    result = run("mailbell", "sender", "test", "anna")
    assert result.returncode == 69
    assert "could NOT be rung: nothing listens there (after 0.2 ms)\n      -> start" in (
        result.stdout
    )
    assert result.stderr == "mailbell: nobody was rung; see above for the reasons\n"


def test_some_are_rung_and_others_are_not_heard_of(run: Run, control: Control) -> None:
    other = Step(origin=Origin.LAST_USED, target="[::2]:79", verdict=Verdict.RING, seen=5_000_000)
    control.desk.steps = (STEPS[0], other)
    result = run("mailbell", "sender", "test", "anna", "--timeout", "0.2")
    assert "   [::2]:79 (a login 5 s ago) is rung at once\n" in result.stdout
    assert result.stdout.endswith("   [::2]:79: nothing was heard within 0.2 seconds\n")
    assert result.returncode == 75
    assert result.stderr == "mailbell: not rung: [::2]:79; see above for the reasons\n"


def test_an_account_without_a_target(run: Run, control: Control) -> None:
    control.desk.steps = ()
    control.desk.rings = [Ring(ANNA, None, RingOutcome.NO_TARGET)]
    result = run("mailbell", "sender", "test", "anna")
    assert result.returncode == 69
    assert "1. anna@example.org has no targets\n" in result.stdout
    assert result.stdout.endswith("3. nothing can be rung now\n")


def test_an_account_that_lost_its_targets_meanwhile(run: Run, control: Control) -> None:
    control.desk.rings = [Ring(ANNA, None, RingOutcome.NO_TARGET)]
    result = run("mailbell", "sender", "test", "anna")
    assert "   nobody was rung: the account has no target now\n" in result.stdout
    assert result.returncode == 69


def test_the_judgement() -> None:
    sender_test.judge({"a"}, {"a": RingOutcome.SENT})
    with pytest.raises(UnavailableError):
        sender_test.judge(set(), {})
    with pytest.raises(TemporaryError, match="not rung: b, c"):
        sender_test.judge({"a", "b", "c"}, {"a": RingOutcome.SENT, "c": RingOutcome.TIMEOUT})


def test_top_prints_one_picture_to_a_pipe(run: Run, control: Control) -> None:
    for option in ([], ["--once"]):
        told = run("mailbell", "sender", "top", *option).stdout
        assert "targets 2, of which 1 wait for a ring, 1 backing off" in told
        assert "rings: sent 2, timeout 1" in told
        assert "\x1b" not in told
        assert "connected" not in told


def test_top_fits_into_a_small_terminal() -> None:
    many = msgspec.structs.replace(
        STATUS, targets=STATUS.targets * 16, accounts=STATUS.accounts * 9
    )
    for rows in (1, 24, 40):
        shown = _text(View(many, 0.0), rows)
        assert len(shown.splitlines()) <= max(rows, 8 + 4 + 6)
    assert _text(View(many, 0.0), 1000).count("[2001:db8::7]") == 16


def _text(view: View, rows: int) -> str:
    import io

    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=120, markup=False, emoji=False).print(frame(view, 1.0, rows))
    return file.getvalue()


def test_top_follows_and_says_that_the_sender_is_gone_and_back(
    environment: dict[str, str], place: Path
) -> None:
    hurried = "from mailbell.cli import main, sender_top; sender_top.TICK = 0.1; main()"
    command = [sys.executable, "-c", hurried, "sender", "top"]
    with controlled(place), Terminal(command, environment, columns=100) as terminal:
        terminal.until_shown("\nconnected\n")
        # The thread serves on; the name is what a client looks for.
        os.rename(place, place.with_name("away"))
        terminal.until_shown("LOST")
        os.rename(place.with_name("away"), place)
        terminal.until_shown("\nconnected\n")
        terminal.press(b"q")
        assert terminal.exit_status() == 0
    assert "Traceback" not in terminal.drawn


def test_a_sender_that_does_not_answer_any_more_is_called_silent(
    environment: dict[str, str], place: Path
) -> None:
    hurried = (
        "from mailbell.cli import main, sender_top;"
        " sender_top.TICK = sender_top.PATIENCE = 0.1; main()"
    )
    command = [sys.executable, "-c", hurried, "sender", "top"]
    with controlled(place), Terminal(command, environment, columns=100) as terminal:
        terminal.until_shown("\nconnected\n")
        os.rename(place, place.with_name("away"))
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(place))
            deaf.listen(64)
            terminal.until_shown("SILENT")
        os.rename(place.with_name("away"), place)
        assert terminal.ended(signal.SIGINT) == 130


@pytest.mark.parametrize("command", ["status", "top", "status --json", "status --prometheus"])
def test_a_program_that_is_no_sender_is_65(run: Run, place: Path, command: str) -> None:
    with controlled(place) as control:
        control.desk.answer = msgspec.structs.replace(STATUS, version="1\x1b[2J")
        result = run("mailbell", "sender", *command.split())
    assert (result.returncode, result.stdout) == (65, "")
    assert result.stderr == (
        "mailbell: the sender sent a text in status.version that is too long or not printable;"
        " check that it is mailbell-sender, and has the same version\n"
    )
