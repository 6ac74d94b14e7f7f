"""The comparison with IDLE and polling runs: a Dovecot 2.4, four users, and each way once.

Nothing is said of its figures, but for what cannot be otherwise.
"""

import pytest
from end_to_end import mx
from packages.roots import require_roots

from bench.push import run as command
from bench.push import server
from bench.push.record import SMOKE


def test_each_way_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    require_roots("a clean Debian with Dovecot", "`e2e`")
    # The mail server of the same stage has all that is needed, so no root is made for this alone.
    for module in (server, command):
        monkeypatch.setattr(module, "PACKAGES", mx.PACKAGES)
    run = command.measure(SMOKE)
    waits = ("IDLE, Dovecot 2.4", "IDLE, Dovecot 2.4, hibernation")
    polls = ("IMAP, a poll each 2 s", "POP3, a poll each 2 s")
    ways = {way.name: way for way in run.ways}
    assert list(ways) == [*waits, "mailbell, Dovecot 2.4", *polls]
    for way in ways.values():
        assert way.told
        assert way.told.count == SMOKE.mails
        assert 0 < way.told.p50 <= way.told.most
        assert way.idle.connections == 0
    assert [ways[name].waiting.connections for name in waits] == [SMOKE.users] * 2
    assert ways[waits[0]].processes == SMOKE.users
    assert ways[waits[1]].processes <= 1
    assert ways["mailbell, Dovecot 2.4"].waiting.connections == 0
    wires = {(wire.name, wire.tls): wire for wire in run.wires}
    assert len(wires) == 1 + 2 * 2 + 2 * 2
    rung = wires["mailbell", False]
    assert rung.bursts == 0
    assert rung.telling
    assert rung.telling.payload == len("nm_notifyuser\r\n")
    for (name, tls), wire in wires.items():
        if name in waits:
            assert 1 < wire.interval < 4
            assert wire.again
            assert wire.each
            assert (wire.each.payload == len("* OK Still here\r\n")) is not tls
