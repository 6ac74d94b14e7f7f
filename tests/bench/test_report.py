"""The results, for people and for programs: a table, a record, a picture."""

import re
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from bench.plot import draw
from bench.report import Machine, Results, is_optimised, number, table
from bench.section import Row, Section, Spread, Target

STEADY = Section(
    name="steady",
    title="CPU time",
    unit="us",
    rows=(
        Row("bare C loop", Spread.of([20.0, 10.0, 30.0]), Spread.of([1.0, 1.0, 1.0])),
        Row("mailbelld", Spread.of([1234.5]), Spread.of([1.5, 1.25, 1.75])),
        Row("mailbelld, 1 in flight", Spread.of([60.0])),
        Row("by the way", Spread.of([8.0]), Spread.of([0.5]), Spread.of([-7.25, -8.0, -9.0])),
    ),
    against="bare C loop",
    targets=(Target("fast", 1.5, 1.5), Target("slow", 3.0, 4.0, at_least=True, unit="ms")),
    notes=("all accepted " * 20,),
)
LATENCY = Section(
    name="latency",
    title="From here to there",
    unit="us",
    rows=(
        Row("idle, p50", Spread.of([80.0])),
        Row("idle, p99", Spread.of([180.0])),
        Row("C program: idle, p50", Spread.of([70.0])),
    ),
)
OTHER = Section(name="idle", title="Wake-ups", unit="", rows=(Row("a minute", Spread.of([0])),))


def results(*sections: Section) -> Results:
    return Results(Machine.here(), sections)


def image_height(directory: Path, *sections: Section) -> int:
    file = directory / "results.png"
    draw(results(*sections), file)
    return int.from_bytes(file.read_bytes()[20:24])  # PNG: IHDR, after the width


def test_the_table_says_it_all() -> None:
    lines = table(results(STEADY, OTHER)).splitlines()
    assert "steady: CPU time, in us" in lines
    words = {line[2:24].rstrip(): line.split() for line in lines}
    assert words["bare C loop"][-7:] == ["20", "10", "30", "1", "(1", "to", "1)"]
    assert words["mailbelld"][-7:] == ["1234", "1234", "1234", "1.50", "(1.25", "to", "1.75)"]
    assert words["mailbelld, 1 in flight"][-3:] == ["60"] * 3
    assert words["by the way"][-5:] == ["0.50", "(0.50", "to", "0.50),", "-8"]
    assert any(line.endswith("ratio to bare C loop, and us more") for line in lines)
    assert "  target  fast: 1.50, at most 1.50: met" in lines
    assert "  target  slow: 3 ms, at least 4 ms: MISSED" in lines
    assert "targets: 1 of 2 met" in lines
    assert "idle: Wake-ups" in lines
    assert max(map(len, lines)) <= 100


def test_it_names_the_machine_and_the_interpreter() -> None:
    machine = Machine.here()
    first, second, *_ = table(results()).splitlines()
    assert machine.processor in first
    assert re.search(r"as .+ has it|with(out)? profile-guided optimisation", second)
    assert re.search(r"no JIT|JIT (on|off|compiled in)", second)


@pytest.mark.parametrize(
    ("executable", "options", "build", "optimised"),
    [
        ("/usr/bin/python3", "", r"as .+ has it, no JIT", True),
        ("/nowhere/python3", "'--enable-optimizations' '--x'", "with profile-guided", True),
        ("/nowhere/python3", "'--x'", "without profile-guided", False),
    ],
)
def test_whether_a_profile_has_optimised_it(
    monkeypatch: pytest.MonkeyPatch, executable: str, options: str, build: str, optimised: bool
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: options)
    monkeypatch.setattr(sys, "_jit", None, raising=False)
    assert re.match(build, Machine.here().build)
    assert is_optimised() is optimised


@pytest.mark.parametrize(
    ("available", "enabled", "options", "said"),
    [
        (True, True, "", "JIT on"),
        (True, False, "", "JIT off"),
        (False, False, "'--enable-experimental-jit'", "no JIT"),
        (None, None, "'--enable-experimental-jit=yes'", "JIT compiled in"),
    ],
)
def test_whether_it_has_a_jit(
    monkeypatch: pytest.MonkeyPatch,
    available: bool | None,
    enabled: bool | None,
    options: str,
    said: str,
) -> None:
    jit = SimpleNamespace(is_available=lambda: available, is_enabled=lambda: enabled)
    monkeypatch.setattr(sys, "_jit", None if available is None else jit, raising=False)
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: options)
    assert Machine.here().build.endswith(f", {said}")


def test_a_long_note_is_whole() -> None:
    text = re.sub(r"\s+", " ", table(results(STEADY)))
    assert "note " + " ".join(STEADY.notes).strip() in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (0.0123, "0.012"), (1.254, "1.25"), (12.34, "12.3"), (1234.56, "1235")],
)
def test_figures_have_the_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_the_record_can_be_read_again() -> None:
    whole = results(STEADY, LATENCY)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Results) == whole


@pytest.mark.parametrize(
    "sections", [(STEADY,), (LATENCY,), (STEADY, OTHER, LATENCY)], ids=["steady", "latency", "both"]
)
def test_the_picture_shows_what_there_is(tmp_path: Path, sections: tuple[Section, ...]) -> None:
    file = tmp_path / "results.png"
    draw(results(*sections), file)
    assert file.read_bytes().startswith(b"\x89PNG\r\n")


def test_a_scene_with_two_programs_has_one_place(tmp_path: Path) -> None:
    def height(*rows: Row) -> int:
        return image_height(tmp_path, msgspec.structs.replace(LATENCY, rows=rows))

    ours, other = LATENCY.rows[0], LATENCY.rows[-1]
    assert height(ours, other) == height(ours)
    assert height(ours, Row("flood, of one, p50", other.value)) > height(ours)


def test_both_panels_are_taller_than_one(tmp_path: Path) -> None:
    assert image_height(tmp_path, STEADY, LATENCY) > image_height(tmp_path, STEADY)


def test_without_either_there_is_no_picture(tmp_path: Path) -> None:
    draw(results(OTHER), tmp_path / "results.png")
    assert not list(tmp_path.iterdir())
