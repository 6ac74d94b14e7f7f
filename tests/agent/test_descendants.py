"""Which processes are descendants, and which are signalled; tests of the keeper end real ones."""

import os
import signal
from dataclasses import replace

import pytest
from agent.commands import runs
from harness import child
from harness.daemon import until

from mailbell._sys.orphans import adopt_orphans
from mailbell.agent import _descendants
from mailbell.agent._descendants import Descendants
from mailbell.agent._processes import Process, read


def process(number: int, parent: int, began: int = 5, *, lives: bool = True) -> Process:
    return Process(number, parent, 1, began, lives, lives)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """The table of processes, in which this process has a number as any other."""
    listed: list[Process] = []
    monkeypatch.setattr(_descendants, "processes", lambda: iter(listed))
    monkeypatch.setattr(_descendants, "children", list)
    return listed


ME = os.getpid()


def test_children_come_first_and_all_that_descend_come(table: list[Process]) -> None:
    table += [
        process(90, 80), process(80, 70), process(70, ME), process(60, 1), process(50, ME),
        process(ME, 1), process(1, 0),
    ]  # fmt: skip
    assert [each.number for each in Descendants().look()] == [70, 50, 90, 80]


def test_the_dead_do_not_count_and_what_descends_from_them_does(table: list[Process]) -> None:
    table += [process(90, 80), process(80, 70, lives=False), process(70, ME, lives=False)]
    assert [each.number for each in Descendants().look()] == [90]


def test_a_table_that_was_read_in_parts_does_no_harm(table: list[Process]) -> None:
    table += [process(90, 80), process(70, 60), process(60, 70)]
    assert not list(Descendants().look())


def test_spared_children_do_not_count_nor_what_descends_from_them(table: list[Process]) -> None:
    table += [process(90, 70), process(70, ME), process(91, 71), process(71, ME)]
    assert [each.number for each in Descendants({70}).look()] == [71, 91]


def test_earlier_children_do_not_count_nor_what_descends_from_them(table: list[Process]) -> None:
    table += [process(90, 70, 9), process(70, ME, 4), process(91, 71, 9), process(71, ME, 5)]
    assert [each.number for each in Descendants(since=5).look()] == [71, 91]


def test_of_other_sessions_children_do_not_count_nor_what_descends_from_them(
    table: list[Process],
) -> None:
    """For a process that adopts what others leave, as the first of a container does."""
    table += [
        process(90, 70),
        process(70, ME),
        process(91, 71),
        replace(process(71, ME), session=2),
    ]
    assert [each.number for each in Descendants(session=1).look()] == [70, 90]


def test_children_that_the_table_does_not_show_count(
    table: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc hides processes of other users, such as set-user-ID programs: hidepid of proc(5)."""
    monkeypatch.setattr(_descendants, "children", lambda: [70, 71, 72])
    table += [process(70, ME)]
    assert [each.number for each in Descendants({71}).look()] == [70, 72]
    assert [each.number for each in Descendants({71}, session=1).look()] == [70]


@pytest.mark.parametrize("how", ["spared", "earlier", "another session"])
def test_the_newest_process_is_not_caught_if_it_does_not_count(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It belongs to another command, or to another program of the container."""
    told: list[int] = []
    them = {70: process(70, ME, 5), 90: process(90, 70, 9)}
    ours = {
        "spared": Descendants({70}),
        "earlier": Descendants(since=6),
        "another session": Descendants(session=2),
    }[how]
    monkeypatch.setattr(_descendants, "read", them.get)
    monkeypatch.setattr(ours, "_send", lambda process, _: told.append(process.number))
    for newest in them:
        monkeypatch.setattr(_descendants, "newest", lambda newest=newest: newest)
        ours._catch(signal.SIGSTOP)
    assert not told


def test_a_number_that_has_another_process_by_now_is_not_signalled() -> None:
    def inside() -> tuple[bool, bool]:
        adopt_orphans()
        reader, writer = os.pipe()
        if os.fork() == 0:
            if (pid := os.fork()) == 0:
                signal.pause()
            os.write(writer, b"%d" % pid)
            signal.pause()
        other = read(int(os.read(reader, 20)))
        assert other
        ours = Descendants()
        ours._send(replace(other, began=other.began - 1), signal.SIGKILL)
        spared = runs(other.number)
        ours._send(other, signal.SIGKILL)
        until(lambda: not runs(other.number))
        while ours.end():
            pass
        return spared, runs(other.number)

    ended = child.run(inside)
    assert ended.error is None
    assert ended.value == (True, False)


def test_each_is_asked_once() -> None:
    def inside() -> tuple[bool, bool]:
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pause()
        ours = Descendants()
        asked: set[tuple[int, int]] = set()
        first = ours.ask(asked)
        second = ours.ask(asked)
        while ours.end():
            pass
        return first, second

    ended = child.run(inside)
    assert ended.error is None
    assert ended.value == (True, False)
