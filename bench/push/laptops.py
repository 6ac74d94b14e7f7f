"""Laptops with a mailbelld each, and the mailbell-sender that rings them."""

import pwd
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from harness.netns import Pair

from bench.processes import PATIENCE, Daemon, Failed, started
from bench.push.settings import OWNER
from bench.ringers import Ringer, mailbell_sender

__all__ = ["laptops", "sender"]

# With the settings of its unit, systemd wants a sign of life each 30 s (WatchdogSec).
_UNIT: Final = ("env", "WATCHDOG_USEC=30000000")


@contextmanager
def laptops(folder: Path, addresses: Sequence[str], pair: Pair) -> Iterator[list[Daemon]]:
    """Run a mailbelld for each address, at port 79, with the limits that are the default.

    Args:
        folder: for their files.
        addresses: of the client's end of the cable.
        pair: both ends.
    """
    with ExitStack() as stack:
        found = []
        for address in addresses:
            place = folder / address
            place.mkdir(mode=0o755)
            toml = f"""\
[listen]
tcp = ["{address}:79"]
user = "nobody"
[socket]
path = "{place}/mailbell.sock"
group = ""
"""
            through = (*pair.client.enter, *_UNIT)
            found.append(stack.enter_context(started(place, toml, through=through)))
        yield found


@contextmanager
def sender(folder: Path, logins: Sequence[tuple[str, str]], pair: Pair) -> Iterator[Ringer]:
    """Run a mailbell-sender that rings everybody where they last looked for mail.

    Args:
        folder: for its files; `folder / "hook"` is its socket.
        logins: names, and from where each has just looked.
        pair: both ends; it runs at the server's.
    """
    trusted = (pwd.getpwuid(OWNER).pw_name,)
    toml = '[default]\ntargets = ["last-used"]\n'
    with mailbell_sender(folder, toml, None, trusted, pair.server.enter) as found:
        with found.connect() as sock:
            sock.sendall("".join(f"seen {name} {where}\n" for name, where in logins).encode())
        last = time.monotonic() + PATIENCE
        while (known := found.status().book.accounts) < len(logins):
            if time.monotonic() > last:
                raise Failed(f"of {len(logins)} logins {known} were noted")
            time.sleep(0.1)  # between two questions
        yield found
