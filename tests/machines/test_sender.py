"""The mail server's side as a service: a hook tells it, and it rings the machine's own mailbelld.

It is installed with the commands of docs/service.md ("The mail server's side").
"""

from pathlib import Path

from machines.claim import claim
from machines.documents import exposure
from machines.mail_server import CONFIGURATION, FILE, HOOKS, PORT, UNIT, Sender
from machines.service import log_mark, logged_after

# Shorter than in the unit, so that the claim takes less.
SHORT = "[Service]\nWatchdogSec=15\nRestartSec=1\n"
SUBSCRIBERS = (
    "mailbell status --json"
    " | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"subscribers\"])'"
)
# It joins the service, and takes all memory that it gets.
GREEDY = """\
import os
folder = "/sys/fs/cgroup/system.slice/mailbell-sender.service/"
open(folder + "cgroup.procs", "w").write(str(os.getpid()))
taken = []
while True:
    taken.append(b"x" * (1 << 24))
"""
# It joins the service, and makes processes until it gets no more.
FORKING = """\
import os, signal, time
folder = "/sys/fs/cgroup/system.slice/mailbell-sender.service/"
open(folder + "cgroup.procs", "w").write(str(os.getpid()))
made = []
try:
    while len(made) < 100:
        pid = os.fork()
        if not pid:
            time.sleep(600)
        made.append(pid)
except BlockingIOError:
    print(open(folder + "pids.current").read().strip())
finally:
    for pid in made:
        os.kill(pid, signal.SIGKILL)
"""


@claim("mailbell-sender runs, locked in, after the commands of docs/service.md")
def test_it_runs(sender: Sender) -> None:
    status = sender.guest.run(f"cat /proc/{sender.pid()}/status")
    assert "\nSeccomp:\t2\n" in status
    assert "\nNoNewPrivs:\t1\n" in status
    assert sender.guest.property(UNIT, "NRestarts") == "0"


@claim("a mail server's hook, run by an ordinary user, rings a subscriber of mailbelld")
def test_a_hook_rings(sender: Sender) -> None:
    before = sender.guest.run(SUBSCRIBERS)
    with sender.guest.started("timeout 100 mailbell watch --json --count 1") as watch:
        sender.guest.until(f"test $({SUBSCRIBERS}) -gt {before}")
        sender.hook()
        assert watch.stdout
        assert b'"127.0.0.1"' in watch.stdout.read()


@claim("systemd rates the exposure of mailbell-sender as docs/service.md says")
def test_the_exposure(sender: Sender) -> None:
    rated = sender.guest.run(f"systemd-analyze security --no-pager {UNIT} | tail -n 1")
    assert f": {exposure()} " in rated


@claim("mailbell-sender is restarted and killed under load: no hook fails, and no ring is lost")
def test_it_is_killed_under_load(sender: Sender) -> None:
    sender.guest.put(Path(__file__).with_name("hooks.py"), "/root")
    before = sender.pid()
    assert not sender.guest.run(f"python3 /root/hooks.py {HOOKS} {PORT}", timeout=300)
    assert sender.pid() != before
    # `systemctl restart` sets it to 0, and the kill comes after that.
    assert sender.guest.property(UNIT, "NRestarts") == "1"
    assert "not sent" not in sender.guest.run("journalctl --no-pager -b -t mailbell-hook")


@claim("a mailbell-sender that hangs is ended by the watchdog; what a hook told it meanwhile rings")
def test_the_watchdog(sender: Sender) -> None:
    folder = f"/run/systemd/system/{UNIT}.d"
    sender.guest.write(f"{folder}/short.conf", SHORT)
    sender.guest.run(f"systemctl daemon-reload && systemctl restart {UNIT}")
    before, mark = sender.rings(), log_mark(sender.guest)
    try:
        sender.guest.run(f"kill -STOP {sender.pid()}")
        sender.hook()
        sender.rang(before)
        assert "Watchdog timeout" in logged_after(sender.guest, mark, UNIT)
    finally:
        sender.guest.run(f"rm -r {folder} && systemctl daemon-reload")


@claim(
    "with a wrong configuration mailbell-sender waits for a right one, and serves the hooks then"
)
def test_a_wrong_configuration(sender: Sender) -> None:
    before, mark = sender.rings(), log_mark(sender.guest)
    sender.guest.write(FILE, CONFIGURATION + "\n[send]\nprot = 79\n")
    sender.guest.ran(f"systemctl restart {UNIT}")
    restarts = sender.guest.property(UNIT, "NRestarts")
    try:
        sender.guest.until(f"test $(systemctl show -P NRestarts {UNIT}) -gt {restarts}")
        log = logged_after(sender.guest, mark, UNIT)
        assert "status=78/CONFIG" in log
        assert "mailbell-sender: /etc/mailbell/sender.toml: send.prot" in log
        sender.hook()
    finally:
        sender.guest.write(FILE, CONFIGURATION)
    sender.rang(before)


@claim("mailbell-sender gets no more memory than its unit says, and is started again after that")
def test_the_memory(sender: Sender) -> None:
    before, mark = sender.rings(), log_mark(sender.guest)
    restarts = sender.guest.property(UNIT, "NRestarts")
    assert "code 137" in sender.guest.run("python3 - || echo code $?", stdin=GREEDY)
    sender.guest.until(f"test $(systemctl show -P NRestarts {UNIT}) -gt {restarts}")
    assert "oom-kill" in logged_after(sender.guest, mark, UNIT)
    sender.hook()
    sender.rang(before)


@claim("mailbell-sender gets no more processes than its unit says, and goes on")
def test_the_processes(sender: Sender) -> None:
    pid = sender.pid()
    most = sender.guest.property(UNIT, "TasksMax")
    assert sender.guest.run("python3 -", stdin=FORKING).strip() == most
    before = sender.rings()
    sender.hook()
    sender.rang(before)
    assert sender.pid() == pid
