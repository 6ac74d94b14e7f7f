"""A mail server calls, and whoever subscribed hears it."""

import pytest
from machines.claim import claim
from machines.guest import Guest


@claim("mailbelld runs, locked in, after the commands of docs/service.md", smoke=True)
def test_it_runs(guest: Guest) -> None:
    (pid,) = guest.processes("mailbelld.service")
    status = guest.run(f"cat /proc/{pid}/status")
    assert "\nSeccomp:\t2\n" in status
    assert "\nNoNewPrivs:\t1\n" in status
    assert "event=listening" in guest.journal("mailbelld")


@claim("a ring over IPv4 and IPv6 reaches a subscriber", smoke=True)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_ring_arrives(guest: Guest, address: str) -> None:
    guest.run(
        f"timeout 60 mailbell watch --count 1 & watching=$!; sleep 3;"
        f" mailbell send {address} && wait $watching"
    )
