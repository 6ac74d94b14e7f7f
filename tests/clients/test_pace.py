"""When an account fetches, compared with a model that looks at the whole history each time."""

import itertools
from typing import Any, Final

import pytest
from harness.v8 import loaded
from hypothesis import example, given
from hypothesis import strategies as st

RUN: Final = """(timing, operations) => {
  const pace = new Pace(timing, timing.type ?? "imap");
  let now = 0;
  const seen = [];
  const step = () => {
    const what = pace.step(now);
    if (what) { seen.push([now, what]); }
  };
  for (const [name, value] of operations) {
    if (name == "wait") {
      const end = now + value;
      while (pace.due !== null && pace.due <= end) {
        now = Math.max(now, pace.due);
        step();
      }
      now = end;
    } else if (name == "ring") {
      pace.ring(now);
    } else if (pace.fetching) {
      if (name == "ended") { pace.ended(now, value); }
      if (name == "refused") { pace.refused(); }
      if (name == "busy") { pace.interrupted(now); }
    }
    step();
  }
  return { seen, due: pace.due, wanted: pace.wanted, fetching: pace.fetching };
}"""

GIVE_UP: Final = 300_000
SETTLE_MOST: Final = 10_000
TICK: Final = 500  # all times of the trials are whole numbers of these milliseconds


class Model:
    """Keeps every ring, and decides from all of them at each tick."""

    def __init__(self, settle: int, gap: int) -> None:
        self.settle = settle
        self.gap = gap
        self.now = 0
        self.rings: list[int] = []
        self.starts: list[int] = []
        self.seen: list[list[Any]] = []
        self.running = False
        self.failures = 0
        self.retry: int | None = None
        self.answered = 0  # how many rings had a fetch after them

    def look(self) -> None:
        if self.running:
            if self.now - self.starts[-1] >= GIVE_UP:
                self.end(ok=False)
                self.seen.append([self.now, "give_up"])
                self.look()
            return
        if self.starts and self.now - self.starts[-1] < self.gap:
            return
        open_rings = self.rings[self.answered :]
        quiet = open_rings and self.now - open_rings[-1] >= self.settle
        long = open_rings and self.now - open_rings[0] >= max(SETTLE_MOST, self.settle)
        if quiet or long or (self.retry is not None and self.now >= self.retry):
            self.starts.append(self.now)
            self.seen.append([self.now, "fetch"])
            self.running = True
            self.answered = len(self.rings)
            self.retry = None

    def end(self, *, ok: bool) -> None:
        self.running = False
        if ok:
            self.failures = 0
        else:
            wait = min(60_000 * 2**self.failures, 3_600_000)
            self.retry = self.now + wait
            self.failures += 1

    def play(self, operations: list[tuple[str, Any]]) -> None:
        for name, value in operations:
            if name == "wait":
                for _ in range(value // TICK):
                    self.now += TICK
                    self.look()
            elif name == "ring":
                self.rings.append(self.now)
            elif self.running:
                if name == "ended":
                    self.end(ok=value)
                else:
                    self.running = False
                    if name == "busy":
                        self.rings.append(self.now)
            self.look()


def ticks(most: int) -> st.SearchStrategy[int]:
    return st.integers(0, most).map(lambda number: number * TICK)


OPERATIONS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("ring"), st.none()),
        st.tuples(st.just("ring"), st.none()),
        st.tuples(st.just("wait"), ticks(12)),
        st.tuples(st.just("wait"), st.one_of(ticks(12), ticks(130), ticks(700))),
        st.tuples(st.just("ended"), st.booleans()),
        st.tuples(st.sampled_from(["refused", "busy"]), st.none()),
    ),
    max_size=30,
)


@given(ticks(30), ticks(60), OPERATIONS)
@example(1000, 10_000, [("ring", None), ("wait", 1000), ("ring", None), ("ended", True)])
@example(0, 1000, [("ring", None), ("wait", 301_000), ("ring", None), ("wait", 5000)])
def test_it_fetches_when_the_model_does(
    settle: int, gap: int, operations: list[tuple[str, Any]]
) -> None:
    model = Model(settle, gap)
    model.play(operations)
    found = loaded()(RUN, {"settle": settle, "gap": gap}, operations)
    assert found["seen"] == model.seen
    assert found["fetching"] == model.running


@given(ticks(30), ticks(60), OPERATIONS)
def test_no_ring_is_lost_and_no_gap_is_shortened(
    settle: int, gap: int, operations: list[tuple[str, Any]]
) -> None:
    """Whatever came before, after some quiet there was a fetch that began after the last ring."""
    after = [("ended", True), ("wait", 600_000), ("ended", True), ("wait", 7_200_000)]
    found = loaded()(RUN, {"settle": settle, "gap": gap}, [*operations, *after])
    starts = [now for now, what in found["seen"] if what == "fetch"]
    assert all(b - a >= gap for a, b in itertools.pairwise(starts))
    now = 0
    rings = []
    for name, value in operations:
        now += value if name == "wait" else 0
        if name == "ring":
            rings.append(now)
    if rings:
        assert starts
        assert starts[-1] >= rings[-1]


@pytest.mark.parametrize("rings", [1, 100_000])
def test_however_often_it_rings_nothing_grows(rings: int) -> None:
    size = """rings => {
      const pace = new Pace({ settle: 1000, gap: 10000 }, "imap");
      for (let n = 0; n < rings; n++) { pace.ring(n); }
      return [Object.keys(pace).length, JSON.stringify(pace).length < 200];
    }"""
    assert loaded()(size, rings) == [9, True]


def test_what_never_settles_is_fetched_all_the_same() -> None:
    operations: list[tuple[str, Any]] = [("ring", None), ("wait", 500)] * 60
    seen = loaded()(RUN, {"settle": 1000, "gap": 1000}, operations)["seen"]
    assert seen == [[10_000, "fetch"]]  # it has not ended yet


def test_a_ring_does_not_wait_for_the_next_try_after_a_failure() -> None:
    operations = [
        ("ring", None), ("wait", 1000), ("ended", False), ("wait", 15_000), ("ring", None),
        ("wait", 1000), ("ended", False), ("wait", 120_000), ("ended", True),
    ]  # fmt: skip
    seen = loaded()(RUN, {"settle": 1000, "gap": 10_000}, operations)["seen"]
    assert seen == [[1000, "fetch"], [17_000, "fetch"], [137_000, "fetch"]]


def test_tries_after_failures_come_further_and_further_apart() -> None:
    waits = [60_000, 120_000, 240_000, 480_000, 960_000, 1_920_000, *[3_600_000] * 8]
    operations: list[tuple[str, Any]] = [("ring", None), ("wait", 0)]
    for wait in waits:
        operations += [("ended", False), ("wait", wait)]
    operations += [("ended", True), ("ring", None), ("wait", 1000), ("ended", False)]
    found = loaded()(RUN, {"settle": 0, "gap": 1000}, operations)
    starts = [now for now, what in found["seen"] if what == "fetch"]
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert gaps == [*waits, 1000]
    assert found["due"] == starts[-1] + 60_000  # a success forgets the failures before it


QUEUED: Final = {"settle": 0, "gap": 1000, "type": "pop3"}


@pytest.mark.parametrize(("end", "late"), [(True, 1), (False, 2)])
def test_a_fetch_that_waits_in_thunderbirds_queue_is_followed_by_no_other(
    end: bool, late: int
) -> None:
    """Each further one waited there too, and all ran at once when a dialog was answered."""
    rung = [("ring", None), ("wait", 60_000)] * 480
    found = loaded()(RUN, QUEUED, rung)
    assert found["seen"] == [[0, "fetch"], [GIVE_UP, "overdue"]]
    assert (found["due"], found["fetching"], found["wanted"]) == (None, True, True)
    ended = loaded()(RUN, QUEUED, [*rung, ("ended", end), ("wait", 0)])
    assert ended["seen"][2:] == [[480 * 60_000, "fetch"]]
    # It has the time anew.
    again = loaded()(RUN, QUEUED, [*rung, ("ended", end), ("wait", GIVE_UP)])
    assert again["seen"][3:] == [[480 * 60_000 + GIVE_UP, "overdue"]]
    quiet = loaded()(RUN, QUEUED, [rung[0], ("wait", 10**7), ("ended", end), ("wait", 10**6)])
    assert len([what for _, what in quiet["seen"] if what == "fetch"]) == late


@pytest.mark.parametrize("end", ["busy", "refused"])
def test_any_end_of_a_fetch_that_was_waited_for_frees_the_account(end: str) -> None:
    found = loaded()(RUN, QUEUED, [("ring", None), ("wait", GIVE_UP), (end, None),
                                   ("ring", None), ("wait", 0), ("wait", 1)])  # fmt: skip
    assert found["seen"][2:] == [[GIVE_UP, "fetch"]]
    assert found["due"] == 2 * GIVE_UP


@pytest.mark.parametrize("kind", ["ews", "graph"])
def test_a_kind_that_reports_no_failure_is_given_up_soon(kind: str) -> None:
    """A ring would wait five minutes for it."""
    operations = [("ring", None), ("wait", 1000), ("ring", None), ("wait", 60_000)]
    found = loaded()(RUN, {"settle": 0, "gap": 1000, "type": kind}, operations)
    assert found["seen"][:3] == [[0, "fetch"], [30_000, "give_up"], [30_000, "fetch"]]


def test_without_a_password_only_a_ring_tries_again() -> None:
    operations = [("ring", None), ("wait", 1000), ("refused", None), ("wait", 7_200_000)]
    found = loaded()(RUN, {"settle": 1000, "gap": 1000}, operations)
    assert found["seen"] == [[1000, "fetch"]]
    assert found["due"] is None
    again = loaded()(
        RUN, {"settle": 1000, "gap": 1000}, [*operations, ("ring", None), ("wait", 1000)]
    )
    assert again["seen"][-1] == [7_202_000, "fetch"]
