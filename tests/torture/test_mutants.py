"""The runner of mutants: a module with a good test and with a bad one, changed in every way."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

if find_spec("mutmut") is None:
    pytest.skip(
        "mutmut is not installed; the stage `torture` of .ci/run installs it",
        allow_module_level=True,
    )

from torture.mutants import attempt
from torture.mutants import files as table
from torture.mutants.attempt import KILLED, SURVIVED, Time, attempted
from torture.mutants.equivalent import reasons, unmatched
from torture.mutants.files import IN_PROCESSES, SOURCES, files
from torture.mutants.job import Found, Job, Outcome, Try
from torture.mutants.mutant import Mutant
from torture.mutants.operators import mutants_of, named_changes
from torture.mutants.page import FILE, page, score
from torture.mutants.results import Result, Results, Survivor, interval
from torture.mutants.runner import tried
from torture.mutants.session import ROOT

pytestmark = pytest.mark.long

TOY: Final = '''"""A toy."""

LIMIT = 3


def fits(number: int) -> bool:
    """Tell whether a number is not above the limit."""
    return number <= LIMIT


class Box:
    """Has a property, which is a function behind a decorator."""

    def __init__(self, side: int) -> None:
        self.side = side

    @property
    def area(self) -> int:
        return self.side * self.side
'''
NONE: Final = Time(0.0, 0.0)
GOOD: Final = """from toy import Box, fits


def test_all():
    assert fits(3)
    assert not fits(4)
    assert Box(3).area == 9
"""
BAD: Final = """from toy import Box, fits


def test_that_it_runs():
    fits(0)
    Box(0).area
"""


def outcomes(folder: Path, test: str) -> dict[str, Outcome]:
    """Try all mutants of the toy with a test; return what became of each."""
    (folder / "toy.py").write_text(TOY)
    (folder / "test_toy.py").write_text(test)
    tries = [Try(m.name, m.change.scope, m.change.in_body, m.applied(TOY)) for m in mutants_of(TOY)]
    job = Job("toy", TOY, (str(folder / "test_toy.py"),), tuple(tries), str(folder / "scratch"))
    paths = os.pathsep.join([str(ROOT), str(folder)])
    told: list[Found] = []
    tried(job, {**os.environ, "PYTHONPATH": paths}, told.append)
    assert told[0].detail == {"tests": 1, "left out": 0}
    return {found.name: found.outcome for found in told[1:] if found.outcome is not None}


def test_a_good_test_notices_every_mutant(tmp_path: Path) -> None:
    found = outcomes(tmp_path, GOOD)
    assert set(found) == {mutant.name for mutant in mutants_of(TOY)}
    assert set(found.values()) == {Outcome.KILLED}


def test_a_test_that_looks_at_nothing_notices_only_what_fails(tmp_path: Path) -> None:
    """Both ways to try a mutant: the limit is set at the import, the comparison is in a body."""
    found = outcomes(tmp_path, BAD)
    survivors = {name for name, outcome in found.items() if outcome is Outcome.SURVIVED}
    assert survivors == {
        "module: LIMIT = 3 -> LIMIT = 4",
        "fits: return number <= LIMIT -> return number < LIMIT",
    }
    killed = {name for name, outcome in found.items() if outcome is Outcome.KILLED}
    assert killed == {
        "module: LIMIT = 3 -> LIMIT = None",
        "Box.__init__: self.side = side -> self.side = None",
        "Box.area: return self.side * self.side -> return self.side / self.side",
    }


def test_without_a_test_that_passes_nothing_is_tried(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no test passes"):
        outcomes(tmp_path, "def test_nothing():\n    assert False\n")


def test_what_loops_or_dies_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "LEAST_PROCESSOR", 0.5)

    def loop() -> int:
        while True:
            pass

    def die() -> int:
        raise ValueError

    assert attempted(loop, NONE)[0] is Outcome.TIMEOUT
    assert attempted(die, NONE)[0] is Outcome.KILLED
    assert attempted(lambda: KILLED, NONE)[0] is Outcome.KILLED
    assert attempted(lambda: SURVIVED, NONE)[0] is Outcome.SURVIVED


def names(source: str) -> list[str]:
    return [mutant.name for mutant in mutants_of(source)]


def test_a_mutant_keeps_its_name_when_lines_are_added_before_it() -> None:
    assert names(TOY) == names("import sys\n\n" + TOY)
    assert [each.line for each in mutants_of("\n" + TOY)] == [
        each.line + 1 for each in mutants_of(TOY)
    ]


def test_equal_lines_have_mutants_with_numbers() -> None:
    source = "def f(a, b):\n    a.x(b < 1)\n    a.x(b < 1)\n"
    assert len(set(names(source))) == len(names(source))
    assert any(name.endswith(" #2") for name in names(source))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(a):\n    if a:\n        g(a)\n", "f: if a: -> if not a:"),
        ("def f(a):\n    if a:\n        g(a)\n", "f: g(a) -> pass"),
        ("def f(a):\n    raise a\n", "f: raise a -> pass"),
        ("match a:\n    case 1:\n        g()\n", "module: case 1: -> case 1 if False:"),
        ("def f(a=1):\n    g(a)\n", "f: def f(a=1): -> def f(a=2):"),
        ('A = "b"\n', 'module: A = "b" -> A = "XXbXX"'),
        ("def f(a):\n    return a and (\n        b < 1\n    )\n", "f: b < 1 -> b <= 1"),
    ],
)  # fmt: skip
def test_what_is_changed(source: str, expected: str) -> None:
    assert expected in names(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""Text."""\n',
        "from a import b\n",
        '__all__ = ["a"]\n',
        "T = TypeVar('T')\n",
        "def f(a: 'b' = c) -> 'd': ...\n",
        "if TYPE_CHECKING:\n    a = 1\n",
        "@a(1)\ndef f(): ...\n",
    ],
)
def test_what_nobody_runs_is_not_changed(source: str) -> None:
    assert names(source) == []


def mutant() -> Mutant:
    return next(each for each in mutants_of(TOY) if each.after == "LIMIT = 4")


def test_results_are_kept_for_the_same_text_only(tmp_path: Path) -> None:
    mutants = mutants_of(TOY)
    results = Results()
    result = results.of("toy", TOY, mutants)
    result.note(mutants.index(mutant()), mutant(), Outcome.SURVIVED)
    results.write(tmp_path / "results.json")
    read = Results.read(tmp_path / "results.json")
    assert read.of("toy", TOY, mutants) == result
    assert (result.tried, result.found, len(result.left())) == (1, 0, len(mutants) - 1)
    assert read.of("toy", TOY + "\n", mutants).tried == 0
    result.note(mutants.index(mutant()), mutant(), Outcome.KILLED)
    assert (result.survivors, result.found, result.again()) == ([], 1, [])


def test_the_page_has_the_score_and_the_reason_of_each_survivor() -> None:
    survivors = [Survivor("one", 3, "a", "b"), Survivor("two", 5, "c", "d")]
    results = Results({"core/escape": Result("", "kktss-", survivors)})
    text = page(results, {"core/escape": {"two": "Nobody sees it."}})
    assert "**Score: 75.0 %.** Of 6 mutants in 1 files 5 were tried" in text
    assert "| `core/escape` | 6 | 5 | 3 | 1 | 1 | 1 | 75.0 % (30 to 95 %) |" in text
    assert "@@ line 3 @@\n-a\n+b\n```\n\nOpen: no test notices it." in text
    assert "@@ line 5 @@\n-c\n+d\n```\n\nNobody sees it." in text
    assert "`core/rfc4146`" in text.partition("Not tried at all: ")[2]


def test_a_score_of_nothing_is_none() -> None:
    assert score(0, 2, 2) is None
    assert interval(0, 0) == (0.0, 1.0)
    assert interval(95, 100) == pytest.approx((0.888, 0.978), abs=0.001)


def test_an_entry_without_a_mutant_is_told() -> None:
    assert unmatched({"f": {"a": "", "b": ""}}, {"f": {"a"}}) == ["f: b"]
    assert unmatched({"g": {"a": ""}}, {"f": {"a"}}) == ["g: a"]


def test_the_document_is_what_the_results_say() -> None:
    assert FILE.read_text() == page(Results.read()), (
        "write it: python -m torture.mutants --seconds 0"
    )


def test_every_file_is_there_and_has_tests() -> None:
    assert all((SOURCES / f"{name}.py").is_file() for name in files())
    assert len(files()) == len(set(files()))
    assert set(IN_PROCESSES) <= set(files())
    for name in files():
        assert table.tests_of(name), name
        assert all((ROOT / test.partition("::")[0]).is_file() for test in table.tests_of(name))


@pytest.mark.parametrize("name", sorted(reasons()))
def test_each_reason_is_of_a_mutant(name: str) -> None:
    source = (SOURCES / f"{name}.py").read_text()
    found = {each.name for each in named_changes(source)}
    assert unmatched({name: reasons()[name]}, {name: found}) == []
