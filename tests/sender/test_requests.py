import pytest

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._requests import Malformed, Seen, read_login


def test_a_login_has_an_account_and_a_numeric_address() -> None:
    assert read_login("anna", "::ffff:192.0.2.9") == Seen("anna", Address.parse("192.0.2.9"))


@pytest.mark.parametrize(
    ("account", "address"), [("", "192.0.2.9"), ("anna", ""), ("anna", "laptop"), ("", "")]
)
def test_without_one_of_them_it_is_none(account: str, address: str) -> None:
    found = read_login(account, address)
    assert isinstance(found, Malformed)
    assert found.outcome is InputOutcome.MALFORMED
