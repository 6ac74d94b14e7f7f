"""OfflineIMAP as a service of a person, who has a service manager: systemd, as in a session."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import until
from harness.mailserver import message
from harness.manager import Manager, managers
from mail_programs.results import recorded
from mail_programs.support import Agent, Home, needs, preset_words, subjects

pytestmark = pytest.mark.long

PERSON: Final = "games"  # a user that every Debian has
UNIT: Final = "offlineimap.service"
TARGETS: Final = ("basic.target", "default.target", "shutdown.target")
IMAP: Final = "/usr/lib/dovecot/imap"

# What a login starts for a person, without the login.
SESSION: Final = f"""
[Service]
User={PERSON}
ExecStart=/lib/systemd/systemd --user --unit=basic.target
Environment=HOME=/home/person XDG_RUNTIME_DIR=/run/person
Environment=SYSTEMD_UNIT_PATH=/home/person/units SYSTEMD_GENERATOR_PATH=/run/none
Delegate=yes
"""
# As in Debian's example. Its mail server is Dovecot, without a network between them.
SERVICE: Final = "[Service]\nExecStart={program} -u basic\n"
SETTINGS: Final = f"""
[general]
accounts = work
[Account work]
localrepository = local
remoterepository = remote
autorefresh = 60
[Repository local]
type = Maildir
localfolders = /home/person/Mail
[Repository remote]
type = IMAP
preauthtunnel = env HOME=/home/person {IMAP} -c /home/person/dovecot.conf
"""
DOVECOT: Final = "mail_location = maildir:~/server\nssl = no\nlog_path = /home/person/log\n"


@dataclass(frozen=True)
class Session:
    """A person's service manager, with OfflineIMAP among its units."""

    manager: Manager

    def path(self, name: str) -> Path:
        """A file in the home of the person."""
        return self.manager.path(f"/home/person/{name}")

    def deliver(self, subject: str) -> None:
        name = f"server/new/{subject}"
        self.path(name).write_text(message(subject))
        self.manager.run("chown", PERSON, f"/home/person/{name}")

    def systemctl(self) -> list[str]:
        """What to run `systemctl --user` through, outside of the manager's namespaces."""
        enter = f"nsenter -t {self.manager.pid} -m -p -n -u -i -C --wd=/"
        become = f"setpriv --reuid={PERSON} --regid={PERSON} --clear-groups"
        return f"{enter} {become} env HOME=/home/person XDG_RUNTIME_DIR=/run/person".split()


@pytest.fixture
def session(home: Home, tmp_path: Path) -> Iterator[Session]:
    """It runs, and `systemctl` of the home calls it."""
    needs("offlineimap", "systemctl")
    if not Path(IMAP).exists():
        pytest.skip("dovecot is not installed")
    with managers(tmp_path) as manager:
        its = Session(manager)
        manager.run("mount", "-t", "tmpfs", "none", "/home")
        manager.run("chmod", "755", "/sys/fs/cgroup")
        for folder in ("units", "server/cur", "server/new", "server/tmp"):
            its.path(folder).mkdir(parents=True)
        for name in TARGETS:
            shutil.copy(f"/usr/lib/systemd/user/{name}", its.path("units"))
        program = shutil.which("offlineimap")
        its.path(f"units/{UNIT}").write_text(SERVICE.format(program=program))
        its.path(".offlineimaprc").write_text(SETTINGS)
        its.path("dovecot.conf").write_text(DOVECOT)
        manager.run("mkdir", "/run/person")
        manager.run("chown", "-R", f"{PERSON}:", "/home/person", "/run/person")
        manager.path("/etc/systemd/system/session.service").write_text(SESSION)
        manager.systemctl("daemon-reload")
        manager.systemctl("start", "session.service")
        line = " ".join([*its.systemctl(), "systemctl"])
        home.write("bin/systemctl", f'#!/bin/sh\nexec {line} "$@"\n', 0o700)
        home.environ["PATH"] = f"{home.path}/bin:{home.environ['PATH']}"
        asked = ("systemctl", "--user", "is-active", "basic.target")
        until(lambda: home.run(*asked).returncode == 0, "the person's service manager")
        yield its


def test_its_unit_is_told_when_the_server_has_rung(
    session: Session, home: Home, run_agent: Callable[..., Agent], ring: Callable[[], None]
) -> None:
    command = preset_words("offlineimap-poke")
    done = home.run(*command)
    assert (done.returncode, f"Unit {UNIT} not loaded" in done.stdout) == (1, True)
    session.deliver("first")
    assert home.run("systemctl", "--user", "start", UNIT).returncode == 0
    folder = session.path("Mail")
    until(lambda: subjects(folder) == ["first"], "the first turn")
    agent = run_agent("offlineimap-poke")
    session.deliver("second")
    with recorded("offlineimap-poke", "IMAP"):
        ring()
        # It looks for the signal every ten seconds.
        until(lambda: sorted(subjects(folder)) == ["first", "second"], "the second turn")
    agent.until_logged("event=ran", "code=0")
