"""A mail server calls, and whoever subscribed hears it."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from machines.claim import claim
from machines.guest import SLOW, Guest
from machines.service import SERVICE, Heard, running, subscribed

LINE = b"nm_notifyuser\r\n"
# The host, as the machine sees it.
HOST = "10.0.2.2"


@claim("mailbelld runs, locked in, after the commands of docs/service.md", smoke=True)
def test_it_runs(guest: Guest) -> None:
    status = guest.run(f"cat /proc/{running(guest)}/status")
    assert "\nSeccomp:\t2\n" in status
    assert "\nNoNewPrivs:\t1\n" in status
    assert "event=listening" in guest.journal("mailbelld")


@pytest.fixture
def heard(guest: Guest) -> Iterator[Heard]:
    """What a subscriber hears."""
    running(guest)
    with subscribed(guest) as heard:
        yield heard


@claim("a ring over IPv4 and IPv6 reaches a subscriber", smoke=True)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_ring_arrives(guest: Guest, heard: Heard, address: str) -> None:
    guest.run(f"mailbell send {address}")
    heard.wait_for(cause="network", transport="tcp", source=address)


@claim("a ring from outside the machine reaches a subscriber")
def test_a_ring_from_outside(guest: Guest, heard: Heard) -> None:
    address = ("127.0.0.1", guest.emulator.ports["tcp 79"])
    with socket.create_connection(address, SLOW) as call:
        call.sendall(LINE)
        assert call.recv(1) == b""
    heard.wait_for(cause="network", transport="tcp", source=HOST)


@pytest.fixture(scope="module")
def udp(guest: Guest) -> Iterator[Guest]:
    """The machine with the UDP socket, switched on as the comment of its unit says."""
    comment = guest.run(
        "sed -n 's/^#     systemctl/systemctl/p' /etc/systemd/system/mailbelld-udp.socket"
    )
    assert len(comment.splitlines()) == 3
    guest.run(f"set -e; {comment}")
    running(guest)
    yield guest
    guest.run(
        f"systemctl stop {SERVICE}; systemctl disable --now mailbelld-udp.socket;"
        f" systemctl start {SERVICE}"
    )
    running(guest)


@claim("switched on as its unit says, UDP over IPv4 and IPv6 reaches a subscriber")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_datagram_arrives(udp: Guest, heard: Heard, address: str) -> None:
    udp.run(f"mailbell send --udp {address}")
    heard.wait_for(cause="network", transport="udp", source=address)


@claim("a datagram from outside the machine reaches a subscriber")
def test_a_datagram_from_outside(udp: Guest, heard: Heard) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.sendto(LINE, ("127.0.0.1", udp.emulator.ports["udp 79"]))
    heard.wait_for(cause="network", transport="udp", source=HOST)
