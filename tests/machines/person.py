"""A person's agent in the machine, as a unit of the user's own service manager.

What it runs writes a line for each run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from machines.guest import USER, Guest

__all__ = ["UNIT", "Agent", "install_agent", "without_agents"]

UNIT = "mailbell-agent.service"
FETCH = """\
#!/bin/sh
echo "$MAILBELL_CAUSE $MAILBELL_COUNT $MAILBELL_ACCOUNT" >>/home/joe/runs
"""
# One notification, and nothing else: if the run had another cause too, it would be for all
# accounts, and none would be named (docs/agent.md, MAILBELL_ACCOUNT).
RUNG = "network 1 default"


@dataclass
class Agent:
    """The agent of the machine's ordinary user."""

    guest: Guest

    def user(self, command: str) -> str:
        """Run a line as the user, who reaches the service manager of this user."""
        return self.guest.run(command, user=USER)

    def property(self, name: str) -> str:
        return self.user(f"systemctl --user show -P {name} {UNIT}").strip()

    def journal(self) -> str:
        """Return what the agent has logged, and what the user's manager says of it."""
        found = f"_SYSTEMD_USER_UNIT={UNIT} + USER_UNIT={UNIT}"
        return self.guest.run(f"journalctl --no-pager -o cat -b {found}")

    def runs(self) -> list[str]:
        return self.guest.run("cat /home/joe/runs").splitlines()

    def forget(self) -> None:
        """Forget all runs until now."""
        self.guest.run("truncate --size=0 /home/joe/runs")

    def ran(self, cause: str) -> None:
        """Wait for a run with this cause."""
        self.guest.until(f"grep -q '^{cause}' /home/joe/runs")

    def hears(self) -> None:
        self.guest.until(
            f'test "$(systemctl --user show -P StatusText {UNIT})" = listening', user=USER
        )

    def only(self, *causes: str) -> None:
        """Show that there were runs with these causes, and no other run is due.

        A notification gets a run of its own only if nothing else waits for a run.
        """
        self.guest.run("mailbell send 127.0.0.1")
        self.ran("network")
        assert [*map(_cause, self.runs())] == [*causes, "network"]
        assert self.runs()[-1] == RUNG
        self.forget()

    def lives_on(self, seconds: float) -> None:
        """Wait until the agent has told the service manager that it lives, so much later."""
        end = self._uptime() + seconds
        stamp = f"$(systemctl --user show -P WatchdogTimestampMonotonic {UNIT})"
        self.guest.until(f"test {stamp} -gt {end * 1e6:.0f}", user=USER)

    def _uptime(self) -> float:
        return float(self.guest.run("cut -d ' ' -f 1 /proc/uptime"))


def _cause(run: str) -> str:
    return run.partition(" ")[0]


def install_agent(guest: Guest) -> Agent:
    """Install the agent as docs/agent.md says; the user may hear the daemon, and lingers."""
    guest.run(f"usermod --append --groups mailbell {USER}")
    # From the next login on the user is a member: end a session that began before.
    guest.ran(f"loginctl terminate-user {USER}; systemctl stop user@1000.service")
    guest.run(f"loginctl enable-linger {USER}")
    guest.write("/home/joe/fetch", FETCH, user=USER)
    guest.run("chmod 0755 /home/joe/fetch; touch /home/joe/runs", user=USER)
    guest.run("mailbell run --yes --install-unit --min-gap 1s -- /home/joe/fetch", user=USER)
    agent = Agent(guest)
    agent.hears()
    agent.ran("start")
    return agent


@contextmanager
def without_agents(guest: Guest) -> Iterator[None]:
    """End what runs for the user until the end of the block."""
    guest.run("systemctl stop user@1000.service")
    yield
    guest.run(f"test ! -e /var/lib/systemd/linger/{USER} || systemctl start user@1000.service")
