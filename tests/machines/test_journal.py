"""What mailbelld writes into the machine's journal."""

import json

from machines.claim import claim
from machines.guest import Guest
from machines.service import SERVICE, calls, log_mark, running

RATE, BURST = 1, 20  # lines of each kind, as logs/journal.py has them


def lines(guest: Guest, *more: str) -> list[dict[str, str]]:
    """Return what mailbelld itself has written since the boot, with all that journald knows."""
    guest.run("journalctl --sync")
    ours = f"_SYSTEMD_UNIT={SERVICE} _TRANSPORT=stdout"
    text = guest.run(f"journalctl -b -o json --no-pager {ours} {' '.join(more)}")
    return [json.loads(line) for line in text.splitlines()]


@claim('each line of the log has the level "notice", and no part of a line chooses another')
def test_levels(guest: Guest) -> None:
    running(guest)
    mark = log_mark(guest)
    with calls(guest, number=1, line="<0>event=forged\r\n") as one:
        assert len(one.all()) == 1
    guest.until(f"journalctl --sync; journalctl -u mailbelld --since={mark} -g event=refused")
    found = lines(guest)
    assert {line["PRIORITY"] for line in found} == {"5"}
    assert all(line["MESSAGE"].startswith(("event=", "mailbelld:")) for line in found)


@claim("under a flood of bad connections the log grows by at most one line a second of each kind")
def test_a_flood(guest: Guest) -> None:
    running(guest)
    mark = log_mark(guest)
    with calls(guest, pause=0.005, line="x" * 40 + "\r\n") as flood:
        flood.wait_for(600)
        made = flood.all()
    took = max(call.ended for call in made) - min(call.begun for call in made)
    found = lines(guest, f"--since={mark}")
    kinds: dict[str, int] = {}
    for line in found:
        kind = line["MESSAGE"].split()[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    dropped = guest.run(f"journalctl --no-pager -b -o cat --since={mark}")
    assert f"messages from {SERVICE}" not in dropped  # "Suppressed N messages from ..."
    assert kinds
    assert all(number <= BURST + RATE * (took + 2) for number in kinds.values()), kinds
    assert len(found) < len(made) / 2
