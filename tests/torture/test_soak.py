"""The soak with the real programs, in a small form; and that it notices what leaks or breaks."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import pytest
from harness.daemon import until

from torture.soak.plan import Machine, Plan, Record, Sample
from torture.soak.program import Broken, Program
from torture.soak.run import Missing, measured, run
from torture.soak.sample import COUNTED, CPU, Unreadable, of_process
from torture.soak.verdict import Row, Verdict, judged

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a soak needs root")

# The real mailbelld, but for what happens at each connection that it counts.
PATCHED: Final = """
import os
from mailbell.cli.mailbelld import main
from mailbell.listener._admission import Admission
held, conclude = [], Admission.conclude
def changed(*words, **more):
    held.append(b"x" * {taken})
    if len(held) == {most}:
        os._exit(3)
    return conclude(*words, **more)
Admission.conclude = changed
main()
"""
# Takes memory, opens files and starts processes with each line that it gets, or nothing.
LEAKING: Final = """
import os, subprocess, sys
held = []
for line in sys.stdin:
    one = b"x" * 65_536, open(os.devnull), subprocess.Popen(["sleep", "60"])
    if "keep" in line:
        held.append(one)
    else:
        one[2].kill()
        one[2].wait()
    print(flush=True)
"""
KEPT: Final = 65_536  # bytes
BLANK: Final = Machine(system="", processor="", cores=1, python="", others=0.0)


@contextmanager
def child(code: str) -> "Iterator[subprocess.Popen[str]]":
    """Run Python in a session of its own, which ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # the test has waited for its end
                os.killpg(process.pid, signal.SIGKILL)


def watched(word: str) -> dict[str, Row]:
    """Return the verdicts about a process that did the same 60 times."""
    samples = []
    with child(LEAKING) as process:
        assert process.stdin
        assert process.stdout
        for number in range(70):
            process.stdin.write(word)
            process.stdin.flush()
            process.stdout.readline()
            values = {**of_process(process.pid), COUNTED: float(number)}
            samples.append(
                Sample(
                    at=number * 60.0,
                    process="it",
                    life=1,
                    age=number * 60.0,
                    is_warm=number >= 10,
                    values=values,
                )
            )
    record = Record(
        plan=Plan(seconds=3600, seed=1), machine=BLANK, version="", began="", lasted=3600, cpu={},
        load={}, outcomes={}, samples=samples, faults=[],
    )  # fmt: skip
    return {row.name: row for row in judged(record)}


def test_a_process_that_leaks_is_found() -> None:
    found = watched("keep\n")
    drifting = {name for name, row in found.items() if row.drifts}
    assert {"RSS, KiB", "anonymous memory, KiB", "descriptors", "child processes"} <= drifting
    assert found["threads"].verdict == Verdict.FLAT
    line = found["descriptors"].line
    assert line is not None
    assert line.slope * 60 == pytest.approx(1)  # one each time


def test_a_process_that_gives_back_what_it_takes_is_not() -> None:
    found = watched("give\n")
    assert not [row for row in found.values() if row.drifts]
    assert found["descriptors"].verdict == found["child processes"].verdict == Verdict.FLAT


def test_a_process_that_has_ended_cannot_be_read() -> None:
    with child("") as process:
        process.wait()
        with pytest.raises(Unreadable):
            of_process(process.pid)


def test_cpu_time_is_that_of_all_threads() -> None:
    code = (
        "import threading, sys\ndef work():\n    while True: pass\n"
        "threading.Thread(target=work, daemon=True).start()\nsys.stdin.read()"
    )
    with child(code) as process:
        until(lambda: of_process(process.pid)[CPU] > 0.2, "the work of a thread")
        assert of_process(process.pid)["threads"] == 2


def test_a_program_that_breaks_says_what_it_said_last(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import sys; sys.exit('no luck')"]
    broken = Program("it", words, tmp_path, ready="never said")
    with pytest.raises(Broken, match=r"does not run \(exit status 1\): no luck"):
        broken.start()
    with pytest.raises(Broken, match="does not run"):
        _ = broken.pid
    stubborn = "import sys; print('event=x', flush=True); sys.stdin.read()\nwhile True: pass"
    failing = Program("it", [sys.executable, "-c", stubborn], tmp_path, ready="event=x")
    failing.start()
    assert failing.life == 1
    with pytest.raises(Broken, match="ended with -15"):
        failing.stop()
    failing.stop()  # again: nothing


def test_without_root_it_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Missing, match="root"):
        measured(Plan(seconds=1, seed=1), print)
    assert "root" in run(1, 1, print).skipped


@needs_root
@pytest.mark.long
def test_all_programs_are_loaded_measured_and_restarted() -> None:
    said: list[str] = []
    # Every 3 s each of the three programs is restarted.
    record = measured(Plan(seconds=3, seed=5, every=0.5, restart_every=3, rate=3), said.append)
    assert record.faults == []
    lives = {(sample.process, sample.life) for sample in record.samples}
    assert {name for name, _ in lives} == {
        "mailbelld", "mailbell-sender", "mailbell run", "mailbell-resolver", "mailbell-cyrus",
    }  # fmt: skip
    assert {life for name, life in lives if name in {"mailbelld", "mailbell-sender"}} == {1, 2}
    assert [line.partition(" was")[0] for line in said if "restarted" in line] == [
        "mailbelld", "mailbell-sender", "mailbell run",
    ]  # fmt: skip
    counted = record.outcomes["mailbelld"]
    assert counted["accepted by TCP"] > 10
    assert counted["accepted by UDP"] > 1
    assert record.outcomes["mailbell-sender"]["ring: sent"] > 1
    assert record.cpu["mailbelld"] > 0
    # So soon nothing is warm.
    assert {row.verdict for row in judged(record)} == {Verdict.NOTHING}


@needs_root
@pytest.mark.long
def test_a_daemon_that_ends_by_itself_is_found() -> None:
    code = PATCHED.format(taken=0, most=40)
    record = measured(Plan(seconds=3, seed=5, every=0.5, rate=3), print, ("-c", code))
    assert any("mailbelld does not run (exit status 3)" in fault for fault in record.faults)


@needs_root
@pytest.mark.long
def test_a_daemon_that_keeps_a_little_of_each_connection_is_found() -> None:
    code = PATCHED.format(taken=KEPT, most=-1)
    record = measured(Plan(seconds=20, seed=5, every=0.5, restart_every=1000), print, ("-c", code))
    # It is not warm so soon; but what it keeps is much more than what fills its tables.
    begun = [msgspec.structs.replace(each, is_warm=each.age > 5) for each in record.samples]
    rows = judged(msgspec.structs.replace(record, samples=begun))
    found = {row.name: row for row in rows if row.process == "mailbelld"}
    assert found["RSS, KiB"].verdict == found["anonymous memory, KiB"].verdict == Verdict.DRIFT
    assert not found["descriptors"].drifts
