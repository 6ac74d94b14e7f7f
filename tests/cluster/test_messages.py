"""What the sender and its companion say to each other."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.cluster import messages as m
from mailbell.core.networks import Address, Family
from mailbell.core.notification import Transport
from mailbell.core.target import Target

NUMBERS = st.integers(0, 2**53 - 1)
ACCOUNTS = st.text(min_size=1, max_size=20)
PLACES = st.lists(
    st.builds(m.Place, st.integers(1, 65535), st.sampled_from(Transport)), max_size=16
).map(tuple)
TEXTS = st.lists(st.text(min_size=3, max_size=30), max_size=16).map(tuple)
ADDRESSES = st.sampled_from(["192.0.2.7", "2001:db8::7"])
SECONDS = st.floats(0, 86_400)
FROM_SENDER = (
    st.builds(m.Ring, NUMBERS, ACCOUNTS, TEXTS, PLACES)
    | st.builds(m.Login, NUMBERS, ACCOUNTS, ADDRESSES, SECONDS, st.booleans(), TEXTS, PLACES)
    | st.sampled_from([m.Swept(), m.Retire(), m.Leave()])
)
NODES = st.builds(
    m.NodeState, st.text(max_size=20), st.booleans(), NUMBERS, NUMBERS, st.floats(0, 1e9)
)
FROM_COMPANION = (
    st.builds(m.Answered, st.lists(NUMBERS, max_size=m.MOST_NUMBERS).map(tuple))
    | st.builds(m.Lost, st.lists(NUMBERS, max_size=m.MOST_NUMBERS).map(tuple))
    | st.builds(m.Call, ACCOUNTS, st.text(min_size=3, max_size=30), SECONDS | st.none())
    | st.builds(m.Nobody, ACCOUNTS)
    | st.builds(m.Welcome, st.text(min_size=3, max_size=30))
    | st.builds(m.Sweep, st.lists(ACCOUNTS, max_size=m.MOST_SWEPT).map(tuple), st.booleans())
    | st.builds(m.Forgot, SECONDS | st.none())
    | st.just(m.Left())
    | st.builds(m.State, st.text(max_size=50) | st.none(), st.lists(NODES, max_size=8).map(tuple))
)


@given(FROM_SENDER)
def test_the_companion_reads_what_the_sender_writes(message: m.FromSender) -> None:
    data = m.encode(message)
    assert m.decode_from_sender(data) == message
    assert m.decode_from_companion(data) is None


@given(FROM_COMPANION)
def test_the_sender_reads_what_the_companion_writes(message: m.FromCompanion) -> None:
    data = m.encode(message)
    assert m.decode_from_companion(data) == message
    assert m.decode_from_sender(data) is None


@given(st.binary(max_size=200))
def test_anything_else_is_no_message(data: bytes) -> None:
    for decode in (m.decode_from_sender, m.decode_from_companion):
        found = decode(data)
        assert found is None or decode(m.encode(found)) == found


LONG = "x" * 254


@pytest.mark.parametrize(
    "message",
    [
        m.Ring(1, LONG * 2, (), ()),
        m.Ring(-1, "anna", (), ()),
        m.Ring(1, "", (), ()),
        m.Ring(1, "anna", ("abc",) * 17, ()),
        m.Ring(1, "anna", (), (m.Place(0, Transport.TCP),)),
        m.Ring(1, "anna", (), (m.Place(65536, Transport.TCP),)),
        m.Ring(1, "anna", (), (), ("::",) * 17),
        m.Login(1, "anna", "x" * 46),
        m.Login(1, "anna", "::", -1.0),
        m.Login(1, "anna", "::", float("nan")),
        m.Answered((1,) * 513),
        m.Call("anna", "x" * 300),
        m.Call("anna", "abc", 1e9),
        m.Call("anna", "abc", float("inf")),
        m.Sweep(("anna",) * 33),
        m.State("x" * 501),
        m.State(None, (m.NodeState("a", True, 0, 0, 0.0),) * 65),
        m.State(None, (m.NodeState("a", True, 0, 0, float("nan")),)),
    ],
    ids=str,
)
def test_each_bound(message: m.FromSender | m.FromCompanion) -> None:
    data = m.encode(message)
    assert m.decode_from_sender(data) is None
    assert m.decode_from_companion(data) is None


def test_the_longest_message_fits() -> None:
    name = "\U0001f4ec" * 254
    target = m.write_target(Target("x" * 253, 65535, Transport.UDP))
    places = (m.Place(65535, Transport.UDP),) * m.MOST_TARGETS
    longest: list[m.FromSender | m.FromCompanion] = [
        m.Login(2**53 - 1, name, "::", 604_800.0, True, (target,) * m.MOST_TARGETS, places),
        m.Answered((2**53 - 1,) * m.MOST_NUMBERS),
        m.State(
            "\U0001f4ec" * 500,
            (m.NodeState("x" * 64, True, 2**53 - 1, 2**53 - 1, 1e9),) * m.MOST_NODES,
        ),
    ]
    assert max(len(m.encode(each)) for each in longest) <= m.MAX_MESSAGE


HOSTS = st.integers(1, 2**32 - 1).map(lambda n: Address(Family.IPV4, n)) | st.sampled_from(
    ["laptop.example.net", "a", "_x"]
)
TARGETS = st.builds(Target, HOSTS, st.integers(1, 65535), st.sampled_from(Transport))


@given(TARGETS)
def test_the_text_of_a_target(target: Target) -> None:
    assert m.read_target(m.write_target(target)) == target


@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(
            ["address", "name", "192.0.2.7", "x", "79", "0", "65536", "+79", "tcp", "udp", "TCP"]
        ),
        max_size=5,
    ).map(" ".join)
)
def test_a_target_has_one_text(text: str) -> None:
    found = m.read_target(text)
    assert found is None or m.write_target(found) == text


@pytest.mark.parametrize(
    "text",
    ["", "address x 79 tcp", "address 192.0.2.7 x tcp", "address 192.0.2.7 79 sctp",
     "address 192.0.2.07 79 tcp", "name x 0 tcp", "name x 65536 tcp", "host x 79 tcp", "name x 79"],
)  # fmt: skip
def test_no_target(text: str) -> None:
    assert m.read_target(text) is None


@pytest.mark.parametrize("name", ["x", "x" * 254])
def test_the_shortest_and_the_longest_account(name: str) -> None:
    assert m.is_account(name)


def test_a_message_has_a_length() -> None:
    assert m.MAX_MESSAGE == 16_384


@pytest.mark.parametrize("name", ["", "x" * 255, "x" * 500])
def test_no_account(name: str) -> None:
    assert not m.is_account(name)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"x": name}, dict[str, m._Account])


@pytest.mark.parametrize("port", [1, 65535])
def test_a_target_may_have_the_first_and_the_last_port(port: int) -> None:
    target = Target("x", port, Transport.TCP)
    assert m.read_target(f"name x {port} tcp") == target
    assert m.write_target(target) == f"name x {port} tcp"


MESSAGES = [
    m.Place, m.NodeState, m.Ring, m.Login, m.Retire, m.CaughtUp, m.Leave, m.Swept, m.Answered,
    m.Lost, m.Call, m.Nobody, m.Welcome, m.Sweep, m.Forgot, m.Retired, m.Left, m.State,
]  # fmt: skip


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_cannot_be_changed_nor_have_more_than_its_fields(
    kind: type[msgspec.Struct],
) -> None:
    config = kind.__struct_config__
    assert (config.frozen, config.array_like, config.forbid_unknown_fields) == (True, True, True)
    is_part = kind in {m.Place, m.NodeState}
    assert config.tag == (None if is_part else kind.__name__)


def test_the_shortest_messages() -> None:
    assert m.Ring(1, "anna") == m.Ring(1, "anna", (), (), ())
    assert m.Login(1, "anna", "::") == m.Login(1, "anna", "::", 0.0, False, (), ())
    assert m.Swept() == m.Swept(0)
    assert m.Call("anna", "abc") == m.Call("anna", "abc", None)
    assert m.Sweep() == m.Sweep((), False, 0)
    assert m.Forgot() == m.Forgot(None)
    assert m.State(None) == m.State(None, (), False, False)


TARGET = "x" * (253 + 16)


@pytest.mark.parametrize(
    ("fits", "does_not"),
    [
        (m.Answered((0,)), m.Answered((-1,))),
        (m.Answered((2**53 - 1,)), m.Answered((2**53,))),
        (m.Answered((1,) * 512), m.Answered((1,) * 513)),
        (m.Lost((1,) * 512), m.Lost((1,) * 513)),
        (m.Welcome("abc"), m.Welcome("ab")),
        (m.Welcome(TARGET), m.Welcome(TARGET + "x")),
        (m.Nobody("a"), m.Nobody("")),
        (m.Nobody("a" * 254), m.Nobody("a" * 255)),
        (m.Call("a", "abc", 0.0), m.Call("a", "abc", -0.1)),
        (m.Call("a", "abc", 7.0 * 86_400), m.Call("a", "abc", 7.0 * 86_400 + 1)),
        (m.Login(1, "a", "::"), m.Login(1, "a", ":")),
        (m.Login(1, "a", "x" * 45), m.Login(1, "a", "x" * 46)),
        (m.Ring(1, "a", ("abc",) * 16), m.Ring(1, "a", ("abc",) * 17)),
        (m.Ring(1, "a", (), (), ("::",) * 16), m.Ring(1, "a", (), (), ("::",) * 17)),
        (m.Ring(1, "a", (), (m.Place(1, Transport.TCP),) * 16),
         m.Ring(1, "a", (), (m.Place(1, Transport.TCP),) * 17)),
        (m.Ring(1, "a", (), (m.Place(1, Transport.TCP),)),
         m.Ring(1, "a", (), (m.Place(0, Transport.TCP),))),
        (m.Ring(1, "a", (), (m.Place(65535, Transport.TCP),)),
         m.Ring(1, "a", (), (m.Place(65536, Transport.TCP),))),
        (m.Sweep(("a",) * 32), m.Sweep(("a",) * 33)),
        (m.State("x" * 500), m.State("x" * 501)),
        (m.State(None, (m.NodeState("a", True, 0, 0, 0.0),) * 64),
         m.State(None, (m.NodeState("a", True, 0, 0, 0.0),) * 65)),
        (m.State(None, (m.NodeState("a", True, 0, 0, 0.0),)),
         m.State(None, (m.NodeState("a", True, 0, 0, -0.1),))),
    ],
    ids=str,
)  # fmt: skip
def test_each_bound_to_its_last_value(fits: m.FromSender, does_not: m.FromSender) -> None:
    def read(message: m.FromSender) -> object:
        data = m.encode(message)
        return m.decode_from_sender(data) or m.decode_from_companion(data)

    assert read(fits) == fits
    assert read(does_not) is None
