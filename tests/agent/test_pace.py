"""When a job runs, compared with a simple model that looks at the whole history each time."""

from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.agent._pace import Pace, Pending, Step, Timing, Trigger

TIMING: Final = Timing()


def starts(pace: Pace, now: float) -> Pending:
    assert pace.step(now) is Step.START
    return pace.started(now)


def test_nothing_runs_by_itself_until_the_poll() -> None:
    pace = Pace(TIMING, 100.0)
    assert pace.due == 3700.0
    assert pace.step(3699.9) is None
    assert starts(pace, 3700.0) == Pending(Trigger.POLL, 0)


def test_without_a_poll_it_waits_for_ever() -> None:
    pace = Pace(Timing(poll=0), 0.0)
    assert pace.due is None
    assert pace.step(1e9) is None


def test_the_first_after_quiet_runs_as_soon_as_it_is_settled() -> None:
    pace = Pace(TIMING, 0.0)
    pace.ring(1000.0, Trigger.NETWORK)
    assert pace.due == 1001.0
    pace.ring(1000.5, Trigger.NETWORK, 3)
    assert pace.due == 1001.5
    assert pace.step(1001.4) is None
    assert starts(pace, 1001.5) == Pending(Trigger.NETWORK, 4)


def test_what_never_settles_runs_all_the_same() -> None:
    pace = Pace(TIMING, 0.0)
    for tenths in range(0, 200, 5):
        pace.ring(tenths / 10, Trigger.NETWORK)
    assert pace.due == 10.0


def test_between_two_starts_is_a_gap() -> None:
    pace = Pace(TIMING, 0.0)
    pace.ring(0.0, Trigger.NETWORK)
    starts(pace, 1.0)
    pace.ended(4.0, ok=True)
    pace.ring(5.0, Trigger.NETWORK)
    assert pace.due == 31.0


def test_a_server_that_refuses_early_logins_has_its_time_after_the_end_of_a_run() -> None:
    """The run may have logged in at its very end, and the next one at its very start."""
    pace = Pace(Timing(min_gap=60.0, login_delay=60.0), 0.0)
    pace.ring(0.0, Trigger.NETWORK)
    starts(pace, 1.0)
    pace.ring(2.0, Trigger.NETWORK)
    pace.ended(11.0, ok=True)
    assert pace.due == 71.0
    starts(pace, 71.0)
    pace.ended(72.0, ok=False)
    pace.ring(72.0, Trigger.RESUME)
    assert pace.due == 132.0  # no failure and no other cause shortens it


def test_a_server_that_is_busy_is_no_failure() -> None:
    pace = Pace(TIMING, 0.0)
    pace.ring(0.0, Trigger.NETWORK)
    now = 1.0
    for _ in range(3):
        starts(pace, now)
        pace.ended(now + 1, ok=False, busy=True)
        pace.ring(now + 2, Trigger.NETWORK, 0)
        assert (pace.failures, pace.due) == (0, now + 31.0)
        now += 31.0
    assert starts(pace, now) == Pending(Trigger.NETWORK, 0)
    pace.ended(now, ok=True)
    assert pace.due == now + TIMING.poll


def test_a_busy_server_is_asked_again_without_a_notification() -> None:
    pace = Pace(Timing(poll=0), 0.0)
    pace.ring(0.0, Trigger.START)
    starts(pace, 1.0)
    pace.ended(40.0, ok=False, busy=True)
    assert starts(pace, 70.0) == Pending(Trigger.RETRY, 0)


def test_whatever_comes_during_a_run_is_one_more() -> None:
    pace = Pace(TIMING, 0.0)
    pace.ring(0.0, Trigger.NETWORK)
    starts(pace, 1.0)
    for second in range(2, 60):
        pace.ring(second, Trigger.NETWORK)
        assert pace.step(second) is None
    pace.ended(61.5, ok=True)
    assert starts(pace, 61.5) == Pending(Trigger.NETWORK, 58)
    pace.ended(62.0, ok=True)
    assert pace.due == 62.0 + 3600.0


def test_a_run_that_takes_too_long_is_terminated_and_then_killed() -> None:
    pace = Pace(TIMING, 0.0)
    pace.ring(0.0, Trigger.NETWORK)
    starts(pace, 1.0)
    assert pace.step(300.9) is None
    assert pace.step(301.0) is Step.TERMINATE
    assert pace.step(301.0) is None
    assert pace.step(311.0) is Step.KILL
    assert pace.step(1e9) is None
    assert pace.due is None
    pace.ended(312.0, ok=False)
    assert pace.due == 342.0


def test_after_failures_it_tries_later_and_later() -> None:
    pace = Pace(TIMING, 0.0)
    pace.ring(0.0, Trigger.NETWORK)
    now, delays = 1.0, []
    for _ in range(60):
        pace.step(now)
        pace.started(now)
        pace.ended(now, ok=False)
        assert pace.due is not None
        delays.append(pace.due - now)
        now = pace.due
    assert delays[:6] == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0]
    assert set(delays[6:]) == {600.0}
    assert pace.failures == 60
    assert starts(pace, now) == Pending(Trigger.RETRY, 0)
    pace.ended(now, ok=True)
    assert pace.failures == 0


def test_a_notification_does_not_shorten_the_wait_after_a_failure() -> None:
    pace = Pace(TIMING, 0.0)
    pace.ring(0.0, Trigger.NETWORK)
    starts(pace, 1.0)
    pace.ended(100.0, ok=False)
    pace.ring(101.0, Trigger.NETWORK, 2)
    assert pace.due == 130.0
    assert starts(pace, 130.0) == Pending(Trigger.NETWORK, 2)


@pytest.mark.parametrize("trigger", [Trigger.RESUME, Trigger.ADDRESS])
def test_a_machine_that_is_elsewhere_perhaps_has_not_failed(trigger: Trigger) -> None:
    pace = Pace(TIMING, 0.0)
    pace.ring(0.0, Trigger.NETWORK)
    starts(pace, 1.0)
    for now in (100.0, 500.0, 1000.0, 2000.0):
        pace.ended(now, ok=False)
        pace.started(now + 50)
    pace.ring(2060.0, trigger)  # the job runs: its failure counts as the first
    pace.ended(2100.0, ok=False)
    assert pace.failures == 1
    assert pace.due == 2100.0 + 30.0
    pace.ring(2150.0, trigger)
    assert pace.failures == 0
    assert starts(pace, 2151.0).trigger is trigger
    pace.ended(2152.0, ok=False)
    assert pace.due == 2182.0


@pytest.mark.parametrize("second", Trigger)
@pytest.mark.parametrize("first", Trigger)
def test_of_several_causes_the_first_of_the_list_is_told(first: Trigger, second: Trigger) -> None:
    pace = Pace(TIMING, 0.0)
    pace.ring(0.0, first)
    pace.ring(0.0, second)
    order = list(Trigger)
    assert pace.started(1.0) == Pending(min(first, second, key=order.index), 2)


def test_the_causes_are_named_as_the_commands_are_told_them() -> None:
    assert list(Trigger) == [
        "network", "manual", "resync", "resume", "address", "start", "retry", "poll"
    ]  # fmt: skip


# --- against a model ----------------------------------------------------------


@dataclass
class Model:
    """The whole history, and nothing else."""

    timing: Timing
    born: float
    rings: list[tuple[float, int]] = field(
        default_factory=list
    )  # the notifications since the last start
    start: float | None = None  # the start of the last run
    # The end of each run, and whether it succeeded; None: the server was busy.
    ends: list[tuple[float, bool | None]] = field(default_factory=list)
    running: bool = False
    told: int = 0
    forgotten: int = 0  # the ends before this index are forgotten

    def failures(self) -> int:
        """The number of runs that failed in a row, up to the last one."""
        count = 0
        for _, ok in reversed(self.ends[self.forgotten :]):
            if ok:
                break
            count += ok is False
        return count

    def busy(self) -> bool:
        """Whether the last run found the server busy."""
        return any(ok is None for _, ok in self.ends[self.forgotten :][-1:])

    def may_start(self, now: float) -> bool:
        return (
            not self.running
            and self.is_wanted(now)
            and (self.start is None or now >= self.start + self.timing.min_gap)
            and (not self.ends or now >= self.ends[-1][0] + self.timing.login_delay)
            and now >= self.forgiven()
        )

    def is_wanted(self, now: float) -> bool:
        quiet = bool(self.rings) and now >= min(
            self.rings[-1][0] + self.timing.settle, self.rings[0][0] + self.timing.settle_max
        )
        idle = self.ends[-1][0] if self.ends else self.born
        asleep = bool(self.timing.poll) and not self.rings and now >= idle + self.timing.poll
        return quiet or asleep or self.failures() > 0 or self.busy()

    def forgiven(self) -> float:
        failed = self.failures()
        if self.busy():
            return self.ends[-1][0] + self.timing.backoff
        if not failed:
            return self.born
        delay = self.timing.backoff
        for _ in range(failed - 1):
            delay = min(2 * delay, self.timing.backoff_max)
        return self.ends[-1][0] + min(delay, self.timing.backoff_max)

    def expected(self, now: float) -> Step | None:
        if not self.running:
            return Step.START if self.may_start(now) else None
        assert self.start is not None
        end = self.start + self.timing.timeout
        if self.told == 0 and now >= end:
            return Step.TERMINATE
        return Step.KILL if self.told == 1 and now >= end + self.timing.kill_after else None


# Quarters of seconds are exact in binary, so the model may add in another order.
quarters = st.integers(0, 400).map(lambda n: n / 4)
timings = st.builds(
    Timing,
    settle=st.sampled_from([0.0, 1.0]),
    settle_max=st.sampled_from([1.0, 10.0]),
    min_gap=st.sampled_from([0.0, 5.0, 30.0]),
    timeout=st.sampled_from([0.25, 20.0]),
    kill_after=st.sampled_from([0.0, 10.0]),
    backoff=st.sampled_from([1.0, 30.0]),
    backoff_max=st.sampled_from([30.0, 100.0]),
    poll=st.sampled_from([0.0, 60.0]),
    login_delay=st.sampled_from([0.0, 20.0]),
)
ENDS: Final = {"good": True, "bad": False, "busy": None}
happenings = st.lists(st.tuples(quarters, st.sampled_from(["ring", "wake", "look", *ENDS])))


@given(timings, happenings)
def test_the_model_would_do_the_same(timing: Timing, happened: list[tuple[float, str]]) -> None:
    now = 1000.0
    pace, model = Pace(timing, now), Model(timing, now)
    for delay, what in happened:
        now += delay
        if what == "ring":
            pace.ring(now, Trigger.NETWORK)
            model.rings.append((now, 1))
        elif what == "wake":
            pace.ring(now, Trigger.RESUME, 0)
            model.rings.append((now, 0))
            model.forgotten = len(model.ends)
        elif what in ENDS and model.running:
            ok = ENDS[what]
            pace.ended(now, ok=bool(ok), busy=ok is None)
            model.ends.append((now, ok))
            model.running = False
        step = model.expected(now)
        # The time of the next step is known, and no step is returned before it.
        assert (pace.due is not None and pace.due <= now) == (step is not None)
        assert pace.step(now) is step
        if step is Step.START:
            assert pace.started(now).count == sum(count for _, count in model.rings)
            model.rings, model.start, model.running, model.told = [], now, True, 0
        elif step is not None:
            model.told += 1
        assert pace.failures == model.failures()


@given(timings, st.lists(quarters, min_size=1))
def test_every_notification_is_followed_by_a_run(timing: Timing, delays: list[float]) -> None:
    """A caller obeys, and its runs end: the last notification is answered, then nothing is due."""
    now = 0.0
    pace = Pace(timing, now)
    answered = 0
    for delay in delays:
        now += delay
        pace.ring(now, Trigger.NETWORK)
    for _ in range(3):
        if pace.due is None:
            break
        now = max(now, pace.due)
        assert pace.step(now) is Step.START
        answered += pace.started(now).count
        pace.ended(now, ok=True)
    assert answered == len(delays)
