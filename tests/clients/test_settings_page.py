"""The page of the Thunderbird add-on: its sentences in three languages, how codes reach them."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py_mini_racer import MiniRacer

from mailbell.core.account_name import ACCOUNT_NAME_PATTERN, is_account_name

ADDON: Final = Path(__file__).parent.parent.parent / "clients" / "thunderbird"
PAGE: Final = ADDON / "settings"
LANGUAGES: Final = ("en", "de", "fr")
WORDS: Final = (PAGE / "words.js").read_text()
HTML: Final = (PAGE / "settings.html").read_text()
CODE: Final = WORDS + (PAGE / "settings.js").read_text()

Messages = dict[str, dict[str, Any]]


def read(language: str) -> Messages:
    text = (ADDON / "_locales" / language / "messages.json").read_text()
    messages: Messages = json.loads(text)
    return messages


MESSAGES: Final = {language: read(language) for language in LANGUAGES}
ENGLISH: Final = MESSAGES["en"]

ENGINE: Final = MiniRacer()
ENGINE.eval(WORDS)


def call(function: str, *values: object) -> Any:
    """Call a function of words.js; times are written as `at NUMBER`."""
    arguments = ", ".join([json.dumps(value) for value in values])
    told = f"JSON.stringify({function}({arguments}{', when' if values else ''}))"
    return json.loads(str(ENGINE.eval(f"{{ const when = time => `at ${{time}}`; {told} }}")))


CORE: Final = MiniRacer()
for name in ("names", "settings", "link"):
    CORE.eval((ADDON / "core" / f"{name}.js").read_text())


def core(expression: str) -> Any:
    """Evaluate an expression beside the part that runs in Thunderbird's main process."""
    return json.loads(str(CORE.eval(f"JSON.stringify({expression})")))


# The contract: schema.json says each code in words.


def function(name: str) -> str:
    (space,) = json.loads((ADDON / "schema.json").read_text())
    (found,) = (one for one in space["functions"] if one["name"] == name)
    return str(found["description"])


def codes(description: str, after: str) -> list[str]:
    """List the codes that a description names: `after: one, two or three.`"""
    match = re.search(rf"{re.escape(after)}: ([a-z_]+(?:(?:, | or )[a-z_]+)+)\.", description)
    assert match
    return re.split(", | or ", match[1])


STATES: Final = codes(function("getStatus"), " state")
ACCOUNT_STATES: Final = codes(function("getStatus"), "accounts[].state")
PROBLEMS: Final = codes(function("setSettings"), "Codes")


def account(**other: object) -> dict[str, object]:
    made = {
        "key": "server1", "name": "work", "type": "imap", "state": "idle", "lastFetch": None,
        "names": None,
    }  # fmt: skip
    return {**made, **other}


def status(**other: object) -> dict[str, object]:
    made = {
        "state": "connected", "reason": None, "since": 7, "socket": "/run/mailbell/mailbell.sock",
        "lastRing": None, "lastRingName": None, "rings": 0, "offline": False,
        "accounts": [account()],
    }  # fmt: skip
    return {**made, **other}


def localized(message: dict[str, Any], language: str = "en") -> str:
    """Do what `browser.i18n.getMessage` does."""
    entry = MESSAGES[language][message["key"]]
    places = {name: one["content"] for name, one in entry.get("placeholders", {}).items()}
    assert len(places) == len(message["values"]), message["key"]
    text = re.sub(r"\$(\w+)\$", lambda match: places[match[1].lower()], entry["message"])
    return re.sub(r"\$(\d)", lambda match: message["values"][int(match[1]) - 1], text)


# The three languages


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_every_sentence_and_every_placeholder(language: str) -> None:
    own = MESSAGES[language]
    assert list(own) == list(ENGLISH)
    for key, entry in own.items():
        assert entry["message"].strip() == entry["message"] != "", key
        assert entry.get("placeholders") == ENGLISH[key].get("placeholders"), key
        used = re.findall(r"\$(\w+)\$", entry["message"])
        assert sorted(used) == sorted(name.upper() for name in entry.get("placeholders", {})), key
    assert own["language"]["message"] == language


@pytest.mark.parametrize("language", ["de", "fr"])
def test_no_sentence_was_left_in_english(language: str) -> None:
    same = {key for key in ENGLISH if MESSAGES[language][key]["message"] == ENGLISH[key]["message"]}
    assert same <= {"statusHeading", "socketLabel"}


def test_the_folder_holds_no_language_that_is_not_tested() -> None:
    assert {path.name for path in (ADDON / "_locales").iterdir()} == set(LANGUAGES)


def test_each_sentence_is_used_and_each_that_is_used_exists() -> None:
    manifest = (ADDON / "manifest.json").read_text()
    named = {
        *re.findall(r"__MSG_(\w+)__", manifest),
        *re.findall(r'data-(?:text|label|help)="(\w+)"', HTML),
        *re.findall(r'getMessage\("(\w+)"', CODE),
    }
    literals = set(re.findall(r'"(\w+)"', CODE))
    assert named - set(ENGLISH) == set()
    assert set(ENGLISH) - named - literals == set()


# No text of a message or an account becomes a part of the page


def test_no_text_is_put_in_as_markup() -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|DOMParser|Fragment"
        r"|\beval\b|Function\(|setTimeout\(\s*[\"'`]|javascript:"
    )
    assert re.findall(forbidden, CODE) == []


def test_the_page_holds_no_script_no_style_and_no_address() -> None:
    assert re.findall(r"<script(?! src=\"\w+\.js\" defer></script>)", HTML) == []
    assert re.findall(r"\son\w+=|\sstyle=|<style|https?:|//", HTML) == []
    css = (PAGE / "settings.css").read_text()
    assert re.findall(r"url\(|@import", css) == []


def test_every_text_of_the_page_comes_from_the_languages() -> None:
    shown = re.sub(r"<title>mailbell</title>|<[^>]*>", "", HTML)
    assert shown.split() == []


# Codes


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("since", [None, 7])
@pytest.mark.parametrize("state", STATES)
def test_each_state_has_its_sentence(state: str, since: int | None, language: str) -> None:
    words = call("statusWords", status(state=state, since=since))
    said = [localized(words[name], language) for name in ("headline", "advice") if words[name]]
    assert words["headline"]["key"] != "stateUnknown"
    assert not any("$" in text or "null" in text or "undefined" in text for text in said)


def test_a_reason_is_said_where_it_tells_more_than_the_state() -> None:
    def said(reason: str | None) -> str | None:
        words = call("statusWords", status(state="deaf", reason=reason))["reason"]
        return words and localized(words)

    assert said(None) is said("forbidden") is said("missing") is said("bad_path") is None
    assert said("too_long") == "Its reply was too long."
    assert said("no_such") == said("constructor") == "The reason is not known."


def test_each_reason_of_the_connection_has_its_sentence_or_a_state_that_says_it() -> None:
    for reason, state in core("[...STATES]"):
        assert state in STATES
        words = call("statusWords", status(state=state, reason=reason))["reason"]
        assert (words is None) == (reason == state), reason
        assert words is None or words["key"] != "reasonUnknown", reason


def test_no_two_states_have_the_same_sentence() -> None:
    said = [call("statusWords", status(state=state))["headline"]["key"] for state in STATES]
    assert len(set(said)) == len(STATES) == 7


def test_what_a_person_sees_of_the_states_that_the_page_is_for() -> None:
    def seen(**given: object) -> str:
        return localized(call("statusWords", status(**given))["headline"])

    assert seen() == "Connected since at 7"
    assert seen(state="deaf") == "Deaf since at 7: tries again"
    assert seen(state="forbidden") == "No permission: join the group mailbell, then log in again"
    tones = {state: call("statusWords", status(state=state))["tone"] for state in STATES}
    assert {state for state, tone in tones.items() if tone == "good"} == {"connected"}
    assert {state for state, tone in tones.items() if tone == "busy"} == {"connecting"}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("state", ACCOUNT_STATES)
def test_each_state_of_an_account_has_its_sentence(state: str, language: str) -> None:
    words = call("statusWords", status(accounts=[account(state=state)]))
    (row,) = words["accounts"]
    assert row["state"]["key"] != "accountUnknown"
    assert localized(row["state"], language)
    assert row["troubled"] == (state in ("failed", "no_password"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", PROBLEMS)
def test_each_problem_has_its_sentence(code: str, language: str) -> None:
    words = call("problemWords", code)
    assert localized(words, language)
    assert (words["key"] == "problemUnknown") == (code == "unknown")


@pytest.mark.parametrize("code", ["", "no_such", "constructor", "__proto__", "toString"])
def test_a_code_that_nobody_knows_is_said_to_be_unknown(code: str) -> None:
    words = call("statusWords", status(state=code, accounts=[account(state=code, type=code)]))
    assert words["headline"]["key"] == "stateUnknown"
    assert words["accounts"][0]["state"]["key"] == "accountUnknown"
    assert words["accounts"][0]["type"] == code.upper()
    expected = "problemUnknown" if code else None
    assert (call("problemWords", code) or {}).get("key") == expected


# A status


def test_the_last_ring_and_the_last_fetches() -> None:
    words = call("statusWords", status())
    assert localized(words["lastRing"]) == "none since Thunderbird started"
    assert words["accounts"][0]["fetched"] is None
    words = call("statusWords", status(lastRing=5, lastRingName="work", rings=3))
    assert localized(words["lastRing"]) == "at 5, account work"
    assert words["rings"] == "3"
    words = call("statusWords", status(lastRing=5, accounts=[account(lastFetch=6)]))
    assert localized(words["lastRing"]) == "at 5, all accounts"
    assert words["accounts"][0]["fetched"] == "at 6"


def test_an_account_shows_the_name_that_rings_it_without_a_setting() -> None:
    names = ["work", "anna@example.org", "Anna's mail", "Büro", "", "a" * 65]
    words = call("statusWords", status(accounts=[account(name=name) for name in names]))
    shown = [one["ownName"] for one in words["accounts"]]
    assert shown == ["work", "anna@example.org", None, None, None, None]


@given(st.text())
def test_a_name_is_what_every_program_of_mailbell_calls_one(text: str) -> None:
    told = ENGINE.eval(f"ACCOUNT_NAME.test({json.dumps(text)})")
    assert told == is_account_name(text)


def test_the_form_of_a_name_is_that_of_every_program() -> None:
    assert ENGINE.eval("ACCOUNT_NAME.source") == f"^{ACCOUNT_NAME_PATTERN}$"


@given(st.text(max_size=600))
def test_what_is_shown_is_one_line_of_bounded_length(text: str) -> None:
    shown = str(call("shown", text))
    expected = re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]", "\ufffd", text)
    if len(expected.encode("utf-16-le")) <= 1024:
        assert shown == expected
    assert len(shown.encode("utf-16-le", "surrogatepass")) <= 2 * 513


def test_a_text_that_is_too_long_is_cut() -> None:
    assert call("shown", "a" * 512) == "a" * 512
    assert call("shown", "a" * 100_000) == "a" * 512 + "\u2026"
    assert call("shown", None) == ""


# Times and settings

DAY: Final = 86_400_000
NOON: Final = 1_795_608_180_000  # 25 November 2026, 13:03 in Berlin


@pytest.mark.parametrize(
    ("time", "language", "text"),
    [
        (NOON, "de", "13:03"),
        (NOON, "fr", "13:03"),
        (NOON, "en-GB", "13:03"),
        (NOON - DAY, "de", "24.11.2026, 13:03"),
        (NOON - DAY, "en-GB", "24 Nov 2026, 13:03"),
        (NOON + DAY, "de", "26.11.2026, 13:03"),  # the clock was set back
        (NOON + 11 * 3_600_000, "de", "26.11.2026, 00:03"),  # another day, though near
    ],
)
def test_a_time_has_its_day_unless_it_is_of_today(time: int, language: str, text: str) -> None:
    arguments = json.dumps([time, NOON, language, "Europe/Berlin"])
    assert ENGINE.eval(f"timeText(...{arguments})") == text


@given(st.decimals(min_value=0, max_value=999_999_999, places=3), st.sampled_from(".,"))
def test_seconds_are_read_with_a_point_or_a_comma(number: Decimal, mark: str) -> None:
    text = f" {number:f} ".replace(".", mark)
    assert call("parseSeconds", text) == int(number * 1000)


@given(st.integers(0, 10**9), st.sampled_from(["en", "de", "fr"]))
def test_seconds_that_were_written_are_read_the_same(ms: int, language: str) -> None:
    assert call("parseSeconds", call("secondsText", ms, language)) == ms


@given(st.text(max_size=12).filter(lambda text: not re.fullmatch(r"\s*\d.*", text, re.DOTALL)))
def test_other_texts_are_no_number_of_seconds(text: str) -> None:
    assert call("parseSeconds", text) is None


@pytest.mark.parametrize("text", ["", "1.2345", "1e3", "0x10", "1 2", "-1", "+1", "1.", "1,5,5"])
def test_nearly_numbers_are_none(text: str) -> None:
    assert call("parseSeconds", text) is None


@given(st.lists(st.from_regex(ACCOUNT_NAME_PATTERN, fullmatch=True)), st.sampled_from(", ;\n"))
def test_names_stand_between_commas_semicolons_or_spaces(names: list[str], mark: str) -> None:
    assert call("parseNames", f"{mark} ".join(names)) == names


SETTINGS: Final = {
    "socket": "/run/s", "settle": 1500, "gap": 10000, "names": {"server1": ["work", "anna"]},
    "locked": ["gap", "names.server2"],
}  # fmt: skip


def test_each_field_shows_its_setting() -> None:
    def shown(field: str) -> Any:
        return json.loads(
            str(ENGINE.eval(f"JSON.stringify(fieldText({json.dumps(field)}, {_SET}, 'de'))"))
        )

    assert [shown(field) for field in ("socket", "settle", "gap")] == ["/run/s", "1,5", "10"]
    assert [shown(f"names.{key}") for key in ("server1", "server9")] == ["work, anna", ""]


_SET: Final = json.dumps(SETTINGS)


def test_a_field_is_locked_alone_or_with_all_of_its_kind() -> None:
    locked = SETTINGS["locked"]
    fields = ["socket", "gap", "names.server1", "names.server2"]
    assert [call("isLocked", field, locked) for field in fields] == [False, True, False, True]
    assert call("isLocked", "names.server1", ["names"])


def test_fields_become_settings() -> None:
    texts = [
        ["socket", " /run/s "], ["settle", "1,5"], ["gap", "10"],
        ["names.server1", "work, anna"], ["names.server2", " "],
    ]  # fmt: skip
    expected = {
        "socket": "/run/s", "settle": 1500, "gap": 10000, "names": {"server1": ["work", "anna"]},
    }  # fmt: skip
    assert call("readFields", texts, {}) == {"settings": expected, "problems": {}}
    assert call("readFields", [["names.server1", ""]], {})["settings"] == {"names": {}}
    assert call("readFields", [["socket", ""]], {})["settings"] == {"socket": ""}


def test_what_the_page_reads_is_what_the_add_on_accepts() -> None:
    texts = [
        ["socket", "/run/s"], ["settle", "1,5"], ["gap", "10"], ["names.server1", "work, anna"],
    ]  # fmt: skip
    read = call("readFields", texts, {})["settings"]
    assert core(f"findProblems({json.dumps(read)}, [])") == {}
    assert set(read) == set(core("FIELDS"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("field", ["settle", "gap"])
def test_the_help_of_a_number_has_the_bounds_of_the_add_on(field: str, language: str) -> None:
    text = MESSAGES[language][f"{field}Help"]["message"]
    least, most = (int(number) * 1000 for number in re.findall(r"\d+", text))
    for value, code in ((least - 1, True), (least, False), (most, False), (most + 1, True)):
        assert bool(core(f"findProblems({{{field}: {value}}}, [])")) == code, value


def test_a_field_that_cannot_be_read_has_its_problem() -> None:
    texts = [["settle", "soon"], ["gap", "1"], ["names.server1", "a b"], ["names.server2", "-x"]]
    problems = call("readFields", texts, {})["problems"]
    assert problems == {"settle": "not_a_number", "names.server2": "bad_name"}


# The document


DOCUMENT: Final = (ADDON.parent.parent / "docs" / "thunderbird.md").read_text()


def test_the_document_explains_each_state_in_the_words_of_the_page() -> None:
    headlines = [call("statusWords", status(state=state))["headline"]["key"] for state in STATES]
    headlines += [call("statusWords", status(accounts=[account(state=state)]))["accounts"][0]
                  ["state"]["key"] for state in ACCOUNT_STATES]  # fmt: skip
    for key in headlines:
        words = ENGLISH[key]["message"].replace("$TIME$", "...")
        start = words if words in DOCUMENT else f"{words.partition(':')[0]}: ..."
        assert f"| {start} |" in DOCUMENT, key


def test_the_document_has_the_defaults() -> None:
    for field, value in core("DEFAULTS").items():
        shown = {"": "empty"}.get(value, f"{value} ms") if field != "names" else "`{}`"
        assert f"| `extensions.mailbell.{field}` | {shown} |" in DOCUMENT


def test_the_document_and_the_add_on_name_the_same_oldest_thunderbird() -> None:
    """It is one that tests/mail_programs/test_thunderbird_versions.py runs."""
    gecko = json.loads((ADDON / "manifest.json").read_text())["browser_specific_settings"]["gecko"]
    oldest, _, rest = gecko["strict_min_version"].partition(".")
    assert rest == "0"
    assert DOCUMENT.splitlines()[2].startswith(
        f"Thunderbird {oldest} or later on Linux; tried with {oldest} "
    )
    tested = (Path(__file__).parent.parent / "mail_programs" / "desk.py").read_text()
    assert min(re.findall(r"thunderbird=1:(\d+)", tested)) == oldest


# What a person without a mouse, or without sight, needs


def test_the_page_follows_dark_themes_and_names_its_language() -> None:
    assert "color-scheme: light dark" in (PAGE / "settings.css").read_text()
    assert "document.documentElement.lang" in CODE


def test_each_field_has_a_label_and_each_live_text_is_announced() -> None:
    assert re.findall(r"<input|<select|<textarea", HTML) == []  # settings.js makes them, labelled
    assert 'element("label", "", { for: id })' in CODE
    assert len(re.findall(r'role="(?:status|alert)"', HTML)) == 4
    assert re.findall(r"tabindex|<div[^>]*\bonclick", HTML) == []
