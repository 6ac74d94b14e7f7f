"""All floods at once, while good senders ring, and what the daemon delivers and holds.

The daemon has its default limits: only where it listens, its user and its accounts are configured.
One more account is for everybody, so what strangers send rings too, and wakes subscribers that
never read. The order:

1. The daemon starts, and a subscriber of the good senders' accounts connects. The descriptors that
   the daemon has then are the ones that it must have at the end.
2. All floods run until everything that is bounded is full. Then they stop. What the daemon holds at
   rest, and the most that it has held, are what is compared with.
3. All floods run again, for as long as was asked for. Then they stop, and the same is measured.

The good senders ring during both.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from harness.daemon import Daemon, configuration, started

from bench.processes import Failed
from mailbell.core.errors import MailbellError
from mailbell.listener.configuration import parse
from mailbell.listener.prepare import descriptors_needed
from torture.figures import Report
from torture.floods.attacks import Attack, attacking, attacks, compile_programs
from torture.floods.found import Found, Measured
from torture.floods.good import Tally, listening, ringing, until_told
from torture.floods.held import Held, Peak, at_rest, meanwhile
from torture.floods.hosts import SENDERS, Hosts, hosts
from torture.floods.sources import PORT

__all__ = ["flood", "run"]

_PART: Final = "floods"
# Seconds of the first floods, at least and at most.
_LEAST, _MOST = 5.0, 60.0
_SAY_EVERY: Final = 10.0

Say = Callable[[str], None]


def run(seconds: float, seed: int, say: Say) -> Report:
    """Flood the installed daemon.

    Args:
        seconds: how long all floods run after the first ones, which fill what is bounded.
        seed: decides with which sources the floods begin.
        say: gets a line now and then.

    Returns:
        What was delivered and held.
    """
    return flood(seconds, seed, say)


def flood(
    seconds: float,
    seed: int,
    say: Say,
    *,
    program: Sequence[str] = (),
    warm: float | None = None,
) -> Report:
    """Flood a daemon.

    Args:
        seconds: as for `run`.
        seed: as for `run`.
        say: as for `run`.
        program: what the interpreter runs in place of the installed daemon; the default: that one.
        warm: seconds of the first floods; the default depends on `seconds`.

    Returns:
        What was delivered and held; or why nothing could be made here.
    """
    again = f"python -m torture.floods --seconds {seconds:g} --seed {seed}"
    if os.geteuid() != 0:
        return Report(_PART, skipped="needs root, who makes network namespaces and raw packets")
    try:
        compile_programs()
        found = _play(seconds, seed, say, program, _warm(seconds) if warm is None else warm)
    except pytest.skip.Exception as reason:
        return Report(_PART, skipped=str(reason))
    except (pytest.fail.Exception, subprocess.SubprocessError) as failure:  # of the harness
        return Report(_PART, failures=(f"{failure}; {again}",))
    except (Failed, OSError, MailbellError) as failure:
        return Report(_PART, failures=(f"{failure}; {again}",))
    failures = tuple(f"{line}; {again}" for line in found.failures())
    return Report(_PART, tuple(found.figures()), failures)


def _warm(seconds: float) -> float:
    return min(_MOST, max(_LEAST, seconds / 2))


def _play(seconds: float, seed: int, say: Say, program: Sequence[str], warm: float) -> Found:
    with ExitStack() as stack:
        places = stack.enter_context(hosts())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        toml = _configuration(directory)
        command = places.server.visit
        daemon = stack.enter_context(started(directory, toml, command=command, program=program))
        # As journald does: the pipe of the log holds only so much.
        stack.enter_context(meanwhile(daemon.lines, 0.5))
        tally = Tally()
        with listening(str(daemon.path), tally):
            found = Found(_bound(toml), tally, Held.by(daemon.pid), places.counted())
            scene = _Scene(daemon, places, attacks(str(daemon.path), seed), found, say)
            found.first = scene.flood(warm, "until all is full")
            found.last = scene.flood(seconds, "for what is measured")
            found.kernel = places.counted() - found.kernel
            found.status = daemon.status()
        found.code = daemon.stop()
        return found


class _Scene(NamedTuple):
    """Everything that takes part."""

    daemon: Daemon
    places: Hosts
    floods: Sequence[Attack]
    found: Found
    say: Say

    def flood(self, seconds: float, why: str) -> Measured:
        """Run all floods and all good senders; then let the daemon come to rest."""
        tally, pid = self.found.tally, self.daemon.pid
        peak = Peak(pid)
        with (
            ringing(self.places, tally),
            meanwhile(peak.look, 0.05),
            attacking(self.places, self.floods, self.found.attacks),
        ):
            self.say(f"{len(self.floods)} floods run for {seconds:.0f} s, {why}")
            self._last(seconds, peak)
        until_told(tally)
        held = at_rest(pid, self.found.begin.descriptors)
        self.say(f"at rest: {held.kib} KiB, {held.descriptors} descriptors")
        return Measured(held, peak.kib, peak.descriptors)

    def _last(self, seconds: float, peak: Peak) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _SAY_EVERY))  # the floods are meanwhile what happens
            tally = self.found.tally
            self.say(
                f"{left:4.0f} s: {tally.delivered} of {tally.sent} delivered, "
                f"{peak.kib} KiB at most, {peak.descriptors} descriptors at most"
            )


def _bound(toml: str) -> int:
    """Return how many descriptors the daemon may ever need, as it tells the kernel itself."""
    found = parse(toml.encode())
    return descriptors_needed(found, len(found.listen.tcp) + len(found.listen.udp))


def _configuration(directory: Path) -> str:
    everywhere = (f"0.0.0.0:{PORT}", f"[::]:{PORT}")
    accounts = "".join(
        f'[[account]]\nname = "{sender.account}"\nsources = ["{sender.network}"]\n'
        for sender in SENDERS
    )
    accounts += '[[account]]\nname = "everybody"\nsources = ["0.0.0.0/0", "::/0"]\n'
    return configuration(directory, tcp=everywhere, udp=everywhere, more=accounts)
