"""Programs that stay and are poked: the effect of a poke, also of one during a fetch."""

import signal
from collections.abc import Callable

import pytest
from harness.daemon import until
from mail_programs.fetchers import FETCHERS, fetchmail, offlineimap
from mail_programs.gate import Gate
from mail_programs.results import recorded
from mail_programs.support import (
    PRESETS,
    Agent,
    Home,
    Mailbox,
    ended,
    needs,
    preset_words,
    subjects,
)

HOURLY = "set daemon 3600"


def test_a_fetchmail_in_the_background_is_woken(
    home: Home, mailbox: Mailbox, run_agent: Callable[..., Agent], ring: Callable[[], None]
) -> None:
    needs("fetchmail")
    folder = fetchmail(home, mailbox, first=HOURLY)
    mailbox.deliver("first")
    with home.running("fetchmail", "--nodetach", "--verbose"):
        until(lambda: "sleeping" in home.said, "the end of the first poll")
        assert subjects(folder) == ["first"]
        agent = run_agent("fetchmail-daemon")
        mailbox.deliver("second")
        with recorded("fetchmail-daemon", "POP3"):
            ring()
            until(lambda: sorted(subjects(folder)) == ["first", "second"], "the second poll")
        agent.until_logged("event=output", "awakened")
        agent.until_logged("event=ran", "code=0")


def test_fetchmail_forgets_a_poke_while_it_polls(home: Home, mailbox: Mailbox) -> None:
    command = preset_words("fetchmail-daemon")
    gate = Gate(home)
    folder = fetchmail(home, mailbox, first=HOURLY, gate=gate)
    mailbox.deliver("first")
    with home.running("fetchmail", "--nodetach", "--verbose"):
        until(lambda: subjects(folder) == ["first"], "the first poll")
        mailbox.deliver("second")
        early = home.run(*command)
        gate.let_go()
        until(lambda: "sleeping" in home.said, "the end of the first poll")
        assert subjects(folder) == ["first"]
        # fetchmail prints the same whether it will poll or not.
        assert (early.returncode, "awakened" in early.stdout) == (0, True)
        until(
            lambda: "awakened" in home.run(*command).stdout and len(subjects(folder)) == 2,
            "the second poll",
        )


def test_with_no_fetchmail_in_the_background_the_poke_fetches(home: Home, mailbox: Mailbox) -> None:
    command = preset_words("fetchmail-daemon")
    folder = fetchmail(home, mailbox)
    mailbox.deliver("once")
    assert home.run(*command).returncode == 0
    assert subjects(folder) == ["once"]
    assert home.run(*command).returncode in PRESETS["fetchmail-daemon"].ok_codes


def test_fetchmail_takes_no_options_while_another_is_in_the_background(
    home: Home, mailbox: Mailbox
) -> None:
    command = preset_words("fetchmail")
    fetchmail(home, mailbox, first=HOURLY)
    with home.running("fetchmail", "--nodetach"):
        pid = home.path / "fetchmail.pid"
        until(lambda: pid.exists() and pid.read_text().endswith("\n3600\n"), "its pid file")
        done = home.run(*command)
    assert (done.returncode, "can't accept options" in done.stdout) == (8, True)


def test_offlineimap_remembers_the_signal_that_comes_while_it_synchronizes(
    home: Home, mailbox: Mailbox
) -> None:
    """What `systemctl kill` does to it. It looks every ten seconds when it sleeps, so not here."""
    assert "--signal=SIGUSR1" in preset_words("offlineimap-poke")
    gate = Gate(home)
    folder = offlineimap(home, mailbox, account=f"postsynchook = {gate.program}")
    mailbox.deliver("first")
    with home.running("offlineimap", "-u", "basic") as process:
        until(lambda: subjects(folder) == ["first"], "the first turn")
        until(gate.reached, "the end of the first turn")
        mailbox.deliver("second")
        process.send_signal(signal.SIGUSR1)
        gate.let_go()
        until(lambda: sorted(subjects(folder)) == ["first", "second"], "the second turn")
        assert not any(home.path.rglob("*pid*"))


ASKS = {"mbsync": "PassCmd {}", "getmail": 'password_command = ("{}",)'}


@pytest.mark.parametrize("program", ASKS)
def test_the_signal_that_wakes_one_program_kills_another(
    program: str, home: Home, mailbox: Mailbox
) -> None:
    command = preset_words(program)
    gate = Gate(home)
    FETCHERS[program](home, mailbox, ASKS[program].format(gate.program))
    with home.running(*command) as process:
        until(gate.reached, "the question for the password")
        process.send_signal(signal.SIGUSR1)
        assert ended(process) == -signal.SIGUSR1
