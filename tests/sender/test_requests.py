import pytest

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._requests import IGNORED, Ignored, Malformed, NewMail, Seen, read_login


def test_a_login_has_an_account_and_a_numeric_address() -> None:
    assert read_login("anna", "::ffff:192.0.2.9") == Seen("anna", Address.parse("192.0.2.9"))


@pytest.mark.parametrize(
    ("account", "address"), [("", "192.0.2.9"), ("anna", ""), ("anna", "laptop"), ("", "")]
)
def test_without_one_of_them_it_is_none(account: str, address: str) -> None:
    why = "a login without an account or a numeric address"
    assert read_login(account, address) == Malformed(why, InputOutcome.MALFORMED)


def test_mail_is_in_the_inbox_unless_its_folder_is_said() -> None:
    assert NewMail("anna").folder is None


def test_what_is_ignored_is_a_request_of_its_kind() -> None:
    assert isinstance(IGNORED, Ignored)
