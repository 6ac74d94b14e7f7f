"""What the add-on's page does: what Save sends, and how the page hears of changes and faults."""

from html.parser import HTMLParser
from typing import Any, Final

import pytest
from harness.v8 import ADDON, HARNESS, Script

PAGE: Final = ADDON / "settings"
EMPTY: Final = {"meta", "link"}

STATUS: Final = {
    "state": "connected", "reason": None, "since": 7, "socket": "/run/mailbell/mailbell.sock",
    "lastRing": None, "lastRingName": None, "rings": 0, "offline": False,
    "accounts": [
        {"key": key, "name": key, "type": "imap", "state": "idle", "lastFetch": None, "names": None}
        for key in ("server1", "server2")
    ],
}  # fmt: skip
SETTINGS: Final = {
    "socket": "", "settle": 1000, "gap": 10_000, "locked": [],
    "names": {"server1": ["work"], "server9": ["away"]},
}  # fmt: skip


class Tree(HTMLParser):
    """The elements of a page: nested lists of a name, attributes and children."""

    def __init__(self) -> None:
        super().__init__()
        self.root: list[Any] = ["html", {}, []]
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        made: list[Any] = [tag, {name: value or "" for name, value in attrs}, []]
        self._open[-1][2].append(made)
        if tag not in EMPTY:
            self._open.append(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1][2].append([tag, dict(attrs), []])

    def handle_endtag(self, tag: str) -> None:
        if self._open[-1][0] == tag and len(self._open) > 1:
            self._open.pop()


def opened(**settings: object) -> Script:
    """The page, drawn with these settings."""
    tree = Tree()
    tree.feed((PAGE / "settings.html").read_text())
    script = Script(HARNESS / "document.js")
    script("""(tree, status, settings) => {
      document.documentElement = makeElement(tree);
      globalThis.currentStatus = status;
      globalThis.currentSettings = settings;
      globalThis.Date = { now: () => 7 };
    }""", tree.root, STATUS, SETTINGS | settings)  # fmt: skip
    words, page = ((PAGE / name).read_text() for name in ("words.js", "settings.js"))
    script.load_text_within(words + page)
    assert text(script, "headline") not in ("", "stateUnknown")
    return script


def text(script: Script, name: str) -> Any:
    return script("name => document.getElementById(name).textContent", name)


def save(script: Script, **texts: str) -> Any:
    """Write into fields, press Save, and return what the page sent."""
    script("""texts => {
      for (const [field, text] of Object.entries(texts)) {
        document.getElementById(`field-${field.replace("_", ".")}`).value = text;
      }
      document.getElementById("settings").heard.submit({ preventDefault() {} });
    }""", texts)  # fmt: skip
    return script("() => sent")


@pytest.fixture
def page() -> Script:
    return opened()


def test_save_sends_only_what_was_changed(page: Script) -> None:
    """Another field would hide the default that an administrator gives later."""
    assert save(page, gap="2") == [{"gap": 2000}]
    assert text(page, "saved") == "saved"


def test_after_save_the_fields_show_what_is_stored(page: Script) -> None:
    page("() => { currentSettings.gap = 2000; }")
    save(page, gap=" 2.0 ")
    assert page("() => document.getElementById('field-gap').value") == "2"


def test_save_without_a_change_sends_nothing(page: Script) -> None:
    assert save(page) == []
    assert text(page, "saved") == "saved"


def test_names_of_accounts_that_are_not_shown_stay(page: Script) -> None:
    """Thunderbird does not list an account at each moment; another page may have written names."""
    page("() => { currentSettings.names.server2 = ['from-another-page']; }")
    assert save(page, names_server1="work, club") == [
        {"names": {
            "server1": ["work", "club"], "server2": ["from-another-page"], "server9": ["away"],
        }}
    ]  # fmt: skip


def test_names_that_were_removed_are_gone(page: Script) -> None:
    assert save(page, names_server1=" ") == [{"names": {"server9": ["away"]}}]


def test_a_locked_field_is_not_sent() -> None:
    page = opened(locked=["gap", "names"])
    assert save(page, settle="2") == [{"settle": 2000}]


def test_a_field_that_was_locked_meanwhile_says_so(page: Script) -> None:
    page("() => { currentSettings.locked = ['gap']; answers.problems = { gap: 'locked' }; }")
    save(page, gap="2")
    assert text(page, "field-gap-problem") == "locked"
    assert text(page, "saved") == "notSaved"


def test_what_is_wrong_is_said_and_not_sent(page: Script) -> None:
    assert save(page, gap="soon") == []
    assert text(page, "field-gap-problem") == "problemNotANumber"
    assert page("() => document.focused") == "field-gap"


def test_what_thunderbird_refuses_is_said(page: Script) -> None:
    page("() => { answers.problems = { gap: 'not_stored' }; }")
    save(page, gap="2")
    assert text(page, "field-gap-problem") == "problemNotStored"


def test_a_fault_while_saving_is_said(page: Script) -> None:
    page("() => { answers.fail = 'broken'; }")
    save(page, gap="2")
    assert text(page, "saved") == "saveFailed"
    assert page("() => faults") == ["Error: broken"]


def test_a_fault_of_fetch_now_is_said(page: Script) -> None:
    click = "() => { document.getElementById('fetch').heard.click(); }"
    page(click)
    assert [text(page, "asked"), page("() => sent")] == ["fetchAsked", ["fetch"]]
    page("() => { answers.fail = 'broken'; }")
    page(click)
    assert text(page, "asked") == "fetchFailed"


def test_a_change_is_shown_at_once(page: Script) -> None:
    page("status => statusListener(status)", STATUS | {"rings": 3})
    assert text(page, "rings") == "3"


def test_a_status_that_cannot_be_had_anymore_is_said(page: Script) -> None:
    """The add-on was disabled meanwhile: an old status would be wrong."""
    page("() => { currentStatus.rings = 4; ticking[0](); }")
    assert text(page, "rings") == "4"
    page("() => { currentStatus.state = 'forbidden'; ticking[0](); }")
    shown = "() => ['advice', 'command'].map(id => !document.getElementById(id).hidden)"
    assert page(shown) == [True, True]
    page("() => { answers.fail = 'broken'; ticking[0](); }")
    assert text(page, "headline") == "stateUnknown"
    assert page(shown) == [False, False]
    page("() => { answers.fail = null; currentStatus.state = 'connected'; ticking[0](); }")
    tone = "() => document.getElementById('now').dataset.tone"
    assert page(tone) == "good"
    page("() => { answers.fail = 'broken'; ticking[0](); }")
    assert page(tone) == "bad"
