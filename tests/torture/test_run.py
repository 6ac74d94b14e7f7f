"""The table at the end of a torture: what is wrong in it, and what the exit code says."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from harness.daemon import until

from torture import run
from torture.figures import Figure, Report

LOST = Figure("lost", 0, must_be=0)
SENT = Figure("sent", 1500)


def install(monkeypatch: pytest.MonkeyPatch, **reports: Report) -> None:
    """Let each part be one that says this."""
    for name, report in reports.items():
        module = ModuleType(name)

        def part(
            given: float, seed: int, say: Callable[[str], None], report: Report = report
        ) -> Report:
            say(f"seed {seed}")
            return report

        vars(module)["run"] = part
        monkeypatch.setitem(sys.modules, f"torture.{name}.run", module)


def test_it_ends_with_a_table(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    kills = Report("kills", (Figure("kills", 31), LOST))
    install(monkeypatch, kills=kills, floods=Report("floods", (SENT, Figure("p99", 4.25, "ms"))))
    assert run.main(["--minutes", "1", "--seed", "7", "kills", "floods"]) == 0
    printed = capfd.readouterr()
    rows = [line.split() for line in printed.out.splitlines() if line.strip(" ─━╶╴")]
    assert rows == [
        ["part", "must", "be"],
        ["kills", "kills", "31"],
        ["lost", "0", "0"],
        ["floods", "sent", "1,500"],
        ["p99", "4.2", "ms"],
    ]
    assert printed.err.count("seed 7") == 4


def test_the_parts_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: dict[str, float] = {}

    def supervised(part: str, share: float, seed: int, say: Callable[[str], None]) -> Report:
        shares[part] = share
        return Report(part, (SENT,))

    monkeypatch.setattr(run, "_supervised", supervised)
    assert run.main(["--minutes", "10"]) == 0
    assert sum(shares.values()) == pytest.approx(600)
    assert list(shares) == list(run.SHARES)


def broken(monkeypatch: pytest.MonkeyPatch, fault: Callable[[], object]) -> None:
    module = ModuleType("kills")
    vars(module)["run"] = lambda *_: fault()
    monkeypatch.setitem(sys.modules, "torture.kills.run", module)


def test_a_part_that_hangs_is_ended_with_all_that_it_has_started(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    started = tmp_path / "started"

    def hang() -> None:
        started.write_text(str(subprocess.Popen(["sleep", "1000"]).pid))
        signal.pause()

    broken(monkeypatch, hang)
    monkeypatch.setattr(run, "LEAST_PATIENCE", 1.0)
    monkeypatch.setattr(run, "END", 0.1)
    assert run.main(["--minutes", "0.01", "kills"]) == 1
    assert "kills: it did not end within 2 s" in capfd.readouterr().out
    until(lambda: not is_alive(int(started.read_text())))


def is_alive(pid: int) -> bool:
    """Tell whether a process lives. Whoever should wait for it has ended before it."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_part_that_breaks_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken(monkeypatch, lambda: 1 / 0)
    assert run.main(["kills"]) == 1
    printed = capfd.readouterr()
    assert "kills: it ended without a report" in printed.out
    assert "ZeroDivisionError" in printed.err


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (Report("kills", (Figure("lost", 1, must_be=0),)), "WRONG"),
        (Report("kills", (LOST,), ("account 3 was not looked at",)), "kills: account 3 was not"),
    ],
    ids=["a figure", "a failure"],
)
def test_what_is_wrong_is_said_and_is_the_exit_code(
    report: Report,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(monkeypatch, kills=report, floods=Report("floods", (SENT,)))
    assert run.main(["--seed", "7", "kills", "floods"]) == 1
    out = capsys.readouterr().out
    assert said in out
    assert "something is wrong; it was the seed 7" in out


def test_what_was_not_run_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, floods=Report("floods", skipped="needs root"))
    assert run.main(["floods"]) == run.UNAVAILABLE
    assert "needs root" in capsys.readouterr().out


def test_another_part_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["floods", "nonsense"])
    assert "no such part: nonsense; there are faults, kills, " in capsys.readouterr().err
