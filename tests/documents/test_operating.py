"""docs/operating.md: its blocks, typed on a Debian 13 where both halves run; its events, read.

The blocks about metrics are in `test_monitoring`.
"""

import ast
import re
from collections.abc import Iterator
from typing import Final

from documents.blocks import ROOT
from documents.operated import ANNA, LISTENER_UNITS, PAGE, SENDER_UNITS, Place, answering
from harness.daemon import until
from packages.system import System

from mailbell.core.sender_outcome import InputOutcome, RingOutcome

# The functions that write a line, and the classes that write one for each change of a state.
LOGS: Final = {"log", "_log", "_log_close"}
STATES: Final = {"Switch", "Intake"}
# mailbell.sender.daemon, _SILENT.
UNLOGGED: Final = {RingOutcome.COALESCED.value, RingOutcome.BACKING_OFF.value}


def test_the_log_is_read_as_shown(clean: Place) -> None:
    clean.listener('[[account]]\nname = "work"\nsources = ["192.0.2.25"]\n')
    for _ in range(15):
        clean.ring()
    clean.until_logged("mailbelld", "outcome=unknown_account")
    until(lambda: refused(clean.system) == 15, "the refusals")
    clean.follow("Logs")
    clean.sender(ANNA.format(targets='["last-used"]'))
    clean.system.run("mailbell sender ring anna")
    clean.until_logged("mailbell-sender", "event=no_target")
    with answering(clean.hosts):
        clean.sender(ANNA.format(targets='["192.0.2.1"]'))
        clean.system.run("mailbell sender ring anna")
        clean.until_logged("mailbell-sender", "event=sent")
    clean.follow("Logs", 1)


def refused(system: System) -> int:
    return system.run("journalctl --sync; journalctl -u mailbelld -o cat").count("event=refused")


def test_every_event_of_every_program_is_in_the_page() -> None:
    page = (ROOT / PAGE).read_text()
    part = page[page.index("### Every event") : page.index("## Metrics")]
    named = set(re.findall(r"`([a-z_]+)`", part))
    assert logged() - named == set()
    # The control: what is looked for in the source is found there.
    assert {"refused", "local_closed", "companion_ended", "run_stuck", "no_target"} <= logged()
    assert {"accepting_paused", "storing_resumed", "waiting_paused"} <= logged()


def logged() -> set[str]:
    """Return the names of all events in the source."""
    found = {outcome.value for outcome in InputOutcome if outcome is not InputOutcome.ACCEPTED}
    found |= {outcome.value for outcome in RingOutcome} - UNLOGGED
    for file in (ROOT / "src" / "mailbell").rglob("*.py"):
        text = file.read_text()
        if file.name != "hook.py" and any(f"{word}(" in text for word in LOGS | STATES):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call):
                    found |= set(events(node))
    return found


def events(call: ast.Call) -> Iterator[str]:
    """Yield the events that a call logs: it is of a log, or of what logs changes of a state."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = [*call.args, *(each.value for each in call.keywords if each.arg == "what")]
    words = [each.value for each in given if isinstance(each, ast.Constant)]
    for word in (each for each in words[:1] if isinstance(each, str)):
        if name in LOGS and re.fullmatch("[a-z_]+", word):
            yield word
        elif name in STATES:
            yield from (f"{word}_paused", f"{word}_resumed")


def test_the_new_version_looks_at_the_configuration(clean: Place) -> None:
    clean.follow("Upgrade")


def test_a_backup_holds_who_logged_in_from_where(clean: Place) -> None:
    system = clean.system
    clean.sender(ANNA.format(targets='["last-used"]'))
    logged_in(system)
    clean.follow("Backup and restore")
    assert "(a login" in system.ran("mailbell sender test anna").said, "it goes on"
    system.run("systemctl stop mailbell-sender; rm -r /var/lib/mailbell-sender/* /etc/mailbell")
    system.run("mkdir /etc/mailbell")
    clean.sender(ANNA.format(targets='["last-used"]'))
    assert "nobody has looked for mail" in system.ran("mailbell sender test anna").said
    clean.follow("Backup and restore", 1)
    assert "192.0.2.1:79 (a login" in system.ran("mailbell sender test anna").said


def logged_in(system: System) -> None:
    """Tell the sender of a login, as a mail server does."""
    system.run("mailbell-hook --login --account=anna", env={"USER": "anna", "IP": "192.0.2.1"})
    known = "mailbell sender status --prometheus | grep -q 'book_addresses 1'"
    system.until(known, "the login")


def test_what_mailbelld_says_when_nothing_rings(clean: Place) -> None:
    clean.follow("Troubleshooting")
    clean.follow("Nothing rings")
    clean.system.run(f"systemctl stop {LISTENER_UNITS}")
    clean.follow("Nothing rings", 1, codes=(69, 0))
    assert "listening on tcp" in clean.system.run("mailbell status")


def test_why_mailbelld_does_not_start(clean: Place) -> None:
    system = clean.system
    system.run(f"systemctl stop {LISTENER_UNITS}")
    system.run("systemd-run --quiet --unit=web python3 -m http.server 79")
    system.until("ss -ltn 'sport = 79' | grep -q :79", "the web server")
    clean.follow("mailbelld does not start", 0, codes=(1, 71))
    system.run("systemctl stop web")
    system.write("/etc/mailbell/mailbelld.toml", '[limits]\nrte = "1/s"\n')
    clean.follow("mailbelld does not start", 1, codes=(78,))
    system.ran("systemctl start mailbelld")
    system.write("/etc/mailbell/mailbelld.toml", '[limits]\nrate = "1/s"\n')
    system.until("mailbell status", "the next start")


def test_a_person_who_is_not_in_the_group(clean: Place) -> None:
    clean.system.run("gpasswd --delete anna mailbell")
    try:
        clean.follow("A person may not listen", 0, codes=(77,))
    finally:
        clean.system.run("gpasswd --add anna mailbell")
    # Her service manager still runs, and with it her old groups.
    clean.system.run('systemctl stop "user@$(id -u anna).service"')
    assert "listening on tcp" in clean.system.run("mailbell status", user="anna")


def test_a_ring_that_no_account_has(clean: Place) -> None:
    clean.listener('[[account]]\nname = "work"\nsources = ["192.0.2.25"]\n')
    clean.ring()
    clean.until_logged("mailbelld", "event=refused")
    clean.follow("A ring comes, and no account has it")
    clean.listener('[[account]]\nname = "work"\nsources = ["192.0.2.1"]\n')
    clean.ring()
    clean.until_logged("mailbelld", "event=notification account=work")


def test_a_command_of_the_agent_that_fails(clean: Place) -> None:
    system = clean.system
    system.run("loginctl enable-linger anna")
    system.run("mailbell run --install-unit --yes -- ls Mail", user="anna")
    clean.system.until("journalctl --sync; journalctl -o cat | grep -q event=retry", "a failure")
    clean.follow("The mail program does not fetch")
    system.run("mkdir Mail && systemctl --user restart mailbell-agent", user="anna")
    clean.system.until("journalctl --sync; journalctl -o cat | grep -q 'event=ran .* code=0'")


def test_a_hook_that_never_comes(clean: Place) -> None:
    system = clean.system
    clean.sender(ANNA.format(targets='["192.0.2.1"]'))
    system.run(f"systemctl stop {SENDER_UNITS}")
    system.run("mailbell-hook --account=anna")
    system.run("systemctl start mailbell-sender")
    clean.follow("No hook comes")
    system.run("systemctl stop mailbell-sender-hook.socket mailbell-sender-control.socket")
    system.run("systemctl stop mailbell-sender")
    clean.follow("No hook comes", 1)


def test_a_hook_that_is_not_permitted(clean: Place) -> None:
    clean.sender(ANNA.format(targets='["192.0.2.1"]'))
    clean.system.run("useradd --system vmail; runuser -u vmail -- mailbell-hook --account=anna")
    clean.until_logged("mailbell-sender", "event=not_permitted")
    clean.follow("A hook is not permitted")
    trusted = '[listen]\ntrusted = ["root", "vmail"]\n'
    with answering(clean.hosts):
        clean.sender(trusted + ANNA.format(targets='["192.0.2.1"]'))
        clean.system.run("runuser -u vmail -- mailbell-hook --account=anna")
        clean.until_logged("mailbell-sender", "event=sent")


def test_an_account_whose_owner_has_not_looked_for_mail(clean: Place) -> None:
    clean.sender(ANNA.format(targets='["last-used"]'))
    clean.follow("Nobody has looked for mail", 0, codes=(69,))
    with answering(clean.hosts):
        logged_in(clean.system)
        assert "192.0.2.1:79 was rung" in clean.system.run("mailbell sender test anna")


def test_a_target_that_cannot_be_reached(clean: Place) -> None:
    clean.sender(ANNA.format(targets='["last-used", "192.0.2.1"]'))
    clean.follow("A target cannot be reached", 0, codes=(69,))
    with answering(clean.hosts):
        logged_in(clean.system)  # the login ends the wait
        assert "192.0.2.1:79 was rung" in clean.system.run("mailbell sender test anna")


def test_a_state_that_was_moved_aside(clean: Place) -> None:
    clean.sender(ANNA.format(targets='["last-used"]'))
    clean.system.run(
        "systemctl stop mailbell-sender; rm /var/lib/mailbell-sender/*;"
        "echo nonsense >/var/lib/mailbell-sender/state.db;"
        "chown mailbell-sender: /var/lib/mailbell-sender/state.db; systemctl start mailbell-sender"
    )
    clean.until_logged("mailbell-sender", "event=store_moved_aside")
    clean.follow("The state was moved aside")
