"""The connection: which place, how long to wait for an answer, and what a failure means."""

import itertools
import json
import re
from typing import Any, Final

import pytest
from harness.v8 import ADDON, Script, loaded
from hypothesis import given
from hypothesis import strategies as st

from mailbell.interfaces.listener import LISTENER_SERVICE
from mailbell.varlink import encode_reply, parse_call_untrusted

FIRST: Final = json.dumps({"parameters": {"cursor": {}}, "continues": True}) + "\0"
RING: Final = FIRST.replace('"cursor"', '"notification": {"account": "work"}, "cursor"')
PATIENCE: Final = 10_000
CHECK: Final = 300_000

INFO: Final = '{"parameters":{"interfaces":["a.b","org.mailbell.Listener"]}}\0'

# `infos` says what each place answers to the question of the second connection: bytes, a reason
# why that connection ends, or null (nothing).
RUN: Final = """(places, operations, infos) => {
  const link = new Link(places, 0);
  let now = 0;
  const seen = [];
  const show = what => seen.push([now, what, link.state, link.reason, link.shown, link.lasted]);
  const step = () => {
    const what = link.step(now, 0);
    if (what) { show(what == "connect" ? `connect ${link.path}` : what); }
    if (what != "check") { return; }
    const info = infos[link.checkPath];
    seen.at(-1)[1] += ` ${link.checkPath}`;
    if (info !== null) {
      const ended = info.endsWith("\\0") || info.length > 100
        ? link.checkReceived(now, info.slice(0, 5), 0) ??
          link.checkReceived(now, info.slice(5), 0)
        : link.checkEnded(now, info, 0);
      if (ended) { show(ended); }
    }
  };
  step();
  for (const [name, value] of operations) {
    if (name == "wait") {
      const end = now + value;
      while (link.due !== null && link.due <= end) {
        now = Math.max(now, link.due);
        step();
      }
      now = end;
    } else if (name == "infos") {
      infos = value;
    } else if (name == "move") {
      link.move(value, now);
    } else if (name == "hurry") {
      link.hurry(now);
    } else if (link.open) {
      if (name == "bytes") {
        const { connected, names, hangUp } = link.received(now, value, 0);
        if (connected) { show("connected"); }
        for (const each of names) { show(`rung ${each}`); }
        if (hangUp) { show("hang up"); }
      } else {
        link.ended(now, 0, value);
        show("ended");
      }
    }
    step();
  }
  return { seen, due: link.due, open: link.open, state: link.state };
}"""


def run(
    *operations: tuple[str, Any],
    places: tuple[str, ...] = ("/a",),
    infos: dict[str, str | None] | None = None,
) -> dict[str, Any]:
    infos = infos or dict.fromkeys(("/a", "/b", "/z"), INFO)
    found: dict[str, Any] = loaded()(RUN, places, operations, infos)
    return found


def events(found: dict[str, Any]) -> list[tuple[int, str]]:
    return [(entry[0], entry[1]) for entry in found["seen"]]


def important(found: dict[str, Any]) -> list[tuple[int, str]]:
    """Without the second connections."""
    return [(at, what) for at, what in events(found) if not what.startswith(("check", "drop"))]


def test_it_connects_at_once_and_then_listens_for_ever() -> None:
    found = run(("wait", 5), ("bytes", FIRST), ("wait", 10**8), ("bytes", RING))
    assert important(found) == [(0, "connect /a"), (5, "connected"), (10**8 + 5, "rung work")]
    assert found["due"] == 10**8 + 5 + CHECK


def test_a_daemon_that_never_answers_is_hung_up_on() -> None:
    """The prototype waited for ever."""
    found = run(("wait", PATIENCE - 1))
    assert events(found) == [(0, "connect /a")]
    found = run(("wait", PATIENCE))
    assert events(found)[-1] == (PATIENCE, "hang_up")
    assert found["seen"][-1][2:4] == ["not_mailbelld", "no_answer"]


def test_a_first_answer_that_comes_byte_by_byte_must_be_whole_in_time() -> None:
    steps = [step for byte in FIRST for step in (("bytes", byte), ("wait", 300))]
    assert events(run(*steps))[1] == (PATIENCE, "hang_up")
    quick = [step for byte in FIRST for step in (("bytes", byte), ("wait", 100))]
    assert events(run(*quick))[1] == (100 * (len(FIRST) - 1), "connected")


def test_a_reply_that_never_ends_is_hung_up_on() -> None:
    begun = [("wait", 5), ("bytes", FIRST), ("wait", 60_000), ("bytes", "{")]
    drops = [step for _ in range(9) for step in (("wait", 1000), ("bytes", " "))]
    found = run(*begun, *drops, ("wait", 1000))
    assert events(found)[-1] == (70_005, "hang_up")
    assert found["seen"][-1][2:4] == ["not_mailbelld", "unfinished"]
    # Each reply has the time anew.
    halves = [("bytes", RING[:9]), ("wait", 6000), ("bytes", RING[9:] + RING[:9])]
    found = run(*begun[:2], *halves, ("wait", 6000), ("bytes", RING[9:]), ("wait", 10**6))
    assert [what for _, what in important(found)[2:]] == ["rung work"] * 2
    assert found["open"]


STATES: Final = {
    "forbidden": "forbidden", "missing": "missing", "refused": "deaf", "closed": "deaf",
    "failed": "deaf",
}  # fmt: skip


@pytest.mark.parametrize(("reason", "state"), STATES.items())
def test_each_failure_has_its_state(reason: str, state: str) -> None:
    found = run(("ended", reason))
    assert found["seen"][-1][2:4] == [state, reason]


@pytest.mark.parametrize(
    ("bytes_", "state", "reason"),
    [
        ("x" * 20_000, "not_mailbelld", "too_long"),
        ("HTTP/1.1 400\0", "not_mailbelld", "not_json"),
        ("{}\0", "not_mailbelld", "no_reply"),
        (FIRST.replace("true", "false"), "not_mailbelld", "ended"),
        (RING.replace("work", "a b"), "not_mailbelld", "bad_name"),
        ('{"error":"a.B"}\0', "not_mailbelld", "other_error"),
        ('{"error":"org.mailbell.Listener.TooFast"}\0', "deaf", "too_fast"),
        ('{"error":"org.mailbell.Listener.TooManySubscribers"}\0', "deaf", "too_many_subscribers"),
    ],
)
def test_each_wrong_answer_has_its_state(bytes_: str, state: str, reason: str) -> None:
    for before in ([], [("bytes", FIRST)]):
        found = run(*before, ("bytes", bytes_))
        assert found["seen"][-1][1:4] == ["hang up", state, reason]
        assert not found["open"]


@pytest.mark.parametrize("path", ["run/s", "./s", "~/s", "\0", "/a\0b", "/" + "x" * 107, "s"])
def test_a_path_that_cannot_be_is_said_and_not_tried(path: str) -> None:
    """The prototype threw out of Thunderbird's start."""
    found = run(("wait", 60_000), places=(path,))
    assert found["seen"] == []
    assert found["state"] == "bad_path"
    assert found["due"] is not None


def test_a_failure_stays_until_the_next_connection() -> None:
    found = run(("ended", "missing"), ("wait", 75), ("bytes", FIRST), ("ended", "closed"))
    assert [entry[1:4] for entry in found["seen"]] == [
        ["connect /a", "connecting", None],
        ["ended", "missing", "missing"],
        ["connect /a", "missing", "missing"],
        ["connected", "connected", None],
        ["ended", "deaf", "closed"],
    ]


PLACES: Final = ("/a", "/b")


def test_all_places_are_tried_one_after_the_other() -> None:
    found = run(("ended", "missing"), ("bytes", FIRST), places=PLACES)
    assert events(found)[-2:] == [(0, "connect /b"), (0, "connected")]
    assert found["seen"][-1][4] == "/b"
    again = run(("ended", "missing"), ("bytes", FIRST), ("ended", "closed"), ("wait", 75),
                places=PLACES)  # fmt: skip
    assert events(again)[-1] == (75, "connect /a")


@pytest.mark.parametrize(
    ("one", "two", "reason", "shown"),
    [
        ("forbidden", "missing", "forbidden", "/a"),
        ("missing", "forbidden", "forbidden", "/b"),
        ("missing", "missing", "missing", "/a"),
        ("missing", "refused", "refused", "/b"),
        ("forbidden", "refused", "forbidden", "/a"),
    ],
)
def test_of_two_failures_the_one_that_tells_more_is_shown(
    one: str, two: str, reason: str, shown: str
) -> None:
    found = run(("ended", one), ("ended", two), places=PLACES)
    assert found["seen"][-1][3:5] == [reason, shown]
    # The next round begins anew.
    found = run(("ended", one), ("ended", two), ("wait", 75), ("ended", "missing"),
                ("ended", "missing"), places=PLACES)  # fmt: skip
    assert found["seen"][-1][3:5] == ["missing", "/a"]


def test_a_daemon_that_hangs_up_at_once_is_called_less_and_less_often() -> None:
    """The prototype called it ten times a second for ever."""
    steps = [("bytes", FIRST), ("ended", "closed"), ("wait", 10_000)] * 10
    found = run(*steps)
    # Without an answer meanwhile, the third step of each waits for more than one attempt.
    assert [time for time, what in events(found) if what == "connected"] == [
        10_000 * n for n in range(10)
    ]
    endless = """() => {
      const link = new Link(["/a"], 0);
      const calls = [];
      for (let now = 0; now < 600000; now = Math.max(now + 1, link.due)) {
        if (link.step(now, 0) == "connect") {
          calls.push(now);
          link.received(now, FIRST, 0);
          link.ended(now, 0, "closed");
        }
      }
      return calls;
    }"""
    calls = loaded()(endless.replace("FIRST", json.dumps(FIRST)))
    assert len(calls) < 90
    assert min(b - a for a, b in itertools.pairwise(calls[8:])) >= 7500


def test_a_connection_that_lasted_begins_the_waits_anew() -> None:
    short = [("bytes", FIRST), ("ended", "closed"), ("wait", 5000)]
    lasted = [("bytes", FIRST), ("wait", PATIENCE), ("ended", "closed")]
    found = run(*short, *lasted, ("wait", 75))
    assert events(found)[-1][1] == "connect /a"
    assert [entry[5] for entry in found["seen"] if entry[1] == "ended"] == [False, True]


def test_a_failure_to_connect_says_nothing_of_the_connection_before() -> None:
    lasted = [("bytes", FIRST), ("wait", PATIENCE), ("ended", "closed")]
    found = run(*lasted, ("wait", 75), ("ended", "missing"))
    assert found["seen"][-1][5] is True


def test_hurry_and_another_place_connect_at_once() -> None:
    failing = [("ended", "missing"), ("wait", 75)] * 6
    assert events(run(*failing, ("hurry", None)))[-1][1] == "connect /a"
    found = run(*failing, ("move", ["/z"]))
    assert events(found)[-1][1] == "connect /z"
    assert len(events(run(("hurry", None)))) == 1  # a connection that is open stays


# Whether mailbelld still answers.

CONNECTED: Final = (("bytes", FIRST),)


def test_a_daemon_that_hangs_is_noticed() -> None:
    """Its silence is that of a daemon without mail: it was "connected" for ever."""
    found = run(*CONNECTED, ("wait", CHECK + PATIENCE), infos={"/a": None})
    assert events(found)[2:] == [(CHECK, "check /a"), (CHECK + PATIENCE, "hang_up")]
    assert found["seen"][-1][2:] == ["not_mailbelld", "no_answer", "/a", True]
    again = run(*CONNECTED, ("wait", CHECK + PATIENCE + 75), infos={"/a": None})
    assert events(again)[-1][1] == "connect /a"


def test_a_daemon_that_answers_is_asked_after_each_silence() -> None:
    found = run(*CONNECTED, ("wait", CHECK - 1), ("bytes", RING), ("wait", CHECK - 1))
    assert "check /a" not in [what for _, what in events(found)]
    found = run(*CONNECTED, ("wait", 2 * CHECK))
    asked = [(CHECK, "check /a"), (CHECK, "drop"), (2 * CHECK, "check /a"), (2 * CHECK, "drop")]
    assert events(found)[2:] == asked
    assert found["state"] == "connected"


@pytest.mark.parametrize("end", ["too_fast", "too_many_subscribers", "forbidden", "failed"])
def test_an_end_that_says_nothing_against_the_connection_does_not_end_it(end: str) -> None:
    found = run(*CONNECTED, ("wait", 3 * CHECK), infos={"/a": end})
    assert [what for _, what in events(found)[2:]] == ["check /a"] * 3
    assert found["state"] == "connected"
    error = '{"error":"org.mailbell.Listener.TooFast"}\0'
    found = run(*CONNECTED, ("wait", CHECK), infos={"/a": error})
    assert found["state"] == "connected"


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ("closed", "closed"), ("refused", "refused"), ("missing", "missing"),
        ("garbage\0", "not_json"), ("x" * 20_000, "too_long"), ("[1,2,3]\0", "no_reply"),
        ('{"parameters":{}}\0', "no_reply"), ('{"parameters":null}\0', "no_reply"),
        ('{"parameters":{"interfaces":"org.mailbell.Listener"}}\0', "no_reply"),
        (INFO.replace("Listener", "Sender"), "no_reply"), ('{"error":"a.B"}\0', "other_error"),
    ],
)  # fmt: skip
def test_a_place_that_is_not_mailbelld_any_more_is_lost(info: str, reason: str) -> None:
    found = run(*CONNECTED, ("wait", CHECK), infos={"/a": info})
    assert found["seen"][-1][:4] == [CHECK, "hang_up", found["state"], reason]
    assert found["state"] != "connected"


def test_the_real_reply_to_the_question_is_an_answer() -> None:
    text = (ADDON / "thunderbird" / "socket.js").read_text()
    (call,) = re.findall(r'\["info", \'(.*)\\0\'\]', text)
    request = LISTENER_SERVICE.decode_untrusted(parse_call_untrusted(call.encode()))
    answer = LISTENER_SERVICE.answer(request)
    assert answer is not None
    reply = encode_reply(answer).decode()
    found = run(*CONNECTED, ("wait", CHECK), infos={"/a": reply})
    assert found["state"] == "connected"


BOTH: Final = (("ended", "refused"), ("bytes", FIRST))
LOOK: Final = 60_000


def test_an_earlier_place_is_used_again_when_it_answers_again() -> None:
    """While one daemon started anew, the other was connected to, and then for ever."""
    found = run(
        *BOTH, ("wait", 2 * LOOK), ("infos", {"/a": INFO, "/b": INFO}), ("wait", LOOK),
        places=PLACES, infos={"/a": "refused", "/b": INFO},
    )  # fmt: skip
    assert events(found)[4:] == [
        (LOOK, "check /a"), (2 * LOOK, "check /a"), (3 * LOOK, "check /a"), (3 * LOOK, "hang_up"),
        (3 * LOOK, "connect /a"),
    ]  # fmt: skip
    assert found["seen"][-1][2:] == ["connecting", None, "/b", True]
    # Everything is fetched at once, also if the connection before that to `/b` was short.
    short = [("bytes", FIRST), ("ended", "closed"), ("wait", 75)]
    after = run(*short, *BOTH, ("wait", LOOK), places=PLACES)
    assert [entry[5] for entry in after["seen"] if entry[1] == "connected"] == [True, False]
    assert after["seen"][-1][5] is True


@pytest.mark.parametrize("info", ["missing", "forbidden", "garbage\0", None])
def test_an_earlier_place_that_does_not_answer_changes_nothing(info: str | None) -> None:
    found = run(*BOTH, ("wait", 10 * CHECK), places=PLACES, infos={"/a": info, "/b": INFO})
    assert found["state"] == "connected"
    asked = [at for at, what in events(found) if what == "check /b"]
    assert len(asked) == 9 if info is None else len(asked) == 10
    hung = run(*BOTH, ("wait", CHECK + 2 * PATIENCE), places=PLACES, infos={"/a": info, "/b": None})
    assert hung["seen"][-1][3] == "no_answer"


def test_the_first_place_looks_at_no_other() -> None:
    found = run(*CONNECTED, ("wait", 10 * CHECK), places=PLACES)
    assert not any("/b" in what for _, what in events(found))


def test_after_sleep_the_connection_is_checked_at_once() -> None:
    found = run(*CONNECTED, ("wait", 5), ("hurry", None), ("wait", PATIENCE), infos={"/a": None})
    assert events(found)[2:] == [(5, "check /a"), (PATIENCE + 5, "hang_up")]


def test_the_page_has_a_sentence_for_each_reason_and_the_schema_each_state() -> None:
    page = Script(ADDON / "settings" / "words.js")
    sentence = "reason => reasonWords(reason)?.key"
    reasons = loaded()("() => [...STATES.keys()]")
    assert [reason for reason in reasons if page(sentence, reason) == "reasonUnknown"] == []
    assert page(sentence, "some new reason") == "reasonUnknown"
    (schema,) = json.loads((ADDON / "schema.json").read_text())
    (described,) = [one["description"] for one in schema["functions"] if one["name"] == "getStatus"]
    (listed,) = re.findall(r" state: ([a-z_, ]+) or (\w+)\.", described)
    states = {*listed[0].split(", "), listed[1]}
    assert states == {"connecting", "connected", *loaded()("() => [...STATES.values()]")}


OPERATIONS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([0, 50, 100, 3000, 10_000, 40_000])),
        st.tuples(st.just("bytes"), st.sampled_from([FIRST, RING, RING[:9], RING[9:], "{}\0", ""])),
        st.tuples(st.just("ended"), st.sampled_from(["closed", "missing", "forbidden"])),
        st.tuples(st.just("hurry"), st.none()),
        st.tuples(st.just("move"), st.sampled_from([["/a"], ["/a", "/b"], ["c"]])),
    ),
    max_size=20,
)


@given(OPERATIONS)
def test_it_never_rests_unless_it_is_connected(operations: list[tuple[str, Any]]) -> None:
    found = run(*operations)
    assert found["due"] is not None
    connected = [entry for entry in found["seen"] if entry[2] == "connected"]
    assert all(entry[3] is None for entry in connected)
    # Nothing rings before the first answer of its connection.
    since_connect: list[str] = []
    for entry in found["seen"]:
        if entry[1].startswith("connect "):
            since_connect = []
        elif entry[1].startswith("rung"):
            assert "connected" in since_connect
        since_connect.append(entry[1])
