"""The first topology: Postfix, Dovecot and SpamAssassin, and laptops with mbsync."""

import pytest
from end_to_end.laptop import Account, Laptop, boot_laptop
from end_to_end.mx import Mx, boot_mx
from end_to_end.wire import Wire
from harness.daemon import until

NAMES = ("2001:db8::1 mx.example", "192.0.2.1 mx.example")
HOME = Account("home", "anna", "mx.example", 'sources = ["192.0.2.1", "2001:db8::1"]')


@pytest.fixture(scope="module")
def mx(street: Wire) -> Mx:
    return boot_mx(street, {"anna": ["last-used"]})


@pytest.fixture(scope="module")
def laptop(street: Wire, mx: Mx) -> Laptop:
    return boot_laptop(street, [HOME], NAMES)


def test_a_mail_is_pushed(mx: Mx, laptop: Laptop) -> None:
    mx.mail("first", "anna", "The first one.")
    until(lambda: laptop.has("home", "first", "The first one."), "the mail")
