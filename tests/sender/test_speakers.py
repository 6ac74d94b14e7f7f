import pytest

from mailbell.sender._accounts import Accounts
from mailbell.sender._speakers import (
    ADDRESS_BURST,
    ADDRESS_RATE,
    CONNECTION_BURST,
    CONNECTION_RATE,
    TRUSTED_BURST,
    TRUSTED_RATE,
    USER_BURST,
    USER_RATE,
    Origin,
    Speaker,
    Speakers,
)
from mailbell.sender.configuration import parse

TOML = b"""
[[account]]
name = "anna@example.org"
aliases = ["anna"]
[[account]]
name = "bob"
"""
ANNA, BOB, VMAIL, EXIM, STRANGER = 1000, 1001, 900, 901, 70_000
USERS = {0: "root", ANNA: "anna", BOB: "bob", VMAIL: "vmail", EXIM: "exim"}


def speakers(toml: bytes = TOML) -> tuple[Accounts, Speakers]:
    accounts = Accounts(parse(toml))
    return accounts, Speakers(accounts, USERS, {0, VMAIL, EXIM})


def may(uid: int | None, origin: Origin, account: str, toml: bytes = TOML) -> bool:
    accounts, it = speakers(toml)
    found = accounts.find(account)
    assert found is not None
    return it.may_speak_for(Speaker(uid, origin), found)


@pytest.mark.parametrize(
    ("uid", "origin", "trusted"),
    [
        (0, Origin.HOOK, True),
        (VMAIL, Origin.HOOK, True),
        (ANNA, Origin.HOOK, False),
        (STRANGER, Origin.HOOK, False),
        (None, Origin.HOOK, False),
        (ANNA, Origin.CONTROL, True),
        (None, Origin.CYRUS, True),
        (None, Origin.COMSAT, False),
    ],
)
def test_who_is_trusted(uid: int | None, origin: Origin, trusted: bool) -> None:
    assert speakers()[1].is_trusted(Speaker(uid, origin)) is trusted


@pytest.mark.parametrize(
    ("uid", "account", "permitted"),
    [
        (0, "anna", True),
        (VMAIL, "bob", True),
        (ANNA, "anna", True),
        (ANNA, "anna@example.org", True),
        (ANNA, "bob", False),
        (BOB, "bob", True),
        (BOB, "anna", False),
        (STRANGER, "anna", False),
    ],
)
def test_an_ordinary_user_speaks_for_the_account_of_its_own_name(
    uid: int, account: str, permitted: bool
) -> None:
    assert may(uid, Origin.HOOK, account) is permitted


def test_anybody_speaks_for_any_account_by_comsat_and_the_reader_of_cyrus_does() -> None:
    assert may(None, Origin.COMSAT, "bob")
    assert may(None, Origin.CYRUS, "bob")
    assert may(STRANGER, Origin.CONTROL, "bob")


def test_with_a_default_a_user_speaks_for_the_unlisted_account_of_its_own_name_only() -> None:
    toml = b'[default]\ntargets = ["last-used"]\n'
    assert may(ANNA, Origin.HOOK, "anna", toml)
    assert not may(ANNA, Origin.HOOK, "anna@example.org", toml)
    assert not may(ANNA, Origin.HOOK, "bob", toml)
    assert not may(STRANGER, Origin.HOOK, "anna", toml)


def test_a_user_who_has_no_account_speaks_for_none() -> None:
    assert not may(ANNA, Origin.HOOK, "bob", b'[[account]]\nname = "bob"\n')


def test_a_speaker_has_a_name_if_it_was_known() -> None:
    it = speakers()[1]
    names = [it.name(Speaker(uid, Origin.HOOK)) for uid in (ANNA, STRANGER, None)]
    assert names == ["anna", None, None]


def taken(it: Speakers, speaker: Speaker, now: float, attempts: int) -> int:
    return sum(it.admit(speaker, now) for _ in range(attempts))


def test_each_user_has_a_burst_and_then_a_rate() -> None:
    it = speakers()[1]
    anna, bob = Speaker(ANNA, Origin.HOOK), Speaker(BOB, Origin.HOOK)
    assert taken(it, anna, 0.0, USER_BURST + 100) == USER_BURST
    assert taken(it, anna, 1.0, USER_BURST) == USER_RATE
    assert taken(it, bob, 1.0, USER_BURST + 1) == USER_BURST


@pytest.mark.uncounted
@pytest.mark.parametrize("speaker", [Speaker(VMAIL, Origin.HOOK), Speaker(None, Origin.CYRUS)])
def test_a_trusted_user_may_tell_of_all_that_has_waited(speaker: Speaker) -> None:
    it = speakers()[1]
    assert taken(it, speaker, 0.0, TRUSTED_BURST + 10) == TRUSTED_BURST
    assert taken(it, speaker, 0.001, 20) == TRUSTED_RATE / 1000
    assert taken(it, Speaker(EXIM, Origin.HOOK), 0.001, 10) == 10


def test_all_datagrams_share_one_limit() -> None:
    it = speakers()[1]
    assert taken(it, Speaker(None, Origin.COMSAT), 0.0, USER_BURST + 10) == USER_BURST
    assert taken(it, Speaker(ANNA, Origin.HOOK), 0.0, 10) == 10


def test_thousands_of_users_take_bounded_memory() -> None:
    it = speakers()[1]
    for uid in range(10_000):
        assert it.admit(Speaker(uid, Origin.HOOK), 0.0)
    tables = (it._many, it._connections, it._addresses, it._few)
    assert [table.capacity for table in tables] == [1024, 1024, 1024, 128]


def test_the_limits() -> None:
    assert (USER_RATE, USER_BURST) == (100, 1000)
    assert (TRUSTED_RATE, TRUSTED_BURST) == (10_000, 50_000)
    assert (CONNECTION_RATE, CONNECTION_BURST) == (1000, 8192)
    assert (ADDRESS_RATE, ADDRESS_BURST) == (1 / 60, 4)


def connected(it: Speakers, uid: int | None, now: float, attempts: int) -> int:
    return sum(it.admit_connection(Speaker(uid, Origin.HOOK), now) for _ in range(attempts))


def test_each_user_may_connect_so_often_and_a_trusted_one_always() -> None:
    it = speakers()[1]
    assert connected(it, ANNA, 0.0, CONNECTION_BURST + 10) == CONNECTION_BURST
    assert connected(it, ANNA, 1.0, CONNECTION_BURST) == CONNECTION_RATE
    assert connected(it, BOB, 1.0, 10) == 10
    assert connected(it, VMAIL, 1.0, CONNECTION_BURST + 10) == CONNECTION_BURST + 10


def test_all_users_that_were_unknown_at_the_start_connect_as_one() -> None:
    it = speakers()[1]
    assert sum(connected(it, STRANGER + n, 0.0, 1) for n in range(CONNECTION_BURST)) > 8000
    assert connected(it, 5555, 0.0, 10) == 0
    assert connected(it, None, 0.0, 10) == 0
    assert connected(it, ANNA, 0.0, 10) == 10


def test_a_user_has_an_account_of_its_own_or_none() -> None:
    it = speakers()[1]
    own = [it.own_account(Speaker(uid, Origin.HOOK)) for uid in (ANNA, VMAIL, STRANGER)]
    assert [account and account.name for account in own] == ["anna@example.org", None, None]


def told_of(it: Speakers, uid: int | None, now: float, attempts: int) -> int:
    return sum(it.admit_address(Speaker(uid, Origin.HOOK), now) for _ in range(attempts))


def test_each_user_may_tell_of_a_few_new_addresses_and_then_of_one_a_minute() -> None:
    it = speakers()[1]
    assert told_of(it, ANNA, 0.0, 10) == ADDRESS_BURST
    assert told_of(it, ANNA, 59.0, 10) == 0
    assert told_of(it, ANNA, 60.0, 10) == 1
    assert told_of(it, BOB, 60.0, 10) == ADDRESS_BURST


def test_all_users_without_a_number_tell_of_new_addresses_as_one() -> None:
    it = speakers()[1]
    assert told_of(it, None, 0.0, 10) == ADDRESS_BURST
    assert told_of(it, 0xFFFF_FFFF, 0.0, 1) == 0
    assert told_of(it, ANNA, 0.0, 1) == 1
