"""A call on the control socket is an input like any other."""

import pytest
from harness.fake_sender import STATUS

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome
from mailbell.interfaces.sender import ExplainReply, Step, Verdict
from mailbell.interfaces.sender import Origin as StepOrigin
from mailbell.sender._accounts import Account, Accounts
from mailbell.sender._desk import SenderDesk
from mailbell.sender._requests import Malformed, NewMail, Request, Seen
from mailbell.sender._speakers import Origin, Speaker
from mailbell.sender.configuration import parse
from mailbell.varlink import encode_reply

ACCOUNTS = b"""
[[account]]
name = "anna@example.org"
aliases = ["anna"]
targets = ["192.0.2.7"]
[[account]]
name = "bob"
"""
STEP = Step(origin=StepOrigin.CONFIGURED, target="192.0.2.7:79", verdict=Verdict.RING)


class Parts:
    """A reception and a bell that note what they are asked."""

    def __init__(self) -> None:
        self.taken: list[tuple[Request | Malformed, Speaker, float]] = []

    def take(self, request: Request | Malformed, speaker: Speaker, now: float) -> InputOutcome:
        self.taken.append((request, speaker, now))
        return InputOutcome.ACCEPTED

    def explain(self, account: Account, now: float, /) -> tuple[Step, ...]:
        assert now == 5.0
        return (STEP,) if account.name == "anna@example.org" else ()


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def desk(parts: Parts) -> SenderDesk:
    accounts = Accounts(parse(ACCOUNTS))
    return SenderDesk(
        accounts=accounts, reception=parts, bell=parts, clock=lambda: 5.0, status=lambda: STATUS
    )


def test_an_account_is_found_by_each_of_its_names(desk: SenderDesk) -> None:
    assert desk.find("anna") == desk.find("anna@EXAMPLE.org") == "anna@example.org"
    assert desk.find("carol") is desk.find("a b") is desk.find("") is None
    assert desk.status() is STATUS


def test_a_ring_is_new_mail_of_this_user_at_this_time(desk: SenderDesk, parts: Parts) -> None:
    assert desk.ring("anna@EXAMPLE.org", 1000) is InputOutcome.ACCEPTED
    assert parts.taken == [(NewMail("anna@EXAMPLE.org"), Speaker(1000, Origin.CONTROL), 5.0)]


def test_a_login_has_the_address_of_a_line(desk: SenderDesk, parts: Parts) -> None:
    for address in ("192.0.2.9", "::ffff:192.0.2.9"):
        desk.seen("anna", address, 0)
    for request, speaker, _ in parts.taken:
        assert request == Seen("anna", Address.parse("192.0.2.9"))
        assert speaker == Speaker(0, Origin.CONTROL)


@pytest.mark.parametrize(
    "address", ["", "laptop", "192.0.2.9 x", "192.0.2.9\nnew bob", "1.2.3.4/8", "\ud800"]
)
def test_what_is_no_address_is_malformed(desk: SenderDesk, parts: Parts, address: str) -> None:
    desk.seen("anna", address, 0)
    assert [type(request) for request, _, _ in parts.taken] == [Malformed]


def test_an_account_is_explained(desk: SenderDesk) -> None:
    assert desk.explain("anna@example.org") == (STEP,)
    assert desk.explain("bob") == desk.explain("carol") == ()


@pytest.mark.parametrize("name", ["anna", "anna@EXAMPLE.org", "bob"])
def test_the_name_of_an_account_can_be_sent(desk: SenderDesk, name: str) -> None:
    """The configuration has a type of its own for names, which msgspec cannot write."""
    found = desk.find(name)
    assert found is not None
    assert encode_reply(ExplainReply(found, ()))
