"""notmuch and mu: after a fetch and alone, and the meaning of their exit codes."""

import fcntl
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.daemon import until
from harness.mailserver import message
from mail_programs.fetchers import mbsync
from mail_programs.results import recorded
from mail_programs.support import PRESETS, Agent, Home, Mailbox, ended, needs, preset_words

pytestmark = pytest.mark.long

PROGRAMS = ["mu", "notmuch"]


def set_up(program: str, home: Home) -> Path:
    """Configure the program for the folder Mail in the home; return the file that it locks."""
    needs(program)
    mail = home.path / "Mail"
    mail.mkdir(exist_ok=True)
    if program == "mu":
        assert home.run("mu", "init", f"--maildir={mail}").returncode == 0
        return home.path / ".cache/mu/xapian/flintlock"
    home.write(".notmuch-config", f"[database]\npath={mail}\n[user]\nname=Anna\n[new]\ntags=new\n")
    assert home.run("notmuch", "new").returncode == 0
    return mail / ".notmuch/xapian/flintlock"


def found(program: str, home: Home) -> bool:
    """Whether the program finds the message "once"."""
    if program == "mu":
        return home.run("mu", "find", "subject:once").returncode == 0
    return home.run("notmuch", "count", "subject:once").stdout == "1\n"


@pytest.mark.parametrize("program", PROGRAMS)
def test_mail_is_found_after_a_fetch_when_the_server_has_rung(
    program: str, home: Home, mailbox: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    mbsync(home, mailbox)
    set_up(program, home)
    then = " ".join(preset_words(program))
    agent = run_agent("--client", "mbsync", "--then", then)
    mailbox.deliver("once")
    assert not found(program, home)
    with recorded(program, "IMAP by mbsync"):
        ring()
        until(lambda: found(program, home), "the message in the index")
    agent.until_logged("event=ran", f"program={program}", "code=0")


@pytest.mark.parametrize("program", PROGRAMS)
def test_mail_that_is_there_is_found_when_the_server_has_rung(
    program: str, home: Home, run_agent: Callable[..., Agent], ring: Callable[[], None]
) -> None:
    home.maildir("Mail/INBOX")
    set_up(program, home)
    agent = run_agent(program)
    home.write("Mail/INBOX/new/1.delivered", message("once"))
    ring()
    until(lambda: found(program, home), "the message in the index")
    agent.until_logged("event=ran", "code=0")


def test_mu_says_that_mu4e_has_the_index_locked(home: Home) -> None:
    command = preset_words("mu")
    set_up("mu", home)
    # mu4e runs this as long as it is open.
    with home.running("mu", "server", stdin=subprocess.PIPE):
        until(lambda: "mu>" in home.said, "its first word")
        done = home.run(*command)
    assert (done.returncode, "already locked" in done.stdout) == (19, True)
    assert PRESETS["mu"].ok_codes == {0, 19}


def test_a_second_notmuch_waits_for_the_first(home: Home) -> None:
    command = preset_words("notmuch")
    home.maildir("Mail/INBOX")
    path = set_up("notmuch", home)
    home.write("Mail/INBOX/new/1.delivered", message("once"))
    waiting = re.compile(rf"^\d+: -> .*:{path.stat().st_ino} ", re.MULTILINE)
    with path.open("r+") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        with home.running(*command) as process:
            until(lambda: waiting.search(Path("/proc/locks").read_text()), "waiting for the lock")
            assert not found("notmuch", home)
            fcntl.lockf(lock, fcntl.LOCK_UN)
            assert ended(process) == 0
    assert found("notmuch", home)
