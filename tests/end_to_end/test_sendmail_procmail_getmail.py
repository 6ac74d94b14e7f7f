"""The third topology: Sendmail, procmail and Dovecot's POP3 server, and a laptop with getmail."""

import pytest
from end_to_end.mx import ADDRESSES
from end_to_end.pop3_laptops import TARGET, Pop3Laptop, boot_getmail
from end_to_end.pop3_scenarios import (
    NAMES,
    few_fetches_bring_a_burst,
    follows_to_another_network,
    is_pushed,
    junk_is_silent,
    rings_after_a_restart,
    until_known,
)
from end_to_end.pop3_servers import Pop3Server, boot_sendmail
from end_to_end.wire import Wire


@pytest.fixture(scope="module")
def mx(street: Wire) -> Pop3Server:
    return boot_sendmail(street)


@pytest.fixture(scope="module")
def laptop(street: Wire, mx: Pop3Server) -> Pop3Laptop:
    laptop = boot_getmail(street, NAMES)
    until_known(mx)
    return laptop


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_mail_is_pushed(mx: Pop3Server, laptop: Pop3Laptop, address: str) -> None:
    is_pushed(mx, laptop, f"by-{address}", by=address, target=TARGET)


def test_few_fetches_bring_a_burst(mx: Pop3Server, laptop: Pop3Laptop) -> None:
    few_fetches_bring_a_burst(mx, laptop)


def test_junk_that_procmail_files_is_silent(mx: Pop3Server, laptop: Pop3Laptop) -> None:
    junk_is_silent(mx, laptop, "ls /var/spool/mqueue", "junk")


def test_it_rings_after_a_restart_of_the_server(mx: Pop3Server, laptop: Pop3Laptop) -> None:
    rings_after_a_restart(mx, laptop)


def test_it_follows_the_laptop_to_another_network(mx: Pop3Server, laptop: Pop3Laptop) -> None:
    follows_to_another_network(mx, laptop)
