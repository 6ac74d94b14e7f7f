"""The add-on without Thunderbird, in whole scenes: what is rung, what is fetched, what is seen.

The first tests are the attacks that the add-on's prototype did not withstand.
"""

import itertools
import json
from typing import Any, Final

import pytest
from harness.v8 import ADDON, loaded
from hypothesis import given
from hypothesis import strategies as st

FIRST: Final = json.dumps({"parameters": {"cursor": {}}, "continues": True}) + "\0"
WORK: Final = {"key": "server1", "name": "work", "type": "imap"}
CLUB: Final = {"key": "server2", "name": "club", "type": "pop3"}
ACCOUNTS: Final = [WORK, CLUB]
HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
WALL: Final = 10**12  # what the clock on the wall shows at first


def ring(name: str, **others: Any) -> str:
    told = {"account": name, "cause": "network", **others}
    return (
        json.dumps({"parameters": {"cursor": {}, "notification": told}, "continues": True}) + "\0"
    )


def play(*operations: tuple[Any, ...], **options: Any) -> dict[str, Any]:
    options = {"accounts": ACCOUNTS, "answer": {"bytes": FIRST}, **options}
    found: dict[str, Any] = loaded()("play", options, operations)
    return found


def fetches(found: dict[str, Any]) -> list[tuple[int, str]]:
    return [(time, key) for time, what, key in found["seen"] if what == "fetch"]


def count(found: dict[str, Any], what: str) -> int:
    return sum(1 for entry in found["seen"] if entry[1] == what)


def lines(found: dict[str, Any]) -> list[str]:
    return [line for _, what, line in found["seen"] if what == "log"]


# After this the first catch-up is done, and the gap after it has passed.
READY: Final[tuple[tuple[Any, ...], ...]] = (
    ("advance", 1000), ("fetched", "server1", "ok"), ("fetched", "server2", "ok"),
    ("advance", 59_000),
)  # fmt: skip
NOW: Final = 60_000


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    """The prototype fetched nothing for as long as the clock was set back."""
    found = play(*READY, ("clock", -DAY), ("bytes", ring("work")), ("advance", 1000))
    assert fetches(found)[2:] == [(NOW + 1000, "server1")]
    assert found["status"]["lastRing"] == WALL - DAY + NOW


@pytest.mark.parametrize("jump", [-DAY, DAY, -(10**12)])
def test_no_setting_of_the_clock_changes_what_is_done(jump: int) -> None:
    scene: list[tuple[Any, ...]] = [
        *READY, ("bytes", ring("work")), ("advance", 500), ("ended", "closed"), ("advance", 30_000),
        ("fetched", "server1", "failed"), ("advance", HOUR),
    ]  # fmt: skip
    for at in range(len(scene)):
        jumped = play(*scene[:at], ("clock", jump), *scene[at:])
        assert jumped["seen"] == play(*scene)["seen"]


def test_a_daemon_that_answers_and_dies_is_called_rarely_and_fetched_for_more_rarely() -> None:
    """The prototype called it ten times a second for ever, and fetched everything each time."""
    done = [step for _ in range(360) for step in (
        ("advance", 10_000), ("fetched", "server1", "ok"), ("fetched", "server2", "ok"),
    )]  # fmt: skip
    found = play(*done, answer={"bytes": FIRST, "ended": "closed"})
    assert count(found, "connect") <= HOUR / 7500
    for key in ("server1", "server2"):
        times = [time for time, fetched in fetches(found) if fetched == key]
        assert len(times) <= 13
        assert all(b - a >= 20_000 for a, b in itertools.pairwise(times))
    # It stays at last: everything is fetched once more, because something may have been missed.
    stays = play(*done, ("answer", {"bytes": FIRST}), ("advance", 610_000), answer={
        "bytes": FIRST, "ended": "closed",
    })  # fmt: skip
    assert {key for time, key in fetches(stays) if time > HOUR} == {"server1", "server2"}


def test_the_log_has_no_escape_of_a_daemon_or_an_account() -> None:
    """The prototype wrote what a notification held."""
    bad = "\x1b]0;owned\x07\nmailbell: forged"
    broken = {"key": "broken", "name": bad, "type": "imap"}
    found = play(
        *READY, ("bytes", ring("work", cause=bad)), ("advance", 1000), ("bytes", ring(bad)),
        ("advance", 1000), ("configure", {"socket": f"/{bad}"}, [f"/{bad}"]), ("advance", 1000),
        accounts=[*ACCOUNTS, broken],
    )  # fmt: skip
    assert len(lines(found)) > 8
    assert all(" " <= letter <= "~" for line in lines(found) for letter in line)
    # Only the path of the socket holds it, which a person chose.
    assert not any("owned" in line and "/\\x1b" not in line for line in lines(found))


def test_a_flood_of_names_is_not_kept() -> None:
    """The prototype kept each name until the next fetch."""
    size = """(operations, ring) => {
      const world = new TestWorld({ accounts: [{ key: "server1", name: "work", type: "imap" }] });
      world.play(operations);
      for (let n = 0; n < 50000; n++) { world.bytes(ring.replace("NAME", `a${n}x`)); }
      const text = JSON.stringify(world.driver, (key, value) =>
        key == "_world" ? undefined : value instanceof Map ? [...value] : value);
      return [text.length, world.driver.status().rings, world.timers.length];
    }"""
    length, rings, timers = loaded()(size, [("advance", 1), ("bytes", FIRST)], ring("NAME"))
    assert length < 3000
    assert rings == 50_000
    assert timers <= 2


@pytest.mark.parametrize("path", ["run/s", "", "~", "/" + "x" * 200, "/throw"])
def test_a_path_that_cannot_be_ends_nothing(path: str) -> None:
    """The prototype threw out of Thunderbird's start."""
    found = play(("advance", HOUR), places=[path])
    state = "deaf" if path == "/throw" else "bad_path" if path else "missing"
    if path:
        assert found["status"]["state"] == state
    good = play(("advance", HOUR), ("configure", {}, ["/good"]), ("advance", 1), places=[path])
    assert good["status"]["state"] == "connected"
    assert good["status"]["socket"] == "/good"


def test_a_ring_while_offline_is_fetched_when_thunderbird_is_online() -> None:
    """The prototype forgot it."""
    offline = [*READY, ("offline", True), ("bytes", ring("work")), ("advance", DAY)]
    found = play(*offline)
    assert len(fetches(found)) == 2
    assert found["status"]["offline"] is True
    assert {account["state"] for account in found["status"]["accounts"]} == {"offline"}
    online = play(*offline, ("offline", False), ("advance", 1000))
    assert {key for time, key in fetches(online)[2:]} == {"server1", "server2"}
    assert online["status"]["offline"] is False


def test_a_daemon_that_never_answers_is_not_waited_for() -> None:
    """The prototype waited for ever."""
    found = play(("advance", 10_000), answer=None)
    assert [entry[:2] for entry in found["seen"] if entry[1] == "close"] == [[10_000, "close"]]
    assert found["status"]["state"] == "not_mailbelld"
    assert found["status"]["reason"] == "no_answer"
    assert count(play(("advance", HOUR), answer=None), "connect") <= HOUR / 17_500 + 10


# What a person is to see.


def test_what_status_returns() -> None:
    found = play(*READY, ("bytes", ring("work")), settings={"names": {"server2": ["club", "x"]}})
    assert found["status"] == {
        "state": "connected", "reason": None, "since": WALL, "socket": "/s",
        "lastRing": WALL + NOW, "lastRingName": "work", "rings": 1, "offline": False,
        "accounts": [
            {**WORK, "state": "waiting", "lastFetch": WALL + 1000, "names": None},
            {**CLUB, "state": "idle", "lastFetch": WALL + 1000, "names": ["club", "x"]},
        ],
    }  # fmt: skip


def test_the_schema_names_what_status_returns() -> None:
    (schema,) = json.loads((ADDON / "schema.json").read_text())
    described = {entry["name"]: entry["description"] for entry in schema["functions"]}
    status = play(*READY)["status"]
    account = status["accounts"][0]
    outer = ", ".join([*list(status)[:-1], f"accounts: [{{{', '.join(account)}}}]"])
    assert f"{{{outer}}}" in described["getStatus"]
    assert set(described) == {"getStatus", "getSettings", "setSettings", "fetchNow"}


def test_since_is_when_the_connection_was_made_or_lost() -> None:
    def since(*operations: tuple[Any, ...], **options: Any) -> Any:
        status = play(*operations, **options)["status"]
        return status["since"] - WALL, status["state"]

    lost = [*READY, ("answer", None), ("ended", "closed")]
    assert since(*READY) == (0, "connected")
    assert since(*lost) == (NOW, "deaf")
    # It stays deaf since then, whatever the attempts to connect end with.
    assert since(*lost, ("advance", 100), ("ended", "missing")) == (NOW, "missing")
    back = [*lost, ("advance", 100), ("ended", "missing"), ("answer", {"bytes": FIRST})]
    assert since(*back, ("advance", 10_000))[1] == "connected"
    assert since(*back, ("advance", 10_000))[0] > NOW
    assert since(*READY, ("bytes", "x\0")) == (NOW, "not_mailbelld")
    assert since(*READY, ("bytes", "{"), ("advance", 10_000)) == (NOW + 10_000, "not_mailbelld")
    assert since(("ended", "missing"), ("advance", 50), answer=None) == (0, "missing")


def test_those_who_watch_are_told_at_most_four_times_a_second() -> None:
    rings = [step for _ in range(100) for step in (("bytes", ring("work")), ("advance", 10))]
    found = play(*READY, ("watch",), *rings, ("advance", 250))
    assert 1 <= len(found["statuses"]) <= 6
    assert found["statuses"][-1]["rings"] == 100
    quiet = play(*READY, ("watch",), ("bytes", ring("work")), ("unwatch",), ("advance", HOUR))
    assert quiet["statuses"] == []


def test_each_who_watches_is_told_what_he_has_not_seen() -> None:
    """A second page that opened made the first miss a change."""
    scene = """(ready, ring) => {
      const world = new TestWorld({ accounts: [], answer: { bytes: ring.FIRST } });
      world.play(ready);
      const told = [[], []];
      world.driver.watch(status => told[0].push(status.rings));
      world.bytes(ring.RING);
      world.driver.watch(status => told[1].push(status.rings));
      world.advance(1000);
      return told;
    }"""
    assert loaded()(scene, READY, {"FIRST": FIRST, "RING": ring("work")}) == [[1], []]


def test_nobody_is_told_without_a_change() -> None:
    found = play(*READY, ("watch",), ("advance", DAY))
    assert found["statuses"] == []
    lost = [*READY, ("answer", None), ("ended", "missing"), ("watch",)]
    again = [step for _ in range(9) for step in (("advance", 9000), ("ended", "missing"))]
    found = play(*lost, *again, ("advance", 1000))
    assert count(found, "connect") > 5
    assert found["statuses"] == []
    changed = [
        *lost, ("fetchNow",), ("advance", 1000), ("fetched", "server1", "no_password"),
        ("fetched", "server2", "no_password"), ("advance", 1000), ("ended", "missing"),
    ]  # fmt: skip
    told = play(*changed)["statuses"]
    assert told
    assert play(*changed, *again, ("advance", 1000))["statuses"] == told


# What is done.


def test_a_name_rings_its_own_account_only() -> None:
    found = play(*READY, ("bytes", ring("CLUB")), ("advance", 1000))
    assert fetches(found)[2:] == [(NOW + 1000, "server2")]
    unknown = play(*READY, ("bytes", ring("other")), ("advance", 1000))
    assert [key for _, key in fetches(unknown)[2:]] == ["server1", "server2"]


def test_nothing_of_a_notification_is_used_but_the_name() -> None:
    plain = play(*READY, ("bytes", ring("work")), ("advance", 5000))
    more = {"cause": "x" * 200, "count": -1, "time": "z", "source": {}, "__proto__": [], "key": "s"}
    found = play(*READY, ("bytes", ring("work", **more)), ("advance", 5000))
    assert found == plain


def test_a_new_connection_fetches_everything_once() -> None:
    lost = [*READY, ("answer", None), ("ended", "closed"), ("advance", HOUR)]
    found = play(*lost, ("answer", {"bytes": FIRST}), ("advance", 20_000))
    assert sorted(key for time, key in fetches(found) if time > NOW) == ["server1", "server2"]


@pytest.mark.parametrize("event", [("woke",), ("fetchNow",), ("offline", False)])
def test_what_fetches_everything_does_it_once(event: tuple[Any, ...]) -> None:
    before = [("offline", True)] if event[0] == "offline" else []
    ended = [("fetched", "server1", "ok"), ("fetched", "server2", "ok")]
    found = play(*READY, *before, event, event, ("advance", 1000), *ended, ("advance", HOUR))
    assert [key for _, key in fetches(found)[2:]] == ["server1", "server2"]


def test_online_again_everything_is_fetched_after_the_usual_quiet() -> None:
    away = [("ended", "missing"), ("advance", 60_000)]  # no daemon, so no catch-up of its own
    found = play(*away, ("offline", False), ("advance", 1000), answer=None, offline=True)
    (begun,) = {time for time, _ in fetches(found)}
    assert begun == 61_000
    assert [key for _, key in fetches(found)] == ["server1", "server2"]
    assert fetches(play(*away, ("offline", False), ("advance", 1000), answer=None)) == []


@pytest.mark.parametrize("bytes_", ["x\0", "x" * 20_000, "{}\0"])
def test_a_daemon_that_says_something_else_is_hung_up_on_at_once(bytes_: str) -> None:
    found = play(*READY, ("bytes", bytes_), ("bytes", ring("work")), ("advance", 50))
    assert [entry for entry in found["seen"] if entry[1] == "close"] == [[NOW, "close", "/s"]]
    assert len(fetches(found)) == 2


def test_the_log_says_why_a_connection_ended() -> None:
    assert "connection ended: closed: because\\x07" in lines(play(*READY, ("ended", "closed")))


def test_the_log_says_all_that_is_done() -> None:
    found = play(
        ("advance", 1000), ("fetched", "server1", "ok"), ("fetched", "server2", "failed"),
        ("offline", True), ("offline", False), ("woke",), ("fetchNow",),
        ("answer", None), ("configure", {}, ["/z"]), ("advance", 10_000),
    )  # fmt: skip
    assert lines(found) == [
        "connected /s", "fetch server1", "fetch server2", "fetched server1: ok",
        "fetched server2: failed", "offline", "online", "woke", "check /s", "fetch now",
        "settings: settle 1000, gap 10000, /z", "not_mailbelld no_answer /z",
        "fetch server1", "fetch server2",
    ]  # fmt: skip


def test_the_log_says_how_often_it_rang() -> None:
    found = play(
        *READY, ("bytes", ring("work") + ring("club")), ("bytes", ring("z")), ("bytes", "{")
    )
    said = [line for line in lines(found) if line.startswith("rung")]
    assert said == ["rung 2 times, at last club", "rung 1 times, at last z"]


def test_the_log_says_each_new_reason_once() -> None:
    lost = [*READY, ("answer", None), ("ended", "closed"), ("advance", 100), ("ended", "refused")]
    again = [("advance", 200), ("ended", "refused")]
    said = [line for line in lines(play(*lost, *again)) if line.startswith("deaf")]
    assert said == ["deaf closed /s", "deaf refused /s"]


def test_after_sleep_mailbelld_is_called_at_once() -> None:
    lost = [*READY, ("answer", None), ("ended", "closed")]
    failing = [step for _ in range(20) for step in (("advance", 11_000), ("ended", "missing"))]
    before = play(*lost, *failing)
    after = play(*lost, *failing, ("woke",), ("advance", 0))
    assert count(after, "connect") == count(before, "connect") + 1


def test_one_account_is_fetched_for_where_its_inbox_appeared() -> None:
    found = play(*READY, ("fetchFor", "server2"), ("fetchFor", "server2"), ("advance", 1000),
                 ("fetched", "server2", "ok"), ("advance", HOUR))  # fmt: skip
    assert fetches(found)[2:] == [(NOW + 1000, "server2")]
    assert found["status"]["rings"] == 0
    assert fetches(play(*READY, ("fetchFor", "gone"), ("advance", HOUR)))[2:] == []


def test_a_setting_of_the_names_counts_for_the_next_ring() -> None:
    settings = {"names": {"server1": ["office"]}}
    found = play(*READY, ("configure", settings, ["/s"]), ("bytes", ring("office")),
                 ("advance", 1000))  # fmt: skip
    assert fetches(found)[2:] == [(NOW + 1000, "server1")]
    assert count(found, "connect") == 1  # the connection stays


def test_another_place_of_the_socket_is_connected_to_at_once() -> None:
    found = play(*READY, ("configure", {}, ["/other"]), ("advance", 0))
    shown = [(what, path) for _, what, path in found["seen"] if what in ("connect", "close")]
    assert shown == [("connect", "/s"), ("close", "/s"), ("connect", "/other")]
    # What came from the old one is not heard any more.
    assert found["status"]["socket"] == "/other"


def test_connected_to_one_place_says_nothing_of_another() -> None:
    """The status of the old place would be shown for the new one, which may be wrong."""
    moved = [*READY, ("answer", None), ("configure", {}, ["/other"]), ("advance", 9000)]
    status = play(*moved)["status"]
    assert (status["state"], status["reason"], status["socket"]) == ("connecting", None, "/other")
    assert status["since"] == WALL + NOW


def test_another_place_is_caught_up_with_at_once() -> None:
    """That the daemon at the old place did not stay says nothing of this one."""
    short = [step for _ in range(60) for step in (
        ("advance", 10_000), ("fetched", "server1", "ok"), ("fetched", "server2", "ok"),
    )]  # fmt: skip
    moved = [("answer", {"bytes": FIRST}), ("configure", {}, ["/other"]), ("advance", 11_000)]
    answer = {"bytes": FIRST, "ended": "closed"}
    found = play(*short, *moved, answer=answer)
    assert {key for time, key in fetches(found) if time > 600_000} == {"server1", "server2"}
    assert [time for time, _ in fetches(play(*short, answer=answer)) if time > 590_000] == []


def test_a_fetch_that_throws_counts_as_failed() -> None:
    broken = {"key": "broken", "name": "broken", "type": "imap"}
    found = play(("advance", 2000), accounts=[broken, WORK])
    states = [account["state"] for account in found["status"]["accounts"]]
    assert states == ["failed", "fetching"]
    later = play(("advance", 62_000), accounts=[broken, WORK])
    assert [time for time, key in fetches(later) if key == "broken"] == [1000, 61_000]


def test_without_a_list_of_accounts_the_last_one_counts() -> None:
    found = play(*READY, ("accounts", None), ("bytes", ring("work")), ("advance", 1000))
    assert fetches(found)[2:] == [(NOW + 1000, "server1")]
    assert any("no accounts now" in line for line in lines(found))


def test_a_ring_without_any_account_is_for_all_when_there_are_some() -> None:
    """It was dropped."""
    empty = [*READY, ("accounts", []), ("bytes", ring("work")), ("advance", HOUR)]
    assert len(fetches(play(*empty))) == 2
    found = play(*empty, ("accounts", ACCOUNTS), ("advance", 31_000))
    assert [key for _, key in fetches(found)[2:]] == ["server1", "server2"]
    start = play(("advance", HOUR), ("accounts", ACCOUNTS), ("advance", 31_000), accounts=[])
    assert [key for _, key in fetches(start)] == ["server1", "server2"]
    never = play(("advance", HOUR), ("accounts", ACCOUNTS), ("advance", 31_000), accounts=None)
    assert [key for _, key in fetches(never)] == ["server1", "server2"]


def test_a_ring_for_an_account_that_is_missing_for_a_moment_is_fetched_later() -> None:
    away = [*READY, ("accounts", [CLUB]), ("bytes", ring("work")), ("advance", 1000)]
    found = play(*away, ("accounts", ACCOUNTS), ("advance", 31_000))
    # The name rings no account that is there. So all of them are fetched, as ever.
    assert [key for _, key in fetches(found)[2:]] == ["server2", "server1"]


def test_how_often_the_list_of_accounts_is_asked_for_is_bounded() -> None:
    steps = """operations => {
      const world = new TestWorld({ accounts: [], answer: { bytes: FIRST } });
      let steps = 0;
      while (world.step(3600000)) { steps += 1; }
      return steps;
    }"""
    assert loaded()(steps.replace("FIRST", json.dumps(FIRST))) < 3600 / 30 + 3600 / 300 * 2 + 10


def test_pop3_fetches_that_do_not_end_do_not_wait_in_thunderbird_by_the_dozen() -> None:
    """Eight hours with a dialog for a password: 96 waited, and ran when it was answered."""
    rings = [step for _ in range(480) for step in (("bytes", ring("club")), ("advance", 60_000))]
    found = play(*READY, *rings)
    assert [key for _, key in fetches(found)[2:]] == ["server2"]
    assert [one["state"] for one in found["status"]["accounts"]] == ["idle", "failed"]
    ended = play(*READY, *rings, ("fetched", "server2", "ok"), ("advance", 1))
    assert [key for _, key in fetches(ended)[2:]] == ["server2"] * 2


# Whether mailbelld still answers.


def test_a_daemon_that_hangs_is_not_connected_for_ever() -> None:
    found = play(*READY, ("info", None), ("answer", None), ("advance", 250_000))
    assert found["status"]["state"] == "not_mailbelld"
    assert found["status"]["since"] - WALL == 310_000
    assert [what for _, what, _ in found["seen"] if what in ("ask", "asked", "close")] == [
        "ask", "close", "asked",
    ]  # fmt: skip
    assert "not_mailbelld no_answer /s" in lines(found)
    back = play(*READY, ("info", None), ("advance", 260_000))
    assert back["status"]["state"] == "connected"
    assert [key for _, key in fetches(back)[2:]] == ["server1", "server2"]


def test_a_daemon_that_answers_is_asked_rarely_and_nothing_else_is_done() -> None:
    found = play(*READY, ("watch",), ("advance", DAY))
    assert count(found, "ask") == count(found, "asked") == DAY / 300_000
    assert len(fetches(found)) == 2
    assert (count(found, "connect"), count(found, "close"), found["statuses"]) == (1, 0, [])


@pytest.mark.parametrize("info", ["throw", "too_fast"])
def test_a_question_that_cannot_be_asked_ends_nothing(info: str) -> None:
    found = play(*READY, ("info", info), ("advance", HOUR))
    assert found["status"]["state"] == "connected"
    assert 10 <= count(found, "ask") <= 12
    assert count(found, "connect") == 1


def test_a_place_that_nobody_answers_at_any_more_is_left_and_tried_again() -> None:
    found = play(*READY, ("info", "refused"), ("advance", 243_000))
    assert (count(found, "connect"), count(found, "close")) == (2, 1)
    assert [key for _, key in fetches(found)[2:]] == ["server1", "server2"]


def test_an_earlier_place_that_does_not_answer_is_not_asked_for_ever() -> None:
    scene = [("answer", {"bytes": FIRST}), ("ended", "refused"), ("info", {}), ("advance", 71_000)]
    found = play(*scene, places=["/a", "/b"], answer=None)
    assert [entry for entry in found["seen"] if entry[1] in ("ask", "asked")] == [
        [60_000, "ask", "/a"], [70_000, "asked", "/a"],
    ]  # fmt: skip
    assert found["status"]["socket"] == "/b"


@pytest.mark.parametrize(
    "end", [("ended", "closed"), ("bytes", "{}\0"), ("stop",), ("configure", {}, ["/z"])]
)
def test_a_question_ends_with_its_connection(end: tuple[Any, ...]) -> None:
    asking = [*READY, ("info", None), ("advance", 241_000)]
    assert count(play(*asking), "asked") == 0
    assert count(play(*asking, end), "asked") == 1
    later = play(*asking, end, ("advance", 9500))
    assert later["status"]["state"] in ("connected", "connecting")


def test_the_daemon_of_the_machine_is_used_again_after_its_restart() -> None:
    """The user's own one answered meanwhile, and was connected to for ever."""
    infos = {"/a": "refused", "/b": '{"parameters":{"interfaces":["org.mailbell.Listener"]}}\0'}
    scene: list[tuple[Any, ...]] = [
        ("info", infos), ("answer", {"bytes": FIRST}), ("ended", "refused"), ("advance", 600_000),
        ("fetched", "server1", "ok"), ("fetched", "server2", "ok"),
    ]  # fmt: skip
    before = play(*scene, places=["/a", "/b"], answer=None)
    assert (before["status"]["state"], before["status"]["socket"]) == ("connected", "/b")
    found = play(*scene, ("info", infos["/b"]), ("advance", 62_000),
                 places=["/a", "/b"], answer=None)  # fmt: skip
    assert (found["status"]["state"], found["status"]["socket"]) == ("connected", "/a")
    # What came before it was connected is fetched.
    new = fetches(found)[len(fetches(before)) :]
    assert sorted(key for _, key in new) == ["server1", "server2"]


def test_at_the_end_the_connection_is_closed() -> None:
    ended = play(*READY, ("stop",))
    assert ended["seen"][-1] == [NOW, "close", "/s"]
    gone = play(*READY, ("answer", None), ("ended", "closed"), ("stop",))
    assert count(gone, "close") == 0  # it was closed already


def test_after_the_end_nothing_is_done() -> None:
    ended = [*READY, ("bytes", ring("work")), ("watch",), ("fetchNow",), ("stop",)]
    found = play(*ended, ("woke",), ("offline", True), ("configure", {}, ["/z"]), ("advance", DAY))
    assert len(fetches(found)) == 2
    assert found["statuses"] == []
    assert count(found, "connect") == count(found, "close") == 1
    # A fetch that was about to begin does not begin either.
    about = [*READY, ("fetchNow",), ("step",)]
    assert len(fetches(play(*about, ("step",)))) == 3
    assert len(fetches(play(*about, ("stop",), ("advance", DAY)))) == 2


WRONG: Final = ("{", "\0", FIRST, "x" * 20_000)
OPERATIONS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.sampled_from([0, 10, 500, 1000, 9000, 100_000])),
        st.tuples(
            st.just("bytes"),
            st.sampled_from(
                [ring("work"), ring("club"), ring("z"), "{", "\0", FIRST, "x" * 20_000]
            ),
        ),
        st.tuples(st.just("ended"), st.sampled_from(["closed", "missing", "refused"])),
        st.tuples(
            st.just("fetched"),
            st.sampled_from(["server1", "server2"]),
            st.sampled_from(["ok", "failed", "no_password"]),
        ),
        st.tuples(st.just("offline"), st.booleans()),
        st.tuples(st.just("clock"), st.integers(-DAY, DAY)),
        st.sampled_from([("woke",), ("fetchNow",), ("watch",)]),
        st.tuples(st.just("accounts"), st.sampled_from([ACCOUNTS, [WORK], None])),
        st.tuples(st.just("answer"), st.sampled_from([None, {"bytes": FIRST}])),
        st.tuples(
            st.just("configure"),
            st.sampled_from([{}, {"gap": 1000}, {"names": {"server1": ["z"]}}]),
            st.sampled_from([["/s"], ["/a", "/b"], ["x"]]),
        ),
    ),
    max_size=25,
)


@given(OPERATIONS)
def test_whatever_happens_no_account_is_fetched_for_too_often_or_twice_at_once(
    operations: list[tuple[Any, ...]],
) -> None:
    found = play(*operations)
    for key in ("server1", "server2"):
        times = [time for time, fetched in fetches(found) if fetched == key]
        if ("accounts", [WORK]) not in operations:  # an account that is gone is forgotten
            assert all(b - a >= 1000 for a, b in itertools.pairwise(times))
    open_ = 0
    for _, what, _ in found["seen"]:
        open_ += {"connect": 1, "close": -1}.get(what, 0)
    assert open_ <= 1 + count(found, "connect")


@given(OPERATIONS)
def test_whatever_happens_it_recovers(operations: list[tuple[Any, ...]]) -> None:
    """With a daemon that answers, and online, a ring is fetched again for its account."""
    healed: list[tuple[Any, ...]] = [
        ("accounts", ACCOUNTS), ("offline", False), ("answer", {"bytes": FIRST}),
        ("configure", {}, ["/s"]), ("ended", "closed"), ("advance", 1_000_000),
        *[("fetched", key, "ok") for key in ("server1", "server2") for _ in range(9)],
        ("advance", HOUR), ("fetched", "server1", "ok"), ("fetched", "server2", "ok"),
    ]  # fmt: skip
    before = play(*operations, *healed)
    assert before["status"]["state"] == "connected"
    after = play(*operations, *healed, ("bytes", ring("work")), ("advance", 1000))
    assert [key for _, key in fetches(after)[len(fetches(before)) :]] == ["server1"]
