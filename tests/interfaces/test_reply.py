"""Whatever a daemon says, a client keeps only what is short, printable and in range."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from harness.fake_daemon import STATUS, notification, told

from mailbell.core.notification import Cause, Cursor, Notification, Transport
from mailbell.interfaces.listener import (
    Account,
    GetStatusReply,
    Limited,
    NotifyReply,
    Sandbox,
    Status,
    SubscribeReply,
    Table,
)
from mailbell.interfaces.reply import MAX_EPOCH, STREAM_LIMIT, check_reply, is_cursor
from mailbell.varlink import ProtocolError, encode_reply

FULL = msgspec.structs.replace(
    STATUS,
    uptime=5,
    kernel_dropped=1,
    unfiltered="no CAP_NET_ADMIN",
    accounts=(Account(name="work", count=3, time=1, age=2),),
    tables=(Table(name="tcp/ipv4/24", entries=1, capacity=2, evicted=3),),
    limited=(Limited(table="tcp/ipv4/24", source="192.0.2.0/24", refused=1, wait=2),),
    sandbox=msgspec.structs.replace(STATUS.sandbox, groups=(1,)),
)
REPLIES = [GetStatusReply(FULL), told("e1", 3, notification()), NotifyReply(Cursor("e", 1))]


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value in a reply, with the names and indices that lead to it."""
    yield path, value
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from places(entry, (*path, name))
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            yield from places(entry, (*path, index))


def changed(tree: Any, path: tuple[Any, ...], value: object) -> Any:
    """A copy of a reply, with another value in one place."""
    if not path:
        return value
    copy = tree.copy() if isinstance(tree, dict) else list(tree)
    copy[path[0]] = changed(copy[path[0]], path[1:], value)
    return copy


def wrong(path: tuple[Any, ...], value: Any) -> Iterator[object]:
    """Values of the right type that no mailbelld sends."""
    match value:
        case bool():
            return
        case int():
            if path[-1] not in {"time", "started", "uptime", "age", "wait"}:
                yield -2
        case str():
            if path[-1] not in {"cause", "transport"}:
                yield from ("x" * 257, "x" * 1_000_000, "\x1b[2J", "a\nb", "\u202e", "\x00")
        case list():
            yield [value[0] if value else "x"] * 70_000
        case dict() if path and path[-1] in {"tcp", "udp", "local"}:
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
        check_reply(msgspec.convert(tree, kind))
    said = str(caught.value)
    assert len(said) < 100
    assert said.isprintable()


def test_the_cases_have_every_field() -> None:
    named = {part for _, path, _ in CASES for part in path.split(".")}
    free = {"cause", "transport", "time", "started", "uptime", "age", "wait", "no_new_privs"}
    for kind in (Status, Notification, Account, Table, Limited, Sandbox):
        fields: Any = (
            msgspec.structs.fields(kind)  # type: ignore[arg-type]  # mypy does not narrow it
            if issubclass(kind, msgspec.Struct)
            else dataclasses.fields(kind)
        )
        assert {field.name for field in fields} <= named | free


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
def test_what_mailbelld_sends_is_kept(reply: object) -> None:
    check_reply(reply)


def test_the_largest_status_is_kept() -> None:
    check_reply(
        GetStatusReply(
            msgspec.structs.replace(
                FULL,
                listening=("udp [2001:db8:1:2:3:4:5:6%eth0]:65535",) * 128,
                accounts=(Account(name="a" * 64, count=2**62, time=-5, age=None),) * 256,
                sandbox=msgspec.structs.replace(FULL.sandbox, groups=tuple(range(65_536))),
            )
        )
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account", "../x"),
        ("account", ""),
        ("source", "$(id)"),
        ("source", "a" * 46),
        ("source", ""),
    ],
)
def test_a_name_and_a_source_have_their_forms(field: str, value: str) -> None:
    tree = changed(msgspec.to_builtins(REPLIES[1]), ("notification", field), value)
    with pytest.raises(ProtocolError, match=f"notification.{field}"):
        check_reply(msgspec.convert(tree, SubscribeReply))


def test_a_source_may_have_an_interface() -> None:
    scoped = dataclasses.replace(notification(), source="fe80::1%eth0")
    check_reply(SubscribeReply(Cursor("e", 1), scoped))


@pytest.mark.parametrize(
    ("cursor", "good"),
    [
        (Cursor("0123456789abcdef", -1), True),
        (Cursor("e" * MAX_EPOCH, 2**63 - 1), True),
        (Cursor("e" * (MAX_EPOCH + 1), 1), False),
        (Cursor("e", -2), False),
        (Cursor("e", 2**63), False),
        (Cursor('"', 1), False),
        (Cursor("", 1), False),
    ],
)
def test_a_cursor_has_its_form(cursor: Cursor, good: bool) -> None:
    assert is_cursor(cursor) is good


def test_a_newer_daemon_may_say_more() -> None:
    tree = msgspec.to_builtins(GetStatusReply(FULL))
    tree["status"]["new"] = {str(number): "\x1b" for number in range(1000)}
    check_reply(msgspec.convert(tree, GetStatusReply))


def test_the_longest_notification_fits() -> None:
    longest = SubscribeReply(
        Cursor("e" * MAX_EPOCH, 2**63 - 1),
        Notification("a" * 64, Cause.NETWORK, 2**62, Transport.TCP, "0" * 45, 2**62),
    )
    assert len(encode_reply(longest, continues=True)) < STREAM_LIMIT == 16_384


@pytest.mark.parametrize(
    ("field", "most"), [("accounts", 8192), ("listening", 128), ("limited", 64)]
)
def test_each_list_has_its_most_entries(field: str, most: int) -> None:
    entry = getattr(FULL, field)[0]

    def status(entries: int) -> GetStatusReply:
        return GetStatusReply(msgspec.structs.replace(FULL, **{field: (entry,) * entries}))

    check_reply(status(most))
    with pytest.raises(ProtocolError) as caught:
        check_reply(status(most + 1))
    assert str(caught.value) == f"status.{field} with more than {most} entries"


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_a_number_is_finite(number: float) -> None:
    limited = Limited(table="tcp", source="192.0.2.0/24", refused=1, wait=number)  # type: ignore[arg-type]  # a wrong one
    with pytest.raises(ProtocolError) as caught:
        check_reply(GetStatusReply(msgspec.structs.replace(FULL, limited=(limited,))))
    assert str(caught.value) == "a number in status.limited.wait that is not finite"
