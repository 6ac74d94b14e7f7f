"""The companion for the cluster once it is locked in: the names it knows, and how it connects."""

import errno
import socket
import ssl

import pytest
import trio
from harness.refusing import Refusing
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.cluster import messages as m
from mailbell.cluster.clients import Access
from mailbell.cluster.report import Report
from mailbell.core.errors import ConfigurationError
from mailbell.core.networks import Address
from mailbell.sender import _node_at_work
from mailbell.sender._node_at_work import KnownNames, Pair
from mailbell.sender._node_settings import Settings
from mailbell.sender._store_url import EngineUrl, Kind

NAMES = KnownNames({"redis.example": ("192.0.2.7", "2001:db8::7")})


def settings(url: EngineUrl, certificates: str | None = None, state: str = "/state") -> Settings:
    return Settings(
        url=url, ports=frozenset({7000}), password="secret", certificates=certificates,
        addresses={}, node="a", state=state, ttl=60.0, logins=4,
    )  # fmt: skip


async def test_any_number_of_tasks_may_wait_for_a_busy_sender() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        far.setblocking(False)
        near.settimeout(10)
        pair = Pair(far)
        said = [f"user{number}" for number in range(1000)]

        async def say(names: list[str]) -> None:
            for name in names:
                await pair.tell(m.Nobody(name))

        heard = []
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(say, said[number::4])
            await wait_all_tasks_blocked()
            for _ in said:
                message = await trio.to_thread.run_sync(
                    lambda: m.decode_from_companion(near.recv(m.MAX_MESSAGE))
                )
                assert isinstance(message, m.Nobody)
                heard.append(message.account)
        assert sorted(heard) == sorted(said)
        for number in range(4):
            assert [name for name in heard if name in said[number::4]] == said[number::4]


class Hearing:
    """A node that remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    async def put(self, message: object) -> None:
        self.heard.append(message)


async def test_what_the_machine_lacks_for_a_while_costs_no_message(
    autojump_clock: MockClock,
) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    node = Hearing()
    with near, far:
        far.setblocking(False)
        telling = Pair(Refusing(far, "send", errno.ENOMEM))  # type: ignore[arg-type]  # as far as it is used
        await telling.tell(m.Nobody("anna"))
        assert m.decode_from_companion(near.recv(m.MAX_MESSAGE)) == m.Nobody("anna")
        hearing = Pair(Refusing(far, "recv", errno.ENOMEM))  # type: ignore[arg-type]  # as far as it is used
        near.send(m.encode(m.Retire()))
        near.close()
        await hearing.hear(node)  # type: ignore[arg-type]  # as far as it is used
    assert node.heard == [m.Retire()]


async def test_the_names_of_the_configuration_are_known() -> None:
    found = await NAMES.getaddrinfo(b"redis.example", 6379)
    stream = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    assert found == [
        (socket.AF_INET, *stream, ("192.0.2.7", 6379)),
        (socket.AF_INET6, *stream, ("2001:db8::7", 6379, 0, 0)),
    ]
    only = await NAMES.getaddrinfo(b"redis.example", 6379, socket.AF_INET6)
    assert [each[0] for each in only] == [socket.AF_INET6]


@pytest.mark.parametrize("name", [b"other.example", b"", None, b"\xff"])
async def test_no_other_name_is_looked_up(name: bytes | None) -> None:
    with pytest.raises(socket.gaierror, match=r"no name of store\.url"):
        await NAMES.getaddrinfo(name, 6379)


async def test_the_name_of_an_address_is_not_looked_up() -> None:
    with pytest.raises(socket.gaierror):
        await NAMES.getnameinfo(("192.0.2.7", 6379), 0)


def test_how_the_engine_is_reached() -> None:
    url = EngineUrl(Kind.SENTINEL, True, "bell", (("a", 1), (Address.parse("::1"), 2)), "mail", 3)
    # No certificate at all is trusted then.
    with pytest.raises(ConfigurationError, match=r"store\.ca_file"):
        _node_at_work.access(settings(url, "no certificate"))
    plain = _node_at_work.access(settings(url))
    assert plain == Access(
        kind="sentinel", hosts=[("a", 1), ("::1", 2)], service="mail", database=3,
        user="bell", password="secret", tls=None,
    )  # fmt: skip


def test_the_certificate_of_the_engine_is_checked(certificate: str) -> None:
    made = _node_at_work.access(settings(EngineUrl(Kind.TCP, True, hosts=(("a", 1),)), certificate))
    assert made.tls is not None
    assert made.tls.check_hostname
    assert made.tls.verify_mode is ssl.CERT_REQUIRED
    assert made.tls.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.fixture(scope="module")
def certificate() -> str:
    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not found:
        pytest.skip("this system trusts no certificate")
    return ssl.DER_cert_to_PEM_cert(found[0])


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        (EngineUrl(Kind.TCP, hosts=(("a", 1),)), {1, 7000}),
        (EngineUrl(Kind.SENTINEL, hosts=(("a", 1), ("b", 2)), service="x"), {1, 2, 6379, 7000}),
    ],
)
def test_the_ports_that_it_may_connect_to(url: EngineUrl, ports: set[int]) -> None:
    assert settings(url).connect_to == ports


def test_the_host_is_named_after_its_boot_and_its_state() -> None:
    url = EngineUrl(Kind.TCP, hosts=(("a", 1),))
    one, again = _node_at_work.host_of(settings(url)), _node_at_work.host_of(settings(url))
    other = _node_at_work.host_of(settings(url, state="/other"))
    assert one == again != other
    assert Report.parse(f"{one}{other} 0 0 0.0") is not None


async def test_who_talks_to_a_sender_that_has_ended_waits_for_the_end() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with far:
        far.setblocking(False)
        near.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Pair(far).tell, m.Nobody("anna"))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
