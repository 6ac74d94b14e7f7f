"""Whatever a sender says, a client keeps only what is short, printable and in range."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from harness.control import STEPS
from harness.fake_sender import CLUSTER, STATUS, result
from interfaces.test_reply import changed, places

from mailbell.cluster.report import is_name
from mailbell.interfaces.sender import (
    ExplainReply,
    GetStatusReply,
    Origin,
    RingReply,
    SeenReply,
    Step,
    Verdict,
    WatchReply,
)
from mailbell.interfaces.sender_reply import WATCH_LIMIT, check_sender_reply
from mailbell.interfaces.sender_status import Account, ClusterNode, Store
from mailbell.sender.configuration import parse
from mailbell.varlink import REPLY_LIMIT, ProtocolError, encode_reply

FULL = msgspec.structs.replace(
    STATUS,
    names={"found": 1},
    companions={"resolver": 7},
    cluster=msgspec.structs.replace(CLUSTER, failing="it is away"),
    store=msgspec.structs.replace(STATUS.store, failing="no space left", set_aside="corrupt"),
    sandbox=msgspec.structs.replace(STATUS.sandbox, groups=(1,)),
)
REPLIES = [
    GetStatusReply(FULL),
    WatchReply(result(), 1),
    ExplainReply(
        "anna",
        (
            *STEPS,
            Step(
                origin=Origin.LAST_USED,
                target="[2001:db8::7]:79/udp",
                verdict=Verdict.NOT_ALLOWED,
                reason="a multicast address",
                wait=1,
                seen=2,
            ),
        ),
    ),
]
ENUMERATED = {"last", "outcome", "verdict", "origin"}


def wrong(path: tuple[Any, ...], value: Any) -> Iterator[object]:
    match value:
        case bool():
            return
        case float():
            yield from (-2, float("inf"), float("nan"))
        case int() if path[-1] not in {"started", "uptime", "age", "wait"}:
            yield -2
        case str() if path[-1] not in ENUMERATED:
            yield from ("x" * 5000, "x" * 1_000_000, "\x1b[2J", "a\nb", "\u202e", "\x00")
        case list():
            yield [value[0] if value else "x"] * 70_000
        case dict() if path and path[-1] in {"inputs", "rings", "names", "companions", "local"}:
            yield {str(number): 1 for number in range(65)}
            yield {"x" * 1_000_000: 1}
            yield {"\x1b": 1}
            yield {"x": -1}


CASES = [
    (type(reply), ".".join(map(str, path)), changed(tree, path, bad))
    for reply in REPLIES
    for tree in [msgspec.to_builtins(reply)]
    for path, value in places(tree)
    for bad in wrong(path, value)
]


@pytest.mark.parametrize(("kind", "path", "tree"), CASES, ids=[case[1] for case in CASES])
def test_every_field_is_bounded(kind: type, path: str, tree: object) -> None:
    """The fields are found in the replies themselves, so a new one is tried too."""
    with pytest.raises(ProtocolError) as caught:
        check_sender_reply(msgspec.convert(tree, kind))
    said = str(caught.value)
    assert len(said) < 100
    assert said.isprintable()


@pytest.mark.parametrize(
    "reply", [*REPLIES, RingReply(), SeenReply(), WatchReply()], ids=lambda one: type(one).__name__
)
def test_what_the_sender_sends_is_kept(reply: object) -> None:
    check_sender_reply(reply)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("ring", "account"), ""),
        (("ring", "account"), "a b"),
        (("ring", "target"), ""),
        (("ring", "target"), "$(id)"),
        (("ring", "target"), "192.0.2.7:79/sctp"),
    ],
)
def test_an_account_and_a_target_have_their_forms(path: tuple[str, ...], value: str) -> None:
    tree = changed(msgspec.to_builtins(REPLIES[1]), path, value)
    with pytest.raises(ProtocolError, match="ring"):
        check_sender_reply(msgspec.convert(tree, WatchReply))


def test_the_longest_ring_fits_and_is_kept() -> None:
    longest = WatchReply(
        result(account="\U00010000" * 254, target="a" * 253 + ":65535/udp", milliseconds=1e9 / 3),
        2**62,
    )
    check_sender_reply(longest)
    assert len(encode_reply(longest, continues=True)) < WATCH_LIMIT


def test_a_store_may_have_the_longest_path() -> None:
    """A line of the configuration has up to 1,024 bytes. A message has the path and more words."""
    url = parse(b'[store]\nurl = "sqlite:///' + b"x" * 1000 + b'"\n').store.url
    store = Store(
        url=str(url), failing=f"{url.path}: disk full", set_aside=f"{url.path}.corrupt-1", pending=1
    )
    reply = GetStatusReply(msgspec.structs.replace(STATUS, store=store))
    check_sender_reply(reply)
    assert len(encode_reply(reply)) < REPLY_LIMIT


def test_the_largest_status_fits_and_is_kept() -> None:
    largest = GetStatusReply(
        msgspec.structs.replace(
            FULL,
            listening=(f"cyrus {'/x' * 50}",) * 18,
            accounts=(msgspec.structs.replace(FULL.accounts[0], name="\U00010000" * 254),) * 32,
            targets=(msgspec.structs.replace(FULL.targets[1], target="a" * 253 + ":65535/udp"),)
            * 32,
        )
    )
    assert isinstance(largest.status.accounts[0], Account)
    check_sender_reply(largest)
    assert len(encode_reply(largest)) < REPLY_LIMIT


@pytest.mark.parametrize("name", ["mx1.example.org", "a b", "", "$(id)", "x" * 300])
def test_a_node_of_a_cluster_has_the_form_of_a_name(name: str) -> None:
    node = ClusterNode(name=name, lives=True, taken=0, waiting=0, lag=0)
    cluster = msgspec.structs.replace(CLUSTER, nodes=(node,))
    reply = GetStatusReply(msgspec.structs.replace(STATUS, cluster=cluster))
    if is_name(name):
        check_sender_reply(reply)
    else:
        with pytest.raises(ProtocolError, match=r"^a status\.cluster\.nodes\.name of a form"):
            check_sender_reply(reply)


@pytest.mark.parametrize("target", ["", "$(id)", "192.0.2.7:79/sctp", "x" * 271])
def test_the_target_of_a_step_has_its_form(target: str) -> None:
    step = msgspec.structs.replace(STEPS[0], target=target)
    with pytest.raises(ProtocolError, match=r"^a steps\.target of a form"):
        check_sender_reply(ExplainReply("anna", (step,)))


def test_a_message_of_a_store_has_at_most_4352_characters() -> None:
    def told(text: str) -> GetStatusReply:
        store = msgspec.structs.replace(STATUS.store, failing=text)
        return GetStatusReply(msgspec.structs.replace(STATUS, store=store))

    check_sender_reply(told("x" * 4352))
    with pytest.raises(ProtocolError, match=r"in status\.store\.failing|a status\.store\.failing"):
        check_sender_reply(told("x" * 4353))
