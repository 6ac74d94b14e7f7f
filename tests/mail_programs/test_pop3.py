"""POP3 alone, from the delivery to the Maildir, also with a server that refuses early logins."""

import os
import poplib
import pwd
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from harness.daemon import Daemon, until
from harness.mailserver import HOST, PASSWORD
from harness.sender import PATIENCE
from harness.sending import HOOK, Sender, sender_configuration, sending
from mail_programs.early_logins import EarlyLogins, early_logins
from mail_programs.fetchers import FETCHERS
from mail_programs.support import Agent, Home, Mailbox, needs, subjects

pytestmark = pytest.mark.long

PROGRAMS = ("getmail", "fetchmail")
DELAY = 2  # seconds; the server counts in whole ones


@pytest.fixture
def sender(mailbox: Mailbox, listener: Daemon, tmp_path: Path) -> Iterator[Sender]:
    """The real mailbell-sender, which rings the listener for the mailbox."""
    host, port = listener.endpoint()
    account = f'[[account]]\nname = "{mailbox.user}"\ntargets = ["{host}:{port}"]\n'
    # The mail server delivers as the user who runs the tests.
    trusted = f'trusted = ["{pwd.getpwuid(os.getuid()).pw_name}"]'
    toml = sender_configuration(tmp_path, account, listen=trusted)
    with sending(tmp_path, toml) as sender:
        yield sender


@pytest.fixture
def early(mailbox: Mailbox) -> Iterator[EarlyLogins]:
    with early_logins(mailbox.server.pop3, DELAY) as server:
        yield server


@pytest.fixture
def strict(mailbox: Mailbox, early: EarlyLogins) -> Mailbox:
    """The mailbox behind the server that refuses early logins."""
    return replace(mailbox, server=replace(mailbox.server, pop3=early.port))


def log_in(mailbox: Mailbox) -> None:
    """Log in as another program of the same user does."""
    client = poplib.POP3(HOST, mailbox.server.pop3, PATIENCE)
    client.user(mailbox.user)
    client.pass_(PASSWORD)
    client.quit()


def failures(agent: Agent) -> list[str]:
    return [line for line in agent.lines() if "event=retry" in line]


def _has(folder: Path, count: int) -> bool:
    return len(subjects(folder)) == count


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_whole_way_with_pop3_alone(
    program: str, home: Home, mailbox: Mailbox, sender: Sender, run_agent: Callable[..., Agent]
) -> None:
    needs(program)
    folder = FETCHERS[program](home, mailbox)
    agent = run_agent(program)
    for count in (1, 2):
        mailbox.deliver(f"number {count}")
        hook = [*HOOK, f"--socket={sender.hook}", f"--account={mailbox.user}"]
        subprocess.run(hook, check=True, timeout=PATIENCE)
        until(partial(_has, folder, count), "the message")
    assert sorted(subjects(folder)) == ["number 1", "number 2"]
    agent.until_logged("event=ran", "code=0")
    assert not failures(agent)


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_login_comes_sooner_than_the_server_permits(
    program: str, home: Home, early: EarlyLogins, strict: Mailbox,
    run_agent: Callable[..., Agent], ring: Callable[[], None],
) -> None:  # fmt: skip
    needs(program)
    folder = FETCHERS[program](home, strict)
    agent = run_agent(f"--login-delay={DELAY}s", "--client", program)
    strict.deliver("first")
    ring()
    until(lambda: subjects(folder) == ["first"], "the first message")
    strict.deliver("second")
    ring()
    until(lambda: sorted(subjects(folder)) == ["first", "second"], "the second message")
    assert (early.logins, early.refused) == (2, [])
    assert not failures(agent)


def test_a_server_that_is_busy_is_no_failure_of_fetchmail(
    home: Home, early: EarlyLogins, strict: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    needs("fetchmail")
    folder = FETCHERS["fetchmail"](home, strict)
    agent = run_agent("--backoff=100ms..100ms", f"--login-delay={DELAY}s", "--client", "fetchmail")
    strict.deliver("mail")
    log_in(strict)
    ring()
    agent.until_logged("event=busy")
    until(lambda: subjects(folder) == ["mail"], "the message, without another ring")
    assert (early.logins, early.refused) == (2, ["LOGIN-DELAY"])
    early.used = True
    ring()
    until(lambda: early.refused == ["LOGIN-DELAY", "IN-USE"], "a login while another one is in")
    agent.until_logged("event=ran", "code=9")
    assert not failures(agent)


def test_a_refused_login_of_getmail_is_repeated_when_the_server_permits_it(
    home: Home, early: EarlyLogins, strict: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    needs("getmail")
    folder = FETCHERS["getmail"](home, strict)
    agent = run_agent("--backoff=100ms..100ms", f"--login-delay={DELAY}s", "--client", "getmail")
    strict.deliver("mail")
    log_in(strict)
    ring()
    until(lambda: subjects(folder) == ["mail"], "the message, without another ring")
    assert (early.logins, early.refused) == (2, ["LOGIN-DELAY"])
    assert len(failures(agent)) == 1
