"""mailbell-sender in the machine: a hook tells it, and it rings the machine's own mailbelld."""

from dataclasses import dataclass

from machines.documents import commands
from machines.guest import USER, Guest

__all__ = ["CONFIGURATION", "FILE", "HOOKS", "PORT", "UNIT", "Sender", "install_sender"]

UNIT = "mailbell-sender.service"
FILE = "/etc/mailbell/sender.toml"
HOOKS, PORT = 20, 7979  # of hooks.py
# joe has what a user of a mail server has; a1 and so on are rung by hooks.py.
CONFIGURATION = """\
[[account]]
name = "joe"
targets = ["last-used", "127.0.0.1"]
""" + "".join(
    f'[[account]]\nname = "a{number}"\ntargets = ["127.0.1.{number}:{PORT}"]\n'
    for number in range(1, HOOKS + 1)
)


@dataclass
class Sender:
    """mailbell-sender of the machine."""

    guest: Guest

    def configure(self, text: str) -> None:
        self.guest.write(FILE, text)
        self.guest.run(f"systemctl restart {UNIT}")

    def hook(self, *, user: str = USER) -> None:
        """Deliver a mail to joe, as far as the hook sees: it ends well whatever happens."""
        self.guest.run("LOGNAME=joe mailbell-hook </dev/null", user=user)

    def rings(self) -> int:
        """Return how many rings mailbelld has taken since it started."""
        return int(self.guest.run(RINGS))

    def rang(self, before: int) -> None:
        """Wait until mailbelld was rung once more."""
        self.guest.until(f'test "$({RINGS})" -gt {before}')

    def pid(self) -> int:
        return int(self.guest.property(UNIT, "MainPID"))

    def log(self) -> str:
        return self.guest.journal(UNIT)


RINGS = (
    "mailbell status --json | python3 -c 'import json, sys;"
    ' print(sum(account["count"] for account in json.load(sys.stdin)["accounts"]))\''
)


def install_sender(guest: Guest) -> Sender:
    """Install mailbell-sender word by word, and let it ring the mailbelld of this machine."""
    lines = commands("docs/service.md", "sysusers.d/mailbell-sender.conf")
    guest.run("set -e\n" + "\n".join(lines))
    found = Sender(guest)
    found.configure(CONFIGURATION)
    return found
