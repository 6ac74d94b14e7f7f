"""docs/networks.md: its blocks, between hosts in namespaces, with real rings."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from documents.blocks import Step
from documents.networked import (
    Commands,
    call,
    ending,
    filtered,
    home,
    is_let_in,
    listener,
    ringer,
    root,
)
from documents.typed import text_of, typed
from harness.daemon import PATIENCE, Daemon, until
from harness.netns import Pair, namespaces
from packages.roots import require_roots
from packages.system import Ran, System, booted

from mailbell.core.networks import Address
from mailbell.sender._address_rules import AddressRules

PAGE = "docs/networks.md"
ANNA = '[[account]]\nname = "anna"\n'
TESTED = Step("mailbell sender test anna", root=True, printed=())
CABLES = {"eth0": "cable0", "eth1": "cable1"}

UNAVAILABLE, TEMPORARY = 69, 75


def cabled(heading: str) -> str:
    """Return the lines for the router, for the cables that ours has."""
    text = text_of(PAGE, heading)
    for word, cable in CABLES.items():
        text = text.replace(f'"{word}"', f'"{cable}"')
    return text


@contextmanager
def watching(daemon: Daemon, commands: Commands) -> Iterator[Callable[[str, int], str]]:
    """Run `mailbell watch` until it is rung once.

    Yields:
        What compares its output with a block, and returns from where the ring came.
    """
    words = ("watch", "--count", "1")
    until(lambda: not daemon.status().subscribers, "the end of another mailbell watch")

    def ended(step: Step) -> Ran:
        assert step.command.split() == ["mailbell", *words]
        said, _ = process.communicate(timeout=PATIENCE)
        return Ran(process.returncode, said)

    with ending(commands.start(*words)) as process:
        until(lambda: daemon.status().subscribers, "the start of mailbell watch")
        yield lambda heading, ordinal: typed(PAGE, heading, ordinal, ended).split()[-1]


def test_behind_a_router_only_what_it_forwards_arrives(open_path: Path) -> None:
    require_roots(stages="`documents`")
    with ExitStack() as stack:
        hosts = stack.enter_context(home())
        first, asks = stack.enter_context(listener(open_path / "a", hosts.laptop, "192.168.1.7"))
        second, _ = stack.enter_context(listener(open_path / "b", hosts.laptop, "192.168.1.8"))
        accounts = ANNA + 'targets = ["last-used"]\n'
        sender, server = stack.enter_context(ringer(open_path / "mx", hosts.mx, accounts))
        sender.say("seen anna 198.51.100.9")
        assert "198.51.100.9:79 could NOT be rung: nothing listens there" in server(TESTED).said

        filtered(hosts.router, open_path, cabled("A router with NAT"))
        sender.say("seen anna 198.51.100.9")  # the next login ends the wait
        with watching(first, asks) as source:
            typed(PAGE, "What the mail server knows of you", 0, server)
            assert source("Try it", 0) == "192.0.2.1"
        # One of the test, and the one that had waited for the login.
        rung = first.counted()
        assert set(rung) == {"accepted"}
        assert second.counted() == {}

        with call(hosts.mx, "192.0.2.1", "198.51.100.9", 7979) as other:
            assert is_let_in(other, PATIENCE)
        until(lambda: second.counted() == {"accepted": 1}, "the second machine's ring")
        hosts.mx.run("ip", "address", "add", "192.0.2.66/24", "dev", "cable0")
        with call(hosts.mx, "192.0.2.66", "198.51.100.9") as stranger:
            assert not is_let_in(stranger, PATIENCE)
        assert first.counted() == rung

        # A router that puts its own address in the place of the mail server's.
        hosts.router.run("nft", "add rule ip nat postrouting oifname cable1 masquerade")
        with (
            watching(first, asks) as source,
            call(hosts.mx, "192.0.2.1", "198.51.100.9") as ring,
        ):
            assert is_let_in(ring, PATIENCE)
            assert source("A router with NAT", 1) == "192.168.1.1"


def test_a_router_lets_in_by_ipv6_what_its_rule_names(open_path: Path) -> None:
    require_roots(stages="`documents`")
    temporary = "2001:db8:1:0:a1b2:c3d4:e5f6:789"
    with ExitStack() as stack:
        hosts = stack.enter_context(home())
        hosts.laptop.run("ip", "addr", "add", f"{temporary}/64", "dev", "cable1", "nodad")
        # Deprecated: nothing that the mail server calls gets it as its source.
        stranger = ("2001:db8::66/64", "dev", "cable0", "nodad", "preferred_lft", "0")
        hosts.mx.run("ip", "addr", "add", *stranger)
        daemon, _ = stack.enter_context(listener(open_path / "a", hosts.laptop))
        accounts = ANNA + 'targets = ["last-used"]\n'
        sender, server = stack.enter_context(ringer(open_path / "mx", hosts.mx, accounts))
        filtered(hosts.router, open_path, cabled("IPv6 at home"))
        # Of an older packet than the mail server's: if it were let in, it would be there first.
        shut_out = stack.enter_context(call(hosts.mx, "2001:db8::66", temporary))
        other_port = stack.enter_context(call(hosts.mx, "2001:db8::1", temporary, 80))
        sender.say(f"seen anna {temporary}")
        assert f"[{temporary}]:79 was rung" in server(TESTED).said
        assert daemon.counted() == {"accepted": 1}
        assert not is_let_in(shut_out)
        assert not is_let_in(other_port)
        assert not other_port.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "it was dropped"
        hosts.router.run("nft", "flush chain ip6 filter forward")
        with call(hosts.mx, "2001:db8::1", temporary) as without_the_rule:
            other_port.close()
            assert not is_let_in(without_the_rule)


@pytest.fixture(scope="module")
def wire() -> Iterator[Pair]:
    """The person's machine, which is the server here, and the mail server."""
    laptop = ["192.0.2.7/24", "2001:db8::7/64"]
    mail = ["192.0.2.1/24", "2001:db8::1/64", "192.0.2.66/24", "2001:db8::66/64"]
    require_roots(stages="`documents`")
    with namespaces(laptop, mail) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def laptop(wire: Pair) -> Iterator[System]:
    """The person's machine, with all firewalls, and none of them on."""
    with booted(root(), wire.server) as system:
        system.run("systemctl stop firewalld ufw prometheus prometheus-node-exporter")
        yield system


@contextmanager
def on(system: System, start: str, stop: str) -> Iterator[None]:
    """Have a firewall on."""
    try:
        system.run(start)
        yield
    finally:
        system.run(stop)


def lets_in_the_mail_server_alone(hosts: Pair, daemon: Daemon) -> None:
    """Ring by both families, from the mail server and from a stranger."""
    before = daemon.counted().get("accepted", 0)
    with ExitStack() as stack:
        strangers = [
            stack.enter_context(call(hosts.client, source, target))
            for source, target in (("192.0.2.66", "192.0.2.7"), ("2001:db8::66", "2001:db8::7"))
        ]
        for source, target in (("192.0.2.1", "192.0.2.7"), ("2001:db8::1", "2001:db8::7")):
            good = stack.enter_context(call(hosts.client, source, target))
            assert is_let_in(good, PATIENCE)
        until(lambda: daemon.counted().get("accepted", 0) == before + 2, "two rings")
        # Their packets came first.
        assert not any(map(is_let_in, strangers))


def lets_everybody_in(hosts: Pair) -> bool:
    """The control: a stranger rings."""
    with (
        call(hosts.client, "192.0.2.66", "192.0.2.7") as first,
        call(hosts.client, "2001:db8::66", "2001:db8::7") as second,
    ):
        return is_let_in(first, PATIENCE) and is_let_in(second, PATIENCE)


def root_of(system: System) -> Callable[[Step], Ran]:
    return lambda step: system.ran(step.command)


def test_nftables(open_path: Path, wire: Pair, laptop: System) -> None:
    mail = Commands(wire.client)
    with listener(open_path / "a", wire.server) as (daemon, asks):
        assert lets_everybody_in(wire)
        whole = text_of(PAGE, "nftables", 1)
        lines = [line for line in whole.splitlines(keepends=True) if "tcp dport 79" not in line]
        assert len(lines) == len(whole.splitlines()) - 2
        laptop.write("/etc/nftables.conf", "".join(lines))
        with on(laptop, "nft -f /etc/nftables.conf", "nft flush ruleset"):
            typed(PAGE, "Try it", 2, mail, code=TEMPORARY)
            typed(PAGE, "nftables", 0, root_of(laptop))
            lets_in_the_mail_server_alone(wire, daemon)
            with watching(daemon, asks) as source:
                typed(PAGE, "Try it", 1, mail)
                assert source("Try it", 0) == "192.0.2.1"
        assert lets_everybody_in(wire)
        laptop.write("/etc/nftables.conf", whole)
        with on(laptop, "true", "systemctl disable --now nftables; nft flush ruleset"):
            typed(PAGE, "nftables", 2, root_of(laptop))
            lets_in_the_mail_server_alone(wire, daemon)


def test_ufw(open_path: Path, wire: Pair, laptop: System) -> None:
    mail = Commands(wire.client)
    with (
        listener(open_path / "a", wire.server) as (daemon, _),
        on(laptop, "ufw --force enable", "ufw --force disable"),
    ):
        typed(PAGE, "Try it", 2, mail, code=TEMPORARY)
        typed(PAGE, "ufw", 0, root_of(laptop))
        lets_in_the_mail_server_alone(wire, daemon)


def test_firewalld(open_path: Path, wire: Pair, laptop: System) -> None:
    mail = Commands(wire.client)
    with (
        listener(open_path / "a", wire.server) as (daemon, _),
        on(laptop, "systemctl start firewalld", "systemctl stop firewalld"),
    ):
        typed(PAGE, "Try it", 3, mail, code=UNAVAILABLE)
        typed(PAGE, "firewalld", 0, root_of(laptop))
        lets_in_the_mail_server_alone(wire, daemon)


@pytest.mark.parametrize("address", ["100.64.0.7", "fd7a:115c:a1e0::7", "10.79.0.7", "192.168.1.7"])
def test_addresses_of_tunnels_and_private_networks_are_rung(address: str) -> None:
    assert AddressRules((), (), ()).refusal(Address.parse(address)) is None
