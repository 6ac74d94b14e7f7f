"""A person's agent, under a real service manager of a user, with logind and the kernel's clocks.

The agent is installed as docs/agent.md says, for a user who is not logged in.
"""

import re
import time
from collections.abc import Iterator

import pytest
from machines.claim import claim
from machines.guest import USER, Guest
from machines.person import UNIT, Agent

# The power button wakes the machine, and logind shall not take it as an order to power off.
LOGIND = "[Login]\nHandlePowerKey=ignore\n"
ASLEEP = 15.0  # seconds; in QEMU the monotonic clock goes on meanwhile, and so do all watchdogs
LOOKED = 6.0  # seconds after which the agent has looked at its clocks: it does every 5 s
# Shorter than those of the unit (1 min and 15 s), so that the claim takes less.
SHORT = "[Service]\nWatchdogSec=20\nRestartSec=1\n"


@pytest.fixture
def agent(lingering: Agent) -> Agent:
    """The agent, with what it did before forgotten."""
    lingering.hears()
    lingering.forget()
    return lingering


@claim("`mailbell run --install-unit` works for a user who lingers; a ring makes one run")
def test_the_unit_runs(agent: Agent) -> None:
    assert agent.property("ActiveState") == "active"
    assert 'event=sleep_watch by="logind and clocks"' in agent.journal()
    agent.only()


@claim("when mailbelld is restarted, the agent looks once for what it missed")
def test_the_daemon_restarts(agent: Agent) -> None:
    agent.guest.run("systemctl restart mailbelld.service")
    agent.ran("resync")
    agent.only("resync")


@claim("two new addresses of the machine make one run of the agent")
def test_addresses_come(agent: Agent) -> None:
    agent.guest.run(
        "ip link add spare type dummy && ip link set spare up"
        " && ip address add 192.0.2.7/32 dev spare && ip address add 192.0.2.8/32 dev spare"
    )
    try:
        agent.ran("address")
        agent.only("address")
    finally:
        agent.guest.run("ip link delete spare")


@claim("a clock that is set two hours on or back makes no run, and ends nothing")
@pytest.mark.parametrize("change", ["+2 hours", "-2 hours"])
def test_the_clock_is_set(agent: Agent, change: str) -> None:
    before = agent.property("MainPID"), agent.guest.processes("mailbelld.service")
    agent.guest.run(f"date --set '{change}'")
    agent.lives_on(LOOKED)
    agent.only()
    assert before == (agent.property("MainPID"), agent.guest.processes("mailbelld.service"))


@claim("an agent that hangs is ended by the watchdog of the user's manager, and started again")
def test_the_watchdog(agent: Agent) -> None:
    folder = f"/home/joe/.config/systemd/user/{UNIT}.d"
    agent.guest.write(f"{folder}/short.conf", SHORT, user=USER)
    agent.user(f"systemctl --user daemon-reload; systemctl --user restart {UNIT}")
    agent.ran("start")
    agent.hears()
    agent.forget()
    before = agent.journal().count("Watchdog timeout")
    agent.user(f"systemctl --user kill --kill-whom=main --signal=STOP {UNIT}")
    try:
        agent.ran("start")
        assert agent.journal().count("Watchdog timeout") == before + 1
        agent.hears()
        agent.only("start")
    finally:
        agent.user(f"rm -r {folder}; systemctl --user daemon-reload")


@pytest.fixture
def button(guest: Guest) -> Iterator[None]:
    """The power button does not power the machine off."""
    guest.write("/etc/systemd/logind.conf.d/button.conf", LOGIND)
    guest.run("systemctl restart systemd-logind.service")
    yield
    guest.run("rm /etc/systemd/logind.conf.d/button.conf")


@claim("after 15 s of sleep (s2idle) the agent looks once; mailbelld goes on")
@pytest.mark.usefixtures("button")
def test_the_machine_sleeps(agent: Agent) -> None:
    guest = agent.guest
    if "s2idle" not in guest.ran("grep mem /sys/power/state && cat /sys/power/mem_sleep").stdout:
        pytest.skip("this machine cannot sleep")
    before = guest.processes("mailbelld.service")
    guest.run("echo 8 >/proc/sys/kernel/printk && systemctl suspend")
    end = time.monotonic() + 60
    while b"suspend entry" not in guest.emulator.console.read_bytes():
        assert time.monotonic() < end, "the machine does not fall asleep"
        time.sleep(0.2)  # only its console tells; who asks by ssh would keep it awake
    time.sleep(ASLEEP)  # this is the claim: the machine sleeps so long
    guest.emulator.command("system_powerdown")
    agent.ran("resume")
    assert re.search("PM: suspend exit", guest.run("journalctl --no-pager -b -k -o cat"))
    agent.lives_on(LOOKED)
    agent.only("resume")
    assert guest.processes("mailbelld.service") == before
    assert guest.property("mailbelld.service", "NRestarts") == "0"
