"""The inputs of the simulation, its tables and its picture; from inputs that were made up."""

import re
from pathlib import Path

import msgspec
import pytest

from bench.cluster import page, run
from bench.cluster.assumptions import Day, Limits, Machines
from bench.cluster.capacity import Setting
from bench.cluster.costs import (
    Costs,
    Input,
    Inputs,
    UnmeasuredError,
    costs_of,
    read,
    unmeasured,
)
from bench.cluster.idle import Waiting, idle_of, read_waiting
from bench.cluster.model import Call, Kind
from bench.cluster.picture import draw
from bench.cluster.record import Delay, Run
from bench.cluster.scenarios import carries, simulate_all
from bench.cluster.tables import report

NAMES = Costs.__struct_fields__
MADE_UP = Inputs("a machine", {name: Input(20.0, "us", "made up", "2026-01-31") for name in NAMES})


@pytest.fixture(scope="module")
def simulated() -> Run:
    """Return a run with few accounts and short events."""
    setting = Setting(
        costs_of(MADE_UP), Day(storm=60, mailings=(120.0, 60.0)), Limits(rate=50), Machines()
    )
    clusters = simulate_all(setting, read_waiting(), (1000, 10_000))
    return Run(MADE_UP, *setting[1:], *carries(setting), clusters)


# --- inputs -------------------------------------------------------------------------------------


def test_the_file_has_every_input_and_how_it_is_measured() -> None:
    inputs = read().inputs
    assert set(inputs) == set(NAMES)
    assert all(each.how and each.unit in {"us", "1/s", "bytes", "MiB"} for each in inputs.values())


@pytest.mark.parametrize("change", ["one more", "one less"])
def test_other_inputs_are_refused(change: str, tmp_path: Path) -> None:
    inputs = dict(MADE_UP.inputs)
    if change == "one more":
        inputs["postman"] = inputs["round_trip"]
    else:
        del inputs["round_trip"]
    file = tmp_path / "costs.json"
    file.write_bytes(msgspec.json.encode(Inputs("a machine", inputs)))
    with pytest.raises(ValueError, match=r"missing or unknown: (postman|round_trip)"):
        read(file)


@pytest.mark.parametrize("lacks", ["value", "when", "machine"])
def test_what_is_not_measured_is_named_and_nothing_is_computed(lacks: str) -> None:
    inputs = msgspec.structs.replace(MADE_UP, machine=None) if lacks == "machine" else MADE_UP
    if lacks != "machine":
        each = msgspec.structs.replace(MADE_UP.inputs["book_3"], **{lacks: None})
        inputs = msgspec.structs.replace(inputs, inputs={**MADE_UP.inputs, "book_3": each})
    assert unmeasured(inputs) == ["machine" if lacks == "machine" else "book_3"]
    with pytest.raises(UnmeasuredError, match=r"not measured yet: (book_3|machine)"):
        costs_of(inputs)


def written(tmp_path: Path, inputs: Inputs, results: Run | None) -> dict[str, Path]:
    costs, file = tmp_path / "costs.json", tmp_path / "results.json"
    costs.write_bytes(msgspec.json.encode(inputs))
    if results is not None:
        file.write_bytes(msgspec.json.encode(results))
    return {"costs": costs, "file": file}


def document() -> str:
    return (page.ROOT / "docs" / "scale.md").read_text()


def test_the_document_is_not_written_while_an_input_is_not_measured(
    simulated: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    each = msgspec.structs.replace(MADE_UP.inputs["engine_scan"], value=None)
    inputs = msgspec.structs.replace(MADE_UP, inputs={**MADE_UP.inputs, "engine_scan": each})
    before = document()
    assert page.main(["--write"], **written(tmp_path, inputs, simulated)) == 70
    assert document() == before
    assert "not measured yet: engine_scan" in capsys.readouterr().err
    assert not (tmp_path / "results.png").exists()


def test_results_of_other_inputs_are_not_written(
    simulated: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = document()
    inputs = msgspec.structs.replace(MADE_UP, machine="another one")
    assert page.main(["--write"], **written(tmp_path, inputs, simulated)) == 70
    assert "other inputs" in capsys.readouterr().err
    (tmp_path / "results.json").unlink()
    assert page.main(["--write"], **written(tmp_path, MADE_UP, None)) == 70
    assert "there are no results" in capsys.readouterr().err
    assert document() == before


def test_the_simulation_does_not_begin_while_an_input_is_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = msgspec.structs.replace(MADE_UP, machine=None)
    costs = written(tmp_path, inputs, None)["costs"]
    assert run.main(["--costs", str(costs)]) == 70
    assert "not measured yet: machine" in capsys.readouterr().err


# --- IMAP IDLE ------------------------------------------------------------------------------------


def test_idle_is_what_the_other_benchmark_has_measured() -> None:
    plain, hibernated = read_waiting()
    assert plain.name.startswith("IDLE, Dovecot")
    assert hibernated.hibernates
    assert 0 < hibernated.mib < plain.mib
    assert plain.interval == pytest.approx(120, rel=0.01)


def test_idle_costs_what_each_connection_costs() -> None:
    costs = msgspec.structs.replace(costs_of(MADE_UP), idle_sign=50.0)
    found = idle_of(Waiting("IDLE", 0.5, 120, 150), costs, 12_000)
    assert (found.connections, found.mib, found.signs) == (12_000, 6000, 100)
    assert found.cores == pytest.approx(100 * 50e-6)
    assert found.bits == 100 * 150 * 8


# --- tables ---------------------------------------------------------------------------------------


def test_a_percentile_is_the_delay_of_a_call() -> None:
    calls = [Call(0.0, float(n), 1 + n % 3, Kind.USUAL) for n in range(50, 0, -1)]
    each = [call.delay for call in calls for _ in range(call.number)]
    one_by_one = [Call(0.0, delay, 1, Kind.USUAL) for delay in each]
    assert Delay.of(calls) == Delay.of(one_by_one)
    assert Delay.of([]) is None
    assert Delay.of(Call(0.0, float(n), 1, Kind.USUAL) for n in range(1, 201)) == Delay(
        200, 100.0, 198.0, 200.0
    )


def test_the_report_has_every_input_and_every_event(simulated: Run) -> None:
    text = report(simulated)
    for name in NAMES:
        assert f"| {name.replace('_', ' ')} |" in text
    for event in ("Monday morning", "within 2 min", "within 1 min"):
        assert text.count(f"{event} |") == 2 * len(simulated.clusters)
    assert "1,000 accounts: " in text
    assert "IDLE, Dovecot 2.4, hibernation" in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    for table in tables:
        assert len({row.count("|") for row in table.splitlines()}) == 1


def test_a_record_is_read_as_it_was_written(simulated: Run) -> None:
    assert msgspec.json.decode(msgspec.json.encode(simulated), type=Run) == simulated


def test_the_document_is_that_of_the_results() -> None:
    assert page.main([]) == 0


def test_a_document_without_a_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_MARKS", ("<!-- nowhere -->\n", "<!-- /figures -->\n"))
    with pytest.raises(LookupError, match=r"docs/scale\.md has no place"):
        page.changed("")


def test_the_picture_is_drawn(simulated: Run, tmp_path: Path) -> None:
    file = tmp_path / "results.png"
    draw(simulated, file)
    assert int.from_bytes(file.read_bytes()[16:20]) > 800  # PNG: IHDR, the width
