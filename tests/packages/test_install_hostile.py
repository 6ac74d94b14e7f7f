"""`mailbell install` and `uninstall` on a machine that a hostile user has prepared."""

import pytest
from packages.conftest import Boot
from packages.environments import PACKAGES, put_environment
from packages.snapshot import BOOTED, differences, snapshot
from packages.system import System
from packages.test_install_command import COMPILED, LISTENER, MAILBELL, active, refused

SITE = "/opt/mailbell/lib/python3.13/site-packages"
STATE = "/var/lib/mailbell-sender"


@pytest.fixture
def system(boot: Boot) -> System:
    """A clean Debian with mailbell in /opt/mailbell, and the person joe, whose home all may see."""
    system = boot("trixie", *PACKAGES)
    put_environment(system)
    system.person("joe")
    system.run("chmod 755 /home/joe")
    return system


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (
            ("mkdir /opt/mailbell/own; mv $SITE/jeepney /opt/mailbell/own\n"
            "ln -s /opt/mailbell/own/jeepney /home/joe/link; chown -h joe /home/joe/link\n"
            "ln -s /home/joe/link $SITE/jeepney"),
            "/home/joe belongs to user 1000, who could change what the service does",
        ),
        (
            "mkdir -m 1777 /srv/open; ln -s /srv/open/sitecustomize.py $SITE/sitecustomize.py",
            f"{SITE}/sitecustomize.py leads to what does not exist and other users could make",
        ),
        (
            "ln -s /home/joe/code $SITE/sitecustomize",
            "/home/joe belongs to user 1000, who could change what the service does",
        ),
        (
            "echo /home/joe/code >$SITE/more.pth",
            "/home/joe belongs to user 1000, who could change what the service does",
        ),
        (
            "mkdir -m 1777 /srv/open; echo /srv/open/code >$SITE/more.pth",
            f"{SITE}/more.pth leads to what does not exist and other users could make",
        ),
        (
            ("mkdir /opt/other; ln -s /opt/other /home/joe/link\n"
            "echo /home/joe/link >$SITE/more.pth"),
            "/home/joe belongs to user 1000, who could change what the service does",
        ),
    ],
    ids=["a link on the way", "a link to nothing", "a link into a home", "a folder to come",
         "an open folder", "a folder through a link"],
)  # fmt: skip
def test_what_leads_through_the_hands_of_a_user_is_refused(
    system: System, prepare: str, why: str
) -> None:
    system.run(prepare, env={"SITE": SITE})
    assert refused(system, f"{MAILBELL} install").startswith(why)


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        ("groupadd --gid 1500 mailbell", "groupmod --new-name NEW mailbell"),
        ("groupadd --gid 0 --non-unique mailbell", "groupmod --new-name NEW mailbell"),
        ("groupadd -r mailbell; useradd -r --gid 0 mailbell", "usermod --gid mailbell mailbell"),
    ],
    ids=["of persons", "of root", "a user of root's group"],
)  # fmt: skip
def test_accounts_with_the_rights_of_others_are_refused(
    system: System, prepare: str, why: str
) -> None:
    system.run(prepare)
    before = snapshot(system.path("/"), BOOTED, COMPILED)
    assert why in refused(system, f"{MAILBELL} install")
    assert differences(before, snapshot(system.path("/"), BOOTED, COMPILED)) == []


@pytest.mark.parametrize("members", ["", "joe"])
def test_a_group_that_was_there_is_there_after_a_failure(system: System, members: str) -> None:
    system.run(f"groupadd --system --gid 450 mailbell; gpasswd --members '{members}' mailbell")
    system.write("/etc/mailbell/mailbelld.toml", "[limits]\nbrust = 1\n")
    refused(system, f"{MAILBELL} install", 71)
    assert system.run("getent group mailbell") == f"mailbell:x:450:{members}\n"
    assert system.ran("getent passwd mailbell").said == ""


def test_a_service_that_fails_again_and_again_is_not_called_running(system: System) -> None:
    system.run(f"{MAILBELL} install")
    system.write("/etc/mailbell/mailbelld.toml", "[limits]\nbrust = 1\n")
    system.ran("systemctl restart mailbelld")
    assert system.shows("mailbelld.service")["ActiveState"] == "activating"
    assert "limits.brust" in refused(system, f"{MAILBELL} install", 71)
    system.path("/etc/mailbell/mailbelld.toml").unlink()
    system.run(f"{MAILBELL} install")
    assert active(system, LISTENER) == LISTENER


def test_an_ordinary_user_cannot_hold_it_up(system: System) -> None:
    before = snapshot(system.path("/"), BOOTED, COMPILED)
    hold = f"flock /etc/systemd/system flock {MAILBELL} sh -c 'touch /tmp/held; sleep 1000'"
    holder = system.popen("runuser", "-u", "joe", "--", "sh", "-c", hold)
    system.until("test -e /tmp/held")
    system.run(f"{MAILBELL} install")
    assert not system.path("/run/mailbell-install.lock").exists()
    system.run(f"{MAILBELL} uninstall; rm /tmp/held")
    holder.kill()
    holder.wait()
    assert differences(before, snapshot(system.path("/"), BOOTED, COMPILED)) == []


@pytest.mark.parametrize(
    "prepare",
    [
        "ln -s /home/joe/hook.py /usr/local/bin/mailbell-hook",
        "cp -p /home/joe/hook.py /opt; ln -s /opt/hook.py /usr/local/bin/mailbell-hook",
        (
            "ln -s $SITE/mailbell/hook.py /home/joe/link\n"
            "ln -s /home/joe/link /usr/local/bin/mailbell-hook"
        ),
        "ln -s /opt/mailbell/bin/mailbell /home/joe/m; ln -s /home/joe/m /usr/local/sbin/mailbell",
    ],
    ids=["of a user", "owned by a user", "through a link", "mailbell through a link"],
)
def test_a_program_that_a_user_could_replace_is_not_taken_for_ours(
    system: System, prepare: str
) -> None:
    system.run(f"cp {SITE}/mailbell/hook.py /home/joe; chmod 755 /home/joe/hook.py")
    system.run(f"chown joe /home/joe/hook.py; {prepare}", env={"SITE": SITE})
    assert ".old" in refused(system, f"{MAILBELL} install --sender")


@pytest.mark.parametrize("place", ["ln -s /srv/book {0}", "mkdir {0}; mount --bind /srv/book {0}"])
def test_a_state_that_the_operator_keeps_elsewhere_stays(system: System, place: str) -> None:
    system.run(f"{MAILBELL} install --sender; systemctl stop mailbell-sender")
    system.run(f"mkdir /srv/book; touch /srv/book/mine; rm -r {STATE}; {place.format(STATE)}")
    said = system.run(f"{MAILBELL} uninstall")
    assert f"keep {STATE}, which mailbell install has not made" in said
    assert system.path("/srv/book/mine").exists()
    assert system.ran("getent passwd mailbell-sender").said == ""


FULL = "mount -t tmpfs -o mode=755,nr_inodes={} full {}"


@pytest.mark.parametrize(
    "break_it",
    [
        f"mkdir -p /etc/tmpfiles.d; {FULL.format(1, '/etc/tmpfiles.d')}",
        FULL.format(1, "/usr/local/bin"),
        "mount --bind -o ro /usr/local /usr/local",
        "mount --bind -o ro /etc /etc",
    ],
    ids=["full", "full for links", "/usr/local read only", "/etc read only"],
)
def test_a_disk_that_takes_no_file_leaves_nothing(system: System, break_it: str) -> None:
    system.run(break_it)
    before = snapshot(system.path("/"), BOOTED, COMPILED)
    line = refused(system, f"{MAILBELL} install --listener --sender", 71)
    assert "undone" not in line
    assert differences(before, snapshot(system.path("/"), BOOTED, COMPILED)) == []


def test_a_file_that_a_full_disk_keeps_is_not_called_lost(system: System) -> None:
    system.run(f"{MAILBELL} install")
    system.run("mkdir -p /run/save; mv /etc/tmpfiles.d/* /run/save")
    system.run(FULL.format(2, "/etc/tmpfiles.d"))
    # As a person with an older editor has changed it.
    system.run("cp -a /run/save/mailbell.conf /etc/tmpfiles.d/")
    system.run("printf '# caf\\351\\n' >>/etc/tmpfiles.d/mailbell.conf")
    before = system.path("/etc/tmpfiles.d/mailbell.conf").read_bytes()
    assert "undone" not in refused(system, f"{MAILBELL} install", 71)
    assert system.path("/etc/tmpfiles.d/mailbell.conf").read_bytes() == before
    assert active(system, LISTENER) == LISTENER


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("#!/home/joe/link/python3", "/home/joe belongs to user 1000"),
        ("#!/bin/sh\n'''exec' /home/joe/python3 \"$0\" \"$@\"\n' '''", "in another environment"),
        ("#!/usr/bin/env python3", "in another environment"),
    ],
    ids=["through a link", "a shell", "env"],
)
def test_a_program_names_its_own_interpreter(system: System, first: str, why: str) -> None:
    system.run("ln -s /opt/mailbell/bin /home/joe/link")
    for name in ("mailbell", "mailbelld"):
        path = system.path(f"/opt/mailbell/bin/{name}")
        rest = path.read_text().partition("\n")[2]
        path.write_text(f"{first}\n{rest}")
    assert why in refused(system, "/opt/mailbell/bin/python3 -m mailbell install")
