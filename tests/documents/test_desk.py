"""What the pages show beside their installation, on one Debian 13 that has both halves of mailbell.

anna reads mail there with mbsync, and Dovecot serves it: with TLS too, under the names that the
pages use for a provider.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from documents.blocks import Block, block, steps
from documents.walk import Walk
from harness.daemon import started, until
from packages.environments import put_environment
from packages.roots import clean_root, require_roots
from packages.system import System, booted

PERSON: Final = "anna"
PACKAGES: Final = (
    "dovecot-imapd", "dovecot-pop3d", "getmail6", "isync", "notmuch", "openssl", "python3",
)  # fmt: skip
SENDER: Final = "/etc/mailbell/sender.toml"
PROVIDER: Final = "\n127.0.0.1 imap.example.org pop.example.org\n"
DOVECOT: Final = """\
protocols = imap pop3
mail_driver = maildir
mail_path = ~/Maildir
mail_inbox_path = ~/Maildir
auth_allow_cleartext = yes
"""
ACCOUNTS: Final = "".join(
    f'[[account]]\nname = "{name}"\nsources = ["127.0.0.0/8"]\n' for name in ("work", "club")
)
AGENT: Final = (
    '[[job]]\nname = "one"\ncommand = ["true"]\n\n[[job]]\nname = "two"\ncommand = ["true"]\n'
)
SERVICES: Final = "mailbelld and mailbell-sender as services"
STORE: Final = "A store of your own: Geary, Outlook, telephones"
ADD_ON: Final = "/usr/share/mozilla/extensions"
# What each command of "Check it yourself" says among other words.
LOOKS: Final = ("accept4", "Landlock", "no_new_privs", "NoNewPrivs:")
COMMENT: Final = re.compile(r" {2,}# .*$")


@pytest.fixture(scope="module")
def desk() -> Iterator[System]:
    """The machine."""
    require_roots(stages="`documents`")
    with booted(clean_root("trixie", *PACKAGES)) as system:
        put_environment(system)
        system.person(PERSON)
        system.run("chpasswd", data=f"{PERSON}:kept-in-a-test\n")
        with system.path("/etc/hosts").open("a") as file:
            file.write(PROVIDER)
        # No Evolution is open, so nothing comes of it.
        system.write("/usr/local/bin/gapplication", "#!/bin/sh\nexit 1\n", 0o755)
        system.write("/etc/dovecot/conf.d/99-mail.conf", DOVECOT)
        system.run("systemctl restart dovecot")
        system.write(SENDER, block("docs/sender.md", "Quick start").text)
        system.write("/etc/mailbell/mailbelld.toml", ACCOUNTS)
        system.run(f"/opt/mailbell/bin/mailbell install --user {PERSON}")
        system.run("/opt/mailbell/bin/mailbell install --sender")
        yield system


def lines(of: Block) -> list[str]:
    """Return the commands of a block without prompts, without the words beside them."""
    return [COMMENT.sub("", line) for line in of.text.splitlines()]


def test_a_pop3_server_says_whether_it_refuses_early_logins(desk: System) -> None:
    (line,) = lines(block("docs/agent.md", "Mail servers that refuse early logins"))
    said = desk.run(line, user=PERSON)
    assert re.search(r"^\+OK\n(?:.*\n)*TOP\n(?:.*\n)*\.\n", said.replace("\r", ""), re.MULTILINE)


def test_an_imap_server_says_that_it_has_idle(desk: System) -> None:
    Walk(desk, PERSON).follow(block("docs/clients.md", "Mail programs: what makes them fetch"))


def test_a_store_of_ones_own_is_filled(desk: System) -> None:
    """The provider is the same Dovecot, with the mail of another person."""
    provider, old, new = (block("docs/clients.md", STORE, ordinal) for ordinal in range(3))
    assert old.text.splitlines()[:2] == new.text.splitlines()[:2]
    desk.write("/etc/dovecot/local.conf", new.text)
    desk.run("systemctl restart dovecot")
    shown = desk.run("doveconf -n protocols listen mail_driver mail_path mail_inbox_path")
    assert shown.count("127.0.0.1") == 1

    other = desk.person("joe")
    desk.run("chpasswd", data=f"{other}:kept-in-a-test\n")
    desk.run("mkdir -p Maildir/new Maildir/cur Maildir/tmp; printf '%b' "
             "'Subject: far\\n\\nHello.\\n' >Maildir/new/1.a", user=other)  # fmt: skip
    desk.run("openssl s_client -connect imap.example.org:993 </dev/null 2>/dev/null"
             " | openssl x509 >/etc/provider.pem")  # fmt: skip
    text = provider.text.replace("pass mail/anna", "echo kept-in-a-test")
    text = text.replace("User anna\n", f"User {other}\nCertificateFile /etc/provider.pem\n")
    desk.write(f"/home/{PERSON}/.mbsyncrc", text, 0o600)
    desk.run(f"chown {PERSON}: /home/{PERSON}/.mbsyncrc")
    desk.run("mbsync -q work", user=PERSON)
    assert "messages=1" in desk.run(f"doveadm mailbox status -u {PERSON} messages INBOX")


@pytest.mark.parametrize(
    ("document", "heading", "jobs"),
    [
        ("docs/agent.md", "`mailbell run`: the agent that makes mail programs fetch", (1, 1, 2)),
        ("docs/evolution.md", "Run", (1,)),
        ("docs/evolution.md", "One account by its name", (2,)),
        ("docs/evolution.md", "Without the module", (1,)),
    ],
)
def test_the_agent_is_started_as_shown(
    desk: System, document: str, heading: str, jobs: tuple[int, ...]
) -> None:
    desk.write(f"/home/{PERSON}/.config/mailbell/agent.toml", AGENT)
    desk.run(f"chown -R {PERSON}: /home/{PERSON}")
    shown = lines(block(document, heading))
    assert len(shown) == len(jobs)
    for line, count in zip(shown, jobs, strict=True):
        said = run_until(desk, line, "event=listening")
        assert f"event=started jobs={count} " in said, said


def run_until(system: System, line: str, words: str, person: str = PERSON) -> str:
    """Type a command that does not end by itself, until it says some words; return all of it."""
    said, process_id = "/tmp/said", "/tmp/process"
    system.run(f"rm -f {said} {process_id}")
    typed = f"echo $$ >{process_id}; exec {line} >{said} 2>&1"
    with system.popen("runuser", "-l", person, "-c", typed):
        try:
            system.until(f"grep -q '{words}' {said}", words)
            return system.run(f"cat {said}")
        finally:
            system.ran(f"kill $(cat {process_id})")


def test_the_agent_is_a_service_as_shown(desk: System) -> None:
    install, look = (block("docs/agent.md", "As a service", ordinal) for ordinal in range(2))
    log, state, linger = lines(look)
    desk.run(f"loginctl enable-linger {PERSON}")
    desk.run(f"{lines(install)[0]} --yes", user=PERSON)
    desk.until(f"runuser -l {PERSON} -c '{state}' | grep -q listening", "the agent")
    assert "event=started jobs=1" in desk.run(log, user=PERSON)
    desk.run(f"{linger} {PERSON}")
    assert "Linger=yes" in desk.run(f"loginctl show-user {PERSON}")


def test_the_add_on_of_thunderbird_is_installed_and_removed_as_shown(desk: System) -> None:
    helper = block("docs/clients.md", "Helpers: what mailbell adds to a mail program")
    everybody, one = (steps(block("docs/thunderbird.md", "Install", n).text)[0] for n in range(2))
    commands = [(COMMENT.sub("", step.command), step.root) for step in steps(helper.text)]
    assert (everybody.command, True) in commands
    assert (one.command, False) in commands
    dry, *_ = (desk.run(line, user="root" if root else PERSON) for line, root in commands)
    assert ADD_ON in dry
    assert desk.run(f"ls /home/{PERSON}/mailbell.xpi").strip()
    assert not list(desk.path("/usr/share/mozilla").rglob("*mailbell*"))


def test_a_person_joins_the_group_as_shown(desk: System) -> None:
    (line,) = steps(block("docs/thunderbird.md", "Join the group mailbell").text)
    name = desk.person("carol")
    assert desk.ran("mailbell status", user=name).code
    desk.run(line.command.replace("NAME", name))
    desk.run("mailbell status", user=name)


def test_the_sandbox_is_looked_at_as_shown(desk: System) -> None:
    shown = lines(block("docs/sandbox.md", "Check it yourself"))
    for line, words in zip(shown[:-1], LOOKS, strict=True):
        assert words in desk.run(line.removeprefix("$ "), user=PERSON), line


def test_what_is_not_loaded_is_seen_as_shown(desk: System) -> None:
    (step,) = steps(block("docs/sandbox.md", "What is not even loaded").text)
    desk.run("systemctl stop mailbelld.service mailbelld.socket mailbelld-local.socket")
    try:
        said = run_until(desk, f"env {step.command}", "event=locked", "root")
    finally:
        desk.run("systemctl start mailbelld-local.socket mailbelld.socket mailbelld.service")
    assert re.search(r"^import time: .*\btrio$", said, re.MULTILINE)
    assert not re.search(r"^import time: .*\| +(_ssl|_hashlib|bz2|subprocess)$", said, re.MULTILINE)


def test_recipes_are_printed_as_shown(desk: System) -> None:
    *printed, check = lines(block("docs/sender.md", "Tell the mail server"))
    every, best, other = (desk.run(line) for line in printed)
    assert "postfix" in every
    assert ".forward" in best
    assert "recipient_bcc_maps" in other
    done = desk.ran(check)
    assert done.code == 69, done
    assert "dovecot-2.4" in done.said or "Dovecot 2.4" in done.said


def test_varlinkctl_speaks_to_the_sender_as_shown(desk: System) -> None:
    look, ring, watch = lines(block("docs/sender.md", "Ring from your own program", 2))
    assert "interface org.mailbell.Sender" in desk.run(look)
    desk.run(ring)
    assert "{" in run_until(desk, watch, "}", "root")


def test_the_services_are_installed_and_removed_as_shown(desk: System) -> None:
    listener, sender, remove = lines(block("docs/service.md", SERVICES))
    listener, sender, remove = (
        re.sub(r" {2,}.*$", "", line.removeprefix("# ")).replace("NAME", PERSON)
        for line in (listener, sender, remove)
    )
    desk.run(remove)
    assert desk.ran("systemctl is-active mailbelld.service mailbell-sender.service").code
    for line in (listener, sender):
        desk.run(f"/opt/mailbell/bin/{line}")
    desk.run("systemctl is-active mailbelld.service mailbell-sender.service")


def test_a_group_has_a_socket_of_its_own_as_shown(desk: System) -> None:
    unit = block("docs/service.md", "A socket for the hooks of one group").text
    desk.write("/etc/systemd/system/mailbell-sender-mail.socket", unit)
    desk.run(
        "systemctl enable mailbell-sender-mail.socket; systemctl stop mailbell-sender.service;"
        " systemctl start mailbell-sender-mail.socket mailbell-sender.service"
    )
    mode = desk.run("stat -c '%G %a' /run/mailbell-sender/mail")
    assert mode.split() == ["mail", "660"]
    desk.run("mailbell-hook --socket /run/mailbell-sender/mail --account anna@example.org")
    desk.until("mailbell sender status --json | grep -q '\"accepted\": *[1-9]'", "the hook")


def test_the_package_varlink_speaks_to_mailbelld_as_shown(tmp_path: Path) -> None:
    """On this host, which has that package, at a daemon in a folder of the test."""
    require_roots(stages="`documents`")
    call, look = lines(block("docs/embedding.md", "Any language", 1))
    with started(tmp_path) as daemon:
        said = []
        for line in (call, look):
            _, *words = shlex.split(line.replace("/run/mailbell/mailbell.sock", str(daemon.path)))
            command = [sys.executable, *words]
            said.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        until(lambda: daemon.status().subscribers == 1, "a subscriber")
        assert "method Subscribe" in said[1].communicate(timeout=60)[0]
        daemon.stop()
        assert '"cursor"' in said[0].communicate(timeout=60)[0]
