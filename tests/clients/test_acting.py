"""The files that act: what they ask of Thunderbird, and how they take its answers.

The real Thunderbird answers in tests/mail_programs. Here are the answers that it gives rarely.
"""

from pathlib import Path
from typing import Any, Final

import pytest
from harness.v8 import ADDON, Script, core_files

STUBS: Final = Path(__file__).parent.parent / "harness" / "stubs.js"
ACTING: Final = sorted((ADDON / "thunderbird").glob("*.js"))
CALL: Final = '{"method":"org.mailbell.Listener.Subscribe","more":true,"parameters":{}}\0'

INFO: Final = '{"method":"org.varlink.service.GetInfo","parameters":{}}\0'


@pytest.fixture
def script() -> Script:
    return Script(*core_files(), STUBS, *ACTING)


CONNECT: Final = """(call = "subscribe") => {
  globalThis.heard = [];
  globalThis.timers = [];
  globalThis.connection = new Connection(
    "/s",
    {
      call,
      received: bytes => heard.push(["received", bytes.length]),
      ended: (reason, why) => heard.push(["ended", reason, why]),
    },
    {
      setTimeout: (act, wait) => timers.push({ act, wait }),
      clearTimeout: number => { if (number) { timers[number - 1].act = null; } },
    }
  );
}"""
READY: Final = "() => { wire.callback.onInputStreamReady(); return heard; }"


def test_it_sends_the_call_and_reads_in_pieces_with_pauses(script: Script) -> None:
    script(CONNECT)
    assert script("() => noted") == [["path", "/s"], ["write", CALL, len(CALL)]]
    script("() => { wire.bytes = 'x'.repeat(40000); }")
    assert script(READY) == [["received", 16_384]]
    assert script("() => [wire.waits, timers[0].wait]") == [1, 50]  # it waits for the pause
    assert script("() => { timers[0].act(); return wire.waits; }") == 2
    assert script(READY)[1:] == [["received", 16_384]]
    assert script(READY)[2:] == [["received", 40_000 - 2 * 16_384]]


def test_it_can_ask_what_answers(script: Script) -> None:
    script(CONNECT, "info")
    assert script("() => noted.at(-1)") == ["write", INFO, len(INFO)]


def test_after_the_end_it_says_nothing(script: Script) -> None:
    script(CONNECT)
    script("() => { wire.bytes = 'abc'; }")
    script(READY)
    script("() => connection.close()")
    assert script(READY) == [["received", 3]]
    assert script("() => noted.at(-1)") == ["close", 0x80004004]
    # Nothing is waited for any more: the timer that would do so was cleared.
    assert script("() => [timers.map(timer => typeof timer.act), wire.waits]") == [["object"], 1]


@pytest.mark.parametrize(
    ("status", "writable", "reason"),
    [
        (0x80470002, True, "closed"), (0x804B0014, True, "closed"), (0x804B0047, True, "closed"),
        (0x80520012, True, "missing"), (0x80520015, True, "forbidden"),
        (0x804B000D, True, "refused"), (0x804B000D, False, "forbidden"),
        (0x804B000D, None, "forbidden"), (0x80004005, True, "failed"),
    ],
)  # fmt: skip
def test_each_end_has_its_reason(
    script: Script, status: int, writable: bool | None, reason: str
) -> None:
    script(CONNECT)
    script("(status, writable) => { wire.fail = status; wire.writable = writable; }",
           status, writable)  # fmt: skip
    assert script(READY) == [["ended", reason, "NS_ERROR"]]
    assert script("() => noted.at(-1)[0]") == "close"
    assert len(script(READY)) == 1


# Fetching.

FETCH: Final = """key => {
  globalThis.results ??= [];
  fetchAccount(key, result => results.push(result));
  return [noted.splice(0), results];
}"""


def accounts(script: Script, servers: str) -> None:
    script(f"() => {{ MailServices.accounts.allServers = {servers}; }}")


def test_accounts_without_mail_are_not_listed(script: Script) -> None:
    types = ["imap", "none", "pop3", "nntp", "rss", "im", "ews", "graph"]
    accounts(script, f"{types}.map((type, number) => server(`s${{number}}`, type))")
    listed = script("listAccounts")
    assert [account["type"] for account in listed] == ["imap", "pop3", "ews", "graph"]
    assert listed[0] == {"key": "s0", "name": "name of s0", "type": "imap"}


STOP: Final = "status => { givenListener.OnStopRunningUrl(null, status); return results; }"


def test_imap_is_asked_once_and_tells_the_end(script: Script) -> None:
    accounts(script, "[server('a', 'imap')]")
    asked, results = script(FETCH, "a")
    assert asked == [["getNewMessages", "inbox of a", None]]
    assert script("() => MailServices.accounts.allServers[0].performingBiff") is True
    assert results == []
    script("() => givenListener.OnStartRunningUrl()")
    assert script(STOP, 0) == ["ok"]
    assert script(STOP, 0x80004005) == ["ok"]  # once
    script(FETCH, "a")
    script("() => givenListener.OnStartRunningUrl()")
    assert script(STOP, 0x80004005) == ["ok", "failed"]


@pytest.mark.parametrize("status", [0, 0x80004005])
def test_an_end_without_a_beginning_is_that_of_another_look(script: Script, status: int) -> None:
    """The inbox was busy. So Thunderbird did not look for what rang, and the ring would be lost."""
    accounts(script, "[server('a', 'imap')]")
    script(FETCH, "a")
    assert script(STOP, status) == ["busy"]


def test_an_inbox_that_was_made_anew_meanwhile_is_fetched_again(script: Script) -> None:
    """Thunderbird does so when it finds out which folders a new account has: seen in 153."""
    accounts(script, "[server('a', 'imap')]")
    script(FETCH, "a")
    script("() => givenListener.OnStartRunningUrl()")
    accounts(script, "[server('a', 'imap')]")
    script("""() => {
      globalThis.other = server("a", "imap");
      globalThis.first = globalThis.givenListener;
    }""")
    script("() => fetchAccount('a', result => results.push(result))")
    script("() => givenListener.OnStartRunningUrl()")
    swap = "MailServices.accounts.allServers[0].rootFolder"
    script(f"() => {{ {swap}.getFolderWithFlags = other.rootFolder.getFolderWithFlags; }}")
    assert script(STOP, 0) == ["busy"]


@pytest.mark.parametrize("kind", ["imap", "ews"])
def test_a_new_account_without_an_inbox_is_polled_and_tried_again(
    script: Script, kind: str
) -> None:
    accounts(script, f"[server('a', '{kind}', {{ inbox: null }})]")
    assert script(FETCH, "a") == [[["performBiff", "a", None]], ["failed"]]
    assert script("() => folderListeners.size") == 0


def test_pop3_is_downloaded(script: Script) -> None:
    accounts(script, "[server('a', 'pop3')]")
    asked, results = script(FETCH, "a")
    assert asked == [["getNewMessages", "a", None]]
    assert results == []
    script("() => givenListener.OnStartRunningUrl()")
    assert script("() => { givenListener.OnStopRunningUrl(null, 0); return results; }") == ["ok"]


def test_no_dialog_tells_that_a_pop3_server_refuses_connections(script: Script) -> None:
    """What happens at another account is told as ever."""
    accounts(script, "[server('a', 'pop3')]")
    for _ in range(3):
        script(FETCH, "a")  # the ones before were given up
    told = """key => [...feedbackListeners].map(listener =>
      [listener.onAlert("refused", key && { server: { key } }), listener.onCertError()])"""
    assert script(told, "a") == [[True, False]]
    assert script(told, "b") == [[False, False]]
    assert script(told, None) == [[False, False]]
    assert script('() => [...feedbackListeners][0].onAlert("refused", { server: null })') is False
    script("() => givenListener.OnStopRunningUrl(null, 0)")
    assert script("() => feedbackListeners.size") == 0
    script(FETCH, "a")
    assert script("() => { forgetFetches(); return feedbackListeners.size; }") == 0


EVENT: Final = """(name, event) => {
  const inboxes = MailServices.accounts.allServers.map(each =>
    each.rootFolder.getFolderWithFlags(0x1000));
  const folder = inboxes.find(each => each.name == name) ?? {};
  for (const listener of [...folderListeners]) { listener.onFolderEvent(folder, event); }
  return [results, folderListeners.size];
}"""


def test_other_kinds_are_polled_until_the_inbox_is_loaded(script: Script) -> None:
    accounts(script, "[server('a', 'ews'), server('b', 'ews')]")
    script(FETCH, "a")
    asked, _ = script(FETCH, "b")
    assert asked == [["performBiff", "b", None]]
    assert script(EVENT, "other folder", "FolderLoaded") == [[], 2]
    assert script(EVENT, "inbox of a", "DeleteOrMoveMsgCompleted") == [[], 2]
    assert script(EVENT, "inbox of a", "FolderLoaded") == [["ok"], 1]
    assert script(EVENT, "inbox of a", "FolderLoaded") == [["ok"], 1]


def test_a_fetch_that_never_ends_leaves_nothing_behind(script: Script) -> None:
    """One listener more for each try would be kept for as long as Thunderbird runs."""
    accounts(script, "[server('a', 'ews')]")
    for _ in range(5):
        script(FETCH, "a")
    assert script("() => folderListeners.size") == 1
    assert script("() => { forgetFetches(); return folderListeners.size; }") == 0


@pytest.mark.parametrize("method", [3, 6, 10])
def test_nobody_is_asked_for_a_password(script: Script, method: int) -> None:
    others = f"{{ passwordPromptRequired: true, authMethod: {method} }}"
    accounts(script, f"[server('a', 'imap', {others})]")
    assert script(FETCH, "a") == [[], ["no_password"]]


@pytest.mark.parametrize("method", [1, 5, 7])
def test_an_account_that_needs_no_password_is_fetched(script: Script, method: int) -> None:
    """With Kerberos or a certificate. Thunderbird says of them that a password is missing."""
    others = f"{{ passwordPromptRequired: true, authMethod: {method} }}"
    accounts(script, f"[server('a', 'pop3', {others})]")
    assert script(FETCH, "a") == [[["getNewMessages", "a", None]], []]


def test_the_primary_password_is_not_asked_for_at_each_ring(script: Script) -> None:
    """To ask the account whether it has a password opens the dialog."""
    asked = "get passwordPromptRequired() { noted.push('asked'); return true; }"
    accounts(script, f"[Object.defineProperties({{}}, Object.getOwnPropertyDescriptors("
                     f"{{ key: 'a', type: 'imap', {asked} }}))]")  # fmt: skip
    script("() => { Services.logins.isLoggedIn = false; }")
    assert script(FETCH, "a") == [[], ["no_password"]]
    script("() => { Services.logins.isLoggedIn = true; }")
    assert script(FETCH, "a") == [["asked"], ["no_password", "no_password"]]


def test_an_account_that_is_gone_has_failed(script: Script) -> None:
    assert script(FETCH, "a") == [[], ["failed"]]


# Settings.


def read(script: Script, stored: dict[str, Any]) -> Any:
    script("entries => { preferences = new Map(Object.entries(entries)); }", stored)
    return script("() => Preferences.read()")


def test_settings_are_read_with_their_defaults(script: Script) -> None:
    default = {"socket": "", "settle": 1000, "gap": 10_000, "names": {}}
    assert read(script, {}) == default
    names = '{"server1":["work"]}'
    assert read(script, {"socket": "/s", "settle": 5, "gap": 2000, "names": names}) == {
        "socket": "/s", "settle": 5, "gap": 2000, "names": {"server1": ["work"]},
    }  # fmt: skip
    # Of a wrong type, no JSON, too long.
    assert read(script, {"settle": "x", "gap": True, "names": 7}) == default
    for wrong in ("{", "[]", '{"server1":"work"}', " " * (1024 * 1024) + "{}"):
        assert read(script, {"names": wrong}) == default


def test_what_is_written_is_read(script: Script) -> None:
    settings = {"socket": "/s", "settle": 0, "gap": 1000, "names": {"server1": ["a"]}}
    script("settings => Preferences.write(settings)", settings)
    assert script("() => Preferences.read()") == settings
    script("() => Preferences.write({ socket: '' })")
    assert script("() => Preferences.read()") == settings | {"socket": ""}


def test_a_setting_that_cannot_be_read_has_its_default(script: Script) -> None:
    script("() => { Services.prefs.getIntPref = () => { throw new Error('unreadable'); }; }")
    assert read(script, {"settle": 5, "socket": "/s"})["settle"] == 1000
    assert read(script, {"settle": 5, "socket": "/s"})["socket"] == "/s"


@pytest.mark.parametrize("wrong", [5, 0, True, False, "unreadable"])
def test_a_socket_that_is_no_text_is_never_replaced_by_another_one(
    script: Script, wrong: object
) -> None:
    """Who has set a socket trusts no other, whatever became of the preference."""
    if wrong == "unreadable":
        script("() => { Services.prefs.getStringPref = () => { throw new Error('bytes'); }; }")
    socket = read(script, {"socket": wrong})["socket"]
    assert script("socket => checkSocket(socket)", socket) == "bad_path"
    assert script("() => Preferences.places(Preferences.read())") == [socket]


@pytest.mark.parametrize("before", [{}, {"settle": 7, "names": True, "gap": 3000}])
def test_all_is_stored_or_nothing(script: Script, before: dict[str, Any]) -> None:
    """Thunderbird refuses a value of another type than that of an administrator's default."""
    script("entries => { preferences = new Map(Object.entries(entries)); }", before)
    script("() => { defaultTypes.set('gap', 'string'); }")
    settings = {"settle": 5, "names": {"server1": ["a"]}, "gap": 2000}
    write = "settings => Preferences.write(settings)"
    assert script(write, settings) == {"gap": "not_stored"}
    assert script("() => Object.fromEntries(preferences)") == before
    del settings["gap"]
    assert script(write, settings) == {}
    assert script("() => preferences.get('settle')") == 5


def test_the_log_is_off_unless_it_is_asked_for(script: Script) -> None:
    assert script("() => Preferences.log") is False
    script("() => { preferences.set('log', true); }")
    assert script("() => Preferences.log") is True


def test_what_an_administrator_fixed_is_said(script: Script) -> None:
    assert script("() => Preferences.locked()") == []
    script("() => { lockedPreferences.add('gap').add('log'); }")
    assert script("() => Preferences.locked()") == ["gap"]


def test_the_socket_is_looked_for_in_the_usual_places(script: Script) -> None:
    places = ["/run/mailbell/mailbell.sock", "/run/user/7/mailbell/mailbell.sock"]
    assert script("() => Preferences.places(Preferences.read())") == places


def test_changes_are_heard_until_the_end(script: Script) -> None:
    script("() => { globalThis.stop = Preferences.watch(() => {}); }")
    assert script("() => [...observers.keys()]") == ["extensions.mailbell."]
    assert script("() => { stop(); return observers.size; }") == 0


def test_sleep_the_network_and_the_primary_password_are_heard_until_the_end(script: Script) -> None:
    script("""() => {
      globalThis.told = [];
      globalThis.stop = watchWakeups({
        woke: () => told.push("woke"), offline: offline => told.push(offline),
        unlocked: () => told.push("unlocked"),
      });
      observers.get("wake_notification")(null, "wake_notification", "");
      Services.io.offline = true;
      observers.get("network:offline-status-changed")();
      observers.get("passwordmgr-crypto-login")(null, "passwordmgr-crypto-login", null);
    }""")
    assert script("() => told") == ["woke", True, "unlocked"]
    assert script("() => { stop(); return observers.size; }") == 0


def test_an_inbox_that_appears_is_said_until_the_end(script: Script) -> None:
    script("""() => {
      globalThis.appeared = [];
      globalThis.stop = watchInboxes(key => appeared.push(key));
      const folder = (flag, server) => ({ getFlag: asked => (asked & flag) != 0, server });
      for (const { onFolderAdded } of folderListeners) {
        onFolderAdded(null, folder(0x1000, { key: "server1" }));
        onFolderAdded(null, folder(0x0100, { key: "server2" }));
        onFolderAdded(null, folder(0x1000, null));
      }
    }""")
    assert script("() => appeared") == ["server1"]
    assert script("() => { stop(); return folderListeners.size; }") == 0
