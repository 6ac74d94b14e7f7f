"""All accounts together: each has a pace of its own, and what is over is forgotten."""

import itertools
from typing import Any, Final

from harness.v8 import loaded
from hypothesis import given
from hypothesis import strategies as st

RUN: Final = """(timing, operations) => {
  const TYPES = { p: "pop3", e: "ews" };
  const schedule = new Schedule(timing);
  let now = 0;
  const seen = [];
  const running = [];
  const step = () => {
    for (const { key, fetch } of schedule.step(now)) {
      seen.push([now, key]);
      running.push({ key, fetch });
    }
  };
  for (const [name, value] of operations) {
    if (name == "wait") {
      const end = now + value;
      while (schedule.due !== null && schedule.due <= end) {
        now = Math.max(now, schedule.due);
        step();
      }
      now = end;
    } else if (name == "accounts") {
      schedule.update(now, value.map(key => ({ key, type: TYPES[key] ?? "imap" })));
    } else if (name == "ring") {
      schedule.ring(now, value);
    } else if (name == "offline") {
      schedule.offline = value;
    } else if (name == "timing") {
      Object.assign(timing, value);
    } else {
      const [key, result] = value;
      const found = running.findIndex(each => each.key == key);
      if (found >= 0) {
        const { fetch } = running.splice(found, 1)[0];
        schedule.ended(now, 1e12 + now, key, fetch, result);
      }
    }
    step();
  }
  const states = Object.fromEntries(schedule.known.map(({ key }) => [key, schedule.describe(key)]));
  return { seen, due: schedule.due, ...states };
}"""

TIMING: Final = {"settle": 1000, "gap": 10_000}
BOTH: Final = ("accounts", ["a", "b"])


def run(*operations: tuple[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = loaded()(RUN, TIMING, operations)
    return found


def test_an_account_that_never_ends_holds_up_no_other() -> None:
    found = run(BOTH, ("ring", ["a", "b"]), ("wait", 1000), ("ended", ["b", "ok"]),
                ("ring", ["a", "b"]), ("wait", 20_000), ("ended", ["b", "ok"]))  # fmt: skip
    assert found["seen"] == [[1000, "a"], [1000, "b"], [11_000, "b"]]
    assert found["a"] == {"state": "fetching", "lastFetch": None}
    assert found["b"] == {"state": "idle", "lastFetch": 10**12 + 21_000}


def test_an_account_that_never_ends_is_given_up() -> None:
    stuck = [BOTH, ("ring", ["a"]), ("wait", 1000)]
    assert run(*stuck, ("wait", 299_999))["a"]["state"] == "fetching"
    found = run(*stuck, ("wait", 300_000))
    assert found["a"] == {"state": "failed", "lastFetch": None}
    assert run(*stuck, ("wait", 300_000 + 60_000))["seen"] == [[1000, "a"], [361_000, "a"]]


def test_the_end_of_a_fetch_that_was_given_up_is_not_taken_for_that_of_the_next() -> None:
    found = run(BOTH, ("ring", ["a"]), ("wait", 361_000), ("ended", ["a", "ok"]))
    assert found["a"] == {"state": "fetching", "lastFetch": None}
    ended = run(
        BOTH, ("ring", ["a"]), ("wait", 361_000), ("ended", ["a", "ok"]), ("ended", ["a", "ok"])
    )
    assert ended["a"] == {"state": "idle", "lastFetch": 10**12 + 361_000}


def test_what_rings_while_thunderbird_is_offline_is_fetched_later() -> None:
    """The prototype forgot it."""
    offline = [BOTH, ("offline", True), ("ring", ["a"]), ("wait", 10**7)]
    found = run(*offline)
    assert found["seen"] == []
    assert found["due"] is None
    assert found["a"]["state"] == "offline"
    assert run(*offline, ("offline", False))["seen"] == [[10**7, "a"]]


def test_a_fetch_that_hangs_is_given_up_while_offline_too() -> None:
    found = run(BOTH, ("ring", ["a"]), ("wait", 1000), ("offline", True), ("wait", 10**7))
    assert found["seen"] == [[1000, "a"]]
    found = run(
        BOTH, ("ring", ["a"]), ("wait", 1000), ("offline", True), ("wait", 10**7),
        ("offline", False),
    )  # fmt: skip
    assert found["seen"] == [[1000, "a"], [10_001_000, "a"]]


def test_states_of_an_account() -> None:
    def state(*operations: tuple[str, Any]) -> str:
        return str(run(BOTH, *operations)["a"]["state"])

    rung = [("ring", ["a"]), ("wait", 1000)]
    assert state() == "idle"
    assert state(rung[0]) == "waiting"
    assert state(*rung) == "fetching"
    assert state(*rung, ("ended", ["a", "ok"])) == "idle"
    assert state(*rung, ("ended", ["a", "ok"]), rung[0]) == "waiting"
    assert state(*rung, ("ended", ["a", "failed"])) == "failed"
    assert state(*rung, ("ended", ["a", "failed"]), rung[0]) == "failed"  # until it succeeds
    assert state(*rung, ("ended", ["a", "failed"]), rung[0], ("wait", 10**5)) == "fetching"
    assert state(*rung, ("ended", ["a", "busy"])) == "waiting"
    assert state(*rung, ("ended", ["a", "failed"]), *rung, ("ended", ["a", "busy"])) == "failed"
    assert state(*rung, ("ended", ["a", "no_password"])) == "no_password"
    assert state(*rung, ("ended", ["a", "no_password"]), ("wait", 10**9)) == "no_password"


def test_a_fetch_that_found_the_inbox_busy_is_made_again_after_the_gap() -> None:
    busy = [BOTH, ("ring", ["a"]), ("wait", 1000), ("ended", ["a", "busy"])]
    found = run(*busy, ("wait", 60_000), ("ended", ["a", "ok"]), ("wait", 10**7))
    assert found["seen"] == [[1000, "a"], [11_000, "a"]]
    assert found["a"]["state"] == "idle"


def test_an_account_that_is_missing_for_a_moment_loses_nothing() -> None:
    """What it was to fetch was forgotten."""
    away = [BOTH, ("ring", ["a", "b", "c"]), ("accounts", ["b"]), ("wait", 1000)]
    found = run(*away, ("ended", ["b", "ok"]), ("wait", 9000))
    assert found["seen"] == [[1000, "b"]]
    assert found["due"] == 40_000  # Thunderbird is asked again for its accounts
    back = run(*away, ("ended", ["b", "ok"]), ("wait", 9000), BOTH)
    assert back["seen"] == [[1000, "b"], [10_000, "a"]]
    # A fetch that runs is still waited for.
    gone = run(BOTH, ("ring", ["a"]), ("wait", 1000), ("accounts", []), ("ended", ["a", "ok"]))
    assert gone["a"] == {"state": "idle", "lastFetch": 10**12 + 1000}
    assert gone["due"] is None
    stuck = run(BOTH, ("ring", ["a"]), ("wait", 1000), ("accounts", []), ("wait", 300_000))
    assert stuck["a"]["state"] == "failed"


def test_an_account_that_stays_away_is_forgotten() -> None:
    away = [BOTH, ("ring", ["a"]), ("accounts", ["b"])]
    assert "a" in run(*away, ("wait", 599_999), ("accounts", ["b"]))
    found = run(*away, ("wait", 600_000), ("accounts", ["b"]))
    assert "a" not in found
    assert found["due"] is None
    assert run(*away, ("wait", 600_000), ("accounts", ["b"]), BOTH, ("wait", 10**6))["seen"] == []


def test_a_key_that_another_kind_of_account_has_now_is_a_new_account() -> None:
    switch = """() => {
      const schedule = new Schedule({ settle: 0, gap: 1000 });
      schedule.update(0, [{ key: "a", type: "imap" }]);
      schedule.ring(0, ["a"]);
      schedule.update(0, [{ key: "a", type: "pop3" }]);
      return [schedule.step(0), schedule.describe("a").state];
    }"""
    assert loaded()(switch) == [[], "idle"]


def test_what_thunderbird_will_do_at_last_is_waited_for_and_shown_as_failed() -> None:
    stuck = [("accounts", ["p"]), ("ring", ["p"]), ("wait", 10**7)]
    found = run(*stuck)
    assert found["seen"] == [[1000, "p"]]
    assert found["p"] == {"state": "failed", "lastFetch": None}
    ended = run(*stuck, ("ended", ["p", "ok"]))
    assert ended["p"] == {"state": "idle", "lastFetch": 10**12 + 10**7}


def test_a_new_setting_counts_for_all_at_once() -> None:
    found = run(BOTH, ("ring", ["a"]), ("timing", {"settle": 5000}), ("wait", 5000))
    assert found["seen"] == [[5000, "a"]]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ring"), st.lists(st.sampled_from("abx"), max_size=3)),
            st.tuples(st.just("wait"), st.sampled_from([0, 500, 1000, 9000, 400_000])),
            st.tuples(
                st.just("ended"),
                st.tuples(
                    st.sampled_from("ab"), st.sampled_from(["ok", "busy", "failed", "no_password"])
                ),
            ),
            st.tuples(st.just("offline"), st.booleans()),
        ),
        max_size=25,
    )
)
def test_what_happens_to_one_account_changes_nothing_for_another(
    operations: list[tuple[str, Any]],
) -> None:
    """What `a` does is the same if `b` never rings."""
    alone = [
        (name, [key for key in value if key != "b"] if name == "ring" else value)
        for name, value in operations
        if name != "ended" or value[0] != "b"
    ]
    with_b, without = run(BOTH, *operations), run(BOTH, *alone)
    assert [each for each in with_b["seen"] if each[1] == "a"] == without["seen"]
    assert with_b["a"] == without["a"]


CATCH_UPS: Final = """(gap, asks) => {
  const catchUps = new CatchUps();
  const taken = [];
  let now = 0;
  for (const [at, lasted] of asks) {
    for (; now < at; now += 1000) { if (catchUps.take(now, gap)) { taken.push(now); } }
    catchUps.ask(lasted);
    if (catchUps.take(now, gap)) { taken.push(now); }
  }
  for (; now < asks.at(-1)[0] + 700000; now += 1000) {
    if (catchUps.take(now, gap)) { taken.push(now); }
  }
  return [taken, catchUps.due(gap)];
}"""


def test_a_catch_up_comes_at_once_and_once() -> None:
    taken, due = loaded()(CATCH_UPS, 10_000, [(0, True), (100_000, True)])
    assert taken == [0, 100_000]
    assert due is None
    assert loaded()("() => new CatchUps().take(0, 1)") is False


def test_a_daemon_that_does_not_stay_is_caught_up_with_less_and_less_often() -> None:
    """The prototype fetched everything each time."""
    asks = [(0, True), *((9000 * n, False) for n in range(1, 400))]
    taken, _ = loaded()(CATCH_UPS, 10_000, asks)
    gaps = [b - a for a, b in itertools.pairwise(taken)]
    assert gaps[:6] == [20_000, 40_000, 80_000, 160_000, 320_000, 600_000]
    assert set(gaps[6:]) == {600_000}
    # One connection that lasted forgets that.
    taken, _ = loaded()(CATCH_UPS, 10_000, [*asks, (3_700_000, True)])
    assert taken[-1] == 3_700_000


@given(
    st.integers(1, 900).map(lambda seconds: 1000 * seconds),
    st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=20),
)
def test_no_catch_up_is_lost(gap: int, steps: list[tuple[int, bool]]) -> None:
    at = 0
    asks = []
    for seconds, lasted in steps:
        at += 1000 * seconds
        asks.append((at, lasted))
    taken, due = loaded()(CATCH_UPS, gap, asks)
    assert due is None or gap > 600_000
    assert taken[-1] >= asks[-1][0] or due is not None
    assert len(taken) <= len(asks)
    lasting = [time for time, lasted in asks if lasted]
    assert set(lasting) <= set(taken)  # after a connection that lasted, at once
