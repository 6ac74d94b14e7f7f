"""The machine is started anew."""

from collections.abc import Iterator

import pytest
from machines.claim import claim
from machines.guest import Guest
from machines.service import SERVICE, running, status

# It calls when the socket is there, and ends its start when the line is sent. So mailbelld, which
# is ordered after it, starts when the call already waits.
CALLER = """\
[Unit]
After=mailbelld.socket
Before=mailbelld.service
[Service]
Type=forking
ExecStart=/usr/bin/python3 /root/early.py
[Install]
WantedBy=multi-user.target
"""
EARLY = """\
import os, socket
call = socket.create_connection(("127.0.0.1", 79))
call.sendall(b"nm_notifyuser\\r\\n")
if os.fork():
    os._exit(0)
call.settimeout(300)
with open("/root/early", "w") as file:
    file.write("served" if call.recv(1) == b"" else "answered")
"""


@pytest.fixture(scope="module")
def booted_again(guest: Guest) -> Iterator[Guest]:
    """The machine after another boot, in which something called early."""
    guest.write("/root/early.py", EARLY)
    guest.write("/etc/systemd/system/early.service", CALLER)
    guest.run("systemctl daemon-reload; systemctl enable early.service")
    guest.reboot()
    running(guest)
    yield guest
    guest.run("systemctl disable early.service; rm /etc/systemd/system/early.service /root/early*")
    guest.run("systemctl daemon-reload")


@claim("mailbelld starts with the machine, in less than half of TimeoutStartSec=")
def test_it_starts_with_the_machine(booted_again: Guest) -> None:
    guest = booted_again
    assert guest.property(SERVICE, "NRestarts") == "0"
    took = moment(guest, "ActiveEnter") - moment(guest, "InactiveExit")
    print(f"      listens {took:.1f} s after its start, while the machine boots")
    assert took < seconds(guest.property(SERVICE, "TimeoutStartUSec")) / 2


@claim("a ring that comes while the machine boots, before mailbelld does, is served")
def test_a_ring_of_the_boot_is_served(booted_again: Guest) -> None:
    guest = booted_again
    guest.until("test -s /root/early")
    assert guest.run("cat /root/early") == "served"
    assert status(guest)["outcomes"]["tcp"]["accepted"] >= 1


def moment(guest: Guest, name: str) -> float:
    return int(guest.property(SERVICE, f"{name}TimestampMonotonic")) / 1e6


def seconds(text: str) -> float:
    """Read a span of time as systemctl(1) shows it."""
    units = {"s": 1.0, "min": 60.0}
    return sum(
        float(word.rstrip("mins")) * units[word.lstrip("0123456789.")] for word in text.split()
    )
