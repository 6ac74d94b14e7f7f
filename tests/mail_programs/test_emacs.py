"""Gnus and mu4e in a running Emacs: they fetch when the server rings, and nobody is asked."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.daemon import until
from harness.mailserver import PASSWORD
from mail_programs.emacs import Emacs, emacses, quoted
from mail_programs.fetchers import mbsync
from mail_programs.gate import Gate
from mail_programs.results import recorded
from mail_programs.support import Agent, Home, Mailbox, needs, preset_words

pytestmark = pytest.mark.long

Start = Callable[..., Agent]
Ring = Callable[[], None]

# Emacs asks before it gives a password to a server without TLS. Here it has been answered.
TRUSTED = """
(setq nsm-temporary-host-settings
  (list (list :id (nsm-id {host} {port}) :fingerprints '(:none) :conditions '(:unencrypted))))
"""
GNUS = """
(setq gnus-select-method
  '(nnimap "work" (nnimap-address {host}) (nnimap-server-port {port}) (nnimap-stream network)))
(setq auth-sources '("~/.authinfo") gnus-use-dribble-file nil)
(require 'nsm)
"""
# As after a loss of the network: the connection and the known passwords are gone.
LOSE = """
(auth-source-forget-all-cached)
(dolist (it (process-list)) (if (string-search "nnimap" (process-name it)) (delete-process it)))
"""
GROUPS = "*Group*"
HEADERS = "*mu4e-headers*"


def authinfo(home: Home, mailbox: Mailbox) -> Path:
    """Write the password where Gnus reads it."""
    server = mailbox.server
    line = f"machine {server.host} port {server.imap} login {mailbox.user} password {PASSWORD}\n"
    return home.write(".authinfo", line)


def trusted(mailbox: Mailbox) -> str:
    return TRUSTED.format(host=quoted(mailbox.server.host), port=mailbox.server.imap)


@pytest.fixture
def gnus(home: Home, mailbox: Mailbox) -> Iterator[Emacs]:
    """An Emacs with an open Gnus, which shows one message."""
    authinfo(home, mailbox)
    mailbox.deliver("first")
    settings = GNUS.format(host=quoted(mailbox.server.host), port=mailbox.server.imap)
    home.write(".gnus.el", settings + trusted(mailbox))
    with emacses(home, "") as emacs:
        emacs.do("(gnus)")
        assert emacs.shows(GROUPS, " 1: INBOX")
        yield emacs


def test_gnus_shows_new_mail_when_the_server_has_rung(
    gnus: Emacs, mailbox: Mailbox, run_agent: Start, ring: Ring
) -> None:
    agent = run_agent("gnus")
    mailbox.deliver("second")
    assert not gnus.shows(GROUPS, " 2: INBOX")
    with recorded("gnus", "IMAP"):
        ring()
        until(lambda: gnus.shows(GROUPS, " 2: INBOX"), "the second message")
    agent.until_logged("event=ran", "code=0")


def test_gnus_asks_for_no_password_and_tries_again_later(
    gnus: Emacs, home: Home, mailbox: Mailbox
) -> None:
    command = preset_words("gnus")
    authinfo(home, mailbox).write_text("\n")
    gnus.do(LOSE)
    mailbox.deliver("second")
    for _ in range(2):  # also when the server is known to have failed
        done = home.run(*command)
        assert (done.returncode, done.stdout.strip()) == (1, "*ERROR*: no access to work")
        assert not gnus.is_true("(active-minibuffer-window)")
    authinfo(home, mailbox)
    gnus.do("(auth-source-forget-all-cached)")
    assert home.run(*command).returncode == 0
    assert gnus.shows(GROUPS, " 2: INBOX")


def test_gnus_asks_nothing_about_the_network_and_tries_again_later(
    gnus: Emacs, home: Home, mailbox: Mailbox
) -> None:
    """Emacs 28 repeats such a question for ever if it may not be asked."""
    command = preset_words("gnus")
    gnus.do(f"{LOSE} (setq nsm-temporary-host-settings nil)")
    mailbox.deliver("second")
    done = home.run(*command)
    assert (done.returncode, done.stdout.strip()) == (1, "*ERROR*: no access to work")
    gnus.do(trusted(mailbox))
    assert home.run(*command).returncode == 0
    assert gnus.shows(GROUPS, " 2: INBOX")


@pytest.mark.parametrize("preset", ["gnus", "mu4e"])
def test_with_no_emacs_it_fails_and_starts_none(preset: str, home: Home) -> None:
    command = preset_words(preset)
    home.environ["ALTERNATE_EDITOR"] = ""  # emacsclient would start the daemon
    assert home.run(*command).returncode == 1
    assert {path.name for path in home.path.rglob("*")} == {"run", "tmp"}


def test_what_was_never_loaded_in_emacs_is_not_open(home: Home) -> None:
    with emacses(home, "") as emacs:
        for preset, what in (("gnus", "Gnus"), ("mu4e", "mu4e")):
            done = home.run(*preset_words(preset))
            assert (done.returncode, done.stdout.strip()) == (1, f"*ERROR*: {what} is not open")
            assert not emacs.is_true(f"(featurep '{preset})")


def test_what_is_not_open_in_emacs_is_not_started(home: Home) -> None:
    needs("mu")
    # mu4e loads parts of Gnus, and so its variables.
    with emacses(home, "(require 'mu4e)") as emacs:
        done = home.run(*preset_words("gnus"))
        assert (done.returncode, done.stdout.strip()) == (1, "*ERROR*: Gnus is not open")
        done = home.run(*preset_words("mu4e"))
        assert (done.returncode, done.stdout.strip()) == (1, "*ERROR*: mu4e is not open")
        assert not emacs.is_true(f"(or (get-buffer {quoted(GROUPS)}) (mu4e-running-p))")
        assert not emacs.is_true('(get-process "mu4e-update")')


@pytest.fixture
def mails(home: Home, mailbox: Mailbox) -> Path:
    """A Maildir with one message, filled by mbsync and indexed by mu; its folder."""
    needs("mu", "mbsync")
    folder = mbsync(home, mailbox)
    for name in ("drafts", "sent", "trash"):  # mu4e asks whether to make a missing one
        home.maildir(f"Mail/{name}")
    mailbox.deliver("first")
    for line in (
        preset_words("mbsync"), ["mu", "init", f"--maildir={folder.parent}"], preset_words("mu")
    ):  # fmt: skip
        assert home.run(*line).returncode == 0
    return folder


@pytest.mark.usefixtures("mails")
def test_mu4e_shows_new_mail_when_the_server_has_rung(
    home: Home, mailbox: Mailbox, run_agent: Start, ring: Ring
) -> None:
    with emacses(home, '(setq mu4e-get-mail-command "mbsync -q -a")') as emacs:
        emacs.do("(mu4e t)")
        until(lambda: emacs.is_true("mu4e--server-props"), "the first answer of mu")
        emacs.do('(mu4e-search "maildir:/INBOX")')
        until(lambda: emacs.shows(HEADERS, " first\nEnd of search"), "the first message")
        agent = run_agent("mu4e")
        mailbox.deliver("second")
        with recorded("mu4e", "IMAP by mbsync"):
            ring()
            # mu4e searches again by itself when it has indexed.
            until(lambda: emacs.shows(HEADERS, " second\n"), "the second message")
        agent.until_logged("event=ran", "code=0")


@pytest.mark.usefixtures("mails")
def test_while_mu4e_fetches_the_poke_fails_so_that_the_agent_tries_again(home: Home) -> None:
    command = preset_words("mu4e")
    gate = Gate(home)
    fetcher = quoted(f"{gate.program} </dev/null")
    with emacses(home, f"(setq mu4e-get-mail-command {fetcher})") as emacs:
        emacs.do("(mu4e t)")
        assert home.run(*command).returncode == 0
        until(gate.reached, "the fetcher")
        done = home.run(*command)
        assert (done.returncode, done.stdout.strip()) == (1, "*ERROR*: mu4e fetches already")
        gate.let_go()
        until(lambda: home.run(*command).returncode == 0, "the end of the fetch")
