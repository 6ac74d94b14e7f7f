"""Every verdict and every outcome is a sentence, and each that a person can change has a remedy."""

import pytest

from mailbell.cli._sender_words import (
    IS_RUNG,
    describe_result,
    describe_step,
    remedy_of_result,
    remedy_of_step,
)
from mailbell.core.sender_outcome import RingOutcome
from mailbell.interfaces.sender import Origin, RingResult, Step, Verdict


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_is_a_sentence(verdict: Verdict) -> None:
    step = Step(
        origin=Origin.CONFIGURED,
        target="192.0.2.7:79",
        verdict=verdict,
        reason="a loopback address",
        wait=21_000_000,
        last=RingOutcome.TIMEOUT,
    )
    said = describe_step(step)
    assert said.startswith("192.0.2.7:79 is ")
    assert ("NOT" in said) is (verdict not in IS_RUNG)
    assert (remedy_of_step(step) == "") is (verdict in IS_RUNG)
    assert "{" not in said


def test_what_is_not_known_is_left_out() -> None:
    def step(verdict: Verdict, origin: Origin = Origin.CONFIGURED, **more: int) -> str:
        return describe_step(Step(origin=origin, verdict=verdict, **more))  # type: ignore[arg-type]

    assert step(Verdict.HELD_BACK).startswith("the target is rung soon")
    assert "(unknown)" in step(Verdict.BACKING_OFF)
    assert step(Verdict.NOT_ALLOWED).endswith("it is never called")
    assert step(Verdict.NO_ADDRESS, Origin.LAST_USED).startswith("the address of the last login")


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (None, "[::2]:79 (a login) is"),
        (5_400_000, "[::2]:79 (a login 5 s ago) is"),
        (600_000_000, "[::2]:79 (a login 10 min ago) is"),
        (86_400_000_000, "[::2]:79 (a login 24 h ago) is"),
    ],
)
def test_an_address_of_a_login_has_its_age(seen: int | None, said: str) -> None:
    step = Step(origin=Origin.LAST_USED, target="[::2]:79", verdict=Verdict.RING, seen=seen)
    assert describe_step(step).startswith(said)


@pytest.mark.parametrize("outcome", RingOutcome)
def test_every_outcome_is_a_sentence(outcome: RingOutcome) -> None:
    for target in ("192.0.2.7:79", None):
        for milliseconds, took in ((0.42, "0.4 ms"), (2000.4, "2000 ms")):
            result = RingResult(
                account="anna", target=target, outcome=outcome, milliseconds=milliseconds
            )
            said = describe_result(result)
            assert (target or "") in said
            assert "{" not in said
            if outcome is RingOutcome.SENT:
                assert said.endswith(f"was rung, in {took}")
                assert remedy_of_result(result) == ""


def test_a_datagram_is_not_said_to_have_arrived() -> None:
    told = RingResult(
        account="a", target="192.0.2.7:79/udp", outcome=RingOutcome.SENT, milliseconds=0.1
    )
    said = "192.0.2.7:79/udp was sent a datagram; nothing tells whether it arrived"
    assert describe_result(told) == said


def test_bytes_of_a_strange_daemon_are_escaped() -> None:
    step = Step(
        origin=Origin.CONFIGURED, target="\x1b[2J", verdict=Verdict.NOT_ALLOWED, reason="\x1b[2J"
    )
    assert "\x1b" not in describe_step(step)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (119.4, "119 s"), (120, "2 min"), (121, "2 min"), (7170, "120 min"), (7199, "120 min"),
        (7200, "2 h"), (90_000, "25 h"),
    ],
)  # fmt: skip
def test_a_time_has_one_unit(seconds: float, said: str) -> None:
    step = Step(
        origin=Origin.LAST_USED, target="x:79", verdict=Verdict.RING, seen=int(seconds * 1e6)
    )
    assert f"(a login {said} ago)" in describe_step(step)


def test_the_last_outcome_is_said() -> None:
    step = Step(
        origin=Origin.CONFIGURED, target="x:79", verdict=Verdict.BACKING_OFF,
        last=RingOutcome.TIMEOUT,
    )  # fmt: skip
    assert "(timeout)" in describe_step(step)


def test_each_outcome_that_a_person_can_change_has_a_remedy_of_its_own() -> None:
    remedies = {
        outcome: remedy_of_result(
            RingResult(account="a", target="x:79", outcome=outcome, milliseconds=1.0)
        )
        for outcome in RingOutcome
    }
    said = [remedy for remedy in remedies.values() if remedy]
    assert remedies[RingOutcome.SENT] == ""
    assert remedies[RingOutcome.REFUSED] != ""
    assert len(said) >= 3
