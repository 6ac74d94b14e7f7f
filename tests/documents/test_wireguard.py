"""docs/networks.md, "WireGuard": a tunnel through a router with NAT, with the real wg-quick."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from documents.blocks import Step
from documents.networked import (
    Commands,
    Home,
    call,
    filtered,
    home,
    is_let_in,
    listener,
    ringer,
    root,
)
from documents.typed import text_of, typed
from harness.daemon import PATIENCE, Daemon, until
from packages.roots import require_roots
from packages.system import Ran, System, booted

PAGE = "docs/networks.md"
UNAVAILABLE = 69

# Until the machine's owner has changed it, as most routers are.
MASQUERADE = """
table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "cable0" masquerade
  }
}
"""


@contextmanager
def tunnel(hosts: Home) -> Iterator[tuple[System, System]]:
    """Have a tunnel as the page makes it, from the laptop to the mail server.

    Yields:
        The systems of the mail server and of the laptop.
    """
    with booted(root(), hosts.mx) as server, booted(root(), hosts.laptop) as person:
        both = (server, person)
        for system in both:
            system.run("systemctl stop firewalld ufw prometheus prometheus-node-exporter")
            system.run("mkdir -p /dev/net && mknod /dev/net/tun c 10 200")
        keys = [typed(PAGE, "WireGuard", 0, as_root(system)).strip() for system in both]
        files = (
            text_of(PAGE, "WireGuard", 1, **{"THE-PUBLIC-KEY-OF-YOUR-MACHINE": keys[1]}),
            text_of(PAGE, "WireGuard", 2, **{"THE-PUBLIC-KEY-OF-THE-MAIL-SERVER": keys[0]}),
        )
        for system, text in zip(both, files, strict=True):
            system.write("/etc/wireguard/wg0.conf", text)
            typed(PAGE, "WireGuard", 3, as_root(system))
        met(server)
        yield both


def met(server: System) -> None:
    """Wait until the mail server has heard the laptop through the tunnel."""
    server.until("wg show wg0 latest-handshakes | grep -qv '[[:space:]]0$'", "a handshake")


def test_a_ring_goes_through_wireguard_and_is_refused_beside_it(open_path: Path) -> None:
    with ExitStack() as stack:
        require_roots(stages="`documents`")
        hosts = stack.enter_context(home())
        filtered(hosts.router, open_path, MASQUERADE)
        server, _ = stack.enter_context(tunnel(hosts))
        daemon, _ = stack.enter_context(listener(open_path / "a", hosts.laptop))
        accounts = text_of(PAGE, "WireGuard", 4)
        _, mail = stack.enter_context(ringer(open_path / "mx", hosts.mx, accounts))
        typed(PAGE, "WireGuard", 5, mail)
        assert daemon.counted() == {"accepted": 1}

        neighbour = Commands(hosts.router)
        beside = Step("mailbell send --timeout 2 192.168.1.7", root=True, printed=())
        assert neighbour(beside).code == 0, "the control"
        filtered(hosts.laptop, open_path, text_of(PAGE, "WireGuard", 6))
        typed(PAGE, "WireGuard", 7, neighbour, code=UNAVAILABLE)
        assert daemon.counted() == {"accepted": 2}
        typed(PAGE, "WireGuard", 5, mail)
        with call(hosts.mx, "fd79::1", "fd79::7") as by_ipv6:
            assert is_let_in(by_ipv6, PATIENCE)
        until(lambda: daemon.counted() == {"accepted": 4}, "the rings through the tunnel")

        # Another network: another address. What the laptop sends next tells the mail server.
        hosts.laptop.run("ip", "-4", "address", "flush", "dev", "cable1")
        hosts.laptop.run("ip", "address", "add", "192.168.1.9/24", "dev", "cable1")
        hosts.laptop.run("ip", "route", "add", "default", "via", "192.168.1.1")
        with call(hosts.laptop, "10.79.0.7", "10.79.0.1") as anything:
            assert not is_let_in(anything, PATIENCE)
        typed(PAGE, "WireGuard", 5, mail)
        assert {log["source"] for log in notified(daemon)} == {
            "10.79.0.1",
            "192.168.1.1",
            "fd79::1",
        }
        assert server.run("wg show wg0 endpoints").count("198.51.100.9:") == 1


def notified(daemon: Daemon) -> list[dict[str, str]]:
    """Return the fields of each notification in the log."""
    lines = [line.split() for line in daemon.lines() if line.startswith("event=notification ")]
    return [dict(word.split("=", 1) for word in line) for line in lines]


def as_root(system: System) -> Callable[[Step], Ran]:
    return lambda step: system.ran(step.command)
