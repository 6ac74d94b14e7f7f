"""The other versions of Thunderbird that Debian 12 and 13 have, and the add-on."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from mail_programs.desk import DEBIAN_12_OLDER, DEBIAN_13, SOON, Desk, Version, desks, until_quiet
from mail_programs.page import Page
from mail_programs.thunderbird import Thunderbird


@pytest.fixture(
    scope="module",
    params=[DEBIAN_12_OLDER, DEBIAN_13],
    ids=["debian-12-older", "debian-13"],
)
def version(request: pytest.FixtureRequest) -> Version:
    found: Version = request.param
    if found is DEBIAN_12_OLDER and shutil.which("apt-cache"):
        offered = subprocess.run(
            ["apt-cache", "madison", "thunderbird"], capture_output=True, text=True, check=True
        ).stdout
        if " 1:140." not in offered:
            pytest.skip("Debian 12 offers no Thunderbird 140 any more")
    return found


@pytest.fixture(scope="module")
def desk(version: Version) -> Iterator[Desk]:
    with desks(version) as desk:
        desk.bell.start()
        yield desk


@pytest.fixture(scope="module")
def thunderbird(desk: Desk) -> Iterator[Thunderbird]:
    with desk.thunderbird() as thunderbird:
        yield thunderbird


@pytest.mark.parametrize("kind", ["imap", "pop3"])
def test_a_message_is_there_soon_after_the_ring(
    desk: Desk, thunderbird: Thunderbird, kind: str
) -> None:
    thunderbird.until_state("connected")
    until_quiet(thunderbird, *desk.both)
    (account,) = (one for one in desk.both if one.kind == kind)
    seconds = desk.seconds_to_message(thunderbird, account, f"message-{kind}")
    desk.note(thunderbird, account, seconds)
    assert seconds < SOON


def test_its_page(thunderbird: Thunderbird) -> None:
    page = Page(thunderbird)
    page.until_says("Connected since")
    page.until_says("IMAP")
    assert page.picture().startswith(b"\x89PNG")
