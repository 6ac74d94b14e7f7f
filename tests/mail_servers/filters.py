"""SpamAssassin and ClamAV on a server's machine, and mail that each of them knows.

Both work without a network: SpamAssassin with the rules of its package, ClamAV with one signature
that is written here.
"""

from typing import Final

from harness.daemon import until
from harness.machine import Machine

__all__ = ["PACKAGES", "PROGRAMS", "SPAM", "VIRUS", "start_filters", "versions"]

PACKAGES: Final = ("spamassassin", "spamd", "spamc", "clamav-daemon", "clamdscan")
PROGRAMS: Final = ("/usr/sbin/spamd", "/usr/bin/spamc", "/usr/sbin/clamd", "/usr/bin/clamdscan")

SPAM: Final = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
"""A line that SpamAssassin takes for spam (GTUBE)."""

# In two parts, so that nobody's scanner finds it in this file.
VIRUS: Final = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-" + "STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""The harmless file that scanners agree to call a virus (EICAR)."""

_SIGNATURE: Final = f"Eicar-Test-Signature:0:*:{VIRUS.encode().hex()}\n"


def start_filters(machine: Machine) -> None:
    """Start both, and wait until they take mail."""
    # Debian has this name. Without it spamd cannot tell who asks.
    machine.append("/etc/hosts", "::1 localhost\n")
    # Old dates and the addresses of documentation look like spam too; GTUBE has 1000 points.
    machine.append("/etc/spamassassin/local.cf", "required_score 100\n")
    machine.write("/var/lib/clamav/eicar.ndb", _SIGNATURE)
    machine.write("/run/clamav/.made", "", owner="clamav")
    # As a daemon, clamd now and then waits for its own child for ever.
    machine.run("sh", "-c", "clamd --foreground >/dev/null 2>&1 &")
    machine.run("spamd", "-L", "-d", "-x", "-u", "nobody")
    until(lambda: "Eicar-Test-Signature.UNOFFICIAL FOUND" in _scanned(machine), "clamd")
    until(lambda: "YES" in machine.run("spamc", stdin=f"Subject: x\n\n{SPAM}\n"), "spamd")


def versions(machine: Machine) -> str:
    """Return the versions of both."""
    spamassassin = machine.run("spamassassin", "--version").split()[2]
    clamav = machine.run("clamd", "--version").split()[1].partition("/")[0]
    return f"SpamAssassin {spamassassin}, ClamAV {clamav}"


def _scanned(machine: Machine) -> str:
    return machine.run("clamdscan", "--no-summary", "--stream", "-", stdin=VIRUS, check=False)
