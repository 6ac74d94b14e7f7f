"""Programs that need no command: they notice the mail that a fetcher delivers."""

import os
import pwd
import signal
import socket
from collections.abc import Callable

import pytest
from cli.terminal import Terminal
from harness.mailserver import HOST, PASSWORD, message
from harness.sender import PATIENCE
from mail_programs.fetchers import getmail, mbsync
from mail_programs.results import recorded
from mail_programs.support import Agent, Home, Mailbox, needs, preset_words

pytestmark = pytest.mark.long

PROGRAMS = ["mutt", "neomutt"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_shows_new_mail_by_itself(
    program: str, home: Home, mailbox: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    needs(program, "mbsync")
    folder = mbsync(home, mailbox)
    assert home.run(*preset_words("mbsync")).returncode == 0  # it makes the Maildir
    home.write("muttrc", f"set folder={folder.parent}\nset spoolfile=+INBOX\nmailboxes +INBOX\n")
    run_agent("mbsync")
    with opened(program, home) as terminal:
        terminal.until_shown("Msgs:0")
        mailbox.deliver("once-and-here")
        with recorded(program, "Maildir of mbsync"):
            ring()
            # The program draws only the parts of the screen that have changed.
            terminal.until(lambda _: "New:1" in terminal.drawn, "the number of new messages")
        terminal.until(lambda _: "once-and-here" in terminal.drawn, "the message")


def opened(program: str, home: Home) -> Terminal:
    """The program on a terminal, with its settings in `muttrc`."""
    return Terminal([program, "-n", "-F", f"{home.path}/muttrc"], home.environ)


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_shows_new_mail_of_an_mbox_by_itself(
    program: str, home: Home, mailbox: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    needs(program, "getmail")
    path = getmail(home, mailbox, mbox="inbox")
    (home.path / "Mail").mkdir()  # it asks whether to make a missing one
    home.write("muttrc", f"set spoolfile={path}\nmailboxes {path}\n")
    run_agent("getmail")
    with opened(program, home) as terminal:
        terminal.until_shown("Msgs:0")
        mailbox.deliver("once-and-here")
        with recorded(program, "mbox of getmail"):
            ring()
            terminal.until(lambda _: "once-and-here" in terminal.drawn, "the message")


@pytest.mark.parametrize("program", PROGRAMS)
def test_on_imap_it_asks_the_server_when_no_key_was_pressed_for_a_while(
    program: str, home: Home, mailbox: Mailbox
) -> None:
    needs(program)
    (home.path / "Mail").mkdir()
    where = f"imap://{mailbox.user}@{HOST}:{mailbox.server.imap}/INBOX"
    home.write(
        "muttrc",
        f"set spoolfile={where}\nset imap_pass={PASSWORD}\nset ssl_starttls=no\n"
        "set ssl_force_tls=no\n"
        "set timeout=1\nset mail_check=3600\n",
    )
    mailbox.deliver("first-one")
    with opened(program, home) as terminal:
        terminal.until(lambda _: "first-one" in terminal.drawn, "the first message")
        mailbox.deliver("second-one")
        terminal.until(lambda _: "second-one" in terminal.drawn, "the second message")


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_signal_that_wakes_another_program_kills_it(program: str, home: Home) -> None:
    needs(program)
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        pytest.skip("this user has no name, and Mutt wants one")
    folder = home.maildir("Mail")
    line = [program, "-n", "-F", "/dev/null", "-f", str(folder)]
    with Terminal(line, home.environ) as terminal:
        terminal.until_shown("Msgs:0")
        assert terminal.ended(signal.SIGUSR1) == -signal.SIGUSR1


def test_an_imap_server_tells_who_waits_what_a_fetcher_has_put_there(mailbox: Mailbox) -> None:
    """A local IMAP server, for clients that read mail through IMAP only."""
    with socket.create_connection((HOST, mailbox.server.imap), PATIENCE) as connection:
        said = connection.makefile("r")
        connection.sendall(f"a login {mailbox.user} {PASSWORD}\r\nb select inbox\r\n".encode())
        assert any(line.startswith("b OK") for line in said)
        connection.sendall(b"c idle\r\n")
        assert any(line.startswith("+") for line in said)
        inbox = mailbox.server.base / "mail" / mailbox.user
        # As a fetcher does, write the message in one folder and move it to another.
        (inbox / "tmp" / "1.fetched").write_text(message("once"))
        (inbox / "tmp" / "1.fetched").chmod(0o644)
        (inbox / "tmp" / "1.fetched").rename(inbox / "new" / "1.fetched")
        assert any(line == "* 1 EXISTS\n" for line in said)
