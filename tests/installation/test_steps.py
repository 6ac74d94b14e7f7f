"""Steps: all or none, in their order, and undone backwards whatever ends them."""

import os
import signal
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.errors import ConfigurationError, OperatingSystemError
from mailbell.installation.steps import carry_out, ended_by_signals


@dataclass
class Thing:
    """A step that notes what happens to it."""

    name: str
    notes: list[str]
    is_there: bool = False
    fails: str = ""
    error: BaseException = field(default_factory=lambda: OperatingSystemError("no", "try again"))

    @property
    def what(self) -> str:
        return f"make {self.name}"

    @property
    def there(self) -> str:
        return f"{self.name} is there"

    def check(self) -> None:
        self._note("check")

    def is_done(self) -> bool:
        return self.is_there

    def do(self) -> None:
        self.is_there = True
        self._note("do")

    def undo(self) -> None:
        self.is_there = False
        self._note("undo")

    def _note(self, verb: str) -> None:
        self.notes.append(f"{verb} {self.name}")
        if verb == self.fails:
            raise self.error


def things(there: list[bool]) -> tuple[list[Thing], list[str]]:
    notes: list[str] = []
    return [Thing(str(index), notes, each) for index, each in enumerate(there)], notes


@given(st.lists(st.booleans(), max_size=6))
def test_each_step_is_told_and_done_once(there: list[bool]) -> None:
    steps, _ = things(there)
    said: list[str] = []
    assert carry_out(steps, said.append, dry=False) == (not all(there))
    assert said == [
        step.there if was else step.what for step, was in zip(steps, there, strict=True)
    ]
    assert all(step.is_there for step in steps)
    said.clear()
    assert not carry_out(steps, said.append, dry=False)
    assert said == [step.there for step in steps]


@given(st.lists(st.booleans(), max_size=6))
def test_a_dry_run_says_the_same_and_does_nothing(there: list[bool]) -> None:
    steps, notes = things(there)
    dry: list[str] = []
    carry_out(steps, dry.append, dry=True)
    assert notes == [f"check {step.name}" for step in steps]
    assert [step.is_there for step in steps] == there
    wet: list[str] = []
    carry_out(steps, wet.append, dry=False)
    assert wet == dry


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.data())
def test_if_one_fails_the_machine_is_as_before(there: list[bool], data: st.DataObject) -> None:
    steps, notes = things(there)
    failing = data.draw(st.sampled_from(steps))
    failing.fails = data.draw(st.sampled_from(["check", "do"]))
    if failing.fails == "do":
        failing.is_there = False
    before = [step.is_there for step in steps]
    with pytest.raises(OperatingSystemError) as caught:
        carry_out(steps, lambda _: None, dry=False)
    assert str(caught.value) == "no; try again"
    assert [step.is_there for step in steps] == before
    done = [note.removeprefix("do ") for note in notes if note.startswith("do ")]
    undone = [note.removeprefix("undo ") for note in notes if note.startswith("undo ")]
    assert undone == done[::-1]
    if failing.fails == "check":
        assert done == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "full", "/x"), MemoryError()])
def test_whatever_ends_a_step_it_is_undone(error: BaseException) -> None:
    steps, notes = things([False, False, False])
    steps[1].fails, steps[1].error = "do", error
    with pytest.raises(type(error)):
        carry_out(steps, lambda _: None, dry=False)
    assert notes[3:] == ["do 0", "do 1", "undo 1", "undo 0"]


def test_what_cannot_be_undone_is_named_and_the_rest_is_undone() -> None:
    steps, notes = things([False, False, False])
    steps[1].fails, steps[1].error = "undo", ConfigurationError("1 stays", "rm 1")
    steps[2].fails = "do"
    with pytest.raises(OperatingSystemError) as caught:
        carry_out(steps, lambda _: None, dry=False)
    assert notes[-3:] == ["undo 2", "undo 1", "undo 0"]
    assert str(caught.value) == (
        "no; try again; and not all of it could be undone: 1 stays; rm 1; mailbell uninstall"
    )


def test_a_terminal_that_is_gone_prevents_no_undoing() -> None:
    steps, notes = things([False, False])

    def say(line: str) -> None:
        if line != "make 0":
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        carry_out(steps, say, dry=False)
    assert notes[-1] == "undo 0"
    assert not any(step.is_there for step in steps)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_ctrl_c_does(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def send(_: str) -> None:
        os.kill(os.getpid(), number)

    steps, notes = things([False])
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        carry_out([steps[0], Sending(number)], lambda _: None, dry=False)
    assert notes[-1] == "undo 0"
    assert signal.getsignal(number) == before


class Sending(Thing):
    """A step that gets a signal while it works, and once more while it is undone."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__("signal", [])
        self._number = number

    def do(self) -> None:
        os.kill(os.getpid(), self._number)

    def undo(self) -> None:
        os.kill(os.getpid(), self._number)


def test_a_program_that_ignores_the_end_of_its_terminal_goes_on() -> None:
    """nohup(1)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
