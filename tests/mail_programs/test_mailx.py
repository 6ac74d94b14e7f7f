"""bsd-mailx and s-nail: what a person types to see the mail that a fetcher delivered."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.terminal import Terminal
from mail_programs.fetchers import getmail, mbsync
from mail_programs.results import recorded
from mail_programs.support import Agent, Home, Mailbox, needs, preset_words

pytestmark = pytest.mark.long

Start = Callable[..., Agent]
Ring = Callable[[], None]


def in_mbox(path: Path) -> list[str]:
    """The subjects of the messages in an mbox."""
    return re.findall(r"^Subject: (.*)$", path.read_text(), re.MULTILINE)


@pytest.fixture
def home(home: Home) -> Home:
    """A home for s-nail too, which takes that of the password database for root."""
    home.environ |= {"MAILRC": str(home.path / ".mailrc"), "MBOX": str(home.path / "mbox")}
    return home


@pytest.fixture
def mbox(home: Home, mailbox: Mailbox) -> Path:
    """An mbox with the message "first", that getmail fills, and that MAIL names."""
    path = getmail(home, mailbox, mbox="inbox")
    mailbox.deliver("first")
    assert home.run(*preset_words("getmail")).returncode == 0
    assert in_mbox(path) == ["first"]
    home.environ["MAIL"] = str(path)
    return path


def test_s_nail_shows_mail_of_an_mbox_at_its_next_prompt(
    mbox: Path, home: Home, mailbox: Mailbox, run_agent: Start, ring: Ring
) -> None:
    needs("s-nail")
    agent = run_agent("getmail")
    home.write(".mailrc", "set newmail\n")
    with Terminal(["s-nail", "-n"], home.environ) as terminal:
        terminal.until_written("first")
        mailbox.deliver("second")
        with recorded("s-nail", "mbox of getmail"):
            ring()
            agent.until_logged("event=ran", "code=0")
            assert in_mbox(mbox) == ["first", "second"]
            assert "second" not in terminal.drawn  # nothing shows until a person types
            terminal.press(b"h\n")
            terminal.until_written("New mail has arrived.")
            terminal.until_written("second")


def test_s_nail_shows_mail_of_a_maildir_at_its_next_prompt(
    home: Home, mailbox: Mailbox, run_agent: Start, ring: Ring
) -> None:
    needs("s-nail")
    folder = mbsync(home, mailbox)
    mailbox.deliver("first")
    assert home.run(*preset_words("mbsync")).returncode == 0
    agent = run_agent("mbsync")
    home.write(".mailrc", "set newmail\n")
    with Terminal(["s-nail", "-n", "-f", str(folder)], home.environ) as terminal:
        terminal.until_written("first")
        mailbox.deliver("second")
        with recorded("s-nail", "Maildir of mbsync"):
            ring()
            agent.until_logged("event=ran", "code=0")
            terminal.press(b"h\n")
            terminal.until_written("New mail has arrived.")
            terminal.until_written("second")


@pytest.mark.parametrize("settings", ["", "set hold\n"], ids=["as it is", "set hold"])
def test_bsd_mailx_shows_mail_after_folder_and_may_move_what_was_read(
    settings: str, mbox: Path, home: Home, mailbox: Mailbox, run_agent: Start, ring: Ring
) -> None:
    needs("bsd-mailx")
    agent = run_agent("getmail")
    home.write(".mailrc", settings)
    with Terminal(["bsd-mailx", "-n"], home.environ) as terminal:
        terminal.until_written("first")
        terminal.press(b"p 1\n")
        terminal.until_written("Hello.")
        mailbox.deliver("second")
        with recorded("mailx", "mbox of getmail"):
            ring()
            agent.until_logged("event=ran", "code=0")
            assert in_mbox(mbox) == ["first", "second"]
            terminal.press(b"h\n!echo typ''ed\n")
            terminal.until_written("typed")
            assert "second" not in terminal.drawn  # its prompt does not look
            terminal.press(b"folder %\n")
            terminal.until_written("New mail has arrived.")
            terminal.until_written("second")
    moved = home.path / "mbox"
    if settings:
        assert (in_mbox(mbox), moved.exists()) == (["first", "second"], False)
    else:
        assert (in_mbox(mbox), in_mbox(moved)) == (["second"], ["first"])
