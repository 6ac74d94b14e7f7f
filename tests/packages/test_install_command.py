"""`mailbell install` and `mailbell uninstall` in a clean Debian 13 that has booted."""

from pathlib import Path

import pytest
from packages.conftest import Boot
from packages.debs import furniture
from packages.environments import PACKAGES, put_environment
from packages.snapshot import BOOTED, Snapshot, differences, snapshot
from packages.system import System

MAILBELL = "/opt/mailbell/bin/mailbell"
# Python compiles a module when it is first imported; the tool that has made the environment
# removes its folder.
COMPILED = {r"/opt/mailbell/.*/__pycache__": "compiled by Python", r".*\.pyc": "the same"}
ETC = "/etc/systemd/system"
LISTENER = ["mailbelld.service", "mailbelld.socket", "mailbelld-local.socket"]
SENDER = [
    "mailbell-sender.service", "mailbell-sender-hook.socket", "mailbell-sender-control.socket",
]  # fmt: skip
UNITS = {"": LISTENER, "--sender": SENDER, "--listener --sender": LISTENER + SENDER}


@pytest.fixture
def system(boot: Boot) -> System:
    """A clean Debian with mailbell in /opt/mailbell, and nothing of a service.

    test_ways.py tries both commands on other Debians too.
    """
    system = boot("trixie", *PACKAGES)
    put_environment(system)
    return system


def whole(system: System) -> Snapshot:
    return snapshot(system.path("/"), BOOTED, COMPILED)


def most(system: System) -> Snapshot:
    """Look at all but the many files of packages: a test above shows that they stay as they are."""
    static = {r"/usr/(?!local).*": "of packages", r"/opt/mailbell/.*": "of the environment"}
    return snapshot(system.path("/"), BOOTED, COMPILED, static)


def steps(said: str) -> list[str]:
    """Return the steps that were told, without what is said at the end."""
    return said.partition("\n\n")[0].splitlines()


def refused(system: System, command: str, code: int = 78) -> str:
    """Run a command that must be refused; return the one line that says why."""
    done = system.ran(command)
    assert done.code == code, done
    line = done.said.splitlines()[-1]
    assert line.startswith("mailbell: ")
    return line.removeprefix("mailbell: ")


def active(system: System, units: list[str]) -> list[str]:
    return [unit for unit in units if system.shows(unit)["ActiveState"] == "active"]


# --- one command, and its undoing ---------------------------------------------------------


@pytest.mark.parametrize("options", UNITS)
def test_it_installs_all_and_is_undone_without_a_trace(system: System, options: str) -> None:
    before = whole(system)
    dry = system.run(f"umask 077; {MAILBELL} install {options} --dry-run")
    assert differences(before, whole(system)) == []
    said = system.run(f"umask 077; {MAILBELL} install {options}")
    assert steps(said) == steps(dry)
    assert "This was a dry run: nothing has changed." in dry
    assert active(system, UNITS[options]) == UNITS[options]
    enabled = [system.shows(unit)["UnitFileState"] for unit in UNITS[options]]
    assert set(enabled) == {"enabled"}
    system.run("mailbell sender status" if "--sender" in options else "mailbell status")
    page = "man8/mailbell-sender.8" if options == "--sender" else "man8/mailbelld.8"
    system.run(f"cmp /usr/local/share/man/{page} /opt/mailbell/share/man/{page}")
    installed = whole(system)

    again = system.run(f"mailbell install {options}")
    told = steps(again)
    assert all("already" in line for line in told), told
    assert differences(installed, whole(system)) == []

    dry = system.run("mailbell uninstall --dry-run")
    assert differences(installed, whole(system)) == []
    removed = system.run("mailbell uninstall")
    assert steps(removed) == steps(dry)
    assert differences(before, whole(system)) == []
    assert system.ran("systemctl list-units --all --plain --no-legend 'mailbell*'").said == ""
    assert not system.path("/run/mailbell").exists()
    assert not system.path("/run/mailbell-sender").exists()
    nothing = system.run(f"{MAILBELL} uninstall")
    assert nothing == "no service of mailbell is installed: nothing to remove\n"
    assert differences(before, whole(system)) == []


def test_a_person_is_let_in_and_the_network_is_heard(system: System) -> None:
    person = system.person()
    before = whole(system)
    said = system.run(f"{MAILBELL} install --user {person}")
    assert f"put {person} into the group mailbell" in said
    assert f"{person} must log out and in again" in said
    assert "systemctl restart user@" not in said
    heard = system.popen("runuser", "-l", person, "-c", "mailbell watch --count 1 --timeout 60")
    system.until("mailbell status | grep -q 'subscribers.*1'")
    system.run("mailbell send 127.0.0.1")
    assert heard.wait(60) == 0
    system.run("mailbell uninstall")
    assert differences(before, whole(system)) == []


def test_a_person_whose_service_manager_stays_is_told_what_to_do(system: System) -> None:
    person = system.person()
    system.run(f"loginctl enable-linger {person}")
    system.until("test -d /run/user/1000/systemd")
    said = system.run(f"{MAILBELL} install --user {person}")
    assert "systemctl restart user@1000" in said
    groups = "systemd-run --user --quiet --wait --pipe id -Gn"
    assert "mailbell" not in system.run(groups, user=person).split()
    system.run("systemctl restart user@1000")
    assert "mailbell" in system.run(groups, user=person).split()


def test_the_hook_of_mail_servers_is_found_and_works(system: System) -> None:
    person = system.person()
    system.run(f"{MAILBELL} install --sender")
    system.run("mailbell-hook </dev/null", user=person)
    system.until("mailbell sender status --json | grep -q '\"unknown_account\": *1'")
    assert (
        system.run("mailbell-hook --help; head -1 /usr/local/bin/mailbell-hook")
        .splitlines()[-1]
        .startswith("#!/usr/bin/python3")
    )


# --- what changes, and what stays ---------------------------------------------------------


def test_a_newer_program_is_started_and_an_older_file_replaced(system: System) -> None:
    system.run(f"{MAILBELL} install")
    first = system.shows("mailbelld.service")["MainPID"]
    # As pip replaces a file, also within the second in which the service was started.
    system.run("touch /opt/mailbell/lib/python3.13/site-packages/trio/__init__.py")
    assert "restart mailbelld.service" in system.run("mailbell install --dry-run")
    assert "restart mailbelld.service" in system.run("mailbell install")
    second = system.shows("mailbelld.service")["MainPID"]
    assert second != first
    assert "restart" not in system.run("mailbell install")
    # A socket that is described in another way is made anew.
    system.run(f"sed -i 's/0.0.0.0:79/127.0.0.1:79/' {ETC}/mailbelld.socket")
    system.run("systemctl daemon-reload; systemctl stop mailbelld.socket mailbelld; "
               "systemctl start mailbelld")  # fmt: skip
    assert "127.0.0.1:79" in system.run("ss -Hltn")
    said = system.run("mailbell install")
    assert f"write {ETC}/mailbelld.socket" in said
    assert "0.0.0.0:79" in system.run("ss -Hltn")
    assert active(system, LISTENER) == LISTENER


def test_what_a_person_has_written_stays_and_is_named(system: System) -> None:
    system.run(f"{MAILBELL} install --listener --sender")
    mine = {
        "/etc/mailbell/mailbelld.toml": "[limits]\nburst = 20\n",
        f"{ETC}/mailbelld.service.d/override.conf": "[Service]\nMemoryMax=600M\n",
        f"{ETC}/mailbell-sender-mail.socket": "[Socket]\nListenStream=/run/x\n",
    }
    for path, text in mine.items():
        system.write(path, text)
    said = system.run("systemctl daemon-reload; mailbell uninstall")
    for path, text in mine.items():
        assert f"keep {path}, which mailbell install has not made" in said
        assert system.path(path).read_text() == text


def test_what_was_installed_by_hand_is_taken_over(system: System) -> None:
    """docs/service.md says how."""
    before = most(system)
    system.run(
        "cd /opt/mailbell/lib/python3*/site-packages/mailbell/policy\n"
        "install -D -m 0644 -t /etc/sysusers.d sysusers.d/mailbell.conf\n"
        "install -D -m 0644 -t /etc/tmpfiles.d tmpfiles.d/mailbell.conf\n"
        f"install -D -m 0644 -t {ETC} systemd/mailbelld*\n"
        "systemd-sysusers mailbell.conf\n"
        "systemd-tmpfiles --create mailbell.conf\n"
        "systemctl daemon-reload\n"
        "systemctl enable --now mailbelld.service"
    )
    by_hand = most(system)
    said = system.run(f"{MAILBELL} uninstall --dry-run; {MAILBELL} install")
    assert f"write {ETC}/mailbelld.service" in said
    assert active(system, LISTENER) == LISTENER
    assert differences(by_hand, most(system)) != []
    system.run("mailbell uninstall")
    # A folder that `install -D` has made.
    assert differences(before, most(system)) in ([], ["new: /etc/sysusers.d: drwxr-xr-x 0:0"])


# --- what is refused ------------------------------------------------------------------------


# What stands in the way, how it is taken away, and what the message says.
FOREIGN = [
    (f"echo '[Unit]' >{ETC}/mailbelld.service", f"rm {ETC}/mailbelld.service",
     f"; mv {ETC}/mailbelld.service "),
    (f"ln -s /dev/null {ETC}/mailbelld.socket", f"rm {ETC}/mailbelld.socket",
     "systemctl unmask mailbelld.socket"),
    (f"mkfifo {ETC}/mailbelld.socket", f"rm {ETC}/mailbelld.socket", "no regular file"),
    ("mkdir -p /etc/sysusers.d; chmod 777 /etc/sysusers.d", "chmod 755 /etc/sysusers.d",
     "chmod go-w /etc/sysusers.d"),
    ("chmod 775 /usr/local/bin", "chmod 755 /usr/local/bin", "chmod go-w /usr/local/bin"),
    ("echo '#!/bin/sh' >/usr/local/bin/mailbell", "rm /usr/local/bin/mailbell",
     "/usr/local/bin/mailbell is another program"),
    ("useradd --create-home mailbell", "userdel --remove mailbell 2>/dev/null",
     "usermod --login NEW mailbell"),
]  # fmt: skip


def test_nothing_is_put_in_the_place_of_anything_else(system: System) -> None:
    for prepare, undo, why in FOREIGN:
        system.run(prepare)
        before = most(system)
        assert why in refused(system, f"{MAILBELL} install --dry-run")
        assert why in refused(system, f"{MAILBELL} install")
        assert differences(before, most(system)) == [], prepare
        system.run(undo)
    system.run(f"{MAILBELL} install --dry-run")


# What is wrong with the environment, and the remedy.
UNFIT = [
    ("chmod -R g+w /opt/mailbell", "chmod -R go-w /opt/mailbell"),
    ("chmod 777 /opt", "chmod -R go-w /opt"),
    ("chmod 666 $SITE/trio/_core/_run.py", "chmod -R go-w /opt/mailbell"),
    ("chmod -R go= /opt/mailbell", "chmod -R go+rX /opt/mailbell"),
    ("chmod 640 $SITE/click/core.py", "chmod -R go+rX /opt/mailbell"),
    ("chown 1000 /opt/mailbell/bin/mailbelld", "-m venv /opt/mailbell"),
    ("rm -r $SITE/rich; ln -s /var/lib/rich $SITE/rich; mkdir -m 777 /var/lib/rich",
     "chmod -R go-w /var/lib/rich"),
]  # fmt: skip


def test_an_environment_that_others_may_change_or_the_service_not_read_is_refused(
    system: System,
) -> None:
    python = "/opt/mailbell/bin/python3 -B -m mailbell"
    system.run("cp -a /opt/mailbell /srv/kept")
    before = most(system)
    for prepare, why in UNFIT:
        system.run(prepare, env={"SITE": "/opt/mailbell/lib/python3.13/site-packages"})
        assert why in refused(system, f"{python} install"), prepare
        assert why in refused(system, f"{python} install --dry-run"), prepare
        system.run("rm -r /opt/mailbell; cp -a /srv/kept /opt/mailbell; chmod 755 /opt")
    system.run(f"{python} install --dry-run; rmdir /var/lib/rich")
    assert differences(before, most(system)) == []


def test_a_folder_that_systemd_would_misread_is_refused(system: System) -> None:
    place = "/opt/mailbell"
    for name in ("a b", "%h", "a*"):
        system.run(f"mv '{place}' '/opt/{name}'")
        place = f"/opt/{name}"
        line = refused(system, f"'{place}/bin/python3' -m mailbell install")
        assert "has characters that systemd or AppArmor would misread" in line


PIP = "/usr/bin/python3 -m venv /opt/mailbell && /opt/mailbell/bin/pip install mailbell"
PIPX = "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install mailbell"
UV = (
    "UV_TOOL_DIR=/opt/uv/tools UV_TOOL_BIN_DIR=/usr/local/bin UV_PYTHON_INSTALL_DIR=/opt/uv/python"
    " uv tool install --python /usr/bin/python3 mailbell"
)


def test_an_environment_in_a_home_is_refused_with_the_remedy_of_its_tool(system: System) -> None:
    """test_ways.py has the tools themselves."""
    system.person()
    for home in ("/root", "/home/joe", "/tmp", "/var/tmp"):
        system.run(f"cp -a /opt/mailbell {home}/m")
        line = refused(system, f"{home}/m/bin/python3 -m mailbell install")
        assert line == (
            f"{home}/m is in a folder that is hidden from services; as root: {PIP}; then:"
            " /opt/mailbell/bin/mailbell install"
        )
    for mark, remedy in (("pipx_metadata.json", PIPX), ("uv-receipt.toml", UV)):
        system.run(f"touch /root/m/{mark}")
        line = refused(system, "/root/m/bin/python3 -m mailbell install")
        assert line.endswith(f"; as root: {remedy}; then: /usr/local/bin/mailbell install")
        system.run(f"rm /root/m/{mark}")


def test_a_source_tree_is_refused(system: System) -> None:
    site = "/opt/mailbell/lib/python3.13/site-packages"
    system.run(f"mkdir /opt/tree; mv {site}/mailbell /opt/tree")
    remedy = "-m venv /opt/mailbell && /opt/mailbell/bin/pip install"
    run = "/opt/mailbell/bin/python3 -m mailbell install"
    line = refused(system, f"cd /opt/tree; PYTHONPATH=/opt/tree {run}")
    assert line.startswith("this mailbell is in /opt/tree/mailbell, and a service would find none")
    assert remedy in line
    # As an editable installation of a person does.
    system.run(f"echo /home/joe/tree >{site}/tree.pth; mkdir -p /home/joe; mv /opt/tree /home/joe")
    line = refused(system, run)
    assert line.startswith("/home/joe/tree is in a folder that is hidden from services; ")
    assert remedy in line


FINDER = """
import importlib.util, sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name == "outcome":
            return importlib.util.spec_from_file_location(
                name, "/var/lib/o/outcome/__init__.py",
                submodule_search_locations=["/var/lib/o/outcome"])
sys.meta_path.insert(0, Finder)
"""


def test_a_dependency_that_is_found_elsewhere_counts_too(system: System) -> None:
    """As an editable installation finds it: in no folder of the search path."""
    site = "/opt/mailbell/lib/python3.13/site-packages"
    system.write(f"{site}/finder.py", FINDER)
    system.write(f"{site}/finder.pth", "import finder\n")
    system.run(f"mkdir /var/lib/o; mv {site}/outcome /var/lib/o")
    system.run(f"{MAILBELL} install --dry-run")
    system.run("chmod 666 /var/lib/o/outcome/_impl.py")
    assert "other users may write to /var/lib/o/outcome/_impl.py" in refused(
        system, f"{MAILBELL} install"
    )
    system.run(f"rm -r /var/lib/o {site}/finder.*")
    line = refused(system, f"{MAILBELL} install")
    assert line.startswith("the daemons cannot be started: No module named 'outcome'; as root: ")


def test_a_person_who_does_not_exist_is_refused_before_anything_is_done(system: System) -> None:
    before = most(system)
    line = refused(system, f"{MAILBELL} install --user nobodyknows", 64)
    assert line.startswith("there is no user nobodyknows")
    assert differences(before, most(system)) == []


def test_an_ordinary_user_may_look_only(system: System) -> None:
    person = system.person()
    assert "write /etc/sysusers.d/" in system.run(f"{MAILBELL} install --dry-run", user=person)
    for command in ("install", "uninstall"):
        done = system.ran(f"{MAILBELL} {command}", user=person)
        assert done.code == 77
        assert done.said.startswith("mailbell: only root may ")


# --- what fails on its way ------------------------------------------------------------------


HOLDER = """
import signal, socket
held = socket.create_server(("127.0.0.1", 79))
signal.pause()
"""


def test_a_service_that_does_not_start_leaves_nothing(system: System) -> None:
    system.write("/opt/holder.py", HOLDER)
    system.run("systemd-run --quiet --unit holder python3 /opt/holder.py")
    system.until("ss -Hltn | grep -q :79")
    before = most(system)
    line = refused(system, f"{MAILBELL} install", 71)
    assert line == (
        "mailbelld.service does not start: mailbelld.socket: Failed to create listening socket"
        " (0.0.0.0:79): Address already in use; see why: mailbell check"
    )
    assert differences(before, most(system)) == []
    assert system.ran("systemctl list-units --all --plain --no-legend 'mailbell*'").said == ""
    assert not system.path("/run/mailbell").exists()
    system.run("systemctl stop holder")
    system.run(f"{MAILBELL} install")


# As the process of systemd's logs that has tried to bind, after the journal has lost its unit; and
# as any user may try to.
LOST = """
printf 'MESSAGE=mailbelld.socket: Failed to %s\nUNIT=mailbelld.socket\n' "$1" | logger --journald
"""
REASON = """
from mailbell.installation import _systemd, services
print(_systemd._reason(services.LISTENER, 1))
"""


def test_the_reason_is_found_without_the_unit_of_its_process(system: System) -> None:
    person = system.person()
    system.write("/opt/lost", LOST, 0o755)
    system.run("sh /opt/lost 'be what the user says'", user=person)
    system.run("sh /opt/lost 'bind: in use'; sh /opt/lost 'receive it'; journalctl --sync")
    system.write("/opt/reason.py", REASON)
    assert system.run("/opt/mailbell/bin/python /opt/reason.py") == (
        "mailbelld.socket: Failed to bind: in use\n"
    )


def test_the_reason_is_the_one_that_the_service_has_logged(system: System) -> None:
    system.write("/etc/mailbell/mailbelld.toml", "[limits]\nbrust = 1\n")
    before = most(system)
    line = refused(system, f"{MAILBELL} install", 71)
    assert "limits.brust" in line
    assert differences(before, most(system)) == []


def test_a_step_that_fails_puts_back_the_service_that_ran(system: System) -> None:
    system.run(f"{MAILBELL} install")
    system.run(f"sed -i 's/^RestartSec=5s/RestartSec=6s/' {ETC}/mailbelld.service; "
               "systemctl daemon-reload; systemctl restart mailbelld")  # fmt: skip
    before = most(system)
    program = system.path("/opt/mailbell/lib/python3.13/site-packages/mailbell/listener/daemon.py")
    text = program.read_text()
    program.write_text(text + "\nraise SystemExit('mailbelld: broken')\n")
    assert "broken" in refused(system, "mailbell install", 71)
    program.write_text(text)
    assert differences(before, most(system)) == []
    system.until("systemctl is-active mailbelld")


def test_a_signal_undoes_what_was_done(system: System) -> None:
    """gpasswd takes long, so that there is time to send it."""
    person = system.person()
    slow = "#!/bin/sh\ntouch /run/x/begun\nsleep 1000\n"
    system.write("/run/x/slow", slow, 0o755)
    system.run("mount --bind /run/x/slow /usr/bin/gpasswd")
    before = most(system)
    for signal in ("INT", "TERM", "HUP"):
        running = system.popen(MAILBELL, "install", "--user", person)
        system.until("test -e /run/x/begun")
        pid = int(system.run("pgrep -f 'mailbell install'").split()[0])
        system.run(f"rm /run/x/begun; kill -{signal} {pid}")
        assert running.wait(60) == 130
        assert differences(before, most(system)) == [], signal


def test_one_that_was_killed_is_repeated_or_removed(system: System) -> None:
    person = system.person()
    before = most(system)
    kill = "printf '#!/bin/sh\\nkill -9 $PPID\\n' >/run/kill; chmod 755 /run/kill"
    system.run(f"{kill}; mount --bind /run/kill /usr/bin/gpasswd")
    assert system.ran(f"{MAILBELL} install --user {person}").code == 137
    left = f"{ETC}/.mailbelld.service.a1_b2c3d"
    system.write(left, "half")
    half = most(system)
    assert len(differences(before, half)) > 6
    system.run("umount /usr/bin/gpasswd; rm /run/kill; mailbell uninstall")
    assert differences(before, most(system)) == []
    system.write(left, "half")
    system.run(f"{MAILBELL} install --user {person}")
    assert not system.path(left).exists()
    system.run("mailbell uninstall")
    assert differences(before, most(system)) == []


def test_a_full_file_system_has_all_of_it_or_nothing(system: System) -> None:
    """Each file and each folder takes an inode, so it is full at each of the steps."""
    before = most(system)
    codes = []
    for inodes in (2, 4, 6, 7, 9, 12):
        system.run(f"mount -t tmpfs -o mode=755,nr_inodes={inodes} none {ETC}")
        done = system.ran(f"{MAILBELL} install")
        codes.append(done.code)
        if not done.code:
            system.run("mailbell uninstall")
        assert system.path(ETC).is_dir()
        assert list(system.path(ETC).glob("**/*mailbell*")) == []
        system.run(f"umount {ETC}; systemctl daemon-reload")
    assert differences(before, most(system)) == []
    assert {0, 71} == set(codes)


def test_a_removal_that_failed_goes_on_where_it_was(system: System) -> None:
    before = most(system)
    system.run(f"{MAILBELL} install")
    system.run("systemd-run --quiet --unit holder --uid mailbell sleep 1000")
    line = refused(system, f"{MAILBELL} uninstall", 71)
    assert line.startswith("userdel failed: userdel: user mailbell is currently used by process ")
    assert line.endswith("; end its processes, and try again")
    system.run(f"systemctl stop holder; {MAILBELL} uninstall")
    assert differences(before, most(system)) == []


def test_an_environment_in_another_place_takes_over(system: System) -> None:
    system.run(f"{MAILBELL} install --listener --sender")
    before = most(system)
    system.run("cp -a /opt/mailbell /srv/mailbell")
    other = "/srv/mailbell/bin/python3 -m mailbell"
    line = refused(system, f"{other} install")
    assert line.startswith("/srv/mailbell/bin/mailbell is run by /opt/mailbell/bin/python3")
    assert not [x for x in differences(before, most(system)) if "/srv/mailbell" not in x]
    system.run("sed -i '1s:/opt/:/srv/:' /srv/mailbell/bin/mailbell*")
    system.run(f"{other} install --listener --sender; rm -r /opt/mailbell")
    assert "ExecStart=/srv/mailbell/bin/mailbelld" in system.run(f"cat {ETC}/mailbelld.service")
    system.run("mailbell check; mailbell sender check")
    assert all("already" in x for x in steps(system.run("mailbell install --listener --sender")))
    system.run("mailbell uninstall")


def test_two_at_once_do_not_meet(system: System) -> None:
    lock = "/run/mailbell-install.lock"
    holder = system.popen("flock", lock, "sh", "-c", "touch /run/held; sleep 1000")
    system.until("test -e /run/held")
    for command in ("install", "uninstall"):
        line = refused(system, f"{MAILBELL} {command}", 71)
        assert line == "another mailbell install or uninstall runs; try again when it has ended"
    holder.kill()
    holder.wait()


# --- machines of other kinds ----------------------------------------------------------------


def test_where_systemd_does_not_run_all_but_the_start_is_done(system: System) -> None:
    """As in the making of an image. What tells a program that systemd runs is hidden."""
    before = most(system)
    hidden = "unshare -m sh -euc 'mount -t tmpfs none /run; {}'"
    install = hidden.format(f"{MAILBELL} install --listener --sender")
    said = system.run(install)
    assert "systemd does not run here, so it is not started" in said
    assert system.path(f"{ETC}/multi-user.target.wants/mailbelld.service").is_symlink()
    again = system.run(install)
    assert all("already" in line for line in steps(again)), again
    system.run(hidden.format("mailbell uninstall"))
    assert differences(before, most(system)) == []
    system.run(install)
    # The machine boots.
    system.run("systemctl daemon-reload; systemctl start mailbelld mailbell-sender")
    assert active(system, LISTENER + SENDER) == LISTENER + SENDER
    system.run("mailbell uninstall")
    assert differences(before, most(system)) == []


def test_a_machine_without_systemd_is_refused_in_one_line(system: System) -> None:
    system.run("mount --bind /dev/null /usr/bin/systemctl")
    done = system.ran(f"{MAILBELL} install")
    assert done.code == 78
    assert done.said.count("\n") == 1
    assert "has no systemd" in done.said


def test_an_old_systemd_is_refused(system: System) -> None:
    system.write("/run/old", "#!/bin/sh\necho 'systemd 247 (247.3-7)'\n", 0o755)
    system.run("mount --bind /run/old /usr/bin/systemctl")
    line = refused(system, f"{MAILBELL} install")
    assert line.startswith("the units need systemd 252, and this is systemd 247 (247.3-7); ")


# A kernel with AppArmor, as far as mailbell sees it, and not systemd, which would have to switch
# the profile. {} is what its parser does.
APPARMOR = """
mkdir -p /run/a/module/apparmor/parameters /run/a/kernel/security/apparmor/policy/profiles
echo Y >/run/a/module/apparmor/parameters/enabled
printf '%s\\n' '#!/bin/sh' 'echo "$@" >>/run/a/log' 'name=$(basename "$2")' \\
  'folder=/sys/kernel/security/apparmor/policy/profiles/$name.7' {} >/usr/sbin/apparmor_parser
chmod 755 /usr/sbin/apparmor_parser
printf '%s\\n' '#!/bin/sh' 'mount --bind /run/a /sys; exec mailbell "$@"' >/run/a/m
printf '%s\\n' '#!/bin/sh' \\
  'PATH=/opt/mailbell/bin:$PATH exec unshare -m sh /run/a/m "$@"' >/run/mailbell-with-apparmor
chmod 755 /run/mailbell-with-apparmor
"""
WITH = "/run/mailbell-with-apparmor"
TAKES = "'case $1 in --replace) mkdir -p $folder;; --remove) rmdir $folder;; esac'"
REFUSES = "'echo Permission denied; exit 1'"


def test_where_apparmor_is_on_the_service_asks_for_its_profile(system: System) -> None:
    system.run(APPARMOR.format(TAKES))
    before = most(system)
    said = system.run(f"{WITH} install")
    drop_in = f"{ETC}/mailbelld.service.d/apparmor.conf"
    assert f"load /etc/apparmor.d/mailbelld into AppArmor, and write {drop_in}" in said
    assert "AppArmorProfile=mailbelld\n" in system.path(drop_in).read_text()
    log = system.path("/run/a/log")
    assert log.read_text() == "--replace /etc/apparmor.d/mailbelld\n"
    assert "AppArmor has the profile mailbelld already" in system.run(f"{WITH} install")
    assert log.read_text() == "--replace /etc/apparmor.d/mailbelld\n"
    cache = "/var/cache/apparmor"
    system.run(f"mkdir -p {cache}/1.0; touch {cache}/1.0/mailbelld; {WITH} uninstall")
    system.run(f"rmdir {cache}/1.0 {cache}")
    assert log.read_text().endswith("\n--remove /etc/apparmor.d/mailbelld\n")
    log.unlink()
    assert differences(before, most(system)) == []


def test_a_profile_that_was_loaded_is_forgotten_if_a_later_step_fails(system: System) -> None:
    system.run(APPARMOR.format(TAKES))
    system.write("/etc/mailbell/mailbelld.toml", "[limits]\nbrust = 1\n")
    before = most(system)
    refused(system, f"{WITH} install", 71)
    system.run("rm /run/a/log")
    assert differences(before, most(system)) == []


def test_a_profile_that_the_kernel_does_not_take_is_left_out(system: System) -> None:
    """A container on a machine with AppArmor. The service would not start with the drop-in."""
    system.run(APPARMOR.format(REFUSES))
    said = system.run(f"{WITH} install --listener --sender")
    reason = "AppArmor does not take the profile here, so it is left out: Permission denied"
    assert said.count(reason) == 2
    assert not system.path(f"{ETC}/mailbelld.service.d").exists()
    assert not system.path("/etc/apparmor.d/mailbelld").exists()
    assert active(system, LISTENER + SENDER) == LISTENER + SENDER


# --- with the packages of Debian ------------------------------------------------------------


def test_with_the_package_its_own_units_are_used(boot: Boot, debs: list[Path]) -> None:
    system = boot("trixie", *furniture(debs))
    person = system.person()
    for deb in debs:
        system.put(deb, "/root/debs")
    system.run("dpkg -i /root/debs/*.deb")
    before = most(system)
    assert steps(system.run("mailbell install --sender")) == [
        "mailbell-sender.service starts at boot and runs already"
    ]
    assert f"{ETC}/" not in system.run("mailbell install --dry-run")
    said = system.run("mailbell uninstall")
    assert "mailbelld.service is from a package: apt-get purge mailbell\n" in said
    assert "mailbell-sender.service is from a package: apt-get purge mailbell-sender\n" in said
    assert differences(before, most(system)) == []
    system.run("systemctl disable --now mailbelld.service mailbelld.socket mailbelld-local.socket")
    assert steps(system.run(f"mailbell install --user {person}")) == [
        f"put {person} into the group mailbell",
        "start mailbelld.service, also at boot, and wait until it is ready",
    ]
    assert active(system, LISTENER) == LISTENER
    system.run("mailbell status", user=person)
    # Another mailbell leaves these units alone.
    put_environment(system)
    line = refused(system, f"{MAILBELL} install")
    assert line.endswith("; run /usr/bin/mailbell install, or apt-get purge mailbell")
    assert "is from a package" in system.run(f"{MAILBELL} uninstall")
    assert active(system, LISTENER) == LISTENER
