"""mailbell.js, which puts the parts of the add-on together: each event reaches the right part."""

from typing import Any, Final

import pytest
from harness.v8 import ADDON, HARNESS, Script, parts

EXTENSION: Final = "{ rootURI: { resolve: part => `jar:${part}` } }"
BEGIN: Final = f"""() => {{
  globalThis.own = new mailbell({EXTENSION});
  own.onStartup();
  globalThis.api = own.getAPI({{}}).mailbell;
  noted.length = 0;
}}"""


def loaded() -> Script:
    """All files of the add-on, as Thunderbird loads them."""
    files = [ADDON / part for part in parts()]
    script = Script(HARNESS / "stubs.js", HARNESS / "extension.js", *files)
    script.load_within(ADDON / "mailbell.js")
    return script


@pytest.fixture
def whole() -> Script:
    """The add-on has started, with its own driver."""
    script = loaded()
    script(BEGIN)
    return script


@pytest.fixture
def script() -> Script:
    """The add-on has started. Its driver only notes what is asked of it."""
    script = loaded()
    script("() => { globalThis.Driver = NotingDriver; }")
    script(BEGIN)
    return script


def waited(script: Script, call: str, *arguments: Any) -> Any:
    """What a function of the API returns in the end."""
    script(f"(...given) => {{ ({call})(...given).then(value => {{ globalThis.got = value; }}); }}",
           *arguments)  # fmt: skip
    return script("() => got")


def test_each_part_is_loaded_from_the_add_on_and_anew(script: Script) -> None:
    options = {"allowUnsafeURL": True, "ignoreCache": True}
    assert script("() => asked") == [[f"jar:{part}", options] for part in parts()]


def test_it_begins_with_the_settings_and_the_network_that_there_are() -> None:
    script = loaded()
    script("""() => {
      globalThis.Driver = NotingDriver;
      preferences.set("gap", 2000).set("socket", "/own");
      Services.io.offline = true;
    }""")
    script(BEGIN)
    assert script("() => [begun.settings.gap, begun.places, begun.offline]") == [
        2000, ["/own"], True,
    ]  # fmt: skip


@pytest.mark.parametrize("clock", ["ChromeUtils.now", "Cu.now"])
def test_what_decides_does_not_follow_the_setting_of_a_clock(script: Script, clock: str) -> None:
    """Thunderbird 140 has Cu.now, 153 has ChromeUtils.now."""
    if clock == "Cu.now":
        script("() => { delete ChromeUtils.now; globalThis.Cu = { now: () => clocks.steady }; }")
    times = "() => [begun.world.now(), begun.world.wall()]"
    assert script(times) == [5000, 1_700_000_000_000]
    script("() => { clocks.wall -= 86400000; }")
    assert script(times) == [5000, 1_699_913_600_000]
    script("() => { clocks.steady += 1; }")
    assert script(times) == [5001, 1_699_913_600_000]


def test_a_timer_runs_unless_it_was_cleared(script: Script) -> None:
    script("""() => {
      const { setTimeout, clearTimeout } = begun.world;
      const first = setTimeout(() => {}, 7);
      setTimeout(() => {}, 8);
      clearTimeout(first);
    }""")
    assert script("() => [...pending.values()].map(({ wait }) => wait)") == [8]


def test_each_number_by_chance_is_another(script: Script) -> None:
    assert script("() => begun.world.random === Math.random") is True


def test_the_connection_gets_the_timers(script: Script) -> None:
    script("""() => {
      globalThis.connection = begun.world.connect("/s", {
        call: "subscribe",
        received() {},
        ended() {},
      });
      wire.bytes = "x";
      wire.callback.onInputStreamReady();
    }""")
    assert script("() => [noted[0], pending.size]") == [["path", "/s"], 1]
    assert script("() => { connection.close(); return pending.size; }") == 0


@pytest.mark.parametrize(
    ("event", "asked"),
    [
        ('observers.get("wake_notification")()', [["woke"]]),
        ('observers.get("passwordmgr-crypto-login")()', [["fetchNow"]]),
        (
            'Services.io.offline = true; observers.get("network:offline-status-changed")()',
            [["setOffline", True]],
        ),
        (
            "[...folderListeners][0].onFolderAdded(null, inboxOf7)",
            [["fetchFor", "server7"]],
        ),
        ("api.fetchNow()", [["fetchNow"]]),
    ],
)  # fmt: skip
def test_each_event_of_thunderbird_has_its_effect(script: Script, event: str, asked: Any) -> None:
    script('() => { globalThis.inboxOf7 = { getFlag: () => true, server: { key: "server7" } }; }')
    script(f"() => {{ {event}; }}")
    assert script("() => noted") == asked


def test_a_changed_preference_has_its_effect(script: Script) -> None:
    script('() => { preferences.set("gap", 3000).set("socket", "/new"); }')
    script('() => observers.get("extensions.mailbell.")()')
    default = {"settle": 1000, "names": {}}
    assert script("() => noted") == [
        ["configure", {**default, "socket": "/new", "gap": 3000}, ["/new"]],
    ]


def test_at_the_end_all_is_ended(script: Script) -> None:
    """A fetch runs. Its listener would otherwise be Thunderbird's for as long as it runs."""
    script("""() => {
      MailServices.accounts.allServers = [server("a", "ews")];
      begun.world.fetchAccount("a", () => {});
      noted.length = 0;
    }""")
    assert script("() => folderListeners.size") == 2
    assert script("() => { own.onShutdown(); return noted; }") == [["stop"]]
    assert script("() => [observers.size, folderListeners.size]") == [0, 0]


def test_at_the_end_the_connection_and_the_timers_are_ended(whole: Script) -> None:
    assert script_state(whole) == ["connecting", 1]
    assert whole("() => { own.onShutdown(); return noted; }") == [["close", 0x80004004]]
    assert whole("() => [pending.size, observers.size, folderListeners.size]") == [0, 0, 0]


def script_state(script: Script) -> list[Any]:
    """The state of the connection, and how many timers there are."""
    return [waited(script, "api.getStatus")["state"], script("() => pending.size")]


def test_a_part_that_cannot_be_loaded_is_said_and_ends_well() -> None:
    script = loaded()
    script(
        '() => { Services.scriptloader.loadSubScriptWithOptions = () => { throw Error("x"); }; }'
    )
    script(f"() => {{ globalThis.own = new mailbell({EXTENSION}); own.onStartup(); }}")
    assert script("() => noted") == [["error", "mailbell did not start", "Error: x"]]
    script("() => own.onShutdown()")


# What the page may do.

SET: Final = "api.setSettings"
STORED: Final = "() => Object.fromEntries(preferences)"


def test_right_settings_are_stored(script: Script) -> None:
    given = {"socket": "/s", "gap": 2000, "names": {"server1": ["work"]}}
    assert waited(script, SET, given) == {"problems": {}}
    names = '{"server1":["work"]}'
    assert script(STORED) == {"socket": "/s", "gap": 2000, "names": names}


def test_with_a_problem_nothing_is_stored(script: Script) -> None:
    given = {"socket": "/s", "gap": 5}
    assert waited(script, SET, given) == {"problems": {"gap": "out_of_range"}}
    assert script(STORED) == {}


def test_what_thunderbird_refuses_is_said(script: Script) -> None:
    script('() => { defaultTypes.set("gap", "string"); }')
    expected = {"problems": {"gap": "not_stored"}}
    assert waited(script, SET, {"settle": 5, "gap": 2000}) == expected
    assert script(STORED) == {}


def test_what_an_administrator_fixed_is_not_stored(script: Script) -> None:
    script('() => { lockedPreferences.add("gap"); }')
    assert waited(script, SET, {"gap": 2000, "settle": 5}) == {"problems": {"gap": "locked"}}
    assert script(STORED) == {}
    assert waited(script, "api.getSettings") == {
        "socket": "", "settle": 1000, "gap": 10_000, "names": {}, "locked": ["gap"],
    }  # fmt: skip


def test_the_status_is_told_until_nobody_listens(script: Script) -> None:
    assert waited(script, "api.getStatus") == "the status"
    assert script("() => api.onStatus") == "the event"
    script("() => { globalThis.end = register({ async: status => note('told', status) }); }")
    script("() => { noted.length = 0; watcher('new'); }")
    assert script("() => noted") == [["told", "new"]]
    assert script("() => { end(); return watcher; }") is None


def test_the_log_is_printed_only_if_it_is_asked_for(script: Script) -> None:
    script('() => begun.world.log("a line")')
    assert script("() => printed") == []
    script('() => { preferences.set("log", true); begun.world.log("a line"); }')
    assert script("() => printed") == ["mailbell: ISO 1700000000000 a line\n"]
