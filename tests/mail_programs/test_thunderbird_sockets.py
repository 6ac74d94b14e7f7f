"""Thunderbird and sockets that are not as they should be: it says so, and stays responsive."""

import socket
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from time import monotonic

import pytest
from harness.daemon import until
from mail_programs import hostile
from mail_programs.desk import DEBIAN_12, Desk, desks, until_has, until_quiet
from mail_programs.hostile import Hostile
from mail_programs.page import Page
from mail_programs.thunderbird import Thunderbird

RESPONSIVE = 2.0  # seconds for an answer of the process that also draws the window
GROWTH = 64 << 20  # bytes of memory that no socket may cost
GAP = 1.0  # seconds between two fetches of an account, as this desk is set
PUT_OFF = 1  # fetches that an earlier connection to mailbelld may still have to bring
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with desks(DEBIAN_12) as desk:
        desk.bell.start()
        yield desk


@pytest.fixture(scope="module")
def running(desk: Desk) -> Iterator[Thunderbird]:
    with desk.thunderbird() as thunderbird:
        yield thunderbird


@pytest.fixture(scope="module")
def page(running: Thunderbird) -> Page:
    return Page(running)


@pytest.fixture
def thunderbird(desk: Desk, running: Thunderbird) -> Iterator[Thunderbird]:
    """Connected to mailbelld, with nothing to do. It must get back there after the test."""
    running.until_state("connected")
    until_quiet(running, *desk.both)
    yield running
    running.set(socket="")
    running.until_state("connected")


@pytest.fixture
def path(desk: Desk) -> Path:
    """For a socket, in a folder that everybody can enter."""
    return desk.machine.shared / f"socket-{next(_NUMBERS)}"


def watched(thunderbird: Thunderbird, done: Callable[[], bool]) -> None:
    """Wait for something, while Thunderbird must stay responsive and small."""
    before, slowest, largest = thunderbird.memory(), 0.0, 0

    def look() -> bool:
        nonlocal slowest, largest
        slowest = max(slowest, thunderbird.answers())
        largest = max(largest, thunderbird.memory() - before)
        assert slowest < RESPONSIVE
        assert largest < GROWTH
        return done()

    until(look, f"what is waited for, after {thunderbird.lines()[-8:]}")


@pytest.mark.parametrize("closed", ["the socket", "its folder"])
def test_a_socket_that_the_user_may_not_open(
    thunderbird: Thunderbird, page: Page, path: Path, tmp_path: Path, closed: str
) -> None:
    path.mkdir()
    its = path / "mailbell.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(its))
        listener.listen()
        # All of this is of root and root's group.
        its.chmod(0o660 if closed == "the socket" else 0o666)
        path.chmod(0o755 if closed == "the socket" else 0o750)
        thunderbird.set(socket=str(its))
        thunderbird.until_state("forbidden")
        page.until_says("No permission: join the group mailbell")
        (tmp_path / "forbidden.png").write_bytes(page.picture())


def test_no_socket(thunderbird: Thunderbird, page: Page, path: Path) -> None:
    thunderbird.set(socket=str(path))
    thunderbird.until_state("missing")
    page.until_says(f"There is no socket at {path}")


@pytest.mark.parametrize("wrong", ["run/mailbell.sock", "~/mailbell.sock", "../mailbell.sock"])
def test_a_path_that_does_not_begin_at_the_root(
    thunderbird: Thunderbird, page: Page, wrong: str
) -> None:
    """The page does not store it; an administrator's preference is not obeyed."""
    assert thunderbird.problems(socket=wrong) == {"socket": "bad_path"}
    thunderbird.prefer("extensions.mailbell.socket", wrong)
    thunderbird.until_state("bad_path")
    page.until_says("The path of the socket cannot be used")


@pytest.mark.parametrize(
    ("act", "reasons"),
    [
        (hostile.huge, {"too_long"}),
        (hostile.garbage, {"too_long", "not_json", "no_reply"}),
        (hostile.never_ends, {"no_answer"}),
        (hostile.never_answers, {"no_answer"}),
    ],
    ids=["huge", "garbage", "never_ends", "never_answers"],
)
def test_a_program_that_is_not_mailbelld(
    desk: Desk,
    thunderbird: Thunderbird,
    page: Page,
    path: Path,
    act: hostile.Act,
    reasons: set[str],
) -> None:
    before = desk.asked()
    with Hostile(path, act) as program:
        thunderbird.set(socket=str(path))
        watched(thunderbird, lambda: thunderbird.status()["state"] == "not_mailbelld")
        assert thunderbird.status()["reason"] in reasons
        page.until_says("This is not mailbelld")
    assert program.callers[0].sent < hostile.HUGE // 20
    assert all(times <= before[kind] + PUT_OFF for kind, times in desk.asked().items())


def test_a_reply_after_the_first_that_never_ends(thunderbird: Thunderbird, path: Path) -> None:
    with Hostile(path, hostile.never_ends_the_second) as program:
        thunderbird.set(socket=str(path))
        watched(thunderbird, lambda: len(program.callers) > 1)  # it has hung up, and tries again


def test_a_program_that_hangs_up_is_called_more_and_more_seldom(
    desk: Desk, thunderbird: Thunderbird, path: Path
) -> None:
    before = desk.asked()
    with Hostile(path, hostile.hangs_up) as program:
        thunderbird.set(socket=str(path))
        watched(thunderbird, lambda: any(pause > 2.0 for pause in program.pauses()))
        assert len(program.callers) < 12
    assert all(times <= before[kind] + PUT_OFF for kind, times in desk.asked().items())


def test_a_program_that_answers_and_hangs_up_causes_few_fetches(
    desk: Desk, thunderbird: Thunderbird, path: Path
) -> None:
    before, begun = desk.asked(), monotonic()
    with Hostile(path, hostile.answers_and_hangs_up) as program:
        thunderbird.set(socket=str(path))
        watched(thunderbird, lambda: any(pause > 2.0 for pause in program.pauses()))
        assert len(program.callers) < 12
    until_quiet(thunderbird, *desk.both)
    most = (monotonic() - begun) / GAP + 1
    assert all(times - before[kind] <= most for kind, times in desk.asked().items())


def test_a_program_that_rings_for_ever(desk: Desk, thunderbird: Thunderbird, path: Path) -> None:
    before, begun = desk.asked(), monotonic()
    with Hostile(path, hostile.rings_for_ever) as program:
        thunderbird.set(socket=str(path))
        watched(thunderbird, lambda: program.callers != [] and monotonic() - begun > 4 * GAP)
    most = (monotonic() - begun) / GAP + 1
    assert all(times - before[kind] <= most for kind, times in desk.asked().items())


def test_after_all_that_mail_still_comes(desk: Desk, thunderbird: Thunderbird) -> None:
    desk.deliver("after-all-that", *desk.both)
    desk.bell.ring("other")
    until_has(thunderbird, "after-all-that", *desk.both)
