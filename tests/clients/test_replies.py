"""The replies to a subscription: the same however the bytes come, bounded, and only names."""

import itertools
import json
from typing import Any, Final

import pytest
from harness.v8 import Script, core_files, loaded
from hypothesis import example, given
from hypothesis import strategies as st

from mailbell.core.notification import Cause, Cursor, Notification, Transport
from mailbell.interfaces.listener import SubscribeReply
from mailbell.interfaces.reply import STREAM_LIMIT
from mailbell.varlink import ServiceError, encode_error, encode_reply

TAKE: Final = """(chunks, limit) => {
  const replies = limit === null ? new Replies() : new Replies(limit);
  const names = chunks.map(chunk => replies.take(chunk)).flat();
  return { names, fault: replies.fault, unfinished: replies.unfinished };
}"""

CURSOR: Final = Cursor("e1", 7)


def latin(data: bytes) -> str:
    """One character a byte, as Thunderbird's streams give bytes to JavaScript."""
    return data.decode("latin-1")


def real(account: str | None) -> str:
    """What mailbelld itself sends."""
    told: Notification | None = None
    if account is not None:
        told = Notification(account, Cause.NETWORK, 1, Transport.TCP, "127.0.0.1", 1)
    return latin(encode_reply(SubscribeReply(CURSOR, told), continues=True))


def reply(parameters: Any, **others: Any) -> str:
    return json.dumps({"parameters": parameters, "continues": True, **others}) + "\0"


GOOD: Final = real("work")
FIRST: Final = real(None)

NOTIFICATIONS: Final[list[Any]] = [
    True,
    0,
    "work",
    [],
    {},
    {"account": None},
    {"account": ""},
    {"account": "a b"},
    {"account": ["work"]},
    {"account": "\x1b]0;owned\x07"},
    {"account": "x" * 65},
    {"account": {"toString": "work"}},
]

WRONG: Final = {
    "not_json": ["", "{", "\xff", "{}x", "NaN", "'a'", "HTTP/1.1 400 Bad Request\r\n\r\n"],
    "no_reply": [
        "1", "null", "[]", '"a"', "{}", '{"parameters":null}', '{"parameters":[]}',
        '{"parameters":{}}', '{"parameters":{"cursor":[]}}', '{"__proto__":{"parameters":{}}}',
    ],
    "ended": [
        json.dumps({"parameters": {"cursor": {}}}),
        json.dumps({"parameters": {"cursor": {}}, "continues": "yes"}),
    ],
    "other_error": [
        json.dumps({"error": "org.varlink.service.MethodNotFound", "parameters": {}}),
        json.dumps({"error": None}), json.dumps({"error": {"a": 1}}), json.dumps({"error": ""}),
    ],
    "bad_name": [
        reply({"cursor": {}, "notification": told})[:-1]
        for told in NOTIFICATIONS
    ],
}  # fmt: skip
FAULTS: Final = [(code, text) for code, texts in WRONG.items() for text in texts]


def test_what_mailbelld_sends_is_understood() -> None:
    assert loaded()(TAKE, [FIRST + GOOD + real("a@b.example")], None) == {
        "names": [None, "work", "a@b.example"], "fault": None, "unfinished": False,
    }  # fmt: skip


@pytest.mark.parametrize(("code", "text"), FAULTS)
def test_a_wrong_reply_ends_the_reading(code: str, text: str) -> None:
    assert loaded()(TAKE, [FIRST + GOOD + text + "\0" + GOOD, GOOD], None) == {
        "names": [None, "work"], "fault": code, "unfinished": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("org.mailbell.Listener.TooManySubscribers", "too_many_subscribers"),
        ("org.mailbell.Listener.TooFast", "too_fast"),
        ("org.mailbell.Listener.UnknownAccount", "other_error"),
    ],
)
def test_an_error_of_mailbelld_has_its_code(name: str, code: str) -> None:
    text = latin(encode_error(ServiceError(name, {})))
    assert loaded()(TAKE, [text], None)["fault"] == code


def test_the_bound_is_that_of_the_other_clients() -> None:
    assert loaded()("() => new Replies().limit") == STREAM_LIMIT
    assert len(GOOD) < STREAM_LIMIT / 10


def padded(length: int) -> str:
    """A good reply of so many bytes, without its NUL."""
    return GOOD[:-1] + " " * (length - len(GOOD) + 1)


@pytest.mark.parametrize("split", [None, 1, 100])
def test_the_first_byte_above_the_bound_is_too_many(split: int | None) -> None:
    for length, fault in ((400, None), (401, "too_long")):
        data = padded(length) + "\0"
        chunks = [data] if split is None else [
            data[at : at + split] for at in range(0, len(data), split)
        ]  # fmt: skip
        found = loaded()(TAKE, chunks, 400)
        assert found["fault"] == fault
        assert found["names"] == ([] if fault else ["work"])


def test_a_reply_that_does_not_end_is_not_kept() -> None:
    assert loaded()(TAKE, ["x" * 100] * 4, 400) == {
        "names": [], "fault": None, "unfinished": True,
    }  # fmt: skip
    assert loaded()(TAKE, ["x" * 100] * 5, 400) == {
        "names": [], "fault": "too_long", "unfinished": False,
    }  # fmt: skip


PIECES: Final = st.sampled_from(
    [GOOD, FIRST, padded(300) + "\0", padded(301) + "\0", "{", "\0", "x" * 299, "\xc3\xa4",
     *(text + "\0" for _, text in FAULTS)]
)  # fmt: skip


def model(data: str, limit: int) -> dict[str, Any]:
    """Read all at once: each text up to a NUL is a reply, and the last may have begun."""
    *whole, rest = data.split("\0")
    names: list[str | None] = []
    for text in whole:
        if len(text) > limit:
            return {"names": names, "fault": "too_long", "unfinished": False}
        fault = next((code for code, wrong in FAULTS if wrong == text), None)
        if fault is None:
            try:
                told = json.loads(text)["parameters"]["notification"]
            except (ValueError, TypeError, KeyError):
                fault = "not_json"
        if fault is not None:
            return {"names": names, "fault": fault, "unfinished": False}
        names.append(told and told["account"])
    if len(rest) > limit:
        return {"names": names, "fault": "too_long", "unfinished": False}
    return {"names": names, "fault": None, "unfinished": rest != ""}


@given(st.lists(PIECES, max_size=6), st.lists(st.integers(0, 600), max_size=10))
@example([GOOD, GOOD], [0])
@example([padded(301) + "\0"], [150])
def test_any_division_of_the_bytes_gives_the_same(pieces: list[str], cuts: list[int]) -> None:
    data = "".join(pieces)
    points = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in itertools.pairwise(points)]
    found = loaded()(TAKE, chunks, 300)
    assert found == model(data, 300)
    assert found == loaded()(TAKE, list(data), 300)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_bytes_give_names_or_a_fault(chunks: list[bytes]) -> None:
    found = loaded()(TAKE, [latin(chunk) for chunk in chunks], None)
    assert found["names"] == [] or found["fault"] is None


def test_a_daemon_that_sends_a_hundred_megabytes_fills_no_memory() -> None:
    script = Script(*core_files())
    before = script.used()
    script("""() => {
      globalThis.replies = new Replies();
      const chunk = "x".repeat(16 * 1024);
      for (let sent = 0; sent < 100e6; sent += chunk.length) { replies.take(chunk); }
    }""")
    assert script("() => replies.fault") == "too_long"
    assert script.used() - before < 1_000_000


def test_many_short_replies_leave_nothing_behind() -> None:
    script = Script(*core_files())
    script("() => { globalThis.replies = new Replies(); }")
    before = script.used()
    script("good => { for (let n = 0; n < 20000; n++) { replies.take(good); } }", GOOD)
    assert script("() => replies.fault") is None
    assert script.used() - before < 1_000_000


def test_deep_nesting_is_a_wrong_reply_and_no_more() -> None:
    for text in ("[" * 16_000, "[" * 8000 + "]" * 8000, '{"a":' * 2000 + "1" + "}" * 2000):
        assert loaded()(TAKE, [text + "\0"], None)["fault"] in ("not_json", "no_reply")
